"""Mutants are the reference with bases put in, whichever strand is read: by plain copies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zarrbench.genome.bases import OTHER, reverse_complement
from zarrbench.genome.coordinates import Window
from zarrbench.haplotypes.mutants import mutants, one_by_one, saturated
from zarrbench.haplotypes.tiles import Tiling, tiles

LENGTH = 48


def window(reverse: bool) -> Window:
    return Window("chr1", 100, 100 + LENGTH, reverse=reverse, anchor=120)


def as_read(codes: np.ndarray, reverse: bool) -> np.ndarray:
    return reverse_complement(codes) if reverse else codes


references = st.lists(st.integers(0, 4), min_size=LENGTH, max_size=LENGTH).map(
    lambda codes: np.array(codes, dtype=np.uint8)
)


@given(references, st.sets(st.integers(0, LENGTH - 1)), st.booleans(), st.randoms())
def test_each_base_alone(reference, places, reverse, random):
    positions = np.array(sorted(places), dtype=np.int64)
    bases = np.array([random.randrange(4) for _ in positions], dtype=np.uint8)
    personal = one_by_one(window(reverse), reference, positions, bases)
    codes = personal.codes()
    assert codes.shape == (1 + positions.size, LENGTH)
    assert (codes[0] == as_read(reference, reverse)).all()
    for row, (position, base) in enumerate(zip(positions, bases, strict=True), 1):
        expected = reference.copy()
        expected[position] = base
        assert (codes[row] == as_read(expected, reverse)).all()
    assert personal.reference_row == 0


@given(
    references,
    st.sets(st.integers(0, LENGTH - 1)),
    st.booleans(),
    st.none() | st.tuples(st.integers(0, LENGTH - 1), st.integers(0, 3)),
)
def test_every_base_at_some_positions(reference, places, reverse, substituted):
    positions = np.array(sorted(places), dtype=np.int64)
    personal, rows, base = saturated(window(reverse), reference, positions, substituted)
    codes, mutated = personal.codes(), reference.copy()
    if substituted is not None:
        mutated[substituted[0]] = substituted[1]
    assert (codes[0] == as_read(reference, reverse)).all()
    assert (codes[base] == as_read(mutated, reverse)).all()
    assert rows.shape == (positions.size, 4)
    for place, position in enumerate(positions):
        for letter in range(4):
            if mutated[position] == OTHER:
                assert rows[place, letter] == -1
                continue
            expected = mutated.copy()
            expected[position] = letter
            assert (codes[rows[place, letter]] == as_read(expected, reverse)).all()
            assert (rows[place, letter] == base) == (letter == mutated[position])


def test_several_bases_at_once():
    reference = np.zeros(LENGTH, dtype=np.uint8)
    carried = np.array([[True, True, False], [False, True, True]])
    put_in = np.array([3, 5, 9]), np.array([1, 2, 3], dtype=np.uint8)
    codes = mutants(window(False), reference, *put_in, carried).codes()
    assert [np.flatnonzero(row).tolist() for row in codes] == [[], [3, 5], [5, 9]]
    assert codes[2, [5, 9]].tolist() == [2, 3]


@pytest.mark.parametrize("reverse", [False, True])
def test_mutants_share_tiles(reverse):
    rng = np.random.default_rng(0)
    tiling = Tiling(bins=12, bin_size=8, bins_of_tile=2, halo=5)
    reference = rng.integers(0, 4, tiling.length).astype(np.uint8)
    positions = np.arange(tiling.length)
    personal = one_by_one(Window("chr1", 0, tiling.length, reverse), reference, positions,
                          (reference + 1) % 4)  # fmt: skip
    found = tiles(personal, tiling)
    assert (found.codes() == personal.codes()).all()
    # each base belongs to one tile, or with its halo to two
    distinct = len(found.left) + len(found.middle) + len(found.right)
    assert tiling.length < distinct <= 2 * tiling.length + tiling.n_tiles
