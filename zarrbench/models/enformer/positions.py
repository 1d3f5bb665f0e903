"""Features of the distance between two rows, from which attention makes its position keys.

Three kinds of functions of ``|distance|``, each once as it is and once with the sign of the
distance: exponential decays with half-lives from 8 rows to all of them, boxes that reach
``2**i - 2`` rows, and densities of gamma distributions whose means are spread evenly, scaled to a
highest value of 1.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

_FEWEST = 1e-8  # added to every density


def position_features(rows: int, features: int) -> NDArray[np.float32]:
    """Return the features of every distance between two of `rows` rows.

    The released graph computes them anew in float32 at every call. The logarithm of the gamma
    function is so large there (up to 3e4) that its last bit is worth 0.2% of a density: the same
    operations in the same order and precision are part of the model. Libraries still differ by
    that bit.

    Parameters
    ----------
    rows : int
        Rows that attend to one another.
    features : int
        A multiple of 6.

    Returns
    -------
    float32 (2 * rows - 1, features)
        In the order of the distance (of the key from the query), from ``-(rows - 1)``.
    """
    distance = np.arange(-rows + 1, rows, dtype=np.float32)[:, None]
    away, count = np.abs(distance), features // 6
    unsigned = np.hstack([_decays(away, rows, count), _boxes(away, count), _gammas(away, count)])
    return np.hstack([unsigned, np.sign(distance) * unsigned])


def _decays(away: NDArray, rows: int, count: int) -> NDArray[np.float32]:
    half_lives = 2 ** np.linspace(3, np.log2(rows), count, dtype=np.float32)
    return np.exp(-np.float32(np.log(2)) / half_lives * away)


def _boxes(away: NDArray, count: int) -> NDArray[np.float32]:
    return (2 ** np.arange(1, count + 1, dtype=np.float32) - 1 > away).astype(np.float32)


def _gammas(away: NDArray, count: int) -> NDArray[np.float32]:
    rows = (away.size + 1) // 2
    means = np.linspace(rows / count, rows, count, dtype=np.float32)
    deviation = np.float32(rows / (2 * count))
    shape = (means / deviation) ** 2
    rate = means / deviation**2
    with np.errstate(divide="ignore"):  # a density at distance 0 is 0
        unscaled = (shape - 1) * np.log(away) - rate * away
    scale = gammaln(shape.astype(np.float64)).astype(np.float32) - shape * np.log(rate)
    density = np.exp(unscaled - scale) + np.float32(_FEWEST)
    return density / density.max(axis=0)
