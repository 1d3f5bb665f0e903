"""A gene's own null: how well random predictors on the same genotypes correlate by chance.

After Sasse, Ng, Spiro et al., Nature Genetics 55, 2060-2064 (2023), doi:10.1038/s41588-023-01524-6.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy import special

from zarrbench.statistics.correlation import is_constant

Statistic = Literal["published", "sem", "prediction", "signed", "empirical"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)
NULL_BINS = 100  # of |r|: most nulls fill ten of them
_BLOCK_OF_DRAWS = 1000  # bounds the weights held at once: 40 MB for 5,000 variants


@dataclass(frozen=True)
class NullTest:
    """Moments of the null, shape (...), and tests, shape (..., 5) in the order of STATISTICS."""

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    rms: NDArray[np.float64]
    t: NDArray[np.float64]
    p: NDArray[np.float64]
    degenerate: NDArray[np.bool_]


def gene_generator(seed: int, gene: str) -> np.random.Generator:
    """Return a gene's own stream, from a seed >= 0, whatever the platform and the other genes."""
    digest = hashlib.blake2b(gene.encode(), digest_size=16).digest()
    sequence = np.random.SeedSequence([seed, int.from_bytes(digest, "little")])
    return np.random.Generator(np.random.PCG64(sequence))  # what default_rng takes may change


def polymorphic(dosage: NDArray) -> NDArray[np.bool_]:
    """Return which variants of (variant, individual), -1 = missing, are called with two dosages."""
    highest = dosage.max(axis=1, keepdims=True, initial=-1)
    return ((dosage >= 0) & (dosage != highest)).any(axis=1)


def null_correlations(
    dosage: NDArray,
    y: ArrayLike,
    draws: int,
    generator: np.random.Generator | np.random.RandomState,
    positive: bool = False,
) -> NDArray[np.float64]:
    """Return |Pearson r| with y of `draws` random predictors on a gene's variants, shape (draws,).

    The weights are standard normal on alternative-allele counts, neither standardised nor scaled
    by frequency. People whose y is not finite are dropped, then variants monomorphic among the
    rest, before any weight is drawn; then missing calls take the mean of their variant. Computed
    in float64. It is 0 for a constant y, fewer than three people or no polymorphic variant.

    Parameters
    ----------
    dosage
        Alternative-allele counts, int8, shape (variant, individual), -1 = missing.
    y
        Observed expression of the same people in the same order, shape (individual,).
    draws
        Number of predictors; the first k are those that asking for k gives.
    generator
        The gene's stream, see `gene_generator`; it is advanced. From NumPy's legacy generator every
        variant takes a weight, polymorphic or not, as in the study, where one stream served all
        genes in turn: it must be advanced by genes that have no null of their own, too.
    positive
        Take the absolute values of the weights.

    Raises
    ------
    ValueError
        If dosage and y hold different numbers of people.
    """
    observed = np.asarray(y, dtype=np.float64)
    if observed.shape != dosage.shape[1:]:
        raise ValueError(f"dosage {dosage.shape} and y {observed.shape} differ in people")
    kept = np.isfinite(observed)
    calls, residual = dosage if kept.all() else dosage[:, kept], observed[kept]
    varying = polymorphic(calls)
    calls = calls[varying]
    legacy = isinstance(generator, np.random.RandomState)
    q = np.zeros(draws)
    if len(calls) == 0 or residual.size < 3 or is_constant(residual.mean(), residual.std()):
        if legacy:
            generator.standard_normal((draws, varying.size))
        return q
    residual -= residual.mean()
    filled = _filled(calls, np.float64)
    for start in range(0, draws, _BLOCK_OF_DRAWS):
        block = q[start : start + _BLOCK_OF_DRAWS]
        drawn = generator.standard_normal((block.size, varying.size if legacy else len(calls)))
        weights = drawn[:, varying] if legacy else drawn
        weights = np.abs(weights) if positive else weights
        block[:] = _absolute_r(weights @ filled, residual)
    return q


def effective_variants(dosage: NDArray) -> float:
    """Return about how many independent variants carry the null of a gene.

    The participation ratio (sum l)^2 / sum l^2 of the eigenvalues l of the covariance of raw
    dosages across people: 1 for one variant or perfect linkage, the number of variants where all
    are independent and equally variable, 0 where none is polymorphic. Accurate to 1e-5. `dosage`
    is as in `null_correlations`; people without expression are to be left out before.
    """
    calls = dosage[polymorphic(dosage)]
    if not len(calls):
        return 0.0
    centred = _centred(calls, np.float32)
    # Trace and squared Frobenius norm are the two sums, and either Gram matrix has the same ones.
    gram = centred @ centred.T if len(calls) < calls.shape[1] else centred.T @ centred
    return float(np.trace(gram, dtype=np.float64) ** 2 / np.square(gram, dtype=np.float64).sum())


def null_test(r: ArrayLike, q: ArrayLike, round_r: int | None = None) -> NullTest:
    """Test correlations r, shape (...), against draws q >= 0 of their null, shape (..., draws).

    With D = |r| - mean(q), n draws, sd of ddof 0 and sd' of ddof 1, t and its degrees of freedom:

    - published: D / sqrt(sd / n), n - 1; what the study computed, the root of a standard deviation
      where a variance belongs; p = 1 where t < 0.
    - sem: D / (sd / sqrt(n)), n - 1; does |r| differ from the *mean* of the null? Very liberal.
    - prediction: D / (sd' sqrt(1 + 1/n)), n - 1; may |r| be one more draw? Anti-conservative, since
      |r| is half-normal under the null.
    - signed: r / sqrt(mean(q^2)), n, two-sided; may r be a signed draw? Calibrated where several
      independent variants carry the null.
    - empirical: no t; p = (1 + #{q >= |r|}) / (n + 1), which needs many draws.

    The first three are one-sided, towards large |r|. A NaN r counts as 0, which is not significant.
    Where the null has no spread, or a NaN, it is degenerate: t is NaN and p is 1 for all five.
    `round_r` rounds r to so many decimals first, as the study's tables do (3).
    """
    r, q = _rounded(r, round_r), np.asarray(q, np.float64)
    n = q.shape[-1]
    mean, sd = np.asarray(q.mean(axis=-1)), np.asarray(q.std(axis=-1))
    tested = _tested(r, mean, sd, np.asarray(np.sqrt(np.vecdot(q, q) / n)), n)
    empirical = (1 + (q >= np.abs(r)[..., np.newaxis]).sum(axis=-1)) / (n + 1)
    tested.p[..., STATISTICS.index("empirical")] = np.where(tested.degenerate, 1.0, empirical)
    return tested


def null_test_from_moments(
    r: ArrayLike, mean: ArrayLike, sd: ArrayLike, draws: int, round_r: int | None = None
) -> NullTest:
    """Test correlations r as `null_test` does, where only the moments of the null are known.

    The study's tables hold them, not the draws. They determine every statistic but empirical, whose
    p is NaN (1 where the null is degenerate).

    Parameters
    ----------
    r, mean, sd
        Correlations, and mean and standard deviation (ddof 0) of the draws; the shapes broadcast.
    draws
        The number of draws behind the moments.
    round_r
        As in `null_test`.

    Raises
    ------
    ValueError
        If there are fewer than two draws, or the shapes do not broadcast.
    """
    if draws < 2:
        raise ValueError(f"moments of {draws} draws have no spread; it takes two")
    r, mean, sd = np.broadcast_arrays(
        _rounded(r, round_r), np.asarray(mean, np.float64), np.asarray(sd, np.float64)
    )
    return _tested(r, mean, sd, np.hypot(mean, sd), draws)


def null_statistics(r: xr.DataArray, q: xr.DataArray, round_r: int | None = None) -> xr.Dataset:
    """Return `null_test` of r (gene) and q (gene, draw), lazily where they are Dask-backed.

    null_mean, null_sd (ddof 0), null_rms and null_degenerate are over (gene), null_t and null_p
    over (gene, statistic), with the names as coordinate.

    Raises
    ------
    xarray.AlignmentError
        If r and q do not hold the same genes in the same order.
    """
    return _labelled(
        lambda r, q: null_test(r, q, round_r),
        (r, q.chunk({"draw": -1}) if q.chunks else q),
        [[], ["draw"]],
    )


def null_statistics_from_moments(
    r: xr.DataArray,
    mean: xr.DataArray,
    sd: xr.DataArray,
    draws: int,
    round_r: int | None = None,
) -> xr.Dataset:
    """Return `null_test_from_moments` of arrays over (gene) as `null_statistics` does its test.

    Raises
    ------
    ValueError
        If there are fewer than two draws.
    xarray.AlignmentError
        If the arrays do not hold the same genes in the same order.
    """
    if draws < 2:  # here and not only when a lazy array computes
        raise ValueError(f"moments of {draws} draws have no spread; it takes two")
    return _labelled(
        lambda r, mean, sd: null_test_from_moments(r, mean, sd, draws, round_r),
        (r, mean, sd),
        [[], [], []],
    )


def null_histogram(q: xr.DataArray) -> xr.Dataset:
    """Return how many draws q >= 0 (gene, draw) are in each bin, lazily where q is Dask-backed.

    `null_count` is over (gene, null_bin), for `NULL_BINS` equal bins from 0 to 1, named by their
    lower edges; a bin has its lower edge, the last one both. Draws that are NaN are in none.
    """
    edges = np.linspace(0, 1, NULL_BINS + 1)

    def counted(draws: NDArray) -> NDArray[np.int64]:
        return np.apply_along_axis(
            lambda row: np.histogram(row[np.isfinite(row)], edges)[0], -1, draws
        )

    counts = xr.apply_ufunc(
        counted,
        q.chunk({"draw": -1}) if q.chunks else q,
        input_core_dims=[["draw"]],
        output_core_dims=[["null_bin"]],
        dask="parallelized",
        output_dtypes=[np.int64],
        dask_gufunc_kwargs={"output_sizes": {"null_bin": NULL_BINS}},
        keep_attrs=False,
    )
    return xr.Dataset({"null_count": counts}, coords={"null_bin": edges[:-1]})


def _rounded(r: ArrayLike, decimals: int | None) -> NDArray[np.float64]:
    values = np.nan_to_num(np.asarray(r, np.float64))
    return values if decimals is None else np.round(values, decimals)


def _tested(r: NDArray, mean: NDArray, sd: NDArray, rms: NDArray, n: int) -> NullTest:
    """Return the tests that follow from moments of n draws; the empirical p is NaN."""
    excess = np.abs(r) - mean
    with np.errstate(divide="ignore", invalid="ignore"):
        published = excess / np.sqrt(sd / n)
        sem = excess / (sd / np.sqrt(n))
        prediction = excess / (sd * np.sqrt(np.divide(n + 1, n - 1)))  # sd' sqrt(1 + 1/n)
        signed = r / rms
    t = np.stack([published, sem, prediction, signed, np.full_like(signed, np.nan)])
    p = special.stdtr(n - 1, -t)
    p[0, published < 0] = 1.0
    p[3] = 2 * special.stdtr(n, -np.abs(signed))
    degenerate = is_constant(mean, sd)
    t, p = np.where(degenerate, np.nan, t), np.where(degenerate, 1.0, p)
    return NullTest(mean, sd, rms, np.moveaxis(t, 0, -1), np.moveaxis(p, 0, -1), degenerate)


def _labelled(
    test: Callable[..., NullTest],
    arrays: tuple[xr.DataArray, ...],
    input_core_dims: list[list[str]],
) -> xr.Dataset:
    names = [field.name for field in fields(NullTest)]
    outputs = xr.apply_ufunc(
        lambda *values: tuple(vars(test(*values)).values()),
        *arrays,
        input_core_dims=input_core_dims,
        output_core_dims=[[], [], [], ["statistic"], ["statistic"], []],
        dask="parallelized",
        output_dtypes=[*[np.float64] * 5, np.bool_],
        dask_gufunc_kwargs={"output_sizes": {"statistic": len(STATISTICS)}},
        join="exact",
        keep_attrs=False,
    )
    labelled = {f"null_{name}": array for name, array in zip(names, outputs, strict=True)}
    return xr.Dataset(labelled, coords={"statistic": list(STATISTICS)})


def _absolute_r(predictors: NDArray, residual: NDArray) -> NDArray[np.float64]:
    """Return |r| of each row of predictors with the residual, which has mean 0."""
    # Centring the few predictors is the same as centring all dosages.
    predictors = predictors - predictors.mean(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = predictors @ residual / (np.linalg.norm(predictors, axis=1) * np.linalg.norm(residual))
    return np.minimum(np.abs(np.nan_to_num(r)), 1.0)


def _centred(calls: NDArray, dtype: DTypeLike) -> NDArray:
    """Return dosages less their variant's mean."""
    filled = _filled(calls, dtype)
    ones = np.ones(calls.shape[1], dtype)  # a sum along rows is faster as a product
    filled -= (filled @ ones / ones.size)[:, np.newaxis]
    return filled


def _filled(calls: NDArray, dtype: DTypeLike) -> NDArray:
    """Return dosages in which a missing call is the mean of its variant."""
    filled = calls.astype(dtype)
    if calls.min(initial=0) < 0:
        missing = calls < 0
        filled[missing] = 0.0
        means = filled.sum(axis=1) / (~missing).sum(axis=1)
        filled += missing * means[:, np.newaxis].astype(dtype)
    return filled
