"""Figures of drivers: which variants make a prediction, and whether expression supports them.

Each function draws on one Axes and returns the table it draws, as in `zarrbench.figures.genes`.
"""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from zarrbench.figures.panels import stacked
from zarrbench.figures.style import NEUTRAL, RIGHT, WRONG, labelled, legend, say
from zarrbench.figures.variants import by_carriers, disclosed, ring
from zarrbench.statistics.support import DISTANCE_EDGES, MOST_DRIVERS
from zarrbench.tables import plain_column

RARE = 0.01  # share of people who carry an SNV; Fig. 2d shows those of a greater one
# Points of the three classes of genes or drivers: label, colour, sign
_GROUPS = (("r > 0", RIGHT, 1), ("r < 0", WRONG, -1))


def support_against_r(drivers: xr.Dataset, ax: Axes) -> pd.DataFrame:
    """Draw the share of supported drivers against r, one point a compared gene (Fig. 2e).

    Genes whose share is not known are left out.

    Parameters
    ----------
    drivers : Dataset
        Of `zarrbench.attribution_layouts.DRIVERS`.

    Returns
    -------
    pd.DataFrame
        Compared genes: `gene_id`, `gene_name`, `r`, `fraction_supported`, `group` (1 or -1).
    """
    table = _genes(drivers)
    told = (table["group"] != 0) & table["fraction_supported"].notna()
    table = table[told].reset_index(drop=True)
    labelled(ax, "r across people", "share of drivers supported")
    if table.empty:
        say(ax, "no examined gene has drivers that can be compared")
        return table
    for label, colour, sign in _GROUPS:
        here = table[table["group"] == sign]
        ax.scatter(here["r"], here["fraction_supported"], 22, colour, alpha=0.7, linewidths=0,
                   label=f"{label} ({len(here):,})", clip_on=False, zorder=2)  # fmt: skip
        if len(here):
            ax.hlines(here["fraction_supported"].mean(), here["r"].min(), here["r"].max(),
                      color=colour, linewidth=1, linestyle=(0, (1, 2)), zorder=1)  # fmt: skip
    widest = 1.1 * max(0.2, table["r"].abs().max())
    ax.set(xlim=(-widest, widest), ylim=(-0.05, 1.05))
    ax.axvline(0, color=NEUTRAL, linewidth=0.8, zorder=0)
    legend(ax)
    return table


def slope_against_attribution(variants: pd.DataFrame, ax: Axes) -> pd.DataFrame:
    """Draw eQTL slope against attribution, one point an SNV of a gene, drivers ringed (Fig. 2d).

    The denser, the more people carry it; rings grow with the driver's increment. SNVs that a
    hundredth of the people or fewer carry, as in the study, those of few carriers
    (`zarrbench.figures.variants.disclosed`), and those whose slope is undefined, are not drawn.

    Parameters
    ----------
    variants : pd.DataFrame
        Rows of the concordance table of one gene.

    Returns
    -------
    pd.DataFrame
        What is drawn: `position`, `effect_allele`, `ism`, `slope`, `carrier_frequency`,
        `is_driver`, `increment`; how many are not in ``attrs["left_out"]``.
    """
    names = ["effect_allele", "ism", "slope", "carrier_frequency", "is_driver", "increment"]
    common = variants["carrier_frequency"] > RARE
    table = disclosed(variants[common], ["slope", "ism"], names)
    table.attrs["left_out"] += int((~common).sum())
    labelled(ax, "change of the prediction by the effect allele", "slope of expression")
    if table.empty:
        say(ax, "no SNV with a slope and enough carriers")
        return table
    ax.axhline(0, color=NEUTRAL, linewidth=0.8, zorder=0)
    ax.axvline(0, color=NEUTRAL, linewidth=0.8, zorder=0)
    by_carriers(ax, table["ism"], table["slope"], table["carrier_frequency"], 14)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    drivers = table[table["is_driver"]]
    ring(ax, drivers["ism"], drivers["slope"], drivers["increment"])
    legend(ax)
    return table


def driver_distances(drivers: xr.Dataset, ax: Axes, zoom: int | None = None) -> pd.DataFrame:
    """Draw how far drivers lie from the TSS, main drivers in front (Fig. 2f, Supp. Fig. 9).

    One panel for the compared genes (`group`, METHODS section 15) of either sign of r. Distances
    are along the forward strand, for genes of either strand. Bins are 1,000 bases wide, or 40 for
    all of the smaller window of a model.

    Parameters
    ----------
    drivers : Dataset
        Of `zarrbench.attribution_layouts.DRIVERS`.
    zoom : int, optional
        Draw drivers up to so many bases from the TSS: 19,999 in the study's Fig. 2f.

    Returns
    -------
    pd.DataFrame
        One row a bar: `group` (1 or -1), `start`, `end` (bases from the TSS, the end exclusive but
        in the last bar), `drivers`, `main_drivers`.
    """
    group = _group_of_drivers(drivers)
    distance, main = drivers["distance"].values, drivers["is_main"].values
    within = group != 0
    if zoom is not None:
        within &= np.abs(distance) <= zoom
    edges = _distance_edges(distance[within], zoom)
    bars = pd.concat(
        [
            pd.DataFrame(
                {
                    "group": sign,
                    "start": edges[:-1],
                    "end": edges[1:],
                    "drivers": np.histogram(distance[here], edges)[0],
                    "main_drivers": np.histogram(distance[here & main], edges)[0],
                }
            )
            for *_, sign in _GROUPS
            for here in [within & (group == sign)]
        ],
        ignore_index=True,
    )
    if not within.any():
        say(
            ax,
            "no examined gene has a driver to compare"
            + ("" if zoom is None else f" within {zoom:,} bases"),
        )
        return bars
    panels = stacked(ax, [1, 1], 0.2)
    for panel, (label, colour, sign) in zip(panels, _GROUPS, strict=True):
        _draw_distances(panel, bars[bars["group"] == sign], label, colour)
    panels[0].set_xlabel("")
    return bars


def _draw_distances(ax: Axes, bars: pd.DataFrame, group: str, colour: str) -> None:
    """Draw the distances of the drivers of a group of genes."""
    labelled(ax, "bases from the TSS, forward strand", "drivers")
    for name, label, fill in (
        ("drivers", f"drivers, {group}", NEUTRAL),
        ("main_drivers", "main drivers", colour),
    ):
        ax.bar(bars["start"], bars[name], bars["end"] - bars["start"], align="edge", color=fill,
               linewidth=0, label=f"{label} ({bars[name].sum():,})", zorder=2)  # fmt: skip
    ax.axvline(0, color="black", linewidth=0.8, linestyle="--", zorder=3)
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.xaxis.set_major_locator(MaxNLocator(6))
    legend(ax)


def _group_of_drivers(drivers: xr.Dataset) -> np.ndarray:
    """Return the `group` of each driver's gene."""
    of_gene = pd.Series(drivers["group"].values, plain_column(drivers["gene"].values))
    found = of_gene.reindex(plain_column(drivers["driver_gene"].values), fill_value=0)
    return found.to_numpy(dtype=int)


def _distance_edges(distance: np.ndarray, zoom: int | None) -> np.ndarray:
    """Return edges of bins that hold all distances: those of the study where they do."""
    farthest = int(np.abs(distance).max(initial=1))
    if farthest < 10_000:
        return np.asarray(MaxNLocator(40, integer=True).tick_values(-farthest, farthest))
    if zoom is None and farthest <= DISTANCE_EDGES[-1]:
        return DISTANCE_EDGES
    end = -(-(zoom or farthest) // 1000) * 1000
    return np.arange(-end, end + 1, 1000)


def drivers_per_gene(drivers: xr.Dataset, ax: Axes) -> pd.DataFrame:
    """Draw how many drivers the examined genes have, by the sign of r (Supp. Fig. 7).

    Lines are cumulative: the share of all examined genes of a sign, those without a driver too,
    that have so many drivers or fewer.

    Returns
    -------
    pd.DataFrame
        One row a number of drivers, from 0 to `MOST_DRIVERS` and one more for all above:
        `drivers`, `positive`, `negative`, `cumulative_positive`, `cumulative_negative` (NaN
        without genes).
    """
    table = _genes(drivers)
    table = table[table["examined"]]
    number = np.minimum(table["n_drivers"].to_numpy(), MOST_DRIVERS + 1)
    bars = pd.DataFrame({"drivers": np.arange(MOST_DRIVERS + 2)})
    bottom = np.zeros(len(bars), dtype=int)
    cumulative = {}
    labelled(ax, "drivers of a gene", "examined genes")
    if table.empty:
        say(ax, "no gene is examined: none is significant with an |r| that counts")
    else:
        shares = ax.twinx()
    for name, (label, colour, sign) in zip(("positive", "negative"), _GROUPS, strict=True):
        here = number[(np.sign(table["r"]) == sign).to_numpy()]
        bars[name] = np.bincount(here, minlength=len(bars))
        reached = np.cumsum(bars[name].to_numpy())
        cumulative[f"cumulative_{name}"] = reached / len(here) if len(here) else reached * np.nan
        if not table.empty:
            ax.bar(bars["drivers"], bars[name], 0.9, bottom, color=colour, linewidth=0, alpha=0.55,
                   label=f"{label} ({len(here):,})", zorder=2)  # fmt: skip
        if len(here):
            shares.step(bars["drivers"], cumulative[f"cumulative_{name}"], where="mid",
                        color=colour, linewidth=1.4)  # fmt: skip
        bottom += bars[name].to_numpy()
    if not table.empty:
        shares.set_ylim(0, 1.03)
        shares.set_ylabel("share of genes, cumulative (lines)", fontsize=9)
        shares.tick_params(labelsize=8, length=3, width=0.8)
        shares.spines["top"].set_visible(False)
        ax.set_xlim(-0.6, max(4, int(number.max(initial=0))) + 0.6)
        ax.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        legend(ax)
    return bars.assign(**cumulative)


def _genes(drivers: xr.Dataset) -> pd.DataFrame:
    """Return what is known of genes, one row each."""
    names = ("gene_name", "r", "fraction_supported", "group", "examined", "n_drivers")
    columns = {name: plain_column(drivers[name].values) for name in names}
    return pd.DataFrame({"gene_id": plain_column(drivers["gene"].values), **columns})
