"""What a run has of a store that is ragged by gene: a file of arrays for each gene, and its ledger.

A part is written whole by one task, and named in the ledger after that, as a shard of the cube is.
The store is put together from them when the run ends. Parts stay: a later run adds to them.
"""

import io
import json
import threading
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from zarrbench import ledger
from zarrbench.checksums import Damage, checksum, damages
from zarrbench.errors import RecipeError, SourceError
from zarrbench.provenance import differences, fingerprint
from zarrbench.remote import Place
from zarrbench.storage import get, make_folder, put, write_text

_RECIPE = "recipe.json"
# The header of an array is read by `ast`, which CPython 3.11 does not let two threads do at once
_PARSING = threading.Lock()


def parts_of(store: Place) -> Place:
    """Return the folder of the parts of a store."""
    return store.with_suffix(".parts")


def begin(store: Place, recipe: Mapping[str, Any]) -> None:
    """Make the folder of parts, with what determines their numbers.

    Raises
    ------
    RecipeError
        If parts of another recipe are there, naming the fields that differ.
    """
    folder = parts_of(store)
    before = get(folder / _RECIPE)
    changed = [] if before is None else differences(json.loads(before), dict(recipe))
    standing = ledger.entries(ledger.ledger_of(store)).values() if changed else ()
    if any(entry.state == "done" for entry in standing):
        raise RecipeError(
            f"{folder} was begun with another recipe ({'; '.join(changed[:5])}); give the pipeline "
            f"another name, use another --data folder, or remove {folder.name}"
        )
    if before is None or changed:
        make_folder(folder)
        write_text(folder / _RECIPE, json.dumps(recipe, indent=1, sort_keys=True))


def key_of(gene: str) -> str:
    """Return the name of the part of a gene."""
    return f"{quote(gene, safe='')}.npz"


def write_part(
    store: Place, gene: str, arrays: Mapping[str, NDArray]
) -> tuple[dict[str, str], dict[str, int]]:
    """Write the part of a gene; the same arrays give the same bytes.

    Returns
    -------
    dict, dict
        Its checksum, and its size in bytes, by its key in the folder of parts.

    Raises
    ------
    StorageError
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    content, key = buffer.getvalue(), key_of(gene)
    put(parts_of(store) / key, content, store.parent)
    return {key: checksum(content)}, {key: len(content)}


def read_part(store: Place, gene: str, names: Collection[str] | None = None) -> dict[str, NDArray]:
    """Return the arrays of a gene, or those of these names that it has.

    Raises
    ------
    SourceError
        If the part is gone or damaged.
    """
    place = parts_of(store) / key_of(gene)
    content = get(place)
    try:
        if content is None:
            raise FileNotFoundError("it is gone")
        with _PARSING, np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {n: arrays[n] for n in arrays.files if names is None or n in names}
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        raise SourceError(
            f"{place} cannot be read: {' '.join(str(error).split())}; remove it and run the stage "
            f"again, which makes it again"
        ) from error


def finished_parts(store: Place, recipe: Mapping[str, Any]) -> dict[str, ledger.Entry]:
    """Return the entries of the parts that are there, by gene."""
    standing = ledger.entries(ledger.ledger_of(store), fingerprint(recipe))
    listed = ledger.listing(parts_of(store)) if standing else None
    return {
        gene: entry
        for (gene, _), entry in standing.items()
        if entry.state == "done" and ledger.intact(parts_of(store), entry, listed)
    }


def failed_parts(store: Place, recipe: Mapping[str, Any]) -> dict[str, ledger.Entry]:
    """Return the entries of the parts that were last tried in vain, by gene."""
    done = finished_parts(store, recipe)
    latest = ledger.entries(ledger.ledger_of(store), fingerprint(recipe), "latest")
    return {g: e for (g, _), e in latest.items() if e.state == "failed" and g not in done}


def verify_parts(store: Place) -> tuple[int, list[Damage]]:
    """Compare every part of a store with its checksum in the ledger; return how many, and damage.

    There may be none.
    """
    expected = {
        key: [value]
        for entry in ledger.entries(ledger.ledger_of(store)).values()
        if entry.state == "done"
        for key, value in entry.checksums.items()
    }
    return len(expected), damages(parts_of(store), expected) if expected else []
