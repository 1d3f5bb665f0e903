"""What the figures of attributions draw, read back from their Axes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from zarrbench.attribution_layouts import DRIVERS
from zarrbench.figures import attributions as figures
from zarrbench.figures import style


def made_variants(n: int = 40, seed: int = 0) -> pd.DataFrame:
    """Rows of the concordance table of one gene."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "gene_id": "ENSG0001",
            "variant_position": 100_000 + (distance := np.sort(rng.integers(-9000, 9000, n))),
            "distance": distance,
            "effect_allele": rng.choice(list("ACGT"), n),
            "minor_carriers": rng.integers(5, 100, n),
            "carrier_frequency": rng.uniform(0, 1, n),
            "ism": rng.normal(0, 1e-3, n),
            "increment": rng.uniform(-0.2, 1.2, n),
            "is_driver": rng.random(n) < 0.2,
        }
    )


def made_drivers(ism_gradient, linear=(), gradient=()) -> xr.Dataset:
    """A dataset of the layout with these r of genes."""
    values = {"r_ism_gradient": ism_gradient, "r_linear": linear, "r_linear_gradient": gradient}
    n = max(map(len, values.values()))
    made = {"string": "s", "float": 0.5, "int": 1, "bool": False}
    variables = {
        name: (kind.dims, np.full([n if d == "gene" else 0 for d in kind.dims], made[kind.kind]))
        for name, kind in DRIVERS.variables.items()
    }
    for name, given in values.items():
        padded = np.full(n, np.nan)
        padded[: len(given)] = given
        variables[name] = ("gene", padded)
    dataset = xr.Dataset(variables, attrs={"parameters": json.dumps({"min_r_linear": 0.3})})
    DRIVERS.check(dataset, Path("x"))
    return dataset


def drawn(function, *arguments, **options):
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    ax = figure.subplots()
    return function(*arguments, ax=ax, **options), ax, style.as_svg(figure)


def bars(ax) -> np.ndarray:
    """Left edge, width, bottom and height of the bars."""
    [container] = ax.containers
    return np.array([[b.get_x(), b.get_width(), b.get_y(), b.get_height()] for b in container])


# --- along the window


@pytest.mark.parametrize("zoom", [None, 4000])
def test_ism_along_the_window(zoom):
    variants = made_variants()
    table, ax, _ = drawn(figures.ism_along_window, variants, zoom=zoom)
    shown = variants[variants.distance.abs() <= (zoom or 10**9)]
    assert 0 < len(shown) <= 40
    assert table.position.tolist() == shown.variant_position.tolist()
    points, rings = ax.collections[:2]
    np.testing.assert_array_equal(points.get_offsets(), shown[["distance", "ism"]])
    np.testing.assert_array_equal(points.get_array(), shown.carrier_frequency.round(2))
    assert points.get_clim() == (0, 1)
    drivers = shown[shown.is_driver]
    assert len(drivers)
    np.testing.assert_array_equal(rings.get_offsets(), drivers[["distance", "ism"]])
    np.testing.assert_allclose(rings.get_sizes(), 60 * (1 + 2 * drivers.increment.clip(0, 1)))
    assert [tuple(c) for c in rings.get_edgecolors()] == [to_rgba(style.CUT)]
    [tss] = [line for line in ax.lines if line.get_label() == "TSS"]
    assert list(tss.get_xdata()) == [0, 0]
    assert tss.get_linestyle() == "--"
    assert ax.get_xlim()[1] == pytest.approx(1.04 * (zoom or variants.distance.abs().max()))


def test_colours_are_denser_the_more_carry():
    _, ax, _ = drawn(figures.ism_along_window, made_variants())
    points = ax.collections[0]
    alpha = points.to_rgba(np.array([0, 0.25, 0.5, 1]))[:, 3]
    assert (np.diff(alpha) > 0).all()
    assert alpha[0] >= 0.3
    assert alpha[-1] == 1


def test_variants_of_few_carriers_and_without_an_attribution_are_not_drawn():
    variants = made_variants(12)
    variants.loc[[0, 1], "minor_carriers"] = [4, 0]
    variants.loc[2, "minor_carriers"] = 5
    variants.loc[3, "ism"] = np.nan
    variants.loc[0, ["ism", "carrier_frequency", "is_driver"]] = 77.125, 0.001, True
    table, ax, _ = drawn(figures.ism_along_window, variants)
    assert table.position.tolist() == variants.variant_position.drop([0, 1, 3]).tolist()
    assert table.attrs["left_out"] == 3
    assert ax.get_ylim()[1] < 1


@pytest.mark.parametrize(
    ("variants", "zoom", "sentence"),
    [
        (made_variants(0), None, "no SNV with an attribution and enough carriers"),
        (made_variants(3).assign(minor_carriers=4), None, "no SNV with an attribution"),
        (made_variants(3).assign(distance=5000), 4000, "within 4,000 bases of the TSS"),
    ],
)
def test_no_variant_to_draw(variants, zoom, sentence):
    table, ax, svg = drawn(figures.ism_along_window, variants, zoom=zoom)
    assert table.empty
    assert {"position", "distance", "ism", "carrier_frequency"} <= {*table}
    assert not ax.collections
    assert sentence in svg


def test_a_single_variant_at_the_tss():
    table, _, _ = drawn(figures.ism_along_window, made_variants(1).assign(distance=0))
    assert len(table) == 1


# --- over genes


@pytest.mark.parametrize("seed", range(3))
def test_ism_against_gradient_counts_genes(seed):
    r = np.random.default_rng(seed).uniform(-1, 1, 80)
    r[:4] = np.nan, 1, -1, 1 - 1e-12
    table, ax, svg = drawn(figures.ism_against_gradient, made_drivers(r))
    known = r[np.isfinite(r)]
    expected = [((known >= row.r_start) & (known < row.r_end)).sum() for row in table.itertuples()]
    expected[-1] += (known == 1).sum()
    assert table.genes.tolist() == expected
    assert table.genes.sum() == 79
    found = bars(ax)
    np.testing.assert_allclose(found[:, 0], table.r_start)
    np.testing.assert_array_equal(found[:, 3], table.genes)
    assert table.attrs["median"] == np.median(known)
    assert table.r_end.max() == pytest.approx(1)
    assert "genes (79)" in svg


def test_linearity_counts_genes_of_both_attributions():
    rng = np.random.default_rng(4)
    ism, gradient = 1 - rng.exponential(0.1, 60), 1 - rng.exponential(0.5, 60)
    gradient = gradient.clip(-1)
    ism[0], gradient[:10] = np.nan, np.nan
    table, ax, svg = drawn(figures.linearity, made_drivers([], ism, gradient))
    for name, values in (("ism", ism), ("gradient", gradient)):
        edges = [*table.r_start, table.r_end.iloc[-1]]
        np.testing.assert_array_equal(table[name], np.histogram(values[values <= 2], edges)[0])
        assert table[name].sum() == np.isfinite(values).sum()
    np.testing.assert_array_equal(bars(ax)[:, 3], table.ism)
    [outline] = [p for p in ax.patches if hasattr(p, "get_data")]
    np.testing.assert_array_equal(outline.get_data().values, table.gradient)
    np.testing.assert_allclose(outline.get_data().edges[:-1], table.r_start)
    assert table.attrs["min_r_linear"] == 0.3
    assert [list(line.get_xdata()) for line in ax.lines] == [[0.3, 0.3]]
    assert f"mutagenesis (59, {np.nanmean(ism[1:] > 0.3):.0%} &gt; 0.3)" in svg
    assert f"gradients (50, {np.mean(gradient[10:] > 0.3):.0%} &gt; 0.3)" in svg


def test_linearity_without_gradients():
    table, _, svg = drawn(figures.linearity, made_drivers([], [1.0, 0.99]))
    assert table.ism.sum() == 2
    assert table.gradient.sum() == 0
    assert "gradients" not in svg


@pytest.mark.parametrize("function", [figures.ism_against_gradient, figures.linearity])
@pytest.mark.parametrize("r", [[], [np.nan, np.nan]])
def test_without_r_the_figure_says_so(function, r):
    table, ax, svg = drawn(function, made_drivers(r, r, r))
    assert table.empty
    assert {"r_start", "r_end"} <= {*table}
    assert not ax.patches
    assert ax.texts[0].get_text().split("\n")[0] in svg


@pytest.mark.parametrize("lowest", [-0.1, -0.37, -0.6, -1.0])
def test_no_r_is_beyond_the_bars(lowest):
    table, _, _ = drawn(figures.ism_against_gradient, made_drivers([lowest, 1.0, 0.3]))
    assert table.genes.sum() == 3
    assert table.r_start.min() <= lowest
    assert table.r_end.max() == 1


@pytest.mark.parametrize("function", [figures.ism_against_gradient, figures.linearity])
@pytest.mark.parametrize("r", [1.0, 0.0, -1.0])
def test_one_gene(function, r):
    table, _, _ = drawn(function, made_drivers([r], [r], [r]))
    assert table.filter(["genes", "ism"]).to_numpy().sum() == 1


def test_svg_is_the_same_each_time():
    one, other = (drawn(figures.ism_along_window, made_variants())[2] for _ in range(2))
    assert one == other
