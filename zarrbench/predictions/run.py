"""Filling a cube on a Dask cluster: tasks in a bounded window, progress from what is done."""

import itertools
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future, KilledWorker, as_completed

from zarrbench import errors, ledger, progress
from zarrbench.clusters import check_slots, slots_of, workers_of
from zarrbench.errors import ClusterError, SourceError, ZarrbenchError
from zarrbench.models.protocol import LoadableModel
from zarrbench.predictions.cube import (
    check_recipe,
    create_cube,
    done_shards,
    failed_shards,
    finish_cube,
    has_ledger,
    read_attributes,
)
from zarrbench.predictions.plan import Plan
from zarrbench.predictions.worker import (
    Job,
    Numbered,
    failure,
    predict_task,
    prepare_task,
    warm_up,
    write_task,
)
from zarrbench.provenance import installed
from zarrbench.remote import Place
from zarrbench.storage import exists, storage_failure

# Items ahead for each slot: one predicted, one written, and two prepared so that the device never
# waits. The scheduler never holds more, whatever the cohort's size.
_AHEAD = 4
# Failures that nobody foresaw, among twice as many genes: then it is not the genes
_STRANGE = 20
# How often new workers are looked for
_LOOK_SECONDS = 5.0

Step = tuple[Callable[..., Any], int]

#: what becomes of a task, with how much of the slot each step takes. Of 0 each worker with the
#: slot has enough, others have not: so the steps of a gene meet on a worker that can predict.
STEPS: tuple[Step, ...] = ((prepare_task, 0), (predict_task, 1), (write_task, 0))


@dataclass(frozen=True)
class Filled:
    """What a run did: shards wanted, done before, done now, and failed with their errors.

    Those that failed before and were not tried again are among the failed.
    """

    wanted: int
    before: int
    now: int
    failed: dict[tuple[str, int], str]


def fill_cube(
    plan: Plan,
    job: Job,
    client: Client,
    slot: str,
    limit: int | None = None,
    retry_failed: bool = False,
) -> Filled:
    """Predict every shard that the ledger calls neither done nor failed.

    Parameters
    ----------
    plan : Plan
    job : Job
    client : Client
    slot : str
        Dask resource that one prediction takes.
    limit : int, optional
        Only the first so many genes.
    retry_failed : bool
        Try those that failed before once more.

    Raises
    ------
    RecipeError
        If the cube was begun with another recipe.
    ClusterError
        If no worker offers the slot.
    ModelInputError
        If the model cannot be loaded; then nothing has been written.
    ClusterError
        If most genes fail for reasons that are not theirs.
    StorageError, SourceError
        If the storage fails, or genotypes behind a URL; finished shards are kept.
    """
    standing = exists(job.cube)
    wanted = list(plan.tasks(limit))
    if standing:
        check_recipe(job.cube, plan.recipe)
        if read_attributes(job.cube)["complete"] and not has_ledger(job.cube):
            return Filled(len(wanted), len(wanted), 0, {})
    done = done_shards(job.cube) if standing else {}
    known = failed_shards(job.cube) if standing and not retry_failed else {}
    failed = {task.key: known[task.key].error for task in wanted if task.key in known}
    todo = [task for task in wanted if task.key not in done and task.key not in failed]
    n_before, n_now = len(wanted) - len(todo) - len(failed), 0
    if todo:
        warm_up_all(client, job.model, slot)
    if not standing:
        create_cube(job.cube, plan.frame, installed())
    n_there = len(wanted) - len(todo)
    with progress.bar(total=len(wanted), done=n_there, label="predict", unit="shards") as bar:
        for task, entry in run_tasks(client, STEPS, todo, job, slot, job.cube):
            if entry.state == "failed":
                failed[task.key] = entry.error
            else:
                n_now += 1
            bar.update()
    if not failed and len(done_shards(job.cube)) == plan.size()["tasks"]:
        finish_cube(job.cube)
    return Filled(len(wanted), n_before, n_now, failed)


def run_tasks(
    client: Client,
    steps: Sequence[Step],
    tasks: Iterable[Any],
    job: Numbered,
    slot: str,
    store: Place,
) -> Iterator[tuple[Any, ledger.Entry]]:
    """Take tasks through all steps; yield each with its ledger entry, done or failed, as they end.

    The last step returns the entry, having written it. What kept it from doing so is written here.

    Parameters
    ----------
    client : Client
    steps : sequence of (function, amount of the slot)
    tasks : iterable
        Each has a `key`: gene and block.
    job : object
        What all tasks share.
    slot : str
    store : Path or UPath
        What they write; its ledger lies beside it.

    Raises
    ------
    StorageError, SourceError
        If the storage fails, or genotypes behind a URL.
    ClusterError
        If most genes fail for reasons that are not theirs.
    """
    strange: deque[bool] = deque(maxlen=2 * _STRANGE)
    for task, result in _attempted(client, steps, tasks, job, slot):
        if isinstance(result, BaseException):
            if isinstance(result, SourceError):
                raise result
            storage = storage_failure(result, store)
            if storage is not None:
                raise storage from result
            if not isinstance(result, ClusterError):
                raise result  # a model that a worker cannot load
            result = failure(job, task, result)
            ledger.append(ledger.ledger_of(store), result)
        strange.append(result.state == "failed" and not _of_the_gene(result.error))
        yield task, result
        if sum(strange) == _STRANGE:
            raise ClusterError(
                f"{_STRANGE} of the last {len(strange)} genes failed with what seems no fault "
                f"of theirs, the last {task.key[0]}: {result.error}; mend the worker, device or "
                f"model that it comes from, then run again with --retry-failed"
            )


def _of_the_gene(error: str) -> bool:
    """Whether a failure says something about a gene: zarrbench raised it on purpose."""
    kind = getattr(errors, error.partition(":")[0], None)
    return isinstance(kind, type) and issubclass(kind, ZarrbenchError)


def warm_up_all(
    client: Client,
    model: LoadableModel,
    slot: str,
    warm: Callable[[LoadableModel], str] = warm_up,
) -> None:
    """Load the model on as many workers as there are slots, at the same time.

    `warm` does it, and returns what the model remarks.
    """
    slots = check_slots(client, slot)
    loading = [client.submit(warm, model, resources={slot: 1}, pure=False) for _ in range(slots)]
    try:
        remarks = client.gather(loading)
    except KilledWorker as error:
        raise ClusterError(
            "every worker process that tried to load the model died; if it was for want of memory, "
            "give a process more of it (fewer 'processes' in the cluster file)"
        ) from error
    for remark in sorted({remark for remark in remarks if remark}):
        progress.note(remark)


def _attempted(
    client: Client, steps: Sequence[Step], tasks: Iterable[Any], job: Numbered, slot: str
) -> Iterator[tuple[Any, Any]]:
    """Run the tasks; yield each with its ledger entry, or with what kept it from writing one.

    Dask blames the death of a worker on every task that waited there. Those are tried again one by
    one, so that only a task that kills its worker itself is given up.
    """
    suspects = []
    for task, result in submit_bounded(client, steps, tasks, job, slot):
        if isinstance(result, KilledWorker):
            suspects.append(task)
        else:
            yield task, result
    for task, result in submit_bounded(client, steps, suspects, job, slot, at_once=1):
        if isinstance(result, KilledWorker):
            result = ClusterError(
                f"every worker process that tried died ({result.allowed_failures + 1} times); "
                f"if it was for want of memory, give a process more of it"
            )
        yield task, result


def submit_bounded(
    client: Client,
    steps: Sequence[Step],
    items: Iterable[Any],
    shared: Any,
    slot: str | None = None,
    at_once: int | None = None,
) -> Iterator[tuple[Any, Any]]:
    """Take every item through all steps; yield (item, last result or exception) as they end.

    A step is ``function(shared, item, *result of the step before)``. Only `at_once` items are
    submitted at a time, by default a few for each slot, so that scheduler and driver hold little
    however many there are; workers that come later count, too. With `slot`, a step takes as much
    of that resource as stands beside it.
    """
    remaining = iter(items)
    running: dict[Future, Any] = {}
    completed = as_completed(loop=client.loop)

    def room() -> int:
        if at_once is not None:
            return at_once
        return _AHEAD * max(1, slots_of(client, slot) if slot else len(workers_of(client)))

    def submit(item: Any) -> None:
        results: list[Future] = []
        for function, amount in steps:
            key = f"{function.__name__}-{uuid.uuid4()}"  # as the dashboard shows it
            resources = None if slot is None else {slot: amount}
            future = client.submit(
                _run, function, shared, item, *results, key=key, resources=resources
            )
            results = [future]  # what a step hands on, the scheduler keeps until it is taken
        running[future] = item
        completed.add(future)

    most, looked = room(), time.monotonic()
    for item in itertools.islice(remaining, most):
        submit(item)
    for future in completed:
        item = running.pop(future)
        error = future.exception()
        yield item, future.result() if error is None else error
        future.release()
        if time.monotonic() - looked > _LOOK_SECONDS:
            most, looked = room(), time.monotonic()
        for item in itertools.islice(remaining, max(0, most - len(running))):
            submit(item)


def _run(function: Callable[..., Any], shared: Any, item: Any, *results: Any) -> Any:
    """Run a step on a worker."""
    try:
        return function(shared, item, *results)
    except ZarrbenchError as error:
        # It must arrive as what it is: what caused it cannot always be pickled.
        error.__cause__ = error.__context__ = None
        raise
