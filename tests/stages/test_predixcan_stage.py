"""PrediXcan beside the network, against plain loops over the files of the hand-made cohort."""

import dataclasses
import gzip
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pysam
import pytest
import xarray as xr
from scipy import stats
from statsmodels.stats.multitest import multipletests

from zarrbench.errors import GeneTableError, GenotypeError, RecipeError, SampleError, SourceError
from zarrbench.layouts import PREDIXCAN
from zarrbench.parameters import PrediXcan, TrainingPeople
from zarrbench.predictdb import PredictDB, read_predictdb, write_predictdb
from zarrbench.predictions.cube import open_cube
from zarrbench.sources import Source
from zarrbench.stages import gene_models
from zarrbench.stages import predixcan as stage
from zarrbench.stages.predict import run_predict
from zarrbench.stages.predixcan import compare_genes, run_predixcan, summary
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import open_dataset
from zarrbench.stores import StoreFamily

GENES = [f"ENSG{i:011d}" for i in range(1, 8)]
GAPS, QUIET, UNMEASURED, CONSTANT = GENES[2], GENES[4], GENES[5], GENES[6]
COMPLEMENT = dict(zip("ACGT", "TGCA", strict=True))
NEAR = 300


def is_snv(cohort) -> pd.Series:
    return (cohort.variants.ref.str.len() == 1) & (cohort.variants.alt.str.len() == 1)


def near(cohort, gene: str) -> pd.DataFrame:
    """Biallelic SNVs within NEAR of a gene's TSS; their index is the row of the calls."""
    record = cohort.genes.loc[gene]
    here = cohort.variants.position.between(record.tss - NEAR, record.tss + NEAR)
    return cohort.variants[(cohort.variants.contig == record.contig) & here & is_snv(cohort)]


@pytest.fixture(scope="module")
def planted(new_cohort, tmp_path_factory):
    """The cohort with ids in the VCF, and expression that is the dosage of one SNV of each gene."""
    cohort = new_cohort(tmp_path_factory.mktemp("planted"))
    vcf = cohort.recipe.parent / "cohort.vcf.gz"
    with gzip.open(vcf, "rt") as handle:
        lines = [line.split("\t") for line in handle.read().splitlines()]
    for cells in lines:
        if not cells[0].startswith("#"):
            cells[2] = f"rs{cells[0][3:]}{cells[1]}" if int(cells[1]) % 5 else "."
    plain = vcf.with_suffix("")
    plain.write_text("\n".join("\t".join(cells) for cells in lines) + "\n")
    pysam.tabix_index(str(plain), preset="vcf", force=True)
    expression = cohort.expression.copy()
    for gene in GENES[:4]:
        called = [v for v in near(cohort, gene).index if (cohort.calls[v] >= 0).all()]
        causal = max(called, key=lambda v: cohort.calls[v].sum(axis=1).var())
        dosage = pd.Series(cohort.calls[causal].sum(axis=1), cohort.people)
        measured = [person for person in expression.columns if person in cohort.people]
        expression.loc[cohort.genes.loc[gene].gene_id, measured] = 5 - 0.5 * dosage[measured]
    expression.to_csv(cohort.recipe.parent / "expression.tsv", sep="\t", na_rep="NA")
    family = StoreFamily(cohort.recipe, cohort.folder / "data")
    family.build()
    return cohort, family, expression


@pytest.fixture(scope="module")
def models(cohort) -> PredictDB:
    """Weights of the first, third and sixth gene and of one that the cube lacks."""
    rng = np.random.default_rng(3)
    rows = []
    for gene in (GENES[0], GAPS, UNMEASURED):
        for number, variant in enumerate(near(cohort, gene).itertuples()):
            other, effect = variant.ref, variant.alt
            if number % 3 == 1:
                other, effect = effect, other
            if number % 6 == 2:
                other, effect = COMPLEMENT[other], COMPLEMENT[effect]
            if number % 6 == 3:
                other, effect = "AC", "A"
            key = f"{variant.contig}_{variant.position}_{other}_{effect}_b38"
            rows.append((gene, f"rs{number}", key, other, effect, rng.normal()))
    rows.append(("ENSG00000000099", "rs1", "chr1_5_A_C_b38", "A", "C", 1.0))
    columns = ["gene", "rsid", "varid", "ref_allele", "eff_allele", "weight"]
    weights = pd.DataFrame(rows, columns=columns)
    genes = pd.DataFrame({"gene": weights.gene.unique(), "genename": "", "n_snps": 1.0})
    return PredictDB(weights, genes.assign(r2=0.1, p=0.01, q=0.01))


@pytest.fixture(scope="module")
def training(cohort, tmp_path_factory) -> Path:
    """Nine of the people with expression, and some without, one a line."""
    measured = [p for p in cohort.people if p in cohort.expression.columns]
    path = tmp_path_factory.mktemp("people") / "train.txt"
    path.write_text("\n".join([*measured[::2][:9], "STRANGER"]) + "\n")
    return path


def with_stage(workspace: Workspace, parameters: PrediXcan) -> Workspace:
    stages = {**workspace.recipe.stages, "predixcan": parameters}
    recipe = dataclasses.replace(workspace.recipe, stages=stages)
    return dataclasses.replace(workspace, recipe=recipe)


@pytest.fixture(scope="module")
def predicted(workspace_in, client, tmp_path_factory) -> Workspace:
    workspace = workspace_in(tmp_path_factory.mktemp("predixcan") / "toy")
    assert not run_predict(workspace, client, "GPU").failed
    return workspace


@pytest.fixture(scope="module")
def database(models, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "models.db"
    write_predictdb(models, path)
    return path


@pytest.fixture
def applying(predicted, database, training, tmp_path) -> Workspace:
    """The pipeline that applies the weights, in a folder of its own."""
    folder = tmp_path / "toy"
    folder.mkdir()
    shutil.copytree(predicted.cube, folder / "predictions.zarr")
    parameters = PrediXcan(
        Source(str(database)), TrainingPeople(Source(str(training))), min_coverage=0.3
    )
    return with_stage(dataclasses.replace(predicted, folder=folder), parameters)


@pytest.fixture(scope="module")
def taught(planted, workspace_in, client, training, tmp_path_factory) -> Workspace:
    """A pipeline on the planted cohort that trains weights."""
    _, family, _ = planted
    workspace = workspace_in(tmp_path_factory.mktemp("trained") / "toy", stores=family)
    assert not run_predict(workspace, client, "GPU").failed
    parameters = PrediXcan(
        train=TrainingPeople(Source(str(training))), window=NEAR, folds=3, min_cv_r=0.3
    )
    return with_stage(workspace, parameters)


def by_loops(cohort, models: PredictDB, gene: str, people: list[str]):
    """Predictions of a gene and counts of found, swapped, other strand, absent."""
    sums, counts = dict.fromkeys(people, 0.0), [0, 0, 0, 0]
    rows = models.weights[models.weights.gene == gene]
    columns = [cohort.people.index(person) for person in people]
    for variant in rows.itertuples():
        position = int(variant.varid.split("_")[1])
        [row] = cohort.variants.index[
            (cohort.variants.contig == variant.varid.split("_")[0])
            & (cohort.variants.position == position)
        ]
        ref, alt = cohort.variants.loc[row, ["ref", "alt"]]
        pair = {variant.ref_allele, variant.eff_allele}
        if pair != {ref, alt}:
            flipped = {COMPLEMENT.get(a) for a in pair} == {ref, alt}
            counts[2 if flipped else 3] += 1
            continue
        effect = 1 if variant.eff_allele == alt else 0
        calls = cohort.calls[row][columns]
        whole = (calls >= 0).all(axis=1)
        copies = (calls == effect).sum(axis=1).astype(float)
        copies[~whole] = copies[whole].mean()
        counts[0] += 1
        counts[1] += effect == 0
        for person, dosage in zip(people, copies, strict=True):
            sums[person] += variant.weight * dosage
    return np.array([sums[person] for person in people]), counts


def evaluated(cohort, training: Path) -> list[str]:
    named = training.read_text().split()
    measured = [p for p in cohort.people if p in cohort.expression.columns]
    return [person for person in measured if person not in named]


def correlation(x, y):
    kept = np.isfinite(x) & np.isfinite(y)
    x, y = x[kept], y[kept]
    if len(x) < 3 or np.ptp(x) < 1e-9 or np.ptp(y) < 1e-9:
        return np.nan, np.nan
    return stats.pearsonr(x, y)


def test_weights_of_others_against_plain_loops(applying, client, cohort, models, training):
    found = run_predixcan(applying, client)
    people = evaluated(cohort, training)
    cube = open_cube(applying.cube, lazy=False).sel(track="T1", individual=people)
    assert found.gene.values.tolist() == GENES
    assert found.attrs["n_evaluated"] == len(people) == 10
    defined = 0
    for gene in GENES:
        one, record = found.sel(gene=gene), cohort.genes.loc[gene]
        y = np.full(len(people), np.nan)
        if record.gene_id in cohort.expression.index:
            y = cohort.expression.loc[record.gene_id, people].to_numpy(float)
        x = cube.prediction.sel(gene=gene).values.astype(float).mean(axis=1)
        r, p = correlation(x, y)
        np.testing.assert_allclose([one.r_network, one.p_network], [r, p], rtol=1e-6)
        assert one.n_individuals == np.isfinite(y).sum()
        expected, counts = by_loops(cohort, models, gene, people)
        names = ["n_found", "n_swapped", "n_other_strand", "n_absent"]
        assert [int(one[name]) for name in names] == counts
        n_model = (models.weights.gene == gene).sum()
        assert one.n_model == n_model == counts[0] + counts[2] + counts[3]
        r, p = correlation(expected, y) if n_model else (np.nan, np.nan)
        np.testing.assert_allclose([one.r_predixcan, one.p_predixcan], [r, p], rtol=1e-6)
        defined += np.isfinite(r)
    assert defined == 2
    counts = found[["n_found", "n_swapped", "n_other_strand", "n_absent"]].sum()
    assert all(int(counts[name]) > 0 for name in counts)
    for name in ("predixcan", "network"):
        p = np.nan_to_num(found[f"p_{name}"].values, nan=1.0)
        np.testing.assert_allclose(found[f"q_{name}"], multipletests(p, method="fdr_bh")[1])


def test_the_table_and_the_store_are_the_same(applying, client, cohort):
    found = run_predixcan(applying, client)
    stored = open_dataset(applying.predixcan, PREDIXCAN).load()
    table = pd.read_csv(applying.predixcan_table, sep="\t").set_index("gene_id")
    assert table.index.tolist() == found.gene.values.tolist()
    for name in PREDIXCAN.variables:
        if name != "gene":
            xr.testing.assert_equal(stored[name], found[name])
            values = table[name].to_numpy()
            if values.dtype.kind == "f":
                np.testing.assert_allclose(values, stored[name], err_msg=name)
            else:
                assert values.tolist() == stored[name].values.tolist()
    assert table.tss.to_dict() == cohort.genes.tss[GENES].to_dict()
    assert not applying.predixcan_weights.exists()


def test_nobody_is_named_in_the_results(taught, client, cohort):
    run_predixcan(taught, client)
    for path in (taught.predixcan, taught.predixcan_table, taught.predixcan_weights):
        files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
        for file in files:
            content = file.read_bytes()
            assert not any(person.encode() in content for person in cohort.people), file


def test_the_summary(applying, client):
    found = run_predixcan(applying, client)
    said = summary(applying)
    x, y = found.r_predixcan.values, found.r_network.values
    both = np.isfinite(x) & np.isfinite(y)
    assert said["genes"] == len(GENES)
    assert said["genes_with_model"] == 3
    assert said["genes_with_both_r"] == both.sum()
    assert said["predixcan_r_above_0.2"] == (x[both] > 0.2).sum()
    assert said["network_abs_r_above_0.2"] == (abs(y[both]) > 0.2).sum()
    assert said["mean_r_predixcan"] == pytest.approx(x[both].mean(), abs=1e-4)
    assert said["people_trained_on"] + said["people_evaluated"] == 19
    assert json.loads(json.dumps(said)) is not None


def test_trained_weights_predict_what_was_planted(taught, client, planted, training):
    """Expression is a dosage: people whom the training never saw are predicted all but exactly."""
    cohort, _, expression = planted
    found = run_predixcan(taught, client)
    good = found.sel(gene=[GENES[0], GENES[1], GENES[3]])
    assert (good.r_predixcan > 0.9).all()
    assert (good.cv_r > 0.3).all()
    assert (good.n_trained_on == 9).all()
    weights = read_predictdb(taught.predixcan_weights)
    people = evaluated(cohort, training)
    for gene in weights.genes.gene:
        predicted, counts = by_loops(cohort, weights, gene, people)
        assert counts[0] == (weights.weights.gene == gene).sum() == found.n_model.sel(gene=gene)
        y = expression.loc[cohort.genes.loc[gene].gene_id, people].to_numpy(float)
        assert found.r_predixcan.sel(gene=gene) == pytest.approx(correlation(predicted, y)[0])
        r2 = weights.genes.set_index("gene").r2[gene]
        assert r2 == pytest.approx(float(found.cv_r.sel(gene=gene)) ** 2)
    assert set(weights.genes.gene) == set(found.gene.values[found.n_model.values > 0])
    without = found.sel(gene=[UNMEASURED, CONSTANT])
    assert np.isnan(without.r_predixcan).all()
    assert (without.n_model == 0).all()
    assert np.isnan(without.cv_r).all()
    # the ids of the VCF, or the key where it has none
    keyed = weights.weights.rsid == weights.weights.varid
    multiples = weights.weights.varid.str.split("_").str[1].astype(int) % 5 == 0
    assert keyed.tolist() == multiples.tolist()


def test_trained_weights_are_applied_as_they_were_trained(taught, client, training, tmp_path):
    """Written and read back, by key or by rsid, they give the same r."""
    trained = run_predixcan(taught, client)
    people = TrainingPeople(Source(str(training)))
    given = PrediXcan(Source(str(taught.predixcan_weights)), people)
    applied, none = compare_genes(with_stage(taught, given), client, GENES)
    assert none is None
    same = ["r_predixcan", "p_predixcan", "r_network", "n_individuals", "n_model", "n_found"]
    xr.testing.assert_allclose(applied[same], trained[same])
    weights = read_predictdb(taught.predixcan_weights)
    named = weights.weights[weights.weights.rsid != weights.weights.varid].assign(varid="")
    assert 0 < len(named) < len(weights.weights)
    write_predictdb(PredictDB(named, weights.genes), tmp_path / "rsids.db")
    by_rsid = PrediXcan(Source(str(tmp_path / "rsids.db")), people, window=NEAR)
    found, _ = compare_genes(with_stage(taught, by_rsid), client, GENES)
    assert int(found.n_found.sum()) == len(named)
    whole = found.gene.values[(found.n_model == applied.n_model) & (found.n_model > 0)]
    np.testing.assert_allclose(
        found.r_predixcan.sel(gene=whole), applied.r_predixcan.sel(gene=whole)
    )


def test_expression_of_people_evaluated_trains_nothing(taught, client, planted, monkeypatch):
    cohort, _, _ = planted
    trained, weights = compare_genes(taught, client, GENES)
    whole = stage.observed

    def shuffled(expression, join):
        values = whole(expression, join).load().copy()
        rest = evaluated(cohort, Path(taught.recipe.stages["predixcan"].train.samples.file))
        rows = [list(values.individual.values).index(person) for person in rest]
        values.values[:, rows] = values.values[:, rows[::-1]]
        return values

    monkeypatch.setattr(stage, "observed", shuffled)
    again, same = compare_genes(taught, client, GENES)
    pd.testing.assert_frame_equal(same.weights, weights.weights)
    xr.testing.assert_equal(again.cv_r, trained.cv_r)
    assert not np.allclose(again.r_predixcan, trained.r_predixcan, equal_nan=True)


def test_workers_tasks_and_other_genes_change_nothing(
    applying, taught, clients, client, monkeypatch
):
    for workspace in (applying, taught):
        found, weights = compare_genes(workspace, client, GENES)
        monkeypatch.setattr(stage, "_GENES_A_TASK", 2)
        alone, again = compare_genes(workspace, clients[0], GENES)
        xr.testing.assert_identical(alone, found)
        some, _ = compare_genes(workspace, client, [GENES[3], GENES[0]])
        unadjusted = ["r_predixcan", "r_network", "n_found", "cv_r"]
        xr.testing.assert_equal(some[unadjusted], found[unadjusted].sel(gene=[GENES[3], GENES[0]]))
        if weights is not None:
            pd.testing.assert_frame_equal(weights.weights, again.weights)


def test_what_stands_is_kept_until_an_input_changes(applying, client, monkeypatch):
    found = run_predixcan(applying, client)

    def refuse(*_):
        raise AssertionError("computed again")

    with monkeypatch.context() as patch:
        patch.setattr(stage, "compare_genes", refuse)
        xr.testing.assert_equal(run_predixcan(applying, client), found)
        for changes in ({"window": 7}, {"seed": 9}, {"min_coverage": 0.01}):
            given = dataclasses.replace(applying.recipe.stage(PrediXcan), **changes)
            with pytest.raises(AssertionError, match="computed again"):
                run_predixcan(with_stage(applying, given), client)
        with pytest.raises(AssertionError, match="computed again"):
            run_predixcan(applying, client, limit=2)
        applying.predixcan_table.unlink()
        with pytest.raises(AssertionError, match="computed again"):
            run_predixcan(applying, client)
    run_predixcan(applying, client)
    assert applying.predixcan_table.exists()


def test_a_changed_file_of_weights_is_noticed(applying, client, models, tmp_path):
    path = tmp_path / "other.db"
    write_predictdb(models, path)
    given = dataclasses.replace(applying.recipe.stage(PrediXcan), weights=Source(str(path)))
    workspace = with_stage(applying, given)
    first = run_predixcan(workspace, client)
    turned = models.weights.assign(weight=-models.weights.weight)
    write_predictdb(PredictDB(turned, models.genes), path)
    second = run_predixcan(workspace, client)
    np.testing.assert_allclose(second.r_predixcan, -first.r_predixcan)


def test_a_kill_between_files_leaves_the_comparison_to_be_made_again(applying, client, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage, "write_dataset", die)
        with pytest.raises(KeyboardInterrupt):
            run_predixcan(applying, client)
    assert applying.predixcan_table.exists()
    assert not applying.predixcan.exists()
    found = run_predixcan(applying, client)
    assert open_dataset(applying.predixcan, PREDIXCAN).attrs["inputs"] == found.attrs["inputs"]


def test_a_gene_that_cannot_be_read_has_its_reason(applying, client, monkeypatch):
    whole = gene_models._applied

    def fail(job, gene, *rest):
        if gene.gene == GENES[0]:
            raise GenotypeError("haploid calls")
        return whole(job, gene, *rest)

    monkeypatch.setattr(gene_models, "_applied", fail)
    found, _ = compare_genes(applying, client, GENES)
    assert json.loads(found.attrs["without_model"]) == {GENES[0]: "haploid calls"}
    assert np.isnan(found.r_predixcan.sel(gene=GENES[0]))
    assert np.isfinite(found.r_network.sel(gene=GENES[0]))
    assert np.isfinite(found.r_predixcan.sel(gene=GAPS))


def test_weights_of_another_genome_build_are_refused(applying, client, models, tmp_path):
    elsewhere = models.weights.varid.str.replace(
        r"_(\d+)_", lambda found: f"_{int(found[1]) + 1}_", regex=True
    )
    write_predictdb(
        PredictDB(models.weights.assign(varid=elsewhere), models.genes), tmp_path / "other.db"
    )
    given = dataclasses.replace(
        applying.recipe.stage(PrediXcan), weights=Source(str(tmp_path / "other.db"))
    )
    with pytest.raises(SourceError) as error:
        compare_genes(with_stage(applying, given), client, GENES)
    said = str(error.value)
    first = elsewhere[models.weights.gene == GENES[0]]
    assert ", ".join(first[:3]) in said
    assert "chr{chrom}_{pos}_{ref}_{alt}_b38" in said
    assert "the genotypes have chr1_" in said
    assert "min_coverage" in said
    allowed = dataclasses.replace(given, min_coverage=0.0)
    found, _ = compare_genes(with_stage(applying, allowed), client, GENES)
    assert found.n_absent.sum() > 0


@pytest.mark.parametrize(
    ("text", "column", "error", "said"),
    [
        ("Q1\nQ2\nQ3\nQ4\n", None, SampleError, "none of the 4 people .* names Q1, Q2, Q3, the"),
        ("P00\ttrain\tx\n", None, SourceError, "rows of 3 cells"),
        ("P00\ttrain\nP01\n", None, SourceError, "rows of 1, 2 cells"),
        ("sample\tenet_split\nP00\ttrain\n", "enet", SourceError, "mean 'enet_split'"),
        ("", None, SourceError, "rows of no cells"),
        ("".join(f"P{i:02d}\n" for i in range(23)), None, SampleError, "0 of 19 people are left"),
    ],
)
def test_people_to_train_on_that_are_refused(applying, client, tmp_path, text, column, error, said):
    (tmp_path / "people.tsv").write_text(text)
    given = dataclasses.replace(
        applying.recipe.stage(PrediXcan),
        train=TrainingPeople(Source(str(tmp_path / "people.tsv")), column),
    )
    with pytest.raises(error, match=said):
        compare_genes(with_stage(applying, given), client, GENES)


def test_the_same_people_in_three_forms(applying, client, training, tmp_path, cohort):
    expected, _ = compare_genes(applying, client, GENES)
    named = training.read_text().split()
    beside = [(p, "train" if p in named else "test") for p in cohort.people]
    two = "".join(f"{person}\t{part}\n" for person, part in beside)
    many = "sample\tsex\tpart\n" + "".join(f"{p}\tNA\t{part}\n" for p, part in beside)
    for text, column in ((two, None), (many, "part")):
        path = tmp_path / "people.tsv"
        path.write_text(text)
        given = dataclasses.replace(
            applying.recipe.stage(PrediXcan), train=TrainingPeople(Source(str(path)), column)
        )
        found, _ = compare_genes(with_stage(applying, given), client, GENES)
        xr.testing.assert_equal(found, expected)


def test_weights_without_a_gene_of_the_cube_are_refused(applying, client, models, tmp_path):
    other = models.weights[models.weights.gene == "ENSG00000000099"].reset_index(drop=True)
    write_predictdb(PredictDB(other, models.genes.tail(1)), tmp_path / "other.db")
    given = dataclasses.replace(
        applying.recipe.stage(PrediXcan), weights=Source(str(tmp_path / "other.db"))
    )
    with pytest.raises(GeneTableError, match="has ENSG00000000099, the cube has ENSG00000000001"):
        compare_genes(with_stage(applying, given), client, GENES)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "give weights, or with train"),
        ({"window": 0}, "window must be a positive"),
        ({"folds": 1}, "folds must be at least 2"),
        ({"min_coverage": 1.5}, "min_coverage must lie"),
        ({"seed": -1}, "seed must not be negative"),
    ],
)
def test_parameters_that_are_refused(given, said):
    people = {} if not given else {"train": TrainingPeople(Source("x"))}
    with pytest.raises(ValueError, match=said):
        PrediXcan(**people, **given)


def test_the_stage_asks_for_statistics(applying, client):
    stages = {k: v for k, v in applying.recipe.stages.items() if k != "statistics"}
    recipe = dataclasses.replace(applying.recipe, stages=stages)
    with pytest.raises(RecipeError, match="has no stage 'statistics'"):
        run_predixcan(dataclasses.replace(applying, recipe=recipe), client)


def test_weights_trained_before_do_not_stay_beside_given_ones(applying, client):
    applying.predixcan_weights.write_bytes(b"of an earlier run")
    run_predixcan(applying, client)
    assert not os.path.exists(applying.predixcan_weights)
