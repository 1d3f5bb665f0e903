"""What a running cluster offers, and what its loss looks like."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

from distributed import Client, Future
from distributed.comm import CommClosedError

from zarrbench.errors import ClusterError

_WATCH_SECONDS = 10.0


def workers_of(client: Client) -> dict[str, Any]:
    """Return what the scheduler knows of its workers, by address."""
    # Not client.scheduler_info(): it returns what a background task of the client, which asks for
    # no workers, may have written over the answer meanwhile.
    identity = client.sync(client.scheduler.identity, n_workers=-1)
    return dict(identity["workers"])


def slots_of(client: Client, slot: str) -> int:
    """Return how many predictions can run at once: slots of workers that take work."""
    running = [w for w in workers_of(client).values() if w.get("status") == "running"]
    offers = [w.get("resources", {}).get(slot, 0) for w in running]
    return sum(max(0, int(offer)) for offer in offers)  # an unfit worker offers less than none


def check_slots(client: Client, slot: str) -> int:
    """Return how many predictions can run at once; none would make a run wait for ever."""
    slots = slots_of(client, slot)
    if slots < 1:
        raise ClusterError(
            f"no worker of the cluster offers the resource {slot!r}, so that predictions would "
            f"wait for ever; start workers with --resources '{slot}=1', or correct 'slot'"
        )
    return slots


@contextlib.contextmanager
def quiet_dask() -> Iterator[None]:
    """Silence Dask in this process: what it writes of a lost connection, one sentence says."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client", "tornado")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def loss_noticed(client: Client, slot: str, patience: float) -> Iterator[None]:
    """Turn the loss of the scheduler, or of all slots for long, into one sentence.

    Parameters
    ----------
    client : Client
    slot : str
    patience : float
        Seconds that the block may go on without any worker that offers the slot and takes work.

    Raises
    ------
    ClusterError
    """
    ended, deserted = threading.Event(), threading.Event()
    watching = threading.Thread(
        target=_watch,
        args=(client, slot, patience, ended, deserted),
        daemon=True,
        name="watch workers",
    )
    watching.start()
    try:
        yield
    # Dask cancels what it was asked for when the scheduler is gone, and refuses what follows.
    except (CommClosedError, CancelledError) as error:
        what = (
            f"no worker with the resource {slot!r} took work for {patience / 60:.0f} minutes: they "
            f"ended, or Dask paused them for want of memory; their logs may say why"
            if deserted.is_set()
            else f"the connection to the scheduler {client.scheduler.address} was lost: it ended, "
            f"or the network did"
        )
        raise ClusterError(
            f"{what}; finished work is kept: start what is gone again, then run the same command"
        ) from error
    finally:
        ended.set()
        watching.join()


def _watch(
    client: Client,
    slot: str,
    patience: float,
    ended: threading.Event,
    deserted: threading.Event,
) -> None:
    """Cancel what the client waits for when there was no slot for too long."""
    seen = time.monotonic()
    while not ended.wait(min(_WATCH_SECONDS, patience)):
        try:
            if slots_of(client, slot):
                seen = time.monotonic()
            elif time.monotonic() - seen > patience:
                deserted.set()
                waited_for = [Future(key, client) for key in list(client.futures)]
                client.cancel(waited_for, force=True)
        except (OSError, CancelledError):
            return  # the scheduler is gone, which whoever waits for it notices
