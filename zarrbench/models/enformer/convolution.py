"""The convolution that trunk and head are made of: normalise, activate, convolve."""

from typing import Any

from zarrbench.models.enformer.architecture import EPSILON, Weights
from zarrbench.models.keras_network import ops


def gelu(x: Any) -> Any:
    """Return ``x * sigmoid(1.702 x)``: the approximation that the network was trained with."""
    return x * ops.sigmoid(1.702 * x)


def convolve(x: Any, kernel: Any, bias: Any, padding: str) -> Any:
    """Convolve (batch, length, input) with (width, input, output), channels last everywhere."""
    x = ops.conv(ops.cast(x, kernel.dtype), kernel, padding=padding, data_format="channels_last")
    return ops.cast(x, bias.dtype) + bias


def multiply(x: Any, kernel: Any) -> Any:
    """Multiply (..., input) by (input, output) in the precision of the kernel."""
    return ops.cast(ops.matmul(ops.cast(x, kernel.dtype), kernel), x.dtype)


def activated(weights: Weights, name: str, x: Any) -> Any:
    """Normalise with moving statistics, then apply `gelu`; (..., channel)."""
    factor = weights[f"{name}/scale"] * ops.rsqrt(weights[f"{name}/variance"] + EPSILON)
    return gelu(x * factor + (weights[f"{name}/offset"] - weights[f"{name}/mean"] * factor))


def pointwise(weights: Weights, name: str, x: Any) -> Any:
    """Apply a normalised convolution of width 1; (..., input) to (..., output)."""
    return (
        multiply(activated(weights, name, x), weights[f"{name}/kernel"]) + weights[f"{name}/bias"]
    )
