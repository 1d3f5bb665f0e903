"""Figures of drivers: which variants make a prediction, and whether expression supports them.

Each function draws on one Axes and returns the table it draws, as in `zarrbench.figures.genes`.
"""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from zarrbench.figures.disclosure import MINIMUM_PEOPLE
from zarrbench.figures.style import CUT, NEUTRAL, RIGHT, WRONG, colour_bar, labelled, legend, say
from zarrbench.statistics.support import DISTANCE_EDGES, MOST_DRIVERS
from zarrbench.tables import plain_column

# Points of the three classes of genes or drivers: label, colour, sign
_GROUPS = (("r > 0", RIGHT, 1), ("r < 0", WRONG, -1))


def support_against_r(drivers: xr.Dataset, ax: Axes) -> pd.DataFrame:
    """Draw the share of supported drivers against r, one point a compared gene (Fig. 2e).

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
    table = table[table["group"] != 0].reset_index(drop=True)
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

    The darker, the more people carry it; rings grow with the driver's increment. SNVs of which
    fewer than `MINIMUM_PEOPLE` with expression carry the rarer allele, since their slope
    would tell of these few, and those whose slope is undefined, are not drawn.

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
    shown = (
        (variants["minor_carriers"] >= MINIMUM_PEOPLE)
        & np.isfinite(variants["slope"])
        & np.isfinite(variants["ism"])
    )
    names = ["effect_allele", "ism", "slope", "carrier_frequency", "is_driver", "increment"]
    table = variants.loc[shown, ["variant_position", *names]]
    table = table.rename(columns={"variant_position": "position"}).reset_index(drop=True)
    table.attrs["left_out"] = int((~shown).sum())
    labelled(ax, "change of the prediction by the effect allele", "slope of expression")
    if table.empty:
        say(ax, "no SNV with a slope and enough carriers")
        return table
    ax.axhline(0, color=NEUTRAL, linewidth=0.8, zorder=0)
    ax.axvline(0, color=NEUTRAL, linewidth=0.8, zorder=0)
    points = ax.scatter(table["ism"], table["slope"], 14, table["carrier_frequency"],
                        cmap="Blues", vmin=-0.25, vmax=1, linewidths=0, zorder=2)  # fmt: skip
    ax.xaxis.set_major_locator(MaxNLocator(5))
    drivers = table[table["is_driver"]]
    ax.scatter(drivers["ism"], drivers["slope"], 60 * (1 + 2 * drivers["increment"].clip(0, 1)),
               facecolors="none", edgecolors=CUT, linewidths=1.2, zorder=3)  # fmt: skip
    ax.scatter([], [], 30, facecolors="none", edgecolors=CUT, linewidths=1.2,
               label=f"driver ({len(drivers):,})")  # fmt: skip
    scale = colour_bar(ax, points, "share of people who carry it")
    scale.ax.set_ylim(0, 1)
    legend(ax)
    return table


def driver_distances(drivers: xr.Dataset, ax: Axes) -> pd.DataFrame:
    """Draw how far drivers of examined genes lie from the TSS, main drivers in front (Fig. 2f).

    Distances are along the forward strand, for genes of either strand. Bins are 1,000 bases wide,
    or 40 for all of the smaller window of a model.

    Returns
    -------
    pd.DataFrame
        One row a bar: `start`, `end` (bases from the TSS), `drivers`, `main_drivers`.
    """
    examined = set(plain_column(drivers["gene"].values)[drivers["examined"].values])
    here = np.isin(plain_column(drivers["driver_gene"].values), list(examined))
    distance = drivers["distance"].values[here]
    main = drivers["is_main"].values[here]
    farthest = int(np.abs(distance).max(initial=1))
    edges = DISTANCE_EDGES
    if farthest < 20_000:
        edges = np.asarray(MaxNLocator(40, integer=True).tick_values(-farthest, farthest))
    elif farthest > edges[-1]:
        end = -(-farthest // 1000) * 1000
        edges = np.arange(-end, end + 1, 1000)
    bars = pd.DataFrame(
        {
            "start": edges[:-1],
            "end": edges[1:],
            "drivers": np.histogram(distance, edges)[0],
            "main_drivers": np.histogram(distance[main], edges)[0],
        }
    )
    labelled(ax, "bases from the TSS, forward strand", "drivers")
    if not here.any():
        say(ax, "no examined gene has a driver")
        return bars
    for name, label, colour in (
        ("drivers", "driver", NEUTRAL),
        ("main_drivers", "main driver", RIGHT),
    ):
        ax.bar(bars["start"], bars[name], bars["end"] - bars["start"], align="edge", color=colour,
               linewidth=0, label=f"{label} ({bars[name].sum():,})", zorder=2)  # fmt: skip
    ax.axvline(0, color="black", linewidth=0.8, linestyle=(0, (1, 2)), zorder=3)
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.xaxis.set_major_locator(MaxNLocator(6))
    legend(ax)
    return bars


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
