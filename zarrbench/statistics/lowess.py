"""A smooth trend through points: locally weighted lines, made robust against outliers.

After Cleveland, J. Am. Stat. Assoc. 74, 829-836 (1979), with the choices of R's stats::lowess, so
that what rests on it (limma's voom) comes out the same.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

# The two cut-offs of R's lowess: a weight is 1 within the near one, and 0 beyond the far one.
_NEAR, _FAR = 0.001, 0.999


def lowess(
    x: ArrayLike,
    y: ArrayLike,
    span: float = 2 / 3,
    iterations: int = 3,
    delta: float | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x in ascending order and the smoothed y there, as R's ``lowess`` does.

    At a point the line is fitted to its nearest neighbours, by tricube weights in distance; each
    further iteration downweights points by the bisquare of their residual over six times the
    median of absolute residuals. Missing values are not handled.

    Parameters
    ----------
    x, y
        Shape (point,), finite. Points of equal x get the same value.
    span
        Share of the points that are neighbours, at least two of them.
    iterations
        Robustifying ones, after the first fit.
    delta
        Points within so much of the last fitted one are interpolated; by default a hundredth of
        the range of x, as R has it.

    Raises
    ------
    ValueError
        If x and y differ in shape, are empty, or hold a value that is not finite.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or x.size == 0:
        raise ValueError(f"lowess needs x and y of one shape (point,), found {x.shape}, {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("lowess needs finite x and y")
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    if x.size == 1:
        return x, y
    delta = 0.01 * (x[-1] - x[0]) if delta is None else delta
    # 1e-7 as R has it: 0.3 of 10 points are 3, whatever the product rounds to.
    neighbours = max(2, min(x.size, int(span * x.size + 1e-7)))
    fitted_at = _anchors(x, delta)
    first = _first_neighbours(x, fitted_at, neighbours)
    robust = np.ones(x.size)
    smooth = y
    for iteration in range(iterations + 1):
        at = [
            _local_line(x, y, robust, i, start, neighbours)
            for i, start in zip(fitted_at, first, strict=True)
        ]
        smooth = np.interp(x, x[fitted_at], at)
        residual = np.abs(y - smooth)
        scale = 6 * np.median(residual)
        if iteration == iterations or scale <= 1e-7 * residual.mean():
            break
        robust = np.where(residual <= _FAR * scale, (1 - (residual / scale) ** 2) ** 2, 0.0)
        robust[residual <= _NEAR * scale] = 1.0
    return x, smooth


def _anchors(x: NDArray[np.float64], delta: float) -> list[int]:
    """Return the first point, then each time the last one within delta, or else the next x."""
    anchors, last = [0], 0
    while True:
        last = int(np.searchsorted(x, x[last], side="right")) - 1
        if last == x.size - 1:
            return anchors
        within = int(np.searchsorted(x, x[last] + delta, side="right")) - 1
        last = max(last + 1, within)
        anchors.append(last)


def _first_neighbours(x: NDArray[np.float64], points: list[int], neighbours: int) -> list[int]:
    """Return where the neighbourhood of each point begins: it moves right while that is nearer."""
    start, starts = 0, []
    for i in points:
        while start + neighbours < x.size and x[i] - x[start] > x[start + neighbours] - x[i]:
            start += 1
        starts.append(start)
    return starts


def _local_line(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    robust: NDArray[np.float64],
    i: int,
    start: int,
    neighbours: int,
) -> float:
    """Return the value at point i of the line through its neighbours, y[i] if none has weight."""
    radius = max(x[i] - x[start], x[start + neighbours - 1] - x[i])
    # Points to the right that tie with the last neighbour belong to it, too.
    stop = int(np.searchsorted(x, x[i] + radius, side="right"))
    near, values = x[start:stop], y[start:stop]
    distance = np.abs(near - x[i])
    weight = np.zeros(near.size)
    inside = distance <= _FAR * radius
    if radius > 0:
        weight[inside] = (1 - (distance[inside] / radius) ** 3) ** 3
    weight[inside & (distance <= _NEAR * radius)] = 1.0
    weight *= robust[start:stop]
    total = weight.sum()
    if total <= 0:
        return float(y[i])
    weight /= total
    centre = weight @ near
    spread = weight @ (near - centre) ** 2
    # Neighbours at nearly one x give no slope: then their mean.
    if radius > 0 and np.sqrt(spread) > 0.001 * (x[-1] - x[0]):
        weight *= 1 + (x[i] - centre) / spread * (near - centre)
    return float(weight @ values)
