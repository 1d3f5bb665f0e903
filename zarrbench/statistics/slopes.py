"""eQTL slopes: least squares of a gene's expression on the dosage of each variant near it.

The kernel works on pairs of a gene and a variant. The pairs of a gene are a run of rows of the
dosages, so that all pairs of all genes lie in one flat array, gene after gene.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import interpolate, linalg, special

from zarrbench.statistics.correlation import is_constant

# What of a variant's variance must be its own, and of expression's left over, to be told from noise
_OWN = 1e-10
_LEFT = 1e-4
# Where p is interpolated: |t| up to, and how finely
_TABLE, _STEP = 32.0, 1 / 128
# Sums may be taken in any order, which is what lets the processor take many terms at a time.
_ANY_ORDER = {"reassoc", "contract", "nsz"}


@dataclass(frozen=True)
class Slopes:
    """Regressions of pairs of a gene and a variant, all of shape (pair,).

    Attributes
    ----------
    slope : float64
        Units of expression per copy of the allele that the dosage counts.
    se, t, p : float64
        Standard error of the slope, slope / se, and the two-sided p of Student's t with
        n - 2 - (number of covariates) degrees of freedom.
    r : float64
        Correlation of dosage and expression, given the covariates.
    n : int64
        People with expression and a call.
    """

    slope: NDArray[np.float64]
    se: NDArray[np.float64]
    t: NDArray[np.float64]
    p: NDArray[np.float64]
    r: NDArray[np.float64]
    n: NDArray[np.int64]


def slopes(
    dosage: NDArray,
    y: ArrayLike,
    first: ArrayLike | None = None,
    last: ArrayLike | None = None,
    covariates: ArrayLike | None = None,
) -> Slopes:
    """Regress the expression of genes on the dosages of their variants, one variant at a time.

    Ordinary least squares with an intercept, in float64 throughout. Covariates are projected out of
    both sides, which gives what a regression on all of them together would (Frisch and Waugh,
    Econometrica 1, 387-401, 1933). For every pair the people count who have a finite expression
    of the gene and a call of the variant. Relatedness of people is not handled, and p is that of
    one test.

    Parameters
    ----------
    dosage
        Copies of the effect allele, shape (variant, individual): integers with negative = missing,
        or floats with NaN = missing.
    y
        Expression, shape (gene, individual), or (individual,) for one gene; NaN = missing.
    first, last
        Gene i is paired with the variants ``first[i] <= v < last[i]``; by default with all.
    covariates
        Shape (individual, covariate), finite, without intercept. One that others determine counts
        for nothing.

    Returns
    -------
    Slopes
        The pairs of the first gene, then those of the second, and so on. n is always a number; all
        else is NaN where the variant has no variance of its own (monomorphic among these people, or
        determined by the covariates), where expression has none, and where no degree of freedom
        is left. Of a perfect fit se is 0, t infinite and p 0.

    Raises
    ------
    ValueError
        If shapes do not fit each other, or a covariate is not finite.
    """
    y = np.atleast_2d(np.asarray(y, dtype=np.float64))
    extra = np.empty((y.shape[1], 0)) if covariates is None else np.asarray(covariates, np.float64)
    begin = np.zeros(len(y), np.int64) if first is None else np.asarray(first, np.int64)
    end = np.full(len(y), len(dosage)) if last is None else np.asarray(last, np.int64)
    if dosage.shape[1] != y.shape[1] or extra.shape[:1] != y.shape[1:] or extra.ndim != 2:
        raise ValueError(
            f"dosage {dosage.shape}, y {y.shape} and covariates {extra.shape} differ in people"
        )
    if not np.isfinite(extra).all():
        raise ValueError("a covariate is not finite")
    if begin.shape != (len(y),) or end.shape != (len(y),):
        raise ValueError(f"first {begin.shape} and last {end.shape} must be of {len(y)} genes")
    if (begin < 0).any() or (end < begin).any() or (end > len(dosage)).any():
        raise ValueError(f"first and last must rise within the {len(dosage)} variants")
    offsets = np.concatenate([[0], np.cumsum(end - begin)])
    size = int(offsets[-1])
    slope, se, t, p, r = np.full((5, size), np.nan)
    found = Slopes(slope, se, t, p, r, np.zeros(size, np.int64))
    for people, genes in _by_people(np.isfinite(y)):
        used = slice(int(begin[genes].min()), int(end[genes].max()))
        calls = dosage[used] if people.all() else np.ascontiguousarray(dosage[used][:, people])
        block = _of_same_people(
            np.ascontiguousarray(calls), y[np.ix_(genes, people)], begin[genes] - used.start,
            end[genes] - used.start, extra[people],
        )  # fmt: skip
        at = 0
        for gene in genes:
            size = offsets[gene + 1] - offsets[gene]
            for name in _NAMES:
                target, source = getattr(found, name), getattr(block, name)
                target[offsets[gene] : offsets[gene + 1]] = source[at : at + size]
            at += size
    return found


_NAMES = tuple(field.name for field in fields(Slopes))


def _by_people(finite: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.int64]]]:
    """Yield each set of people with expression, and the genes measured in just them."""
    if finite.all():
        yield np.ones(finite.shape[1], dtype=bool), np.arange(len(finite))
        return
    sets, which = np.unique(finite, axis=0, return_inverse=True)
    for number, people in enumerate(sets):
        yield people, np.flatnonzero(which.ravel() == number)


def _of_same_people(
    calls: NDArray,
    y: NDArray[np.float64],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    covariates: NDArray[np.float64],
) -> Slopes:
    """Return the slopes of genes of which all these people have an expression."""
    people = calls.shape[1]
    basis = _basis(covariates)
    free = people - basis.shape[1] - 1
    centred = y - y.mean(axis=1, keepdims=True) if people else y
    # Gene by gene, as all sums here, so that a pair's last bit does not depend on the other pairs
    residual = np.array([row - basis @ (row @ basis) for row in centred]).reshape(y.shape)
    left = np.vecdot(residual, residual)
    constant = is_constant(y.mean(axis=1), y.std(axis=1)) if people else np.ones(len(y), bool)
    # Nothing is left of what the covariates determine but rounding.
    left[constant | (left <= _OWN * np.vecdot(centred, centred))] = np.nan
    n, total, square = _moments(calls)
    own = square - total**2 / np.maximum(n, 1)
    alone = basis.shape[1] < 2
    if not alone:
        shared = _shared(calls, np.ascontiguousarray(basis[:, 1:].T))
        own = np.where(own - shared > _OWN * own, own - shared, 0.0)
    own[own <= _OWN * square] = np.nan
    size = int((last - first).sum())
    slope, se, r = np.full((3, size), np.nan)
    degrees, number = np.zeros(size), np.zeros(size, np.int64)
    doubtful = _regress(
        calls,
        residual,
        left,
        n,
        total,
        own,
        first,
        last,
        free,
        alone,
        slope,
        se,
        r,
        degrees,
        number,
    )
    if doubtful:
        gene = np.repeat(np.arange(len(y)), last - first)
        variant = np.arange(size) + np.repeat(last - np.cumsum(last - first), last - first)
        for pair in np.flatnonzero(degrees < 0):
            exact = _by_residuals(calls[variant[pair]], y[gene[pair]], covariates)
            slope[pair], se[pair], r[pair], degrees[pair] = exact
    with np.errstate(divide="ignore", invalid="ignore"):
        t = slope / se
    return Slopes(slope, se, t, _two_sided_p(t, degrees, free), r, number)


def _two_sided_p(t: NDArray, degrees: NDArray, usual: int) -> NDArray[np.float64]:
    """Return p of Student's t, within 1e-11 of itself.

    It costs as much as the regression, so that the logarithm of p is interpolated in a table of its
    degrees of freedom, `usual` for most pairs; only what lies beyond the table is computed.
    """
    p = np.full(t.size, np.nan)
    _interpolate(t, degrees, usual, _log_p(usual), p)
    for other in np.unique(degrees[(degrees != usual) & (degrees > 0)]):
        _interpolate(t, degrees, other, _log_p(int(other)), p)
    beyond = np.abs(t) >= _TABLE
    p[beyond] = _p(np.abs(t[beyond]), degrees[beyond])
    return p


def _p(t: NDArray, degrees: ArrayLike) -> NDArray[np.float64]:
    degrees = np.asarray(degrees)
    # The complement: the other form has lost what is next to p = 1.
    with np.errstate(divide="ignore"):
        return np.asarray(special.betaincc(0.5, degrees / 2, 1 / (1 + degrees / t**2)))


@lru_cache(maxsize=4096)
def _log_p(degrees: int) -> NDArray[np.float64]:
    """Return the cubics of log p over steps of t, shape (step, 4), highest power first."""
    if degrees < 1:
        return np.full((int(_TABLE / _STEP), 4), np.nan)
    t = np.arange(0, _TABLE + _STEP / 2, _STEP)
    p = _p(t, degrees)
    kernel = np.exp(-(degrees + 1) / 2 * np.log1p(t**2 / degrees))
    density = kernel / (np.sqrt(degrees) * special.beta(0.5, degrees / 2))
    cubics = interpolate.CubicHermiteSpline(t, np.log(p), -2 * density / p).c
    return np.ascontiguousarray(cubics.T)


def _basis(covariates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an orthonormal basis of the intercept (first) and of what covariates add to it."""
    people = len(covariates)
    one = np.full((people, 1), 1 / np.sqrt(max(people, 1)))
    if covariates.shape[1] == 0 or people == 0:
        return one
    centred = covariates - covariates.mean(axis=0)
    scale = np.linalg.norm(centred, axis=0)
    varying = scale > _OWN * np.linalg.norm(covariates, axis=0)
    if not varying.any():
        return one
    q, upper, _ = linalg.qr(centred[:, varying] / scale[varying], mode="economic", pivoting=True)
    size = np.abs(np.diagonal(upper))
    return np.hstack([one, q[:, : np.count_nonzero(size > np.sqrt(_OWN) * size[0])]])


def _by_residuals(
    calls: NDArray, y: NDArray[np.float64], covariates: NDArray[np.float64]
) -> tuple[float, float, float, float]:
    """Return slope, standard error, r and degrees of freedom of one pair, from its residuals.

    Slow, but exact where the sums are not: in fits that leave next to nothing, and for people that
    differ from variant to variant.
    """
    called = calls >= 0
    g, y = calls[called].astype(np.float64), y[called]
    basis = _basis(covariates[called])
    free = g.size - basis.shape[1] - 1
    if free < 1 or is_constant(y.mean(), y.std()):
        return np.nan, np.nan, np.nan, 0.0
    g, y = g - g.mean(), y - y.mean()
    whole = np.array([g @ g, y @ y])
    for _ in range(2):  # the second time for what rounding left of the first
        g, y = g - basis @ (basis.T @ g), y - basis @ (basis.T @ y)
    own, left = g @ g, y @ y
    if (np.array([own, left]) <= _OWN * whole).any():
        return np.nan, np.nan, np.nan, 0.0
    slope = g @ y / own
    rest = y - slope * g
    rss = rest @ rest
    if rss <= (8 * np.finfo(float).eps) ** 2 * y.size * left:
        rss = 0.0
    return slope, np.sqrt(rss / free / own), g @ y / np.sqrt(own * left), float(free)


@numba.njit(cache=True, nogil=True)
def _moments(calls):  # type: ignore[no-untyped-def]
    """Return how many are called at each variant, and the sums of their dosages and squares."""
    n = np.empty(calls.shape[0], np.int64)
    total, square = np.empty(calls.shape[0]), np.empty(calls.shape[0])
    for variant in range(calls.shape[0]):
        n[variant], total[variant], square[variant] = _sums(calls[variant])
    return n, total, square


@numba.njit(cache=True, nogil=True, fastmath=_ANY_ORDER)
def _sums(calls):  # type: ignore[no-untyped-def]
    n, total, square = 0, 0 * calls[0], 0 * calls[0]  # whole numbers where dosages are
    for i in range(calls.size):
        called = calls[i] >= 0
        copies = calls[i] if called else 0
        n += called
        total += copies
        square += copies * copies
    return n, total, square


@numba.njit(cache=True, nogil=True, fastmath=_ANY_ORDER)
def _product(calls, residual):  # type: ignore[no-untyped-def]
    product = 0.0
    for i in range(calls.size):
        product += calls[i] * residual[i]
    return product


@numba.njit(cache=True, nogil=True)
def _shared(calls, basis):  # type: ignore[no-untyped-def]
    """Return how much of each variant's sum of squares the covariates take, (variant,)."""
    found = np.zeros(calls.shape[0])
    for variant in range(calls.shape[0]):
        for covariate in range(basis.shape[0]):
            found[variant] += _product(calls[variant], basis[covariate]) ** 2
    return found


@numba.njit(cache=True, nogil=True, fastmath=_ANY_ORDER)
def _products_of_called(calls, residual):  # type: ignore[no-untyped-def]
    product, total, square = 0.0, 0.0, 0.0
    for i in range(calls.size):
        if calls[i] >= 0:
            product += calls[i] * residual[i]
            total += residual[i]
            square += residual[i] * residual[i]
    return product, total, square


@numba.njit(cache=True, nogil=True)
def _interpolate(t, degrees, wanted, cubics, p):  # type: ignore[no-untyped-def]
    for pair in range(t.size):
        at = abs(t[pair])
        if degrees[pair] == wanted and at < _TABLE:
            step = int(at / _STEP)
            x = at - step * _STEP
            a, b, c, d = cubics[step]
            p[pair] = np.exp(((a * x + b) * x + c) * x + d)


@numba.njit(cache=True, nogil=True)
def _regress(  # type: ignore[no-untyped-def]
    calls, residual, left, n, total, own, first, last, free, alone, slope, se, r, degrees, number
):
    """Fill the pairs; return how many must be computed otherwise (their degrees are -1)."""
    pair, doubtful = 0, 0
    for gene in range(residual.shape[0]):
        for variant in range(first[gene], last[gene]):
            here, pair = pair, pair + 1
            number[here] = n[variant]
            complete = n[variant] == calls.shape[1]
            if not complete and not alone:
                degrees[here] = -1
                doubtful += 1
                continue
            if np.isnan(own[variant]) or np.isnan(left[gene]):
                continue
            if complete:
                product, rest = _product(calls[variant], residual[gene]), left[gene]
                freedom = free
            else:
                product, sum_y, square = _products_of_called(calls[variant], residual[gene])
                product -= total[variant] * sum_y / n[variant]
                rest = square - sum_y * sum_y / n[variant]
                freedom = n[variant] - 2
                if rest <= _LEFT * left[gene]:
                    degrees[here] = -1
                    doubtful += 1
                    continue
            if freedom < 1:
                continue
            unexplained = rest - product * product / own[variant]
            if unexplained <= _LEFT * rest:
                degrees[here] = -1
                doubtful += 1
                continue
            degrees[here] = freedom
            slope[here] = product / own[variant]
            se[here] = np.sqrt(unexplained / freedom / own[variant])
            r[here] = product / np.sqrt(own[variant] * rest)
    return doubtful
