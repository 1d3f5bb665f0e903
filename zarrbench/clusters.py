"""From one YAML of ``cluster/`` to a Dask client: where a pipeline runs."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dask.system import CPU_COUNT
from dask.utils import parse_bytes
from distributed import Client, LocalCluster
from distributed.system import MEMORY_LIMIT

from zarrbench.errors import ClusterError
from zarrbench.recipes import load_yaml, parse

# What a process with TensorFlow and one small model needs at least
_BYTES_PER_PROCESS = 2 << 30


@dataclass(frozen=True)
class ClusterRecipe:
    """One place to run.

    Parameters
    ----------
    name : str
    kind : {'local'}
        Processes on this machine.
    processes : int, optional
        Worker processes, one model each; by default as many as cores and memory allow.
    slot : str
        Dask resource that one prediction takes; every process offers one.
    memory_limit : str
        Memory of one process, such as ``4GiB`` (0 for no limit); ``auto`` shares the machine's.
    """

    name: str
    kind: Literal["local"] = "local"
    processes: int | None = None
    slot: str = "GPU"
    memory_limit: str = "auto"
    description: str = ""

    def __post_init__(self) -> None:
        if self.processes is not None and self.processes < 1:
            raise ValueError("processes must be at least 1")
        if not self.slot:
            raise ValueError("slot must name a resource")
        if self.memory_limit != "auto" and _parsed_bytes(self.memory_limit) < 0:
            raise ValueError(f"memory_limit must be auto or a size, found {self.memory_limit!r}")


def _parsed_bytes(text: str) -> int:
    """Return the bytes that Dask reads in a text such as 4GiB, -1 where it reads none."""
    try:
        return int(parse_bytes(text))
    except ValueError:
        return -1


def load_cluster_recipe(path: Path) -> ClusterRecipe:
    """Read one file of ``cluster/``."""
    return parse(ClusterRecipe, load_yaml(path), str(path))


def local_processes(recipe: ClusterRecipe) -> int:
    """Return how many processes a local cluster gets."""
    if recipe.processes is not None:
        return recipe.processes
    # Dask's own counts know of affinity and of containers' limits.
    return int(max(1, min(CPU_COUNT, MEMORY_LIMIT // _BYTES_PER_PROCESS)))


@contextlib.contextmanager
def started(recipe: ClusterRecipe) -> Iterator[Client]:
    """Start the cluster, give a client, and stop it in the end.

    Scheduler and dashboard listen on this machine only.

    Raises
    ------
    ClusterError
        If it does not start.
    """
    processes = local_processes(recipe)
    threads = max(1, CPU_COUNT // processes)
    # One prediction at a time a process, with its share of the cores: more threads would compete.
    environment = {
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "OMP_NUM_THREADS": str(threads),
    }
    try:
        cluster = LocalCluster(
            n_workers=processes,
            threads_per_worker=1,
            processes=True,
            resources={recipe.slot: 1},
            memory_limit=recipe.memory_limit,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
            env=environment,
        )
    except (OSError, RuntimeError, TimeoutError, ValueError) as error:
        raise ClusterError(f"the local cluster did not start: {error}") from error
    with cluster, Client(cluster) as client:
        check_slots(client, recipe.slot)
        yield client


def workers_of(client: Client) -> dict[str, Any]:
    """Return what the scheduler knows of its workers, by address."""
    # Not client.scheduler_info(): it returns what a background task of the client, which asks for
    # no workers, may have written over the answer meanwhile.
    identity = client.sync(client.scheduler.identity, n_workers=-1)
    return dict(identity["workers"])


def check_slots(client: Client, slot: str) -> int:
    """Return how many predictions can run at once; none would make a run wait for ever."""
    slots = sum(int(w.get("resources", {}).get(slot, 0)) for w in workers_of(client).values())
    if slots < 1:
        raise ClusterError(
            f"no worker of the cluster offers the resource {slot!r}, so that predictions would "
            f"wait for ever; start workers with --resources '{slot}=1', or correct 'slot'"
        )
    return slots
