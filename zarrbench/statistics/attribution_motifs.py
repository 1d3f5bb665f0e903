"""Whether a driver lies in a motif that the network reads (METHODS section 18).

All from saturation scans: every base of a stretch mutated to every other, entry = prediction of the
mutant - prediction of the base sequence, 0 at the current base, NaN where it is no letter (METHODS
section 11).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from zarrbench.errors import RecipeError

THRESHOLDS = (0.05, 0.1, 0.2, 0.5)

# What the study draws: effects in percent and sizes in bases, all that is larger at the end. The
# section gives the number of edges for effects, not where they lie: here evenly from 0 to the end.
_DRAWN = (0.1, 0.2, 0.5)
_EFFECT_EDGES = np.linspace(0, 100, 22)
_SIZE_EDGES = np.arange(11.0)


@dataclass(frozen=True)
class MotifStatistics:
    """What surrounds the drivers; NaN where a driver's scan or its norm is missing.

    Parameters
    ----------
    thresholds
    s
        Shape (driver,): the profile at the driver. Positive where the base is needed: to mutate it
        lowers the prediction.
    size
        Shape (driver, threshold): bases of the run of one sign that holds the driver, itself
        included; 0 if it does not reach the threshold.
    distance
        Shape (driver, threshold): bases from the driver to the nearest position that reaches the
        threshold, 0 if it does itself. That to the end of the scan says "there or further": the
        last position is not tested.
    value
        Shape (driver, threshold): the profile there, of the two positions at that distance the one
        with the larger magnitude.
    """

    thresholds: tuple[float, ...]
    s: NDArray[np.float64]
    size: NDArray[np.float64]
    distance: NDArray[np.float64]
    value: NDArray[np.float64]


@dataclass(frozen=True)
class ScanSummary:
    """Largest magnitude and standard deviation of scans, shape (...); NaN without an entry."""

    largest: NDArray[np.float64]
    sd: NDArray[np.float64]


def profile(scan: ArrayLike, norm: ArrayLike, alternatives: int = 3) -> NDArray[np.float64]:
    """Return minus the mean effect of mutating each position over a norm, shape (..., position).

    Parameters
    ----------
    scan
        Shape (..., position, 4).
    norm
        Shape (...), above 0: `ScanSummary.largest` of the gene, or its `sd` for z-scores. Anything
        else counts as missing.
    alternatives
        3, as the study's table: a mean over the other bases. 4, as its logos: one over all, the
        current base with its 0 among them.

    Returns
    -------
    ndarray
        NaN where a position or the norm is missing.

    Raises
    ------
    RecipeError
        If `alternatives` is another number.
    ValueError
        If the shapes do not fit.
    """
    if alternatives not in (3, 4):
        raise RecipeError(f"alternatives cannot be {alternatives!r}; use 3 or 4")
    effects = np.asarray(scan, np.float64)
    if effects.ndim < 2 or effects.shape[-1] != 4:
        raise ValueError(f"scans have the shape (..., position, 4), found {effects.shape}")
    divisor = np.asarray(norm, np.float64)
    if divisor.shape != effects.shape[:-2]:
        raise ValueError(f"scans of shape {effects.shape} and norms of {divisor.shape} do not fit")
    divisor = np.where((divisor > 0) & np.isfinite(divisor), divisor, np.nan)
    return -effects.sum(axis=-1) / alternatives / divisor[..., np.newaxis]


def motif_statistics(
    scan: ArrayLike, norm: ArrayLike, thresholds: Sequence[float] = THRESHOLDS
) -> MotifStatistics:
    """Return effect, size, distance and value of drivers at each threshold.

    Parameters
    ----------
    scan
        Shape (driver, position, 4), the driver at the centre. A missing position ends a run and
        reaches no threshold.
    norm
        Shape (driver,): the largest magnitude of the gene's scan about its TSS. With its standard
        deviation instead, give thresholds of z-scores (the study's: 1.64, 1.96, 2.58, 3.29).
    thresholds
        Above 0.

    Raises
    ------
    ValueError
        If the shapes do not fit, or there is no centre with a position on either side.
    """
    m = profile(scan, norm)
    if m.ndim != 2 or m.shape[1] % 2 == 0 or m.shape[1] < 3:
        raise ValueError(
            "scans of drivers have shape (driver, position, 4) with an odd number of positions "
            f"from 3, found {np.shape(scan)}"
        )
    half = m.shape[1] // 2
    s = m[:, half]
    right, left = m[:, half + 1 :], m[:, half - 1 :: -1]
    theta = np.asarray(thresholds, np.float64)
    missing = np.isnan(s)[:, np.newaxis]

    reached = np.abs(s)[:, np.newaxis] >= theta
    run = 1 + sum(_run(np.sign(s)[:, np.newaxis] * side, theta) for side in (right, left))
    distance = np.where(reached, 0, _first(np.maximum(_magnitude(right), _magnitude(left)), theta))
    ends = [np.take_along_axis(m, half + way * distance, axis=1) for way in (1, -1)]
    value = np.where(_magnitude(ends[0]) >= _magnitude(ends[1]), *ends)
    return MotifStatistics(
        tuple(thresholds),
        s,
        np.where(missing, np.nan, np.where(reached, run, 0)),
        np.where(missing, np.nan, distance),
        np.where(missing, np.nan, value),
    )


def _magnitude(values: NDArray) -> NDArray[np.float64]:
    """Return |values|, and less than any for NaN."""
    return np.where(np.isnan(values), -1.0, np.abs(values))


def _run(side: NDArray, theta: NDArray) -> NDArray[np.int64]:
    """Return how many positions from the first on reach each threshold, shape (row, threshold)."""
    return (side[..., np.newaxis] >= theta).cumprod(axis=1).sum(axis=1)


def _first(side: NDArray, theta: NDArray) -> NDArray[np.int64]:
    """Return the place, from 1, of the first position that reaches each threshold, or the last."""
    reaches = side[..., np.newaxis] >= theta
    reaches[:, -1] = True
    return reaches.argmax(axis=1) + 1


def scan_summary(scan: ArrayLike) -> ScanSummary:
    """Return the largest magnitude and the standard deviation of scans about a TSS.

    The entry of the current base, which is 0 by construction, is not counted: of each position,
    one 0 is left out (METHODS section 18 recommends it; the study does not say). Divisor n.

    Parameters
    ----------
    scan
        Shape (..., position, 4); a position with a NaN is left out.
    """
    effects = np.asarray(scan, np.float64)
    known = np.asarray(np.isfinite(effects).all(axis=-1))
    effects = np.where(known[..., np.newaxis], effects, 0.0)
    rows = known.sum(axis=-1)
    n = np.where(rows > 0, 3.0 * rows, np.nan)
    mean = effects.sum(axis=(-2, -1)) / n
    deviations = np.where(known[..., np.newaxis], effects - mean[..., np.newaxis, np.newaxis], 0.0)
    # without the deviation of one 0 a position
    squares = (deviations**2).sum(axis=(-2, -1)) - rows * mean**2
    largest = np.abs(effects).max(axis=(-2, -1), initial=0.0)
    sd = np.sqrt(np.maximum(squares, 0.0) / n)
    return ScanSummary(np.where(rows > 0, largest, np.nan), sd)


def reverse_cumulative(
    reference: MotifStatistics,
    variant: MotifStatistics,
    supported: ArrayLike,
    unsupported: ArrayLike,
) -> pd.DataFrame:
    """Return the reverse-cumulative histograms that the study draws of its drivers.

    Of each driver the larger |s| and the larger sizes of the two scans count. A driver without
    either takes no part. The study's last bin holds all that is larger, so that a share at an edge
    is that of drivers at or above it.

    Parameters
    ----------
    reference, variant
        Of scans of the same drivers, from either base; with the thresholds 0.1, 0.2 and 0.5.
    supported, unsupported
        bool, shape (driver,): the groups, whose rest is drawn in neither.

    Returns
    -------
    DataFrame
        quantity ("s", "size"), threshold (NaN for s), group ("supported", "unsupported"), edge
        (percent of the norm, or bases), share (NaN for a group of nobody) and n, the drivers of the
        group.

    Raises
    ------
    ValueError
        If a threshold is missing.
    """
    effect = 100 * np.maximum(np.abs(reference.s), np.abs(variant.s))
    drawn = [("s", np.nan, effect, _EFFECT_EDGES)]
    for threshold in _DRAWN:
        sizes = [one.size[:, one.thresholds.index(threshold)] for one in (reference, variant)]
        drawn.append(("size", threshold, np.maximum(*sizes), _SIZE_EDGES))
    groups = {
        "supported": np.asarray(supported, bool),
        "unsupported": np.asarray(unsupported, bool),
    }
    parts = []
    for quantity, threshold, values, edges in drawn:
        for group, members in groups.items():
            counted = values[members & ~np.isnan(values)]
            n = len(counted)
            above = (counted[:, np.newaxis] >= edges[:-1]).sum(axis=0)
            parts.append(
                pd.DataFrame(
                    {
                        "quantity": quantity,
                        "threshold": threshold,
                        "group": group,
                        "edge": edges[:-1],
                        "share": above / n if n else np.nan,
                        "n": n,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)
