"""The eQTL stage: slopes of every gene on every variant near it, as a store and as a table."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import dask
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr
from upath import UPath

import zarrbench
from zarrbench import progress
from zarrbench.errors import ExpressionError
from zarrbench.expression.samples import observed
from zarrbench.genotypes.dosage import allele_dosages
from zarrbench.layouts import EQTL
from zarrbench.parameters import Eqtl
from zarrbench.provenance import fingerprint, plain
from zarrbench.recipes import nearest
from zarrbench.stages.workspace import Workspace
from zarrbench.statistics.eqtl import cis_slopes, open_eqtl, tidy
from zarrbench.storage import exists, published, remove, write_dataset

# Rows of the table that are in memory at once
_ROWS = 500_000


def run_eqtl(workspace: Workspace) -> xr.Dataset:
    """Compute, write and return the slopes of all genes with expression, lazily.

    What was computed from the same stores with the same choices is kept.

    Raises
    ------
    ExpressionError
        If no gene has expression and a place, or a covariate that was asked for is not there.
    SampleError
        If nobody has everything that is needed.
    """
    standing = standing_eqtl(workspace)
    if standing is not None:
        return standing
    parameters, inputs = workspace.recipe.stage(Eqtl), _inputs(workspace)
    slopes = gene_slopes(workspace, parameters).assign_attrs(inputs=inputs)
    remove(workspace.eqtl_table)  # it would pass for that of the new store
    # Workers elsewhere do not see where a store waits to be sent to a URL.
    remote = isinstance(workspace.eqtl, UPath)
    with dask.config.set(scheduler="threads") if remote else dask.config.set({}):
        write_dataset(slopes, workspace.eqtl, EQTL)
    found = open_eqtl(workspace.eqtl)
    with published(workspace.eqtl_table) as temporary:
        _write_table(found, temporary)
    return found


def standing_eqtl(workspace: Workspace) -> xr.Dataset | None:
    """Return what the stage wrote, lazily, None if anything has changed since."""
    if not (exists(workspace.eqtl) and exists(workspace.eqtl_table)):
        return None
    found = open_eqtl(workspace.eqtl)
    return found if found.attrs.get("inputs") == _inputs(workspace) else None


def _inputs(workspace: Workspace) -> str:
    parameters = workspace.recipe.stage(Eqtl)
    facts = workspace.stores.facts()
    return fingerprint(
        {
            "version": [EQTL.version, zarrbench.__version__],
            "parameters": plain(parameters),
            "genotypes": workspace.stores.identity(),
            "tables": {part: facts[part]["files"] for part in ("genes", "expression")},
            "adjusted": workspace.expression_state,
            "people": list(workspace.join.individuals),
            "components": workspace.genotype_inputs if parameters.genotype_components else "",
        }
    )


def gene_slopes(workspace: Workspace, parameters: Eqtl) -> xr.Dataset:
    """Return the slopes as `zarrbench.statistics.eqtl.cis_slopes` does, of a pipeline's stores."""
    stores, join = workspace.stores, workspace.join
    measured = observed(workspace.expression, join).reset_coords(drop=True)
    genes = stores.genes.isel(gene=np.isin(stores.genes["gene"].values, measured["gene"].values))
    if genes.sizes["gene"] == 0:
        raise ExpressionError("no gene of the annotation has expression; use the same gene ids")
    names = ("gene_name", "contig", "tss", "strand")
    placed = measured.sel(gene=genes["gene"].values).assign_coords(
        {name: ("gene", genes[name].values) for name in names}
    )
    dosages = allele_dosages(stores.genotypes, join.individuals)
    return cis_slopes(dosages, placed, parameters.window, _covariates(workspace, parameters))


def _covariates(workspace: Workspace, parameters: Eqtl) -> xr.DataArray | None:
    """Return what slopes are adjusted for (covariate, individual), None for nothing."""
    parts = []
    if parameters.covariates:
        parts.append(_of_expression(workspace, parameters.covariates))
    if parameters.genotype_components:
        components = workspace.genotype_components(parameters.genotype_components)
        parts.append(components.sel(individual=list(workspace.join.individuals)))
    return xr.concat(parts, "covariate") if parts else None


def _of_expression(workspace: Workspace, wanted: Literal["all"] | Sequence[str]) -> xr.DataArray:
    expression = workspace.stores.expression
    if "covariates" not in expression:
        raise ExpressionError(
            "the expression store has no covariates; name a file of them in its recipe"
        )
    known = [str(name) for name in expression["covariate"].values]
    chosen = known if wanted == "all" else list(wanted)
    for name in chosen:
        if name not in known:
            raise ExpressionError(f"no covariate {name!r} is there{nearest(name, known)}")
    table = workspace.join.table
    kept = table[table["kept"]].set_index("individual")["sample"]
    people = list(workspace.join.individuals)
    values = expression["covariates"].sel(covariate=chosen, sample=kept.loc[people].to_list())
    return (
        values.drop_vars("individual")
        .rename(sample="individual")
        .assign_coords(individual=np.array(people, dtype=object))
    )


def _write_table(found: xr.Dataset, path: Path) -> None:
    """Write one row a pair, in the order of the genome, some genes at a time."""
    runs = found[["gene", "first_pair", "n_pairs"]].load()
    runs = runs.isel(gene=runs["n_pairs"].values > 0).sortby("first_pair")
    sizes, names = runs["n_pairs"].values, runs["gene"].values
    parts = (
        pa.Table.from_pandas(tidy(found, names[rows]), preserve_index=False)
        for rows in _blocks(sizes)
    )
    first = next(parts)
    with (
        pq.ParquetWriter(path, first.schema) as writer,
        progress.bar(total=int(sizes.sum()), label="table", unit="pairs") as bar,
    ):
        for part in itertools.chain([first], parts):
            writer.write_table(part)
            bar.update(len(part))


def _blocks(sizes: np.ndarray) -> Iterator[slice]:
    """Yield runs of genes with at most so many pairs together, or one gene."""
    start, pairs = 0, 0
    for row, size in enumerate(sizes):
        if row > start and pairs + size > _ROWS:
            yield slice(start, row)
            start, pairs = row, 0
        pairs += size
    yield slice(start, len(sizes))
