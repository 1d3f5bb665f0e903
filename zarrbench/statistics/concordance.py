"""Do the variants that make a gene's prediction act on its expression as they do in the network?

Everything that is known of the SNVs of one gene side by side: attribution, slope, drivers, support.
METHODS sections 12 to 15.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zarrbench.statistics.correlation import pearson
from zarrbench.statistics.drivers import DriverRule, backward_drivers, forward_drivers, linear_sum
from zarrbench.statistics.slopes import slopes
from zarrbench.statistics.support import sign_support

#: columns of the table of a gene's SNVs, in their order, with their types
COLUMNS = {
    "slope": np.float64,
    "se": np.float64,
    "p_slope": np.float64,
    "r_slope": np.float64,
    "n": np.int64,
    "rank": np.int64,
    "r_single": np.float64,
    "p_single": np.float64,
    "r_running": np.float64,
    "increment": np.float64,
    "loss": np.float64,
    "is_driver": np.bool_,
    "is_main": np.bool_,
    "backward_order": np.int64,
    "round_impact": np.float64,
    "first_impact": np.float64,
    "is_backward_driver": np.bool_,
    "is_backward_main": np.bool_,
    "support": np.int8,
}


@dataclass(frozen=True)
class Concordance:
    """The SNVs of one gene, and the gene.

    Attributes
    ----------
    variants : dict of arrays (variant,)
        `COLUMNS`: the regression of expression on the dosage; what `forward_drivers` and
        `backward_drivers` find (the latter with ``backward_`` where names would be the same); and
        `sign_support`.
    r_linear, r_linear_gradient : float
        Correlation of the linear sum of in-silico mutagenesis, and of that of gradients, with the
        prediction.
    r_ism_gradient : float
        Correlation over SNVs of the two attributions.
    reason : str
        Why the gene has no driver; empty if it has one.
    """

    variants: dict[str, NDArray]
    r_linear: float
    r_linear_gradient: float
    r_ism_gradient: float
    reason: str


def concordance(
    ism: ArrayLike,
    gradient: ArrayLike | None,
    dosage: NDArray[np.int8],
    positions: ArrayLike,
    predicted: ArrayLike,
    observed: ArrayLike,
    rule: DriverRule,
) -> Concordance:
    """Compare the SNVs of one gene with its expression.

    Drivers, and the control of linearity, are those of everybody with a prediction; slopes those of
    the people who have an expression, too. So a driver may be monomorphic among the latter: its
    slope is NaN, and it is neutral.

    Parameters
    ----------
    ism : (variant,)
        Change of the prediction from the reference to the effect allele; NaN takes no part.
    gradient : (variant,), optional
        The same by gradients.
    dosage : int8 (variant, individual)
        Copies of the effect allele; -1 = missing.
    positions : (variant,)
    predicted, observed : (individual,)
        NaN = unknown.
    rule : DriverRule
    """
    predicted = np.asarray(predicted, np.float64)
    forward = forward_drivers(ism, dosage, predicted, positions, rule)
    backward = backward_drivers(ism, dosage, predicted, positions, rule)
    regressed = slopes(dosage, observed)
    # Without the options of the rule, which concern drivers alone
    r_linear = float(pearson(linear_sum(ism, dosage), predicted).r)
    by_gradient = r_both = np.nan
    if gradient is not None:
        by_gradient = float(pearson(linear_sum(gradient, dosage), predicted).r)
        r_both = float(pearson(ism, gradient).r)
    found = {
        "slope": regressed.slope,
        "se": regressed.se,
        "p_slope": regressed.p,
        "r_slope": regressed.r,
        "n": regressed.n,
        "rank": forward.rank,
        "r_single": forward.r_single,
        "p_single": forward.p_single,
        "r_running": forward.r_running,
        "increment": forward.increment,
        "loss": forward.loss,
        "is_driver": forward.is_driver,
        "is_main": forward.is_main,
        "backward_order": backward.order,
        "round_impact": backward.round_impact,
        "first_impact": backward.first_impact,
        "is_backward_driver": backward.is_driver,
        "is_backward_main": backward.is_main,
        "support": sign_support(ism, regressed.slope),
    }
    return Concordance(found, r_linear, by_gradient, r_both, forward.reason)
