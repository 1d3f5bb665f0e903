"""Whole runs on a cluster of processes: the demo, real kills, bit-identical cubes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import requests
import xarray as xr
import yaml

import zarrbench
from zarrbench import recipes
from zarrbench.errors import IncompleteCubeError
from zarrbench.predictions.cube import done_shards
from zarrbench.tables import GENE_COLUMNS

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

COMMAND = [sys.executable, "-m", "zarrbench", "run", "synthetic", "--data"]


def run(data: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, str(data), *flags], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of one whole run of the demo."""
    data = tmp_path_factory.mktemp("undisturbed")
    done = run(data, "--json")
    assert done.returncode == 0, done.stderr
    return data


def test_drivers_are_those_planted(undisturbed: Path) -> None:
    """One causal SNV a gene (heritability 0.35), 24 of the right sign, 10 wrong, 6 without effect.

    That it is supported or not is as planted; without an effect on expression it may be either.
    """
    truth = pd.read_csv(undisturbed / "stores/synthetic/sources/truth.tsv", sep="\t")
    drivers = pd.read_csv(undisturbed / "synthetic/drivers.tsv", sep="\t")
    planted = set(zip(truth.gene_id, truth.position, strict=True))
    for column in ("is_driver", "is_backward_driver"):
        rows = drivers[drivers[column]]
        found = set(zip(rows.gene_id, rows.variant_position, strict=True))
        assert len(found & planted) / len(found) >= 0.95
        assert len(found & planted) / len(planted) >= 0.95
    main = drivers[drivers.is_main].merge(
        truth, left_on=["gene_id", "variant_position"], right_on=["gene_id", "position"]
    )
    assert (main.other_allele == main.ref).all()
    assert (main.effect_allele == main.alt).all()
    assert (np.sign(main.ism) == main.model_sign).all()
    effect = main[main.planted_sign != 0]
    assert len(effect) >= 33
    assert (effect.support == effect.planted_sign).all()
    concordance = pd.read_parquet(undisturbed / "synthetic/concordance.parquet")
    assert len(concordance) > 1000
    # gradients of a network with a threshold: the same variants, as far as both see them
    seen = concordance[(concordance.ism != 0) & (concordance.gradient != 0)]
    assert (np.sign(seen.ism) == np.sign(seen.gradient)).mean() > 0.95


def test_it_can_be_explored(undisturbed: Path) -> None:
    command = [sys.executable, "-m", "zarrbench", "explore", "synthetic", "--data"]
    with subprocess.Popen(
        [*command, str(undisturbed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        gene = zarrbench.open_cube(undisturbed / "synthetic/predictions.zarr")["gene"].values[0]
        page = requests.get(url, timeout=60)
        view = requests.get(url.replace("/?", f"/genes/{gene}?"), timeout=60).json()
        process.send_signal(signal.SIGINT)
        said, problem = process.communicate(timeout=60)
    assert page.status_code == 200
    assert str(gene) in page.text
    assert view["snvs"]["total"] > 0
    assert sum(view["null"]) > 0
    assert process.returncode == 0
    assert said == ""
    url_is_said = "open this URL in a browser; Ctrl-C ends it"
    assert problem.splitlines() == ["drawing the page", url_is_said]


@pytest.fixture
def built(undisturbed: Path, tmp_path: Path) -> Path:
    """A data folder with the stores of the demo and no results."""
    shutil.copytree(undisturbed / "stores", tmp_path / "stores")
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def cube_of(data: Path) -> Path:
    return data / "synthetic" / "predictions.zarr"


def n_done(data: Path) -> int:
    return len(done_shards(cube_of(data))) if cube_of(data).exists() else 0


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the run ended before it could be disturbed"
        assert time.monotonic() < deadline, "the run did not get going"
        time.sleep(0.02)


@pytest.fixture
def started(built: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A run that has finished some shards and is still predicting."""
    process = subprocess.Popen([*COMMAND, str(built)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip
    try:
        wait_for(lambda: n_done(built) >= 3, process)
        yield built, process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_the_demo_ends_with_its_figures_and_names_nobody(
    undisturbed: Path, everything_told: Callable[[Path], str]
) -> None:
    """Every figure that the stages of the demo allow; the others are named with what they lack."""
    report = undisturbed / "synthetic/report.html"
    table = pd.read_csv(undisturbed / "synthetic/genes.tsv", sep="\t")
    shown = table.gene_id[[table.r.idxmax(), table.r.idxmin()]]
    of_gene = ("fig_1d", "fig_1e", "fig_2d", "gene_profile", "fig_s2")
    of_all = (
        "fig_2a", "r_histogram", "fig_2e", "fig_2f", "fig_s5", "fig_s6", "fig_s7", "fig_s10",
        "fig_s10_near", "fig_ed1b_ensemble", "mean_and_sd_observed", "mean_and_sd_predicted",
        "sd_observed_and_predicted", "personal_and_reference",
    )  # fmt: skip
    drawn = {path.stem for path in (undisturbed / "synthetic/figures").iterdir()}
    closer = {f"fig_1e_near_{gene}" for gene in shown}
    assert drawn - closer == {*of_all, *(f"{name}_{gene}" for name in of_gene for gene in shown)}
    html = report.read_text()
    for stage in ("population", "predixcan", "motifs", "gene_table", "track_weights"):
        assert re.search(rf"Not drawn: [^<]*the pipeline has no stage &#39;{stage}&#39;", html) or (
            f"the pipeline has no stage {stage}" in html
        )
    told = everything_told(report)
    for sample in xr.open_zarr(cube_of(undisturbed)).individual.values:
        assert not re.search(rf"\b{sample}\b", told)


def test_demo_recovers_what_was_planted(undisturbed: Path) -> None:
    table = pd.read_csv(undisturbed / "synthetic" / "genes.tsv", sep="\t")
    truth = pd.read_csv(undisturbed / "stores/synthetic/sources/truth.tsv", sep="\t")
    joined = table.merge(truth, on="gene_id", suffixes=("", "_truth"))
    planted = joined[joined.planted_sign != 0]
    assert len(planted) == 34
    assert (np.sign(planted.r) == planted.planted_sign).all()
    statistics = xr.open_zarr(undisturbed / "synthetic" / "genes.zarr")
    assert bool(statistics.recovered.all())
    page = (undisturbed / "synthetic" / "report.html").read_text()
    for gene in truth.gene_name:
        assert gene in page


def test_gene_table_has_the_promised_columns(undisturbed: Path) -> None:
    table = pd.read_csv(undisturbed / "synthetic" / "genes.tsv", sep="\t")
    assert list(table.columns) == list(GENE_COLUMNS)
    assert len(table) == 40
    assert (table.n_individuals == 200).all()


def test_weights_of_one_track_give_its_own_r(built: Path) -> None:
    recipe = yaml.safe_load(recipes.find("pipelines", "synthetic").read_text())
    predict, statistics, *_, report = recipe["stages"]
    weighted = {"track_weights": {"weights": "weights.csv"}}
    stages = [predict, statistics, weighted, report]
    path, weights = built / "weighted.yaml", built / "weights.csv"
    path.write_text(yaml.safe_dump({**recipe, "name": "weighted", "stages": stages}))
    rows = "expression by known motifs,{}\nthe same motifs with every sign reversed,0\noffset,1\n"
    command = [*COMMAND[:-2], str(path), "--data", str(built), "--limit-genes", "4", "--json"]
    weights.write_text("tracks,weights\n" + rows.format(2).replace("motifs", "words"))
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "give weights that were made for this model" in refused.stderr
    assert not (built / "weighted" / "predictions.zarr").exists()
    weights.write_text("tracks,weights\n" + rows.format(2))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    genes, ours = (
        pd.read_csv(built / "weighted" / f"{name}.tsv", sep="\t")
        for name in ("genes", "track_weights")
    )
    np.testing.assert_allclose(ours.pearson_r, genes.r, rtol=1e-9)
    np.testing.assert_allclose(ours.p, genes.p_r, rtol=1e-8)
    np.testing.assert_allclose(ours.mean_predicted, 2 * genes.mean_predicted + 1, rtol=1e-12)
    headline = json.loads(done.stdout)["track_weights"]
    assert headline["mean_r"] == pytest.approx(genes.r.mean(), abs=1e-4)
    assert headline["across_genes"]["given, mean_observed"]["genes"] == 4


def test_second_run_has_nothing_to_do(undisturbed: Path) -> None:
    before = files(cube_of(undisturbed))
    entries = files(undisturbed / "synthetic" / "predictions.ledger")
    again = run(undisturbed)
    assert again.returncode == 0, again.stderr
    assert files(cube_of(undisturbed)) == before
    assert files(undisturbed / "synthetic" / "predictions.ledger") == entries


def test_killed_driver_continues(started: tuple[Path, subprocess.Popen[bytes]],
                                 undisturbed: Path) -> None:  # fmt: skip
    data, process = started
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    psutil.wait_procs(workers, timeout=30)
    done = done_shards(cube_of(data))
    assert 3 <= len(done) < 40
    with pytest.raises(IncompleteCubeError, match="of 40 shards"):
        zarrbench.open_cube(cube_of(data))
    status = subprocess.run(
        [sys.executable, "-m", "zarrbench", "status", "synthetic", "--data", str(data), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(status.stdout)["missing"] == 40 - len(done)
    written = {
        key: (cube_of(data) / key).stat().st_mtime_ns
        for entry in done.values() for key in entry.checksums
    }  # fmt: skip
    resumed = run(data)
    assert resumed.returncode == 0, resumed.stderr
    for key, time_ns in written.items():
        assert (cube_of(data) / key).stat().st_mtime_ns == time_ns, f"{key} was written again"
    lines = [
        json.loads(line)
        for path in (data / "synthetic" / "predictions.ledger").glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert sorted(e["gene"] for e in lines) == sorted({e["gene"] for e in lines})
    assert files(cube_of(data)) == files(cube_of(undisturbed))


def test_killed_worker_is_replaced(started: tuple[Path, subprocess.Popen[bytes]],
                                   undisturbed: Path) -> None:  # fmt: skip
    data, process = started
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [c for c in children if "spawn_main" in " ".join(c.cmdline())]
    assert workers
    workers[0].kill()
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors.decode()
    assert files(cube_of(data)) == files(cube_of(undisturbed))
    mine = pd.read_csv(data / "synthetic" / "genes.tsv", sep="\t")
    theirs = pd.read_csv(undisturbed / "synthetic" / "genes.tsv", sep="\t")
    pd.testing.assert_frame_equal(mine, theirs, check_exact=True)


def test_limit_genes_then_all(built: Path, undisturbed: Path) -> None:
    limited = run(built, "--limit-genes", "4", "--json")
    assert limited.returncode == 0, limited.stderr
    assert json.loads(limited.stdout)["genes"] == 4
    assert len(pd.read_csv(built / "synthetic" / "genes.tsv", sep="\t")) == 4
    assert "4 of 40 genes" in (built / "synthetic" / "report.html").read_text()
    planned = run(built, "--dry-run", "--json")
    assert json.loads(planned.stdout)["tasks_to_do"] == 36
    assert run(built).returncode == 0
    assert files(cube_of(built)) == files(cube_of(undisturbed))


def test_block_size_does_not_change_the_numbers(built: Path, undisturbed: Path) -> None:
    root = Path(zarrbench.__file__).parent.parent
    (built / "pipelines").mkdir()
    text = (root / "pipelines" / "synthetic.yaml").read_text()
    text = text.replace("name: synthetic", "name: blocks", 1)
    text = text.replace("predict:", "predict:\n      block_size: 90")
    text = text.replace("stores: synthetic", f"stores: {root / 'stores' / 'synthetic.yaml'}")
    (built / "pipelines" / "blocks.yaml").write_text(text)
    command = [sys.executable, "-m", "zarrbench", "run", str(built / "pipelines/blocks.yaml"),
               "--data", str(built), "--limit-genes", "5"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    blocks = zarrbench.open_cube(built / "blocks" / "predictions.zarr", incomplete="nan")
    whole = zarrbench.open_cube(cube_of(undisturbed))
    np.testing.assert_allclose(
        blocks.prediction.isel(gene=slice(0, 5)).values,
        whole.prediction.isel(gene=slice(0, 5)).values,
        rtol=1e-6,
    )
    mine = pd.read_csv(built / "blocks" / "genes.tsv", sep="\t")
    theirs = pd.read_csv(undisturbed / "synthetic" / "genes.tsv", sep="\t").iloc[:5]
    assert (mine.n_distinct_haplotypes.values == theirs.n_distinct_haplotypes.values).all()
    np.testing.assert_allclose(mine.r.values, theirs.r.values, rtol=1e-5)


def test_second_writer_is_refused(started: tuple[Path, subprocess.Popen[bytes]]) -> None:
    data, process = started
    process.send_signal(signal.SIGSTOP)  # else it might end before the second gets as far
    refused = run(data)
    process.send_signal(signal.SIGCONT)
    assert refused.returncode == 2
    assert "another zarrbench is writing" in refused.stderr
    process.communicate(timeout=180)
    assert process.returncode == 0


@pytest.mark.parametrize(
    "place",
    ["synthetic", "synthetic/predictions.zarr", "stores/synthetic/genotypes.vcz",
     "stores/synthetic/reference.zarr"],
)  # fmt: skip
def test_a_store_that_vanishes_amid_a_run(
    started: tuple[Path, subprocess.Popen[bytes]], undisturbed: Path, tmp_path: Path, place: str
) -> None:
    data, process = started
    gone = data / "elsewhere"
    (data / place).rename(gone)
    _, errors = process.communicate(timeout=180)
    said = errors.decode()
    assert process.returncode == 2, said
    assert "is gone" in said or "there is no" in said
    assert "Traceback" not in said
    assert not (data / place).exists()  # nothing was made in its place
    gone.rename(data / place)
    assert n_done(data) >= 3
    again = run(data)
    assert again.returncode == 0, again.stderr
    assert files(cube_of(data)) == files(cube_of(undisturbed))


def test_a_read_only_place(undisturbed: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(undisturbed / "stores", data / "stores")
    mounted = subprocess.run(["mount", "--bind", str(data), str(data)], check=False)
    if mounted.returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(data)], check=True)
        refused = run(data)
    finally:
        subprocess.run(["umount", "-l", str(data)], check=True)
    assert refused.returncode == 2
    assert "the file system is read-only" in refused.stderr
    assert refused.stderr.splitlines()[-1].startswith("zarrbench: cannot write ")
    assert sorted(p.name for p in data.iterdir()) == ["stores"]


def test_lost_and_damaged_shards_are_made_again(undisturbed: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(undisturbed, data)
    (cube_of(data) / "prediction/c.3.0.0.0").unlink()
    (cube_of(data) / "prediction/c.5.0.0.0").write_bytes(b"")
    (cube_of(data) / "reference_prediction/c.7.0").unlink()
    assert n_done(data) == 37
    again = run(data)
    assert again.returncode == 0, again.stderr
    assert files(cube_of(data)) == files(cube_of(undisturbed))


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zarrbench", *arguments], capture_output=True, text=True, check=False
    )


def test_every_byte_is_verified_and_what_is_damaged_can_be_made_again(
    undisturbed: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(undisturbed, data)
    whole = command("store", "verify", "synthetic", "--data", str(data), "--json")
    assert whole.returncode == 0, whole.stderr
    found = json.loads(whole.stdout)
    assert found["objects"] > 40 * 2
    assert found["damaged"] == {}
    shard = cube_of(data) / "prediction" / "c.5.0.0.0"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 4
    shard.write_bytes(content)
    refused = command("store", "verify", "synthetic", "--data", str(data))
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    assert f"zarrbench: 1 of {found['objects']:,} objects are not what was wri" in refused.stderr
    assert "prediction/c.5.0.0.0 (gene ZBG00000006 block 0: altered)" in refused.stderr
    shard.unlink()
    assert run(data).returncode == 0
    assert files(cube_of(data)) == files(cube_of(undisturbed))
    assert command("store", "verify", "synthetic", "--data", str(data)).returncode == 0
    stores = str(Path(zarrbench.__file__).parent.parent / "stores" / "synthetic.yaml")
    alone = command("store", "verify", stores, "--data", str(data), "--json")
    parts = data / "synthetic" / "attributions.parts"
    beside = len(files(cube_of(data))) + len(list(parts.glob("*.npz")))
    assert json.loads(alone.stdout)["objects"] == found["objects"] - beside
