from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.nonparametric.smoothers_lowess import lowess as of_statsmodels

from zarrbench.statistics.lowess import lowess

EXPECTED = Path(__file__).parents[1] / "expression" / "expected"


def wave(n: int, seed: int, outliers: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.gamma(2, 3, n)
    y = np.sin(x) + rng.normal(0, 0.3, n)
    y[rng.choice(n, outliers, replace=False)] += 50
    return x, y


@pytest.mark.parametrize("outliers", [0, 5])
@pytest.mark.parametrize(
    ("n", "span", "iterations", "delta"),
    [
        (300, 0.5, 3, None),
        (300, 2 / 3, 0, 0.0),
        (90, 0.5, 1, 0.5),
        (2000, 0.1, 2, None),
        (100, 0.29, 0, 0.0),
    ],
)
def test_against_statsmodels(n, span, iterations, delta, outliers):
    """It differs from R by up to 3e-8 here, and grossly with few neighbours; ours agrees with R."""
    x, y = wave(n, seed=n + iterations, outliers=outliers)
    given = 0.01 * np.ptp(x) if delta is None else delta
    expected = of_statsmodels(y, x, frac=span, it=iterations, delta=given)
    found = lowess(x, y, span, iterations, delta)
    np.testing.assert_allclose(np.column_stack(found), expected, rtol=1e-5, atol=1e-6)


def test_against_r_with_ties():
    counts = pd.read_csv(EXPECTED / "counts.tsv", sep="\t", index_col=0).to_numpy(float)
    expected = pd.read_csv(EXPECTED / "lowess.tsv", sep="\t", index_col=0)
    x, y = lowess(np.log2(counts.sum(axis=1) + 1), np.sqrt(counts[:, 0]), 0.5)
    np.testing.assert_allclose(x, expected.x, rtol=1e-14)
    np.testing.assert_allclose(y, expected.y, rtol=1e-10, atol=1e-12)
    assert (x == 0).sum() == 3


def test_outliers_are_downweighted():
    x, clean = wave(400, seed=1)
    spoilt = clean.copy()
    spoilt[::40] += 1000
    robust = np.abs(lowess(x, spoilt, 0.3)[1] - lowess(x, clean, 0.3)[1]).max()
    plain = np.abs(lowess(x, spoilt, 0.3, 0)[1] - lowess(x, clean, 0.3, 0)[1]).max()
    assert robust < 0.5 < 20 < plain


@given(
    x=st.lists(st.integers(-50, 50), min_size=2, max_size=40),
    slope=st.integers(-5, 5),
    span=st.floats(0.1, 1),
)
def test_a_line_stays_a_line(x, slope, span):
    x = np.array(x, dtype=float)
    # no robustness: it would tell rounding from rounding
    at, found = lowess(x, slope * x + 3, span, iterations=0, delta=0)
    if span * x.size >= 2 and len(set(x)) == x.size:
        np.testing.assert_allclose(found, slope * at + 3, atol=1e-8)
    assert np.isfinite(found).all()


@given(st.data())
def test_order_and_units_do_not_matter(data):
    n = data.draw(st.integers(5, 60))
    x, y = wave(n, seed=data.draw(st.integers(0, 99)), outliers=2)
    order = data.draw(st.permutations(range(n)))
    at, smooth = lowess(x, y, 0.5)
    moved = lowess(x[order], y[order], 0.5)
    np.testing.assert_array_equal(moved, (at, smooth))
    np.testing.assert_array_equal(lowess(4 * x, 2 * y, 0.5), (4 * at, 2 * smooth))


def test_neighbours_at_nearly_one_x_give_their_mean():
    """A line through them would be steep enough to say anything."""
    x, y = np.array([0, 1e-6, 2e-6, 3e-6, 10]), np.array([1.0, 5, 2, 4, 3])
    tricube = (1 - 0.5**3) ** 3
    expected = (y[0] + tricube * y[1]) / (1 + tricube)
    assert lowess(x, y, 0.6, iterations=0, delta=0)[1][0] == pytest.approx(expected, rel=1e-9)


def test_points_of_one_x_get_their_mean():
    at, found = lowess(np.full(6, 2.0), np.array([1.0, 2, 3, 4, 5, 6]), 1.0, iterations=0)
    np.testing.assert_allclose(found, 3.5)
    assert at.tolist() == [2.0] * 6


def test_one_point():
    assert [v.tolist() for v in lowess([3.0], [4.0])] == [[3.0], [4.0]]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([], [], "one shape"),
        ([1.0, 2.0], [1.0], "one shape"),
        ([[1.0]], [[1.0]], "one shape"),
        ([1.0, np.nan], [1.0, 2.0], "finite"),
        ([1.0, 2.0], [1.0, np.inf], "finite"),
    ],
)
def test_refused_points(x, y, message):
    with pytest.raises(ValueError, match=message):
        lowess(x, y)
