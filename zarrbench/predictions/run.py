"""Filling a cube on a Dask cluster: tasks in a bounded window, progress from what is done."""

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future, KilledWorker, as_completed

from zarrbench import ledger, progress
from zarrbench.clusters import check_slots, workers_of
from zarrbench.errors import ClusterError, SourceError, ZarrbenchError
from zarrbench.predictions.cube import check_recipe, create_cube, done_shards, finish_cube
from zarrbench.predictions.plan import Plan, Task
from zarrbench.predictions.worker import Job, failure, run_task, warm_up
from zarrbench.provenance import installed
from zarrbench.storage import storage_failure

# Tasks submitted ahead for each slot: the scheduler never holds more, whatever the cohort's size
_AHEAD = 3


@dataclass(frozen=True)
class Filled:
    """What a run did: shards wanted, done before, done now, and failed with their errors."""

    wanted: int
    before: int
    now: int
    failed: dict[tuple[str, int], str]


def fill_cube(plan: Plan, job: Job, client: Client, slot: str, limit: int | None = None) -> Filled:
    """Predict every shard that the ledger does not call done.

    Parameters
    ----------
    plan : Plan
    job : Job
    client : Client
    slot : str
        Dask resource that one prediction takes.
    limit : int, optional
        Only the first so many genes.

    Raises
    ------
    RecipeError
        If the cube was begun with another recipe.
    ClusterError
        If no worker offers the slot.
    ModelInputError
        If the model cannot be loaded; then nothing has been written.
    StorageError, SourceError
        If the storage fails, or genotypes behind a URL; finished shards are kept.
    """
    if job.cube.exists():
        check_recipe(job.cube, plan.recipe)
    done = done_shards(job.cube) if job.cube.exists() else {}
    wanted = list(plan.tasks(limit))
    todo = [task for task in wanted if (task.gene, task.block.number) not in done]
    failed: dict[tuple[str, int], str] = {}
    if todo:
        _warm_up(client, job, slot)
    if not job.cube.exists():
        _create(plan, job)
    with progress.bar(total=len(wanted), label="predict", unit="shards") as bar:
        bar.update(len(wanted) - len(todo))
        for task, result in _attempted(client, todo, job, slot):
            if isinstance(result, BaseException):
                if isinstance(result, SourceError):
                    raise result
                storage = storage_failure(result, job.cube)
                if storage is not None:
                    raise storage from result
                if not isinstance(result, ClusterError):
                    raise result  # a model that a worker cannot load
                result = failure(job, task, result)
                ledger.append(ledger.ledger_of(job.cube), result)
            if result.state == "failed":
                failed[task.gene, task.block.number] = result.error
            bar.update()
    if not failed and len(done_shards(job.cube)) == plan.size()["tasks"]:
        finish_cube(job.cube)
    return Filled(len(wanted), len(wanted) - len(todo), len(todo) - len(failed), failed)


def _warm_up(client: Client, job: Job, slot: str) -> None:
    """Load the model on as many workers as there are slots, at the same time."""
    slots = check_slots(client, slot)
    loading = [
        client.submit(warm_up, job.model, resources={slot: 1}, pure=False) for _ in range(slots)
    ]
    try:
        client.gather(loading)
    except KilledWorker as error:
        raise ClusterError(
            "every worker process that tried to load the model died; if it was for want of memory, "
            "give a process more of it (fewer 'processes' in the cluster file)"
        ) from error


def _attempted(
    client: Client, tasks: Iterable[Task], job: Job, slot: str
) -> Iterator[tuple[Task, Any]]:
    """Run the tasks; yield each with its ledger entry, or with what kept it from writing one.

    Dask blames the death of a worker on every task that waited there. Those are tried again one by
    one, so that only a task that kills its worker itself is given up.
    """
    suspects = []
    for task, result in submit_bounded(client, run_task, tasks, job, slot):
        if isinstance(result, KilledWorker):
            suspects.append(task)
        else:
            yield task, result
    for task, result in submit_bounded(client, run_task, suspects, job, slot, at_once=1):
        if isinstance(result, KilledWorker):
            result = ClusterError(
                f"every worker process that tried died ({result.allowed_failures + 1} times); "
                f"if it was for want of memory, give a process more of it"
            )
        yield task, result


def _create(plan: Plan, job: Job) -> None:
    create_cube(
        job.cube,
        plan.genes,
        plan.individuals,
        plan.spec.tracks,
        list(plan.predict.readouts),
        plan.predict.block_size,
        plan.recipe,
        installed(),
    )


def submit_bounded(
    client: Client,
    function: Callable[[Any, Any], Any],
    items: Iterable[Any],
    shared: Any,
    slot: str | None = None,
    at_once: int | None = None,
) -> Iterator[tuple[Any, Any]]:
    """Run ``function(shared, item)`` for every item; yield (item, result or exception) as they end.

    Only `at_once` tasks are submitted at a time, by default a few for each slot, so that scheduler
    and driver hold little however many there are. With `slot`, every task takes one of that
    resource.
    """
    resources = None if slot is None else {slot: 1}
    if at_once is None:
        at_once = _AHEAD * (check_slots(client, slot) if slot else len(workers_of(client)))
    remaining = iter(items)
    running: dict[Future, Any] = {}
    completed = as_completed(loop=client.loop)

    def submit_next() -> None:
        item = next(remaining, None)
        if item is not None:
            key = f"{function.__name__}-{uuid.uuid4()}"  # as the dashboard shows it
            future = client.submit(_run, function, shared, item, key=key, resources=resources)
            running[future] = item
            completed.add(future)

    for _ in range(at_once):
        submit_next()
    for future in completed:
        item = running.pop(future)
        error = future.exception()
        yield item, future.result() if error is None else error
        future.release()
        submit_next()


def _run(function: Callable[[Any, Any], Any], shared: Any, item: Any) -> Any:
    """Run ``function(shared, item)`` on a worker."""
    try:
        return function(shared, item)
    except ZarrbenchError as error:
        # It must arrive as what it is: what caused it cannot always be pickled.
        error.__cause__ = error.__context__ = None
        raise
