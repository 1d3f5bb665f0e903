"""The model kind, from the folder of a SavedModel and from converted weights."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from zarrbench.errors import ModelInputError, RecipeError, SourceError, UnknownGraphError
from zarrbench.genome.coordinates import Window
from zarrbench.genotypes.policies import Policies
from zarrbench.haplotypes.sequences import PersonalWindow, personal_window
from zarrbench.models.enformer import extraction, parity
from zarrbench.models.enformer.architecture import Architecture
from zarrbench.models.enformer.cost import stock_flops
from zarrbench.models.enformer.extraction import extract
from zarrbench.models.enformer.forward import Forward
from zarrbench.models.enformer.precision import set_precision
from zarrbench.models.enformer.saved_model import Stock, open_released
from zarrbench.models.enformer.trial import trial
from zarrbench.models.enformer.weights import random_weights, save_weights
from zarrbench.models.enformer_model import EnformerModel, EnformerRecipe
from zarrbench.models.protocol import DifferentiableModel, WindowModel
from zarrbench.predictions.plan import Predict, described_recipe
from zarrbench.predictions.readouts import Readout
from zarrbench.predictions.worker import Input, predict_distinct
from zarrbench.recipes import parse
from zarrbench.sources import Source

#: descriptions of tracks T0, T1, ...; two have the same
DESCRIPTIONS = ("CAGE:liver", "DNASE:liver", "CAGE:lung", "CAGE:brain", "twice", "twice", "T0")


@pytest.fixture(scope="module", autouse=True)
def _precision():
    yield
    set_precision("tensorfloat32")


@pytest.fixture(scope="module")
def targets(tmp_path_factory) -> Callable[..., Path]:
    """Write a targets table."""

    def write(*descriptions: str) -> Path:
        path = tmp_path_factory.mktemp("targets") / "targets.txt"
        rows = [f"{i}\tT{i}\t{text}" for i, text in enumerate(descriptions or DESCRIPTIONS)]
        path.write_text("\n".join(["index\tidentifier\tdescription", *rows, ""]))
        return path

    return write


@pytest.fixture(scope="module")
def load(targets, slim) -> Callable[..., EnformerModel]:
    """Load a model from a folder or file."""

    def make(place: Path, table: Path | None = None, **fields: object) -> EnformerModel:
        sizes = {"input_length": slim.input_length, "bins": slim.output_bins}
        recipe = EnformerRecipe(Source("place"), Source("targets"), **{**sizes, **fields})
        return recipe.load({"place": place, "targets": table or targets()})

    return make


@pytest.fixture(scope="module")
def folder(saved_model, slim) -> Path:
    return saved_model(slim)


@pytest.fixture(scope="module")
def converted(folder, tmp_path_factory) -> Path:
    """The weights of the SavedModel as one file."""
    path = tmp_path_factory.mktemp("converted") / "enformer.safetensors"
    save_weights(*extract(open_released(folder)), path, {"source": "the stand-in"})
    return path


@pytest.fixture(scope="module")
def shared_model(load, folder) -> EnformerModel:
    return load(folder)


@pytest.fixture(scope="module")
def stock_model(load, folder) -> EnformerModel:
    return load(folder, forward="stock", batch_size=3)


@pytest.fixture(scope="module")
def personal(family, slim) -> PersonalWindow:
    window = Window("chr1", 1000, 1000 + slim.input_length, anchor=1400)
    return personal_window(
        family.genotypes, family.reference, window, Policies(indels="anchor_tss")
    )


def predicted(model: EnformerModel, personal: PersonalWindow, bins: range) -> np.ndarray:
    prepared = model.prepare_window(personal)
    return np.concatenate(list(model.predict_window(personal, prepared, "GENE", bins)))


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest one, relative to the range."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.ptp(expected))


# --- the recipe -----------------------------------------------------------------------------------


def test_a_recipe_of_a_pipeline():
    recipe = parse(EnformerRecipe, {"source": "models/enformer", "targets": "t.txt"}, "model")
    spec = recipe.spec()
    assert (spec.name, spec.input_length, spec.tss_index) == ("enformer", 196_608, 98_304)
    assert (spec.bins, spec.batch_size, spec.strand_aware) == (896, 1, False)
    assert recipe.sources() == (Source("models/enformer"), Source("t.txt"))
    assert recipe.process_bytes == int(7.5 * 2**30)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 15}, r"batch_size must lie in 1\.\.14, found 15"),
        ({"batch_size": 0}, r"batch_size must lie in 1\.\.14, found 0"),
        ({"memory_gib": 0.0}, "memory_gib must be positive"),
        ({"memory_gib": float("nan")}, "memory_gib must be positive"),
        ({"tracks": []}, "at least one track"),
        ({"targets": "m"}, "source and targets are the same file 'm'"),
        ({"forward": "stock", "precision": "bfloat16"}, "the stock model has no bfloat16"),
        ({"forward": "fast"}, "forward"),
        ({"precision": "float16"}, "precision"),
        ({"source": {"file": "enformer", "sha256": "0" * 64}}, "it takes no url, sha256 or size"),
    ],
)
def test_impossible_recipes_are_refused(fields, message):
    with pytest.raises(RecipeError, match=message):
        parse(EnformerRecipe, {"source": "m", "targets": "t", **fields}, "model")
    parse(EnformerRecipe, {"source": "m", "targets": "t", "batch_size": 14}, "model")


def test_batches_that_do_not_fit_the_device_end_the_run_in_one_sentence(
    load, folder, converted, monkeypatch
):
    def full(*_: object) -> None:
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory allocating 2 GB")

    monkeypatch.setattr(Forward, "window", full)
    for place in (folder, converted):
        assert_refused(lambda place=place: load(place), "too little memory for 'enformer' with "
                       "memory_gib: 6; give less")  # fmt: skip


def test_a_dry_run_of_the_stock_model_shares_whole_sequences_only():
    recipe = EnformerRecipe(Source("m"), Source("t"), forward="stock")
    personal = trial(Architecture())
    cost = recipe.estimate(personal, 5, 5313)
    assert (cost.tiles, cost.shared) == (0, stock_flops(Architecture()))
    shared = dataclasses.replace(recipe, forward="shared").estimate(personal, 5, 5313)
    assert (shared.tiles, shared.stock) == (382, cost.stock)


def test_a_handle_is_where_it_was_fetched_to(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ZARRBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("TFHUB_CACHE_DIR", raising=False)
    recipe = EnformerRecipe(Source("enformer"), Source("t"))
    with pytest.raises(
        SourceError, match=r"the model enformer is not fetched.*run 'zarrbench model"
    ):
        recipe.sources()
    name = "c444fdff3e183daf686869692c26e00391f6773c"
    shutil.copytree(folder, tmp_path / "hub" / name)
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    assert recipe.sources() == (Source(str(tmp_path / "hub" / name)), Source("t"))


@pytest.mark.parametrize("tracks", [None, ("T1", "CAGE:brain")])
def test_sizes_of_batches_do_not_make_another_recipe(family, tracks):
    recipe = EnformerRecipe(Source("m"), Source("t"), tracks=tracks)
    other = dataclasses.replace(recipe, batch_size=1, memory_gib=2.0, source=Source("elsewhere"))
    predict = Predict(Readout("raw_sum", (27,)))
    found, same = (described_recipe(family, r, predict)["model"] for r in (recipe, other))
    assert found == same
    assert found["tracks"] == (None if tracks is None else list(tracks))
    stock = dataclasses.replace(recipe, forward="stock")
    assert described_recipe(family, stock, predict)["model"] != found


@pytest.mark.parametrize(
    ("asked", "ids"),
    [
        (None, ["T0", "T1", "T2", "T3", "T4", "T5", "T6"]),
        (("CAGE:brain",), ["T3"]),
        (("CAGE:lung", "T5", "CAGE:liver"), ["T2", "T5", "T0"]),
        (("T0",), ["T0"]),  # though it describes T6
    ],
)
def test_tracks_are_told_by_id_or_description(targets, asked, ids):
    recipe = EnformerRecipe(Source("m"), Source("t"), tracks=asked)
    assert [track.id for track in recipe.read_tracks({"t": targets()})] == ids


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("CAGE:brian", "there is no track 'CAGE:brian'.*CAGE:brain"),
        ("twice", "2 tracks are called 'twice': choose one of T4, T5"),
    ],
)
def test_tracks_that_are_none_or_several(targets, asked, message):
    recipe = EnformerRecipe(Source("m"), Source("t"), tracks=(asked,))
    with pytest.raises(RecipeError, match=message):
        recipe.read_tracks({"t": targets()})


# --- predictions ----------------------------------------------------------------------------------


def test_shared_and_stock_and_converted_predict_alike(
    load, shared_model, stock_model, converted, personal
):
    from_file = load(converted)
    models = (shared_model, stock_model, from_file)
    assert [type(model._network) for model in models] == [Forward, Stock, Forward]
    assert all(isinstance(model, WindowModel) for model in models)
    assert [model.remark for model in models] == ["", "", ""]
    bins = range(10, 40)
    shared, stock, file = (predicted(model, personal, bins) for model in models)
    assert len(shared) == personal.n_rows > 20
    assert difference(shared, stock) <= 1e-5
    assert difference(file, shared) <= 1e-6


def test_whole_sequences_are_those_of_the_window(shared_model, stock_model, personal, slim):
    codes = personal.codes(slice(7))
    every = range(slim.output_bins)
    for model in (shared_model, stock_model):
        found = model.predict(codes, "GENE")
        assert difference(found, predicted(model, personal, every)[:7]) <= 1e-5
        one = model.predict(codes[2:3], "GENE")
        assert difference(one, found[2:3]) <= 1e-5


def test_readouts_of_a_task_are_alike(shared_model, stock_model, personal):
    more = {
        "sum": Readout("sum_log", (27, 28)),
        "log": Readout("log_sum", tuple(range(25, 31)), 10),
    }
    predict = Predict(Readout("raw_sum", (26, 27, 28)), more, store_bins=True)
    shared, stock = (
        predict_distinct(model, Input(personal, model.prepare_window(personal)), "GENE", predict)
        for model in (shared_model, stock_model)
    )
    assert shared.pop("output").shape == (personal.n_rows, 6, 7)
    assert len(shared) == 3
    for name in shared:
        assert shared[name].shape == (personal.n_rows, 7)
        assert difference(shared[name], stock[name]) <= 1e-5


@pytest.mark.parametrize("forward", ["shared", "stock"])
def test_chosen_tracks_are_those_of_all(load, folder, shared_model, personal, forward):
    model = load(folder, tracks=("CAGE:brain", "T1"), forward=forward)
    assert [track.id for track in model.tracks] == ["T3", "T1"]
    bins = range(20, 22)
    expected = predicted(shared_model, personal, bins)[..., [3, 1]]
    assert difference(predicted(model, personal, bins), expected) <= 1e-5


def test_shared_and_stock_and_converted_have_one_gradient(
    load, folder, shared_model, stock_model, converted, random_codes, slim
):
    codes, bins = random_codes(slim.input_length), range(26, 29)
    weights = np.random.default_rng(0).standard_normal((3, 7)).astype(np.float32)
    models = (shared_model, stock_model, load(converted))
    assert all(isinstance(model, DifferentiableModel) for model in models)
    shared, stock, file = (model.input_gradient(codes, "GENE", bins, weights) for model in models)
    assert (shared.shape, shared.dtype) == ((slim.input_length, 4), np.float32)
    assert difference(shared, stock) <= 1e-5
    assert difference(file, shared) <= 1e-6
    weights[:, [0, 2, 4, 5, 6]] = 0
    expected = shared_model.input_gradient(codes, "GENE", bins, weights)
    chosen = load(folder, tracks=("CAGE:brain", "T1"))
    found = chosen.input_gradient(codes, "GENE", bins, weights[:, [3, 1]])
    assert difference(found, expected) <= 1e-5
    for shape in ((1, slim.input_length), (slim.input_length - 1,)):
        with pytest.raises(ModelInputError, match="Enformer reads 768 bases, got sequences of"):
            shared_model.input_gradient(np.zeros(shape, np.uint8), "GENE", bins, weights)


def test_bfloat16_is_close(load, converted, shared_model, personal):
    model, bins = load(converted, precision="bfloat16"), range(20, 30)
    exact = predicted(shared_model, personal, bins)
    assert 1e-5 < difference(predicted(model, personal, bins), exact) < 0.1


def test_sequences_of_another_length_are_refused(shared_model, slim):
    for shape in ((2, 2 * slim.input_length), (slim.input_length,), (1, 1)):
        with pytest.raises(ModelInputError, match="Enformer reads 768 bases, got sequences of"):
            shared_model.predict(np.zeros(shape, np.uint8), "GENE")


# --- graphs that are not known --------------------------------------------------------------------


def refuse(*_: object) -> None:
    raise UnknownGraphError("its products are odd")


@pytest.mark.parametrize("reason", ["unknown", "different"])
def test_an_unknown_graph_runs_as_it_is(load, folder, stock_model, personal, monkeypatch, reason):
    if reason == "unknown":
        monkeypatch.setattr(extraction, "extract", refuse)
        expected = "is unknown (its products are odd); the stock model runs instead"
    else:
        monkeypatch.setattr(parity, "compare", lambda *_: parity.Parity(0.2, 2.0))
        expected = "by 1.0e-01 of the output's range, more than 1e-04; the stock model runs instead"
    model = load(folder)
    assert isinstance(model._network, Stock)
    assert expected in model.remark
    assert str(folder) in model.remark
    bins = range(3)
    assert (
        difference(predicted(model, personal, bins), predicted(stock_model, personal, bins)) < 1e-5
    )
    with pytest.raises(ModelInputError, match="and the stock model has no bfloat16"):
        load(folder, precision="bfloat16")


# --- what cannot be loaded ------------------------------------------------------------------------


def assert_refused(call: Callable[[], object], *parts: str) -> None:
    """One clear sentence."""
    with pytest.raises((ModelInputError, SourceError)) as refused:
        call()
    message = str(refused.value)
    assert "\n" not in message
    assert len(message) < 600
    for part in parts:
        assert part in message


@pytest.mark.parametrize("source", ["folder", "converted"])
def test_another_size_than_the_recipe_says_is_refused(load, targets, request, source):
    place = request.getfixturevalue(source)
    fewer = targets(*DESCRIPTIONS[:5])
    assert_refused(lambda: load(place, fewer), "has 7 human tracks", "say 5", "targets")
    assert_refused(lambda: load(place, input_length=1536), "has 768 bases of input", "say 1536")
    assert_refused(lambda: load(place, bins=896), "has 56 bins", "say 896")


@pytest.mark.parametrize("source", ["folder", "converted"])
def test_too_little_memory_is_refused(load, request, source):
    place = request.getfixturevalue(source)
    expected = "memory_gib of 'enformer'", "too few for one sequence: give at least"
    assert_refused(lambda: load(place, memory_gib=2**-20), *expected)


def test_converted_weights_are_for_the_shared_forward(load, converted):
    assert_refused(
        lambda: load(converted, forward="stock"), "which only the shared forward reads", "leave out"
    )


@pytest.mark.parametrize("content", ["text", "half", "almost", "empty"])
def test_a_file_that_holds_no_weights_is_refused(load, converted, tmp_path, content):
    whole, path = converted.read_bytes(), tmp_path / "enformer.safetensors"
    path.write_bytes(
        {"text": b"index\tidentifier\n" * 50, "half": whole[: len(whole) // 2],
         "almost": whole[:-1], "empty": b""}[content]
    )  # fmt: skip
    assert_refused(lambda: load(path), str(path), "cannot be read as safetensors")


def test_a_broken_folder_is_refused(load, folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    data = copy / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])
    assert_refused(lambda: load(copy), "damaged or incomplete: fetch it again")
    (copy / "saved_model.pb").unlink()
    assert_refused(lambda: load(copy), "it has no saved_model.pb")


def test_weights_of_another_network_under_the_same_format(load, slim, tmp_path):
    other = dataclasses.replace(slim, tracks=9)
    save_weights(other, random_weights(other), tmp_path / "w", {})
    assert_refused(lambda: load(tmp_path / "w"), "has 9 human tracks", "say 7")


def test_the_released_sizes_are_what_a_recipe_expects():
    recipe, released = EnformerRecipe(Source("m"), Source("t")), Architecture()
    assert (recipe.input_length, recipe.bins) == (released.input_length, released.output_bins)
