"""How numbers come to be kept in a cube."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from zarrbench.errors import ModelInputError, StorageError
from zarrbench.predictions.cube import open_cube
from zarrbench.predictions.grid import Block, Storage
from zarrbench.predictions.readouts import Readout
from zarrbench.predictions.run import fill_cube
from zarrbench.predictions.shards import kept, write_shard

NUMBERS = arrays.arrays(
    np.float32, (3, 2, 4), elements=st.floats(-6e4, 6e4, width=32, allow_subnormal=False)
)


@given(NUMBERS, st.integers(1, 23))
def test_bits_that_are_kept_bound_the_error(values, keepbits):
    rounded = kept(values, Storage(keepbits=keepbits))
    assert rounded.dtype == np.float32
    error = np.abs(rounded.astype(float) - values)
    assert (error <= 2.0 ** -(keepbits + 1) * np.abs(values.astype(float)) * (1 + 1e-6)).all()
    if keepbits < 23:
        assert (rounded.view(np.uint32) & ((1 << (23 - keepbits)) - 1) == 0).all()


@given(NUMBERS)
def test_half_precision_is_that_of_numpy(values):
    assert np.array_equal(kept(values, Storage("float16")), values.astype(np.float16))
    assert kept(values, Storage()) is not None
    assert np.array_equal(kept(values, Storage()), values)


@pytest.mark.parametrize("storage", [Storage("float16"), Storage("float16", keepbits=3)])
def test_what_is_too_large_is_refused(storage):
    values = np.array([1.0, -70_000.0], np.float32)
    with pytest.raises(ModelInputError, match=r"70000 is too large for a cube of float16; set 'd"):
        kept(values, storage)
    rounds_up = np.array([65_504.0], np.float32)
    if storage.keepbits is None:
        assert kept(rounds_up, storage) == 65_504
    else:
        with pytest.raises(ModelInputError, match="too large"):
            kept(rounds_up, storage)


def test_nan_stays_nan():
    values = np.array([np.nan, 1.5], np.float32)
    for storage in (Storage(), Storage("float16"), Storage(keepbits=4)):
        assert np.array_equal(kept(values, storage), values, equal_nan=True)


@pytest.mark.parametrize(
    "storage",
    [
        Storage(codec="zstd"),
        Storage(keepbits=7),
        Storage("float16"),
        Storage("float16", "zstd", 5),
    ],
)
def test_a_cube_in_another_storage_has_the_same_numbers_but_for_rounding(
    planned, job_of, client, tmp_path: Path, storage
):
    cubes = {}
    for name, chosen in {"plain": Storage(), "other": storage}.items():
        plan = planned(readout=Readout("log_sum"), storage=chosen, store_bins=True, block_size=8)
        job = job_of(plan, tmp_path / f"{name}.zarr")
        assert fill_cube(plan, job, client, "GPU").failed == {}
        cubes[name] = open_cube(job.cube).load()
        size = sum(p.stat().st_size for p in (job.cube / "prediction").glob("c.*"))
        assert size > 0
    for name, expected in cubes["plain"].data_vars.items():
        found = cubes["other"][name]
        assert found.dtype == storage.dtype
        np.testing.assert_array_equal(found.values, kept(expected.values, storage))
    plainly = xr.open_zarr(tmp_path / "other.zarr")
    np.testing.assert_array_equal(plainly.prediction.values, cubes["other"].prediction.values)


def test_a_cube_that_is_gone_is_not_made_again(planned, job_of, client, tmp_path: Path):
    plan = planned()
    job = job_of(plan, tmp_path / "c.zarr")
    fill_cube(plan, job, client, "GPU", 1)
    job.cube.rename(tmp_path / "elsewhere.zarr")
    people = {"prediction": np.zeros((19, 2, 3), np.float32)}
    references = {"prediction": np.zeros(3, np.float32)}
    with pytest.raises(StorageError, match=r"c\.zarr is gone: it was removed, renamed"):
        write_shard(job.cube, 0, Block(0, 0, 19), people, references, Storage())
    assert not job.cube.exists()
