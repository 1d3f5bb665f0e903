"""Pipelines of the toy model on the hand-made cohort."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from zarrbench.parameters import Expression, Null, Statistics
from zarrbench.pipeline import PipelineRecipe
from zarrbench.predictions.plan import Predict
from zarrbench.predictions.readouts import Readout
from zarrbench.stages.workspace import Workspace
from zarrbench.stores import StoreFamily

PREDICT = Predict(Readout("sum_log"))
STATISTICS = Statistics(track="T1", null_test=Null(draws=40, window=300))


@pytest.fixture(scope="session")
def workspace_in(family: StoreFamily, toy: type) -> Callable[..., Workspace]:
    """Return a pipeline in a folder; changes go to its stages and its model."""

    def workspace(
        folder: Path,
        predict: Predict = PREDICT,
        statistics: Statistics = STATISTICS,
        stores: StoreFamily = family,
        expression: Expression | None = None,
        **model: object,
    ) -> Workspace:
        recipe = PipelineRecipe(
            name=folder.name,
            description="",
            stores_file=stores.recipe_file,
            model=toy(**model),
            stages={
                **({} if expression is None else {"expression": expression}),
                "predict": predict,
                "statistics": statistics,
            },
        )
        return Workspace(recipe, Path("toy.yaml"), stores, folder, sources=None)

    return workspace


@pytest.fixture(scope="session")
def with_statistics() -> Callable[..., Workspace]:
    """Return a pipeline with other parameters of its statistics."""

    def changed(workspace: Workspace, **changes: object) -> Workspace:
        statistics = dataclasses.replace(workspace.recipe.stage(Statistics), **changes)
        stages = {**workspace.recipe.stages, "statistics": statistics}
        return dataclasses.replace(
            workspace, recipe=dataclasses.replace(workspace.recipe, stages=stages)
        )

    return changed
