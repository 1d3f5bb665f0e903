"""Jobs of a real SLURM on this machine."""

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from zarrbench.clusters import THREADS, check_slots, load_cluster_recipe, started, workers_of
from zarrbench.clusters.slurm import SlurmRecipe, walltime_seconds
from zarrbench.errors import ClusterError, RecipeError
from zarrbench.recipes import parse

ROOT = Path(__file__).parent.parent.parent
SMALL = {"name": "x", "jobs": 2, "cores": 1, "memory": "2GiB", "walltime": "1:00:00"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 1800), ("10:30", 630), ("4:00:00", 14400), ("2-0", 172800), ("1-12:30", 131400),
     ("1-00:00:01", 86401)],
)  # fmt: skip
def test_walltime_as_sbatch_reads_it(text, seconds):
    assert walltime_seconds(text) == seconds


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"walltime": "4h"}, "walltime must be as sbatch writes it, .*'4h'"),
        ({"walltime": "20"}, "walltime 20 leaves no time to work"),
        ({"jobs": 0}, "jobs and cores must be at least 1"),
        ({"memory": "lots"}, "memory .*'lots'"),
        ({"wait": "soon"}, "wait must be a time, .*'soon'"),
        ({"gpus": 1}, "unknown key 'gpus'"),
        ({"slot": "G P"}, "slot must name a resource"),
    ],
)
def test_recipe_that_is_refused(changes, message):
    with pytest.raises(RecipeError, match=rf"mine\.yaml.*{message}"):
        parse(SlurmRecipe, SMALL | changes, "mine.yaml")


@pytest.mark.parametrize("name", ["slurm_cpu", "slurm_gpu"])
def test_packaged_jobs(name, tmp_path):
    """What a site's SLURM will read: one process of three threads, gone before its walltime."""
    from zarrbench.clusters.slurm_jobs import SlurmJobs

    recipe = load_cluster_recipe(ROOT / "cluster" / f"{name}.yaml")
    with SlurmJobs(1, **recipe.settings() | {"log_directory": str(tmp_path)}) as cluster:
        script = cluster.job_script()
    assert f"--cpus-per-task={recipe.cores}" in script
    assert f"#SBATCH -t {recipe.walltime}" in script
    assert ("--gres=gpu:1" in script) == (name == "slurm_gpu")
    assert f"OMP_NUM_THREADS={recipe.cores}" in script
    assert f"--nthreads {THREADS} " in script
    assert "--resources GPU=1 " in script
    words = script.split()
    lifetime, stagger = (
        float(words[words.index(flag) + 1].removesuffix("s"))
        for flag in ("--lifetime", "--lifetime-stagger")
    )
    assert stagger > 0
    assert 0 < lifetime + stagger < walltime_seconds(recipe.walltime)


def reachable_ports(pid: int) -> set[int]:
    """Ports on which other hosts reach a process."""
    sockets = psutil.Process(pid).net_connections(kind="inet")
    listening = [s.laddr for s in sockets if s.status == psutil.CONN_LISTEN]
    return {address.port for address in listening if address.ip != "127.0.0.1"}


@pytest.fixture
def recipe(slurm: Path, tmp_path: Path) -> Callable[..., SlurmRecipe]:
    """Write a cluster file for the SLURM of this machine."""

    def make(**changes: object) -> SlurmRecipe:
        return parse(SlurmRecipe, SMALL | {"folder": str(tmp_path / "jobs")} | changes, "mine.yaml")

    return make


def said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def states(*jobs: str) -> dict[str, str]:
    """State by job, of those that ended too."""
    lines = said("squeue", "--noheader", "--states=all", "--format=%i %T").split("\n")
    found = dict(line.split() for line in lines if line)
    return {job: found[job] for job in jobs or found}


@pytest.mark.cluster
@pytest.mark.slurm
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"partition": "nope"},
            r"SLURM accepts no such job \(.*invalid partition.*nope.*partition",
        ),
        ({"cores": 64}, "SLURM accepts no such job .*node configuration is not available"),
        (
            {"setup": ["echo no module cuda >&2; exit 1"]},
            "ended before .*: no module cuda; correct",
        ),
        (
            {"directives": ["--begin=now+1hour"], "wait": "3s"},
            "no worker arrived within 3s: squeue says of the jobs PENDING BeginTime",
        ),
        ({"python": "/bin/false"}, "all 2 SLURM jobs ended before a worker arrived"),
    ],
)
def test_cluster_that_cannot_start(recipe, changes, message):
    with pytest.raises(ClusterError, match=message), started(recipe(**changes)):
        pass


def test_job_too_small_for_the_model(tmp_path):
    small = SlurmRecipe(**SMALL)
    with pytest.raises(ClusterError, match=r"memory 2GiB .* needs 7 GiB"), started(small, 7 << 30):
        pass


def test_without_commands_of_slurm(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    recipe = SlurmRecipe(**SMALL, folder=str(tmp_path))
    with pytest.raises(ClusterError, match=r"sbatch cannot be run .* login node"), started(recipe):
        pass


@pytest.mark.cluster
@pytest.mark.slurm
@pytest.mark.slow
def test_run_survives_scancel(recipe, toy_run, undisturbed, tmp_path, monkeypatch):
    """Jobs are cancelled in the middle, the last one of all too: others come in their place."""
    from zarrbench.clusters import slurm_jobs

    monkeypatch.setattr(slurm_jobs, "_REPLACE_SECONDS", 2)
    mine, cube = recipe(), tmp_path / "cube.zarr"
    with started(mine) as client:
        client.wait_for_workers(2, timeout=60)
        assert check_slots(client, "GPU") == 2
        assert {worker["nthreads"] for worker in workers_of(client).values()} == {THREADS}
        assert all(address.startswith("tls://") for address in workers_of(client))
        assert client.cluster.scheduler.http_server.address == "127.0.0.1"
        for pid in client.run(os.getpid).values():
            assert len(reachable_ports(pid)) == 1  # the one that speaks TLS
        [private] = Path(mine.folder).glob(".tls-*")
        assert private.stat().st_mode & 0o077 == 0
        assert all(path.stat().st_mode & 0o077 == 0 for path in private.iterdir())
        first = set(client.cluster.job_ids().values())

        def cancel() -> None:
            deadline = time.monotonic() + 60
            while toy_run.n_done(cube) < 4 and time.monotonic() < deadline:
                time.sleep(0.1)
            for job in sorted(first):
                said("scancel", job)
                time.sleep(1)

        thread = threading.Thread(target=cancel)
        thread.start()
        files = toy_run.fill(cube, client)
        thread.join()
        assert first.isdisjoint(client.cluster.job_ids().values())
    assert files == undisturbed
    assert set(states(*first).values()) == {"CANCELLED"}
    assert not list(Path(mine.folder).glob(".tls-*"))
    for _ in range(100):
        if not said("squeue", "--noheader").strip():
            break
        time.sleep(0.1)
    assert said("squeue", "--noheader") == ""


@pytest.mark.cluster
@pytest.mark.slurm
@pytest.mark.slow
def test_workers_leave_before_their_walltime(recipe, toy_run, undisturbed, tmp_path, monkeypatch):
    from zarrbench.clusters import slurm_jobs

    monkeypatch.setattr(slurm_jobs, "_REPLACE_SECONDS", 1)
    # Workers leave after 6 to 18 s.
    mine = recipe(walltime="0:30", margin="12s")
    with started(mine) as client:
        client.wait_for_workers(2, timeout=60)
        first = set(client.cluster.job_ids().values())
        files = toy_run.fill(tmp_path / "cube.zarr", client)
        while not first.isdisjoint(client.cluster.job_ids().values()):
            time.sleep(0.2)
        assert set(states(*first).values()) == {"COMPLETED"}  # not TIMEOUT
    assert files == undisturbed
