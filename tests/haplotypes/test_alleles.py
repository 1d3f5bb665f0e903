import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zarrbench.errors import ReferenceMismatchError
from zarrbench.genome.bases import decode, encode
from zarrbench.genome.coordinates import Window
from zarrbench.genotypes.policies import CASES, Policies
from zarrbench.genotypes.store import Records
from zarrbench.haplotypes.alleles import Alleles, applicable, match_reference, trimmed

SKIP, ANCHORED = Policies(), Policies(indels="anchor_tss")
WINDOW = Window("chr1", 100, 110)


@pytest.mark.parametrize(
    ("ref", "allele", "expected"),
    [
        ("A", "C", (0, 1, "C")),
        ("A", "A", (1, 0, "")),
        ("CG", "CG", (1, 0, "")),
        # insertions and deletions stay as far left as they are written
        ("A", "AG", (1, 0, "G")),
        ("A", "AAA", (1, 0, "AA")),
        ("AG", "A", (1, 1, "")),
        ("AGG", "AG", (1, 1, "")),
        ("AGTGT", "AGT", (1, 2, "")),
        ("CGT", "CGTT", (2, 0, "T")),
        # before the record
        ("AT", "GAT", (0, 0, "G")),
        ("CAT", "AT", (0, 1, "")),
        # several bases
        ("CG", "TA", (0, 2, "TA")),
        ("CGT", "CAT", (1, 1, "A")),
        ("CGT", "TGT", (0, 1, "T")),
        ("CGTA", "CATG", (1, 3, "ATG")),
        ("CGTA", "CTTTTA", (1, 1, "TTT")),
        ("ACGT", "GG", (0, 4, "GG")),
        ("ACGT", "T", (0, 3, "")),
    ],
)
def test_only_the_bases_that_differ_count(ref, allele, expected):
    assert trimmed(ref, allele) == expected


@given(st.text("AC", min_size=1, max_size=6), st.text("AC", min_size=1, max_size=6))
def test_what_differs_makes_the_allele(ref, allele):
    first, size, text = trimmed(ref, allele)
    assert ref[:first] + text + ref[first + size :] == allele
    removed = ref[first : first + size]
    if removed and text:
        assert removed[-1] != text[-1]
        assert removed[0] != text[0]


def records_of(*written: tuple[int, str]) -> Records:
    """Records of nobody: the index of POS in the window, and alleles split by commas."""
    lists = [alleles.split(",") for _, alleles in written]
    width = max(len(alleles) for alleles in lists)
    padded = [[*alleles, *[""] * (width - len(alleles))] for alleles in lists]
    return Records(
        np.array([WINDOW.start + index for index, _ in written]),
        np.array(padded, dtype=np.dtypes.StringDType()),
        np.zeros((len(written), 0, 2), dtype=np.int8),
        np.zeros((len(written), 0), dtype=bool),
    )


def found_in(records: Records, policies: Policies, here=None) -> tuple[Alleles, dict[str, int]]:
    counts = dict.fromkeys(CASES, 0)
    here = np.ones(records.positions.size, dtype=bool) if here is None else np.array(here)
    alleles = applicable(records, records.positions - WINDOW.start, here, policies, counts)
    return alleles, {case: n for case, n in counts.items() if n}


def listed(alleles: Alleles) -> list[tuple[int, int, int, int, str]]:
    """Record, number of the allele, start, end and bases."""
    texts = [
        decode(alleles.bases[slice(*alleles.offsets[i : i + 2])])
        for i in range(len(alleles.starts))
    ]
    columns = (alleles.record, alleles.index, alleles.starts, alleles.ends)
    return list(zip(*(column.tolist() for column in columns), texts, strict=True))


def test_alleles_come_in_the_order_of_records_whatever_their_length():
    records = records_of((1, "C,T,CAA"), (2, "G,A"), (3, "TACG,T,AACG,TACC"), (9, "A,G,C"))
    alleles, counts = found_in(records, ANCHORED)
    assert listed(alleles) == [
        (0, 1, 1, 2, "T"),
        (0, 2, 2, 2, "AA"),
        (1, 1, 2, 3, "A"),
        (2, 1, 4, 7, ""),
        (2, 2, 3, 4, "A"),
        (2, 3, 6, 7, "C"),
        (3, 1, 9, 10, "G"),
        (3, 2, 9, 10, "C"),
    ]
    assert alleles.last.tolist() == [1, 1, 2, 6, 6, 6, 9, 9]
    assert alleles.follows.tolist() == [False, True, False, True, False, False, False, False]
    assert counts == {}
    skipping, counts = found_in(records, SKIP)
    assert listed(skipping) == [row for row in listed(alleles) if len(row[4]) == row[3] - row[2]]
    assert counts == {}


@pytest.mark.parametrize("policies", [SKIP, ANCHORED], ids=lambda policies: policies.indels)
@pytest.mark.parametrize("ref", ["C", "CGT"])
@pytest.mark.parametrize(
    "allele", ["*", "<DEL>", "<NON_REF>", "<INS:ME>", "C[chr2:5[", "]chr2:5]C", ".", "R", "C."]
)
def test_an_allele_without_a_sequence_is_counted_and_skipped(policies, ref, allele):
    other = "T" + ref[1:]
    records = records_of((1, f"{ref},{allele}"), (1, f"{ref},{allele},{other},{allele}"))
    alleles, counts = found_in(records, policies)
    assert listed(alleles) == [(1, 2, 1, 2, "T")]
    assert counts == {"symbolic_alleles": 3, "excluded_records": 1}
    # What lies beside the window is not counted.
    assert found_in(records, policies, [False, True])[1] == {"symbolic_alleles": 2}
    assert found_in(records, policies, [True, False])[1] == {
        "symbolic_alleles": 1,
        "excluded_records": 1,
    }


def test_indels_are_excluded_records_where_they_are_not_applied():
    records = records_of((0, "A,AG"), (1, "CG,C"), (1, "CG,TA"), (2, "G,C"), (3, "TA,TA"))
    _, counts = found_in(records, SKIP)
    assert counts == {"excluded_records": 4}
    _, counts = found_in(records, ANCHORED)
    assert counts == {"excluded_records": 1}  # the one that says REF again


@pytest.mark.parametrize("policies", [SKIP, ANCHORED], ids=lambda policies: policies.indels)
def test_lower_case_is_upper_case(policies):
    upper, _ = found_in(records_of((0, "A,C"), (1, "CGT,CAT"), (3, "C,CT")), policies)
    lower, counts = found_in(records_of((0, "a,c"), (1, "cGt,CaT"), (3, "c,Ct")), policies)
    assert listed(lower) == listed(upper)
    assert counts == ({} if policies is ANCHORED else {"excluded_records": 1})


def test_n_in_longer_alleles():
    records = records_of((1, "CG,CN,CGN,TN"), (3, "NN,NA,N"))
    assert listed(found_in(records, ANCHORED)[0]) == [
        (0, 1, 2, 3, "N"),
        (0, 2, 3, 3, "N"),
        (0, 3, 1, 3, "TN"),
        (1, 1, 4, 5, "A"),
        (1, 2, 4, 5, ""),
    ]
    assert listed(found_in(records, SKIP)[0]) == [(1, 1, 4, 5, "A")]


# --- REF against the reference --------------------------------------------------------------------


def matched(records: Records, reference: str, before: int = 0, allowed: int = 0, here=None):
    """The rows of the records that are kept, and how many contradict the reference."""
    policies = Policies(indels="anchor_tss", max_ref_mismatch=allowed)
    counts = dict.fromkeys(CASES, 0)
    everything = np.ones(records.positions.size, dtype=bool)
    starts = records.positions - WINDOW.start
    alleles = applicable(records, starts, everything, policies, counts)
    here = everything if here is None else np.array(here)
    codes = encode(reference)
    kept = match_reference(alleles, records, codes, WINDOW, before, here, policies, counts)
    return kept.record.tolist(), counts["ref_mismatches"]


REFERENCE = "ACGTNCGTAC"


def test_all_of_ref_is_compared():
    right = [(1, "CGT,C"), (3, "TNC,TAC"), (3, "tnc,t"), (4, "R,A"), (9, "C,T,CA")]
    assert matched(records_of(*right), REFERENCE) == ([0, 1, 2, 3, 4, 4], 0)
    for wrong in [(1, "CGA,C"), (1, "CGA,TGA"), (4, "A,C"), (3, "TAC,T"), (5, "N,A"), (9, "T,C")]:
        with pytest.raises(ReferenceMismatchError, match="1 records in chr1:101-110"):
            matched(records_of(*right, wrong), REFERENCE)
        several = records_of(*right, wrong)
        assert matched(several, REFERENCE, allowed=1) == ([0, 1, 2, 3, 4, 4], 1)
        assert matched(several, REFERENCE, allowed=1, here=[True] * 5 + [False])[1] == 0


def test_ref_is_compared_as_far_as_the_reference_is_known():
    reaching = [(-2, "TTACG,T"), (-3, "GTTACGTNCGTACGG,G"), (8, "ACTT,A"), (9, "CT,C")]
    records = records_of(*reaching)
    assert matched(records, REFERENCE) == ([0, 1, 2, 3], 0)
    for index, alleles in [(-2, "TTACC,T"), (-3, "GTTACGTNCGTAGGG,G"), (8, "AGTT,A")]:
        assert matched(records_of((index, alleles)), REFERENCE, allowed=1) == ([], 1)
    # Nothing of REF is known.
    beyond = records_of((-9, "TT,T"), (-7, "T,A,TA"), (-2, "TT,T"), (-1, "T,A"), (10, "G,C"))
    assert matched(beyond, REFERENCE) == ([0, 1, 1, 2, 3, 4], 0)


def test_bases_before_the_window_are_compared_too():
    reference = "GTT" + REFERENCE
    records = records_of((-3, "GTTAC,G"), (-1, "T,A"), (0, "A,C"))
    assert matched(records, reference, before=3) == ([0, 1, 2], 0)
    assert matched(records_of((-3, "GATAC,G")), reference, before=3, allowed=1) == ([], 1)
    assert matched(records_of((-2, "A,C")), reference, before=3, allowed=1) == ([], 1)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ((1, "G,T"), "at chr1:102 REF says 'G', the reference 'C'"),
        ((1, "CGA,C"), "at chr1:102 REF says 'CGA', the reference 'CGT'"),
        ((0, "T" * 30 + ",T"), "at chr1:101 REF says 'TTTTTTTTTTTTTTTTT...', the reference 'ACG"),
        ((-1, "TG,T"), "at chr1:100 REF says 'TG', the reference 'TA'"),
    ],
)
def test_the_first_contradiction_is_named(record, said):
    with pytest.raises(ReferenceMismatchError) as error:
        matched(records_of(record, (9, "G,C")), "T" + REFERENCE, before=1)
    assert "2 records in chr1:101-110" in str(error.value)
    assert said in str(error.value)
    assert "(allowed: 0)" in str(error.value)
