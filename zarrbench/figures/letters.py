"""Bases as letters of any height: vector shapes of one font, in colours that can be told apart."""

from functools import cache

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from zarrbench.figures.style import NEUTRAL

#: of the Okabe-Ito palette
COLOURS = {"A": "#009e73", "C": "#0072b2", "G": "#e69f00", "T": "#d55e00"}
# Of their column; the rest is the gap to the next
_WIDTH = 0.92
# More bars are an image inside the drawing
_MANY = 1_000


def draw_letters(ax: Axes, letters: pd.DataFrame) -> PathCollection:
    """Draw letters that fill their column from `bottom` to `bottom` + `height`.

    Parameters
    ----------
    letters : pd.DataFrame
        `x` (centre of a column of width 1), `base`, `bottom`, `height`: upside down if negative. A
        base that is no letter is a bar.
    """
    places = letters[["x", "bottom", "height"]].to_numpy(float)
    shapes = [
        _glyph(base).transformed(Affine2D().scale(_WIDTH, height).translate(x - _WIDTH / 2, bottom))
        for base, (x, bottom, height) in zip(letters["base"], places, strict=True)
    ]
    colours = [COLOURS.get(base, NEUTRAL) for base in letters["base"]]
    drawn = PathCollection(shapes, facecolors=colours, linewidths=0, zorder=2)
    ax.add_collection(drawn)
    return drawn


def draw_bars(ax: Axes, letters: pd.DataFrame) -> PolyCollection:
    """Draw bars in the colour of their base; the arguments are those of `draw_letters`."""
    x, bottom, top = letters["x"], letters["bottom"], letters["bottom"] + letters["height"]
    corners = [(x - 0.5, bottom), (x - 0.5, top), (x + 0.5, top), (x + 0.5, bottom)]
    shapes = np.stack([np.column_stack(corner) for corner in corners], axis=1)
    colours = [COLOURS.get(base, NEUTRAL) for base in letters["base"]]
    image = len(letters) > _MANY
    drawn = PolyCollection(
        list(shapes), facecolors=colours, linewidths=0, zorder=2, rasterized=image
    )
    ax.add_collection(drawn)
    return drawn


@cache
def _glyph(base: str) -> Path:
    """Return the outline of a letter that fills the unit square."""
    if base not in COLOURS:
        return Path.unit_rectangle()
    outline = TextPath((0, 0), base, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = outline.get_extents()
    return outline.transformed(
        Affine2D().translate(-box.x0, -box.y0).scale(1 / box.width, 1 / box.height)
    )
