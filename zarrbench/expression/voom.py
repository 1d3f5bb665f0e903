"""Precision weights of log2 counts per million, from how their variance falls with abundance.

After Law, Chen, Shi and Smyth, Genome Biol. 15, R29 (2014), doi:10.1186/gb-2014-15-2-r29.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from zarrbench.errors import ExpressionError
from zarrbench.expression.normalisation import log_cpm
from zarrbench.statistics.lowess import lowess

_SPAN = 0.5
_MILLION = np.log2(1e6)


@dataclass(frozen=True)
class Trend:
    """Root of the residual standard deviation against mean log2 count, shapes (point,)."""

    log_count: NDArray[np.float64]
    root_sd: NDArray[np.float64]

    def weights(self, log_count: ArrayLike) -> NDArray[np.float64]:
        """Return 1 / variance at log2 counts of any shape; beyond its ends the trend is level."""
        return np.asarray(np.interp(np.asarray(log_count), self.log_count, self.root_sd) ** -4.0)


def voom_weights(
    counts: ArrayLike, library: ArrayLike, design: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Return the precision weight of every log2 count per million, as limma's voom does.

    Each gene's `log_cpm` is fitted by least squares; a lowess trend (span 0.5) of the root of its
    residual standard deviation against its mean log2 count is read at the fitted log2 count of
    every sample, and the weight is 1 over its fourth power. Quality of whole samples and
    correlated samples are not handled.

    Parameters
    ----------
    counts
        Whole numbers >= 0, shape (gene, sample); genes without any count get weights, and have no
        part in the trend.
    library
        Effective library sizes, shape (sample,).
    design
        Columns of the fit, shape (sample, column), the intercept among them; by default the
        intercept alone, as in limma.

    Returns
    -------
    ndarray
        Shape (gene, sample), all 1 where the design leaves no residual degree of freedom.

    Raises
    ------
    ExpressionError
        If fewer than two genes have counts, or the trend reaches 0, as where samples are copies.
    """
    counts, library = np.asarray(counts, dtype=np.float64), np.asarray(library, dtype=np.float64)
    values = log_cpm(counts, library)
    columns = np.ones((library.size, 1)) if design is None else np.asarray(design, np.float64)
    basis = _orthonormal(columns)
    freedom = library.size - basis.shape[1]
    if freedom == 0:
        return np.ones_like(values)
    counted = counts.any(axis=1)
    if counted.sum() < 2:
        raise ExpressionError(
            f"{int(counted.sum())} genes have counts, and a trend of variance needs at least two; "
            f"say 'weights: none'"
        )
    fitted = values @ basis @ basis.T
    sd = np.linalg.norm(values - fitted, axis=1) / np.sqrt(freedom)
    mean = values.mean(axis=1) + np.log2(library + 1).mean() - _MILLION
    trend = Trend(*lowess(mean[counted], np.sqrt(sd[counted]), _SPAN))
    with np.errstate(divide="ignore"):
        weights = trend.weights(fitted + np.log2(library + 1) - _MILLION)
    if not np.isfinite(weights).all():
        raise ExpressionError(
            "the trend of variance against abundance reaches 0, so that weights are infinite: "
            "samples are copies of each other, or nearly; remove the copies or say 'weights: none'"
        )
    return weights


def weights_of(counts: xr.DataArray, library: xr.DataArray) -> xr.DataArray:
    """Return `voom_weights` of counts (gene, sample) with the default design.

    Lazily where the counts are Dask-backed, though the trend needs all genes and samples.
    """
    return xr.apply_ufunc(
        voom_weights,
        counts.chunk({"gene": -1, "sample": -1}) if counts.chunks else counts,
        library.chunk({"sample": -1}) if library.chunks else library,
        input_core_dims=[["gene", "sample"], ["sample"]],
        output_core_dims=[["gene", "sample"]],
        dask="parallelized",
        output_dtypes=[np.float64],
        join="exact",
    )


def _orthonormal(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an orthonormal basis of the columns, (sample, rank)."""
    directions, lengths, _ = np.linalg.svd(columns, full_matrices=False)
    return directions[:, lengths > 1e-10 * lengths[0]]
