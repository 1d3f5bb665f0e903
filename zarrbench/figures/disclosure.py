"""What may be said of people: nothing about fewer than five, wherever a figure counts them."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from zarrbench.statistics.correlation import n_differing

MINIMUM_PEOPLE = 5  # a report says nothing about fewer people than this
_GRIDS = (20, 16, 14, 12, 10, 8, 6, 5, 4, 3, 2, 1)  # cells along an axis, finest first
_DIGITS = 3  # of numbers of people: a plot shows no more
_SHOWN = 0.75  # a grid is coarse enough when it shows this share of the people


def genes_of_many(statistics: xr.Dataset) -> xr.DataArray:
    """Mark the genes whose numbers rest on `MINIMUM_PEOPLE` people or more, (gene,).

    That is, neither fewer have expression nor do fewer differ from all others in their predictions:
    with mean and SD, an r that one carrier decides gives the expression of that carrier.

    Parameters
    ----------
    statistics : xr.Dataset
        Of `zarrbench.layouts.GENE_STATISTICS`.
    """
    people = statistics["n_individuals"].reset_coords(drop=True)
    differing = statistics.get("n_differing", people).reset_coords(drop=True)
    return (people >= MINIMUM_PEOPLE) & ~_few(differing, people)


def few_decide(predicted: np.ndarray) -> bool:
    """Whether predictions of a gene are of fewer than `MINIMUM_PEOPLE`, or differ by so few."""
    differing = int(n_differing(predicted))
    return len(predicted) < MINIMUM_PEOPLE or bool(_few(differing, len(predicted)))


def _few(differing: Any, people: Any) -> Any:
    # Of a handful of people without a majority nobody stands out; of people all alike neither.
    return (differing > 0) & (differing < MINIMUM_PEOPLE) & (2 * differing < people)


def people_in_bins(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count people by whole numbers, without those in bins of fewer than `MINIMUM_PEOPLE`.

    As `people_in_cells` along one axis: at most 40 bins, fewer where that hides too many people.

    Parameters
    ----------
    values : (person,)
        Whole numbers.

    Returns
    -------
    counts, edges : ndarray
        Counts, 0 where suppressed, in bins that end before their upper edge; no count and one edge
        if nothing is left.
    """
    best = np.zeros(0, dtype=int), np.zeros(1)
    if len(values):
        span = values.min(), values.max() + 1
        for bins in (40, 30, *_GRIDS):
            edges = np.asarray(MaxNLocator(bins, integer=True).tick_values(*span))
            counts = np.histogram(values, edges)[0]
            counts[counts < MINIMUM_PEOPLE] = 0
            if counts.sum() > best[0].sum():
                best = counts, edges
            if counts.sum() >= _SHOWN * len(values):
                break
    shown = np.flatnonzero(best[0])
    if not len(shown):
        return best[0][:0], best[1][:1]
    return best[0][shown[0] : shown[-1] + 1], best[1][shown[0] : shown[-1] + 2]


def people_in_cells(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count people in the cells of a grid, without those in cells of fewer than `MINIMUM_PEOPLE`.

    The grid is the finest of a few that still shows three quarters of the people, or the one that
    shows most. It lies on round numbers and its empty margins are cut off, so that its edges do
    not give away the most extreme person.

    Returns
    -------
    counts, x_edges, y_edges : ndarray
        Counts ``(x, y)``, 0 where suppressed; all of size 0 but one edge if nothing is left.
    """
    # A few people far out must not decide the size of the cells: they are not shown anyway.
    outer = 1 if len(x) >= 100 else 0
    spans = [np.percentile(values, [outer, 100 - outer]) for values in (x, y)]
    grids = []
    for side in _GRIDS:
        edges = [np.asarray(MaxNLocator(side).tick_values(*span)) for span in spans]
        counts = np.histogram2d(x, y, edges)[0].astype(int)
        counts[counts < MINIMUM_PEOPLE] = 0
        grids.append((counts, *edges))
        if counts.sum() >= _SHOWN * len(x):
            break
    counts, x_edges, y_edges = max(grids, key=lambda grid: int(grid[0].sum()))
    i, j = np.nonzero(counts)
    if not len(i):
        return counts[:0, :0], x_edges[:1], y_edges[:1]
    within = slice(i.min(), i.max() + 1), slice(j.min(), j.max() + 1)
    return counts[within], x_edges[i.min() : i.max() + 2], y_edges[j.min() : j.max() + 2]


def groups_of_people(x: np.ndarray) -> list[np.ndarray]:
    """Return rows of people in groups by quantiles of x: ten, or fewer of `MINIMUM_PEOPLE` each.

    Of fewer people than that there is no group.
    """
    number = min(10, len(x) // MINIMUM_PEOPLE)
    return np.array_split(np.argsort(x, kind="stable"), number) if number else []


def to_digits_of_span(values: ArrayLike, *spans: ArrayLike) -> np.ndarray:
    """Return numbers of people to three digits of the widest of some spans.

    More digits of a mean would tell how many of a group have which allele, where predictions have
    few values; and however small they all are beside their place, cells stay many steps wide. Where
    nothing spans anything, the digits are significant ones.
    """
    numbers = np.asarray(values, dtype=float)
    span = max((float(np.ptp(one)) for one in spans if np.size(one)), default=0.0)
    if span == 0:
        return np.array([float(f"{number:.{_DIGITS}g}") for number in numbers])
    decimals = _DIGITS - 1 - int(np.floor(np.log10(span)))
    return np.array([round(number, decimals) for number in numbers.tolist()])
