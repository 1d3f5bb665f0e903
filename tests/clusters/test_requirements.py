"""What a worker must have, asked of workers that differ from the driver in fact."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from distributed import Client

from zarrbench.clusters import Requirements, check_slots, checked, workers_of
from zarrbench.errors import ClusterError
from zarrbench.provenance import installed

HOST = socket.gethostname()


def test_workers_that_have_everything(client: Client, tmp_path: Path):
    (tmp_path / "store.zarr").mkdir()
    folder = tmp_path / "new" / "results"
    with checked(client, "GPU", Requirements((tmp_path / "store.zarr",), folder)):
        assert [path.name[:6] for path in folder.iterdir()] == [".seen-"]
        assert check_slots(client, "GPU") == 2
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"places": (Path("/no/genotypes.vcz"),)}, "/no/genotypes.vcz is not there;"),
        ({"places": ("file:///no/genotypes.vcz",)}, "file:///no/genotypes.vcz is not there;"),
        ({"places": ("nonesuch://x",)}, "nonesuch://x cannot be read: .*nonesuch"),
        (
            {"versions": installed() | {"Python": "3.11", "numpy": "1.0"}},
            f"numpy is {metadata.version('numpy')} there and 1.0 here;",
        ),
    ],
)
def test_workers_that_lack_something(client: Client, tmp_path: Path, changes, message):
    requirements = Requirements(**{"places": (), "folder": tmp_path, **changes})
    with (
        pytest.raises(ClusterError, match=rf"worker inproc://.* on {HOST} cannot do .*{message}"),
        checked(client, "GPU", requirements),
    ):
        pytest.fail("work began")
    assert list(tmp_path.iterdir()) == []
    assert check_slots(client, "GPU") == 2  # given back


@pytest.mark.parametrize(
    ("answer", "found"),
    [(metadata.PackageNotFoundError("zarrbench"), "no zarrbench"), ("0.0.1", "zarrbench 0.0.1")],
)
def test_workers_of_another_zarrbench(tmp_path: Path, answer, found):
    class Stub:
        def run(self, *_: object, on_error: str) -> dict[str, object]:
            return {"tcp://a": metadata.version("zarrbench"), "tcp://b": answer}

    with (
        pytest.raises(ClusterError, match=f"the worker tcp://b has {found}, expected"),
        checked(Stub(), "GPU", Requirements((), tmp_path)),
    ):
        pass


@pytest.fixture
def scheduler(processes: Callable[..., subprocess.Popen[bytes]], tmp_path: Path):
    """A client of a scheduler on this machine, and how to start a worker, after a shell line."""
    dashboard = ("--dashboard-address", "127.0.0.1:0")
    file = tmp_path / "scheduler.json"
    processes(sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1",
              "--port", "0", "--scheduler-file", str(file), *dashboard)  # fmt: skip
    while not file.exists() or not file.read_text().rstrip().endswith("}"):
        time.sleep(0.1)

    def start(before: str = "true") -> None:
        worker = f"{sys.executable} -m distributed.cli.dask_worker --scheduler-file {file} "
        worker += f"--resources GPU=1 {' '.join(dashboard)}"
        processes("unshare", "--mount", "sh", "-c", f"{before} && exec {worker}")

    with Client(scheduler_file=str(file), set_as_default=False) as client:
        yield client, start


@pytest.mark.cluster
@pytest.mark.hosts
def test_a_folder_that_is_another_one_there(scheduler, tmp_path: Path):
    """The second worker has a folder of the same path on a file system of its own."""
    client, start = scheduler
    folder = tmp_path / "results"
    folder.mkdir()
    hidden = f"mount -t tmpfs none {folder}"
    if subprocess.run(["unshare", "--mount", "sh", "-c", hidden], check=False).returncode:
        pytest.skip("this machine makes no mount namespaces")
    assert shutil.which("unshare")
    start()
    client.wait_for_workers(1, timeout=60)
    with checked(client, "GPU", Requirements((), folder)):
        assert check_slots(client, "GPU") == 1
        start(hidden)
        client.wait_for_workers(2, timeout=60)
        deadline = time.monotonic() + 10
        while check_slots(client, "GPU") != 1:  # the late one gets no predictions
            assert time.monotonic() < deadline
        assert len(workers_of(client)) == 2
    assert check_slots(client, "GPU") == 2
    message = f"{folder} is not the folder that it is here"
    with (
        pytest.raises(ClusterError, match=message),
        checked(client, "GPU", Requirements((), folder)),
    ):
        pass
