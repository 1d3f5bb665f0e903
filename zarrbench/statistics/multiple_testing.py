"""Benjamini-Hochberg adjustment over genes, and the rule that counts a gene as significant."""

from typing import Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from zarrbench.errors import RecipeError

NanPolicy = Literal["p1", "drop"]
CountRule = Literal["q_le_alpha", "strict_above_cut"]


def benjamini_hochberg(p: ArrayLike, nan_policy: NanPolicy = "p1") -> NDArray[np.float64]:
    """Return p adjusted for the number of genes along axis 0, each further column by itself.

    Controls the false discovery rate of independent or positively dependent tests (Benjamini and
    Hochberg, J. R. Stat. Soc. B 57, 289-300, 1995).

    Parameters
    ----------
    p
        Shape (gene, ...), from 0 to 1 or NaN.
    nan_policy
        "p1": NaN counts as p = 1, so that the gene stays among the tests.
        "drop": the gene is no test, and its q is NaN.

    Returns
    -------
    ndarray
        Shape of `p`.

    Raises
    ------
    RecipeError
        If `nan_policy` is unknown.
    ValueError
        If a p is outside 0 to 1.
    """
    _check(nan_policy, NanPolicy, "nan_policy")
    p = np.asarray(p, dtype=np.float64)
    if nan_policy == "p1":
        return stats.false_discovery_control(np.where(np.isnan(p), 1.0, p), axis=0)
    return np.apply_along_axis(_adjust_tested, 0, p)


def significant(
    p: ArrayLike, q: ArrayLike, alpha: float, count_rule: CountRule = "q_le_alpha"
) -> NDArray[np.bool_]:
    """Return which genes count as significant.

    Parameters
    ----------
    p, q
        Raw and adjusted p, shape (gene, ...); NaN is never significant.
    alpha
        False discovery rate.
    count_rule
        "q_le_alpha": q <= alpha. "strict_above_cut", as the reference study counts: -log10 p,
        rounded to 3 decimals, must exceed its smallest value among genes with q <= alpha. That
        leaves out the gene at the boundary, and every gene that rounds to the same value.

    Returns
    -------
    ndarray
        Shape of `p`.

    Raises
    ------
    RecipeError
        If `count_rule` is unknown.
    """
    _check(count_rule, CountRule, "count_rule")
    accepted = np.asarray(q) <= alpha
    if count_rule == "q_le_alpha":
        return accepted
    with np.errstate(divide="ignore"):
        evidence = np.round(-np.log10(p), 3)
    cut = evidence.min(axis=0, where=accepted, initial=np.inf)
    return evidence > cut


def adjust(
    p: xr.DataArray,
    alpha: float = 0.05,
    nan_policy: NanPolicy = "p1",
    count_rule: CountRule = "q_le_alpha",
) -> xr.Dataset:
    """Return `benjamini_hochberg` and `significant` for labelled p, lazily where Dask-backed.

    Parameters
    ----------
    p
        Dimension (gene) or (gene, statistic); every statistic is adjusted by itself.
    alpha, nan_policy, count_rule
        As in `benjamini_hochberg` and `significant`.

    Returns
    -------
    xarray.Dataset
        null_q and significant, with the dimensions of `p`.

    Raises
    ------
    RecipeError
        If `nan_policy` or `count_rule` is unknown.
    """
    _check(nan_policy, NanPolicy, "nan_policy")  # here and not only when a lazy array computes
    _check(count_rule, CountRule, "count_rule")

    def along_last_axis(values: NDArray) -> tuple[NDArray, NDArray]:
        columns = np.moveaxis(values, -1, 0)
        q = benjamini_hochberg(columns, nan_policy)
        counted = significant(columns, q, alpha, count_rule)
        return np.moveaxis(q, 0, -1), np.moveaxis(counted, 0, -1)

    q, counted = xr.apply_ufunc(
        along_last_axis,
        p.chunk({"gene": -1}) if p.chunks else p,
        input_core_dims=[["gene"]],
        output_core_dims=[["gene"], ["gene"]],
        dask="parallelized",
        output_dtypes=[np.float64, np.bool_],
        keep_attrs=False,
    )
    return xr.Dataset({"null_q": q, "significant": counted}).transpose(*p.dims)


def _adjust_tested(p: NDArray) -> NDArray:
    q = np.full_like(p, np.nan)
    tested = ~np.isnan(p)
    q[tested] = stats.false_discovery_control(p[tested])
    return q


def _check(given: str, options: object, name: str) -> None:
    known = get_args(options)
    if given not in known:
        raise RecipeError(f"{name} cannot be {given!r}; use {' or '.join(known)}")
