"""A window to try a network on: what it gives means nothing, but must be the same everywhere."""

import numpy as np

from zarrbench.genome.coordinates import Window
from zarrbench.haplotypes.edits import Edits
from zarrbench.haplotypes.sequences import PersonalWindow, distinct
from zarrbench.models.enformer.architecture import Architecture

_BINS_EACH_SIDE = 2


def middle_bins(architecture: Architecture) -> range:
    """Return the five bins that the study asks for, or those of a smaller network."""
    middle = architecture.output_bins // 2
    return range(
        max(0, middle - _BINS_EACH_SIDE),
        min(architecture.output_bins, middle + _BINS_EACH_SIDE + 1),
    )


def trial(architecture: Architecture) -> PersonalWindow:
    """Return a window in which everybody has one random sequence, a stretch of it no letters."""
    length = architecture.input_length
    codes = np.random.default_rng(0).integers(0, 4, length, dtype=np.uint8)
    codes[length // 4 : length // 4 + 200] = 4
    nowhere, nobody = np.zeros(0, dtype=np.int64), np.zeros((0, 2), dtype=bool)
    none = Edits(
        starts=nowhere,
        ends=nowhere,
        offsets=np.zeros(1, dtype=np.int64),
        bases=np.zeros(0, dtype=np.uint8),
        carried=nobody,
        inside=np.zeros(0, dtype=bool),
        unknown=None,
        counts={},
    )
    return distinct(none, codes, Window("trial", 0, length))
