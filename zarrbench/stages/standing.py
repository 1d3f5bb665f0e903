"""What the stages of a pipeline left and nothing has changed since; or why there is nothing."""

from collections.abc import Callable, Sequence

import xarray as xr

from zarrbench.errors import ZarrbenchError
from zarrbench.layouts import GENOTYPE_QUALITY
from zarrbench.predictions.cube import finished_genes, open_cube
from zarrbench.remote import Place
from zarrbench.stages.attributions import standing_attributions
from zarrbench.stages.drivers import standing_drivers
from zarrbench.stages.eqtl import standing_eqtl
from zarrbench.stages.gene_table import standing_gene_table
from zarrbench.stages.motifs import standing_motifs
from zarrbench.stages.population import standing_population
from zarrbench.stages.predixcan import standing_predixcan
from zarrbench.stages.sensitivity import standing_sensitivity
from zarrbench.stages.statistics import open_statistics
from zarrbench.stages.track_weights import standing_weights
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import exists, open_dataset


def standing(workspace: Workspace, stage: str) -> xr.Dataset | str:
    """Return what a stage left, lazily where it is large; or one clause on why it cannot be used.

    Of predictions the genes that are finished.

    Parameters
    ----------
    workspace : Workspace
    stage : str
        One of `zarrbench.pipeline.STAGES` that leaves a store: any but ``report``.
    """
    if stage not in workspace.recipe.stages:
        return f"the pipeline has no stage {stage!r}"
    store = _stores(workspace)[stage]
    if not exists(store):
        return f"the stage {stage!r} has not run: there is no {store}"
    try:
        found = _OPENERS[stage](workspace)
    except ZarrbenchError as error:
        return str(error)
    if found is None:
        return (
            f"something has changed since the stage {stage!r} ran, or a file that it was made from "
            f"is not found (name its folder with --sources); run 'zarrbench run {workspace.file} "
            f"--only {stage}'"
        )
    return found


def _stores(workspace: Workspace) -> dict[str, Place]:
    return {
        "genotype_quality": workspace.genotype_quality,
        "expression": workspace.adjusted,
        "predict": workspace.cube,
        "statistics": workspace.statistics,
        "attributions": workspace.attributions,
        "drivers": workspace.drivers,
        "motifs": workspace.motifs,
        "population": workspace.population,
        "track_weights": workspace.track_weights,
        "eqtl": workspace.eqtl,
        "predixcan": workspace.predixcan,
        "gene_table": workspace.study_table,
        "sensitivity": workspace.sensitivity,
    }


def _quality(workspace: Workspace) -> xr.Dataset | None:
    """Return the store of genotype quality without reading its millions of variants."""
    if not all(map(exists, workspace.genotype_tables)):
        return None
    found = open_dataset(workspace.genotype_quality, GENOTYPE_QUALITY)
    return found if found.attrs.get("inputs") == workspace.genotype_inputs else None


def _predictions(workspace: Workspace) -> xr.Dataset:
    workspace.check_cube()
    cube = open_cube(workspace.cube, incomplete="nan")
    return cube.sel(gene=finished_genes(workspace.cube))


def _compared(workspace: Workspace) -> Sequence[str]:
    return [str(gene) for gene in open_statistics(workspace)["gene"].values]


_OPENERS: dict[str, Callable[[Workspace], xr.Dataset | None]] = {
    "genotype_quality": _quality,
    "expression": lambda workspace: workspace.expression,
    "predict": _predictions,
    "statistics": open_statistics,
    "attributions": standing_attributions,
    "drivers": standing_drivers,
    "motifs": standing_motifs,
    "population": lambda workspace: standing_population(workspace, _compared(workspace)),
    "track_weights": lambda workspace: standing_weights(workspace, _compared(workspace)),
    "eqtl": standing_eqtl,
    "predixcan": lambda workspace: standing_predixcan(workspace, _compared(workspace)),
    "gene_table": standing_gene_table,
    "sensitivity": standing_sensitivity,
}
