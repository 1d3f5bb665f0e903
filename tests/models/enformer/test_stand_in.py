"""The stand-in against our own network, and against what is known of the released graph."""

import collections
import functools
import re

import numpy as np
import pytest

from zarrbench.genome.bases import ONE_HOT
from zarrbench.models.enformer.architecture import SMALL, TINY, Architecture
from zarrbench.models.enformer.positions import position_features
from zarrbench.models.enformer.stand_in import graph_features, write_saved_model
from zarrbench.models.enformer.weights import random_weights

tf = pytest.importorskip("tensorflow")

MARGIN = TINY.input_length // 2
# Names that two programs of other people look up in the released graph
POOLING = ("Reshape", "linear/MatMul", "transpose", "Softmax", "transpose_1", "mul", "Sum")
ATTENTION = (
    *("MatMul", "MatMul_1", "add_3", "Softmax", "r_k_layer/transpose", "batch_apply/Prod"),
    *("strided_slice_5", "zeros_like", "concat_2", "Reshape_3", "Slice", "Reshape_4", "Slice_1"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("stand_in") / "tiny"
    weights = random_weights(TINY) | {"not ours": np.zeros(3, np.float32)}
    write_saved_model(TINY, weights, path, mouse_tracks=5)
    return path


@pytest.fixture(scope="module")
def loaded(folder):
    return tf.saved_model.load(str(folder))


@pytest.fixture(scope="module")
def graph(loaded):
    [function] = loaded.model.predict_on_batch.concrete_functions
    return function.graph


def compiled_features(architecture: Architecture) -> np.ndarray:
    of_size = functools.partial(graph_features, architecture.bins, architecture.value_size)
    return tf.function(of_size)()[0].numpy()


def padded(codes: np.ndarray) -> np.ndarray:
    """One-hot, in the middle of zeros."""
    margin = codes.shape[1] // 2
    return np.pad(ONE_HOT[codes], ((0, 0), (margin, margin), (0, 0)))


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the range."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.ptp(expected))


@pytest.mark.parametrize("batch", [1, 3])
def test_it_predicts_what_our_network_predicts(loaded, make_enformer, random_codes, batch):
    codes = random_codes(batch, TINY.input_length)
    found = {k: v.numpy() for k, v in loaded.model.predict_on_batch(padded(codes)).items()}
    assert found.keys() == {"human", "mouse"}
    assert found["mouse"].shape == (batch, TINY.output_bins, 5)
    assert found["mouse"].std() > 0.1
    features = compiled_features(TINY)
    assert difference(found["human"], make_enformer(TINY, features)(codes)) <= 1e-5
    assert difference(found["human"], make_enformer(TINY, 0 * features)(codes)) > 1e-2


def test_only_the_middle_of_the_window_counts(loaded, random_codes):
    window = ONE_HOT[random_codes(1, 2 * TINY.input_length)]
    centred = window.copy()
    centred[:, :MARGIN] = centred[:, -MARGIN:] = 0
    shifted = np.roll(window, 1, axis=1)
    whole, centre, other = (
        loaded.model.predict_on_batch(x)["human"].numpy() for x in (window, centred, shifted)
    )
    np.testing.assert_array_equal(whole, centre)
    assert difference(other, whole) > 1e-3


@pytest.mark.parametrize("sizes", [TINY, SMALL, Architecture()])
def test_its_position_features_are_ours(sizes):
    ours = position_features(sizes.bins, sizes.value_size)
    for theirs in (
        graph_features(sizes.bins, sizes.value_size)[0].numpy(),
        compiled_features(sizes),
    ):
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=3e-3)


def test_it_is_called_as_the_released_model_is(loaded, graph):
    assert not loaded.signatures
    assert not hasattr(loaded, "variables")
    assert not hasattr(loaded.model, "variables")
    placeholder = graph.inputs[0]
    assert placeholder.dtype == tf.float32
    assert placeholder.shape.as_list() == [None, 4 * MARGIN, 4]
    [first] = placeholder.consumers()
    assert (first.type, first.name) == ("StridedSlice", "seqnn/trunk/crop_input/strided_slice")
    # flat: nothing is called, nothing branches
    types = {operation.type for operation in graph.get_operations()}
    assert not {kind for kind in types if "Call" in kind or kind in ("If", "While")}


def test_its_graph_has_the_names_of_the_released_one(graph):
    names = {operation.name for operation in graph.get_operations()}
    stages = ["stem", *(f"downres/downres_block_{i}" for i in range(6))]
    expected = {f"{s}/pooling/softmax_pooling/{part}" for s in stages for part in POOLING}
    for layer in range(TINY.layers):
        attention = f"transformer/transformer_block_{layer}/mha/multihead_attention"
        expected |= {f"{attention}/{part}" for part in ATTENTION}
    expected |= {"final_pointwise/mul_1"}
    assert {f"seqnn/trunk/{name}" for name in expected} <= names


def test_its_variables_are_those_of_the_released_one(folder, loaded):
    [function] = loaded.model.predict_on_batch.concrete_functions
    # A flat list of what the file holds: the graph reads fewer
    stored = tf.train.list_variables(str(folder / "variables" / "variables"))
    found = [name for name, _ in stored if name.endswith("VARIABLE_VALUE")]
    norms = 14
    # 329 in the released one, with 11 layers of 16 variables
    assert len(found) == 329 - 16 * (11 - TINY.layers)
    assert len(function.captured_inputs) == len(found) - 4 * norms
    shared = "exponential_moving_average/average:0"
    names = collections.Counter(variable.name for variable in function.variables)
    twice = {name for name, count in names.items() if count == 2}
    assert len(twice) == norms
    assert all(name.endswith(shared) for name in twice)
    assert set(names.values()) == {1, 2}
    averages = [v for v in function.variables if v.name.endswith(shared)]
    assert {tuple(v.shape[:2]) for v in averages} == {(1, 1)}
    assert not [name for name in names if re.search("hidden|counter", name)]


def test_no_weight_is_a_constant(graph):
    constants = [op for op in graph.get_operations() if op.type == "Const"]
    assert max(op.outputs[0].shape.num_elements() for op in constants) <= 4


def test_tensorflow_hub_loads_it(folder, loaded, random_codes):
    hub = pytest.importorskip("tensorflow_hub")
    x = padded(random_codes(1, TINY.input_length))
    model = hub.load(str(folder)).model  # which keeps the variables: its function alone would not
    found, expected = (each.predict_on_batch(x)["human"] for each in (model, loaded.model))
    np.testing.assert_array_equal(found, expected)


def test_it_replaces_what_was_there_and_nothing_by_halves(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old").touch()
    weights = random_weights(TINY)
    incomplete = {name: array for name, array in weights.items() if name != "human/bias"}
    with pytest.raises(KeyError):
        write_saved_model(TINY, incomplete, folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "old"]
    write_saved_model(TINY, weights, folder)
    assert not (folder / "old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.slow
def test_small_has_the_sizes_of_the_released_model(tmp_path, make_enformer, random_codes):
    enformer = make_enformer(SMALL, compiled_features(SMALL))
    write_saved_model(SMALL, enformer.arrays, tmp_path / "small")
    model = tf.saved_model.load(str(tmp_path / "small")).model
    [function] = model.predict_on_batch.concrete_functions
    assert function.inputs[0].shape.as_list() == [None, 393_216, 4]
    codes = random_codes(1, SMALL.input_length)
    found = model.predict_on_batch(padded(codes))
    assert found["human"].shape == (1, 896, 5313)
    assert found["mouse"].shape == (1, 896, 1643)
    assert difference(found["human"].numpy(), enformer(codes)) <= 1e-5
