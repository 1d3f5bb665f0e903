"""How common variants are, and which variants and which people look alike (METHODS section 22)."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import pdist

from zarrbench.errors import RecipeError
from zarrbench.statistics.correlation import apply_along, is_constant

# Outputs of the kernel with their dtypes, in its order
_OUTPUTS = {
    "carrier_frequency": np.float64,
    "carrier_frequency_centred": np.float64,
    "allele_frequency": np.float64,
    "minor_allele_frequency": np.float64,
    "n_called": np.int64,
}


@dataclass(frozen=True)
class VariantFrequency:
    """Frequencies of variants, and how many people are called, all of one shape.

    Parameters
    ----------
    carrier
        Share of people with one or two copies of the alternative allele. The study calls it
        frequency, and in captions MAF, which it is not.
    carrier_centred
        1 - carrier where that is above 0.5: the share with the less common state.
    allele
        Share of alternative alleles, from 0 to 1.
    minor_allele
        Share of the less common allele, from 0 to 0.5.
    n_called
        People whose call is not missing.
    """

    carrier: NDArray[np.float64]
    carrier_centred: NDArray[np.float64]
    allele: NDArray[np.float64]
    minor_allele: NDArray[np.float64]
    n_called: NDArray[np.int64]


@dataclass(frozen=True)
class HeatMap:
    """Mean dosages of groups of variants in groups of people, in the order of the drawing.

    Made from genotypes of people: private, however it is drawn.

    Parameters
    ----------
    values
        Shape (variant group, individual group), from 0 to 2.
    variant_group, individual_group
        Shape (variant,) and (individual,): the row or column of `values` that one went into, -1
        where it was left out.
    """

    values: NDArray[np.float64]
    variant_group: NDArray[np.int64]
    individual_group: NDArray[np.int64]


def variant_frequency(dosage: ArrayLike, decimals: int | None = None) -> VariantFrequency:
    """Return the frequencies of variants, shape (...), of dosages, shape (..., individual).

    Parameters
    ----------
    dosage
        Alternative-allele counts 0, 1, 2 of a diploid, or their expectation where calls were
        imputed (whoever has a part of a copy is then a carrier); negative or NaN = missing, which
        no share counts.
    decimals
        Round the shares to so many, as the study's tables do (3).

    Returns
    -------
    VariantFrequency
        Shares are NaN where nobody is called.
    """
    calls = np.asarray(dosage)
    n = np.asarray((calls >= 0).sum(axis=-1))
    carriers = (calls > 0).sum(axis=-1)
    whole = calls.dtype.kind in "iub"
    copies = np.where(calls > 0, calls, 0).sum(axis=-1, dtype=np.int64 if whole else np.float64)
    with np.errstate(invalid="ignore"):
        carrier, allele = carriers / n, copies / (2 * n)
    shares = np.stack(
        [carrier, np.minimum(carrier, 1 - carrier), allele, np.minimum(allele, 1 - allele)]
    )
    carrier, centred, allele, minor = shares if decimals is None else np.round(shares, decimals)
    return VariantFrequency(carrier, centred, allele, minor, n)


def frequencies(dosage: xr.DataArray, decimals: int | None = None) -> xr.Dataset:
    """Return `variant_frequency` of labelled dosages (..., individual), lazily where Dask is.

    Returns
    -------
    xarray.Dataset
        carrier_frequency, carrier_frequency_centred, allele_frequency, minor_allele_frequency and
        n_called over the dimensions other than ``individual``.
    """
    return apply_along(
        "individual",
        lambda calls: tuple(vars(variant_frequency(calls, decimals)).values()),
        _OUTPUTS,
        dosage,
    )


def variants_carried(dosage: ArrayLike) -> NDArray[np.int64]:
    """Return how many of the variants (variant, individual) each person carries a copy of."""
    return (np.asarray(dosage) > 0).sum(axis=0)


def correlated_groups(profiles: ArrayLike, threshold: float = 0.1) -> NDArray[np.int64]:
    """Return groups of rows that correlate: complete linkage on the distance 1 - Pearson r.

    Any two rows of a group have 1 - r <= `threshold`. The distances of all pairs are held at once.

    Parameters
    ----------
    profiles
        Shape (row, column), without missing values.
    threshold
        From 0 to 2.

    Returns
    -------
    ndarray
        Shape (row,): groups are numbered from 0 by their first row. A row without variance
        correlates with nothing and is a group of its own.

    Raises
    ------
    RecipeError
        If the threshold is outside 0 to 2.
    ValueError
        If a value is not finite.
    """
    if not 0 <= threshold <= 2:
        raise RecipeError(f"a threshold on 1 - r must be from 0 to 2, found {threshold}")
    rows = np.asarray(profiles, np.float64)
    if not np.isfinite(rows).all():
        raise ValueError("profiles hold values that are not finite; impute them first")
    if not rows.size:
        return np.arange(len(rows))
    variable = np.flatnonzero(~is_constant(rows.mean(axis=1), rows.std(axis=1)))
    labels = np.arange(len(rows)) + len(rows)  # beyond the numbers that fcluster gives
    if len(variable) > 1:
        # rounding can leave a distance a hair below 0, or 0.1 a hair above itself
        distance = np.maximum(pdist(rows[variable], "correlation"), 0.0)
        merged = linkage(distance, "complete")
        labels[variable] = fcluster(merged, threshold + 1e-12, "distance")
    return numbered(labels)


def average_order(profiles: ArrayLike) -> NDArray[np.int64]:
    """Return the rows in the order of a tree by average linkage on Euclidean distance.

    Parameters
    ----------
    profiles
        Shape (row, column), without missing values.
    """
    rows = np.asarray(profiles, np.float64)
    if len(rows) < 2:
        return np.arange(len(rows))
    return leaves_list(linkage(pdist(rows), "average")).astype(np.int64)


def heat_map(
    dosage: ArrayLike,
    min_frequency: float = 0.1,
    min_carried: float = 10,
    threshold: float = 0.1,
) -> HeatMap:
    """Return the heat map of a gene's genotypes, as the study drew it.

    Variants carried by a larger share of people than `min_frequency` are merged where they
    correlate (`correlated_groups`), and a group has the mean dosage of its variants. People whose
    sum over groups exceeds `min_carried` are merged in the same way. Both axes are in the order of
    `average_order`.

    Parameters
    ----------
    dosage
        Shape (variant, individual), -1 = missing: takes the mean of its variant.
    min_frequency
        Of carriers, exclusive.
    min_carried
        Exclusive.
    threshold
        Largest 1 - r within a group.

    Raises
    ------
    RecipeError
        If the threshold is outside 0 to 2.
    """
    calls = np.asarray(dosage)
    common = np.flatnonzero(variant_frequency(calls).carrier > min_frequency)
    variant_group = np.full(calls.shape[0], -1)
    individual_group = np.full(calls.shape[1], -1)
    groups = correlated_groups(mean_imputed(calls[common]), threshold)
    profiles = _means(mean_imputed(calls[common]), groups)
    carrying = np.flatnonzero(profiles.sum(axis=0) > min_carried)
    people = profiles[:, carrying].T
    people_groups = correlated_groups(people, threshold)
    values = _means(people, people_groups).T
    down, across = average_order(values), average_order(values.T)
    variant_group[common] = np.argsort(down)[groups]
    individual_group[carrying] = np.argsort(across)[people_groups]
    return HeatMap(values[np.ix_(down, across)], variant_group, individual_group)


def mean_imputed(calls: NDArray) -> NDArray[np.float64]:
    """Return dosages (variant, individual) in which a missing call has the mean of its variant."""
    called = calls >= 0
    counts = np.maximum(called.sum(axis=1, keepdims=True), 1)
    means = np.where(called, calls, 0).sum(axis=1, keepdims=True) / counts
    return np.where(called, calls, means)


def _means(rows: NDArray, groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean row of every group, shape (group, column)."""
    n_groups = int(groups.max(initial=-1)) + 1
    totals = np.zeros((n_groups, rows.shape[1]))
    np.add.at(totals, groups, rows)
    return totals / np.bincount(groups, minlength=n_groups)[:, np.newaxis]


def numbered(labels: NDArray) -> NDArray[np.int64]:
    """Return labels numbered from 0 in the order in which they first stand."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)
