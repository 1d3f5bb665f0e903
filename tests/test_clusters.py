import os
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from zarrbench import clusters
from zarrbench.clusters import (
    ClusterRecipe,
    check_slots,
    load_cluster_recipe,
    local_processes,
    started,
    workers_of,
)
from zarrbench.errors import ClusterError, RecipeError
from zarrbench.recipes import find, parse

GIB = 1 << 30


def test_packaged_recipe():
    recipe = load_cluster_recipe(find("cluster", "local"))
    assert recipe == ClusterRecipe("local", description=recipe.description)
    assert recipe.slot


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({}, "name"),
        ({"name": "x", "kind": "slurmy"}, "'slurmy' is not a choice"),
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
        parse(ClusterRecipe, written, "mine.yaml")


@pytest.mark.parametrize("limit", ["auto", "4GiB", "500 MB", "2e9"])
def test_memory_as_dask_writes_it(limit):
    assert parse(ClusterRecipe, {"name": "x", "memory_limit": limit}, "").memory_limit == limit


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
    monkeypatch.setattr(clusters, "CPU_COUNT", cores)
    monkeypatch.setattr(clusters, "MEMORY_LIMIT", memory)
    found = local_processes(ClusterRecipe("x", processes=asked))
    assert (found, type(found)) == (expected, int)


def environment() -> dict[str, str]:
    return dict(os.environ)


@pytest.mark.cluster
def test_a_started_cluster(monkeypatch):
    monkeypatch.setattr(clusters, "CPU_COUNT", 6)
    recipe = ClusterRecipe("x", processes=2, slot="card", memory_limit="3GiB")
    with started(recipe) as client:
        assert check_slots(client, "card") == 2
        workers = workers_of(client).values()
        assert {worker["nthreads"] for worker in workers} == {1}
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
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as empty,
    ):
        assert workers_of(empty) == {}
        with pytest.raises(ClusterError, match="would wait for ever"):
            check_slots(empty, "GPU")


def test_a_cluster_that_does_not_start(monkeypatch):
    def fail(**settings: object) -> None:
        raise OSError("no port is free")

    monkeypatch.setattr(clusters, "LocalCluster", fail)
    with (
        pytest.raises(ClusterError, match="the local cluster did not start: no port is free"),
        started(ClusterRecipe("x", processes=1)),
    ):
        pass
