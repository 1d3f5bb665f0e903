"""Kinship of pairs of people from their genotypes, whatever the structure of the cohort."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Bytes of the sums of one block of people with everybody
_BYTES = 1 << 28
# Bounds of the counts of positive kinships, and the median of the absolute of a normal deviate
_EDGES = np.append(np.linspace(0, 0.5, 1001), np.inf)
_NORMAL_MEDIAN = 0.6745


@dataclass(frozen=True)
class Relatives:
    """Pairs of related people, and how far strangers scatter.

    Parameters
    ----------
    pairs
        individual_1, individual_2 (in the order given) and kinship: ids, not for reports.
    scatter
        Standard deviation of the kinship of strangers, from the median of all that are positive;
        NaN if none is. A bound of fewer than four of it flags strangers: there are too few
        variants, or too few contigs.
    """

    pairs: pd.DataFrame
    scatter: float


def kinship(blocks: Iterable[NDArray], people: slice = slice(None)) -> NDArray[np.float64]:
    """Return KING-robust kinship of some people with everybody, shape (person, individual).

    The estimator between families of Manichaikul et al. (2010, doi:10.1093/bioinformatics/btq559):

        (N(both heterozygous) - 2 N(opposite homozygotes)) / (2 H) + 1/2 - (Hi + Hj) / (4 H)

    with Hi and Hj the heterozygous calls of each and H the smaller of the two, over the variants
    called for both. 0.5 for the same genome twice, 0.25 for first-degree relatives, 0 for
    strangers of one population, and below 0 for those of two. It needs no allele frequencies, and
    thousands of variants of the whole genome: over few or linked ones strangers scatter widely.

    Parameters
    ----------
    blocks
        Dosages (variant, individual) 0, 1, 2; negative = missing.
    people
        Rows of the result.

    Returns
    -------
    ndarray
        NaN where one of a pair is never heterozygous, and of a person with itself where it is
        called at no variant with two different alleles.
    """
    both: NDArray[np.float64] | None = None
    for block in blocks:
        calls = np.asarray(block)
        # Counts of a block are whole numbers that float32 holds exactly.
        states = (calls == 1, calls == 0, calls == 2, calls >= 0)
        het, other, effect, called = (state.astype(np.float32) for state in states)
        opposite = other[:, people].T @ effect + effect[:, people].T @ other
        counts = np.stack(
            [
                het[:, people].T @ het - 2 * opposite,
                het[:, people].T @ called,
                called[:, people].T @ het,
            ]
        )
        both = counts.astype(np.float64) if both is None else np.add(both, counts, both)
    if both is None:
        raise ValueError("kinship needs at least one block of variants")
    shared, own, theirs = both
    fewer = np.minimum(own, theirs)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = shared / (2 * fewer) + 0.5 - (own + theirs) / (4 * fewer)
    return np.where(fewer > 0, found, np.nan)


def related_pairs(
    blocks: Callable[[], Iterable[NDArray]], individuals: Sequence[str], min_kinship: float
) -> Relatives:
    """Return the pairs of people whose kinship is at least `min_kinship`, the closest first.

    Rows of people are taken so many at a time that their sums fit 256 MiB, and the variants are
    read once for each.

    Parameters
    ----------
    blocks
        Called once for each block of people: gives dosages as `kinship` takes them.
    individuals
        Shape (individual,).
    min_kinship
        About 0.354, 0.177, 0.0884 and 0.0442 are the usual bounds of duplicates, and of relatives
        of the first, second and third degree.
    """
    n = len(individuals)
    step = max(1, _BYTES // (64 * max(n, 1)))
    names = np.array(individuals, dtype=object)
    tables, scatter = [], np.zeros(_EDGES.size - 1, dtype=np.int64)
    for start in range(0, n, step):
        found = kinship(blocks(), slice(start, min(start + step, n)))
        own = np.arange(start, start + len(found))[:, np.newaxis]
        found[np.arange(n) <= own] = np.nan  # each pair once
        scatter += np.histogram(found[found > 0], _EDGES)[0]
        first, second = np.nonzero(found >= min_kinship)
        tables.append(
            pd.DataFrame(
                {
                    "individual_1": names[first + start],
                    "individual_2": names[second],
                    "kinship": found[first, second],
                }
            )
        )
    together = pd.concat(tables, ignore_index=True)
    pairs = together.sort_values("kinship", ascending=False, kind="stable", ignore_index=True)
    if not scatter.any():
        return Relatives(pairs, np.nan)
    middle = np.searchsorted(np.cumsum(scatter), scatter.sum() / 2)
    return Relatives(pairs, float(_EDGES[middle + 1] / _NORMAL_MEDIAN))
