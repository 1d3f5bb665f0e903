"""Pearson correlation across people of predicted and observed values, one per gene."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy import special

from zarrbench.errors import GeneTableError, SampleError

# Outputs of the kernel with their dtypes, in its order
_OUTPUTS = {
    "r": np.float64,
    "p_r": np.float64,
    "n_individuals": np.int64,
    "mean_observed": np.float64,
    "sd_observed": np.float64,
    "mean_predicted": np.float64,
    "sd_predicted": np.float64,
}


@dataclass(frozen=True)
class Correlation:
    """Pearson r, its two-sided p and the number of pairs, all of one shape."""

    r: NDArray[np.float64]
    p: NDArray[np.float64]
    n: NDArray[np.int64]


def is_constant(mean: ArrayLike, sd: ArrayLike) -> NDArray[np.bool_]:
    """Return where values of this mean and standard deviation differ by no more than float noise.

    The rule is ``sd <= 1e-9 * max(1, |mean|)``; NaN counts as constant.
    """
    return np.logical_not(np.asarray(sd) > 1e-9 * np.maximum(1.0, np.abs(mean)))


def pearson(x: ArrayLike, y: ArrayLike) -> Correlation:
    """Return Pearson correlations along the last axis.

    A pair counts only where both of its values are finite. The p is that of Student's t with
    n - 2 degrees of freedom, in its closed form, the regularised incomplete beta function
    I(1 - r^2; (n - 2)/2, 1/2). Ties, outliers and relatedness of people are not handled.

    Parameters
    ----------
    x, y
        Shape (..., pair); the leading axes broadcast.

    Returns
    -------
    Correlation
        Shape (...), in float64. r and p are NaN for fewer than three pairs, and where x or y is
        constant (see `is_constant`), never 0.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.
    """
    r, p, n, *_ = _paired_statistics(x, y)
    return Correlation(r, p, n)


def two_sided_p(r: ArrayLike, n: ArrayLike) -> NDArray[np.float64]:
    """Return the two-sided p of Pearson correlations r of n pairs, as in `pearson`.

    r and n broadcast; for fewer than three pairs the p means nothing.
    """
    r, n = np.asarray(r, np.float64), np.asarray(n)
    # The complement of the documented form, which loses what is next to p = 1.
    return np.asarray(special.betaincc(0.5, np.maximum(n - 2, 1) / 2, r**2))


def correlate(
    predicted: xr.DataArray, observed: xr.DataArray, dim: str = "individual"
) -> xr.Dataset:
    """Return the correlation of predicted with observed values along `dim`, and their moments.

    Both are joined on the labels of every dimension they share, `dim` included; what only one
    holds is left out. Dimensions that only one has broadcast, and coordinates other than
    dimensions are those of `predicted`. Dask-backed arrays stay lazy.

    Returns
    -------
    xarray.Dataset
        Over the dimensions other than `dim`: r and p_r as in `pearson`; n_individuals, the people
        with both values finite; and over those same people mean_observed, sd_observed,
        mean_predicted and sd_predicted, in the units given and with ddof 0.

    Raises
    ------
    SampleError
        If `dim` lacks labels, repeats one, or the two share none.
    GeneTableError
        The same for another shared dimension.
    """
    x, y = joined_on_labels(predicted, observed.reset_coords(drop=True), dim)
    return apply_along(dim, _paired_statistics, _OUTPUTS, x, y)


def people_who_differ(
    predicted: xr.DataArray, observed: xr.DataArray, dim: str = "individual"
) -> xr.DataArray:
    """Return how many of the people with both values are predicted otherwise: r rests on these.

    `n_differing` of their predictions; joined as by `correlate`.
    """
    x, y = joined_on_labels(predicted, observed.reset_coords(drop=True), dim)
    outputs = {"n_differing": np.int64}
    return apply_along(dim, n_differing, outputs, x.where(np.isfinite(y)))["n_differing"]


def n_differing(values: ArrayLike) -> NDArray[np.int64]:
    """Return how many values of the last axis differ from its median; 0 if none does.

    By more than a hundredth of the largest difference, so that float noise and what is next to
    nothing beside a large effect do not count. Values that are not finite take no part.
    """
    x = np.asarray(values, np.float64)
    found = np.zeros(x.shape[:-1], np.int64)
    for row in np.ndindex(found.shape):
        known = x[row][np.isfinite(x[row])]
        if known.size:
            away = np.abs(known - np.median(known))
            found[row] = np.count_nonzero(away > 0.01 * away.max())
    return found


def apply_along(
    dim: str,
    kernel: Callable[..., NDArray | tuple[NDArray, ...]],
    outputs: Mapping[str, DTypeLike],
    *arrays: xr.DataArray,
) -> xr.Dataset:
    """Return what a kernel makes of labelled arrays along `dim`, lazily where they are Dask-backed.

    The kernel takes arrays whose last axis is `dim`, and returns one without it, or a tuple with
    one for each of `outputs`, which names them with their dtypes. The arrays hold the same labels
    in one order.
    """
    found = xr.apply_ufunc(
        kernel,
        *(array.chunk({dim: -1}) if array.chunks else array for array in arrays),
        input_core_dims=[[dim] for _ in arrays],
        output_core_dims=[[] for _ in outputs],
        dask="parallelized",
        output_dtypes=list(outputs.values()),
        join="exact",
        keep_attrs=False,
    )
    arrays_found = found if isinstance(found, tuple) else (found,)
    return xr.Dataset(dict(zip(outputs, arrays_found, strict=True)))


def joined_on_labels(
    predicted: xr.DataArray, observed: xr.DataArray, dim: str
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return both arrays with the labels that they share, in one order, of every shared dimension.

    Raises
    ------
    GeneTableError
        If the dimension ``gene``, or another one than `dim`, lacks labels, repeats one, or the two
        share none.
    SampleError
        The same for `dim`, unless it is ``gene``, or if one of them lacks `dim` altogether.
    """
    shared = [name for name in predicted.dims if name in observed.dims]
    if dim not in shared:
        raise SampleError(
            f"predicted and observed values need the dimension {dim!r}, found {predicted.dims} "
            f"and {observed.dims}"
        )
    for name in shared:
        error = SampleError if name == dim and dim != "gene" else GeneTableError
        for role, array in (("predicted", predicted), ("observed", observed)):
            labels = array.indexes.get(name)
            if labels is None:
                raise error(
                    f"the dimension {name!r} of the {role} values has no labels, and nothing is "
                    "matched by position; give it a coordinate"
                )
            if not labels.is_unique:
                raise error(
                    f"the {role} values hold {name} {labels[labels.duplicated()][0]!r} more than "
                    "once; keep one of each"
                )
        if predicted.indexes[name].intersection(observed.indexes[name]).empty:
            raise error(
                f"predicted and observed values share no {name} (for example "
                f"{_example(predicted, name)} and {_example(observed, name)}); use the same ids"
            )
    return xr.align(predicted, observed, join="inner")


def _paired_statistics(x: ArrayLike, y: ArrayLike) -> tuple[NDArray, ...]:
    """Return the arrays named in `_OUTPUTS` for predicted `x` and observed `y`."""
    x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
    valid = np.isfinite(x) & np.isfinite(y)
    n = np.asarray(valid.sum(axis=-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_x, sd_x, centred_x = _moments(x, valid, n)
        mean_y, sd_y, centred_y = _moments(y, valid, n)
        r = np.clip(np.vecdot(centred_x, centred_y) / (n * sd_x * sd_y), -1.0, 1.0)
    undefined = (n < 3) | is_constant(mean_x, sd_x) | is_constant(mean_y, sd_y)
    r = np.where(undefined, np.nan, r)
    return r, two_sided_p(r, n), n, mean_y, sd_y, mean_x, sd_x


def _moments(values: NDArray, valid: NDArray, n: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Return mean, standard deviation (ddof 0) and the centred values, 0 where not valid."""
    mean = np.asarray(np.where(valid, values, 0.0).sum(axis=-1) / n)
    centred = np.where(valid, values - mean[..., np.newaxis], 0.0)
    return mean, np.sqrt(np.vecdot(centred, centred) / n), centred


def _example(array: xr.DataArray, dim: Hashable) -> str:
    return ", ".join(repr(label) for label in array.indexes[dim][:1]) or "none"
