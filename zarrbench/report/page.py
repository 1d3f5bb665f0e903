"""The one HTML page that shows a run: self-contained, without any person's id."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import xarray as xr

from zarrbench import storage, tables
from zarrbench.figures.disclosure import MINIMUM_PEOPLE, genes_of_many
from zarrbench.figures.files import write_figure
from zarrbench.genotypes import policies
from zarrbench.remote import Place
from zarrbench.report.drawings import Drawings, drawings
from zarrbench.report.explorer import explored
from zarrbench.report.gene_views import rounded
from zarrbench.report.inputs import ReportInputs
from zarrbench.report.summary import sentences, significant_genes

__all__ = ["ReportInputs", "write_report"]

# What the reference alone decides, without any person
_OF_NOBODY = ("reference_prediction", "tss_scan", "driver_scan", "gradient_profile")
# Characters of a gene in the table of all, and of the page's own text, as measured
_OF_ROW, _OF_TEXT = 200, 60_000
_FIRST_FACTS = ("What was run", "Samples joined")


def write_report(path: Place, inputs: ReportInputs) -> None:
    """Write the report as one HTML file that needs nothing else, whole or not at all.

    Each of its figures is written, too, with the table it draws, into the folder ``figures`` beside
    it, in which nothing else is left. The same inputs give the same files. They name no person, and
    draw none unless `ReportInputs.individual_points` is set.
    """
    inputs = _without_few_people(inputs)
    drawn = drawings(inputs)
    page = _html(inputs, drawn, embed=True)
    folder = path.parent / "figures"
    storage.remove(folder)
    for one in drawn.every():
        write_figure(folder, one.name, one.figure, one.table)
    storage.write_text(path, page)


def report_html(inputs: ReportInputs, embed: bool = True) -> str:
    """Return the report as HTML; with `embed` its views of genes stand in it, if thinned.

    Else its script asks the server that the page came from (`zarrbench.report.server`).
    """
    inputs = _without_few_people(inputs)
    return _html(inputs, drawings(inputs), embed)


def _html(inputs: ReportInputs, drawn: Drawings, embed: bool) -> str:
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
        headline=_headline(genes["r"]),
        summary=sentences(inputs),
        counts=significant_genes(statistics),
        sections={section["id"]: section for section in drawn.sections},
        shown_genes=drawn.shown,
        minimum_people=MINIMUM_PEOPLE,
        planted=_planted(statistics),
        cases=_cases(statistics),
        first_facts={k: v for k, v in inputs.facts.items() if k in _FIRST_FACTS},
        last_facts={k: v for k, v in inputs.facts.items() if k not in _FIRST_FACTS},
        genes={name: _plain(column) for name, column in genes.items()},
        explorer=explored(statistics, inputs.views, embed, _size(drawn, genes)),
    )


def _size(drawn: Drawings, genes: pd.DataFrame) -> int:
    """Return about how many characters the page has without what one explores."""
    return sum(len(one.svg) for one in drawn.every()) + _OF_ROW * len(genes) + _OF_TEXT


def _without_few_people(inputs: ReportInputs) -> ReportInputs:
    """Blank what is computed from the people of a gene where fewer than five decide it.

    The mean of one person is that person's value, and two means give back two.
    """
    statistics = inputs.statistics.compute()
    enough = genes_of_many(statistics)
    blanked = _blanked(statistics, enough)
    stages = {name: _blanked(found, enough) for name, found in inputs.stages.items()}
    if "drivers" in stages:
        stages["drivers"] = _without_drivers(stages["drivers"], enough)
    return replace(
        inputs,
        statistics=blanked.assign(significant=blanked["significant"] & enough),
        stages=stages,
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


def _without_drivers(drivers: xr.Dataset, enough: xr.DataArray) -> xr.Dataset:
    """Return the dataset without genes of few people, whose drivers follow from those people.

    Nor is there a share of supported drivers where few carry one of them: it tells its support.
    """
    known = enough["gene"].values[enough.values]
    of_gene, of_driver = (drivers[name].isin(known).values for name in ("gene", "driver_gene"))
    kept = drivers.isel(gene=of_gene, driver=of_driver)
    if "minor_carriers" in kept:
        rare = kept["driver_gene"].values[kept["minor_carriers"].values < MINIMUM_PEOPLE]
        told = ~kept["gene"].isin(rare)
        for name in ("fraction_supported", "fraction_unsupported"):
            kept[name] = kept[name].where(told)
    return kept


def _headline(r: pd.Series) -> dict[str, Any]:
    return {
        "tested": len(r),
        "defined": int(r.count()),
        "mean": r.mean(),
        "lowest": r.min(),
        "highest": r.max(),
    }


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
        return rounded(values)
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
