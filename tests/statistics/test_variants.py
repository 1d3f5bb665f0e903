"""Frequencies against sgkit, groups against scikit-learn, and the heat map by hand."""

import dask
import dask.array as da
import numpy as np
import pytest
import sgkit
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.cluster import AgglomerativeClustering

from zarrbench.errors import RecipeError
from zarrbench.statistics.variants import (
    average_order,
    correlated_groups,
    frequencies,
    heat_map,
    variant_frequency,
    variants_carried,
)

CALLS = hnp.arrays(np.int8, st.tuples(st.integers(1, 12), st.integers(1, 9)),
                   elements=st.integers(-1, 2))  # fmt: skip


def refuse_to_compute(*args, **kwargs):
    raise AssertionError("something computed")


def linked_dosage(rng, variants=60, people=120, founders=9):
    """Dosages in which variants come in groups that are copies of each other but for a few."""
    shape = (2, founders, people)
    haplotypes = (rng.random(shape) < rng.uniform(0.15, 0.6, (1, founders, 1))).astype(np.int8)
    dosage = haplotypes.sum(axis=0)[rng.integers(0, founders, variants)]
    changed = rng.random(dosage.shape) < rng.choice([0, 0.01, 0.05, 0.3], (variants, 1))
    return np.where(changed, rng.integers(0, 3, dosage.shape), dosage).astype(np.int8)


def same_partition(a, b):
    pairs = set(zip(np.asarray(a).tolist(), np.asarray(b).tolist(), strict=True))
    return len(pairs) == len(set(np.asarray(a).tolist())) == len(set(np.asarray(b).tolist()))


@pytest.fixture
def rng():
    return np.random.default_rng(22)


# --- frequencies


@settings(max_examples=60)
@given(calls=CALLS)
def test_allele_frequency_is_that_of_sgkit(calls):
    genotypes = np.stack([calls > 0, calls > 1], axis=-1).astype(np.int8)
    genotypes[calls < 0] = -1
    dataset = xr.Dataset(
        {
            "call_genotype": (("variants", "samples", "ploidy"), genotypes),
            "call_genotype_mask": (("variants", "samples", "ploidy"), genotypes < 0),
            "variant_allele": (("variants", "alleles"), np.full((len(calls), 2), b"A")),
        }
    )
    expected = sgkit.variant_stats(dataset).variant_allele_frequency.values[:, 1]
    ours = variant_frequency(calls)
    np.testing.assert_allclose(ours.allele, expected)
    np.testing.assert_allclose(ours.minor_allele, np.minimum(expected, 1 - expected))
    assert ours.n_called.tolist() == (calls >= 0).sum(axis=1).tolist()
    for row, carrier, centred in zip(calls, ours.carrier, ours.carrier_centred, strict=True):
        called = row[row >= 0].tolist()
        expected = sum(call > 0 for call in called) / len(called) if called else np.nan
        np.testing.assert_allclose(carrier, expected)
        np.testing.assert_allclose(centred, 1 - expected if expected > 0.5 else expected)


def test_frequencies_by_hand():
    found = variant_frequency([[0, 1, 2, -1], [2, 2, 2, 1], [0, 0, 0, 0], [-1] * 4])
    np.testing.assert_allclose(found.carrier, [2 / 3, 1, 0, np.nan])
    np.testing.assert_allclose(found.carrier_centred, [1 / 3, 0, 0, np.nan])
    np.testing.assert_allclose(found.allele, [0.5, 7 / 8, 0, np.nan])
    np.testing.assert_allclose(found.minor_allele, [0.5, 1 / 8, 0, np.nan])
    assert variant_frequency([0, 1, 2, -1], decimals=3).carrier == 0.667
    assert np.isnan(variant_frequency(np.empty((2, 0), np.int8)).carrier).all()


def test_fractions_of_imputed_calls_are_summed_whole():
    dosage = np.array([[0.5, 1.25, 2.0, 0.0], [0.1, np.nan, -1.0, 0.2]])
    for kind in (np.float64, np.float32):
        found = variant_frequency(dosage.astype(kind))
        np.testing.assert_allclose(found.allele, [3.75 / 8, 0.3 / 4], rtol=1e-7)
        np.testing.assert_allclose(found.minor_allele, [3.75 / 8, 0.3 / 4], rtol=1e-7)
        np.testing.assert_allclose(found.carrier, [0.75, 1.0])
        assert found.n_called.tolist() == [4, 2]


def test_many_people_do_not_overflow():
    assert variant_frequency(np.full((1, 1000), 2, np.int8)).allele == 1.0


@settings(max_examples=20)
@given(chunks=st.tuples(st.integers(1, 60), st.integers(1, 120)))
def test_frequencies_are_lazy_and_any_chunks_give_the_same(chunks):
    dosage = linked_dosage(np.random.default_rng(1))
    dosage[3, :5] = -1
    coords = {"individual": np.arange(120), "variant_position": ("variant", np.arange(60))}
    array = xr.DataArray(dosage, coords, ("variant", "individual"))
    with dask.config.set(scheduler=refuse_to_compute):
        lazy = frequencies(array.copy(data=da.from_array(dosage, chunks)), decimals=3)
    assert all(lazy[name].chunks for name in lazy.data_vars)
    plain = frequencies(array, decimals=3)
    xr.testing.assert_identical(lazy.compute(scheduler="synchronous"), plain)
    expected = variant_frequency(dosage, decimals=3)
    np.testing.assert_array_equal(plain["minor_allele_frequency"], expected.minor_allele)
    assert plain["n_called"].dtype == np.int64
    assert "variant_position" in plain.coords


def test_variants_carried():
    carried = variants_carried([[0, 1, -1], [2, 1, 0], [0, 0, 0]])
    assert carried.tolist() == [1, 2, 0]


# --- correlated_groups


@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_groups_are_those_of_scikit_learn(seed, threshold):
    rows = linked_dosage(np.random.default_rng(seed)) + np.random.default_rng(seed).normal(
        0, 1e-3, (60, 120)
    )
    theirs = AgglomerativeClustering(None, metric="precomputed", linkage="complete",
                                     distance_threshold=threshold)  # fmt: skip
    expected = theirs.fit_predict(1 - np.corrcoef(rows))
    ours = correlated_groups(rows, threshold)
    assert same_partition(ours, expected)
    assert 1 < len(set(ours.tolist())) < 60


@settings(max_examples=60)
@given(calls=CALLS, threshold=st.sampled_from([0.0, 0.1, 0.7]))
def test_rows_of_a_group_correlate_and_constant_ones_are_alone(calls, threshold):
    groups = correlated_groups(calls, threshold)
    sizes = np.bincount(groups)
    assert sizes.min() >= 1
    assert np.unique(groups, return_index=True)[1].tolist() == sorted(
        np.unique(groups, return_index=True)[1]
    )
    for a in range(len(calls)):
        if len(set(calls[a].tolist())) == 1:
            assert sizes[groups[a]] == 1
        for b in range(a):
            if groups[a] == groups[b]:
                assert 1 - np.corrcoef(calls[a], calls[b])[0, 1] <= threshold + 1e-9


def test_r_at_the_threshold_is_within_it():
    x = np.array([1.0, 0.0, -1.0, 0.0])
    y = 0.9 * x + np.sqrt(1 - 0.81) * np.array([0.0, 1.0, 0.0, -1.0])
    assert np.corrcoef(x, y)[0, 1] == pytest.approx(0.9)
    assert correlated_groups([x, y]).tolist() == [0, 0]
    assert correlated_groups([x, y], 0.0999).tolist() == [0, 1]


def test_opposite_rows_are_no_group():
    x = np.array([0.0, 1.0, 2.0, 1.0])
    assert correlated_groups([x, 2 - x, x + 5]).tolist() == [0, 1, 0]


@pytest.mark.parametrize(("shape", "expected"), [((0, 3), []), ((1, 3), [0]), ((3, 2), [0, 1, 2])])
def test_few_or_constant_rows(shape, expected):
    assert correlated_groups(np.ones(shape)).tolist() == expected


def test_what_cannot_be_grouped_is_refused():
    with pytest.raises(RecipeError, match=r"from 0 to 2, found 2\.5"):
        correlated_groups(np.eye(3), 2.5)
    with pytest.raises(ValueError, match="not finite"):
        correlated_groups([[0.0, np.nan], [1.0, 2.0]])


# --- the heat map


def test_order_puts_neighbours_together():
    rows = np.array([[0.0], [10.0], [0.1], [10.1], [20.0]])
    order = average_order(rows).tolist()
    assert sorted(order) == list(range(5))
    assert abs(order.index(0) - order.index(2)) == 1
    assert abs(order.index(1) - order.index(3)) == 1
    assert average_order(np.empty((0, 2))).tolist() == []
    assert average_order([[1.0, 2.0]]).tolist() == [0]


def test_the_heat_map_holds_the_means_of_its_groups(rng):
    dosage = linked_dosage(rng)
    dosage[5] = 0
    dosage[6, 1:] = 0
    dosage[rng.random(dosage.shape) < 0.02] = -1
    found = heat_map(dosage, min_carried=3)
    common = variant_frequency(dosage).carrier > 0.1
    assert (found.variant_group >= 0).tolist() == common.tolist()
    means = np.ma.masked_less(dosage, 0).mean(axis=1).filled(0)
    full = np.where(dosage < 0, means[:, None], dosage)
    rows = range(found.values.shape[0])
    profiles = np.array([full[found.variant_group == row].mean(axis=0) for row in rows])
    carrying = profiles.sum(axis=0) > 3
    assert (found.individual_group >= 0).tolist() == carrying.tolist()
    for column in range(found.values.shape[1]):
        people = profiles[:, found.individual_group == column]
        np.testing.assert_allclose(found.values[:, column], people.mean(axis=1))
    kept = found.variant_group[common]
    assert same_partition(kept, correlated_groups(full[common]))
    assert 1 < found.values.shape[0] < common.sum()
    assert average_order(found.values).shape == (found.values.shape[0],)


def test_thresholds_of_the_heat_map_are_exclusive():
    dosage = np.zeros((2, 10), np.int8)
    dosage[0, 0], dosage[1, :2] = 2, 2
    found = heat_map(dosage, min_frequency=0.1, min_carried=1)
    assert found.variant_group.tolist() == [-1, 0]
    assert sorted(found.individual_group[:2].tolist()) == [0, 1]
    assert found.individual_group[2:].tolist() == [-1] * 8
    assert (heat_map(dosage, min_carried=2).individual_group == -1).all()


@pytest.mark.parametrize("shape", [(0, 5), (4, 5), (3, 0)])
def test_an_empty_heat_map(shape):
    found = heat_map(np.zeros(shape, np.int8))
    assert found.values.size == 0
    assert found.variant_group.tolist() == [-1] * shape[0]
    assert found.individual_group.tolist() == [-1] * shape[1]
