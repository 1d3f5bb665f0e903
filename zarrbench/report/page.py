"""The one HTML page that shows a run: self-contained, without any person's id."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from zarrbench import storage, tables
from zarrbench.figures import style
from zarrbench.figures.disclosure import MINIMUM_PEOPLE
from zarrbench.figures.files import write_figure
from zarrbench.genotypes import policies
from zarrbench.remote import Place
from zarrbench.report.catalogue import OF_GENE, SECTIONS, FigureRecipe, Section
from zarrbench.report.explorer import explored
from zarrbench.report.inputs import DriverInputs, ReportInputs
from zarrbench.report.summary import sentences

__all__ = ["DriverInputs", "ReportInputs", "write_report"]

# What the reference alone decides, without any person
_OF_NOBODY = ("reference_prediction", "tss_scan", "driver_scan", "gradient_profile")
_FIRST_FACTS = ("What was run", "Samples joined")


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure on the page: its recipe, the drawing, the table it draws, and its caption."""

    recipe: FigureRecipe
    figure: Figure
    table: pd.DataFrame

    @property
    def svg(self) -> str:
        return style.as_svg(self.figure)

    @property
    def caption(self) -> str:
        caption = self.recipe.caption
        return (
            caption.format_map(self.table.attrs)
            if isinstance(caption, str)
            else caption(self.table)
        )


def write_report(path: Place, inputs: ReportInputs) -> None:
    """Write the report as one HTML file that needs nothing else, whole or not at all.

    Each of its figures is written, too, with the table it draws, into the folder ``figures`` beside
    it, in which nothing else is left. The same inputs give the same files. They name no person, and
    draw none unless `ReportInputs.individual_points` is set.
    """
    inputs = _without_few_people(inputs)
    drawings = _drawings(inputs)
    page = _html(inputs, drawings, embed=True)
    folder = path.parent / "figures"
    storage.remove(folder)
    for name, drawn in drawings.named():
        write_figure(folder, name, drawn.figure, drawn.table)
    storage.write_text(path, page)


def report_html(inputs: ReportInputs, embed: bool = True) -> str:
    """Return the report as HTML; with `embed` its views of genes stand in it, if thinned.

    Else its script asks the server that the page came from (`zarrbench.report.server`).
    """
    inputs = _without_few_people(inputs)
    return _html(inputs, _drawings(inputs), embed)


@dataclass(frozen=True, eq=False)
class Drawings:
    """All figures of a page: of its sections, and of the genes that are shown one by one."""

    sections: list[dict[str, Any]]
    shown: list[dict[str, Any]]

    def named(self) -> Iterator[tuple[str, Drawn]]:
        """Yield each figure with the stem of its files."""
        for section in self.sections:
            for drawn in section["drawn"]:
                yield drawn.recipe.name, drawn
        for entry in self.shown:
            gene = re.sub(r"[^\w.-]", "_", entry["gene"]["gene_id"])
            for drawn in entry["drawn"]:
                yield f"{drawn.recipe.name}_{gene}", drawn


def _drawings(inputs: ReportInputs) -> Drawings:
    genes = tables.gene_table(inputs.statistics)
    return Drawings([_section(one, inputs) for one in SECTIONS], _shown_genes(genes, inputs))


def _html(inputs: ReportInputs, drawings: Drawings, embed: bool) -> str:
    statistics = inputs.statistics
    genes = tables.gene_table(statistics)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("zarrbench", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"r": _r, "p": _p, "number": _number, "label": _label}
    return environment.get_template("page.html.j2").render(
        inputs=inputs,
        run=statistics.attrs,
        headline=_headline(genes),
        summary=sentences(inputs),
        others=_counts_by_statistic(statistics),
        sections={section["id"]: section for section in drawings.sections},
        shown_genes=drawings.shown,
        minimum_people=MINIMUM_PEOPLE,
        planted=_planted(statistics),
        cases=_cases(statistics),
        first_facts={k: v for k, v in inputs.facts.items() if k in _FIRST_FACTS},
        last_facts={k: v for k, v in inputs.facts.items() if k not in _FIRST_FACTS},
        genes={name: _plain(column) for name, column in genes.items()},
        explorer=explored(statistics, inputs.views, embed),
    )


def _draw(recipe: FigureRecipe, *data: Any) -> Drawn:
    figure = Figure(figsize=recipe.size, layout="constrained")
    return Drawn(recipe, figure, recipe.draw(*data, figure.subplots()))


def _section(section: Section, inputs: ReportInputs) -> dict[str, Any]:
    """Return the drawn figures of a section, and those that cannot be drawn with the reasons."""
    reasons = {recipe: recipe.missing(inputs) for recipe in section.figures}
    return {
        "id": section.id,
        "heading": section.heading,
        "note": section.note,
        "drawn": [_draw(recipe, inputs) for recipe, reason in reasons.items() if not reason],
        "missing": [(recipe, reason) for recipe, reason in reasons.items() if reason],
    }


def _without_few_people(inputs: ReportInputs) -> ReportInputs:
    """Blank what is computed from the people of a gene where they are fewer than five.

    The mean of one person is that person's value, and two means give back two.
    """
    statistics = inputs.statistics.compute()
    enough = statistics["n_individuals"] >= MINIMUM_PEOPLE
    blanked = _blanked(statistics, enough)
    return replace(
        inputs,
        statistics=blanked.assign(significant=blanked["significant"] & enough),
        stages={name: _blanked(found, enough) for name, found in inputs.stages.items()},
    )


def _blanked(found: xr.Dataset, enough: xr.DataArray) -> xr.Dataset:
    """Return a dataset with NaN in the floats of genes of few people, or of nobody known."""
    if "gene" not in found.dims:
        return found
    kept = enough.reset_coords(drop=True).reindex(gene=found["gene"].values, fill_value=False)
    computed = {
        name: variable.where(kept)
        for name, variable in found.data_vars.items()
        if "gene" in variable.dims and variable.dtype.kind == "f" and name not in _OF_NOBODY
    }
    return found.assign(computed)


def _headline(genes: pd.DataFrame) -> dict[str, Any]:
    r = genes["r"].dropna()
    significant = genes["significant"]
    return {
        "tested": len(genes),
        "defined": len(r),
        "right": int((significant & (genes["r"] > 0)).sum()),
        "wrong": int((significant & (genes["r"] < 0)).sum()),
        "mean": r.mean(),
        "lowest": r.min(),
        "highest": r.max(),
    }


def _counts_by_statistic(statistics: xr.Dataset) -> list[dict[str, Any]]:
    r = statistics["r"]
    rows = []
    for name in statistics["statistic"].values:
        significant = statistics["significant"].sel(statistic=name)
        right, wrong = int((significant & (r > 0)).sum()), int((significant & (r < 0)).sum())
        total = int(significant.sum())
        rows.append({"name": name, "total": total, "right": right, "wrong": wrong})
    return rows


def _shown_genes(genes: pd.DataFrame, inputs: ReportInputs) -> list[dict[str, Any]]:
    """Return the genes that are shown one by one, with their figures."""
    shown = []
    for heading, row in _rows_shown(genes, inputs.genes).items():
        gene = genes.iloc[row].to_dict()
        reasons = {recipe: recipe.missing(inputs) for recipe in OF_GENE}
        drawn = [
            _draw(recipe, inputs, gene["gene_id"])
            for recipe, reason in reasons.items()
            if not reason
        ]
        missing = [(recipe, reason) for recipe, reason in reasons.items() if reason]
        shown.append({"heading": heading, "gene": gene, "drawn": drawn, "missing": missing})
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


def _planted(statistics: xr.Dataset) -> dict[str, Any] | None:
    table = tables.planted_table(statistics)
    if table is None:
        return None
    recovered = table.groupby("planted", sort=False)["recovered"].agg(["sum", "size"])
    parts = [f"{row['sum']:,} of {row['size']:,} {kind}" for kind, row in recovered.iterrows()]
    # What went wrong comes first.
    rows = table.sort_values("recovered", kind="stable").to_dict("records")
    return {"recovered": int(table["recovered"].sum()), "parts": parts, "rows": rows}


def _cases(statistics: xr.Dataset) -> list[dict[str, Any]]:
    counts = statistics["case_count"].transpose("gene", "case").values
    totals, genes = counts.sum(axis=0, dtype=np.int64), (counts > 0).sum(axis=0)
    return [
        {"name": name, "meaning": policies.CASES.get(name, ""), "total": total, "genes": affected}
        for name, total, affected in zip(statistics["case"].values, totals, genes, strict=True)
    ]


def _plain(values: pd.Series) -> list[Any]:
    """Return values ready for JSON: floats to six digits, None if missing or infinite."""
    if values.dtype.kind == "f":
        return [float(f"{x:.6g}") if np.isfinite(x) else None for x in values.to_numpy(float)]
    return values.tolist()


def _r(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.3f}".replace("-", "−")


def _p(value: float) -> str:
    if np.isnan(value) or value >= 0.001:
        return "NA" if np.isnan(value) else f"{value:.3f}"
    digits, _, exponent = f"{value:.1e}".partition("e")
    return f"{digits}e{int(exponent)}".replace("-", "−")


def _number(value: float) -> str:
    return "NA" if np.isnan(value) else f"{value:.4g}".replace("-", "−")


def _label(gene: Mapping[str, Any]) -> str:
    return str(gene["gene_name"] or gene["gene_id"])
