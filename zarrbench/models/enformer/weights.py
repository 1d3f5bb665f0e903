"""Weights at rest (safetensors), on the device, and at random."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from zarrbench.errors import ModelInputError
from zarrbench.models.enformer.architecture import Architecture, Weights, shapes
from zarrbench.models.enformer.positions import position_features
from zarrbench.models.keras_network import ops
from zarrbench.provenance import plain
from zarrbench.recipes import parse
from zarrbench.storage import published

Arrays = dict[str, NDArray[np.float32]]

_FORMAT = "zarrbench.enformer.1"


def save_weights(
    architecture: Architecture, weights: Arrays, path: Path, origin: Mapping[str, str]
) -> None:
    """Write weights as one safetensors file, whole or not at all.

    The sizes of the network stand in the file's metadata, with what is said of its `origin`.
    """
    sizes = json.dumps(plain(architecture))
    metadata = {"format": _FORMAT, "architecture": sizes, **origin}
    with published(path) as temporary:
        save_file({n: np.ascontiguousarray(w) for n, w in weights.items()}, temporary, metadata)


def load_weights(path: Path) -> tuple[Architecture, Arrays]:
    """Read weights that `save_weights` has written, and the sizes of their network.

    Raises
    ------
    ModelInputError
        If the file cannot be read, or holds other weights than those of the architecture.
    """
    with _opened(path) as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        said = file.metadata()
    try:
        sizes = json.loads(said["architecture"])
    except (KeyError, ValueError) as error:
        raise ModelInputError(
            f"{path} is damaged: its sizes cannot be read; convert the released model again"
        ) from error
    architecture = parse(Architecture, sizes, str(path))
    check_weights(architecture, weights, str(path))
    return architecture, weights


def load_origin(path: Path) -> dict[str, str]:
    """Return what `save_weights` was told of the origin of weights, and their sizes."""
    with _opened(path) as file:
        return {key: value for key, value in file.metadata().items() if key != "format"}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise ModelInputError(
                    f"{path} was not written by 'zarrbench model convert': its format is "
                    f"{metadata.get('format')!r}, expected {_FORMAT!r}; convert the released model"
                )
            yield file
    except (OSError, SafetensorError) as error:
        raise ModelInputError(
            f"{path} cannot be read as safetensors: {error}; convert the released model again"
        ) from error


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
    features = position_features(architecture.bins, architecture.value_size)
    return {
        name: features if name == "positions" else _draw(rng, name, shape)
        for name, shape in shapes(architecture).items()
    }


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
