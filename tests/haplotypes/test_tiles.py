import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrbench.genome.bases import decode
from zarrbench.genome.coordinates import Window
from zarrbench.genotypes.policies import Policies
from zarrbench.haplotypes.sequences import PersonalWindow, personal_window
from zarrbench.haplotypes.tiles import Tiles, Tiling, tiles, tiles_of

ANCHORED = Policies(indels="anchor_tss")
TILINGS = [
    Tiling(bins=3, bin_size=8, bins_of_tile=1, halo=3),
    Tiling(bins=5, bin_size=8, bins_of_tile=1, halo=8),
    Tiling(bins=12, bin_size=4, bins_of_tile=2, halo=0),
    Tiling(bins=8, bin_size=12, bins_of_tile=2, halo=13),
    Tiling(bins=18, bin_size=8, bins_of_tile=3, halo=19),
]


OTHER_BASE = dict(zip("ACGT", "CATG", strict=True))


def name(tiling: Tiling) -> str:
    return f"{tiling.bins}x{tiling.bin_size},{tiling.bins_of_tile},{tiling.halo}"


def people(make_contig, length: int, indels: bool, individuals: int, every: int = 3):
    """A contig of three windows' length, and people of few founders with many variants."""
    rng = np.random.default_rng(0)
    sequence = "".join(rng.choice(list("ACGT"), 3 * length))
    sites = np.sort(rng.choice(3 * length - 4, 3 * length // every, replace=False)).tolist()
    founders = rng.integers(0, 2, (7, len(sites)))
    of = rng.integers(0, 7, (individuals, 2))
    written = []
    for number, site in enumerate(sites):
        ref = sequence[site]
        alleles = [ref, OTHER_BASE[ref]]
        if indels and number % 3 == 0:
            alleles = [[ref, ref + "GAT"], [sequence[site : site + 4], ref]][number // 3 % 2]
        written.append((site, alleles, founders[of, number].tolist()))
    return make_contig(sequence, written, individuals)


def window_of(tiling: Tiling, reverse: bool = False) -> Window:
    n = tiling.length
    return Window("chr1", n, 2 * n, reverse, anchor=n + n // 3)


def check(personal: PersonalWindow, tiling: Tiling) -> Tiles:
    """Every tile is the piece of sequence that it stands for, and none is there twice."""
    made = tiles(personal, tiling)
    codes = personal.codes()
    step, halo, edge = tiling.step, tiling.halo, tiling.edge_length
    assert (made.rows.dtype, made.rows.shape) == (np.int32, (len(codes), tiling.n_tiles))
    np.testing.assert_array_equal(made.left[made.rows[:, 0]], codes[:, :edge])
    np.testing.assert_array_equal(made.right[made.rows[:, -1]], codes[:, -edge:])
    for t in range(1, tiling.n_tiles - 1):
        expected = codes[:, step * t - halo : step * t + step + halo]
        np.testing.assert_array_equal(made.middle[made.rows[:, t]], expected)
    for kind, rows in (
        (made.left, made.rows[:, 0]),
        (made.middle, made.rows[:, 1:-1]),
        (made.right, made.rows[:, -1]),
    ):
        assert len({tile.tobytes() for tile in kind}) == len(kind)
        assert sorted(set(rows.ravel().tolist())) == list(range(len(kind)))
    np.testing.assert_array_equal(made.codes(), codes)
    np.testing.assert_array_equal(made.codes(personal.rows[:, 1]), codes[personal.rows[:, 1]])
    return made


def test_the_numbers_of_enformer():
    tiling = Tiling()
    assert (tiling.length, tiling.n_tiles) == (196_608, 384)
    assert (tiling.bins, tiling.bin_size, tiling.bins_of_tile, tiling.halo) == (1536, 128, 4, 259)
    assert (tiling.step, tiling.tile_length, tiling.edge_length) == (512, 1030, 896)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((10, 8, 4, 0), "10 bins are not three or more tiles of 4"),
        ((8, 8, 4, 0), "8 bins are not three or more tiles of 4"),
        ((12, 3, 4, 0), "by a multiple of 8 bases, not by 12"),
        ((12, 2, 4, 9), "the halo of 9 bases reaches beyond the next tile"),
    ],
)
def test_a_tiling_that_cannot_be_is_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        Tiling(*numbers)


def test_a_window_of_another_length_is_refused(make_contig):
    contig = make_contig("A" * 100, [])
    personal = personal_window(contig, contig, Window("chr1", 0, 25), ANCHORED)
    with pytest.raises(ValueError, match="chr1:1-25 is not 24 bases long"):
        tiles(personal, TILINGS[0])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("indels", [False, True])
@pytest.mark.parametrize("tiling", TILINGS, ids=name)
def test_tiles_are_the_pieces_of_every_sequence(make_contig, tiling, indels, reverse):
    contig = people(make_contig, tiling.length, indels, 20)
    personal = personal_window(contig, contig, window_of(tiling, reverse), ANCHORED)
    assert personal.n_rows > 3
    assert personal.edits.shifts.any() == indels
    check(personal, tiling)


@pytest.mark.parametrize("tiling", TILINGS, ids=name)
def test_tiles_of_one_sequence_are_those_of_the_window_in_their_places(make_contig, tiling):
    contig = people(make_contig, tiling.length, True, 4)
    personal = personal_window(contig, contig, window_of(tiling), ANCHORED)
    shared = tiles(personal, tiling)
    for codes, rows in zip(personal.codes(), shared.rows, strict=True):
        single = tiles_of(codes, tiling)
        np.testing.assert_array_equal(single.codes(), codes[None])
        np.testing.assert_array_equal(single.middle, shared.middle[rows[1:-1]])
        np.testing.assert_array_equal(single.left[0], shared.left[rows[0]])
        np.testing.assert_array_equal(single.right[0], shared.right[rows[-1]])


@pytest.mark.parametrize("individuals", [15, 16, 17, 50])
def test_any_number_of_sequences(make_contig, individuals):
    """Around the number of those that are made at once."""
    tiling = TILINGS[3]
    length = tiling.length
    sequence = "".join(np.random.default_rng(1).choice(list("ACGT"), length))
    carriers = np.eye(2 * individuals, dtype=int).reshape(-1, individuals, 2)
    sites = [site % length for site in range(2 * individuals)]
    written = [
        (site, [sequence[site], OTHER_BASE[sequence[site]]], calls)
        for site, calls in zip(sites, carriers, strict=True)
    ]
    contig = make_contig(sequence, sorted(written, key=lambda record: record[0]), individuals)
    personal = personal_window(contig, contig, Window("chr1", 0, length), Policies())
    assert personal.n_rows > min(2 * individuals, length - 1)
    check(personal, tiling)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_short_sequences_of_two_letters(make_contig, data):
    """So short that equal tiles are many, and lie in different places."""
    tiling = data.draw(st.sampled_from(TILINGS))
    n = tiling.length
    sequence = "".join(data.draw(st.lists(st.sampled_from("AC"), min_size=n, max_size=n)))
    sites = sorted(data.draw(st.sets(st.integers(0, n - 1), max_size=6)))
    call = st.tuples(st.integers(0, 1), st.integers(0, 1))
    written = [
        (site, [sequence[site], data.draw(st.sampled_from(["G", "AC", "CCA"]))], [data.draw(call)])
        for site in sites
    ]
    contig = make_contig(sequence, written)
    window = Window("chr1", 0, n, data.draw(st.booleans()))
    check(personal_window(contig, contig, window, ANCHORED), tiling)


def test_equal_content_in_different_places_is_one_tile(make_contig):
    tiling = Tiling(bins=10, bin_size=8, bins_of_tile=1, halo=3)
    contig = make_contig("GATTACAT" * 10, [(40, ["G", "C"], [(0, 1)])])
    personal = personal_window(contig, contig, Window("chr1", 0, 80), Policies())
    made = check(personal, tiling)
    assert [len(kind) for kind in (made.left, made.middle, made.right)] == [1, 3, 1]
    first, second = made.rows[personal.rows[0]].tolist()
    assert len(set(first[1:-1])) == 1
    # The substitution lies in tile 5 and in the halo of tile 4.
    assert [t for t in range(10) if first[t] != second[t]] == [4, 5]
    assert {decode(tile) for tile in made.middle} == {
        "CATGATTACATGAT",
        "CATGATTACATCAT",
        "CATCATTACATGAT",
    }


def test_an_insertion_of_a_whole_step_moves_tiles_and_makes_no_others(make_contig):
    tiling = Tiling(bins=10, bin_size=8, bins_of_tile=1, halo=3)
    sequence = "".join(np.random.default_rng(2).choice(list("ACGT"), 100))
    contig = make_contig(sequence, [(18, [sequence[18], sequence[18] + "GATTACAT"], [(0, 1)])])
    personal = personal_window(contig, contig, Window("chr1", 0, 80), ANCHORED)
    made = check(personal, tiling)
    first, second = made.rows[personal.rows[0]].tolist()
    assert (second[1], second[4:9]) == (first[1], first[3:8])
    assert len(made.middle) == 8 + 2


@pytest.mark.parametrize("indels", [False, True])
def test_whoever_is_looked_at_together_has_the_same_tiles(make_contig, indels):
    tiling = TILINGS[4]
    contig = people(make_contig, tiling.length, indels, 24)
    window = window_of(tiling)

    def of(individuals: np.ndarray) -> tuple[PersonalWindow, Tiles]:
        personal = personal_window(contig, contig, window, ANCHORED, individuals)
        return personal, tiles(personal, tiling)

    personal, whole = of(np.arange(24))
    order = np.random.default_rng(0).permutation(24)
    turned, again = of(order)
    for kind in ("left", "middle", "right"):
        np.testing.assert_array_equal(getattr(again, kind), getattr(whole, kind))
    np.testing.assert_array_equal(again.rows[turned.rows], whole.rows[personal.rows][order])
    blocks = [of(block) for block in np.split(np.arange(24), [5, 6, 20])]
    sequences = [made.codes(part.rows.ravel()) for part, made in blocks]
    np.testing.assert_array_equal(np.concatenate(sequences), whole.codes(personal.rows.ravel()))
    for kind in ("left", "middle", "right"):
        of_blocks = {tile.tobytes() for _, made in blocks for tile in getattr(made, kind)}
        # Each block holds the reference, which the whole holds once.
        assert of_blocks == {tile.tobytes() for tile in getattr(whole, kind)}


@pytest.mark.parametrize("reverse", [False, True])
def test_a_window_of_enformer(make_contig, reverse):
    tiling = Tiling()
    contig = people(make_contig, tiling.length, True, 6, every=500)
    personal = personal_window(contig, contig, window_of(tiling, reverse), ANCHORED)
    assert personal.n_rows >= 4
    assert personal.edits.shifts.any()
    made = check(personal, tiling)
    t = 200
    bases = slice(512 * t - 259, 512 * t + 512 + 259)
    np.testing.assert_array_equal(made.middle[made.rows[:, t]], personal.codes()[:, bases])
    np.testing.assert_array_equal(made.left[made.rows[:, 0]], personal.codes()[:, :896])
    np.testing.assert_array_equal(made.right[made.rows[:, -1]], personal.codes()[:, -896:])
