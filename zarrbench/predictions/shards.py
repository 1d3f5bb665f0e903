"""The shards of a cube: this module is their only writer."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import zarr
from numcodecs import BitRound
from numpy.typing import NDArray

from zarrbench.checksums import Checksum
from zarrbench.errors import ModelInputError, StorageError
from zarrbench.predictions.cube import ROOT
from zarrbench.predictions.grid import Block, Storage
from zarrbench.predictions.sharding import sharding_of
from zarrbench.remote import Place
from zarrbench.storage import get, open_group, put, writing


def key_of(variable: str, gene: int, block: int, n_dims: int) -> str:
    """Return the key of the object of one gene and block; `gene` is a row of the cube."""
    return f"{variable}/c.{gene}.{block}" + ".0" * (n_dims - 2)


def write_shard(
    path: Place,
    gene: int,
    block: Block,
    predictions: Mapping[str, NDArray[np.float32]],
    references: Mapping[str, NDArray[np.float32]],
    storage: Storage,
) -> tuple[dict[str, str], dict[str, int]]:
    """Write all variables of one gene and block; each object appears whole or not at all.

    Parameters
    ----------
    path : Path or UPath
        The cube.
    gene : int
        Row of the cube.
    predictions : mapping
        (individual of the block, 2, track), or with bins before tracks, by variable.
    references : mapping
        The same without individual and haplotype, by the same variables; written by the first block
        only, so that one task owns the object.

    Returns
    -------
    dict, dict
        The checksum, and the size in bytes, of every object by its key in the cube. Both are those
        of what was meant to be written, whatever the storage made of it.

    Raises
    ------
    ModelInputError
        If a number is too large for the cube's type.
    StorageError
    """
    objects = {
        key_of(name, gene, block.number, values.ndim + 1): (name, values)
        for name, values in predictions.items()
    }
    if block.number == 0:
        for name, values in references.items():
            key = key_of(f"reference_{name}", gene, 0, values.ndim + 1)
            objects[key] = (f"reference_{name}", values)
    with writing(path):
        arrays = _arrays(path, get(path / ROOT))
    checksums, sizes = {}, {}
    for key, (name, values) in objects.items():
        passing = Checksum()
        content = sharding_of(arrays[name]).encode(kept(values, storage))
        put(path / key, map(passing.add, content), path.parent)
        checksums[key], sizes[key] = passing.value, passing.size
    return checksums, sizes


@lru_cache(maxsize=4)
def _arrays(path: Place, metadata: bytes | None) -> dict[str, zarr.Array]:
    """Open the arrays of a cube once in this process; its metadata tell it from a later one."""
    if metadata is None:
        raise StorageError(
            f"the cube {path} is gone: it was removed, renamed or unmounted while it was written "
            f"to; put it back, then run the same command again"
        )
    return dict(open_group(path).arrays())


def kept(values: NDArray[np.float32], storage: Storage) -> NDArray:
    """Return the numbers as the cube keeps them: its type, and its bits of the mantissa."""
    with np.errstate(over="ignore"):
        converted = values.astype(storage.dtype)
    if storage.keepbits is not None:
        rounding = BitRound(storage.keepbits)
        converted = rounding.decode(rounding.encode(converted)).reshape(values.shape)
    if not np.isfinite(converted).all() and np.isfinite(values).all():
        raise ModelInputError(
            f"a prediction of {np.abs(values).max():.6g} is too large for a cube of "
            f"{storage.dtype}; set 'dtype: float32' in 'storage' of the predict stage"
        )
    return converted
