"""Jobs in SLURM's queue: one Dask worker each, and a new one for each that ended.

Imported only where dask-jobqueue is installed.
"""

import asyncio
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any

from dask_jobqueue import SLURMCluster
from tornado.ioloop import PeriodicCallback

from zarrbench.errors import ClusterError

_REPLACE_SECONDS = 10
_LOG_LINES = 5


class SlurmJobs(SLURMCluster):
    """A scheduler in this process, and `jobs` of one worker each.

    A job ends at its worker's lifetime, by scancel, preemption or the failure of its node. Dask
    notes that a worker is gone, but asks for no other: `adapt` counts what was ordered.
    """

    def __init__(self, jobs: int, **settings: Any) -> None:
        self._jobs = jobs
        self._replacing = PeriodicCallback(self._replace_ended, 1000 * _REPLACE_SECONDS)
        super().__init__(**settings)

    def submit(self) -> None:
        """Submit all jobs."""
        refuse_impossible(self.job_script())
        self.scale(jobs=self._jobs)

    def keep_up(self) -> None:
        """From now on, submit a new job for each that ends."""
        self.loop.add_callback(self._replacing.start)

    def job_ids(self) -> dict[str, str]:
        """Return the job of every worker that was submitted, by the name of the worker."""
        jobs = {name: getattr(job, "job_id", None) for name, job in dict(self.workers).items()}
        return {name: job for name, job in jobs.items() if job}

    def _new_worker_name(self, worker_number: int) -> str:
        # A name that comes again would let Dask cancel the new job in place of the lost one.
        return f"{self._name}-{uuid.uuid4().hex[:8]}"

    async def _replace_ended(self) -> None:
        before = self.job_ids()
        try:
            queue = await asyncio.to_thread(queued)
        except ClusterError:
            return  # SLURM's controller is away for a moment; jobs run on meanwhile
        for name, job in before.items():
            if job not in queue:
                self.workers.pop(name, None)
                self.worker_spec.pop(name, None)
        self.scale(jobs=self._jobs)

    async def _close(self) -> None:
        self._replacing.stop()
        await super()._close()


def refuse_impossible(job_script: str) -> None:
    """Let sbatch judge a job without submitting it.

    Raises
    ------
    ClusterError
        With what sbatch says.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
        script.write(job_script)
        script.flush()
        said = _command("sbatch", "--test-only", script.name)
    if said.returncode:
        raise ClusterError(
            f"SLURM accepts no such job ({' '.join(said.stderr.split())}): correct partition, "
            f"account, cores, memory, walltime or directives in the cluster file"
        )


def queued() -> dict[str, str]:
    """Return state and reason, by job, of everything of this user in SLURM's queue.

    Raises
    ------
    ClusterError
        If SLURM does not answer.
    """
    said = _command("squeue", "--me", "--noheader", "--format=%i %T %r")
    if said.returncode:
        raise ClusterError(f"squeue fails: {' '.join(said.stderr.split())}; ask your site")
    return dict(line.split(maxsplit=1) for line in said.stdout.splitlines())


def _command(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(
            f"{words[0]} cannot be run ({error}): start zarrbench where SLURM's commands are, such "
            f"as a login node"
        ) from error


def last_words(folder: Path, jobs: list[str]) -> str:
    """Return, as a clause, what the first log of these jobs ends with."""
    for path in sorted(path for job in jobs for path in folder.glob(f"*-{job}.err")):
        lines = path.read_text(errors="replace").strip().splitlines()[-_LOG_LINES:]
        if lines:
            return f"{path} ends with: {' | '.join(lines)}"
    return f"their logs would be in {folder}"
