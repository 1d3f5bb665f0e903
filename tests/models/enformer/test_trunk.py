import numpy as np
import pytest

from zarrbench.genome.coordinates import Window
from zarrbench.genotypes.policies import Policies
from zarrbench.haplotypes.sequences import personal_window
from zarrbench.haplotypes.tiles import Tiling, tiles
from zarrbench.models.enformer.architecture import TINY

HALO = 259
LENGTH = TINY.input_length


def affected(position: int) -> set[int]:
    """Rows whose bin, with the halo, holds the position."""
    return {r for r in range(TINY.bins) if 128 * r - HALO <= position < 128 * (r + 1) + HALO}


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal within 1e-5 of the range."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * float(np.ptp(expected)))


@pytest.mark.parametrize("k", [1, 4, 7])
@pytest.mark.parametrize("row", [3, 17, 50])
def test_a_tile_without_padding_gives_the_rows_of_the_whole(tiny, random_codes, k, row):
    codes = random_codes(3, LENGTH)
    whole = tiny.trunk(codes)
    tile = codes[:, 128 * row - HALO : 128 * (row + k) + HALO]
    assert (TINY.halo, tile.shape[1]) == (HALO, 128 * k + 518)
    found = tiny.trunk(tile, "valid")
    assert (whole.shape, found.shape) == ((3, 64, 48), (3, k, 48))
    assert_close(found, whole[:, row : row + k])


@pytest.mark.parametrize("k", [1, 4])
def test_padding_reaches_three_rows(tiny, random_codes, k):
    codes = random_codes(2, LENGTH)
    whole = tiny.trunk(codes)
    edge = (k + 3) * 128
    first, last = tiny.trunk(codes[:, :edge])[:, :k], tiny.trunk(codes[:, -edge:])[:, -k:]
    assert_close(first, whole[:, :k])
    assert_close(last, whole[:, -k:])
    middle = tiny.trunk(codes[:, 1280 : 1280 + 1280])
    differs = np.abs(middle - whole[:, 10:20]).max(axis=(0, 2)) > 1e-4
    assert differs.tolist() == [True] * 3 + [False] * 4 + [True] * 3


def test_a_changed_base_changes_its_rows_and_no_others(tiny, random_codes):
    codes = random_codes(1, LENGTH)
    offsets = [0, 1, 2, 3, 4, 64, 124, 125, 126, 127]
    positions = [0, 1, LENGTH - 2, LENGTH - 1, *(32 * 128 + offset for offset in offsets)]
    changed = np.repeat(codes, len(positions) + 1, axis=0)
    changed[np.arange(len(positions)), positions] = (codes[0, positions] + 1) % 4
    rows = tiny.trunk(changed)
    differs = (rows[:-1] != rows[-1]).any(axis=2)
    reached = [set(np.flatnonzero(row).tolist()) for row in differs]
    assert reached == [affected(position) for position in positions]
    assert {len(rows) for rows in reached[4:]} == {5, 6}


def test_what_is_no_letter_is_a_zero_vector(tiny, random_codes):
    codes = random_codes(1, 2048)
    with_gap = codes.copy()
    with_gap[0, :640] = 4
    padded_by_hand = tiny.trunk(codes[:, 640:], "same")
    # beyond the gap and its halo there is no difference; within it the gap is no padding
    found = tiny.trunk(with_gap)
    assert_close(found[0, 8:], padded_by_hand[0, 3:])
    assert np.abs(found[0, 5] - padded_by_hand[0, 0]).max() > 1e-4


@pytest.mark.parametrize("indels", ["skip", "anchor_tss"])
@pytest.mark.parametrize("k", [3, 4, 6])
def test_distinct_tiles_make_the_rows_of_every_sequence(tiny, family, indels, k):
    tiling = Tiling(bins=24, bins_of_tile=k)
    window = Window("chr1", 1000, 1000 + tiling.length, anchor=2100)
    policies = Policies(indels=indels)
    personal = personal_window(family.genotypes, family.reference, window, policies)
    assert personal.n_rows > 20
    made = tiles(personal, tiling)
    left = tiny.trunk(made.left)[:, :k]
    middle = tiny.trunk(made.middle, "valid")
    right = tiny.trunk(made.right)[:, -k:]
    assert middle.shape == (len(made.middle), k, TINY.channels)
    pieces = [
        left[made.rows[:, 0]],
        *middle[made.rows[:, 1:-1]].transpose(1, 0, 2, 3),
        right[made.rows[:, -1]],
    ]
    whole = tiny.trunk(personal.codes())
    assert_close(np.concatenate(pieces, axis=1), whole)
