"""The head: rows of the transformer to predicted human tracks."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from zarrbench.models.enformer.architecture import Weights
from zarrbench.models.enformer.convolution import gelu, multiply, pointwise
from zarrbench.models.keras_network import ops


def of_tracks(weights: Weights, tracks: Sequence[int]) -> Weights:
    """Return the weights with the head of these tracks only, in this order."""
    chosen = np.asarray(tracks, dtype=np.int32)
    kernel, bias = weights["human/kernel"], weights["human/bias"]
    kernel, bias = ops.take(kernel, chosen, axis=1), ops.take(bias, chosen, axis=0)
    return {**weights, "human/kernel": kernel, "human/bias": bias}


def head(weights: Weights, x: Any) -> Any:
    """Predict (batch, bin, track) from rows (batch, bin, channel), already cropped."""
    x = gelu(pointwise(weights, "final", x))
    return ops.softplus(multiply(x, weights["human/kernel"]) + weights["human/bias"])
