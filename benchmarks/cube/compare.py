"""Everyone on one workload: written gene by gene in turn, compared, and read in rounds."""

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.cube import contenders
from benchmarks.cube.contenders import Contender, Read
from benchmarks.cube.workload import Workload

#: HDF5 with the codec of the cube: what everyone is divided by
REFERENCE = "HDF5, lz4"

Pick = Callable[[Workload, np.random.Generator], tuple[Any, ...]]
ALL = slice(None)


def _gene(workload: Workload, rng: np.random.Generator) -> tuple[Any, ...]:
    return int(rng.integers(workload.genes)), ALL, ALL, ALL


def _gene_and_track(workload: Workload, rng: np.random.Generator) -> tuple[Any, ...]:
    return (*_gene(workload, rng)[:3], int(rng.integers(workload.tracks)))


def _track(workload: Workload, rng: np.random.Generator) -> tuple[Any, ...]:
    return ALL, ALL, ALL, int(rng.integers(workload.tracks))


def _person_and_track(workload: Workload, rng: np.random.Generator) -> tuple[Any, ...]:
    return (ALL, *(int(rng.integers(n)) for n in workload.shape[1:]))


@dataclass(frozen=True)
class Selection:
    """What is read of a cube.

    Attributes
    ----------
    pick : callable
        Returns an index, drawn.
    goal : float
        How much of the time of HDF5 it may take.
    times : int
        How many such a contender reads, one after the other, before the next one's turn.
    """

    pick: Pick
    goal: float
    times: int


OF_FEW = {
    "a gene, a track": Selection(_gene_and_track, 1.0, 10),
    "a gene": Selection(_gene, 1.0, 2),
    "a person, a track": Selection(_person_and_track, 1.2, 5),
}
OF_MANY = {
    "a track": Selection(_track, 1.2, 2),
    "a person, a track": Selection(_person_and_track, 1.2, 2),
}


@dataclass
class Found:
    """Seconds of one contender: of every gene written, and of every round by what was read."""

    name: str
    size: int = 0
    files: int = 0
    written: list[float] = field(default_factory=list)
    read: dict[str, list[float]] = field(default_factory=dict)


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def assemble(workload: Workload, folder: Path) -> list[Contender]:
    """Return everyone who can run here."""
    everyone = contenders.zarrbench(workload, folder)
    chunks = workload.chunk
    if installed("h5py"):
        hdf5 = contenders.hdf5
        if installed("hdf5plugin"):
            blosc, bitshuffle = contenders.blosc_of_hdf5(), contenders.bitshuffle_of_hdf5()
            everyone += [
                hdf5(workload, folder, "lz4", chunks=chunks, **blosc),
                hdf5(workload, folder, "bitshuffle-zstd", chunks=chunks, **bitshuffle),
            ]
        gzip = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
        everyone += [
            hdf5(workload, folder, "gzip", chunks=chunks, **gzip),
            hdf5(workload, folder, "contiguous"),
        ]
    everyone.append(contenders.plain_zarr(workload, folder, "alone", None))
    if installed("zarrs"):
        pipeline = "zarrs.ZarrsCodecPipeline"
        everyone.append(contenders.plain_zarr(workload, folder, "with zarrs", pipeline))
    return [*everyone, contenders.npy(workload, folder)]


def measured(
    workload: Workload, folder: Path, reads: dict[str, Selection], rounds: int
) -> list[Found]:
    """Write the workload by everyone, then read it in rounds; the order is drawn every time.

    Whoever comes after one that filled the caches or the queue of the disk is slower.
    """
    everyone = assemble(workload, folder)
    found = {each.name: Found(each.name) for each in everyone}
    for gene in range(workload.genes):
        values = workload.gene(gene)
        for each in _shuffled(everyone, gene):
            if each.write is not None:
                found[each.name].written.append(_seconds(each.write, gene, values))
    for each in everyone:
        each.close()
        found[each.name].size, found[each.name].files = contenders.size_of(each.path)
    readers = [(each.name, each.open()) for each in everyone if each.open is not None]
    _check(workload, readers)
    for name, selection in reads.items():
        rng = np.random.default_rng(0)
        for turn in range(rounds):
            indices = [selection.pick(workload, rng) for _ in range(selection.times)]
            for reader, read in _shuffled(readers, turn):
                seconds = sum(_seconds(read, index) for index in indices) / len(indices)
                found[reader].read.setdefault(name, []).append(seconds)
    return list(found.values())


def _shuffled(everyone: Sequence[Any], seed: int) -> list[Any]:
    return [everyone[i] for i in np.random.default_rng(seed).permutation(len(everyone))]


def _seconds(call: Callable[..., Any], *arguments: Any) -> float:
    began = time.perf_counter()
    result = call(*arguments)
    seconds = time.perf_counter() - began
    del result  # what it takes to give memory back is not counted
    return seconds


def _check(workload: Workload, readers: Sequence[tuple[str, Read]]) -> None:
    """Refuse a contender that does not read what was written; this also warms the page cache."""
    for gene in range(workload.genes):
        values = workload.gene(gene)
        for name, read in readers:
            if not np.array_equal(read((gene, ALL, ALL, ALL)), values):
                raise SystemExit(f"{name} does not read the gene {gene} as it was written")
    expected = np.stack([workload.gene(gene)[-1, 1, -1] for gene in range(workload.genes)])
    for name, read in readers:
        last = (ALL, workload.people - 1, 1, workload.tracks - 1)
        if not np.array_equal(read(last), expected):
            raise SystemExit(f"{name} does not read the last person and track as written")


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the ratios of each round."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))
