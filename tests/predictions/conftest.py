"""Plans and jobs of the toy model on the hand-made cohort."""

from collections.abc import Callable
from pathlib import Path

import pytest

from zarrbench.expression.samples import join_samples
from zarrbench.models.protocol import LoadableModel
from zarrbench.predictions.plan import Plan, Predict, make_plan
from zarrbench.predictions.readouts import Readout
from zarrbench.predictions.worker import Job
from zarrbench.stores import StoreFamily


@pytest.fixture(scope="session")
def planned(family: StoreFamily, toy: type) -> Callable[..., Plan]:
    """Plan a run; changes go to the model, to the stage or to the stores."""

    def plan(
        stores: StoreFamily = family,
        files: tuple[tuple[str, Path], ...] = (),
        model: dict | None = None,
        **predict: object,
    ) -> Plan:
        join = join_samples(stores.expression, stores.genotypes.samples)
        stage = Predict(**{"readout": Readout("raw_sum"), **predict})
        return make_plan(stores, join, LoadableModel(toy(**(model or {})), files), stage)

    return plan


@pytest.fixture(scope="session")
def job_of(family: StoreFamily, toy: type) -> Callable[..., Job]:
    """Return the job of a plan that fills a cube; changes go to the model."""

    def job(plan: Plan, cube: Path, **model: object) -> Job:
        return Job(
            cube=cube,
            genotypes=family.part_path("genotypes"),
            reference=family.part_path("reference"),
            policies=family.recipe.policies,
            model=LoadableModel(toy(**model), ()),
            predict=plan.predict,
            numbers_hash=plan.numbers_hash,
        )

    return job
