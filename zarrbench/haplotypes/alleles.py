"""The alternative alleles of records that a store's policies apply, as what they replace.

Of a record that is padded for another allele only the bases that differ count.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zarrbench.errors import ReferenceMismatchError
from zarrbench.genome.bases import OTHER, Codes, decode, encode
from zarrbench.genome.coordinates import Window
from zarrbench.genotypes.policies import Policies
from zarrbench.genotypes.store import Records, reference_lengths
from zarrbench.haplotypes import ragged

_SEQUENCE = re.compile("[ACGTN]+", re.IGNORECASE)


@dataclass(frozen=True)
class Alleles:
    """Alternative alleles that can be applied, in the order of records; one row each.

    Attributes
    ----------
    record, index : int64 (allele,)
        Row of the record, and number of the allele in it.
    starts, ends : int64 (allele,)
        As in `Edits`.
    offsets, bases : int64 (allele + 1,), uint8
        As in `Edits`.
    last : int64 (allele,)
        The last base that REF covers, common bases included.
    follows : bool (allele,)
        Whether it keeps the first base of REF, and only adds or only removes bases after it.
    """

    record: NDArray[np.int64]
    index: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    offsets: NDArray[np.int64]
    bases: Codes
    last: NDArray[np.int64]
    follows: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64]) -> "Alleles":
        offsets, bases = ragged.take(self.offsets, self.bases, rows)
        columns = (self.record, self.index, self.starts, self.ends)
        record, index, starts, ends = (column[rows] for column in columns)
        last, follows = self.last[rows], self.follows[rows]
        return Alleles(record, index, starts, ends, offsets, bases, last, follows)


def applicable(
    records: Records,
    starts: NDArray[np.int64],
    here: NDArray[np.bool_],
    policies: Policies,
    counts: dict[str, int],
) -> Alleles:
    """Find the alternative alleles that the policy applies.

    With ``indels: skip`` those as long as REF that differ from it in one base, as in multi-allelic
    records padded for an indel; else all that are a sequence.
    """
    letters = records.alleles.astype(np.dtypes.StringDType())
    lengths = np.strings.str_len(letters)
    single = (lengths <= 1).all(axis=1)
    codes = _codes_of_letters(letters[single])
    row, column = np.nonzero((codes[:, 1:] != OTHER) & (codes[:, 1:] != codes[:, :1]))
    rows = np.flatnonzero(single)
    record = rows[row]
    plain = Alleles(
        record,
        column + 1,
        starts[record],
        starts[record] + 1,
        np.arange(record.size + 1),
        codes[row, column + 1],
        starts[record],
        np.zeros(record.size, dtype=bool),
    )
    symbolic = (lengths[:, 1:] > 0).sum(axis=1)
    symbolic[rows] -= (codes[:, 1:] != OTHER).sum(axis=1)
    found: list[tuple[int, int, int, int, int, bool]] = []
    texts: list[Codes] = []
    for number in np.flatnonzero(~single).tolist():
        ref, *others = [str(allele).upper() for allele in letters[number]]
        begin = int(starts[number])
        for index, allele in enumerate(others, start=1):
            if _SEQUENCE.fullmatch(allele) is None or _SEQUENCE.fullmatch(ref) is None:
                continue
            symbolic[number] -= 1
            first, size, text = trimmed(ref, allele)
            if size == 0 and not text:
                continue  # REF once more
            if policies.indels == "skip" and not (size == len(text) == 1 and text != "N"):
                continue
            follows = ref[0] == allele[0] and (size == 0 or not text)
            start = begin + first
            found.append((number, index, start, start + size, begin + len(ref) - 1, follows))
            texts.append(encode(text))
    if found:
        plain = _joined(plain, found, texts)
    counts["symbolic_alleles"] = int(symbolic[here].sum())
    excluded = here.copy()
    excluded[plain.record] = False
    counts["excluded_records"] = int(excluded.sum())
    return plain


def _codes_of_letters(letters: NDArray) -> Codes:
    """Return base codes of alleles (record, allele) of one letter or none, which is code 4."""
    bytes_ = np.ascontiguousarray(letters.astype("S1"))
    return encode(bytes_.tobytes()).reshape(letters.shape)


def _joined(
    plain: Alleles, found: list[tuple[int, int, int, int, int, bool]], texts: list[Codes]
) -> Alleles:
    """Return the single-base alleles and the others, in the order of records and alleles."""
    columns = [np.array(column) for column in zip(*found, strict=True)]
    record, index, starts, ends, last, follows = columns
    sizes = np.concatenate([np.diff(plain.offsets), [text.size for text in texts]])
    both = Alleles(
        np.concatenate([plain.record, record]),
        np.concatenate([plain.index, index]),
        np.concatenate([plain.starts, starts]),
        np.concatenate([plain.ends, ends]),
        np.concatenate([[0], np.cumsum(sizes)]),
        np.concatenate([plain.bases, *texts]),
        np.concatenate([plain.last, last]),
        np.concatenate([plain.follows, follows]),
    )
    return both.take(np.lexsort([both.index, both.record]))


def trimmed(ref: str, allele: str) -> tuple[int, int, str]:
    """Return where an allele differs from REF: first base, number of bases, and what replaces them.

    A common first base is set aside, then common bases at the end, then those at the beginning, so
    that insertions and deletions are as far left as their record says.
    """
    shared = int(ref[:1] == allele[:1])
    first, stop, end = shared, len(ref), len(allele)
    while stop > first and end > first and ref[stop - 1] == allele[end - 1]:
        stop, end = stop - 1, end - 1
    while first < stop and first < end and ref[first] == allele[first]:
        first += 1
    return first, stop - first, allele[first:end]


def match_reference(
    alleles: Alleles,
    records: Records,
    reference: Codes,
    window: Window,
    before: int,
    here: NDArray[np.bool_],
    policies: Policies,
    counts: dict[str, int],
) -> Alleles:
    """Drop the alleles of records whose REF contradicts the reference, or refuse them."""
    rows = np.unique(alleles.record)
    starts = records.positions[rows] - window.start + before
    lengths = reference_lengths(records.alleles[rows])
    wrong = np.zeros(rows.size, dtype=bool)
    single = (lengths == 1) & (starts >= 0) & (starts < reference.size)
    letters = records.alleles[rows[single]][:, :1].astype(np.dtypes.StringDType())
    wrong[single] = _codes_of_letters(letters)[:, 0] != reference[starts[single]]
    for i in np.flatnonzero(~single):
        low = max(0, -starts[i])
        high = max(low, min(lengths[i], reference.size - starts[i]))
        ref = encode(str(records.alleles[rows[i], 0]))[low:high]
        wrong[i] = (ref != reference[starts[i] + low : starts[i] + high]).any()
    counts["ref_mismatches"] = int((wrong & here[rows]).sum())
    if int(wrong.sum()) > policies.max_ref_mismatch:
        first = int(np.flatnonzero(wrong)[0])
        said = str(records.alleles[rows[first], 0])
        position = int(records.positions[rows[first]])
        begin = max(0, int(starts[first]))
        found = decode(reference[begin : int(starts[first]) + len(said)])
        raise ReferenceMismatchError(
            f"{int(wrong.sum())} records in {window} contradict the reference (allowed: "
            f"{policies.max_ref_mismatch}); at {window.contig}:{position + 1} REF says "
            f"{_short(said)!r}, the reference {_short(found)!r}: is it the same genome build?"
        )
    if not wrong.any():
        return alleles
    return alleles.take(np.flatnonzero(~np.isin(alleles.record, rows[wrong])))


def _short(bases: str) -> str:
    return bases if len(bases) <= 20 else f"{bases[:17]}..."
