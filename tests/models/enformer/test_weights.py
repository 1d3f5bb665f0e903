import dataclasses

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from zarrbench.errors import ModelInputError, RecipeError
from zarrbench.models.enformer.architecture import TINY, shapes
from zarrbench.models.enformer.weights import load_weights, random_weights, save_weights


def test_weights_come_back_as_they_were_saved(tmp_path):
    weights = random_weights(TINY, seed=3)
    assert {name: array.shape for name, array in weights.items()} == shapes(TINY)
    save_weights(TINY, weights, tmp_path / "w.safetensors", {"source": "drawn"})
    architecture, found = load_weights(tmp_path / "w.safetensors")
    assert architecture == TINY
    with safe_open(tmp_path / "w.safetensors", framework="np") as file:
        assert file.metadata()["source"] == "drawn"
    assert found.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(found[name], array)


def test_random_weights_are_those_of_their_seed_and_none_is_idle():
    weights, again, other = (random_weights(TINY, seed) for seed in (0, 0, 1))
    for name, array in weights.items():
        np.testing.assert_array_equal(array, again[name])
        assert (array != other[name]).any() != (name == "positions")
        assert array.any()
    variances = [array for name, array in weights.items() if name.endswith("/variance")]
    assert min(array.min() for array in variances) >= 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("human/bias"), "1 are missing or unknown, such as human/bias"),
        (lambda w: w.update(odd=w["human/bias"]), "such as odd"),
        (lambda w: w.update({"human/bias": np.zeros(8, np.float32)}), r"\(8,\), expected"),
        (lambda w: w.update({"human/bias": np.zeros(7, np.float16)}), "human/bias is float16"),
    ],
)
def test_other_weights_are_refused(tmp_path, change, message):
    weights = random_weights(TINY)
    change(weights)
    save_weights(TINY, weights, tmp_path / "w.safetensors", {})
    with pytest.raises(ModelInputError, match=message):
        load_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize("content", [None, b"", b"not safetensors at all"])
def test_a_file_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelInputError, match="cannot be read as safetensors"):
        load_weights(path)


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(TINY, random_weights(TINY), path, {})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelInputError, match="cannot be read as safetensors"):
        load_weights(path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "was not written by 'zarrbench model convert': its format is None"),
        ({"format": "pt"}, "its format is 'pt', expected 'zarrbench.enformer.1'"),
        ({"architecture": None}, "its sizes cannot be read"),
        ({"architecture": "{"}, "its sizes cannot be read"),
        ({"architecture": '{"bins": "many"}'}, "bins"),
        ({"architecture": '{"bins": 4}'}, "cropping 320 of 4 rows"),
        ({"architecture": '{"depth": 4}'}, "unknown key 'depth'"),
    ],
)
def test_a_file_of_somebody_else_is_refused(tmp_path, metadata, message):
    path = tmp_path / "w.safetensors"
    if metadata is not None:
        own = {"format": "zarrbench.enformer.1", **metadata}
        metadata = {key: value for key, value in own.items() if value is not None}
    save_file({"x": np.zeros(3, np.float32)}, path, metadata)
    with pytest.raises((ModelInputError, RecipeError), match=message):
        load_weights(path)


def test_weights_of_other_sizes_than_the_file_says_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(dataclasses.replace(TINY, key_size=4), random_weights(TINY), path, {})
    with pytest.raises(ModelInputError, match=r"attention/query is float32 \(48, 16\), expected"):
        load_weights(path)
