"""Linkage disequilibrium: which variants of a window tell the same, and a set that does not."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zarrbench.statistics.variants import mean_imputed

# Variants that are compared with each other at once
_TILE = 256


@dataclass(frozen=True)
class _Variants:
    """Dosages (variant, individual), their sums and sums of squares about the mean, and places."""

    dosage: NDArray[np.float64]
    total: NDArray[np.float64]
    variance: NDArray[np.float64]
    contig: NDArray[np.int64]
    position: NDArray[np.int64]

    @classmethod
    def of(
        cls, calls: NDArray, contig: NDArray[np.int64], position: NDArray[np.int64]
    ) -> "_Variants":
        dosage = mean_imputed(calls)
        total = dosage.sum(axis=1)
        variance = np.vecdot(dosage, dosage) - total**2 / dosage.shape[1]
        return cls(dosage, total, variance, contig, position)

    def __getitem__(self, rows: NDArray) -> "_Variants":
        return _Variants(*(values[rows] for values in vars(self).values()))

    def followed_by(self, other: "_Variants") -> "_Variants":
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return _Variants(*(np.concatenate(pair) for pair in pairs))

    def alike(self, other: "_Variants", window: int, max_r2: float) -> NDArray[np.bool_]:
        """Return which pairs (own, other) lie within the window and have an r² above `max_r2`.

        Products of whole numbers are exact, so that the bits do not depend on what is compared at
        once.
        """
        near = np.abs(self.position[:, np.newaxis] - other.position) <= window
        near &= self.contig[:, np.newaxis] == other.contig
        means = np.multiply.outer(self.total, other.total) / self.dosage.shape[1]
        covariance = self.dosage @ other.dosage.T - means
        return near & (covariance**2 > max_r2 * np.multiply.outer(self.variance, other.variance))


def ld_pruned(
    blocks: Iterable[NDArray],
    contig: ArrayLike,
    position: ArrayLike,
    window: int = 500_000,
    max_r2: float = 0.2,
) -> NDArray[np.bool_]:
    """Return which variants to keep, so that no two of them in a window correlate.

    A variant is kept unless its r² with one kept before it, on its contig and at most `window`
    bases away, is above `max_r2`; in the order given, so that the first of a group stands for it.
    r² is that of dosages, missing calls at their variant's mean. A variant that does not vary is
    not kept. Only the variants kept within a window are held, so that memory does not grow with
    the genome; sgkit's `ld_prune` lists all pairs above the threshold, which are thousands for
    each common variant.

    Parameters
    ----------
    blocks
        Dosages (variant, individual) of consecutive variants, -1 = missing.
    contig, position
        Shape (variant,) of all blocks together: contig after contig, positions rising.

    Returns
    -------
    ndarray
        bool, shape (variant,).
    """
    _, contigs = np.unique(np.asarray(contig).astype(object), return_inverse=True)
    positions = np.asarray(position, np.int64)
    keep = np.zeros(positions.size, dtype=bool)
    kept: _Variants | None = None
    start = 0
    for block in blocks:
        for first in range(0, len(block), _TILE):
            calls = np.asarray(block[first : first + _TILE])
            here = slice(start, start + len(calls))
            tile = _Variants.of(calls, contigs[here], positions[here])
            alive = tile.variance > 1e-9
            if kept is not None:
                reached = kept.contig == contigs[start]
                kept = kept[reached & (positions[start] - kept.position <= window)]
                alive &= ~tile.alike(kept, window, max_r2).any(axis=1)
            alike = tile.alike(tile, window, max_r2)
            for row in np.flatnonzero(alive):
                if alive[row]:
                    alive[row + 1 :] &= ~alike[row, row + 1 :]
            keep[here] = alive
            kept = tile[alive] if kept is None else kept.followed_by(tile[alive])
            start += len(calls)
    return keep
