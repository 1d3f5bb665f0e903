"""Figures of people: never one alone, unless the pipeline asks for it."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.ticker import MaxNLocator

from zarrbench.figures import disclosure
from zarrbench.figures.style import NEUTRAL, RIGHT, WRONG, colour_bar, labelled, r_and_number, say
from zarrbench.statistics import correlation


def predicted_against_observed(
    predicted: xr.DataArray, observed: xr.DataArray, ax: Axes, individual_points: bool = False
) -> pd.DataFrame:
    """Draw predicted against observed expression of one gene, r in the title.

    No single person is drawn unless `individual_points` is set. Cells of a grid hold at least
    `disclosure.MINIMUM_PEOPLE` people, sparser ones stay empty; the points are means of at least as
    many, grouped by quantiles of observed expression. The axes end with what is shown.

    Parameters
    ----------
    predicted, observed : xr.DataArray
        ``(individual,)``, joined by label if they have labels. People with NaN are left out.

    Returns
    -------
    pd.DataFrame
        A row for each mark: `mark` ("cell", "group" or, with `individual_points`, "person"),
        `observed` and `predicted` (centre of the cell, mean of the group), `people`. Attributes:
        `r` (NaN if undefined), `people`, `suppressed` (people in cells not shown), `groups`.
    """
    predicted, observed = xr.align(predicted, observed, join="inner")
    x, y = np.asarray(observed, dtype=float), np.asarray(predicted, dtype=float)
    x, y = np.stack([x, y])[:, np.isfinite(x) & np.isfinite(y)]
    r = float(correlation.pearson(x, y).r)
    labelled(ax, "observed expression", "predicted expression")
    ax.set_title(r_and_number(r, len(x), "people"), fontsize=9)
    accent = NEUTRAL if np.isnan(r) else RIGHT if r > 0 else WRONG
    counts, groups = np.zeros((0, 0), dtype=int), []
    marks = pd.DataFrame({"mark": "person", "observed": x, "predicted": y, "people": 1})
    if individual_points:
        ax.scatter(x, y, 12, accent, alpha=0.6, linewidths=0)
    elif disclosure.few_decide(y):
        say(ax, f"fewer than {disclosure.MINIMUM_PEOPLE} people decide it:\nnot drawn")
        marks, r = marks[:0], float("nan")
        ax.set_title(f"{len(x):,} people", fontsize=9)
    else:
        counts, *edges = disclosure.people_in_cells(x, y)
        centres = [(along[1:] + along[:-1]) / 2 for along in edges]
        groups = disclosure.groups_of_people(x)
        of_groups = []
        for along, spanned in zip((x, y), edges, strict=True):
            means = [along[group].mean() for group in groups]
            of_groups.append(disclosure.to_digits_of_span(means, spanned, means))
        rows = [
            ("group", *means, len(group)) for *means, group in zip(*of_groups, groups, strict=True)
        ]
        for i, j in np.argwhere(counts):
            rows.append(("cell", centres[0][i], centres[1][j], counts[i, j]))
        marks = pd.DataFrame(rows, columns=marks.columns)
        if counts.any():
            _draw_cells(ax, counts, *edges)
        ax.plot(*of_groups, "-o", color=accent, mec="w", clip_on=False)
    hidden = 0 if individual_points else len(x) - int(counts.sum())
    marks.attrs.update(r=r, people=len(x), suppressed=hidden, groups=len(groups))
    return marks


def _draw_cells(ax: Axes, counts: np.ndarray, x_edges: np.ndarray, y_edges: np.ndarray) -> None:
    """Draw the cells as ink, the denser the more people, with a scale of its own."""
    levels = ListedColormap([(0, 0, 0, alpha) for alpha in np.linspace(0.09, 0.5, 12)])
    lowest, cells = disclosure.MINIMUM_PEOPLE, np.ma.masked_equal(counts.T, 0)
    highest = max(int(counts.max()), lowest + 1)
    mesh = ax.pcolormesh(x_edges, y_edges, cells, cmap=levels, vmin=lowest, vmax=highest)
    scale = colour_bar(ax, mesh, "people in a cell")
    scale.locator = MaxNLocator(4, integer=True)
