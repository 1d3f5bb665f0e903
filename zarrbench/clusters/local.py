"""Processes on this machine."""

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dask.system import CPU_COUNT
from distributed import Client, LocalCluster
from distributed.system import MEMORY_LIMIT

from zarrbench import progress
from zarrbench.clusters.recipe import THREADS, ClusterRecipe, environment, refuse_memory
from zarrbench.errors import ClusterError


@dataclass(frozen=True, kw_only=True)
class LocalRecipe(ClusterRecipe):
    """Worker processes on this machine, one model each; nobody else can connect.

    Parameters
    ----------
    processes : int, optional
        By default as many as cores and memory allow.
    memory_limit : str
        Memory of one process, such as ``4GiB`` (0 for no limit); ``auto`` shares the machine's.
    """

    processes: int | None = None
    memory_limit: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.processes is not None and self.processes < 1:
            raise ValueError("processes must be at least 1")
        if self.memory_limit != "auto":
            refuse_memory("memory_limit", self.memory_limit)

    @contextlib.contextmanager
    def start(self, process_bytes: int) -> Iterator[Client]:
        processes = local_processes(self, process_bytes)
        if processes > 1 and has_gpu():
            progress.note(
                f"{processes} processes share the GPU of this machine: '--cluster local_gpu' "
                f"starts one for each card"
            )
        try:
            cluster = LocalCluster(
                n_workers=processes,
                threads_per_worker=THREADS,
                processes=True,
                resources={self.slot: 1},
                memory_limit=self.memory_limit,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
                env=environment(max(1, CPU_COUNT // processes)),
            )
        except (OSError, RuntimeError, TimeoutError, ValueError) as error:
            raise ClusterError(f"the local cluster did not start: {error}") from error
        with cluster, Client(cluster) as client:
            yield client


def local_processes(recipe: LocalRecipe, process_bytes: int) -> int:
    """Return how many processes a local cluster gets, if each needs so much memory."""
    if recipe.processes is not None:
        return recipe.processes
    # Dask's own counts know of affinity and of containers' limits.
    return int(max(1, min(CPU_COUNT, MEMORY_LIMIT // process_bytes)))


def has_gpu() -> bool:
    """Whether processes of this machine see an NVIDIA card, asking no library."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return not hidden and any(Path("/dev").glob("nvidia[0-9]*"))
