"""Figures of the report: each function draws on one Axes and returns the table it draws.

Matplotlib's black stands for the ink of the page: `as_svg` writes it as ``currentColor``, and
backgrounds are transparent, so that one drawing serves light, dark and printed pages. Colours are
of the Okabe-Ito palette, which people with colour blindness can tell apart. Text that comes from
data is never read as mathematics (a gene may be named ``$``).
"""

import hashlib
import io
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zarrbench.report import tables
from zarrbench.statistics import correlation

RIGHT, WRONG, NEUTRAL, CUT = "#0072b2", "#d55e00", "#8c929b", "#cc2222"
MINIMUM_PEOPLE = 5  # nothing is drawn or returned about fewer people than this
_GROUPS = 10
_GRIDS = (20, 16, 14, 12, 10, 8, 6, 5, 4, 3, 2, 1)  # cells along an axis, finest first
_SHOWN = 0.75  # a grid is coarse enough when it shows this share of the people
_BIN_WIDTHS = (0.005, 0.01, 0.02, 0.025, 0.05, 0.1)
_SIZES = (6, 14, 26)  # areas of the points of the lower, middle and upper third
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


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
    cut = genes.loc[genes["null_q"] <= alpha, "minus_log10_p"].min()
    genes.attrs["cut"] = float(cut)
    _label(ax, f"−log₁₀ p  ({statistics.attrs['statistic']})", "r across people")
    if genes.empty:
        _say(ax, "no gene has a defined r")
        return genes
    ax.axhline(0, color=NEUTRAL, linewidth=0.8, zorder=1)
    x, y = genes["minus_log10_p"], genes["r"]
    third = (
        (3 * genes["mean_predicted"].rank(pct=True, method="first") - 1e-9).fillna(0).astype(int)
    )
    for label, colour, members in _classes(genes):
        for part, size in enumerate(_SIZES):  # one size a collection keeps the SVG small
            here = members & (third == part)
            ax.scatter(x[here], y[here], size, colour, alpha=0.75, linewidths=0, zorder=2)
        ax.scatter([], [], 20, colour, linewidths=0, label=f"{label} ({members.sum():,})")
    if np.isfinite(cut):
        dashes = (0, (4, 3))
        ax.axvline(cut, color=CUT, linewidth=1, linestyle=dashes, label=f"q ≤ {alpha:g}")
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
    _legend(ax)
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
    _label(ax, "r across people", "genes")
    if genes.empty:
        _say(ax, "no gene has a defined r")
        return pd.DataFrame(columns=["r_start", "r_end", *names])
    width = next((w for w in _BIN_WIDTHS if np.ptp(r) <= 40 * w), _BIN_WIDTHS[-1])
    first = np.floor(r.min() / width)
    edges = width * np.arange(first, max(np.ceil(r.max() / width), first + 1) + 1)
    bars = pd.DataFrame({"r_start": edges[:-1], "r_end": edges[1:]})
    bars.attrs["mean"] = float(r.mean())
    bottom = np.zeros(len(bars), dtype=int)
    for name, (label, colour, members) in zip(names, _classes(genes), strict=True):
        bars[name] = np.histogram(r[members], edges)[0]
        ax.bar(
            edges[:-1], bars[name], 0.92 * width, bottom, align="edge", color=colour, linewidth=0,
            label=f"{label} ({members.sum():,})", zorder=2,
        )  # fmt: skip
        bottom += bars[name].to_numpy()
    ax.axvline(0, color=NEUTRAL, linewidth=0.8, zorder=1)
    ax.axvline(r.mean(), 0, 0.93, color="black", linewidth=1, linestyle=(0, (1, 2)), zorder=3)
    mean, above = f"mean {r.mean():.3f}".replace("-", "−"), ax.get_xaxis_transform()
    ax.text(r.mean(), 0.94, mean, ha="center", va="bottom", fontsize=8, transform=above)
    ax.set_ylim(0, 1.16 * bottom.max())
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    _legend(ax)
    return bars


def predicted_against_observed(
    predicted: xr.DataArray, observed: xr.DataArray, ax: Axes, individual_points: bool = False
) -> pd.DataFrame:
    """Draw predicted against observed expression of one gene, r in the title.

    No single person is drawn unless `individual_points` is set: cells of a grid hold at least
    `MINIMUM_PEOPLE` people, sparser ones stay empty, and the points are means of at least as many
    people, grouped by quantiles of observed expression. The grid lies on round numbers and the
    axes end with what is shown, so that they do not give away the most extreme person. The grid
    is made coarser until it shows three quarters of the people.

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
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    r = float(correlation.pearson(x, y).r)
    _label(ax, "observed expression", "predicted expression")
    shown = "r undefined" if np.isnan(r) else f"r = {r:.2f}".replace("-", "−")
    ax.set_title(f"{shown},  {len(x):,} people", fontsize=9)
    accent = NEUTRAL if np.isnan(r) else RIGHT if r > 0 else WRONG
    counts, groups = np.zeros((0, 0), dtype=int), []
    marks = pd.DataFrame({"mark": "person", "observed": x, "predicted": y, "people": 1})
    if individual_points:
        ax.scatter(x, y, 12, accent, alpha=0.6, linewidths=0)
    elif len(x) < MINIMUM_PEOPLE:
        _say(ax, f"fewer than {MINIMUM_PEOPLE} people:\nnot drawn")
        marks = marks[:0]
    else:
        counts, *edges = _cells(x, y)
        centres = [(along[1:] + along[:-1]) / 2 for along in edges]
        groups = np.array_split(
            np.argsort(x, kind="stable"), min(_GROUPS, len(x) // MINIMUM_PEOPLE)
        )
        rows = [
            ("cell", centres[0][i], centres[1][j], counts[i, j]) for i, j in np.argwhere(counts)
        ]
        rows += [("group", x[group].mean(), y[group].mean(), len(group)) for group in groups]
        marks = pd.DataFrame(rows, columns=marks.columns)
        _draw_cells(ax, counts, *edges)
        means = marks[marks["mark"] == "group"]
        ax.plot(means["observed"], means["predicted"], "-o", color=accent, ms=5, lw=1.2, zorder=3)
    suppressed = 0 if individual_points else len(x) - int(counts.sum())
    marks.attrs.update(r=r, people=len(x), suppressed=suppressed, groups=len(groups))
    return marks


def as_svg(figure: Figure) -> str:
    """Return `figure` as an SVG element to stand inside an HTML page.

    The same drawing gives the same text: no date, and ids that follow from the content, so that
    several figures in one page do not share any. Text stays text in the font of the page, black
    becomes ``currentColor``, and the size is left to the page.
    """
    buffer = io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "zarrbench"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    root = ElementTree.fromstring(buffer.getvalue())
    prefix = f"f{hashlib.sha256(buffer.getvalue()).hexdigest()[:10]}-"
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == "id":
                value = prefix + value
            elif name == f"{{{_XLINK}}}href":
                value = value.replace("#", f"#{prefix}", 1)
            elif name in ("d", "x", "y"):
                value = re.sub(r"(\.\d\d)\d+", r"\1", value)  # a hundredth of a point is enough
            value = value.replace("url(#", f"url(#{prefix}").replace("#000000", "currentColor")
            element.set(name, re.sub("font-family: [^;]*", "font-family: inherit", value))
    del root.attrib["width"], root.attrib["height"]
    root.set("fill", "currentColor")  # for shapes whose fill is left out because it is black
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _defined(statistics: xr.Dataset) -> pd.DataFrame:
    """Return the genes with a defined r."""
    names = ["gene_id", "gene_name", "r", "mean_predicted", "null_p", "null_q", "significant"]
    genes = tables.gene_table(statistics)[names]
    return genes[np.isfinite(genes["r"])].reset_index(drop=True)


def _classes(genes: pd.DataFrame) -> list[tuple[str, str, np.ndarray]]:
    """Return label, colour and members of the three classes of genes, in the order of drawing."""
    r, significant = genes["r"].to_numpy(), genes["significant"].to_numpy()
    right, wrong = significant & (r > 0), significant & (r < 0)
    return [
        ("not significant", NEUTRAL, ~(right | wrong)),
        ("significant, r > 0", RIGHT, right),
        ("significant, r < 0", WRONG, wrong),
    ]


def _cells(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return counts ``(observed, predicted)`` with sparse cells set to 0, and the two edges."""
    # A few people far out must not decide the size of the cells: they are not shown anyway.
    spans = [np.percentile(values, [1, 99]) for values in (x, y)]
    grids = []
    for side in _GRIDS:
        edges = [np.asarray(MaxNLocator(side).tick_values(*span)) for span in spans]
        counts = np.histogram2d(x, y, edges)[0].astype(int)
        counts[counts < MINIMUM_PEOPLE] = 0
        grids.append((counts, edges[0], edges[1]))
        if counts.sum() >= _SHOWN * len(x):
            break
    return max(grids, key=lambda grid: int(grid[0].sum()))


def _draw_cells(ax: Axes, counts: np.ndarray, x_edges: np.ndarray, y_edges: np.ndarray) -> None:
    """Draw the cells as ink, the denser the more people, with a scale of its own."""
    kept = [np.flatnonzero(counts.any(axis=axis)) for axis in (1, 0)]
    if not counts.any():
        return
    levels = ListedColormap([(0, 0, 0, alpha) for alpha in np.linspace(0.1, 0.62, 12)])
    highest = max(int(counts.max()), MINIMUM_PEOPLE + 1)
    cells = np.ma.masked_equal(counts.T, 0)
    mesh = ax.pcolormesh(x_edges, y_edges, cells, cmap=levels, vmin=MINIMUM_PEOPLE, vmax=highest)
    for limit, edges, shown in ((ax.set_xlim, x_edges, kept[0]), (ax.set_ylim, y_edges, kept[1])):
        limit(edges[shown[0]], edges[shown[-1] + 1])
    scale = ax.figure.colorbar(mesh, ax=ax, fraction=0.04, pad=0.02, aspect=30)
    scale.set_label("people in a cell", fontsize=8)
    ticks = MaxNLocator(4, integer=True).tick_values(MINIMUM_PEOPLE, highest)
    scale.set_ticks(ticks[(ticks >= MINIMUM_PEOPLE) & (ticks <= highest)])
    scale.ax.tick_params(labelsize=8, length=0)
    scale.outline.set_visible(False)


def _label(ax: Axes, x_label: str, y_label: str) -> None:
    ax.set_xlabel(x_label, fontsize=9, parse_math=False)
    ax.set_ylabel(y_label, fontsize=9)
    ax.tick_params(labelsize=8, length=3, width=0.8)
    ax.spines[["top", "right"]].set_visible(False)


def _legend(ax: Axes) -> None:
    ax.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, frameon=False, fontsize=8,
        handletextpad=0.5, columnspacing=1.2, borderpad=0, labelspacing=0.35,
    )  # fmt: skip


def _say(ax: Axes, sentence: str) -> None:
    """Write a sentence in place of a drawing that has nothing to show."""
    ax.text(0.5, 0.5, sentence, ha="center", va="center", fontsize=9, transform=ax.transAxes)
    ax.set(xticks=[], yticks=[])
