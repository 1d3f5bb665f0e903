import math

import numpy as np
import pytest
from scipy import stats

from zarrbench.models.enformer.positions import position_features


@pytest.mark.parametrize(("rows", "features"), [(1536, 192), (64, 24)])
def test_features_are_what_they_are_called(rows, features):
    found = position_features(rows, features)
    assert (found.shape, found.dtype) == ((2 * rows - 1, features), np.float32)
    count = features // 6
    distances = range(-rows + 1, rows)
    away = np.abs(distances)
    for i in range(count):
        half_life = 8 * (rows / 8) ** (i / (count - 1))
        np.testing.assert_allclose(found[:, i], 0.5 ** (away / half_life), rtol=1e-4, atol=1e-12)
        box = [abs(distance) <= 2 ** (i + 1) - 2 for distance in distances]
        np.testing.assert_array_equal(found[:, count + i], box)
        mean = rows / count + i * (rows - rows / count) / (count - 1)
        deviation = rows / (2 * count)
        shape = (mean / deviation) ** 2
        density = stats.gamma.pdf(away, shape, scale=mean / shape) + 1e-8
        np.testing.assert_allclose(found[:, 2 * count + i], density / density.max(), atol=4e-3)
    signs = [math.copysign(1, d) if d else 0 for d in distances]
    np.testing.assert_array_equal(
        found[:, features // 2 :], found[:, : features // 2] * np.array(signs)[:, None]
    )


@pytest.mark.parity
def test_gamma_features_are_those_of_the_released_model(enformer_pytorch):
    """As its authors' code gave them somewhere: libraries differ in the last bit of a logarithm."""
    released = enformer_pytorch.TF_GAMMAS.numpy()
    np.testing.assert_allclose(position_features(1536, 192)[:, 64:96], released, atol=3e-3)
