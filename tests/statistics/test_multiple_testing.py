"""Benjamini-Hochberg against statsmodels, the count rules, and the published table as oracle."""

import os
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from statsmodels.stats.multitest import multipletests

from zarrbench.errors import RecipeError
from zarrbench.statistics.multiple_testing import adjust, benjamini_hochberg, significant
from zarrbench.statistics.null import STATISTICS, NullTest, null_test

P_VALUES = hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1))


def refuse_to_compute(*args, **kwargs):
    raise AssertionError("something computed")


@pytest.fixture
def rng():
    return np.random.default_rng(1995)


# --- benjamini_hochberg


@settings(max_examples=100, deadline=None)
@given(p=P_VALUES)
def test_adjusted_p_equals_statsmodels(p):
    np.testing.assert_allclose(
        benjamini_hochberg(p), multipletests(p, method="fdr_bh")[1], rtol=1e-12
    )


def test_adjusted_p_by_hand():
    q = benjamini_hochberg([0.04, 0.01, 0.03, 0.5])
    np.testing.assert_allclose(q, [0.16 / 3, 0.04, 0.16 / 3, 0.5])


@settings(max_examples=30, deadline=None)
@given(p=P_VALUES, order=st.randoms(use_true_random=False))
def test_adjusted_p_does_not_depend_on_the_order_of_genes(p, order):
    shuffled = list(range(p.size))
    order.shuffle(shuffled)
    np.testing.assert_allclose(
        benjamini_hochberg(p[shuffled]), benjamini_hochberg(p)[shuffled], rtol=1e-12
    )


@pytest.mark.parametrize("nan_policy", ["p1", "drop"])
def test_columns_are_adjusted_by_themselves(rng, nan_policy):
    p = rng.random((30, 2, 3)) ** 3
    p[rng.random(p.shape) < 0.2] = np.nan
    together = benjamini_hochberg(p, nan_policy)
    for column in np.ndindex(2, 3):
        alone = benjamini_hochberg(p[:, *column], nan_policy)
        np.testing.assert_array_equal(together[:, *column], alone)


def test_nan_counts_as_one_or_is_no_test():
    p = [0.01, np.nan, 0.02, np.nan]
    np.testing.assert_allclose(benjamini_hochberg(p, "p1"), [0.04, 1.0, 0.04, 1.0])
    np.testing.assert_allclose(benjamini_hochberg(p, "drop"), [0.02, np.nan, 0.02, np.nan])


def test_nothing_but_nan_and_no_genes():
    assert benjamini_hochberg([np.nan, np.nan], "p1").tolist() == [1.0, 1.0]
    assert np.isnan(benjamini_hochberg([np.nan, np.nan], "drop")).all()
    assert benjamini_hochberg(np.empty((0, 5)), "p1").shape == (0, 5)
    assert benjamini_hochberg(np.empty((0, 5)), "drop").shape == (0, 5)
    assert significant(np.empty((0, 5)), np.empty((0, 5)), 0.05, "strict_above_cut").size == 0


def test_impossible_p_is_refused():
    with pytest.raises(ValueError, match="0 and 1"):
        benjamini_hochberg([0.5, 1.5])


# --- significant


def test_q_at_alpha_counts():
    q = np.array([0.049, 0.05, 0.051, np.nan])
    assert significant(q, q, 0.05).tolist() == [True, True, False, False]


def test_the_strict_rule_drops_the_boundary_and_what_rounds_to_it():
    # -log10 p is 3, 2.3011, 2.3008 and 1: the second and third both round to 2.301
    p = 10.0 ** -np.array([3.0, 2.3011, 2.3008, 1.0])
    q = np.array([0.01, 0.02, 0.02, 0.5])
    assert significant(p, q, 0.05, "q_le_alpha").tolist() == [True, True, True, False]
    assert significant(p, q, 0.05, "strict_above_cut").tolist() == [True, False, False, False]


def test_the_strict_rule_takes_each_column_by_itself():
    p = np.array([[1e-5, 0.9], [1e-3, 1e-9], [0.5, np.nan]])
    q = benjamini_hochberg(p)
    assert significant(p, q, 0.05, "strict_above_cut").tolist() == [
        [True, False],
        [False, False],
        [False, False],
    ]


def test_the_strict_rule_without_any_significant_gene():
    assert not significant([0.5, np.nan], [0.9, np.nan], 0.05, "strict_above_cut").any()


def test_the_strict_rule_handles_p_of_zero():
    p = np.array([0.0, 1e-3, 0.5])
    assert significant(p, p, 0.05, "strict_above_cut").tolist() == [True, False, False]


@settings(max_examples=60, deadline=None)
@given(p=P_VALUES, alpha=st.sampled_from([0.01, 0.05, 0.3]))
def test_the_strict_rule_counts_fewer(p, alpha):
    q = benjamini_hochberg(p)
    plain, strict = significant(p, q, alpha), significant(p, q, alpha, "strict_above_cut")
    assert not (strict & ~plain).any()
    assert strict.sum() < plain.sum() or plain.sum() == 0


# --- adjust


def labelled(p):
    coords = {"gene": [f"ENSG{k}" for k in range(len(p))], "statistic": list(STATISTICS)}
    return xr.DataArray(p, coords, ("gene", "statistic"), attrs={"description": "p"})


@pytest.mark.parametrize("nan_policy", ["p1", "drop"])
@pytest.mark.parametrize("count_rule", ["q_le_alpha", "strict_above_cut"])
def test_adjust_labels_the_kernels(rng, nan_policy, count_rule):
    values = rng.random((40, 5)) ** 6
    values[3] = np.nan
    p = labelled(values)
    result = adjust(p, 0.1, nan_policy, count_rule)
    q = benjamini_hochberg(values, nan_policy)
    assert list(result.data_vars) == ["null_q", "significant"]
    assert result.null_q.dims == result.significant.dims == ("gene", "statistic")
    np.testing.assert_array_equal(result.null_q, q)
    np.testing.assert_array_equal(result.significant, significant(values, q, 0.1, count_rule))
    assert result.significant.dtype == bool
    assert 0 < result.significant.sum() < result.significant.size
    assert not result.null_q.attrs
    xr.testing.assert_equal(adjust(p.T, 0.1, nan_policy, count_rule), result.transpose())


def test_adjust_takes_a_single_statistic(rng):
    p = labelled(rng.random((40, 5)) ** 6)
    single = adjust(p.sel(statistic="signed"))
    assert single.null_q.dims == ("gene",)
    xr.testing.assert_equal(single, adjust(p).sel(statistic="signed"))


def test_adjust_stays_lazy_and_gives_the_same(rng):
    p = labelled(rng.random((40, 5)) ** 6)
    with dask.config.set(scheduler=refuse_to_compute):
        lazy = adjust(p.chunk(gene=7, statistic=2))
        with pytest.raises(AssertionError, match="something computed"):
            lazy.compute()
    xr.testing.assert_equal(lazy.compute(scheduler="synchronous"), adjust(p))


def test_unknown_options_are_refused(rng):
    p = labelled(rng.random((4, 5)))
    lazy = p.chunk(gene=2)
    for call in (lambda: benjamini_hochberg(p, "omit"), lambda: adjust(lazy, nan_policy="omit")):
        with pytest.raises(RecipeError, match="nan_policy cannot be 'omit'; use p1 or drop"):
            call()
    for call in (lambda: significant(p, p, 0.05, "lt"), lambda: adjust(lazy, count_rule="lt")):
        with pytest.raises(RecipeError, match="use q_le_alpha or strict_above_cut"):
            call()


# --- the published table


@pytest.fixture(scope="module")
def published() -> pd.DataFrame:
    beside_the_repository = Path(__file__).resolve().parents[3] / "shared" / "published"
    folder = Path(os.environ.get("ZARRBENCH_PUBLISHED", beside_the_repository))
    path = folder / "SupplementaryTable1.tsv"
    if not path.is_file():
        absent = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        absent(f"{path} is missing; set ZARRBENCH_PUBLISHED to the folder of published tables")
    columns = {
        "PearsonRCAGE,adult,brain": "r",
        "RmeanRandom": "mean",
        "Rstdrandom": "sd",
        "TstatCAGE,adult,brain": "t",
        "Log10PvalueTstatCAGE,adult,brain": "log10_p",
        "Log10BHPvalueTstatCAGE,adult,brain": "log10_q",
    }
    return pd.read_csv(path, sep="\t", usecols=list(columns)).rename(columns=columns)


@pytest.fixture(scope="module")
def published_test(published) -> NullTest:
    """The test of 50 draws that have exactly the mean and the sd of the table."""
    spread = np.repeat([-1.0, 1.0], 25)
    q = published["mean"].to_numpy()[:, None] + spread * published["sd"].to_numpy()[:, None]
    # 19 genes have |r| = mean in the table; a hair above keeps rounding from making t negative
    return null_test(published["r"].to_numpy() * (1 + 1e-12), q)


@pytest.mark.parity
def test_published_t_p_and_q_are_reproduced(published, published_test):
    t, p = published_test.t[:, 0], published_test.p[:, 0]
    given = published["t"].notna().to_numpy()
    assert given.sum() == 6807
    assert published_test.degenerate.tolist() == (~given).tolist()
    np.testing.assert_allclose(t[given], published["t"][given], atol=5.1e-4)
    # the table itself gives p = 1 where there is no t
    np.testing.assert_allclose(-np.log10(p), published["log10_p"].fillna(0.0), atol=5.1e-4)
    np.testing.assert_allclose(-np.log10(benjamini_hochberg(p)), published["log10_q"], atol=5.1e-4)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("statistic", "count_rule", "genes", "negative"),
    [
        ("published", "q_le_alpha", 599, 195),
        ("published", "strict_above_cut", 598, 195),
        ("sem", "q_le_alpha", 3000, 1253),
        ("prediction", "q_le_alpha", 102, 27),
        ("signed", "q_le_alpha", 4, 1),
    ],
)
def test_published_counts(published, published_test, statistic, count_rule, genes, negative):
    counted = adjust(labelled(published_test.p), count_rule=count_rule).significant
    counted = counted.sel(statistic=statistic).to_numpy()
    assert counted.sum() == genes
    assert (counted & (published["r"] < 0)).sum() == negative


@pytest.mark.parity
def test_published_set_of_genes_for_drivers(published, published_test):
    p = published_test.p[:, 0]
    counted = significant(p, benjamini_hochberg(p), 0.05, "strict_above_cut")
    assert (counted & (published["r"].abs() > 0.2)).sum() == 256
