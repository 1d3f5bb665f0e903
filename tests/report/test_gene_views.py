import dataclasses
import json

import dask.array as da
import numpy as np
import pytest

from zarrbench.figures.disclosure import people_in_cells
from zarrbench.report.gene_views import GeneViews, null_view, people_view, rounded, snv_view


def test_cells_are_those_of_an_independent_count():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 400))
    y[:7] = np.nan
    view = json.loads(json.dumps(people_view(x, y)))
    x, y = x[7:], y[7:]
    assert view["people"] == 393
    counts = np.zeros_like(view["counts"])
    edges = view["observed_edges"], view["predicted_edges"]
    for i in range(len(edges[0]) - 1):
        for j in range(len(edges[1]) - 1):
            inside = (x >= edges[0][i]) & (x < edges[0][i + 1])
            inside &= (y >= edges[1][j]) & (y < edges[1][j + 1])
            counts[i, j] = inside.sum() if inside.sum() >= 5 else 0
    np.testing.assert_array_equal(view["counts"], counts)
    assert counts.sum() == 393 - view["suppressed"] > 200
    order = np.argsort(x)
    groups = np.array_split(order, 10)
    assert view["means"]["people"] == [len(group) for group in groups]
    for name, values in (("observed", x), ("predicted", y)):  # spans below 10: steps of 0.01
        means = np.array([values[g].mean() for g in groups])
        np.testing.assert_allclose(view["means"][name], means, rtol=0, atol=0.00501)
        np.testing.assert_array_equal(view["means"][name], np.round(view["means"][name], 2))


def test_of_fewer_than_five_people_nothing_but_their_number():
    x = np.array([1.0, 2.0, 3.0, 4.0, np.nan, 6.0])
    y = np.array([1.0, 2.0, 3.0, 4.0, 5.0, np.inf])
    assert people_view(x, y) == {"people": 4}
    assert people_view(x[:0], y[:0]) == {"people": 0}
    five = people_view(x[:4].repeat(2)[:5], y[:4].repeat(2)[:5])
    assert five["means"]["people"] == [5]
    lone = np.where(np.arange(60) < 4, 2.0, 1.0)
    assert people_view(np.arange(60.0), lone) == {"people": 60}
    assert "means" in people_view(np.arange(60.0), np.where(np.arange(60) < 5, 2.0, 1.0))


def test_what_spans_little_is_still_told_apart():
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(2, 400))
    plain, far = people_view(x, y), people_view(x * 1e5, 1000 + 1e-3 * y)
    assert far["counts"] == plain["counts"]
    for name in ("observed_edges", "predicted_edges"):
        assert (np.diff(far[name]) > 0).all()
    spread = (np.array(far["means"]["predicted"]) - 1000) / 1e-3
    np.testing.assert_allclose(spread, plain["means"]["predicted"], atol=0.02)
    step = 1e-5
    given = np.array(far["means"]["predicted"]) / step
    np.testing.assert_allclose(given, np.round(given), atol=1e-4)
    points = people_view(x, 1000 + 1e-3 * y, individual_points=True)["predicted"]
    assert len(set(points)) > 200


def test_means_are_as_coarse_as_what_they_span():
    """One group has no span of its own; a few people far out widen that of the means."""
    seven = people_view(np.linspace(0, 1, 7) / 3, 1000 + np.linspace(0, 1, 7) / 3)
    assert seven["means"]["people"] == [7]
    assert seven["means"]["observed"] == [0.167]
    crowd = np.append(np.linspace(0, 1, 395), [1e6 / 3] * 5)
    means = people_view(crowd, crowd)["means"]["observed"]
    assert means[-1] % 100 == 0
    assert (np.diff(people_view(crowd, crowd)["observed_edges"]) > 0).all()


@pytest.mark.parametrize(("alone", "said"), [(0, 0), (1, None), (4, None), (6, 6)])
def test_one_to_four_hidden_people_are_not_counted(alone, said):
    x = np.append(np.repeat([0.0, 1.0], 40), np.linspace(0.2, 0.8, alone))
    view = people_view(x, x)
    assert np.sum(view["counts"]) == 80
    assert view["suppressed"] == said


def test_people_who_are_all_alike():
    view = people_view(np.full(30, 2.0), np.full(30, 7.0))
    assert np.sum(view["counts"]) == 30
    assert view["suppressed"] == 0


def test_points_are_sorted_and_only_given_when_asked_for():
    x, y = np.array([3.0, 1.0, np.nan, 2.0]), np.array([30.0, 10.0, 0.0, 20.0])
    asked_for = people_view(x, y, individual_points=True)
    assert asked_for == {"people": 3, "observed": [1, 2, 3], "predicted": [10, 20, 30]}


def test_snvs_are_those_of_the_table_but_the_few(inputs):
    table = inputs.views.variants(["ENSG0000007"])
    table.loc[[10, 11], ["slope", "ism"]] = [[np.nan, 0.5], [0.5, np.nan]]
    view = json.loads(json.dumps(snv_view(table.sample(frac=1, random_state=1))))
    shown = table.drop(index=[*range(5), 11])
    assert [view[name] for name in ("total", "few", "thinned")] == [40, 6, 0]
    assert view["distance"] == shown["distance"].tolist()
    assert view["other"] == "A" * 34
    assert view["effect"] == "".join(shown["effect_allele"])
    assert view["support"] == shown["support"].tolist()
    np.testing.assert_allclose(view["ism"], shown["ism"], rtol=1e-5)
    np.testing.assert_allclose(np.array(view["slope"], float), shown["slope"], rtol=1e-5)
    assert view["slope"][5] is None
    assert view["frequency"] == shown["carrier_frequency"].round(2).tolist()
    drivers = [k for k, value in enumerate(view["increment"]) if value is not None]
    assert drivers == np.flatnonzero(shown["is_driver"]).tolist()


def test_the_snvs_that_matter_most_stay(inputs):
    table = inputs.views.variants(["ENSG0000007"])
    table["ism"] = np.where(table["is_driver"], 0.0, table["ism"])
    view = snv_view(table, most=6)
    candidates = table[5:][~table["is_driver"][5:]]
    largest = candidates["ism"].abs().nlargest(3).index
    expected = sorted([*largest, *table.index[table["is_driver"]]])
    assert view["distance"] == table["distance"][expected].tolist()
    assert [view[name] for name in ("total", "few", "thinned")] == [40, 5, 29]
    fewer = snv_view(table, most=1)
    assert fewer["distance"] == [9000]  # the driver that adds most
    nothing = snv_view(table[:0], most=3)
    assert nothing["total"] == 0
    assert nothing["distance"] == []


def test_the_null_ends_with_its_last_draw(inputs):
    gene = inputs.statistics.isel(gene=4)
    assert null_view(gene) == [5] * 10
    assert null_view(gene.drop_vars("null_count")) is None
    assert null_view(gene.assign(n_individuals=4)) is None
    assert null_view(gene.assign(null_count=0 * gene["null_count"])) == []


def test_views_of_all_genes_are_those_of_each(inputs):
    views = inputs.views
    assert len(views.genes) == 60  # more than are held at once
    together = list(views.views(views.genes))
    for row in (0, 3, 49, 50, 59):
        assert together[row] == views.view(views.genes[row])
    assert together[3]["snvs"]["total"] == 0
    assert together[5]["people"]["people"] == 150
    without = dataclasses.replace(views, variants=None)
    assert without.view("ENSG0000007")["snvs"] is None
    with pytest.raises(KeyError):
        views.view("ENSG9")


def test_people_are_joined_by_label_and_genes_read_alone(inputs):
    views = inputs.views
    read = []

    def noted(block, block_info=None):
        read.append(block_info[0]["chunk-location"][0])
        return block

    lazy = da.from_array(views.predicted.values, chunks=(1, -1))
    lazy = views.predicted.copy(data=lazy.map_blocks(noted, dtype=float, meta=np.empty((0, 0))))
    shuffled = views.observed.isel(individual=slice(None, 20, -1))
    view = GeneViews(views.statistics, lazy, shuffled).view("ENSG0000007")
    kept = views.observed["individual"].values[21:]
    x, y = (
        cube.sel(gene="ENSG0000007", individual=kept).values
        for cube in (views.observed, views.predicted)
    )
    counts, x_edges, _ = people_in_cells(x, y)
    assert view["people"]["counts"] == counts.tolist()
    np.testing.assert_allclose(view["people"]["observed_edges"], x_edges)
    assert set(read) == {7}


def test_numbers_are_rounded_and_never_nan():
    assert rounded([1.23456789, -0.000123456, np.nan, np.inf, 0], 3) == [
        1.23, -0.000123, None, None, 0,
    ]  # fmt: skip
    assert json.dumps(rounded(np.float32([0.1]))) == "[0.1]"
