"""Weights at rest (safetensors), on the device, and at random."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from zarrbench.errors import ModelInputError
from zarrbench.models.enformer.architecture import Architecture, Weights, shapes
from zarrbench.models.keras_network import ops

Arrays = dict[str, NDArray[np.float32]]


def save_weights(weights: Arrays, path: Path) -> None:
    """Write weights as one safetensors file."""
    save_file({name: np.ascontiguousarray(array) for name, array in weights.items()}, path)


def load_weights(architecture: Architecture, path: Path) -> Arrays:
    """Read weights that `save_weights` has written.

    Raises
    ------
    ModelInputError
        If the file cannot be read, or holds other weights than those of the architecture.
    """
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelInputError(f"{path} cannot be read as safetensors: {error}") from error
    check_weights(architecture, weights, str(path))
    return weights


def check_weights(architecture: Architecture, weights: Arrays, where: str) -> None:
    """Raise `ModelInputError` unless every weight is there, in its shape and float32."""
    expected = shapes(architecture)
    if unlike := sorted(expected.keys() ^ weights.keys()):
        raise ModelInputError(
            f"{where} does not hold the weights of Enformer: {len(unlike)} are missing or unknown, "
            f"such as {unlike[0]}; convert the released model again"
        )
    for name, shape in expected.items():
        found = weights[name]
        if found.shape != shape or found.dtype != np.float32:
            raise ModelInputError(
                f"{where}: {name} is {found.dtype} {found.shape}, expected float32 {shape}; "
                "it is of another model"
            )


def on_device(weights: Arrays) -> Weights:
    """Move weights to the device of the backend."""
    return {name: ops.convert_to_tensor(array) for name, array in weights.items()}


def random_weights(architecture: Architecture, seed: int = 0) -> Arrays:
    """Draw weights for tests and benchmarks with which every part of the network counts.

    An initialised Enformer is no test: its attention adds nothing, and its batch statistics let
    values overflow. Here statistics and biases are drawn too, kernels keep the scale of what they
    read, and pooling prefers the larger of two as the initialised one does. Weights of plain
    noise would be little better: their rows are nearly alike wherever they lie, so that attention
    to one is attention to all. Kernels that add up to nothing pass on what differs between
    rows, and long queries attend to few of them.
    """
    rng = np.random.default_rng(seed)
    return {name: _draw(rng, name, shape) for name, shape in shapes(architecture).items()}


def _draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    place, part = name.rsplit("/", 1)
    if part == "variance":
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    drawn = rng.standard_normal(shape, dtype=np.float32)
    if len(shape) == 1 or part.endswith("_bias"):
        return np.float32(part == "scale") + np.float32(0.2) * drawn
    inputs = tuple(range(len(shape) - 1))
    drawn /= np.sqrt(np.prod(shape[:-1], dtype=np.float32))
    if place.endswith("pooling"):
        return drawn + 2 * np.eye(*shape, dtype=np.float32)
    if part == "kernel":
        drawn -= drawn.mean(axis=inputs)
    gain = 4 if part == "query" else np.sqrt(2) if place.endswith("convolution") else 1
    return drawn * np.float32(gain)
