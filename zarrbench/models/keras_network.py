"""Running a Keras network on base codes: backend set-up, one-hot on the device, fixed batches.

With what it serves (`zarrbench.models.keras_model`, `motif_model` and `enformer`) the only place
that imports Keras. Written in `keras.ops`, so that it runs on any backend of Keras 3.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from keras import ops

from zarrbench.errors import ModelInputError
from zarrbench.genome.bases import ONE_HOT, Codes


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
    """Base codes (batch, length) to one-hot (batch, length, 4); code 4 becomes a zero vector."""

    def call(self, codes: object) -> object:
        return one_hot(codes)


def one_hot(codes: object) -> object:
    """Look up the vector (4,) of each base code (batch, length), channels A, C, G, T."""
    # A look-up, not ops.one_hot: backends disagree on what an index past the end means.
    return ops.take(ops.convert_to_tensor(ONE_HOT), ops.cast(codes, "int32"), axis=0)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a pure function of arrays and nests of arrays, where the backend can."""
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            return cast(Callable[..., Any], tf.function(_Pure(function), autograph=False))
        case "jax":
            import jax

            return cast(Callable[..., Any], jax.jit(function))
    return function


@dataclass(frozen=True)
class _Pure:
    """A function as `tf.function` takes it.

    It would turn what a `partial` holds into its own types, and warns of retracing wherever
    several functions have their code in common, as closures have.
    """

    function: Callable[..., Any]

    def __call__(self, *arrays: Any) -> Any:
        return self.function(*arrays)


def differentiated(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the gradient of a pure function to a scalar by its first argument.

    Parameters
    ----------
    function : callable
        Takes arrays and nests of arrays, the first of them floats, and returns a scalar.

    Returns
    -------
    callable
        Takes the same and returns an array like the first, or None where nothing that the backend
        can differentiate leads from it to the scalar (JAX says zeros then, and torch of rounding).
        Compiled where the backend can.
    """
    match keras.backend.backend():
        case "tensorflow":
            return compiled(partial(_gradient_by_tensorflow, function))
        case "jax":
            import jax

            return compiled(jax.grad(function))
        case "torch":
            return partial(_gradient_by_torch, function)
    raise NotImplementedError(f"Keras' backend {keras.backend.backend()} differentiates nothing")


def _gradient_by_tensorflow(function: Callable[..., Any], by: Any, *others: Any) -> Any:
    import tensorflow as tf

    by = tf.convert_to_tensor(by)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(by)
        value = function(by, *others)
    try:
        return tape.gradient(value, by)
    except LookupError:  # an operation that nobody has written a gradient for
        return None


def _gradient_by_torch(function: Callable[..., Any], by: Any, *others: Any) -> Any:
    import torch

    by = ops.convert_to_tensor(by).detach().requires_grad_()
    tensors = keras.tree.map_structure(ops.convert_to_tensor, others)
    with torch.enable_grad():
        value = function(by, *tensors)
    if not value.requires_grad:
        return None
    [gradient] = torch.autograd.grad(value, by, allow_unused=True)
    return gradient


def of_codes(network: keras.Model) -> keras.Model:
    """Put base codes in front of a network.

    Parameters
    ----------
    network : keras.Model
        Takes a list: one-hot (batch, length, 4), channels A, C, G, T; a mapping of extra inputs.

    Returns
    -------
    keras.Model
        Takes codes uint8 (batch, length) in place of one-hot.
    """
    one_hot, extra = network.input
    codes = keras.Input((one_hot.shape[1],), dtype="uint8")
    return keras.Model([codes, extra], network([OneHot()(codes), extra]))


class InputGradient:
    """The gradient of weighted outputs of a Keras model by the sequence that it reads.

    Parameters
    ----------
    network : keras.Model
        As for `of_codes`. Its outputs are (batch, bin, track) in this order, whatever their shape.
    bins : int
    name : str
        Of the model, for errors.
    """

    def __init__(self, network: keras.Model, bins: int, name: str) -> None:
        self._bins, self._name = bins, name

        def weighted(one_hot: Any, extra: Any, weights: Any) -> Any:
            outputs = network([one_hot, extra], training=False)
            return ops.sum(ops.cast(ops.reshape(outputs, weights.shape), "float32") * weights)

        self._call = differentiated(weighted)

    def __call__(
        self,
        codes: Codes,
        bins: range,
        weights: NDArray[np.float32],
        extra: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> NDArray[np.float32]:
        """Return what `zarrbench.models.protocol.DifferentiableModel.input_gradient` says.

        Raises
        ------
        ModelInputError
            If the backend can differentiate nothing between sequence and outputs.
        """
        # Bins that do not count weigh nothing: so one compiled function serves any.
        of_all = np.zeros((self._bins, weights.shape[1]), dtype=np.float32)
        of_all[bins.start : bins.stop] = weights
        single = {name: value[None] for name, value in (extra or {}).items()}
        gradient = self._call(ONE_HOT[codes][None], single, of_all)
        if gradient is None:
            raise ModelInputError(
                f"the model {self._name!r} cannot be differentiated: no operation with a gradient "
                "leads from its sequence to its outputs; leave gradients out"
            )
        return np.asarray(ops.convert_to_numpy(gradient)[0], dtype=np.float32)


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
        Takes a list: codes (batch, ...); a mapping of extra inputs.
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
            result = self._network.predict_on_batch([batch, constant])
            outputs.append(np.asarray(result, dtype=np.float32)[:rows])
        return np.concatenate(outputs)
