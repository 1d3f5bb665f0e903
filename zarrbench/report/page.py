"""The one HTML page that shows a run: self-contained, without any person's id."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from zarrbench import storage, tables
from zarrbench.figures import drivers as driver_figures
from zarrbench.figures import genes as gene_figures
from zarrbench.figures import people as people_figures
from zarrbench.figures import style
from zarrbench.figures.disclosure import MINIMUM_PEOPLE
from zarrbench.genotypes import policies
from zarrbench.remote import Place
from zarrbench.report.explorer import explored
from zarrbench.report.gene_views import GeneViews

_FIRST_FACTS = ("What was run", "Samples joined")


@dataclass(frozen=True, eq=False)
class DriverInputs:
    """What a report shows of drivers.

    Parameters
    ----------
    drivers : xr.Dataset
        A dataset of `zarrbench.attribution_layouts.DRIVERS`.
    variants : Callable[[str], pd.DataFrame]
        Rows of the concordance table of a gene.
    """

    drivers: xr.Dataset
    variants: Callable[[str], pd.DataFrame]


@dataclass(frozen=True, eq=False)
class ReportInputs:
    """What a report is made of.

    Parameters
    ----------
    title : str
        Heading of the page.
    statistics : xr.Dataset
        A dataset of `zarrbench.layouts.GENE_STATISTICS`.
    predicted, observed : xr.DataArray
        ``(gene, individual)``, labelled; only the two genes that the page shows are computed.
    facts : Mapping[str, Mapping[str, str]]
        Every choice, count and version: section title -> label -> value. "What was run" and
        "Samples joined" stand near the top, the others at the end.
    warnings : Sequence[str]
        Sentences, shown below the headline.
    individual_points : bool
        Draw single people in the two gene plots; never their ids.
    unfinished : str, optional
        A sentence for the top of the page when not all genes were done.
    drivers : DriverInputs, optional
        Which variants make the predictions, if the pipeline asked.
    views : GeneViews, optional
        What single genes show in the explorer; without, it shows all genes and none alone.
    """

    title: str
    statistics: xr.Dataset
    predicted: xr.DataArray
    observed: xr.DataArray
    facts: Mapping[str, Mapping[str, str]]
    warnings: Sequence[str] = ()
    individual_points: bool = False
    unfinished: str | None = None
    drivers: DriverInputs | None = None
    views: GeneViews | None = None


def write_report(path: Place, inputs: ReportInputs) -> None:
    """Write the report as one HTML file that needs nothing else, whole or not at all.

    The same inputs give the same file. It names no person, and draws none unless
    `ReportInputs.individual_points` is set.
    """
    storage.write_text(path, report_html(inputs))


def report_html(inputs: ReportInputs, embed: bool = True) -> str:
    """Return the report as HTML; with `embed` its views of genes stand in it, if thinned.

    Else its script asks the server that the page came from (`zarrbench.report.server`).
    """
    statistics = _without_few_people(inputs.statistics.compute())
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
        others=_counts_by_statistic(statistics),
        r_against_p=_svg(gene_figures.r_against_p, statistics)[0],
        r_histogram=_svg(gene_figures.r_histogram, statistics)[0],
        extremes=_extremes(genes, inputs),
        minimum_people=MINIMUM_PEOPLE,
        driver_figures=_driver_figures(inputs.drivers),
        planted=_planted(statistics),
        cases=_cases(statistics),
        first_facts={k: v for k, v in inputs.facts.items() if k in _FIRST_FACTS},
        last_facts={k: v for k, v in inputs.facts.items() if k not in _FIRST_FACTS},
        genes={name: _plain(column) for name, column in genes.items()},
        explorer=explored(statistics, inputs.views, embed),
    )


def _without_few_people(statistics: xr.Dataset) -> xr.Dataset:
    """Blank what is computed from the people of a gene where they are fewer than five.

    The mean of one person is that person's value, and two means give back two.
    """
    enough = statistics["n_individuals"] >= MINIMUM_PEOPLE
    computed = [
        name
        for name, variable in statistics.data_vars.items()
        if "gene" in variable.dims and variable.dtype.kind == "f" and name != "reference_prediction"
    ]
    blanked = {name: statistics[name].where(enough) for name in computed}
    return statistics.assign({**blanked, "significant": statistics["significant"] & enough})


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


def _extremes(genes: pd.DataFrame, inputs: ReportInputs) -> list[dict[str, Any]]:
    """Return the genes of highest and lowest r with their plots; one if they are the same."""
    if genes["r"].isna().all():
        return []
    highest, lowest = int(genes["r"].argmax()), int(genes["r"].argmin())
    rows = {"Highest r": highest, "Lowest r": lowest}
    if highest == lowest:
        only = genes["r"].count() == 1
        rows = {"The only gene with a defined r" if only else "Highest and lowest r": highest}
    shown = []
    for heading, row in rows.items():
        gene = genes.iloc[row].to_dict()
        cubes = (inputs.predicted, inputs.observed)
        pair = [cube.sel(gene=gene["gene_id"]).compute() for cube in cubes]
        options = {"individual_points": inputs.individual_points}
        svg, marks = _svg(people_figures.predicted_against_observed, *pair, **options)
        shown.append({"heading": heading, "gene": gene, "svg": svg, "marks": marks.attrs})
    return shown


_DRIVER_FIGURES = (
    (
        driver_figures.support_against_r,
        "Share of supported drivers against r, one point a gene",
        "Each point is an examined gene with drivers. A driver is supported if expression rises "
        "with the allele that raises the prediction. Dotted: means of the groups.",
    ),
    (
        driver_figures.drivers_per_gene,
        "Histogram of the number of drivers of a gene",
        "How many variants make the prediction of an examined gene; 21 stands for more.",
    ),
    (
        driver_figures.driver_distances,
        "Histogram of the distance of drivers from the TSS",
        "Where they lie. The main driver of a gene adds most to the correlation of its linear sum.",
    ),
)


def _driver_figures(inputs: DriverInputs | None) -> list[dict[str, str]]:
    """Return the drawings of drivers, with the SNVs of the genes of highest and lowest r."""
    if inputs is None:
        return []
    shown = [
        {"svg": _svg(draw, inputs.drivers)[0], "label": label, "caption": caption}
        for draw, label, caption in _DRIVER_FIGURES
    ]
    found = inputs.drivers
    compared = np.flatnonzero(found["n_drivers"].values > 0)
    if not compared.size:
        return shown
    r = np.nan_to_num(found["r"].values[compared])
    for row in dict.fromkeys((int(compared[r.argmax()]), int(compared[r.argmin()]))):
        gene = str(found["gene"].values[row])
        name = str(found["gene_name"].values[row]) or gene
        variants = inputs.variants(gene)
        svg, drawn = _svg(driver_figures.slope_against_attribution, variants)
        caption = (
            f"{name}, r = {_r(float(found['r'].values[row]))}: what each SNV does in the network, "
            f"and in people. Rings grow with what a driver adds. {drawn.attrs['left_out']:,} of "
            f"{len(variants):,} SNVs have no slope here or fewer than {MINIMUM_PEOPLE} "
            f"carriers, and are not drawn."
        )
        shown.append(
            {"svg": svg, "label": f"Slope against attribution of {name}", "caption": caption}
        )
    return shown


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


def _svg(draw: Callable[..., pd.DataFrame], *data: Any, **options: Any) -> tuple[str, pd.DataFrame]:
    """Return a drawing as SVG and the table it draws."""
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    table = draw(*data, ax=figure.subplots(), **options)
    return style.as_svg(figure), table


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
