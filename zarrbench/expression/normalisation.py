"""Raw counts to comparable numbers: TMM normalisation factors and log2 counts per million."""

import math

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from zarrbench.errors import ExpressionError

# Trimmed at either end: genes by log ratio (M), and by abundance (A)
_RATIO_TRIM, _ABUNDANCE_TRIM = 0.30, 0.05
_LEAST_ABUNDANCE = -1e10
# How far from a whole number rounding alone brings a count that was written as text
_ROUNDING = 1e-6


def whole_counts(counts: xr.DataArray) -> xr.DataArray:
    """Return raw counts (gene, sample), loaded, in float64 and rounded to whole numbers.

    Raises
    ------
    ExpressionError
        For a missing, negative or fractional count, or a sample without any.
    """
    values = np.asarray(counts.transpose("gene", "sample").values, dtype=np.float64)
    rounded = np.round(values)
    wrong = {
        "missing": np.isnan(values),
        "infinite": np.isinf(values),
        "negative": values < 0,
        "fractional": np.abs(values - rounded) > _ROUNDING,
    }
    for kind, where in wrong.items():
        if where.any():
            row, column = np.argwhere(where)[0]
            genes, samples = counts["gene"].values, counts["sample"].values
            raise ExpressionError(
                f"{int(where.sum())} raw counts are {kind}, first {values[row, column]:g} of gene "
                f"{str(genes[row])!r} in sample {str(samples[column])!r}; "
                f"give whole numbers of reads from 0 up, or say 'counts: false' for a ready matrix"
            )
    empty = counts["sample"].values[rounded.sum(axis=0) == 0]
    if empty.size:
        raise ExpressionError(
            f"{empty.size} samples have no counts at all ({', '.join(map(str, empty[:3]))}); "
            f"remove them from the expression table"
        )
    return counts.transpose("gene", "sample").copy(data=rounded)


def tmm_factors(counts: ArrayLike) -> NDArray[np.float64]:
    """Return the normalisation factor of each sample by trimmed means of M values.

    As edgeR's calcNormFactors with its defaults: the log ratios M of a sample to the reference are
    averaged with weights of inverse asymptotic variance over the genes that both express, without
    the outer 30 % of M and 5 % of A at either end; ties share their mean rank. The reference is
    the sample whose upper quartile over library size is closest to the mean, or the one with the
    largest sum of square roots where that quartile is 0 in most. A sample that shares no gene with
    the reference, or is in proportion to it, gets the reference's factor. From Robinson and
    Oshlack, Genome Biol. 11, R25 (2010), doi:10.1186/gb-2010-11-3-r25.

    Parameters
    ----------
    counts
        Whole numbers >= 0, shape (gene, sample), no sample without counts: see `whole_counts`.
        Genes without any count have no influence.

    Returns
    -------
    ndarray
        Shape (sample,), with geometric mean 1. Effective library sizes are their product with the
        sums of counts.
    """
    counts = np.asarray(counts, dtype=np.float64)
    libraries = counts.sum(axis=0)
    counts = counts[(counts > 0).any(axis=1)]
    if counts.shape[0] == 0 or counts.shape[1] == 1:
        return np.ones(counts.shape[1])
    at = _reference(counts, libraries)
    factors = np.array(
        [
            _tmm(sample, counts[:, at], library, libraries[at])
            for sample, library in zip(counts.T, libraries, strict=True)
        ]
    )
    return factors / np.exp(np.log(factors).mean())


def log_cpm(counts: ArrayLike, library: ArrayLike) -> NDArray[np.float64]:
    """Return log2 counts per million, offset as voom does: log2((c + 0.5) / (L + 1) * 1e6).

    From Law et al., Genome Biol. 15, R29 (2014), doi:10.1186/gb-2014-15-2-r29.

    Parameters
    ----------
    counts
        Shape (gene, sample).
    library
        Effective library sizes, shape (sample,).
    """
    scaled = (np.asarray(counts) + 0.5) / (np.asarray(library) + 1)
    return np.asarray(np.log2(scaled * 1e6))


def normalised(counts: xr.DataArray) -> xr.Dataset:
    """Return log2_cpm (gene, sample) of raw counts, with library_size and norm_factor (sample).

    Lazily where the counts are Dask-backed, though a factor needs all genes and samples. The
    counts are to be those of `whole_counts`.
    """
    whole = counts.chunk({"gene": -1, "sample": -1}) if counts.chunks else counts
    factors = xr.apply_ufunc(
        tmm_factors,
        whole,
        input_core_dims=[["gene", "sample"]],
        output_core_dims=[["sample"]],
        dask="parallelized",
        output_dtypes=[np.float64],
    )
    sizes = counts.sum("gene", dtype=np.float64)
    values = xr.apply_ufunc(
        log_cpm, counts, sizes * factors, dask="parallelized", output_dtypes=[np.float64]
    )
    return xr.Dataset({"log2_cpm": values, "library_size": sizes, "norm_factor": factors})


def _reference(counts: NDArray[np.float64], libraries: NDArray[np.float64]) -> int:
    """Return which sample the others are compared with."""
    quartiles = np.quantile(counts, 0.75, axis=0) / libraries
    # R sums in extended precision, which decides between samples that tie: of two samples both
    # are as far from the mean.
    if np.median(quartiles) < 1e-20:
        roots = np.sqrt(counts).sum(axis=0, dtype=np.longdouble)
        return int(roots.astype(np.float64).argmax())
    mean = np.float64(quartiles.mean(dtype=np.longdouble))
    return int(np.abs(quartiles - mean).argmin())


def _tmm(
    sample: NDArray[np.float64], reference: NDArray[np.float64], size: float, reference_size: float
) -> float:
    """Return the factor of a sample against the reference, before they are scaled."""
    shared = (sample > 0) & (reference > 0)
    x, y = sample[shared], reference[shared]
    share, reference_share = x / size, y / reference_size
    ratio = np.log2(share / reference_share)
    abundance = (np.log2(share) + np.log2(reference_share)) / 2
    tested = abundance > _LEAST_ABUNDANCE
    if np.abs(ratio[tested]).max(initial=0.0) < 1e-6:
        return 1.0
    kept = tested.copy()
    kept[tested] = _untrimmed(ratio[tested], _RATIO_TRIM) & _untrimmed(
        abundance[tested], _ABUNDANCE_TRIM
    )
    if not kept.any():
        return 1.0
    variance = (size - x[kept]) / size / x[kept]
    variance += (reference_size - y[kept]) / reference_size / y[kept]
    precision = 1 / variance
    return float(2 ** (np.sum(ratio[kept] * precision) / precision.sum()))


def _untrimmed(values: NDArray[np.float64], trim: float) -> NDArray[np.bool_]:
    ranks = stats.rankdata(values)
    lowest = math.floor(values.size * trim) + 1
    return (ranks >= lowest) & (ranks <= values.size + 1 - lowest)
