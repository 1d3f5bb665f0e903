"""Pruning by linkage against a plain loop over numpy's correlations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrbench.statistics import linkage
from zarrbench.statistics.linkage import ld_pruned


def linked(rng, variants=120, people=60):
    """Dosages with runs of variants that are copies but for a few calls; two contigs."""
    founders = rng.binomial(2, rng.uniform(0.1, 0.9, (variants, 1)), (variants, people))
    dosage = founders[np.sort(rng.integers(0, variants, variants) // 4 * 4)]
    changed = rng.random(dosage.shape) < rng.choice([0, 0.02, 0.2], (variants, 1))
    dosage = np.where(changed, rng.integers(0, 3, dosage.shape), dosage).astype(np.int8)
    dosage[rng.random(dosage.shape) < 0.01] = -1
    contig = np.repeat(["chr1", "chr2"], [variants // 2, variants - variants // 2])
    halves = np.split(rng.integers(1, 5000, variants), [variants // 2])
    return dosage, contig, np.concatenate([np.sort(half) for half in halves])


def plain(dosage, contig, position, window, max_r2):
    called = np.ma.masked_less(dosage, 0).astype(float)
    full = called.filled(called.mean(axis=1).filled(0)[:, None])
    kept = []
    for i in range(len(full)):
        near = [k for k in kept if contig[k] == contig[i] and position[i] - position[k] <= window]
        r2 = [np.corrcoef(full[k], full[i])[0, 1] ** 2 for k in near]
        if full[i].std() > 0 and not any(value > max_r2 for value in r2):
            kept.append(i)
    return np.isin(np.arange(len(full)), kept)


@pytest.mark.parametrize("window", [0, 300, 10_000])
@pytest.mark.parametrize("max_r2", [0.1, 0.5])
def test_is_what_a_loop_keeps(window, max_r2, monkeypatch):
    monkeypatch.setattr(linkage, "_TILE", 17)
    for seed in range(4):
        given_ = linked(np.random.default_rng(seed))
        found = ld_pruned([given_[0]], *given_[1:], window, max_r2)
        np.testing.assert_array_equal(found, plain(*given_, window, max_r2))
    if window == 10_000:
        assert 5 < found.sum() < 100


@settings(max_examples=25)
@given(
    edges=st.lists(st.integers(0, 120), max_size=6),
    tile=st.integers(1, 130),
    kind=st.sampled_from([str, object, np.dtypes.StringDType()]),
)
def test_any_blocks_give_the_same(edges, tile, kind):
    dosage, contig, position = linked(np.random.default_rng(9))
    expected = ld_pruned([dosage], contig, position, 800, 0.2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linkage, "_TILE", tile)
        blocks = np.split(dosage, sorted(edges))
        found = ld_pruned(blocks, contig.astype(kind), position, 800, 0.2)
    np.testing.assert_array_equal(found, expected)


def test_by_hand():
    one, other = [0, 1, 2, 1, 0, 2], [2, 1, 0, 1, 2, 0]  # the same, counted from the other side
    free = [0, 2, 0, 1, 1, 2]
    dosage = np.array([one, other, [1] * 6, free, one], np.int8)
    contig = ["1"] * 5
    assert ld_pruned([dosage], contig, [1, 2, 3, 4, 101], 99).tolist() == [1, 0, 0, 1, 1]
    assert ld_pruned([dosage], contig, [1, 2, 3, 4, 101], 100).tolist() == [1, 0, 0, 1, 0]
    assert ld_pruned([dosage], [*"1111", "2"], [1, 2, 3, 4, 101], 100).tolist() == [1, 0, 0, 1, 1]
    assert ld_pruned([dosage], contig, [1, 2, 3, 4, 5], 100, 1.0).tolist() == [1, 1, 0, 1, 1]
    assert ld_pruned([], [], []).tolist() == []
