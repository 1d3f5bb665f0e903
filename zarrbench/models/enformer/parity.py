"""Is our forward the released model? One sequence through both, ours on the way of a run."""

from dataclasses import dataclass

import numpy as np

from zarrbench.models.enformer.architecture import Architecture
from zarrbench.models.enformer.forward import Batches, Forward
from zarrbench.models.enformer.saved_model import Released, Stock
from zarrbench.models.enformer.trial import middle_bins, trial
from zarrbench.models.enformer.weights import Arrays

#: Largest difference, relative to the range of the output, at which the two are the same network:
#: rounding is worth 1e-5, anything misplaced more than 1e-2
TOLERANCE = 1e-4
#: as much at once as one sequence needs
ONE = Batches(sequences=1, tiles=64, rows=2048)


@dataclass(frozen=True)
class Parity:
    """How far our forward is from the released model.

    Attributes
    ----------
    difference : float
        The largest one, of all human tracks of the middle bins.
    span : float
        Highest less lowest output of the released model there.
    """

    difference: float
    span: float

    @property
    def relative(self) -> float:
        return self.difference / self.span if self.span > 0 else np.inf

    @property
    def same(self) -> bool:
        return bool(self.relative <= TOLERANCE)


def compare(
    released: Released, architecture: Architecture, arrays: Arrays, batches: Batches = ONE
) -> Parity:
    """Send a random sequence through both, in float32: ours cut into tiles, in full batches."""
    personal = trial(architecture)
    bins = middle_bins(architecture)
    [stock] = Stock(released, 1, precision="float32").window(personal, bins)
    [ours] = Forward(architecture, arrays, batches, precision="float32").window(personal, bins)
    return Parity(float(np.abs(ours - stock).max()), float(np.ptp(stock)))
