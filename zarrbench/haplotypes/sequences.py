"""The personal sequences of a window, each distinct one once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zarrbench.genome.bases import Codes, reverse_complement
from zarrbench.genome.coordinates import Window
from zarrbench.genome.reference import Reference
from zarrbench.genotypes.policies import Policies
from zarrbench.genotypes.store import GenotypeStore
from zarrbench.haplotypes.substitutions import Substitutions, substitutions


@dataclass(frozen=True)
class PersonalWindow:
    """All sequences that people carry in one window, without repetition.

    Attributes
    ----------
    window : Window
    reference : uint8 (length,)
        Base codes of the reference, forward strand.
    columns : int64 (position,)
        Variable positions, 0-based in the window.
    alleles : uint8 (distinct, position)
        Bases of each distinct sequence at `columns`; sorted, so that it does not depend on the
        order of people. The reference is always among them.
    rows : int32 (individual, 2)
        Which distinct sequence each haplotype is.
    reference_row : int
    n_distinct_haplotypes : int
        Distinct sequences that people carry (the reference counts only if somebody carries it).
    substitutions : Substitutions
    """

    window: Window
    reference: Codes
    columns: NDArray[np.int64]
    alleles: Codes
    rows: NDArray[np.int32]
    reference_row: int
    n_distinct_haplotypes: int
    substitutions: Substitutions

    @property
    def n_rows(self) -> int:
        """Distinct sequences, the reference included."""
        return int(self.alleles.shape[0])

    def codes(self, start: int = 0, stop: int | None = None) -> Codes:
        """Return base codes of the distinct sequences start..stop as the model reads them.

        Shape (stop - start, window.length); reverse complement where the window says so.
        """
        chosen = self.alleles[start:stop]
        sequences = np.repeat(self.reference[None, :], chosen.shape[0], axis=0)
        sequences[:, self.columns] = chosen
        return reverse_complement(sequences) if self.window.reverse else sequences

    def haplotype(self, individual: int, haplotype: int) -> Codes:
        """Return the base codes of one haplotype of one individual (both 0-based rows)."""
        row = int(self.rows[individual, haplotype])
        return self.codes(row, row + 1)[0]


def personal_window(
    genotypes: GenotypeStore,
    reference: Reference,
    window: Window,
    policies: Policies,
    individuals: NDArray[np.int64] | None = None,
) -> PersonalWindow:
    """Read a window's variants and return the distinct personal sequences.

    Parameters
    ----------
    genotypes : GenotypeStore
    reference : Reference
    window : Window
    policies : Policies
    individuals : int64 (individual,), optional
        Rows of ``genotypes.samples``; all by default.

    Raises
    ------
    ReferenceMismatchError, UnphasedGenotypeError, GenotypeError
        As `zarrbench.haplotypes.substitutions.substitutions`.
    """
    codes = reference.codes(window)
    records = genotypes.records(window.contig, window.start, window.end, individuals)
    found = substitutions(records, codes, window, policies)
    length = reference.lengths[window.contig]
    inside = max(0, min(window.end, length) - max(window.start, 0))
    found.counts["padded_bases"] = window.length - inside
    return distinct(found, codes, window)


def distinct(found: Substitutions, codes: Codes, window: Window) -> PersonalWindow:
    """Find the distinct sequences among all haplotypes of a window, keyed by their content."""
    n_positions, n_individuals, _ = found.bases.shape
    carried = found.bases.transpose(1, 2, 0).reshape(n_individuals * 2, n_positions)
    everything = np.vstack([codes[found.columns][None, :], carried])
    if n_positions == 0:
        alleles, inverse = everything[:1], np.zeros(everything.shape[0], dtype=np.int64)
    else:
        # Rows as opaque bytes: one sort of memory blocks instead of one a column
        opaque = np.ascontiguousarray(everything).view(np.dtype((np.void, n_positions)))[:, 0]
        _, first, inverse = np.unique(opaque, return_index=True, return_inverse=True)
        alleles = everything[first]
    rows = inverse[1:].reshape(n_individuals, 2).astype(np.int32)
    return PersonalWindow(
        window=window,
        reference=codes,
        columns=found.columns,
        alleles=alleles,
        rows=rows,
        reference_row=int(inverse[0]),
        n_distinct_haplotypes=int(np.unique(rows).size),
        substitutions=found,
    )
