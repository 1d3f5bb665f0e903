"""SNVs of one gene as marks: which may be drawn, how many people carry them, which are drivers."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb

from zarrbench.figures.disclosure import MINIMUM_PEOPLE
from zarrbench.figures.panels import scale
from zarrbench.figures.style import CUT, RIGHT, points

# Of one colour, the denser the more carry it: so it can be read on light and on dark pages
CARRIERS = ListedColormap([(*to_rgb(RIGHT), alpha) for alpha in np.linspace(0.4, 1, 31)])


def disclosed(variants: pd.DataFrame, known: list[str], names: list[str]) -> pd.DataFrame:
    """Return the SNVs that may be drawn.

    Those of which fewer than `MINIMUM_PEOPLE` with expression carry the rarer allele are left out,
    since what is said of them would tell of these few.

    Parameters
    ----------
    variants : pd.DataFrame
        Rows of the concordance table of one gene.
    known, names
        Columns that are drawn; those that are `known` must be finite.

    Returns
    -------
    pd.DataFrame
        `position` (1-based), then `names`; how many are left out in ``attrs["left_out"]``.
    """
    shown = variants["minor_carriers"] >= MINIMUM_PEOPLE
    for name in known:
        shown &= np.isfinite(variants[name])
    table = variants.loc[shown, ["variant_position", *names]]
    table = table.rename(columns={"variant_position": "position"}).reset_index(drop=True)
    if "carrier_frequency" in table:  # the last digits would tell how few do not carry it
        table["carrier_frequency"] = table["carrier_frequency"].round(2)
    table.attrs["left_out"] = int((~shown).sum())
    return table


def by_carriers(ax: Axes, x: pd.Series, y: pd.Series, frequency: pd.Series, size: float) -> None:
    """Draw SNVs as points, the denser the more people carry them, with a scale beside them."""
    marks = points(ax, x, y, size, frequency, cmap=CARRIERS, vmin=0, vmax=1, zorder=2)
    scale(ax, marks, "share of people who carry it")


def ring(ax: Axes, x: pd.Series, y: pd.Series, increment: pd.Series) -> None:
    """Ring drivers, with an area that grows with the increment, and name the rings."""
    ax.scatter(x, y, 60 * (1 + 2 * increment.clip(0, 1)), facecolors="none", edgecolors=CUT,
               linewidths=1.2, zorder=3)  # fmt: skip
    ax.scatter([], [], 30, facecolors="none", edgecolors=CUT, linewidths=1.2,
               label=f"driver ({len(x):,})")  # fmt: skip
