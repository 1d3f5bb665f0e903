import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from statsmodels.stats.multitest import multipletests

from zarrbench import ledger
from zarrbench.errors import GenotypeError, IncompleteCubeError, RecipeError
from zarrbench.layouts import GENE_STATISTICS
from zarrbench.parameters import Null, Statistics
from zarrbench.predictions.cube import open_cube
from zarrbench.predictions.plan import Predict
from zarrbench.predictions.readouts import Readout
from zarrbench.sources import Source
from zarrbench.stages import statistics as stage
from zarrbench.stages.predict import run_predict
from zarrbench.stages.statistics import gene_statistics, run_statistics, summary
from zarrbench.stages.workspace import Workspace
from zarrbench.statistics.null import gene_generator
from zarrbench.storage import open_dataset
from zarrbench.stores import StoreFamily
from zarrbench.tables import GENE_COLUMNS

GENES = [f"ENSG{i:011d}" for i in range(1, 8)]
GAPS, QUIET, UNMEASURED, CONSTANT = GENES[2], GENES[4], GENES[5], GENES[6]
MODEL_WINDOW, WIDE = "model", 300


@pytest.fixture(scope="module")
def predicted(workspace_in, client, tmp_path_factory) -> Workspace:
    """A pipeline whose cube is done."""
    workspace = workspace_in(tmp_path_factory.mktemp("statistics") / "toy")
    assert not run_predict(workspace, client, "GPU").failed
    return workspace


@pytest.fixture(scope="module")
def computed(predicted, client) -> xr.Dataset:
    return gene_statistics(predicted, client, GENES, predicted.recipe.stage(Statistics))


@pytest.fixture
def fresh(predicted, tmp_path) -> Workspace:
    """The same pipeline in a folder of its own, with the cube alone."""
    folder = tmp_path / "toy"
    folder.mkdir()
    shutil.copytree(predicted.cube, folder / "predictions.zarr")
    return dataclasses.replace(predicted, folder=folder)


class Plain:
    """One gene by plain means: scipy, loops, and the tables of the hand-made cohort."""

    def __init__(self, cohort, workspace: Workspace, gene: str, null: Null) -> None:
        cube = open_cube(workspace.cube, lazy=False).sel(gene=gene, track="T1")
        self.people = [p for p in cohort.people if p in cohort.expression.columns]
        self.p = cube.prediction.sel(individual=self.people).values.astype(float).mean(axis=1)
        record = cohort.genes.loc[gene]
        if record.gene_id in cohort.expression.index:
            self.y = cohort.expression.loc[record.gene_id, self.people].to_numpy(float)
        else:
            self.y = np.full(len(self.people), np.nan)
        self.measured = np.isfinite(self.y)
        rows = [cohort.people.index(p) for p in self.people]
        self.in_model = cohort.dosage(record.contig, record.tss - 20, record.tss + 43)[:, rows]
        if null.window == "model":
            of_null = self.in_model
        else:
            edges = record.tss - null.window, record.tss + null.window
            of_null = cohort.dosage(record.contig, *edges)[:, rows]
        calls = [v for v in of_null[:, self.measured] if len(set(v[v >= 0].tolist())) > 1]
        self.dosages = np.array([np.where(v < 0, v[v >= 0].mean(), v) for v in calls])
        self.q = self._null(null, gene)

    def r(self) -> tuple[float, float]:
        p, y = self.p[self.measured], self.y[self.measured]
        if len(y) < 3 or np.ptp(y) == 0 or np.ptp(p) == 0:
            return np.nan, np.nan
        return stats.pearsonr(p, y)

    def _null(self, null: Null, gene: str) -> np.ndarray:
        y = self.y[self.measured]
        if len(self.dosages) == 0 or len(y) < 3 or np.ptp(y) == 0:
            return np.zeros(null.draws)
        weights = gene_generator(null.seed, gene).standard_normal((null.draws, len(self.dosages)))
        weights = np.abs(weights) if null.positive else weights
        return np.array([abs(stats.pearsonr(w @ self.dosages, y)[0]) for w in weights])


@pytest.mark.parametrize(
    "null",
    [
        Null(draws=40, window=WIDE),
        Null(draws=25, window=MODEL_WINDOW, seed=5),
        Null(draws=25, window=WIDE, positive=True),
    ],
    ids=["wide", "model", "positive"],
)
def test_against_plain_means(predicted, client, cohort, with_statistics, null):
    workspace = with_statistics(predicted, null_test=null)
    found = gene_statistics(workspace, client, GENES, workspace.recipe.stage(Statistics))
    plain = {gene: Plain(cohort, workspace, gene, null) for gene in GENES}
    tested = 0
    for gene, of in plain.items():
        one = found.sel(gene=gene)
        r, p = of.r()
        np.testing.assert_allclose([one.r, one.p_r], [r, p], rtol=1e-6, err_msg=gene)
        y, x = of.y[of.measured], of.p[of.measured]
        assert one.n_individuals == len(y)
        if len(y):
            np.testing.assert_allclose([one.mean_observed, one.sd_observed], [y.mean(), y.std()])
            np.testing.assert_allclose([one.mean_predicted, one.sd_predicted], [x.mean(), x.std()])
        moments = [of.q.mean(), of.q.std(), np.sqrt((of.q**2).mean())]
        np.testing.assert_allclose(
            [one.null_mean, one.null_sd, one.null_rms], moments, atol=3e-6, err_msg=gene
        )
        assert one.null_n_variants == len(of.dosages)
        if len(of.dosages) > 1:
            spectrum = np.linalg.eigvalsh(np.cov(of.dosages))
            effective = spectrum.sum() ** 2 / (spectrum**2).sum()
            assert one.null_effective_variants == pytest.approx(effective, rel=1e-4)
        assert one.n_variants == len(of.in_model)
        tests = one.sel(statistic="signed")
        if one.null_degenerate:
            assert np.isnan(tests.null_t)
            assert tests.null_p == 1
            assert of.q.std() < 1e-6
        else:
            t = np.nan_to_num(r) / np.sqrt((of.q**2).mean())
            np.testing.assert_allclose(tests.null_t, t, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(
                tests.null_p, 2 * stats.t.sf(abs(t), null.draws), rtol=1e-3, atol=1e-9
            )
            empirical = (1 + (of.q >= abs(np.nan_to_num(r)) - 1e-9).sum()) / (null.draws + 1)
            assert one.null_p.sel(statistic="empirical") == pytest.approx(empirical)
            tested += 1
    assert tested >= (4 if null.window == WIDE else 2)
    assert not found.null_degenerate.sel(gene=GENES[0])
    assert bool(found.null_degenerate.sel(gene=QUIET)) == (null.window == MODEL_WINDOW)


def test_adjusted_within_each_statistic(computed):
    for name in computed.statistic.values:
        p = computed.null_p.sel(statistic=name).values
        counted, q, *_ = multipletests(p, alpha=0.05, method="fdr_bh")
        np.testing.assert_allclose(computed.null_q.sel(statistic=name), q, rtol=1e-9)
        assert np.array_equal(computed.significant.sel(statistic=name), counted)


def test_counts_of_variants_and_haplotypes(computed, cohort):
    people = [p for p in cohort.people if p in cohort.expression.columns]
    rows = [cohort.people.index(p) for p in people]
    for gene in GENES:
        contig, tss = cohort.genes.loc[gene, ["contig", "tss"]]
        first, last = tss - 20, tss + 43
        carried = {cohort.haplotype(contig, first, last, p, h) for p in people for h in (0, 1)}
        one = computed.sel(gene=gene)
        assert one.n_distinct_haplotypes == len(carried)
        here = (cohort.variants.contig == contig) & cohort.variants.position.between(first, last)
        insertion = here & (cohort.variants.alt.str.len() == 2)
        cases = one.case_count.to_series()
        assert cases["excluded_records"] == insertion.sum()
        calls = cohort.calls[(here & ~insertion).values][:, rows]
        assert cases["missing_alleles"] == (calls == -1).sum()
        carried = [set(call[call > 0].tolist()) for call in calls]
        assert cases["multiallelic_sites"] == sum(len(alleles) > 1 for alleles in carried)
    assert computed.case_count.sum() > 0
    assert computed.sel(gene=QUIET).n_distinct_haplotypes == 1


def test_layout_and_attributes(computed, predicted):
    GENE_STATISTICS.check(computed, predicted.folder)
    assert computed.gene.values.tolist() == GENES
    assert computed.attrs["statistic"] == "signed"
    assert computed.attrs["track"] == "T1"
    assert computed.attrs["track_description"] == "odd"
    assert computed.attrs["recipe_hash"] == predicted.plan.recipe_hash
    assert json.loads(computed.attrs["parameters"])["null_test"]["window"] == WIDE
    assert json.loads(computed.attrs["without_null"]) == {}
    reference = open_cube(predicted.cube).reference_prediction.sel(track="T1")
    np.testing.assert_array_equal(computed.reference_prediction, reference.astype(float))


def test_genes_without_an_answer(computed):
    for gene in (QUIET, UNMEASURED, CONSTANT):
        one = computed.sel(gene=gene)
        assert np.isnan(one.r)
        assert np.isnan(one.p_r)
        assert not one.significant.any()
    assert computed.n_individuals.sel(gene=[GENES[0], GAPS, UNMEASURED]).values.tolist()[0] == 19
    assert 16 <= computed.n_individuals.sel(gene=GAPS) < 19
    assert computed.n_individuals.sel(gene=UNMEASURED) == 0
    assert computed.null_degenerate.sel(gene=[UNMEASURED, CONSTANT]).all()
    assert (computed.null_p.sel(gene=[UNMEASURED, CONSTANT]) == 1).all()


def test_dropping_genes_without_an_answer(predicted, client, with_statistics, computed):
    workspace = with_statistics(predicted, nan_policy="drop")
    found = gene_statistics(workspace, client, GENES, workspace.recipe.stage(Statistics))
    answered = computed.r.notnull().values
    p = computed.null_p.sel(statistic="signed").values[answered]
    q = multipletests(p, method="fdr_bh")[1]
    signed = found.null_q.sel(statistic="signed").values
    np.testing.assert_allclose(signed[answered], q)
    assert np.isnan(signed[~answered]).all()


def test_haplotypes_added_instead_of_averaged(predicted, client, with_statistics, computed):
    workspace = with_statistics(predicted, haplotypes="sum")
    found = gene_statistics(workspace, client, GENES, workspace.recipe.stage(Statistics))
    np.testing.assert_allclose(found.r, computed.r, rtol=1e-12)
    np.testing.assert_allclose(found.mean_predicted, 2 * computed.mean_predicted, rtol=1e-12)


def test_number_of_workers_and_genes_of_a_task_change_nothing(
    predicted, clients, computed, monkeypatch
):
    parameters = predicted.recipe.stage(Statistics)
    alone = gene_statistics(predicted, clients[0], GENES, parameters)
    xr.testing.assert_identical(alone, computed)
    monkeypatch.setattr(stage, "_GENES_A_TASK", 2)
    xr.testing.assert_identical(gene_statistics(predicted, clients[1], GENES, parameters), computed)


def test_one_legacy_stream_for_all_genes(predicted, clients, cohort, with_statistics, monkeypatch):
    """In the order of ids, with a weight for every variant, whoever computes it."""
    null = Null(draws=30, window=WIDE, seed=7, rng="legacy_sequential")
    workspace = with_statistics(predicted, null_test=null)
    monkeypatch.setattr(stage, "_GENES_A_TASK", 2)
    found = gene_statistics(workspace, clients[1], GENES[::-1], workspace.recipe.stage(Statistics))
    stream = np.random.RandomState(7)
    for gene in sorted(GENES):
        of = Plain(cohort, workspace, gene, dataclasses.replace(null, rng="per_gene"))
        record = cohort.genes.loc[gene]
        rows = [cohort.people.index(p) for p in of.people]
        edges = record.tss - WIDE, record.tss + WIDE
        calls = cohort.dosage(record.contig, *edges)[:, rows][:, of.measured]
        weights = stream.standard_normal((30, len(calls)))
        if len(of.dosages) == 0 or len(of.y[of.measured]) < 3 or np.ptp(of.y[of.measured]) == 0:
            assert found.null_mean.sel(gene=gene) == 0
            continue
        varying = [len(set(v[v >= 0].tolist())) > 1 for v in calls]
        y = of.y[of.measured]
        q = [abs(stats.pearsonr(w[varying] @ of.dosages, y)[0]) for w in weights]
        np.testing.assert_allclose(found.null_mean.sel(gene=gene), np.mean(q), rtol=1e-9)


def test_r_is_rounded_for_its_tests_alone(predicted, client, computed, with_statistics):
    workspace = with_statistics(predicted, round_r=1)
    found = gene_statistics(workspace, client, GENES, workspace.recipe.stage(Statistics))
    xr.testing.assert_identical(found.r.drop_attrs(), computed.r.drop_attrs())
    rounded = np.nan_to_num(computed.r.round(1))
    np.testing.assert_allclose(
        np.nan_to_num(found.null_t.sel(statistic="signed")),
        np.where(computed.null_degenerate, 0, rounded / computed.null_rms),
    )


def test_a_gene_does_not_depend_on_the_others(predicted, client, computed):
    some = [GENES[3], GENES[0]]
    found = gene_statistics(predicted, client, some, predicted.recipe.stage(Statistics))
    unadjusted = ["r", "p_r", "null_mean", "null_t", "null_p", "n_variants", "case_count"]
    xr.testing.assert_identical(
        found[unadjusted].drop_attrs(), computed[unadjusted].sel(gene=some).drop_attrs()
    )


def test_who_came_after_the_cube_has_no_part_in_r_nor_in_its_null(
    predicted, client, computed, monkeypatch
):
    def earlier(place, **options):
        return open_cube(place, **options).isel(individual=slice(None, -4))

    left = set(map(str, earlier(predicted.cube)["individual"].values))
    monkeypatch.setattr(stage, "open_cube", earlier)
    parameters = predicted.recipe.stage(Statistics)
    found = gene_statistics(predicted, client, GENES, parameters)
    without = dataclasses.replace(predicted)
    join = predicted.join
    people = tuple(person for person in join.individuals if person in left)
    assert 5 < len(people) < len(join.individuals)
    without.__dict__["join"] = dataclasses.replace(join, individuals=people)
    xr.testing.assert_identical(found, gene_statistics(without, client, GENES, parameters))
    assert (found["null_rms"] != computed["null_rms"]).any()


def test_everybody_and_every_gene_in_the_cube(workspace_in, client, tmp_path, cohort, computed):
    """Predictions of people and genes without expression change no statistic."""
    predict = Predict(Readout("sum_log"), genes="all", individuals="all", block_size=9)
    workspace = workspace_in(tmp_path / "everybody", predict=predict)
    run_predict(workspace, client, "GPU")
    found = run_statistics(workspace, client)
    assert found.gene.values.tolist() == [*GENES, "ENSG00000000010"]
    same = ["r", "p_r", "n_individuals", "null_mean", "null_p", "n_distinct_haplotypes"]
    xr.testing.assert_identical(
        found[same].sel(gene=GENES).drop_attrs(), computed[same].drop_attrs()
    )
    last = found.isel(gene=-1)
    assert np.isnan(last.r)
    assert last.n_individuals == 0
    assert last.null_degenerate


def test_track_must_be_named_without_doubt(predicted, client, with_statistics):
    for track, message in [
        (None, r"the model has 3 tracks \(T0, T1, T2"),
        ("even", "2 tracks are called 'even': choose one of T0, T2"),
        ("T9", "no track 'T9'"),
    ]:
        workspace = with_statistics(predicted, track=track)
        with pytest.raises(RecipeError, match=message):
            gene_statistics(workspace, client, GENES, workspace.recipe.stage(Statistics))
    by_description = with_statistics(predicted, track="odd")
    parameters = by_description.recipe.stage(Statistics)
    found = gene_statistics(by_description, client, GENES[:1], parameters)
    assert found.attrs["track"] == "T1"


def test_a_null_that_cannot_be_computed_has_its_reason(predicted, client, computed, monkeypatch):
    whole = stage._gene_null

    def fail(job, gene, stream):
        if gene.gene == GENES[1]:
            raise GenotypeError("two records at chr1:7 contradict each other")
        return whole(job, gene, stream)

    monkeypatch.setattr(stage, "_gene_null", fail)
    found = gene_statistics(predicted, client, GENES, predicted.recipe.stage(Statistics))
    assert json.loads(found.attrs["without_null"]) == {
        GENES[1]: "two records at chr1:7 contradict each other"
    }
    one = found.sel(gene=GENES[1])
    assert np.isfinite(one.r)
    assert np.isnan(one.null_mean)
    assert one.null_degenerate
    assert (one.null_p == 1).all()
    others = [gene for gene in GENES if gene != GENES[1]]
    np.testing.assert_array_equal(found.null_p.sel(gene=others), computed.null_p.sel(gene=others))


@pytest.fixture
def simulated(family: StoreFamily, cohort, tmp_path, predicted) -> Callable[..., Workspace]:
    """The same pipeline with stores that say what was planted."""

    def with_truth(planted: dict[str, int]) -> Workspace:
        table = pd.DataFrame(planted.items(), columns=["gene_id", "planted_sign"])
        table.to_csv(tmp_path / "truth.tsv", sep="\t", index=False)
        stores = StoreFamily(family.recipe_file, family.folder.parent.parent, tmp_path)
        stores.recipe = dataclasses.replace(stores.recipe, truth=Source("truth.tsv"))
        return dataclasses.replace(predicted, stores=stores)

    return with_truth


def test_planted_signs(simulated, client, with_statistics):
    other = with_statistics(simulated({}), track="T0", alpha=0.8)
    unplanted = gene_statistics(other, client, GENES, other.recipe.stage(Statistics))
    p = np.nan_to_num(unplanted.p_r.values, nan=1.0)
    counted = multipletests(p, alpha=0.8, method="fdr_bh")[0]  # so high that a gene passes
    found = np.where(counted, np.sign(np.nan_to_num(unplanted.r.values)), 0).astype(int)
    assert 0 < counted.sum() < len(GENES)
    planted = dict(zip(GENES, found.tolist(), strict=True))
    planted[GENES[0]] = 1 if found[0] != 1 else -1  # one that is not found as planted
    planted.pop(QUIET)  # and one of which nothing is known: nothing was planted
    workspace = with_statistics(simulated(planted), track="T0", alpha=0.8)
    result = gene_statistics(workspace, client, GENES, workspace.recipe.stage(Statistics))
    assert result.found_sign.values.tolist() == found.tolist()
    assert result.planted_sign.values.tolist() == [planted.get(gene, 0) for gene in GENES]
    assert result.recovered.values.tolist() == [gene != GENES[0] for gene in GENES]
    assert summary(result)["planted_signs_recovered"] == "6 of 7"


def test_a_real_cohort_has_no_planted_signs(computed):
    assert "planted_sign" not in computed
    assert "planted_signs_recovered" not in summary(computed)


def test_summary(computed):
    found = summary(computed)
    signed = computed.significant.sel(statistic="signed").values
    assert found == {
        "genes": 7,
        "genes_with_r": 4,
        "null_statistic": "signed",
        "significant": signed.sum(),
        "significant_negative": (signed & (computed.r.values < 0)).sum(),
        "mean_r": pytest.approx(float(computed.r.mean()), abs=1e-4),
    }
    nothing = computed.sel(gene=[UNMEASURED])
    assert np.isnan(summary(nothing)["mean_r"])


def test_table_and_store_agree(fresh, client):
    run_statistics(fresh, client)
    store = open_dataset(fresh.statistics, GENE_STATISTICS).load()
    table = pd.read_csv(fresh.gene_table, sep="\t")
    assert list(table.columns) == list(GENE_COLUMNS)
    assert table.gene_id.tolist() == GENES
    chosen = store.sel(statistic="signed")
    for column in GENE_COLUMNS[1:]:
        expected = chosen[column].values
        if expected.dtype.kind == "f":
            np.testing.assert_array_equal(table[column].to_numpy(float), expected)
        else:
            assert table[column].tolist() == expected.tolist()


def times(workspace: Workspace) -> tuple[int, ...]:
    metadata = workspace.statistics / "zarr.json"
    return tuple(p.stat().st_mtime_ns for p in (metadata, workspace.gene_table))


def test_unchanged_inputs_are_not_computed_again(fresh, client, monkeypatch, computed):
    first = run_statistics(fresh, client)
    before = times(fresh)
    with monkeypatch.context() as patched:
        patched.setattr(stage, "gene_statistics", None)  # cannot be called
        again = run_statistics(fresh, client)
    assert times(fresh) == before
    xr.testing.assert_equal(again, first)
    xr.testing.assert_equal(first, computed)


@pytest.mark.parametrize(
    "changes",
    [
        {"alpha": 0.1},
        {"track": "T0"},
        {"haplotypes": "sum"},
        {"null_test": Null(draws=41, window=WIDE)},
        {"null_test": Null(draws=40, window=MODEL_WINDOW)},
        {"null_test": Null(draws=40, window=WIDE, seed=2)},
    ],
    ids=["alpha", "track", "haplotypes", "draws", "window", "seed"],
)
def test_changed_parameters_are_computed_again(fresh, client, with_statistics, changes):
    run_statistics(fresh, client)
    before = times(fresh)
    changed = with_statistics(fresh, **changes)
    found = run_statistics(changed, client)
    assert all(now > then for now, then in zip(times(fresh), before, strict=True))
    expected = gene_statistics(changed, client, GENES, changed.recipe.stage(Statistics))
    xr.testing.assert_equal(found, expected)


def test_a_table_that_was_removed_is_written_again(fresh, client):
    run_statistics(fresh, client)
    content = fresh.gene_table.read_text()
    os.remove(fresh.gene_table)
    run_statistics(fresh, client)
    assert fresh.gene_table.read_text() == content


@pytest.mark.parametrize("last", ["write_dataset", "write_gene_table"])
def test_a_kill_while_writing_leaves_nothing_stale(
    fresh, client, with_statistics, monkeypatch, last
):
    """The table and the store must never be of different parameters."""
    run_statistics(fresh, client)
    changed = with_statistics(fresh, track="T0")

    class Killed(BaseException):
        pass

    def kill(*args: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(stage, last, kill)
        with pytest.raises(Killed):
            run_statistics(changed, client)
    run_statistics(changed, client)
    store = open_dataset(fresh.statistics, GENE_STATISTICS).load()
    table = pd.read_csv(fresh.gene_table, sep="\t")
    assert store.attrs["track"] == "T0"
    np.testing.assert_array_equal(table.r.to_numpy(float), store.r)


def test_limit(fresh, client, computed):
    found = run_statistics(fresh, client, limit=2)
    assert found.gene.values.tolist() == GENES[:2]
    assert len(pd.read_csv(fresh.gene_table, sep="\t")) == 2
    q = multipletests(found.null_p.sel(statistic="signed"), method="fdr_bh")[1]
    np.testing.assert_allclose(found.null_q.sel(statistic="signed"), q)
    whole = run_statistics(fresh, client)
    xr.testing.assert_equal(whole, computed)


def test_only_genes_of_which_every_block_is_done(workspace_in, client, tmp_path):
    workspace = workspace_in(
        tmp_path / "partly", predict=Predict(Readout("sum_log"), block_size=8), fails=(GENES[2],)
    )
    assert len(run_predict(workspace, client, "GPU").failed) == 3
    done = [gene for gene in GENES if gene != GENES[2]]
    assert run_statistics(workspace, client).gene.values.tolist() == done
    # one block of another gene is lost
    os.remove(workspace.cube / "prediction" / "c.0.1.0.0")
    assert run_statistics(workspace, client).gene.values.tolist() == done[1:]


def test_no_gene_is_done(workspace_in, client, tmp_path):
    workspace = workspace_in(tmp_path / "none", fails=tuple(GENES))
    run_predict(workspace, client, "GPU")
    with pytest.raises(IncompleteCubeError, match=r"no gene of the cube .* is finished"):
        run_statistics(workspace, client)
    assert not workspace.statistics.exists()


def test_cube_of_another_pipeline_is_refused(fresh, client):
    stages = {**fresh.recipe.stages, "predict": Predict(Readout("raw_sum"))}
    other = dataclasses.replace(fresh, recipe=dataclasses.replace(fresh.recipe, stages=stages))
    with pytest.raises(RecipeError, match=r"predict\.readout\.kind"):
        run_statistics(other, client)


def test_ledger_is_not_needed_for_a_complete_cube(fresh, client):
    assert not ledger.ledger_of(fresh.cube).exists()
    assert run_statistics(fresh, client).sizes["gene"] == 7
    assert isinstance(fresh.statistics, Path)
