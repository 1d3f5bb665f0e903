"""The policy table of METHODS section 4, row by row, and a plain implementation to compare with."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from zarrbench.errors import GenotypeError, ReferenceMismatchError, UnphasedGenotypeError
from zarrbench.genome.bases import decode, encode, reverse_complement
from zarrbench.genome.coordinates import Window
from zarrbench.genotypes.policies import CASES, Policies
from zarrbench.genotypes.store import Records
from zarrbench.haplotypes.edits import Edits, edits
from zarrbench.haplotypes.sequences import distinct

REFERENCE = "ACGTACGT"
WINDOW = Window("chr1", 100, 108)
ZEROS = Policies(missing="zeros")
KEEP = Policies(unphased="keep_order")


@dataclass(frozen=True)
class Record:
    """A record as a VCF writes it, but for a 0-based index in the window in place of POS."""

    index: int
    ref: str
    alts: tuple[str, ...]
    calls: tuple[str, ...]

    @property
    def alleles(self) -> tuple[str, ...]:
        return (self.ref, *self.alts)

    @property
    def indices(self) -> list[list[int]]:
        """Allele indices; -1 is missing, -2 follows a haploid call."""
        calls = [call.replace("|", "/").split("/") for call in self.calls]
        return [([-1 if a == "." else int(a) for a in call] + [-2])[:2] for call in calls]


def record(index: int, ref: str, alts: str, calls: str) -> Record:
    return Record(index, ref, tuple(alts.split(",")), tuple(calls.split()))


def arrays(records: list[Record], window: Window = WINDOW, individuals: int = 1) -> Records:
    """The records as a genotype store gives them."""
    n, width = len(records), max((len(r.alleles) for r in records), default=2)
    alleles = np.full((n, width), "", dtype=np.dtypes.StringDType())
    for row, r in zip(alleles, records, strict=True):
        row[: len(r.alleles)] = r.alleles
    genotypes = np.array([r.indices for r in records], dtype=np.int8)
    phased = np.array([["/" not in call for call in r.calls] for r in records], dtype=bool)
    return Records(
        np.array([window.start + r.index for r in records], dtype=np.int64),
        alleles,
        genotypes.reshape(n, -1 if n else individuals, 2),
        phased.reshape(n, -1 if n else individuals),
    )


def edited(*records: Record, policies: Policies = ZEROS) -> Edits:
    return edits(arrays(list(records)), encode(REFERENCE), WINDOW, policies)


def haplotypes(found: Edits, reference: str = REFERENCE, window: Window = WINDOW):
    """The sequences of every individual, as letters: [(haplotype 0, haplotype 1), ...]."""
    personal = distinct(found, encode(reference), window)
    return [
        tuple(decode(personal.haplotype(individual, haplotype)) for haplotype in (0, 1))
        for individual in range(personal.rows.shape[0])
    ]


def counted(found: Edits) -> dict[str, int]:
    """The cases that occurred."""
    return {case: n for case, n in found.counts.items() if n}


# --- the rows of the table ----------------------------------------------------------------------


def test_a_phased_call_gives_each_haplotype_its_own_allele():
    found = edited(record(1, "C", "T", "0|1 1|0 0|0 1|1"))
    assert haplotypes(found) == [
        ("ACGTACGT", "ATGTACGT"),
        ("ATGTACGT", "ACGTACGT"),
        ("ACGTACGT", "ACGTACGT"),
        ("ATGTACGT", "ATGTACGT"),
    ]
    assert (found.starts.tolist(), found.ends.tolist()) == ([1], [2])
    assert (found.offsets.tolist(), found.bases.tolist()) == ([0, 1], [3])
    assert found.carried.astype(int).tolist() == [[0, 1, 1, 0, 0, 0, 1, 1]]
    assert found.positions.tolist() == [1]
    assert found.dosage.tolist() == [[1, 1, 0, 2]]
    types = (found.positions.dtype, found.bases.dtype, found.dosage.dtype, found.carried.dtype)
    assert types == (np.int64, np.uint8, np.int8, bool)
    assert found.counts == dict.fromkeys(CASES, 0)


@pytest.mark.parametrize("call", ["0/1", "1/0", "./1", "1/."])
def test_unphased_is_refused_or_keeps_the_order(call):
    records = [record(1, "C", "T", "0|0 0|0"), record(2, "G", "A", f"0/0 {call}")]
    with pytest.raises(UnphasedGenotypeError, match="chr1:101-108 holds 1 heterozygous calls"):
        edited(*records)
    found = edited(*records, policies=KEEP)
    expected = tuple("ACATACGT" if allele == "1" else REFERENCE for allele in call.split("/"))
    assert haplotypes(found)[1] == expected
    assert found.counts["unphased_calls"] == 1


@pytest.mark.parametrize("call", ["0/0", "1/1", "./."])
def test_a_homozygous_call_needs_no_phase(call):
    assert edited(record(1, "C", "T", call)).counts["unphased_calls"] == 0


def test_a_missing_allele_keeps_the_reference():
    found = edited(record(1, "C", "T", ".|1 0|. .|. 0|0"), policies=Policies())
    assert haplotypes(found) == [
        ("ACGTACGT", "ATGTACGT"),
        ("ACGTACGT", "ACGTACGT"),
        ("ACGTACGT", "ACGTACGT"),
        ("ACGTACGT", "ACGTACGT"),
    ]
    assert found.dosage.tolist() == [[-1, -1, -1, 0]]
    assert counted(found) == {"missing_alleles": 4}


def test_a_missing_allele_becomes_a_zero_vector():
    found = edited(record(1, "C", "T", ".|1 0|. .|. 0|0"), policies=ZEROS)
    assert haplotypes(found) == [
        ("ANGTACGT", "ATGTACGT"),
        ("ACGTACGT", "ANGTACGT"),
        ("ANGTACGT", "ANGTACGT"),
        ("ACGTACGT", "ACGTACGT"),
    ]
    assert found.dosage.tolist() == [[-1, -1, -1, 0]]
    assert counted(found) == {"missing_alleles": 4}


@pytest.mark.parametrize("policies", [Policies(), KEEP])
def test_a_haploid_call_is_refused(policies):
    with pytest.raises(GenotypeError, match="chr1:101-108 holds haploid calls"):
        edited(record(1, "C", "T", "0|0 1"), policies=policies)


def test_a_haploid_call_of_an_excluded_record_is_not_seen():
    assert counted(edited(record(1, "C", "CT", "0|0 1"))) == {"excluded_records": 1}


def test_a_multiallelic_snv_gives_each_haplotype_its_own_allele():
    found = edited(record(1, "C", "T,A,G", "1|2 3|0 0|0"), record(2, "G", "A,T", "1|0 0|1 1|1"))
    assert haplotypes(found) == [
        ("ATATACGT", "AAGTACGT"),
        ("AGGTACGT", "ACATACGT"),
        ("ACATACGT", "ACATACGT"),
    ]
    assert found.dosage.tolist() == [[2, 1, 0], [1, 1, 2]]
    # Nobody carries the T at the second site.
    assert counted(found) == {"multiallelic_sites": 1}


@pytest.mark.parametrize("indel", ["CAA", "*", "<DEL>", "<NON_REF>", "GT", "N", ""])
def test_an_indel_at_the_site_of_an_snv_keeps_the_reference(indel):
    found = edited(record(1, "C", f"T,{indel}", "1|2 2|2 0|1"))
    assert haplotypes(found) == [
        ("ATGTACGT", "ACGTACGT"),
        ("ACGTACGT", "ACGTACGT"),
        ("ACGTACGT", "ATGTACGT"),
    ]
    assert found.dosage.tolist() == [[1, 0, 1]]
    no_sequence = len(indel) == 1 or indel.startswith("<")
    assert counted(found) == {"mixed_site_alleles": 3} | (
        {"symbolic_alleles": 1} if no_sequence else {}
    )


def test_an_snv_padded_for_a_deletion_is_found():
    found = edited(record(1, "CG", "C,TG,CA", "1|2 3|0 2|3"))
    assert haplotypes(found) == [
        ("ACGTACGT", "ATGTACGT"),
        ("ACATACGT", "ACGTACGT"),
        ("ATGTACGT", "ACATACGT"),
    ]
    assert found.positions.tolist() == [1, 2]
    assert found.dosage.tolist() == [[1, 0, 1], [0, 1, 1]]
    assert counted(found) == {"mixed_site_alleles": 1}


def test_an_snv_padded_beyond_the_window_is_dropped():
    found = edited(record(7, "TA", "TC,GA", "1|2"))
    assert haplotypes(found) == [("ACGTACGT", "ACGTACGG")]
    assert found.positions.tolist() == [7]


@pytest.mark.parametrize(
    ("alts", "symbolic"),
    [
        *[("CA", 0), ("CAT,CATT", 0), ("TT", 0), ("C", 0), ("*", 1), ("<DEL>", 1), (".", 1)],
        *[("N", 1), ("*,<INS>", 2), ("R", 1), ("C]chr2:9]", 1), ("CA,<CN0>", 1)],
    ],
)
def test_what_is_no_snv_is_excluded(alts, symbolic):
    found = edited(record(1, "C", alts, "0|1 1|1"))
    assert haplotypes(found) == [(REFERENCE, REFERENCE)] * 2
    assert found.positions.size == 0
    assert found.dosage.shape == (0, 2)
    assert counted(found) == {"excluded_records": 1} | (
        {"symbolic_alleles": symbolic} if symbolic else {}
    )


@pytest.mark.parametrize(("ref", "alts"), [("CG", "C"), ("CG", "TA"), ("CGT", "ACT,GGA")])
def test_deletions_and_substitutions_of_several_bases_are_excluded(ref, alts):
    found = edited(record(1, ref, alts, "0|1"))
    assert haplotypes(found) == [(REFERENCE, REFERENCE)]
    assert counted(found) == {"excluded_records": 1}


def test_an_alternative_in_either_record_of_a_position_wins():
    first = record(1, "C", "T", "0|1 0|0 1|0 1|1")
    second = record(1, "C", "A", "0|0 1|0 0|1 0|0")
    for records in ([first, second], [second, first]):
        found = edited(*records)
        assert haplotypes(found) == [
            ("ACGTACGT", "ATGTACGT"),
            ("AAGTACGT", "ACGTACGT"),
            ("ATGTACGT", "AAGTACGT"),
            ("ATGTACGT", "ATGTACGT"),
        ]
        assert found.positions.tolist() == [1]
        assert found.dosage.tolist() == [[1, 1, 2, 2]]
        assert counted(found) == {"merged_records": 1, "multiallelic_sites": 1}


def test_the_same_alternative_twice_is_no_conflict():
    found = edited(*[record(1, "C", "T", "0|1"), record(1, "C", "T", "1|1")] * 2)
    assert haplotypes(found) == [("ATGTACGT", "ATGTACGT")]
    assert found.dosage.tolist() == [[2]]
    assert counted(found) == {"merged_records": 3}


def test_two_alternatives_on_one_haplotype_are_a_conflict():
    with pytest.raises(GenotypeError, match="two records at chr1:102 give one haplotype two"):
        edited(record(1, "C", "T", "0|0 0|1"), record(1, "C", "A", "0|0 1|1"))


def test_a_padded_snv_conflicts_too():
    with pytest.raises(GenotypeError, match="two records at chr1:103"):
        edited(record(1, "CG", "CT,C", "1|0"), record(2, "G", "A", "1|0"))


@pytest.mark.parametrize(("policies", "base"), [(ZEROS, "N"), (Policies(), "C")])
def test_an_alternative_wins_over_a_missing_allele_in_another_record(policies, base):
    missing = record(1, "C", "T", ".|. .|0")
    known = record(1, "C", "A", "0|1 1|0")
    for records in ([missing, known], [known, missing]):
        found = edited(*records, policies=policies)
        assert haplotypes(found) == [(f"A{base}GTACGT", "AAGTACGT"), ("AAGTACGT", "ACGTACGT")]
        assert found.dosage.tolist() == [[-1, 1]]
        assert counted(found) == {"merged_records": 1, "missing_alleles": 3}


def test_a_wrong_ref_is_refused():
    wrong = record(1, "G", "T", "0|1")
    with pytest.raises(
        ReferenceMismatchError, match=r"1 records .* at chr1:102 REF says 'G', the reference 'C'"
    ):
        edited(record(0, "A", "T", "0|0"), wrong)


def test_wrong_refs_are_skipped_and_counted_where_allowed():
    right = record(3, "T", "A", "1|0")
    wrong = [record(1, "G", "T", "1"), record(2, "GG", "GA,TG", "1|2"), record(2, "T", "G", "0/1")]
    found = edited(*wrong, right, policies=Policies(max_ref_mismatch=3))
    assert haplotypes(found) == [("ACGAACGT", "ACGTACGT")]
    assert counted(found) == {"ref_mismatches": 3}
    with pytest.raises(ReferenceMismatchError, match="3 records"):
        edited(*wrong, right, policies=Policies(max_ref_mismatch=2))


def test_excluded_records_are_not_compared_with_the_reference():
    assert counted(edited(record(1, "GT", "G", "0|1"))) == {"excluded_records": 1}


def test_lower_case_and_unknown_bases_of_ref():
    window = Window("chr1", 0, 3)
    records = [record(0, "n", "a", "0|1"), record(1, "c", "t", "0|1"), record(2, "R", "A", "1|0")]
    found = edits(arrays(records, window), encode("NCR"), window, Policies())
    assert haplotypes(found, "NCR", window) == [("NCA", "ATN")]
    assert found.dosage.tolist() == [[1], [1], [1]]
    with pytest.raises(ReferenceMismatchError):
        edited(record(1, "N", "A", "0|1"))


@pytest.mark.parametrize(("ref", "alts"), [("C", "C,T"), ("CG", "CG,TG")])
def test_an_alt_that_is_ref_is_not_applied(ref, alts):
    found = edited(record(1, ref, alts, "1|2 1|1"))
    assert haplotypes(found) == [(REFERENCE, "ATGTACGT"), (REFERENCE, REFERENCE)]
    assert found.dosage.tolist() == [[1, 0]]
    assert counted(found) == {"mixed_site_alleles": 3}


def test_a_record_outside_the_window_is_dropped():
    records = [record(i, "G", "T", "1|1") for i in (-1, 8, 900)]
    found = edited(*records)
    assert found.positions.size == 0
    assert haplotypes(found) == [(REFERENCE, REFERENCE)]


def test_no_variant_gives_everybody_the_reference():
    found = edits(arrays([], individuals=3), encode(REFERENCE), WINDOW, Policies())
    assert haplotypes(found) == [(REFERENCE, REFERENCE)] * 3
    assert found.dosage.shape == (0, 3)
    assert counted(found) == {}


def test_the_reverse_strand_is_the_reverse_complement():
    found = edited(record(1, "C", "T", "0|1"))
    reverse = Window("chr1", 100, 108, reverse=True)
    assert found.positions.tolist() == [1]
    assert haplotypes(found, window=reverse) == [("ACGTACGT", "ACGTACAT")]


def test_policies_are_checked():
    with pytest.raises(ValueError, match="must not be negative"):
        Policies(max_ref_mismatch=-1)


# --- insertions and deletions -------------------------------------------------------------------

ANCHORED = Policies(indels="anchor_tss")
SIDE_AND_WINDOW = "GATT" + REFERENCE + "CATG"


def anchored(*records: Record, policies: Policies = ANCHORED) -> Edits:
    """The edits of the same window, with four bases of the reference at either side."""
    return edits(arrays(list(records)), encode(SIDE_AND_WINDOW), WINDOW, policies, 4)


def replaced(found: Edits, column: int) -> list[tuple[int, int, str]]:
    """Start, end and bases of the edits that one haplotype carries."""
    return [
        (
            int(found.starts[i]),
            int(found.ends[i]),
            decode(found.bases[found.offsets[i] : found.offsets[i + 1]]),
        )
        for i in np.flatnonzero(found.carried[:, column])
    ]


def test_alleles_of_any_length_are_applied():
    found = anchored(
        record(0, "A", "AGG", "1|0 0|0"),
        record(2, "GTA", "G", "1|0 0|0"),
        record(5, "CG", "TA,TACC,CG,<DEL>", "1|2 3|4"),
    )
    assert replaced(found, 0) == [(1, 1, "GG"), (3, 5, ""), (5, 7, "TA")]
    assert replaced(found, 1) == [(5, 7, "TACC")]
    assert replaced(found, 2) == replaced(found, 3) == []
    assert found.shifts.tolist() == [2, -2, 0, 2]
    assert found.positions.tolist() == [1, 3, 5]
    assert found.dosage.tolist() == [[1, 0], [1, 0], [2, 0]]
    assert counted(found) == {
        "indel_alleles": 3,
        "symbolic_alleles": 1,
        "mixed_site_alleles": 2,
        "multiallelic_sites": 1,
    }


def test_edits_beside_the_window_are_applied_and_not_counted():
    beside = [
        record(-3, "A", "AG", "1|1"),
        record(-2, "TT", "T", "0|1"),
        record(8, "CA", "C", "1|0"),
    ]
    found = anchored(*beside)
    assert replaced(found, 1) == [(-2, -2, "G"), (-1, 0, "")]
    assert replaced(found, 0) == [(-2, -2, "G"), (9, 10, "")]
    assert found.inside.tolist() == [False] * 3
    assert found.dosage.shape == (0, 1)
    assert counted(found) == {}
    # REF reaches into the window: the record is of it.
    reaching = anchored(record(-2, "TTA", "T", "0|1"))
    assert reaching.inside.tolist() == [True]
    assert (reaching.positions.tolist(), counted(reaching)) == ([-1], {"indel_alleles": 1})


OVERLAPS = [
    # REF covers 1-3, the next begins at 3, at 4
    ([(1, "CGT", "C"), (3, "T", "A")], [(2, 4, "")], 1),
    ([(1, "CGT", "C"), (4, "A", "C")], [(2, 4, ""), (4, 5, "C")], 0),
    # the first counts, whether it is longer or shorter
    ([(1, "C", "A"), (1, "CGT", "C")], [(1, 2, "A"), (2, 4, "")], 0),
    ([(1, "CGT", "C"), (1, "C", "A")], [(2, 4, "")], 1),
    ([(2, "G", "A"), (2, "G", "C")], [(2, 3, "A")], 1),
    ([(2, "G", "A"), (2, "G", "A")], [(2, 3, "A")], 1),
    # behind a substitution one may insert and delete, behind an insertion not
    ([(2, "G", "A"), (2, "G", "GTT")], [(2, 3, "A"), (3, 3, "TT")], 0),
    ([(2, "G", "GTT"), (2, "G", "GA")], [(3, 3, "TT")], 1),
    ([(2, "G", "GTT"), (2, "G", "A")], [(3, 3, "TT")], 1),
    # what is skipped does not stand in the way of others
    ([(1, "CGT", "C"), (2, "GTACG", "G"), (5, "C", "A")], [(2, 4, ""), (5, 6, "A")], 1),
    # common bases of REF count
    ([(1, "CGTA", "AGTA"), (3, "T", "A")], [(1, 2, "A")], 1),
]


@pytest.mark.parametrize(("written", "expected", "skipped"), OVERLAPS)
def test_of_overlapping_alleles_the_first_counts(written, expected, skipped):
    # The second individual has only the last one, and the third only the first.
    calls = ["1|0 0|0 1|0", *["1|0 0|0 0|0"] * (len(written) - 2), "1|0 1|0 0|0"]
    records = [record(*three, call) for three, call in zip(written, calls, strict=True)]
    found = anchored(*records)
    assert replaced(found, 0) == expected
    assert replaced(found, 1) == []
    assert len(replaced(found, 2)) == len(replaced(found, 4)) == 1
    assert found.counts["overlapping_alleles"] == skipped


def test_overlaps_outside_the_window_are_not_counted():
    both = [record(-4, "GAT", "G", "1|0"), record(-2, "T", "A", "1|0")]
    found = anchored(*both)
    assert replaced(found, 0) == [(-3, -1, "")]
    assert counted(found) == {}
    # The first one lies outside, the second one inside.
    found = anchored(record(-4, "GATTA", "G", "1|0"), record(0, "A", "C", "1|0"))
    assert replaced(found, 0) == [(-3, 1, "")]
    assert counted(found) == {"indel_alleles": 1, "overlapping_alleles": 1}


def test_alleles_of_a_record_do_not_overlap_each_other():
    found = anchored(record(1, "CGT", "C,CAT,CGTT", "1|2 3|1"))
    assert [replaced(found, i) for i in range(4)] == [
        [(2, 4, "")],
        [(2, 3, "A")],
        [(3, 3, "T")],
        [(2, 4, "")],
    ]
    assert counted(found) == {"indel_alleles": 3, "multiallelic_sites": 1}


@pytest.mark.parametrize(
    ("anchor", "ref", "alts", "removed"),
    [
        (3, "CGTA", "C", 3),  # it deletes 2-4
        (1, "CGTA", "C", 0),
        (2, "CGTA", "C", 3),
        (4, "CGTA", "C", 3),
        (5, "CGTA", "C", 0),
        (3, "CGT", "CGTAAA", 0),
        (1, "CGTA", "TTT", 0),  # bases are replaced one by one from the left
        (3, "CGTA", "TTT", 0),
        (4, "CGTA", "TTT", 3),
    ],
)
def test_haplotypes_without_the_tss_base_are_counted(anchor, ref, alts, removed):
    found = anchored(record(1, ref, alts, "1|0 1|1"))
    assert found.removing(anchor) == removed
    window = Window("chr1", 100, 108, anchor=100 + anchor)
    personal = distinct(found, encode(SIDE_AND_WINDOW), window, 4)
    assert personal.edits.counts["removed_tss"] == removed


def test_missing_bases_are_open_and_missing_insertions_are_not():
    records = [
        record(1, "CG", "TG,C", ".|1 1|2"),  # one base for another, and a deletion
        record(4, "A", "ATT", ".|. 1|0"),
        record(6, "GT", "AC", "1|. 0|0"),  # two bases for two
    ]
    zeros = anchored(*records, policies=Policies(indels="anchor_tss", missing="zeros"))
    kept = anchored(*records)
    assert replaced(zeros, 0) == [(1, 2, "N"), (6, 8, "AC")]
    assert replaced(zeros, 1) == [(1, 2, "T"), (6, 7, "N"), (7, 8, "N")]
    assert (replaced(kept, 0), replaced(kept, 1)) == ([(6, 8, "AC")], [(1, 2, "T")])
    for found in (zeros, kept):
        assert found.positions.tolist() == [1, 2, 5, 6]
        assert found.dosage.tolist() == [[-1, 1], [-1, 1], [-1, 1], [-1, 0]]
        assert counted(found) == {"missing_alleles": 4, "indel_alleles": 2}


@pytest.mark.parametrize("place", range(-1, 10))
def test_a_split_replaces_the_same(place):
    found = anchored(record(0, "ACGT", "GG", "1|0"), record(4, "ACGTC", "TACCATG", "1|1"))
    halves = found.split(place)
    assert (np.diff(halves.starts) >= 0).all()
    assert not ((halves.starts < place) & (halves.ends > place)).any()
    for column, expected in ((0, "GATTGGTACCATGATG"), (1, "GATTACGTTACCATGATG")):
        sequence, at = "", -4
        for start, end, bases in replaced(halves, column):
            sequence += SIDE_AND_WINDOW[4 + at : 4 + start] + bases
            at = end
        assert sequence + SIDE_AND_WINDOW[4 + at :] == expected


def test_where_a_split_parts_the_bases():
    found = anchored(record(0, "ACGT", "GG", "1|0"), record(4, "ACGT", "TACC", "1|0"))
    assert replaced(found.split(6), 0) == [(0, 4, "GG"), (4, 6, "TA"), (6, 8, "CC")]
    assert replaced(found.split(1), 0) == [(0, 1, "G"), (1, 4, "G"), (4, 8, "TACC")]
    assert replaced(found.split(3), 0) == [(0, 3, "GG"), (3, 4, ""), (4, 8, "TACC")]
    longer = anchored(record(2, "G", "TCC", "1|0"))
    assert replaced(longer.split(3), 0) == [(2, 3, "T"), (3, 3, "CC")]
    assert longer.split(2) is longer


# --- against a plain implementation -------------------------------------------------------------


@dataclass
class Plain:
    """What one loop over haplotypes and records finds."""

    sequences: list[tuple[str, str]]
    dosage: dict[int, list[int]]
    counts: dict[str, int]


def one_change(ref: str, allele: str) -> int | None:
    """Where an allele differs from REF in one A, C, G or T, None if it is not such an allele."""
    if len(ref) != len(allele):
        return None
    places = [i for i in range(len(ref)) if ref[i].upper() != allele[i].upper()]
    return places[0] if len(places) == 1 and allele[places[0]].upper() in "ACGT" else None


def plain(records: list[Record], individuals: int, reference: str, policies: Policies) -> Plain:
    """Apply the policy table, one haplotype and one record at a time."""
    counts = dict.fromkeys(CASES, 0)
    sites: list[tuple[Record, int]] = []
    n = len(reference)
    for r in records:
        changed = {one_change(r.ref, alt) for alt in r.alts} - {None}
        if r.index < n and r.index + len(r.ref) > 0:
            counts["excluded_records"] += not changed
            counts["symbolic_alleles"] += sum(
                not set(alt.upper()) <= set("ACGTN") for alt in r.alts
            )
        places = [p for p in sorted(changed) if 0 <= r.index + p < n]
        own = {r.index + p: base for p, base in enumerate(r.ref.upper())}
        if any(reference[i] != base for i, base in own.items() if places and 0 <= i < n):
            counts["ref_mismatches"] += 1
        else:
            sites += [(r, p) for p in places]
    if counts["ref_mismatches"] > policies.max_ref_mismatch:
        raise ReferenceMismatchError
    used = [r for r in records if any(r is other for other, _ in sites)]
    if any(-2 in call for r in used for call in r.indices):
        raise GenotypeError("haploid")
    for r in used:
        for call, (a, b) in zip(r.calls, r.indices, strict=True):
            counts["unphased_calls"] += a != b and "/" in call
            counts["missing_alleles"] += (a, b).count(-1)
            for index in (a, b):
                applied = index > 0 and (r, one_change(r.ref, r.alleles[index])) in sites
                counts["mixed_site_alleles"] += index > 0 and not applied
    if counts["unphased_calls"] and policies.unphased == "refuse":
        raise UnphasedGenotypeError

    columns = sorted({r.index + p for r, p in sites})
    counts["merged_records"] = len(sites) - len(columns)
    carried: dict[int, set[str]] = {column: set() for column in columns}
    dosage = {column: [0] * individuals for column in columns}
    unknown: set[tuple[int, int]] = set()
    sequences = []
    for individual in range(individuals):
        pair = []
        for haplotype in (0, 1):
            missing, chosen = set(), {}
            for r, p in sites:
                index = r.indices[individual][haplotype]
                column = r.index + p
                if index == -1:
                    missing.add(column)
                    continue
                allele = r.alleles[index].upper()
                alternative = one_change(r.ref, allele) == p
                if alternative and chosen.setdefault(column, allele[p]) != allele[p]:
                    raise GenotypeError("conflict")
            sequence = list(reference)
            for column in missing - chosen.keys():
                unknown.add((column, individual))
                if policies.missing == "zeros":
                    sequence[column] = "N"
            for column, base in chosen.items():
                sequence[column] = base
                carried[column].add(base)
                dosage[column][individual] += 1
            pair.append("".join(sequence))
        sequences.append(tuple(pair))
    for column, individual in unknown:
        dosage[column][individual] = -1
    counts["multiallelic_sites"] = sum(len(bases) > 1 for bases in carried.values())
    return Plain(sequences, dosage, counts)


@st.composite
def cases(draw):
    """Records around a window of 6-12 bases, mostly with the right REF."""
    reference = draw(st.text("ACGTN", min_size=6, max_size=12).filter(lambda s: "A" in s))
    beyond = "CAT" + reference + "ACGT"
    individuals = draw(st.integers(1, 3))
    allele = st.one_of(
        st.text("ACGTacgtN", min_size=1, max_size=3).filter(lambda s: s != "N"),
        st.sampled_from(["*", "<DEL>", "."]),
    )
    call = st.sampled_from(["0|0", "0|1", "1|0", "1|1"] * 2 + ["2|1", "0|2", ".|1", "2|.", ".|."])
    doubtful = st.sampled_from(["0/0", "0/1", "./1", "./.", "2/0"])
    rare = st.integers(0, 39).map(lambda n: n == 0)
    records = []
    for _ in range(draw(st.integers(0, 6))):
        index = draw(st.integers(-3, len(reference)))
        ref = beyond[3 + index : 3 + index + draw(st.integers(1, 4))]
        if draw(rare):
            ref = draw(st.sampled_from("ACGT")) + ref[1:]
        alts = []
        for _ in range(2):
            if draw(st.booleans()):
                place = draw(st.integers(0, len(ref) - 1))
                alts.append(ref[:place] + draw(st.sampled_from("ACGTag")) + ref[place + 1 :])
            else:
                alts.append(draw(allele))
        calls = [draw(doubtful if draw(rare) else call) for _ in range(individuals)]
        if draw(st.integers(0, 150)) == 0:
            calls[0] = "1"
        records.append(Record(index, ref, tuple(alts), tuple(calls)))
    policies = Policies(
        missing=draw(st.sampled_from(["reference", "zeros"])),
        unphased=draw(st.sampled_from(["keep_order", "keep_order", "refuse"])),
        max_ref_mismatch=draw(st.sampled_from([0, 1, 9, 9])),
    )
    return reference, individuals, records, policies, draw(st.booleans())


def outcome(function, *arguments):
    """What a function returns, or the type of the error that it raises."""
    try:
        return function(*arguments)
    except (GenotypeError, ReferenceMismatchError) as error:
        return type(error)


@settings(max_examples=200, deadline=None)
@given(cases())
def test_haplotypes_are_those_of_the_plain_implementation(case):
    reference, individuals, records, policies, reverse = case
    window = Window("chr1", 1_000, 1_000 + len(reference), reverse)
    asked = arrays(records, window, individuals)
    found = outcome(edits, asked, encode(reference), window, policies)
    expected = outcome(plain, records, individuals, reference, policies)
    if isinstance(expected, type):
        event(expected.__name__)
        assert found is expected
        return
    event(f"{len(expected.dosage)} sites")
    sequences = haplotypes(found, reference, window)
    if reverse:
        sequences = [
            tuple(decode(reverse_complement(encode(s))) for s in pair) for pair in sequences
        ]
    assert sequences == expected.sequences
    assert found.counts == expected.counts
    assert found.positions.tolist() == list(expected.dosage)
    assert found.dosage.tolist() == list(expected.dosage.values())


@settings(max_examples=100, deadline=None)
@given(cases(), st.data())
def test_the_order_of_people_does_not_matter(case, data):
    reference, individuals, records, policies, reverse = case
    window = Window("chr1", 0, len(reference), reverse)
    codes = encode(reference)
    people = data.draw(st.permutations(range(individuals)))
    columns = [2 * individual + haplotype for individual in people for haplotype in (0, 1)]
    turned = [Record(r.index, r.ref, r.alts, tuple(r.calls[i] for i in people)) for r in records]
    found, again = (
        outcome(edits, arrays(those, window, individuals), codes, window, policies)
        for those in (records, turned)
    )
    if isinstance(found, type):
        assert again is found
        return
    assert again.counts == found.counts
    np.testing.assert_array_equal(again.starts, found.starts)
    np.testing.assert_array_equal(again.bases, found.bases)
    np.testing.assert_array_equal(again.carried, found.carried[:, columns])
    np.testing.assert_array_equal(again.dosage, found.dosage[:, people])
    whole, turned = (distinct(s, codes, window) for s in (found, again))
    np.testing.assert_array_equal(turned.codes(), whole.codes())
    np.testing.assert_array_equal(turned.rows, whole.rows[people])
    assert turned.reference_row == whole.reference_row


@settings(max_examples=100, deadline=None)
@given(cases(), st.data())
def test_the_order_of_records_does_not_matter(case, data):
    reference, individuals, records, policies, reverse = case
    window = Window("chr1", 0, len(reference), reverse)
    shuffled = data.draw(st.permutations(records))
    found, again = (
        outcome(edits, arrays(those, window, individuals), encode(reference), window, policies)
        for those in (records, shuffled)
    )
    if isinstance(found, type):
        assert again is found
        return
    assert again.counts == found.counts
    np.testing.assert_array_equal(again.positions, found.positions)
    np.testing.assert_array_equal(again.dosage, found.dosage)
    assert haplotypes(again, reference, window) == haplotypes(found, reference, window)
