"""Ragged arrays: rows of different length in one flat array, and where each begins."""

import numpy as np
from numpy.typing import NDArray


def offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each row begins, and where the last one ends, (row + 1,)."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def take(
    starts: NDArray[np.int64], values: NDArray, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray]:
    """Return the offsets and values of some rows, in the order of `rows`."""
    taken, index = indices(starts, rows)
    return taken, values[index]


def indices(
    starts: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the offsets of some rows, and where in the flat array their values are."""
    first = starts[rows]
    sizes = starts[rows + 1] - first
    taken = offsets(sizes)
    return taken, np.repeat(first - taken[:-1], sizes) + np.arange(taken[-1])
