"""Which base in-silico mutagenesis puts in: counted by hand and by a plain loop."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zarrbench.errors import GenotypeError, ReferenceMismatchError
from zarrbench.genome.bases import OTHER, decode, encode
from zarrbench.genome.coordinates import Window
from zarrbench.genotypes.policies import Policies
from zarrbench.haplotypes.sequences import window_edits
from zarrbench.haplotypes.snvs import named_snvs, snvs

WINDOW = Window("chr1", 2, 12)
SEQUENCE = "ACGTACGTACGTACG"


def found(make_contig, written, individuals=2, window=WINDOW, **policies):
    contig = make_contig(SEQUENCE, written, individuals)
    edits = window_edits(contig, contig, window, Policies(**policies))
    return snvs(edits, contig.codes(window))


def test_the_most_frequent_alternative_is_put_in(make_contig):
    # position 4 is A: C once, T twice
    chosen = found(make_contig, [(4, ["A", "C", "T"], [(1, 2), (2, 0)])])
    assert chosen.positions.tolist() == [2]
    assert decode(chosen.reference) == "A"
    assert decode(chosen.alternative) == "T"
    assert chosen.dosage.tolist() == [[1, 1]]  # of T alone: C counts as the reference does


def test_a_tie_goes_to_the_first_letter(make_contig):
    chosen = found(make_contig, [(4, ["A", "T", "C"], [(1, 2), (0, 0)])])
    assert decode(chosen.alternative) == "C"


def test_a_site_that_nobody_carries(make_contig):
    written = [(4, ["A", "G"], [(0, 0), (0, 0)]), (7, ["T", "G", "C"], [(0, 0), (0, -1)])]
    chosen = found(make_contig, written)
    assert decode(chosen.alternative) == "GN"
    assert chosen.known.tolist() == [True, False]
    assert chosen.dosage.tolist() == [[0, 0], [0, -1]]


def test_missing_alleles(make_contig):
    written = [(4, ["A", "G"], [(-1, 1), (0, 1)]), (5, ["C", "T"], [(-1, -1), (1, 1)])]
    for missing in ("reference", "zeros"):
        chosen = found(make_contig, written, missing=missing)
        assert decode(chosen.alternative) == "GT"
        assert chosen.dosage.tolist() == [[-1, 1], [-1, 2]]


def test_what_is_no_snv_is_left_out(make_contig):
    written = [
        (1, ["C", "T"], [(1, 1), (1, 1)]),  # before the window
        (3, ["T", "TA"], [(1, 0), (0, 0)]),
        (5, ["CG", "C"], [(1, 0), (0, 0)]),
        (8, ["AC", "GT"], [(1, 0), (0, 0)]),
        (11, ["T", "A"], [(1, 0), (0, 1)]),
        (12, ["A", "T"], [(1, 1), (1, 1)]),  # behind it
    ]
    for indels in ("skip", "anchor_tss"):
        assert found(make_contig, written, indels=indels).positions.tolist() == [9]


def test_no_snv_at_all(make_contig):
    chosen = found(make_contig, [])
    assert chosen.positions.size == 0
    assert chosen.dosage.shape == (0, 2)


@given(st.data())
def test_alternatives_are_those_of_a_count(make_contig, data):
    positions = sorted(data.draw(st.sets(st.integers(2, 11), max_size=5)))
    written, expected = [], []
    for position in positions:
        ref = SEQUENCE[position]
        others = data.draw(st.permutations([b for b in "ACGT" if b != ref]))
        alts = others[: data.draw(st.integers(1, 3))]
        call = st.integers(-1, len(alts))
        calls = [(data.draw(call), data.draw(call)) for _ in range(3)]
        written.append((position, [ref, *alts], calls))
        counted = Counter(alts[a - 1] for pair in calls for a in pair if a > 0)
        if counted:
            alt = min(counted, key=lambda base: (-counted[base], base))
        else:
            alt = alts[0] if len(alts) == 1 else "N"
        number = alts.index(alt) + 1 if alt in alts else None
        expected.append((position - 2, alt, [-1 if min(p) < 0 else sum(a == number for a in p)
                                             for p in calls]))  # fmt: skip
    chosen = found(make_contig, written, individuals=3)
    known = [e for e in expected if e[1] != "N"]
    assert chosen.positions.tolist() == [e[0] for e in expected]
    assert decode(chosen.alternative) == "".join(e[1] for e in expected)
    for position, _, dosage in known:
        row = chosen.positions.tolist().index(position)
        # a haplotype whose allele is known to be the alternative counts, whatever the other is
        for got, want in zip(chosen.dosage[row].tolist(), dosage, strict=True):
            assert got == want


def test_named_snvs_are_sorted_and_checked():
    reference = encode("GTACGTACGT")
    positions = np.array([6, 4])  # 1-based: C and T of the window that begins at 3
    chosen = named_snvs(WINDOW, reference, positions, np.array(["C", "t"]), np.array(["a", "G"]))
    assert chosen.positions.tolist() == [1, 3]
    assert (decode(chosen.reference), decode(chosen.alternative)) == ("TC", "GA")
    assert chosen.dosage.shape == (2, 0)


@pytest.mark.parametrize(
    ("position", "ref", "alt", "kind", "said"),
    [
        (2, "C", "A", GenotypeError, "chr1:2 C>A lies outside the window chr1:3-12"),
        (13, "A", "C", GenotypeError, "lies outside the window"),
        (4, "A", "C", ReferenceMismatchError, "contradicts the reference, which has T there"),
        (4, "TA", "C", GenotypeError, "is no SNV"),
        (4, "T", "", GenotypeError, "is no SNV"),
        (4, "T", "N", GenotypeError, "is no SNV"),
        (4, "T", "T", GenotypeError, "puts a base in its own place"),
    ],
)
def test_named_snvs_that_cannot_be(position, ref, alt, kind, said):
    with pytest.raises(kind, match=said):
        named_snvs(
            WINDOW, encode("GTACGTACGT"), np.array([position]), np.array([ref]), np.array([alt])
        )


def test_a_position_named_twice():
    with pytest.raises(GenotypeError, match="chr1:4 is named twice"):
        named_snvs(WINDOW, encode("GTACGTACGT"), np.array([4, 4]), np.array(["T", "T"]),
                   np.array(["A", "C"]))  # fmt: skip
    assert OTHER == 4
