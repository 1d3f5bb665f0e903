"""Enformer through the whole chain: a stand-in of random weights, real genomes, real commands."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import zarrbench
from zarrbench.haplotypes.sequences import personal_window
from zarrbench.models.released import RELEASED
from zarrbench.personal import gene_window
from zarrbench.predictions.readouts import NAMED, read_out
from zarrbench.recipes import find
from zarrbench.stores import StoreFamily

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

ROOT = Path(__file__).parent.parent
BINS = range(446, 451)


def zarrbench_says(*arguments: object, **environment: str) -> str:
    """Run a command; return what it prints."""
    command = [sys.executable, "-m", "zarrbench", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SavedModel that users make for the smoke pipeline."""
    folder = tmp_path_factory.mktemp("models") / "enformer_small"
    assert zarrbench_says("model", "random", folder).strip() == str(folder)
    return folder


@pytest.mark.realdata
def test_smoke_pipeline_equals_the_stock_model(small: Path, realdata: Path, tmp_path: Path) -> None:
    """Every readout and every kept bin of some people, against predict_on_batch."""
    from zarrbench.models.enformer.saved_model import Stock, open_released

    downloads = tmp_path / "downloads"
    downloads.mkdir()
    (downloads / small.name).symlink_to(small)
    places = ("--sources", realdata, "--data", tmp_path)
    zarrbench_says("run", "enformer_smoke", *places, "--limit-genes", 1)
    assert (tmp_path / "enformer_smoke/report.html").exists()

    cube = zarrbench.open_cube(tmp_path / "enformer_smoke/predictions.zarr", incomplete="nan")
    assert list(cube["track"].values) == ["CNhs12333", "CNhs11796"]
    assert list(cube["track_index"].values) == [5110, 4980]
    assert list(cube["bin"].values) == list(BINS)
    stores = StoreFamily(find("stores", "geuvadis_chr22"), tmp_path, realdata)
    gene = cube.isel(gene=0).load()
    assert gene.prediction.notnull().all()
    people = np.arange(0, 358, 90)
    ids = [stores.genotypes.samples[i] for i in people]
    window = gene_window(stores, str(gene.gene.item()))
    policies = stores.recipe.policies
    personal = personal_window(stores.genotypes, stores.reference, window, policies, people)
    stock = Stock(open_released(small), 3, [5110, 4980], "float32")
    outputs = np.concatenate(list(stock.window(personal, BINS)))
    span = np.ptp(outputs)
    kept = gene.output.sel(individual=ids).values
    np.testing.assert_allclose(kept, outputs[personal.rows], rtol=0, atol=1e-5 * span)
    reference = outputs[personal.reference_row]
    np.testing.assert_allclose(gene.reference_output.values, reference, rtol=0, atol=1e-5 * span)
    for variable, name in (
        ("prediction", "paper"),
        ("prediction_released_track", "released_track"),
        ("prediction_raw", "attribution"),
    ):
        expected = read_out(outputs, NAMED[name], BINS)[personal.rows]
        found = gene[variable].sel(individual=ids).values
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.ptp(expected) + 5e-5)
    assert np.ptp(gene.output.values, axis=0).max() > 0.01 * span  # people differ


def test_a_dry_run_plans_the_study(small: Path, tmp_path: Path) -> None:
    """With a simulated cohort in the place of ROSMAP, and the stand-in in that of the weights."""
    pipelines, stores = tmp_path / "pipelines", tmp_path / "stores"
    pipelines.mkdir()
    stores.mkdir()
    text = (ROOT / "pipelines/rosmap_paper.yaml").read_text()
    pipeline = yaml.safe_load(text)
    pipeline["model"]["targets"] = "targets.tsv"
    (pipelines / "rosmap_paper.yaml").write_text(yaml.safe_dump(pipeline))
    targets(5313).to_csv(pipelines / "targets.tsv", sep="\t", index=False)
    recipe = yaml.safe_load((ROOT / "stores/rosmap.yaml").read_text())
    recipe["simulate"] = {"individuals": 100, "contigs": {"chr1": 1_000_000}, "genes": 12}
    recipe["genotypes"]["source"] = "cohort.vcf.gz"
    recipe["reference"]["source"] = "reference.fa"
    recipe["genes"]["source"] = "genes.gtf"
    recipe["expression"] = {"source": "expression.tsv"}
    (stores / "rosmap.yaml").write_text(yaml.safe_dump(recipe))
    hub = tmp_path / "hub"
    hub.mkdir()
    (hub / hashlib.sha1(RELEASED.encode()).hexdigest()).symlink_to(small)
    said = zarrbench_says(
        "run", pipelines / "rosmap_paper.yaml", "--data", tmp_path / "data", "--dry-run", "--json",
        TFHUB_CACHE_DIR=str(hub), ZARRBENCH_CACHE=str(tmp_path / "cache"),
    )  # fmt: skip
    plan = json.loads(said)
    genes = plan["genes"]
    assert plan["tracks"] == 5313
    assert plan["tasks"] == genes > 3
    assert plan["cube_bytes"] == 4 * genes * 5313 * 4 * (2 * 100 + 1)
    assert plan["sequences"] == genes * 200
    assert 0.3 * genes * 200 < plan["distinct_sequences"] <= genes * 201
    assert genes * 382 < plan["distinct_tiles"] < genes * 20_000
    assert plan["petaflop_stock"] == pytest.approx(genes * 200 * 3.2931e-3, rel=2e-3)
    assert 2 < plan["petaflop_stock"] / plan["petaflop_shared"] < 12
    assert plan["gpu_hours_stock"] > plan["gpu_hours_shared"] > 0


def targets(n: int) -> pd.DataFrame:
    """A table of tracks of the layout of the released one."""
    table = pd.DataFrame({"index": range(n), "identifier": [f"T{i}" for i in range(n)]})
    table["description"] = [f"CAGE:cell {i}" for i in range(n)]
    if n > 4980:
        table.loc[4980, "description"] = "CAGE:brain, adult,"
    return table


def test_a_model_is_checked_converted_and_compared_with_published_predictions(
    small: Path, tmp_path: Path, realdata: Path
) -> None:
    found = json.loads(zarrbench_says("model", "check", small, "--json"))
    assert found["verdict"] == "our forward is this model"
    assert found["max_relative_difference"] < 1e-5
    assert (found["bases"], found["bins"], found["human_tracks"]) == (196_608, 896, 5313)
    weights = tmp_path / "small.safetensors"
    converted = json.loads(zarrbench_says("model", "convert", small, weights, "--json"))
    assert converted["parameters"] == found["parameters"]
    origin = json.loads(zarrbench_says("model", "check", weights, "--json"))
    assert (origin["verdict"], len(origin["sha256"])) == (found["verdict"], 64)

    zarrbench_says("store", "build", "geuvadis_chr22", "--sources", realdata, "--data", tmp_path,
                   "--only", "reference")  # fmt: skip
    flags = ("--published", realdata / "benchmark", "--store", "geuvadis_chr22", "--json")
    compared = json.loads(zarrbench_says("model", "check", weights, *flags, "--data", tmp_path))
    assert (compared["genes_published"], compared["genes_compared"]) == (3259, 14)
    assert compared["verdict"].startswith("NOT the published predictions")
