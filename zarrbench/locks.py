"""Locks: one process alone writes to a folder.

In a file system the lock is the kernel's (`flock`): it ends with the process, however that ends.
Object stores have none, nor have some file systems. There it is a lease: an object that its
holder changes every few seconds, and that somebody else takes over only after seeing for longer
than that, by a clock of its own that nobody sets, that it did not change. So no two machines
compare clocks, and what a killed process leaves holds nobody up for longer than that wait.
"""

import contextlib
import errno
import fcntl
import itertools
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from upath import UPath

from zarrbench import progress
from zarrbench.errors import StorageError, ZarrbenchError
from zarrbench.remote import Place, reading
from zarrbench.storage import get, put, remove, writing

# To lock a folder: the first may meet somebody who only looks whether it is locked
_ATTEMPTS = 3
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP)

# Seconds between two changes of a lease; without one for how long it counts as left behind; and
# until two that took it at once see who wrote last, where a server has no conditional writes.
_RENEWAL, _SILENCE, _SETTLING = 10.0, 45.0, 1.0


@contextlib.contextmanager
def locked(folder: Place) -> Iterator[None]:
    """Hold `folder` for this process alone, and clear what killed ones left half-written in it.

    Raises
    ------
    StorageError
        If another process holds it; or, on leaving the block or amid it, if this one was silent for
        so long that another has taken it over.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(folder, UPath):
            stack.enter_context(_leased(folder))
        else:
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                handle = stack.enter_context((folder / "lock").open("a"))
            if not _flock(handle, folder):
                stack.enter_context(_leased(folder))
        with reading(folder):
            leftovers = [path for path in folder.iterdir() if path.name.startswith(".")]
        for leftover in leftovers:
            remove(leftover)
        yield


def is_locked(folder: Place) -> bool:
    """Whether a process holds `folder` at this moment; a lease is watched until it changes."""
    if isinstance(folder, UPath):
        return _is_renewed(folder)
    try:
        with (folder / "lock").open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        return error.errno in _WITHOUT_LOCKS and _is_renewed(folder)
    return False


def _flock(handle: IO[str], folder: Path) -> bool:
    """Take the kernel's lock; return False if the file system has none."""
    for attempt in range(_ATTEMPTS):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:
            if attempt + 1 == _ATTEMPTS:
                raise _held(folder) from error
            time.sleep(0.1)  # it may be a look of `is_locked`
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
            return False
    return True


def _held(folder: Place) -> StorageError:
    return StorageError(
        f"another zarrbench is writing to {folder}; wait until it ends, or use another --data "
        f"folder, or for models ZARRBENCH_CACHE"
    )


@contextlib.contextmanager
def _leased(folder: Place) -> Iterator[None]:
    lease = folder / "lease"
    mine = uuid.uuid4().hex
    _take(lease, mine)
    keeper = _Keeper(lease, mine)
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGUSR2, keeper.stop) if in_main else None
    thread = threading.Thread(target=keeper.keep, args=(in_main,), daemon=True)
    thread.start()
    try:
        try:
            yield
        finally:
            keeper.end()
            thread.join()
    finally:
        if in_main:
            signal.signal(signal.SIGUSR2, before)
        if keeper.lost is None:
            with contextlib.suppress(ZarrbenchError):  # it ends by itself
                remove(lease)
    if keeper.lost is not None:
        raise keeper.lost


class _Keeper:
    """Changes a lease again and again, in a thread; `lost` says why it could not any more."""

    def __init__(self, lease: Place, mine: str) -> None:
        self._lease, self._mine = lease, mine
        self._ended, self._ending = threading.Event(), threading.Lock()
        self.lost: StorageError | None = None

    def keep(self, in_main: bool) -> None:
        kept = time.monotonic()
        for beat in itertools.count(1):
            if self._ended.wait(_RENEWAL):
                return
            try:
                if not _is(self._lease, self._mine):
                    self._lose("another zarrbench has taken it over", in_main)
                    return
                put(self._lease, f"{self._mine} {beat}".encode(), self._lease.parent)
                kept = time.monotonic()
            except ZarrbenchError as error:
                if time.monotonic() - kept > _SILENCE:
                    self._lose(f"it could not be renewed ({error})", in_main)
                    return

    def _lose(self, why: str, in_main: bool) -> None:
        with self._ending:
            if self._ended.is_set():
                return
            self.lost = StorageError(
                f"the lease {self._lease} is lost: {why}; see that nobody else writes there, then "
                f"run the same command again: finished work is kept"
            )
            if in_main:  # whatever it waits for
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)

    def stop(self, *_: object) -> None:
        """End what the main thread does: the handler of the signal."""
        if self.lost is not None and not self._ended.is_set():
            raise self.lost

    def end(self) -> None:
        with self._ending:
            self._ended.set()


def _take(lease: Place, mine: str) -> None:
    """Make the lease one's own, waiting for one that nobody seems to hold any more."""
    while not _create(lease, mine):
        progress.note(
            f"there is a lease on {lease.parent}; waiting for up to {_SILENCE:.0f} s to see "
            f"whether a run holds it, or a killed one left it"
        )
        if not _changes(lease, _SILENCE):
            put(lease, mine.encode(), lease.parent)
            break
        if get(lease) is not None:
            raise _held(lease.parent)
    time.sleep(_SETTLING)
    if not _is(lease, mine):
        raise _held(lease.parent)


def _create(lease: Place, mine: str) -> bool:
    """Write the lease if there is none; two that try at once both succeed on some servers."""
    if get(lease) is not None:
        return False
    with writing(lease):
        try:
            if isinstance(lease, UPath):
                lease.fs.pipe_file(lease.path, mine.encode(), mode="create")
            else:
                with lease.open("x") as handle:
                    handle.write(mine)
        except FileExistsError:
            return False
    return True


def _is(lease: Place, mine: str) -> bool:
    return (get(lease) or b"").startswith(mine.encode())


def _is_renewed(folder: Place) -> bool:
    lease = folder / "lease"
    held = get(lease) is not None and _changes(lease, 2 * _RENEWAL)
    return held and get(lease) is not None


def _changes(lease: Place, seconds: float) -> bool:
    """Watch a lease for so long; return whether it changes."""
    known, began = get(lease), time.monotonic()
    while time.monotonic() - began < seconds:
        time.sleep(_RENEWAL / 10)
        if get(lease) != known:
            return True
    return False
