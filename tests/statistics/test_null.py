"""The gene-specific null against a plain-Python reference, its calibration and its edges."""

import math

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from zarrbench.statistics.null import (
    STATISTICS,
    effective_variants,
    gene_generator,
    null_correlations,
    null_histogram,
    null_statistics,
    null_statistics_from_moments,
    null_test,
    null_test_from_moments,
    polymorphic,
)

PUBLISHED, SEM, PREDICTION, SIGNED, EMPIRICAL = range(5)


def refuse_to_compute(*args, **kwargs):
    raise AssertionError("something computed")


def simulated_dosage(rng, variants=30, people=40, missing=0.0):
    frequencies = rng.uniform(0.1, 0.9, size=(variants, 1))
    dosage = rng.binomial(2, frequencies, size=(variants, people)).astype(np.int8)
    dosage[rng.random(dosage.shape) < missing] = -1
    return dosage


def reference_null(dosage, y, draws, generator, positive=False):
    """The null with loops over draws, variants and people, in Python's floats."""
    people = [i for i, value in enumerate(y) if math.isfinite(value)]
    rows = []
    for row in dosage.tolist():
        called = [row[i] for i in people if row[i] != -1]
        if len(set(called)) > 1:
            mean = sum(called) / len(called)
            rows.append([row[i] if row[i] != -1 else mean for i in people])
    weights = generator.standard_normal((draws, len(rows))).tolist()
    q = []
    for drawn in weights:
        drawn = [abs(w) if positive else w for w in drawn]
        predictor = [
            sum(w * row[i] for w, row in zip(drawn, rows, strict=True)) for i in range(len(people))
        ]
        q.append(abs(stats.pearsonr(predictor, [y[i] for i in people]).statistic))
    return np.array(q)


def reference_test(r, q):
    """One gene's t and p by scipy's distributions, from the table of the specification."""
    n = len(q)
    mean = sum(q) / n
    sd = math.sqrt(sum((value - mean) ** 2 for value in q) / n)
    sd1 = math.sqrt(sum((value - mean) ** 2 for value in q) / (n - 1))
    difference = abs(r) - mean
    t = [
        difference / math.sqrt(sd / n),
        difference / (sd / math.sqrt(n)),
        difference / (sd1 * math.sqrt(1 + 1 / n)),
        r / math.sqrt(sum(value**2 for value in q) / n),
        math.nan,
    ]
    p = [
        1.0 if t[0] < 0 else stats.t.sf(t[0], n - 1),
        stats.t.sf(t[1], n - 1),
        stats.t.sf(t[2], n - 1),
        2 * stats.t.sf(abs(t[3]), n),
        (1 + sum(value >= abs(r) for value in q)) / (n + 1),
    ]
    return t, p


@pytest.fixture
def rng():
    return np.random.default_rng(1523)


# --- gene_generator


def test_the_stream_of_a_gene_is_pinned():
    # A change here changes every null ever reported: it needs a new layout version.
    assert gene_generator(1, "ENSG1").bit_generator.random_raw(2).tolist() == [
        3643016545134674537,
        7522978924724187182,
    ]


def test_streams_differ_between_genes_and_seeds_and_repeat():
    def start(seed, gene):
        return gene_generator(seed, gene).random(4).tolist()

    assert start(1, "ENSG00000000419") == start(1, "ENSG00000000419")
    starts = [start(seed, f"ENSG{k:011}") for seed in (0, 1, 2) for k in range(50)]
    assert len({tuple(values) for values in starts}) == 150


# --- polymorphic and null_correlations


def test_polymorphic_ignores_missing_calls():
    dosage = np.array([[0, 0, 0], [2, 2, 2], [0, -1, 0], [-1, -1, -1], [0, 1, 0], [-1, 2, 1]])
    assert polymorphic(dosage.astype(np.int8)).tolist() == [False] * 4 + [True] * 2
    assert polymorphic(np.empty((0, 3), np.int8)).tolist() == []
    assert polymorphic(np.empty((2, 0), np.int8)).tolist() == [False, False]


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_null_equals_the_reference(rng, missing, positive):
    dosage = simulated_dosage(rng, missing=missing)
    dosage[4] = 1  # monomorphic
    y = rng.normal(5, 2, size=40)
    y[[3, 17]] = np.nan
    ours = null_correlations(dosage, y, 20, gene_generator(1, "g"), positive)
    expected = reference_null(dosage, y, 20, gene_generator(1, "g"), positive)
    np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-12)
    assert ours.dtype == np.float64


def test_positive_weights_sum_to_the_burden(rng):
    # With many variants of which all raise y, positive weights correlate far more than signed ones.
    dosage = simulated_dosage(rng, variants=300, people=200)
    y = dosage.sum(axis=0)
    signed = null_correlations(dosage, y, 50, gene_generator(1, "g"))
    positive = null_correlations(dosage, y, 50, gene_generator(1, "g"), positive=True)
    assert positive.min() > 0.5
    assert np.median(signed) < 0.2


def test_monomorphic_variants_change_nothing(rng):
    dosage = simulated_dosage(rng, missing=0.05)
    y = rng.normal(size=40)
    padded = np.insert(dosage, [0, 3, 30], [[2], [0], [-1]], axis=0).astype(np.int8)
    np.testing.assert_array_equal(
        null_correlations(padded, y, 30, gene_generator(1, "g")),
        null_correlations(dosage, y, 30, gene_generator(1, "g")),
    )


def test_people_without_expression_change_nothing(rng):
    dosage = simulated_dosage(rng, missing=0.05)
    y = rng.normal(size=40)
    strangers = np.full((30, 2), 2, np.int8)
    np.testing.assert_array_equal(
        null_correlations(
            np.hstack([dosage, strangers]), np.append(y, [np.nan] * 2), 9, gene_generator(1, "g")
        ),
        null_correlations(dosage, y, 9, gene_generator(1, "g")),
    )


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations(range(40)),
    scale=st.floats(0.01, 100),
    shift=st.floats(-100, 100),
    flip=st.booleans(),
)
def test_null_is_invariant_to_scale_shift_and_order_of_people(order, scale, shift, flip):
    rng = np.random.default_rng(8)
    dosage, y = simulated_dosage(rng, missing=0.1), rng.normal(size=40)
    moved = (-scale if flip else scale) * y + shift
    np.testing.assert_allclose(
        null_correlations(dosage[:, order], moved[order], 30, gene_generator(1, "g")),
        null_correlations(dosage, y, 30, gene_generator(1, "g")),
        atol=2e-6,
    )


def test_fewer_draws_are_the_first_of_more(rng):
    dosage, y = simulated_dosage(rng), rng.normal(size=40)
    many = null_correlations(dosage, y, 2500, gene_generator(1, "g"))
    few = null_correlations(dosage, y, 1001, gene_generator(1, "g"))
    np.testing.assert_allclose(few, many[:1001], atol=1e-6)
    assert len(np.unique(many)) > 2400


@pytest.mark.parametrize(
    ("dosage", "y"),
    [
        (np.empty((0, 4), np.int8), [1.0, 2.0, 3.0, 5.0]),
        (np.ones((3, 4), np.int8), [1.0, 2.0, 3.0, 5.0]),
        (np.eye(4, dtype=np.int8), [7.0, 7.0, 7.0, 7.0]),
        (np.eye(4, dtype=np.int8), [0.1 + 0.2, 0.3, 0.3, 0.3]),
        (np.eye(4, dtype=np.int8), [1.0, 2.0, np.nan, np.nan]),
        (np.eye(4, dtype=np.int8), [np.nan] * 4),
    ],
    ids=["no variant", "monomorphic", "constant y", "constant but for rounding", "two", "nobody"],
)
def test_undefined_correlations_are_zero(dosage, y):
    q = null_correlations(dosage, y, 5, gene_generator(1, "g"))
    assert q.tolist() == [0.0] * 5


def test_weights_of_zero_give_zero(rng):
    class Zeros(np.random.Generator):
        def standard_normal(self, size):
            return np.zeros(size)

    q = null_correlations(simulated_dosage(rng), rng.normal(size=40), 5, Zeros(np.random.PCG64(1)))
    assert q.tolist() == [0.0] * 5


def test_rounding_never_takes_q_beyond_one(rng):
    dosage = simulated_dosage(rng, variants=1)
    y = 0.1 * dosage[0] + 3
    assert null_correlations(dosage, y, 2000, gene_generator(1, "g")).max() == 1.0


def test_different_people_are_refused():
    with pytest.raises(ValueError, match=r"dosage \(2, 3\) and y \(4,\) differ in people"):
        null_correlations(np.ones((2, 3), np.int8), np.arange(4.0), 5, gene_generator(1, "g"))


@pytest.mark.parametrize("linked", [1, 40])
def test_one_variant_or_perfect_linkage_is_degenerate(rng, linked):
    people = 839
    first = rng.binomial(2, 0.02, size=people).astype(np.int8)
    first[:3] = [-1, 1, 0]
    rows = [first if k % 2 == 0 else np.where(first < 0, -1, 2 - first) for k in range(linked)]
    dosage = np.array(rows, dtype=np.int8)
    y = rng.normal(size=people)
    q = null_correlations(dosage, y, 2000, gene_generator(1, "g"))
    imputed = np.where(first < 0, first[first >= 0].mean(), first)
    np.testing.assert_allclose(q, abs(stats.pearsonr(imputed, y).statistic), atol=1e-9)
    assert null_test(0.9, q).degenerate
    assert effective_variants(dosage) == pytest.approx(1.0, rel=1e-5)


# --- effective_variants


@pytest.mark.parametrize(("variants", "people"), [(20, 60), (60, 20)])
def test_effective_variants_is_the_participation_ratio_of_the_covariance(rng, variants, people):
    dosage = simulated_dosage(rng, variants, people, missing=0.05)
    dosage[2] = 0
    called = np.ma.masked_less(dosage, 0)
    imputed = np.where(called.mask, called.mean(axis=1, keepdims=True).filled(0.0), dosage)
    eigenvalues = np.linalg.eigvalsh(np.cov(imputed))
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert effective_variants(dosage) == pytest.approx(expected, rel=1e-5)


def test_effective_variants_of_orthogonal_variants_is_their_number():
    dosage = np.array([[0, 0, 2, 2], [0, 2, 0, 2], [0, 2, 2, 0]], np.int8)
    assert effective_variants(dosage) == pytest.approx(3.0, rel=1e-6)
    # dosages are not standardised: a variant of twice the range has 4 times the variance
    unequal = np.array([[0, 0, 2, 2], [0, 1, 0, 1]], np.int8)
    assert effective_variants(unequal) == pytest.approx(5**2 / (4**2 + 1), rel=1e-6)


@pytest.mark.parametrize("shape", [(0, 4), (3, 4), (3, 0)])
def test_effective_variants_is_zero_without_polymorphism(shape):
    assert effective_variants(np.ones(shape, np.int8)) == 0.0


# --- null_test


def test_null_test_equals_the_reference(rng):
    q = np.abs(rng.normal(0, 0.05, size=(40, 50)))
    r = rng.normal(0, 0.1, size=40)
    test = null_test(r, q)
    assert test.t.shape == test.p.shape == (40, 5)
    for gene in range(40):
        t, p = reference_test(r[gene], q[gene].tolist())
        np.testing.assert_allclose(test.t[gene], t, rtol=1e-9)
        np.testing.assert_allclose(test.p[gene], p, rtol=1e-9)
    np.testing.assert_allclose(test.mean, q.mean(axis=1))
    np.testing.assert_allclose(test.sd, q.std(axis=1))
    np.testing.assert_allclose(test.rms, np.sqrt((q**2).mean(axis=1)))
    assert not test.degenerate.any()


def test_a_worked_example():
    test = null_test(-0.5, [0.1, 0.3, 0.1, 0.3])  # mean 0.2, sd 0.1, sd' 0.11547, rms sqrt(0.05)
    assert test.t[PUBLISHED] == pytest.approx(0.3 / math.sqrt(0.1 / 4))
    assert test.t[SEM] == pytest.approx(0.3 / (0.1 / 2))
    assert test.t[PREDICTION] == pytest.approx(0.3 / (0.1 * math.sqrt(4 / 3) * math.sqrt(1.25)))
    assert test.t[SIGNED] == pytest.approx(-0.5 / math.sqrt(0.05))
    assert math.isnan(test.t[EMPIRICAL])
    assert test.p[EMPIRICAL] == pytest.approx(1 / 5)
    assert null_test(0.3, [0.1, 0.3, 0.1, 0.3]).p[EMPIRICAL] == pytest.approx(3 / 5)


def test_below_the_null_mean_only_published_sets_p_to_one():
    test = null_test(0.1, [0.1, 0.3, 0.1, 0.3])
    assert test.t[PUBLISHED] < 0
    assert test.p[PUBLISHED] == 1.0
    assert 0.5 < test.p[SEM] < 1.0
    assert 0.5 < test.p[PREDICTION] < 1.0


def test_a_nan_r_counts_as_zero(rng):
    q = np.abs(rng.normal(0, 0.05, size=(2, 50)))
    missing, zero = null_test([np.nan, np.nan], q), null_test([0.0, 0.0], q)
    np.testing.assert_array_equal(missing.p, zero.p)
    assert (missing.p[:, [PUBLISHED, SIGNED, EMPIRICAL]] == 1.0).all()
    assert (missing.p >= 0.5).all()


@pytest.mark.parametrize("r", [0.9, -0.9, 0.2, np.nan])
@pytest.mark.parametrize(
    "q",
    [np.zeros(50), np.full(50, 0.2), 0.2 + 1e-12 * np.arange(50), np.full(50, np.nan), [0.2]],
    ids=["zero", "equal", "equal but for rounding", "nan", "one draw"],
)
def test_a_null_without_spread_is_degenerate(q, r):
    test = null_test(r, q)
    assert test.degenerate
    assert test.p.tolist() == [1.0] * 5
    assert np.isnan(test.t).all()


def test_a_batch_of_genes_gives_what_single_genes_give(rng):
    q = np.abs(rng.normal(0, 0.05, size=(3, 4, 50)))
    q[1, 1] = 0.0
    r = rng.normal(0, 0.1, size=(3, 4))
    r[2, 3] = np.nan
    together = null_test(r, q)
    assert together.t.shape == (3, 4, 5)
    for gene in np.ndindex(3, 4):
        alone = null_test(r[gene], q[gene])
        np.testing.assert_allclose(alone.p, together.p[gene], rtol=1e-12)
        np.testing.assert_allclose(alone.t, together.t[gene], rtol=1e-12)
        assert alone.degenerate == together.degenerate[gene]


@pytest.fixture(scope="module")
def null_p():
    """p of 3,000 genes whose predictor is one more random draw: shape (gene, statistic)."""
    genes, variants, people, draws = 3000, 60, 100, 50
    rng = np.random.default_rng(99)
    p = []
    for gene in range(genes):
        dosage = rng.binomial(2, rng.uniform(0.1, 0.5, (variants, 1)), (variants, people))
        dosage, y = dosage.astype(np.int8), rng.normal(size=people)
        r = np.corrcoef(rng.normal(size=variants) @ dosage, y)[0, 1]
        q = null_correlations(dosage, y, draws, gene_generator(1, f"gene{gene}"))
        p.append(null_test(r, q).p)
    return np.array(p)


@pytest.mark.parametrize("level", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("statistic", [SIGNED, EMPIRICAL])
def test_signed_and_empirical_are_calibrated(null_p, level, statistic):
    # The smallest empirical p is 1/51, so its attainable levels are multiples of that.
    nominal = math.floor(level * 51) / 51 if statistic == EMPIRICAL else level
    hits = int((null_p[:, statistic] <= level).sum())
    low, high = stats.binom.ppf([0.001, 0.999], len(null_p), nominal)
    assert low <= hits <= high


def test_signed_p_is_uniform(null_p):
    assert stats.kstest(null_p[:, SIGNED], "uniform").pvalue > 0.01


def test_the_other_statistics_are_liberal_as_documented(null_p):
    rates = (null_p <= 0.01).mean(axis=0)
    assert rates[SEM] > 0.2
    assert rates[PREDICTION] > 1.5 * 0.01


@pytest.mark.parametrize("round_r", [None, 2])
def test_moments_give_what_the_draws_give_but_for_the_empirical_p(rng, round_r):
    q = np.abs(rng.normal(0, 0.05, size=(40, 50)))
    q[3], q[5] = 0.2, np.nan
    r = rng.normal(0, 0.1, size=40)
    r[7] = np.nan
    drawn = null_test(r, q, round_r)
    known = null_test_from_moments(r, q.mean(axis=1), q.std(axis=1), 50, round_r)
    np.testing.assert_allclose(known.t, drawn.t, rtol=1e-9)
    np.testing.assert_allclose(known.p[:, :EMPIRICAL], drawn.p[:, :EMPIRICAL], rtol=1e-9)
    np.testing.assert_allclose(known.rms, drawn.rms, rtol=1e-12)
    np.testing.assert_array_equal(known.degenerate, drawn.degenerate)
    assert known.degenerate.sum() == 2
    np.testing.assert_array_equal(np.isnan(known.p[:, EMPIRICAL]), ~drawn.degenerate)


def test_r_is_rounded_before_it_is_tested(rng):
    q = np.abs(rng.normal(0, 0.05, size=50))
    rounded, plain = null_test(0.2004, q, round_r=3), null_test(0.2004, q)
    np.testing.assert_array_equal(rounded.t, null_test(0.2, q).t)
    assert (rounded.t != plain.t)[:EMPIRICAL].all()


def test_moments_broadcast_and_need_two_draws():
    test = null_test_from_moments([[0.5], [-0.2]], [0.1, 0.2, 0.0], [0.05, 0.02, 0.0], 50)
    assert test.p.shape == (2, 3, 5)
    assert test.degenerate.tolist() == [[False, False, True]] * 2
    with pytest.raises(ValueError, match="moments of 1 draws have no spread"):
        null_test_from_moments(0.5, 0.1, 0.0, 1)


# --- null_statistics


def labelled(r, q):
    genes = [f"ENSG{k}" for k in range(len(r))]
    return (
        xr.DataArray(r, {"gene": genes}, ("gene",), name="r", attrs={"description": "of r"}),
        xr.DataArray(q, {"gene": genes}, ("gene", "draw")),
    )


def test_null_statistics_labels_the_test(rng):
    values = rng.normal(size=6), np.abs(rng.normal(size=(6, 50)))
    result = null_statistics(*labelled(*values))
    test = null_test(*values)
    assert result.statistic.values.tolist() == list(STATISTICS)
    for name in ("mean", "sd", "rms", "degenerate"):
        assert result[f"null_{name}"].dims == ("gene",)
        np.testing.assert_array_equal(result[f"null_{name}"], getattr(test, name))
    for name in ("t", "p"):
        assert result[f"null_{name}"].dims == ("gene", "statistic")
        np.testing.assert_array_equal(result[f"null_{name}"], getattr(test, name))
    assert result.null_degenerate.dtype == bool
    assert len(result.data_vars) == 6
    assert not any(result[name].attrs for name in result.data_vars)


def test_null_statistics_stays_lazy_and_gives_the_same(rng):
    r, q = labelled(rng.normal(size=6), np.abs(rng.normal(size=(6, 50))))
    lazy_q = q.copy(data=da.from_array(q.values, chunks=(2, 30)))
    with dask.config.set(scheduler=refuse_to_compute):
        lazy = null_statistics(r.chunk(gene=4), lazy_q)
        with pytest.raises(AssertionError, match="something computed"):
            lazy.compute()
    assert all(lazy[name].chunks for name in lazy.data_vars)
    computed = lazy.compute(scheduler="synchronous")
    xr.testing.assert_allclose(computed, null_statistics(r, q), rtol=1e-12)
    assert computed.null_degenerate.dtype == bool


def test_null_statistics_refuses_other_genes(rng):
    r, q = labelled(rng.normal(size=6), np.abs(rng.normal(size=(6, 50))))
    with pytest.raises(xr.AlignmentError):
        null_statistics(r, q.isel(gene=slice(None, None, -1)))


def test_labelled_moments_stay_lazy_and_give_the_same(rng):
    r, q = labelled(rng.normal(size=6), np.abs(rng.normal(size=(6, 50))))
    mean, sd = q.mean("draw"), q.std("draw")
    known = null_statistics_from_moments(r, mean, sd, 50)
    drawn = null_statistics(r, q)
    kept = [name for name in STATISTICS if name != "empirical"]
    xr.testing.assert_allclose(known.sel(statistic=kept), drawn.sel(statistic=kept), rtol=1e-9)
    with dask.config.set(scheduler=refuse_to_compute):
        lazy = null_statistics_from_moments(r.chunk(gene=4), mean.chunk(gene=2), sd, 50)
    xr.testing.assert_allclose(lazy.compute(scheduler="synchronous"), known, rtol=1e-12)
    with pytest.raises(ValueError, match="draws have no spread"):
        null_statistics_from_moments(r, mean, sd, 1)
    with pytest.raises(xr.AlignmentError):
        null_statistics_from_moments(r, mean.isel(gene=slice(None, None, -1)), sd, 50)


def test_every_draw_is_counted_in_its_bin(rng):
    q = rng.uniform(0, 1, (6, 500))
    q[0, :3] = [0.0, 0.29, 1.0]  # edges: a bin begins with its lower one, the last ends with 1
    q[1, 7], q[2] = np.nan, np.nan
    _, q = labelled(np.zeros(6), q)
    counted = null_histogram(q)
    assert counted.null_count.dims == ("gene", "null_bin")
    assert counted.null_count.dtype == np.int64
    np.testing.assert_allclose(counted.null_bin, np.arange(100) / 100)
    assert counted.null_count.sum("null_bin").values.tolist() == [500, 499, 0, 500, 500, 500]
    for row in (0, 3):
        expected, _ = np.histogram(q.values[row], np.linspace(0, 1, 101))
        assert counted.null_count.values[row].tolist() == expected.tolist()
    alone = null_histogram(q[:1, :3])
    assert np.flatnonzero(alone.null_count.values).tolist() == [0, 29, 99]
    with dask.config.set(scheduler=refuse_to_compute):
        lazy = null_histogram(q.chunk(gene=4, draw=100))
    xr.testing.assert_identical(lazy.compute(scheduler="synchronous"), counted)
