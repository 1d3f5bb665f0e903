"""The ledger of a cube: which shard is done, with what checksum, and which failed, with the error.

Each worker process appends lines of JSON to a file of its own, after the data of a shard is
written; so no two processes ever write one file, and a killed one leaves at most a torn last line,
which readers skip. It lies beside the cube: `predictions.ledger` for `predictions.zarr`.
"""

import json
import os
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from zarrbench.errors import StorageError
from zarrbench.storage import remove, writing


@dataclass(frozen=True)
class Entry:
    """What happened to one shard.

    Attributes
    ----------
    gene : str
    block : int
        Which block of individuals.
    state : str
        ``done`` or ``failed``.
    recipe : str
        Fingerprint of all that determines the numbers.
    time : str
        UTC, ISO 8601.
    checksums : dict
        BLAKE2b of each object written, by its key in the cube.
    sizes : dict
        Bytes of each of these objects.
    seconds : float
        Wall time of the task.
    sequences : int
        Distinct sequences predicted.
    software : str
        Versions of what computed it.
    error : str
        Kind and message if it failed.
    """

    gene: str
    block: int
    state: str
    recipe: str
    time: str
    checksums: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    sequences: int = 0
    software: str = ""
    error: str = ""


def ledger_of(cube: Path) -> Path:
    """Return the folder of a cube's ledger."""
    return cube.with_suffix(".ledger")


# The file of this process for each ledger; a process forked or spawned later gets its own by pid.
_own_files: dict[tuple[Path, int], Path] = {}


def append(ledger: Path, entry: Entry) -> None:
    """Append an entry to this process's own file, on disk when this returns."""
    key = (ledger, os.getpid())
    if key not in _own_files:
        _own_files[key] = ledger / f"{uuid.uuid4().hex}.jsonl"
    try:
        with writing(ledger):
            ledger.mkdir(parents=True, exist_ok=True)
            with _own_files[key].open("a", encoding="utf-8") as handle:
                handle.write(json.dumps(asdict(entry), separators=(",", ":")) + "\n")
                handle.flush()
                os.fsync(handle.fileno())
    except StorageError:
        del _own_files[key]  # its last line may be torn: nothing may follow it
        raise


def entries(ledger: Path, recipe: str) -> dict[tuple[str, int], Entry]:
    """Return the standing of every shard of this recipe that was ever tried.

    ``done`` outlives any failure, before or after it; among failures the latest counts.
    """
    standing: dict[tuple[str, int], Entry] = {}
    for entry in sorted(_lines(ledger), key=lambda e: (e.state == "done", e.time)):
        if entry.recipe == recipe:
            standing[entry.gene, entry.block] = entry
    return standing


def intact(cube: Path, entry: Entry) -> bool:
    """Whether every object that a ``done`` entry speaks of is there with its size."""
    try:
        return all((cube / key).stat().st_size == size for key, size in entry.sizes.items())
    except FileNotFoundError:
        return False


def _lines(ledger: Path) -> Iterable[Entry]:
    for path in sorted(ledger.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                yield Entry(**json.loads(line))
            except (ValueError, TypeError):
                continue  # torn by a kill


def clear(ledger: Path) -> None:
    """Forget everything: the cube it speaks of is gone."""
    if ledger.exists():
        remove(ledger)
