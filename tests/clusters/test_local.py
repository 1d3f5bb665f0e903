import contextlib
import os
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from zarrbench.clusters import (
    PROCESS_BYTES,
    THREADS,
    check_slots,
    load_cluster_recipe,
    local,
    started,
    workers_of,
)
from zarrbench.clusters.local import LocalRecipe, has_gpu, local_processes
from zarrbench.errors import ClusterError, RecipeError
from zarrbench.recipes import find, parse

GIB = 1 << 30
ROOT = Path(__file__).parent.parent.parent


def test_packaged_recipe():
    recipe = load_cluster_recipe(find("cluster", "local"))
    assert recipe == LocalRecipe(name="local", description=recipe.description)
    assert recipe.slot


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({}, "name"),
        ({"name": "x", "processes": 0}, "processes must be at least 1"),
        ({"name": "x", "processes": -2}, "processes must be at least 1"),
        ({"name": "x", "processes": "two"}, "expected a whole number"),
        ({"name": "x", "memory": "4 GiB"}, "unknown key 'memory'; did you mean 'memory_limit'"),
        ({"name": "x", "memory_limit": "lots"}, "memory_limit .*'lots'"),
        ({"name": "x", "memory_limit": "-1GiB"}, "memory_limit"),
        ({"name": "x", "slot": ""}, "slot"),
    ],
)
def test_recipe_that_is_refused(written, message):
    with pytest.raises(RecipeError, match=rf"mine\.yaml.*{message}"):
        parse(LocalRecipe, written, "mine.yaml")


@pytest.mark.parametrize("limit", ["auto", "4GiB", "500 MB", "2e9"])
def test_memory_as_dask_writes_it(limit):
    assert parse(LocalRecipe, {"name": "x", "memory_limit": limit}, "").memory_limit == limit


@pytest.mark.parametrize(
    ("cores", "memory", "asked", "expected"),
    [
        (4, 64 * GIB, None, 4),
        (16, 5 * GIB, None, 2),
        (16, GIB, None, 1),
        (1, 64 * GIB, None, 1),
        (4, 64 * GIB, 7, 7),
        (4, GIB, 1, 1),
    ],
)
def test_number_of_processes(monkeypatch, cores, memory, asked, expected):
    monkeypatch.setattr(local, "CPU_COUNT", cores)
    monkeypatch.setattr(local, "MEMORY_LIMIT", memory)
    found = local_processes(LocalRecipe(name="x", processes=asked), PROCESS_BYTES)
    assert (found, type(found)) == (expected, int)


@pytest.mark.parametrize(("memory", "expected"), [(64, 9), (24, 3), (8, 1), (4, 1)])
def test_a_large_model_gets_fewer_processes(monkeypatch, memory, expected):
    monkeypatch.setattr(local, "CPU_COUNT", 16)
    monkeypatch.setattr(local, "MEMORY_LIMIT", memory * GIB)
    assert local_processes(LocalRecipe(name="x"), 7 * GIB) == expected


def test_kind_that_does_not_exist(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("name: x\nkind: slurmy\n")
    with pytest.raises(RecipeError, match=r"mine.yaml.kind: 'slurmy' .* did you mean 'slurm'"):
        load_cluster_recipe(tmp_path / "mine.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "cluster").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_file_of_the_folder_is_read(path: Path):
    recipe = load_cluster_recipe(path)
    assert (recipe.name, recipe.slot) == (path.stem, "GPU")
    assert recipe.description


@pytest.mark.parametrize(
    ("devices", "hidden", "expected"),
    [
        (["nvidia0", "nvidiactl"], None, True),
        (["nvidia0"], "1", True),
        (["nvidia0"], "", False),
        (["nvidia0"], "-1", False),
        (["nvidiactl", "null"], None, False),
    ],
)
def test_whether_there_is_a_gpu(tmp_path, monkeypatch, devices, hidden, expected):
    for name in devices:
        (tmp_path / name).touch()
    monkeypatch.setattr(local, "Path", lambda path: tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert has_gpu() is expected


@pytest.mark.parametrize(("processes", "notes"), [(2, 1), (1, 0)])
def test_processes_that_share_a_card_are_told_of_local_gpu(monkeypatch, capsys, processes, notes):
    monkeypatch.setattr(local, "has_gpu", lambda: True)
    monkeypatch.setattr(local, "LocalCluster", lambda **settings: contextlib.nullcontext())
    monkeypatch.setattr(local, "Client", lambda cluster: contextlib.nullcontext())
    with LocalRecipe(name="x", processes=processes).start(PROCESS_BYTES):
        pass
    assert capsys.readouterr().err.count("--cluster local_gpu") == notes


def environment() -> dict[str, str]:
    return dict(os.environ)


@pytest.mark.cluster
def test_a_started_cluster(monkeypatch):
    monkeypatch.setattr(local, "CPU_COUNT", 6)
    recipe = LocalRecipe(name="x", processes=2, slot="card", memory_limit="3GiB")
    with started(recipe) as client:
        assert check_slots(client, "card") == 2
        workers = workers_of(client).values()
        assert {worker["nthreads"] for worker in workers} == {THREADS}
        assert {worker["memory_limit"] for worker in workers} == {3 * GIB}
        # one prediction at a time in a process of its own, with its share of the cores
        found = client.run(environment)
        assert len(client.run(os.getpid)) == 2
        assert os.getpid() not in client.run(os.getpid).values()
        for variables in found.values():
            assert variables["TF_NUM_INTRAOP_THREADS"] == "3"
            assert variables["TF_NUM_INTEROP_THREADS"] == "1"
            assert variables["OMP_NUM_THREADS"] == "3"
        # nobody else on the network may look in
        assert all("127.0.0.1" in address for address in found)
        assert "127.0.0.1" in client.dashboard_link
        assert "127.0.0.1" in client.scheduler.address
        with pytest.raises(ClusterError, match=r"no worker .* 'GPU', .* --resources 'GPU=1'"):
            check_slots(client, "GPU")
        processes = list(client.run(os.getpid).values())
    assert client.status == "closed"
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes)


def test_slots_are_added_up(client):
    assert check_slots(client, "GPU") == 2
    assert len(workers_of(client)) == 2


def test_a_cluster_without_workers():
    with (
        LocalCluster(
            n_workers=0, processes=False, memory_limit=None, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as empty,
    ):
        assert workers_of(empty) == {}
        with pytest.raises(ClusterError, match="would wait for ever"):
            check_slots(empty, "GPU")


def test_a_cluster_that_does_not_start(monkeypatch):
    def fail(**settings: object) -> None:
        raise OSError("no port is free")

    monkeypatch.setattr(local, "LocalCluster", fail)
    with (
        pytest.raises(ClusterError, match="the local cluster did not start: no port is free"),
        started(LocalRecipe(name="x", processes=1)),
    ):
        pass
