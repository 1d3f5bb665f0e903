"""The genotype_quality stage from the calls of the hand-made cohort, and its use as covariates."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import xarray as xr

from zarrbench.clusters.local import LocalRecipe
from zarrbench.errors import ExpressionError, GenotypeError, RecipeError
from zarrbench.expression.samples import observed
from zarrbench.genotypes import dosage as dosage_module
from zarrbench.genotypes.dosage import allele_dosages
from zarrbench.layouts import GENOTYPE_QUALITY
from zarrbench.parameters import Eqtl, Expression, GenotypeQuality, Report
from zarrbench.stages.eqtl import gene_slopes
from zarrbench.stages.expression import have_expression, run_expression
from zarrbench.stages.genotype_quality import (
    cohort_quality,
    run_genotype_quality,
    standing_quality,
    summary,
    warnings_of,
)
from zarrbench.stages.predict import run_predict
from zarrbench.stages.report import run_report
from zarrbench.stages.run import run_pipeline
from zarrbench.stages.statistics import run_statistics
from zarrbench.stages.status import pipeline_status
from zarrbench.stages.workspace import Workspace
from zarrbench.statistics.eqtl import of_gene
from zarrbench.statistics.genotype_components import genotype_components
from zarrbench.statistics.kinship import kinship
from zarrbench.storage import open_dataset
from zarrbench.stores import StoreFamily

PARAMETERS = GenotypeQuality(n_components=3, ld_window=150, max_r2=0.4, min_kinship=0.05)


def asked(workspace: Workspace, parameters: GenotypeQuality = PARAMETERS, **stages) -> Workspace:
    """The pipeline with the stage, and others."""
    kept = {k: v for k, v in workspace.recipe.stages.items() if k != "genotype_quality"}
    together = {"genotype_quality": parameters, **kept, **stages}
    return dataclasses.replace(
        workspace, recipe=dataclasses.replace(workspace.recipe, stages=together)
    )


@pytest.fixture(scope="module")
def done(workspace_in, tmp_path_factory) -> Workspace:
    workspace = asked(workspace_in(tmp_path_factory.mktemp("quality") / "study"))
    workspace.folder.mkdir()
    run_genotype_quality(workspace)
    return workspace


def rows_of(cohort) -> tuple[pd.DataFrame, np.ndarray]:
    """Each alternative allele of the VCF with its copies in everybody."""
    rows, dosages = [], []
    for variant, calls in zip(cohort.variants.itertuples(), cohort.calls, strict=True):
        for number, allele in enumerate(variant.alt.split(","), 1):
            rows.append((variant.contig, variant.position, variant.ref, allele))
            copies = (calls == number).sum(axis=1)
            dosages.append(np.where((calls < 0).any(axis=1), -1, copies))
    columns = ["variant_contig", "variant_position", "other_allele", "effect_allele"]
    return pd.DataFrame(rows, columns=columns), np.array(dosages, np.int8)


def test_store_and_tables_from_the_calls(done, cohort):
    found = open_dataset(done.genotype_quality, GENOTYPE_QUALITY).load()
    alleles, dosage = rows_of(cohort)
    variants, individuals, pairs = done.genotype_tables
    table = pd.read_parquet(variants)
    pd.testing.assert_frame_equal(table[alleles.columns], alleles, check_dtype=False)
    called = np.ma.masked_less(dosage, 0)
    frequency = called.mean(axis=1).filled(np.nan) / 2
    np.testing.assert_allclose(table.effect_allele_frequency, frequency)
    np.testing.assert_allclose(table.minor_allele_frequency, np.minimum(frequency, 1 - frequency))
    np.testing.assert_allclose(table.carrier_frequency, (called > 0).mean(axis=1))
    np.testing.assert_allclose(table.variant_missing, (dosage < 0).mean(axis=1), atol=1e-15)
    people = pd.read_csv(individuals, sep="\t", index_col=0)
    assert list(people.index) == cohort.people
    np.testing.assert_allclose(people.individual_missing, (dosage < 0).mean(axis=0), atol=1e-15)
    np.testing.assert_allclose(people.heterozygosity, (called == 1).mean(axis=0))
    common = (table.minor_allele_frequency >= 0.05) & (table.variant_missing <= 0.05)
    chosen = table.in_components.to_numpy()
    assert not (chosen & ~common).any()
    assert 30 < chosen.sum() < common.sum()
    expected = genotype_components([dosage[chosen]], 3)
    scores = people[["genotype_pc1", "genotype_pc2", "genotype_pc3"]].to_numpy().T
    np.testing.assert_allclose(scores, expected.scores, atol=1e-10)
    np.testing.assert_allclose(found.explained, expected.explained)
    related = pd.read_csv(pairs, sep="\t")
    phi = kinship([dosage[chosen]])
    first, second = np.nonzero(np.triu(phi >= 0.05, 1))
    names = np.array(cohort.people)
    expected_pairs = set(zip(names[first], names[second], strict=True))
    assert set(zip(related.individual_1, related.individual_2, strict=True)) == expected_pairs
    counted = [sum(p in pair for pair in expected_pairs) for p in cohort.people]
    assert people.n_related.tolist() == counted
    assert summary(found)["related_pairs"] == len(expected_pairs) > 0


@pytest.mark.parametrize("records", [1, 37, 400])
def test_any_blocks_give_the_same(family, done, records, monkeypatch):
    monkeypatch.setattr(dosage_module, "_RECORDS", records)
    found, pairs = cohort_quality(allele_dosages(family.genotypes), PARAMETERS)
    standing = open_dataset(done.genotype_quality, GENOTYPE_QUALITY).load()
    assert found.in_components.equals(standing.in_components)
    for name in found.data_vars:
        np.testing.assert_allclose(found[name], standing[name], atol=1e-10, err_msg=str(name))
    assert len(pairs) == standing.attrs["n_related_pairs"]


def test_is_kept_until_something_changes(workspace_in, tmp_path):
    workspace = asked(workspace_in(tmp_path / "study"))
    workspace.folder.mkdir()
    run_genotype_quality(workspace)
    before = workspace.genotype_tables[0].stat().st_mtime_ns
    run_genotype_quality(workspace)
    assert workspace.genotype_tables[0].stat().st_mtime_ns == before
    other = asked(workspace, dataclasses.replace(PARAMETERS, n_components=0))
    assert standing_quality(other) is None
    found = run_genotype_quality(other)
    assert "component" not in found.sizes
    assert summary(found)["variance_explained_by_first_components"] == []
    assert workspace.genotype_tables[0].stat().st_mtime_ns > before
    assert "component" not in open_dataset(other.genotype_quality, GENOTYPE_QUALITY).sizes
    with pytest.raises(RecipeError, match="and 0 were made"):
        other.genotype_components(1)
    for table in workspace.genotype_tables:
        table.unlink()
        assert standing_quality(other) is None
        run_genotype_quality(other)
        assert table.exists()


def test_runs_without_a_cluster_and_shows_no_ids(workspace_in, client, cohort, tmp_path):
    workspace = asked(workspace_in(tmp_path / "study"), report=Report())
    timings = run_pipeline(workspace, LocalRecipe(name="local"), only="genotype_quality")
    assert set(timings) == {"genotype_quality"}
    run_predict(workspace, client, "GPU")
    run_statistics(workspace, client)
    run_report(workspace, {})
    assert pipeline_status(workspace)["results"]["related_pairs.tsv"]
    page = workspace.report.read_text()
    assert "Genotype quality" in page
    assert "common variants not linked" in page
    assert "too few, or too near each other, to tell relatives" in page
    assert not any(person in page for person in cohort.people)
    # what was made with other parameters is not shown
    run_report(asked(workspace, GenotypeQuality(n_components=2)), {})
    page = workspace.report.read_text()
    assert "common variants not linked" not in page
    assert "something has changed since the stage" in page
    assert "--only genotype_quality" in page


def test_warnings():
    found = xr.Dataset(attrs={"n_related_pairs": 2, "min_kinship": 0.1, "kinship_scatter": 0.01})
    [said] = warnings_of(found)
    assert said == (
        "2 pairs of people have a kinship of 0.1 or more: every p across people takes them as "
        "independent."
    )
    assert warnings_of(found.assign_attrs(n_related_pairs=0)) == []


def test_slopes_adjusted_for_components(done):
    """Against a least-squares fit of each pair with an intercept and the components."""
    scores = done.genotype_components(2)
    found = of_gene(gene_slopes(done, Eqtl(window=300, genotype_components=2)), "ENSG00000000001")
    y = observed(done.stores.expression, done.join).sel(gene="ENSG00000000001")
    people = list(done.join.individuals)
    dosages = allele_dosages(done.stores.genotypes, people).load()
    covariates = scores.sel(individual=people).values.T
    checked = 0
    for i in range(found.sizes["variant"]):
        one = found.isel(variant=i).load()
        [row] = np.flatnonzero(
            (dosages.variant_position == one.variant_position)
            & (dosages.variant_contig.values == str(one.variant_contig.item()))
            & (dosages.effect_allele.values == str(one.effect_allele.item()))
        )
        calls = dosages.dosage.values[row]
        kept = (calls >= 0) & np.isfinite(y.values)
        design = np.column_stack([np.ones(kept.sum()), calls[kept], covariates[kept]])
        if np.linalg.matrix_rank(design) < 4:
            continue
        fit = sm.OLS(y.values[kept], design).fit()
        np.testing.assert_allclose(one.slope, fit.params[1], rtol=1e-8)
        np.testing.assert_allclose(one.se, fit.bse[1], rtol=1e-8)
        np.testing.assert_allclose(one.p, fit.pvalues[1], rtol=1e-7)
        checked += 1
    assert checked >= 3
    with_components = asked(done, eqtl=Eqtl(window=300, genotype_components=2))
    assert gene_slopes(done, Eqtl(window=300)).p.values.tolist() != found.p.values.tolist()
    assert with_components.recipe.stage(Eqtl).genotype_components == 2


def test_components_must_have_been_made(workspace_in, done, tmp_path):
    never = asked(workspace_in(tmp_path / "never"))
    with pytest.raises(RecipeError, match=r"are not there, .* --only genotype_quality' first"):
        gene_slopes(never, Eqtl(genotype_components=1))
    with pytest.raises(RecipeError, match=r"asks for 4 genotype components, and 3 were made"):
        done.genotype_components(4)
    with pytest.raises(RecipeError, match="made with other parameters"):
        asked(done, GenotypeQuality(n_components=4)).genotype_components(1)
    with pytest.raises(RecipeError, match="has no stage 'genotype_quality'"):
        workspace_in(tmp_path / "without").genotype_components(1)
    many = asked(workspace_in(tmp_path / "many"), GenotypeQuality(n_components=23))
    with pytest.raises(GenotypeError, match="23 genotype components need more common variants"):
        run_genotype_quality(many)
    assert not many.genotype_quality.exists()


@pytest.mark.parametrize(
    ("covariates", "with_age"), [("none", False), ("all", True), (("age",), True)]
)
def test_components_are_removed_from_expression(
    new_cohort, workspace_in, tmp_path, covariates, with_age
):
    cohort = new_cohort(tmp_path / "cohort")
    folder = cohort.recipe.parent
    joined = [name for name in cohort.expression.columns if name in cohort.people]
    names = [name for name in cohort.expression.index if "3.2" not in name and "6.1" not in name]
    given = cohort.expression.loc[names, joined]
    given.to_csv(folder / "expression.tsv", sep="\t")
    age = np.random.default_rng(1).normal(size=len(joined))
    pd.DataFrame([age], ["age"], joined).to_csv(folder / "age.tsv", sep="\t")
    recipe = cohort.recipe.read_text().replace("unit: log2}", "unit: log2, covariates: age.tsv}")
    cohort.recipe.write_text(recipe)
    family = StoreFamily(cohort.recipe, tmp_path / "data")
    family.build()
    parameters = Expression(False, "none", covariates, 0, None, genotype_components=2)
    workspace = asked(workspace_in(tmp_path / "s", stores=family), expression=parameters)
    with pytest.raises(RecipeError, match="--only genotype_quality' first"):
        run_expression(workspace)
    have_expression(workspace)
    found = run_expression(workspace)["expression"].to_pandas()
    scores = workspace.genotype_components(2).sel(individual=joined).values
    design = np.column_stack([np.ones(len(joined)), scores.T, *([age] if with_age else [])])
    for name, values in zip(found.index, found[joined].to_numpy(), strict=True):
        y = given.loc[next(i for i in given.index if i.startswith(name))].to_numpy()
        residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
        np.testing.assert_allclose(values, residual + y.mean(), atol=1e-10)
    before = workspace.expression_inputs
    other = asked(workspace, dataclasses.replace(PARAMETERS, max_r2=0.5))
    assert other.expression_inputs != before


def test_samples_without_a_genotype_have_no_components(workspace_in, tmp_path):
    parameters = Expression(False, "none", "none", 0, None, genotype_components=1)
    workspace = asked(workspace_in(tmp_path / "s"), expression=parameters)
    with pytest.raises(ExpressionError, match="2 of 21 people with expression have no genotype"):
        have_expression(workspace)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_components": -1}, "must not be negative"),
        ({"min_maf": 0.0}, "min_maf must be above 0"),
        ({"max_missing": 1.0}, "max_missing must be from 0"),
        ({"ld_window": -1}, "ld_window must not be negative"),
        ({"max_r2": 0.0}, "max_r2 must be above 0"),
        ({"min_kinship": 0.6}, "min_kinship must be above 0"),
    ],
)
def test_refused_parameters(wrong, message):
    with pytest.raises(ValueError, match=message):
        GenotypeQuality(**wrong)
    with pytest.raises(ValueError, match="genotype_components must"):
        Eqtl(genotype_components=-1)
    with pytest.raises(ValueError, match="genotype_components must"):
        Expression(counts=True, genotype_components=-1)
