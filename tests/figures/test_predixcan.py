"""What the figures beside PrediXcan draw, read back from their Axes."""

import numpy as np
import pytest
import xarray as xr

from zarrbench.figures import style
from zarrbench.figures.predixcan import network_against_predixcan
from zarrbench.layouts import PREDIXCAN

RNG = np.random.default_rng(0)
X, Y = RNG.uniform(-0.3, 0.9, 80), RNG.uniform(-0.8, 0.8, 80)
X[:3], Y[3:5] = np.nan, np.nan
N = np.full(80, 30)
N[10:12] = 4
KEPT = np.isfinite(X) & np.isfinite(Y) & (N >= 5)
CHOSEN = RNG.random(80) < 0.3


def passing(ids, chosen) -> xr.DataArray:
    return xr.DataArray(chosen, {"gene": np.asarray(ids, dtype=object)}, "gene")


@pytest.fixture
def compared(made):
    return made(PREDIXCAN, r_predixcan=X, r_network=Y, n_individuals=N)


@pytest.mark.parametrize("absolute", [False, True])
def test_genes_with_both_r_are_drawn_dark_where_significant(compared, drawn, scattered, absolute):
    order = RNG.permutation(80)
    significant = passing(compared["gene"].values[order], CHOSEN[order])  # joined by label
    table, ax, _ = drawn(network_against_predixcan, compared, significant, absolute=absolute)
    y = np.abs(Y) if absolute else Y
    np.testing.assert_array_equal(table["r_predixcan"], X[KEPT])
    np.testing.assert_array_equal(table["r_network"], y[KEPT])
    np.testing.assert_array_equal(table["significant"], CHOSEN[KEPT])
    np.testing.assert_array_equal(
        scattered(ax), sorted(np.stack([X[KEPT], y[KEPT]], axis=1).tolist())
    )
    _, dark = ax.collections
    assert len(dark.get_offsets()) == CHOSEN[KEPT].sum()
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts[:2] == [
        f"not significant ({(~CHOSEN[KEPT]).sum()})", f"significant ({CHOSEN[KEPT].sum()})",
    ]  # fmt: skip
    r = np.corrcoef(X[KEPT], y[KEPT])[0, 1]
    assert table.attrs["r"] == pytest.approx(r)
    [cross] = [line for line in ax.lines if line.get_marker() == "+"]
    assert cross.get_xydata().tolist() == [pytest.approx([X[KEPT].mean(), y[KEPT].mean()])]
    red = [line.get_xydata() for line in ax.lines if line.get_color() == style.CUT]
    across = {line[0, 1] for line in red if line[0, 1] == line[1, 1]}
    assert across == ({0.2} if absolute else {0.2, -0.2})
    assert {line[0, 0] for line in red if line[0, 0] == line[1, 0]} == {0.2}
    heading = ax.get_legend().get_title().get_text()
    if absolute:
        assert heading == f"r = {r:.2f},  {KEPT.sum()} genes".replace("-", "−")
    else:
        above = [(values[KEPT] > 0.2).sum() for values in (X, Y)]
        assert heading == f"r > 0.2: {above[0]} by PrediXcan, {above[1]} by the network"


def test_genes_that_were_not_tested_are_not_significant(compared, drawn):
    some = passing(compared["gene"].values[20:30], np.ones(10, bool))
    table, _, _ = drawn(network_against_predixcan, compared, some)
    assert table.loc[table["significant"], "gene_id"].tolist() == [
        f"ENSG{i:04d}" for i in range(20, 30)
    ]


@pytest.mark.parametrize("n", [0, 1, 4])
def test_without_both_r_the_figure_says_so(made, drawn, scattered, n):
    of_one = made(PREDIXCAN, r_predixcan=np.full(n, np.nan), r_network=np.full(n, 0.5),
                  n_individuals=np.full(n, 9))  # fmt: skip
    table, ax, svg = drawn(
        network_against_predixcan, of_one, passing(of_one["gene"].values, np.ones(n, bool))
    )
    assert len(table) == len(scattered(ax)) == 0
    assert table.columns.tolist() == [
        "gene_id", "gene_name", "r_predixcan", "r_network", "significant",
    ]  # fmt: skip
    assert "no gene has both r" in svg


@pytest.mark.parametrize("absolute", [False, True])
def test_one_gene(made, drawn, absolute):
    one = made(PREDIXCAN, r_predixcan=[0.3], r_network=[-0.4], n_individuals=[9])
    table, _, _ = drawn(
        network_against_predixcan, one, passing(one["gene"].values, [True]), absolute=absolute
    )
    assert table["r_network"].tolist() == [0.4 if absolute else -0.4]
