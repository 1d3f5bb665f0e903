"""What the figures of genotypes draw, read back from their Axes and counted person by person."""

import numpy as np
import pytest
import xarray as xr

from zarrbench.figures.disclosure import MINIMUM_PEOPLE
from zarrbench.figures.genotypes import genotype_heat_map, snvs_carried


def dosages(calls) -> xr.DataArray:
    calls = np.asarray(calls, dtype=np.int8)
    people = [f"HG{i:05d}" for i in range(calls.shape[1])]
    return xr.DataArray(calls, {"individual": people}, ("variant", "individual"))


def random_calls(variants: int, people: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(0, 1, (variants, 1))
    calls = rng.binomial(2, frequency, (variants, people))
    calls[rng.random(calls.shape) < 0.02] = -1
    return calls


@pytest.mark.parametrize("people", [5, 60, 700])
@pytest.mark.parametrize("variants", [1, 150])
def test_bars_count_people_and_hide_few(drawn, people, variants):
    calls = random_calls(variants, people)
    table, ax, svg = drawn(snvs_carried, dosages(calls))
    carried = [sum(copies > 0 for copies in person) for person in calls.T]
    for bar in table.itertuples():
        assert bar.individuals == sum(bar.start <= number < bar.end for number in carried)
        assert bar.individuals >= MINIMUM_PEOPLE
    assert table["individuals"].sum() + table.attrs["suppressed"] == people
    assert len(table) <= 41
    drawn_bars = [(bar.get_x(), bar.get_height()) for bar in ax.patches]
    assert drawn_bars == list(table[["start", "individuals"]].itertuples(index=False, name=None))
    if people == 700:
        assert table["individuals"].sum() > 500
    assert "HG0" not in svg


def test_a_few_hidden_people_are_not_counted(drawn):
    calls = np.zeros((50, 40), int)
    calls[:, :3] = 1
    table, ax, _ = drawn(snvs_carried, dosages(calls))
    assert table.attrs["suppressed"] == 3
    assert ax.get_title() == "50 SNVs, 40 people, fewer than 5 not shown"
    assert ax.get_xlim()[1] < 40
    _, ax, _ = drawn(snvs_carried, dosages(calls[:, 3:]))
    assert ax.get_title() == "50 SNVs, 37 people, 0 not shown"


@pytest.mark.parametrize(
    ("shape", "sentence"), [((0, 9), "no SNV in the window"), ((5, 4), "not drawn"),
                            ((5, 0), "not drawn"), ((0, 0), "no SNV in the window")],
)  # fmt: skip
def test_nothing_to_count(drawn, shape, sentence):
    table, ax, svg = drawn(snvs_carried, dosages(np.ones(shape)))
    assert table.columns.tolist() == ["start", "end", "individuals"]
    assert len(table) == len(ax.patches) == 0
    assert sentence in svg


def test_the_heat_map_needs_leave(drawn):
    table, ax, svg = drawn(genotype_heat_map, dosages(random_calls(60, 80)))
    assert table.columns.tolist() == ["snv_group", "individual_group", "dosage"]
    assert len(table) == len(ax.images) == 0
    assert "individual_points: true" in svg


def test_the_heat_map_draws_groups_of_linked_snvs(drawn):
    calls = random_calls(60, 80)
    calls[calls < 0] = 0
    calls[10:20] = calls[10]  # ten that are one
    table, ax, svg = drawn(genotype_heat_map, dosages(calls), individual_points=True)
    [image] = ax.images
    shape = np.asarray(image.get_array()).shape
    assert shape == (table["snv_group"].max() + 1, table["individual_group"].max() + 1)
    assert len(table) == shape[0] * shape[1]
    for row, column, dosage in table.sample(200, random_state=0).itertuples(index=False):
        assert image.get_array()[row, column] == dosage
    common = [row for row in calls if np.mean(row > 0) > 0.1]
    distinct = {tuple(row) for row in common}
    assert shape[0] <= len(distinct) <= len(common) - 9
    # each row is the mean of people's dosages of some linked variants
    assert table["dosage"].between(0, 2).all()
    one = sorted(calls[10])
    rows = [sorted(values["dosage"]) for _, values in table.groupby("snv_group")]
    assert shape[1] == 80
    assert one in rows
    assert "HG0" not in svg
    assert "<image" in svg


@pytest.mark.parametrize(
    "calls", [np.ones((0, 9)), np.zeros((5, 9)), np.ones((5, 0)), np.full((3, 9), -1)]
)
def test_a_heat_map_of_nothing_says_so(drawn, calls):
    table, _, svg = drawn(genotype_heat_map, dosages(calls), individual_points=True)
    assert len(table) == 0
    assert "no common SNV" in svg


def test_axes_may_be_in_any_order(drawn):
    calls = dosages(random_calls(40, 50))
    for draw, options in ((snvs_carried, {}), (genotype_heat_map, {"individual_points": True})):
        one, other = (drawn(draw, c, **options)[0] for c in (calls, calls.T))
        assert one.equals(other)
        assert len(one)
