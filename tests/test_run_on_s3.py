"""A whole pipeline with all that it keeps on S3, through the command line, killed amid it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from upath import UPath

from zarrbench import ledger, locks
from zarrbench.cli import main
from zarrbench.errors import StorageError
from zarrbench.predictions.cube import done_shards, open_cube
from zarrbench.remote import place
from zarrbench.stages.predict import run_predict
from zarrbench.stages.statistics import run_statistics
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import get
from zarrbench.stores import open_stores

pytestmark = [pytest.mark.network, pytest.mark.cluster, pytest.mark.slow]

SECRET = "qJ7/kEy+of+thisbucket/9wX"
# The lease of a killed run is waited for as long as this says.
TIMES = {"_RENEWAL": 0.5, "_SILENCE": 3.0, "_SETTLING": 0.2}
DRIVER = f"""
from zarrbench import cli, locks
locks.__dict__.update({TIMES})
if __name__ == "__main__":
    cli.main()
"""
STORES = """\
name: small
genotypes: {source: cohort.vcf.gz}
reference: {source: reference.fa}
genes: {source: genes.gtf}
expression: {source: expression.tsv}
truth: truth.tsv
simulate: {seed: 3, individuals: 40, contigs: {chr1: 90_000, chr2: 60_000}, genes: 8, flank: 512,
           min_maf: 0.05}
"""
PIPELINE = """\
name: study
stores: small
model: {kind: motif, input_length: 1024}
stages:
  - predict: {readout: {kind: sum_log}, block_size: 10}
  - statistics: {track: expression, null_test: {draws: 50, window: 5000}}
  - report: {}
"""


@pytest.fixture
def study(s3, tmp_path, monkeypatch) -> str:
    """Recipes in the working folder, and credentials that can be searched for."""
    from s3fs import S3FileSystem

    for name, text in (
        ("stores/small.yaml", STORES),
        ("pipelines/study.yaml", PIPELINE),
        ("cluster/one.yaml", "name: one\nprocesses: 1\n"),
        ("driver.py", DRIVER),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    for name, seconds in TIMES.items():
        monkeypatch.setattr(locks, name, seconds)
    S3FileSystem.clear_instance_cache()
    return f"s3://{s3.bucket}/{tmp_path.name}"


def zarrbench(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def run(data: str, *flags: str) -> Result:
    return zarrbench("run", "pipelines/study.yaml", "--cluster", "cluster/one.yaml", "--data", data,
                     "--json", *flags)  # fmt: skip


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.002)


def killed(data: str, folder: UPath, s3) -> str:
    """Start a run, meet it as a second writer, and kill it amid its shards; return what it said."""
    s3.requests.clear()
    command = [sys.executable, "driver.py", "run", "pipelines/study.yaml", "--data", data]
    command += ["--cluster", "cluster/one.yaml"]
    name = data.rpartition("/")[2]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as driver:
        lease = ("PUT", f"/{s3.bucket}/{name}/study/lease")
        wait_for(lambda: lease in s3.requests)
        another = pytest.raises(StorageError, match=f"another zarrbench is writing to {folder}")
        with another, locks.locked(folder):
            pass
        entry = f"/{name}/study/predictions.ledger/"
        wait_for(lambda: sum(m == "PUT" and entry in p for m, p in list(s3.requests)) > 4)
        os.killpg(driver.pid, signal.SIGKILL)
        return driver.stdout.read() if driver.stdout else ""


def run_here(client) -> Path:
    """Run the pipeline on the disk; return the folder of its results."""
    workspace = Workspace.open(Path("pipelines/study.yaml"), Path("data"))
    workspace.stores.build()
    run_predict(workspace, client, "GPU")
    run_statistics(workspace, client)
    return workspace.folder


def test_a_run_on_s3_killed_and_continued_is_that_of_a_disk(study, s3, client, tmp_path):
    here = run_here(client)
    folder = place(study) / "study"
    said = [killed(study, folder, s3)]

    done = done_shards(folder / "predictions.zarr")
    assert 0 < len(done) < 32
    kept = {f"/{s3.bucket}/{tmp_path.name}/study/predictions.zarr/{key}"
            for entry in done.values() for key in entry.checksums}  # fmt: skip
    s3.requests.clear()
    remote = run(study)
    said.append(remote.output)
    assert remote.exit_code == 0, remote.output
    assert "waiting for up to 3 s" in remote.stderr
    # Finished shards are not made twice.
    assert not [path for method, path in s3.requests if method == "PUT" and path in kept]

    # The same bytes, tables and statistics
    objects = {p.relative_to(here).as_posix() for name in ("predictions.zarr", "genes.zarr")
               for p in (here / name).rglob("*") if p.is_file()}  # fmt: skip
    for key in [*objects, "genes.tsv", "samples.tsv", "genes_left_out.tsv"]:
        assert get(folder / key) == (here / key).read_bytes(), key
    assert set(ledger.listing(folder / "predictions.zarr")) == {
        key.partition("/")[2] for key in objects if key.startswith("predictions.zarr/")
    }
    assert "planted_signs_recovered" in json.loads(remote.stdout)
    assert get(folder / "report.html")
    assert open_cube(f"{study}/study/predictions.zarr").equals(open_cube(here / "predictions.zarr"))
    mine = open_stores("stores/small.yaml", study)
    assert mine.genes.equals(open_stores("stores/small.yaml", "data").genes)

    # Every other command
    pipeline, stores = "pipelines/study.yaml", "stores/small.yaml"
    person = mine.genotypes.samples[0]
    for command in (
        ["status", pipeline],
        ["report", pipeline],
        ["store", "verify", pipeline],
        ["store", "info", stores],
        ["store", "check", stores],
        ["store", "build", stores],
        ["haplotype", "--individual", person, "--region", "chr1:1000-1100", "--store", stores],
    ):
        found = zarrbench(*command, "--data", study)
        assert found.exit_code == 0, (command, found.output)
        said.append(found.output)
    assert found.stdout == zarrbench(*command, "--data", "data").stdout
    assert json.loads(zarrbench("status", pipeline, "--data", study, "--json").stdout)["complete"]

    # A flipped object
    key = f"{tmp_path.name}/study/predictions.zarr/prediction/c.2.1.0.0"
    content = s3.client.get_object(Bucket=s3.bucket, Key=key)["Body"].read()
    s3.client.put_object(Bucket=s3.bucket, Key=key, Body=content[:-1] + b"!")
    flipped = zarrbench("store", "verify", pipeline, "--data", study)
    assert flipped.exit_code == 2
    assert "prediction/c.2.1.0.0 (gene" in flipped.stderr.splitlines()[-1]

    # What it says when it cannot
    with s3.refusing():
        refused = [run(study), zarrbench("status", pipeline, "--data", study)]
    absent = "s3://no-such-bucket/x"
    refused += [run(absent), zarrbench("store", "info", stores, "--data", "s4://bucket/x")]
    for outcome in refused:
        assert outcome.exit_code == 2
        assert "cannot be " in outcome.stderr.splitlines()[-1]
    assert "The specified bucket does not exist; correct the URL" in refused[2].stderr
    said += [outcome.output for outcome in (*refused, flipped)]

    # No credentials anywhere
    assert not [text for text in said if SECRET in text]
    listed = s3.client.get_paginator("list_objects_v2").paginate(Bucket=s3.bucket)
    keys = [item["Key"] for page in listed for item in page.get("Contents", [])]
    mine_of = [key for key in keys if key.startswith(f"{tmp_path.name}/")]
    assert len(mine_of) > 200
    for key in mine_of:
        content = s3.client.get_object(Bucket=s3.bucket, Key=key)["Body"].read()
        assert SECRET.encode() not in content, key
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_no_network(study, monkeypatch):
    from s3fs import S3FileSystem

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    S3FileSystem.clear_instance_cache()
    found = zarrbench("store", "info", "stores/small.yaml", "--data", study)
    assert found.exit_code == 2
    assert len(found.stderr.splitlines()) == 1
    assert "Could not connect to the endpoint URL" in found.stderr
    assert "check the URL, the network, AWS_ENDPOINT_URL and the credentials" in found.stderr
    S3FileSystem.clear_instance_cache()
