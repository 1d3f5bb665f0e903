"""Elastic net over all tracks: mean expression from a model's outputs for the reference."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import enet_path
from sklearn.model_selection import GroupKFold

from zarrbench.errors import ExpressionError, GeneTableError, ModelInputError, RecipeError
from zarrbench.statistics.correlation import is_constant
from zarrbench.statistics.track_weights import TrackWeights

# Values of alpha are tried decade by decade: small ones take most of the time, and are rarely best.
_PER_DECADE, _DECADES = 30, 4
_TOLERANCE, _ITERATIONS = 1e-5, 20_000


@dataclass(frozen=True)
class ElasticNet:
    """A fit, what was tried, and its predictions for the genes that it was made from.

    Parameters
    ----------
    weights
        Shape (track,), for columns as they were given; 0 for a constant one.
    offset
        Intercept b0.
    alpha
        Strength of the penalty that was chosen, for standardised columns.
    alphas, errors
        Those tried, in decreasing order, and the mean squared error of the genes held out for each.
    in_sample
        Shape (gene,): predictions of the fit itself.
    cross_validated
        Shape (gene,): predictions by the fit that did not see the gene's group, at `alpha`.
    """

    weights: NDArray[np.float64]
    offset: float
    alpha: float
    alphas: NDArray[np.float64]
    errors: NDArray[np.float64]
    in_sample: NDArray[np.float64]
    cross_validated: NDArray[np.float64]


def fit_elastic_net(
    summaries: ArrayLike,
    target: ArrayLike,
    group: ArrayLike,
    l1_ratio: float = 0.5,
    folds: int = 10,
    alphas: Sequence[float] | None = None,
) -> ElasticNet:
    """Fit t = b0 + X b by the elastic net (Zou and Hastie, J. R. Stat. Soc. B 67, 301-320, 2005).

    Minimises 1/(2n) ||t - b0 - X b||^2 + a (l ||b||_1 + (1 - l)/2 ||b||^2) over columns of X that
    every fit centres and scales to standard deviation 1 by the genes it sees; the weights are
    mapped back. a is the one whose held-out error is smallest. No group is split between folds.
    Since a was chosen by the folds that `cross_validated` comes from, that is optimistic by the
    choice of one number. Neither a, l, the scaling nor the folds of the study are published.

    Parameters
    ----------
    summaries
        X, shape (gene, track); held three times as float64.
    target
        t, mean expression, shape (gene,).
    group
        Shape (gene,), such as the chromosome.
    l1_ratio
        l, above 0 up to 1.
    folds
        At most as many as there are groups.
    alphas
        The values of a to try; by default 30 a decade down from the smallest that leaves no track,
        until the held-out error was smallest half a decade ago, at most four decades.

    Raises
    ------
    RecipeError
        If `l1_ratio` or `folds` is impossible, an alpha is not positive, or there is one group.
    ExpressionError
        If a value is not finite or the target is constant.
    ValueError
        If the shapes do not fit.
    """
    x, t = np.asarray(summaries, np.float64), np.asarray(target, np.float64)
    groups = np.asarray(group)
    if x.ndim != 2 or not x.shape[0] == t.size == groups.size or t.ndim != 1:
        raise ValueError(f"summaries {x.shape}, target {t.shape} and group {groups.shape} differ")
    distinct = np.unique(groups).size
    _check(x, t, distinct, l1_ratio, folds)
    blocks = (
        _decades(x, t, l1_ratio) if alphas is None else [np.sort(np.array(alphas, float))[::-1]]
    )
    if not all(block.size and (block > 0).all() for block in blocks):
        raise RecipeError(f"every alpha must be positive, found {alphas}")
    splits = list(GroupKFold(min(folds, distinct)).split(x, t, groups))
    tried, held_out = np.empty(0), np.empty((0, t.size))
    for block in blocks:
        tried = np.append(tried, block)
        held_out = np.vstack([held_out, _held_out(x, t, splits, l1_ratio, block)])
        errors = np.square(held_out - t).mean(axis=1)
        best = int(np.argmin(errors))
        if best < len(tried) - _PER_DECADE // 2:
            break
    weights, offsets = _path(x, t, l1_ratio, tried[: best + 1])
    return ElasticNet(
        weights=weights[-1],
        offset=float(offsets[-1]),
        alpha=float(tried[best]),
        alphas=tried,
        errors=errors,
        in_sample=x @ weights[-1] + offsets[-1],
        cross_validated=held_out[best],
    )


def fit_tracks(
    summaries: xr.DataArray,
    target: xr.DataArray,
    contig: xr.DataArray,
    l1_ratio: float = 0.5,
    folds: int = 10,
) -> tuple[TrackWeights, xr.Dataset]:
    """Return weights fitted to labelled summaries, and both of their predictions.

    Computes: a fit needs all numbers at once.

    Parameters
    ----------
    summaries
        Reference predictions over (gene, track) of a whole model, with the coordinates
        ``track_index`` and ``track_description``.
    target, contig
        Mean expression and contig over (gene), joined with the summaries by label.
    l1_ratio, folds
        Of `fit_elastic_net`, where the groups are the contigs.

    Returns
    -------
    weights : TrackWeights
    predictions : xarray.Dataset
        target over (gene), and prediction over (evaluation, gene), first "cross_validated", then
        "in_sample", for `population.correlate_across_genes`; attributes say what was chosen.

    Raises
    ------
    GeneTableError
        If the three share no gene, or one repeats a gene or has no labels.
    ModelInputError
        If a coordinate or a track is missing.
    ExpressionError, RecipeError
        As `fit_elastic_net`.
    """
    _check_genes(summaries=summaries, target=target, contig=contig)
    x, t, groups = xr.align(summaries, target, contig, join="inner")
    if not x.sizes["gene"]:
        raise GeneTableError("summaries, target and contigs share no gene; use the same ids")
    if not {"track_index", "track_description"} <= set(x.coords):
        raise ModelInputError(
            "the summaries do not say which tracks they are; give them the coordinates track_index "
            "and track_description of a cube"
        )
    x = x.sortby("track_index").transpose("gene", "track")
    if x["track_index"].values.tolist() != list(range(x.sizes["track"])):
        raise ModelInputError(
            f"the summaries hold {x.sizes['track']} tracks up to number "
            f"{int(x['track_index'].max())}, where every track should stand once; predict all of a "
            "model's tracks"
        )
    # Texts as Zarr reads them are of a kind that NumPy does not cast.
    labels = [str(label) for label in groups.values.tolist()]
    fit = fit_elastic_net(x.values, t.values, labels, l1_ratio, folds)
    names = (str(text).replace(",", ";") for text in x["track_description"].values)
    evaluations = {name: getattr(fit, name) for name in ("cross_validated", "in_sample")}
    predictions = xr.Dataset(
        {
            "target": ("gene", t.values),
            "prediction": (("evaluation", "gene"), np.array(list(evaluations.values()))),
        },
        {"gene": x["gene"].values, "evaluation": list(evaluations)},
        {"alpha": fit.alpha, "l1_ratio": l1_ratio, "folds": folds},
    )
    return TrackWeights(tuple(names), fit.weights, fit.offset), predictions


def _path(
    x: NDArray, t: NDArray, l1_ratio: float, alphas: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weights (alpha, track) and offsets (alpha,) for columns as they were given."""
    mean, scale = _standard(x)
    centre = t.mean()
    _, scaled, _ = enet_path(
        (x - mean) / scale,
        t - centre,
        l1_ratio=l1_ratio,
        alphas=alphas,
        tol=_TOLERANCE,
        max_iter=_ITERATIONS,
    )
    weights = np.where(np.isinf(scale), 0.0, scaled.T / scale)
    return weights, centre - weights @ mean


def _standard(x: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of columns, infinite for a constant one."""
    mean, sd = x.mean(axis=0), x.std(axis=0)
    return mean, np.where(is_constant(mean, sd), np.inf, sd)


def _held_out(
    x: NDArray, t: NDArray, splits: list[tuple[NDArray, NDArray]], l1_ratio: float, alphas: NDArray
) -> NDArray[np.float64]:
    """Return predictions (alpha, gene) by the fits that did not see the gene."""
    predicted = np.empty((len(alphas), t.size))
    for seen, unseen in splits:
        weights, offsets = _path(x[seen], t[seen], l1_ratio, alphas)
        predicted[:, unseen] = weights @ x[unseen].T + offsets[:, np.newaxis]
    return predicted


def _decades(x: NDArray, t: NDArray, l1_ratio: float) -> list[NDArray[np.float64]]:
    mean, scale = _standard(x)
    largest = np.abs((t - t.mean()) @ ((x - mean) / scale)).max(initial=0.0) / (t.size * l1_ratio)
    if largest == 0:
        raise ExpressionError(
            "no track varies across the genes in step with the target, so that there is nothing "
            "to fit; check the predictions"
        )
    falling = largest * 10.0 ** -(np.arange(_PER_DECADE * _DECADES) / _PER_DECADE)
    return np.split(falling, _DECADES)


def _check(x: NDArray, t: NDArray, groups: int, l1_ratio: float, folds: int) -> None:
    if not 0 < l1_ratio <= 1:
        raise RecipeError(f"l1_ratio must be above 0 and at most 1, found {l1_ratio}")
    if folds < 2 or groups < 2:
        raise RecipeError(
            f"cross-validation takes two folds and two groups of genes at least, found {folds} "
            f"and {groups}; give genes of several contigs"
        )
    finite = np.isfinite(x).all(axis=1) & np.isfinite(t)
    if not finite.all():
        raise ExpressionError(
            f"{(~finite).sum()} of {t.size} genes have a prediction or a mean that is not "
            f"finite, the first in row {np.argmin(finite)}; leave them out"
        )
    if is_constant(t.mean(), t.std()):
        raise ExpressionError(
            f"all {t.size} genes have one mean expression; there is nothing to fit"
        )


def _check_genes(**arrays: xr.DataArray) -> None:
    for role, array in arrays.items():
        labels = array.indexes.get("gene")
        if labels is None or not labels.is_unique:
            raise GeneTableError(
                f"the {role} "
                + ("have no gene labels" if labels is None else "repeat a gene")
                + "; give every gene one label"
            )
