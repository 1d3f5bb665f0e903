"""What a page shows of one gene, as plain numbers and text: its people, its null and its SNVs.

Nothing is told of fewer than `MINIMUM_PEOPLE` people (`figures.disclosure`): people are counted in
cells, and SNVs whose rarer allele fewer of them carry are left out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from zarrbench.figures.disclosure import (
    MINIMUM_PEOPLE,
    few_decide,
    groups_of_people,
    people_in_cells,
    to_digits_of_span,
)

#: columns of the concordance table that a view is made of
SNV_COLUMNS = (
    "gene_id", "distance", "other_allele", "effect_allele", "carrier_frequency", "minor_carriers",
    "ism", "slope", "is_driver", "increment", "support",
)  # fmt: skip
_GENES_AT_ONCE = 50  # bounds the predictions and SNVs held: 50 MB for 1,000 people, 5,000 SNVs
_DIGITS = 6  # significant ones of the numbers of SNVs, unless fewer are asked for


@dataclass(frozen=True, eq=False)
class GeneViews:
    """Where the views of genes are read from, when they are asked for.

    Parameters
    ----------
    statistics : xr.Dataset
        A dataset of `zarrbench.layouts.GENE_STATISTICS`.
    predicted, observed : xr.DataArray
        ``(gene, individual)``, labelled, lazy: only the genes asked for are computed.
    individual_points : bool
        Give the values of single people, without their ids, instead of counts in cells.
    variants : Callable[[Sequence[str]], pd.DataFrame], optional
        Rows of the concordance table of some genes, at least `SNV_COLUMNS`.
    """

    statistics: xr.Dataset
    predicted: xr.DataArray
    observed: xr.DataArray
    individual_points: bool = False
    variants: Callable[[Sequence[str]], pd.DataFrame] | None = None

    @property
    def genes(self) -> list[str]:
        """Ids of all genes, in the order of the statistics."""
        return [str(gene) for gene in self.statistics["gene"].values]

    def view(self, gene: str) -> dict[str, Any]:
        """Return the view of one gene, with all its SNVs.

        `people`, `null` and `snvs` are as `people_view`, `null_view` and `snv_view` return them.

        Raises
        ------
        KeyError
            If there is no such gene.
        """
        return next(self.views([gene]))

    def views(
        self, genes: Sequence[str], most_snvs: int | None = None, digits: int = _DIGITS
    ) -> Iterator[dict[str, Any]]:
        """Yield the views of some genes, with at most so many SNVs each; a few are held at once."""
        both = xr.align(self.predicted, self.observed, join="inner", exclude={"gene"})
        for start in range(0, len(genes), _GENES_AT_ONCE):
            names = list(genes[start : start + _GENES_AT_ONCE])
            here = self.statistics.sel(gene=names)
            predicted, observed = (
                cube.sel(gene=names).transpose("gene", "individual").values for cube in both
            )
            tables = self._snvs(names)
            for row, name in enumerate(names):
                table = tables.get(name)
                yield {
                    "people": people_view(observed[row], predicted[row], self.individual_points),
                    "null": null_view(here.isel(gene=row)),
                    "snvs": None if table is None else snv_view(table, most_snvs, digits),
                }

    def _snvs(self, names: Sequence[str]) -> dict[str, pd.DataFrame]:
        if self.variants is None:
            return {}
        rows = self.variants(names)
        tables = {str(name): table for name, table in rows.groupby("gene_id", sort=False)}
        return {name: tables.get(name, rows[:0]) for name in names}


def people_view(
    observed: NDArray, predicted: NDArray, individual_points: bool = False
) -> dict[str, Any]:
    """Return what is shown of the people of a gene, those without a value left out.

    Numbers are rounded by `zarrbench.figures.disclosure.to_digits_of_span`, so that people who are
    predicted almost alike are still told apart.

    As `zarrbench.figures.people.predicted_against_observed` draws it: `people`, their number, and

    - `observed` and `predicted`, one value a person, if `individual_points`, else
    - nothing, if fewer than `MINIMUM_PEOPLE` decide the predictions, else
    - `observed_edges`, `predicted_edges` and `counts`, rows along `observed`, 0 where fewer than
      `MINIMUM_PEOPLE` people are in the cell, `suppressed`, how many those are (None for 1 to
      `MINIMUM_PEOPLE` - 1); and `means`, with `observed`, `predicted` and `people` of groups by
      quantiles of observed expression.
    """
    x, y = np.asarray(observed, dtype=float), np.asarray(predicted, dtype=float)
    x, y = np.stack([x, y])[:, np.isfinite(x) & np.isfinite(y)]
    view: dict[str, Any] = {"people": len(x)}
    if individual_points:
        # By value, so that the order of people says nothing either.
        order = np.lexsort([y, x])
        points = {"observed": x[order], "predicted": y[order]}
        return view | {name: _spanned(values, values) for name, values in points.items()}
    if few_decide(y):
        return view
    counts, x_edges, y_edges = people_in_cells(x, y)
    groups = groups_of_people(x)
    x_means, y_means = ([values[group].mean() for group in groups] for values in (x, y))
    hidden = len(x) - int(counts.sum())
    return view | {
        "suppressed": None if 0 < hidden < MINIMUM_PEOPLE else hidden,
        "observed_edges": _spanned(x_edges, x_edges),
        "predicted_edges": _spanned(y_edges, y_edges),
        "counts": counts.tolist(),
        "means": {
            # They may span much less than the cells (one group), or more (a few people far out).
            "observed": _spanned(x_means, x_edges, x_means),
            "predicted": _spanned(y_means, y_edges, y_means),
            "people": [len(group) for group in groups],
        },
    }


def null_view(statistics: xr.Dataset) -> list[int] | None:
    """Return how many |r| of the null of one gene are in each bin from 0, up to the last that has.

    None where nobody counted them, or for a gene of fewer than `MINIMUM_PEOPLE` people.
    """
    if "null_count" not in statistics or statistics["n_individuals"] < MINIMUM_PEOPLE:
        return None
    counts = statistics["null_count"].values
    return counts[: np.flatnonzero(counts).max(initial=-1) + 1].tolist()


def snv_view(table: pd.DataFrame, most: int | None = None, digits: int = _DIGITS) -> dict[str, Any]:
    """Return what is shown of the SNVs of a gene, by position.

    Parameters
    ----------
    table : pd.DataFrame
        Rows of the concordance table of one gene.
    most : int, optional
        Keep so many: drivers, those that add most first, then those of the largest attribution.

    Returns
    -------
    dict
        `total`, all SNVs of the gene; `few`, those left out because fewer than `MINIMUM_PEOPLE`
        people with expression carry the rarer allele or because the attribution is undefined;
        `thinned`, those left out because of `most`. Columns of the others: `distance` (position
        less TSS, forward strand), `other` and `effect` (alleles, joined, one letter each),
        `frequency` (share of people who carry the effect allele, to two decimals: more would count
        those who do not), `ism`, `slope` (None where undefined), `increment` (None of SNVs that are
        no drivers) and `support` (1, -1 or 0).
    """
    column = {name: table[name].to_numpy() for name in SNV_COLUMNS}  # faster than a table is
    shown = np.flatnonzero(
        (column["minor_carriers"] >= MINIMUM_PEOPLE) & np.isfinite(column["ism"])
    )
    increment = np.where(column["is_driver"], column["increment"], np.nan)
    kept = shown
    if most is not None and len(shown) > most:
        # NaN, of no driver, comes last
        kept = shown[np.lexsort([-np.abs(column["ism"][shown]), -increment[shown]])[:most]]
    kept = kept[np.lexsort([column["effect_allele"][kept], column["distance"][kept]])]
    of_kept = {name: values[kept] for name, values in column.items()}
    return {
        "total": len(table),
        "few": len(table) - len(shown),
        "thinned": len(shown) - len(kept),
        "distance": of_kept["distance"].tolist(),
        "other": "".join(of_kept["other_allele"]),
        "effect": "".join(of_kept["effect_allele"]),
        "frequency": _to_decimals(of_kept["carrier_frequency"], 2),
        "ism": rounded(of_kept["ism"], digits),
        "slope": rounded(of_kept["slope"], digits),
        "increment": rounded(increment[kept], digits),
        "support": of_kept["support"].tolist(),
    }


def rounded(values: Any, digits: int = _DIGITS) -> list[float | None]:
    """Return values ready for JSON, to so many significant digits; None if not finite."""
    return [
        float(f"{value:.{digits}g}") if np.isfinite(value) else None
        for value in np.asarray(values, dtype=float).tolist()
    ]


def _to_decimals(values: Any, decimals: int) -> list[float | None]:
    return [
        round(value, decimals) if np.isfinite(value) else None
        for value in np.asarray(values, dtype=float).tolist()
    ]


def _spanned(values: Any, *spans: Any) -> list[float]:
    return to_digits_of_span(values, *spans).tolist()
