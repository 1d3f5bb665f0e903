"""What the figures of clusters draw, read back from their Axes."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from zarrbench.figures import clusters as figures
from zarrbench.figures import style
from zarrbench.statistics.sequence_clusters import Motif, enrichment, motif


def made_clusters(sizes, unsupported) -> pd.DataFrame:
    """The table of clusters of these sizes; those with the effect allele are others."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    wrong = np.concatenate([[], *(np.arange(s) < u for s, u in zip(sizes, unsupported))])  # noqa: B905
    parts = []
    for base, which in (("reference", wrong.astype(bool)), ("variant", ~wrong.astype(bool))):
        tested = enrichment(labels, which)
        names = ("size", "unsupported", "p_more", "p_fewer", "q_more", "q_fewer")
        columns = {name: getattr(tested, name) for name in names}
        parts.append(pd.DataFrame({"base": base, "cluster": np.arange(len(sizes)), **columns}))
    return pd.concat(parts, ignore_index=True)


SIZES, UNSUPPORTED = [30, 12, 12, 5, 2, 1, 1], [25, 1, 6, 5, 1, 0, 1]
CLUSTERS = made_clusters(SIZES, UNSUPPORTED)
NOTHING = CLUSTERS[:0]


def drawn(function, *arguments, **options):
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    ax = figure.subplots()
    return function(*arguments, ax=ax, **options), ax, style.as_svg(figure)


@pytest.mark.parametrize("base", ["reference", "variant"])
def test_clusters_in_the_order_of_their_signed_p(base):
    table, ax, svg = drawn(figures.cluster_enrichment, CLUSTERS, base=base)
    rows = CLUSTERS[CLUSTERS["base"] == base].set_index("cluster").loc[table["cluster"]]
    for row, (_, source) in zip(table.itertuples(), rows.iterrows(), strict=True):
        p = min(source["p_more"], source["p_fewer"])
        sign = 1 if source["p_more"] <= source["p_fewer"] else -1
        assert row.signed_log10_p == pytest.approx(-sign * np.log10(p))
        assert row.size == source["size"]
    assert table["signed_log10_p"].is_monotonic_increasing
    found = {
        tuple(np.round(offset, 9)): area
        for c in ax.collections
        if len(c.get_offsets())
        for offset, area in zip(
            c.get_offsets().data, np.broadcast_to(c.get_sizes(), len(c.get_offsets())), strict=True
        )
    }
    assert len(found) == len(table)
    areas = [found[(i, round(y, 9))] for i, y in enumerate(table["signed_log10_p"])]
    np.testing.assert_allclose(np.array(areas) / table["size"], areas[0] / table["size"][0])
    lines = sorted({abs(line.get_ydata()[0]) for line in ax.lines})
    np.testing.assert_allclose(lines, [0, *-np.log10([0.05, 0.01, 0.05 / 7])])
    assert table.attrs["lines"] == [0.05, 0.01, 0.05 / 7]
    assert "0.05 / clusters" in svg


def test_sizes_of_clusters():
    table, ax, svg = drawn(figures.cluster_sizes, CLUSTERS)
    assert table["size"].tolist() == SIZES
    for steps, name in zip(ax.patches, ("size", "unsupported"), strict=True):
        np.testing.assert_array_equal(steps.get_data().values, table[name])
        np.testing.assert_array_equal(steps.get_data().edges, np.arange(8) - 0.5)
    assert "drivers (63)" in svg
    assert "unsupported (39)" in svg


def test_logos_of_clusters():
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 4, (30, 13)).astype(np.uint8)
    codes[:, 3:9] = 0, 1, 2, 3, 0, 2
    codes[:8, 4] = rng.integers(0, 4, 8)
    motifs = {0: motif(codes, np.arange(30)), 2: motif(codes, np.arange(5))}
    table, ax, svg = drawn(figures.cluster_logos, motifs, CLUSTERS)
    for panel, (number, one) in zip(ax.child_axes, motifs.items(), strict=False):
        letters = table[table["cluster"] == number]
        for column in range(len(one.weights)):
            here = letters[letters["column"] == column - one.snv].set_index("base")
            weights = one.weights[column]
            p = weights[weights > 0] / weights.sum()
            bits = 2 + (p * np.log2(p)).sum()
            expected = {b: w * bits for b, w in zip("ACGT", weights, strict=True) if w * bits > 0}
            assert here["height"].to_dict() == pytest.approx(expected)
            assert here["height"].is_monotonic_increasing
            np.testing.assert_allclose(here["bottom"], here["height"].cumsum() - here["height"])
        [glyphs] = panel.collections
        boxes = [path.get_extents() for path in glyphs.get_paths()]
        np.testing.assert_allclose([b.y0 for b in boxes], letters["bottom"], atol=1e-9)
        np.testing.assert_allclose([b.height for b in boxes], letters["height"], atol=1e-9)
        assert panel.get_xlim()[0] < letters["column"].min()
        assert letters["column"].max() < panel.get_xlim()[1]
    assert [p.get_title() for p in ax.child_axes[:2]] == ["30 (25 unsup.)", "12 (6 unsup.)"]
    assert "bits" in svg


def test_twenty_logos_have_a_panel_each():
    one = Motif(0, np.full((7, 4), 0.2), 3, 5)
    several = Motif(0, np.diag([1, 0.5, 0.25, 1.0])[[0, 1, 2, 3, 3]], 1, 5)
    clusters = made_clusters([5] * 20, [2] * 20)
    table, ax, _ = drawn(figures.cluster_logos, dict.fromkeys(range(20), several), clusters)
    assert table.groupby("cluster").size().tolist() == [5] * 20
    assert all(panel.axison for panel in ax.child_axes)
    assert len(ax.child_axes) == 20
    flat = drawn(figures.cluster_logos, {0: one}, clusters)[0]
    assert flat.empty or (flat["height"].abs() < 1e-9).all()


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (figures.cluster_enrichment, (NOTHING,)),
        (figures.cluster_sizes, (NOTHING,)),
        (figures.cluster_logos, ({}, NOTHING)),
    ],
)
def test_nothing_to_draw(function, arguments):
    table, ax, svg = drawn(function, *arguments)
    assert table.empty
    assert "cluster" in table
    assert not ax.child_axes
    [sentence] = ax.texts
    assert sentence.get_text().startswith("no ")
    assert sentence.get_text() in svg


def test_one_cluster_and_a_table_as_it_is_read_back():
    clusters = made_clusters([3], [1])
    for function in (figures.cluster_enrichment, figures.cluster_sizes):
        assert len(drawn(function, clusters)[0]) == 1
