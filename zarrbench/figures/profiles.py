"""Figures of gradient profiles: where along its window the network looks (METHODS section 23).

Each function draws on one Axes and returns the table it draws, as in `zarrbench.figures.genes`.
"""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from zarrbench.attributions.profiles import NEAR
from zarrbench.figures.panels import stacked
from zarrbench.figures.style import CUT, NEUTRAL, RIGHT, WRONG, labelled, legend, points, say
from zarrbench.figures.variants import CARRIERS, disclosed
from zarrbench.statistics.gradient_profiles import (
    group_means,
    in_stretches,
    profile_groups,
    sliding,
)
from zarrbench.tables import plain_column

#: bases from the TSS that are marked in panels of groups: three bins of the study's network
_MARKED = 192
_WINDOW = 128
_MAGENTA = "#cc79a7"  # of the Okabe-Ito palette
# What is longer is drawn in so many stretches at most: no panel shows more
_STRETCHES = 600
_OF_GROUP = 300
_STEP = 32
_NO_PROFILE = "no gradient of every base:\nattribute with profiles: true"


def grouped_profiles(
    windows: xr.Dataset | None, r: pd.Series, ax: Axes, n_groups: int = 5, zoom: int | None = None
) -> pd.DataFrame:
    """Draw profiles of gradients of genes in groups that are alike (Supp. Fig. 10).

    A panel a group: the mean magnitude filled, the mean standard deviation in windows as a line,
    both of profiles divided by their standard deviation, and averaged over neighbouring windows
    where these are more than a panel shows; the TSS dashed, 192 bases to either side
    dotted; to the right how many genes have r > 0, and r <= 0. Give `ax` 0.45 inches a group, and
    1.2 more.

    Parameters
    ----------
    windows : Dataset, optional
        As `zarrbench.attributions.profiles.profile_windows`.
    r : pd.Series
        Across people, by gene id; genes without are in no bar.
    n_groups
        2, 5, 10, 20 and 40 in the study; fewer are drawn where there are fewer genes.
    zoom : int, optional
        Bases to either side of the TSS, 10,000 at most: 10,000, 5,000, 2,000 and 1,000 in the
        study.

    Returns
    -------
    pd.DataFrame
        `group` (from 0), `quantity` ("size", "sd", "positive", "not_positive"), `start`, `end`
        (bases from the TSS, as the model reads; NaN for the last two, which count genes), `value`;
        genes without a profile that varies are in no group: how many in ``attrs["left_out"]``.

    Raises
    ------
    ValueError
        If `zoom` is more than is known so finely.
    """
    table = pd.DataFrame(columns=["group", "quantity", "start", "end", "value"])
    labelled(ax, "bases from the TSS, as the model reads", "")
    if windows is None:
        say(ax, _NO_PROFILE)
        return table
    if zoom is not None and not 0 < zoom <= NEAR:
        raise ValueError(f"zoom is from 1 to {NEAR:,} bases, found {zoom:,}")
    groups = profile_groups(windows["sd"].values, n_groups)
    if not (groups >= 0).any():
        say(ax, "no gene has a profile that varies")
        return table
    table = pd.concat(
        [*_group_lines(windows, groups, zoom), _group_bars(windows, groups, r)], ignore_index=True
    )
    table.attrs["left_out"] = int((groups < 0).sum())
    _draw_groups(ax, table, zoom)
    return table


def gene_profile(
    profile: xr.DataArray | None, variants: pd.DataFrame, ax: Axes, zoom: int | None = None
) -> pd.DataFrame:
    """Draw the gradient along the window of a gene, with its SNVs and drivers (METHODS section 23).

    The attribution of bases as a grey area, the range of stretches where it is long; gradients of
    SNVs as points, the denser the more people carry it; drivers ringed, the main one by a diamond
    in magenta. Below, mean and standard deviation in windows of 128 bases, every 32 or, along a
    long window, a multiple of it. All over the largest magnitude of the attribution of bases, where
    the study divides by that of the gradient, which is not kept: the same but for the unit of the y
    axis. SNVs of few carriers are not drawn (`zarrbench.figures.variants.disclosed`).

    Parameters
    ----------
    profile : DataArray, optional
        As `zarrbench.attributions.profiles.profile_of`.
    variants : pd.DataFrame
        Rows of the concordance table of the gene.
    zoom : int, optional
        Bases to either side of the TSS.

    Returns
    -------
    pd.DataFrame
        A row for each mark: `mark` ("base", "snv", "window"), `start`, `end` (bases from the TSS,
        forward strand), `value` and `highest` (lowest and highest of a stretch, of an SNV the same;
        mean and standard deviation of a window), `carrier_frequency`, `is_driver`, `is_main` of
        SNVs.
    """
    names = ["mark", "start", "end", "value", "highest"]
    of_snv = ["carrier_frequency", "is_driver", "is_main"]
    labelled(ax, "bases from the TSS, forward strand", "")
    largest = 0.0 if profile is None else float(np.abs(profile).max())
    if profile is None or not largest > 0:
        say(ax, _NO_PROFILE if profile is None else "no base changes the prediction of the gene")
        return pd.DataFrame(columns=names + of_snv)
    scaled = profile / largest
    if zoom is not None:
        scaled = scaled.sel(distance=slice(-zoom, zoom))
    distance, values = scaled["distance"].values, scaled.values
    snvs = disclosed(variants, ["gradient"], ["distance", "gradient", *of_snv])
    snvs = snvs[snvs["distance"].between(distance[0], distance[-1])]
    snvs = pd.DataFrame(
        {
            "mark": "snv",
            "start": snvs["distance"],
            "end": snvs["distance"] + 1,
            "value": snvs["gradient"] / largest,
            "highest": snvs["gradient"] / largest,
            **{name: snvs[name] for name in of_snv},
        }
    )
    table = pd.concat([_ranges(distance, values), snvs, _moving(distance, values)])
    table = table.reset_index(drop=True)
    _draw_gene(ax, table)
    return table


def _group_lines(windows: xr.Dataset, groups: np.ndarray, zoom: int | None) -> list[pd.DataFrame]:
    """Return the mean magnitudes and standard deviations of groups within the zoom."""
    parts = []
    for quantity, name, start, end in (
        ("size", "size" if zoom is None else "near", "start" if zoom is None else "near_start",
         "end" if zoom is None else "near_end"),
        ("sd", "sd", "start", "end"),
    ):  # fmt: skip
        starts = windows[start].values
        ends = np.append(starts[1:], windows.attrs[end])
        shown = np.full(len(starts), True) if zoom is None else (ends > -zoom) & (starts < zoom)
        together = -(-int(shown.sum()) // _OF_GROUP)
        means = in_stretches(group_means(windows[name].values, groups)[:, shown], together)
        firsts = starts[shown][::together]
        lasts = np.append(firsts[1:], ends[shown][-1])
        parts.append(
            pd.DataFrame(
                {
                    "group": np.repeat(np.arange(len(means)), len(firsts)),
                    "quantity": quantity,
                    "start": np.tile(firsts, len(means)),
                    "end": np.tile(lasts, len(means)),
                    "value": means.ravel(),
                }
            )
        )
    return parts


def _group_bars(windows: xr.Dataset, groups: np.ndarray, r: pd.Series) -> pd.DataFrame:
    """Return how many genes of each group have r > 0, and r <= 0."""
    of_gene = r.reindex(plain_column(windows["gene"].values)).to_numpy(float)
    n = int(groups.max()) + 1
    counted = {"positive": of_gene > 0, "not_positive": of_gene <= 0}
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "group": np.arange(n),
                    "quantity": name,
                    "start": np.nan,
                    "end": np.nan,
                    "value": np.bincount(groups[here & (groups >= 0)], minlength=n),
                }
            )
            for name, here in counted.items()
        ]
    )


def _draw_groups(ax: Axes, table: pd.DataFrame, zoom: int | None) -> None:
    of_group = dict(list(table.groupby("group")))
    genes = table[table["end"].isna()]
    most = max(genes.groupby("group")["value"].sum().max(), 1)
    panels = stacked(ax, [1] * len(of_group), min(0.03, 0.3 / len(of_group)), 0.8)
    for number, (panel, rows) in enumerate(zip(panels, of_group.values(), strict=True), start=1):
        marks = dict(list(rows.groupby("quantity")))
        labelled(panel, "", str(number))
        _draw_group(panel, marks["size"], marks["sd"])
        beside = panel.inset_axes((1.03, 0, 0.22, 1))
        positive, not_positive = (
            int(marks[name]["value"].iloc[0]) for name in ("positive", "not_positive")
        )
        beside.barh(0, positive, color=RIGHT, linewidth=0)
        beside.barh(0, not_positive, left=positive, color=WRONG, linewidth=0)
        beside.text(positive + not_positive, 0, f" {positive:,} + {not_positive:,}", fontsize=7,
                    va="center")  # fmt: skip
        beside.set(xlim=(0, 1.8 * most), ylim=(-0.6, 0.6))
        beside.set_axis_off()
    panels[-1].set_xlabel(ax.get_xlabel(), fontsize=9)
    lines = table[table["quantity"] == "size"]
    panels[-1].set_xlim(*((-zoom, zoom) if zoom else (lines["start"].min(), lines["end"].max())))
    panels[-1].xaxis.set_major_locator(MaxNLocator(6))
    for label, colour in (("genes, r > 0", RIGHT), ("r ≤ 0", WRONG)):
        panels[0].scatter([], [], 26, colour, marker="s", linewidths=0, label=label)
    legend(panels[0], columns=4)


def _draw_group(ax: Axes, size: pd.DataFrame, sd: pd.DataFrame) -> None:
    edges = [*size["start"], size["end"].iloc[-1]]
    ax.stairs(size["value"], edges, fill=True, color=NEUTRAL, linewidth=0, label="mean size")
    ax.plot((sd["start"] + sd["end"]) / 2, sd["value"], color="black", linewidth=0.9, label="sd")
    ax.axvline(0, color=CUT, linewidth=0.8, linestyle="--")
    for marked in (-_MARKED, _MARKED):
        ax.axvline(marked, color=CUT, linewidth=0.6, linestyle=":")
    ax.set_ylim(0, None)
    ax.yaxis.set_major_locator(MaxNLocator(2))


def _ranges(distance: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    """Return the lowest and highest values, with 0, of stretches of bases."""
    length = -(-len(values) // _STRETCHES)
    firsts = np.arange(0, len(values), length)
    lasts = np.append(firsts[1:], len(values)) - 1
    known = np.nan_to_num(values)
    return pd.DataFrame(
        {
            "mark": "base",
            "start": distance[firsts],
            "end": distance[lasts] + 1,
            "value": np.minimum(np.minimum.reduceat(known, firsts), 0),
            "highest": np.maximum(np.maximum.reduceat(known, firsts), 0),
        }
    )


def _moving(distance: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    step = _STEP * -(-len(values) // (_STEP * _STRETCHES))
    starts, mean, sd = sliding(values, _WINDOW, step)
    start = distance[starts]
    return pd.DataFrame(
        {"mark": "window", "start": start, "end": start + _WINDOW, "value": mean, "highest": sd}
    )


def _draw_gene(ax: Axes, table: pd.DataFrame) -> None:
    above, below = stacked(ax, [2.2, 1], 0.06)
    base, snvs, windows = (table[table["mark"] == mark] for mark in ("base", "snv", "window"))
    labelled(above, "", "gradient, scaled")
    labelled(below, ax.get_xlabel(), "in windows")
    edges = [*base["start"], base["end"].iloc[-1]]
    above.stairs(base["highest"], edges, baseline=base["value"].to_numpy(), fill=True,
                 color=NEUTRAL, linewidth=0, zorder=1, label="bases")  # fmt: skip
    points(above, snvs["start"], snvs["value"], 16, snvs["carrier_frequency"].astype(float),
           cmap=CARRIERS, vmin=0, vmax=1, zorder=3)  # fmt: skip
    above.scatter([], [], 16, RIGHT, linewidths=0, label=f"SNV ({len(snvs):,})")
    main = snvs["is_main"].astype(bool)
    drivers = snvs["is_driver"].astype(bool) & ~main
    for label, marker, colour, here in (
        (f"other drivers ({drivers.sum():,})", "o", CUT, drivers),
        ("main driver", "D", _MAGENTA, main),
    ):
        above.scatter(snvs["start"][here], snvs["value"][here], 60, facecolors="none",
                      marker=marker, edgecolors=colour, linewidths=1.6, zorder=4,
                      label=label)  # fmt: skip
    centres = (windows["start"] + windows["end"]) / 2
    below.plot(centres, windows["value"], color=RIGHT, linewidth=1, label="mean")
    below.plot(centres, windows["highest"], color="black", linewidth=1, label="sd")
    for panel in (above, below):
        panel.axvline(0, color="black", linewidth=0.8, linestyle="--", zorder=2)
        panel.axhline(0, color=NEUTRAL, linewidth=0.8, zorder=0)
        panel.yaxis.set_major_locator(MaxNLocator(4))
    above.set_xlim(edges[0], edges[-1])
    below.xaxis.set_major_locator(MaxNLocator(6))
    legend(above, columns=4)
    below.legend(loc="upper left", ncols=2, frameon=False, fontsize=7, borderpad=0)
