"""Figures of all genes: r, p, and how both are distributed."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from zarrbench import tables
from zarrbench.figures.style import CUT, NEUTRAL, RIGHT, WRONG, labelled, legend, say

_SIZES = (6, 14, 26)  # areas of the points of the lower, middle and upper third


def r_against_p(statistics: xr.Dataset, ax: Axes) -> pd.DataFrame:
    """Draw r against -log10 p of the chosen null statistic (Fig. 2a of the study).

    Genes with undefined r are left out. Points have three sizes, for the lower, middle and upper
    third of the mean predictions. The dashed line stands at the largest p with q <= alpha, and is
    absent when there is none.

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
    third = np.ceil(3 * genes["mean_predicted"].rank(method="first") / len(genes))
    for label, colour, members in _classes(genes):
        for part, size in enumerate(_SIZES, start=1):  # one size a collection keeps the SVG small
            here = members & (third == part)
            ax.scatter(x[here], y[here], size, colour, alpha=0.75, linewidths=0, zorder=2)
        ax.scatter([], [], 20, colour, linewidths=0, label=f"{label} ({members.sum():,})")
    if np.isfinite(cut):
        ax.axvline(cut, color=CUT, linewidth=1, linestyle="--", label=f"q ≤ {alpha:g}")
    widest, tallest = max(1, x.max()), max(0.1, y.abs().max())
    ax.set(xlim=(-0.02 * widest, 1.06 * widest), ylim=(-1.15 * tallest, 1.15 * tallest))
    for row, up in {int(y.argmin()): -1, int(y.argmax()): 1}.items():
        name = genes["gene_name"][row] or genes["gene_id"][row]
        left = x[row] > widest / 2
        ax.annotate(
            name if len(name) <= 20 else f"{name[:19]}…", (x[row], y[row]),
            (-4 if left else 4, 4 * up), textcoords="offset points", fontsize=8, parse_math=False,
            ha="right" if left else "left", va="bottom" if up > 0 else "top",
        )  # fmt: skip
    legend(ax)
    return genes


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
    genes = tables.gene_table(statistics)[names]
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
