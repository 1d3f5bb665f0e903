import itertools

import numpy as np
import pytest

from zarrbench.figures import disclosure


@pytest.mark.parametrize("n", [5, 8, 30, 99, 100, 358, 2000])
@pytest.mark.parametrize("slope", [0.0, 0.9])
def test_cells_hide_fewer_than_five_people_and_count_the_rest(n, slope):
    rng = np.random.default_rng(n)
    x = rng.normal(size=n)
    y = slope * x + rng.normal(size=n)
    counts, x_edges, y_edges = disclosure.people_in_cells(x, y)
    assert ((counts == 0) | (counts >= disclosure.MINIMUM_PEOPLE)).all()
    if counts.size:
        expected = np.histogram2d(x, y, [x_edges, y_edges])[0]
        np.testing.assert_array_equal(counts, np.where(expected < 5, 0, expected))
        assert counts[[0, -1]].any(axis=1).all()
        assert counts[:, [0, -1]].any(axis=0).all()
    if n >= 30:
        assert counts.sum() >= (0.7 if n >= 99 else 0.5) * n


def test_one_person_far_away_neither_shows_nor_coarsens_the_grid():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 300))
    counts, x_edges, _ = disclosure.people_in_cells(np.append(x, 1000.0), np.append(y, 0.0))
    assert x_edges.max() < 10
    assert min(counts.shape) >= 4


@pytest.mark.parametrize("n", [5, 8, 30, 100, 358, 2000])
@pytest.mark.parametrize("scale", [0.0, 3.0, 200.0])
def test_bins_hide_fewer_than_five_people_and_count_the_rest(n, scale):
    values = np.random.default_rng(n).normal(500, scale, n).astype(int)
    counts, edges = disclosure.people_in_bins(values)
    assert ((counts == 0) | (counts >= disclosure.MINIMUM_PEOPLE)).all()
    assert len(counts) <= 41
    if n >= 30 or scale == 0:
        assert counts.sum() >= 0.7 * n
    if counts.size:
        assert counts[[0, -1]].all()
        expected = [((values >= a) & (values < b)).sum() for a, b in itertools.pairwise(edges)]
        np.testing.assert_array_equal(counts, np.where(np.array(expected) < 5, 0, expected))
        assert (edges == edges.astype(int)).all()


@pytest.mark.parametrize("n", [0, 1, 4])
def test_fewer_than_five_people_have_no_bin(n):
    counts, edges = disclosure.people_in_bins(np.arange(n))
    assert len(counts) == 0
    assert len(edges) == 1


def test_the_bin_of_the_most_extreme_person_is_not_shown():
    values = np.append(np.random.default_rng(0).integers(100, 200, 300), 777)
    counts, edges = disclosure.people_in_bins(values)
    assert edges[-1] <= 220
    assert counts.sum() <= 300


def test_groups_go_by_quantiles_and_hold_at_least_five():
    x = np.random.default_rng(2).permutation(53)
    groups = disclosure.groups_of_people(x)
    assert len(groups) == 10
    assert min(map(len, groups)) == 5
    assert np.concatenate([x[group] for group in groups]).tolist() == list(range(53))
    assert [len(group) for group in disclosure.groups_of_people(x[:9])] == [9]
    assert disclosure.groups_of_people(x[:4]) == disclosure.groups_of_people(x[:0]) == []


@pytest.mark.parametrize("offset", [0.0, 1000.0, -3e7])
def test_means_have_three_digits_of_the_range(offset):
    values = offset + np.random.default_rng(3).normal(size=200)
    means = values.reshape(10, 20).mean(axis=1)
    rounded = disclosure.to_digits_of_span(means, means, values)
    step = 10.0 ** np.floor(np.log10(np.ptp(values) / 100))
    assert (np.abs(rounded - means) <= 0.501 * step).all()
    np.testing.assert_allclose(rounded / step, np.round(rounded / step), atol=1e-3)


def test_means_of_people_who_are_all_alike_stay():
    assert disclosure.to_digits_of_span([2.5], np.full(9, 2.5), []) == [2.5]
