"""Running the stages of a pipeline in the order of its file."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from distributed import Client

from zarrbench.clusters import PROCESS_BYTES, ClusterRecipe, Requirements, checked, started
from zarrbench.errors import RecipeError
from zarrbench.locks import locked
from zarrbench.predictions.run import Filled
from zarrbench.recipes import nearest
from zarrbench.remote import is_url
from zarrbench.stages.attributions import check_attributions, run_attributions
from zarrbench.stages.drivers import run_drivers
from zarrbench.stages.eqtl import run_eqtl
from zarrbench.stages.expression import run_expression
from zarrbench.stages.gene_table import run_gene_table
from zarrbench.stages.genotype_quality import run_genotype_quality
from zarrbench.stages.motifs import run_motifs
from zarrbench.stages.population import run_population
from zarrbench.stages.predict import refuse_failed, run_predict
from zarrbench.stages.predixcan import run_predixcan
from zarrbench.stages.report import run_report
from zarrbench.stages.sensitivity import run_sensitivity
from zarrbench.stages.statistics import run_statistics
from zarrbench.stages.track_weights import check_weights, run_track_weights
from zarrbench.stages.workspace import Workspace


@dataclass
class Running:
    """What stages are run with, and what they leave for those that follow."""

    workspace: Workspace
    slot: str
    limit: int | None
    retry_failed: bool
    extend: bool
    cluster: Client | None = None
    filled: list[Filled] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def client(self) -> Client:
        assert self.cluster is not None, "a stage that needs a cluster is among _WITHOUT_CLUSTER"
        return self.cluster


def _predict(run: Running) -> None:
    filled = run_predict(
        run.workspace, run.client, run.slot, run.limit, run.retry_failed, run.extend
    )
    run.filled.append(filled)


def _attributions(run: Running) -> None:
    filled = run_attributions(run.workspace, run.client, run.slot, run.limit, run.retry_failed)
    run.filled.append(filled)


def _motifs(run: Running) -> None:
    run.filled.append(run_motifs(run.workspace, run.client, run.slot, run.retry_failed))


def _sensitivity(run: Running) -> None:
    filled = run_sensitivity(run.workspace, run.client, run.slot, run.retry_failed)
    run.filled += [] if filled is None else [filled]


_RUNNERS: dict[str, Callable[[Running], object]] = {
    "genotype_quality": lambda run: run_genotype_quality(run.workspace),
    "expression": lambda run: run_expression(run.workspace),
    "predict": _predict,
    "statistics": lambda run: run_statistics(run.workspace, run.client, run.limit),
    "attributions": _attributions,
    "drivers": lambda run: run_drivers(run.workspace, run.client),
    "motifs": _motifs,
    "population": lambda run: run_population(run.workspace, run.limit),
    "track_weights": lambda run: run_track_weights(run.workspace, run.limit),
    "eqtl": lambda run: run_eqtl(run.workspace),
    "predixcan": lambda run: run_predixcan(run.workspace, run.client, run.limit),
    "gene_table": lambda run: run_gene_table(run.workspace),
    "sensitivity": _sensitivity,
    "report": lambda run: run_report(run.workspace, run.timings),
}
_WITHOUT_CLUSTER = {
    "stores",
    "genotype_quality",
    "expression",
    "population",
    "track_weights",
    "gene_table",
    "report",
}


# Stages whose workers load the model
_PREDICTING = {"predict", "attributions", "motifs", "sensitivity"}


def _process_bytes(workspace: Workspace) -> int:
    """Return the memory that a process needs, as the model says, if it does."""
    return int(getattr(workspace.recipe.model, "process_bytes", PROCESS_BYTES))


def _requirements(workspace: Workspace, predicts: bool) -> Requirements:
    stores = (workspace.stores.genotypes_path, workspace.stores.part_path("reference"))
    files = tuple(path for _, path in workspace.model.files) if predicts else ()
    # Of what is missing here too, the stage that opens it can say what to do.
    places = [at for at in (*stores, *files) if isinstance(at, str) or is_url(at) or at.exists()]
    return Requirements(tuple(places), workspace.folder)


def run_pipeline(
    workspace: Workspace,
    cluster: ClusterRecipe,
    only: str | None = None,
    limit: int | None = None,
    retry_failed: bool = False,
    extend: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, float]:
    """Build the stores and run the stages; return the seconds that each took.

    Parameters
    ----------
    workspace : Workspace
    cluster : ClusterRecipe
    only : str, optional
        Run this stage alone (``stores`` for nothing but the stores).
    limit : int, optional
        Only the first so many genes.
    retry_failed : bool
        Try shards that failed in an earlier run once more.
    extend : bool
        Give the cube those genes and people of the pipeline that it lacks.
    say : callable
        Takes a line on what is happening.

    Raises
    ------
    RecipeError
        If the pipeline has no such stage.
    IncompleteCubeError
        After the last stage, if genes failed; the others are in the results.
    StorageError
        If another run is writing the same results.
    """
    known = ["stores", *workspace.recipe.stages]
    if only is not None and only not in known:
        raise RecipeError(f"the pipeline has no stage {only!r}{nearest(only, known)}")
    stages = [name for name in known if only in (None, name)]
    if "predict" in stages:
        workspace.check_track()
        check_weights(workspace)
        check_attributions(workspace)
    running = Running(workspace, cluster.slot, limit, retry_failed, extend)
    with contextlib.ExitStack() as stack:
        for name in stages:
            if name != "stores" and running.timings.keys() <= {"stores"}:
                stack.enter_context(locked(workspace.folder))
            if name not in _WITHOUT_CLUSTER and running.cluster is None:
                client = stack.enter_context(started(cluster, _process_bytes(workspace)))
                needed = _requirements(workspace, not _PREDICTING.isdisjoint(stages))
                stack.enter_context(checked(client, cluster.slot, needed))
                running.cluster = client
            began = time.perf_counter()
            if name == "stores":
                built = workspace.stores.build()
                say(f"stores: built {', '.join(built)}" if built else "stores: up to date")
            else:
                _RUNNERS[name](running)
            running.timings[name] = time.perf_counter() - began
            say(f"{name}: {running.timings[name]:.1f} s")
    for filled in running.filled:
        refuse_failed(filled)
    return running.timings
