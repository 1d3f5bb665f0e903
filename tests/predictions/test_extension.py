"""A cube that grew equals, label by label, one made at once."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from zarrbench import ledger
from zarrbench.errors import RecipeError, StoreLayoutError
from zarrbench.predictions import extension, worker
from zarrbench.predictions.cube import (
    check_recipe,
    done_shards,
    failed_shards,
    open_cube,
    read_attributes,
)
from zarrbench.predictions.extension import extend_cube, finish_extension, in_order_of
from zarrbench.predictions.grid import plan_grid
from zarrbench.predictions.plan import Plan, arranged
from zarrbench.predictions.readouts import Readout
from zarrbench.predictions.run import Filled, fill_cube
from zarrbench.predictions.verification import verify_cube
from zarrbench.remote import place
from zarrbench.storage import exists

STAGE = {
    "more_readouts": {"logs": Readout("sum_log")},
    "store_bins": True,
    "genes": "all",
    "individuals": "all",
}


def part(plan: Plan, genes: slice, individuals: slice) -> Plan:
    """A plan for some of the genes and people of another."""
    kept = [str(g) for g in plan.genes.gene.values[genes]]
    people = plan.individuals[individuals]
    smaller = dataclasses.replace(
        plan,
        genes=plan.genes.isel(gene=genes),
        individuals=people,
        rows=plan.rows[individuals],
    )
    return arranged(
        smaller,
        kept,
        people,
        plan_grid(
            len(people), len(plan.tracks), len(plan.stored_bins or (1,)), 4, plan.predict.block_size
        ),
    )


@pytest.fixture
def fill(job_of, client) -> Callable[[Plan, Path], Filled]:
    def run(plan: Plan, cube: Path) -> Filled:
        return fill_cube(plan, job_of(plan, cube), client, "GPU")

    return run


@pytest.fixture
def whole(planned, fill, tmp_path) -> tuple[Plan, xr.Dataset]:
    plan = planned(**STAGE)
    fill(plan, tmp_path / "whole.zarr")
    return plan, open_cube(tmp_path / "whole.zarr").load()


@pytest.mark.parametrize("block_size", [None, 4, 5])
@pytest.mark.parametrize(
    ("genes", "people"),
    [
        (slice(0, None, 2), slice(None)),  # genes are added, between those there
        (slice(None), slice(3, 14)),  # people on either side
        (slice(1, 4), slice(None, None, 2)),
    ],
)
def test_it_equals_a_cube_made_at_once(planned, fill, whole, tmp_path, genes, people, block_size):
    _, expected = whole
    plan = planned(**STAGE, block_size=block_size)
    path = tmp_path / "grown.zarr"
    small = part(plan, genes, people)
    before = fill(small, path)
    assert before.now == before.wanted
    larger = in_order_of(path, plan)
    with pytest.raises(RecipeError, match=r"add --extend to give the cube those that it lacks"):
        check_recipe(path, larger.recipe)
    extend_cube(path, larger, {})
    assert read_attributes(path)["complete"] is False
    after = fill(in_order_of(path, plan), path)
    n_people = len(small.individuals)
    size = small.grid.block_size
    # only a last block that was not full, and gets more people, is predicted again
    nobody_new = n_people == len(plan.individuals)
    n_kept = -(-n_people // size) if nobody_new else n_people // size
    assert after.before == small.genes.sizes["gene"] * n_kept
    assert after.now == after.wanted - after.before
    cube = open_cube(path)
    assert cube.attrs["complete"] is True
    assert set(cube.gene.values) == set(expected.gene.values)
    assert (
        cube.gene.values.tolist()[: small.genes.sizes["gene"]] == small.genes.gene.values.tolist()
    )
    assert cube.individual.values.tolist()[:n_people] == small.individuals
    # no bit of a number depends on who else was there
    for name in expected.data_vars:
        same = cube[name].sel({dim: expected[dim] for dim in expected[name].dims})
        xr.testing.assert_identical(same.drop_attrs().load(), expected[name].drop_attrs())
    assert verify_cube(path)[1] == []
    assert fill(in_order_of(path, plan), path).now == 0


def test_a_cube_that_lacks_nothing_stays_as_it_is(planned, fill, tmp_path):
    plan, path = planned(**STAGE), tmp_path / "c.zarr"
    fill(plan, path)
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
    extend_cube(path, in_order_of(path, plan), {})
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*")} == before


def test_people_are_added_to_a_cube_with_its_own_chunks(planned, fill, job_of, client, tmp_path):
    """For so many people one would choose narrower chunks."""
    model = {"n_tracks": 15_000}
    plan = planned(model=model, individuals="all")
    path = tmp_path / "c.zarr"
    small = part(plan, slice(2), slice(5))
    fill_cube(small, job_of(small, path, **model), client, "GPU")
    assert small.grid.track_chunk > plan.grid.track_chunk
    larger = in_order_of(path, plan)
    extend_cube(path, larger, {})
    fill_cube(larger, job_of(larger, path, **model), client, "GPU", limit=2)
    cube = open_cube(path, incomplete="nan")
    other = tmp_path / "at_once.zarr"
    fill_cube(plan, job_of(plan, other, **model), client, "GPU", limit=2)
    expected = open_cube(other, incomplete="nan").prediction[:2].load()
    same = cube.prediction.sel(gene=expected.gene, individual=expected.individual)
    assert np.array_equal(same, expected)


def test_a_cube_without_its_ledger_is_not_extended_and_stays_readable(planned, fill, tmp_path):
    plan, path = planned(**STAGE), tmp_path / "c.zarr"
    fill(part(plan, slice(4), slice(9)), path)
    shutil.rmtree(ledger.ledger_of(path))
    with pytest.raises(StoreLayoutError, match=r"manifest\.json cannot be read"):
        extend_cube(path, in_order_of(path, plan), {})
    assert open_cube(path).prediction.notnull().all()


def test_a_writer_that_comes_late_undoes_nothing(planned, fill, job_of, tmp_path):
    plan, path = planned(**STAGE, block_size=8), tmp_path / "c.zarr"
    small = part(plan, slice(None), slice(12))
    fill(small, path)
    late = list(small.tasks())[1]  # the block that is not full
    job = job_of(small, path)
    found = worker._prepared(worker.loaded(job.model), job, late)
    found = worker.predict_task(job, late, found)
    extend_cube(path, in_order_of(path, plan), {})
    fill(in_order_of(path, plan), path)
    before = open_cube(path).prediction.load()
    assert worker.write_task(job, late, found).individuals == 8
    assert np.array_equal(open_cube(path).prediction, before)


def test_a_block_that_failed_after_an_extension_is_known_to_have_failed(
    planned, job_of, client, tmp_path
):
    plan, path = planned(**STAGE, block_size=8), tmp_path / "c.zarr"
    small = part(plan, slice(None), slice(12))
    fill_cube(small, job_of(small, path), client, "GPU")
    extend_cube(path, in_order_of(path, plan), {})
    larger = in_order_of(path, plan)
    gene = str(plan.genes.gene.values[1])
    broken = fill_cube(larger, job_of(larger, path, fails=(gene,)), client, "GPU")
    assert set(broken.failed) == {(gene, 1), (gene, 2)}
    assert set(failed_shards(path)) == set(broken.failed)
    assert fill_cube(larger, job_of(larger, path), client, "GPU").now == 0
    assert fill_cube(larger, job_of(larger, path), client, "GPU", retry_failed=True).now == 2
    assert failed_shards(path) == {}


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    ("data", "after"),
    [("{tmp_path}", after) for after in range(0, 40, 3)]
    + [("memory://{after}", after) for after in (0, 5, 14)],
)
def test_an_interruption_anywhere_is_finished_by_the_next_run(
    planned, fill, whole, tmp_path, monkeypatch, after, data
):
    plan, expected = whole
    path = place(data.format(tmp_path=tmp_path, after=after)) / "grown.zarr"
    small = part(plan, slice(2), slice(9))
    fill(small, path)
    n_puts = 0
    put = extension.put

    def killing(*args: object) -> None:
        nonlocal n_puts
        if n_puts == after:
            raise Killed
        n_puts += 1
        put(*args)

    with monkeypatch.context() as patched:
        patched.setattr(extension, "put", killing)
        try:
            extend_cube(path, in_order_of(path, plan), {})
        except Killed:
            with pytest.raises(StoreLayoutError, match="is being extended, or was when"):
                open_cube(path, incomplete="nan")
    finish_extension(path)
    assert len(done_shards(path)) == 2
    fill(in_order_of(path, plan), path)
    same = open_cube(path).prediction.sel(gene=expected.gene, individual=expected.individual)
    assert np.array_equal(same, expected.prediction)
    assert verify_cube(path)[1] == []
    assert not exists(ledger.extension_of(ledger.ledger_of(path)))


def test_what_cannot_be_extended(planned, fill, tmp_path):
    plan, path = planned(**STAGE), tmp_path / "c.zarr"
    fill(part(plan, slice(4), slice(9)), path)
    original = tmp_path / "original"
    shutil.copytree(path, original)
    other = dataclasses.replace(
        plan, recipe={**plan.recipe, "policies": {**plan.recipe["policies"], "missing": "zeros"}}
    )
    with pytest.raises(RecipeError, match=r"policies\.missing: .*; change the recipe back"):
        extend_cube(path, in_order_of(path, other), {})
    fewer = part(plan, slice(1, None), slice(None))
    with pytest.raises(RecipeError, match="has 1 genes that the pipeline lacks, such as ENSG"):
        extend_cube(path, in_order_of(path, fewer), {})
    without = part(plan, slice(None), slice(2, None))
    with pytest.raises(RecipeError, match="has 2 individuals that the pipeline lacks; a cube is"):
        extend_cube(path, in_order_of(path, without), {})
    moved = dataclasses.replace(plan, genes=plan.genes.assign(tss=plan.genes.tss + 1))
    with pytest.raises(RecipeError, match="4 genes have another tss than in the cube, such as EN"):
        extend_cube(path, in_order_of(path, moved), {})
    for file in original.rglob("*"):
        if file.is_file():
            assert (path / file.relative_to(original)).read_bytes() == file.read_bytes()
