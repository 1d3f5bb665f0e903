"""Making the parts of a store on a Dask cluster: those that are not there yet."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distributed import Client

from zarrbench import ledger, progress
from zarrbench.attributions.parts import begin, failed_parts, finished_parts
from zarrbench.attributions.worker import STEPS, AttributionJob, PartTask
from zarrbench.models.protocol import LoadableModel
from zarrbench.predictions.run import Filled, run_tasks, warm_up_all
from zarrbench.predictions.worker import warm_up


def fill_parts(
    job: AttributionJob,
    recipe: Mapping[str, Any],
    tasks: Sequence[PartTask],
    client: Client,
    slot: str,
    retry_failed: bool = False,
    label: str = "attribute",
    warm: Callable[[LoadableModel], str] = warm_up,
) -> Filled:
    """Make every part that the ledger calls neither done nor failed.

    Parameters
    ----------
    job : AttributionJob
    recipe : mapping
        All that determines the numbers of a part; `job` has its fingerprint.
    tasks : sequence of PartTask
    client : Client
    slot : str
        Dask resource that one prediction takes.
    retry_failed : bool
        Try those that failed before once more.
    label : str
        Of the progress bar.
    warm : callable
        Loads the network in every process; what it raises stops the run.

    Raises
    ------
    RecipeError
        If parts were begun with another recipe.
    ModelInputError
        If the model cannot be loaded; then nothing has been written.
    StorageError, SourceError, ClusterError
        As `zarrbench.predictions.run.run_tasks`.
    """
    begin(job.store, recipe)
    book = ledger.ledger_of(job.store)
    ledger.compact(book)
    done = finished_parts(job.store, recipe)
    known = {} if retry_failed else failed_parts(job.store, recipe)
    failed = {t.key: known[t.key[0]].error for t in tasks if t.key[0] in known}
    todo = [t for t in tasks if t.key[0] not in done and t.key not in failed]
    n_before, n_now = len(tasks) - len(todo) - len(failed), 0
    if todo:
        warm_up_all(client, job.model, slot, warm)
    there = len(tasks) - len(todo)
    with progress.bar(total=len(tasks), done=there, label=label, unit="genes") as bar:
        for task, entry in run_tasks(client, STEPS, todo, job, slot, job.store):
            if entry.state == "failed":
                failed[task.key] = entry.error
            else:
                n_now += 1
            bar.update()
    ledger.compact(book)
    return Filled(len(tasks), n_before, n_now, failed)
