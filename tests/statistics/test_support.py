"""Support of drivers by expression: plain loops, cases by hand, and the study's driver table."""

from dataclasses import astuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrbench.statistics.support import (
    DISTANCE_EDGES,
    GeneGroups,
    SupportCounts,
    compare_groups,
    count_support,
    distance_histogram,
    distance_to_tss,
    driver_counts,
    driver_counts_by_sign,
    fractions,
    main_driver_support,
    select_genes,
    sign_support,
)

# Columns of Supplementary Table 2, and how they are called here
COLUMNS = {
    "gene_id": "gene",
    "strand_hg38": "strand",
    "tss_hg38": "tss",
    "LociDriverhg38": "position",
    "DisttoTSS": "distance",
    "ISM": "attribution",
    "SumISMPearsonRtoCAGE,adult,brain": "r_linear",
    "IncreasedFractionofSumPearonRbyrankedDrivertoCAGE,adult,brain": "increment",
    "IsMainDriver": "is_main",
    "eQTL": "slope",
}


@pytest.fixture(scope="module")
def drivers(published):
    table = pd.read_csv(published / "SupplementaryTable2.tsv", sep="\t")
    return table[list(COLUMNS)].rename(columns=COLUMNS)


@pytest.fixture(scope="module")
def genes(published, drivers):
    """The examined genes: r, R_lin (NaN where no driver is listed) and their number of drivers."""
    [path] = published.glob("Prediction_correlations*_set0.2.list")
    ids = path.read_text().split()
    table = pd.read_csv(published / "SupplementaryTable1.tsv", sep="\t", index_col="gene_id")
    by_gene = drivers.groupby("gene")
    found = pd.DataFrame({"r": table["PearsonRCAGE,adult,brain"].reindex(ids)})
    found["r_linear"] = by_gene["r_linear"].first()
    found["n_drivers"] = by_gene.size().reindex(ids, fill_value=0)
    return found


@pytest.fixture(scope="module")
def groups(genes):
    return select_genes(
        np.ones(len(genes), bool), genes["n_drivers"] > 0, genes["r_linear"], genes["r"]
    )


def test_signs_by_hand():
    nan = np.nan
    attribution = [1.0, -2.0, 1.0, -1.0, 0.0, 3.0, nan, nan, 1e-200, -1e-300]
    slope = [0.1, -0.1, -0.1, 0.1, 0.4, 0.0, 0.2, nan, 1e-200, 1e-300]
    found = sign_support(attribution, slope)
    assert found.tolist() == [1, 1, -1, -1, 0, 0, 0, 0, 1, -1]
    assert found.dtype == np.int8
    assert sign_support([[1.0], [-1.0]], [2.0, nan]).tolist() == [[1, 0], [-1, 0]]


DRIVERS = st.lists(
    st.tuples(st.sampled_from([-1, 0, 1]), st.integers(0, 4), st.floats(0, 10)), max_size=30
)


@settings(max_examples=100)
@given(drivers=DRIVERS, weighted=st.booleans())
def test_fractions_are_those_of_plain_loops(drivers, weighted):
    support, gene, weight = np.array(drivers, float).reshape(-1, 3).T
    found = fractions(support, gene, 6, weight if weighted else None)
    for index in range(6):
        own = [(s, w if weighted else 1) for s, g, w in drivers if g == index]
        total = sum(w for _, w in own)
        for sign, ours in ((1, found.supported), (-1, found.unsupported)):
            expected = sum(w for s, w in own if s == sign) / total if total else np.nan
            assert ours[index] == pytest.approx(expected, nan_ok=True)


def test_what_fractions_refuses():
    for support, gene, weights, message in (
        ([1, 1], [0], None, "differ in drivers"),
        ([1], [0], [1.0, 2.0], "differ in drivers"),
        ([1], [2], None, "indices from 0 to below 2"),
        ([1], [-1], None, "indices from 0 to below 2"),
        ([1], [0], [-0.1], "negative or NaN"),
        ([1], [0], [np.nan], "negative or NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            fractions(support, gene, 2, weights)


def test_genes_at_a_threshold_do_not_pass():
    r = [0.3, -0.3, 0.2, -0.2, 0.3, 0.3, 0.3, 0.3, np.nan]
    r_linear = [0.9, 0.9, 0.9, 0.9, 0.2, np.nan, 0.9, 0.9, 0.9]
    has_driver = [1, 1, 1, 1, 1, 1, 0, 1, 1]
    examined = [1, 1, 1, 1, 1, 1, 1, 0, 1]
    found = select_genes(examined, has_driver, r_linear, r)
    assert np.flatnonzero(found.positive).tolist() == [0]
    assert np.flatnonzero(found.negative).tolist() == [1]
    found = select_genes(examined, has_driver, r_linear, r, min_r_linear=0.1, min_r=0.1)
    assert np.flatnonzero(found.positive).tolist() == [0, 2, 4]
    assert np.flatnonzero(found.negative).tolist() == [1, 3]


def test_main_drivers_by_hand():
    groups = GeneGroups(np.array([True, True, False, False]), np.array([False, False, True, False]))
    support, gene = [1, -1, 0, 1, -1, -1], [0, 0, 1, 1, 2, 3]
    is_main = [True, False, True, False, True, True]
    assert main_driver_support(support, is_main, gene, groups) == {
        "positive": SupportCounts(1, 0, 1),
        "negative": SupportCounts(0, 1, 0),
    }
    assert count_support(support) == SupportCounts(2, 3, 1)
    assert count_support([]) == SupportCounts(0, 0, 0)


def test_driver_counts_by_hand():
    found = driver_counts([0, 0, 1, 1, 1, 5, 6, 20, 21, 400])
    assert (found.n_examined, found.n_with_driver) == (10, 8)
    assert found.histogram.tolist() == [3, 0, 0, 0, 1, 1, *[0] * 13, 1, 2]
    assert found.cumulative[[0, 4, 19, 20]].tolist() == [3 / 8, 4 / 8, 6 / 8, 1]
    shares = found.one_of_examined, found.one_of_with_driver
    assert shares == (3 / 10, 3 / 8)
    assert (found.few_of_examined, found.few_of_with_driver) == (4 / 10, 4 / 8)


@pytest.mark.parametrize("numbers", [[], [0, 0]])
def test_shares_of_no_genes_are_nan(numbers):
    found = driver_counts(numbers)
    assert found.histogram.tolist() == [0] * 21
    assert np.isnan([found.one_of_with_driver, found.few_of_with_driver]).all()
    assert np.isnan(found.cumulative).all()
    assert found.one_of_examined == pytest.approx(0 if numbers else np.nan, nan_ok=True)


def test_counts_by_sign_leave_out_genes_without():
    found = driver_counts_by_sign([1, 2, 3, 4], [0.5, -0.5, 0.0, np.nan])
    assert {name: one.n_examined for name, one in found.items()} == {
        "all": 4,
        "positive": 1,
        "negative": 1,
    }
    assert found["negative"].histogram[1] == 1


def test_distances():
    position, tss, strand = [110, 90, 110, 90], 100, ["+", "+", "-", "-"]
    assert distance_to_tss(position, tss).tolist() == [10, -10, 10, -10]
    assert distance_to_tss(position, tss, strand).tolist() == [10, -10, -10, 10]
    with pytest.raises(ValueError, match=r"a strand is \+ or -, found \+, \."):
        distance_to_tss([1, 2], 0, ["+", "."])


def test_the_histogram_of_distances_by_hand():
    assert DISTANCE_EDGES[[0, 1, -1]].tolist() == [-70_000, -69_000, 69_000]
    found = distance_histogram([-70_001, -70_000, -69_001, -1, 0, 999, 1_000, 69_000, 69_001])
    assert len(found.counts) == len(DISTANCE_EDGES) - 1
    assert found.n_outside == 2
    assert {k: int(found.counts[k]) for k in np.flatnonzero(found.counts)} == {
        **{0: 2, 69: 1, 70: 2, 71: 1},
        138: 1,
    }


def test_the_comparison_of_groups_is_that_of_ranks():
    first, second = [0.9, 1.0, 1.0, 0.5, np.nan], [0.0, 0.1, 0.5]
    found = compare_groups(first, second)
    pairs = [(a > b) + (a == b) / 2 for a in first[:4] for b in second]
    assert (found.u, found.n_first, found.n_second) == (sum(pairs), 4, 3)
    assert found.p == pytest.approx(compare_groups(second, first).p)
    # exact: the two most extreme of the 35 ways to choose 3 of 7
    assert compare_groups([4, 5, 6, 7], [1, 2, 3]).p == pytest.approx(2 / 35)
    for a, b in (([], [1.0]), ([1.0], [np.nan])):
        assert np.isnan([compare_groups(a, b).u, compare_groups(a, b).p]).all()


# The released table


def test_the_published_groups(groups):
    assert (int(groups.positive.sum()), int(groups.negative.sum())) == (161, 87)


def test_the_published_main_drivers(drivers, genes, groups):
    # rows go by falling |attribution|, so that the first of equal increments is the main driver
    is_main = drivers.index.isin(drivers.groupby("gene")["increment"].idxmax())
    np.testing.assert_array_equal(is_main, drivers["is_main"])
    assert is_main.sum() == 251
    support = sign_support(drivers["attribution"], drivers["slope"])
    index = genes.index.get_indexer(drivers["gene"])
    assert main_driver_support(support, is_main, index, groups) == {
        "positive": SupportCounts(154, 6, 1),
        "negative": SupportCounts(0, 86, 1),
    }


@pytest.mark.parametrize("weighted", [False, True])
def test_the_published_support(drivers, genes, groups, weighted):
    support = sign_support(drivers["attribution"], drivers["slope"])
    index = genes.index.get_indexer(drivers["gene"])
    found = fractions(support, index, len(genes), drivers["increment"] if weighted else None)
    assert np.isnan(found.supported).sum() == 5
    own = drivers.assign(support=support, weight=drivers["increment"] if weighted else 1.0)
    for name, genes_of, supported, unsupported in (
        ("positive", groups.positive, 0.93, 0.06),
        ("negative", groups.negative, 0.05, 0.94),
    ):
        if not weighted:
            assert found.supported[genes_of].mean() == pytest.approx(supported, abs=0.005), name
            assert found.unsupported[genes_of].mean() == pytest.approx(unsupported, abs=0.005)
        for gene in np.flatnonzero(genes_of)[:20]:
            rows = own[own["gene"] == genes.index[gene]]
            expected = np.average(rows["support"] > 0, weights=rows["weight"])
            assert found.supported[gene] == pytest.approx(expected)
    test = compare_groups(found.supported[groups.positive], found.supported[groups.negative])
    assert (test.n_first, test.n_second) == (161, 87)
    assert test.p < 1e-30
    assert test.u / (161 * 87) > 0.95


def test_the_published_numbers_of_drivers(genes):
    found = driver_counts_by_sign(genes["n_drivers"], genes["r"])
    whole = found["all"]
    assert (whole.n_examined, whole.n_with_driver, int(whole.histogram[0])) == (256, 251, 80)
    assert whole.one_of_with_driver == pytest.approx(0.32, abs=0.005)
    assert whole.few_of_with_driver == pytest.approx(209 / 251)
    signed = astuple(found["positive"])[2] + astuple(found["negative"])[2]
    np.testing.assert_array_equal(signed, whole.histogram)
    assert whole.histogram.sum() == 251


def test_the_published_distances(drivers):
    found = distance_to_tss(drivers["position"], drivers["tss"])
    np.testing.assert_array_equal(found, drivers["distance"])
    turned = distance_to_tss(drivers["position"], drivers["tss"], drivers["strand"])
    minus = drivers["strand"] == "-"
    np.testing.assert_array_equal(turned[minus], -drivers["distance"][minus])
    assert (np.abs(turned) == np.abs(found)).all()
    histogram = distance_histogram(found)
    outside = (drivers["distance"] < -70_000) | (drivers["distance"] > 69_000)
    assert histogram.n_outside == outside.sum() > 0
    assert int(np.argmax(histogram.counts)) in (69, 70)  # next to the TSS
