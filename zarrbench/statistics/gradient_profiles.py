"""Where the network looks around a TSS: gradients by position, and groups of genes alike in them.

METHODS sections 12 and 23. A position that is not known is NaN: where the reference has no letter,
or beyond the window of the model (which must not be filled with 0, or the standard deviation would
depend on how much of it there is). Everything here leaves NaN out. Genes are taken as they lie on
the plus strand.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import pdist

from zarrbench.errors import RecipeError
from zarrbench.statistics.variants import numbered

# What float64 leaves of the standard deviation of equal values, per unit of their mean, and more
_NOISE = 1e-12


def position_attribution(gradient: ArrayLike, codes: ArrayLike) -> NDArray[np.float64]:
    """Return the gradient of the reference base less the mean of the others, shape (..., position).

    Parameters
    ----------
    gradient
        Shape (..., position, 4) in A, C, G, T, with respect to the one-hot reference.
    codes
        Base codes of the reference, shape (..., position); NaN for 4, which is no letter: there is
        no base to compare with the others.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    slopes, bases = np.asarray(gradient, np.float64), np.asarray(codes)
    if slopes.shape != (*bases.shape, 4):
        raise ValueError(
            f"a gradient has shape (..., position, 4) and codes (..., position), found "
            f"{slopes.shape} and {bases.shape}"
        )
    letters = bases < 4
    place = np.where(letters, bases, 0).astype(np.intp)[..., np.newaxis]
    own = np.take_along_axis(slopes, place, axis=-1)[..., 0]
    return np.where(letters, own - (slopes.sum(axis=-1) - own) / 3, np.nan)


def standardised(profile: ArrayLike) -> NDArray[np.float64]:
    """Return a profile, shape (..., position), divided by its standard deviation (divisor n).

    The mean is not subtracted. NaN for a profile that does not vary.
    """
    values = np.asarray(profile, np.float64)
    mean, sd = _moments(values)
    # relative to the mean only: gradients of a gene that is hardly expressed are tiny
    varies = sd > _NOISE * np.abs(mean)
    return values / np.where(varies, sd, np.nan)[..., np.newaxis]


def window_sd(profile: ArrayLike, window: int = 128) -> NDArray[np.float64]:
    """Return the standard deviation (divisor n) in windows side by side, shape (..., window).

    Parameters
    ----------
    profile
        Shape (..., position).
    window
        In bases; the last one may be shorter. NaN for a window without a known position.

    Raises
    ------
    RecipeError
        If the window has no base.
    """
    if window < 1:
        raise RecipeError(f"a window must have a base at least, found {window}")
    return _moments(_side_by_side(profile, window))[1]


def in_stretches(profile: ArrayLike, length: int) -> NDArray[np.float64]:
    """Return the mean of what is known in stretches side by side, shape (..., stretch).

    Parameters
    ----------
    profile
        Shape (..., position).
    length
        In bases; the last stretch may be shorter.
    """
    return _moments(_side_by_side(profile, length))[0]


def sliding(
    profile: ArrayLike, window: int = 128, step: int = 32
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return first positions, means and standard deviations (divisor n) of sliding windows.

    All of shape (window,), of windows that lie within the profile.

    Parameters
    ----------
    profile
        Shape (position,).
    window, step
        In bases.
    """
    values = np.asarray(profile, np.float64)
    starts = np.arange(0, max(values.size - window + 1, 0), step)
    if not starts.size:
        return starts, np.zeros(0), np.zeros(0)
    mean, sd = _moments(np.lib.stride_tricks.sliding_window_view(values, window)[starts])
    return starts, mean, sd


def profile_groups(windows: ArrayLike, n_groups: int) -> NDArray[np.int64]:
    """Return groups of genes: complete linkage of Euclidean distance between rows.

    All distances are held at once.

    Parameters
    ----------
    windows
        Shape (gene, window), as `window_sd` of `standardised` profiles that are aligned at the TSS.
        Windows that no gene knows are left out.
    n_groups
        How many; fewer where there are fewer genes, or where distances are the same.

    Returns
    -------
    ndarray
        int64, shape (gene,): groups numbered from 0 by their first gene, -1 for a gene that does
        not know a window which another does.

    Raises
    ------
    RecipeError
        If no group is asked for.
    """
    if n_groups < 1:
        raise RecipeError(f"genes go into one group at least, found {n_groups}")
    rows = np.asarray(windows, np.float64)
    unknown = np.isnan(rows)
    kept = ~unknown.all(axis=0)
    known = np.flatnonzero(~unknown[:, kept].any(axis=1) & kept.any())
    groups = np.full(len(rows), -1)
    if len(known) > 1:
        tree = linkage(pdist(rows[known][:, kept]), "complete")
        groups[known] = numbered(fcluster(tree, n_groups, "maxclust"))
    else:
        groups[known] = 0
    return groups


def group_means(values: ArrayLike, groups: ArrayLike) -> NDArray[np.float64]:
    """Return the mean of each group at each place, shape (group, ...); NaN where none is known.

    Of |profile| and of `window_sd`, as the study draws them. Each place is by itself, so that long
    profiles may be given piece by piece.

    Parameters
    ----------
    values
        Shape (gene, ...).
    groups
        Shape (gene,), numbered from 0; genes of -1 count nowhere.
    """
    rows, group = np.asarray(values, np.float64), np.asarray(groups)
    means = np.full((int(group.max(initial=-1)) + 1, *rows.shape[1:]), np.nan)
    for number in range(len(means)):
        members = np.moveaxis(rows[group == number], 0, -1)
        means[number] = _moments(members)[0]
    return means


def _side_by_side(profile: ArrayLike, window: int) -> NDArray[np.float64]:
    """Return a profile in windows, shape (..., window, position); NaN after its end."""
    values = np.asarray(profile, np.float64)
    *ahead, length = values.shape
    n = -(-length // window)
    padded = np.full((*ahead, n * window), np.nan)
    padded[..., :length] = values
    return padded.reshape(*ahead, n, window)


def _moments(values: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of what is known along the last axis."""
    known = ~np.isnan(values)
    n = known.sum(axis=-1)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, values, 0.0).sum(axis=-1) / n
        deviation = np.where(known, values - mean[..., np.newaxis], 0.0)
        return mean, np.sqrt((deviation**2).sum(axis=-1) / n)
