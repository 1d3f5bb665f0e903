"""Reading an array of a cube on a local disk: only the inner chunks asked for, on threads."""

import mmap
import os
import threading
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import groupby, pairwise, product
from math import prod
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
import zarr
from dask.system import CPU_COUNT
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core.indexing import (
    ExplicitIndexer,
    IndexingSupport,
    LazilyIndexedArray,
    explicit_indexing_adapter,
)

from zarrbench.errors import StoreLayoutError
from zarrbench.predictions.sharding import ENTRY, MISSING, Sharding, copy, sharding_of
from zarrbench.storage import quiet_zarr

# What a thread must have to do to be worth its start: about 2 ms, or 20 where cores are busy
_CHUNKS_A_THREAD = 16
# Objects that stay mapped in a process: 65,530 maps are all that Linux gives one
_MAPS = 1024
# What one task of Dask reads if nothing is selected
_TASK_BYTES = 1 << 28

Index = int | slice | NDArray[np.integer]


class LocalArray:
    """An array whose indexing reads what it needs; one index a dim, each for itself.

    In a `complete` cube an object that is not there is an error, not fill values.
    Safe to use from many threads, to pickle and to fork.
    """

    def __init__(
        self, array: zarr.Array, folder: Path, threads: int = CPU_COUNT, complete: bool = False
    ) -> None:
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype = array.dtype
        self.sharding: Sharding = sharding_of(array)
        self._folder = str(folder)
        self._key = array.metadata.encode_chunk_key
        self._threads = threads
        self._complete = complete

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: Index | tuple[Index, ...]) -> NDArray:
        given = key if isinstance(key, tuple) else (key,)
        indices = given + (slice(None),) * (self.ndim - len(given))
        chunk = self.sharding.chunk
        shape = [_length(i, n) for i, n in zip(indices, self.shape, strict=True)]
        out = np.empty([n for n in shape if n is not None], self.dtype)
        pieces = self._pieces(
            [list(_runs(i, n, c)) for i, n, c in zip(indices, self.shape, chunk, strict=True)]
        )
        threads = min(self._threads, len(pieces) // _CHUNKS_A_THREAD)
        if threads < 2:
            self._read(pieces, out)
            return out
        share = -(-len(pieces) // threads)
        shares = [pieces[i : i + share] for i in range(0, len(pieces), share)]
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: self._read(part, out), shares))
        return out

    def _pieces(self, runs: Sequence[Sequence["Run"]]) -> list["Piece"]:
        """Return what is read of every inner chunk, object by object."""
        grid = self.sharding.grid
        pieces = []
        for of_chunk in product(*runs):
            place, coordinates = 0, []
            for run, n in zip(of_chunk, grid, strict=True):
                coordinates.append(run.chunk // n)
                place = place * n + run.chunk % n
            inside = tuple(run.inside for run in of_chunk)
            outside = tuple(run.outside for run in of_chunk if run.outside is not None)
            pieces.append(Piece(tuple(coordinates), place, inside, outside))
        return sorted(pieces, key=attrgetter("coordinates"))

    def _read(self, pieces: Sequence["Piece"], out: NDArray) -> None:
        sharding = self.sharding
        chunk = _scratch(sharding)
        for coordinates, of_object in groupby(pieces, key=attrgetter("coordinates")):
            path = f"{self._folder}/{self._key(coordinates)}"
            try:
                content, index = self._object(path)
                for piece in of_object:
                    offset, size = ENTRY.unpack_from(index, piece.place * ENTRY.size)
                    if size == MISSING:
                        out[piece.outside] = sharding.fill_value
                        continue
                    sharding.decode(content[offset : offset + size], chunk)
                    # The ellipsis makes one number, too, something to write into.
                    part: NDArray = out[(*piece.outside, Ellipsis)]  # type: ignore[arg-type]
                    copy(_within(chunk, piece.inside), part)
            except ValueError as error:
                raise StoreLayoutError(
                    f"{path} cannot be read: {error}; remove it and run the pipeline again"
                ) from error

    def _object(self, path: str) -> tuple[memoryview, bytes]:
        """Return the content of an object and the entries of its chunks."""
        try:
            content = _mapped(path, _state(path))
        except FileNotFoundError as error:
            # Zarr, too, takes what is missing for fill values, here: not done.
            if self._complete or not os.path.isdir(self._folder):
                raise ValueError("it is gone") from error
            return memoryview(b""), self.sharding.no_chunks
        return content, self.sharding.index(content)


class Run(NamedTuple):
    """What an index asks of one chunk along one dim."""

    chunk: int
    inside: Index
    outside: slice | None  # none: the dim is dropped


class Piece(NamedTuple):
    """What is read of one inner chunk, and where it goes."""

    coordinates: tuple[int, ...]
    place: int
    inside: tuple[Index, ...]
    outside: tuple[slice, ...]


def _runs(index: Index, size: int, chunk: int) -> Iterator[Run]:
    """Split an index of a dim of `size` by chunks."""
    if isinstance(index, slice) and index.step in (None, 1):
        start, stop, _ = index.indices(size)
        for number in range(start // chunk, -(-stop // chunk) if start < stop else 0):
            first = number * chunk
            begin, end = max(start, first), min(stop, first + chunk)
            yield Run(number, slice(begin - first, end - first), slice(begin - start, end - start))
    elif isinstance(index, slice | np.ndarray):
        numbers, inside = np.divmod(np.arange(size)[index], chunk)
        bounds = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        for begin, end in pairwise(bounds):
            if begin < end:
                yield Run(int(numbers[begin]), inside[begin:end], slice(begin, end))
    else:
        number, row = divmod(range(size)[index], chunk)
        yield Run(number, row, None)


def _length(index: Index, size: int) -> int | None:
    """Return how long a dim of `size` is once indexed, None if it is dropped."""
    if isinstance(index, slice):
        return len(range(size)[index])
    return len(np.arange(size)[index]) if isinstance(index, np.ndarray) else None


def _within(chunk: NDArray, inside: Sequence[Index]) -> NDArray:
    """Index each dim for itself, which NumPy does not with more than one array or integer."""
    rest: list[int | slice] = []
    for dim, rows in enumerate(inside):
        if isinstance(rows, np.ndarray):
            chunk = chunk.take(rows, axis=dim)
            rest.append(slice(None))
        else:
            rest.append(rows)
    within: NDArray = chunk[tuple(rest)]
    return within


def _state(path: str) -> tuple[int, ...]:
    """Return what tells a file from another one that took its place."""
    found = os.stat(path)
    return found.st_ino, found.st_mtime_ns, found.st_size


# Mapped once, a chunk is read without a copy, a call of the system or a page to be found. Objects
# appear whole and are never cut short, so that no page of a map can vanish.
@lru_cache(maxsize=_MAPS)
def _mapped(path: str, state: tuple[int, ...]) -> memoryview:
    with open(path, "rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))


_kept = threading.local()


def _scratch(sharding: Sharding) -> NDArray:
    """Return room for one chunk: this thread's, whose pages are at hand."""
    if getattr(_kept, "sharding", None) is not sharding:
        _kept.sharding = sharding
        _kept.chunk = np.empty(sharding.chunk, sharding.dtype)
    chunk: NDArray = _kept.chunk
    return chunk


class _Lazy(BackendArray):
    """A LocalArray as xarray asks for one."""

    def __init__(self, array: LocalArray) -> None:
        self._array = array
        self.shape = array.shape
        self.dtype = array.dtype

    def __getitem__(self, key: ExplicitIndexer) -> Any:
        read = self._array.__getitem__
        return explicit_indexing_adapter(key, self.shape, IndexingSupport.OUTER, read)


def read_locally(dataset: xr.Dataset, path: Path, *, lazy: bool, complete: bool) -> xr.Dataset:
    """Return the dataset of a cube with its variables read by `LocalArray`.

    Parameters
    ----------
    dataset : Dataset
        As xarray opened it without Dask.
    path : Path
        Folder of the cube.
    lazy : bool
        Whether Dask reads them: then some genes with everything of them a task. A selection made
        beforehand still reads the inner chunks that it needs, nothing else.
    complete : bool
        Whether every object must be there. Else one that is not reads as NaN.
    """
    with quiet_zarr():
        arrays = dict(zarr.open_group(path, mode="r").arrays())
    variables = {}
    for name, opened in dataset.data_vars.items():
        array = LocalArray(arrays[str(name)], path / str(name), complete=complete)
        data = LazilyIndexedArray(_Lazy(array))
        variable = xr.Variable(opened.dims, data, opened.attrs, opened.encoding)
        variables[name] = variable.chunk(_task(array, opened.dims)) if lazy else variable
    return dataset.assign(variables)


def _task(array: LocalArray, dims: Sequence[Hashable]) -> dict[Hashable, int]:
    """Return what one task of Dask reads by dim: as many objects along the first as fit."""
    sharding = array.sharding
    shape = [c * n for c, n in zip(sharding.chunk, sharding.grid, strict=True)]
    whole = [min(n, size) for n, size in zip(shape, array.shape, strict=True)]
    whole[0] *= max(1, _TASK_BYTES // (prod(whole) * array.dtype.itemsize))
    return dict(zip(dims, whole, strict=True))
