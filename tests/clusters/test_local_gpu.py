"""One process for each card; dask-cuda is stood in for where there is none."""

import os
import sys
from types import ModuleType, SimpleNamespace

import pytest
from distributed import LocalCluster

from zarrbench.clusters import THREADS, check_slots, local_gpu, started, workers_of
from zarrbench.clusters.local import has_gpu
from zarrbench.clusters.local_gpu import LocalGpuRecipe
from zarrbench.errors import ClusterError, RecipeError
from zarrbench.recipes import parse


def test_recipe_that_is_refused():
    with pytest.raises(RecipeError, match="unknown key 'processes'"):
        parse(LocalGpuRecipe, {"name": "x", "processes": 2}, "mine.yaml")
    with pytest.raises(RecipeError, match=r"memory_limit .*'lots'"):
        parse(LocalGpuRecipe, {"name": "x", "memory_limit": "lots"}, "mine.yaml")


def test_machine_without_a_card(monkeypatch):
    monkeypatch.setattr(local_gpu, "has_gpu", lambda: False)
    with (
        pytest.raises(ClusterError, match=r"shows no NVIDIA card .*--cluster local"),
        started(LocalGpuRecipe(name="x")),
    ):
        pass


def test_dask_cuda_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(local_gpu, "has_gpu", lambda: True)
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with (
        pytest.raises(ClusterError, match=r"needs dask-cuda.*pip install 'zarrbench\[gpu\]'"),
        started(LocalGpuRecipe(name="x")),
    ):
        pass


def environment() -> dict[str, str]:
    return dict(os.environ)


@pytest.mark.cluster
def test_what_dask_cuda_is_told(monkeypatch):
    """Its cluster is a LocalCluster with a process for each card, whose `env` is its own."""

    class Cluster(LocalCluster):
        def __init__(self, **settings: object) -> None:
            super().__init__(n_workers=2, env={"CUDA_VISIBLE_DEVICES": "1,0"}, **settings)

    cuda = ModuleType("dask_cuda")
    cuda.LocalCUDACluster, cuda.__path__ = Cluster, []
    monkeypatch.setitem(sys.modules, "dask_cuda", cuda)
    monkeypatch.setitem(sys.modules, "dask_cuda.utils", SimpleNamespace(get_n_gpus=lambda: 2))
    monkeypatch.setattr(local_gpu, "has_gpu", lambda: True)
    monkeypatch.setattr(local_gpu, "CPU_COUNT", 12)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with started(LocalGpuRecipe(name="x", slot="card", memory_limit="3GiB")) as client:
        assert check_slots(client, "card") == 2
        assert {worker["nthreads"] for worker in workers_of(client).values()} == {THREADS}
        for variables in client.run(environment).values():
            assert variables["TF_NUM_INTRAOP_THREADS"] == "6"
        assert "127.0.0.1" in client.scheduler.address


@pytest.mark.gpu
@pytest.mark.cluster
def test_one_process_for_each_card():
    if not has_gpu():
        pytest.skip("this machine has no GPU")
    pytest.importorskip("dask_cuda")
    with started(LocalGpuRecipe(name="x")) as client:
        cards = [v["CUDA_VISIBLE_DEVICES"].split(",")[0] for v in client.run(environment).values()]
        assert len(set(cards)) == len(cards) == check_slots(client, "GPU")
