"""What a dry run says will be computed."""

import dataclasses

import pytest

from zarrbench.models.protocol import Cost, LoadableModel
from zarrbench.predictions.estimate import Estimate, estimate
from zarrbench.predictions.worker import prepare


@pytest.fixture
def priced(toy, job_of, tmp_path):
    """Return the job of a plan with a model that says what a window costs."""

    @dataclasses.dataclass(frozen=True)
    class Priced(toy):
        def estimate(self, personal, n_bins, n_tracks):
            return Cost(personal.n_rows, 1000 * personal.rows.size, 10 * n_bins * n_tracks)

    def job(plan):
        made = job_of(plan, tmp_path / "cube.zarr")
        return dataclasses.replace(made, model=LoadableModel(Priced(), ()))

    return job


def test_a_sample_of_all_genes_counts_them(planned, job_of, priced, tmp_path):
    plan = planned()
    tasks = list(plan.tasks())[:4]
    job = priced(plan)
    rows = [next(prepare(job, task)).n_rows for task in tasks]
    found = estimate(plan, job, tasks)
    people = len(plan.individuals)
    haplotypes = 4 * 2 * people
    assert found == Estimate(4, haplotypes, sum(rows), sum(rows), 1000.0 * haplotypes, 4 * 10 * 9.0)
    without = estimate(plan, job_of(plan, tmp_path / "cube.zarr"), tasks)
    assert without == Estimate(4, haplotypes, sum(rows), 0, 0.0, 0.0)
    assert "gpu_hours_stock" not in without.shown()


def test_a_sample_is_scaled_to_all_tasks_and_counts_every_input(planned, priced):
    plan = planned()
    task = next(plan.tasks())
    job = priced(plan)
    once = estimate(plan, job, [task])
    often = estimate(plan, job, [task] * 100)
    assert often.genes == 5
    assert (often.sequences, often.distinct) == (100 * once.sequences, 100 * once.distinct)
    assert often.stock == pytest.approx(100 * once.stock)
    twice = estimate(plan, job, [dataclasses.replace(task, windows=task.windows * 2)])
    assert (twice.sequences, twice.distinct) == (2 * once.sequences, 2 * once.distinct)


def test_nothing_to_do_costs_nothing(planned, priced):
    plan = planned()
    assert estimate(plan, priced(plan), []) == Estimate(0, 0, 0, 0, 0.0, 0.0)


def test_hours_are_operations_at_the_rate_that_is_said():
    shown = Estimate(5, 10, 8, 100, 37.7e18, 7.5e18).shown()
    assert (shown["petaflop_stock"], shown["petaflop_shared"]) == (37_700, 7500)
    assert (shown["gpu_hours_stock"], shown["gpu_hours_shared"]) == (175, 34.7)
    assert shown["assumed"].endswith("60 TFLOP/s sustained")
