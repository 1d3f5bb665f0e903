"""One study as YAML: which stores, which model, and a flat list of stages with their parameters.

The science stands in the file; where it runs and on which folders are flags of one run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from zarrbench.errors import RecipeError
from zarrbench.models.protocol import ModelRecipe, ModelSpec, parse_model
from zarrbench.predictions.plan import Predict
from zarrbench.recipes import as_written, check_folder_name, find, load_yaml, nearest, parse
from zarrbench.statistics.multiple_testing import CountRule, NanPolicy
from zarrbench.statistics.null import Statistic


@dataclass(frozen=True)
class Null:
    """The gene-specific null (METHODS section 9).

    Parameters
    ----------
    statistic : str
        Which of the five fills the null columns of the gene table; all are computed.
    draws : int
        Random predictors a gene.
    window : 'model' or int
        Variants of the model's window, or those within so many bases of the TSS.
    seed : int
    positive : bool
        Use the absolute values of the random weights.
    """

    statistic: Statistic = "signed"
    draws: int = 50
    window: Literal["model"] | int = "model"
    seed: int = 1
    positive: bool = False

    def __post_init__(self) -> None:
        if self.draws < 2:
            raise ValueError("draws must be at least 2")
        if self.window != "model" and self.window < 1:
            raise ValueError("window must be 'model' or a positive number of bases")


@dataclass(frozen=True)
class Statistics:
    """Correlation across individuals, null and false discovery rate.

    Parameters
    ----------
    track : str, optional
        Identifier or description; needed if the model has several.
    haplotypes : {'mean', 'sum'}
    null_test : Null
        (`null` alone is no text in YAML.)
    alpha : float
        Bound of the false discovery rate.
    count_rule : {'q_le_alpha', 'strict_above_cut'}
    nan_policy : {'p1', 'drop'}
        Genes without an r stay in the correction as not significant, or are left out of it.
    """

    track: str | None = None
    haplotypes: Literal["mean", "sum"] = "mean"
    null_test: Null = field(default_factory=Null)
    alpha: float = 0.05
    count_rule: CountRule = "q_le_alpha"
    nan_policy: NanPolicy = "p1"

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError("alpha must lie between 0 and 1")


@dataclass(frozen=True)
class Report:
    """The HTML page.

    Parameters
    ----------
    title : str
    individual_points : bool
        Show single people as points. Off by default: the page is then safe to pass on.
    """

    title: str = ""
    individual_points: bool = False


STAGES: dict[str, type[Predict] | type[Statistics] | type[Report]] = {
    "predict": Predict,
    "statistics": Statistics,
    "report": Report,
}


@dataclass(frozen=True)
class PipelineRecipe:
    """A parsed file of ``pipelines/``; `stages` keeps the order of the file."""

    name: str
    description: str
    stores_file: Path
    model: ModelRecipe
    stages: dict[str, Predict | Statistics | Report]

    @property
    def predict(self) -> Predict:
        return self._stage("predict", Predict)

    @property
    def statistics(self) -> Statistics:
        return self._stage("statistics", Statistics)

    @property
    def report(self) -> Report:
        return self._stage("report", Report)

    def _stage(self, name: str, kind: type[Any]) -> Any:
        stage = self.stages.get(name)
        if not isinstance(stage, kind):
            raise RecipeError(
                f"the pipeline {self.name!r} has no stage {name!r}; add it to 'stages'"
            )
        return stage


@dataclass(frozen=True)
class _File:
    """The keys of a pipeline file."""

    name: str
    stores: str
    model: Any
    stages: tuple[Any, ...]
    description: str = ""


def load_pipeline(path: Path) -> PipelineRecipe:
    """Read one file of ``pipelines/``.

    Raises
    ------
    RecipeError
        For unknown keys, stages or choices; the sentence names the nearest known one.
    """
    raw = parse(_File, load_yaml(path), str(path))
    check_folder_name(raw.name, path, _RESERVED)
    recipe = PipelineRecipe(
        name=raw.name,
        description=raw.description,
        stores_file=find("stores", raw.stores, beside=path.absolute()),
        model=parse_model(raw.model, f"{path}: model"),
        stages=_stages(raw.stages, path),
    )
    predict = recipe.stages.get("predict")
    if isinstance(predict, Predict):
        for name, readout in predict.readouts.items():
            readout.check(recipe.model.spec().bins, f"{path}: stages.predict.{name}")
    statistics = recipe.stages.get("statistics")
    if isinstance(statistics, Statistics):
        _check_track(statistics.track, recipe.model.spec(), f"{path}: stages.statistics.track")
    return recipe


def _check_track(track: str | None, model: ModelSpec, where: str) -> None:
    """Refuse a track that the model lacks before anything is predicted."""
    ids = [known.id for known in model.tracks]
    if track is None and len(ids) > 1:
        shown = ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")
        raise RecipeError(f"{where}: the model has {len(ids)} tracks ({shown}); name one")
    known = {*ids, *(known.description for known in model.tracks)}
    called = [one.id for one in model.tracks if one.description == track]
    if track not in ids and len(called) > 1:
        raise RecipeError(
            f"{where}: {len(called)} tracks are described as {track!r}: name one of "
            f"{', '.join(called[:5])}"
        )
    if track is not None and track not in known:
        raise RecipeError(f"{where}: the model has no track {track!r}{nearest(track, known)}")


# Folders of <data> that are not results of a pipeline
_RESERVED = ("stores", "downloads")


def _stages(items: tuple[Any, ...], path: Path) -> dict[str, Predict | Statistics | Report]:
    stages: dict[str, Predict | Statistics | Report] = {}
    for number, item in enumerate(items):
        where = f"{path}: stages[{number}]"
        if not isinstance(item, Mapping) or len(item) != 1:
            raise RecipeError(f"{where}: expected one stage, such as 'statistics: {{alpha: 0.05}}'")
        [(name, parameters)] = item.items()
        if name not in STAGES:
            text = as_written(name)
            raise RecipeError(f"{where}: unknown stage {text!r}{nearest(text, STAGES)}")
        if name in stages:
            raise RecipeError(f"{where}: the stage {name!r} stands twice")
        later = [known for known in stages if list(STAGES).index(known) > list(STAGES).index(name)]
        if later:
            raise RecipeError(f"{where}: the stage {name!r} must stand before {later[0]!r}")
        given = {} if parameters is None else parameters
        stages[name] = parse(STAGES[name], given, f"{where}.{name}")
    return stages
