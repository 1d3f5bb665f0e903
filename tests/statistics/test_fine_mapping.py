"""The rank-sum comparison against scipy, flags from lists of variants, the published columns."""

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from zarrbench.errors import GeneTableError, SourceError
from zarrbench.statistics.fine_mapping import compare_flagged, compare_flagged_genes, flag_genes

R = hnp.arrays(np.float64, 24, elements=st.floats(-1, 1) | st.just(np.nan) | st.just(0.25))


def refuse_to_compute(*args, **kwargs):
    raise AssertionError("something computed")


@pytest.fixture
def rng():
    return np.random.default_rng(184)


@settings(max_examples=150)
@given(r=R, decimals=st.sampled_from([1, 3, 9]), split=st.integers(1, 23))
def test_the_test_is_that_of_scipy(r, decimals, split):
    r, flagged = np.round(r, decimals), np.arange(24) < split
    ours = compare_flagged(r, flagged)
    corrected = compare_flagged(r, flagged, tie_correction=True)
    known = ~np.isnan(r)
    a, b = np.abs(r[flagged & known]), np.abs(r[~flagged & known])
    if not len(a) or not len(b) or len(np.unique(np.abs(r[known]))) == 1:
        assert np.isnan([ours.z, ours.p, corrected.z, corrected.p]).all()
        return
    expected = stats.ranksums(a, b)
    assert ours.z == pytest.approx(expected.statistic, abs=1e-10)
    assert ours.p == pytest.approx(expected.pvalue, rel=1e-9)
    exact = stats.mannwhitneyu(a, b, use_continuity=False, method="asymptotic").pvalue
    assert corrected.p == pytest.approx(exact, rel=1e-9)


def test_counts_by_hand():
    r = [0.5, -0.6, 0.0, np.nan, 0.1, -0.2, np.nan]
    found = compare_flagged(r, [1, 1, 1, 1, 0, 0, 0])
    assert (found.n_flagged, found.n_rest) == (3, 2)
    assert (found.n_flagged_negative, found.n_rest_negative) == (1, 1)


def test_the_sign_says_where_r_is_larger(rng):
    r = np.where(np.arange(60) < 30, -0.5, 0.1) + rng.normal(0, 0.01, 60)
    assert compare_flagged(r, np.arange(60) < 30).z > 5
    assert compare_flagged(r, np.arange(60) >= 30).z < -5


@pytest.mark.parametrize("r", [[], [0.3], [0.3, 0.3], [np.nan, np.nan]])
def test_nothing_to_compare_is_nan(r):
    for flagged in (True, False):
        found = compare_flagged(r, np.full(len(r), flagged))
        assert np.isnan(found.z)
        assert np.isnan(found.p)


def labelled(rng):
    genes = [f"ENSG{k:011}" for k in range(40)]
    r = xr.DataArray(rng.uniform(-1, 1, (40, 3)), {"gene": genes, "track": list("abc")},
                     ("gene", "track"))  # fmt: skip
    r[3, 1] = np.nan
    return r, xr.DataArray(rng.random(40) < 0.4, {"gene": genes}, ("gene",))


@settings(max_examples=20)
@given(genes=st.integers(1, 40), tracks=st.integers(1, 3))
def test_any_chunks_give_the_same(genes, tracks):
    r, flagged = labelled(np.random.default_rng(2))
    with dask.config.set(scheduler=refuse_to_compute):
        lazy = compare_flagged_genes(r.chunk(gene=genes, track=tracks), flagged[::-1].chunk(gene=7))
    assert all(lazy[name].chunks for name in lazy.data_vars)
    plain = compare_flagged_genes(r, flagged)
    xr.testing.assert_allclose(lazy.compute(scheduler="synchronous"), plain, rtol=1e-12)
    alone = compare_flagged(r.sel(track="b").values, flagged.values)
    assert plain["p"].sel(track="b").item() == pytest.approx(float(alone.p))
    assert plain["n_rest"].dtype == np.int64


def test_labels_are_needed(rng):
    r, flagged = labelled(rng)
    with pytest.raises(GeneTableError, match="share no gene"):
        compare_flagged_genes(r[:5], flagged[5:])


def test_flags():
    genes = ["ENSG00000000001", "ENSG00000000002.3", "ENSG00000000003"]
    listed = ["ENSG00000000002", "ENSG00000000001.2", "ENSG00000000009"]
    variants = ["chr1_5_A_G_b38", "chrX_7_AT_A_b38", "chr2_1_C_T_b38"]
    assert flag_genes(genes, listed, variants).tolist() == [True, True, False]
    assert flag_genes(genes, listed, variants, True).tolist() == [False, True, False]
    assert flag_genes(genes, [], []).tolist() == [False] * 3


@pytest.mark.parametrize("text", ["chr1_5_A_G", "1_5_A_G_b38", "chr1_0_A_G_b38", "chr1_5_A__b38",
                                  "chr1_5_A_G,C_b38", "chr1_x_A_G_b38", "NA"])  # fmt: skip
def test_other_ways_to_write_a_variant_are_refused(text):
    with pytest.raises(SourceError, match="of the gene ENSG00000000001 is not written as"):
        flag_genes(["ENSG00000000001"], ["ENSG00000000001"], [text])


def test_flags_of_other_genes_are_refused():
    with pytest.raises(GeneTableError, match="none of the 1 genes with a fine-mapped variant"):
        flag_genes(["ENSG00000000001"], ["DDX11"], ["chr1_5_A_G_b38"])


@pytest.mark.parametrize(
    ("column", "flagged", "negative"),
    [("SuSieCausalBrainhg38", 660, 301), ("SusieCausalCortexhg38", 167, 69)],
)
def test_the_published_columns(published, column, flagged, negative):
    table = pd.read_csv(published / "SupplementaryTable1.tsv", sep="\t").dropna(subset=["gene_id"])
    listed = table.dropna(subset=[column])
    flags = flag_genes(table["gene_id"], listed["gene_id"], listed[column])
    r = table["PearsonRCAGE,adult,brain"].to_numpy()
    found = compare_flagged(r, flags)
    assert (found.n_flagged, found.n_flagged_negative) == (flagged, negative)
    known = ~np.isnan(r)
    expected = stats.ranksums(np.abs(r[known & flags]), np.abs(r[known & ~flags]))
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.p < 1e-15
