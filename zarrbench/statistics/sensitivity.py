"""How far r across people depends on choices: the same genes, predicted in two ways."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from zarrbench.statistics.correlation import pearson


@dataclass(frozen=True)
class Agreement:
    """Two vectors of r over the same genes.

    Attributes
    ----------
    n_genes : int
        Genes with both r.
    pearson_r : float
        Correlation of the two vectors; NaN for fewer than three genes.
    same_sign : float
        Share of these genes whose r keeps its sign; a zero keeps none. NaN without genes.
    n_significant : int
        Of them, those that are significant by the first.
    same_sign_significant : float
        The share among those.
    mean_difference : float
        Mean over the genes of the second |r| less the first.
    """

    n_genes: int
    pearson_r: float
    same_sign: float
    n_significant: int
    same_sign_significant: float
    mean_difference: float


def agreement(first: ArrayLike, second: ArrayLike, significant: ArrayLike) -> Agreement:
    """Compare the r of genes under two choices (METHODS section 17).

    Parameters
    ----------
    first, second : (gene,)
        r across people; NaN = undefined, which leaves the gene out.
    significant : (gene,)
        Which genes are significant by the first.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    chosen = both & np.asarray(significant, bool)
    same = (np.sign(a) == np.sign(b)) & (a != 0)
    return Agreement(
        n_genes=int(both.sum()),
        pearson_r=float(pearson(a, b).r),
        same_sign=_share(same[both]),
        n_significant=int(chosen.sum()),
        same_sign_significant=_share(same[chosen]),
        mean_difference=float((np.abs(b) - np.abs(a))[both].mean()) if both.any() else np.nan,
    )


def _share(members: np.ndarray) -> float:
    return float(members.mean()) if members.size else np.nan
