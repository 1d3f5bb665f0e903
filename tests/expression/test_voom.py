import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrbench.errors import ExpressionError
from zarrbench.expression.normalisation import log_cpm
from zarrbench.expression.voom import Trend, voom_weights, weights_of
from zarrbench.statistics.lowess import lowess


def simulated(genes: int, samples: int, seed: int, mean: float = 50) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = mean * np.exp(rng.normal(0, 2, genes))[:, None] * np.exp(rng.normal(0, 0.5, samples))
    counts = rng.negative_binomial(4, 4 / (4 + level)).astype(float)
    counts[-1] += counts.sum(axis=0) == 0
    return counts


def test_weights_are_those_of_limma(answers):
    counts = answers("counts").to_numpy()
    found = voom_weights(counts, answers.libraries)
    np.testing.assert_allclose(found, answers("weights"), rtol=1e-8)
    assert found.max() > 4 * found.min()


def test_weights_with_a_design_are_those_of_limma(answers):
    counts, covariates = answers("counts").to_numpy(), answers("covariates").to_numpy()
    design = np.column_stack([np.ones(12), covariates.T, covariates[0] * 2])  # one is redundant
    found = voom_weights(counts, answers.libraries, design)
    np.testing.assert_allclose(found, answers("weights_designed"), rtol=1e-8)
    assert not np.allclose(found, answers("weights"), rtol=1e-3)


@pytest.mark.edger
@pytest.mark.parametrize(
    "counts",
    [simulated(3000, 7, 1), simulated(500, 3, 2), simulated(400, 20, 3, mean=0.5)],
    ids=["many", "three", "few_reads"],
)
def test_any_matrix_against_limma(edger, counts):
    found = edger(counts)
    np.testing.assert_allclose(voom_weights(counts, found.libraries), found("weights"), rtol=1e-8)
    smooth = lowess(np.log2(counts.sum(axis=1) + 1), np.sqrt(counts[:, 0]), 0.5)
    np.testing.assert_allclose(np.column_stack(smooth), found("lowess"), rtol=1e-9, atol=1e-9)


def test_weights_grow_with_the_precision_of_counts():
    """Of Poisson counts the variance of a log falls as 1 / mean: the weight is about the mean."""
    rng = np.random.default_rng(4)
    mean = np.exp(rng.uniform(np.log(20), np.log(2000), 4000))
    counts = rng.poisson(mean[:, None] * np.ones(30)).astype(float)
    weights = voom_weights(counts, counts.sum(axis=0)).mean(axis=1)
    ratio = weights / (mean * np.log(2) ** 2)
    assert np.median(np.abs(np.log2(ratio))) < 0.15


def test_a_deeper_sample_weighs_more():
    rng = np.random.default_rng(5)
    mean = np.exp(rng.uniform(np.log(20), np.log(2000), 1000))
    counts = rng.poisson(mean[:, None] * [20, 1, 1, 1, 1, 1]).astype(float)
    weights = voom_weights(counts, counts.sum(axis=0))
    assert (weights[:, 0] >= weights[:, 1]).mean() > 0.95


def test_the_trend_is_level_beyond_its_ends():
    trend = Trend(np.array([1.0, 3.0]), np.array([2.0, 1.0]))
    np.testing.assert_allclose(trend.weights([-9, 1, 2, 3, 99]), [1 / 16, 1 / 16, 1.5**-4, 1, 1])


def test_without_residual_freedom():
    counts = simulated(50, 2, 6)
    np.testing.assert_array_equal(voom_weights(counts[:, :1], [100.0]), 1)
    np.testing.assert_array_equal(voom_weights(counts, [100.0, 90.0], np.eye(2)), 1)


def test_silent_genes_do_not_bend_the_trend():
    counts = simulated(200, 8, 7)
    counts = counts[counts.any(axis=1)]
    library = counts.sum(axis=0)
    more = voom_weights(np.r_[np.zeros((300, 8)), counts], library)
    np.testing.assert_allclose(more[300:], voom_weights(counts, library), rtol=1e-10)


@pytest.mark.parametrize("genes", [0, 1])
def test_too_few_genes(genes):
    counts = np.zeros((5, 4))
    counts[:genes] = [3, 4, 5, 6]
    with pytest.raises(ExpressionError, match=f"{genes} genes have counts, .* at least two"):
        voom_weights(counts, np.full(4, 18.0))


def test_copies_of_a_sample_have_no_variance():
    counts = np.repeat(np.arange(1.0, 50)[:, None], 4, axis=1)
    assert np.ptp(log_cpm(counts, counts.sum(axis=0)), axis=1).max() == 0
    with pytest.raises(ExpressionError, match="reaches 0, so that weights are infinite"):
        voom_weights(counts, counts.sum(axis=0))


@settings(max_examples=25)
@given(genes=st.integers(1, 40), samples=st.integers(1, 6))
def test_any_chunking_gives_the_same(genes, samples):
    counts = xr.DataArray(simulated(40, 6, 8), dims=("gene", "sample"))
    library = counts.sum("sample").isel(gene=0) * 0 + counts.sum("gene")
    lazy = weights_of(counts.chunk({"gene": genes, "sample": samples}), library.chunk())
    assert lazy.chunks
    expected = voom_weights(counts.values, library.values)
    np.testing.assert_allclose(lazy.compute(), expected, rtol=1e-12)
