"""Figures of the network beside PrediXcan, after METHODS section 10."""

import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from zarrbench.figures.disclosure import MINIMUM_PEOPLE
from zarrbench.figures.scatter import finite_genes
from zarrbench.figures.style import (
    CUT,
    NEUTRAL,
    RIGHT,
    identity_line,
    labelled,
    legend,
    points,
    r_and_number,
    say,
)
from zarrbench.statistics.correlation import pearson

_CUT = 0.2  # signed r of a gene that counts as predicted


def network_against_predixcan(
    compared: xr.Dataset, significant: xr.DataArray, ax: Axes, absolute: bool = False
) -> pd.DataFrame:
    """Draw r of the network against r of PrediXcan (Fig. 2c), or |r| of the network (S4).

    Dark points are significant (in the study: q <= 0.05). Red lines stand at 0.2, for signed r also
    at -0.2, a cross at the two means. The line where both are the same is drawn for |r|.

    Parameters
    ----------
    compared : xr.Dataset
        Of `zarrbench.layouts.PREDIXCAN`. Genes of which fewer than `MINIMUM_PEOPLE` people are
        compared are left out.
    significant : xr.DataArray
        ``(gene,)``, bool, with gene ids: r of the network against its null. Genes that it lacks
        are not significant.
    ax : Axes
    absolute : bool

    Returns
    -------
    pd.DataFrame
        `gene_id`, `gene_name`, `r_predixcan`, `r_network` (|r| if `absolute`), `significant`;
        the correlation of the two in ``attrs["r"]``.
    """
    of_genes = significant.reindex(gene=compared["gene"], fill_value=False).astype(bool)
    of_network = compared["r_network"].where(compared["n_individuals"] >= MINIMUM_PEOPLE)
    table = finite_genes(
        compared,
        r_predixcan=compared["r_predixcan"],
        r_network=abs(of_network) if absolute else of_network,
        significant=of_genes,
    )
    labelled(ax, "r of PrediXcan", "|r| of the network" if absolute else "r of the network")
    x, y, dark = table["r_predixcan"], table["r_network"], table["significant"]
    table.attrs["r"] = r = float(pearson(x, y).r)
    if table.empty:
        say(ax, "no gene has both r")
        return table
    for label, colour, members in (
        ("not significant", NEUTRAL, ~dark),
        ("significant", RIGHT, dark),
    ):
        drawn = points(ax, x[members], y[members], 9, colour, alpha=0.7, zorder=2)
        drawn.set_label(f"{label} ({members.sum():,})")
    for line in (_CUT,) if absolute else (_CUT, -_CUT):
        ax.axhline(line, color=CUT, linewidth=0.9, linestyle="--", zorder=1)
    ax.axvline(_CUT, color=CUT, linewidth=0.9, linestyle="--", zorder=1)
    ax.axhline(0, color=NEUTRAL, linewidth=0.8, zorder=1)
    ax.axvline(0, color=NEUTRAL, linewidth=0.8, zorder=1)
    means = f"means ({x.mean():.2f}, {y.mean():.2f})".replace("-", "−")
    ax.plot(x.mean(), y.mean(), "+", color="black", markersize=11, markeredgewidth=1.8,
            linestyle="none", label=means, zorder=3)  # fmt: skip
    if absolute:
        identity_line(ax)
        ax.set_ylim(bottom=0)
    heading = f"r > {_CUT}: {(x > _CUT).sum():,} by PrediXcan, {(y > _CUT).sum():,} by the network"
    legend(ax, r_and_number(r, len(table), "genes") if absolute else heading)
    return table
