"""SavedModels that look like the released Enformer, and base codes."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zarrbench.models.enformer.architecture import Architecture
from zarrbench.models.enformer.stand_in import write_saved_model
from zarrbench.models.enformer.weights import random_weights


@pytest.fixture(scope="session")
def slim() -> Architecture:
    """An Enformer of few operations and bins of 8 bases: a window of the hand-made cohort."""
    return Architecture(
        bins=96, crop=20, filters=(16, 16, 24), layers=2, heads=2, key_size=6, tracks=7
    )


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Architecture], Path]:
    """Write the stand-in with `random_weights` of an architecture, once; nobody may change it."""

    @cache
    def write(architecture: Architecture) -> Path:
        folder = tmp_path_factory.mktemp("saved_model") / "model"
        write_saved_model(architecture, random_weights(architecture), folder, mouse_tracks=5)
        return folder

    return write


@pytest.fixture(scope="session")
def random_codes() -> Callable[..., np.ndarray]:
    """Draw base codes of a shape; one in fifty is no letter."""

    def draw(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
        rng = np.random.default_rng(seed)
        codes = rng.integers(0, 4, shape, dtype=np.uint8)
        codes[rng.random(shape) < 0.02] = 4
        return codes

    return draw
