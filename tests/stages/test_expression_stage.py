import dataclasses
import json
import os

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from zarrbench.clusters.local import LocalRecipe
from zarrbench.errors import ExpressionError, RecipeError, StorageError
from zarrbench.expression.preparation import NOT_EXPRESSED, prepared_expression
from zarrbench.layouts import EXPRESSION
from zarrbench.locks import locked
from zarrbench.parameters import Expression, Report
from zarrbench.remote import place
from zarrbench.stages import expression as stage
from zarrbench.stages import run
from zarrbench.stages.expression import have_expression, run_expression
from zarrbench.stages.predict import dry_run, run_predict, write_local_tables
from zarrbench.stages.report import run_report
from zarrbench.stages.statistics import run_statistics
from zarrbench.stages.status import pipeline_status
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import open_dataset
from zarrbench.stores import StoreFamily

GENES = [f"ENSG{i:011d}" for i in range(1, 8)]
COUNTS = Expression(counts=True, n_expression_pcs=2, min_mean_log2cpm=9.0)
RARE = GENES[1]


@pytest.fixture(scope="module")
def counted(new_cohort, tmp_path_factory) -> StoreFamily:
    """The hand-made cohort with raw counts and two covariates; the second gene has few reads."""
    cohort = new_cohort(tmp_path_factory.mktemp("counted"))
    rng = np.random.default_rng(4)
    samples = list(cohort.expression.columns)
    names = [*cohort.expression.index, *(f"OTHER{i}" for i in range(60))]
    mean = np.exp(rng.uniform(4, 8, len(names)))
    mean[names.index(f"{RARE}.1")] = 0.5
    counts = rng.negative_binomial(5, 5 / (5 + mean[:, None] * np.ones(len(samples))))
    folder = cohort.recipe.parent
    pd.DataFrame(counts, names, samples).to_csv(folder / "expression.tsv", sep="\t")
    covariates = pd.DataFrame(rng.normal(size=(2, len(samples))), ["rin", "age"], samples)
    covariates.to_csv(folder / "covariates.tsv", sep="\t")
    recipe = yaml.safe_load(cohort.recipe.read_text())
    recipe["expression"] = {"source": "expression.tsv", "covariates": "covariates.tsv"}
    cohort.recipe.write_text(yaml.safe_dump(recipe))
    family = StoreFamily(cohort.recipe, cohort.folder / "data")
    family.build()
    return family


def with_stage(workspace: Workspace, parameters: Expression) -> Workspace:
    """Return a pipeline with other parameters of its expression."""
    stages = {**workspace.recipe.stages, "expression": parameters}
    return dataclasses.replace(
        workspace, recipe=dataclasses.replace(workspace.recipe, stages=stages)
    )


@pytest.fixture
def workspace(workspace_in, counted, tmp_path) -> Workspace:
    return workspace_in(tmp_path / "raw", stores=counted, expression=COUNTS)


@pytest.fixture(scope="module")
def finished(workspace_in, counted, client, tmp_path_factory) -> Workspace:
    """A pipeline whose cube and statistics are done."""
    folder = tmp_path_factory.mktemp("finished") / "raw"
    workspace = workspace_in(folder, stores=counted, expression=COUNTS)
    run_expression(workspace)
    assert not run_predict(workspace, client, "GPU").failed
    run_statistics(workspace, client)
    return workspace


def test_what_is_written(workspace, counted):
    made = run_expression(workspace)
    xr.testing.assert_equal(made, prepared_expression(counted.expression.load(), COUNTS))
    written = open_dataset(workspace.adjusted, EXPRESSION).load()
    xr.testing.assert_identical(written.drop_attrs(), made.drop_attrs())
    assert workspace.adjusted == workspace.folder / "expression.zarr"
    # of everybody, also those without a genotype
    assert {"X1", "X2"} <= set(written["sample"].values)
    assert RARE not in written.gene
    assert workspace.not_expressed == {RARE}


def test_kept_while_its_inputs_are_the_same(workspace, monkeypatch):
    first = run_expression(workspace)
    with monkeypatch.context() as patched:
        patched.setattr(stage, "prepared_expression", None)  # cannot be called
        xr.testing.assert_equal(run_expression(workspace), first)
    for changes in ({"n_expression_pcs": 1}, {"covariates": ("age",)}, {"weights": "none"}):
        changed = with_stage(workspace, dataclasses.replace(COUNTS, **changes))
        again = run_expression(changed)
        assert again.attrs["outcome"] != first.attrs["outcome"]
        assert changed.expression.attrs["outcome"] == again.attrs["outcome"]


def test_other_files_are_another_expression(new_cohort, workspace_in, tmp_path):
    cohort = new_cohort(tmp_path / "cohort")
    parameters = Expression(False, "none", "none", 0, None)
    family = StoreFamily(cohort.recipe, tmp_path / "data")
    family.build()
    workspace = workspace_in(tmp_path / "ready", stores=family, expression=parameters)
    before = run_expression(workspace)
    xr.testing.assert_equal(before["expression"], family.expression["expression"].load())
    (cohort.expression * 2).to_csv(cohort.recipe.parent / "expression.tsv", sep="\t", na_rep="NA")
    family.build(overwrite=True)
    with pytest.raises(RecipeError, match="other parameters or from other files"):
        workspace.expression  # noqa: B018
    np.testing.assert_allclose(run_expression(workspace)["expression"], before["expression"] * 2)


def test_without_the_stage_it_is_the_store(workspace_in, counted, tmp_path):
    workspace = workspace_in(tmp_path / "plain", stores=counted)
    assert workspace.expression is counted.expression
    assert workspace.expression_state == ""
    assert workspace.not_expressed == set()
    with pytest.raises(RecipeError, match="has no stage 'expression'"):
        run_expression(workspace)


def test_the_stage_must_have_run(workspace):
    for use in ("expression", "join", "plan", "not_expressed"):
        with pytest.raises(RecipeError, match=r"is not there; run 'zarrbench run toy.yaml --only"):
            getattr(workspace, use)


def test_genes_that_are_not_expressed_are_not_predicted(finished):
    assert finished.plan.left_out[RARE] == NOT_EXPRESSED
    assert finished.plan.left_out["OTHER1"] == "not in the gene annotation"
    assert RARE not in finished.plan.genes.gene
    table = pd.read_csv(finished.left_out, sep="\t", index_col=0)
    assert table.reason[RARE] == NOT_EXPRESSED


def test_statistics_are_of_the_adjusted_expression(finished, client):
    found = run_statistics(finished, client)
    made = open_dataset(finished.adjusted, EXPRESSION).load()
    samples = made["individual"].values.tolist()
    people = [samples.index(p) for p in finished.join.individuals]
    shown = made["expression"].sel(gene=found.gene).isel(sample=people)
    np.testing.assert_allclose(found.mean_observed, shown.mean("sample"), rtol=1e-12)
    np.testing.assert_allclose(found.sd_observed, shown.std("sample"), rtol=1e-12)
    assert found.attrs["expression"] == made.attrs["outcome"]
    assert json.loads(found.attrs["left_out"]) == {}
    assert RARE not in found.gene


def test_a_raised_threshold_leaves_genes_of_the_cube_out(finished, client):
    """The cube stays as it is; what is no longer expressed is left out of what follows it."""
    mean = open_dataset(finished.adjusted, EXPRESSION)["mean_log2cpm"].load()
    in_cube = run_statistics(finished, client).gene.values
    lowest = str(in_cube[int(mean.sel(gene=in_cube).values.argmin())])
    threshold = float(mean.sel(gene=lowest))
    raised = with_stage(finished, dataclasses.replace(COUNTS, min_mean_log2cpm=threshold))
    with pytest.raises(RecipeError, match="other parameters"):
        run_statistics(raised, client)
    run_expression(raised)
    assert lowest in raised.plan.genes.gene
    assert run_predict(raised, client, "GPU").now == 0
    found = run_statistics(raised, client)
    assert found.gene.values.tolist() == [
        gene for gene in in_cube if mean.sel(gene=gene) > threshold
    ]
    assert json.loads(found.attrs["left_out"])[lowest] == NOT_EXPRESSED
    everything = with_stage(finished, dataclasses.replace(COUNTS, min_mean_log2cpm=None))
    run_expression(everything)
    assert run_statistics(everything, client).gene.values.tolist() == in_cube.tolist()
    run_expression(finished)


def test_no_gene_is_left(finished, client):
    made = open_dataset(finished.adjusted, EXPRESSION).load()
    others = made["mean_log2cpm"].sel(gene=[str(g) for g in made.gene.values if "OTHER" in g])
    threshold = float(others.max()) - 1e-9
    shown = run_statistics(finished, client).gene
    assert made["mean_log2cpm"].sel(gene=shown).max() < threshold
    strict = with_stage(
        finished, dataclasses.replace(COUNTS, min_mean_log2cpm=threshold, n_expression_pcs=0)
    )
    run_expression(strict)
    try:
        with pytest.raises(ExpressionError, match=r"left out all 6 finished genes .* lower 'min_m"):
            run_statistics(strict, client)
    finally:
        run_expression(finished)


def test_statistics_follow_the_outcome(workspace_in, finished, client, monkeypatch):
    first = run_statistics(finished, client)
    changed = with_stage(finished, dataclasses.replace(COUNTS, covariates="none"))
    run_expression(changed)
    again = run_statistics(changed, client)
    assert not np.allclose(again.r, first.r)
    run_expression(finished)
    xr.testing.assert_allclose(run_statistics(finished, client), first)


def test_run_alone_it_needs_no_cluster(workspace, monkeypatch):
    def started(*args: object) -> None:
        raise AssertionError("a cluster was asked for")

    monkeypatch.setattr(run, "started", started)
    timings = run.run_pipeline(workspace, LocalRecipe(name="local"), only="expression")
    assert list(timings) == ["expression"]
    assert workspace.not_expressed == {RARE}


def test_before_a_dry_run(workspace, finished, workspace_in, tmp_path, monkeypatch):
    with locked(workspace.folder), pytest.raises(StorageError):
        have_expression(workspace)
    assert not workspace.has_expression
    have_expression(workspace)
    assert dry_run(workspace)["genes"] == finished.plan.genes.sizes["gene"]
    monkeypatch.setattr(stage, "prepared_expression", None)  # cannot be called
    with locked(workspace.folder):  # what is there is read while a run goes on
        have_expression(workspace)
        have_expression(workspace_in(tmp_path / "plain"))


def test_status_names_the_store(finished, workspace_in, counted):
    assert pipeline_status(finished)["results"]["expression.zarr"] is True
    os.rename(finished.adjusted, finished.folder / "aside")
    try:
        assert pipeline_status(finished)["results"]["expression.zarr"] is False
    finally:
        os.rename(finished.folder / "aside", finished.adjusted)


def test_the_report_says_what_was_done(finished, client):
    stages = {**finished.recipe.stages, "report": Report()}
    workspace = dataclasses.replace(
        finished, recipe=dataclasses.replace(finished.recipe, stages=stages)
    )
    write_local_tables(workspace)
    run_statistics(workspace, client)
    run_report(workspace, {})
    page = workspace.report.read_text()
    for text in ("Choices: expression", "rin, age", "log2 CPM, adjusted", NOT_EXPRESSED):
        assert text in page
    assert "taken as it stands" not in page
    assert "P00" not in page
    changed = with_stage(workspace, dataclasses.replace(COUNTS, n_expression_pcs=1))
    run_expression(changed)
    try:
        with pytest.raises(RecipeError, match="another cube or expression"):
            run_report(changed, {})
    finally:
        run_expression(finished)


@pytest.mark.network
def test_behind_a_url(s3, workspace_in, counted, tmp_path):
    folder = place(f"s3://{s3.bucket}/{tmp_path.name}")
    remote, here = (
        workspace_in(at, stores=counted, expression=COUNTS) for at in (folder, tmp_path / "here")
    )
    made = [run_expression(workspace) for workspace in (remote, here)]
    xr.testing.assert_identical(*made)
    xr.testing.assert_equal(remote.expression.load(), made[1])
    s3.requests.clear()
    run_expression(remote)
    assert {method for method, _ in s3.requests} <= {"GET", "HEAD"}
