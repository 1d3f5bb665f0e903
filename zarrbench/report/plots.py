"""The plots of the explorer: Bokeh models without data, which the page's script fills and colours.

They hold no text that comes from data and no callbacks: the page forbids eval and the network.
Every source is found by its name; columns that end with "colour" hold colours of the page.
"""

import re
from typing import Any

from bokeh.document import Document
from bokeh.models import (
    BoxAnnotation,
    BoxSelectTool,
    BoxZoomTool,
    ColumnDataSource,
    DataRange1d,
    HoverTool,
    LassoSelectTool,
    NumeralTickFormatter,
    PanTool,
    Range1d,
    ResetTool,
    SaveTool,
    Span,
    Tool,
    WheelZoomTool,
)
from bokeh.plotting import figure
from bokeh.resources import Resources

_SNV_TOOLTIPS = [
    ("position", "@position{0,0}"),
    ("alleles", "@alleles"),
    ("ISM", "@ism{0.0000}"),
    ("slope", "@slope{0.0000}"),
    ("carriers", "@frequency{0%}"),
    ("support", "@said"),
]

# Columns of the sources
_COLUMNS = {
    "genes": "name id r p mean_predicted mean_observed colour",
    "chosen": "r p mean_predicted mean_observed colour",
    "cells": "left right bottom top people alpha colour",
    "trend": "xs ys colour",
    "group-means": "x y colour edge_colour",
    "points": "x y colour",
    "null-bars": "left right top colour edge_colour",
    "snvs": "distance position ism slope frequency alleles said marker colour ring ring_colour",
}


def library() -> str:
    """Return BokehJS as text for a script of the page: its core, no widgets, tables or MathJax."""
    return str(Resources(mode="inline", components=["bokeh"]).js_raw[0])


def document() -> dict[str, Any]:
    """Return the plots as one Bokeh document in its JSON form, the same whenever it is asked for.

    Its roots are named ``r`` and ``means`` (all genes, sharing the source ``genes`` and so what is
    selected), ``people``, ``null``, ``effects`` (slope against ISM), and ``ism`` and ``slope``
    along the window, which share a range ``window``.
    """
    made = Document()
    genes, chosen = _source("genes"), _source("chosen")
    made.add_root(
        _genes("r", genes, chosen, ("r", "r across people"), ("p", "−log₁₀ p against the null"))
    )
    made.add_root(
        _genes(
            "means", genes, chosen,
            ("mean_predicted", "mean prediction"), ("mean_observed", "mean observed expression"),
        )
    )  # fmt: skip
    for plot in (_people(), _null(), _effects(snvs := _source("snvs")), *_window(snvs)):
        made.add_root(plot)
    return _renumbered(made.to_json(deferred=False))


def _source(name: str) -> ColumnDataSource:
    # A column that is missing is an error in the browser, an empty one is not.
    return ColumnDataSource(name=name, data={column: [] for column in _COLUMNS[name].split()})


def _plot(name: str, x_label: str, y_label: str, tools: list[Tool], **options: Any) -> figure:
    plot = figure(
        name=name,
        height=300,
        sizing_mode="stretch_width",
        tools=tools,
        toolbar_location="above",
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_color=None,
        x_axis_label=x_label,
        y_axis_label=y_label,
        **options,
    )
    plot.toolbar.logo = None
    plot.toolbar.active_drag = tools[0]
    plot.axis.axis_label_text_font_style = "normal"
    plot.axis.minor_tick_line_color = None
    for text in ("axis_label_text_font", "major_label_text_font"):
        setattr(plot.axis, text, "system-ui, sans-serif")
    for along in (plot.x_range, plot.y_range):
        if isinstance(along, DataRange1d):
            along.range_padding = 0.3  # room for the rings of drivers at the edges
    plot.xaxis.ticker.desired_num_ticks = 5
    return plot


def _zooms() -> list[Tool]:
    return [BoxZoomTool(), PanTool(), WheelZoomTool(), ResetTool(), SaveTool()]


def _genes(
    name: str,
    genes: ColumnDataSource,
    chosen: ColumnDataSource,
    x: tuple[str, str],
    y: tuple[str, str],
) -> figure:
    """Return a plot of all genes: `x` and `y` are column and label."""
    tools = [BoxSelectTool(), LassoSelectTool(), *_zooms()[1:]]
    plot = _plot(name, x[1], y[1], tools)
    points = plot.scatter(
        x[0], y[0], source=genes, size=6, fill_color="colour", line_color=None, fill_alpha=0.6,
        nonselection_fill_alpha=0.08, nonselection_fill_color="colour",
    )  # fmt: skip
    plot.scatter(
        x[0], y[0], source=chosen, size=13, line_color="colour", fill_color=None, line_width=2
    )
    tooltips = [("gene", "@name"), ("id", "@id"), ("r", "@r{0.000}")]
    plot.add_tools(HoverTool(renderers=[points], tooltips=tooltips))
    return plot


def _people() -> figure:
    """Return predicted against observed: cells and means of groups, or points of single people."""
    plot = _plot("people", "observed expression", "predicted expression", _zooms())
    cells = plot.quad(
        "left", "right", "top", "bottom", source=_source("cells"),
        fill_color="colour", fill_alpha="alpha", line_color=None,
    )  # fmt: skip
    plot.multi_line("xs", "ys", source=_source("trend"), line_color="colour", line_width=2)
    plot.scatter(
        "x",
        "y",
        source=_source("group-means"),
        size=8,
        fill_color="colour",
        line_color="edge_colour",
    )
    plot.scatter(
        "x", "y", source=_source("points"), size=5, fill_color="colour", fill_alpha=0.6,
        line_color=None,
    )  # fmt: skip
    plot.add_tools(HoverTool(renderers=[cells], tooltips=[("people", "@people")]))
    return plot


def _null() -> figure:
    """Return the histogram of |r| in the null, with a line for the |r| of the gene.

    A band and a line, mean ± SD, stand for a histogram that was not kept.
    """
    plot = _plot(
        "null", "|r|", "random predictors", _zooms(),
        x_range=Range1d(0, 1, name="null-range"), y_range=Range1d(0, 1, name="null-height"),
    )  # fmt: skip
    bars = plot.quad(
        "left", "right", "top", 0, source=_source("null-bars"), fill_color="colour",
        line_color="edge_colour",
    )  # fmt: skip
    plot.add_layout(BoxAnnotation(name="null-band", left=0, right=0, visible=False))
    plot.add_layout(Span(name="null-mean", location=0, dimension="height", visible=False))
    plot.add_layout(Span(name="gene-r", location=0, dimension="height", line_width=2.5))
    tooltips = [("|r|", "@left{0.00} to @right{0.00}"), ("random predictors", "@top{0,0}")]
    plot.add_tools(HoverTool(renderers=[bars], tooltips=tooltips))
    return plot


def _effects(snvs: ColumnDataSource) -> figure:
    """Return slope against ISM, one point an SNV, drivers ringed."""
    plot = _plot("effects", "ISM: change of the prediction", "eQTL slope", _zooms())
    for dimension in ("width", "height"):
        plot.add_layout(Span(location=0, dimension=dimension, name="zero"))
    _snv_points(plot, snvs, "ism", "slope")
    return plot


def _window(snvs: ColumnDataSource) -> list[figure]:
    """Return ISM and slope along the window."""
    window = Range1d(-1, 1, name="window")
    plots = []
    for column, label in (("ism", "ISM"), ("slope", "eQTL slope")):
        plot = _plot(column, "bases from the TSS", label, _zooms(), x_range=window)
        plot.height = 220
        plot.min_border_left = 108  # wider than any axis, so that both begin at the same place
        plot.xaxis.formatter = NumeralTickFormatter(format="0,0")
        plot.add_layout(Span(location=0, dimension="width", name="zero"))
        plot.add_layout(
            Span(location=0, dimension="height", name="tss", line_dash="dashed", line_width=1.5)
        )
        plot.segment(
            "distance", 0, "distance", column, source=snvs, line_color="colour", line_alpha=0.35
        )
        _snv_points(plot, snvs, "distance", column)
        plots.append(plot)
    return plots


def _snv_points(plot: figure, snvs: ColumnDataSource, x: str, y: str) -> None:
    points = plot.scatter(
        x, y, source=snvs, size=6, marker="marker", fill_color="colour", fill_alpha=0.75,
        line_color=None,
    )  # fmt: skip
    plot.scatter(
        x, y, source=snvs, size="ring", fill_color=None, line_color="ring_colour", line_width=1.6
    )
    plot.add_tools(HoverTool(renderers=[points], tooltips=_SNV_TOOLTIPS))


def _renumbered(plots: dict[str, Any]) -> dict[str, Any]:
    """Return a document whose ids count from 1: Bokeh's go on counting with every model made."""
    ids: dict[str, str] = {}

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: walk(item) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item) for item in value]
        if isinstance(value, str) and re.fullmatch(r"p\d+", value):
            return ids.setdefault(value, f"p{len(ids) + 1}")
        return value

    renumbered: dict[str, Any] = walk(plots)
    return renumbered
