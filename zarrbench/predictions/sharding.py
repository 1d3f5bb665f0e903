"""The objects of a cube's arrays: inner chunks of Blosc one after the other, then their index.

They are those of Zarr, byte for byte. Zarr takes each inner chunk through an event loop, which
costs more than the work; here an object is made at once, by plain calls on threads.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from math import prod
from struct import Struct
from typing import Any

import google_crc32c
import numpy as np
import zarr
from dask.system import CPU_COUNT
from numcodecs import Blosc, blosc
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec

from zarrbench.errors import StoreLayoutError

# An entry of the index: offset and size of a chunk, both MISSING where it was not written
ENTRY = Struct("<QQ")
MISSING = 2**64 - 1
_CHECKSUM_BYTES = 4
# Chunks that a thread encodes before it hands them over, which costs 40 us
_BATCH = 8
# In the header of Blosc: bytes of what it holds, and its own
_HEADER, _HEADER_BYTES = Struct("<4xI4xI"), 16


@dataclass(frozen=True)
class Sharding:
    """How the numbers of an array lie in its objects.

    Attributes
    ----------
    chunk : tuple of int
        Shape of an inner chunk.
    grid : tuple of int
        Inner chunks of an object along each dim.
    indexed : bool
        Whether objects end with an index. Where one chunk is the whole object they have none.
    """

    chunk: tuple[int, ...]
    grid: tuple[int, ...]
    dtype: np.dtype
    fill_value: Any
    codec: Blosc
    indexed: bool

    @cached_property
    def index_bytes(self) -> int:
        return ENTRY.size * prod(self.grid) + _CHECKSUM_BYTES if self.indexed else 0

    @cached_property
    def chunk_bytes(self) -> int:
        return prod(self.chunk) * self.dtype.itemsize

    @cached_property
    def no_chunks(self) -> bytes:
        """Return the entries of an object of which no chunk was written."""
        return ENTRY.pack(MISSING, MISSING) * prod(self.grid)

    def encode(self, values: NDArray, threads: int | None = None) -> Iterator[bytes]:
        """Yield, part by part, the object that begins with `values`, the same that Zarr writes.

        What is missing to a whole object is filled up, and every chunk is there, also one of fill
        values only.

        Parameters
        ----------
        values : array
            Its leading dims of length 1 may be left out.
        threads : int, optional
            By default this process's share of the cores.
        """
        threads = threads or int(os.environ.get("OMP_NUM_THREADS", CPU_COUNT))
        values = values.reshape((1,) * (len(self.grid) - values.ndim) + values.shape)
        whole = tuple(c * n for c, n in zip(self.chunk, self.grid, strict=True))
        if any(size > most for size, most in zip(values.shape, whole, strict=True)):
            raise ValueError(f"values of shape {values.shape} in an object of shape {whole}")
        places = list(np.ndindex(self.grid))
        batches = [places[i : i + _BATCH] for i in range(0, len(places), _BATCH)]
        sizes = []
        with ThreadPoolExecutor(threads) as pool:
            each = pool.map if min(threads, len(batches)) > 1 else map
            for chunks in each(lambda batch: self._encode_chunks(values, batch), batches):
                sizes += [len(chunk) for chunk in chunks]
                yield from chunks
        if self.indexed:
            yield _index(sizes)

    def _encode_chunks(self, values: NDArray, places: Sequence[tuple[int, ...]]) -> list[bytes]:
        chunk = np.empty(self.chunk, self.dtype)
        encoded = []
        for place in places:
            starts = [p * n for p, n in zip(place, self.chunk, strict=True)]
            part = values[tuple(slice(s, s + n) for s, n in zip(starts, self.chunk, strict=True))]
            if part.shape != self.chunk:
                chunk.fill(self.fill_value)
            copy(part, chunk[tuple(slice(n) for n in part.shape)])
            encoded.append(self.codec.encode(chunk))
        return encoded

    def index(self, content: memoryview) -> bytes:
        """Return the entries of an object's chunks, in C order."""
        if not self.indexed:
            return ENTRY.pack(0, len(content))
        entries = bytes(content[-self.index_bytes : -_CHECKSUM_BYTES])
        if len(content) < self.index_bytes or content[-_CHECKSUM_BYTES:] != _checksum(entries):
            raise ValueError("its index is damaged")
        return entries

    def decode(self, encoded: memoryview, chunk: NDArray) -> None:
        """Decode one chunk into `chunk`, of the shape and type of this array."""
        if len(encoded) < _HEADER_BYTES or _HEADER.unpack_from(encoded) != (
            self.chunk_bytes,
            len(encoded),
        ):
            raise ValueError("a chunk of it has another size")
        try:
            blosc.decompress(encoded, chunk)
        except RuntimeError as error:
            raise ValueError("a chunk of it is damaged") from error


def sharding_of(array: zarr.Array) -> Sharding:
    """Return how an array of a cube lies in its objects.

    Raises
    ------
    StoreLayoutError
        If it is stored in a way that cubes are not.
    """
    codecs = array.metadata.codecs
    match codecs:
        case (
            ShardingCodec(
                codecs=inner, index_codecs=(BytesCodec(), Crc32cCodec()), index_location=location
            ),
        ) if location.value == "end":
            indexed = True
        case _:
            inner, indexed = codecs, False
    match inner:
        case (BytesCodec(endian=order), BloscCodec() as compressor) if order.value == "little":
            codec = _blosc(compressor)
        case _:
            raise StoreLayoutError(f"{array.store_path} is not stored as cubes are: {codecs}")
    shard = array.shards or array.chunks
    return Sharding(
        chunk=array.chunks,
        grid=tuple(s // c for s, c in zip(shard, array.chunks, strict=True)),
        dtype=array.dtype.newbyteorder("<"),
        fill_value=array.fill_value,
        codec=codec,
        indexed=indexed,
    )


def _blosc(codec: BloscCodec) -> Blosc:
    named = codec.to_dict()["configuration"]
    shuffles = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}
    return Blosc(**{**named, "shuffle": shuffles[named["shuffle"]]})


def copy(source: NDArray, target: NDArray) -> None:
    """Copy `source` into `target` of its shape; runs of their last dim move as one item each."""
    size = source.itemsize
    if (
        source.size
        and source.dtype == target.dtype
        and source.strides[-1:] == target.strides[-1:] == (size,)
    ):
        run = f"V{size * source.shape[-1]}"
        source, target = source.view(run), target.view(run)
    target[...] = source


def _index(sizes: Sequence[int]) -> bytes:
    entries = np.empty((len(sizes), 2), "<u8")
    entries[:, 1] = sizes
    entries[:, 0] = np.cumsum(entries[:, 1]) - entries[:, 1]
    content = entries.tobytes()
    return content + _checksum(content)


def _checksum(content: bytes) -> bytes:
    return int(google_crc32c.value(content)).to_bytes(_CHECKSUM_BYTES, "little")
