"""Driver variants: the few that make a gene's linear prediction follow the network's.

After Sasse, Ng, Spiro et al., Nature Genetics 55, 2060-2064 (2023), doi:10.1038/s41588-023-01524-6;
METHODS sections 13 and 14. C_j, the contribution of variant j, is its attribution times its dosage.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zarrbench.statistics.correlation import is_constant, two_sided_p
from zarrbench.statistics.variants import mean_imputed

Criteria = Literal["full", "increment_only"]
NanShare = Literal["zero", "propagate"]
Reason = Literal[
    "", "no variant", "fewer than 3 people", "R undefined", "R <= 0", "no variant passes"
]


@dataclass(frozen=True)
class DriverRule:
    """What makes a variant a driver (METHODS section 14).

    Parameters
    ----------
    min_increment
        A forward driver raises the running correlation by more than this share of R.
    alpha
        Two-sided p of a variant's own correlation, before its Bonferroni division by the number of
        variants that take part.
    criteria
        Of forward drivers. "full": increment, a positive correlation of the variant alone, and its
        p. "increment_only": the increment, which is all that the released table obeys.
    nan_f
        What a sum that is constant across people explains. "zero": nothing. "propagate": NaN, as in
        the release, where a driver ranked right after monomorphic variants is lost.
    allow_negative_r
        Look for forward drivers where R < 0, too, as the release does: increments are then those of
        a correlation that falls.
    log_sum
        Take log10(1 + s - min(s)) across people of each sum s of contributions; the correlation of
        a variant alone stays that of its plain contribution.
    antidriver
        Turn the sign of the prediction: what drives the linear sum away from it.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    min_increment: float = 0.05
    alpha: float = 0.01
    criteria: Criteria = "full"
    nan_f: NanShare = "zero"
    allow_negative_r: bool = False
    log_sum: bool = False
    antidriver: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.min_increment < 1:
            raise ValueError("min_increment must be from 0 to below 1")
        if not 0 < self.alpha <= 1:
            raise ValueError("alpha must be above 0 and at most 1")
        for name, options in (("criteria", Criteria), ("nan_f", NanShare)):
            known = get_args(options)
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be {' or '.join(known)}")


@dataclass(frozen=True)
class ForwardDrivers:
    """Forward drivers of one gene; arrays of shape (variant,), in the order of the input.

    Attributes
    ----------
    rank : int64
        From 1, by falling |attribution|; -1 for a variant without attribution, which takes no part
        and is NaN, or no driver, in all the rest.
    r_single, p_single : float64
        Correlation of the variant's contribution with the prediction, and its two-sided p.
    r_running : float64
        R_k, that of the sum of all contributions down to this rank.
    increment, loss : float64
        What the variant adds to R_k / R at its rank, and what R loses, as a share of it, without
        the variant. NaN for all variants where R is undefined or not positive
        (see `DriverRule.allow_negative_r`).
    is_driver, is_main : bool
        The main driver has the largest increment of all drivers; of equals, the first rank.
    r_linear : float
        R, the correlation of the sum of all contributions.
    reason : str
        Why there is no driver; empty where there is one.
    """

    rank: NDArray[np.int64]
    r_single: NDArray[np.float64]
    p_single: NDArray[np.float64]
    r_running: NDArray[np.float64]
    increment: NDArray[np.float64]
    loss: NDArray[np.float64]
    is_driver: NDArray[np.bool_]
    is_main: NDArray[np.bool_]
    r_linear: float
    reason: Reason


@dataclass(frozen=True)
class BackwardDrivers:
    """Backward drivers of one gene; arrays of shape (variant,), in the order of the input.

    Attributes
    ----------
    order : int64
        Round, from 0, in which the variant was removed; -1 if it was not.
    round_impact, first_impact : float64
        Share of R that its removal cost in that round, and what it would have cost in round 0; NaN
        where it was not removed.
    is_driver, is_main : bool
        Removed variants, and the one of the largest round_impact; of equals, the first removed.
    r_linear : float
        R, the correlation of the sum of all contributions.
    reason : str
        Why there is no driver; empty where there is one.
    """

    order: NDArray[np.int64]
    round_impact: NDArray[np.float64]
    first_impact: NDArray[np.float64]
    is_driver: NDArray[np.bool_]
    is_main: NDArray[np.bool_]
    r_linear: float
    reason: Reason


def linear_sum(attribution: ArrayLike, dosage: ArrayLike) -> NDArray[np.float64]:
    """Return L, the prediction of each person that is linear in the dosages (METHODS section 13).

    The prediction is near that of the reference plus L / 2. Its control, R_lin, is
    ``correlation.pearson(L, predicted).r`` across all sequenced people.

    Parameters
    ----------
    attribution
        Change of the prediction from reference to alternative allele, shape (variant,); one that is
        not finite counts as 0.
    dosage
        Alternative-allele counts, shape (variant, individual); negative or NaN = missing, for which
        the mean of the variant stands.

    Returns
    -------
    NDArray[np.float64]
        Shape (individual,), in the unit of the attributions.

    Raises
    ------
    ValueError
        If the two differ in variants.
    """
    a, calls = np.asarray(attribution, np.float64), np.asarray(dosage)
    if a.shape != calls.shape[:1]:
        raise ValueError(f"attribution {a.shape} and dosage {calls.shape} differ in variants")
    return np.asarray(np.where(np.isfinite(a), a, 0.0) @ mean_imputed(calls))


def forward_drivers(
    attribution: ArrayLike,
    dosage: ArrayLike,
    predicted: ArrayLike,
    positions: ArrayLike,
    rule: DriverRule,
) -> ForwardDrivers:
    """Find drivers by adding variants from the largest |attribution| on (METHODS section 14.1).

    Variants without a finite attribution enter no sum and are not counted in the Bonferroni
    division; those monomorphic among these people are counted, and are no drivers. Linkage is not
    handled: of variants in perfect linkage, the first rank takes what they share. Time and memory
    are O(variant * individual).

    Parameters
    ----------
    attribution, dosage
        As in `linear_sum`; missing calls take the mean of all the people given.
    predicted
        Prediction of the same people, shape (individual,); those without a finite one are left out.
    positions
        Shape (variant,): of equal |attribution|, the smaller position goes first.
    rule
        What makes a driver.

    Raises
    ------
    ValueError
        If shapes do not fit each other.
    """
    gene = _ranked(attribution, dosage, predicted, positions, rule)
    running = np.cumsum(gene.contribution, axis=0)
    whole, mean = gene.whole()
    r_running = gene.correlate(running, np.cumsum(gene.mean))
    r_linear = float(gene.correlate(whole, mean))
    r_single, p_single = gene.alone()
    increment, loss = np.full((2, len(gene.order)), np.nan)
    is_driver, is_main = np.zeros((2, len(gene.order)), bool)
    reason = _reason(gene, r_linear, rule.allow_negative_r)
    if not reason:
        rest = gene.correlate(whole - gene.contribution, mean - gene.mean)
        increment = np.diff(_shares(r_running, r_linear, rule), prepend=0.0)
        loss = 1 - _shares(rest, r_linear, rule)
        is_driver = increment > rule.min_increment
        if rule.criteria == "full":
            is_driver = is_driver & (r_single > 0) & (p_single < rule.alpha / len(gene.order))
        if is_driver.any():
            is_main[np.argmax(np.where(is_driver, increment, -np.inf))] = True
        else:
            reason = "no variant passes"
    return ForwardDrivers(
        rank=gene.unranked(np.arange(1, len(gene.order) + 1), -1),
        r_single=gene.unranked(r_single, np.nan),
        p_single=gene.unranked(p_single, np.nan),
        r_running=gene.unranked(r_running, np.nan),
        increment=gene.unranked(increment, np.nan),
        loss=gene.unranked(loss, np.nan),
        is_driver=gene.unranked(is_driver, False),
        is_main=gene.unranked(is_main, False),
        r_linear=r_linear,
        reason=reason,
    )


def backward_drivers(
    attribution: ArrayLike,
    dosage: ArrayLike,
    predicted: ArrayLike,
    positions: ArrayLike,
    rule: DriverRule,
) -> BackwardDrivers:
    """Find drivers by taking away, round by round, what costs most of R (METHODS section 14.2).

    Candidates are the variants that alone correlate positively with the prediction, at a p below
    alpha over the number of variants; each round removes one, while the sum of all that is left
    correlates so, too. Of candidates of equal impact the first rank goes. Of the rule,
    min_increment, criteria and allow_negative_r play no part: R must be positive.

    A round takes each candidate out of the sum of the people anew, so that nothing is lost to
    cancellation where little is left: O(candidate * individual), and that times the rounds for the
    gene. Parameters and errors are those of `forward_drivers`.
    """
    gene = _ranked(attribution, dosage, predicted, positions, rule)
    r_linear = float(gene.correlate(*gene.whole()))
    size = len(gene.order)
    round_impact, first_impact = np.full((2, size), np.nan)
    order, is_main = np.full(size, -1), np.zeros(size, bool)
    reason = _reason(gene, r_linear, allow_negative_r=False)
    if not reason:
        removed, impacts, first = _removals(gene, r_linear, rule)
        order[removed], round_impact[removed] = np.arange(len(removed)), impacts
        first_impact[removed] = first[removed]
        if removed:
            is_main[removed[int(np.argmax(impacts))]] = True
        else:
            reason = "no variant passes"
    return BackwardDrivers(
        order=gene.unranked(order, -1),
        round_impact=gene.unranked(round_impact, np.nan),
        first_impact=gene.unranked(first_impact, np.nan),
        is_driver=gene.unranked(order >= 0, False),
        is_main=gene.unranked(is_main, False),
        r_linear=r_linear,
        reason=reason,
    )


def _removals(
    gene: "_Ranked", r_linear: float, rule: DriverRule
) -> tuple[list[int], list[float], NDArray[np.float64]]:
    """Return the variants removed, in turn, what each cost then, and what any cost at first."""
    threshold = rule.alpha / len(gene.order)
    r_single, p_single = gene.alone()
    left = np.flatnonzero((r_single > 0) & (p_single < threshold))
    first = np.full(len(gene.order), np.nan)
    removed: list[int] = []
    impacts: list[float] = []
    (whole, mean), r, share = gene.whole(), r_linear, 1.0
    while len(left) and r > 0 and two_sided_p(r, gene.n) < threshold:
        rest, rest_mean = whole - gene.contribution[left], mean - gene.mean[left]
        r_rest = gene.correlate(rest, rest_mean)
        shares = _shares(r_rest, r_linear, rule)
        impact = share - shares  # where 1 - share has been removed before
        if not removed:
            first[left] = impact
        if np.isnan(impact).all():
            break
        best = int(np.nanargmax(impact))
        removed.append(int(left[best]))
        impacts.append(float(impact[best]))
        whole, mean, r, share = rest[best], rest_mean[best], r_rest[best], shares[best]
        left = np.delete(left, best)
    return removed, impacts, first


@dataclass(frozen=True)
class _Ranked:
    """The variants of a gene that take part, by falling |attribution|, and its people.

    `order` holds their places among all `size` variants of the input. Contributions, shape
    (variant, individual), are centred, with their means beside them; `predicted` is centred, too.
    """

    size: int
    order: NDArray[np.int64]
    contribution: NDArray[np.float64]
    mean: NDArray[np.float64]
    predicted: NDArray[np.float64]
    log_sum: bool

    @property
    def n(self) -> int:
        return self.predicted.size

    def whole(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the sum of all contributions, centred, and its mean."""
        return self.contribution.sum(axis=0), self.mean.sum()

    def correlate(self, sums: NDArray, mean: NDArray) -> NDArray[np.float64]:
        """Return r with the prediction of centred sums of contributions (..., individual)."""
        if self.log_sum and self.n:
            sums = np.log10(1 + sums - sums.min(axis=-1, keepdims=True))
            mean = sums.mean(axis=-1)
            sums = sums - mean[..., np.newaxis]
        return self._correlate(sums, mean)

    def alone(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return r of each contribution by itself, and its two-sided p."""
        r = self._correlate(self.contribution, self.mean)
        return r, two_sided_p(r, self.n)

    def _correlate(self, centred: NDArray, mean: NDArray) -> NDArray[np.float64]:
        # `correlation.pearson`, which would centre again what is centred, at ten times the cost
        n = max(self.n, 1)
        sd = np.sqrt(np.vecdot(centred, centred) / n)
        length = np.linalg.norm(self.predicted)
        with np.errstate(divide="ignore", invalid="ignore"):
            r = np.vecdot(centred, self.predicted) / (np.sqrt(n) * sd * length)
        return np.where(is_constant(mean, sd) | (self.n < 3), np.nan, np.clip(r, -1.0, 1.0))

    def unranked(self, values: NDArray, absent: float) -> NDArray:
        """Return values of the ranked variants in the order of the input."""
        found = np.full(self.size, absent, values.dtype)
        found[self.order] = values
        return found


def _ranked(
    attribution: ArrayLike,
    dosage: ArrayLike,
    predicted: ArrayLike,
    positions: ArrayLike,
    rule: DriverRule,
) -> _Ranked:
    a, p = np.asarray(attribution, np.float64), np.asarray(predicted, np.float64)
    calls, at = np.asarray(dosage), np.asarray(positions)
    if calls.shape != a.shape + p.shape or a.ndim != 1 or at.shape != a.shape:
        raise ValueError(
            f"dosage {calls.shape} should be of the variants of attribution {a.shape} and "
            f"positions {at.shape}, and of the people of predicted {p.shape}"
        )
    order = np.lexsort((at, -np.abs(a)))
    order = order[np.isfinite(a[order])]
    known = np.isfinite(p)
    contribution = a[order, np.newaxis] * mean_imputed(calls[order])[:, known]
    p = -p[known] if rule.antidriver else p[known]
    n = max(p.size, 1)
    mean, level = contribution.sum(axis=1) / n, p.sum() / n
    contribution -= mean[:, np.newaxis]
    p = p - level
    if is_constant(level, np.sqrt(p @ p / n)):
        p = np.full_like(p, np.nan)
    return _Ranked(a.size, order, contribution, mean, p, rule.log_sum)


def _reason(gene: _Ranked, r_linear: float, allow_negative_r: bool) -> Reason:
    """Return why R is no ground for drivers, or nothing."""
    if not len(gene.order):
        return "no variant"
    if gene.n < 3:
        return "fewer than 3 people"
    if np.isnan(r_linear):
        return "R undefined"
    if r_linear == 0 or (r_linear < 0 and not allow_negative_r):
        return "R <= 0"
    return ""


def _shares(r: NDArray, r_linear: float, rule: DriverRule) -> NDArray[np.float64]:
    """Return r / R, and of constant sums what the rule says."""
    shares = r / r_linear
    return np.where(np.isnan(shares), 0.0, shares) if rule.nan_f == "zero" else shares
