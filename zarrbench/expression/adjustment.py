"""Covariates and expression components, and their contribution removed from expression.

The mean of every gene is kept: y = v - X b, with the covariates X centred (METHODS section 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from zarrbench.errors import ExpressionError
from zarrbench.statistics.correlation import is_constant

# R's lm drops a column that the others explain but for so much of its length.
_COLLINEAR = 1e-7
# Bounds what the normal equations of a block hold: 2 MB for 30 covariates
_GENES_AT_ONCE = 256


@dataclass(frozen=True)
class Design:
    """What covariates span beside the intercept.

    Attributes
    ----------
    basis : DataArray (sample, direction)
        Orthonormal, and each direction of mean 0.
    kept, constant, collinear : tuple of str
        Covariates that span it, those that do not vary, and those that the kept ones explain.
    """

    basis: xr.DataArray
    kept: tuple[str, ...]
    constant: tuple[str, ...]
    collinear: tuple[str, ...]


def covariate_design(covariates: xr.DataArray) -> Design:
    """Return what covariates (covariate, sample) span, by QR with column pivoting.

    Raises
    ------
    ExpressionError
        For a missing or infinite value. None is imputed: that would be a choice of the analyst.
    """
    values = np.asarray(covariates.transpose("covariate", "sample").values, dtype=np.float64)
    names = np.array([str(name) for name in covariates["covariate"].values], dtype=object)
    _refuse_missing(values, names)
    mean = values.mean(axis=1)
    # Covariates have any unit, so that only their own size says what is rounding.
    varies = values.std(axis=1) > 1e-9 * np.abs(values).max(axis=1, initial=0.0)
    columns = (values[varies] - mean[varies, np.newaxis]).T
    columns = columns / np.linalg.norm(columns, axis=0)
    directions, triangle, order = linalg.qr(columns, mode="economic", pivoting=True)
    rank = int((np.abs(np.diag(triangle)) > _COLLINEAR).sum())
    varying = names[varies]
    return Design(
        basis=xr.DataArray(
            directions[:, :rank] - directions[:, :rank].mean(axis=0),
            dims=("sample", "direction"),
            coords={"sample": covariates["sample"].values},
        ),
        kept=tuple(varying[np.sort(order[:rank])]),
        constant=tuple(names[~varies]),
        collinear=tuple(varying[np.sort(order[rank:])]),
    )


def without_contribution(
    values: ArrayLike, basis: ArrayLike, weights: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Return values without what a basis contributes, by least squares of each gene.

    The fit is that of intercept and basis over the samples where the gene is finite. Its part
    beside the gene's mean is subtracted, so that this mean stays (not the weighted one). A gene
    with no more samples than directions is fitted wholly, and comes out constant.

    Parameters
    ----------
    values
        Shape (gene, sample); NaN stays NaN, and influences no other value.
    basis
        Shape (sample, direction), orthonormal, of mean 0: see `covariate_design`.
    weights
        Shape of `values`, above 0: inverse variances. By default all are equal.

    Returns
    -------
    ndarray
        Shape of `values`, in float64.

    Raises
    ------
    ValueError
        If a weight of a finite value is not a positive number.
    """
    values, basis = np.asarray(values, dtype=np.float64), np.asarray(basis, dtype=np.float64)
    measured = np.isfinite(values)
    given = None if weights is None else np.asarray(weights, dtype=np.float64)
    if given is not None and not ((given > 0) & np.isfinite(given))[measured].all():
        raise ValueError("weights must be positive numbers")
    rest = values.copy()
    if basis.shape[1] == 0:
        return rest
    whole = np.flatnonzero(measured.all(axis=1))
    for start in range(0, whole.size, _GENES_AT_ONCE):
        rows = whole[start : start + _GENES_AT_ONCE]
        block = values[rows]
        rest[rows] -= _contribution(block, basis, None if given is None else given[rows])
    design = np.column_stack([np.ones(len(basis)), basis])
    for row in np.flatnonzero(measured.any(axis=1) & ~measured.all(axis=1)):
        kept = measured[row]
        root = np.ones(kept.sum()) if given is None else np.sqrt(given[row, kept])
        y, columns = values[row, kept], design[kept]
        # What is constant among these samples moves between coefficients, not the fitted values.
        found = linalg.lstsq(columns * root[:, np.newaxis], (y - y.mean()) * root)[0]
        fitted = columns @ found
        rest[row, kept] = y - (fitted - fitted.mean())
    return rest


def adjusted(
    expression: xr.DataArray, design: Design, weights: xr.DataArray | None = None
) -> xr.DataArray:
    """Return `without_contribution` for expression (gene, sample), lazily where Dask-backed.

    Raises
    ------
    xarray.AlignmentError
        If expression, design and weights do not hold the same labels in the same order.
    """
    arrays = [expression, design.basis, *([] if weights is None else [weights])]
    return xr.apply_ufunc(
        without_contribution,
        *(array.chunk({"sample": -1}) if array.chunks else array for array in arrays),
        input_core_dims=[["sample"], ["sample", "direction"], ["sample"]][: len(arrays)],
        output_core_dims=[["sample"]],
        dask="parallelized",
        output_dtypes=[np.float64],
        join="exact",
        keep_attrs=True,
    )


def expression_components(residuals: xr.DataArray, n: int) -> xr.DataArray:
    """Return the first n principal components of samples, over standardised genes.

    Genes with a missing value, and those that do not vary, have no part. Computed.

    Parameters
    ----------
    residuals
        Dims (gene, sample); each gene is centred and divided by its standard deviation.
    n
        Number of components.

    Returns
    -------
    DataArray
        Dims (pc, sample), each of mean 0 and standard deviation 1 (ddof 0), named PC1, PC2, ... in
        the order of the variance that they explain. The value of largest magnitude is positive.

    Raises
    ------
    ExpressionError
        If the genes that can be used have fewer components.
    """
    values = np.asarray(residuals.transpose("gene", "sample").values, dtype=np.float64)
    mean, sd = values.mean(axis=1), values.std(axis=1)
    used = ~is_constant(mean, sd)
    standard = (values[used] - mean[used, np.newaxis]) / sd[used, np.newaxis]
    scores = _components(standard, n, residuals.sizes["sample"])
    return xr.DataArray(
        scores,
        dims=("pc", "sample"),
        coords={
            "pc": np.array([f"PC{i + 1}" for i in range(n)], dtype=object),
            "sample": residuals["sample"].values,
        },
    )


def _components(standard: NDArray[np.float64], n: int, samples: int) -> NDArray[np.float64]:
    """Return n components (n, sample) of rows of mean 0."""
    if n == 0:
        return np.empty((0, samples))
    # Samples are fewer than genes: their products have the same directions as all the values.
    gram = standard.T @ standard
    variances, directions = linalg.eigh(gram, subset_by_index=[max(samples - n, 0), samples - 1])
    # Rounding leaves about 1e-16 of the largest where there is no direction.
    there = int((variances > 1e-10 * max(variances[-1], np.finfo(float).tiny)).sum())
    if there < n:
        raise ExpressionError(
            f"{n} expression components were asked for, and {len(standard)} genes that vary in "
            f"{samples} samples have {there}; lower n_expression_pcs"
        )
    scores = directions[:, ::-1].T * np.sqrt(samples)
    largest = np.take_along_axis(scores, np.abs(scores).argmax(axis=1, keepdims=True), axis=1)
    return np.asarray(scores * np.sign(largest))


def _contribution(
    values: NDArray[np.float64], basis: NDArray[np.float64], weights: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return what the basis contributes to genes without gaps, shape (gene, sample)."""
    centred = values - values.mean(axis=1, keepdims=True)
    if weights is None:
        return centred @ basis @ basis.T
    # Columns are orthonormal, so that the normal equations are as well-conditioned as the weights.
    n = len(basis)
    columns = np.column_stack([np.full(n, n**-0.5), basis])
    width = columns.shape[1]
    products = (columns[:, :, np.newaxis] * columns[:, np.newaxis, :]).reshape(n, -1)
    normal = (weights @ products).reshape(-1, width, width)
    moments = (weights * centred) @ columns
    found = np.linalg.solve(normal, moments[..., np.newaxis])[..., 0]
    return found[:, 1:] @ basis.T


def _refuse_missing(values: NDArray[np.float64], names: Sequence[str] | NDArray) -> None:
    missing = (~np.isfinite(values)).sum(axis=1)
    if missing.any():
        lacking = [
            f"{name} ({n} of {values.shape[1]} samples)"
            for name, n in zip(names, missing, strict=True)
            if n
        ]
        raise ExpressionError(
            f"{len(lacking)} covariates have missing values: {', '.join(lacking[:3])}; fill them "
            f"in, remove these samples, or name the other covariates in 'covariates'"
        )
