"""The track_weights stage: one prediction from all tracks, across genes and across people."""

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import zarrbench
from zarrbench import progress
from zarrbench.errors import ExpressionError, GeneTableError, ModelInputError, SourceError
from zarrbench.expression.samples import observed
from zarrbench.expression.tables import read_expression
from zarrbench.layouts import TRACK_WEIGHTS
from zarrbench.parameters import WeightedTracks
from zarrbench.predictions.cube import open_cube
from zarrbench.provenance import file_sha256, fingerprint, installed, plain
from zarrbench.sources import Source, without_sources
from zarrbench.stages.workspace import Workspace
from zarrbench.statistics.correlation import correlate
from zarrbench.statistics.elastic_net import fit_tracks
from zarrbench.statistics.population import correlate_across_genes
from zarrbench.statistics.track_weights import (
    TrackWeights,
    apply_track_weights,
    read_track_weights,
    track_weights_text,
)
from zarrbench.storage import exists, open_dataset, remove, write_dataset, write_text
from zarrbench.tables import write_table

GIVEN, CROSS_VALIDATED, IN_SAMPLE = "given", "cross_validated", "in_sample"
# Of predictions of people that are held at once, as float64
_BLOCK_BYTES = 256 * 2**20
# Outputs of `correlate` that are kept, by the names of the layout
_ACROSS_PEOPLE = {
    "r": "pearson_r",
    "p_r": "p",
    "n_individuals": "n_individuals",
    "mean_predicted": "mean_predicted",
    "sd_predicted": "sd_predicted",
}
_ACROSS_GENES = {
    "pearson_r": "pearson_across_genes",
    "spearman_r": "spearman_across_genes",
    "n_genes": "n_genes",
}


def run_track_weights(workspace: Workspace, limit: int | None = None) -> xr.Dataset:
    """Apply or fit weights of tracks for all finished genes (among the first `limit`); write.

    Across genes a fit must be judged by `cross_validated`: each gene is predicted by weights that
    saw no gene of its contig, while those of `in_sample`, the study's way, saw its mean. Folds have
    offsets of their own: r of `cross_validated` lies below 0 where there is nothing to find.
    Across the people of a gene the weights of all genes serve: they saw that gene's mean, one
    number, which no correlation of people knows of, and nobody's difference from it. What was
    computed from the same cube and files with the same choices is kept.

    Raises
    ------
    IncompleteCubeError
        If no gene is finished.
    RecipeError
        If the cube is not that of the pipeline file, or the genes to fit lie on one contig.
    ModelInputError
        If the cube lacks a track with a weight, or one to be fitted; or has only one.
    SourceError, ExpressionError, GeneTableError
        If a file cannot be read, or its target is of other genes, or there is nothing to fit.
    """
    parameters = workspace.recipe.stage(WeightedTracks)
    workspace.check_cube()
    names = workspace.compared_genes(limit)
    standing = standing_weights(workspace, names)
    if standing is not None:
        return standing
    found, weights = weighted_genes(workspace, names)
    found.attrs["inputs"] = _inputs(workspace, names)
    # The store last: it says what the others were made from.
    if parameters.weights is None:
        write_text(workspace.fitted_weights, track_weights_text(weights))
    elif exists(workspace.fitted_weights):
        remove(workspace.fitted_weights)
    write_table(weighted_table(found), workspace.track_weights_table)
    write_dataset(found, workspace.track_weights, TRACK_WEIGHTS)
    return found


def standing_weights(workspace: Workspace, names: Sequence[str]) -> xr.Dataset | None:
    """Return what the stage wrote of these genes, None if anything has changed since.

    None, too, if the file of weights or targets is not found, so that nobody can tell.
    """
    results = [workspace.track_weights, workspace.track_weights_table]
    if workspace.recipe.stage(WeightedTracks).weights is None:
        results.append(workspace.fitted_weights)
    if not all(exists(path) for path in results):
        return None
    found = open_dataset(workspace.track_weights, TRACK_WEIGHTS).load()
    with contextlib.suppress(SourceError):
        return found if found.attrs.get("inputs") == _inputs(workspace, names) else None
    return None


def check_weights(workspace: Workspace) -> None:
    """Refuse, before anything is predicted, given weights or a fit that the model cannot serve.

    Raises
    ------
    SourceError
        If the file of weights cannot be read.
    ModelInputError
        If its tracks are not the model's, or a fit would lack a track, or have only one.
    """
    if "track_weights" not in workspace.recipe.stages:
        return
    source = workspace.recipe.stage(WeightedTracks).weights
    tracks = workspace.model.tracks()
    indices = [place if track.index is None else track.index for place, track in enumerate(tracks)]
    nothing = xr.DataArray(
        np.zeros(len(tracks)),
        {
            "track_index": ("track", indices),
            "track_description": ("track", [track.description for track in tracks]),
        },
        ("track",),
    )
    if source is not None:
        apply_track_weights(nothing, read_track_weights(workspace.locate(source)))
    else:
        _check_fitted(nothing)


def weighted_genes(workspace: Workspace, names: Sequence[str]) -> tuple[xr.Dataset, TrackWeights]:
    """Return what weights make of the named genes, as `layouts.TRACK_WEIGHTS`, and the weights."""
    parameters = workspace.recipe.stage(WeightedTracks)
    whole = open_cube(workspace.cube, incomplete="nan")
    cube = whole.sel(gene=list(names))
    reference = cube[f"reference_{parameters.variable}"]
    expression = observed(workspace.expression, workspace.join).reset_coords(drop=True)
    measured = expression.reindex(gene=list(names)).load()
    mean = measured.mean("individual")
    target = mean * np.nan
    chosen: dict[str, Any] = {}
    if parameters.weights is not None:
        weights = read_track_weights(workspace.locate(parameters.weights))
        predicted = _along({GIVEN: apply_track_weights(reference, weights)})
    else:
        target = mean if parameters.target is None else _target(workspace, parameters.target, names)
        weights, predicted, chosen = _fitted(reference, target, parameters)
    against = {"mean_observed": mean}
    if parameters.target is not None:
        against["target"] = target
    in_fit = target.notnull()
    judged = predicted if parameters.weights is not None else predicted.where(in_fit)
    across = xr.concat(
        [correlate_across_genes(judged, values) for values in against.values()],
        pd.Index(np.array(list(against), dtype=object), name="against"),
    ).rename(_ACROSS_GENES)
    people = across_people(whole[parameters.variable], weights, parameters, measured)
    found = xr.merge([people, across], compat="equals", join="exact").assign(
        weight=("track", weights.weights[cube["track_index"].values]),
        in_fit=in_fit,
        target=target,
        mean_observed=mean,
        reference_prediction=predicted,
    )
    coordinates = ("gene_name", "contig", "tss", "strand", "track", "track_description")
    return found.assign_coords(
        {name: (cube[name].dims, cube[name].values) for name in coordinates}
    ).assign_attrs(
        offset=weights.offset,
        **chosen,
        n_tracks_with_weight=int(np.count_nonzero(weights.weights)),
        n_individuals=measured.sizes["individual"],
        readout=parameters.variable,
        parameters=json.dumps(plain(parameters), sort_keys=True),
        recipe_hash=cube.attrs["recipe_hash"],
    ), weights  # fmt: skip


def across_people(
    summary: xr.DataArray,
    weights: TrackWeights,
    parameters: WeightedTracks,
    measured: xr.DataArray,
) -> xr.Dataset:
    """Return r of weighted tracks and expression across people, one per gene, and their moments.

    Parameters
    ----------
    summary
        Lazy predictions over (gene, individual, haplotype, track): as many genes are read at once
        as take 256 MiB in float64, and one at least.
    weights, parameters
    measured
        Expression over (gene, individual), of the genes that are wanted.

    Returns
    -------
    xarray.Dataset
        pearson_r, p, n_individuals, mean_predicted and sd_predicted over (gene), as
        `correlation.correlate` gives them.
    """
    used = int(np.count_nonzero(weights.weights))
    a_gene = summary.sizes["individual"] * summary.sizes["haplotype"] * used * 8
    size = max(1, _BLOCK_BYTES // max(1, a_gene))
    genes = measured["gene"].values
    parts = []
    with progress.bar(total=genes.size, label="track_weights", unit="genes") as bar:
        for start in range(0, genes.size, size):
            # Genes are chosen first, so that the graph of a block does not grow with the cube.
            block = summary.sel(gene=genes[start : start + size])
            predicted = apply_track_weights(block, weights, parameters.haplotype_combine)
            found = correlate(predicted.reset_coords(drop=True), measured)
            parts.append(found[list(_ACROSS_PEOPLE)].compute())
            bar.update(block.sizes["gene"])
    return xr.concat(parts, "gene").rename(_ACROSS_PEOPLE)


def weighted_table(found: xr.Dataset) -> pd.DataFrame:
    """Return one row a gene, unrounded; a reference prediction has a column an evaluation."""
    columns: dict[str, Any] = {}
    for name, variable in TRACK_WEIGHTS.variables.items():
        values = found[name].values
        if variable.dims == ("gene",):
            text = values.dtype.kind in "UT"
            columns["gene_id" if name == "gene" else name] = (
                values.astype(object) if text else values
            )
        elif name == "reference_prediction":
            for row, evaluation in enumerate(found["evaluation"].values):
                columns[f"{name}_{evaluation}"] = values[row]
    return pd.DataFrame(columns)


def summary(found: xr.Dataset) -> dict[str, Any]:
    """Return the headline of the stage, as the command line prints it; no ids."""
    r = found["pearson_r"].values
    fitted = GIVEN not in found["evaluation"].values
    mean = round(float(np.nanmean(r)), 4) if np.isfinite(r).any() else float("nan")
    return {
        "weights": "fitted" if fitted else "given",
        "tracks": found.sizes["track"],
        "tracks_with_weight": int(found.attrs["n_tracks_with_weight"]),
        **({"alpha": float(f"{found.attrs['alpha']:.4g}")} if fitted else {}),
        "genes": int(r.size),
        "genes_with_r": int(np.isfinite(r).sum()),
        "mean_r": mean,
        "across_genes": {
            f"{evaluation}, {against}": {
                "pearson_r": round(float(one["pearson_across_genes"]), 4),
                "spearman_r": round(float(one["spearman_across_genes"]), 4),
                "genes": int(one["n_genes"]),
            }
            for against in map(str, found["against"].values)
            for evaluation in map(str, found["evaluation"].values)
            for one in [found.sel(against=against, evaluation=evaluation)]
        },
    }


def _fitted(
    reference: xr.DataArray, target: xr.DataArray, parameters: WeightedTracks
) -> tuple[TrackWeights, xr.DataArray, dict[str, Any]]:
    """Fit weights to the genes that have a target; return them, predictions and what was chosen."""
    _check_fitted(reference)
    known = target.notnull().values
    contigs = reference["contig"]
    weights, of_fit = fit_tracks(
        reference[known].load(), target[known], contigs[known].reset_coords(drop=True),
        parameters.l1_ratio, parameters.folds,
    )  # fmt: skip
    out_of_fold = of_fit["prediction"].sel(evaluation=CROSS_VALIDATED, drop=True)
    predicted = {
        CROSS_VALIDATED: out_of_fold.reindex(gene=reference["gene"].values),
        IN_SAMPLE: apply_track_weights(reference, weights),
    }
    return weights, _along(predicted), {"alpha": of_fit.attrs["alpha"]}


def _check_fitted(reference: xr.DataArray) -> None:
    """Refuse to fit one track, or some tracks of a model: their file would fit no model."""
    indices = reference["track_index"].values
    missing = int(indices.max()) + 1 - indices.size
    if indices.size > 1 and not missing:
        return
    found = f"{missing} of its first {indices.max() + 1} are missing" if missing else "it has one"
    raise ModelInputError(
        f"the stage 'track_weights' weighs all tracks of a model, and {found}; predict all of "
        "them, give 'weights', or leave the stage out"
    )


def _along(predictions: dict[str, xr.DataArray]) -> xr.DataArray:
    """Return reference predictions (evaluation, gene) from those by evaluation."""
    labels = pd.Index(np.array(list(predictions), dtype=object), name="evaluation")
    values = [each.reset_coords(drop=True).load() for each in predictions.values()]
    return xr.concat(values, labels, join="exact").transpose("evaluation", "gene")


def _target(workspace: Workspace, source: Source, names: Sequence[str]) -> xr.DataArray:
    """Return the mean expression (gene,) of a file, NaN for genes that it lacks."""
    path = workspace.locate(source)
    table = read_expression(path)["expression"]
    columns = [str(name) for name in table["sample"].values]
    if len(columns) != 1 or _is_number(columns[0]):
        raise ExpressionError(
            f"{path} has the columns {', '.join(columns[:3])} behind the gene id, expected "
            "one with a name, of mean expression; give a table of two columns with a header"
        )
    found = table.isel(sample=0).reset_coords(drop=True).reindex(gene=list(names))
    if not found.notnull().any():
        raise GeneTableError(
            f"none of the {len(names)} genes of the cube ({', '.join(names[:3])}) has a value in "
            f"{path}, which has {', '.join(map(str, table['gene'].values[:3]))}; use ids of the "
            "same kind"
        )
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _inputs(workspace: Workspace, names: Sequence[str]) -> str:
    parameters = workspace.recipe.stage(WeightedTracks)
    files = (parameters.weights, parameters.target)
    return fingerprint(
        {
            "version": [TRACK_WEIGHTS.version, zarrbench.__version__, installed(("scikit-learn",))],
            "parameters": without_sources(parameters),
            "files": [source and file_sha256(workspace.locate(source)) for source in files],
            **workspace.compared(names),
        }
    )
