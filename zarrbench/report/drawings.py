"""The figures of a report, drawn: of its sections, and of the genes that are shown one by one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from zarrbench import tables
from zarrbench.figures import style
from zarrbench.figures.files import drawn
from zarrbench.report.catalogue import SECTIONS
from zarrbench.report.figure_recipes import FigureRecipe, Section
from zarrbench.report.gene_figures import of_gene
from zarrbench.report.inputs import ReportInputs


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure on the page: the stem of its files, its recipe, the drawing, the table it draws."""

    name: str
    recipe: FigureRecipe
    figure: Figure
    table: pd.DataFrame

    @cached_property
    def svg(self) -> str:
        return style.as_svg(self.figure, self.name)

    @property
    def caption(self) -> str:
        caption = self.recipe.caption
        return caption if isinstance(caption, str) else caption(self.table)


@dataclass(frozen=True, eq=False)
class Drawings:
    """All figures of a page: of its sections, and of the genes that are shown one by one."""

    sections: list[dict[str, Any]]
    shown: list[dict[str, Any]]

    def every(self) -> list[Drawn]:
        return [one for part in (*self.sections, *self.shown) for one in part["drawn"]]


def drawings(inputs: ReportInputs) -> Drawings:
    """Draw whatever the inputs allow; what is missing is named with the reason."""
    genes = tables.gene_table(inputs.statistics)
    return Drawings([_section(one, inputs) for one in SECTIONS], _shown_genes(genes, inputs))


def _draw(recipe: FigureRecipe, *data: Any) -> Drawn:
    figure, table = drawn(recipe.draw, *data, size=recipe.size)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # once is enough for the page and two files
    name = "_".join([recipe.name, *(re.sub(r"[^\w.-]", "_", gene) for gene in data[1:])])
    return Drawn(name, recipe, figure, table)


def _section(section: Section, inputs: ReportInputs) -> dict[str, Any]:
    told = {"id": section.id, "heading": section.heading, "note": section.note}
    return {**told, **_possible(section.figures(inputs), inputs)}


def _possible(
    recipes: Sequence[FigureRecipe], inputs: ReportInputs, *gene: str
) -> dict[str, list[Any]]:
    """Return the figures that can be drawn, and those that cannot, with the reasons."""
    reasons = [(recipe, recipe.missing(inputs)) for recipe in recipes]
    return {
        "drawn": [_draw(recipe, inputs, *gene) for recipe, reason in reasons if not reason],
        "missing": [(recipe, reason) for recipe, reason in reasons if reason],
    }


def _shown_genes(genes: pd.DataFrame, inputs: ReportInputs) -> list[dict[str, Any]]:
    """Return the genes that are shown one by one, with their figures."""
    shown = []
    for heading, row in _rows_shown(genes, inputs.genes).items():
        gene = genes.iloc[row].to_dict()
        possible = _possible(of_gene(inputs, gene["gene_id"]), inputs, gene["gene_id"])
        shown.append({"heading": heading, "gene": gene, **possible})
    return shown


def _rows_shown(genes: pd.DataFrame, asked: Sequence[str]) -> dict[str, int]:
    """Return heading and row of each shown gene: those asked for, or of highest and lowest r."""
    if asked:
        rows = {name: row for row, name in enumerate(genes["gene_id"])}
        return {f"Asked for: {name}": rows[name] for name in asked}
    if genes["r"].isna().all():
        return {}
    highest, lowest = int(genes["r"].argmax()), int(genes["r"].argmin())
    if highest != lowest:
        return {"Highest r": highest, "Lowest r": lowest}
    only = genes["r"].count() == 1
    return {"The only gene with a defined r" if only else "Highest and lowest r": highest}
