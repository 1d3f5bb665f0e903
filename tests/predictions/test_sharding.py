"""The objects that `sharding` makes are those of Zarr."""

from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from zarr.codecs import BloscCodec, BytesCodec, GzipCodec
from zarr.storage import MemoryStore

from zarrbench.errors import StoreLayoutError
from zarrbench.predictions.sharding import copy, sharding_of


def array_of(
    shape: tuple[int, ...],
    chunk: tuple[int, ...],
    grid: tuple[int, ...] | None,
    dtype: str = "float32",
    **changes: Any,
) -> zarr.Array:
    """An empty array as `create_cube` makes it; without a grid every chunk is an object."""
    size = np.dtype(dtype).itemsize
    codec = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=size)
    shards = grid and tuple(c * n for c, n in zip(chunk, grid, strict=True))
    made = {"dtype": dtype, "fill_value": np.nan, "compressors": codec, **changes}
    return zarr.create_array(
        MemoryStore(), shape=shape, chunks=chunk, shards=shards,
        config={"write_empty_chunks": True}, **made,
    )  # fmt: skip


def objects(array: zarr.Array) -> dict[str, bytes]:
    """What a memory store holds, without metadata."""
    held = array.store._store_dict
    return {key: value.to_bytes() for key, value in held.items() if key.startswith("c")}


@st.composite
def cubes(draw: st.DrawFn) -> tuple[zarr.Array, np.ndarray]:
    """One gene of an odd size, of a cube with or without bins, and an array that takes it."""
    n_people, n_tracks = draw(st.integers(1, 9)), draw(st.integers(1, 13))
    n_bins = draw(st.sampled_from([None, 1, 3]))
    block, width = draw(st.integers(n_people, 11)), draw(st.integers(1, 13))
    dtype = draw(st.sampled_from(["float32", "float16"]))
    bins = () if n_bins is None else (n_bins,)
    numbers = hnp.from_dtype(np.dtype(dtype), allow_nan=True, allow_infinity=True)
    shape = (n_people, 2, *bins, n_tracks)
    fill = st.sampled_from([numbers, st.just(np.nan)])
    values = draw(hnp.arrays(dtype, shape, elements=draw(fill)))
    grid = (1, 1, 1, *bins, -(-n_tracks // width))
    chunk = (1, block, 2, *(1 for _ in bins), width)
    sharded = draw(st.booleans()) or grid != (1,) * len(grid)
    array = array_of((1, *shape), chunk, grid if sharded else None, dtype)
    return array, values


@given(cubes(), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_objects_are_those_of_zarr(made: tuple[zarr.Array, np.ndarray], threads: int) -> None:
    array, values = made
    ours = b"".join(sharding_of(array).encode(values, threads))
    array[0] = values
    [(key, theirs)] = objects(array).items()
    if values.ndim == 3:  # Zarr takes more than one dim of chunks in an order of its own
        assert ours == theirs
    array.store._store_dict[key] = array.store._store_dict[key].from_bytes(ours)
    np.testing.assert_array_equal(array[0], values)


def test_many_chunks_are_the_same_on_any_number_of_threads() -> None:
    array = array_of((1, 7, 2, 301), (1, 7, 2, 2), (1, 1, 1, 151))
    values = np.random.default_rng(0).random((7, 2, 301), dtype=np.float32)
    array[0] = values
    [theirs] = objects(array).values()
    of = sharding_of(array)
    assert {b"".join(of.encode(values, threads)) for threads in (1, 2, 5)} == {theirs}


def test_values_are_taken_as_they_lie() -> None:
    array = array_of((1, 4, 2, 6), (1, 4, 2, 4), (1, 1, 1, 2))
    values = np.random.default_rng(0).random((6, 2, 4), dtype=np.float32)
    turned = b"".join(sharding_of(array).encode(values.T))
    assert turned == b"".join(sharding_of(array).encode(np.ascontiguousarray(values.T)))


@pytest.mark.parametrize(
    "changes",
    [
        {"compressors": GzipCodec()},
        {"compressors": None},
        {"serializer": BytesCodec(endian="big")},
    ],
)
@pytest.mark.parametrize("grid", [None, (1, 1, 1, 2)])
def test_other_codecs_are_refused(changes: dict[str, Any], grid: tuple[int, ...] | None) -> None:
    array = array_of((1, 4, 2, 6), (1, 4, 2, 3), grid, **changes)
    with pytest.raises(StoreLayoutError, match="not stored as cubes are"):
        sharding_of(array)


@given(hnp.arrays("f4", st.tuples(*[st.integers(0, 4)] * 3)), st.permutations(range(3)))
@settings(deadline=None)
def test_copy(values: np.ndarray, order: list[int]) -> None:
    source = values.transpose(order)
    for target in (np.zeros(source.shape, "f4"), np.zeros((*source.shape, 2), "f8")[..., 1]):
        copy(source, target)
        np.testing.assert_array_equal(target, source)
