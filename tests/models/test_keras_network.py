"""Gradients of pure functions, whatever the backend."""

import keras
import numpy as np
import pytest
from keras import ops

from zarrbench.models.keras_network import differentiated

X = np.linspace(-2, 2, 7).astype(np.float32)


def gradient(function, *others):
    found = differentiated(function)(X, *others)
    return None if found is None else ops.convert_to_numpy(found)


def test_the_gradient_is_by_the_first_argument():
    factors = np.arange(7, dtype=np.float32)
    found = gradient(lambda x, nest: ops.sum(x**3 * nest["factors"][0]), {"factors": [factors]})
    np.testing.assert_allclose(found, 3 * X**2 * factors, rtol=1e-6)


def test_one_compiled_function_serves_several_arrays():
    function = differentiated(lambda x, factor: ops.sum(ops.exp(x) * factor))
    for factor in (np.float32(2), np.float32(-3)):
        for x in (X, -X):
            np.testing.assert_allclose(function(x, factor), factor * np.exp(x), rtol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ops.sum(ops.round(x)),
        lambda x: ops.sum(ops.cast(ops.argmax(x), "float32")),
        lambda x: ops.sum(ops.cast([1.0, 2.0], "float32")),
    ],
    ids=["round", "argmax", "constant"],
)
def test_what_is_flat_gives_none_or_zeros(function):
    found = gradient(function)
    if keras.backend.backend() == "tensorflow":
        assert found is None
    else:
        assert found is None or not found.any()


def test_an_operation_without_a_registered_gradient_gives_none():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("an operation of TensorFlow")
    tf = pytest.importorskip("tensorflow")
    contrast = tf.raw_ops.AdjustContrastv2

    def function(x):
        image = tf.reshape(x[:3], (1, 1, 1, 3))
        return tf.reduce_sum(contrast(images=image, contrast_factor=2.0))

    assert gradient(function) is None
