"""Principal components of genotypes: the ancestry of people, as covariates."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from zarrbench.errors import GenotypeError, SampleError

#: people of whom components are made: their matrix of pairs is held twice (6.4 GB)
MOST_PEOPLE = 20_000


@dataclass(frozen=True)
class Components:
    """Principal components of people.

    Parameters
    ----------
    scores
        Shape (component, individual): mean 0, mean square eigenvalue / individuals.
    eigenvalues
        Shape (component,), falling: those of the matrix of genomic relationships.
    explained
        Shape (component,): their share of the trace.
    n_variants
        Variants that vary.
    """

    scores: NDArray[np.float64]
    eigenvalues: NDArray[np.float64]
    explained: NDArray[np.float64]
    n_variants: int


def standardised(dosage: NDArray) -> NDArray[np.float64]:
    """Return dosages less their mean in units of binomial deviation, of variants that vary.

    ``(g - 2p) / sqrt(2p(1 - p))`` with p the allele frequency among those called (Patterson, Price
    and Reich 2006, doi:10.1371/journal.pgen.0020190), 0 where a call is missing.
    """
    called = dosage >= 0
    n = np.maximum(called.sum(axis=1, keepdims=True), 1)
    p = np.where(called, dosage, 0).sum(axis=1, keepdims=True) / (2 * n)
    varies = ((p > 0) & (p < 1)).ravel()
    p, dosage, called = p[varies], dosage[varies], called[varies]
    return np.where(called, dosage - 2 * p, 0.0) / np.sqrt(2 * p * (1 - p))


def genotype_components(blocks: Iterable[NDArray], n_components: int) -> Components:
    """Return the first principal components of people, from their matrix of genomic relationships.

    That matrix, ``Z'Z / variants`` of `standardised` dosages, is summed block by block and
    decomposed exactly: its size is people², whatever the number of variants. Which blocks the
    variants come in makes no difference but for rounding. The sign of a component, which nothing
    determines, is such that its largest score is positive.

    Give common variants that are not linked (`zarrbench.statistics.linkage.ld_pruned`); otherwise
    a component may stand for an inversion or another long block. Relatives may make a component of
    their own: they are not left out.

    Parameters
    ----------
    blocks
        Dosages (variant, individual), -1 = missing.
    n_components
        At least 1.

    Raises
    ------
    GenotypeError
        If there are not more variants and people than components, or no block.
    SampleError
        If there are more than `MOST_PEOPLE` people.
    """
    relationship: NDArray[np.float64] | None = None
    n_variants = 0
    for block in blocks:
        calls = np.asarray(block)
        if calls.shape[1] > MOST_PEOPLE:
            raise SampleError(
                f"genotype components of {calls.shape[1]} people need a matrix of all their pairs, "
                f"expected at most {MOST_PEOPLE} people; set n_components to 0 and give components "
                f"as covariates of the expression"
            )
        z = standardised(calls)
        n_variants += len(z)
        part = z.T @ z
        relationship = part if relationship is None else np.add(relationship, part, relationship)
    n_people = 0 if relationship is None else len(relationship)
    # centred people span one dimension fewer
    if relationship is None or n_components >= min(n_variants + 1, n_people):
        raise GenotypeError(
            f"{n_components} genotype components need more common variants that are not linked, "
            f"and more people, than that: found {n_variants} of {n_people} people; lower "
            f"'n_components' or 'min_maf', or raise 'max_r2'"
        )
    relationship /= n_variants
    trace = float(np.trace(relationship))
    values, vectors = linalg.eigh(
        relationship, subset_by_index=[n_people - n_components, n_people - 1], overwrite_a=True
    )
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1].T
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, np.newaxis], axis=1)
    scores = vectors * np.sign(largest) * np.sqrt(values)[:, np.newaxis]
    return Components(scores, values, values / trace, n_variants)
