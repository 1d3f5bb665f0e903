"""Correlations across genes against scipy and pandas, and the subsets of genes."""

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from zarrbench.errors import GeneTableError, RecipeError, SampleError
from zarrbench.genome.regions import Regions
from zarrbench.statistics.population import (
    correlate_across_genes,
    in_gene_set,
    in_test_regions,
    population_average,
)


def refuse_to_compute(*args, **kwargs):
    raise AssertionError("something computed")


def labelled(values, genes=None, tracks=None):
    values = np.asarray(values, float)
    coords = {"gene": genes if genes is not None else [f"ENSG{k}" for k in range(len(values))]}
    if values.ndim == 2:
        coords["track"] = tracks if tracks is not None else [f"T{k}" for k in range(len(values.T))]
    return xr.DataArray(values, coords, tuple(coords))


@pytest.fixture
def rng():
    return np.random.default_rng(604)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [3, 10, 500])
def test_both_equal_scipy(rng, n, ties):
    x = rng.normal(size=(4, n))
    y = x + rng.normal(size=(4, n))
    if ties:
        x, y = np.round(x * 2), np.round(y, 1)
        x[:, :2] = [-5, 5]
    ours = population_average(x, y)
    np.testing.assert_allclose(ours.pearson, stats.pearsonr(x, y, axis=-1).statistic, rtol=1e-10)
    expected = [stats.spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(ours.spearman, expected, rtol=1e-10, atol=1e-14)
    assert ours.n.tolist() == [n] * 4


def test_a_gene_counts_where_both_are_finite(rng):
    frame = pd.DataFrame(rng.normal(size=(60, 2)), columns=["x", "y"])
    frame.loc[[3, 8], "x"] = np.nan
    frame.loc[[8, 20], "y"] = [np.nan, np.inf]
    ours = population_average(frame.x, frame.y)
    kept = frame.replace(np.inf, np.nan).dropna()
    assert ours.n == len(kept) == 57
    assert ours.pearson == pytest.approx(kept.corr().loc["x", "y"], rel=1e-12)
    assert ours.spearman == pytest.approx(kept.corr("spearman").loc["x", "y"], rel=1e-12)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([], []),
        ([1.0, 2.0], [1.0, 2.0]),
        ([1.0, 2.0, np.nan, 4.0], [1.0, np.nan, 3.0, 4.0]),
        ([0.3, 0.1 + 0.2, 0.3, 0.3], [1.0, 2.0, 3.0, 5.0]),
        ([1.0, 2.0, 3.0, 5.0], [7.0] * 4),
        ([np.nan] * 4, [1.0, 2.0, 3.0, 5.0]),
    ],
    ids=["none", "two", "two pairs", "constant but for rounding", "constant", "nan"],
)
def test_undefined_correlations_are_nan(x, y):
    ours = population_average(x, y)
    assert np.isnan(ours.pearson)
    assert np.isnan(ours.spearman)


@settings(max_examples=40)
@given(order=st.permutations(range(30)), chunks=st.tuples(st.integers(1, 30), st.integers(1, 3)))
def test_neither_order_nor_chunks_change_the_result(order, chunks):
    rng = np.random.default_rng(5)
    predicted, observed = labelled(rng.normal(size=(30, 3))), labelled(rng.normal(size=30))
    predicted[4, 1] = np.nan
    expected = correlate_across_genes(predicted, observed)
    lazy = correlate_across_genes(
        predicted.isel(gene=order).chunk(gene=chunks[0], track=chunks[1]), observed.chunk(gene=7)
    )
    xr.testing.assert_allclose(lazy.compute(scheduler="synchronous"), expected, rtol=1e-10)
    assert expected.n_genes.values.tolist() == [30, 29, 30]


def test_labels_join_and_nothing_computes(rng):
    predicted = labelled(rng.normal(size=(20, 2)), [f"G{k}" for k in range(20)])
    observed = labelled(rng.normal(size=25), [f"G{k}" for k in range(5, 30)][::-1])
    with dask.config.set(scheduler=refuse_to_compute):
        lazy = correlate_across_genes(predicted.chunk(gene=3), observed.chunk(gene=4))
    assert all(lazy[name].chunks for name in lazy.data_vars)
    found = lazy.compute(scheduler="synchronous")
    assert found.n_genes.values.tolist() == [15, 15]
    together = observed.sel(gene=[f"G{k}" for k in range(5, 20)])
    expected = stats.spearmanr(predicted[5:, 1], together).statistic
    assert found.spearman_r.sel(track="T1").item() == pytest.approx(expected, rel=1e-10)
    assert found.n_genes.dtype == np.int64


def test_what_cannot_be_joined_is_refused(rng):
    predicted = labelled(rng.normal(size=4))
    with pytest.raises(GeneTableError, match="share no gene"):
        correlate_across_genes(predicted, labelled(rng.normal(size=4), list("abcd")))
    with pytest.raises(GeneTableError, match="more than once"):
        correlate_across_genes(predicted, labelled(rng.normal(size=4), ["ENSG0"] * 4))
    with pytest.raises(GeneTableError, match="has no labels"):
        correlate_across_genes(predicted.drop_vars("gene"), predicted)
    with pytest.raises(SampleError, match="need the dimension 'gene'"):
        correlate_across_genes(predicted.rename(gene="locus"), predicted)


def test_repeated_ids_of_a_set_count_once():
    genes = ["ENSG00000000001", "ENSG00000000002.7", "ENSG00000000003"]
    wanted = ["ENSG00000000002", "ENSG00000000002.1", "ENSG00000000003", "ENSG00000000009"]
    assert in_gene_set(genes, wanted).tolist() == [False, True, True]
    assert in_gene_set(genes, ["ENSG00000000003.12"]).tolist() == [False, False, True]


@pytest.mark.parametrize("kind", [object, str, np.dtypes.StringDType()])
def test_ids_in_any_kind_of_text(kind):
    genes = np.array(["ENSG00000000001.2", "ENSG00000000002"]).astype(kind)
    wanted = np.array(["ENSG00000000001"]).astype(kind)
    assert in_gene_set(genes, wanted).tolist() == [True, False]
    placed = xr.Dataset(
        {"contig": ("gene", np.array(["1", "2"]).astype(kind)), "tss": ("gene", [3, 3])},
        {"gene": genes},
    )
    assert in_test_regions(placed, Regions.of([("chr1", 0, 5)])).values.tolist() == [True, False]


def test_gene_sets_that_cannot_be_meant_are_refused():
    with pytest.raises(GeneTableError, match="ENSG00000000001 stands 2 times"):
        in_gene_set(["ENSG00000000001.1", "ENSG00000000001.2"], ["ENSG00000000001"])
    with pytest.raises(GeneTableError, match=r"none of the 1 genes is in the set of 2 ids .* A, B"):
        in_gene_set(["ENSG00000000001"], ["B", "A", "B"])
    with pytest.raises(GeneTableError, match="example none"):
        in_gene_set(["ENSG00000000001"], [])


def test_rules_of_test_regions():
    regions = Regions.of([("chr1", 100, 200)])
    genes = xr.Dataset(
        {
            "contig": ("gene", ["1", "1", "1", "1", "1", "2"]),
            "tss": ("gene", [100, 101, 200, 201, 150, 150]),  # 1-based: 101..200 are inside
        },
        {"gene": list("abcdef")},
    )
    inside = in_test_regions(genes, regions)
    assert inside.dims == ("gene",)
    assert inside.values.tolist() == [False, True, True, False, True, False]
    # the TSS of e has 0-based position 149
    for length, tss_index, expected in ((100, 49, True), (101, 49, False), (100, 50, False)):
        found = in_test_regions(genes, regions, "window_in_region", length, tss_index)
        assert found.sel(gene="e").item() is expected
    assert in_test_regions(genes, regions, "window_in_region", 1, 0).identical(inside)


def test_unknown_rules_are_refused():
    genes = xr.Dataset({"contig": ("gene", ["1"]), "tss": ("gene", [1])}, {"gene": ["a"]})
    with pytest.raises(RecipeError, match="use tss_in_region or window_in_region"):
        in_test_regions(genes, Regions.of([("1", 0, 5)]), "overlaps")
    with pytest.raises(RecipeError, match="tss_index 5 lies outside a window of 5 bases"):
        in_test_regions(genes, Regions.of([("1", 0, 5)]), "window_in_region", 5, 5)


def test_the_study_on_released_genes(published):
    table = pd.read_csv(published / "MeanGeXPredFineTuned.txt", sep="\t", index_col=0)
    ids = np.load(published / "enformer_test_set_genes.npy", allow_pickle=False)
    observed, predicted = table.to_numpy().T
    everything = population_average(predicted, observed)
    test = in_gene_set(table.index, ids)
    held_out = population_average(predicted[test], observed[test])
    assert (everything.n, held_out.n) == (12_702, 1_168)
    assert everything.pearson == pytest.approx(0.577, abs=5e-4)
    assert held_out.pearson == pytest.approx(0.512, abs=5e-4)
    assert everything.spearman == pytest.approx(table.corr("spearman").iloc[0, 1], rel=1e-10)
