"""What a worker must have before it gets work: versions, stores, model files, the same folder.

Every worker is asked, also those that arrive later: jobs start one after the other.
"""

import asyncio
import contextlib
import os
import platform
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from distributed import Client, Worker, WorkerPlugin
from upath import UPath

from zarrbench.errors import ClusterError, SourceError, StorageError
from zarrbench.provenance import installed
from zarrbench.remote import Place, url_exists
from zarrbench.storage import exists, make_folder, put, remove, writing


@dataclass(frozen=True)
class Requirements:
    """What the tasks of a run read and write.

    Attributes
    ----------
    places : tuple of Path, UPath or str
        Stores and model files; text is a URL.
    folder : Path or UPath
        Results.
    seen : str
        Name of a file in `folder` that the driver has written there.
    versions : dict
        Of the packages that numbers and data depend on, on the driver.
    """

    places: tuple[Place | str, ...]
    folder: Place
    seen: str = field(default_factory=lambda: f".seen-{uuid.uuid4().hex}")
    versions: dict[str, str] = field(default_factory=lambda: _versions())

    def missing(self) -> list[str]:
        """Return one clause for everything that this machine lacks."""
        here = _versions()
        found = [
            f"{name} is {here[name]} there and {version} here"
            for name, version in self.versions.items()
            if here[name] != version
        ]
        found += filter(None, map(_absence, self.places))
        return [*found, *filter(None, [self._unfit_folder()])]

    def _unfit_folder(self) -> str | None:
        try:
            if not exists(self.folder / self.seen):
                return f"{self.folder} is not the folder that it is here"
            if isinstance(self.folder, UPath):
                put(self.folder / self.seen, b"", self.folder)
            elif not os.access(self.folder, os.W_OK):
                return f"{self.folder} may not be written there"
        except (SourceError, StorageError) as error:
            return str(error)
        return None


def _versions() -> dict[str, str]:
    return {"Python": ".".join(platform.python_version_tuple()[:2]), **installed()}


def _absence(place: Place | str) -> str | None:
    try:
        there = place.exists() if isinstance(place, Path) else url_exists(place)
    except SourceError as error:
        return str(error)
    return None if there else f"{place} is not there"


# One for all runs: a killed driver leaves its own behind, which the next one must find
_NAME = "zarrbench-requirements"


class _Check(WorkerPlugin):
    """Asks a worker for the requirements when it joins; without them it gets no predictions."""

    def __init__(self, requirements: Requirements, slot: str) -> None:
        self._requirements, self._slot, self._withheld = requirements, slot, 0.0

    async def setup(self, worker: Worker) -> None:
        missing = await asyncio.to_thread(self._requirements.missing)
        if not missing:
            return
        # A worker that fails every gene at once would draw them all to itself.
        self._withheld = worker.state.total_resources.get(self._slot, 0.0)
        if self._withheld:
            # Less than the nothing that preparing a gene asks for
            await worker.set_resources(**{self._slot: -1})
        raise ClusterError(
            f"the worker {worker.address} on {socket.gethostname()} cannot do this work: "
            f"{'; '.join(missing)}; all workers need the same environment, and the data folder, "
            f"its stores and the model under the same path"
        )

    async def teardown(self, worker: Worker) -> None:
        if self._withheld:
            await worker.set_resources(**{self._slot: self._withheld})


@contextlib.contextmanager
def checked(client: Client, slot: str, requirements: Requirements) -> Iterator[None]:
    """Hold every worker to the requirements while the block runs.

    Raises
    ------
    ClusterError
        If a worker lacks something now. One that joins later without gets no predictions, and
        says so in its log.
    """
    _check_installed(client)
    seen = requirements.folder / requirements.seen
    with writing(seen):
        make_folder(seen.parent)
    put(seen, b"", requirements.folder)
    try:
        client.register_plugin(_Check(requirements, slot), name=_NAME)
        yield
    finally:
        forget(client)
        remove(seen)


def forget(client: Client) -> None:
    """Hold workers to nothing any more: neither to these requirements nor to those of a dead run.

    A worker that got no predictions for want of something gets them again.
    """
    with contextlib.suppress(OSError, ValueError):  # the scheduler may be gone, or know of none
        client.unregister_worker_plugin(_NAME)


def _check_installed(client: Client) -> None:
    """Refuse a worker without this zarrbench, which might not understand a question about it."""
    here = metadata.version("zarrbench")
    answers: dict[str, Any] = client.run(metadata.version, "zarrbench", on_error="return")
    for address, there in answers.items():
        if there != here:
            found = "no zarrbench" if isinstance(there, Exception) else f"zarrbench {there}"
            raise ClusterError(
                f"the worker {address} has {found}, expected {here} as here: install the same "
                f"environment there"
            )
