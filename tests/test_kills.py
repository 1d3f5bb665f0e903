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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from zarrbench.attributions.parts import verify_parts
from zarrbench.predictions.verification import verify_cube

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

#: `ZARRBENCH_KILLS=50` for the full proof
KILLS = int(os.environ.get("ZARRBENCH_KILLS", "12"))
RUN = [sys.executable, "-m", "zarrbench", "run", "synthetic", "--only"]


@dataclass(frozen=True)
class Kind:
    """A stage that can be killed: what it needs and leaves, what looks for damage, how many kills
    prove it."""

    stage: str
    needs: tuple[str, ...]
    made: tuple[str, ...]
    verify: Callable[[Path], tuple[int, Sequence[object]]]
    kills: int


CUBE = Kind("predict", (), ("predictions.zarr",), verify_cube, KILLS)
PARTS = Kind(
    "attributions",
    ("predictions.zarr", "predictions.ledger"),
    ("attributions.zarr", "attributions.parts"),
    verify_parts,
    KILLS // 2,
)


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


def made_of(kind: Kind, data: Path) -> dict[str, dict[str, bytes]]:
    """All that the stage wrote, but for its ledger."""
    return {name: files(data / "synthetic" / name) for name in kind.made}


def lines(kind: Kind, data: Path) -> list[dict]:
    """Every line of the ledger that is whole."""
    found = []
    book = (data / "synthetic" / kind.made[0]).with_suffix(".ledger")
    for path in book.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return found


def placed(data: Path, cluster: Cluster) -> list[str]:
    """The flags of a run in a folder on the cluster."""
    place = data / "cluster.yaml"
    place.write_text(f"name: here\nkind: existing\naddress: {cluster.address}\n")
    return ["--data", str(data), "--cluster", str(place)]


def disturbed(
    kind: Kind, data: Path, cluster: Cluster, killed: Counter[str], rng: random.Random
) -> None:
    """Run until the stage is finished, killing something now and then."""
    command = [*RUN, kind.stage, *placed(data, cluster)]
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with (data / "driver.log").open("wb") as log:
            driver = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        strike = time.monotonic() + rng.uniform(2, 10)
        while driver.poll() is None and time.monotonic() < deadline:
            cluster.tend()
            if killed.total() < kind.kills and time.monotonic() > strike:
                victims = {**cluster.victims(), "driver": [psutil.Process(driver.pid)]}
                chosen = rng.choice([name for name, found in victims.items() if found])
                rng.choice(victims[chosen]).send_signal(signal.SIGKILL)
                killed[chosen] += 1
                strike = time.monotonic() + rng.uniform(0.2, 4)
            time.sleep(0.02)
        if driver.wait() == 0:
            return
        said = (data / "driver.log").read_text()
        assert "Traceback" not in said, said
        assert driver.returncode in (-signal.SIGKILL, 2), said  # never "unexpected"
    raise AssertionError("it never finished: " + (data / "driver.log").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run, on a cluster of its own."""
    data = tmp_path_factory.mktemp("undisturbed")
    for stage in ("stores", "predict", "attributions"):
        subprocess.run([*RUN, stage, "--data", str(data)], check=True, capture_output=True)
    return data


def begun(kind: Kind, whole: Path, data: Path) -> Path:
    """A folder with what the stage needs."""
    shutil.copytree(whole / "stores", data / "stores")
    for name in kind.needs:
        shutil.copytree(whole / "synthetic" / name, data / "synthetic" / name)
    return data


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", [CUBE, PARTS], ids=lambda kind: kind.stage)
def test_whatever_is_killed_the_results_are_the_same(
    tmp_path: Path, whole: Path, cluster: Cluster, kind: Kind
) -> None:
    expected = made_of(kind, whole)
    assert all(expected.values())
    killed: Counter[str] = Counter()
    rng = random.Random(KILLS)
    rounds = 0
    while killed.total() < kind.kills:
        rounds += 1
        data = begun(kind, whole, tmp_path / f"round{rounds}")
        disturbed(kind, data, cluster, killed, rng)
        assert made_of(kind, data) == expected
        done = Counter((e["gene"], e["block"]) for e in lines(kind, data) if e["state"] == "done")
        assert len(done) == 40
        assert set(done.values()) == {1}, f"made twice: {done.most_common(3)}"
        assert kind.verify(data / "synthetic" / kind.made[0])[1] == []
    print(f"{killed.total()} kills in {rounds} rounds: {dict(killed)}")
    assert killed.total() >= kind.kills


KILLED_BEFORE_THE_STORE = """
import os, signal, sys
from zarrbench.cli import main
from zarrbench.stages import attributions
attributions.write_dataset = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
main(sys.argv[1:])
"""


def test_a_driver_killed_between_parts_and_store(
    tmp_path: Path, whole: Path, cluster: Cluster
) -> None:
    data = begun(PARTS, whole, tmp_path / "data")
    flags = placed(data, cluster)
    cluster.tend()
    command = [sys.executable, "-c", KILLED_BEFORE_THE_STORE, *RUN[3:], "attributions", *flags]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    results = data / "synthetic"
    assert not (results / "attributions.zarr").exists()
    before = {p.name: p.stat().st_mtime_ns for p in (results / "attributions.parts").iterdir()}
    assert len([name for name in before if name.endswith(".npz")]) == 40
    subprocess.run([*RUN, "attributions", *flags], capture_output=True, check=True)
    assert made_of(PARTS, data) == made_of(PARTS, whole)
    after = {p.name: p.stat().st_mtime_ns for p in (results / "attributions.parts").iterdir()}
    assert after == before  # nothing was attributed again
