"""One study as YAML: which stores, which model, and a flat list of stages with their parameters.

The science stands in the file; where it runs and on which folders are flags of one run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from zarrbench.attribution_parameters import Attributions, Drivers, Motifs, Sensitivity
from zarrbench.errors import RecipeError
from zarrbench.models.protocol import ModelRecipe, Track, parse_model
from zarrbench.parameters import (
    Eqtl,
    Expression,
    GeneTable,
    GenotypeQuality,
    Population,
    PrediXcan,
    Report,
    Statistics,
    WeightedTracks,
)
from zarrbench.predictions.plan import Predict
from zarrbench.recipes import as_written, check_folder_name, find, load_yaml, nearest, parse

#: what the mapping of each stage in YAML is parsed into, in the order in which stages may stand
STAGES: dict[str, type[Any]] = {
    "genotype_quality": GenotypeQuality,
    "expression": Expression,
    "predict": Predict,
    "statistics": Statistics,
    "attributions": Attributions,
    "drivers": Drivers,
    "motifs": Motifs,
    "population": Population,
    "track_weights": WeightedTracks,
    "eqtl": Eqtl,
    "predixcan": PrediXcan,
    "gene_table": GeneTable,
    "sensitivity": Sensitivity,
    "report": Report,
}

Stage = TypeVar("Stage")


@dataclass(frozen=True)
class PipelineRecipe:
    """A parsed file of ``pipelines/``; `stages` keeps the order of the file."""

    name: str
    description: str
    stores_file: Path
    model: ModelRecipe
    stages: dict[str, Any]

    def stage(self, kind: type[Stage]) -> Stage:
        """Return the parameters of a stage, such as ``stage(Statistics)``.

        Raises
        ------
        RecipeError
            If the pipeline does not have it.
        """
        for parameters in self.stages.values():
            if isinstance(parameters, kind):
                return parameters
        [name] = (name for name, known in STAGES.items() if known is kind)
        raise RecipeError(f"the pipeline {self.name!r} has no stage {name!r}; add it to 'stages'")


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
    _check_components(recipe.stages, path)
    _check_needed(recipe.stages, path)
    predict = recipe.stages.get("predict")
    if isinstance(predict, Predict):
        predict.check(recipe.model.spec(), f"{path}: stages.predict")
        _check_readout(recipe.stages, predict, path)
        _check_inputs(recipe, predict, path)
    return recipe


def _check_components(stages: Mapping[str, Any], path: Path) -> None:
    """Refuse a stage that asks for more genotype components than the pipeline makes."""
    quality = stages.get("genotype_quality")
    made = quality.n_components if isinstance(quality, GenotypeQuality) else 0
    for name, parameters in stages.items():
        wanted = getattr(parameters, "genotype_components", 0)
        if wanted > made:
            raise RecipeError(
                f"{path}: stages.{name}.genotype_components asks for {wanted}, and the pipeline "
                f"makes {made}; write 'genotype_quality: {{n_components: {wanted}}}' before it"
            )


# What a stage works on: the results of these
_NEEDED = {"drivers": ("statistics", "attributions"), "motifs": ("drivers",)}


def _check_needed(stages: Mapping[str, Any], path: Path) -> None:
    """Refuse a stage without those whose results it works on."""
    for name, needed in _NEEDED.items():
        lacking = [other for other in needed if other not in stages]
        if name in stages and lacking:
            raise RecipeError(
                f"{path}: the stage {name!r} needs {' and '.join(map(repr, lacking))} before it; "
                f"add them to 'stages'"
            )


def _check_readout(stages: Mapping[str, Any], predict: Predict, path: Path) -> None:
    """Refuse weights of a readout that is not among those of the predict stage."""
    weighted = stages.get("track_weights")
    if isinstance(weighted, WeightedTracks) and weighted.variable not in predict.readouts:
        raise RecipeError(
            f"{path}: stages.track_weights.readout: {weighted.readout!r} must stand among the "
            f"more_readouts of predict{nearest(str(weighted.readout), predict.more_readouts)}"
        )


def _check_inputs(recipe: PipelineRecipe, predict: Predict, path: Path) -> None:
    """Refuse what the model of a pipeline cannot be asked by the stages that predict again."""
    spec = recipe.model.spec()
    attributions, sensitivity = (recipe.stages.get(n) for n in ("attributions", "sensitivity"))
    if isinstance(attributions, Attributions) and attributions.readout is not None:
        attributions.readout.check(spec.bins, f"{path}: stages.attributions.readout")
    if isinstance(sensitivity, Sensitivity) and sensitivity.ensemble is not None:
        where = f"{path}: stages.sensitivity.ensemble"
        sensitivity.ensemble.check(spec, where)
        if predict.ensemble is not None:
            raise RecipeError(f"{where}: the predictions are those of an ensemble already")


def check_track(track: str | None, tracks: Sequence[Track], where: str) -> None:
    """Refuse a track that the model lacks, or one that is not named where it has several."""
    ids = [known.id for known in tracks]
    if track is None and len(ids) > 1:
        shown = ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")
        raise RecipeError(f"{where}: the model has {len(ids)} tracks ({shown}); name one")
    known = {*ids, *(known.description for known in tracks)}
    called = [one.id for one in tracks if one.description == track]
    if track not in ids and len(called) > 1:
        raise RecipeError(
            f"{where}: {len(called)} tracks are described as {track!r}: name one of "
            f"{', '.join(called[:5])}"
        )
    if track is not None and track not in known:
        raise RecipeError(f"{where}: the model has no track {track!r}{nearest(track, known)}")


# Folders of <data> that are not results of a pipeline
_RESERVED = ("stores", "downloads")


def _stages(items: tuple[Any, ...], path: Path) -> dict[str, Any]:
    stages: dict[str, Any] = {}
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
