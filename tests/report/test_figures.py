import re
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from zarrbench import layouts
from zarrbench.report import figures

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def made_statistics(r, p=None, q=None, significant=None, names=None) -> xr.Dataset:
    """A dataset of the layout with one null statistic; what is not given is arbitrary."""
    r = np.asarray(r, dtype=float)
    n = len(r)
    p = np.linspace(0.001, 0.9, n) if p is None else np.asarray(p, dtype=float)
    q = p if q is None else np.asarray(q, dtype=float)
    sizes = {"gene": n, "statistic": 1, "case": 1}
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


def people(values) -> xr.DataArray:
    values = np.asarray(values, dtype=float)
    return xr.DataArray(values, dims="individual")


def drawn(function, *arguments, **options):
    figure = Figure(figsize=(4, 3))
    ax = figure.subplots()
    return function(*arguments, ax=ax, **options), ax, figures.as_svg(figure)


def points(ax) -> int:
    return sum(len(collection.get_offsets()) for collection in ax.collections)


def test_r_against_p_draws_each_gene_with_a_defined_r():
    r = [0.6, np.nan, -0.5, 0.1, 0.0]
    statistics = made_statistics(r, p=[1e-8, 1.0, 1e-4, 0.2, 1.0], q=[1e-7, 1, 2e-4, 0.4, 1])
    table, ax, svg = drawn(figures.r_against_p, statistics)
    assert list(table["gene_id"]) == ["ENSG0000", "ENSG0002", "ENSG0003", "ENSG0004"]
    np.testing.assert_allclose(table["minus_log10_p"], [8, 4, -np.log10(0.2), 0])
    assert table.attrs["cut"] == pytest.approx(4)
    assert points(ax) == 4
    texts = {text.get_text() for text in ax.texts}
    assert texts == {"G0", "G2"}
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [
        "not significant (2)",
        "significant, r > 0 (1)",
        "significant, r < 0 (1)",
        "q ≤ 0.05",
    ]
    assert figures.RIGHT in svg
    assert figures.WRONG in svg


def test_r_against_p_draws_no_cut_without_a_gene_at_alpha():
    table, ax, svg = drawn(figures.r_against_p, made_statistics([0.1, 0.2], p=[0.5, 0.6]))
    assert np.isnan(table.attrs["cut"])
    assert figures.CUT not in svg
    assert points(ax) == 2


def test_r_against_p_cut_stays_at_q_when_the_rule_leaves_the_boundary_gene_out():
    statistics = made_statistics(
        [0.5, 0.4], p=[1e-6, 1e-3], q=[2e-6, 1e-3], significant=[True, False]
    )
    table, ax, _ = drawn(figures.r_against_p, statistics)
    assert table.attrs["cut"] == pytest.approx(3)
    assert "significant, r > 0 (1)" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_r_against_p_survives_a_p_of_zero():
    table, _, svg = drawn(figures.r_against_p, made_statistics([0.9, 0.1], p=[0.0, 0.5]))
    assert np.isfinite(table["minus_log10_p"]).all()
    assert "inf" not in svg.lower()


@pytest.mark.parametrize("function", [figures.r_against_p, figures.r_histogram])
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
    table, ax, _ = drawn(figures.r_histogram, made_statistics(r, significant=accepted))
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
    table, _, _ = drawn(figures.r_histogram, made_statistics([value]))
    counts = table[["not_significant", "right_signed", "wrong_signed"]].to_numpy()
    assert counts.sum() == 1


@pytest.mark.parametrize("n", [5, 9, 14, 40, 120, 500])
def test_no_mark_stands_for_fewer_than_five_people(n):
    rng = np.random.default_rng(n)
    x = rng.normal(size=n)
    y = 0.5 * x + rng.normal(size=n)
    table, ax, svg = drawn(figures.predicted_against_observed, people(y), people(x))
    assert set(table["mark"]) <= {"cell", "group"}
    assert (table["people"] >= 5).all()
    of_cells = table.loc[table["mark"] == "cell", "people"].sum()
    assert of_cells + table.attrs["suppressed"] == n == table.attrs["people"]
    groups = table[table["mark"] == "group"]
    assert groups["people"].sum() == n
    np.testing.assert_allclose(np.average(groups["predicted"], weights=groups["people"]), y.mean())
    assert (np.diff(groups["observed"]) > 0).all()
    assert [len(line.get_xdata()) for line in ax.lines] == [len(groups)]
    assert table.attrs["r"] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert f"r = {table.attrs['r']:.2f}".replace("-", "−") in svg


def test_marks_drawn_are_fewer_than_people_unless_asked_for():
    x = np.random.default_rng(0).normal(size=200)
    table, _, svg = drawn(figures.predicted_against_observed, people(x), people(x))
    assert svg.count("<use") < 60
    table, ax, svg = drawn(
        figures.predicted_against_observed, people(x), people(x), individual_points=True
    )
    assert points(ax) == 200
    assert svg.count("<use") >= 200
    assert set(table["mark"]) == {"person"}
    assert table.attrs["suppressed"] == 0


def test_axes_do_not_reach_to_the_most_extreme_person():
    x = np.random.default_rng(0).normal(size=300)
    x[0] = 55.0
    _, ax, _ = drawn(figures.predicted_against_observed, people(x), people(x))
    # The mean of the highest tenth of the people, 30 of them, is near 3.5.
    assert ax.get_xlim()[1] < 6


def test_fewer_than_five_people_are_not_drawn():
    table, _, svg = drawn(
        figures.predicted_against_observed, people([1, 2, 3, 9]), people([3, 1, 2, 4])
    )
    assert len(table) == 0
    assert table.attrs["suppressed"] == 4
    assert "not drawn" in svg


def test_people_are_joined_by_label_and_missing_ones_left_out():
    rng = np.random.default_rng(5)
    ids = [f"HG{i:03d}" for i in range(60)]
    observed = xr.DataArray(rng.normal(size=60), dims="individual", coords={"individual": ids})
    predicted = (2 * observed).isel(individual=slice(None, None, -1))[:50].copy()
    predicted[0] = np.nan
    table, _, svg = drawn(figures.predicted_against_observed, predicted, observed)
    assert table.attrs["people"] == 49
    assert table.attrs["r"] == pytest.approx(1)
    assert "HG0" not in svg


def test_constant_predictions_have_no_r():
    x = np.random.default_rng(5).normal(size=50)
    table, _, svg = drawn(figures.predicted_against_observed, people(np.ones(50)), people(x))
    assert np.isnan(table.attrs["r"])
    assert "r undefined" in svg


def test_svg_is_the_same_each_time_and_shares_no_id():
    def both():
        statistics = made_statistics([0.5, -0.4, 0.1], p=[1e-6, 1e-5, 0.5])
        x = np.random.default_rng(0).normal(size=100)
        return [
            drawn(figures.r_against_p, statistics)[2],
            drawn(figures.r_histogram, statistics)[2],
            drawn(figures.predicted_against_observed, people(x), people(x))[2],
            drawn(figures.predicted_against_observed, people(-x), people(x))[2],
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
    _, _, svg = drawn(figures.r_histogram, made_statistics([0.5, 0.2]))
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
    _, ax, svg = drawn(figures.r_against_p, statistics)
    texts = {text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")}
    assert "$x^{$" in texts
    assert "<script" not in svg
    assert "<script>alert(1)</s…" in texts
    assert len(ax.texts) == 2
