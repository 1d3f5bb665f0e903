"""The population stage: does the model order genes by mean expression? A store and a table."""

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

import zarrbench
from zarrbench.errors import ExpressionError, SourceError
from zarrbench.expression.samples import observed
from zarrbench.genome.genes import read_gene_ids
from zarrbench.genome.regions import read_regions
from zarrbench.layouts import POPULATION
from zarrbench.parameters import ALL_GENES, GeneSubset, Population
from zarrbench.predictions.cube import open_cube
from zarrbench.provenance import file_sha256, fingerprint
from zarrbench.sources import without_sources
from zarrbench.stages.workspace import Workspace
from zarrbench.statistics.population import correlate_across_genes, in_gene_set, in_test_regions
from zarrbench.storage import exists, open_dataset, write_dataset
from zarrbench.tables import write_table


def run_population(workspace: Workspace, limit: int | None = None) -> xr.Dataset:
    """Compute, write and return r across all finished genes (among the first `limit`).

    What was computed from the same cube and files with the same choices is kept.

    Raises
    ------
    IncompleteCubeError
        If no gene is finished.
    RecipeError
        If the cube is not that of the pipeline file.
    ExpressionError
        If a logarithm is asked for of a mean that has none.
    SourceError, GeneTableError
        If a file of genes or regions cannot be read, or names none of the annotation's genes.
    """
    workspace.check_cube()
    names = workspace.compared_genes(limit)
    found = standing_population(workspace, names)
    if found is None:
        found = across_genes(workspace, names).assign_attrs(inputs=_inputs(workspace, names))
        # The store last: it says what both were made from.
        write_table(population_table(found), workspace.population_table)
        write_dataset(found, workspace.population, POPULATION)
    return found


def standing_population(workspace: Workspace, names: Sequence[str]) -> xr.Dataset | None:
    """Return what the stage wrote of these genes, None if anything has changed since.

    None, too, if a file of genes or regions is not found, so that nobody can tell.
    """
    if not (exists(workspace.population) and exists(workspace.population_table)):
        return None
    found = open_dataset(workspace.population, POPULATION).load()
    with contextlib.suppress(SourceError):
        return found if found.attrs.get("inputs") == _inputs(workspace, names) else None
    return None


def across_genes(workspace: Workspace, names: Sequence[str]) -> xr.Dataset:
    """Return r of the named genes and of each subset, as `layouts.POPULATION` says."""
    parameters = workspace.recipe.stage(Population)
    cube = open_cube(workspace.cube, incomplete="nan").sel(gene=list(names))
    predicted = cube["reference_prediction"].astype(np.float64).load()
    mean = mean_expression(workspace, names, parameters.pseudocount)
    inside = {ALL_GENES: np.ones(len(names), dtype=bool)}
    for subset in parameters.subsets:
        inside[subset.name] = in_subset(workspace, subset, names)
    values = predicted.reset_coords(drop=True)
    rows = [correlate_across_genes(values[kept], mean[kept]) if kept.any() else _nothing(values)
            for kept in inside.values()]  # fmt: skip
    labels = np.array(list(inside), dtype=object)
    together = xr.concat(rows, pd.Index(labels, name="subset"))
    return together.assign(
        reference_prediction=values,
        mean_observed=mean,
        in_subset=(("subset", "gene"), np.stack(list(inside.values()))),
    ).assign_coords(
        {
            name: (cube[name].dims, cube[name].values)
            for name in ("gene_name", "contig", "tss", "strand", "track_description")
        }
    ).assign_attrs(
        n_individuals=len(workspace.join.individuals),
        pseudocount="none" if parameters.pseudocount is None else parameters.pseudocount,
        recipe_hash=cube.attrs["recipe_hash"],
    )  # fmt: skip


def population_table(found: xr.Dataset) -> pd.DataFrame:
    """Return one row a subset and track, unrounded."""
    order = ["subset", "track", "track_description", "pearson_r", "spearman_r", "n_genes"]
    kept = found[["pearson_r", "spearman_r", "n_genes"]]
    kept = kept.drop_vars([name for name in kept.coords if name not in order])
    table = kept.assign_coords(track_description=found["track_description"]).to_dataframe(
        dim_order=["subset", "track"]
    )
    return table.reset_index()[order].astype({"track_description": object})


def summary(found: xr.Dataset, track: str | None = None) -> dict[str, dict[str, Any]]:
    """Return r by subset, of one track or else of the one with the largest Pearson r there."""
    table = population_table(found)
    if track is not None:
        table = table[table["track"] == track]
    best = table.sort_values("pearson_r", ascending=False).groupby("subset", sort=False).head(1)
    rows = best.sort_index().round({"pearson_r": 4, "spearman_r": 4}).to_dict("records")
    return {
        row["subset"]: {
            "track": row["track"],
            "pearson_r": row["pearson_r"],
            "spearman_r": row["spearman_r"],
            "genes": row["n_genes"],
        }
        for row in rows
    }


def _inputs(workspace: Workspace, names: Sequence[str]) -> str:
    parameters = workspace.recipe.stage(Population)
    files = [source for subset in parameters.subsets for source in (subset.genes, subset.regions)]
    return fingerprint(
        {
            "version": [POPULATION.version, zarrbench.__version__],
            "parameters": without_sources(parameters),
            "files": [source and file_sha256(workspace.locate(source)) for source in files],
            **workspace.compared(names),
        }
    )


def mean_expression(
    workspace: Workspace, names: Sequence[str], pseudocount: float | None = None
) -> xr.DataArray:
    """Return the mean over people of the named genes, or log2 of it plus `pseudocount`.

    NaN for a gene without a value.

    Raises
    ------
    ExpressionError
        If a mean has no logarithm.
    """
    expression = observed(workspace.expression, workspace.join).reset_coords(drop=True)
    mean = expression.reindex(gene=list(names)).mean("individual").load()
    if pseudocount is None:
        return mean
    lowest = float(mean.min()) if mean.notnull().any() else 0.0
    if lowest + pseudocount <= 0:
        raise ExpressionError(
            f"a gene has a mean expression of {lowest:.3g}, and {lowest:.3g} + {pseudocount:g} has "
            f"no logarithm; leave 'pseudocount' out for values that are logarithms already"
        )
    return mean.copy(data=np.log2(mean.values + pseudocount))


def in_subset(workspace: Workspace, subset: GeneSubset, names: Sequence[str]) -> NDArray[np.bool_]:
    """Return which of the named genes, all of the annotation, are in a subset.

    Lists are compared with the whole annotation, so that one of another kind of ids is refused,
    and one of genes that are not (yet) predicted is not.
    """
    genes = workspace.stores.genes
    if subset.genes is not None:
        inside = in_gene_set(genes["gene"].values, read_gene_ids(workspace.locate(subset.genes)))
    else:
        assert subset.regions is not None
        spec = workspace.recipe.model.spec()
        reverse = spec.strand_aware & (genes["strand"].values.astype(object) == "-")
        inside = in_test_regions(
            genes,
            read_regions(workspace.locate(subset.regions), subset.label),
            subset.test_rule,
            spec.input_length,
            np.where(reverse, spec.input_length - 1 - spec.tss_index, spec.tss_index),
        ).values
    row_of = {str(gene): row for row, gene in enumerate(genes["gene"].values)}
    kept: NDArray[np.bool_] = inside[[row_of[name] for name in names]] != subset.outside
    return kept


def _nothing(predicted: xr.DataArray) -> xr.Dataset:
    """Return the r of no gene."""
    undefined = predicted.isel(gene=0, drop=True) * np.nan
    return xr.Dataset(
        {"pearson_r": undefined, "spearman_r": undefined, "n_genes": undefined.notnull() * 0}
    )
