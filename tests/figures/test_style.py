"""Densities and their colours, against scipy on every point and by eye of a formula."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

from zarrbench.figures import style


@pytest.mark.parametrize("n", [30, 400, 20_000])
def test_density_is_that_of_a_gaussian_kernel_on_all_points(n):
    rng = np.random.default_rng(n)
    x = rng.normal(size=n)
    y = 1000 * (0.7 * x + rng.normal(size=n)) + 5
    found = style.density(x, y)[:2000]
    points = np.stack([x, y])
    expected = gaussian_kde(points)(points[:, :2000])
    assert found.shape == expected.shape
    assert np.corrcoef(found, expected)[0, 1] > 0.995


@pytest.mark.parametrize(
    ("x", "y"),
    [([], []), ([2.0], [3.0]), ([1, 1, 1], [2, 2, 2]), ([1, 2], [5, 5])],
    ids=["none", "one", "one place", "two"],
)
def test_density_of_hardly_any_points(x, y):
    found = style.density(x, y)
    assert found.shape == (len(x),)
    assert np.isfinite(found).all()
    assert (found == found[:1]).all() or np.allclose(found, found[0])


@pytest.mark.parametrize("slope", [0, 1, -3])
def test_density_on_a_line_is_that_along_it(slope):
    x = np.random.default_rng(0).normal(size=500)
    found = style.density(x, slope * x + 2)
    assert np.corrcoef(found, gaussian_kde(x)(x))[0, 1] > 0.995
    assert np.corrcoef(style.density(0 * x, x), gaussian_kde(x)(x))[0, 1] > 0.995


@pytest.mark.parametrize("n", [3, 2_000, 2_001])
def test_the_densest_points_are_drawn_last_and_many_as_an_image(n):
    x, y = np.random.default_rng(0).normal(size=(2, n))
    ax = Figure().subplots()
    style.density_points(ax, x, y)
    [points] = ax.collections
    drawn = np.asarray(points.get_offsets())
    assert sorted(drawn.tolist()) == sorted(np.stack([x, y], axis=1).tolist())
    assert (np.diff(style.density(*drawn.T)) >= -1e-12).all()
    assert points.get_rasterized() == (n > 2_000)
    assert len(np.unique(points.get_facecolors(), axis=0)) <= style.SHADES.N


def test_shades_follow_the_values_in_order():
    values = np.arange(100.0)
    ax = Figure().subplots()
    scale = style.shaded(ax, values, values, values, 5)
    [points] = ax.collections
    np.testing.assert_array_equal(np.asarray(points.get_offsets())[:, 0], values)
    shade = [style.SHADES.colors.tolist().index(c.tolist()) for c in points.get_facecolors()]
    assert shade[0] == 0
    assert shade[-1] == style.SHADES.N - 1
    assert (np.diff(shade) >= 0).all()
    assert scale.get_clim() == pytest.approx(np.percentile(values, [2, 98]))
    style.shaded(ax, values, values, 0 * values, 5)  # all alike


def _luminance(colour) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_every_shade_is_seen_on_white_and_on_a_dark_page():
    for colour in style.SHADES.colors:
        assert 1.05 / (_luminance(colour) + 0.05) > 1.5
        assert (_luminance(colour) + 0.05) / (_luminance((0.08, 0.09, 0.11)) + 0.05) > 2.4
    assert (np.diff([_luminance(c) for c in style.SHADES.colors]) > 0).all()


def test_the_identity_leaves_the_axes_as_they_are():
    ax = Figure().subplots()
    ax.set(xlim=(3, 4), ylim=(-7, -6))
    style.identity_line(ax)
    assert (ax.get_xlim(), ax.get_ylim()) == ((3, 4), (-7, -6))
    [line] = ax.lines
    assert (line.get_xy1(), line.get_slope()) == ((0, 0), 1)
