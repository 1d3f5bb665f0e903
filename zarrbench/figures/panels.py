"""Several panels in the place of one: a figure that needs them divides the Axes it is given."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable

from zarrbench.figures.style import colour_bar


def stacked(
    ax: Axes, heights: Sequence[float], gap: float = 0.08, width: float = 1.0
) -> list[Axes]:
    """Divide `ax` into panels from top to bottom that share their x axis.

    Parameters
    ----------
    heights
        Of the panels, in any unit.
    gap
        Between two of them, as a share of `ax`.
    width
        As a share of `ax`, from its left.
    """
    ax.set_axis_off()
    share = np.asarray(heights, float) / sum(heights) * (1 - gap * (len(heights) - 1))
    bottoms = 1 - np.cumsum(share) - gap * np.arange(len(share))
    panels: list[Axes] = []
    for bottom, height in zip(bottoms, share, strict=True):
        first = panels[0] if panels else None
        panels.append(ax.inset_axes((0, bottom, width, height), sharex=first))
    for panel in panels[:-1]:
        panel.tick_params(labelbottom=False)
    return panels


def grid(ax: Axes, rows: int, columns: int, gap: tuple[float, float]) -> list[Axes]:
    """Divide `ax` into `rows` of `columns` panels, row by row, with gaps across and down."""
    ax.set_axis_off()
    width = (1 - gap[0] * (columns - 1)) / columns
    height = (1 - gap[1] * (rows - 1)) / rows
    return [
        ax.inset_axes(
            (column * (width + gap[0]), 1 - height - row * (height + gap[1]), width, height)
        )
        for row in range(rows)
        for column in range(columns)
    ]


def scale(ax: Axes, colours: ScalarMappable, label: str) -> Axes:
    """Draw the scale of `colours` to the right of `ax`, which may be a panel; return its Axes."""
    return colour_bar(ax, colours, label, ax.inset_axes((1.025, 0, 0.025, 1))).ax
