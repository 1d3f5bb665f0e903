"""A SLURM of this machine alone, a second host, and a run that takes a while on them."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from distributed import Client

from zarrbench.expression.samples import join_samples
from zarrbench.models.protocol import LoadableModel
from zarrbench.predictions.cube import done_shards
from zarrbench.predictions.plan import Plan, Predict, make_plan
from zarrbench.predictions.readouts import Readout
from zarrbench.predictions.run import fill_cube
from zarrbench.predictions.worker import Job
from zarrbench.stores import StoreFamily

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")

CONFIGURATION = """\
ClusterName=zarrbench
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=5
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=1,sched_min_interval=500000
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 CoresPerSocket=8 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=1-00:00:00 State=UP
"""


def free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def said(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def wait_until_idle(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while "idle" not in said("sinfo", "--noheader", "--format=%T"):
        if time.monotonic() > deadline:
            logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
            raise RuntimeError(f"SLURM did not start: {said('sinfo')}\n{logs}")
        time.sleep(0.2)


@contextlib.contextmanager
def running_slurm() -> Iterator[Path]:
    """Start munged, slurmctld and slurmd; stop them whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="zarrbench-slurm-"))
    daemons: list[subprocess.Popen[bytes]] = []
    before = os.environ.get("SLURM_CONF")
    try:
        folder.chmod(0o755)  # munged is another user
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir()
        key = folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        for path in (folder / "munge", key):
            shutil.chown(path, "munge", "munge")
        host = socket.gethostname().split(".")[0]
        configuration = folder / "slurm.conf"
        configuration.write_text(
            CONFIGURATION.format(folder=folder, host=host, ports=free_ports(2))
        )
        os.environ["SLURM_CONF"] = str(configuration)

        def start(*words: str, user: str | None = None) -> None:
            with (folder / f"{words[0]}.out.log").open("wb") as log:
                daemons.append(
                    subprocess.Popen(words, stdout=log, stderr=log, user=user, group=user,
                                     extra_groups=[] if user else None)
                )  # fmt: skip

        munge = folder / "munge"
        start(
            "munged", "--foreground", "--force", f"--socket={munge}/socket", f"--key-file={key}",
            f"--pid-file={munge}/pid", f"--seed-file={munge}/seed", f"--log-file={munge}/log",
            user="munge",
        )  # fmt: skip
        while not (munge / "socket").exists():
            if daemons[0].poll() is not None:
                raise RuntimeError((folder / "munged.out.log").read_text())
            time.sleep(0.05)
        start("slurmctld", "-D", "-c")
        start("slurmd", "-D", "-N", host)
        wait_until_idle(folder)
        yield folder
    finally:
        with contextlib.suppress(OSError):
            said("scancel", "--user=root")
            deadline = time.monotonic() + 20
            while said("squeue", "--noheader").strip() and time.monotonic() < deadline:
                time.sleep(0.2)
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        if before is None:
            os.environ.pop("SLURM_CONF", None)
        else:
            os.environ["SLURM_CONF"] = before
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def slurm() -> Iterator[Path]:
    """A SLURM whose commands this process and its children use; the folder of its logs."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"SLURM needs {', '.join(missing) or 'root'}")
    with running_slurm() as folder:
        yield folder


class SecondHost:
    """Another host, as far as the network goes: a namespace at the end of a cable to this one."""

    name, cable = f"zb{os.getpid()}", f"zb{os.getpid()}c"
    # Its own net: what a killed session left behind keeps its addresses.
    net = f"10.{128 + os.getpid() // 256 % 128}.{os.getpid() % 256}"
    here, there = f"{net}.1", f"{net}.2"

    def make(self) -> None:
        said("ip", "netns", "add", self.name)
        said("ip", "link", "add", self.cable, "type", "veth", "peer", "end", "netns", self.name)
        said("ip", "addr", "add", f"{self.here}/24", "dev", self.cable)
        said("ip", "-n", self.name, "addr", "add", f"{self.there}/24", "dev", "end")
        said("ip", "-n", self.name, "link", "set", "lo", "up")
        said("ip", "-n", self.name, "link", "set", "end", "up")
        self.connect()

    def remove(self) -> None:
        said("ip", "link", "delete", self.cable)
        said("ip", "netns", "delete", self.name)

    def command(self, *words: str) -> list[str]:
        """Return the command that runs these words there."""
        return ["ip", "netns", "exec", self.name, *words]

    def cut(self) -> None:
        said("ip", "link", "set", self.cable, "down")

    def connect(self) -> None:
        said("ip", "link", "set", self.cable, "up")


@pytest.fixture(scope="module")
def second_host() -> Iterator[SecondHost]:
    """A second host, removed whatever happens."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need ip (iproute2) and root")
    host = SecondHost()
    try:
        host.make()
        reply = said(*host.command("ip", "-o", "addr"))
        if host.there not in reply:
            pytest.skip(f"this machine makes no network namespaces: {reply}")
        yield host
    finally:
        host.remove()


@pytest.fixture
def processes() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start commands in the background; they are killed in the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        started.append(
            subprocess.Popen(
                words,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class ToyRun:
    """A run of the toy model over every block of three people: 64 tasks of a fifth of a second."""

    def __init__(self, family: StoreFamily, recipe: type) -> None:
        self.model = LoadableModel(recipe(batch_size=64, pause=0.2), ())
        join = join_samples(family.expression, family.genotypes.samples)
        predict = Predict(Readout("raw_sum"), genes="all", individuals="all", block_size=3)
        self.plan: Plan = make_plan(family, join, self.model, predict)
        self.family = family

    def job(self, cube: Path) -> Job:
        return Job(
            cube=cube,
            genotypes=self.family.part_path("genotypes"),
            reference=self.family.part_path("reference"),
            policies=self.family.recipe.policies,
            model=self.model,
            predict=self.plan.predict,
            numbers_hash=self.plan.numbers_hash,
        )

    @staticmethod
    def n_done(cube: Path) -> int:
        return len(done_shards(cube)) if cube.exists() else 0

    def fill(self, cube: Path, client: Client) -> dict[str, bytes]:
        """Fill a cube; return its files."""
        filled = fill_cube(self.plan, self.job(cube), client, "GPU")
        assert not filled.failed
        return {str(p.relative_to(cube)): p.read_bytes() for p in cube.rglob("*") if p.is_file()}


@pytest.fixture(scope="session")
def toy_run(family: StoreFamily, toy: type) -> ToyRun:
    return ToyRun(family, toy)


@pytest.fixture(scope="session")
def undisturbed(
    toy_run: ToyRun, clients: list[Client], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The files of the toy run's cube, filled by two threads of this process."""
    return toy_run.fill(tmp_path_factory.mktemp("undisturbed") / "cube.zarr", clients[1])
