"""What the figures of drivers draw, read back from their Axes."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from zarrbench.attribution_layouts import DRIVERS
from zarrbench.figures import drivers as driver_figures
from zarrbench.figures import style
from zarrbench.statistics.support import DISTANCE_EDGES

FIGURES = (
    driver_figures.support_against_r,
    driver_figures.driver_distances,
    driver_figures.drivers_per_gene,
)


def made_drivers(r, group=None, examined=None, drivers=(), names=None) -> xr.Dataset:
    """A dataset of the layout; `drivers` are gene, distance, is_main; the rest is arbitrary."""
    r = np.asarray(r, dtype=float)
    sizes = {"gene": len(r), "driver": len(drivers)}
    made = {"string": "s", "float": 0.5, "int": 1, "bool": False}
    variables = {
        name: (kind.dims, np.full([sizes[d] for d in kind.dims], made[kind.kind]))
        for name, kind in DRIVERS.variables.items()
    }
    genes, distance, main = zip(*drivers, strict=True) if drivers else ((), (), ())
    genes = np.array(genes, dtype=int)
    ids = np.array([f"ENSG{i:04d}" for i in range(len(r))], object)
    group = np.sign(np.nan_to_num(r)) if group is None else np.asarray(group)
    variables |= {
        "gene": ("gene", ids),
        "gene_name": ("gene", np.array(names or [f"G{i}" for i in range(len(r))], object)),
        "r": ("gene", r),
        "group": ("gene", group.astype(int)),
        "examined": ("gene", group != 0 if examined is None else np.asarray(examined, bool)),
        "n_drivers": ("gene", np.bincount(genes, minlength=len(r))),
        "fraction_supported": ("gene", np.linspace(0, 1, len(r))),
        "driver_gene": ("driver", ids[genes] if len(genes) else np.array([], "U1")),
        "distance": ("driver", np.array(distance, dtype=int)),
        "is_main": ("driver", np.array(main, dtype=bool)),
    }
    dataset = xr.Dataset(variables)
    DRIVERS.check(dataset, Path("x"))
    return dataset


def made_variants(n: int = 40, seed: int = 0) -> pd.DataFrame:
    """Rows of the concordance table of one gene."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "gene_id": "ENSG0001",
            "variant_position": 1000 + 10 * np.arange(n),
            "effect_allele": rng.choice(list("ACGT"), n),
            "minor_carriers": rng.integers(5, 100, n),
            "carrier_frequency": rng.uniform(0, 1, n),
            "ism": rng.normal(0, 1e-3, n),
            "slope": rng.normal(0, 1, n),
            "increment": rng.uniform(-0.2, 1.2, n),
            "is_driver": rng.random(n) < 0.2,
        }
    )


def drawn(function, *arguments, **options):
    figure = Figure(figsize=(4, 3))
    ax = figure.subplots()
    return function(*arguments, ax=ax, **options), ax, style.as_svg(figure)


def scattered(ax) -> list[np.ndarray]:
    """The points of every set of points."""
    sets = [c for c in ax.collections if len(c.get_offsets()) and hasattr(c, "get_sizes")]
    return [np.asarray(c.get_offsets()) for c in sets]


def bars(ax) -> dict[str, np.ndarray]:
    """Left edge, width, bottom and height of the bars, by their label without its count."""
    return {
        box.get_label().rpartition(" (")[0]: np.array(
            [[b.get_x(), b.get_width(), b.get_y(), b.get_height()] for b in box]
        )
        for box in ax.containers
    }


def labels(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


# --- support against r


def test_support_against_r_draws_every_compared_gene():
    r = [0.6, np.nan, -0.5, 0.4, 0.9, -0.3, 0.25]
    drivers = made_drivers(r, group=[1, 0, -1, 1, 0, -1, 1])
    table, ax, svg = drawn(driver_figures.support_against_r, drivers)
    assert table.gene_id.tolist() == [f"ENSG{i:04d}" for i in (0, 2, 3, 5, 6)]
    assert table.r.tolist() == [0.6, -0.5, 0.4, -0.3, 0.25]
    positive, negative = scattered(ax)
    for points, sign in ((positive, 1), (negative, -1)):
        rows = table[table.group == sign]
        np.testing.assert_array_equal(points, rows[["r", "fraction_supported"]])
    assert labels(ax) == ["r > 0 (3)", "r < 0 (2)"]
    means = [np.array(c.get_segments()) for c in ax.collections if hasattr(c, "get_segments")]
    for [line], sign in zip(means, (1, -1), strict=True):
        rows = table[table.group == sign]
        expected = [[rows.r.min(), rows.fraction_supported.mean()],
                    [rows.r.max(), rows.fraction_supported.mean()]]  # fmt: skip
        np.testing.assert_allclose(line, expected)
    assert ax.get_xlim()[0] < table.r.min()
    assert ax.get_xlim()[1] > table.r.max()
    assert style.RIGHT in svg
    assert style.WRONG in svg


@pytest.mark.parametrize("sign", [1, -1])
def test_support_of_genes_of_one_sign(sign):
    table, ax, _ = drawn(driver_figures.support_against_r, made_drivers([sign * 0.5]))
    assert len(table) == 1
    [points] = scattered(ax)
    assert points.tolist() == [[sign * 0.5, 0.0]]
    assert sorted(labels(ax)) == [f"r < 0 ({int(sign < 0)})", f"r > 0 ({int(sign > 0)})"]


# --- slope against attribution


def test_slopes_against_attributions():
    variants = made_variants()
    table, ax, _ = drawn(driver_figures.slope_against_attribution, variants)
    assert table.position.tolist() == variants.variant_position.tolist()
    assert table.attrs["left_out"] == 0
    points, rings = scattered(ax)
    np.testing.assert_array_equal(points, variants[["ism", "slope"]])
    everything, ringed = ax.collections[:2]
    np.testing.assert_array_equal(everything.get_array(), variants.carrier_frequency.round(2))
    drivers = variants[variants.is_driver]
    np.testing.assert_array_equal(rings, drivers[["ism", "slope"]])
    np.testing.assert_allclose(ringed.get_sizes(), 60 * (1 + 2 * drivers.increment.clip(0, 1)))
    assert ringed.get_facecolors().size == 0
    assert [tuple(c) for c in ringed.get_edgecolors()] == [to_rgba(style.CUT)]
    assert labels(ax) == [f"driver ({len(drivers)})"]


def test_variants_of_few_carriers_and_without_a_slope_are_not_drawn():
    variants = made_variants(12)
    variants.loc[[0, 1], "minor_carriers"] = [4, 0]
    variants.loc[2, "minor_carriers"] = 5
    variants.loc[3, "slope"] = np.nan
    variants.loc[4, "ism"] = np.nan
    variants.loc[5, "carrier_frequency"] = 0.01  # as in the study, only above
    variants.loc[[0, 3], "is_driver"] = True
    variants.loc[0, ["ism", "slope"]] = 77.125, 99.0625  # what nobody may read from the page
    table, ax, _ = drawn(driver_figures.slope_against_attribution, variants)
    shown = variants.drop([0, 1, 3, 4, 5])
    assert table.position.tolist() == shown.variant_position.tolist()
    assert table.attrs["left_out"] == 5
    np.testing.assert_array_equal(scattered(ax)[0], shown[["ism", "slope"]])
    assert labels(ax) == [f"driver ({shown.is_driver.sum()})"]
    assert ax.get_xlim()[1] < 1
    assert ax.get_ylim()[1] < 10


@pytest.mark.parametrize("variants", [made_variants(0), made_variants(3).assign(minor_carriers=4)])
def test_no_variant_to_draw(variants):
    table, ax, svg = drawn(driver_figures.slope_against_attribution, variants)
    assert table.empty
    assert table.attrs["left_out"] == len(variants)
    assert scattered(ax) == []
    assert "no SNV with a slope and enough carriers" in svg


# --- distances


def panels(ax) -> list:
    """The panels for r > 0 and r < 0."""
    return ax.child_axes


def test_distances_of_drivers():
    rng = np.random.default_rng(1)
    distance = rng.integers(-69_000, 68_000, 300)
    distance[:4] = -69_000, 0, -1, 67_999
    gene, main = rng.integers(0, 4, 300), rng.random(300) < 0.3
    drivers = made_drivers([0.5, -0.5, 0.1, 0.4], group=[1, -1, 0, 1], examined=[True] * 4,
                           drivers=list(zip(gene, distance, main, strict=True)))  # fmt: skip
    table, ax, svg = drawn(driver_figures.driver_distances, drivers)
    for panel, sign, name in zip(panels(ax), (1, -1), ("r > 0", "r < 0"), strict=True):
        members = np.isin(gene, [0, 3] if sign > 0 else [1])
        rows = table[table.group == sign]
        np.testing.assert_array_equal(rows.start, DISTANCE_EDGES[:-1])
        assert (rows.end - rows.start == 1000).all()
        for row in rows.itertuples():
            here = members & (row.start <= distance) & (distance < row.end)
            assert row.drivers == here.sum()
            assert row.main_drivers == (here & main).sum()
        found = bars(panel)
        for label, column in ((f"drivers, {name}", "drivers"), ("main drivers", "main_drivers")):
            expected = [[row.start, 1000, 0, getattr(row, column)] for row in rows.itertuples()]
            np.testing.assert_allclose(found[label], expected)
        counts = [f"drivers, {name} ({members.sum()})", f"main drivers ({(members & main).sum()})"]
        assert labels(panel) == counts
    assert style.RIGHT in svg
    assert style.WRONG in svg


@pytest.mark.parametrize("distance", [-70_000, 69_500, 98_303, -98_304])
def test_distances_beyond_the_edges_of_the_study(distance):
    drivers = made_drivers([0.5], drivers=[(0, distance, True), (0, 20, False)])
    table, _, _ = drawn(driver_figures.driver_distances, drivers)
    assert (table.end - table.start == 1000).all()
    [row] = table.index[table.main_drivers > 0]
    assert table.start[row] <= distance < table.end[row]
    assert table.drivers.sum() == 2


def test_distances_near_the_tss():
    places = [-20_000, -19_999, -1, 0, 12_345, 19_999, 20_000, 60_000]
    drivers = made_drivers([0.5], drivers=[(0, place, place in (-1, 60_000)) for place in places])
    table, ax, _ = drawn(driver_figures.driver_distances, drivers, zoom=19_999)
    assert (table.start.min(), table.end.max()) == (-20_000, 20_000)
    assert table.drivers.sum() == 5
    assert table.main_drivers.sum() == 1
    assert bars(panels(ax)[0])["drivers, r > 0"][:, 3].sum() == 5
    far = made_drivers([0.5], drivers=[(0, 30_000, True)])
    table, _, svg = drawn(driver_figures.driver_distances, far, zoom=19_999)
    assert table.drivers.sum() == 0
    assert "no examined gene has a driver to compare within 19,999 bases" in svg


@pytest.mark.parametrize("distance", [0, 1, -3, 40, 120, -5000, 9_999])
def test_distances_in_a_small_window(distance):
    drivers = made_drivers([0.5], drivers=[(0, distance, True), (0, -distance, False)])
    table, ax, _ = drawn(driver_figures.driver_distances, drivers)
    assert table.drivers.sum() == 2
    assert table.main_drivers.sum() == 1
    [row] = table.index[table.main_drivers > 0]
    assert table.start[row] <= distance <= table.end[row]
    table = table[table.group == 1]
    assert (table.end.to_numpy()[:-1] == table.start.to_numpy()[1:]).all()
    assert (table.end > table.start).all()
    assert 2 <= len(table) <= 42
    assert bars(panels(ax)[0])["drivers, r > 0"][:, 3].sum() == 2


# --- drivers of a gene


def test_numbers_of_drivers():
    numbers = {0: 1, 1: 3, 2: 20, 3: 21, 4: 35, 5: 0, 6: 2, 7: 1}
    r = [0.5, -0.5, 0.4, 0.3, -0.9, 0.6, 0.7, -0.3]
    examined = [True] * 6 + [False, True]
    drivers = [(gene, 0, False) for gene, number in numbers.items() for _ in range(number)]
    table, ax, _ = drawn(
        driver_figures.drivers_per_gene, made_drivers(r, examined=examined, drivers=drivers)
    )
    assert table.drivers.tolist() == list(range(22))
    expected = np.zeros((22, 2), int)
    for gene, number in numbers.items():
        if examined[gene]:
            expected[min(number, 21), int(r[gene] < 0)] += 1
    assert table[["positive", "negative"]].to_numpy().tolist() == expected.tolist()
    found = bars(ax)
    assert found["r > 0"][:, 3].tolist() == table.positive.tolist()
    assert found["r < 0"][:, 3].tolist() == table.negative.tolist()
    assert found["r < 0"][:, 2].tolist() == table.positive.tolist()  # on top of the others
    np.testing.assert_allclose(found["r > 0"][:, :2].sum(axis=1), table.drivers + 0.45)
    assert labels(ax) == ["r > 0 (4)", "r < 0 (3)"]
    assert ax.get_xlim()[1] >= 21.45
    _, shares = ax.figure.axes
    for line, name, sign in zip(shares.lines, ("positive", "negative"), (1, -1), strict=True):
        of_sign = [numbers[i] for i in range(8) if examined[i] and np.sign(r[i]) == sign]
        expected = [np.mean([min(n, 21) <= most for n in of_sign]) for most in range(22)]
        np.testing.assert_allclose(table[f"cumulative_{name}"], expected)
        np.testing.assert_array_equal(line.get_xydata(), table[["drivers", f"cumulative_{name}"]])
        assert line.get_color() == (style.RIGHT if sign > 0 else style.WRONG)


def test_cumulative_numbers_of_drivers_of_genes_of_one_sign():
    drivers = made_drivers([0.5, 0.6], drivers=[(0, 0, False)])
    table, ax, _ = drawn(driver_figures.drivers_per_gene, drivers)
    assert table.cumulative_positive.tolist()[:3] == [0.5, 1.0, 1.0]
    assert table.cumulative_negative.isna().all()
    assert len(ax.figure.axes[1].lines) == 1


# --- nothing, and names


@pytest.mark.parametrize("function", FIGURES)
@pytest.mark.parametrize(
    "drivers",
    [
        made_drivers([]),
        made_drivers([np.nan, 0.1], group=[0, 0]),
        made_drivers([0.1, -0.2], group=[0, 0], drivers=[(0, 5, True), (1, -7, True)]),
    ],
    ids=["no gene", "no driver", "none examined"],
)
def test_without_anything_to_draw_the_figure_says_so(function, drivers):
    table, ax, svg = drawn(function, drivers)
    [sentence] = ax.texts
    assert sentence.get_text().startswith("no ")
    assert sentence.get_text() in svg
    assert ax.get_legend() is None
    assert scattered(ax) == []
    assert not ax.patches
    counts = {"main_drivers", "positive", "negative", "r"} & {*table.columns}
    assert counts
    assert table[sorted(counts)].to_numpy().sum() == 0


def test_names_never_become_mathematics_or_markup():
    names = ["$x^{$", "<script>alert(1)</script>", "a" * 90]
    drivers = made_drivers([0.9, -0.9, 0.3], names=names, drivers=[(0, 1, True), (1, 2, True)])
    for function in FIGURES:
        table, _, svg = drawn(function, drivers)
        assert "<script" not in svg
        ElementTree.fromstring(svg)
    table, _, _ = drawn(driver_figures.support_against_r, drivers)
    assert table.gene_name.tolist() == names


def test_svg_is_the_same_each_time():
    drivers = made_drivers([0.9, -0.9], drivers=[(0, 1, True), (1, 2, True)])
    for function in FIGURES:
        assert drawn(function, drivers)[2] == drawn(function, drivers)[2]
    variants = made_variants()
    one, other = (drawn(driver_figures.slope_against_attribution, variants)[2] for _ in range(2))
    assert one == other
