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
from zarrbench.haplotypes.sequences import distinct
from zarrbench.haplotypes.substitutions import Substitutions, substitutions

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
    alleles = np.full((n, width), "", dtype=object)
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


def substituted(*records: Record, policies: Policies = ZEROS) -> Substitutions:
    return substitutions(arrays(list(records)), encode(REFERENCE), WINDOW, policies)


def haplotypes(found: Substitutions, reference: str = REFERENCE, window: Window = WINDOW):
    """The sequences of every individual, as letters: [(haplotype 0, haplotype 1), ...]."""
    personal = distinct(found, encode(reference), window)
    return [
        tuple(decode(personal.haplotype(individual, haplotype)) for haplotype in (0, 1))
        for individual in range(personal.rows.shape[0])
    ]


def counted(found: Substitutions) -> dict[str, int]:
    """The cases that occurred."""
    return {case: n for case, n in found.counts.items() if n}


# --- the rows of the table ----------------------------------------------------------------------


def test_a_phased_call_gives_each_haplotype_its_own_allele():
    found = substituted(record(1, "C", "T", "0|1 1|0 0|0 1|1"))
    assert haplotypes(found) == [
        ("ACGTACGT", "ATGTACGT"),
        ("ATGTACGT", "ACGTACGT"),
        ("ACGTACGT", "ACGTACGT"),
        ("ATGTACGT", "ATGTACGT"),
    ]
    assert found.columns.tolist() == [1]
    assert found.bases.tolist() == [[[1, 3], [3, 1], [1, 1], [3, 3]]]
    assert found.dosage.tolist() == [[1, 1, 0, 2]]
    assert (found.columns.dtype, found.bases.dtype, found.dosage.dtype) == (
        np.int64,
        np.uint8,
        np.int8,
    )
    assert found.counts == dict.fromkeys(CASES, 0)


@pytest.mark.parametrize("call", ["0/1", "1/0", "./1", "1/."])
def test_unphased_is_refused_or_keeps_the_order(call):
    records = [record(1, "C", "T", "0|0 0|0"), record(2, "G", "A", f"0/0 {call}")]
    with pytest.raises(UnphasedGenotypeError, match="chr1:101-108 holds 1 heterozygous calls"):
        substituted(*records)
    found = substituted(*records, policies=KEEP)
    expected = tuple("ACATACGT" if allele == "1" else REFERENCE for allele in call.split("/"))
    assert haplotypes(found)[1] == expected
    assert found.counts["unphased_calls"] == 1


@pytest.mark.parametrize("call", ["0/0", "1/1", "./."])
def test_a_homozygous_call_needs_no_phase(call):
    assert substituted(record(1, "C", "T", call)).counts["unphased_calls"] == 0


def test_a_missing_allele_keeps_the_reference():
    found = substituted(record(1, "C", "T", ".|1 0|. .|. 0|0"), policies=Policies())
    assert haplotypes(found) == [
        ("ACGTACGT", "ATGTACGT"),
        ("ACGTACGT", "ACGTACGT"),
        ("ACGTACGT", "ACGTACGT"),
        ("ACGTACGT", "ACGTACGT"),
    ]
    assert found.dosage.tolist() == [[-1, -1, -1, 0]]
    assert counted(found) == {"missing_alleles": 4}


def test_a_missing_allele_becomes_a_zero_vector():
    found = substituted(record(1, "C", "T", ".|1 0|. .|. 0|0"), policies=ZEROS)
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
        substituted(record(1, "C", "T", "0|0 1"), policies=policies)


def test_a_haploid_call_of_an_excluded_record_is_not_seen():
    assert counted(substituted(record(1, "C", "CT", "0|0 1"))) == {"excluded_records": 1}


def test_a_multiallelic_snv_gives_each_haplotype_its_own_allele():
    found = substituted(
        record(1, "C", "T,A,G", "1|2 3|0 0|0"), record(2, "G", "A,T", "1|0 0|1 1|1")
    )
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
    found = substituted(record(1, "C", f"T,{indel}", "1|2 2|2 0|1"))
    assert haplotypes(found) == [
        ("ATGTACGT", "ACGTACGT"),
        ("ACGTACGT", "ACGTACGT"),
        ("ACGTACGT", "ATGTACGT"),
    ]
    assert found.dosage.tolist() == [[1, 0, 1]]
    assert counted(found) == {"mixed_site_alleles": 3}


def test_an_snv_padded_for_a_deletion_is_found():
    found = substituted(record(1, "CG", "C,TG,CA", "1|2 3|0 2|3"))
    assert haplotypes(found) == [
        ("ACGTACGT", "ATGTACGT"),
        ("ACATACGT", "ACGTACGT"),
        ("ATGTACGT", "ACATACGT"),
    ]
    assert found.columns.tolist() == [1, 2]
    assert found.dosage.tolist() == [[1, 0, 1], [0, 1, 1]]
    # The one deletion leaves two sites alone; an SNV at the other site is no deletion.
    assert counted(found) == {"mixed_site_alleles": 2}


def test_an_snv_padded_beyond_the_window_is_dropped():
    found = substituted(record(7, "TA", "TC,GA", "1|2"))
    assert haplotypes(found) == [("ACGTACGT", "ACGTACGG")]
    assert found.columns.tolist() == [7]


@pytest.mark.parametrize(
    "alts", ["CA", "CAT,CATT", "*", "<DEL>", ".", "TT", "N", "C", "*,<INS>", "R", "C]chr2:9]"]
)
def test_what_is_no_snv_is_excluded(alts):
    found = substituted(record(1, "C", alts, "0|1 1|1"))
    assert haplotypes(found) == [(REFERENCE, REFERENCE)] * 2
    assert found.columns.size == 0
    assert found.dosage.shape == (0, 2)
    assert counted(found) == {"excluded_records": 1}


@pytest.mark.parametrize(("ref", "alts"), [("CG", "C"), ("CG", "TA"), ("CGT", "ACT,GGA")])
def test_deletions_and_substitutions_of_several_bases_are_excluded(ref, alts):
    found = substituted(record(1, ref, alts, "0|1"))
    assert haplotypes(found) == [(REFERENCE, REFERENCE)]
    assert counted(found) == {"excluded_records": 1}


def test_an_alternative_in_either_record_of_a_position_wins():
    first = record(1, "C", "T", "0|1 0|0 1|0 1|1")
    second = record(1, "C", "A", "0|0 1|0 0|1 0|0")
    for records in ([first, second], [second, first]):
        found = substituted(*records)
        assert haplotypes(found) == [
            ("ACGTACGT", "ATGTACGT"),
            ("AAGTACGT", "ACGTACGT"),
            ("ATGTACGT", "AAGTACGT"),
            ("ATGTACGT", "ATGTACGT"),
        ]
        assert found.columns.tolist() == [1]
        assert found.dosage.tolist() == [[1, 1, 2, 2]]
        assert counted(found) == {"merged_records": 1, "multiallelic_sites": 1}


def test_the_same_alternative_twice_is_no_conflict():
    found = substituted(*[record(1, "C", "T", "0|1"), record(1, "C", "T", "1|1")] * 2)
    assert haplotypes(found) == [("ATGTACGT", "ATGTACGT")]
    assert found.dosage.tolist() == [[2]]
    assert counted(found) == {"merged_records": 3}


def test_two_alternatives_on_one_haplotype_are_a_conflict():
    with pytest.raises(GenotypeError, match="two records at chr1:102 give one haplotype two"):
        substituted(record(1, "C", "T", "0|0 0|1"), record(1, "C", "A", "0|0 1|1"))


def test_a_padded_snv_conflicts_too():
    with pytest.raises(GenotypeError, match="two records at chr1:103"):
        substituted(record(1, "CG", "CT,C", "1|0"), record(2, "G", "A", "1|0"))


@pytest.mark.parametrize(("policies", "base"), [(ZEROS, "N"), (Policies(), "C")])
def test_an_alternative_wins_over_a_missing_allele_in_another_record(policies, base):
    missing = record(1, "C", "T", ".|. .|0")
    known = record(1, "C", "A", "0|1 1|0")
    for records in ([missing, known], [known, missing]):
        found = substituted(*records, policies=policies)
        assert haplotypes(found) == [(f"A{base}GTACGT", "AAGTACGT"), ("AAGTACGT", "ACGTACGT")]
        assert found.dosage.tolist() == [[-1, 1]]
        assert counted(found) == {"merged_records": 1, "missing_alleles": 3}


def test_a_wrong_ref_is_refused():
    wrong = record(1, "G", "T", "0|1")
    with pytest.raises(
        ReferenceMismatchError, match=r"1 records .* at chr1:102 REF says 'G', the reference 'C'"
    ):
        substituted(record(0, "A", "T", "0|0"), wrong)


def test_wrong_refs_are_skipped_and_counted_where_allowed():
    right = record(3, "T", "A", "1|0")
    wrong = [record(1, "G", "T", "1"), record(2, "GG", "GA,TG", "1|2"), record(2, "T", "G", "0/1")]
    found = substituted(*wrong, right, policies=Policies(max_ref_mismatch=3))
    assert haplotypes(found) == [("ACGAACGT", "ACGTACGT")]
    assert counted(found) == {"ref_mismatches": 3}
    with pytest.raises(ReferenceMismatchError, match="3 records"):
        substituted(*wrong, right, policies=Policies(max_ref_mismatch=2))


def test_excluded_records_are_not_compared_with_the_reference():
    assert counted(substituted(record(1, "GT", "G", "0|1"))) == {"excluded_records": 1}


def test_lower_case_and_unknown_bases_of_ref():
    window = Window("chr1", 0, 3)
    records = [record(0, "n", "a", "0|1"), record(1, "c", "t", "0|1"), record(2, "R", "A", "1|0")]
    found = substitutions(arrays(records, window), encode("NCR"), window, Policies())
    assert haplotypes(found, "NCR", window) == [("NCA", "ATN")]
    assert found.dosage.tolist() == [[1], [1], [1]]
    with pytest.raises(ReferenceMismatchError):
        substituted(record(1, "N", "A", "0|1"))


def test_an_alt_that_is_ref_is_no_indel():
    found = substituted(record(1, "C", "C,T", "1|2"))
    assert haplotypes(found) == [(REFERENCE, "ATGTACGT")]
    assert counted(found) == {}


def test_a_record_outside_the_window_is_dropped():
    records = [record(i, "G", "T", "1|1") for i in (-1, 8, 900)]
    found = substituted(*records)
    assert found.columns.size == 0
    assert haplotypes(found) == [(REFERENCE, REFERENCE)]


def test_no_variant_gives_everybody_the_reference():
    found = substitutions(arrays([], individuals=3), encode(REFERENCE), WINDOW, Policies())
    assert haplotypes(found) == [(REFERENCE, REFERENCE)] * 3
    assert found.dosage.shape == (0, 3)
    assert counted(found) == {}


def test_the_reverse_strand_is_the_reverse_complement():
    found = substituted(record(1, "C", "T", "0|1"))
    reverse = Window("chr1", 100, 108, reverse=True)
    assert found.columns.tolist() == [1]
    assert haplotypes(found, window=reverse) == [("ACGTACGT", "ACGTACAT")]


def test_policies_are_checked():
    with pytest.raises(ValueError, match="must not be negative"):
        Policies(max_ref_mismatch=-1)


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
    used: list[tuple[Record, list[int]]] = []
    mismatches = 0
    for r in records:
        changed = {one_change(r.ref, alt) for alt in r.alts} - {None}
        counts["excluded_records"] += not changed
        places = [p for p in sorted(changed) if 0 <= r.index + p < len(reference)]
        masked = ["ACGT"[i] if (i := "ACGT".find(b.upper())) >= 0 else "N" for b in r.ref]
        if any(masked[p] != reference[r.index + p] for p in places):
            mismatches += 1
        elif places:
            used.append((r, places))
    counts["ref_mismatches"] = mismatches
    if mismatches > policies.max_ref_mismatch:
        raise ReferenceMismatchError
    sites = [(r, p) for r, places in used for p in places]
    if any(-2 in call for r, _ in sites for call in r.indices):
        raise GenotypeError("haploid")
    for r, _ in sites:
        for call, (a, b) in zip(r.calls, r.indices, strict=True):
            counts["unphased_calls"] += a != b and "/" in call
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
                    counts["missing_alleles"] += 1
                    missing.add(column)
                    continue
                allele = r.alleles[index].upper()
                place = one_change(r.ref, allele)
                if place == p:
                    if chosen.setdefault(column, allele[p]) != allele[p]:
                        raise GenotypeError("conflict")
                elif place is None and allele != r.ref.upper():
                    counts["mixed_site_alleles"] += 1
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
    beyond = reference + "ACGT"
    individuals = draw(st.integers(1, 3))
    allele = st.one_of(
        st.text("ACGTacgtN", min_size=1, max_size=3), st.sampled_from(["*", "<DEL>", "."])
    )
    call = st.sampled_from(["0|0", "0|1", "1|0", "1|1"] * 2 + ["2|1", "0|2", ".|1", "2|.", ".|."])
    doubtful = st.sampled_from(["0/0", "0/1", "./1", "./.", "2/0"])
    rare = st.integers(0, 39).map(lambda n: n == 0)
    records = []
    for _ in range(draw(st.integers(0, 6))):
        index = draw(st.integers(0, len(reference) - 1))
        ref = beyond[index : index + draw(st.integers(1, 3))]
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
    found = outcome(substitutions, asked, encode(reference), window, policies)
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
    assert found.columns.tolist() == list(expected.dosage)
    assert found.dosage.tolist() == list(expected.dosage.values())


@settings(max_examples=100, deadline=None)
@given(cases(), st.data())
def test_the_order_of_records_and_people_does_not_matter(case, data):
    reference, individuals, records, policies, reverse = case
    window = Window("chr1", 0, len(reference), reverse)
    codes = encode(reference)
    asked = arrays(records, window, individuals)
    found = outcome(substitutions, asked, codes, window, policies)
    people = data.draw(st.permutations(range(individuals)))
    shuffled = [
        Record(r.index, r.ref, r.alts, tuple(r.calls[i] for i in people))
        for r in data.draw(st.permutations(records))
    ]
    asked = arrays(shuffled, window, individuals)
    again = outcome(substitutions, asked, codes, window, policies)
    if isinstance(found, type):
        assert again is found
        return
    assert again.counts == found.counts
    np.testing.assert_array_equal(again.columns, found.columns)
    np.testing.assert_array_equal(again.bases, found.bases[:, people])
    np.testing.assert_array_equal(again.dosage, found.dosage[:, people])
    whole, turned = (distinct(s, codes, window) for s in (found, again))
    np.testing.assert_array_equal(turned.alleles, whole.alleles)
    np.testing.assert_array_equal(turned.rows, whole.rows[people])
    assert turned.reference_row == whole.reference_row
