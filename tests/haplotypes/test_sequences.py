from pathlib import Path
from unittest import mock

import cyvcf2
import numpy as np
import pyfaidx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrbench.errors import ReferenceMismatchError
from zarrbench.genome.bases import ONE_HOT, OTHER, decode, encode, reverse_complement
from zarrbench.genome.coordinates import Window
from zarrbench.genome.reference import Reference, build_reference
from zarrbench.genotypes.ingest import ingest
from zarrbench.genotypes.policies import CASES, Policies
from zarrbench.genotypes.store import GenotypeStore
from zarrbench.haplotypes import sequences
from zarrbench.haplotypes.alleles import trimmed
from zarrbench.haplotypes.content import Catalogue, Content
from zarrbench.haplotypes.sequences import (
    PersonalWindow,
    personal_window,
    whole_region,
    window_edits,
)
from zarrbench.simulation import Simulation, simulate

POLICIES = Policies()
ANCHORED = Policies(indels="anchor_tss")


@pytest.fixture(scope="module")
def random_window(make_contig):
    """Make a window with few founder haplotypes, and all its haplotypes, forward, one by one."""

    def make(
        individuals: int = 30, sites: int = 12, length: int = 200, reverse: bool = False
    ) -> tuple[PersonalWindow, np.ndarray]:
        rng = np.random.default_rng(sites)
        reference = rng.integers(0, 4, length).astype(np.uint8)
        columns = np.sort(rng.choice(length, sites, replace=False))
        founders = rng.integers(-1, 4, (9, sites))
        calls = founders[rng.integers(0, 9, (individuals, 2))].transpose(2, 0, 1)
        everyone = np.tile(reference, (individuals, 2, 1))
        written = []
        for column, call in zip(columns.tolist(), calls, strict=True):
            alleles = np.roll(np.arange(4), -int(reference[column]))  # REF first
            written.append((column, list(decode(alleles.astype(np.uint8))), call))
            everyone[:, :, column] = np.where(call < 0, OTHER, alleles[call])
        contig = make_contig(decode(reference), written, individuals)
        window = Window("chr1", 0, length, reverse)
        return personal_window(contig, contig, window, Policies(missing="zeros")), everyone

    return make


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("sites", [0, 1, 12])
def test_distinct_rows_rebuild_every_haplotype(random_window, sites, reverse):
    personal, everyone = random_window(sites=sites, reverse=reverse)
    oriented = reverse_complement(everyone) if reverse else everyone
    np.testing.assert_array_equal(personal.codes()[personal.rows], oriented)
    np.testing.assert_array_equal(personal.haplotype(3, 1), oriented[3, 1])
    different = {row.tobytes() for row in oriented.reshape(-1, 200)}
    assert personal.n_distinct_haplotypes == len(different)
    assert personal.n_rows == len(different | {personal.reference.tobytes()})
    assert len({row.tobytes() for row in personal.codes()}) == personal.n_rows
    assert personal.rows.dtype == np.int32


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_batches_are_parts_of_the_whole(random_window, size, reverse):
    personal, _ = random_window(reverse=reverse)
    starts = range(0, personal.n_rows, size)
    batches = [personal.codes(slice(start, start + size)) for start in starts]
    assert all(batch.shape == (len(batch), 200) for batch in batches)
    assert all(batch.dtype == np.uint8 for batch in batches)
    np.testing.assert_array_equal(np.concatenate(batches), personal.codes())
    assert personal.codes(slice(personal.n_rows, None)).shape == (0, 200)
    chosen = [4, 0, 4]
    np.testing.assert_array_equal(personal.codes(chosen), personal.codes()[chosen])
    out = np.full((3, 200), 9, dtype=np.uint8)
    assert personal.codes(np.array(chosen), out) is out
    np.testing.assert_array_equal(out, personal.codes()[chosen])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
def test_one_hot_is_that_of_the_codes(random_window, reverse, dtype):
    personal, _ = random_window(reverse=reverse)
    expected = ONE_HOT[personal.codes()]
    assert (expected.sum(axis=2) == 0).any()
    assert personal.one_hot().dtype == np.float32
    found = personal.one_hot(dtype=dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(personal.one_hot([3, 1], dtype=dtype), expected[[3, 1]])
    out = np.full((2, 200, 4), 7, dtype=dtype)
    assert personal.one_hot(slice(1, 3), out) is out
    np.testing.assert_array_equal(out, expected[1:3])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_batches_use_one_array_again(random_window, size, reverse):
    personal, _ = random_window(reverse=reverse)
    rows = np.random.default_rng(size).integers(0, personal.n_rows, 23)
    out = np.full((size, 200), 9, dtype=np.uint8)
    batches = personal.batches(rows, out)
    found = []
    for batch in batches:
        assert np.shares_memory(batch, out)
        assert not batch.flags.writeable
        found.append(batch.copy())
    assert [len(batch) for batch in found[:-1]] == [size] * (len(found) - 1)
    np.testing.assert_array_equal(np.concatenate(found), personal.codes(rows))
    out = np.full((size, 200, 4), 9, dtype=np.float16)
    found = [batch.copy() for batch in personal.batches(rows, out)]
    np.testing.assert_array_equal(np.concatenate(found), personal.one_hot(rows))
    assert list(personal.batches([], out)) == []


def test_the_reference_is_always_a_row(random_window):
    personal, _ = random_window()
    row = personal.reference_row
    np.testing.assert_array_equal(personal.codes([row])[0], personal.reference)
    assert row not in personal.rows
    assert personal.n_rows == personal.n_distinct_haplotypes + 1
    nothing, _ = random_window(sites=0)
    assert (nothing.n_rows, nothing.n_distinct_haplotypes, nothing.reference_row) == (1, 1, 0)


def test_making_sequences_leaves_the_window_as_it_is(random_window):
    personal, _ = random_window()
    personal.codes()[:] = OTHER
    assert OTHER not in personal.reference


# --- anchored windows -----------------------------------------------------------------------------

BASES = st.sampled_from("ACGT")


@st.composite
def cohorts(draw, letters="ACGT"):
    """A short contig, records of any kind that often overlap, and a window around its TSS."""
    sequence = draw(st.text(letters, min_size=8, max_size=40))
    n, individuals = len(sequence), draw(st.integers(1, 3))
    tss = draw(st.integers(0, n - 1))
    written = []
    for position in sorted(draw(st.lists(st.integers(0, n - 1), max_size=9))):
        ref = sequence[position : position + draw(st.sampled_from([1, 1, 1, 2, 3, 6, 12]))]
        insertion = st.text(letters, max_size=4).map(lambda text, ref=ref: ref + text)
        deletion = st.integers(1, len(ref)).map(lambda size, ref=ref: ref[:size])
        one = st.sampled_from(letters).map(lambda base, ref=ref: base + ref[1:])
        other = st.text(letters, min_size=1, max_size=5)
        alts = draw(st.lists(st.one_of(insertion, deletion, one, other), min_size=1, max_size=2))
        allele = st.integers(0, len(alts))
        call = st.tuples(allele, allele)
        calls = draw(st.lists(call, min_size=individuals, max_size=individuals))
        written.append((position, [ref, *alts], calls))
    start = draw(st.integers(tss - 15, tss))
    end = draw(st.integers(tss + 1, tss + 15))
    window = Window("chr1", start, end, draw(st.booleans()), anchor=tss)
    return sequence, written, individuals, window


def plain(contig, individual: int, haplotype: int, window: Window) -> tuple[str, int, bool]:
    """One sequence as read, alleles that overlap an earlier one, and whether it lacks the TSS."""
    own, added = list(contig.sequence), [""] * (len(contig.sequence) + 1)
    frozen, inserted, skipped = -1, False, 0
    for position, (ref, *alts), calls in contig.written:
        allele = ([ref, *alts])[calls[individual][haplotype]]
        if allele == ref:
            continue
        first, size, text = trimmed(ref, allele)
        follows = ref[0] == allele[0] and (size == 0 or not text)
        if position < frozen or (position == frozen and (inserted or not follows)):
            skipped += position < window.end and position + len(ref) > window.start
            continue
        start = position + first
        # Base for base from the left; what is left over is deleted or added after them.
        own[start : start + size] = [text[i : i + 1] for i in range(size)]
        added[start + size] += text[size:]
        frozen, inserted = position + len(ref) - 1, len(allele) > len(ref)
    tss = window.anchor
    padding = "N" * window.length
    pieces = [extra + base for extra, base in zip(added, [*own, ""], strict=True)]
    left = padding + "".join(pieces[:tss]) + added[tss]
    right = "".join(pieces[tss + 1 :]) + padding
    centre = own[tss]
    if not centre and window.reverse:
        left, centre = left[:-1], left[-1]
    elif not centre:
        centre, right = right[0], right[1:]
    before = tss - window.start
    made = left[len(left) - before :] + centre + right[: window.length - before - 1]
    made = decode(reverse_complement(encode(made))) if window.reverse else made
    return made, skipped, not own[tss]


@pytest.mark.parametrize("beside", [0, 3, 2048])
@settings(max_examples=150, deadline=None)
@given(case=cohorts())
def test_anchored_sequences_are_those_of_a_plain_loop(make_contig, beside, case):
    sequence, written, individuals, window = case
    contig = make_contig(sequence, written, individuals)
    # How much is read beside a window at first decides nothing.
    with mock.patch.object(sequences, "_BESIDE", beside):
        personal = personal_window(contig, contig, window, ANCHORED)
    codes = personal.codes()
    assert codes.shape == (personal.n_rows, window.length)
    expected = [
        [plain(contig, individual, haplotype, window) for haplotype in (0, 1)]
        for individual in range(individuals)
    ]
    for pair, rows in zip(expected, personal.rows, strict=True):
        assert [decode(codes[row]) for row in rows] == [made for made, *_ in pair]
    assert len({row.tobytes() for row in codes}) == personal.n_rows
    forward = contig.codes(window)
    reference = reverse_complement(forward) if window.reverse else forward
    np.testing.assert_array_equal(codes[personal.reference_row], reference)
    everything = [one for pair in expected for one in pair]
    assert personal.edits.counts["overlapping_alleles"] == sum(
        skipped for _, skipped, _ in everything
    )
    assert personal.edits.counts["removed_tss"] == sum(removed for *_, removed in everything)


@settings(max_examples=150, deadline=None)
@given(cohorts())
def test_the_other_strand_is_the_reverse_complement(make_contig, case):
    sequence, written, individuals, window = case
    contig = make_contig(sequence, written, individuals)
    other = Window("chr1", window.start, window.end, not window.reverse, window.anchor)
    one, two = (personal_window(contig, contig, w, ANCHORED) for w in (window, other))
    assert one.edits.counts == two.edits.counts
    for individual in range(individuals):
        for haplotype in (0, 1):
            if not plain(contig, individual, haplotype, window)[2]:
                np.testing.assert_array_equal(
                    one.haplotype(individual, haplotype),
                    reverse_complement(two.haplotype(individual, haplotype)),
                )


@settings(max_examples=150, deadline=None)
@given(cohorts("ACT"))
def test_the_tss_base_stays_where_it_is(make_contig, case):
    sequence, written, individuals, window = case
    tss = window.anchor
    # The only G is the TSS base; alleles that replace it have none.
    marked = [
        (position, [sequence[position:tss] + "G" + ref[tss + 1 - position :], *alts], calls)
        if position <= tss < position + len(ref)
        else (position, [ref, *alts], calls)
        for position, (ref, *alts), calls in written
    ]
    contig = make_contig(sequence[:tss] + "G" + sequence[tss + 1 :], marked, individuals)
    personal = personal_window(contig, contig, window, ANCHORED)
    found = personal.edits
    replacing = found.carried[
        (found.starts <= tss - window.start) & (found.ends > tss - window.start)
    ]
    kept = ~replacing.any(axis=0).reshape(individuals, 2)
    index = window.end - 1 - tss if window.reverse else tss - window.start
    for individual, haplotype in np.argwhere(kept):
        made = decode(personal.haplotype(individual, haplotype))
        assert made[index] == ("C" if window.reverse else "G")


@settings(max_examples=100, deadline=None)
@given(cohorts(), st.data())
def test_anchored_batches_hold_the_sequences_of_their_rows(make_contig, case, data):
    sequence, written, individuals, window = case
    contig = make_contig(sequence, written, individuals)
    personal = personal_window(contig, contig, window, ANCHORED)
    codes = personal.codes()
    rows = data.draw(st.lists(st.sampled_from(range(len(codes))), max_size=9))
    out = np.full((data.draw(st.integers(1, 4)), window.length), 9, dtype=np.uint8)
    found = [bytes(row) for batch in personal.batches(rows, out) for row in batch]
    assert found == [bytes(codes[row]) for row in rows]


@settings(max_examples=100, deadline=None)
@given(cohorts(), st.data())
def test_who_else_is_looked_at_does_not_matter(make_contig, case, data):
    sequence, written, individuals, window = case
    contig = make_contig(sequence, written, individuals)
    whole = personal_window(contig, contig, window, ANCHORED)
    people = data.draw(st.permutations(range(individuals)))
    turned = personal_window(contig, contig, window, ANCHORED, np.array(people))
    np.testing.assert_array_equal(turned.rows, whole.rows[people])
    np.testing.assert_array_equal(turned.codes(), whole.codes())
    assert turned.reference_row == whole.reference_row
    some = people[: data.draw(st.integers(1, individuals))]
    part = personal_window(contig, contig, window, ANCHORED, np.array(some))
    np.testing.assert_array_equal(part.codes()[part.rows], whole.codes()[whole.rows[some]])
    assert part.edits.carried.shape[1] == 2 * len(some)


@settings(max_examples=100, deadline=None)
@given(cohorts(), st.data())
def test_the_order_of_records_at_one_position_does_not_matter(make_contig, case, data):
    sequence, written, individuals, window = case
    # Where no haplotype carries two of them
    alone, carrying = [], {}
    for position, alleles, calls in written:
        taken = carrying.setdefault(position, set())
        columns = {(i, h): calls[i][h] for i in range(individuals) for h in (0, 1)}
        free = {key: allele for key, allele in columns.items() if allele and key not in taken}
        taken |= set(free)
        calls = [[free.get((i, h), 0) for h in (0, 1)] for i in range(individuals)]
        alone.append((position, alleles, calls))
    shuffled = sorted(data.draw(st.permutations(alone)), key=lambda record: record[0])
    one, two = (
        personal_window(contig, contig, window, ANCHORED)
        for contig in (make_contig(sequence, those, individuals) for those in (alone, shuffled))
    )
    np.testing.assert_array_equal(one.codes()[one.rows], two.codes()[two.rows])
    assert one.edits.counts == two.edits.counts


@settings(max_examples=100, deadline=None)
@given(cohorts(), st.sampled_from([POLICIES, ANCHORED]))
def test_without_variants_everybody_is_the_reference(make_contig, case, policies):
    sequence, written, individuals, window = case
    nobody = [(position, alleles, [(0, 0)] * individuals) for position, alleles, _ in written]
    contig = make_contig(sequence, nobody, individuals)
    personal = personal_window(contig, contig, window, policies)
    assert (personal.n_rows, personal.reference_row) == (1, 0)
    assert personal.rows.tolist() == [[0, 0]] * individuals
    padded = "N" * 40 + sequence + "N" * 40
    forward = encode(padded[40 + window.start : 40 + window.end])
    expected = reverse_complement(forward) if window.reverse else forward
    np.testing.assert_array_equal(personal.haplotype(0, 1), expected)


@settings(max_examples=100, deadline=None)
@given(cohorts())
def test_edits_alone_are_those_of_the_window(make_contig, case):
    sequence, written, individuals, window = case
    contig = make_contig(sequence, written, individuals)
    alone = window_edits(contig, contig, window, ANCHORED)
    found = personal_window(contig, contig, window, ANCHORED).edits
    np.testing.assert_array_equal(alone.positions, found.positions)
    np.testing.assert_array_equal(alone.dosage, found.dosage)
    assert alone.counts | {"removed_tss": 0} == found.counts | {"removed_tss": 0}


RNG = np.random.default_rng(4)
LONG = "".join(RNG.choice(list("ACGT"), 12_000))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_deletion_brings_in_what_lies_beyond_the_window(make_contig, reverse):
    """Longer than what is read at first; an insertion and a substitution lie behind it."""
    snv = "A" if LONG[9_020] != "A" else "C"
    written = [
        (950, [LONG[950], snv if LONG[950] != snv else "G"], [(0, 1)]),
        (1_000, [LONG[1_000:3_900], LONG[1_000]], [(0, 1)]),
        (5_090, [LONG[5_090:8_990], LONG[5_090]], [(1, 0)]),
        (9_010, [LONG[9_010], LONG[9_010] + "GGGG"], [(1, 1)]),
        (9_020, [LONG[9_020], snv], [(1, 0)]),
    ]
    contig = make_contig(LONG, written)
    window = Window("chr1", 3_990, 5_190, reverse, anchor=4_000)
    personal = personal_window(contig, contig, window, ANCHORED)
    made = [personal.haplotype(0, haplotype) for haplotype in (0, 1)]
    first, second = (decode(reverse_complement(codes) if reverse else codes) for codes in made)
    # 1,101 bases up to the deletion of 3,899, and 99 behind it
    assert first == (
        LONG[3_990:5_091] + LONG[8_990:9_011] + "GGGG" + LONG[9_011:9_020] + snv + LONG[9_021:9_085]
    )
    # Nothing is deleted here: the deletion on the left ends before the window.
    assert second == LONG[3_990:5_190]
    near = Window("chr1", 3_890, 4_190, reverse, anchor=4_000)
    personal = personal_window(contig, contig, near, ANCHORED)
    second = personal.haplotype(0, 1)
    second = decode(reverse_complement(second) if reverse else second)
    assert second == LONG[991:1_001] + LONG[3_900:4_190]
    far = Window("chr1", 3_820, 4_190, reverse, anchor=4_000)
    second = personal_window(contig, contig, far, ANCHORED).haplotype(0, 1)
    second = decode(reverse_complement(second) if reverse else second)
    assert second == LONG[921:950] + written[0][1][1] + LONG[951:1_001] + LONG[3_900:4_190]


@pytest.mark.parametrize(
    ("tss", "reverse", "expected"),
    [
        (4, False, ["CTACGN", "ATGTAC"]),
        (5, False, ["CCTACG", "ATGTAC"]),
        # The other strand reads on with the base before the deletion.
        (4, True, ["CGTAGG", "GTACAT"]),
        (5, True, ["GTAGGT", "GTACAT"]),
    ],
)
def test_without_its_base_the_next_one_is_the_tss(make_contig, tss, reverse, expected):
    #                     0123456789
    contig = make_contig("ACCATGTACG", [(2, ["CATG", "C"], [(1, 0)])])
    window = Window("chr1", 3, 9, reverse, anchor=tss)
    personal = personal_window(contig, contig, window, ANCHORED)
    assert personal.edits.counts["removed_tss"] == 1
    assert [decode(codes) for codes in personal.codes(personal.rows[0])] == expected


def test_windows_at_the_ends_of_a_contig_are_padded(make_contig):
    written = [
        (0, ["A", "AG"], [(1, 0)]),
        (2, ["GTA", "G"], [(0, 1)]),
        (7, ["TT", "T"], [(1, 0)]),
        (8, ["T", "TCC"], [(0, 1)]),
    ]
    contig = make_contig("ACGTACGTT", written)
    personal = personal_window(contig, contig, Window("chr1", -3, 13, anchor=5), ANCHORED)
    made = [decode(personal.haplotype(0, haplotype)) for haplotype in (0, 1)]
    assert made == ["NNAGCGTACGTNNNNN", "NNNNNACGCGTTCCNN"]
    assert personal.edits.counts["padded_bases"] == 7
    back = personal_window(contig, contig, Window("chr1", -3, 13, True, anchor=5), ANCHORED)
    turned = [decode(reverse_complement(back.haplotype(0, haplotype))) for haplotype in (0, 1)]
    assert turned == made


# --- equal sequences are one ----------------------------------------------------------------------


def test_different_edits_that_give_one_sequence_are_one_row(make_contig):
    #                     0123456789
    contig = make_contig(
        "CATATATGCC",
        [
            (0, ["CAT", "C"], [(1, 0), (0, 0)]),
            (2, ["TAT", "T"], [(0, 1), (0, 0)]),
            (7, ["G", "GC"], [(0, 0), (1, 0)]),
            (9, ["C", "CC"], [(0, 0), (0, 1)]),
        ],
        2,
    )
    personal = personal_window(contig, contig, Window("chr1", 0, 10, anchor=7), ANCHORED)
    assert personal.rows[0, 0] == personal.rows[0, 1]
    assert personal.rows[1, 1] == personal.reference_row
    assert {decode(codes) for codes in personal.codes()} == {
        "NNCATATGCC",
        "CATATATGCC",
    }
    assert personal.n_rows == 2


class Colliding(Content):
    """Every sequence has the same key."""

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self._factors = np.zeros_like(self._factors)


class CollidingCatalogue(Catalogue):
    def __init__(self, length: int, most: int) -> None:
        super().__init__(length, most)
        self._factors = np.zeros_like(self._factors)


@settings(max_examples=100, deadline=None)
@given(case=cohorts())
def test_equal_keys_do_not_make_sequences_equal(make_contig, case):
    sequence, written, individuals, window = case
    contig = make_contig(sequence, written, individuals)
    expected = personal_window(contig, contig, window, ANCHORED)
    with mock.patch.object(sequences, "Content", Colliding):
        found = personal_window(contig, contig, window, ANCHORED)
    assert found.n_rows == expected.n_rows
    np.testing.assert_array_equal(found.codes()[found.rows], expected.codes()[expected.rows])
    people = np.arange(individuals)[::-1]
    with mock.patch.object(sequences, "Catalogue", CollidingCatalogue):
        one = personal_window(contig, contig, window, ANCHORED)
        two = personal_window(contig, contig, window, ANCHORED, people)
    np.testing.assert_array_equal(one.codes()[one.rows], expected.codes()[expected.rows])
    np.testing.assert_array_equal(two.rows, one.rows[people])


def test_singletons_are_numbered_alike_whoever_comes_first(make_contig):
    sequence = "ACGT" * 64
    carriers = np.eye(256, dtype=int)
    written = [
        (place, [base, "CATG"["ACGT".index(base)]], [(carrier, 0) for carrier in carriers[place]])
        for place, base in enumerate(sequence)
    ]
    contig = make_contig(sequence, written, 256)
    window = Window("chr1", 0, 256, anchor=100)
    people = np.random.default_rng(0).permutation(256)
    whole = personal_window(contig, contig, window, POLICIES)
    turned = personal_window(contig, contig, window, POLICIES, people)
    assert whole.n_rows == 257
    np.testing.assert_array_equal(turned.rows, whole.rows[people])
    np.testing.assert_array_equal(turned.codes(), whole.codes())


# --- whole regions --------------------------------------------------------------------------------


REGIONS = [
    (0, 10, ["AGGCGTATTTTTACCC", "ACGCGTA"]),
    # The insertion belongs to the base before the region.
    (1, 10, ["CGTATTTTTACCC", "CGCGTA"]),
    # Of what reaches in, the part inside is applied; of what reaches out, too.
    (4, 6, ["AT", "C"]),
    (5, 9, ["TTTTTA", "CGTA"]),
    (3, 5, ["TA", ""]),
    (-2, 3, ["NNAGGCG", "NNACG"]),
    (8, 12, ["ACCCNN", "ANN"]),
]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("start", "end", "expected"), REGIONS)
def test_a_whole_region_is_as_long_as_it_is(make_contig, start, end, expected, reverse):
    nobody = [(0, 0)]
    written = [
        (0, ["A", "AGG"], [*nobody, (1, 0)]),
        (2, ["GTA", "G"], [*nobody, (0, 1)]),
        (5, ["CG", "TTTT"], [*nobody, (1, 0)]),
        (8, ["AC", "A"], [*nobody, (0, 1)]),
        (9, ["C", "CCC"], [*nobody, (1, 0)]),
    ]
    contig = make_contig("ACGTACGTAC", written, 2)
    window = Window("chr1", start, end, reverse)
    found = whole_region(contig, contig, window, ANCHORED, 1)
    forward = [reverse_complement(codes) if reverse else codes for codes in found]
    assert [decode(codes) for codes in forward] == expected
    padded = "NN" + contig.sequence + "NN"
    unchanged = whole_region(contig, contig, window, ANCHORED, 0)[1]
    forward = reverse_complement(unchanged) if reverse else unchanged
    assert decode(forward) == padded[2 + start : 2 + end]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        # Before the first base of the contig there is no other.
        (0, 8, ["GACGTACGT", "ACGTCCACGT"]),
        (3, 8, ["TACGT", "TCCACGT"]),
        (4, 8, ["ACGT", "ACGT"]),
        (2, 4, ["GT", "GTCC"]),
    ],
)
def test_an_insertion_belongs_to_the_base_before_it(make_contig, start, end, expected):
    contig = make_contig("ACGTACGT", [(0, ["A", "GA"], [(1, 0)]), (3, ["TA", "TCCA"], [(0, 1)])])
    found = whole_region(contig, contig, Window("chr1", start, end), ANCHORED, 0)
    assert [decode(codes) for codes in found] == expected


# --- a simulated cohort ---------------------------------------------------------------------------


class Simulated:
    """A small simulated cohort, its stores, and its files read by other people's software."""

    def __init__(self, folder: Path) -> None:
        simulation = Simulation(
            seed=11, individuals=12, contigs={"chrA": 80_000}, genes=2, flank=512, indels=0.5
        )
        simulate(simulation, folder / "files")
        build_reference(folder / "files" / "reference.fa", folder / "reference.zarr")
        ingest(folder / "files" / "cohort.vcf.gz", folder / "genotypes.vcz")
        self.reference = Reference(folder / "reference.zarr")
        self.genotypes = GenotypeStore(folder / "genotypes.vcz", self.reference.lengths)
        with pyfaidx.Fasta(str(folder / "files" / "reference.fa")) as fasta:
            self.sequence = str(fasta["chrA"]).upper()
        self.variants = list(cyvcf2.VCF(str(folder / "files" / "cohort.vcf.gz")))

    def haplotype(self, window: Window, individual: int, haplotype: int) -> str:
        """A personal sequence, one SNV after the other."""
        bases = dict(enumerate(self.sequence))
        for variant in self.variants:
            if variant.is_snp and variant.genotypes[individual][haplotype] == 1:
                assert bases[variant.POS - 1] == variant.REF
                bases[variant.POS - 1] = variant.ALT[0]
        return "".join(bases.get(i, "N") for i in range(window.start, window.end))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Simulated:
    return Simulated(tmp_path_factory.mktemp("simulated"))


@pytest.mark.parametrize(("start", "end"), [(-500, 3_000), (20_000, 45_000), (78_000, 90_000)])
@pytest.mark.parametrize("reverse", [False, True])
def test_personal_windows_of_a_simulated_cohort(simulated, start, end, reverse):
    window = Window("chrA", start, end, reverse)
    people = np.array([7, 0, 11])
    personal = personal_window(simulated.genotypes, simulated.reference, window, POLICIES, people)
    inside = [v for v in simulated.variants if start - len(v.REF) < v.POS - 1 < end]
    snvs = [v for v in inside if v.is_snp]
    assert 0 < len(snvs) < len(inside)
    assert personal.edits.positions.tolist() == [v.POS - 1 - start for v in snvs]
    dosages = [[sum(v.genotypes[person][:2]) for person in people] for v in snvs]
    assert personal.edits.dosage.tolist() == dosages
    counts = dict.fromkeys(CASES, 0)
    counts["excluded_records"] = len(inside) - len(snvs)
    counts["padded_bases"] = max(0, -start) + max(0, end - 80_000)
    assert personal.edits.counts == counts
    for i, person in enumerate(people):
        for haplotype in (0, 1):
            codes = personal.haplotype(i, haplotype)
            forward = reverse_complement(codes) if reverse else codes
            assert decode(forward) == simulated.haplotype(window, person, haplotype)


def test_a_window_beyond_its_contig_is_padding(simulated):
    window = Window("chrA", 80_000, 80_010)
    personal = personal_window(simulated.genotypes, simulated.reference, window, POLICIES)
    assert personal.rows.shape == (12, 2)
    assert decode(personal.codes()[0]) == "N" * 10
    assert personal.edits.counts["padded_bases"] == 10


def test_everybody_is_the_default(simulated):
    window = Window("chrA", 20_000, 30_000)
    everybody = personal_window(simulated.genotypes, simulated.reference, window, POLICIES)
    turned = np.arange(12)[::-1]
    again = personal_window(simulated.genotypes, simulated.reference, window, POLICIES, turned)
    np.testing.assert_array_equal(again.rows, everybody.rows[turned])
    np.testing.assert_array_equal(again.codes(), everybody.codes())


def test_another_genome_is_refused(simulated, tmp_path):
    (tmp_path / "other.fa").write_text(">chrA\n" + "N" * 80_000 + "\n")
    build_reference(tmp_path / "other.fa", tmp_path / "other.zarr")
    with pytest.raises(ReferenceMismatchError, match="is it the same genome build"):
        personal_window(
            simulated.genotypes,
            Reference(tmp_path / "other.zarr"),
            Window("chrA", 20_000, 30_000),
            POLICIES,
        )
