"""Weights come back from the graph of the stand-in, however it is named and built."""

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from zarrbench.errors import UnknownGraphError
from zarrbench.models.enformer import stand_in
from zarrbench.models.enformer.architecture import SMALL, TINY, Architecture
from zarrbench.models.enformer.extraction import extract
from zarrbench.models.enformer.parity import compare
from zarrbench.models.enformer.saved_model import Released, open_released
from zarrbench.models.enformer.weights import random_weights

ODD = Architecture(
    bins=48, crop=3, filters=(8, 8, 10, 12, 12, 14, 18), layers=3, heads=1, key_size=5, tracks=4
)


@pytest.fixture
def rewritten(slim, monkeypatch) -> Callable[[dict[str, object]], Released]:
    """Make the stand-in, never saved, with other parts, by their names in its module."""

    def make(parts: dict[str, object]) -> Released:
        for name, part in parts.items():
            owner, _, own = name.rpartition(".")
            monkeypatch.setattr(getattr(stand_in, owner) if owner else stand_in, own, part)
        model = stand_in._Model(slim, random_weights(slim), 5)
        function = model.predict_on_batch.get_concrete_function()
        return Released(Path("rewritten"), SimpleNamespace(model=model), function)

    return make


def assert_extracted(released: Released, expected: Architecture, features: float = 1e-4) -> None:
    """Every weight is there to the last bit, position features to what rounding does to them."""
    architecture, found = extract(released)
    assert architecture == expected
    weights = random_weights(expected)
    assert found.keys() == weights.keys()
    np.testing.assert_allclose(
        found.pop("positions"), weights.pop("positions"), rtol=0, atol=features
    )
    for name, array in weights.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name, strict=True)


@pytest.mark.parametrize("architecture", [TINY, SMALL, ODD], ids=["tiny", "small", "odd"])
def test_every_weight_comes_back(released, architecture):
    assert_extracted(released(architecture), architecture)


def test_slim_comes_back(released, slim):
    assert_extracted(released(slim), slim)


@pytest.mark.parametrize("seed", range(2))
def test_names_say_nothing(rewritten, slim, seed):
    rng, variable, numbers = np.random.default_rng(seed), stand_in._variable, itertools.count()

    def name(*_: object) -> str:
        letters = "".join(rng.choice(list("abwqkv_"), 6)).strip("_")
        return f"x{letters}{next(numbers)}"

    found = rewritten(
        {
            "_scope": lambda _: tf.name_scope(f"{name()}/{name()}/"),
            "_variable": lambda _, *rest, **trained: variable(name(), *rest, **trained),
        }
    )
    names = [operation.name for operation in found.function.graph.get_operations()]
    assert not [n for n in names if "seqnn" in n]
    assert_extracted(found, slim)


def calling(loaded) -> Callable:
    return lambda x: loaded.model.predict_on_batch(x)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_graph_within_a_graph_is_unfolded(saved_model, slim, tmp_path, depth):
    folder = saved_model(slim)
    for level in range(depth):
        root, inner = tf.Module(), tf.saved_model.load(str(folder))
        root.model, root.inner = tf.Module(), inner
        spec = tf.TensorSpec([None, 2 * slim.input_length, 4])
        root.model.predict_on_batch = tf.function(calling(inner), input_signature=[spec])
        folder = tmp_path / str(level)
        tf.saved_model.save(root, str(folder))
    released = open_released(folder)
    types = {operation.type for operation in released.function.graph.get_operations()}
    assert types & {"StatefulPartitionedCall", "PartitionedCall"}
    assert "Conv2D" not in types
    assert_extracted(released, slim)
    assert compare(released, *extract(released)).same


def multiplied(multiply: Callable) -> Callable:
    """A linear layer whose product is computed in another way."""

    def call(self, x):
        with stand_in._scope(self._scope):
            x = multiply(x, self._w)
            return x if self._b is None else tf.add(x, self._b)

    return call


def batched(x, w):
    return tf.raw_ops.BatchMatMulV2(x=x, y=w)


def flattened(x, w):
    rows = tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), w)
    return tf.reshape(rows, tf.concat([tf.shape(x)[:-1], [w.shape[-1]]], axis=0))


@pytest.mark.parametrize(
    "multiply",
    [
        lambda x, w: tf.tensordot(x, w, axes=1),
        lambda x, w: tf.einsum("...c,cd->...d", x, w),
        lambda x, w: tf.einsum("cd,...c->...d", w, x),
        flattened,
        batched,
    ],
    ids=["tensordot", "einsum", "einsum of the weight first", "matmul of rows", "batch matmul"],
)
def test_products_may_be_written_in_another_way(rewritten, slim, multiply):
    released = rewritten({"_Linear.__call__": multiplied(multiply)})
    assert_extracted(released, slim)
    assert compare(released, *extract(released)).same


def test_kernels_that_lie_the_other_way_round_are_noticed(rewritten):
    """Which the walk does not see where they are square."""

    def transposed(self, x):
        with stand_in._scope(self._scope):
            square = self._w.shape[0] == self._w.shape[1]
            x = tf.matmul(x, self._w, transpose_b=square)
            return x if self._b is None else tf.add(x, self._b)

    released = rewritten({"_Linear.__call__": transposed})
    assert not compare(released, *extract(released)).same


def test_position_features_are_those_of_the_graph(rewritten, slim):
    features = np.random.default_rng(0).standard_normal((1, 2 * slim.bins - 1, slim.value_size))
    computed = rewritten({"graph_features": lambda *_: tf.constant(features, tf.float32) * 0.5})
    architecture, found = extract(computed)
    np.testing.assert_array_equal(found["positions"], features[0].astype(np.float32) / 2)
    parity = compare(computed, architecture, found)
    assert parity.same
    assert not compare(computed, architecture, random_weights(slim)).same


def test_features_of_every_layer_its_own_are_unknown(rewritten, slim):
    of_layer, own = iter(range(1, 9)), stand_in.graph_features
    released = rewritten({"graph_features": lambda *sizes: own(*sizes) * float(next(of_layer))})
    with pytest.raises(UnknownGraphError, match="position features of their own"):
        extract(released)


# --- other networks -------------------------------------------------------------------------------


def swapped_layer(self, x):
    """The perceptron before the attention."""
    x = x + self._narrow(tf.nn.relu(self._wide(self._between(x))))
    return x + self._attention(self._before(x))


def deeper_layer(self, x):
    """Two perceptrons, of which the second has no weights of its own."""
    x = x + self._attention(self._before(x))
    x = x + self._narrow(tf.nn.relu(self._wide(self._between(x))))
    return x + self._narrow(tf.nn.relu(self._wide(self._between(x))))


def normalised_afterwards(self, x):
    x = self._before(x + self._attention(x))
    return self._between(x + self._narrow(tf.nn.relu(self._wide(x))))


def with_bias(part: str):
    """A product that has a bias, though it should not."""
    own = stand_in._Linear.__call__

    def call(self, x):
        if not self._scope.endswith(part):
            return own(self, x)
        if not hasattr(self, "_added"):
            with tf.init_scope():
                self._added = tf.Variable(tf.range(1.0, self._w.shape[-1] + 1))
        return own(self, x) + self._added

    return call


def with_another_product(part: str):
    own = stand_in._Linear.__call__

    def call(self, x):
        if not self._scope.endswith(part):
            return own(self, x)
        if not hasattr(self, "_added"):
            with tf.init_scope():
                self._added = tf.Variable(tf.eye(self._w.shape[-1]))
        return tf.matmul(own(self, x), self._added)

    return call


def mean_without_variance(self, x):
    with stand_in._scope(self._scope):
        return (x - tf.reduce_mean(x, axis=-1, keepdims=True)) * self._scale + self._offset


def pooled_by_mean(self, x):
    x = self._first(x)
    x = x + self._pointwise(x)
    return tf.reduce_mean(tf.reshape(x, [-1, x.shape[1] // 2, 2, x.shape[2]]), axis=2)


def activated_before(self, x):
    """Activate, then normalise."""
    x = tf.nn.batch_normalization(
        stand_in._gelu(x), self._mean(), self._variance(), self._offset, self._scale, 1e-5
    )
    return self._convolution(x)


def branched(self, x, own=stand_in._Model._predict):
    """The whole network within a branch."""
    return tf.cond(tf.shape(x)[0] > 0, lambda: own(self, x), lambda: own(self, x))


KNOWN_AND_DIFFERENT = {
    "another activation": {"_gelu": tf.nn.gelu},
    "activation before the norm": {"_ConvBlock.__call__": activated_before},
    "another epsilon": {"EPSILON": 1e-1},
}
UNKNOWN = {
    "a branch": {"_Model._predict": branched},
    "no layer norm": {"_LayerNorm.__call__": lambda self, x: x},
    "half a layer norm": {"_LayerNorm.__call__": mean_without_variance},
    "norm after": {"_Layer.__call__": normalised_afterwards},
    "perceptron first": {"_Layer.__call__": swapped_layer},
    "two perceptrons": {"_Layer.__call__": deeper_layer},
    "no attention": {"_Attention.__call__": lambda self, x: x},
    "no pooling": {"_Stage.__call__": pooled_by_mean},
    "position key with a bias": {"_Linear.__call__": with_bias("r_k_layer")},
    "query with a bias": {"_Linear.__call__": with_bias("q_layer")},
    "value with a bias": {"_Linear.__call__": with_bias("v_layer")},
    "key with a bias": {"_Linear.__call__": with_bias("/k_layer")},
    "another product after attention": {
        "_Linear.__call__": with_another_product("embedding_layer")
    },
    "another product of the head": {"_Linear.__call__": with_another_product("human/linear")},
    "another product of keys": {"_Linear.__call__": with_another_product("/k_layer")},
    "another product of distances": {"_Linear.__call__": with_another_product("r_k_layer")},
}


def test_weights_of_another_type_are_unknown(rewritten):
    own = stand_in._Linear.__init__

    def half(self, scope, kernel, bias=None):
        own(self, scope, kernel, bias)
        self._half = tf.Variable(tf.cast(self._w, tf.float16))
        self._w = None

    def call(self, x):
        x = tf.matmul(x, tf.cast(self._half, tf.float32))
        return x if self._b is None else tf.add(x, self._b)

    released = rewritten({"_Linear.__init__": half, "_Linear.__call__": call})
    with pytest.raises(UnknownGraphError, match="pooling/kernel is not float32"):
        extract(released)


@pytest.mark.parametrize("change", [*KNOWN_AND_DIFFERENT, *UNKNOWN])
def test_another_network_is_noticed(rewritten, change):
    released = rewritten((KNOWN_AND_DIFFERENT | UNKNOWN)[change])
    try:
        found = extract(released)
    except UnknownGraphError:
        assert change in UNKNOWN
    else:
        assert not compare(released, *found).same
