"""`zarrbench model train`: what is trained on, what is written, refusals, kills, and learning."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyfaidx
import pytest
import yaml

from zarrbench.errors import GeneTableError, ModelInputError, RecipeError, StorageError
from zarrbench.genome.gene_subset import GeneSubset
from zarrbench.locks import locked
from zarrbench.models.cnn import CnnRecipe
from zarrbench.models.training import Training, training_folder
from zarrbench.predictions.plan import described_recipe
from zarrbench.sources import Source
from zarrbench.stages.training import examples_of, run_training
from zarrbench.stages.workspace import Workspace
from zarrbench.stores import StoreFamily

ROOT = Path(__file__).parent.parent.parent

STORES = """\
name: small
simulate:
  seed: 4
  individuals: 12
  contigs: {chr1: 200_000, chr2: 200_000, chr3: 200_000}
  genes: 36
  flank: 256
  min_maf: 0.05
  baseline_motifs: 4
genotypes: {source: cohort.vcf.gz}
reference: {source: reference.fa}
genes: {source: genes.gtf}
expression: {source: expression.tsv, unit: log2}
"""
PIPELINE = """\
name: study
stores: small
model:
  kind: cnn
  name: cnn
  weights: study.keras
  input_length: 129
  kernels: 6
  pool: 20
  dense: 4
  training:
    held_out: {name: held out, regions: held_out.bed}
    max_epochs: 3
stages:
  - predict: {readout: identity}
"""


def write_study(folder: Path, **training: object) -> Path:
    for part in ("stores", "pipelines"):
        (folder / part).mkdir(exist_ok=True)
    (folder / "stores/small.yaml").write_text(STORES)
    (folder / "pipelines/held_out.bed").write_text("chr3\t0\t200000\n")
    study = yaml.safe_load(PIPELINE)
    study["model"]["training"] |= training
    path = folder / "pipelines/study.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Workspace]:
    """Write a simulated study, and open it."""
    return lambda **training: Workspace.open(write_study(tmp_path, **training), tmp_path / "data")


def tsv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t")


def test_training_writes_weights_that_the_pipeline_finds(study: Callable[..., Workspace]) -> None:
    workspace = study()
    found = run_training(workspace)
    weights = workspace.folder.parent / "downloads" / "study.keras"
    assert found["weights"] == str(weights)
    assert found["genes"] == {"training": 12, "validation": 12, "held_out": 12}
    assert found["validation"] in ("all genes of chr1", "all genes of chr2")
    assert (found["epochs"], found["left_out"]) == (3, {})
    folder = training_folder(weights)
    history = tsv(folder / "history.tsv")
    assert history.epoch.tolist() == [1, 2, 3]
    assert found["best_epoch"] == history.epoch[history.validation_loss.idxmin()]
    assert (folder / "curve.svg").read_text().count("<svg") == 1
    record = json.loads((folder / "trained.json").read_text())
    assert record["versions"]["keras"]
    assert record["parameters"]["seed"] == 1
    # The pipeline takes them, and they give the same r.
    assert workspace.model.files == (("study.keras", weights),)
    model = workspace.model.recipe.load(dict(workspace.model.files))
    examples, _ = examples_of(workspace, workspace.recipe.model)
    predicted = model.predict(examples.codes, "G")[:, 0, 0]
    rows = examples.contigs == "chr3"
    expected = np.corrcoef(predicted[rows], examples.targets[rows])[0, 1]
    assert found["pearson_r"]["held_out"] == pytest.approx(expected, abs=1e-4)


def test_what_is_trained_is_kept(study: Callable[..., Workspace]) -> None:
    found = run_training(study())
    weights = Path(found["weights"])
    content, record = weights.read_bytes(), training_folder(weights) / "trained.json"
    assert run_training(study(micro_batch=1)) == found
    assert weights.read_bytes() == content
    created = json.loads(record.read_text())["created"]
    longer = run_training(study(max_epochs=4))
    assert (longer["epochs"], longer["genes"]) == (4, found["genes"])
    assert weights.read_bytes() != content
    assert tsv(training_folder(weights) / "history.tsv").seconds[:3].sum() == pytest.approx(
        found["seconds"], abs=0.06
    )
    assert json.loads(record.read_text())["created"] >= created
    weights.unlink()
    assert run_training(study(max_epochs=4))["pearson_r"] == longer["pearson_r"]
    assert weights.exists()


def test_a_run_before_training_says_what_to_run(study: Callable[..., Workspace]) -> None:
    workspace = study()
    told = rf"the network 'cnn' is not trained yet; run 'zarrbench model train {workspace.file}'"
    with pytest.raises(ModelInputError, match=told):
        _ = workspace.model
    run_training(workspace)
    assert Workspace.open(workspace.file, workspace.folder.parent).model.files
    with pytest.raises(ModelInputError, match=r"trained with other parameters \(seed: 1 -> 2\)"):
        _ = study(seed=2).model


def test_how_it_was_trained_is_not_in_the_recipe_of_a_cube(family: StoreFamily) -> None:
    model, predict = cnn(), None
    described = described_recipe(family, model, predict)["model"]
    assert "training" not in described
    assert described["kernels"] == 3


def cnn(held_out: GeneSubset | None = None, **fields: object) -> CnnRecipe:
    held_out = held_out or GeneSubset("test", genes=Source("held_out.tsv"))
    return CnnRecipe(**{
        "name": "cnn", "weights": Source("cnn.keras"), "training": Training(held_out),
        "input_length": 65, "kernels": 3, "kernel_width": 4, "pool": 10, "dense": 4, **fields,
    })  # fmt: skip


@pytest.fixture
def on_toy_stores(workspace_in: Callable, tmp_path: Path) -> Callable[..., Workspace]:
    """A pipeline on the hand-made cohort, with ALPHA and BETA held out."""
    (tmp_path / "held_out.tsv").write_text("ENSG00000000003.9\nENSG00000000004\n")

    def workspace(recipe: CnnRecipe) -> Workspace:
        base = workspace_in(tmp_path / "results")
        recipe_ = dataclasses.replace(base.recipe, model=recipe)
        return dataclasses.replace(base, recipe=recipe_, sources=tmp_path)

    return workspace


def test_examples_are_those_of_the_files(on_toy_stores: Callable, cohort) -> None:
    workspace = on_toy_stores(cnn())
    examples, left_out = examples_of(workspace, workspace.recipe.model)
    assert left_out == {
        "ENSG00000000006": "it has no expression",
        "ENSG00000000008": "its window leaves the contig",
        "ENSG00000000011": "not in the gene annotation",
    }
    expected = cohort.expression.set_axis([name.split(".")[0] for name in cohort.expression.index])
    shared = [person for person in cohort.people if person in expected.columns]
    assert examples.genes.tolist() == [f"ENSG0000000000{i}" for i in (1, 2, 3, 4, 5, 7, 9)]
    with pyfaidx.Fasta(str(cohort.recipe.parent / "reference.fa"), as_raw=True) as fasta:
        for row, name in enumerate(examples.genes):
            gene = cohort.genes.loc[name]
            sequence = str(fasta[gene.contig][gene.tss - 33 : gene.tss + 32]).upper()
            assert "".join("ACGTN"[code] for code in examples.codes[row]) == sequence
            assert examples.targets[row] == pytest.approx(
                np.nanmean(expected.loc[name, shared].astype(float)), rel=1e-6
            )
            assert examples.contigs[row] == gene.contig
            assert examples.tss[row] == gene.tss - 1
    assert examples.genes[examples.held_out].tolist() == ["ENSG00000000003", "ENSG00000000004"]
    with pytest.raises(GeneTableError, match=r"^5 genes can be trained on \(and 2 are held out\), "
                       r"expected 10 or more; "):  # fmt: skip
        run_training(workspace)


def test_windows_are_padded_where_the_stores_say_so(on_toy_stores: Callable) -> None:
    workspace = on_toy_stores(cnn())
    policies = dataclasses.replace(workspace.stores.recipe.policies, beyond_contig="pad")
    stores = StoreFamily(workspace.stores.recipe_file, workspace.stores.folder.parent.parent)
    stores.recipe = dataclasses.replace(stores.recipe, policies=policies)
    padded, left_out = examples_of(dataclasses.replace(workspace, stores=stores), cnn())
    assert set(left_out.values()) == {"it has no expression", "not in the gene annotation"}
    [row] = np.flatnonzero(padded.genes == "ENSG00000000008")  # its TSS is base 10
    assert (padded.codes[row] == 4).tolist() == [True] * 23 + [False] * 42


def test_no_gene_to_train_on(on_toy_stores: Callable) -> None:
    workspace = on_toy_stores(cnn(input_length=7001))
    with pytest.raises(GeneTableError, match=r"no gene of 'toy' can be trained on \(.*its window "
                       r"leaves the contig.*\); check that"):  # fmt: skip
        examples_of(workspace, workspace.recipe.model)


def test_a_model_that_is_not_trained_here(workspace_in: Callable, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^toy.yaml: the network of a model of this kind is "
                       r"given, not trained; only 'kind: cnn' is$"):  # fmt: skip
        run_training(workspace_in(tmp_path))


def test_weights_that_others_would_win_over(on_toy_stores: Callable, tmp_path: Path) -> None:
    (tmp_path / "cnn.keras").touch()
    with pytest.raises(RecipeError, match=rf"take the weights {tmp_path}/cnn.keras rather than "
                       r".*downloads/cnn.keras, which training writes; move them"):  # fmt: skip
        run_training(on_toy_stores(cnn()))
    given = Source("cnn.keras", sha256="0" * 64)
    with pytest.raises(RecipeError, match="says by url, sha256 or size what they are; to train"):
        run_training(on_toy_stores(cnn(weights=given)))


def test_two_cannot_train_the_same_weights(study: Callable[..., Workspace]) -> None:
    workspace = study()
    folder = training_folder(workspace.folder.parent / "downloads" / "study.keras")
    with locked(folder), pytest.raises(StorageError, match="another zarrbench is writing to"):
        run_training(workspace)


def zarrbench_train(pipeline: Path | str, data: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "zarrbench", "model", "train", str(pipeline), "--data", str(data),
            "--json", *flags]  # fmt: skip


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_numbers(tmp_path: Path) -> None:
    pipeline = write_study(tmp_path, max_epochs=30, patience=30)
    undisturbed = subprocess.run(
        zarrbench_train(pipeline, tmp_path / "whole"), capture_output=True, text=True, check=False
    )
    assert undisturbed.returncode == 0, undisturbed.stderr
    command, kills = zarrbench_train(pipeline, tmp_path / "parts"), 0
    history = tmp_path / "parts/downloads/study.keras.training/history.tsv"
    for epochs in (2, 12, None):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        while epochs and process.poll() is None:
            if history.exists() and len(tsv(history)) >= epochs:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.01)
        output, _ = process.communicate(timeout=300)
    assert kills == 2
    found, expected = json.loads(output), json.loads(undisturbed.stdout)
    for name in ("genes", "epochs", "best_epoch", "pearson_r"):
        assert found[name] == expected[name]
    columns = ["epoch", "training_loss", "validation_loss"]
    whole = tsv(tmp_path / "whole/downloads/study.keras.training/history.tsv")
    pd.testing.assert_frame_equal(tsv(history)[columns], whole[columns], check_exact=True)


@pytest.mark.slow
@pytest.mark.cluster
def test_a_network_learns_what_drives_simulated_genes(tmp_path: Path) -> None:
    """Genes of a contig that it never saw; then people, of whom it never saw one."""
    before = subprocess.run(
        [sys.executable, "-m", "zarrbench", "run", "synthetic_cnn", "--data", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert before.returncode == 2
    assert re.fullmatch(
        r"zarrbench: the network 'cnn' is not trained yet; run 'zarrbench model train \S*' first",
        before.stderr.strip().splitlines()[-1],
    )
    trained = subprocess.run(
        zarrbench_train("synthetic_cnn", tmp_path), capture_output=True, text=True, check=False
    )
    assert trained.returncode == 0, trained.stderr
    learnt = json.loads(trained.stdout)
    assert learnt["genes"]["held_out"] == 60
    assert learnt["held_out_sharing_bases_with_training"] == 0
    assert learnt["pearson_r"]["held_out"] > 0.5
    done = subprocess.run(
        [sys.executable, "-m", "zarrbench", "run", "synthetic_cnn", "--data", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = tmp_path / "synthetic_cnn"
    across = tsv(results / "population.tsv").set_index("subset")
    assert across.pearson_r["held out"] == pytest.approx(learnt["pearson_r"]["held_out"], abs=1e-3)
    # What genes teach holds for people where expression follows the motif, and misleads where not.
    genes = tsv(results / "genes.tsv").set_index("gene_id")
    truth = tsv(tmp_path / "stores/synthetic_motifs/sources/truth.tsv").set_index("gene_id")
    r = genes.r.groupby(truth.planted_sign).mean()
    assert r[1] > 0.2
    assert r[-1] < -0.2
    assert abs(r[0]) < 0.1


@pytest.mark.slow
@pytest.mark.realdata
def test_full_size_on_real_genes(realdata: Path, tmp_path: Path) -> None:
    command = zarrbench_train("geuvadis_chr22_cnn", tmp_path, "--sources", str(realdata))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, errors = process.communicate(timeout=590)
    assert process.returncode == 0, errors
    found = json.loads(output)
    bed = tsv(realdata / "expression/geuvadis_eur358.chr22_genes.rpkm.hg19.bed.gz")
    stores = StoreFamily(ROOT / "stores/geuvadis_chr22.yaml", tmp_path)
    tss = pd.Series(stores.genes.tss.values, stores.genes.gene.values)
    tss = tss[tss.index.intersection(bed.gene.str.replace(r"\.\d+$", "", regex=True))]
    inside = tss.index[tss + 20_000 <= 22_000_000]
    listed = pd.read_csv(realdata / "benchmark/gene_list.csv", header=None)[0]
    held_out = inside.isin(listed)
    assert found["genes"]["held_out"] == held_out.sum()
    assert found["genes"]["training"] + found["genes"]["validation"] == (~held_out).sum()
    assert found["epochs"] == 1
    weights = Path(found["weights"])
    model = CnnRecipe("cnn", Source(weights.name), Training(GeneSubset("x", Source("x")))).load(
        {weights.name: weights}
    )
    assert model.predict(np.full((1, 40_001), 4, np.uint8), "G").shape == (1, 1, 1)
