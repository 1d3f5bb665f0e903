"""A tiny Enformer with random weights, and the stand-in for the released one."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

from zarrbench.models.enformer.architecture import TINY, Architecture
from zarrbench.models.enformer.network import network
from zarrbench.models.enformer.saved_model import Released, open_released
from zarrbench.models.enformer.transformer import position_keys
from zarrbench.models.enformer.trunk import trunk
from zarrbench.models.enformer.weights import Arrays, on_device, random_weights
from zarrbench.models.keras_network import compiled


@dataclass
class Enformer:
    """An architecture with weights, called on arrays of NumPy."""

    architecture: Architecture
    arrays: Arrays

    def __post_init__(self) -> None:
        self.weights = on_device(self.arrays)
        self.keys = position_keys(self.architecture, self.weights)

    def trunk(self, codes: np.ndarray, padding: str = "same") -> np.ndarray:
        call = compiled(partial(trunk, self.architecture, padding=padding))
        return np.asarray(call(self.weights, codes))

    def __call__(self, codes: np.ndarray, bins: range | None = None) -> np.ndarray:
        call = compiled(partial(network, self.architecture, bins=bins))
        return np.asarray(call(self.weights, self.keys, codes))


def new_enformer(architecture: Architecture, features: np.ndarray | None = None) -> Enformer:
    weights = random_weights(architecture)
    return Enformer(
        architecture, weights if features is None else {**weights, "positions": features}
    )


@pytest.fixture(scope="session")
def make_enformer() -> Callable[..., Enformer]:
    """Make an Enformer with random weights and, if need be, position features of its own."""
    return new_enformer


@pytest.fixture(scope="session")
def tiny() -> Enformer:
    return new_enformer(TINY)


@pytest.fixture(scope="session")
def released(saved_model: Callable[[Architecture], Path]) -> Callable[[Architecture], Released]:
    """Open the stand-in of an architecture, once."""
    return cache(lambda architecture: open_released(saved_model(architecture)))
