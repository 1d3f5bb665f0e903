import itertools
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from zarrbench import layouts
from zarrbench.figures import genes, people, style

SVG = "{http://www.w3.org/2000/svg}"


def made_statistics(r, p=None, q=None, significant=None, names=None) -> xr.Dataset:
    """A dataset of the layout with one null statistic; what is not given is arbitrary."""
    r = np.asarray(r, dtype=float)
    n = len(r)
    p = np.linspace(0.001, 0.9, n) if p is None else np.asarray(p, dtype=float)
    q = p if q is None else np.asarray(q, dtype=float)
    sizes = {"gene": n, "statistic": 1, "case": 1, "null_bin": 1}
    made = {"string": "s", "float": 0.5, "int": 1, "bool": False}
    variables = {
        name: (kind.dims, np.full([sizes[d] for d in kind.dims], made[kind.kind]))
        for name, kind in layouts.GENE_STATISTICS.variables.items()
    }
    ids = [f"ENSG{i:04d}" for i in range(n)]
    variables["gene"] = ("gene", np.array(ids, object))
    variables["gene_name"] = ("gene", np.array(names or [f"G{i}" for i in range(n)], object))
    variables["r"] = ("gene", r)
    variables["mean_predicted"] = ("gene", np.arange(n) * 1.0)
    variables["statistic"] = ("statistic", np.array(["signed"], object))
    variables["null_p"] = (("gene", "statistic"), p[:, None])
    variables["null_q"] = (("gene", "statistic"), q[:, None])
    accepted = q <= 0.05 if significant is None else np.asarray(significant)
    variables["significant"] = (("gene", "statistic"), accepted[:, None])
    dataset = xr.Dataset(variables, attrs={"statistic": "signed", "alpha": 0.05})
    layouts.GENE_STATISTICS.check(dataset, Path("x"))
    return dataset


def of_people(values) -> xr.DataArray:
    values = np.asarray(values, dtype=float)
    return xr.DataArray(values, dims="individual")


def drawn(function, *arguments, **options):
    figure = Figure(figsize=(4, 3))
    ax = figure.subplots()
    return function(*arguments, ax=ax, **options), ax, style.as_svg(figure)


def points(ax) -> int:
    return sum(len(collection.get_offsets()) for collection in ax.collections)


def test_r_against_p_draws_each_gene_with_a_defined_r():
    r = [0.6, np.nan, -0.5, 0.1, 0.0]
    statistics = made_statistics(r, p=[1e-8, 1.0, 1e-4, 0.2, 1.0], q=[1e-7, 1, 2e-4, 0.4, 1])
    table, ax, _ = drawn(genes.r_against_p, statistics)
    assert list(table["gene_id"]) == ["ENSG0000", "ENSG0002", "ENSG0003", "ENSG0004"]
    np.testing.assert_allclose(table["minus_log10_p"], [8, 4, -np.log10(0.2), 0])
    assert table.attrs["cut"] == pytest.approx(4)
    [dots] = ax.collections
    np.testing.assert_array_equal(dots.get_offsets(), table[["minus_log10_p", "r"]])
    assert {text.get_text() for text in ax.texts} == {"G0", "G2", "q ≤ 0.05"}
    assert ax.get_title() == "significant: 1 with r > 0, 1 with r < 0, of 4 genes"
    [cut] = [line for line in ax.lines if line.get_color() == style.CUT]
    np.testing.assert_allclose(cut.get_xdata(), 4)
    assert cut.get_linestyle() == "--"


def test_r_against_p_is_coloured_by_mean_prediction():
    n = 101
    statistics = made_statistics(np.linspace(-1, 1, n))
    statistics["mean_predicted"] = ("gene", np.random.default_rng(0).normal(size=n))
    table, ax, svg = drawn(genes.r_against_p, statistics)
    [dots] = ax.collections
    shades = [style.SHADES.colors.tolist().index(c.tolist()) for c in dots.get_facecolors()]
    order = np.argsort(table["mean_predicted"].to_numpy())
    assert (np.diff(np.array(shades)[order]) >= 0).all()
    assert sorted(set(shades)) == list(range(10))
    assert "mean prediction" in svg
    bar = ax.figure.axes[1]
    assert bar.get_ylim() == pytest.approx(np.percentile(table["mean_predicted"], [2, 98]))


def test_many_genes_are_one_image_in_the_drawing():
    rng = np.random.default_rng(0)
    _, _, few = drawn(genes.r_against_p, made_statistics(rng.uniform(-1, 1, 2_000)))
    _, _, many = drawn(genes.r_against_p, made_statistics(rng.uniform(-1, 1, 7_000)))
    assert few.count("<use") > 2_000 > 200 > many.count("<use")
    assert many.count("<image") == 1
    assert len(many) < 300_000


def test_r_against_p_draws_no_cut_without_a_gene_at_alpha():
    table, ax, svg = drawn(genes.r_against_p, made_statistics([0.1, 0.2], p=[0.5, 0.6]))
    assert np.isnan(table.attrs["cut"])
    assert style.CUT not in svg
    assert points(ax) == 2


def test_r_against_p_cut_stays_at_q_when_the_rule_leaves_the_boundary_gene_out():
    statistics = made_statistics(
        [0.5, 0.4], p=[1e-6, 1e-3], q=[2e-6, 1e-3], significant=[True, False]
    )
    table, ax, _ = drawn(genes.r_against_p, statistics)
    assert table.attrs["cut"] == pytest.approx(3)
    assert ax.get_title() == "significant: 1 with r > 0, 0 with r < 0, of 2 genes"


def test_r_against_p_survives_a_p_of_zero():
    table, _, svg = drawn(genes.r_against_p, made_statistics([0.9, 0.1], p=[0.0, 0.5]))
    assert np.isfinite(table["minus_log10_p"]).all()
    assert "inf" not in svg.lower()


@pytest.mark.parametrize("function", [genes.r_against_p, genes.r_histogram])
@pytest.mark.parametrize("r", [[np.nan, np.nan], []])
def test_without_any_defined_r_the_figure_says_so(function, r):
    table, _, svg = drawn(function, made_statistics(r))
    assert len(table) == 0
    assert "no gene has a defined r" in svg


def test_histogram_counts_every_gene_once_and_splits_at_zero():
    rng = np.random.default_rng(3)
    r = np.clip(rng.normal(0.05, 0.2, 500), -1, 1)
    r[:4] = [0.0, 1.0, -1.0, np.nan]
    accepted = np.abs(np.nan_to_num(r)) > 0.25
    table, ax, _ = drawn(genes.r_histogram, made_statistics(r, significant=accepted))
    right, wrong = accepted & (r > 0), accepted & (r < 0)
    assert table["right_signed"].sum() == right.sum()
    assert table["wrong_signed"].sum() == wrong.sum()
    assert table["not_significant"].sum() == 499 - right.sum() - wrong.sum()
    assert np.isclose(table["r_start"], 0).any()
    below = table[table["r_end"] < 1e-9]
    assert below["right_signed"].sum() == 0
    drawn_heights = sum(bar.get_height() for bar in ax.patches)
    assert drawn_heights == 499
    assert table.attrs["mean"] == pytest.approx(np.nanmean(r))


@pytest.mark.parametrize("value", [0.0, 0.3, -1.0])
def test_histogram_of_one_gene(value):
    table, _, _ = drawn(genes.r_histogram, made_statistics([value]))
    counts = table[["not_significant", "right_signed", "wrong_signed"]].to_numpy()
    assert counts.sum() == 1


def test_svg_is_the_same_each_time_and_shares_no_id():
    def both():
        statistics = made_statistics([0.5, -0.4, 0.1], p=[1e-6, 1e-5, 0.5])
        x = np.random.default_rng(0).normal(size=100)
        return [
            drawn(genes.r_against_p, statistics)[2],
            drawn(genes.r_histogram, statistics)[2],
            drawn(people.predicted_against_observed, of_people(x), of_people(x))[2],
            drawn(people.predicted_against_observed, of_people(-x), of_people(x))[2],
        ]

    first = both()
    assert first == both()
    seen: set[str] = set()
    for svg in first:
        ids = re.findall(r'\bid="([^"]+)"', svg)
        assert len(ids) == len(set(ids)) > 0
        assert not seen & set(ids)
        seen |= set(ids)
        references = re.findall(r'href="#([^"]+)"', svg) + re.findall(r"url\(#([^)]+)\)", svg)
        assert references
        assert set(references) <= set(ids)


def test_svg_takes_ink_font_and_size_from_the_page():
    _, _, svg = drawn(genes.r_histogram, made_statistics([0.5, 0.2]))
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert "width" not in root.attrib
    assert root.attrib["viewBox"]
    assert "currentColor" in svg
    assert "#000000" not in svg
    assert "DejaVu" not in svg
    assert "<dc:date" not in svg
    assert "genes" in {text.text for text in root.iter(f"{SVG}text")}


def test_gene_names_are_text_and_never_mathematics_or_markup():
    names = ["$x^{$", "<script>alert(1)</script>", "a" * 90]
    statistics = made_statistics([0.9, -0.9, 0.1], names=names)
    _, ax, svg = drawn(genes.r_against_p, statistics)
    texts = {text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")}
    assert "$x^{$" in texts
    assert "<script" not in svg
    assert "<script>alert(1)</s…" in texts
    assert len(ax.texts) == 3  # and the cut


MOMENTS = ("mean_observed", "sd_observed", "mean_predicted", "sd_predicted")


@pytest.mark.parametrize(("x", "y"), [*itertools.combinations(MOMENTS, 2)])
def test_moments_are_drawn_against_each_other(x, y):
    rng = np.random.default_rng(0)
    statistics = made_statistics(np.full(50, np.nan))  # r may be undefined
    for name in MOMENTS:
        statistics[name] = ("gene", rng.normal(size=50))
    statistics[x][7] = np.nan
    table, ax, _ = drawn(genes.moments, statistics, x, y)
    known = np.arange(50) != 7
    expected = np.stack([statistics[x].values[known], statistics[y].values[known]], axis=1)
    np.testing.assert_array_equal(table[[x, y]], expected)
    [dots] = ax.collections
    assert sorted(dots.get_offsets().tolist()) == sorted(expected.tolist())
    assert table.attrs["r"] == pytest.approx(np.corrcoef(expected.T)[0, 1])
    assert ax.get_xlabel() != ax.get_ylabel()


def test_personal_predictions_are_drawn_against_the_reference_with_the_identity():
    statistics = made_statistics(np.zeros(30))
    statistics["reference_prediction"] = ("gene", np.linspace(5, 6, 30))
    statistics["mean_predicted"] = ("gene", np.linspace(5, 6, 30) ** 2)
    table, ax, _ = drawn(genes.personal_against_reference, statistics)
    [dots] = ax.collections
    drawn_points = sorted(np.asarray(dots.get_offsets()).tolist())
    assert drawn_points == table[["reference_prediction", "mean_predicted"]].values.tolist()
    [line] = ax.lines
    assert (line.get_xy1(), line.get_slope()) == ((0, 0), 1)
    assert ax.get_xlim()[0] > 4


@pytest.mark.parametrize("values", [[], [np.nan, np.nan]])
def test_without_moments_the_figure_says_so(values):
    statistics = made_statistics(values)
    statistics["mean_predicted"] = ("gene", np.array(values, float))
    for table, _, svg in (
        drawn(genes.moments, statistics, "mean_observed", "mean_predicted"),
        drawn(genes.personal_against_reference, statistics),
    ):
        assert len(table) == 0
        assert "no gene has both numbers" in svg
