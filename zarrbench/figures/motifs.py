"""Figures of motifs: what the network reads around a main driver or a TSS, and their statistics.

Each function draws on one Axes and returns the table it draws, as in `zarrbench.figures.genes`.
"""

from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.ticker import MaxNLocator

from zarrbench.figures.disclosure import MINIMUM_PEOPLE
from zarrbench.figures.letters import COLOURS, draw_bars, draw_letters
from zarrbench.figures.panels import grid, scale, stacked
from zarrbench.figures.style import CUT, NEUTRAL, RIGHT, WRONG, labelled, legend, points, say
from zarrbench.figures.variants import disclosed
from zarrbench.genome.genes import one_gene
from zarrbench.statistics.attribution_motifs import MotifStatistics, profile, reverse_cumulative
from zarrbench.tables import plain_column

# More columns than this are too narrow for letters
_MOST_LETTERS = 121
# Of phyloP: what is drawn as letters, and the least that is drawn (METHODS section 24)
_CONSERVED, _FLOOR = 1.3, -0.5
# Below and above 0: grey between, or nothing
_SIGNED = LinearSegmentedColormap.from_list("signed", [WRONG, NEUTRAL, RIGHT])
_FADING = LinearSegmentedColormap.from_list(
    "fading",
    [(0, WRONG), (0.5, (*to_rgb(WRONG), 0)), (0.5, (*to_rgb(RIGHT), 0)), (1, RIGHT)],
)
_MARKS = ["mark", "offset", "position", "base", "value", "r_slope"]
_THRESHOLDS = (0.1, 0.2, 0.5)


def scan_logo(
    motifs: xr.Dataset,
    gene: str,
    variants: pd.DataFrame,
    ax: Axes,
    around: Literal["driver", "tss"] = "driver",
    base: Literal["reference", "variant"] = "reference",
    conservation: pd.Series | None = None,
    heat_map: bool = False,
    zoom: int | None = None,
) -> pd.DataFrame:
    """Draw what the network reads around the main driver, or the TSS, of a gene (Supp. Fig. 3).

    Letters are as high as minus the mean change of the prediction over the four bases (METHODS
    section 18), over the largest change around the TSS; bars where they are too many. A position
    where several bases change nothing has no letter but a bar. Below, SNVs as stems: the change by
    the effect allele over the same, in the colour of the correlation of expression with it; those
    of few carriers (`zarrbench.figures.variants.disclosed`) and without that correlation are left
    out. Conservation and heat map are panels more: give `ax` 0.7 inches for each. Everything reads
    along the forward strand.

    Nothing is drawn around a driver whose rarer allele fewer than `MINIMUM_PEOPLE` carry.

    Parameters
    ----------
    motifs : Dataset
        Of `zarrbench.attribution_layouts.MOTIFS`.
    gene : str
        Unversioned id.
    variants : pd.DataFrame
        Rows of the concordance table of the gene.
    base
        Which allele of the driver the scanned sequence has; that around the TSS has the reference.
    conservation : pd.Series, optional
        phyloP by position (1-based): letters from 1.3, bars below, nothing below -0.5.
    heat_map : bool
        Draw the change by every base, too.
    zoom : int, optional
        Bases to either side of the centre; 60 at most have letters.

    Returns
    -------
    pd.DataFrame
        A row for each mark: `mark` ("logo", "snv", "conservation", "scan"), `offset` (bases from
        the centre), `position` (1-based), `base` (that is there; the one put in for "snv" and
        "scan"), `value`, `r_slope` of SNVs; empty if there is no scan of the gene.
    """
    what = "the main driver" if around == "driver" else "the TSS"
    labelled(ax, f"bases from {what}, forward strand", "needed for\nthe prediction")
    if gene not in plain_column(motifs["gene"].values):
        say(ax, "no main driver of the gene was scanned")
        return pd.DataFrame(columns=_MARKS)
    one = one_gene(motifs, gene)
    centre = int(one["position"] if around == "driver" else one["tss"])
    refusal = _refusal(one, variants, around)
    if refusal:
        say(ax, refusal)
        return pd.DataFrame(columns=_MARKS)
    scan = one["driver_scan"].sel(base=base) if around == "driver" else one["tss_scan"]
    if zoom is not None:
        scan = scan[np.abs(scan[scan.dims[0]].values) <= zoom]
    offsets = scan[scan.dims[0]].values
    logo, changes = _marks_of_scan(scan.values, offsets, float(one["tss_largest"]))
    snvs = _snvs(variants, centre, offsets, float(one["tss_largest"]))
    parts = [logo, snvs]
    if conservation is not None:
        parts.append(_conserved(conservation, logo, centre))
    if heat_map:
        parts.append(changes)
    table = pd.concat(parts, ignore_index=True)
    table.insert(2, "position", centre + table["offset"])
    _draw_scan(ax, table[_MARKS], conservation is not None, heat_map)
    return table[_MARKS]


def motif_histograms(motifs: xr.Dataset, ax: Axes) -> pd.DataFrame:
    """Draw how large effects and motifs at main drivers are, by support (Supp. Fig. 11).

    Reverse-cumulative: the share of main drivers that have at least so much. Of the scans with
    either allele the larger counts; effects in percent of the largest around the TSS (METHODS
    section 18).

    Parameters
    ----------
    motifs : Dataset
        Of `zarrbench.attribution_layouts.MOTIFS`, made with `norm` max.

    Returns
    -------
    pd.DataFrame
        As `zarrbench.statistics.attribution_motifs.reverse_cumulative`, of groups that have a
        driver; each share holds from its edge to the next.
    """
    labelled(ax, "", "share of main drivers")
    nothing = pd.DataFrame(columns=["quantity", "threshold", "group", "edge", "share", "n"])
    thresholds = tuple(motifs["threshold"].values.tolist())
    if not set(_THRESHOLDS) <= set(thresholds):
        say(ax, "effects are in standard deviations of the scan:\ndrawn with norm: max only")
        return nothing
    support = motifs["support"].values
    found = [
        MotifStatistics(
            thresholds,
            motifs["effect"].sel(base=base).values,
            *(
                motifs[name].sel(base=base).values
                for name in ("run_length", "run_distance", "value")
            ),
        )
        for base in ("reference", "variant")
    ]
    table = reverse_cumulative(found[0], found[1], support > 0, support < 0)
    table = table[table["n"] > 0].reset_index(drop=True)
    if table.empty:
        say(ax, "no main driver has a scan and a sign that expression supports or not")
        return nothing
    panels = grid(ax, 2, 2, (0.16, 0.34))
    quantities = table.groupby(["quantity", "threshold"], dropna=False, sort=False)
    for panel, ((quantity, threshold), rows) in zip(panels, quantities, strict=True):
        effect = quantity == "s"
        of_run = f"run of bases at {threshold:.0%} or more"
        labelled(panel, "effect, % of the largest" if effect else of_run, "")
        for group, colour in (("supported", RIGHT), ("unsupported", WRONG)):
            _draw_shares(panel, rows[rows["group"] == group], group, colour)
        panel.set(xlim=(0, None), ylim=(0, 1.04))
    for panel in panels[::2]:
        panel.set_ylabel("share of drivers", fontsize=9)
    legend(panels[0])
    return table


def _refusal(one: xr.Dataset, variants: pd.DataFrame, around: str) -> str:
    """Return why the scan of a gene is not drawn; nothing if it is."""
    if not float(one["tss_largest"]) > 0:
        return "the gene has no scan, or no base around its TSS\nchanges its prediction"
    driver = variants[variants["variant_position"] == int(one["position"])]
    if around == "driver" and not (driver["minor_carriers"] >= MINIMUM_PEOPLE).any():
        return f"fewer than {MINIMUM_PEOPLE} people carry the main driver:\nnot drawn"
    return ""


def _marks_of_scan(
    scan: np.ndarray, offsets: np.ndarray, largest: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the letters of a scan, shape (position, 4), and the changes by every base."""
    known = np.isfinite(scan).all(axis=1)
    scan, offsets = scan[known], offsets[known]
    same = scan == 0  # the base that is there, if no other changes nothing
    letters = np.where(same.sum(axis=1) == 1, np.array(list("ACGT"))[same.argmax(axis=1)], "N")
    height = profile(scan, largest, alternatives=4)
    logo = pd.DataFrame({"mark": "logo", "offset": offsets, "base": letters, "value": height})
    changes = pd.DataFrame(
        {
            "mark": "scan",
            "offset": np.repeat(offsets, 4),
            "base": list("ACGT") * len(offsets),
            "value": (scan / largest).ravel(),
        }
    )
    return logo.assign(r_slope=np.nan), changes.assign(r_slope=np.nan)


def _snvs(variants: pd.DataFrame, centre: int, offsets: np.ndarray, largest: float) -> pd.DataFrame:
    """Return the SNVs at some offsets from a position, their changes over the largest."""
    snvs = disclosed(variants, ["ism", "r_slope"], ["effect_allele", "ism", "r_slope"])
    offset = snvs["position"] - centre
    marks = pd.DataFrame(
        {
            "mark": "snv",
            "offset": offset,
            "base": snvs["effect_allele"],
            "value": snvs["ism"] / largest,
            "r_slope": snvs["r_slope"],
        }
    )
    return marks[np.isin(offset, offsets)]


def _conserved(conservation: pd.Series, logo: pd.DataFrame, centre: int) -> pd.DataFrame:
    """Return the conservation of the positions of a logo, where it is known."""
    value = conservation.reindex(logo["offset"] + centre).to_numpy(float)
    marks = logo.assign(mark="conservation", value=np.maximum(value, _FLOOR))
    return marks[np.isfinite(value)]


def _draw_scan(ax: Axes, table: pd.DataFrame, conserved: bool, heat_map: bool) -> None:
    """Draw the marks of a scan, a panel for each kind."""
    across, height = ax.get_xlabel(), ax.get_ylabel()
    kinds = ["logo", "snv", *["conservation"] * conserved, *["scan"] * heat_map]
    panels = stacked(ax, [2.0 if kind == "logo" else 1.0 for kind in kinds], 0.05, 0.9)
    marks = {kind: table[table["mark"] == kind] for kind in kinds}
    logo = marks["logo"]
    for panel, kind in zip(panels, kinds, strict=True):
        labelled(panel, "", kind)
        panel.yaxis.set_major_locator(MaxNLocator(3 if kind != "logo" else 5))
        if kind != "scan":
            panel.axhline(0, color=NEUTRAL, linewidth=0.8, zorder=1)
            panel.axvline(0, color=CUT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
    panels[0].set_ylabel(height, fontsize=9)
    _draw_columns(panels[0], logo, len(logo) <= _MOST_LETTERS)
    if len(logo) > _MOST_LETTERS:
        _name_bases(panels[0])
    _draw_stems(panels[1], marks["snv"])
    if conserved:
        phylop = marks["conservation"]
        few, high = len(phylop) <= _MOST_LETTERS, phylop["value"] >= _CONSERVED
        _draw_columns(panels[2], phylop, few, high)
        panels[2].set_ylabel("phyloP", fontsize=9)
    if heat_map:
        _draw_changes(panels[-1], marks["scan"])
    panels[-1].set_xlabel(across, fontsize=9)
    panels[0].set_xlim(logo["offset"].min() - 0.5, logo["offset"].max() + 0.5)


def _draw_columns(
    ax: Axes, marks: pd.DataFrame, letters: bool, of_letters: pd.Series | None = None
) -> None:
    """Draw marks as letters, or all or some as bars."""
    columns = marks.rename(columns={"offset": "x", "value": "height"}).assign(bottom=0.0)
    as_letters = letters & (of_letters if of_letters is not None else True)
    here = np.broadcast_to(as_letters, len(columns))
    for draw, some in ((draw_letters, here), (draw_bars, ~here)):
        if some.any():
            draw(ax, columns[some])
    lowest, highest = columns["height"].min(), columns["height"].max()
    margin = 0.06 * max(highest - lowest, 1e-12)
    ax.set_ylim(min(lowest, 0) - margin, max(highest, 0) + margin)


def _name_bases(ax: Axes) -> None:
    for base, colour in COLOURS.items():
        ax.scatter([], [], 26, colour, marker="s", linewidths=0, label=base)
    legend(ax, columns=4)


def _draw_stems(ax: Axes, snvs: pd.DataFrame) -> None:
    """Draw SNVs as stems in the colour of their correlation with expression."""
    ax.set_ylabel("SNVs", fontsize=9)
    if snvs.empty:
        ax.set_yticks([])
        ax.text(0.99, 0.95, "no SNV with enough carriers", ha="right", va="top", fontsize=8,
                transform=ax.transAxes)  # fmt: skip
        return
    widest = max(0.1, float(snvs["r_slope"].abs().max()))
    ax.vlines(snvs["offset"], 0, snvs["value"], color=NEUTRAL, linewidth=1, zorder=2)
    heads = points(ax, snvs["offset"], snvs["value"], 26, snvs["r_slope"], cmap=_SIGNED,
                   vmin=-widest, vmax=widest, zorder=3)  # fmt: skip
    ax.margins(y=0.25)
    scale(ax, heads, "r slope")


def _draw_changes(ax: Axes, changes: pd.DataFrame) -> None:
    """Draw the change by every base as a heat map, A at the top."""
    first, last = int(changes["offset"].min()), int(changes["offset"].max())
    table = changes.pivot(index="base", columns="offset", values="value")
    cells = np.ma.masked_invalid(table.reindex(columns=range(first, last + 1)).to_numpy())
    widest = max(float(changes["value"].abs().max()), 1e-12)
    image = ax.imshow(cells, cmap=_FADING, vmin=-widest, vmax=widest, aspect="auto",
                      interpolation="nearest",
                      extent=(first - 0.5, last + 0.5, 3.5, -0.5))  # fmt: skip
    ax.set_yticks(range(4), list(table.index))
    ax.set_ylabel("base put in", fontsize=9)
    scale(ax, image, "change")


def _draw_shares(ax: Axes, rows: pd.DataFrame, group: str, colour: str) -> None:
    if rows.empty:
        return
    edges = rows["edge"].to_numpy()
    n = int(rows["n"].iloc[0])
    ax.stairs(rows["share"], [*edges, 2 * edges[-1] - edges[-2]], color=colour, linewidth=1.4,
              baseline=None, label=f"{group} ({n:,})")  # fmt: skip
