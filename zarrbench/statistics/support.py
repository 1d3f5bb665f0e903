"""Whether observed expression supports the sign of driver variants; where drivers lie; how many.

After Sasse, Ng, Spiro et al., Nature Genetics 55, 2060-2064 (2023), doi:10.1038/s41588-023-01524-6;
METHODS sections 15 and 16. Arrays of drivers hold those of all genes, each with its gene's index.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

# Of distances to the TSS, in bases
DISTANCE_EDGES = np.arange(-70_000, 70_000, 1_000)
# Genes of more drivers share the last bin of a histogram
MOST_DRIVERS = 20
# What the study calls few drivers
_FEW = 5


@dataclass(frozen=True)
class GeneGroups:
    """Genes that pass, by the sign of their r across people; bool, shape (gene,)."""

    positive: NDArray[np.bool_]
    negative: NDArray[np.bool_]


@dataclass(frozen=True)
class Fractions:
    """Shares of a gene's drivers, shape (gene,); NaN for a gene without any.

    The two do not add to 1 where there are neutral drivers.
    """

    supported: NDArray[np.float64]
    unsupported: NDArray[np.float64]


@dataclass(frozen=True)
class SupportCounts:
    """Numbers of drivers by what expression says of their sign."""

    supported: int
    unsupported: int
    neutral: int


@dataclass(frozen=True)
class DriverCounts:
    """How many drivers genes have.

    Attributes
    ----------
    n_examined, n_with_driver : int
        All genes given, and those with a driver.
    histogram : int64
        Genes with 1, 2, ..., MOST_DRIVERS drivers, and with more; shape (MOST_DRIVERS + 1,).
    cumulative : float64
        Share of the genes with a driver that have so many or fewer; the same shape.
    one_of_examined, few_of_examined : float
        Share of all genes that have exactly one driver, and one to five.
    one_of_with_driver, few_of_with_driver : float
        The same of the genes with a driver, as the study counts. Shares of no genes are NaN.
    """

    n_examined: int
    n_with_driver: int
    histogram: NDArray[np.int64]
    cumulative: NDArray[np.float64]
    one_of_examined: float
    few_of_examined: float
    one_of_with_driver: float
    few_of_with_driver: float


@dataclass(frozen=True)
class DistanceHistogram:
    """Drivers between DISTANCE_EDGES, and those beyond.

    `counts` has one number fewer than edges; a bin holds its left edge, the last one both.
    """

    counts: NDArray[np.int64]
    n_outside: int


@dataclass(frozen=True)
class RankTest:
    """Two-sided Mann-Whitney test: U of the first group, its p, and the sizes of the groups."""

    u: float
    p: float
    n_first: int
    n_second: int


def sign_support(attribution: ArrayLike, slope: ArrayLike) -> NDArray[np.int8]:
    """Return whether variants act on expression in the direction that the network gives them.

    Both must count the alternative allele. No test is made: a slope next to 0 has a sign, too.
    Values rounded beforehand can have become 0.

    Parameters
    ----------
    attribution
        Change of the prediction from reference to alternative allele.
    slope
        Of observed expression per alternative allele; the two broadcast.

    Returns
    -------
    NDArray[np.int8]
        1 supported (equal signs), -1 unsupported, 0 neutral: where one of them is 0, and where it
        is NaN. So a driver that is monomorphic among the people with expression is neutral.
    """
    product = np.sign(np.asarray(attribution, float)) * np.sign(np.asarray(slope, float))
    return np.where(np.isnan(product), 0, product).astype(np.int8)


def fractions(
    support: ArrayLike, gene: ArrayLike, n_genes: int, weights: ArrayLike | None = None
) -> Fractions:
    """Return the share of each gene's drivers that are supported, and that are not.

    Parameters
    ----------
    support
        Of drivers, as `sign_support` returns it, shape (driver,). Neutral ones stay in the
        denominator.
    gene
        Index from 0 of each driver's gene, shape (driver,).
    n_genes
        Number of genes, those without drivers included.
    weights
        Not negative, shape (driver,): the drivers' increments. By default all weigh the same, as in
        the study's figure.

    Raises
    ------
    ValueError
        If shapes differ, an index is none of a gene, or a weight is negative or NaN.
    """
    s, index = np.asarray(support), np.asarray(gene, dtype=np.int64)
    w = np.ones(s.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if not s.shape == index.shape == w.shape or s.ndim != 1:
        raise ValueError(
            f"support {s.shape}, gene {index.shape} and weights {w.shape} differ in drivers"
        )
    if ((index < 0) | (index >= n_genes)).any():
        raise ValueError(f"gene should hold indices from 0 to below {n_genes}")
    if not (w >= 0).all():
        raise ValueError("a weight is negative or NaN")
    total = np.bincount(index, w, n_genes)
    with np.errstate(invalid="ignore"):
        return Fractions(
            np.bincount(index, w * (s > 0), n_genes) / total,
            np.bincount(index, w * (s < 0), n_genes) / total,
        )


def select_genes(
    examined: ArrayLike,
    has_driver: ArrayLike,
    r_linear: ArrayLike,
    r: ArrayLike,
    min_r_linear: float = 0.2,
    min_r: float = 0.2,
) -> GeneGroups:
    """Return the genes whose drivers are compared, by the sign of r; all arrays of shape (gene,).

    Parameters
    ----------
    examined
        The significant genes whose drivers were sought.
    has_driver
        Those with at least one.
    r_linear
        Correlation of the linear sum with the prediction (`drivers.linear_sum`).
    r
        Correlation of predicted and observed expression across people. The study rounds it to 3
        decimals before.
    min_r_linear, min_r
        A gene passes with r_linear and |r| above them, not at them; NaN does not pass.
    """
    r = np.asarray(r, dtype=np.float64)
    passing = (
        np.asarray(examined, bool)
        & np.asarray(has_driver, bool)
        & (np.asarray(r_linear, np.float64) > min_r_linear)
    )
    return GeneGroups(passing & (r > min_r), passing & (r < -min_r))


def count_support(support: ArrayLike) -> SupportCounts:
    """Count drivers, such as the main drivers of a group of genes, by `sign_support`."""
    s = np.asarray(support)
    return SupportCounts(int((s > 0).sum()), int((s < 0).sum()), int((s == 0).sum()))


def main_driver_support(
    support: ArrayLike, is_main: ArrayLike, gene: ArrayLike, groups: GeneGroups
) -> dict[str, SupportCounts]:
    """Count the main drivers of each group of genes by `sign_support`.

    Parameters
    ----------
    support, is_main, gene
        Of all drivers, shape (driver,): as `sign_support` returns it, whether the driver is its
        gene's main one, and the index of the gene.
    groups
        As `select_genes` returns them.

    Returns
    -------
    dict[str, SupportCounts]
        Under "positive" and "negative".
    """
    main = np.asarray(is_main, bool)
    s, index = np.asarray(support)[main], np.asarray(gene, np.int64)[main]
    return {
        "positive": count_support(s[groups.positive[index]]),
        "negative": count_support(s[groups.negative[index]]),
    }


def driver_counts(n_drivers: ArrayLike) -> DriverCounts:
    """Return how many drivers genes have, from the number of each examined one, shape (gene,)."""
    n = np.asarray(n_drivers, dtype=np.int64)
    found = np.bincount(np.minimum(n, MOST_DRIVERS + 1), minlength=MOST_DRIVERS + 2)[1:]
    with_driver, few = int(found.sum()), int(found[:_FEW].sum())
    return DriverCounts(
        n_examined=n.size,
        n_with_driver=with_driver,
        histogram=found,
        cumulative=np.cumsum(found) / with_driver if with_driver else np.full(len(found), np.nan),
        one_of_examined=_share(int(found[0]), n.size),
        few_of_examined=_share(few, n.size),
        one_of_with_driver=_share(int(found[0]), with_driver),
        few_of_with_driver=_share(few, with_driver),
    )


def driver_counts_by_sign(n_drivers: ArrayLike, r: ArrayLike) -> dict[str, DriverCounts]:
    """Return `driver_counts` of all genes, and of those with r above and below 0.

    Both arrays are of shape (gene,); a gene whose r is 0 or NaN counts among all genes alone.

    Returns
    -------
    dict[str, DriverCounts]
        Under "all", "positive" and "negative".
    """
    n, r = np.asarray(n_drivers), np.asarray(r, dtype=np.float64)
    groups = {"all": np.ones(n.shape, bool), "positive": r > 0, "negative": r < 0}
    return {name: driver_counts(n[genes]) for name, genes in groups.items()}


def distance_to_tss(
    position: ArrayLike, tss: ArrayLike, strand: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Return position - TSS in bases, of variants and genes that broadcast.

    Parameters
    ----------
    position, tss
        In one coordinate base, whichever.
    strand
        "+" or "-" of the gene: distances are then positive downstream of the TSS. By default they
        are those of the forward strand for every gene, as in the study.

    Raises
    ------
    ValueError
        If a strand is neither.
    """
    distance = np.asarray(position, np.int64) - np.asarray(tss, np.int64)
    if strand is None:
        return distance
    sign = np.asarray(strand).astype(str)
    if not np.isin(sign, ("+", "-")).all():
        raise ValueError(f"a strand is + or -, found {', '.join(np.unique(sign).tolist())}")
    return np.where(sign == "-", -1, 1) * distance


def distance_histogram(distance: ArrayLike) -> DistanceHistogram:
    """Count distances to the TSS in bins of 1,000 bases (METHODS section 16)."""
    values = np.asarray(distance, dtype=np.int64).ravel()
    counts, _ = np.histogram(values, DISTANCE_EDGES)
    return DistanceHistogram(counts, values.size - int(counts.sum()))


def compare_groups(first: ArrayLike, second: ArrayLike) -> RankTest:
    """Compare values of two groups, such as the supported fractions of positive and negative genes.

    Two-sided, exact for small groups without ties, else in the normal approximation with tie and
    continuity correction. NaN is left out; without values on either side, U and p are NaN. Genes
    near each other share variants, which is not handled.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    if not a.size or not b.size:
        return RankTest(np.nan, np.nan, a.size, b.size)
    test = stats.mannwhitneyu(a, b, alternative="two-sided")
    return RankTest(float(test.statistic), float(test.pvalue), a.size, b.size)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else np.nan
