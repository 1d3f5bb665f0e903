"""What figures have in common: colours, axes, words in place of a drawing, SVG for a page.

Colours are of the Okabe-Ito palette, which people with colour blindness can tell apart; `as_svg`
lets the page replace them, so that one drawing serves light, dark and printed pages. Text that
comes from data is never read as mathematics (a gene may be named ``$``).
"""

import hashlib
import io
import re
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colorbar import Colorbar
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from scipy.stats import gaussian_kde

RIGHT, WRONG, NEUTRAL, CUT = "#0072b2", "#d55e00", "#8c929b", "#cc2222"
_MANY = 2_000  # more points than this are an image inside the drawing: vectors would be megabytes
# Viridis, without its ends: the dark one is lost on a dark page, the light one on a white page
SHADES = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.28, 0.85, 10)))
_CELLS = 100  # along each axis, of the grid on which a density is computed
# Text stays text, and the same drawing gives the same SVG: no date, no chance in its ids
SVG_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "zarrbench"}
SVG_UNDATED = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_XLINK = "http://www.w3.org/1999/xlink"
# What a page may set in place of a colour, by the name of its property
_PROPERTIES = {RIGHT: "right", WRONG: "wrong", CUT: "cut", "#ffffff": "card"}


def points(ax: Axes, x: Any, y: Any, size: float, colour: Any, **options: Any) -> PathCollection:
    """Draw points without an outline: as vectors, or many of them as one image in the drawing."""
    return ax.scatter(x, y, size, colour, linewidths=0, rasterized=len(x) > _MANY, **options)


def shaded(ax: Axes, x: ArrayLike, y: ArrayLike, values: ArrayLike, size: float) -> ScalarMappable:
    """Draw points in ten shades of their finite values, in the order given.

    Values beyond the outer fiftieths have the shades of these.

    Returns
    -------
    ScalarMappable
        What a colour bar shows.
    """
    shade = np.asarray(values, dtype=float)
    low, high = np.percentile(shade, [2, 98])
    scale = Normalize(low, high if high > low else low + 1)
    points(ax, x, y, size, SHADES(np.clip(scale(shade), 0, 1)), zorder=2)
    return ScalarMappable(scale, SHADES)


def density_points(ax: Axes, x: ArrayLike, y: ArrayLike) -> None:
    """Draw points coloured by how many lie about them (`density`), the densest last."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    values = density(x, y)
    order = np.argsort(values, kind="stable")
    shaded(ax, x[order], y[order], values[order], 8 if len(x) > 500 else 18)


def density(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """Return the density of finite points at each of them, by a Gaussian kernel (Scott's width).

    It is computed on a grid of 100 x 100 cells, hence fast for any number of points, and up to a
    factor. Points on a line have the density along it; points in one place, 1.
    """
    both = np.stack([np.asarray(x, dtype=float), np.asarray(y, dtype=float)], axis=1)
    if not len(both):
        return np.zeros(0)
    low, span = both.min(axis=0), np.ptp(both, axis=0)
    placed = np.minimum(_CELLS * (both - low) / np.where(span > 0, span, 1), _CELLS - 1)
    cells, cell, counts = np.unique(
        placed.astype(int), axis=0, return_inverse=True, return_counts=True
    )
    # Along the axes of the cloud: the kernel needs those along which it has any width.
    rotated, widths, _ = np.linalg.svd(cells - cells.mean(axis=0), full_matrices=False)
    wide = widths > 1e-9 * max(1, widths[0])
    if not wide.any():
        return np.ones(len(both))
    width = len(both) ** (-1 / (wide.sum() + 4))
    kernel = gaussian_kde(rotated[:, wide].T, width, weights=counts)
    return np.asarray(kernel(rotated[:, wide].T)[cell.ravel()])


def colour_bar(ax: Axes, scale: ScalarMappable, label: str, beside: Axes | None = None) -> Colorbar:
    """Put what colours mean beside the axes, or into Axes that stand there."""
    place: dict[str, Any] = {"ax": ax, "fraction": 0.04, "pad": 0.02, "aspect": 30}
    bar = ax.figure.colorbar(scale, **(place if beside is None else {"cax": beside}))
    bar.set_label(label, fontsize=8)
    bar.locator = MaxNLocator(5)
    bar.ax.tick_params(labelsize=8, length=0)
    bar.outline.set_visible(False)
    return bar


def r_and_number(r: float, n: int, of: str) -> str:
    """Return a heading: what the correlation is, and of how many."""
    shown = "r undefined" if np.isnan(r) else f"r = {r:.2f}".replace("-", "−")
    return f"{shown},  {n:,} {of}"


def identity_line(ax: Axes) -> None:
    """Draw where y is x, within the axes as they are, which it leaves so."""
    limits = ax.get_xlim(), ax.get_ylim()
    ax.axline((0, 0), slope=1, color=NEUTRAL, linewidth=0.8, zorder=1)
    ax.set(xlim=limits[0], ylim=limits[1])


def labelled(ax: Axes, x_label: str, y_label: str) -> None:
    """Name the axes in the style of the page."""
    ax.set_xlabel(x_label, fontsize=9, parse_math=False)
    ax.set_ylabel(y_label, fontsize=9, parse_math=False)
    ax.tick_params(labelsize=8, length=3, width=0.8)
    ax.spines[["top", "right"]].set_visible(False)


def legend(ax: Axes, heading: str | None = None, columns: int = 2) -> None:
    """Put what is drawn above the axes, below a heading."""
    ax.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=columns, frameon=False, fontsize=8,
        handletextpad=0.5, columnspacing=1.2, borderpad=0, labelspacing=0.35,
        title=heading, title_fontsize=9, alignment="left",
    )  # fmt: skip


def say(ax: Axes, sentence: str) -> None:
    """Say why nothing is drawn, in its place."""
    ax.text(0.5, 0.5, sentence, ha="center", va="center", fontsize=9, transform=ax.transAxes)
    ax.set(xticks=[], yticks=[])


def as_svg(figure: Figure, name: str = "") -> str:
    """Return `figure` as an SVG element to stand inside an HTML page.

    The same drawing gives the same text: no date, and ids that follow from content and `name`, so
    that several figures in one page do not share any, even if they look alike. Text stays text.
    Size, font and ink are the page's, and so are other colours where it sets ``--right``,
    ``--wrong``, ``--cut``, ``--card``.
    """
    buffer = io.BytesIO()
    with matplotlib.rc_context(SVG_STYLE):
        figure.savefig(buffer, format="svg", dpi=200, transparent=True, metadata=SVG_UNDATED)
    root = ElementTree.fromstring(buffer.getvalue())
    prefix = f"f{hashlib.sha256(name.encode() + buffer.getvalue()).hexdigest()[:10]}-"
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
