"""Figures of all genes: r, p, how both are distributed, and the moments behind r."""

from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from zarrbench import tables
from zarrbench.figures.scatter import density_scatter, finite_genes
from zarrbench.figures.style import (
    CUT,
    NEUTRAL,
    RIGHT,
    WRONG,
    colour_bar,
    labelled,
    legend,
    say,
    shaded,
)

Moment = Literal["mean_observed", "sd_observed", "mean_predicted", "sd_predicted"]
_MOMENTS: dict[Moment, str] = {
    "mean_observed": "mean observed expression",
    "sd_observed": "SD of observed expression",
    "mean_predicted": "mean prediction",
    "sd_predicted": "SD of predictions",
}


def r_against_p(statistics: xr.Dataset, ax: Axes) -> pd.DataFrame:
    """Draw r against -log10 p of the chosen null statistic (Fig. 2a, Ext. Data 2b of the study).

    Colours are mean predictions. Genes with undefined r are left out. The dashed line stands at
    the largest p with q <= alpha, and is absent when there is none.

    Returns
    -------
    pd.DataFrame
        One row a drawn gene: `gene_id`, `gene_name`, `minus_log10_p`, `r`, `mean_predicted`,
        `null_q`, `significant`; where the line stands in ``attrs["cut"]``, NaN without one.
    """
    genes, alpha = _defined(statistics), statistics.attrs["alpha"]
    p = np.clip(genes.pop("null_p").fillna(1), np.finfo(float).tiny, 1)
    genes.insert(2, "minus_log10_p", np.abs(np.log10(p)))
    genes.attrs["cut"] = cut = float(genes["minus_log10_p"][genes["null_q"] <= alpha].min())
    labelled(ax, f"−log₁₀ p  ({statistics.attrs['statistic']})", "r across people")
    if genes.empty:
        say(ax, "no gene has a defined r")
        return genes
    ax.axhline(0, color=NEUTRAL, linewidth=0.8, zorder=1)
    x, y = genes["minus_log10_p"], genes["r"]
    colour_bar(ax, shaded(ax, x, y, genes["mean_predicted"], 12), "mean prediction")
    widest, tallest = max(1, x.max()), max(0.1, y.abs().max())
    ax.set(xlim=(-0.02 * widest, 1.06 * widest), ylim=(-1.25 * tallest, 1.15 * tallest))
    if np.isfinite(cut):
        ax.axvline(cut, color=CUT, linewidth=1, linestyle="--", zorder=3)
        ax.annotate(f"q ≤ {alpha:g}", (cut, 0.01), (3, 0), color=CUT, fontsize=8, va="bottom",
                    xycoords=ax.get_xaxis_transform(), textcoords="offset points")  # fmt: skip
    for row, up in {int(y.argmin()): -1, int(y.argmax()): 1}.items():
        name = genes["gene_name"][row] or genes["gene_id"][row]
        left = x[row] > (0.75 if x[row] >= cut else 0.3) * widest  # off the dashed line
        ax.annotate(
            name if len(name) <= 20 else f"{name[:19]}…", (x[row], y[row]),
            (-4 if left else 4, 4 * up), textcoords="offset points", fontsize=8, parse_math=False,
            ha="right" if left else "left", va="bottom" if up > 0 else "top",
        )  # fmt: skip
    right, wrong = (int((genes["significant"] & (sign * y > 0)).sum()) for sign in (1, -1))
    counts = f"significant: {right:,} with r > 0, {wrong:,} with r < 0, of {len(genes):,} genes"
    ax.set_title(counts, fontsize=9)
    return genes


def moments(statistics: xr.Dataset, x: Moment, y: Moment, ax: Axes) -> pd.DataFrame:
    """Draw genes by two of mean and standard deviation, observed and predicted.

    Returns
    -------
    pd.DataFrame
        Genes with both: `gene_id`, `gene_name`, `x`, `y` under their names; Pearson r in
        ``attrs["r"]``.
    """
    table = finite_genes(statistics, **{name: statistics[name] for name in (x, y)})
    return density_scatter(ax, table, x, y, (_MOMENTS[x], _MOMENTS[y]))


def personal_against_reference(statistics: xr.Dataset, ax: Axes) -> pd.DataFrame:
    """Draw the mean prediction of the people against that of the reference, and the identity.

    The reference is one sequence, a person's prediction combines two haplotypes: where that is
    their sum, points lie about twice the identity.

    Returns
    -------
    pd.DataFrame
        Genes with both: `gene_id`, `gene_name`, `reference_prediction`, `mean_predicted`;
        Pearson r in ``attrs["r"]``.
    """
    names = ("reference_prediction", "mean_predicted")
    table = finite_genes(statistics, **{name: statistics[name] for name in names})
    labels = ("prediction for the reference", "mean prediction of the people")
    return density_scatter(ax, table, *names, labels, identity=True)


def r_histogram(statistics: xr.Dataset, ax: Axes) -> pd.DataFrame:
    """Draw how r is distributed over the genes that have one, significant genes in colour.

    Returns
    -------
    pd.DataFrame
        One row a bar: `r_start` (inclusive), `r_end` (exclusive but in the last bar) and the
        counts `not_significant`, `right_signed`, `wrong_signed`; the mean in ``attrs["mean"]``.
    """
    genes = _defined(statistics)
    r = genes["r"].to_numpy()
    names = ("not_significant", "right_signed", "wrong_signed")
    labelled(ax, "r across people", "genes")
    if genes.empty:
        say(ax, "no gene has a defined r")
        return pd.DataFrame(columns=["r_start", "r_end", *names])
    edges = np.asarray(MaxNLocator(40).tick_values(min(r.min(), -0.1), max(r.max(), 0.1)))
    bars = pd.DataFrame({"r_start": edges[:-1], "r_end": edges[1:]})
    bars.attrs["mean"] = float(r.mean())
    bottom = np.zeros(len(bars), dtype=int)
    for name, (label, colour, members) in zip(names, _classes(genes), strict=True):
        bars[name] = np.histogram(r[members], edges)[0]
        ax.bar(
            edges[:-1], bars[name], 0.92 * np.diff(edges), bottom, align="edge", color=colour,
            linewidth=0, label=f"{label} ({members.sum():,})", zorder=2,
        )  # fmt: skip
        bottom += bars[name].to_numpy()
    ax.axvline(0, 0, 0.93, color=NEUTRAL, linewidth=0.8, zorder=1)
    ax.axvline(r.mean(), 0, 0.93, color="black", linewidth=1, linestyle=(0, (1, 2)), zorder=3)
    mean, above = f"mean {r.mean():.3f}".replace("-", "−"), ax.get_xaxis_transform()
    ax.text(r.mean(), 0.94, mean, ha="center", va="bottom", fontsize=8, transform=above)
    ax.set_ylim(0, 1.16 * bottom.max())
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    legend(ax)
    return bars


def _defined(statistics: xr.Dataset) -> pd.DataFrame:
    """Return the genes with a defined r."""
    names = ["gene_id", "gene_name", "r", "mean_predicted", "null_p", "null_q", "significant"]
    genes = tables.gene_columns(statistics, names)
    return genes[np.isfinite(genes["r"])].reset_index(drop=True)


def _classes(genes: pd.DataFrame) -> list[tuple[str, str, np.ndarray]]:
    """Return label, colour and members of the three classes of genes, in the order of drawing."""
    significant = genes["significant"].to_numpy()
    right, wrong = (significant & (genes["r"] * sign > 0).to_numpy() for sign in (1, -1))
    return [
        ("not significant", NEUTRAL, ~(right | wrong)),
        ("significant, r > 0", RIGHT, right),
        ("significant, r < 0", WRONG, wrong),
    ]
