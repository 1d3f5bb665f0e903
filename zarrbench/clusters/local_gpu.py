"""One process for each card of this machine, by dask-cuda."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import dask
from dask.system import CPU_COUNT
from distributed import Client

from zarrbench.clusters.local import has_gpu
from zarrbench.clusters.recipe import THREADS, ClusterRecipe, environment, refuse_memory
from zarrbench.errors import ClusterError


@dataclass(frozen=True, kw_only=True)
class LocalGpuRecipe(ClusterRecipe):
    """One worker process for each card that ``CUDA_VISIBLE_DEVICES`` shows, by default all.

    Parameters
    ----------
    memory_limit : str
        Memory of one process outside the card; ``auto`` shares the machine's.
    """

    memory_limit: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory_limit != "auto":
            refuse_memory("memory_limit", self.memory_limit)

    @contextlib.contextmanager
    def start(self, process_bytes: int) -> Iterator[Client]:
        if not has_gpu():
            raise ClusterError(
                "this machine shows no NVIDIA card (/dev/nvidia0), or CUDA_VISIBLE_DEVICES hides "
                "it: correct that, or run with --cluster local"
            )
        try:
            from dask_cuda import LocalCUDACluster
            from dask_cuda.utils import get_n_gpus
        except ImportError as error:
            raise ClusterError(
                f"the cluster kind local_gpu needs dask-cuda, which cannot be imported ({error}): "
                f"install it with pip install 'zarrbench[gpu]'"
            ) from error
        try:
            cores = max(1, CPU_COUNT // get_n_gpus())
            # dask-cuda writes its own `env` over one that it is given.
            with dask.config.set({"distributed.nanny.environ": environment(cores)}):
                cluster = LocalCUDACluster(
                    threads_per_worker=THREADS,
                    resources={self.slot: 1},
                    memory_limit=self.memory_limit,
                    protocol="tcp",
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL,
                )
        except Exception as error:  # those of NVIDIA's libraries have no common base
            raise ClusterError(f"the local GPU cluster did not start: {error}") from error
        with cluster, Client(cluster) as client:
            yield client
