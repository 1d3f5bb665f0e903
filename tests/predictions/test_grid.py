"""Blocks, shards and chunks of cubes of any size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zarrbench.predictions.grid import Grid, Storage, blocks, plan_grid

MOST, HALF_MIB = 1 << 28, 1 << 19


@given(st.integers(1, 10**6), st.integers(1, 6000), st.integers(1, 5), st.sampled_from([2, 4]))
def test_shards_and_chunks_stay_within_bounds(n_individuals, n_tracks, n_bins, itemsize):
    grid = plan_grid(n_individuals, n_tracks, n_bins, itemsize)
    cut = blocks(n_individuals, grid.block_size)
    assert sum(block.stop - block.start for block in cut) == n_individuals
    person = 2 * n_tracks * n_bins * itemsize
    assert grid.block_size == 1 or grid.block_size * person <= MOST + person
    if n_individuals * person <= MOST:
        assert grid.block_size == n_individuals
    one_track = 2 * grid.block_size * itemsize
    assert grid.track_chunk * one_track <= max(HALF_MIB, one_track)
    assert 1 <= grid.track_chunk <= n_tracks
    shard = grid.shard(n_tracks, n_bins)
    assert 0 <= shard["track"] - n_tracks < grid.track_chunk
    assert (shard["gene"], shard["haplotype"], shard["bin"]) == (1, 2, n_bins)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((839, 5313), Grid(839, 64)),  # the study
        ((839, 1), Grid(839, 1)),
        ((839, 16), Grid(839, 16)),
        ((358, 5313), Grid(358, 128)),
        ((839, 5313, 5), Grid(839, 64)),
        ((839, 5313, 1, 2), Grid(839, 128)),
        ((100_000, 5313), Grid(6250, 8)),
        ((839, 5313, 1, 4, 100), Grid(100, 512)),
        ((8, 5313, 1, 4, 100), Grid(8, 5313)),
    ],
)
def test_grids(sizes, expected):
    assert plan_grid(*sizes) == expected


@pytest.mark.parametrize(("dtype", "most"), [("float32", 23), ("float16", 10)])
def test_bits_that_a_type_has(dtype, most):
    Storage(dtype, keepbits=1)
    Storage(dtype, keepbits=most)
    for keepbits in (0, most + 1):
        with pytest.raises(ValueError, match=f"between 1 and {most} for {dtype}"):
            Storage(dtype, keepbits=keepbits)
