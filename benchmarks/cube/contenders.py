"""Who writes and reads the workload: each opens its store once and takes indices of NumPy."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from benchmarks.cube.workload import STORAGE, Workload
from zarrbench.predictions.cube import open_cube
from zarrbench.predictions.grid import Block
from zarrbench.predictions.local_array import LocalArray
from zarrbench.predictions.sharding import sharding_of
from zarrbench.predictions.shards import key_of, write_shard
from zarrbench.storage import quiet_zarr

Write = Callable[[int, NDArray[np.float32]], None]
Read = Callable[[Any], NDArray[np.float32]]


@dataclass(frozen=True)
class Contender:
    """One way to keep the workload.

    Attributes
    ----------
    path : Path
        What it fills: a file or folder.
    write : callable, optional
        Takes the number of a gene and its values; none: it reads what another one wrote.
    close : callable
        Called once everything is written.
    open : callable, optional
        Returns what reads an index; none: it only writes.
    """

    name: str
    path: Path
    write: Write | None
    open: Callable[[], Read] | None
    close: Callable[[], None] = lambda: None


def hdf5(workload: Workload, folder: Path, name: str, **storage: Any) -> Contender:
    import h5py

    path = folder / f"{name}.h5"
    file = h5py.File(path, "w")
    dataset = file.create_dataset("prediction", workload.shape, "f4", **storage)
    return Contender(
        f"HDF5, {name}", path, dataset.__setitem__,
        lambda: h5py.File(path)["prediction"].__getitem__, file.close,
    )  # fmt: skip


def blosc_of_hdf5() -> dict[str, Any]:
    """Return the filter that compresses as the cube does."""
    import hdf5plugin

    return dict(hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE))


def bitshuffle_of_hdf5() -> dict[str, Any]:
    import hdf5plugin

    return dict(hdf5plugin.Bitshuffle(cname="zstd", clevel=3))


def npy(workload: Workload, folder: Path) -> Contender:
    """Return files of one gene each, mapped into memory."""
    folder = folder / "npy"
    folder.mkdir()
    paths = [folder / f"{gene}.npy" for gene in range(workload.genes)]

    def open_all() -> Read:
        maps = [np.load(path, mmap_mode="r") for path in paths]

        def read(index: Any) -> NDArray[np.float32]:
            genes, *rest = index
            if isinstance(genes, slice):
                return np.stack([one[tuple(rest)] for one in maps[genes]])
            return np.array(maps[genes][tuple(rest)])

        return read

    return Contender(
        ".npy a gene", folder, lambda gene, values: np.save(paths[gene], values), open_all
    )


def plain_zarr(workload: Workload, folder: Path, name: str, pipeline: str | None) -> Contender:
    """Return a cube that Zarr itself writes and reads."""
    path = folder / f"{name}.zarr"
    workload.create(path)

    def opened(mode: str) -> zarr.Array:
        with through(pipeline), quiet_zarr():
            return zarr.open_group(path, mode=mode)["prediction"]

    array = opened("r+").with_config({"write_empty_chunks": True})
    return Contender(f"Zarr, {name}", path, array.__setitem__, lambda: opened("r").__getitem__)


@contextmanager
def through(pipeline: str | None) -> Iterator[None]:
    with zarr.config.set({} if pipeline is None else {"codec_pipeline.path": pipeline}):
        yield


def zarrbench(workload: Workload, folder: Path) -> list[Contender]:
    """Return ours: the array alone, through xarray with and without Dask, and as a run writes."""
    path, of_run = folder / "cube.zarr", folder / "run.zarr"
    for cube in (path, of_run):
        workload.create(cube)
    with quiet_zarr():
        array = zarr.open_group(path, mode="r")["prediction"]
    sharding = sharding_of(array)
    (path / "prediction").mkdir(exist_ok=True)

    def write(gene: int, values: NDArray[np.float32]) -> None:
        with (path / key_of("prediction", gene, 0, 4)).open("wb") as file:
            file.writelines(sharding.encode(values))

    everyone = Block(0, 0, workload.people)

    def write_as_run(gene: int, values: NDArray[np.float32]) -> None:
        write_shard(of_run, gene, everyone, {"prediction": values}, {}, STORAGE)

    def through_xarray(lazy: bool) -> Read:
        cube = open_cube(path, incomplete="nan", lazy=lazy)["prediction"]
        return lambda index: cube[index].values

    def alone() -> Read:
        return LocalArray(array, path / "prediction").__getitem__

    return [
        Contender("zarrbench", path, write, alone),
        Contender("zarrbench, open_cube(lazy=False)", path, None, lambda: through_xarray(False)),
        Contender("zarrbench, open_cube", path, None, lambda: through_xarray(True)),
        Contender("zarrbench, a run's (checksum, fsync)", of_run, write_as_run, None),
    ]


def size_of(path: Path) -> tuple[int, int]:
    """Return bytes and files of a file or folder."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(os.path.getsize(p) for p in files), len(files)
