"""Figures of the report: each function draws on one Axes and returns the table it draws.

Colours are of the Okabe-Ito palette, which people with colour blindness can tell apart; `as_svg`
lets the page replace them, so that one drawing serves light, dark and printed pages. Text that
comes from data is never read as mathematics (a gene may be named ``$``).
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
_SIZES = (6, 14, 26)  # areas of the points of the lower, middle and upper third
_XLINK = "http://www.w3.org/1999/xlink"
# What a page may set in place of a colour, by the name of its property
_PROPERTIES = {RIGHT: "right", WRONG: "wrong", CUT: "cut", "#ffffff": "card"}


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


def predicted_against_observed(
    predicted: xr.DataArray, observed: xr.DataArray, ax: Axes, individual_points: bool = False
) -> pd.DataFrame:
    """Draw predicted against observed expression of one gene, r in the title.

    No single person is drawn unless `individual_points` is set. Cells of a grid hold at least
    `tables.MINIMUM_PEOPLE` people, sparser ones stay empty; the points are means of at least as
    many, grouped by quantiles of observed expression. The axes end with what is shown.

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
    x, y = np.stack([x, y])[:, np.isfinite(x) & np.isfinite(y)]
    r = float(correlation.pearson(x, y).r)
    labelled(ax, "observed expression", "predicted expression")
    shown = "r undefined" if np.isnan(r) else f"r = {r:.2f}".replace("-", "−")
    ax.set_title(f"{shown},  {len(x):,} people", fontsize=9)
    accent = NEUTRAL if np.isnan(r) else RIGHT if r > 0 else WRONG
    counts, groups = np.zeros((0, 0), dtype=int), []
    marks = pd.DataFrame({"mark": "person", "observed": x, "predicted": y, "people": 1})
    if individual_points:
        ax.scatter(x, y, 12, accent, alpha=0.6, linewidths=0)
    elif len(x) < tables.MINIMUM_PEOPLE:
        say(ax, f"fewer than {tables.MINIMUM_PEOPLE} people:\nnot drawn")
        marks = marks[:0]
    else:
        counts, *edges = tables.people_in_cells(x, y)
        centres = [(along[1:] + along[:-1]) / 2 for along in edges]
        groups = np.array_split(
            np.argsort(x, kind="stable"), min(10, len(x) // tables.MINIMUM_PEOPLE)
        )
        rows = [("group", x[group].mean(), y[group].mean(), len(group)) for group in groups]
        for i, j in np.argwhere(counts):
            rows.append(("cell", centres[0][i], centres[1][j], counts[i, j]))
        marks = pd.DataFrame(rows, columns=marks.columns)
        if counts.any():
            _draw_cells(ax, counts, *edges)
        means = marks[: len(groups)]
        ax.plot(means["observed"], means["predicted"], "-o", color=accent, mec="w", clip_on=False)
    hidden = 0 if individual_points else len(x) - int(counts.sum())
    marks.attrs.update(r=r, people=len(x), suppressed=hidden, groups=len(groups))
    return marks


def training_curve(history: pd.DataFrame, ax: Axes) -> pd.DataFrame:
    """Draw the loss of every epoch, of training and of validation genes, and mark the best.

    Parameters
    ----------
    history : pd.DataFrame
        One row an epoch: `epoch`, `training_loss`, `validation_loss`.
    ax : Axes
    """
    labelled(ax, "epoch", "mean squared error")
    ax.plot(history["epoch"], history["training_loss"], color=NEUTRAL, label="training genes")
    ax.plot(history["epoch"], history["validation_loss"], color=RIGHT, label="validation genes")
    kept = history.nsmallest(1, "validation_loss")  # the first of equals
    ax.plot(
        kept["epoch"], kept["validation_loss"], "o", color=RIGHT, label="weights that were kept"
    )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(ax)
    return history


def as_svg(figure: Figure) -> str:
    """Return `figure` as an SVG element to stand inside an HTML page.

    The same drawing gives the same text: no date, and ids that follow from the content, so that
    several figures in one page do not share any. Text stays text. Size, font and ink are the
    page's, and so are other colours where it sets ``--right``, ``--wrong``, ``--cut``, ``--card``.
    """
    buffer, nothing = io.BytesIO(), dict.fromkeys(("Creator", "Date", "Format", "Type"))
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
            elif name == "style":
                value = re.sub("font-family: [^;]*", "font-family: inherit", value)
                value = value.replace("#000000", "currentColor")
                for colour, property_name in _PROPERTIES.items():
                    value = value.replace(colour, f"var(--{property_name}, {colour})")
            element.set(name, value.replace("url(#", f"url(#{prefix}"))
    del root.attrib["width"], root.attrib["height"]
    root.set("fill", "currentColor")  # for shapes whose fill is left out because it is black
    ElementTree.register_namespace("", "http://www.w3.org/2000/svg")
    ElementTree.register_namespace("xlink", _XLINK)
    return ElementTree.tostring(root, encoding="unicode")


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


def _draw_cells(ax: Axes, counts: np.ndarray, x_edges: np.ndarray, y_edges: np.ndarray) -> None:
    """Draw the cells as ink, the denser the more people, with a scale of its own."""
    levels = ListedColormap([(0, 0, 0, alpha) for alpha in np.linspace(0.09, 0.5, 12)])
    lowest, cells = tables.MINIMUM_PEOPLE, np.ma.masked_equal(counts.T, 0)
    highest = max(int(counts.max()), lowest + 1)
    mesh = ax.pcolormesh(x_edges, y_edges, cells, cmap=levels, vmin=lowest, vmax=highest)
    scale = ax.figure.colorbar(mesh, ax=ax, fraction=0.04, pad=0.02, aspect=30)
    scale.set_label("people in a cell", fontsize=8)
    scale.locator = MaxNLocator(4, integer=True)
    scale.ax.tick_params(labelsize=8, length=0)
    scale.outline.set_visible(False)


def labelled(ax: Axes, x_label: str, y_label: str) -> None:
    """Name the axes in the style of the page."""
    ax.set_xlabel(x_label, fontsize=9, parse_math=False)
    ax.set_ylabel(y_label, fontsize=9)
    ax.tick_params(labelsize=8, length=3, width=0.8)
    ax.spines[["top", "right"]].set_visible(False)


def legend(ax: Axes) -> None:
    """Put what is drawn above the axes."""
    ax.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, frameon=False, fontsize=8,
        handletextpad=0.5, columnspacing=1.2, borderpad=0, labelspacing=0.35,
    )  # fmt: skip


def say(ax: Axes, sentence: str) -> None:
    """Say why nothing is drawn, in its place."""
    ax.text(0.5, 0.5, sentence, ha="center", va="center", fontsize=9, transform=ax.transAxes)
    ax.set(xticks=[], yticks=[])
