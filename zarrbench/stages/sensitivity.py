"""The sensitivity stage: would other readouts, weights or inputs turn the sign of r?"""

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from distributed import Client
from numpy.typing import NDArray

import zarrbench
from zarrbench.attribution_layouts import SENSITIVITY
from zarrbench.attribution_parameters import Sensitivity
from zarrbench.errors import RecipeError, SourceError
from zarrbench.expression.samples import observed
from zarrbench.parameters import Statistics
from zarrbench.predictions.cube import done_shards, open_cube
from zarrbench.predictions.extension import extend_cube, finish_extension, in_order_of
from zarrbench.predictions.plan import Plan, Predict, make_plan, only
from zarrbench.predictions.readouts import combine_haplotypes
from zarrbench.predictions.run import Filled, fill_cube
from zarrbench.provenance import fingerprint, installed, plain
from zarrbench.stages.gene_table import standing_gene_table
from zarrbench.stages.statistics import open_statistics, selected_track
from zarrbench.stages.track_weights import standing_weights
from zarrbench.stages.workspace import Workspace
from zarrbench.statistics.correlation import correlate
from zarrbench.statistics.sensitivity import Agreement, agreement
from zarrbench.storage import exists, open_dataset, write_dataset
from zarrbench.tables import plain_column, write_table

#: the choice that all others are compared with
CHOSEN = "as chosen"
WEIGHTED, ENSEMBLE = "weighted tracks", "ensemble"


def run_sensitivity(
    workspace: Workspace, client: Client, slot: str, retry_failed: bool = False
) -> Filled | None:
    """Write r of the genes under other choices, and how it compares with the r of the statistics.

    The readouts in `more_readouts` of the predict stage, the track_weights stage if there is one,
    and an ensemble of inputs, for which some genes are predicted again into a small cube of their
    own, which grows if others are drawn. Returns what was predicted for that, None without an
    ensemble.

    Raises
    ------
    RecipeError
        If there is nothing to compare with, the track_weights stage has to run first, or the
        ensemble is another than that of the small cube.
    StoreLayoutError
        If the statistics stage did not run.
    """
    statistics = open_statistics(workspace)
    parameters = workspace.recipe.stage(Sensitivity)
    filled = None
    if parameters.ensemble is not None:
        finish_extension(workspace.ensemble)
        plan = ensemble_plan(workspace, statistics)
        if exists(workspace.ensemble):
            extend_cube(workspace.ensemble, plan, installed())
        job = replace(
            workspace.job,
            cube=workspace.ensemble,
            predict=plan.predict,
            numbers_hash=plan.numbers_hash,
        )
        filled = fill_cube(plan, job, client, slot, retry_failed=retry_failed)
    if standing_sensitivity(workspace) is None:
        found = _compared(workspace, statistics).assign_attrs(inputs=_inputs(workspace, statistics))
        write_table(sensitivity_table(found), workspace.sensitivity_table)
        write_dataset(found, workspace.sensitivity, SENSITIVITY)
    return filled


def standing_sensitivity(workspace: Workspace) -> xr.Dataset | None:
    """Return what the stage wrote, None if anything has changed since, or a file is not found."""
    if not (exists(workspace.sensitivity) and exists(workspace.sensitivity_table)):
        return None
    found = open_dataset(workspace.sensitivity, SENSITIVITY).load()
    with contextlib.suppress(SourceError, RecipeError):
        made = _inputs(workspace, open_statistics(workspace))
        return found if found.attrs.get("inputs") == made else None
    return None


def ensemble_plan(workspace: Workspace, statistics: xr.Dataset) -> Plan:
    """Return the plan of the genes that an ensemble is tried on, with those that its cube has."""
    parameters = workspace.recipe.stage(Sensitivity)
    predict = replace(
        workspace.recipe.stage(Predict),
        ensemble=parameters.ensemble,
        more_readouts={},
        store_bins=False,
    )
    before = _genes(_ensemble(workspace)) if exists(workspace.ensemble) else []
    left_out = workspace.not_expressed.difference(before)
    plan = make_plan(workspace.stores, workspace.join, workspace.model, predict, left_out)
    chosen = only(plan, [*_drawn(parameters, plan.genes, statistics), *before])
    return in_order_of(workspace.ensemble, chosen) if before else chosen


def _drawn(parameters: Sensitivity, genes: xr.Dataset, statistics: xr.Dataset) -> list[str]:
    """Return the genes that an ensemble is tried on, among these that have statistics.

    By a hash of seed and gene: whoever draws more, or among more, draws most of them again.
    """
    possible = set(_genes(genes)) & set(_genes(statistics))
    by_hash = sorted(possible, key=lambda gene: fingerprint([parameters.seed, gene]))
    return by_hash[: parameters.n_genes]


def _ensemble(workspace: Workspace) -> xr.Dataset:
    return open_cube(workspace.ensemble, incomplete="nan")


def _genes(dataset: xr.Dataset) -> list[str]:
    return [str(gene) for gene in dataset["gene"].values]


def _inputs(workspace: Workspace, statistics: xr.Dataset) -> str:
    parameters = workspace.recipe.stage(Sensitivity)
    weighted = _weighted(workspace, statistics)
    lists = _lists(workspace)
    shards: list[list[str | int]] = []
    if parameters.ensemble is not None and exists(workspace.ensemble):
        drawn = _drawn(parameters, _ensemble(workspace), statistics)
        done = done_shards(workspace.ensemble)
        shards = [[*key, *done[key].checksums.values()] for key in sorted(done) if key[0] in drawn]
    return fingerprint(
        {
            "version": [SENSITIVITY.version, zarrbench.__version__],
            "parameters": plain(parameters),
            "statistics": statistics.attrs["inputs"],
            "weighted": "" if weighted is None else weighted.attrs["inputs"],
            "lists": "" if lists is None else lists.attrs["inputs"],
            "ensemble": shards,
        }
    )


def _weighted(workspace: Workspace, statistics: xr.Dataset) -> xr.Dataset | None:
    if "track_weights" not in workspace.recipe.stages:
        return None
    found = standing_weights(workspace, _genes(statistics))
    if found is None:
        raise RecipeError(
            f"the weighted tracks {workspace.track_weights} are not there, or were made from "
            f"something else; run 'zarrbench run {workspace.file} --only track_weights' first"
        )
    return found


def _lists(workspace: Workspace) -> xr.Dataset | None:
    """Return the gene table if it has lists of fine-mapped variants."""
    if "gene_table" not in workspace.recipe.stages:
        return None
    found = standing_gene_table(workspace)
    return found if found is not None and "fine_mapped" in found else None


def _compared(workspace: Workspace, statistics: xr.Dataset) -> xr.Dataset:
    names, choices = _genes(statistics), workspace.recipe.stage(Statistics)
    r = statistics["r"].values
    significant = (
        statistics["significant"].sel(statistic=statistics.attrs["statistic"]).values.astype(bool)
    )
    expression = observed(workspace.expression, workspace.join).reset_coords(drop=True)

    def correlated(cube: xr.Dataset, variable: str) -> NDArray[np.float64]:
        predicted = combine_haplotypes(cube[variable], choices.haplotypes)
        measured = expression.reindex(gene=cube["gene"].values)  # of some, nobody measured any
        return _of(names, correlate(predicted, measured)["r"])

    rows: dict[str, NDArray[np.float64]] = {CHOSEN: r}
    cube = selected_track(open_cube(workspace.cube, incomplete="nan").sel(gene=names), choices)
    for name in workspace.recipe.stage(Predict).more_readouts:
        rows[f"readout {name}"] = correlated(cube, f"prediction_{name}")
    weighted = _weighted(workspace, statistics)
    if weighted is not None:
        rows[WEIGHTED] = _of(names, weighted["pearson_r"])
    parameters = workspace.recipe.stage(Sensitivity)
    if parameters.ensemble is not None:
        tried = _ensemble(workspace)
        tried = tried.sel(gene=_drawn(parameters, tried, statistics))
        rows[ENSEMBLE] = correlated(selected_track(tried, choices), "prediction")
    if len(rows) == 1:
        raise RecipeError(
            f"{workspace.file}: the sensitivity stage has nothing to compare with: name "
            f"more_readouts in the predict stage, an ensemble in this one, or add a track_weights "
            f"stage"
        )
    found = [asdict(agreement(r, row, significant)) for row in rows.values()]
    together = xr.Dataset(
        {
            "r": (("choice", "gene"), np.stack(list(rows.values()))),
            **{name: ("choice", np.array([one[name] for one in found])) for name in found[0]},
        },
        coords={
            "choice": np.array(list(rows), dtype=object),
            **{
                name: ("gene", statistics[name].values)
                for name in ("gene", "gene_name", "contig", "tss", "strand")
            },
        },
    ).assign(significant=("gene", significant))
    lists = _lists(workspace)
    if lists is None:
        return together
    flagged = np.array([[bool(text) for text in row] for row in lists["fine_mapped"].values])
    labels = np.concatenate([["every gene"], plain_column(lists["variant_list"].values)])
    within = np.concatenate([np.ones((1, len(names)), bool), flagged]) & significant
    return together.assign(
        subset_significant=("subset", within.sum(axis=1)),
        subset_negative=("subset", (within & (r < 0)).sum(axis=1)),
    ).assign_coords(subset=labels.astype(object))


def _of(names: Sequence[str], values: xr.DataArray) -> NDArray[np.float64]:
    """Return the values of these genes, NaN where there is none."""
    plainly = values.reset_coords(drop=True)
    return np.asarray(plainly.reindex(gene=list(names)).values, np.float64)


def sensitivity_table(found: xr.Dataset) -> pd.DataFrame:
    """Return one row a choice, compared with the r of the statistics."""
    columns = {field.name: found[field.name].values for field in fields(Agreement)}
    return pd.DataFrame({"choice": plain_column(found["choice"].values), **columns})


def summary(found: xr.Dataset) -> dict[str, Any]:
    """Return how often each other choice keeps the sign of r."""
    table = sensitivity_table(found).round(4).set_index("choice").drop(index=CHOSEN)
    headline: dict[str, Any] = {
        str(choice): {
            "genes": int(row["n_genes"]),
            "pearson_r": row["pearson_r"],
            "same_sign": row["same_sign"],
            "significant": int(row["n_significant"]),
            "same_sign_significant": row["same_sign_significant"],
        }
        for choice, row in table.to_dict("index").items()
    }
    if "subset" in found.dims:
        headline["significant genes with r < 0"] = {
            str(name): f"{int(negative)} of {int(total)}"
            for name, negative, total in zip(
                found["subset"].values,
                found["subset_negative"].values,
                found["subset_significant"].values,
                strict=True,
            )
        }
    return headline
