"""Joining a cluster that somebody started: by TLS, across hosts, through failures of either."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Client

from zarrbench.clusters import started
from zarrbench.clusters.existing import ExistingRecipe
from zarrbench.clusters.security import Tls, is_this_machine, temporary_security
from zarrbench.errors import ClusterError, RecipeError
from zarrbench.recipes import parse

TLS = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tcp://127.0.0.1:8786", True),
        ("tcp://127.8.0.1:8786", True),
        ("tcp://localhost:8786", True),
        ("tcp://[::1]:8786", True),
        ("tcp://10.0.0.5:8786", False),
        ("tcp://localhost.example.org:8786", False),
        ("tcp://0.0.0.0:8786", False),
        ("tcp://node7:8786", False),
    ],
)
def test_what_is_this_machine(address, expected):
    assert is_this_machine(address) is expected


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({}, "give either address or scheduler_file"),
        ({"address": "tls://a:1", "scheduler_file": "s.json", "tls": TLS}, "give either"),
        ({"address": "tls://10.0.0.5:8786"}, "speaks TLS: give its files"),
        ({"address": "tcp://10.0.0.5:8786"}, "another machine and not encrypted.*insecure: true"),
        ({"address": "tcp://10.0.0.5:8786", "tls": TLS}, "another machine and not encrypted"),
        ({"address": "10.0.0.5:8786"}, "must begin with tls:// or tcp://, found '10.0.0.5:8786'"),
        ({"address": "tls://a:1", "tls": {"ca": "ca.pem"}}, r"tls: the key 'cert' is missing"),
    ],
)
def test_recipe_that_is_refused(written, message):
    with pytest.raises(RecipeError, match=rf"mine\.yaml.*{message}"):
        parse(ExistingRecipe, {"name": "x", **written}, "mine.yaml")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "tcp://localhost:1"])
def test_plain_connection_within_this_machine(address):
    recipe = ExistingRecipe(name="x", address=address)
    assert recipe.scheduler_address() == address


def test_plain_connection_on_a_trusted_network():
    ExistingRecipe(name="x", address="tcp://10.0.0.5:8786", insecure=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not hold an address .*No such file"),
        ("nothing", "does not hold an address"),
        ("[1]", "does not hold an address"),
        ('{"id": 1}', "does not hold an address .*'address'"),
        ('{"address": "tcp://10.0.0.5:8786"}', "another machine and not encrypted"),
    ],
)
def test_scheduler_file_that_is_refused(tmp_path, text, message):
    path = tmp_path / "scheduler.json"
    if text is not None:
        path.write_text(text)
    recipe = ExistingRecipe(name="x", scheduler_file=str(path))
    with pytest.raises(ClusterError, match=message), started(recipe):
        pass


def test_missing_credentials(tmp_path):
    files = Tls(*(str(tmp_path / name) for name in TLS.values()))
    recipe = ExistingRecipe(name="x", address="tls://127.0.0.1:1", tls=files)
    with pytest.raises(ClusterError, match=r"tls.ca: there is no file .*ca.pem"), started(recipe):
        pass


def test_nobody_answers(monkeypatch):
    monkeypatch.setattr("zarrbench.clusters.existing._CONNECT_SECONDS", 1)
    recipe = ExistingRecipe(name="x", address="tcp://127.0.0.1:9")
    with pytest.raises(ClusterError, match="no scheduler answers at tcp://127"), started(recipe):
        pass


def test_temporary_credentials_are_for_their_owner_alone(tmp_path):
    with temporary_security(tmp_path / "new") as security:
        paths = [Path(security.tls_ca_file), Path(security.tls_worker_key)]
        for path in (*paths, *(path.parent for path in paths)):
            assert path.stat().st_mode & 0o077 == 0
        assert "PRIVATE KEY" in paths[1].read_text()
        assert security.require_encryption
    assert not any((tmp_path / "new").iterdir())


def words(program: str, tls: Tls, *more: str) -> list[str]:
    files = ["--tls-ca-file", tls.ca, "--tls-cert", tls.cert, "--tls-key", tls.key]
    return [sys.executable, "-m", f"distributed.cli.dask_{program}", *files,
            "--dashboard-address", "127.0.0.1:0", *more]  # fmt: skip


@pytest.fixture
def two_hosts(second_host, processes: Start, tmp_path: Path) -> Iterator[ExistingRecipe]:
    """A scheduler here and two workers on the other host, by TLS; what leads to them."""
    file = tmp_path / "scheduler.json"
    with temporary_security(tmp_path) as made:
        tls = Tls(str(made.tls_ca_file), str(made.tls_client_cert), str(made.tls_client_key))
        address = f"tls://{second_host.here}:0"
        scheduler = processes(
            *words("scheduler", tls, "--host", address, "--scheduler-file", str(file))
        )
        reached = ""
        while not reached:
            assert scheduler.poll() is None
            time.sleep(0.1)
            with contextlib.suppress(FileNotFoundError, ValueError):  # it may be half written
                reached = json.loads(file.read_text())["address"]
        for _ in range(2):
            there = words("worker", tls, "--host", second_host.there, "--nthreads", "3",
                          "--resources", "GPU=1", reached)  # fmt: skip
            processes(*second_host.command(*there))
        recipe = ExistingRecipe(name="two_hosts", scheduler_file=str(file), tls=tls)
        # The test ends a scheduler by this number.
        (tmp_path / "scheduler.pid").write_text(str(scheduler.pid))
        with recipe.start(0) as client:
            client.wait_for_workers(2, timeout=60)
        yield recipe


def disturbing(toy_run, cube: Path, disturb: Callable[[], None]) -> threading.Thread:
    """Wait in the background until a few shards are done, then disturb."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while toy_run.n_done(cube) < 4 and time.monotonic() < deadline:
            time.sleep(0.1)
        disturb()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.cluster
@pytest.mark.hosts
@pytest.mark.slow
def test_run_survives_a_cut_cable(second_host, two_hosts, toy_run, undisturbed, tmp_path):
    cube, done = tmp_path / "cube.zarr", []

    def cut() -> None:
        second_host.cut()
        done.append(toy_run.n_done(cube))
        time.sleep(5)
        done.append(toy_run.n_done(cube))
        second_host.connect()

    with started(two_hosts) as client:
        thread = disturbing(toy_run, cube, cut)
        files = toy_run.fill(cube, client)
        thread.join()
    assert files == undisturbed
    # What workers had they finished, more could not reach them.
    assert done[1] < len(list(toy_run.plan.tasks()))


@pytest.mark.cluster
@pytest.mark.hosts
@pytest.mark.slow
def test_nobody_else_gets_in(second_host, two_hosts, tmp_path):
    address = two_hosts.scheduler_address()
    assert address.startswith(f"tls://{second_host.here}:")
    plain = address.replace("tls://", "tcp://")
    with pytest.raises(OSError, match=r"reset by peer|[Tt]imed out|closed"):
        Client(plain, timeout=2)
    with temporary_security(tmp_path / "other") as other:
        files = Tls(str(other.tls_ca_file), str(other.tls_client_cert), str(other.tls_client_key))
        stranger = replace(two_hosts, tls=files)
        with pytest.raises(ClusterError, match="no scheduler answers"), started(stranger):
            pass
    with started(two_hosts):
        pass


@pytest.mark.cluster
@pytest.mark.hosts
@pytest.mark.slow
def test_all_workers_gone_for_too_long(second_host, two_hosts, toy_run, tmp_path, monkeypatch):
    cube = tmp_path / "cube.zarr"
    monkeypatch.setattr(ExistingRecipe, "patience", 3.0)

    def kill() -> None:
        there = subprocess.run(["ip", "netns", "pids", second_host.name], capture_output=True)
        for pid in map(int, there.stdout.split()):
            os.kill(pid, signal.SIGKILL)

    def run() -> None:
        with started(two_hosts) as client:
            disturbing(toy_run, cube, kill)
            toy_run.fill(cube, client)

    with pytest.raises(ClusterError, match=r"no worker with .* took work for 0 minutes: .*kept"):
        run()
    assert toy_run.n_done(cube) >= 4


@pytest.mark.cluster
@pytest.mark.hosts
@pytest.mark.slow
def test_death_of_the_scheduler(second_host, two_hosts, toy_run, undisturbed, clients, tmp_path):
    """It ends the run with one sentence; what is finished stays, and another cluster goes on."""
    cube = tmp_path / "cube.zarr"
    pid = int((tmp_path / "scheduler.pid").read_text())

    def run() -> None:
        with started(two_hosts) as client:
            disturbing(toy_run, cube, lambda: os.kill(pid, signal.SIGKILL))
            toy_run.fill(cube, client)

    with pytest.raises(
        ClusterError, match=r"connection to the scheduler tls://.* was lost: .*kept"
    ):
        run()
    done = toy_run.n_done(cube)
    assert 4 <= done < len(list(toy_run.plan.tasks()))
    assert toy_run.fill(cube, clients[1]) == undisturbed
