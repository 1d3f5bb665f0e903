import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from zarrbench.figures import people, style

SVG = "{http://www.w3.org/2000/svg}"


def of_people(values) -> xr.DataArray:
    values = np.asarray(values, dtype=float)
    return xr.DataArray(values, dims="individual")


def points(ax) -> int:
    return sum(len(collection.get_offsets()) for collection in ax.collections)


def drawn(function, *arguments, **options):
    figure = Figure(figsize=(4, 3))
    ax = figure.subplots()
    return function(*arguments, ax=ax, **options), ax, style.as_svg(figure)


@pytest.mark.parametrize("n", [5, 9, 14, 40, 120, 500])
def test_no_mark_stands_for_fewer_than_five_people(n):
    rng = np.random.default_rng(n)
    x = rng.normal(size=n)
    y = 0.5 * x + rng.normal(size=n)
    table, ax, svg = drawn(people.predicted_against_observed, of_people(y), of_people(x))
    assert set(table["mark"]) <= {"cell", "group"}
    assert (table["people"] >= 5).all()
    of_cells = table.loc[table["mark"] == "cell", "people"].sum()
    assert of_cells + table.attrs["suppressed"] == n == table.attrs["people"]
    groups = table[table["mark"] == "group"]
    assert groups["people"].sum() == n
    mean = np.average(groups["predicted"], weights=groups["people"])
    assert abs(mean - y.mean()) < np.ptp(y) / 1000  # means have three digits of the range
    assert (np.diff(groups["observed"]) > 0).all()
    assert [len(line.get_xdata()) for line in ax.lines] == [len(groups)]
    assert table.attrs["r"] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert f"r = {table.attrs['r']:.2f}".replace("-", "−") in svg


@pytest.mark.parametrize(("carriers", "told"), [(1, False), (4, False), (5, True), (0, True)])
def test_predictions_that_a_few_carriers_decide_say_nothing_of_their_expression(carriers, told):
    """Else r, and the group in which the mean prediction differs, give it away."""
    x = np.random.default_rng(3).normal(size=100)
    y = np.where(np.arange(100) < carriers, 2.0, 1.0)
    table, _, svg = drawn(people.predicted_against_observed, of_people(y), of_people(x))
    assert bool(len(table)) is told
    assert ("fewer than 5 people decide it" in svg) is not told
    assert np.isnan(table.attrs["r"]) == (not told or carriers == 0)
    assert table.attrs["people"] == 100
    assert ("r = " in svg) is (told and carriers > 0)


def test_marks_drawn_are_fewer_than_people_unless_asked_for():
    x = np.random.default_rng(0).normal(size=200)
    table, _, svg = drawn(people.predicted_against_observed, of_people(x), of_people(x))
    assert svg.count("<use") < 60
    table, ax, svg = drawn(
        people.predicted_against_observed, of_people(x), of_people(x), individual_points=True
    )
    assert points(ax) == 200
    assert svg.count("<use") >= 200
    assert set(table["mark"]) == {"person"}
    assert table.attrs["suppressed"] == 0


def test_axes_do_not_reach_to_the_most_extreme_person():
    x = np.random.default_rng(0).normal(size=300)
    x[0] = 55.0
    _, ax, _ = drawn(people.predicted_against_observed, of_people(x), of_people(x))
    # The mean of the highest tenth of the people, 30 of them, is near 3.5.
    assert ax.get_xlim()[1] < 6


def test_fewer_than_five_people_are_not_drawn():
    table, _, svg = drawn(
        people.predicted_against_observed, of_people([1, 2, 3, 9]), of_people([3, 1, 2, 4])
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
    table, _, svg = drawn(people.predicted_against_observed, predicted, observed)
    assert table.attrs["people"] == 49
    assert table.attrs["r"] == pytest.approx(1)
    assert "HG0" not in svg


def test_constant_predictions_have_no_r():
    x = np.random.default_rng(5).normal(size=50)
    table, _, svg = drawn(people.predicted_against_observed, of_people(np.ones(50)), of_people(x))
    assert np.isnan(table.attrs["r"])
    assert "r undefined" in svg
