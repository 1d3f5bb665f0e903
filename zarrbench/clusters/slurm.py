"""SLURM: every job is one worker process, and a job that ends is replaced while there is work."""

import contextlib
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask.utils import parse_bytes
from distributed import Client

from zarrbench import progress
from zarrbench.clusters.recipe import (
    THREADS,
    ClusterRecipe,
    environment,
    refuse_memory,
    seconds,
)
from zarrbench.clusters.security import temporary_security
from zarrbench.clusters.slots import workers_of
from zarrbench.errors import ClusterError

if TYPE_CHECKING:
    from zarrbench.clusters.slurm_jobs import SlurmJobs

_POLL_SECONDS = 2.0
_WALLTIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


@dataclass(frozen=True, kw_only=True)
class SlurmRecipe(ClusterRecipe):
    """Jobs of one worker process each, connected by TLS to a scheduler in the driver.

    The driver runs where nodes can reach it, such as a login node or a long job of its own.

    Parameters
    ----------
    jobs : int
        How many at once.
    cores : int
        Of one job.
    memory : str
        Of one job, such as ``16GiB``.
    walltime : str
        Of one job, as sbatch writes it: ``4:00:00``, ``2-00:00:00``.
    margin : str
        A worker leaves so long before its walltime, or up to twice as long, lest all leave at
        once; what it was predicting is done again elsewhere.
    partition, account : str, optional
    directives : list of str
        Further options of sbatch, such as ``--gres=gpu:1``.
    setup : list of str
        Shell lines before the worker starts, such as ``module load cuda``.
    python : str, optional
        Interpreter on the nodes; by default the path of the driver's own.
    interface : str, optional
        Network interface of driver and nodes, such as ``ib0``; by default the one that leads out.
    folder : str
        Seen by driver and nodes: logs of the jobs, and the TLS key of the run, which only its
        owner can read and which is removed with the run.
    wait : str
        How long the first worker may take to arrive: jobs queue. A run that has lost all its
        workers waits as long for another.
    """

    jobs: int
    cores: int
    memory: str
    walltime: str
    margin: str = "10 minutes"
    partition: str | None = None
    account: str | None = None
    directives: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    python: str | None = None
    interface: str | None = None
    folder: str = "~/.cache/zarrbench/slurm"
    wait: str = "1 hour"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.jobs < 1 or self.cores < 1:
            raise ValueError("jobs and cores must be at least 1")
        refuse_memory("memory", self.memory)
        seconds("wait", self.wait)
        margin = seconds("margin", self.margin)
        if walltime_seconds(self.walltime) <= 2 * margin:
            raise ValueError(
                f"walltime {self.walltime} leaves no time to work: workers go up to twice the "
                f"margin of {self.margin} before it; ask for more, or lower margin"
            )

    @property
    def patience(self) -> float:
        return seconds("wait", self.wait)

    @property
    def shared_folder(self) -> Path:
        return Path(self.folder).expanduser().absolute()

    def settings(self) -> dict[str, Any]:
        """Return what dask-jobqueue is told, but for credentials."""
        walltime, margin = walltime_seconds(self.walltime), seconds("margin", self.margin)
        variables = environment(self.cores)
        return {
            "queue": self.partition,
            "account": self.account,
            "walltime": self.walltime,
            "cores": THREADS,  # to dask-jobqueue, Dask threads
            "processes": 1,
            "job_cpu": self.cores,
            "memory": self.memory,
            "job_extra_directives": list(self.directives),
            "job_script_prologue": [
                *self.setup, *(f"export {key}={value}" for key, value in variables.items())
            ],
            "python": self.python,
            "interface": self.interface,
            "worker_extra_args": [
                "--resources", f"{self.slot}=1",
                "--lifetime", f"{walltime - 1.5 * margin:.0f}s",
                "--lifetime-stagger", f"{margin / 2:.0f}s",
                "--no-dashboard", "--dashboard-address", "127.0.0.1:0",
            ],
            "log_directory": str(self.shared_folder),
            "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
            "silence_logs": logging.CRITICAL,
        }  # fmt: skip

    @contextlib.contextmanager
    def start(self, process_bytes: int) -> Iterator[Client]:
        if parse_bytes(self.memory) < process_bytes:
            raise ClusterError(
                f"memory {self.memory} of a job is too little for this model, which needs "
                f"{process_bytes / 2**30:.0f} GiB; ask for more in the cluster file"
            )
        try:
            from zarrbench.clusters.slurm_jobs import SlurmJobs
        except ImportError as error:
            raise ClusterError(
                f"the cluster kind slurm needs dask-jobqueue, which cannot be imported ({error}): "
                f"install it with pip install 'zarrbench[slurm]'"
            ) from error
        with temporary_security(self.shared_folder) as security:
            try:
                cluster = SlurmJobs(self.jobs, **self.settings(), security=security)
            except (OSError, RuntimeError, ValueError) as error:
                raise ClusterError(f"the SLURM cluster did not start: {error}") from error
            with cluster:
                cluster.submit()
                with Client(cluster) as client:
                    _wait_for_worker(self, cluster, client)
                    cluster.keep_up()
                    yield client


def walltime_seconds(text: str) -> int:
    """Return the seconds of a walltime as sbatch reads it: minutes, or clock time after days."""
    found = _WALLTIME.fullmatch(text)
    if found is None:
        raise ValueError(f"walltime must be as sbatch writes it, such as 4:00:00, found {text!r}")
    days, *rest = found.groups()
    parts = [int(part) for part in rest if part is not None]
    if days is not None:  # days-hours[:minutes[:seconds]]
        units: tuple[int, ...] = (3600, 60, 1)
    else:  # minutes[:seconds], or hours:minutes:seconds
        units = (3600, 60, 1) if len(parts) == 3 else (60, 1)
    return 86400 * int(days or 0) + sum(n * unit for n, unit in zip(parts, units, strict=False))


def _wait_for_worker(recipe: SlurmRecipe, cluster: "SlurmJobs", client: Client) -> None:
    """Wait for the first worker; the others may come later.

    Raises
    ------
    ClusterError
        If none arrives in time, or every job ended before one did.
    """
    from zarrbench.clusters.slurm_jobs import last_words, queued

    progress.note(f"slurm: {recipe.jobs} jobs submitted, waiting for the first worker")
    deadline = time.monotonic() + seconds("wait", recipe.wait)
    while not workers_of(client):
        jobs, queue = list(cluster.job_ids().values()), queued()
        left = [queue[job] for job in jobs if job in queue]
        if len(jobs) == recipe.jobs and not left and not workers_of(client):
            raise ClusterError(
                f"all {recipe.jobs} SLURM jobs ended before a worker arrived: "
                f"{last_words(recipe.shared_folder, jobs)}; correct the cluster file (setup, "
                f"python), and see that nodes reach {client.scheduler.address} (interface)"
            )
        if time.monotonic() > deadline:
            raise ClusterError(
                f"no worker arrived within {recipe.wait}: squeue says of the jobs "
                f"{', '.join(sorted(set(left))) or 'nothing'}, and "
                f"{last_words(recipe.shared_folder, jobs)}; raise 'wait', ask for less, or see "
                f"that nodes reach {client.scheduler.address} (interface)"
            )
        time.sleep(_POLL_SECONDS)
