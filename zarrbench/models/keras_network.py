"""Running a Keras network on base codes: backend set-up, one-hot on the device, fixed batches.

With what it serves (`zarrbench.models.keras_model`, `motif_model` and `enformer`) the only place
that imports Keras. Written in `keras.ops`, so that it runs on any backend of Keras 3.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from keras import ops

from zarrbench.errors import ModelInputError
from zarrbench.genome.bases import ONE_HOT


def prepare_backend() -> None:
    """Let TensorFlow take GPU memory as it needs it instead of all of it at first use."""
    if keras.backend.backend() == "tensorflow":
        grow_memory()


def grow_memory() -> None:
    """Let TensorFlow take GPU memory as it needs it, where another backend computes too."""
    import tensorflow as tf

    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)


def on_accelerator() -> bool:
    """Whether the backend computes on anything but the CPU."""
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            return bool(tf.config.list_physical_devices("GPU"))
        case "jax":
            import jax

            return bool(jax.default_backend() != "cpu")
        case "torch":
            import torch

            return bool(torch.cuda.is_available())
    return False


class OneHot(keras.layers.Layer):
    """Base codes (batch, length) to one-hot (batch, length, 4); code 4 becomes a zero vector.

    Parameters
    ----------
    channels : str
        Order of the letters in the last axis.
    """

    def __init__(self, channels: str = "ACGT", **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self._table = ONE_HOT[:, ["ACGT".index(letter) for letter in channels]]

    def call(self, codes: object) -> object:
        return one_hot(codes, self._table)


def one_hot(codes: object, table: NDArray[np.float32] = ONE_HOT) -> object:
    """Look up the vector (4,) of each base code (batch, length) in a table (5, 4)."""
    # A look-up, not ops.one_hot: backends disagree on what an index past the end means.
    return ops.take(ops.convert_to_tensor(table), ops.cast(codes, "int32"), axis=0)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a pure function of arrays and nests of arrays, where the backend can."""
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            # tf.function would turn what a `partial` holds into its own types.
            return cast(Callable[..., Any], tf.function(lambda *a: function(*a), autograph=False))
        case "jax":
            import jax

            return cast(Callable[..., Any], jax.jit(function))
    return function


def with_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that gives the value of `function` and its gradient.

    The value is a scalar, the gradient that by the first argument, a list of arrays.
    """
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            def both(first: Any, *others: Any) -> Any:
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(first)
                    value = function(first, *others)
                return value, tape.gradient(value, first)

            return both
        case "jax":
            import jax

            return cast(Callable[..., Any], jax.value_and_grad(function))
    raise ModelInputError(
        f"gradients are made with the Keras backends tensorflow and jax, not with "
        f"{keras.backend.backend()!r}; set KERAS_BACKEND to one of them"
    )


class FixedBatch:
    """Call a Keras model of base codes with batches of one size only.

    Parameters
    ----------
    network : keras.Model
        Takes a mapping with ``codes`` (batch, ...) and any extra inputs by name.
    batch_size : int
        Rows of every call; a shorter batch is padded with code 4 and cut afterwards, so that the
        network is compiled once and a row's result does not depend on how many come with it.
    """

    def __init__(self, network: keras.Model, batch_size: int) -> None:
        self._network = network
        self._batch_size = batch_size

    def __call__(
        self, codes: NDArray[Any], extra: Mapping[str, NDArray[np.float32]] | None = None
    ) -> NDArray[np.float32]:
        """Return the output for `codes`; each extra input is one vector, the same for all rows."""
        size = self._batch_size
        constant = {
            name: np.repeat(value[None, :], size, axis=0) for name, value in (extra or {}).items()
        }
        outputs = []
        for start in range(0, codes.shape[0], size):
            batch = codes[start : start + size]
            rows = batch.shape[0]
            if rows < size:
                short = [(0, size - rows), *[(0, 0)] * (batch.ndim - 1)]
                batch = np.pad(batch, short, constant_values=4)
            result = self._network.predict_on_batch({"codes": batch, **constant})
            outputs.append(np.asarray(result, dtype=np.float32)[:rows])
        return np.concatenate(outputs)
