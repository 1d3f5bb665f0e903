"""Do drivers of the wrong sign share a motif? Clusters of the sequences around them.

METHODS section 19. Sequences are base codes of one odd length (13 in the study) with the driver at
the centre, as they read on the plus strand; a base that is no letter matches nothing. Motifs on the
other strand are not looked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from zarrbench.statistics.multiple_testing import benjamini_hochberg

# A stretch is no shorter, and no longer than one mismatch runs on in it
_MIN_LENGTH, _MAX_GAP = 5, 1
# Four matches of five; 0.8 is no binary fraction, so that the two are compared as whole numbers
_MATCHES, _OF = _MIN_LENGTH - 1, _MIN_LENGTH
# A table of every pattern of matches has two to this power of entries
_LONGEST = 15
# Pairs compared at once
_PAIRS = 1 << 20


@dataclass(frozen=True)
class Stretch:
    """Where two sequences match.

    Parameters
    ----------
    start, end
        Half-open, in the first sequence.
    offset
        What the position in the second sequence is ahead of that in the first.
    matches
    """

    start: int
    end: int
    offset: int
    matches: int


@dataclass(frozen=True)
class Motif:
    """Weights of the bases that the members of a cluster share with its seed.

    Parameters
    ----------
    seed
        Row of the seed among the sequences.
    weights
        Shape (column, 4) in A, C, G, T: bases counted over the largest total of a column, so that
        a column that fewer members reach sums to less than 1.
    snv
        Column of the seed's own centre.
    n
        The largest total: members that bear on a column.
    """

    seed: int
    weights: NDArray[np.float64]
    snv: int
    n: int


@dataclass(frozen=True)
class Enrichment:
    """One-sided Fisher tests of each cluster against all others, all of shape (cluster,).

    Parameters
    ----------
    size, unsupported
        Members, and those of them whose slope has the other sign.
    p_more, p_fewer
        That so many, or so few, of them are unsupported by chance.
    q_more, q_fewer
        Adjusted for the number of clusters (Benjamini-Hochberg).
    """

    size: NDArray[np.int64]
    unsupported: NDArray[np.int64]
    p_more: NDArray[np.float64]
    p_fewer: NDArray[np.float64]
    q_more: NDArray[np.float64]
    q_fewer: NDArray[np.float64]

    @property
    def signed_log10_p(self) -> NDArray[np.float64]:
        """The smaller p as -log10 p where unsupported drivers are many, as log10 p where few."""
        many = self.p_more <= self.p_fewer
        with np.errstate(divide="ignore"):
            return np.where(many, -np.log10(self.p_more), np.log10(self.p_fewer))


def pair_scores(codes: ArrayLike) -> NDArray[np.int8]:
    """Return how many bases the best stretch of every two sequences matches, shape (n, n).

    One sequence is shifted along the other, by up to half its length either way. A stretch is
    where they match, from one match to another at least 5 bases long, with no two mismatches in
    a row and four of five bases matching, and it holds the centres of both. None starts within the
    last 5 bases of the overlap, as in the study.

    Parameters
    ----------
    codes
        Base codes, shape (n, length), length odd and at most 15; 4 (no letter) matches nothing.

    Returns
    -------
    ndarray
        int8, symmetric: 0 without a stretch. The diagonal is that of a sequence with itself.

    Raises
    ------
    ValueError
        If the shape is another.
    """
    sequences = _checked(codes)
    n, length = sequences.shape
    words = _words(sequences)
    best = np.zeros((n, n), np.int8)
    step = max(1, _PAIRS // max(n, 1))
    for first in range(0, n, step):
        rows = slice(first, first + step)
        for shift in range(length // 2 + 1):
            # bit i: position i + shift of the row's sequence is position i of the column's
            bits = np.zeros((len(words[rows]), n), words.dtype)
            for base in range(4):
                bits |= (words[rows, base, np.newaxis] >> shift) & words[:, base]
            best[rows] = np.maximum(best[rows], _best_matches(length, shift)[bits])
    return np.maximum(best, best.T)


def distances(scores: ArrayLike) -> NDArray[np.float64]:
    """Return the distance of every two sequences: 0 for a score of 5 or more, 0.2 for 4, else 1.

    Parameters
    ----------
    scores
        As `pair_scores` gives them, shape (n, n).

    Returns
    -------
    ndarray
        Shape (n, n); the diagonal is 0.
    """
    distance = np.maximum(0.0, 1.0 - np.asarray(scores, np.float64) / _MIN_LENGTH)
    np.fill_diagonal(distance, 0.0)
    return distance


def clusters(codes: ArrayLike, cutoff: float = 0.25) -> NDArray[np.int64]:
    """Return which cluster each sequence belongs to: complete linkage of `distances`.

    Clusters are merged while the largest distance between their members is below `cutoff`. Many
    distances are the same, so that the clusters depend on which of equal ones is merged first, here
    as in the study: labels of another implementation differ. Here equal sequences are merged first,
    and then in the order of their bases, so that the result does not depend on the order given.

    Parameters
    ----------
    codes
        As in `pair_scores`.
    cutoff

    Returns
    -------
    ndarray
        int64, shape (n,): clusters are numbered from 0, the largest first, among equal ones that
        with the first sequence in the order of bases.

    Raises
    ------
    ValueError
        If the shape is another.
    """
    distinct, copy_of = np.unique(_checked(codes), axis=0, return_inverse=True)
    copy_of = copy_of.reshape(-1)
    if len(distinct) < 2:
        return np.zeros(len(copy_of), np.int64)
    merged = linkage(squareform(distances(pair_scores(distinct)), checks=False), "complete")
    labels = fcluster(merged, np.nextafter(cutoff, -np.inf), "distance")
    _, first, labels = np.unique(labels, return_index=True, return_inverse=True)
    size = np.bincount(labels[copy_of])
    number = np.empty(len(size), np.int64)
    number[np.lexsort((first, -size))] = np.arange(len(size))
    return number[labels][copy_of]


def best_stretch(first: NDArray, second: NDArray) -> Stretch | None:
    """Return the stretch of two sequences with most matches, None without one.

    Among equal ones the smallest shift, then that of the second sequence to the right along the
    first, then the leftmost counts.

    Parameters
    ----------
    first, second
        Base codes, shape (length,).

    Raises
    ------
    ValueError
        If the shapes are others than `pair_scores` takes.
    """
    one, other = _checked(np.stack([first, second]))
    length = len(one)
    best: Stretch | None = None
    for shift in range(length // 2 + 1):
        for moved, fixed, way in ((one, other, -1), (other, one, 1)):
            equal = (moved[shift:] == fixed[: length - shift]) & (moved[shift:] < 4)
            for start, end, matches in _stretches(equal.tolist(), shift):
                if best is None or matches > best.matches:
                    ahead = shift if way < 0 else 0
                    best = Stretch(start + ahead, end + ahead, way * shift, matches)
    return best


def motif(codes: ArrayLike, members: ArrayLike) -> Motif | None:
    """Return the motif of a cluster, None for a single sequence.

    The seed is the member with the largest sum of scores with the others, among equal ones the
    first in the order of bases. Every other one counts at the bases of its best stretch with the
    seed, and the seed wherever another does. Every stretch holds the seed's centre, which is
    therefore a column.

    Parameters
    ----------
    codes
        As in `pair_scores`.
    members
        Rows of the cluster, without repeats.

    Raises
    ------
    ValueError
        If the shape is another.
    """
    sequences = _checked(codes)
    rows = np.asarray(members, np.int64)
    if len(rows) < 2:
        return None
    rows = rows[np.lexsort(sequences[rows].T[::-1])]
    scores = pair_scores(sequences[rows])
    np.fill_diagonal(scores, 0)
    place = int(scores.sum(axis=1).argmax())
    seed = sequences[rows[place]]
    counts = np.zeros((len(seed), 4))
    for row in np.delete(rows, place):
        stretch = best_stretch(seed, sequences[row])
        if stretch is not None:
            columns = np.arange(stretch.start, stretch.end)
            _count(counts, columns, sequences[row, columns + stretch.offset])
    columns = np.flatnonzero(counts.sum(axis=1))
    if not len(columns):
        return None
    _count(counts, columns, seed[columns])
    first, last = int(columns[0]), int(columns[-1])
    n = int(counts.sum(axis=1).max())
    return Motif(int(rows[place]), counts[first : last + 1] / n, len(seed) // 2 - first, n)


def as_meme(motifs: Sequence[tuple[str, Motif]]) -> str:
    """Return named motifs in MEME's minimal text format (version 4).

    Rows have to sum to 1 there: what a column lacks is spread evenly over the bases.
    """
    head = "MEME version 4\n\nALPHABET= ACGT\n\nstrands: +\n\n"
    background = "Background letter frequencies\nA 0.25 C 0.25 G 0.25 T 0.25\n"
    parts = [head + background]
    for name, one in motifs:
        filled = one.weights + (1 - one.weights.sum(axis=1, keepdims=True)) / 4
        lines = [
            f"MOTIF {name}",
            f"letter-probability matrix: alength= 4 w= {len(filled)} nsites= {one.n}",
            *(" ".join(f"{value:.6f}" for value in row) for row in filled),
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def enrichment(labels: ArrayLike, unsupported: ArrayLike) -> Enrichment:
    """Test every cluster for more, and for fewer, unsupported drivers than the others have.

    Parameters
    ----------
    labels
        Shape (driver,), clusters numbered from 0.
    unsupported
        bool, shape (driver,): whose slope has the other sign. Neutral drivers count among the
        others, unless whoever calls leaves them out.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    cluster, wrong = np.asarray(labels, np.int64), np.asarray(unsupported, bool)
    if cluster.shape != wrong.shape:
        raise ValueError(f"{cluster.shape} labels for {wrong.shape} drivers")
    size = np.bincount(cluster)
    found = np.bincount(cluster[wrong], minlength=len(size))
    # Fisher's tests of a two by two table are tails of the hypergeometric distribution
    drawn = stats.hypergeom(len(cluster), int(wrong.sum()), size)
    more, fewer = np.minimum(drawn.sf(found - 1), 1.0), np.minimum(drawn.cdf(found), 1.0)
    return Enrichment(size, found, more, fewer, benjamini_hochberg(more), benjamini_hochberg(fewer))


def _checked(codes: ArrayLike) -> NDArray[np.uint8]:
    sequences = np.asarray(codes, np.uint8)
    if sequences.ndim != 2 or sequences.shape[1] % 2 == 0 or sequences.shape[1] > _LONGEST:
        raise ValueError(
            "sequences around drivers are base codes of shape (n, length), length odd and at most "
            f"{_LONGEST}, found {np.shape(codes)}"
        )
    return sequences


def _count(counts: NDArray[np.float64], columns: NDArray, codes: NDArray[np.uint8]) -> None:
    letters = codes < 4
    counts[columns[letters], codes[letters]] += 1


def _words(sequences: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Return bit vectors of each base, bit i for position i; shape (n, base)."""
    place = 1 << np.arange(sequences.shape[1])
    of_base = sequences[:, np.newaxis, :] == np.arange(4)[:, np.newaxis]
    return (of_base * place).sum(axis=-1, dtype=np.int16)


@cache
def _best_matches(length: int, shift: int) -> NDArray[np.int8]:
    """Return the matches of the best stretch for each pattern of an overlap, bit i its place i."""
    overlap = length - shift
    patterns = np.arange(1 << overlap)[:, np.newaxis] >> np.arange(overlap) & 1
    return np.array(
        [max((m for *_, m in _stretches(row, shift)), default=0) for row in patterns.tolist()],
        np.int8,
    )


def _stretches(equal: Sequence[int], shift: int) -> list[tuple[int, int, int]]:
    """Return start, end and matches of the stretches of an overlap that hold both centres."""
    length = len(equal) + shift
    centres = length // 2 - shift, length // 2
    found = []
    furthest = 0
    for start in range(len(equal) - _MIN_LENGTH):
        if not equal[start]:
            continue
        end = start + 1
        for place in range(start + 1, len(equal)):
            if equal[place]:
                end = place + 1
            elif place - end >= _MAX_GAP:
                break
        matches = sum(equal[start:end])
        long_enough = end - start >= _MIN_LENGTH and matches * _OF >= _MATCHES * (end - start)
        if long_enough and end > furthest:
            furthest = end
            if start <= centres[0] and centres[1] < end:
                found.append((start, end, matches))
    return found
