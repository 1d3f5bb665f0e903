import contextlib
import dataclasses
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
    StoreLayoutError,
)
from zarrbench.models import protocol
from zarrbench.models.protocol import LoadableModel
from zarrbench.predictions import run as run_module
from zarrbench.predictions import worker
from zarrbench.predictions.cube import (
    create_cube,
    done_shards,
    finished_genes,
    open_cube,
    read_attributes,
)
from zarrbench.predictions.grid import Grid
from zarrbench.predictions.plan import arranged
from zarrbench.predictions.readouts import Readout
from zarrbench.predictions.run import Filled, fill_cube, submit_bounded

FAILING = "ENSG00000000002"


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def objects(cube: Path) -> dict[str, int]:
    """When each object of the predictions was written."""
    return {str(p): p.stat().st_mtime_ns for p in cube.glob("*prediction*/c.*") if p.is_file()}


@pytest.fixture
def fill(planned, job_of, client, tmp_path) -> Callable[..., tuple[Filled, Path]]:
    """Fill a cube by a plan with the toy model."""

    def run(
        name: str = "predictions",
        limit: int | None = None,
        on: Client = client,
        model: dict | None = None,
        retry_failed: bool = False,
        **predict: object,
    ) -> tuple[Filled, Path]:
        plan = planned(model=model, **predict)
        job = job_of(plan, tmp_path / f"{name}.zarr", **(model or {}))
        return fill_cube(plan, job, on, "GPU", limit, retry_failed), job.cube

    return run


def test_everything_is_done(fill, planned, job_of, tmp_path):
    filled, cube = fill(block_size=8)
    assert filled == Filled(wanted=21, before=0, now=21, failed={})
    assert len(done_shards(cube)) == 21
    assert read_attributes(cube)["complete"] is True
    assert open_cube(cube).prediction.notnull().all()
    plan = planned(block_size=8)
    alone = job_of(plan, tmp_path / "alone.zarr")
    create_cube(alone.cube, plan.frame, {})
    for task in plan.tasks():
        result: tuple = ()
        for step, _ in run_module.STEPS:
            result = (step(alone, task, *result),)
    assert np.array_equal(open_cube(alone.cube).prediction, open_cube(cube).prediction)


@pytest.mark.parametrize("n_tracks", [1, 3, 65])
@pytest.mark.parametrize(
    "predict",
    [
        {},
        {"block_size": 8, "more_readouts": {"logs": Readout("sum_log")}},
        {"block_size": 8, "store_bins": True},
        {"readout": Readout("raw_sum", (1,)), "store_bins": True},
    ],
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
    recipe = planned(model={"fails": (FAILING,)}, block_size=8).numbers_hash
    standing = ledger.entries(ledger.ledger_of(cube), recipe)
    assert {key: e.error for key, e in standing.items() if e.state == "failed"} == filled.failed
    with pytest.raises(IncompleteCubeError, match="3 of 21 shards"):
        open_cube(cube)
    found = open_cube(cube, incomplete="nan").prediction
    assert found.sel(gene=FAILING).isnull().all()
    assert found.drop_sel(gene=FAILING).notnull().all()


def test_failed_shards_are_tried_again_if_asked_and_finished_ones_are_not(fill, monkeypatch):
    whole = worker.predict_distinct

    def fail_once(model, found, gene, predict):
        if gene == FAILING:
            raise ModelInputError("a bad day")
        return whole(model, found, gene, predict)

    with monkeypatch.context() as patched:
        patched.setattr(worker, "predict_distinct", fail_once)
        filled, cube = fill()
    assert (filled.now, len(filled.failed)) == (6, 1)
    before = objects(cube)
    left, _ = fill()
    assert left == Filled(wanted=7, before=6, now=0, failed=filled.failed)
    assert objects(cube) == before
    again, _ = fill(retry_failed=True)
    assert again == Filled(wanted=7, before=6, now=1, failed={})
    after = objects(cube)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2
    assert open_cube(cube).prediction.notnull().all()
    third, _ = fill()
    assert third == Filled(wanted=7, before=7, now=0, failed={})
    assert objects(cube) == after


def test_a_clock_that_is_set_back_loses_nothing(fill, monkeypatch):
    years = iter(range(2100, 1900, -1))
    monkeypatch.setattr(worker, "now", lambda: f"{next(years)}-01-01T00:00:00Z")
    broken, cube = fill(model={"fails": (FAILING,)}, block_size=8)
    assert len(broken.failed) == 3
    assert fill(model={"fails": (FAILING,)}, block_size=8)[0].before == 18
    assert len(done_shards(cube)) == 18
    # the failure of a later year does not undo what an earlier one did
    _, other = fill("other", limit=1)
    entry = dataclasses.replace(
        done_shards(other)["ENSG00000000001", 0], state="failed", time="2999-01-01T00:00:00Z"
    )
    ledger.append(ledger.ledger_of(other), entry)
    assert fill("other")[0].before == 1


def test_stored_bins_that_are_lost_are_made_again(fill):
    _, cube = fill(block_size=8, store_bins=True)
    before = files(cube)
    for name in ("output/c.2.1.0.0.0", "reference_output/c.3.0.0"):
        (cube / name).unlink()
    again, _ = fill(block_size=8, store_bins=True)
    assert again == Filled(wanted=21, before=19, now=2, failed={})
    assert files(cube) == before


def test_bins_of_shards_that_are_not_done_are_nan(fill):
    _, cube = fill(limit=2, store_bins=True)
    found = open_cube(cube, incomplete="nan")
    assert found.output[:2].notnull().all()
    assert found.output[2:].isnull().all()
    assert found.reference_output[2:].isnull().all()


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

    [(_, result)] = submit_bounded(client, [(lost, 0)], [1], "s3://bucket/cohort.vcz")
    assert type(result) is SourceError
    assert str(result) == "s3://bucket/cohort.vcz cannot be read"


def test_failures_that_are_not_the_genes_stop_the_run(fill, monkeypatch):
    def broken(*args: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with monkeypatch.context() as patched:
        patched.setattr(worker, "predict_distinct", broken)
        with pytest.raises(
            ClusterError, match=r"20 of the last 20 genes .* RuntimeError: CUDA err"
        ):
            fill(block_size=2)
    filled, cube = fill(block_size=2, retry_failed=True)
    assert filled.failed == {}
    assert open_cube(cube).prediction.notnull().all()


def test_a_model_is_loaded_once_however_many_threads_want_it(toy, monkeypatch):
    monkeypatch.setattr(protocol, "_in_this_process", {})
    loads = []

    def slowly(self, files):
        loads.append(1)
        time.sleep(0.2)
        return "the network"

    monkeypatch.setattr(toy, "load", slowly)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(protocol.loaded, [LoadableModel(toy(), ())] * 3))
    assert (found, len(loads)) == (["the network"] * 3, 1)


def test_a_complete_cube_without_its_ledger_is_done(fill):
    _, cube = fill()
    shutil.rmtree(ledger.ledger_of(cube))
    assert fill()[0] == Filled(wanted=7, before=7, now=0, failed={})


def test_a_cube_in_place_of_another_is_written_in_its_own_way(planned, job_of, client, tmp_path):
    """Workers that stand must not go by what lay there before."""
    for people in (5, 19):
        plan = planned()
        plan = dataclasses.replace(
            plan, individuals=plan.individuals[:people], rows=plan.rows[:people]
        )
        grid = Grid(people, plan.grid.track_chunk)
        plan = arranged(plan, [str(g) for g in plan.genes.gene.values], plan.individuals, grid)
        job = job_of(plan, tmp_path / "c.zarr")
        fill_cube(plan, job, client, "GPU")
        assert open_cube(job.cube).prediction.notnull().all()
        assert open_cube(job.cube).sizes["individual"] == people
        shutil.rmtree(job.cube)


def test_a_lost_shard_of_a_complete_cube_is_an_error_and_not_nan(fill):
    _, cube = fill()
    opened = open_cube(cube)
    (cube / "prediction" / "c.2.0.0.0").unlink()
    with pytest.raises(StoreLayoutError, match=r"c\.2\.0\.0\.0 cannot be read: it is gone"):
        opened.prediction.load()
    assert opened.prediction[:2].notnull().all()
    assert str(opened.gene.values[2]) not in finished_genes(cube)
    fill()
    assert opened.prediction.notnull().all()


def test_no_slot_is_an_error_and_not_a_wait(planned, job_of, tmp_path):
    plan = planned()
    with (
        LocalCluster(
            n_workers=1, processes=False, memory_limit=None, dashboard_address="127.0.0.1:0"
        ) as cluster,
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
    ("slot", "at_once", "most"), [("GPU", None, 2 * 4), (None, None, 2 * 4), ("GPU", 1, 1)]
)
def test_few_tasks_are_in_flight(client, slot, at_once, most):
    before = set(client.cluster.scheduler.tasks)
    in_flight, results = [], {}
    steps = [(double, 1)]
    for item, result in submit_bounded(client, steps, iter(range(60)), 0.002, slot, at_once):
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

    results = submit_bounded(client, [(double, 1)], items(), 0.0, "GPU")
    next(results)
    assert len(taken) <= 9
    results.close()


def test_workers_that_come_later_get_work_too(monkeypatch):
    monkeypatch.setattr(run_module, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(run_module, "_AHEAD", 1)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, memory_limit=None,
                     resources={"GPU": 1},
                     dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        in_flight = []
        for _ in submit_bounded(client, [(double, 1)], range(20, 60), 0.05, "GPU"):
            in_flight.append(unfinished(client))
            if len(in_flight) == 5:
                cluster.scale(3)
                client.wait_for_workers(3)
    assert max(in_flight[:5]) <= 1
    assert max(in_flight) >= 2


def test_nothing_to_do(client):
    assert list(submit_bounded(client, [(double, 1)], [], 0.0, "GPU")) == []


class Patient:
    """A network that waits, at its first window, until another one is ready and one is written."""

    def __init__(self, recipe, folder: Path) -> None:
        self.spec, self.tracks, self._folder = recipe.spec(), recipe.read_tracks({}), folder

    def predict(self, codes, gene):
        raise AssertionError

    def prepare_window(self, personal):
        (self._folder / f"prepared-{personal.window.start}").touch()
        return personal.window.start

    def predict_window(self, personal, prepared, gene, bins):
        assert prepared == personal.window.start
        (self._folder / f"predicting-{gene}").touch()
        order = len(list(self._folder.glob("predicting-*")))
        if order < 6:  # of seven genes
            wait_until(lambda: len(list(self._folder.glob("prepared-*"))) > order)
        if order > 2:
            wait_until(lambda: len(list(self._folder.rglob("prediction/c.*"))) > order - 3)
        yield np.zeros((personal.n_rows, len(bins), len(self.tracks)), np.float32)


@pytest.mark.cluster
def test_the_next_gene_is_prepared_and_the_last_one_written_beside_a_prediction(
    planned, job_of, toy, tmp_path
):
    """Were one of them to wait for the device, the network would wait for ever."""

    @dataclasses.dataclass(frozen=True)
    class PatientRecipe(toy):
        def load(self, files):
            return Patient(self, tmp_path)

    plan = planned()
    job = job_of(plan, tmp_path / "predictions.zarr")
    job = dataclasses.replace(job, model=LoadableModel(PatientRecipe(), ()))
    with (
        LocalCluster(n_workers=1, threads_per_worker=3, processes=False, memory_limit=None,
                     resources={"GPU": 1},
                     dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        assert fill_cube(plan, job, client, "GPU").now == 7


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
    standing = ledger.entries(ledger.ledger_of(job.cube), plan.numbers_hash)
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
    assert len(list(ledger.ledger_of(job.cube).glob("*.jsonl"))) == 2  # one file a process
    _, threads = fill(block_size=8)
    assert files(job.cube) == files(threads)
