"""The study's figures from its tables: what is drawn, against plain pandas and scipy."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats
from statsmodels.stats.multitest import multipletests

from zarrbench.reproduction.figures import published_figures, write_published_figures
from zarrbench.reproduction.tables import PublishedTables

R, BRAIN, CORTEX = "PearsonRCAGE,adult,brain", "SuSieCausalBrainhg38", "SusieCausalCortexhg38"
Figures = Mapping[str, tuple[Figure, pd.DataFrame]]


@pytest.fixture(scope="module")
def figures(tables: PublishedTables) -> Figures:
    return published_figures(tables)


def points(figure: Figure) -> np.ndarray:
    sets = [c.get_offsets() for c in figure.axes[0].collections if hasattr(c, "get_sizes")]
    return np.concatenate(sets)


def same_points(figure: Figure, expected: object) -> None:
    np.testing.assert_allclose(
        sorted(points(figure).tolist()), sorted(np.asarray(expected).tolist()), atol=1e-12
    )


def test_fig_2a(figures: Figures, table: pd.DataFrame) -> None:
    figure, drawn = figures["fig_2a"]
    t = (table[R].abs().fillna(0) - table["RmeanRandom"]) / np.sqrt(table["Rstdrandom"] / 50)
    p = pd.Series(np.where(t < 0, 1, stats.t.sf(t, 49)), table.index).fillna(1.0)
    known = table[R].notna()
    same_points(figure, np.stack([-np.log10(p[known]), table[R][known]], axis=1))
    assert drawn["gene_id"].tolist() == table.index[known].tolist()
    accepted = multipletests(p, 0.05, "fdr_bh")[0]
    assert drawn.attrs["cut"] == pytest.approx(-np.log10(p[accepted].max()))
    assert figure.axes[0].get_title() == (
        "significant: 403 with r > 0, 195 with r < 0, of 6,808 genes"
    )
    assert drawn["significant"].sum() == 598
    np.testing.assert_array_equal(drawn["mean_predicted"], table["MeanCAGE,adult,brain"][known])
    assert {"DDX11"} < {text.get_text() for text in figure.axes[0].texts}


def test_fig_2c(figures: Figures, table: pd.DataFrame) -> None:
    figure, drawn = figures["fig_2c"]
    both = table[table[R].notna() & table["PrediXcanR"].notna()]
    same_points(figure, both[["PrediXcanR", R]])
    assert len(drawn) == 1568
    dark = both["Log10BHPvalueTstatCAGE,adult,brain"] >= 1.301
    np.testing.assert_array_equal(drawn["significant"], dark)
    _, of_dark = figure.axes[0].collections
    np.testing.assert_array_equal(of_dark.get_offsets(), both.loc[dark, ["PrediXcanR", R]])
    heading = figure.axes[0].get_legend().get_title().get_text()
    assert heading == "r > 0.2: 921 by PrediXcan, 162 by the network"


def test_fig_2e(figures: Figures, table: pd.DataFrame, published: Path) -> None:
    figure, drawn = figures["fig_2e"]
    drivers = pd.read_csv(published / "SupplementaryTable2.tsv", sep="\t")
    supported = (drivers["ISM"] * drivers["eQTL"] > 0).groupby(drivers["gene_id"]).mean()
    for sign, genes, share in ((1, 161, 0.93), (-1, 87, 0.05)):
        of_sign = drawn[drawn["group"] == sign]
        assert len(of_sign) == genes
        np.testing.assert_allclose(of_sign["fraction_supported"], supported[of_sign["gene_id"]])
        np.testing.assert_array_equal(of_sign["r"], table[R][of_sign["gene_id"]])
        assert round(of_sign["fraction_supported"].mean(), 2) == share
    same_points(figure, drawn[["r", "fraction_supported"]])


def test_extended_data_fig_1c(figures: Figures, table: pd.DataFrame) -> None:
    figure, drawn = figures["ext_data_fig_1c"]
    known = table[table[R].notna()]
    np.testing.assert_array_equal(drawn["absolute_r"], known[R].abs())
    flagged = known[CORTEX].notna()
    np.testing.assert_array_equal(drawn["fine_mapped"], flagged)
    p = stats.ranksums(known[R][flagged].abs(), known[R][~flagged].abs()).pvalue
    assert figure.axes[0].get_title() == f"rank-sum p = {p:.2g}"
    medians = [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_linewidth() == 1.4]
    assert medians == [known[R][~flagged].abs().median(), known[R][flagged].abs().median()]
    assert (known[BRAIN].notna() != flagged).any()  # the other list is another one


def test_supplementary_fig_7(figures: Figures, table: pd.DataFrame, published: Path) -> None:
    figure, drawn = figures["supp_fig_7"]
    drivers = pd.read_csv(published / "SupplementaryTable2.tsv", sep="\t")["gene_id"]
    examined = [
        line.split()[0]
        for path in published.glob("*tstats_set0.2.list")
        for line in path.read_text().splitlines()
    ]
    number = drivers[drivers.isin(examined)].value_counts().reindex(examined, fill_value=0)
    r = table[R][examined].to_numpy()
    for name, of_sign in (("positive", r > 0), ("negative", r < 0)):
        counts = np.bincount(np.minimum(number[of_sign], 21), minlength=22)
        assert drawn[name].tolist() == counts.tolist()
        np.testing.assert_allclose(drawn[f"cumulative_{name}"], counts.cumsum() / of_sign.sum())
    heights = [[bar.get_height() for bar in box] for box in figure.axes[0].containers]
    assert heights == [drawn["positive"].tolist(), drawn["negative"].tolist()]
    lines = [line.get_ydata().tolist() for line in figure.axes[1].lines]
    assert lines == [drawn[f"cumulative_{name}"].tolist() for name in ("positive", "negative")]


def test_each_is_written_with_its_table(tables: PublishedTables, tmp_path: Path) -> None:
    names = write_published_figures(tables, tmp_path / "figures")
    assert names == ["fig_2a", "fig_2c", "fig_2e", "ext_data_fig_1c", "supp_fig_7"]
    files = {path.name: path for path in (tmp_path / "figures").iterdir()}
    assert set(files) == {f"{name}.{kind}" for name in names for kind in ("svg", "pdf", "tsv")}
    assert sum(path.stat().st_size for path in files.values()) < 3e6
    assert len(pd.read_csv(files["fig_2a.tsv"], sep="\t")) == 6808
