"""SIGKILLs at random moments: of workers, nannies, the scheduler and the driver."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from zarrbench.predictions.verification import verify_cube

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

#: `ZARRBENCH_KILLS=50` for the full proof
KILLS = int(os.environ.get("ZARRBENCH_KILLS", "12"))
RUN = [sys.executable, "-m", "zarrbench", "run", "synthetic", "--only"]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


class Cluster:
    """A scheduler and two workers with nannies; what is gone is started again, as services are."""

    def __init__(self, folder: Path) -> None:
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self._log = (folder / "cluster.log").open("wb")
        dask = [sys.executable, "-m", "distributed.cli.dask_"]
        port = self.address.rpartition(":")[2]
        worker = [*dask[:2], dask[2] + "worker", self.address, "--nworkers", "1", "--nthreads", "3",
                  "--resources", "GPU=1", "--host", "127.0.0.1", "--no-dashboard",
                  "--local-directory", str(folder), "--death-timeout", "20"]  # fmt: skip
        self._commands = {
            "scheduler": [*dask[:2], dask[2] + "scheduler", "--host", "127.0.0.1", "--port", port,
                          "--no-dashboard"],
            "nanny 0": worker,
            "nanny 1": worker,
        }  # fmt: skip
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def tend(self) -> None:
        """Start what is not running."""
        for name, command in self._commands.items():
            running = self._running.get(name)
            if running is None or running.poll() is not None:
                self._running[name] = subprocess.Popen(
                    command, stdout=self._log, stderr=self._log, start_new_session=True
                )

    def victims(self) -> dict[str, list[psutil.Process]]:
        """What can be killed, by kind."""
        found: dict[str, list[psutil.Process]] = {"scheduler": [], "nanny": [], "worker": []}
        for name, running in self._running.items():
            try:
                process = psutil.Process(running.pid)
                found[name.split(" ")[0]].append(process)
                if name != "scheduler":
                    children = process.children(recursive=True)
                    found["worker"] += [c for c in children if "spawn_main" in str(c.cmdline())]
            except psutil.NoSuchProcess:
                continue
        return found

    def stop(self) -> None:
        for running in self._running.values():
            if running.poll() is None:
                for child in psutil.Process(running.pid).children(recursive=True):
                    child.kill()
                running.kill()
            running.wait()
        self._log.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    started = Cluster(tmp_path)
    try:
        yield started
    finally:
        started.stop()


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def lines(data: Path) -> list[dict]:
    """Every line of the ledger that is whole."""
    found = []
    for path in (data / "synthetic" / "predictions.ledger").glob("*.jsonl"):
        for line in path.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return found


def disturbed(data: Path, cluster: Cluster, killed: Counter[str], rng: random.Random) -> None:
    """Run until the cube is finished, killing something now and then."""
    place = data / "cluster.yaml"
    place.write_text(f"name: here\nkind: existing\naddress: {cluster.address}\n")
    command = [*RUN, "predict", "--data", str(data), "--cluster", str(place)]
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with (data / "driver.log").open("wb") as log:
            driver = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        strike = time.monotonic() + rng.uniform(2, 10)
        while driver.poll() is None and time.monotonic() < deadline:
            cluster.tend()
            if killed.total() < KILLS and time.monotonic() > strike:
                victims = {**cluster.victims(), "driver": [psutil.Process(driver.pid)]}
                kind = rng.choice([kind for kind, found in victims.items() if found])
                rng.choice(victims[kind]).send_signal(signal.SIGKILL)
                killed[kind] += 1
                strike = time.monotonic() + rng.uniform(0.2, 4)
            time.sleep(0.02)
        if driver.wait() == 0:
            return
        said = (data / "driver.log").read_text()
        assert "Traceback" not in said, said
        assert driver.returncode in (-signal.SIGKILL, 2), said  # never "unexpected"
    raise AssertionError("it never finished: " + (data / "driver.log").read_text())


@pytest.mark.timeout(3000)
def test_whatever_is_killed_the_cube_is_the_same(tmp_path: Path, cluster: Cluster) -> None:
    whole = tmp_path / "undisturbed"
    for stage in ("stores", "predict"):
        subprocess.run([*RUN, stage, "--data", str(whole)], check=True, capture_output=True)
    expected = files(whole / "synthetic" / "predictions.zarr")
    killed: Counter[str] = Counter()
    rng = random.Random(KILLS)
    rounds = 0
    while killed.total() < KILLS:
        rounds += 1
        data = tmp_path / f"round{rounds}"
        shutil.copytree(whole / "stores", data / "stores")
        disturbed(data, cluster, killed, rng)
        assert files(data / "synthetic" / "predictions.zarr") == expected
        done = Counter((e["gene"], e["block"]) for e in lines(data) if e["state"] == "done")
        assert len(done) == 40
        assert set(done.values()) == {1}, f"made twice: {done.most_common(3)}"
        assert verify_cube(data / "synthetic" / "predictions.zarr")[1] == []
    print(f"{killed.total()} kills in {rounds} rounds: {dict(killed)}")
    assert killed.total() >= KILLS
