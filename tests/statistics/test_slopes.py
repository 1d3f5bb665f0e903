"""Slopes against statsmodels, scipy and mpmath-checked tails; degenerate pairs; signs by hand."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from zarrbench.statistics.slopes import Slopes, slopes

FIELDS = ("slope", "se", "t", "p", "r", "n")


def cohort(seed: int, variants: int = 12, people: int = 60, missing: float = 0.0):
    rng = np.random.default_rng(seed)
    dosage = rng.binomial(2, rng.uniform(0.05, 0.95, (variants, 1)), (variants, people))
    dosage = np.where(rng.random(dosage.shape) < missing, -1, dosage).astype(np.int8)
    return dosage, rng.standard_normal(people) * 3 + 7, rng


def by_statsmodels(dosage, y, covariates=None):
    """Regress each variant by itself: slope, se, t, p, r given the covariates, n."""
    found = []
    for row in dosage:
        kept = np.isfinite(y) & (row >= 0)
        extra = np.empty((kept.sum(), 0)) if covariates is None else covariates[kept]
        design = np.column_stack([np.ones(kept.sum()), extra])
        fit = sm.OLS(y[kept], np.column_stack([design, row[kept]])).fit()
        g = sm.OLS(row[kept].astype(float), design).fit().resid
        e = sm.OLS(y[kept], design).fit().resid
        found.append([fit.params[-1], fit.bse[-1], fit.tvalues[-1], fit.pvalues[-1],
                      g @ e / np.sqrt(g @ g * (e @ e)), kept.sum()])  # fmt: skip
    return Slopes(*np.array(found).T)


def assert_same(found: Slopes, expected: Slopes, rtol: float = 1e-10) -> None:
    for name in FIELDS:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol, 1e-12)


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("n_covariates", [None, 1, 5])
@pytest.mark.parametrize("unmeasured", [0, 7])
def test_agrees_with_statsmodels(missing, n_covariates, unmeasured):
    dosage, y, rng = cohort(1, missing=missing)
    covariates = None if n_covariates is None else rng.standard_normal((60, n_covariates)) * 5 + 3
    y[rng.permutation(60)[:unmeasured]] = np.nan
    assert_same(slopes(dosage, y, covariates=covariates), by_statsmodels(dosage, y, covariates))


def test_agrees_with_scipy_for_imputed_dosages():
    rng = np.random.default_rng(2)
    dosage, y = rng.uniform(0, 2, (5, 40)), rng.standard_normal(40)
    dosage[2, 3:6] = np.nan
    found = slopes(dosage, y)
    for i, row in enumerate(dosage):
        kept = np.isfinite(row)
        expected = stats.linregress(row[kept], y[kept])
        got = [found.slope[i], found.se[i], found.p[i], found.r[i]]
        wanted = [expected.slope, expected.stderr, expected.pvalue, expected.rvalue]
        np.testing.assert_allclose(got, wanted, rtol=1e-10)


def test_sign_is_that_of_the_counted_allele():
    """By hand: one more copy of the allele, two units more expression."""
    found = slopes(np.array([[0, 1, 2, 1], [2, 1, 0, 1]], np.int8), [1.0, 3.0, 5.0, 3.5])
    assert found.slope[0] == 2.0
    assert found.slope[1] == -2.0
    assert found.r[0] > 0 > found.r[1]


@pytest.mark.parametrize("effect", [1.0, 1e-4, 0.0])
def test_perfect_and_nearly_perfect_fits(effect):
    dosage, y, rng = cohort(3)
    y = 3.0 * dosage[0] - 1 + effect * 1e-3 * rng.standard_normal(60)
    found = slopes(dosage[:1], y)
    if effect == 0.0:
        np.testing.assert_allclose(found.slope, 3.0, rtol=1e-14)
        assert (found.se, found.t, found.p) == (0.0, np.inf, 0.0)
        assert slopes(dosage[:1], -y).t == -np.inf
    else:
        # statsmodels itself is good to 1e-9 here
        assert_same(found, by_statsmodels(dosage[:1], y), rtol=1e-8)
        rest = y - found.slope * dosage[0]
        rest -= rest.mean()
        g = dosage[0] - dosage[0].mean()
        np.testing.assert_allclose(found.se, np.sqrt(rest @ rest / 58 / (g @ g)), rtol=1e-10)


def test_pairs_that_have_no_slope():
    dosage = np.array([[0, 1, 2, 0, 1], [1, 1, 1, 1, 1], [-1] * 5, [-1, -1, -1, 0, 1],
                       [-1, -1, 0, 1, 1]], np.int8)  # fmt: skip
    found = slopes(dosage, np.array([[1.0, 3, 2, 5, 4], [2.0] * 5, [np.nan] * 5]))
    assert found.n.tolist() == [5, 5, 0, 2, 3, *[5, 5, 0, 2, 3], *[0] * 5]
    defined = [True, False, False, False, True, *[False] * 10]
    for name in FIELDS[:-1]:
        assert np.isfinite(getattr(found, name)).tolist() == defined, name


def test_no_variants_and_no_people():
    assert slopes(np.empty((0, 4), np.int8), np.arange(4.0)).slope.shape == (0,)
    found = slopes(np.empty((3, 0), np.int8), np.empty((2, 0)))
    assert np.isnan(found.slope).all()
    assert found.n.tolist() == [0] * 6


def test_covariates_that_say_nothing_new():
    dosage, y, rng = cohort(4)
    one = rng.standard_normal((60, 1))
    constant, twice = np.full((60, 1), 5.0), 2 * one - 3
    expected = slopes(dosage, y, covariates=one)
    assert_same(slopes(dosage, y, covariates=np.hstack([one, constant, twice])), expected)
    assert_same(slopes(dosage, y, covariates=constant), slopes(dosage, y), rtol=1e-14)


def test_covariate_that_is_the_variant_or_the_expression():
    dosage, y, rng = cohort(5, missing=0.0)
    found = slopes(dosage, y, covariates=dosage[[0]].T.astype(float))
    assert np.isnan(found.slope[0])
    assert np.isfinite(found.slope[1:]).all()
    assert np.isnan(slopes(dosage, y, covariates=y[:, np.newaxis]).slope).all()
    missing = np.where(rng.random(dosage.shape) < 0.1, -1, dosage).astype(np.int8)
    found = slopes(missing, y, covariates=dosage[[0]].T.astype(float))
    assert np.isnan(found.slope[0])
    assert np.isfinite(found.slope[1:]).all()


def test_genes_have_their_own_runs_of_variants():
    dosage, _, rng = cohort(6, variants=30, missing=0.02)
    y = rng.standard_normal((4, 60))
    y[1, :5] = np.nan
    first, last = [0, 3, 10, 30], [12, 3, 30, 30]
    found = slopes(dosage, y, first, last)
    parts = [slopes(dosage[a:b], row) for row, a, b in zip(y, first, last, strict=True)]
    for name in FIELDS:
        whole = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(getattr(found, name), whole)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_split_gives_the_same_bits(data):
    seed = data.draw(st.integers(0, 99))
    dosage, _, rng = cohort(
        seed, variants=9, people=20, missing=data.draw(st.sampled_from([0, 0.2]))
    )
    y = rng.standard_normal((3, 20))
    covariates = data.draw(st.sampled_from([None, rng.standard_normal((20, 2))]))
    cut = data.draw(st.integers(0, 9))
    whole = slopes(dosage, y, covariates=covariates)
    for gene in range(3):
        parts = [
            slopes(rows, y[gene], covariates=covariates) for rows in (dosage[:cut], dosage[cut:])
        ]
        for name in FIELDS:
            joined = np.concatenate([getattr(part, name) for part in parts])
            np.testing.assert_array_equal(getattr(whole, name)[9 * gene : 9 * gene + 9], joined)


@settings(max_examples=60, deadline=None)
@given(st.floats(-5, 5), st.floats(0.1, 100), st.booleans())
def test_units_and_the_other_allele(shift, scale, swap):
    dosage, y, _ = cohort(7)
    found = slopes(dosage, y)
    changed = slopes(2 - dosage if swap else dosage, y * scale + shift)
    sign = -1 if swap else 1
    np.testing.assert_allclose(changed.slope, sign * scale * found.slope, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(changed.p, found.p, rtol=1e-8)


@pytest.mark.parametrize("people", [4, 5, 30, 839, 3000])
def test_p_from_end_to_end_of_its_table(people):
    """From no effect to |t| far beyond the table, within 1e-10 of scipy."""
    rng = np.random.default_rng(people)
    dosage = rng.permuted(np.tile(np.arange(people) % 3, (300, 1)), axis=1).astype(np.int8)
    noise = rng.standard_normal(people)
    y = np.stack([dosage[0] * effect + noise for effect in np.geomspace(1e-6, 30, 40)])
    found = slopes(dosage, y)
    expected = 2 * stats.t.sf(np.abs(found.t), people - 2)
    assert np.abs(found.t).max() > 32
    seen = expected > 1e-290
    np.testing.assert_allclose(found.p[seen], expected[seen], rtol=1e-10)
    assert (found.p[~seen] <= 1e-290).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": np.zeros(59)}, "differ in people"),
        ({"covariates": np.zeros((59, 1))}, "differ in people"),
        ({"covariates": np.full((60, 1), np.nan)}, "not finite"),
        ({"first": [0], "last": [13]}, "within the 12 variants"),
        ({"first": [3], "last": [2]}, "within the 12 variants"),
        ({"first": [0, 1], "last": [2, 2]}, "of 1 genes"),
    ],
)
def test_what_does_not_fit(arguments, message):
    dosage, y, _ = cohort(8)
    with pytest.raises(ValueError, match=message):
        slopes(dosage, **{"y": y, **arguments})
