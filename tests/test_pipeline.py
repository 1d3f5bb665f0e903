import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from zarrbench import recipes
from zarrbench.attribution_parameters import Attributions, Drivers, Motifs, Sensitivity
from zarrbench.errors import RecipeError
from zarrbench.models.motif_model import MotifRecipe
from zarrbench.parameters import (
    Expression,
    GeneSubset,
    GeneTable,
    Null,
    Population,
    PrediXcan,
    Report,
    Statistics,
    TrainingPeople,
    WeightedTracks,
)
from zarrbench.pipeline import STAGES, check_track, load_pipeline
from zarrbench.predictions.ensemble import Ensemble
from zarrbench.predictions.plan import Predict
from zarrbench.predictions.readouts import Readout
from zarrbench.sources import Source
from zarrbench.statistics.drivers import DriverRule

KERAS = {
    "kind": "keras",
    "name": "toy",
    "file": "toy.keras",
    "input_length": 100,
    "tss_index": 50,
    "strand_aware": True,
    "tracks": [{"id": "CAGE:1", "description": "liver"}],
}
PREDICT = {"predict": {"readout": {"kind": "raw_sum"}}}
STATISTICS = {"statistics": {"track": "expression"}}


def written(folder: Path, text: str = "", **changes: Any) -> Path:
    """Write a pipeline with some keys changed; a key that is ... is left out."""
    content = {
        "name": "study",
        "stores": "synthetic",
        "model": {"kind": "motif"},
        "stages": [PREDICT, STATISTICS, {"report": None}],
        **changes,
    }
    path = folder / "study.yaml"
    given = {key: value for key, value in content.items() if value is not ...}
    path.write_text(text or yaml.safe_dump(given, sort_keys=False))
    return path


def refused(path: Path) -> str:
    with pytest.raises(RecipeError) as error:
        load_pipeline(path)
    sentence = str(error.value)
    assert sentence.startswith(str(path))
    return sentence.removeprefix(str(path))


@pytest.mark.parametrize("name", ["synthetic", "geuvadis_chr22"])
def test_packaged_pipelines(name: str) -> None:
    recipe = load_pipeline(recipes.find("pipelines", name))
    assert recipe.name == name
    ours = ["genotype_quality", "motifs", "population"] if name == "geuvadis_chr22" else []
    stages = [stage for stage in recipe.stages if stage not in ours]
    why = ["attributions", "drivers"]
    assert stages == ["predict", "statistics", *why, "eqtl", "sensitivity", "report"]
    assert set(ours) < set(recipe.stages)
    assert recipe.stores_file == recipes.find("stores", name)


def test_the_packaged_pipeline_with_predixcan() -> None:
    recipe = load_pipeline(recipes.find("pipelines", "geuvadis_chr22_predixcan"))
    assert list(recipe.stages) == ["predict", "statistics", "predixcan"]
    people = TrainingPeople(Source("genotypes/samples.tsv"), "enet_split")
    assert recipe.stage(PrediXcan) == PrediXcan(
        train=people, window=500_000, folds=5, build="b37", seed=1
    )
    beside = load_pipeline(recipes.find("pipelines", "geuvadis_chr22"))
    assert recipe.model == beside.model
    for kind in (Predict, Statistics):
        assert recipe.stage(kind) == beside.stage(kind)


def test_people_to_train_on_may_be_a_plain_path(tmp_path: Path) -> None:
    stages = [PREDICT, STATISTICS, {"predixcan": {"train": "people.txt"}}]
    recipe = load_pipeline(written(tmp_path, stages=stages))
    assert recipe.stage(PrediXcan).train == TrainingPeople(Source("people.txt"))


def test_a_pipeline(tmp_path: Path) -> None:
    recipe = load_pipeline(written(tmp_path, description="a study"))
    assert recipe.description == "a study"
    assert recipe.model == MotifRecipe()
    assert recipe.stage(Predict) == Predict(Readout("raw_sum"))
    assert recipe.stage(Statistics) == Statistics(track="expression", null_test=Null())
    assert recipe.stage(Report) == Report()


def test_everything_at_once(tmp_path: Path) -> None:
    log = {"kind": "sum_log", "bins": [1, 2], "log_base": 10, "pseudocount": 2}
    predict = {
        "readout": {"kind": "log_sum"},
        "more_readouts": {"middle": log},
        "genes": "all",
        "individuals": "all",
        "block_size": 10,
        "store_bins": True,
    }
    null = {"statistic": "empirical", "draws": 7, "window": 500, "seed": 3, "positive": True}
    statistics = {
        "track": "control",
        "haplotypes": "sum",
        "null_test": null,
        "alpha": 0.1,
        "count_rule": "strict_above_cut",
        "nan_policy": "drop",
    }
    report = {"title": "T", "individual_points": True}
    recipe = load_pipeline(
        written(
            tmp_path,
            model={"kind": "motif", "input_length": 1000},
            stages=[{"predict": predict}, {"statistics": statistics}, {"report": report}],
        )
    )
    middle = Readout("sum_log", bins=(1, 2), log_base=10, pseudocount=2.0)
    assert recipe.model == MotifRecipe(input_length=1000)
    assert recipe.stage(Predict).readouts == {
        "prediction": Readout("log_sum"), "prediction_middle": middle
    }  # fmt: skip
    assert recipe.stage(Predict).block_size == 10
    assert recipe.stage(Predict).store_bins
    assert recipe.stage(Statistics) == Statistics(
        "control", "sum", Null("empirical", 7, 500, 3, True), 0.1, "strict_above_cut", "drop"
    )
    assert recipe.stage(Report) == Report("T", True)


def test_stores_beside_the_pipeline_win(tmp_path: Path) -> None:
    (tmp_path / "stores").mkdir()
    (tmp_path / "pipelines").mkdir()
    own = tmp_path / "stores" / "synthetic.yaml"
    own.touch()
    assert load_pipeline(written(tmp_path / "pipelines")).stores_file == own
    path = written(tmp_path / "pipelines", stores="../stores/synthetic.yaml")
    assert load_pipeline(path).stores_file.samefile(own)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_is_not_there(tmp_path: Path, stage: str) -> None:
    recipe = load_pipeline(written(tmp_path, stages=[]))
    with pytest.raises(RecipeError, match=f"'study' has no stage '{stage}'; add it to 'stages'"):
        recipe.stage(STAGES[stage])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage": []}, ": unknown key 'stage'; did you mean 'stages'?"),
        ({"stages": ...}, ": the key 'stages' is missing"),
        ({"model": ...}, ": the key 'model' is missing"),
        ({"stages": PREDICT}, ".stages: expected a list, found {'predict': "),
        ({"stages": ["report"]}, ": stages[0]: expected one stage, such as 'statistics: "),
        ({"stages": [{**PREDICT, **STATISTICS}]}, ": stages[0]: expected one stage"),
        ({"stages": [{"predcit": {}}]}, ": stages[0]: unknown stage 'predcit'; did you mean "
         "'predict'?"),
        ({"stages": [{"predixcan": {}}]}, ": stages[0].predixcan: give weights, or with train"),
        ({"stages": [{None: {}}]}, ": stages[0]: unknown stage 'null'"),
        ({"stages": [PREDICT, PREDICT]}, ": stages[1]: the stage 'predict' stands twice"),
        ({"stages": [STATISTICS, PREDICT]}, ": stages[1]: the stage 'predict' must stand before "
         "'statistics'"),
        ({"stages": [{"report": False}]}, ": stages[0].report: expected a mapping, found False"),
        ({"stages": [{"report": []}]}, ": stages[0].report: expected a mapping, found []"),
        ({"stages": [{"report": {"tilte": ""}}]}, ".report: unknown key 'tilte'; did you mean "
         "'title'?"),
        ({"stages": [{"predict": {}}]}, ": stages[0].predict: the key 'readout' is missing"),
        ({"model": "motif"}, ": model: expected a mapping with the key 'kind'"),
        ({"model": {"kind": "motive"}}, ": model.kind: there is no model kind 'motive'; did you "
         "mean 'motif'?"),
        ({"model": {"kind": "motif", "decy": 1}}, ": model: unknown key 'decy'; did you mean "
         "'decay'?"),
    ],
)  # fmt: skip
def test_refused_files(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    assert message in refused(written(tmp_path, **changes))


@pytest.mark.parametrize(
    ("predict", "message"),
    [
        ({"readout": "identity"}, "predict.readout: 'identity' needs a model of one bin, this "
         "one has 5"),
        ({"readout": "sum"}, "predict.readout: the readout 'sum' is neither a mapping (kind, bins"),
        ({"readout": "paper"}, "bins (447, 448, 449) are not all in 0..4"),
        ({"readout": {"kind": "sumlog"}}, "readout.kind: 'sumlog' is not a choice; did you mean "
         "'sum_log'?"),
        ({"readout": {"kind": "raw_sum", "bins": [5]}}, "predict.readout: bins (5,) are not "
         "all in 0..4"),
        ({"readout": {"kind": "raw_sum", "bins": [-1]}}, "are not all in 0..4"),
        ({"readout": {"kind": "raw_sum", "bins": []}}, "bins must name at least one bin"),
        ({"readout": {"kind": "sum_log", "log_base": 3}}, "log_base: 3 is not a choice"),
        ({"more_readouts": {"x": "identity"}}, "predict.more_readouts.x: 'identity' needs a model "
         "of one bin"),
        ({"more_readouts": {"a b": {"kind": "raw_sum"}}}, "names in more_readouts must be plain "
         "words"),
        ({"more_readouts": {"../x": {"kind": "raw_sum"}}}, "must be plain words"),
        ({"ensemble": {"shifts": [0, 4096]}}, "predict.ensemble: shifts [0, 4096] move the TSS out "
         "of the model's input: they must lie in -4096..4095"),
        ({"ensemble": {"shifts": [-4097]}}, "they must lie in -4096..4095"),
        ({"block_size": 0}, "block_size must be at least 1"),
        ({"genes": "some"}, "genes: 'some' is not a choice; known: all, expressed"),
    ],
)  # fmt: skip
def test_refused_predict_stages(tmp_path: Path, predict: dict[str, Any], message: str) -> None:
    stage = {"predict": {"readout": {"kind": "raw_sum"}, **predict}}
    sentence = refused(written(tmp_path, stages=[stage]))
    assert sentence.startswith((": stages[0].predict", ": stages.predict"))
    assert message in sentence


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        ({"alpha": 0}, "alpha must lie between 0 and 1"),
        ({"alpha": 1}, "alpha must lie between 0 and 1"),
        ({"alpha": float("nan")}, "alpha must lie between 0 and 1"),
        ({"aplha": 0.1}, "unknown key 'aplha'; did you mean 'alpha'?"),
        ({"haplotypes": "max"}, "haplotypes: 'max' is not a choice"),
        ({None: {}}, "unknown key 'null'; did you mean 'null_test'?"),
        ({"null_test": {"draws": 1}}, "null_test: draws must be at least 2"),
        ({"null_test": {"window": 0}}, "window must be 'model' or a positive number of bases"),
        ({"null_test": {"window": "modle"}}, "'modle' is not a choice; did you mean 'model'?"),
        ({"null_test": {"statistic": "student"}}, "statistic: 'student' is not a choice"),
    ],
)  # fmt: skip
def test_refused_statistics_stages(
    tmp_path: Path, statistics: dict[Any, Any], message: str
) -> None:
    stage = {"statistics": {"track": "expression", **statistics}}
    sentence = refused(written(tmp_path, stages=[stage]))
    assert sentence.startswith((": stages[0].statistics", ": stages.statistics"))
    assert message in sentence


def test_an_expression_stage(tmp_path: Path) -> None:
    full = {
        "counts": True,
        "weights": "none",
        "covariates": ["age", "sex"],
        "n_expression_pcs": 0,
        "min_mean_log2cpm": None,
    }
    recipe = load_pipeline(written(tmp_path, stages=[{"expression": full}, PREDICT]))
    assert list(recipe.stages) == ["expression", "predict"]
    assert recipe.stage(Expression) == Expression(True, "none", ("age", "sex"), 0, None)
    short = load_pipeline(written(tmp_path, stages=[{"expression": {"counts": True}}]))
    assert short.stage(Expression) == Expression(True, "voom", "all", 10, 2.0)
    with pytest.raises(RecipeError, match="'expression' must stand before 'predict'"):
        load_pipeline(written(tmp_path, stages=[PREDICT, {"expression": full}]))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ({"counts": False}, "weights: voom needs raw counts; say 'weights: none'"),
        ({"weights": "none"}, "the key 'counts' is missing"),
        ({"counts": True, "weights": "vroom"}, "'vroom' is not a choice; did you mean 'voom'?"),
        ({"counts": True, "covariates": "age"}, "covariates: expected a list, found 'age'"),
        ({"counts": True, "covariates": ["age", "age"]}, "covariates names one more than once"),
        ({"counts": True, "n_expression_pcs": -1}, "n_expression_pcs must be at least 0"),
        ({"counts": True, "n_pcs": 1}, "unknown key 'n_pcs'"),
        ({"counts": True, "min_mean_log2cpm": "two"}, "expected a number, found 'two'"),
    ],
)
def test_refused_expression_stages(
    tmp_path: Path, expression: dict[str, Any], message: str
) -> None:
    sentence = refused(written(tmp_path, stages=[{"expression": expression}]))
    assert sentence.startswith(": stages[0].expression")
    assert message in sentence


@pytest.mark.parametrize("track", [None, "CAGE:1", "liver"])
def test_a_track_by_id_by_description_or_the_only_one(tmp_path: Path, track: str | None) -> None:
    path = written(tmp_path, model=KERAS, stages=[{"statistics": {"track": track}}])
    recipe = load_pipeline(path)
    assert recipe.stage(Statistics).track == track
    check_track(track, recipe.model.read_tracks({}), "p")


@pytest.mark.parametrize(
    ("track", "message"),
    [
        (None, "p: the model has 2 tracks (expression, control); name one"),
        ("expresion", "p: the model has no track 'expresion'; did you mean 'expression'?"),
    ],
)
def test_refused_tracks(track: str | None, message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        check_track(track, MotifRecipe().read_tracks({}), "p")
    assert str(raised.value) == message


@pytest.mark.parametrize(
    "name", ["stores", "downloads", "", "..", "../study", "a/b", "/tmp/x", ".study", "a\0b", "a\nb"]
)
def test_unsafe_and_reserved_names(tmp_path: Path, name: str) -> None:
    assert "must serve as the name of a folder" in refused(written(tmp_path, name=name))


def test_stores_that_do_not_exist(tmp_path: Path) -> None:
    path = written(tmp_path, stores="sythetic")
    with pytest.raises(RecipeError, match=r"no stores recipe 'sythetic' .*mean 'synthetic'"):
        load_pipeline(path)


@pytest.mark.parametrize("stage", ["eqtl", "expression"])
def test_components_that_the_pipeline_does_not_make(tmp_path: Path, stage: str) -> None:
    wanting = {stage: {"genotype_components": 3, **({"counts": True} if stage != "eqtl" else {})}}
    others = [PREDICT, wanting] if stage == "eqtl" else [wanting, PREDICT]
    sentence = refused(written(tmp_path, stages=others))
    assert sentence == (
        f": stages.{stage}.genotype_components asks for 3, and the pipeline makes 0; write "
        "'genotype_quality: {n_components: 3}' before it"
    )
    quality = {"genotype_quality": {"n_components": 2}}
    assert "the pipeline makes 2" in refused(written(tmp_path, stages=[quality, *others]))
    quality = {"genotype_quality": {}}
    recipe = load_pipeline(written(tmp_path, stages=[quality, *others]))
    assert next(iter(recipe.stages)) == "genotype_quality"


def test_weights_of_tracks(tmp_path: Path) -> None:
    log = {"kind": "log_sum", "log_base": 2}
    predict = {"predict": {"readout": {"kind": "raw_sum"}, "more_readouts": {"finetuned": log}}}
    weighted = {"weights": "GTExWeights.csv", "readout": "finetuned", "haplotype_combine": "sum"}
    stages = [predict, STATISTICS, {"track_weights": weighted}]
    found = load_pipeline(written(tmp_path, stages=stages)).stage(WeightedTracks)
    assert found == WeightedTracks(Source("GTExWeights.csv"), None, "finetuned", "sum")
    assert found.variable == "prediction_finetuned"
    assert WeightedTracks().variable == "prediction"
    weighted["readout"] = "fine_tuned"
    assert refused(written(tmp_path, stages=stages)) == (
        ": stages.track_weights.readout: 'fine_tuned' must stand among the more_readouts of "
        "predict; did you mean 'finetuned'?"
    )
    stages[-1] = {"track_weights": {"target": "means.tsv"}}
    assert load_pipeline(written(tmp_path, stages=stages)).stage(WeightedTracks).weights is None
    stages = [{"track_weights": None}, predict]
    assert "'predict' must stand before 'track_weights'" in refused(
        written(tmp_path, stages=stages)
    )


def test_subsets_of_the_population_stage(tmp_path: Path) -> None:
    subsets = [
        {"name": "test", "regions": "enformer.bed", "label": "test"},
        {"name": "rest", "genes": {"file": "ids.npy"}, "outside": True},
    ]
    stages = [PREDICT, {"population": {"subsets": subsets, "pseudocount": 1}}]
    found = load_pipeline(written(tmp_path, stages=stages)).stage(Population)
    assert found.pseudocount == 1.0
    assert found.subsets == (
        GeneSubset("test", regions=Source("enformer.bed"), label="test"),
        GeneSubset("rest", genes=Source("ids.npy"), outside=True),
    )
    subsets[0]["genes"] = "ids.txt"
    assert "needs either genes or regions" in refused(written(tmp_path, stages=stages))


def test_lists_of_the_gene_table_stage(tmp_path: Path) -> None:
    lists = {"brain": "brain.tsv", "cortex": {"file": "cortex.tsv"}}
    stages = [PREDICT, STATISTICS, {"gene_table": {"fine_mapped": lists}}, {"report": {}}]
    found = load_pipeline(written(tmp_path, stages=stages)).stage(GeneTable)
    assert found == GeneTable({"brain": Source("brain.tsv"), "cortex": Source("cortex.tsv")})
    stages[2] = {"gene_table": None}
    assert load_pipeline(written(tmp_path, stages=stages)).stage(GeneTable).fine_mapped == {}
    stages[2] = {"gene_table": {"fine_mapped": {"any": "brain.tsv"}}}
    assert "cannot be 'any'" in refused(written(tmp_path, stages=stages))
    stages[2] = {"gene_table": {"fine_mapped": ["brain.tsv"]}}
    assert "expected a mapping, found" in refused(written(tmp_path, stages=stages))


# --- why a model errs

WHY = [{"attributions": None}, {"drivers": None}, {"motifs": None}, {"sensitivity": None}]


def test_stages_that_ask_why(tmp_path: Path) -> None:
    recipe = load_pipeline(written(tmp_path, stages=[PREDICT, STATISTICS, *WHY, {"report": None}]))
    assert list(recipe.stages)[2:-1] == ["attributions", "drivers", "motifs", "sensitivity"]
    assert recipe.stage(Attributions) == Attributions(None, None, True, False, "consistent")
    assert recipe.stage(Drivers) == Drivers(DriverRule(), "significant", 0.2, 0.2, "none")
    assert recipe.stage(Motifs) == Motifs("examined", 1000, "max")
    assert recipe.stage(Sensitivity) == Sensitivity(None, 30, 1)


def test_all_that_those_stages_can_be_told(tmp_path: Path) -> None:
    rule = {"min_increment": 0.1, "alpha": 0.05, "criteria": "increment_only",
            "nan_f": "propagate", "allow_negative_r": True, "log_sum": True,
            "antidriver": True}  # fmt: skip
    stages = [
        {"attributions": {"readout": {"kind": "raw_sum", "bins": [1, 2]}, "tracks": ["control"],
                          "profiles": True, "alignment": "released"}},
        {"drivers": {"rule": rule, "examined": "all", "min_r": 0, "min_r_linear": 0.5,
                     "weighting": "increment"}},
        {"motifs": {"genes": "all", "tss_flank": 5, "norm": "std"}},
        {"sensitivity": {"ensemble": {"shifts": [0, 1]}, "n_genes": 3, "seed": 0}},
    ]  # fmt: skip
    recipe = load_pipeline(written(tmp_path, stages=[PREDICT, STATISTICS, *stages]))
    readout = Readout("raw_sum", (1, 2))
    assert recipe.stage(Attributions) == Attributions(readout, ("control",), True, True, "released")
    assert recipe.stage(Attributions).optional_variables == ("gradient", "gradient_profile")
    assert recipe.stage(Drivers) == Drivers(DriverRule(**rule), "all", 0, 0.5, "increment")
    assert recipe.stage(Motifs) == Motifs("all", 5, "std")
    assert recipe.stage(Sensitivity) == Sensitivity(Ensemble((0, 1)), 3, 0)


def test_the_order_of_stages_is_that_of_what_they_need(tmp_path: Path) -> None:
    """Each of all stages must stand before every later one, wherever that is."""
    needed = {"expression": {"counts": True}, "predixcan": {"weights": "w.db"}, **PREDICT}
    names = list(STAGES)
    assert names.index("statistics") < names.index("attributions") < names.index("drivers")
    assert names.index("drivers") < names.index("motifs") < names.index("report")
    for stage in ("track_weights", "gene_table"):
        assert names.index(stage) < names.index("sensitivity") < names.index("report")
    for early, late in itertools.pairwise(names):
        stages = [{name: needed.get(name)} for name in (late, early)]
        assert refused(written(tmp_path, stages=stages)) == (
            f": stages[1]: the stage {early!r} must stand before {late!r}"
        )


@pytest.mark.parametrize(
    ("stage", "parameters", "message"),
    [
        ("attributions", {"graidents": True}, "unknown key 'graidents'; did you mean 'gradients'?"),
        ("attributions", {"tracks": []}, "tracks must name at least one track; leave it out for"),
        ("attributions", {"tracks": "control"}, "tracks: expected a list, found 'control'"),
        ("attributions", {"profiles": True, "gradients": False}, "set gradients to true"),
        ("attributions", {"alignment": "release"}, "did you mean 'released'"),
        ("attributions", {"readout": "identity"}, "attributions.readout: 'identity' needs a model "
         "of one bin, this one has 5"),
        ("attributions", {"readout": "attribution"}, "attributions.readout: bins (447, 448, 449) "
         "are not all in 0..4"),
        ("attributions", {"readout": {"kind": "raw_sum", "bins": [1, 1]}}, "name a bin twice"),
        ("drivers", {"rules": {}}, "unknown key 'rules'; did you mean 'rule'?"),
        ("drivers", {"rule": {"min_incremnt": 1}}, "drivers.rule: unknown key 'min_incremnt'"),
        ("drivers", {"rule": {"min_increment": 1}}, "min_increment must be from 0 to below 1"),
        ("drivers", {"rule": {"min_increment": -0.1}}, "min_increment must be from 0 to below 1"),
        ("drivers", {"rule": {"alpha": 0}}, "alpha must be above 0 and at most 1"),
        ("drivers", {"rule": {"alpha": 1.5}}, "alpha must be above 0 and at most 1"),
        ("drivers", {"rule": {"criteria": "ful"}}, "did you mean 'full'"),
        ("drivers", {"rule": {"nan_f": "zeros"}}, "did you mean 'zero'"),
        ("drivers", {"min_r": 1}, "min_r and min_r_linear must be from 0 to below 1"),
        ("drivers", {"min_r": -0.2}, "min_r and min_r_linear must be from 0 to below 1"),
        ("drivers", {"min_r_linear": float("nan")}, "min_r_linear must be from 0 to below 1"),
        ("drivers", {"examined": "significants"}, "did you mean 'significant'"),
        ("drivers", {"weighting": "increments"}, "did you mean 'increment'"),
        ("motifs", {"flank": 5}, "unknown key 'flank'"),
        ("motifs", {"tss_flank": 0}, "tss_flank must be a positive number of bases"),
        ("motifs", {"tss_flank": 1.5}, "tss_flank: expected"),
        ("motifs", {"genes": "examine"}, "did you mean 'examined'"),
        ("motifs", {"norm": "sd"}, "norm: 'sd' is not a choice"),
        ("sensitivity", {"ensembel": {}}, "unknown key 'ensembel'; did you mean 'ensemble'?"),
        ("sensitivity", {"n_genes": 0}, "n_genes must be at least 1"),
        ("sensitivity", {"seed": -1}, "seed must not be negative"),
        ("sensitivity", {"ensemble": {"shifts": []}}, "shifts must name at least one"),
        ("sensitivity", {"ensemble": {"shifts": [0, 0]}}, "name one twice"),
        ("sensitivity", {"ensemble": {"shifts": [4096]}}, "sensitivity.ensemble: shifts [4096] "
         "move the TSS out of the model's input: they must lie in -4096..4095"),
    ],
)  # fmt: skip
def test_refused_stages_that_ask_why(
    tmp_path: Path, stage: str, parameters: dict[str, Any], message: str
) -> None:
    sentence = refused(written(tmp_path, stages=[PREDICT, STATISTICS, {stage: parameters}]))
    assert sentence.startswith((f": stages[2].{stage}", f": stages.{stage}"))
    assert message in sentence


def test_an_ensemble_of_an_ensemble_is_refused(tmp_path: Path) -> None:
    predict = {"predict": {**PREDICT["predict"], "ensemble": {"shifts": [0, 1]}}}
    stages = [predict, STATISTICS, {"sensitivity": {"ensemble": {}}}]
    assert refused(written(tmp_path, stages=stages)) == (
        ": stages.sensitivity.ensemble: the predictions are those of an ensemble already"
    )
    stages[2] = {"sensitivity": {}}  # readouts and weights may still be compared
    assert load_pipeline(written(tmp_path, stages=stages)).stage(Sensitivity).ensemble is None


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([PREDICT, {"attributions": {}}, {"drivers": {}}], "'drivers' needs 'statistics' before"),
        ([PREDICT, STATISTICS, {"drivers": {}}], "'drivers' needs 'attributions' before it"),
        ([PREDICT, {"drivers": {}}], "'drivers' needs 'statistics' and 'attributions' before it"),
        ([PREDICT, STATISTICS, {"motifs": {}}], "'motifs' needs 'drivers' before it"),
    ],
)
def test_stages_that_others_work_on(tmp_path: Path, stages: list, said: str) -> None:
    assert said in refused(written(tmp_path, stages=stages))
