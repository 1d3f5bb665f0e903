"""Figures of attributions: along the window of a gene, against gradients, and their linear sums.

Each function draws on one Axes and returns the table it draws, as in `zarrbench.figures.genes`.
"""

import json

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from zarrbench.figures.style import NEUTRAL, RIGHT, labelled, legend, say
from zarrbench.figures.variants import by_carriers, disclosed, ring


def ism_along_window(variants: pd.DataFrame, ax: Axes, zoom: int | None = None) -> pd.DataFrame:
    """Draw in-silico mutagenesis of the SNVs of a gene along its window, drivers ringed (Fig. 1e).

    The denser, the more people carry it; rings grow with the driver's increment. The dashed line
    stands at the TSS. SNVs of few carriers are not drawn (`zarrbench.figures.variants.disclosed`).

    Parameters
    ----------
    variants : pd.DataFrame
        Rows of the concordance table of one gene.
    zoom : int, optional
        Draw the SNVs up to so many bases from the TSS: 4,000 in the study.

    Returns
    -------
    pd.DataFrame
        What is drawn: `position` (1-based), `distance` (bases from the TSS, forward strand),
        `effect_allele`, `ism`, `carrier_frequency`, `is_driver`, `increment`; how many within
        `zoom` are not in ``attrs["left_out"]``.
    """
    if zoom is not None:
        variants = variants[variants["distance"].abs() <= zoom]
    names = ["distance", "effect_allele", "ism", "carrier_frequency", "is_driver", "increment"]
    table = disclosed(variants, ["ism"], names)
    labelled(
        ax, "bases from the TSS, forward strand", "change of the prediction\nby the effect allele"
    )
    if table.empty:
        where = "" if zoom is None else f"\nwithin {zoom:,} bases of the TSS"
        say(ax, f"no SNV with an attribution and enough carriers{where}")
        return table
    ax.axhline(0, color=NEUTRAL, linewidth=0.8, zorder=0)
    ax.axvline(0, color="black", linewidth=0.8, linestyle="--", zorder=1, label="TSS")
    by_carriers(ax, table["distance"], table["ism"], table["carrier_frequency"], 14)
    drivers = table[table["is_driver"]]
    ring(ax, drivers["distance"], drivers["ism"], drivers["increment"])
    widest = zoom or int(table["distance"].abs().max()) or 1
    ax.set_xlim(-1.04 * widest, 1.04 * widest)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    legend(ax)
    return table


def ism_against_gradient(drivers: xr.Dataset, ax: Axes) -> pd.DataFrame:
    """Draw r over a gene's SNVs of in-silico mutagenesis and gradient (Supp. Fig. 5).

    Parameters
    ----------
    drivers : Dataset
        Of `zarrbench.attribution_layouts.DRIVERS`.

    Returns
    -------
    pd.DataFrame
        One row a bar: `r_start` (inclusive), `r_end` (exclusive but in the last bar), `genes`; the
        median in ``attrs["median"]``.
    """
    r = _finite(drivers["r_ism_gradient"])
    labelled(ax, "r over SNVs, in-silico mutagenesis and gradient", "genes")
    if not len(r):
        say(ax, "no gene has an r of in-silico mutagenesis and gradient:\nno gradients, or too few "
            "SNVs that differ")  # fmt: skip
        return pd.DataFrame(columns=["r_start", "r_end", "genes"])
    edges = _edges(r)
    bars = pd.DataFrame(
        {"r_start": edges[:-1], "r_end": edges[1:], "genes": np.histogram(r, edges)[0]}
    )
    bars.attrs["median"] = float(np.median(r))
    ax.bar(edges[:-1], bars["genes"], 0.92 * np.diff(edges), align="edge", color=RIGHT, linewidth=0,
           label=f"genes ({len(r):,})", zorder=2)  # fmt: skip
    median = bars.attrs["median"]
    ax.axvline(median, color="black", linewidth=1, linestyle=(0, (1, 2)), zorder=3,
               label=f"median {median:.2f}".replace("-", "−"))  # fmt: skip
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    legend(ax)
    return bars


def linearity(drivers: xr.Dataset, ax: Axes) -> pd.DataFrame:
    """Draw r of the linear sum of attributions with the prediction (Supp. Fig. 6).

    Genes by in-silico mutagenesis as bars, by gradients as an outline. The dashed line is the
    `min_r_linear` above which genes are compared.

    Parameters
    ----------
    drivers : Dataset
        Of `zarrbench.attribution_layouts.DRIVERS`.

    Returns
    -------
    pd.DataFrame
        One row a bar: `r_start` (inclusive), `r_end` (exclusive but in the last bar), `ism`,
        `gradient` (genes); where the line stands in ``attrs["min_r_linear"]``.
    """
    ism, gradient = _finite(drivers["r_linear"]), _finite(drivers["r_linear_gradient"])
    labelled(ax, "r of the linear sum with the prediction", "genes")
    if not len(ism) + len(gradient):
        say(ax, "no gene has a linear sum that varies across people")
        return pd.DataFrame(columns=["r_start", "r_end", "ism", "gradient"])
    edges = _edges(np.concatenate([ism, gradient]))
    bars = pd.DataFrame(
        {
            "r_start": edges[:-1],
            "r_end": edges[1:],
            "ism": np.histogram(ism, edges)[0],
            "gradient": np.histogram(gradient, edges)[0],
        }
    )
    bars.attrs["min_r_linear"] = cut = float(
        json.loads(drivers.attrs["parameters"])["min_r_linear"]
    )
    ax.bar(edges[:-1], bars["ism"], 0.92 * np.diff(edges), align="edge", color=RIGHT, linewidth=0,
           alpha=0.75, label=_legend("mutagenesis", ism, cut), zorder=2)  # fmt: skip
    ax.axvline(cut, color="black", linewidth=1, linestyle="--", zorder=4)
    if len(gradient):
        ax.stairs(bars["gradient"], edges, color="black", linewidth=1.1, zorder=3,
                  label=_legend("gradients", gradient, cut))  # fmt: skip
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    legend(ax)
    return bars


def _finite(values: xr.DataArray) -> np.ndarray:
    numbers = np.asarray(values, float)
    return numbers[np.isfinite(numbers)]


def _edges(r: np.ndarray) -> np.ndarray:
    """Return the edges of bars that hold every r and 0, on round numbers, 1 at most."""
    steps = MaxNLocator(40, steps=[1, 2, 5, 10])  # so that 1 is an edge
    edges = np.round(steps.tick_values(min(r.min(), 0.0), 1.0), 9)
    return edges[edges <= 1]


def _legend(name: str, r: np.ndarray, cut: float) -> str:
    share = f", {np.mean(r > cut):.0%} > {cut:g}" if len(r) else ""
    return f"{name} ({len(r):,}{share})"
