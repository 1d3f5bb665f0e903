import numpy as np
import pytest
import statsmodels.api as sm
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from zarrbench.errors import ExpressionError
from zarrbench.expression.adjustment import (
    adjusted,
    covariate_design,
    expression_components,
    without_contribution,
)
from zarrbench.expression.tables import read_expression

GENES, SAMPLES = 40, 30


def table(values: np.ndarray, row: str) -> xr.DataArray:
    rows, samples = (
        np.array([f"{prefix}{i}" for i in range(n)], dtype=object)
        for prefix, n in zip((row, "S"), values.shape, strict=True)
    )
    return xr.DataArray(values, dims=(row, "sample"), coords={row: rows, "sample": samples})


def covariates(seed: int = 0, n: int = 4) -> xr.DataArray:
    """Covariates of very different units, as sequencing metrics have them."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, SAMPLES)) * np.logspace(-4, 7, n)[:, None]
    values[0] = rng.integers(0, 2, SAMPLES)
    return table(values + np.logspace(-3, 8, n)[:, None], "covariate")


def expression(seed: int = 1, gaps: float = 0.0) -> xr.DataArray:
    rng = np.random.default_rng(seed)
    values = rng.normal(8, 2, (GENES, SAMPLES))
    values[rng.random(values.shape) < gaps] = np.nan
    return table(values, "gene")


def precisions(seed: int = 2) -> xr.DataArray:
    values = np.exp(np.random.default_rng(seed).normal(0, 1.5, (GENES, SAMPLES)))
    return table(values, "gene")


def plain(y: np.ndarray, x: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """One gene by numpy's lstsq on intercept and centred, scaled covariates."""
    kept = np.isfinite(y)
    centred = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    root = np.ones(kept.sum()) if weights is None else np.sqrt(weights[kept])
    design = np.column_stack([np.ones(kept.sum()), centred[:, kept].T])
    beta = np.linalg.lstsq(design * root[:, None], y[kept] * root, rcond=None)[0]
    contribution = design[:, 1:] @ beta[1:]
    expected = y.copy()
    expected[kept] -= contribution - contribution.mean()
    return expected


@pytest.mark.parametrize("gaps", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_against_numpy_gene_by_gene(weighted, gaps):
    values, x = expression(gaps=gaps), covariates()
    weights = precisions() if weighted else None
    found = adjusted(values, covariate_design(x), weights)
    assert found.dims == ("gene", "sample")
    for i, y in enumerate(values.values):
        expected = plain(y, x.values, None if weights is None else weights.values[i])
        np.testing.assert_allclose(found[i], expected, rtol=1e-10)


def test_against_statsmodels():
    values, x, weights = expression(), covariates(), precisions()
    centred = x.values - x.values.mean(axis=1, keepdims=True)
    design = sm.add_constant(centred.T / centred.std(axis=1))
    found = adjusted(values, covariate_design(x), weights)
    for y, w, rest in zip(values.values, weights.values, found.values, strict=True):
        beta = sm.WLS(y, design, weights=w).fit().params
        np.testing.assert_allclose(rest, y - design[:, 1:] @ beta[1:], rtol=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
def test_against_limma(answers, weighted):
    name = "adjusted_weighted" if weighted else "adjusted"
    given = answers.dataset()
    values = given["expression"].copy(data=answers("log_cpm").to_numpy())
    weights = values.copy(data=answers("weights").to_numpy()) if weighted else None
    found = adjusted(values, covariate_design(given["covariates"]), weights)
    np.testing.assert_allclose(found, answers(name), rtol=1e-10)


@pytest.mark.parametrize("ratio", [1e3, 1e6])
def test_weights_of_very_different_size(ratio):
    values, x = expression(), covariates()
    weights = precisions() * np.where(np.arange(SAMPLES) % 3, 1, ratio)
    found = adjusted(values, covariate_design(x), weights)
    for y, w, rest in zip(values.values, weights.values, found.values, strict=True):
        np.testing.assert_allclose(rest, plain(y, x.values, w), rtol=1e-9)


@settings(max_examples=40)
@given(seed=st.integers(0, 50), gaps=st.sampled_from([0.0, 0.3]), weighted=st.booleans())
def test_the_mean_is_kept_and_a_second_time_changes_nothing(seed, gaps, weighted):
    values, design = expression(seed, gaps), covariate_design(covariates(seed))
    weights = precisions(seed) if weighted else None
    once = adjusted(values, design, weights)
    np.testing.assert_allclose(once.mean("sample"), values.mean("sample"), rtol=1e-12)
    np.testing.assert_array_equal(np.isnan(once), np.isnan(values))
    np.testing.assert_allclose(adjusted(once, design, weights), once, rtol=1e-10)


@settings(max_examples=40)
@given(seed=st.integers(0, 50), weighted=st.booleans())
def test_what_covariates_explain_is_removed(seed, weighted):
    rng, x = np.random.default_rng(seed), covariates(seed)
    centred = x.values - x.values.mean(axis=1, keepdims=True)
    effects = rng.normal(size=(GENES, 4)) / centred.std(axis=1)
    made = table(5 + effects @ centred, "gene")
    found = adjusted(made, covariate_design(x), precisions(seed) if weighted else None)
    np.testing.assert_allclose(found, 5, atol=1e-9)


@settings(max_examples=25)
@given(genes=st.integers(1, GENES), samples=st.integers(1, SAMPLES), weighted=st.booleans())
def test_any_chunking_gives_the_same(genes, samples, weighted):
    values, design = expression(gaps=0.02), covariate_design(covariates())
    weights = precisions() if weighted else None
    chunks = {"gene": genes, "sample": samples}
    lazy = adjusted(values.chunk(chunks), design, weights if weights is None else weights.chunk())
    assert lazy.chunks
    np.testing.assert_allclose(lazy, adjusted(values, design, weights), rtol=1e-12)


def test_covariates_that_say_nothing_new():
    x = covariates()
    doubled = xr.concat(
        [x, table(np.vstack([x[1] * 2 - x[2], np.full(SAMPLES, 1e7), x[0] * -3]), "covariate")],
        dim="covariate",
    ).assign_coords(covariate=[*"abcd", "sum", "same", "flipped"])
    design = covariate_design(doubled)
    assert design.constant == ("same",)
    assert len(design.collinear) == 2
    assert sorted([*design.kept, *design.collinear]) == sorted([*"abcd", "sum", "flipped"])
    assert design.basis.sizes == {"sample": SAMPLES, "direction": 4}
    for weights in (None, precisions()):
        np.testing.assert_allclose(
            adjusted(expression(), design, weights),
            adjusted(expression(), covariate_design(x), weights),
            rtol=1e-10,
        )


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_units_of_covariates_do_not_matter(unit):
    found = adjusted(expression(), covariate_design(covariates() * unit))
    np.testing.assert_allclose(found, adjusted(expression(), covariate_design(covariates())))


def test_the_basis_is_orthonormal_and_centred():
    basis = covariate_design(covariates()).basis.values
    np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-14)
    np.testing.assert_allclose(basis.mean(axis=0), 0, atol=1e-16)


@pytest.mark.parametrize("weighted", [False, True])
def test_only_constant_covariates_change_nothing(weighted):
    design = covariate_design(table(np.ones((2, SAMPLES)), "covariate"))
    assert design.kept == ()
    found = adjusted(expression(), design, precisions() if weighted else None)
    xr.testing.assert_equal(found, expression())


def test_more_covariates_than_samples():
    rng = np.random.default_rng(3)
    design = covariate_design(table(rng.normal(size=(SAMPLES + 5, SAMPLES)), "covariate"))
    assert len(design.kept) == SAMPLES - 1
    found = adjusted(expression(), design)
    np.testing.assert_allclose(
        found, np.broadcast_to(found.mean("sample").values[:, None], found.shape)
    )


def test_missing_covariates_are_refused():
    x = covariates(n=5)
    x[1, :4] = np.nan
    x[3, 0] = np.inf
    message = (
        r"2 covariates have missing values: covariate1 \(4 of 30 samples\), covariate3 \(1 of 30 "
        r"samples\); fill them in, remove"
    )
    with pytest.raises(ExpressionError, match=message):
        covariate_design(x)


def test_genes_of_few_samples():
    """No value, one, as many as directions, and a covariate that is constant where one is."""
    values, x = expression(), covariates()
    values[0] = np.nan
    values[1, 1:] = np.nan
    values[2, 4:] = np.nan
    values[3] = np.where(x[0] == x[0, 0], values[3], np.nan)
    for weights in (None, precisions()):
        found = adjusted(values, covariate_design(x), weights)
        assert np.isnan(found[0]).all()
        assert found[1, 0] == values[1, 0]
        np.testing.assert_allclose(found[2, :4], values[2, :4].mean())
        np.testing.assert_allclose(
            found[4:],
            adjusted(values[4:], covariate_design(x), None if weights is None else weights[4:]),
        )
        of_others = covariate_design(x[1:])
        one = slice(3, 4)
        rest = adjusted(values[one], of_others, None if weights is None else weights[one])
        np.testing.assert_allclose(found[one], rest, rtol=1e-10)


def test_a_constant_gene_stays_constant():
    values = np.full((2, SAMPLES), 3.3)
    basis = covariate_design(covariates()).basis.values
    for weights in (None, precisions().values[:2]):
        np.testing.assert_allclose(without_contribution(values, basis, weights), 3.3, rtol=1e-14)


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan, np.inf])
def test_refused_weights(weight):
    weights = precisions().values.copy()
    weights[3, 3] = weight
    with pytest.raises(ValueError, match="weights must be positive"):
        without_contribution(expression().values, covariate_design(covariates()).basis, weights)


def test_other_samples_are_refused():
    design = covariate_design(covariates())
    with pytest.raises(xr.AlignmentError):
        adjusted(expression().isel(sample=slice(None, None, -1)), design)


def test_components_against_sklearn():
    values = expression(seed=5)
    found = expression_components(values, 5)
    standard = (values - values.mean("sample")) / values.std("sample")
    expected = PCA(5, svd_solver="full").fit_transform(standard.values.T).T
    expected /= expected.std(axis=1, keepdims=True)
    signs = np.sign((found.values * expected).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found, expected * signs, rtol=1e-8, atol=1e-10)
    assert found.pc.values.tolist() == ["PC1", "PC2", "PC3", "PC4", "PC5"]
    np.testing.assert_allclose(found.std("sample"), 1)


def test_components_are_deterministic_in_sign_and_units():
    values = expression(seed=6)
    found = expression_components(values, 3)
    largest = np.take_along_axis(found.values, np.abs(found.values).argmax(1)[:, None], 1)
    assert (largest > 0).all()
    # standardised genes: neither units, nor signs, nor the order of genes matter
    factor = np.where(np.arange(GENES) % 2, -7.0, 0.01)[:, None]
    other = (values * factor + 3).isel(gene=slice(None, None, -1))
    np.testing.assert_allclose(expression_components(other, 3), found, atol=1e-10)


def test_components_leave_out_gaps_and_constants():
    values = expression(seed=7)
    more = values.copy(deep=True)
    more[0, 3] = np.nan
    more[1] = 4.0
    np.testing.assert_allclose(
        expression_components(more, 4), expression_components(values[2:], 4), atol=1e-12
    )


@pytest.mark.parametrize("genes", [0, 1, 3])
def test_too_few_components(genes):
    with pytest.raises(ExpressionError, match=f"4 expression components .* {genes} genes .* have"):
        expression_components(expression()[:genes], 4)


@pytest.mark.realdata
def test_real_covariates(realdata):
    """53 covariates of GEUVADIS on 608 genes of 358 people."""
    folder = realdata / "expression"
    given = read_expression(
        folder / "geuvadis_eur358.chr22_genes.rpkm.hg19.bed.gz",
        folder / "geuvadis_eur358.covariates_pc50.txt.gz",
    )
    values = np.log2(given["expression"] + 0.1)
    design = covariate_design(given["covariates"])
    assert len(design.kept) == 53
    weights = np.exp(np.random.default_rng(8).normal(0, 1, values.shape))
    for w in (None, values.copy(data=weights)):
        found = adjusted(values, design, w).values
        for i in range(0, 608, 20):
            expected = plain(
                values.values[i], given["covariates"].values, None if w is None else weights[i]
            )
            np.testing.assert_allclose(found[i], expected, rtol=1e-10, atol=1e-11)
