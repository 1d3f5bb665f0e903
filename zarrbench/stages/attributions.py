"""The attributions stage: every SNV of every gene in silico, on the cluster, in one store."""

import contextlib
from dataclasses import replace
from functools import partial
from typing import Any

import dask
import xarray as xr
from distributed import Client

from zarrbench.attribution_layouts import ATTRIBUTIONS
from zarrbench.attribution_parameters import Attributions
from zarrbench.attributions.ism import GeneTask
from zarrbench.attributions.parts import finished_parts
from zarrbench.attributions.run import fill_parts
from zarrbench.attributions.store import assembled, open_attributions
from zarrbench.attributions.worker import AttributionJob, probe_gradient
from zarrbench.errors import RecipeError, SourceError
from zarrbench.genome.coordinates import Window
from zarrbench.models.protocol import EstimatedRecipe, ModelSpec
from zarrbench.parameters import Statistics
from zarrbench.pipeline import check_track
from zarrbench.predictions.plan import Predict, window_of
from zarrbench.predictions.readouts import Readout, asked_bins
from zarrbench.predictions.run import Filled
from zarrbench.predictions.worker import warm_up
from zarrbench.provenance import fingerprint, installed, plain
from zarrbench.remote import Place
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import exists, open_dataset, write_dataset

# Genes of which a dry run counts SNVs
_SAMPLED = 5


def run_attributions(
    workspace: Workspace,
    client: Client,
    slot: str,
    limit: int | None = None,
    retry_failed: bool = False,
) -> Filled:
    """Attribute all genes (the first `limit`) that lack it, and write the store of them.

    A run that was killed continues; a gene that fails stops no other, and is named in the store.

    Raises
    ------
    RecipeError
        If it was begun with another recipe, or a track is unknown.
    ModelInputError, StorageError, SourceError, ClusterError
        As `zarrbench.attributions.run.fill_parts`.
    """
    parameters = workspace.recipe.stage(Attributions)
    recipe = attribution_recipe(workspace)
    job = attribution_job(workspace, workspace.attributions, recipe)
    genes = workspace.plan.genes.isel(gene=slice(limit))
    tasks = gene_tasks(workspace, limit)
    warm = partial(probe_gradient, gene=tasks[0].gene) if parameters.gradients else warm_up
    filled = fill_parts(job, recipe, tasks, client, slot, retry_failed, warm=warm)
    reasons = {gene: f"it failed: {error}" for (gene, _), error in filled.failed.items()}
    done = finished_parts(workspace.attributions, recipe)
    made = {task.gene: done[task.gene].checksums for task in tasks if task.gene in done}
    inputs = fingerprint({"recipe": recipe, "parts": made, "failed": reasons})
    if exists(workspace.attributions):
        standing = open_dataset(workspace.attributions, ATTRIBUTIONS)
        if standing.attrs.get("inputs") == inputs:
            return filled
    found = assembled(
        workspace.attributions,
        genes,
        reasons,
        [workspace.model.tracks()[track] for track in job.tracks],
        _attributed_spec(workspace),
        parameters.optional_variables,
    )
    attributes = {
        "inputs": inputs,
        "recipe": fingerprint(recipe),
        "parameters": str(plain(parameters)),
        "versions": installed(),
    }
    # Parts lie where this process can read them, and perhaps no worker.
    with dask.config.set(scheduler="threads"):
        write_dataset(found.assign_attrs(attributes), workspace.attributions, ATTRIBUTIONS)
    return filled


def gene_tasks(workspace: Workspace, limit: int | None = None) -> list[GeneTask]:
    """Return the tasks of all genes, or of the first `limit`."""
    parameters = workspace.recipe.stage(Attributions)
    genes = workspace.plan.genes.isel(gene=slice(limit))
    return [
        GeneTask(
            str(gene),
            attributed_window(workspace, genes.isel(gene=row)),
            parameters.gradients,
            parameters.profiles,
        )
        for row, gene in enumerate(genes["gene"].values)
    ]


def standing_attributions(workspace: Workspace) -> xr.Dataset | None:
    """Return what the stage wrote, lazily; None if it was made with another recipe, or not at all.

    None, too, if a file that the recipe names is not found, so that nobody can tell.
    """
    if not exists(workspace.attributions):
        return None
    found = open_attributions(workspace.attributions)
    with contextlib.suppress(SourceError):
        made = fingerprint(attribution_recipe(workspace))
        return found if found.attrs.get("recipe") == made else None
    return None


def current_attributions(workspace: Workspace) -> xr.Dataset:
    """Return what the stage wrote, lazily.

    Raises
    ------
    StoreLayoutError
        If there is nothing.
    RecipeError
        If it was made with another recipe.
    """
    found = open_attributions(workspace.attributions)
    if found.attrs.get("recipe") != fingerprint(attribution_recipe(workspace)):
        raise RecipeError(
            f"the attributions {workspace.attributions} were made with other parameters than those "
            f"of {workspace.file}, or from something else; run 'zarrbench run {workspace.file} "
            f"--only attributions' first"
        )
    return found


def summary(found: xr.Dataset) -> dict[str, int]:
    """Return how many SNVs of how many genes have attributions."""
    reasons = found["gene_reason"].values.astype(object)
    undefined = int((found["reason"].values.astype(object) != "").sum())
    return {
        "genes": found.sizes["gene"],
        "genes_without_attributions": int((reasons != "").sum()),
        "SNVs": found.sizes["variant"],
        "SNVs_without_attribution": undefined,
    }


def estimated(workspace: Workspace, limit: int | None = None) -> dict[str, Any]:
    """Return what ``--dry-run`` says of the stage: sequences and floating point operations to do.

    Scaled up from a few of the genes (of the first `limit`) that are not done.
    """
    recipe = attribution_recipe(workspace)
    job = attribution_job(workspace, workspace.attributions, recipe)
    tasks = gene_tasks(workspace, limit)
    done = finished_parts(workspace.attributions, recipe)
    todo = [task for task in tasks if task.gene not in done]
    sample = todo[:: max(1, len(todo) // _SAMPLED)][:_SAMPLED]
    sequences, operations = 0, 0.0
    model = workspace.model.recipe
    n_bins = len(asked_bins([job.readout], workspace.plan.spec.bins))
    for task in sample:
        [window] = task.mutants(job).inputs
        sequences += window.personal.n_rows
        if isinstance(model, EstimatedRecipe):
            operations += model.estimate(window.personal, n_bins, len(job.tracks)).shared
    scale = len(todo) / max(1, len(sample))
    petaflop = float(f"{operations * scale / 1e15:.3g}")
    return {
        "attribution_genes_to_do": len(todo),
        "attribution_sequences": round(sequences * scale),
        **({"attribution_petaflop": petaflop} if operations else {}),
    }


def attribution_recipe(workspace: Workspace) -> dict[str, Any]:
    """Return all that determines the attributions of a gene."""
    parameters = workspace.recipe.stage(Attributions)
    made = workspace.plan.recipe
    tracks = workspace.model.tracks()
    recipe = {
        "attributions": {"version": ATTRIBUTIONS.version},
        **{part: made[part] for part in ("stores", "policies", "model")},
        "genes": workspace.stores.facts()["genes"]["files"],
        "stage": plain(parameters),
        "readout": plain(_readout(workspace)),
        "tracks": [tracks[track].id for track in attributed_tracks(workspace)],
    }
    return recipe


def attribution_job(workspace: Workspace, store: Place, recipe: dict[str, Any]) -> AttributionJob:
    """Return what all tasks of a store share, with the readout and tracks of the attributions."""
    return AttributionJob(
        store=store,
        genotypes=workspace.stores.genotypes_path,
        reference=workspace.stores.part_path("reference"),
        policies=workspace.stores.recipe.policies,
        model=workspace.model,
        readout=_readout(workspace),
        tracks=attributed_tracks(workspace),
        numbers_hash=fingerprint(recipe),
    )


def attributed_window(workspace: Workspace, gene: xr.Dataset) -> Window:
    """Return the window of a gene as attributions read it (METHODS section 3.1)."""
    window = window_of(gene, workspace.recipe.model.spec())
    return window.shifted(-1) if _released(workspace) else window


def _attributed_spec(workspace: Workspace) -> ModelSpec:
    """Return the model's with the index that the TSS has in these windows."""
    spec = workspace.recipe.model.spec()
    return replace(spec, tss_index=spec.tss_index - 1) if _released(workspace) else spec


def _released(workspace: Workspace) -> bool:
    return workspace.recipe.stage(Attributions).alignment == "released"


def check_attributions(workspace: Workspace) -> None:
    """Refuse, before anything is predicted, tracks that the model lacks or the drivers would lack.

    Raises
    ------
    RecipeError
    """
    if "attributions" not in workspace.recipe.stages:
        return
    tracks = workspace.model.tracks()
    attributed = {tracks[track].id for track in attributed_tracks(workspace)}
    wanted = _default_track(workspace)
    named = {track.id for track in tracks if wanted in (None, track.id, track.description)}
    if "drivers" in workspace.recipe.stages and attributed.isdisjoint(named):
        raise RecipeError(
            f"{workspace.file}: stages.attributions.tracks lacks {wanted!r}, the track of the "
            f"statistics, which the drivers stage needs; add it"
        )


def attributed_tracks(workspace: Workspace) -> tuple[int, ...]:
    """Return which of the model's tracks are attributed.

    Raises
    ------
    RecipeError
        If one is unknown or ambiguous, or none is named and the model has several.
    """
    tracks = workspace.model.tracks()
    asked = workspace.recipe.stage(Attributions).tracks
    names: tuple[str | None, ...] = asked or (_default_track(workspace),)
    for name in names:
        check_track(name, tracks, f"{workspace.file}: stages.attributions.tracks")
    places = []
    for name in names:
        matching = [i for i, t in enumerate(tracks) if name in (None, t.id)]
        described = [i for i, t in enumerate(tracks) if t.description == name]
        places.append((matching or described)[0])
    if len(set(places)) < len(places):
        raise RecipeError(f"{workspace.file}: stages.attributions.tracks names a track twice")
    return tuple(places)


def _default_track(workspace: Workspace) -> str | None:
    statistics = workspace.recipe.stages.get("statistics")
    return statistics.track if isinstance(statistics, Statistics) else None


def _readout(workspace: Workspace) -> Readout:
    asked = workspace.recipe.stage(Attributions).readout
    return workspace.recipe.stage(Predict).readout if asked is None else asked
