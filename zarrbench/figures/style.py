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
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

RIGHT, WRONG, NEUTRAL, CUT = "#0072b2", "#d55e00", "#8c929b", "#cc2222"
_MANY = 2_000  # more points than this are an image inside the drawing: vectors would be megabytes
_XLINK = "http://www.w3.org/1999/xlink"
# What a page may set in place of a colour, by the name of its property
_PROPERTIES = {RIGHT: "right", WRONG: "wrong", CUT: "cut", "#ffffff": "card"}


def points(ax: Axes, x: Any, y: Any, size: float, colour: Any, **options: Any) -> PathCollection:
    """Draw points without an outline: as vectors, or many of them as one image in the drawing."""
    return ax.scatter(x, y, size, colour, linewidths=0, rasterized=len(x) > _MANY, **options)


def labelled(ax: Axes, x_label: str, y_label: str) -> None:
    """Name the axes in the style of the page."""
    ax.set_xlabel(x_label, fontsize=9, parse_math=False)
    ax.set_ylabel(y_label, fontsize=9)
    ax.tick_params(labelsize=8, length=3, width=0.8)
    ax.spines[["top", "right"]].set_visible(False)


def legend(ax: Axes, columns: int = 2) -> None:
    """Put what is drawn above the axes."""
    ax.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=columns, frameon=False, fontsize=8,
        handletextpad=0.5, columnspacing=1.2, borderpad=0, labelspacing=0.35,
    )  # fmt: skip


def say(ax: Axes, sentence: str) -> None:
    """Say why nothing is drawn, in its place."""
    ax.text(0.5, 0.5, sentence, ha="center", va="center", fontsize=9, transform=ax.transAxes)
    ax.set(xticks=[], yticks=[])


def as_svg(figure: Figure) -> str:
    """Return `figure` as an SVG element to stand inside an HTML page.

    The same drawing gives the same text: no date, and ids that follow from the content, so that
    several figures in one page do not share any. Text stays text. Size, font and ink are the
    page's, and so are other colours where it sets ``--right``, ``--wrong``, ``--cut``, ``--card``.
    """
    buffer, nothing = io.BytesIO(), dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "zarrbench"}):
        figure.savefig(buffer, format="svg", dpi=200, transparent=True, metadata=nothing)
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
