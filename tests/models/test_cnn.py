"""The study's CNN: its architecture, its numbers by hand, and files that hold another network."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from zarrbench.errors import ModelInputError
from zarrbench.genome.gene_subset import GeneSubset
from zarrbench.models.cnn import CnnRecipe, untrained
from zarrbench.models.training import Training
from zarrbench.sources import Source

TRAINING = Training(held_out=GeneSubset("test", genes=Source("test.tsv")))
SMALL = {"input_length": 41, "kernels": 3, "kernel_width": 4, "pool": 7, "dense": 5}


def recipe(**fields: object) -> CnnRecipe:
    return CnnRecipe(**{"name": "cnn", "weights": Source("cnn.keras"), "training": TRAINING,
                        **fields})  # fmt: skip


def by_hand(codes: np.ndarray, weights: list[np.ndarray], pool: int) -> np.ndarray:
    """The network, slow and plain."""
    kernel, bias, hidden, hidden_bias, last, last_bias = weights
    found = []
    for sequence in codes:
        hot = np.array([[base == channel for channel in range(4)] for base in sequence], float)
        places = len(hot) - len(kernel) + 1
        scans = np.array([(hot[i : i + len(kernel), :, None] * kernel).sum((0, 1)) + bias
                          for i in range(places)]).clip(0)  # fmt: skip
        pooled = [scans[i * pool : (i + 1) * pool].mean(0) for i in range(places // pool)]
        units = (np.concatenate(pooled) @ hidden + hidden_bias).clip(0)
        found.append(units @ last + last_bias)
    return np.array(found)


def test_parameters_of_the_study() -> None:
    network = untrained(recipe())
    assert network.count_params() == 36_900 + 7_920_200 + 201 == 7_957_301
    assert [tuple(layer.output.shape[1:]) for layer in network.layers] == [
        (39_992, 900), (44, 900), (39_600,), (200,), (1,)
    ]  # fmt: skip
    spec = recipe().spec()
    assert (spec.input_length, spec.tss_index, spec.strand_aware, spec.bins) == (
        40_001, 20_000, False, 1
    )  # fmt: skip


def test_a_prediction_by_hand(tmp_path: Path) -> None:
    small = recipe(**SMALL)
    network = untrained(small)
    network.set_weights([w + 0.1 for w in network.get_weights()])  # biases are not 0
    network.save(tmp_path / "cnn.keras")
    model = small.load({"cnn.keras": tmp_path / "cnn.keras"})
    assert [track.id for track in model.tracks] == ["expression"]
    assert small.read_tracks({}) == model.tracks
    codes = np.random.default_rng(1).integers(0, 5, (6, 41)).astype(np.uint8)
    expected = by_hand(codes, network.get_weights(), pool=7)
    found = model.predict(codes, "G")
    assert found.shape == (6, 1, 1)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)
    assert np.ptp(found) > 0.01
    with pytest.raises(ModelInputError, match="the model 'cnn' reads 41 bases"):
        model.predict(codes[:, 1:], "G")


def test_people_share_what_is_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred sequences that differ in the second piece only, in one of three ways."""
    small = recipe(**SMALL, batch_size=8)
    network = untrained(small)
    network.save(tmp_path / "cnn.keras")
    model = small.load({"cnn.keras": tmp_path / "cnn.keras"})
    rng = np.random.default_rng(1)
    codes = np.tile(rng.integers(0, 4, 41).astype(np.uint8), (100, 1))
    codes[:, 11] = rng.integers(0, 3, 100)  # the first piece ends with base 9
    scan, scanned = model._scan, []
    monkeypatch.setattr(model, "_scan", lambda pieces: scanned.append(len(pieces)) or scan(pieces))
    found = model.predict(codes, "G")[:, 0]
    assert scanned == [5 + 2]
    np.testing.assert_allclose(found, by_hand(codes, network.get_weights(), 7), rtol=1e-5)
    assert len(np.unique(found)) == 3
    # Alone or with others: the same bits
    for row in (0, 1, 57, 99):
        np.testing.assert_array_equal(model.predict(codes[row : row + 1], "G")[0, 0], found[row])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kernels": 4}, r"layer 1\.filters: 3 -> 4"),
        ({"kernel_width": 5}, r"layer 1\.kernel_size: \[4\] -> \[5\]"),
        ({"pool": 6}, r"layer 2\.pool_size: \[7\] -> \[6\]"),
        ({"dense": 6}, r"layer 4\.units: 5 -> 6"),
    ],
)
def test_weights_of_another_architecture(tmp_path: Path, changed: dict, message: str) -> None:
    path = tmp_path / "cnn.keras"
    untrained(recipe(**{**SMALL, **changed})).save(path)
    with pytest.raises(
        ModelInputError,
        match=rf"^{path} does not hold the network of the recipe \(.*{message}.*\); correct the "
        r"recipe, or train it again with 'zarrbench model train'$",
    ):
        recipe(**SMALL).load({"cnn.keras": path})


def test_weights_of_another_length_or_activation(tmp_path: Path) -> None:
    path = tmp_path / "cnn.keras"
    untrained(recipe(**{**SMALL, "input_length": 42})).save(path)
    with pytest.raises(ModelInputError, match=r"input: \[\[41, 4\]\] -> \[\[42, 4\]\]"):
        recipe(**SMALL).load({"cnn.keras": path})
    other = keras.Sequential([keras.Input((41, 4)), layers.Conv1D(3, 4, activation="gelu"),
                              *untrained(recipe(**SMALL)).layers[1:]])  # fmt: skip
    other.save(path)
    with pytest.raises(ModelInputError, match=r"layer 1\.activation: \"relu\" -> \"gelu\""):
        recipe(**SMALL).load({"cnn.keras": path})


def test_a_network_of_the_same_kind_that_others_saved(tmp_path: Path) -> None:
    """Names of layers and the class of the model do not count."""
    own = untrained(recipe(**SMALL))
    dna = keras.Input((41, 4), name="dna")
    output = dna
    for layer in own.layers:
        output = layer(output)
    keras.Model(dna, output).save(tmp_path / "cnn.keras")
    codes = np.zeros((2, 41), dtype=np.uint8)
    model = recipe(**SMALL).load({"cnn.keras": tmp_path / "cnn.keras"})
    np.testing.assert_allclose(
        model.predict(codes, "G")[:, 0], by_hand(codes, own.get_weights(), 7), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kernels": 0}, "kernels must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"input_length": 908}, r"kernel_width \+ pool - 1 = 909 bases, found 908"),
        ({"weights": Source("cnn.h5")}, "weights must name a .keras file, found 'cnn.h5'"),
    ],
)
def test_recipes_that_mean_nothing(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(**fields)


def test_the_shortest_input() -> None:
    assert untrained(recipe(input_length=909, kernels=2)).layers[1].output.shape == (None, 1, 2)
