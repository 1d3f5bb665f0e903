"""The ledger of a cube: which shard is done, with what checksum, and which failed, with the error.

`manifest.json` in it holds the checksums of all that is no shard: metadata and coordinates.

Each worker process appends lines of JSON to a file of its own, after the data of a shard is
written; so no two processes ever write one file, and a killed one leaves at most a torn last line,
which readers skip. It lies beside the cube: `predictions.ledger` for `predictions.zarr`.

Objects behind a URL cannot grow: there every entry is an object, until `compact` joins them.
"""

import json
import os
import threading
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from upath import UPath

from zarrbench.remote import Place, contents_of, reading, sizes_below
from zarrbench.storage import exists, put, remove, still_there, writing


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
        Fingerprint of all that determines the numbers of a shard.
    time : str
        UTC, ISO 8601.
    checksums : dict
        BLAKE2b of each object written, by its key in the cube.
    sizes : dict
        Bytes of each of these objects.
    seconds : dict
        Wall time by step: prepare, predict, write; or until it failed.
    sequences : int
        Sequences predicted: the distinct ones of every input of an ensemble.
    individuals : int
        How many the block had.
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
    seconds: dict[str, float] = field(default_factory=dict)
    sequences: int = 0
    individuals: int = 0
    software: str = ""
    error: str = ""


def ledger_of(cube: Place) -> Place:
    """Return the folder of a cube's ledger."""
    return cube.with_suffix(".ledger")


# The file of this process for each ledger; a process forked or spawned later gets its own by pid.
_own_files: dict[tuple[Path, int], Path] = {}
_one_at_a_time = threading.Lock()


def append(ledger: Place, entry: Entry) -> None:
    """Append an entry to this process's own file, on disk when this returns."""
    line = json.dumps(asdict(entry), separators=(",", ":")) + "\n"
    if isinstance(ledger, UPath):
        put(ledger / _new_name(), line.encode(), ledger)
        return
    key = (ledger, os.getpid())
    with _one_at_a_time, writing(ledger), still_there(ledger.parent):
        own = _own_files.setdefault(key, ledger / _new_name())
        try:
            ledger.mkdir(exist_ok=True)
            with own.open("a", encoding="utf-8") as handle:
                handle.write(line)
                handle.flush()
                os.fsync(handle.fileno())
        except OSError:
            del _own_files[key]  # its last line may be torn: nothing may follow it
            raise


def _new_name() -> str:
    return f"{uuid.uuid4().hex}.jsonl"


def entries(
    ledger: Place,
    recipe: str | None = None,
    counts: Literal["done", "latest"] = "done",
    gene: str | None = None,
) -> dict[tuple[str, int], Entry]:
    """Return the standing of every shard that was ever tried.

    Parameters
    ----------
    ledger : Path or UPath
    recipe : str, optional
        Only what this recipe of shards made.
    counts : {'done', 'latest'}
        ``done`` outlives any failure, before or after it, and the most individuals any fewer; or
        the latest entry counts, by the clocks of the workers.
    gene : str, optional
        Only this one: then other lines are not read.
    """

    def order(entry: Entry) -> tuple[Any, ...]:
        done = entry.state == "done"
        return (done, entry.individuals, entry.time) if counts == "done" else (entry.time, not done)

    standing: dict[tuple[str, int], Entry] = {}
    for entry in sorted(_lines(ledger, gene), key=order):
        if recipe in (None, entry.recipe) and gene in (None, entry.gene):
            standing[entry.gene, entry.block] = entry
    return standing


def seconds_by_step(entries: Iterable[Entry]) -> dict[str, float]:
    """Return the wall time of all entries together, step by step."""
    total: Counter[str] = Counter()
    for entry in entries:
        total.update(entry.seconds)
    return {step: round(seconds, 1) for step, seconds in total.items()}


def intact(cube: Place, entry: Entry, listed: Mapping[str, int] | None = None) -> bool:
    """Whether every object that a ``done`` entry speaks of is there with its size.

    Parameters
    ----------
    cube : Path or UPath
    entry : Entry
    listed : mapping, optional
        Sizes of the objects of the cube, where many entries are asked about (`listing`); by
        default those of the entry are looked at.
    """
    if listed is not None:
        return all(listed.get(key) == size for key, size in entry.sizes.items())
    try:
        with reading(cube):
            return all(_size(cube / key) == size for key, size in entry.sizes.items())
    except FileNotFoundError:
        return False


def listing(cube: Place) -> dict[str, int] | None:
    """Return the sizes of the objects of a cube behind a URL; None where a look costs little."""
    return sizes_below(cube) if isinstance(cube, UPath) else None


def _size(place: Place) -> int | None:
    if not isinstance(place, UPath):
        return place.stat().st_size
    try:
        return int(place.fs.info(place.path)["size"])
    except FileNotFoundError:
        return None


def compact(ledger: Place) -> None:
    """Join the objects of a ledger behind a URL into one, so that readers have little to fetch.

    The joined one is written first: if it is interrupted, entries stand twice, which counts once.
    """
    if not isinstance(ledger, UPath):
        return
    parts = _objects(ledger)
    if len(parts) < 2:
        return
    lines = dict.fromkeys(line for part in parts.values() for line in part.splitlines())
    put(ledger / _new_name(), b"".join(line + b"\n" for line in lines), ledger)
    with writing(ledger):
        ledger.fs.rm([f"{ledger.path}/{key}" for key in parts])


def _objects(ledger: UPath) -> dict[str, bytes]:
    """Read all objects of a ledger, again if they are joined meanwhile."""
    while True:
        keys = sorted(key for key in sizes_below(ledger) if key.endswith(".jsonl"))
        found = contents_of(ledger, keys)
        if len(found) == len(keys):
            return found


def _texts(ledger: Place) -> Iterable[bytes]:
    if isinstance(ledger, UPath):
        return _objects(ledger).values()
    return (path.read_bytes() for path in sorted(ledger.glob("*.jsonl")))


def _lines(ledger: Place, gene: str | None) -> Iterable[Entry]:
    sought = b"" if gene is None else json.dumps(gene).encode()
    for text in _texts(ledger):
        for line in text.splitlines():
            if sought not in line:
                continue
            try:
                yield Entry(**json.loads(line))
            except (ValueError, TypeError):
                continue  # torn by a kill


def manifest_of(ledger: Place) -> Place:
    """Return the file with the checksums of all of a cube that is no shard."""
    return ledger / "manifest.json"


def extension_of(ledger: Place) -> Place:
    """Return the folder where metadata and coordinates wait to be put into the cube."""
    return ledger.with_suffix(".extension")


def clear(ledger: Place) -> None:
    """Forget everything: the cube it speaks of is gone."""
    for place in (extension_of(ledger), ledger):
        if isinstance(place, UPath) or exists(place):
            remove(place)
