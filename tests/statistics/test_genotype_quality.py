"""Quality of variants and people: the exact test against fractions of whole numbers, and sgkit."""

import math
from fractions import Fraction

import dask
import dask.array as da
import numpy as np
import pytest
import sgkit
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrbench.statistics.genotype_quality import (
    hardy_weinberg_p,
    individual_quality,
    variant_quality,
)


def refuse_to_compute(*args, **kwargs):
    raise AssertionError("something computed")


def calls_of(het: int, other: int, effect: int, missing: int = 0) -> np.ndarray:
    return np.repeat(np.array([1, 0, 2, -1], np.int8), [het, other, effect, missing])


def exact_p(het: int, other: int, effect: int) -> float:
    """The sum over numbers of heterozygotes that are no likelier, by whole numbers."""
    n, copies = het + other + effect, 2 * effect + het

    def ways(x: int) -> Fraction:
        homozygous = (copies - x) // 2
        parts = math.factorial(x) * math.factorial(homozygous) * math.factorial(n - x - homozygous)
        return Fraction(2**x * math.factorial(n), parts)

    likely = {x: ways(x) for x in range(copies % 2, min(copies, 2 * n - copies) + 1, 2)}
    return float(sum(w for w in likely.values() if w <= likely[het]) / sum(likely.values()))


def test_hardy_weinberg_of_every_small_table():
    tables = [(het, other, n - het - other)
              for n in (1, 2, 3, 7, 16) for het in range(n + 1)
              for other in range(n - het + 1)]  # fmt: skip
    for table in tables:
        found = hardy_weinberg_p(calls_of(*table, missing=3))
        assert found == pytest.approx(exact_p(*table), rel=1e-10), table


def test_hardy_weinberg_by_hand():
    # two alleles each of two people: 0/0 1/1 in one of three pairings, 0/1 0/1 in two
    assert hardy_weinberg_p([0, 2]) == pytest.approx(1 / 3)
    assert hardy_weinberg_p([1, 1]) == pytest.approx(1)
    found = hardy_weinberg_p([[0, 0, 0, -1], [-1, -1, -1, -1], [2, 2, 2, 2]])
    np.testing.assert_array_equal(found, [1, np.nan, 1])
    # a published table: 1,612 moths of three kinds (Ford 1971)
    assert hardy_weinberg_p(calls_of(138, 1469, 5)) == pytest.approx(exact_p(138, 1469, 5))


def dataset_of(calls: np.ndarray) -> xr.Dataset:
    genotypes = np.stack([calls > 0, calls > 1], axis=-1).astype(np.int8)
    genotypes[calls < 0] = -1
    dims = ("variants", "samples", "ploidy")
    return xr.Dataset(
        {
            "call_genotype": (dims, genotypes),
            "call_genotype_mask": (dims, genotypes < 0),
            "variant_allele": (("variants", "alleles"), np.full((len(calls), 2), b"A")),
        }
    )


@pytest.fixture(scope="module")
def dosage() -> xr.DataArray:
    rng = np.random.default_rng(6)
    calls = rng.binomial(2, rng.uniform(0, 1, (40, 1)), (40, 25)).astype(np.int8)
    calls[rng.random(calls.shape) < 0.1] = -1
    calls[3], calls[4] = 0, -1
    names = np.array([f"P{i}" for i in range(25)], dtype=object)
    return xr.DataArray(calls, {"individual": names}, ("variant", "individual"))


def test_variants_and_people_as_sgkit_has_them(dosage):
    data = dataset_of(dosage.values)
    theirs = sgkit.hardy_weinberg_test(sgkit.variant_stats(data)).compute()
    ours = variant_quality(dosage)
    frequency = theirs.variant_allele_frequency.values[:, 1]
    np.testing.assert_allclose(ours.effect_allele_frequency, frequency)
    np.testing.assert_allclose(ours.minor_allele_frequency, np.minimum(frequency, 1 - frequency))
    np.testing.assert_allclose(ours.variant_missing, 1 - theirs.variant_call_rate)
    np.testing.assert_allclose(ours.hwe_p, theirs.variant_hwe_p_value, rtol=1e-10)
    assert ours.n_called.dtype == np.int64
    carriers = [(row > 0).sum() / (row >= 0).sum() if (row >= 0).any() else np.nan
                for row in dosage.values]  # fmt: skip
    np.testing.assert_allclose(ours.carrier_frequency, carriers)
    people = individual_quality(dosage)
    theirs = sgkit.sample_stats(data).compute()
    np.testing.assert_allclose(people.individual_missing, 1 - theirs.sample_call_rate)
    expected = theirs.sample_n_het / theirs.sample_n_called
    np.testing.assert_allclose(people.heterozygosity, expected)
    assert people.individual.values.tolist() == dosage.individual.values.tolist()


@settings(max_examples=15)
@given(chunks=st.tuples(st.integers(1, 40), st.integers(1, 25)))
def test_is_lazy_and_any_chunks_give_the_same(dosage, chunks):
    with dask.config.set(scheduler=refuse_to_compute):
        array = dosage.copy(data=da.from_array(dosage.values, chunks))
        lazy = variant_quality(array), individual_quality(array)
    for found, expected in zip(
        lazy, (variant_quality(dosage), individual_quality(dosage)), strict=True
    ):
        assert all(found[name].chunks for name in found.data_vars)
        xr.testing.assert_allclose(found.compute(scheduler="synchronous"), expected, rtol=1e-14)


def test_nobody_called():
    nobody = xr.DataArray(np.full((3, 2), -1, np.int8), dims=("variant", "individual"))
    people = individual_quality(nobody)
    assert people.individual_missing.values.tolist() == [1, 1]
    assert np.isnan(people.heterozygosity).all()
    variants = variant_quality(nobody)
    assert variants.variant_missing.values.tolist() == [1, 1, 1]
    assert np.isnan(variants.hwe_p).all()
