"""What the figures of choices draw, read back from their Axes and counted by plain Python."""

import numpy as np
import pytest
from scipy import stats

from zarrbench.attribution_layouts import SENSITIVITY
from zarrbench.figures import choices as figures
from zarrbench.layouts import GENE_TABLE

RNG = np.random.default_rng(2)


# --- weighted tracks


def test_weighted_tracks_against_the_track(made, drawn, scattered):
    track, weighted = RNG.uniform(-1, 1, (2, 40))
    track[0] = weighted[1] = np.nan
    table, ax, _ = drawn(
        figures.weighted_against_track, made(GENE_TABLE, r_track=track, r_finetuned=weighted)
    )
    expected = np.stack([track, weighted], axis=1)[2:]
    np.testing.assert_array_equal(table[["r_track", "r_finetuned"]], expected)
    np.testing.assert_array_equal(scattered(ax), sorted(expected.tolist()))
    assert table.attrs["r"] == pytest.approx(np.corrcoef(expected.T)[0, 1])
    assert len(ax.lines) == 1


def test_without_weighted_tracks_the_figure_says_so(made, drawn):
    table, _, svg = drawn(
        figures.weighted_against_track,
        made(GENE_TABLE, r_track=[0.1, 0.2], r_finetuned=[np.nan, np.nan]),
    )
    assert len(table) == 0
    assert "no gene has both numbers" in svg


# --- other choices


def test_another_choice_is_drawn_against_the_main_one(made, drawn, scattered):
    r = RNG.uniform(-1, 1, (3, 25))
    r[0, 0] = r[2, 1] = np.nan
    r[2, 2:20] = r[0, 2:20] * RNG.uniform(0.5, 1, 18)  # of one sign
    chosen = np.arange(25) % 4 == 0
    dataset = made(SENSITIVITY, choice=["as chosen", "$sum$", "ensemble"], r=r, significant=chosen)
    table, ax, svg = drawn(figures.choice_against_main, dataset, choice="ensemble")
    pairs = [(r[0, i], r[2, i], chosen[i]) for i in range(2, 25)]
    np.testing.assert_array_equal(table[["r_main", "r_choice"]], [p[:2] for p in pairs])
    assert table["significant"].tolist() == [p[2] for p in pairs]
    np.testing.assert_array_equal(scattered(ax), sorted([list(p[:2]) for p in pairs]))
    assert [len(c.get_offsets()) for c in ax.collections] == [
        sum(not p[2] for p in pairs), sum(p[2] for p in pairs),
    ]  # fmt: skip
    kept = np.mean([a * b > 0 for a, b, _ in pairs])
    kept_significant = np.mean([a * b > 0 for a, b, s in pairs if s])
    assert kept < 1
    assert table.attrs["agreement"].same_sign == pytest.approx(kept)
    heading = ax.get_legend().get_title().get_text()
    correlation = np.corrcoef([p[:2] for p in pairs], rowvar=False)[0, 1]
    assert heading == (
        f"r = {correlation:.2f},  23 genes\nsign kept by {kept:.0%} of genes, "
        f"{kept_significant:.0%} of the significant"
    )
    assert ax.get_xlabel() == "r, as chosen"
    assert ax.get_ylabel() == "r, ensemble"
    _, ax, svg = drawn(figures.choice_against_main, dataset, choice="$sum$")
    assert "r, $sum$" in svg


@pytest.mark.parametrize("r", [np.zeros((2, 0)), np.full((2, 3), np.nan)])
def test_without_r_under_both_choices_the_figure_says_so(made, drawn, r):
    dataset = made(SENSITIVITY, choice=["as chosen", "sum"], r=r,
                   significant=np.zeros(r.shape[1], bool))  # fmt: skip
    table, _, svg = drawn(figures.choice_against_main, dataset, choice="sum")
    assert len(table) == 0
    assert "no gene has r under both choices" in svg


def test_none_significant_and_one_gene(made, drawn):
    dataset = made(SENSITIVITY, choice=["as chosen", "sum"], r=[[0.5], [0.5]], significant=[False])
    _, ax, _ = drawn(figures.choice_against_main, dataset, choice="sum")
    heading = ax.get_legend().get_title().get_text()
    assert heading == "r undefined,  1 genes\nsign kept by 100% of genes"


# --- fine-mapped variants


def flagged_genes(made, r, flags):
    """Two lists; the second flags no gene."""
    ids = np.where(flags, "chr1_5_A_C_b38", "")
    return made(GENE_TABLE, variant_list=["<cortex>", "none"], r_track=r,
                fine_mapped=np.stack([ids, np.full(len(r), "")]))  # fmt: skip


def boxes(ax) -> list[tuple[float, float, float]]:
    """Quartiles of the boxes drawn."""
    medians = [line.get_ydata()[0] for line in ax.lines if line.get_linewidth() == 1.4]
    spans = [patch.get_path().vertices[:, 1] for patch in ax.patches]
    return [(s.min(), m, s.max()) for s, m in zip(spans, medians, strict=True)]


def test_genes_with_a_fine_mapped_variant_beside_the_rest(made, drawn):
    r = RNG.uniform(-1, 1, 60)
    flags = RNG.random(60) < 0.4
    r[flags] *= 0.5
    r[:2] = np.nan
    table, ax, svg = drawn(figures.fine_mapped_genes, flagged_genes(made, r, flags))
    assert table["gene_id"].tolist() == [f"ENSG{i:04d}" for i in range(2, 60)]
    np.testing.assert_array_equal(table["r"], r[2:])
    np.testing.assert_array_equal(table["absolute_r"], np.abs(r[2:]))
    np.testing.assert_array_equal(table["fine_mapped"], flags[2:])
    rest, mapped = (np.abs(r[2:])[flags[2:] == flag] for flag in (False, True))
    expected = [np.percentile(values, [25, 50, 75]) for values in (rest, mapped)]
    np.testing.assert_allclose(boxes(ax), expected)
    p = stats.ranksums(mapped, rest).pvalue
    assert ax.get_title() == f"rank-sum p = {p:.2g}"
    below = [(r[2:][flags[2:] == flag] < 0).sum() for flag in (False, True)]
    assert [text.get_text() for text in ax.get_xticklabels()] == [
        f"none\n{len(rest)} genes, {below[0]} with r < 0",
        f"at least one\n{len(mapped)} genes, {below[1]} with r < 0",
    ]
    assert "<cortex>" in ax.get_xlabel()
    assert "<cortex" not in svg


def test_a_list_without_genes_of_ours_has_one_box(made, drawn):
    genes = flagged_genes(made, np.array([0.1, 0.2, -0.5]), np.ones(3, bool))
    table, ax, _ = drawn(figures.fine_mapped_genes, genes, variant_list="none")
    assert not table["fine_mapped"].any()
    assert len(boxes(ax)) == 1
    assert ax.get_title() == "rank-sum p undefined"


def test_one_gene_of_each_kind(made, drawn):
    genes = flagged_genes(made, np.array([0.1, 0.2]), np.array([True, False]))
    _, ax, _ = drawn(figures.fine_mapped_genes, genes)
    assert boxes(ax) == [(0.2, 0.2, 0.2), (0.1, 0.1, 0.1)]


def test_without_a_list_or_r_the_figure_says_so(made, drawn):
    nothing = flagged_genes(made, np.full(3, np.nan), np.ones(3, bool))
    without = nothing.drop_dims("variant_list")
    for genes, sentence in (
        (nothing, "no gene has a defined r"),
        (without, "no list of fine-mapped variants was given"),
        (nothing.isel(variant_list=[]), "no list of fine-mapped variants was given"),
    ):
        table, _, svg = drawn(figures.fine_mapped_genes, genes)
        assert len(table) == 0
        assert table.columns.tolist() == ["gene_id", "gene_name", "r", "absolute_r", "fine_mapped"]
        assert sentence in svg
