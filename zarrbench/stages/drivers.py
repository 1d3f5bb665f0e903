"""The drivers stage: which SNVs make each gene's prediction, and does expression support them?

The table of all SNVs is written as it is computed, gene after gene; the store holds genes and their
drivers.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr
from distributed import Client
from numpy.typing import NDArray

import zarrbench
from zarrbench import progress
from zarrbench.attribution_layouts import DRIVERS
from zarrbench.attribution_parameters import Drivers
from zarrbench.attributions.store import open_attributions
from zarrbench.errors import GeneTableError, RecipeError
from zarrbench.expression.samples import observed
from zarrbench.parameters import Statistics
from zarrbench.predictions.cube import open_cube
from zarrbench.predictions.readouts import combine_haplotypes
from zarrbench.predictions.run import submit_bounded
from zarrbench.provenance import fingerprint, plain
from zarrbench.stages.attributions import attributed_window, current_attributions
from zarrbench.stages.gene_drivers import (
    OF_GENE,
    SCHEMA,
    DriversJob,
    GeneItem,
    GeneResult,
    genes_drivers,
    snv_tables,
)
from zarrbench.stages.statistics import open_statistics, selected_track
from zarrbench.stages.workspace import Workspace
from zarrbench.statistics import support
from zarrbench.storage import exists, open_dataset, published, remove, write_dataset
from zarrbench.tables import write_table

# Genes of one Dask task, and of one row group of the table
_GENES_A_TASK = 8


def run_drivers(workspace: Workspace, client: Client) -> xr.Dataset:
    """Write and return drivers and support of the genes that have statistics and attributions.

    What was computed from the same stores with the same choices is kept.

    Raises
    ------
    RecipeError
        If the attributions lack the track of the statistics, or were made with another recipe.
    StoreLayoutError
        If a stage before did not run.
    """
    statistics = open_statistics(workspace)
    attributions = current_attributions(workspace)
    names = _shared(statistics, attributions)
    if not names:
        raise GeneTableError(
            f"no gene of the statistics has attributions; run 'zarrbench run {workspace.file} "
            f"--only attributions' first"
        )
    inputs = _inputs(workspace, statistics, attributions, names)
    standing = _standing(workspace, inputs)
    if standing is not None:
        return standing
    results: list[GeneResult] = []
    remove(workspace.drivers)  # it would pass for that of the new table
    with (
        published(workspace.concordance) as temporary,
        pq.ParquetWriter(temporary, SCHEMA) as writer,
    ):
        for part in _computed(workspace, client, statistics, attributions, names):
            table = pd.concat([result.table for result in part])
            writer.write_table(pa.Table.from_pandas(table, SCHEMA, preserve_index=False))
            results += [_only_drivers(result) for result in part]
    found = _genes_and_drivers(workspace, statistics, results).assign_attrs(inputs=inputs)
    write_table(driver_table(found, results), workspace.drivers_table)
    write_dataset(found, workspace.drivers, DRIVERS)
    return found


def standing_drivers(workspace: Workspace) -> xr.Dataset | None:
    """Return what the stage wrote, None if anything has changed since."""
    if not exists(workspace.attributions):
        return None
    statistics = open_statistics(workspace)
    attributions = open_attributions(workspace.attributions)
    names = _shared(statistics, attributions)
    return _standing(workspace, _inputs(workspace, statistics, attributions, names))


def _shared(statistics: xr.Dataset, attributions: xr.Dataset) -> list[str]:
    """Return the genes that both have, in the order of the attributions."""
    return [str(gene) for gene in attributions["gene"].values if gene in statistics.indexes["gene"]]


def _standing(workspace: Workspace, inputs: str) -> xr.Dataset | None:
    written = (workspace.drivers, workspace.drivers_table, workspace.concordance)
    if not all(exists(path) for path in written):
        return None
    found = open_dataset(workspace.drivers, DRIVERS).load()
    return found if found.attrs.get("inputs") == inputs else None


def _inputs(
    workspace: Workspace, statistics: xr.Dataset, attributions: xr.Dataset, names: Sequence[str]
) -> str:
    return fingerprint(
        {
            "version": [DRIVERS.version, zarrbench.__version__],
            "parameters": plain(workspace.recipe.stage(Drivers)),
            "statistics": statistics.attrs["inputs"],
            "attributions": attributions.attrs["inputs"],
            "genes": list(names),
        }
    )


def _computed(
    workspace: Workspace,
    client: Client,
    statistics: xr.Dataset,
    attributions: xr.Dataset,
    names: Sequence[str],
) -> Iterator[list[GeneResult]]:
    """Yield the results of some genes at a time, in the order of the names."""
    parameters, choices = workspace.recipe.stage(Drivers), workspace.recipe.stage(Statistics)
    cube = selected_track(open_cube(workspace.cube, incomplete="nan"), choices)
    track = str(cube["track"].item())
    if track not in attributions.indexes["track"]:
        raise RecipeError(
            f"{workspace.file}: the statistics are of the track {track!r}, which is not among "
            f"'tracks' of the attributions stage; add it"
        )
    people = [str(name) for name in cube["individual"].values]
    measured = observed(workspace.expression, workspace.join).reset_coords(drop=True)
    job = DriversJob(
        genotypes=workspace.stores.genotypes_path,
        reference=workspace.stores.part_path("reference"),
        policies=workspace.stores.recipe.policies,
        individuals=workspace.stores.genotypes.rows_of(people),
        rule=parameters.rule,
        recipe_hash=str(cube.attrs["recipe_hash"]),
    )

    attributed = attributions.sel(track=track)
    runs = attributed[["gene", "first_variant", "n_variants"]].load()

    def items(part: Sequence[str]) -> list[GeneItem]:
        predicted = cube["prediction"].sel(gene=list(part))
        predicted = combine_haplotypes(predicted, choices.haplotypes).load()
        values = measured.reindex(gene=list(part), individual=people).load()
        tables = snv_tables(attributed, runs.sel(gene=list(part)))
        return [
            GeneItem(
                gene,
                attributed_window(workspace, statistics.sel(gene=gene)),
                table,
                predicted.sel(gene=gene).values,
                values.sel(gene=gene).values.astype(np.float64),
            )
            for gene, table in zip(part, tables, strict=True)
        ]

    parts = [names[i : i + _GENES_A_TASK] for i in range(0, len(names), _GENES_A_TASK)]
    waiting: dict[str, list[GeneResult]] = {}
    upcoming = iter(parts)
    expected = next(upcoming, None)
    steps = [(genes_drivers, 0)]
    with progress.bar(total=len(names), label="drivers", unit="genes") as bar:
        for _, result in submit_bounded(client, steps, map(items, parts), job):
            if isinstance(result, BaseException):
                raise result
            waiting[result[0].gene] = result
            bar.update(len(result))
            while expected is not None and expected[0] in waiting:
                yield waiting.pop(expected[0])
                expected = next(upcoming, None)


def _only_drivers(result: GeneResult) -> GeneResult:
    """Return a result with the rows of drivers alone: of all SNVs memory holds only some genes."""
    table = result.table
    return replace(result, table=table[table["is_driver"] | table["is_backward_driver"]])


def _genes_and_drivers(
    workspace: Workspace, statistics: xr.Dataset, results: Sequence[GeneResult]
) -> xr.Dataset:
    """Return genes and their forward drivers, as `attribution_layouts.DRIVERS` says."""
    parameters, choices = workspace.recipe.stage(Drivers), workspace.recipe.stage(Statistics)
    chosen = statistics.sel(
        gene=[result.gene for result in results], statistic=statistics.attrs["statistic"]
    )
    r = chosen["r"].values
    if choices.round_r is not None:
        r = np.round(r, choices.round_r)
    every = pd.concat([result.table for result in results], ignore_index=True)
    drivers = every[every["is_driver"]].reset_index(drop=True)
    row_of = {result.gene: row for row, result in enumerate(results)}
    gene = drivers["gene_id"].map(row_of).to_numpy(np.int64)
    weights = drivers["increment"].to_numpy() if parameters.weighting == "increment" else None
    shares = support.fractions(drivers["support"].to_numpy(), gene, len(results), weights)
    n_drivers = np.bincount(gene, minlength=len(results))
    backward = every.loc[every["is_backward_driver"], "gene_id"].map(row_of).to_numpy(np.int64)
    r_linear = np.array([result.r_linear for result in results])
    wanted = chosen["significant"].values if parameters.examined == "significant" else True
    examined = wanted & (np.abs(r) > parameters.min_r)
    groups = support.select_genes(
        examined, n_drivers > 0, r_linear, r, parameters.min_r_linear, parameters.min_r
    )
    of_gene = {
        "n_variants": np.array([result.n_variants for result in results]),
        "n_drivers": n_drivers,
        "n_backward_drivers": np.bincount(backward, minlength=len(results)),
        "gene_reason": np.array([result.reason for result in results], dtype=object),
        "r": chosen["r"].values,
        "r_linear": r_linear,
        "r_linear_gradient": np.array([result.r_linear_gradient for result in results]),
        "r_ism_gradient": np.array([result.r_ism_gradient for result in results]),
        "fraction_supported": shares.supported,
        "fraction_unsupported": shares.unsupported,
        "examined": examined,
        "group": groups.positive.astype(np.int64) - groups.negative,
    }
    of_driver = {
        "driver_gene": drivers["gene_id"],
        "driver_position": drivers["variant_position"],
        **{
            name: drivers[name]
            for name in (
                "other_allele", "effect_allele", "distance", "ism", "slope", "increment", "is_main",
                "support", "minor_carriers",
            )
        },
    }  # fmt: skip
    return xr.Dataset(
        {
            **{name: ("gene", values) for name, values in of_gene.items()},
            **{name: ("driver", column.to_numpy()) for name, column in of_driver.items()},
        },
        coords={name: ("gene", chosen[name].values) for name in ("gene", *OF_GENE)},
    ).assign_attrs(
        n_individuals=len(workspace.plan.individuals),
        parameters=json.dumps(plain(parameters), sort_keys=True),
        statistic=statistics.attrs["statistic"],
        track=statistics.attrs["track"],
    )


def driver_table(found: xr.Dataset, results: Sequence[GeneResult]) -> pd.DataFrame:
    """Return one row a driver, forward or backward, with all that is known of it and its gene."""
    table = pd.concat([result.table for result in results], ignore_index=True)
    of_gene = ["r", "r_linear", "examined", "group"]
    genes = found[of_gene].reset_coords(drop=True).to_dataframe()
    return table.drop(columns="reason").join(genes.rename_axis(None), on="gene_id")


def summary(found: xr.Dataset) -> dict[str, Any]:
    """Return the headline: how many drivers, and whether expression supports their signs.

    Parameters
    ----------
    found : Dataset
        What `run_drivers` returns.
    """
    group, examined = found["group"].values, found["examined"].values
    counted = support.driver_counts(found["n_drivers"].values[examined])
    row_of = {str(gene): row for row, gene in enumerate(found["gene"].values)}
    gene = np.array([row_of[str(name)] for name in found["driver_gene"].values], dtype=np.int64)
    groups = support.GeneGroups(group > 0, group < 0)
    main = support.main_driver_support(
        found["support"].values, found["is_main"].values, gene, groups
    )
    shares = found["fraction_supported"].values
    test = support.compare_groups(shares[groups.positive], shares[groups.negative])
    headline: dict[str, Any] = {
        "genes": found.sizes["gene"],
        "examined": int(examined.sum()),
        "examined_with_driver": counted.n_with_driver,
        "drivers": found.sizes["driver"],
        "share_with_one_driver": {
            "of_genes_with_driver": _rounded(counted.one_of_with_driver),
            "of_examined_genes": _rounded(counted.one_of_examined),
        },
        "share_with_one_to_five_drivers": {
            "of_genes_with_driver": _rounded(counted.few_of_with_driver),
            "of_examined_genes": _rounded(counted.few_of_examined),
        },
        "median_r_linear": _rounded(_median(found["r_linear"].values)),
        "median_r_ism_gradient": _rounded(_median(found["r_ism_gradient"].values)),
    }
    for name, genes in (("positive", groups.positive), ("negative", groups.negative)):
        headline[f"{name}_genes"] = {
            "genes": int(genes.sum()),
            "mean_fraction_supported": _rounded(shares[genes].mean() if genes.any() else np.nan),
            "main_driver_supported": main[name].supported,
            "main_driver_unsupported": main[name].unsupported,
        }
    return {**headline, "mann_whitney_p": test.p}


def _median(values: NDArray[np.float64]) -> float:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")


def _rounded(value: float) -> float:
    return round(float(value), 4)
