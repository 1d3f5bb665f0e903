"""Genes with a fine-mapped variant: is |r| larger there, and how often is r negative?"""

import re
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from zarrbench.errors import GeneTableError, SourceError
from zarrbench.genome.genes import unversioned
from zarrbench.statistics.correlation import apply_along, joined_on_labels

_VARIANT = re.compile(r"chr[0-9A-Za-z]+_[1-9]\d*_[ACGT]+_[ACGT]+_b\d+")
# Outputs of the kernel with their dtypes, in its order
_OUTPUTS = {
    "z": np.float64,
    "p": np.float64,
    "n_flagged": np.int64,
    "n_rest": np.int64,
    "n_flagged_negative": np.int64,
    "n_rest_negative": np.int64,
}


@dataclass(frozen=True)
class FlagComparison:
    """Rank-sum test of |r| of flagged genes against the rest, and counts; all of one shape.

    z is positive where |r| of the flagged genes is larger; p is two-sided.
    """

    z: NDArray[np.float64]
    p: NDArray[np.float64]
    n_flagged: NDArray[np.int64]
    n_rest: NDArray[np.int64]
    n_flagged_negative: NDArray[np.int64]
    n_rest_negative: NDArray[np.int64]


def flag_genes(
    gene: ArrayLike, listed_gene: ArrayLike, variant: ArrayLike, substitutions_only: bool = False
) -> NDArray[np.bool_]:
    """Return which genes, shape (gene,), have a variant in a list of fine-mapped ones.

    Parameters
    ----------
    gene
        Ids; versions make no difference.
    listed_gene, variant
        Shape (row,): a gene, and a variant as ``chr_pos_ref_alt_b38`` (1-based).
    substitutions_only
        Leave out insertions and deletions, which occur in the study's lists.

    Raises
    ------
    SourceError
        If a variant is written in another way.
    GeneTableError
        If there are variants and none belongs to any of the genes.
    """
    ids, variants = (
        unversioned(np.asarray(listed_gene).astype(object)),
        np.asarray(variant).astype(object),
    )
    for one, text in zip(ids, variants, strict=True):
        if not _VARIANT.fullmatch(text):
            raise SourceError(
                f"the fine-mapped variant {text!r:.60} of the gene {one} is not written as "
                "chr1_12345_A_G_b38; give a list in that form"
            )
    genes = unversioned(np.asarray(gene).astype(object))
    if len(ids) and not set(ids) & set(genes):
        raise GeneTableError(
            f"none of the {len(set(ids))} genes with a fine-mapped variant (for example {ids[0]}) "
            f"is among the {len(genes)} genes; use ids of the same kind"
        )
    single = np.array([len(ref) == len(alt) == 1 for ref, alt in map(_alleles, variants)], bool)
    listed = set(ids[single]) if substitutions_only else set(ids)
    return np.array([one in listed for one in genes], dtype=bool)


def _alleles(variant: str) -> tuple[str, str]:
    _, _, ref, alt, _ = variant.split("_")
    return ref, alt


def compare_flagged(
    r: ArrayLike, flagged: ArrayLike, tie_correction: bool = False
) -> FlagComparison:
    """Compare |r| of flagged genes with that of the rest by Wilcoxon's rank-sum test.

    Two-sided, in the normal approximation without continuity correction (METHODS section 20):
    inexact for fewer than about ten genes on a side. Genes near each other share variants, which is
    not handled.

    Parameters
    ----------
    r
        Correlations, shape (..., gene); genes whose r is NaN are left out.
    flagged
        bool, broadcasting with `r`.
    tie_correction
        Take the smaller variance of tied ranks, as R's wilcox.test does; without it, z is nearer 0.

    Returns
    -------
    FlagComparison
        Shape (...). z and p are NaN where a side is empty, or all |r| are the same.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.
    """
    r, flagged = np.broadcast_arrays(np.asarray(r, np.float64), np.asarray(flagged, bool))
    valid = ~np.isnan(r)
    inside, outside = flagged & valid, ~flagged & valid
    n, n_flagged, n_rest = (side.sum(axis=-1) for side in (valid, inside, outside))
    ranks = stats.rankdata(np.abs(r), axis=-1, nan_policy="omit")
    rank_sum = np.where(inside, ranks, 0.0).sum(axis=-1)
    tied = _tied(r)
    variance = np.asarray(n_flagged * n_rest * (n + 1) / 12.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        # n^3 - n of all ties together leave no variance
        shrunk = variance * (1 - tied / (np.asarray(n, float) ** 3 - n))
        excess = rank_sum - n_flagged * (n + 1) / 2.0
        z = excess / np.sqrt(shrunk if tie_correction else variance)
    z = np.where((variance > 0) & (shrunk > 0), z, np.nan)
    negative = r < 0
    return FlagComparison(
        z,
        np.asarray(2 * special.ndtr(-np.abs(z))),
        n_flagged,
        n_rest,
        (inside & negative).sum(axis=-1),
        (outside & negative).sum(axis=-1),
    )


def _tied(r: NDArray) -> NDArray[np.float64]:
    """Return the sum over groups of tied |r| of t^3 - t, shape (...)."""
    values = np.abs(r)
    lowest = stats.rankdata(values, "min", axis=-1, nan_policy="omit")
    highest = stats.rankdata(values, "max", axis=-1, nan_policy="omit")
    size = highest - lowest + 1
    return np.where(np.isnan(size), 0.0, size**2 - 1).sum(axis=-1)


def compare_flagged_genes(
    r: xr.DataArray, flagged: xr.DataArray, tie_correction: bool = False
) -> xr.Dataset:
    """Return `compare_flagged` of labelled r (gene, ...) and flags (gene), lazily where Dask is.

    Both are joined on the labels of the dimensions they share.

    Returns
    -------
    xarray.Dataset
        z, p, n_flagged, n_rest, n_flagged_negative and n_rest_negative over the dimensions other
        than ``gene``.

    Raises
    ------
    GeneTableError, SampleError
        As `correlation.joined_on_labels`.
    """
    r, flagged = joined_on_labels(r, flagged.reset_coords(drop=True), "gene")
    return apply_along(
        "gene",
        lambda r, flagged: tuple(vars(compare_flagged(r, flagged, tie_correction)).values()),
        _OUTPUTS,
        r,
        flagged,
    )
