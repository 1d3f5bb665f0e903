"""`LocalArray` reads what Zarr reads, and says so where an object is not what it was."""

import multiprocessing
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec

from zarrbench.errors import StoreLayoutError
from zarrbench.predictions.local_array import LocalArray, read_locally

SHAPE = (5, 7, 2, 3, 33)


def made(folder: Path, dtype: str = "float32", sharded: bool = True) -> zarr.Array:
    """An array of five genes in blocks of four people with bins; the third gene is not done."""
    array = zarr.create_group(folder).create_array(
        "output",
        shape=SHAPE,
        chunks=(1, 4, 2, 1, 4),
        shards=(1, 4, 2, 3, 36) if sharded else None,
        dtype=dtype,
        fill_value=np.nan,
        compressors=BloscCodec(cname="lz4", typesize=4),
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=("gene", "individual", "haplotype", "bin", "track"),
    )
    numbers = np.random.default_rng(0).random(SHAPE).astype(dtype)
    numbers[3, :, :, 1, 5:20] = np.nan  # whole inner chunks, which Zarr leaves out
    for gene in (0, 1, 3, 4):
        array[gene] = numbers[gene]
    return array


@pytest.fixture(scope="module", params=["float32", "float16", "not sharded"])
def array(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> zarr.Array:
    folder = tmp_path_factory.mktemp("cube")
    if request.param == "not sharded":
        return made(folder, sharded=False)
    return made(folder, request.param)


def local(array: zarr.Array, threads: int = 2) -> LocalArray:
    return LocalArray(array, Path(array.store.root) / "output", threads)


def indices(size: int) -> st.SearchStrategy:
    """An index of a dim: one row, a slice, or some rows in any order."""
    rows = st.lists(st.integers(-size, size - 1), max_size=6)
    return st.one_of(
        st.integers(-size, size - 1),
        st.slices(size),
        rows.map(lambda found: np.array(found, dtype=np.int64)),
    )


@given(st.tuples(*(indices(n) for n in SHAPE)), st.integers(0, len(SHAPE)), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_any_selection_is_that_of_numpy(array, index, n_dims, threads) -> None:
    expected = array[:]
    for dim, rows in reversed(list(enumerate(index[:n_dims]))):
        expected = expected[(slice(None),) * dim + (rows,)]
    found = local(array, threads)[index[:n_dims]]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, expected)


def test_one_index_need_not_be_a_tuple(array) -> None:
    np.testing.assert_array_equal(local(array)[3], array[3])
    with pytest.raises(IndexError):
        local(array)[5]


def test_threads_share_nothing(array) -> None:
    one, expected, wrong = local(array), array[:], []

    def read(seed: int) -> None:
        for gene in np.random.default_rng(seed).integers(0, 5, 40):
            if not np.array_equal(one[int(gene)], expected[gene], equal_nan=True):
                wrong.append(gene)

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert not wrong


def test_other_processes_read_it_too(array) -> None:
    one = local(array)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(one))[1], one[1])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(one.__getitem__, (1,)), one[1])


def damaged(tmp_path: Path, change) -> LocalArray:
    array = made(tmp_path)
    path = tmp_path / "output" / "c.1.0.0.0.0"
    path.write_bytes(change(path.read_bytes()))
    return local(array)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[1:],
        lambda content: content[:-5] + b"\x55" + content[-4:],
        lambda content: b"\x00" * 16 + content[16:],
        lambda content: content[:4] + b"\x01" + content[5:],
        lambda content: content[:2] + b"\xff\xff" + content[4:12] + b"\xff" * 20 + content[32:],
    ],
    ids=["empty", "half", "shifted", "index", "header", "size", "content"],
)
def test_damage_is_said(tmp_path: Path, change) -> None:
    with pytest.raises(StoreLayoutError, match=r"c\.1\.0\.0\.0\.0 cannot be read: .*; remove it"):
        damaged(tmp_path, change)[1]


def test_a_dataset_is_read_lazily_with_and_without_dask(array, monkeypatch) -> None:
    folder, name = Path(array.store.root), "output"
    opened = xr.open_zarr(folder, chunks=None, consolidated=False)
    plain, tasks = (
        read_locally(opened, folder, lazy=lazy, complete=False) for lazy in (False, True)
    )
    assert plain[name].chunks is None
    assert tasks[name].chunks[0] == (5,)
    read = []
    monkeypatch.setattr(
        LocalArray, "_read", lambda self, pieces, out: read.extend(pieces) or out.fill(0)
    )
    for dataset in (plain, tasks):
        dataset[name].isel(gene=[0, 3], track=7, bin=1).mean("haplotype").compute()
    monkeypatch.undo()
    # Two blocks of people: of two genes, and by a task of Dask of all five; one chunk of each.
    assert len(read) == 2 * 2 + 2 * 5
    expected = opened[name].isel(gene=[4, 0], individual=slice(None, None, 3), track=7)
    for dataset in (plain, tasks):
        some = dataset[name].isel(gene=[4, 0], individual=slice(None, None, 3), track=7)
        xr.testing.assert_identical(some.compute(scheduler="synchronous"), expected.load())
        rows = xr.DataArray([0, 1, 4], dims="pair")
        pairs = dataset[name].isel(gene=rows, individual=rows + 1)
        np.testing.assert_array_equal(pairs.values, opened[name].values[[0, 1, 4], [1, 2, 5]])
