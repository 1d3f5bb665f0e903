"""Gradient profiles against plain loops, numpy, and scikit-learn's complete linkage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.cluster import AgglomerativeClustering

from zarrbench.errors import RecipeError
from zarrbench.statistics.gradient_profiles import (
    group_means,
    in_stretches,
    position_attribution,
    profile_groups,
    sliding,
    standardised,
    window_sd,
)

VALUES = st.one_of(st.just(np.nan), st.floats(-100, 100))


@settings(max_examples=60)
@given(gradient=hnp.arrays(np.float64, st.tuples(st.integers(0, 3), st.integers(0, 8), st.just(4)),
                           elements=VALUES), data=st.data())  # fmt: skip
def test_attributions_are_those_of_a_loop(gradient, data):
    codes = data.draw(hnp.arrays(np.uint8, gradient.shape[:2], elements=st.integers(0, 4)))
    found = position_attribution(gradient, codes)
    assert found.shape == codes.shape
    for place in np.ndindex(codes.shape):
        row, code = gradient[place].tolist(), codes[place]
        others = [row[base] for base in range(4) if base != code]
        expected = np.nan if code == 4 else row[code] - sum(others) / 3
        np.testing.assert_allclose(found[place], expected, rtol=1e-9, atol=1e-9)


def test_attributions_by_hand():
    gradient = np.array([[3, 0, 0, 0], [1, 1, 1, 1], [0, 0, 3, 6], [9, 9, 9, 0]], np.float32)
    found = position_attribution(gradient, [0, 2, 3, 4])
    np.testing.assert_array_equal(found, [3, 0, 5, np.nan])
    # a gradient that is the same for every base says nothing of the sequence
    np.testing.assert_allclose(position_attribution(gradient + 7, [0, 2, 3, 4])[:3], found[:3])
    with pytest.raises(ValueError, match=r"found \(4, 4\) and \(3,\)"):
        position_attribution(gradient, [0, 1, 2])


@settings(max_examples=80)
@given(profile=hnp.arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 40)),
                          elements=VALUES), window=st.integers(1, 50))  # fmt: skip
def test_windows_are_those_of_a_loop(profile, window):
    found = window_sd(profile, window)
    starts = range(0, profile.shape[1], window)
    assert found.shape == (len(profile), len(starts))
    for row, values in zip(found, profile, strict=True):
        for sd, start in zip(row, starts, strict=True):
            here = values[start : start + window]
            known = here[~np.isnan(here)]
            expected = known.std() if len(known) else np.nan
            np.testing.assert_allclose(sd, expected, rtol=1e-9, atol=1e-12)


def test_the_studys_windows():
    profile = np.random.default_rng(0).normal(size=200_001)
    found = window_sd(profile)
    assert found.shape == (1563,)
    assert found[-1] == profile[1562 * 128 :].std()
    assert len(profile[1562 * 128 :]) == 65
    with pytest.raises(RecipeError, match="a base at least, found 0"):
        window_sd(profile, 0)


def test_scale_does_not_matter_and_what_is_not_known_is_left_out():
    profile = np.random.default_rng(1).normal(0.3, 2, (2, 500))
    found = standardised(profile)
    np.testing.assert_allclose(found, profile / profile.std(axis=1, keepdims=True))
    np.testing.assert_allclose(standardised(profile * 1e-15), found)
    padded = np.pad(profile, ((0, 0), (40, 60)), constant_values=np.nan)
    np.testing.assert_array_equal(standardised(padded)[:, 40:-60], found)
    assert np.isnan(standardised(padded)[:, :40]).all()
    for constant in (0.0, 0.1, np.nan):
        assert np.isnan(standardised(np.full(7, constant))).all()


@pytest.mark.parametrize("n_groups", [1, 2, 5, 30, 40])
def test_groups_are_those_of_scikit_learn(n_groups):
    windows = np.random.default_rng(n_groups).random((30, 12))
    found = profile_groups(windows, n_groups)
    model = AgglomerativeClustering(min(n_groups, 30), linkage="complete")
    expected = model.fit_predict(windows)
    assert len(set(zip(expected, found, strict=True))) == len(set(found)) == min(n_groups, 30)
    _, first = np.unique(found, return_index=True)
    assert (np.diff(first) > 0).all()


def test_genes_that_lack_a_window_are_in_no_group():
    windows = np.random.default_rng(2).random((20, 6))
    expected = profile_groups(windows[2:], 3)
    lacking = windows.copy()
    lacking[0, 3] = np.nan
    lacking[1] = np.nan
    found = profile_groups(lacking, 3)
    assert found[:2].tolist() == [-1, -1]
    np.testing.assert_array_equal(found[2:], expected)
    # beyond the model's window for every gene: no reason to leave anyone out
    beyond = np.pad(windows, ((0, 0), (2, 1)), constant_values=np.nan)
    np.testing.assert_array_equal(profile_groups(beyond, 3), profile_groups(windows, 3))


def test_few_genes_and_equal_ones():
    assert profile_groups(np.zeros((0, 4)), 2).tolist() == []
    assert profile_groups(np.ones((1, 4)), 2).tolist() == [0]
    assert profile_groups(np.ones((3, 4)), 2).tolist() == [0, 0, 0]
    assert profile_groups(np.full((2, 4), np.nan), 2).tolist() == [-1, -1]
    with pytest.raises(RecipeError, match="one group at least, found 0"):
        profile_groups(np.ones((3, 4)), 0)


def test_means_of_groups():
    values = np.array([[1.0, 5.0], [3.0, np.nan], [10.0, np.nan], [99.0, 99.0]])
    found = group_means(values, [0, 0, 1, -1])
    np.testing.assert_array_equal(found, [[2, 5], [10, np.nan]])
    rng = np.random.default_rng(6)
    values, groups = rng.normal(size=(9, 4, 3)), np.array([0, 1, 2] * 3)
    expected = [values[groups == k].mean(axis=0) for k in range(3)]
    np.testing.assert_allclose(group_means(values, groups), expected)
    assert group_means(np.zeros((0, 5)), []).shape == (0, 5)


@settings(max_examples=40)
@given(profile=hnp.arrays(np.float64, st.integers(0, 60), elements=VALUES),
       window=st.integers(1, 20), step=st.integers(1, 9))  # fmt: skip
def test_stretches_and_sliding_windows_are_those_of_a_loop(profile, window, step):
    for start, mean in zip(range(0, profile.size, window), in_stretches(profile, window),
                           strict=True):  # fmt: skip
        known = profile[start : start + window][~np.isnan(profile[start : start + window])]
        expected = known.mean() if known.size else np.nan
        np.testing.assert_allclose(mean, expected, rtol=1e-9, atol=1e-12)
    starts, means, sds = sliding(profile, window, step)
    assert starts.tolist() == list(range(0, profile.size - window + 1, step))
    for start, mean, sd in zip(starts, means, sds, strict=True):
        known = profile[start : start + window][~np.isnan(profile[start : start + window])]
        expected = (known.mean(), known.std()) if known.size else (np.nan, np.nan)
        np.testing.assert_allclose((mean, sd), expected, rtol=1e-9, atol=1e-9)
