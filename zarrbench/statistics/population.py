"""Population average: observed mean expression against the reference prediction, across genes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from zarrbench.errors import GeneTableError, RecipeError
from zarrbench.genome.coordinates import from_one_based
from zarrbench.genome.gene_subset import TestRule
from zarrbench.genome.genes import unversioned
from zarrbench.genome.regions import Regions
from zarrbench.statistics.correlation import apply_along, joined_on_labels, pearson

# Outputs of the kernel with their dtypes, in its order
_OUTPUTS = {"pearson_r": np.float64, "spearman_r": np.float64, "n_genes": np.int64}


@dataclass(frozen=True)
class PopulationAverage:
    """Pearson and Spearman r across genes and the number of genes, all of one shape."""

    pearson: NDArray[np.float64]
    spearman: NDArray[np.float64]
    n: NDArray[np.int64]


def population_average(predicted: ArrayLike, observed: ArrayLike) -> PopulationAverage:
    """Return how predictions for the reference follow mean expression, across genes.

    Spearman's r is Pearson's of the ranks, ties at their mean rank. Relatedness of genes (families,
    neighbours) is not handled, so that no p is given.

    Parameters
    ----------
    predicted, observed
        Shape (..., gene); the leading axes broadcast. A gene counts where both are finite.

    Returns
    -------
    PopulationAverage
        Shape (...). Both r are NaN for fewer than three genes, and where either side is constant
        (see `correlation.is_constant`).

    Raises
    ------
    ValueError
        If the shapes do not broadcast.
    """
    x, y = np.broadcast_arrays(np.asarray(predicted, np.float64), np.asarray(observed, np.float64))
    valid = np.isfinite(x) & np.isfinite(y)
    values = pearson(x, y)
    ranks = (
        stats.rankdata(np.where(valid, side, np.nan), axis=-1, nan_policy="omit") for side in (x, y)
    )
    # Ranks of values that differ by rounding alone would correlate: NaN where Pearson's r is.
    spearman = np.where(np.isnan(values.r), np.nan, pearson(*ranks).r)
    return PopulationAverage(values.r, spearman, values.n)


def correlate_across_genes(predicted: xr.DataArray, observed: xr.DataArray) -> xr.Dataset:
    """Return `population_average` of labelled predictions (gene, ...) and expression (gene, ...).

    Both are joined on the labels of every dimension they share. Take a subset beforehand by
    `in_gene_set` or `in_test_regions`. Dask-backed arrays stay lazy.

    Returns
    -------
    xarray.Dataset
        pearson_r, spearman_r and n_genes over the dimensions other than ``gene``.

    Raises
    ------
    GeneTableError
        If a shared dimension lacks labels, repeats one, or the two share none.
    SampleError
        If one of them lacks the dimension ``gene``.
    """
    x, y = joined_on_labels(predicted, observed.reset_coords(drop=True), "gene")
    return apply_along(
        "gene", lambda *sides: tuple(vars(population_average(*sides)).values()), _OUTPUTS, x, y
    )


def in_gene_set(gene: ArrayLike, ids: Iterable[str]) -> NDArray[np.bool_]:
    """Return which genes, shape (gene,), are in a set of ids.

    Ids match without their version; one that stands several times in the set counts once.

    Raises
    ------
    GeneTableError
        If `gene` repeats an id, or none of them is in the set.
    """
    genes, wanted = unversioned(_texts(gene)), set(unversioned(ids))
    distinct, counts = np.unique(genes.astype(str), return_counts=True)
    if (counts > 1).any():
        raise GeneTableError(
            f"the gene {distinct[counts > 1][0]} stands {counts.max()} times among the genes, and "
            "would count as often; keep one of each"
        )
    inside = np.array([one in wanted for one in genes], dtype=bool)
    if not inside.any():
        raise GeneTableError(
            f"none of the {len(genes)} genes is in the set of {len(wanted)} ids (for example "
            f"{', '.join(sorted(wanted)[:3]) or 'none'}); use ids of the same kind"
        )
    return inside


def _texts(values: ArrayLike) -> list[str]:
    """Return texts as Python has them, whichever of its three kinds NumPy holds."""
    return [str(value) for value in np.asarray(values).tolist()]


def in_test_regions(
    genes: xr.Dataset,
    regions: Regions,
    test_rule: TestRule = "tss_in_region",
    window_length: int = 196_608,
    tss_index: int | NDArray[np.int64] = 98_304,
) -> xr.DataArray:
    """Return which genes lie in the regions that a model was not trained on.

    Parameters
    ----------
    genes
        With ``contig`` and ``tss`` (1-based, as in stores) over (gene).
    regions
        Of the model's BED file; regions that touch are one.
    test_rule
        "tss_in_region": the base of the TSS is inside. "window_in_region": all bases of the window
        that the model reads are. The study does not say which it took.
    window_length, tss_index
        Length of that window and 0-based index of the TSS in it, on the forward strand; of each
        gene where they differ (a model that reads the minus strand as reverse complement).

    Returns
    -------
    xarray.DataArray
        bool, over (gene). A gene whose contig has no region is outside.

    Raises
    ------
    RecipeError
        If `test_rule` is unknown, or the TSS index lies outside the window.
    """
    if test_rule not in get_args(TestRule):
        known = " or ".join(get_args(TestRule))
        raise RecipeError(f"test_rule cannot be {test_rule!r}; use {known}")
    for index in np.unique(tss_index).tolist():
        if not 0 <= index < window_length:
            raise RecipeError(
                f"tss_index {index} lies outside a window of {window_length} bases; give the "
                "0-based index of the TSS base"
            )
    tss = from_one_based(genes["tss"].values)
    whole = test_rule == "window_in_region"
    start = tss - tss_index if whole else tss
    end = start + (window_length if whole else 1)
    inside = regions.hold(genes["contig"].values, start, end)
    return xr.DataArray(inside, {"gene": genes["gene"]}, ("gene",), name="in_test_regions")
