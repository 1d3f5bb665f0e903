import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zarrbench.errors import ModelInputError, RecipeError
from zarrbench.models import protocol
from zarrbench.models.keras_model import KerasRecipe
from zarrbench.models.motif_model import MotifRecipe
from zarrbench.models.protocol import (
    LoadableModel,
    ModelSpec,
    Track,
    held_back_output,
    loaded,
    parse_model,
)
from zarrbench.sources import Source

KERAS = {
    "kind": "keras",
    "name": "toy",
    "file": "toy.keras",
    "input_length": 100,
    "tss_index": 50,
    "strand_aware": True,
    "tracks": [{"id": "a", "description": "first"}, {"id": "b"}],
}


def test_both_kinds_are_entry_points() -> None:
    kinds = {point.name: point.load() for point in entry_points(group=protocol.GROUP)}
    assert kinds["keras"] is KerasRecipe
    assert kinds["motif"] is MotifRecipe


def test_a_description_becomes_a_recipe() -> None:
    assert parse_model({"kind": "motif"}, "p: model") == MotifRecipe()
    recipe = parse_model(KERAS, "p: model")
    tracks = (Track("a", "first"), Track("b"))
    assert recipe == KerasRecipe("toy", Source("toy.keras"), 100, 50, True, tracks)
    assert recipe.spec() == ModelSpec("toy", 100, 50, True, bins=1, batch_size=64)
    assert recipe.read_tracks({}) == tracks
    assert recipe.sources() == (Source("toy.keras"),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "kears"}, r"model\.kind: there is no model kind 'kears'; did you mean 'keras'\?"),
        ({"kind": ["keras"]}, r"model\.kind: there is no model kind"),
        ({"kind": None}, r"model\.kind: there is no model kind 'None'"),
        ({"batchsize": 3}, "model: unknown key 'batchsize'; did you mean 'batch_size'"),
        ({"batch_size": 0}, "model: batch_size must be at least 1"),
        ({"tss_index": 100}, "model: tss_index 100 lies outside the input of 100 bases"),
        ({"tss_index": -1}, "model: tss_index -1 lies outside"),
        ({"tracks": []}, "model: a model needs at least one track, each with an id of its own"),
        ({"tracks": [{"id": "a"}, {"id": "a"}]}, "each with an id of its own"),
        ({"tracks": [{"name": "a"}]}, r"model\.tracks\[0\]: unknown key 'name'"),
        ({"channels": "ACGU"}, "model: channels must hold each of A, C, G, T once, not 'ACGU'"),
        ({"extra_inputs": {"x": {}}}, r"extra_inputs\.x: .*either 'constant' or 'table'"),
        (
            {"extra_inputs": {"x": {"constant": 1, "table": "t.tsv"}}},
            r"extra_inputs\.x: .*either 'constant' or 'table'",
        ),
    ],
)
def test_refused_descriptions(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_model({**KERAS, **change}, "p: model")


@pytest.mark.parametrize("data", [None, "keras", ["keras"], {}, {"name": "toy"}])
def test_a_description_needs_a_kind(data: Any) -> None:
    with pytest.raises(RecipeError, match="p: model: expected a mapping with the key 'kind'"):
        parse_model(data, "p: model")


PLUG_IN = """
    from collections.abc import Mapping
    from dataclasses import dataclass
    from pathlib import Path
    import numpy as np
    from zarrbench.models.protocol import ModelSpec, Track

    @dataclass(frozen=True)
    class GcRecipe:
        input_length: int = 10

        def spec(self):
            return ModelSpec("gc", self.input_length, 5, False, 1, 8)

        def read_tracks(self, files):
            return (Track("gc"),)

        def sources(self):
            return ()

        def load(self, files):
            return GcModel(self)

    class GcModel:
        def __init__(self, recipe):
            self.spec, self.tracks = recipe.spec(), recipe.read_tracks({})

        def predict(self, codes, gene):
            share = np.isin(codes, (1, 2)).mean(axis=1, dtype=np.float32)
            return share[:, None, None]
"""


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another package, installed in a folder of its own, that offers two model kinds."""
    (tmp_path / "gc_models.py").write_text(textwrap.dedent(PLUG_IN))
    facts = tmp_path / "gc_models-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: gc-models\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[zarrbench.models]\ngc = gc_models:GcRecipe\nbroken = gc_models_of_old:Recipe\n"
        "renamed = gc_models:OldRecipe\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("gc_models", None)


def test_another_package_adds_a_kind(plug_in: Path) -> None:
    recipe = parse_model({"kind": "gc", "input_length": 6}, "p: model")
    assert recipe.spec().input_length == 6
    model = loaded(LoadableModel(recipe, ()))
    codes = np.array([[0, 1, 2, 3, 4, 4]], dtype=np.uint8)
    np.testing.assert_allclose(model.predict(codes, "G"), [[[1 / 3]]])
    with pytest.raises(RecipeError, match="unknown key 'length'; did you mean 'input_length'"):
        parse_model({"kind": "gc", "length": 6}, "p: model")


@pytest.mark.parametrize("kind", ["broken", "renamed"])
def test_a_kind_that_cannot_be_imported(plug_in: Path, kind: str) -> None:
    with pytest.raises(RecipeError, match=f"the model kind '{kind}' cannot be imported from gc_m"):
        parse_model({"kind": kind}, "p: model")


@dataclass(frozen=True)
class Counting:
    """A model kind that counts how often it is loaded."""

    name: str = "a"

    def spec(self) -> ModelSpec:
        return ModelSpec(self.name, 10, 5, False, 1, 1)

    def read_tracks(self, files: Mapping[str, Path]) -> tuple[Track, ...]:
        return (Track("t"),)

    def sources(self) -> tuple[Source, ...]:
        return ()

    def load(self, files: Mapping[str, Path]) -> Any:
        TIMES_LOADED.append(self.name)
        if self.name == "bad":
            raise ModelInputError("it does not fit")
        return object()


@dataclass(frozen=True)
class CountingToo(Counting):
    """Another kind with the same fields."""


TIMES_LOADED: list[str] = []


@pytest.fixture
def times_loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(protocol, "_in_this_process", {})
    TIMES_LOADED.clear()
    return TIMES_LOADED


def test_a_network_is_loaded_once_in_a_process(times_loaded: list[str]) -> None:
    first = loaded(LoadableModel(Counting("a"), ()))
    assert loaded(LoadableModel(Counting("a"), ())) is first
    assert times_loaded == ["a"]
    assert loaded(LoadableModel(Counting("b"), ())) is not first
    assert times_loaded == ["a", "b"]
    # One at a time: a second would share the memory of the device.
    assert len(protocol._in_this_process) == 1


def test_models_differ_by_kind_recipe_and_files(times_loaded: list[str]) -> None:
    models = [
        LoadableModel(Counting("a"), ()),
        LoadableModel(Counting("b"), ()),
        LoadableModel(CountingToo("a"), ()),
        LoadableModel(Counting("a"), (("f", Path("/x/f")),)),
        LoadableModel(Counting("a"), (("f", Path("/y/f")),)),
    ]
    assert len({model.key for model in models}) == len(models)


def test_a_network_that_cannot_be_loaded_is_tried_again(times_loaded: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(ModelInputError, match="it does not fit"):
            loaded(LoadableModel(Counting("bad"), ()))
    assert times_loaded == ["bad", "bad"]


def held(program: str) -> str:
    """Return what a process writes to standard error when `program` runs with output held back."""
    start = "import os\nfrom zarrbench.errors import ModelInputError\n"
    start += "from zarrbench.models.protocol import held_back_output\n"
    ended = subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(program)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return ended.stderr


def test_what_native_libraries_say_is_held_back_unless_the_block_fails() -> None:
    program = """
    try:
        with held_back_output():
            os.write(2, b"native")
            {}
    except Exception:
        pass
    os.write(2, b"after")
    """
    assert held(program.format("pass")) == "after"
    assert held(program.format("raise ModelInputError('a sentence of our own')")) == "after"
    assert held(program.format("1 / 0")) == "nativeafter"


def test_held_back_output_restores_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with held_back_output():
        os.write(2, b"inside")
    os.write(2, b"outside")
    assert capfd.readouterr().err == "outside"
