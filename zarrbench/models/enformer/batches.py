"""Arrays in batches of one size, so that nothing is compiled twice."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Batch:
    """Rows of an array, `count` of them asked for and the others repetitions of the last."""

    rows: NDArray
    count: int


def padded(array: NDArray, size: int) -> Iterator[Batch]:
    """Yield an array in batches of exactly `size` rows."""
    for start in range(0, len(array), size):
        rows = array[start : start + size]
        missing = size - len(rows)
        filled = np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows
        yield Batch(filled, len(rows))
