import dataclasses
import json

import numpy as np
import pytest
import xarray as xr

from zarrbench.errors import ExpressionError
from zarrbench.expression.adjustment import adjusted, covariate_design, expression_components
from zarrbench.expression.normalisation import log_cpm, tmm_factors
from zarrbench.expression.preparation import prepared_expression
from zarrbench.layouts import EXPRESSION
from zarrbench.parameters import Expression
from zarrbench.storage import open_dataset, write_dataset

RAW = Expression(counts=True, n_expression_pcs=0, min_mean_log2cpm=None)
READY = Expression(
    counts=False, weights="none", covariates="none", n_expression_pcs=0, min_mean_log2cpm=None
)


def hidden_factor(samples: int = 24) -> np.ndarray:
    return np.random.default_rng(99).normal(size=samples)


def cohort(genes: int = 300, samples: int = 24, seed: int = 0) -> xr.Dataset:
    """Raw counts of genes silent, rare and common, moved by a batch, age and a hidden factor."""
    rng = np.random.default_rng(seed)
    batch, age = rng.integers(0, 2, samples), rng.normal(80, 6, samples)
    hidden = hidden_factor(samples)
    log_mean = rng.uniform(-2, 8, genes)[:, None] + np.outer(rng.normal(size=genes), hidden)
    log_mean = log_mean + np.outer(rng.normal(0, 0.5, genes), batch)
    log_mean += np.outer(rng.normal(0, 0.05, genes), age - 80)
    counts = rng.poisson(np.exp(log_mean)).astype(float)
    counts[:5] = 0
    names = np.array([f"G{i}" for i in range(genes)], dtype=object)
    people = np.array([f"S{i}" for i in range(samples)], dtype=object)
    return xr.Dataset(
        {
            "expression": (("gene", "sample"), counts),
            "covariates": (("covariate", "sample"), np.array([batch, age])),
        },
        coords={
            "gene": names,
            "gene_id_version": ("gene", names),
            "sample": people,
            "individual": ("sample", people),
            "covariate": np.array(["batch", "age"], dtype=object),
        },
        attrs={"unit": "reads", "source_file": "counts.tsv"},
    )


@pytest.mark.parametrize("weights", ["voom", "none"])
def test_against_edger_and_limma(answers, weights):
    found = prepared_expression(answers.dataset(), dataclasses.replace(RAW, weights=weights))
    name = "adjusted_weighted" if weights == "voom" else "adjusted"
    np.testing.assert_allclose(found.expression, answers(name), rtol=1e-10)
    np.testing.assert_allclose(found.mean_log2cpm, answers("log_cpm").mean(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(found.library_size, answers("samples")["lib.size"])
    np.testing.assert_allclose(found.norm_factor, answers("samples")["norm.factors"], rtol=1e-10)
    assert ("weights" in found) == (weights == "voom")
    if weights == "voom":
        np.testing.assert_allclose(found.weights, answers("weights"), rtol=1e-8)
    assert found.flagged.values.tolist() == [True] * 3 + [False] * 57


def test_components_are_those_of_the_residuals():
    given = cohort()
    found = prepared_expression(given, dataclasses.replace(RAW, n_expression_pcs=3))
    counts = given["expression"].values
    values = given["expression"].copy(
        data=log_cpm(counts, counts.sum(axis=0) * tmm_factors(counts))
    )
    weights = found["weights"]
    rest = adjusted(values, covariate_design(given["covariates"]), weights)
    components = expression_components(rest[counts.any(axis=1)], 3)
    np.testing.assert_allclose(found.expression_pcs, components, rtol=1e-8)
    # one fit of both together, by statsmodels' formula: intercept, covariates, components
    design = np.column_stack([np.ones(24), given.covariates.values.T, components.values.T])
    design[:, 1:] -= design[:, 1:].mean(axis=0)
    for y, w, kept in zip(values.values, weights.values, found.expression.values, strict=True):
        root = np.sqrt(w)
        beta = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
        np.testing.assert_allclose(kept, y - design[:, 1:] @ beta[1:], rtol=1e-8)


def test_a_hidden_factor_is_removed():
    given = cohort()
    factor = hidden_factor()
    without, removed = (
        prepared_expression(given, dataclasses.replace(RAW, n_expression_pcs=n, min_mean_log2cpm=8))
        for n in (0, 2)
    )
    r = [
        np.abs([np.corrcoef(y, factor)[0, 1] for y in p.expression.values])
        for p in (without, removed)
    ]
    assert np.median(r[0]) > 0.6
    assert np.median(r[1]) < 0.2


def test_the_mean_is_kept_and_the_threshold_is_strict():
    given = cohort()
    everything = prepared_expression(given, RAW)
    np.testing.assert_allclose(everything.expression.mean("sample"), everything.mean_log2cpm)
    threshold = float(everything.mean_log2cpm[100])
    found = prepared_expression(given, dataclasses.replace(RAW, min_mean_log2cpm=threshold))
    kept = everything.mean_log2cpm.values > threshold
    assert found.gene.values.tolist() == everything.gene.values[kept].tolist()
    assert 0 < found.sizes["gene"] < 300
    assert found.n_genes_not_expressed == 300 - found.sizes["gene"]
    # without components a gene's values do not depend on which others stay
    xr.testing.assert_allclose(found.expression, everything.expression[kept], rtol=1e-12)


def test_the_default_threshold_is_that_of_the_study():
    assert Expression(counts=True) == Expression(True, "voom", "all", 10, 2.0)
    found = prepared_expression(cohort(), Expression(counts=True))
    assert found.mean_log2cpm.min() > 2
    assert found.sizes["pc"] == 10


def test_a_store_of_the_same_layout(tmp_path):
    found = prepared_expression(cohort(), Expression(counts=True))
    write_dataset(found, tmp_path / "expression.zarr", EXPRESSION)
    again = open_dataset(tmp_path / "expression.zarr", EXPRESSION).load()
    xr.testing.assert_equal(again, found)
    assert again.attrs["unit"] == "log2 CPM, adjusted"
    assert again.attrs["source_file"] == "counts.tsv"
    assert json.loads(again.attrs["covariates_removed"]) == ["batch", "age"]
    assert "1 / variance" in again.weights.attrs["description"]


@pytest.mark.parametrize(
    ("covariates", "expected"),
    [("all", ["batch", "age"]), ("none", []), (("age",), ["age"]), ((), [])],
)
def test_chosen_covariates(covariates, expected):
    found = prepared_expression(cohort(), dataclasses.replace(RAW, covariates=covariates))
    assert json.loads(found.attrs["covariates_removed"]) == expected
    assert found.unit == ("log2 CPM, adjusted" if expected else "log2 CPM")
    r = np.corrcoef(found.expression[250:], found.covariates[1])[-1, :-1]
    assert (np.abs(r).max() < 0.1) == ("age" in expected)


def test_constant_and_collinear_covariates_are_noted(capsys):
    given = cohort()
    more = np.vstack([given.covariates, np.ones(24), given.covariates[1] * 2])
    given = (
        given.drop_vars(["covariates", "covariate"])
        .assign(covariates=(("covariate", "sample"), more))
        .assign_coords(covariate=np.array(["batch", "age", "study", "months"], dtype=object))
    )
    found = prepared_expression(given, RAW)
    assert json.loads(found.attrs["covariates_constant"]) == ["study"]
    assert len(json.loads(found.attrs["covariates_collinear"])) == 1
    noted = capsys.readouterr().err
    assert "1 covariates do not vary: study" in noted
    assert "1 covariates are linear combinations of others: " in noted
    xr.testing.assert_allclose(
        found.expression, prepared_expression(cohort(), RAW).expression, rtol=1e-10
    )


def ready() -> xr.Dataset:
    given = cohort()
    given["expression"] = np.log2(given["expression"] + 1)
    return given


def test_a_ready_matrix_as_it_stands():
    given = ready()
    found = prepared_expression(given, READY)
    xr.testing.assert_equal(found.expression, given.expression)
    assert found.unit == "reads"
    assert "library_size" not in found
    assert found.flagged.values[:5].all()
    assert not found.flagged.values[5:].all()


def test_a_ready_matrix_with_gaps():
    given = ready()
    given["expression"][10, :3] = np.nan
    given["expression"][11] = np.nan
    parameters = dataclasses.replace(READY, covariates="all", n_expression_pcs=2)
    found = prepared_expression(given, parameters)
    np.testing.assert_array_equal(np.isnan(found.expression), np.isnan(given.expression))
    assert found.flagged[11]
    assert np.isnan(found.mean_log2cpm[11])
    without = prepared_expression(given.drop_sel(gene=["G10", "G11"]), parameters)
    xr.testing.assert_allclose(found.expression.sel(gene=without.gene), without.expression)
    threshold = dataclasses.replace(parameters, min_mean_log2cpm=-1)
    assert "G11" not in prepared_expression(given, threshold).gene


def test_float32_and_lazy_input_gives_the_same():
    given = cohort()
    lazy = given.assign(expression=given["expression"].astype("f4")).chunk(gene=50, sample=7)
    parameters = dataclasses.replace(RAW, n_expression_pcs=2)
    found, expected = (prepared_expression(d, parameters) for d in (lazy, given))
    xr.testing.assert_allclose(found.expression.compute(), expected.expression)
    assert not found.expression.chunks
    assert found.expression.dtype == np.float64


def test_the_input_is_not_changed():
    given = cohort()
    before = given.copy(deep=True)
    prepared_expression(given, Expression(counts=True))
    xr.testing.assert_identical(given, before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"covariates": ("agee",)}, "no covariate 'agee'; did you mean 'age'?"),
        ({"n_expression_pcs": 21}, "an intercept, 2 covariates and 21 expression components leave "
         "nothing of 24 samples"),
        ({"min_mean_log2cpm": 30.0}, "no gene has a mean log2 CPM above 30, the highest has 1"),
    ],
)  # fmt: skip
def test_refused_requests(changes, message):
    with pytest.raises(ExpressionError) as raised:
        prepared_expression(cohort(), dataclasses.replace(RAW, **changes))
    assert message in str(raised.value)


def test_refused_data():
    given = cohort()
    without = given.drop_vars(["covariates", "covariate"])
    assert prepared_expression(without, RAW).covariates_removed == "[]"
    with pytest.raises(ExpressionError, match="has no covariate 'age', nor any other"):
        prepared_expression(without, dataclasses.replace(RAW, covariates=("age",)))
    given["covariates"] = given["covariates"].copy(data=given["covariates"].values)
    given["covariates"][1, 4] = np.nan
    with pytest.raises(ExpressionError, match=r"missing values: age \(1 of 24 samples\)"):
        prepared_expression(given, RAW)
    assert prepared_expression(given, dataclasses.replace(RAW, covariates=("batch",)))
    with pytest.raises(ExpressionError, match="raw counts are fractional"):
        prepared_expression(ready(), RAW)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counts": False}, "weights: voom needs raw counts"),
        ({"n_expression_pcs": -1}, "n_expression_pcs must be at least 0"),
        ({"min_mean_log2cpm": float("nan")}, "min_mean_log2cpm must be a finite number"),
        ({"covariates": ("age", "age")}, "covariates names one more than once"),
    ],
)
def test_refused_parameters(changes, message):
    with pytest.raises(ValueError, match=message):
        Expression(**{"counts": True, **changes})
