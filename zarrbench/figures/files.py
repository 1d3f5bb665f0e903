"""Figures as files: for a page, for print, and the table that each draws."""

import io
from collections.abc import Callable
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from zarrbench import storage, tables
from zarrbench.figures.style import SVG_STYLE, SVG_UNDATED
from zarrbench.remote import Place

SIZE = (4.6, 3.6)  # inches; lettering is chosen for it
_STYLE = {**SVG_STYLE, "pdf.fonttype": 42}  # TrueType: journals refuse Type 3
# Whatever differs from one writing of a drawing to the next
_UNDATED = {
    "svg": SVG_UNDATED,
    "pdf": dict.fromkeys(("Creator", "Producer", "CreationDate")),
}


def drawn(
    draw: Callable[..., pd.DataFrame], *data: Any, size: tuple[float, float] = SIZE
) -> tuple[Figure, pd.DataFrame]:
    """Let a function draw on the Axes of a new page of so many inches; return page and table."""
    figure = Figure(figsize=size, layout="constrained")
    table = draw(*data, ax=figure.subplots())
    return figure, table


def write_figure(folder: Place, name: str, figure: Figure, table: pd.DataFrame) -> None:
    """Write a figure as `name`.svg and `name`.pdf, and the table it draws as `name`.tsv.

    Each file is written whole or not at all, the table last. The same drawing gives the same
    bytes. The background is white; marks that the drawing rasterises have 200 dots an inch.

    Raises
    ------
    StorageError
        If `folder` cannot be written to.
    """
    for kind, metadata in _UNDATED.items():
        buffer = io.BytesIO()
        with matplotlib.rc_context(_STYLE):
            figure.savefig(buffer, format=kind, dpi=200, metadata=metadata)
        with storage.published(folder / f"{name}.{kind}") as temporary:
            temporary.write_bytes(buffer.getvalue())
    tables.write_table(table, folder / f"{name}.tsv")
