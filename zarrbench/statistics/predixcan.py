"""PrediXcan: expression predicted by a weighted sum of dosages, and the training of the weights.

After Gamazon et al., Nature Genetics 47, 1091-1098 (2015), doi:10.1038/ng.3367, as it is used in
Sasse, Ng, Spiro et al., Nature Genetics 55, 2060-2064 (2023), doi:10.1038/s41588-023-01524-6.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, ElasticNetCV
from sklearn.model_selection import KFold

from zarrbench.errors import SampleError
from zarrbench.statistics.correlation import is_constant, pearson

# PredictDB's mixing of the two penalties
_L1_RATIO = 0.5
# The smallest alpha tried, as a share of the one that leaves no weight: that of glmnet, which
# PredictDB uses, where variants outnumber people
_SMALLEST = 0.01
# Gaps of the dual, relative to |y|^2, at which a fit ends: to compare alphas, and for the weights.
# Variants in tight linkage settle slowly, and which alpha predicts best is seen long before.
_ROUGH, _FINE = 1e-3, 1e-7
_MOST_ROUNDS = 100_000


@dataclass(frozen=True)
class GeneWeights:
    """One gene's weights, and how well others like them predict people they were not trained on.

    Attributes
    ----------
    weights : float64 (variant,)
        Change of expression for a copy of the alternative allele; 0 where it was not chosen.
    intercept : float
        Expression without any alternative allele.
    alpha : float
        Penalty chosen for the final weights, on standardised dosages; NaN if nothing was trained.
    out_of_fold : float64 (individual,)
        Prediction of each person by the weights of the others; NaN for people without expression.
    r, p : float
        Pearson r of `out_of_fold`, less the mean of the people trained on, with expression, and its
        two-sided p; NaN where no fold chose a variant.
    r2 : float
        Share of the variance of expression that `out_of_fold` explains, 1 - SSE / SST; negative
        where the mean of expression would be nearer.
    n : int
        People with expression.
    """

    weights: NDArray[np.float64]
    intercept: float
    alpha: float
    out_of_fold: NDArray[np.float64]
    r: float
    p: float
    r2: float
    n: int


@dataclass(frozen=True)
class Comparison:
    """PrediXcan beside the network, over the genes that have an r of both.

    Attributes
    ----------
    n : int
        Genes with both r.
    n_predixcan, n_network : int
        Of these, with r above the threshold: the study's "significant", a signed one.
    n_predixcan_either_sign, n_network_either_sign : int
        With |r| above it.
    mean_predixcan, mean_network : float
        Mean r; NaN without genes.
    r : float
        Pearson correlation across genes of PrediXcan's r, with its sign, and the network's |r|;
        NaN for fewer than three genes, or where one of them is constant.
    """

    n: int
    n_predixcan: int
    n_network: int
    n_predixcan_either_sign: int
    n_network_either_sign: int
    mean_predixcan: float
    mean_network: float
    r: float


def compare(predixcan: ArrayLike, network: ArrayLike, threshold: float = 0.2) -> Comparison:
    """Compare the r of genes, both of shape (gene,), NaN where there is none (METHODS section 10).

    Genes count as they are: that neighbours share variants is not handled.
    """
    x, y = np.asarray(predixcan, np.float64), np.asarray(network, np.float64)
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    return Comparison(
        n=x.size,
        n_predixcan=int((x > threshold).sum()),
        n_network=int((y > threshold).sum()),
        n_predixcan_either_sign=int((np.abs(x) > threshold).sum()),
        n_network_either_sign=int((np.abs(y) > threshold).sum()),
        mean_predixcan=float(x.mean()) if x.size else np.nan,
        mean_network=float(y.mean()) if y.size else np.nan,
        r=float(pearson(x, np.abs(y)).r),
    )


def weighted_dosage(
    dosage: NDArray, weights: ArrayLike, swapped: ArrayLike = False
) -> NDArray[np.float64]:
    """Return sum_j w_j d_j of every person, d_j being the copies of the effect allele.

    A missing call takes the mean of its variant over the people given; a variant without any call
    contributes 0. Weights are used as they are: strands and alleles must have been compared before.

    Parameters
    ----------
    dosage
        Copies of the alternative allele, 0 to 2, shape (variant, individual), negative = missing.
    weights
        Change of expression for a copy of the effect allele, shape (..., variant). NaN: the model
        has no such variant.
    swapped
        Whether the effect allele is the reference, so that d = 2 - dosage; broadcasts to `weights`.

    Returns
    -------
    float64 (..., individual)
        In the units of the weights. NaN where a model has no variant at all.

    Raises
    ------
    ValueError
        If the numbers of variants differ.
    """
    w = np.asarray(weights, dtype=np.float64)
    if w.shape[-1] != len(dosage):
        raise ValueError(f"dosage {dosage.shape} and weights {w.shape} differ in variants")
    swap = np.broadcast_to(np.asarray(swapped, dtype=bool), w.shape)
    used = np.isfinite(w) & (dosage >= 0).any(axis=1)
    w = np.where(used, w, 0.0)
    total = (w * np.where(swap, -1.0, 1.0)) @ _imputed(dosage)
    total += 2 * (w * swap).sum(axis=-1, keepdims=True)
    total[np.isnan(np.asarray(weights, dtype=np.float64)).all(axis=-1)] = np.nan
    return total


def predict_expression(
    dosage: xr.DataArray, weights: xr.DataArray, swapped: xr.DataArray
) -> xr.Dataset:
    """Return `weighted_dosage` of labelled arrays, with what was found of each gene's model.

    Variants are joined on their labels: those that only a model has contribute 0 and are counted.
    Dask-backed arrays stay lazy.

    Parameters
    ----------
    dosage
        (variant, individual), copies of the alternative allele, negative = missing.
    weights, swapped
        (gene, variant), NaN and False where a gene's model lacks the variant.

    Returns
    -------
    xarray.Dataset
        prediction (gene, individual), NaN for genes without a model; over (gene) the variants of
        the model, n_model, as n_found (present, and called for somebody) and n_absent; and
        n_swapped, those found whose effect allele is the reference.

    Raises
    ------
    SampleError
        If a variant stands twice in the dosages or in the weights.
    xarray.AlignmentError
        If `weights` and `swapped` differ in labels.
    """
    for role, array in (("dosages", dosage), ("weights", weights)):
        labels = array.indexes["variant"]
        if not labels.is_unique:
            raise SampleError(
                f"the {role} hold the variant {labels[labels.duplicated()][0]!r} more than once; "
                "keep one of each"
            )
    present = dosage.reindex(variant=weights["variant"], fill_value=-1)
    inputs = (present, weights, swapped)
    lazy = any(array.chunks for array in inputs)
    outputs = xr.apply_ufunc(
        _predicted_and_counted,
        *(array.chunk(variant=-1) if lazy else array for array in inputs[1:]),
        present.chunk({"variant": -1, "individual": -1}) if lazy else present,
        input_core_dims=[["variant"], ["variant"], ["variant", "individual"]],
        output_core_dims=[["individual"], [], [], [], []],
        dask="parallelized",
        output_dtypes=[np.float64, np.int64, np.int64, np.int64, np.int64],
        join="exact",
        keep_attrs=False,
    )
    names = ("prediction", "n_model", "n_found", "n_swapped", "n_absent")
    return xr.Dataset(dict(zip(names, outputs, strict=True)))


def train_elastic_net(
    dosage: NDArray, y: ArrayLike, folds: int, generator: np.random.Generator
) -> GeneWeights:
    """Train the weights of one gene, with nested cross-validation to say what they are worth.

    Minimises ``|y - b0 - X b|^2 / 2n + alpha (|b|_1 / 2 + |b|^2 / 4)`` over standardised dosages X,
    with the alpha of the least squared error in `folds` inner folds; weights are those of raw
    dosages. Outer folds, whose weights and alpha know nothing of the people left out, give
    `out_of_fold`. Missing calls take the mean of the variant among the people trained on.
    Expression is neither transformed nor adjusted; relatedness of people is not handled.

    Parameters
    ----------
    dosage
        Copies of the alternative allele, shape (variant, individual), negative = missing.
    y
        Expression of the same people, shape (individual,); those that are not finite are left out.
    folds
        Number of outer folds, and of inner ones; at least 2.
    generator
        The gene's own stream (`zarrbench.statistics.null.gene_generator`) splits people into folds;
        it is advanced. The same stream gives the same weights.

    Returns
    -------
    GeneWeights
        All weights are 0, and r, p and r2 NaN, for fewer than two people a fold, constant
        expression or no polymorphic variant.

    Raises
    ------
    ValueError
        If dosage and y hold different numbers of people, or for fewer than two folds.
    """
    observed = np.asarray(y, dtype=np.float64)
    if observed.shape != dosage.shape[1:]:
        raise ValueError(f"dosage {dosage.shape} and y {observed.shape} differ in people")
    if folds < 2:
        raise ValueError(f"cross-validation needs at least two folds, not {folds}")
    seeds = [int(seed) for seed in generator.integers(2**31, size=folds + 2)]
    measured = np.flatnonzero(np.isfinite(observed))
    out_of_fold = np.full(observed.shape, np.nan)
    if measured.size < 2 * folds:
        level = float(observed[measured].mean()) if measured.size else np.nan
        undefined = np.nan, np.nan, np.nan
        return GeneWeights(
            np.zeros(len(dosage)), level, np.nan, out_of_fold, *undefined, measured.size
        )
    deviation = np.full(observed.shape, np.nan)
    splits = KFold(folds, shuffle=True, random_state=seeds[0]).split(measured)
    for (kept, left), seed in zip(splits, seeds[1:-1], strict=True):
        own, others = measured[kept], measured[left]
        weights, intercept, _ = _fitted(dosage[:, own], observed[own], folds, seed)
        calls = _imputed(dosage[:, others], _means(dosage[:, own]))
        out_of_fold[others] = intercept + weights @ calls
        # Means of the others differ between folds, and against the people left out: not in r.
        deviation[others] = out_of_fold[others] - observed[own].mean()
    weights, intercept, alpha = _fitted(dosage[:, measured], observed[measured], folds, seeds[-1])
    tested = pearson(deviation, observed)
    errors = np.square(out_of_fold - observed)[measured].sum()
    spread = np.square(observed[measured] - observed[measured].mean()).sum()
    r2 = float(1 - errors / spread) if np.isfinite(alpha) else np.nan
    r, p = float(tested.r), float(tested.p)
    return GeneWeights(weights, intercept, alpha, out_of_fold, r, p, r2, measured.size)


def _fitted(
    dosage: NDArray, y: NDArray[np.float64], folds: int, seed: int
) -> tuple[NDArray[np.float64], float, float]:
    """Return weights on raw dosages, intercept and alpha; weights of 0 where nothing varies."""
    means = _means(dosage)
    centred = _imputed(dosage, means) - means[:, np.newaxis]
    sd = centred.std(axis=1)
    varying = ~is_constant(means, sd)
    weights = np.zeros(len(dosage))
    if is_constant(y.mean(), y.std()) or not varying.any():
        return weights, float(y.mean()), np.nan
    x = (centred[varying] / sd[varying, np.newaxis]).T
    inner = KFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Only the smallest alphas of a path, which predict worst, do not settle.
        warnings.simplefilter("ignore", ConvergenceWarning)
        chosen = ElasticNetCV(l1_ratio=_L1_RATIO, eps=_SMALLEST, cv=inner, tol=_ROUGH).fit(x, y)
    network = ElasticNet(
        alpha=chosen.alpha_, l1_ratio=_L1_RATIO, tol=_FINE, max_iter=_MOST_ROUNDS
    ).fit(x, y)
    weights[varying] = network.coef_ / sd[varying]
    return weights, float(network.intercept_ - weights @ means), float(chosen.alpha_)


def _predicted_and_counted(
    weights: NDArray, swapped: NDArray, dosage: NDArray
) -> tuple[NDArray, ...]:
    in_model = np.isfinite(weights)
    found = in_model & (dosage >= 0).any(axis=-1)
    counts = (in_model, found, found & swapped.astype(bool), in_model & ~found)
    predicted = weighted_dosage(dosage, weights, swapped)
    return predicted, *(count.sum(axis=-1) for count in counts)


def _means(dosage: NDArray) -> NDArray[np.float64]:
    """Return the mean of the calls of every variant, 0 where there is none."""
    called = dosage >= 0
    sums = np.where(called, dosage, 0).sum(axis=1, dtype=np.float64)
    return np.asarray(sums / np.maximum(called.sum(axis=1), 1))


def _imputed(dosage: NDArray, means: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return dosages with missing calls as the mean of their variant."""
    level = _means(dosage) if means is None else means
    return np.where(dosage >= 0, dosage, level[:, np.newaxis])
