"""Copies of single alternative alleles, and which of them are the effect alleles of a model.

A model names a variant by its position and two alleles, of which one has the effect. Strands are
not flipped: a pair that fits only as its complement is on the other strand, and not used.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zarrbench.errors import GenotypeError
from zarrbench.genotypes.store import Records

_SEQUENCE = re.compile("[ACGT]+")
_COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A"}


@dataclass(frozen=True)
class AlternativeAlleles:
    """The alternative alleles of records, each distinct (position, REF, ALT) once, sorted.

    Symbolic alleles, ``*`` and those with an N are left out.

    Attributes
    ----------
    positions : int64 (allele,)
        0-based, of the first base of REF.
    references, alternatives, ids : text (allele,)
        Upper case; the ids of the VCF, empty where there is none.
    entries : tuple of tuple of (int, int), (allele,)
        Records that hold it, and its number in each: more than one where records repeat.
    genotypes : signed integer (record, individual, 2)
        As in `Records`.
    """

    positions: NDArray[np.int64]
    references: NDArray[np.object_]
    alternatives: NDArray[np.object_]
    ids: NDArray[np.object_]
    entries: tuple[tuple[tuple[int, int], ...], ...]
    genotypes: NDArray[np.signedinteger]

    def dosage(
        self, rows: NDArray[np.int64], swapped: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int8]:
        """Return the copies that people carry of some alleles, (row, individual); -1 = missing.

        Where `swapped`, those of any alternative allele of the record, so that 2 less them are the
        copies of REF. A call counts as missing if one of its two alleles is.
        """
        swap = np.zeros(len(rows), dtype=bool) if swapped is None else swapped
        found = np.empty((len(rows), self.genotypes.shape[1]), dtype=np.int8)
        for out, (row, any_other) in enumerate(zip(rows.tolist(), swap.tolist(), strict=True)):
            carried = np.zeros(self.genotypes.shape[1:], dtype=bool)
            missing = ~carried
            for record, index in self.entries[row]:
                calls = self.genotypes[record]
                carried = carried | (calls > 0 if any_other else calls == index)
                # What one record leaves open another one of the same alleles may tell.
                missing = missing & (calls < 0)
            unknown = (missing & ~carried).any(axis=1)
            found[out] = np.where(unknown, -1, carried.sum(axis=1))
        return found


@dataclass(frozen=True)
class Matched:
    """Where the variants of a model are among `AlternativeAlleles`.

    Attributes
    ----------
    rows : int64 (variant,)
        -1: not there, or on the other strand only.
    swapped : bool (variant,)
        Whether the effect allele is the reference.
    other_strand : bool (variant,)
        Whether the pair of alleles fits only as its complement.
    """

    rows: NDArray[np.int64]
    swapped: NDArray[np.bool_]
    other_strand: NDArray[np.bool_]


def alternative_alleles(records: Records, ids: NDArray[np.object_]) -> AlternativeAlleles:
    """Return the alternative alleles of records; `ids` (record,) are those of the VCF.

    Raises
    ------
    GenotypeError
        For haploid calls, of which nobody has two copies.
    """
    if records.genotypes.min(initial=0) < -1:
        raise GenotypeError(
            "the genotypes around this gene hold haploid calls, and a dosage counts two copies; "
            "leave this contig out of the recipe of the stores"
        )
    entries: dict[tuple[int, str, str], list[tuple[int, int]]] = {}
    names: dict[tuple[int, str, str], str] = {}
    for record, (position, texts) in enumerate(
        zip(records.positions.tolist(), records.alleles.tolist(), strict=True)
    ):
        ref, *others = (str(text).upper() for text in texts)
        for index, alternative in enumerate(others, start=1):
            whole = _SEQUENCE.fullmatch(ref) and _SEQUENCE.fullmatch(alternative)
            if whole and alternative != ref:
                pair = (position, ref, alternative)
                entries.setdefault(pair, []).append((record, index))
                names[pair] = names.get(pair) or str(ids[record])
    pairs = sorted(entries)
    columns = [np.array([pair[part] for pair in pairs], dtype=object) for part in range(3)]
    return AlternativeAlleles(
        columns[0].astype(np.int64),
        columns[1],
        columns[2],
        np.array([names[pair] for pair in pairs], dtype=object),
        tuple(tuple(entries[pair]) for pair in pairs),
        records.genotypes,
    )


def match_effect_alleles(
    positions: NDArray[np.int64],
    effect: NDArray[np.object_],
    other: NDArray[np.object_],
    alleles: AlternativeAlleles,
) -> Matched:
    """Find the variants of a model by their position and unordered pair of alleles.

    A palindromic pair (A and T, C and G) is its own complement and is taken as written. Insertions
    and deletions must be written as in the VCF.

    Parameters
    ----------
    positions
        0-based, shape (variant,).
    effect, other
        The allele that weights count and the other one, upper case, shape (variant,).
    alleles
        Those of the region, or of a part of it.
    """
    keys = zip(alleles.positions.tolist(), alleles.references, alleles.alternatives, strict=True)
    row_of = {key: row for row, key in enumerate(keys)}
    size = len(positions)
    found = Matched(np.full(size, -1), np.zeros(size, dtype=bool), np.zeros(size, dtype=bool))
    for i, position in enumerate(positions.tolist()):
        as_written = (position, other[i], effect[i])
        turned = (position, effect[i], other[i])
        complements = _COMPLEMENT.get(other[i], ""), _COMPLEMENT.get(effect[i], "")
        if as_written in row_of:
            found.rows[i] = row_of[as_written]
        elif turned in row_of:
            found.rows[i], found.swapped[i] = row_of[turned], True
        else:
            flips = {(position, *complements), (position, *complements[::-1])}
            found.other_strand[i] = not flips.isdisjoint(row_of)
    return found
