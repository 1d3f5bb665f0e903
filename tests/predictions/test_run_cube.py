import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster
from zarr.errors import GroupNotFoundError

from zarrbench import ledger
from zarrbench.errors import (
    ClusterError,
    IncompleteCubeError,
    ModelInputError,
    RecipeError,
    SourceError,
    StorageError,
)
from zarrbench.predictions import run as run_module
from zarrbench.predictions import worker
from zarrbench.predictions.cube import done_shards, open_cube, read_attributes
from zarrbench.predictions.readouts import Readout
from zarrbench.predictions.run import Filled, fill_cube, submit_bounded

FAILING = "ENSG00000000002"


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def objects(cube: Path) -> dict[str, int]:
    """When each object of the predictions was written."""
    return {str(p): p.stat().st_mtime_ns for p in cube.glob("*prediction*/c/**/*") if p.is_file()}


@pytest.fixture
def fill(planned, job_of, client, tmp_path) -> Callable[..., tuple[Filled, Path]]:
    """Fill a cube by a plan with the toy model."""

    def run(
        name: str = "predictions",
        limit: int | None = None,
        on: Client = client,
        model: dict | None = None,
        **predict: object,
    ) -> tuple[Filled, Path]:
        plan = planned(model=model, **predict)
        job = job_of(plan, tmp_path / f"{name}.zarr", **(model or {}))
        return fill_cube(plan, job, on, "GPU", limit), job.cube

    return run


def test_everything_is_done(fill, planned, job_of, tmp_path):
    filled, cube = fill(block_size=8)
    assert filled == Filled(wanted=21, before=0, now=21, failed={})
    assert len(done_shards(cube)) == 21
    assert read_attributes(cube)["complete"] is True
    assert open_cube(cube).prediction.notnull().all()
    plan = planned(block_size=8)
    alone = job_of(plan, tmp_path / "alone.zarr")
    run_module._create(plan, alone)
    for task in plan.tasks():
        worker.run_task(alone, task)
    assert np.array_equal(open_cube(alone.cube).prediction, open_cube(cube).prediction)


@pytest.mark.parametrize("n_tracks", [1, 3, 65])
@pytest.mark.parametrize(
    "predict", [{}, {"block_size": 8, "more_readouts": {"logs": Readout("sum_log")}}]
)
def test_files_and_bytes_are_those_planned(fill, planned, n_tracks, predict):
    model = {"n_tracks": n_tracks}
    size = planned(model=model, **predict).size()
    filled, cube = fill(model=model, **predict)
    assert filled.now == size["tasks"]
    assert len(files(cube)) == size["files"]
    opened = open_cube(cube)
    arrays = [opened[name] for name in opened.data_vars]
    assert sum(array.nbytes for array in arrays) == size["bytes"]


def test_number_of_workers_does_not_change_a_byte(fill, clients):
    _, one = fill("one", on=clients[0], block_size=4)
    _, two = fill("two", on=clients[1], block_size=4)
    assert files(one) == files(two)


def test_a_failing_gene_does_not_stop_the_others(fill, planned):
    filled, cube = fill(model={"fails": (FAILING,)}, block_size=8)
    error = f"ModelInputError: no answer for {FAILING}"
    assert filled == Filled(21, 0, 18, {(FAILING, block): error for block in range(3)})
    recipe = planned(model={"fails": (FAILING,)}, block_size=8).recipe_hash
    standing = ledger.entries(ledger.ledger_of(cube), recipe)
    assert {key: e.error for key, e in standing.items() if e.state == "failed"} == filled.failed
    with pytest.raises(IncompleteCubeError, match="3 of 21 shards"):
        open_cube(cube)
    found = open_cube(cube, incomplete="nan").prediction
    assert found.sel(gene=FAILING).isnull().all()
    assert found.drop_sel(gene=FAILING).notnull().all()


def test_failed_shards_are_tried_again_and_finished_ones_are_not(fill, monkeypatch):
    whole = worker.predict_distinct

    def fail_once(model, personal, gene, readouts):
        if gene == FAILING:
            raise ModelInputError("a bad day")
        return whole(model, personal, gene, readouts)

    with monkeypatch.context() as patched:
        patched.setattr(worker, "predict_distinct", fail_once)
        filled, cube = fill()
    assert (filled.now, len(filled.failed)) == (6, 1)
    before = objects(cube)
    again, _ = fill()
    assert again == Filled(wanted=7, before=6, now=1, failed={})
    after = objects(cube)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2
    assert open_cube(cube).prediction.notnull().all()
    third, _ = fill()
    assert third == Filled(wanted=7, before=7, now=0, failed={})
    assert objects(cube) == after


def test_limit_then_all(fill):
    filled, cube = fill(limit=2, block_size=10)
    assert filled == Filled(wanted=4, before=0, now=4, failed={})
    assert read_attributes(cube)["complete"] is False
    filled, _ = fill(block_size=10)
    assert filled == Filled(wanted=14, before=4, now=10, failed={})
    assert read_attributes(cube)["complete"] is True


def test_a_run_killed_before_the_mark_is_marked_by_the_next(fill, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(run_module, "finish_cube", lambda path: None)
        _, cube = fill()
    assert read_attributes(cube)["complete"] is False
    fill()
    assert read_attributes(cube)["complete"] is True


def test_changed_recipe_is_refused(fill):
    _, cube = fill(limit=1)
    before = files(cube)
    with pytest.raises(RecipeError, match=r"begun with another recipe \(predict.block_size"):
        fill(block_size=3)
    assert files(cube) == before


def test_a_model_that_cannot_be_loaded_leaves_nothing(fill, tmp_path):
    with pytest.raises(ModelInputError, match="this toy is broken"):
        fill(model={"broken": True})
    assert list(tmp_path.iterdir()) == []


def test_failing_storage_stops_the_run_and_keeps_what_is_finished(fill, monkeypatch):
    whole = worker.write_shard

    def full(path, gene, *args):
        if gene == 3:
            raise StorageError("the disk is full")
        return whole(path, gene, *args)

    with monkeypatch.context() as patched:
        patched.setattr(worker, "write_shard", full)
        with pytest.raises(StorageError, match="the disk is full"):
            fill()
    filled, cube = fill()
    assert filled.before + filled.now == 7
    assert filled.before >= 1
    assert open_cube(cube).prediction.notnull().all()


def test_an_error_arrives_as_what_it_is_whatever_caused_it(client):
    def lost(shared: str, item: int) -> None:
        # which Dask cannot make again from a pickle
        raise SourceError(f"{shared} cannot be read") from GroupNotFoundError("no group")

    [(_, result)] = submit_bounded(client, lost, [1], "s3://bucket/cohort.vcz")
    assert type(result) is SourceError
    assert str(result) == "s3://bucket/cohort.vcz cannot be read"


def test_no_slot_is_an_error_and_not_a_wait(planned, job_of, tmp_path):
    plan = planned()
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
        pytest.raises(ClusterError, match=r"no worker .* 'GPU'"),
    ):
        fill_cube(plan, job_of(plan, tmp_path / "c.zarr"), client, "GPU")
    assert list(tmp_path.iterdir()) == []


def double(shared: float, item: int) -> int:
    time.sleep(shared)
    if item == 5:
        raise ValueError("five")
    return 2 * item


def unfinished(client: Client) -> int:
    """How many tasks the scheduler has yet to see through."""
    tasks = list(client.cluster.scheduler.tasks.values())
    return sum(task.state in ("waiting", "queued", "no-worker", "processing") for task in tasks)


@pytest.mark.parametrize(
    ("slot", "at_once", "most"), [("GPU", None, 2 * 3), (None, None, 2 * 3), ("GPU", 1, 1)]
)
def test_few_tasks_are_in_flight(client, slot, at_once, most):
    before = set(client.cluster.scheduler.tasks)
    in_flight, results = [], {}
    for item, result in submit_bounded(client, double, iter(range(60)), 0.002, slot, at_once):
        in_flight.append(unfinished(client))
        results[item] = result
    assert max(in_flight) <= most
    assert isinstance(results.pop(5), ValueError)
    assert results == {item: 2 * item for item in range(60) if item != 5}
    wait_until(lambda: set(client.cluster.scheduler.tasks) <= before)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_tasks_are_taken_as_they_are_needed(client):
    taken = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    results = submit_bounded(client, double, items(), 0.0, "GPU")
    next(results)
    assert len(taken) <= 7
    results.close()


def test_nothing_to_do(client):
    assert list(submit_bounded(client, double, [], 0.0, "GPU")) == []


@contextlib.contextmanager
def processes(n_workers: int) -> Iterator[Client]:
    """A client of a cluster of processes with one slot each."""
    with (
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            resources={"GPU": 1},
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.mark.cluster
@pytest.mark.slow
def test_a_gene_that_kills_its_worker_takes_no_other_along(planned, job_of, tmp_path):
    """Dask blames a worker's death on every task that waited there."""
    model = {"kills": (FAILING,)}
    plan = planned(model=model)
    job = job_of(plan, tmp_path / "predictions.zarr", **model)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),  # one death is enough
        processes(1) as client,
    ):
        filled = fill_cube(plan, job, client, "GPU")
    assert set(filled.failed) == {(FAILING, 0)}
    assert "ClusterError: every worker process that tried died" in filled.failed[FAILING, 0]
    assert len(done_shards(job.cube)) == 6
    standing = ledger.entries(ledger.ledger_of(job.cube), plan.recipe_hash)
    assert standing[FAILING, 0].state == "failed"
    assert all(e.state == "done" for key, e in standing.items() if key != (FAILING, 0))


@pytest.mark.cluster
def test_processes_write_what_threads_write(planned, job_of, fill, tmp_path):
    plan = planned(block_size=8)
    job = job_of(plan, tmp_path / "processes.zarr")
    with (
        processes(2) as client,
    ):
        assert fill_cube(plan, job, client, "GPU").now == 21
    assert len(list(ledger.ledger_of(job.cube).iterdir())) == 2  # one file a process
    _, threads = fill(block_size=8)
    assert files(job.cube) == files(threads)
