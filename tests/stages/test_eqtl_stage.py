"""The eQTL stage: its store and its table, from the stores of a pipeline."""

import copy
import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from zarrbench.errors import ExpressionError
from zarrbench.expression.samples import observed
from zarrbench.layouts import EQTL
from zarrbench.parameters import Eqtl
from zarrbench.stages import eqtl as stage
from zarrbench.stages.eqtl import gene_slopes, run_eqtl
from zarrbench.statistics.eqtl import of_gene, tidy
from zarrbench.storage import open_dataset


@pytest.fixture
def asked(workspace_in, tmp_path):
    """A pipeline with the stage, of these parameters."""

    def workspace(**parameters):
        made = workspace_in(tmp_path / "study")
        made.folder.mkdir(exist_ok=True)
        stages = {**made.recipe.stages, "eqtl": Eqtl(**parameters)}
        return dataclasses.replace(made, recipe=dataclasses.replace(made.recipe, stages=stages))

    return workspace


def test_store_and_table_say_the_same(asked, client, monkeypatch):
    monkeypatch.setattr(stage, "_ROWS", 7)
    workspace = asked(window=300)
    found = run_eqtl(workspace)
    EQTL.check(open_dataset(workspace.eqtl, EQTL), workspace.eqtl)
    table = pd.read_parquet(workspace.eqtl_table)
    order = found["gene"].values[np.argsort(found["first_pair"].values, kind="stable")]
    pd.testing.assert_frame_equal(table, tidy(found, order), check_dtype=False)
    assert len(table) == int(found["n_pairs"].sum()) > 20
    assert (table["distance"].abs() <= 300).all()


def test_a_gene_by_hand(asked, cohort, client):
    """Dosages from the VCF itself, slopes by scipy, for people in the order of the genotypes."""
    workspace = asked(window=300)
    part = of_gene(run_eqtl(workspace), "ENSG00000000001")
    y = observed(workspace.stores.expression, workspace.join).sel(gene="ENSG00000000001").values
    rows = workspace.stores.genotypes.rows_of(workspace.join.individuals)
    checked = 0
    for i in range(part.sizes["variant"]):
        one = part.isel(variant=i).load()
        at = int(one["variant_position"])
        alleles = (str(one["other_allele"].item()), str(one["effect_allele"].item()))
        dosage = _from_vcf(cohort, str(one["variant_contig"].item()), at, alleles)[rows]
        kept = (dosage >= 0) & np.isfinite(y)
        if np.ptp(dosage[kept]) == 0:
            assert np.isnan(one["slope"])
            continue
        expected = stats.linregress(dosage[kept], y[kept])
        np.testing.assert_allclose(one["slope"], expected.slope, rtol=1e-9)
        np.testing.assert_allclose(one["p"], expected.pvalue, rtol=1e-8)
        checked += 1
    assert checked >= 3


def _from_vcf(cohort, contig, position, alleles):
    """Copies of an allele by the calls that the VCF was written from."""
    [row] = np.flatnonzero(
        (cohort.variants.contig == contig) & (cohort.variants.position == position)
    )
    variant = cohort.variants.iloc[row]
    assert variant.ref == alleles[0]
    wanted = variant.alt.split(",").index(alleles[1]) + 1
    calls = cohort.calls[row]
    return np.where((calls < 0).any(axis=1), -1, (calls == wanted).sum(axis=1))


def test_is_kept_until_something_changes(asked, client):
    workspace = asked(window=300)
    run_eqtl(workspace)
    before = workspace.eqtl_table.stat().st_mtime_ns
    run_eqtl(workspace)
    assert workspace.eqtl_table.stat().st_mtime_ns == before
    run_eqtl(asked(window=200))
    assert workspace.eqtl_table.stat().st_mtime_ns > before
    workspace.eqtl_table.unlink()
    assert run_eqtl(asked(window=200)).attrs["window"] == 200
    assert workspace.eqtl_table.exists()


def test_covariates_by_name(asked):
    workspace = asked()
    expression, rng = workspace.stores.expression, np.random.default_rng(1)
    values = rng.standard_normal((2, expression.sizes["sample"]))
    with_two = expression.assign(covariates=(("covariate", "sample"), values)).assign_coords(
        covariate=np.array(["age", "sex"], dtype=object)
    )
    with pytest.raises(ExpressionError, match="has no covariates; name a file"):
        gene_slopes(workspace, Eqtl(covariates="all"))
    stores = copy.copy(workspace.stores)
    vars(stores)["expression"] = with_two
    workspace = dataclasses.replace(workspace, stores=stores)
    whole = tidy(gene_slopes(workspace, Eqtl(window=300, covariates="all")))
    named = tidy(gene_slopes(workspace, Eqtl(window=300, covariates=("age", "sex"))))
    pd.testing.assert_frame_equal(whole, named)
    without = tidy(gene_slopes(workspace, Eqtl(window=300)))
    assert not np.allclose(whole["slope"], without["slope"], equal_nan=True)
    with pytest.raises(ExpressionError, match="no covariate 'agge' is there; did you mean 'age'"):
        gene_slopes(workspace, Eqtl(covariates=("agge",)))
