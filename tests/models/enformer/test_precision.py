import numpy as np
import pytest
import tensorflow as tf

from zarrbench.models.enformer.architecture import SMALL
from zarrbench.models.enformer.forward import Batches, Forward
from zarrbench.models.enformer.precision import _KERNELS, in_precision, set_precision
from zarrbench.models.enformer.weights import on_device, random_weights

ONE = Batches(1, 8, 100_000)


@pytest.fixture(autouse=True)
def _as_by_default():
    yield
    set_precision("tensorfloat32")


@pytest.mark.parametrize(
    ("precision", "rounds"), [("float32", False), ("tensorfloat32", True), ("bfloat16", True)]
)
def test_tensorflow_is_told_how_to_multiply(slim, precision, rounds):
    tf.config.experimental.enable_tensor_float_32_execution(not rounds)
    Forward(slim, random_weights(slim), ONE, precision=precision)
    assert tf.config.experimental.tensor_float_32_execution_enabled() == rounds


def test_only_kernels_are_rounded(slim):
    weights = on_device(random_weights(slim))
    assert in_precision(weights, "float32") is weights
    assert in_precision(weights, "tensorfloat32") is weights
    found = in_precision(weights, "bfloat16")
    assert found.keys() == weights.keys()
    for name, value in found.items():
        kernel = name.rpartition("/")[2] in _KERNELS
        assert value.dtype == (tf.bfloat16 if kernel else tf.float32), name
        kernel_like = len(value.shape) > 1 and not name.endswith(("_bias", "position", "positions"))
        assert kernel == kernel_like, name


@pytest.mark.parametrize("size", ["slim", "small"])
def test_bfloat16_is_close_and_not_the_same(slim, random_codes, size):
    architecture = slim if size == "slim" else SMALL
    weights, bins = random_weights(architecture), range(10)
    codes = random_codes(1, architecture.input_length)
    exact, rounded = (
        np.concatenate(list(Forward(architecture, weights, ONE, None, p).sequences(codes, bins)))
        for p in ("float32", "bfloat16")
    )
    assert (exact.dtype, rounded.dtype) == (np.float32, np.float32)
    difference = np.abs(rounded - exact).max() / np.ptp(exact)
    print(f"bfloat16 differs by {difference:.1e} of the range")
    assert 1e-4 < difference < 0.1
