"""A tiny Enformer with random weights, and base codes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest

from zarrbench.models.enformer.architecture import TINY, Architecture
from zarrbench.models.enformer.network import network
from zarrbench.models.enformer.positions import position_features
from zarrbench.models.enformer.transformer import position_keys
from zarrbench.models.enformer.trunk import trunk
from zarrbench.models.enformer.weights import Arrays, on_device, random_weights
from zarrbench.models.keras_network import compiled


@dataclass
class Enformer:
    """An architecture with weights, called on arrays of NumPy."""

    architecture: Architecture
    arrays: Arrays
    features: np.ndarray

    def __post_init__(self) -> None:
        self.weights = on_device(self.arrays)
        self.keys = position_keys(self.architecture, self.weights, self.features)

    def trunk(self, codes: np.ndarray, padding: str = "same") -> np.ndarray:
        call = compiled(partial(trunk, self.architecture, padding=padding))
        return np.asarray(call(self.weights, codes))

    def __call__(self, codes: np.ndarray, bins: range | None = None) -> np.ndarray:
        call = compiled(partial(network, self.architecture, bins=bins))
        return np.asarray(call(self.weights, self.keys, codes))


def new_enformer(architecture: Architecture, features: np.ndarray | None = None) -> Enformer:
    if features is None:
        features = position_features(architecture.bins, architecture.value_size)
    return Enformer(architecture, random_weights(architecture), features)


@pytest.fixture(scope="session")
def make_enformer() -> Callable[..., Enformer]:
    """Make an Enformer with random weights and, if need be, position features of its own."""
    return new_enformer


@pytest.fixture(scope="session")
def tiny() -> Enformer:
    return new_enformer(TINY)


@pytest.fixture(scope="session")
def random_codes() -> Callable[..., np.ndarray]:
    """Draw base codes of a shape; one in fifty is no letter."""

    def draw(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
        rng = np.random.default_rng(seed)
        codes = rng.integers(0, 4, shape, dtype=np.uint8)
        codes[rng.random(shape) < 0.02] = 4
        return codes

    return draw
