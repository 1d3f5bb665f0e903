"""Kinship against a plain loop, and of relatives whose genomes were passed on by simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrbench.statistics import kinship as module
from zarrbench.statistics.kinship import kinship, related_pairs


def by_loop(dosage, i, j):
    pairs = [(a, b) for a, b in zip(dosage[:, i], dosage[:, j], strict=True) if a >= 0 and b >= 0]
    own, theirs = sum(a == 1 for a, _ in pairs), sum(b == 1 for _, b in pairs)
    fewer = min(own, theirs)
    if fewer == 0:
        return np.nan
    shared = sum(a == b == 1 for a, b in pairs) - 2 * sum(abs(a - b) == 2 for a, b in pairs)
    return shared / (2 * fewer) + 0.5 - (own + theirs) / (4 * fewer)


@pytest.fixture(scope="module")
def calls():
    rng = np.random.default_rng(2)
    dosage = rng.binomial(2, rng.uniform(0.05, 0.95, (80, 1)), (80, 9)).astype(np.int8)
    dosage[rng.random(dosage.shape) < 0.1] = -1
    dosage[:, 7] = 2 * (dosage[:, 7] > 0)
    dosage[:, 8] = -1
    return dosage


def test_as_a_loop(calls):
    found = kinship([calls])
    expected = [[by_loop(calls, i, j) for j in range(9)] for i in range(9)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert np.isnan(found[7]).all()
    assert np.isnan(found[8]).all()
    np.testing.assert_allclose(np.diag(found)[:7], 0.5)


@settings(max_examples=25)
@given(edges=st.lists(st.integers(0, 80), max_size=5), start=st.integers(0, 8), n=st.integers(1, 9))
def test_any_blocks_of_variants_and_people_give_the_same(calls, edges, start, n):
    whole = kinship([calls])
    part = kinship(np.split(calls, sorted(edges)), slice(start, start + n))
    np.testing.assert_array_equal(part, whole[start : start + n])


def family(variants=20_000, seed=1):
    """Unlinked dosages of grandmother, mother, father, two of their children, twin, strangers."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.1, 0.9, (variants, 1))

    def founder():
        return (rng.random((variants, 2)) < p).astype(np.int8)

    def child(a, b):
        passed = [x[np.arange(variants), rng.integers(0, 2, variants)] for x in (a, b)]
        return np.stack(passed, axis=1)

    grandmother, father = founder(), founder()
    mother = child(grandmother, founder())
    first, second = child(mother, father), child(mother, father)
    people = {"grandmother": grandmother, "mother": mother, "father": father}
    people |= {"first": first, "second": second, "twin": first}
    people |= {f"stranger{i}": founder() for i in range(12)}
    return list(people), np.stack([x.sum(axis=1) for x in people.values()], axis=1).astype(np.int8)


EXPECTED = {
    ("first", "twin"): 0.5,
    ("grandmother", "mother"): 0.25, ("mother", "first"): 0.25, ("mother", "second"): 0.25,
    ("mother", "twin"): 0.25, ("father", "first"): 0.25, ("father", "second"): 0.25,
    ("father", "twin"): 0.25, ("first", "second"): 0.25, ("second", "twin"): 0.25,
    ("grandmother", "first"): 0.125, ("grandmother", "second"): 0.125,
    ("grandmother", "twin"): 0.125,
}  # fmt: skip


@pytest.mark.parametrize("bytes_", [1 << 28, 64 * 18 * 5, 1])
def test_relatives_are_found_and_strangers_are_not(bytes_, monkeypatch):
    monkeypatch.setattr(module, "_BYTES", bytes_)
    names, dosage = family()
    found = related_pairs(lambda: np.split(dosage, [7000]), names, 0.0884)
    pairs = found.pairs.set_index(["individual_1", "individual_2"]).kinship
    assert set(pairs.index) == set(EXPECTED)
    for pair, expected in EXPECTED.items():
        assert pairs[pair] == pytest.approx(expected, abs=0.02)
    assert found.pairs.kinship.is_monotonic_decreasing
    strangers = kinship([dosage[:, 6:]])[np.triu_indices(12, 1)]
    assert abs(strangers.mean()) < 0.005
    assert found.scatter == pytest.approx(strangers.std(), rel=0.8)
    assert found.scatter < 0.0884 / 4


def test_two_populations_do_not_make_relatives():
    """Where a homogeneous estimator would find everybody of one population related."""
    rng = np.random.default_rng(8)
    p = rng.uniform(0.1, 0.9, (20_000, 2))
    dosage = rng.binomial(2, np.repeat(p, 8, axis=1)).astype(np.int8)
    found = kinship([dosage])
    assert np.abs(found[:8, :8][np.triu_indices(8, 1)]).max() < 0.03
    assert found[:8, 8:].max() < 0
    assert related_pairs(lambda: [dosage], [str(i) for i in range(16)], 0.0442).pairs.empty


def test_few_variants_scatter_and_say_so():
    names, dosage = family(variants=200)
    found = related_pairs(lambda: [dosage], names, 0.0884)
    assert found.scatter > 0.0884 / 4
    nothing = related_pairs(lambda: [dosage[:0]], names, 0.0884)
    assert nothing.pairs.empty
    assert np.isnan(nothing.scatter)
    with pytest.raises(ValueError, match="at least one block"):
        kinship([])
