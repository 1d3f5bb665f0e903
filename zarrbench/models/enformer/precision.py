"""How exactly a device multiplies: set for the process, or by the type of the weights."""

import keras

from zarrbench.models.enformer.architecture import Precision, Weights
from zarrbench.models.keras_network import ops

_KERNELS = ("kernel", "query", "key", "value", "wide_kernel")


def set_precision(precision: Precision) -> None:
    """Tell the backend how to multiply float32 from now on, in this process."""
    exact = precision == "float32"
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            tf.config.experimental.enable_tensor_float_32_execution(not exact)
        case "jax":
            import jax

            jax.config.update(
                "jax_default_matmul_precision", "float32" if exact else "tensorfloat32"
            )
        case "torch":
            import torch

            torch.set_float32_matmul_precision("highest" if exact else "high")
            torch.backends.cudnn.allow_tf32 = not exact


def in_precision(weights: Weights, precision: Precision) -> Weights:
    """Return weights on the device with kernels in the type that the precision asks for."""
    if precision != "bfloat16":
        return weights
    return {
        name: ops.cast(value, "bfloat16") if name.rpartition("/")[2] in _KERNELS else value
        for name, value in weights.items()
    }
