"""Checksums of the objects of a store, and which of them are no longer what was written."""

import hashlib
import json
import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from upath import UPath

from zarrbench import progress
from zarrbench.errors import StoreLayoutError
from zarrbench.remote import Place, sizes_below
from zarrbench.storage import get, make_folder, put, writing

#: the checksums that each object may have, by its key below the folder of the store
Checksums = Mapping[str, Collection[str]]


# What verifying has in memory at most
_THREADS, _PART_BYTES = 8, 1 << 20


@dataclass(frozen=True)
class Damage:
    """An object that is not what was written.

    Attributes
    ----------
    key : str
        Where it lies in its store.
    what : str
        ``missing``, ``unreadable`` or ``altered``.
    """

    key: str
    what: str


class Checksum:
    """The checksum of an object that passes by in parts: BLAKE2b of 16 bytes."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self.size = 0

    def add(self, part: bytes) -> bytes:
        """Return `part`, having counted it."""
        self._hash.update(part)
        self.size += len(part)
        return part

    @property
    def value(self) -> str:
        return self._hash.hexdigest()


def checksum(content: bytes) -> str:
    """Return the checksum of a whole object."""
    passing = Checksum()
    passing.add(content)
    return passing.value


def checksums_of(folder: Place) -> dict[str, list[str]]:
    """Return the checksum of every object below a folder."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        keys = _keys(folder)
        contents = pool.map(lambda key: get(folder / key) or b"", keys)
        return {key: [checksum(c)] for key, c in zip(keys, contents, strict=True)}


def _keys(folder: Place) -> list[str]:
    if isinstance(folder, UPath):
        return sorted(sizes_below(folder))
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files)


def damages(folder: Place, expected: Checksums) -> list[Damage]:
    """Read every object of a store; return those that are wrong, in the order of their keys."""

    def look(key: str) -> Damage | None:
        try:
            found = _checksum_at(folder / key)
        except FileNotFoundError:
            return Damage(key, "missing")
        except OSError:  # what a device can no longer read
            return Damage(key, "unreadable")
        return None if found in expected[key] else Damage(key, "altered")

    # Both reading and hashing let other threads run.
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        looked = pool.map(look, sorted(expected))
        shown = progress.bar(looked, total=len(expected), label=folder.name, unit="objects")
        return [damage for damage in shown if damage is not None]


def _checksum_at(place: Place) -> str:
    """Return the checksum of a file, read in parts, or of an object."""
    if isinstance(place, UPath):
        content = get(place)
        if content is None:
            raise FileNotFoundError(str(place))
        return checksum(content)
    passing = Checksum()
    with place.open("rb") as file:
        while part := file.read(_PART_BYTES):
            passing.add(part)
    return passing.value


def write_checksums(path: Place, checksums: Mapping[str, Sequence[str]]) -> None:
    """Write checksums as a file of their own, whole or not at all."""
    with writing(path):
        make_folder(path.parent)
    put(path, json.dumps(checksums, indent=1).encode(), path.parent)


def read_checksums(path: Place) -> dict[str, list[str]]:
    """Return what `write_checksums` wrote.

    Raises
    ------
    StoreLayoutError
        If the file is not there, or damaged.
    """
    try:
        content = get(path)
        if content is None:
            raise FileNotFoundError("it is not there")
        checksums: dict[str, list[str]] = json.loads(content)
    except (OSError, ValueError) as error:
        raise StoreLayoutError(
            f"the record of checksums {path} cannot be read ({error}); copy it together with its "
            f"store, or make both again"
        ) from error
    return checksums
