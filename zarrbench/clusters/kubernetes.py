"""Kubernetes: a ``DaskCluster`` of the Dask operator, with TLS, removed when the run ends.

`KubeCluster` of dask-kubernetes connects to its scheduler without TLS and cannot be told
otherwise; the operator itself does not mind. So the resource is created here.
"""

import asyncio
import contextlib
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client
from distributed.security import Security

from zarrbench import progress
from zarrbench.clusters.kubernetes_manifest import API, manifest, secret
from zarrbench.clusters.recipe import ClusterRecipe, seconds
from zarrbench.clusters.security import temporary_security
from zarrbench.clusters.slots import workers_of
from zarrbench.errors import ClusterError

_POLL_SECONDS = 2.0
_CONNECT_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class KubernetesRecipe(ClusterRecipe):
    """Pods of one worker process each, and one pod for the scheduler.

    Parameters
    ----------
    workers : int
        Worker pods.
    scheduler, worker : dict
        Pod specs as Kubernetes writes them. The first container is Dask's: its command, ports,
        probes and credentials are added, so that it states the rest: image, resources, volumes.
    namespace : str, optional
        By default that of the present context.
    wait : str
        How long scheduler and first worker may take to arrive: nodes are found, images pulled. A
        run that has lost all its workers waits as long for another.
    """

    workers: int
    scheduler: dict[str, Any]
    worker: dict[str, Any]
    namespace: str | None = None
    wait: str = "30 minutes"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers < 1:
            raise ValueError("workers must be at least 1")
        seconds("wait", self.wait)
        for role in ("scheduler", "worker"):
            _check_pod(role, getattr(self, role))

    @property
    def patience(self) -> float:
        return seconds("wait", self.wait)

    @contextlib.contextmanager
    def start(self, process_bytes: int) -> Iterator[Client]:
        name = f"zarrbench-{uuid.uuid4().hex[:8]}"
        with (
            temporary_security(Path(tempfile.gettempdir())) as security,
            _created(self, name, security),
        ):
            deadline = time.monotonic() + seconds("wait", self.wait)
            progress.note(f"kubernetes: DaskCluster {name} created, waiting for its scheduler")
            while not any(pod.is_ready for pod in _pods(self, name) if pod.role == "scheduler"):
                _pause(self, name, "scheduler", deadline)
            address = scheduler_address(name, self.namespace)
            try:
                client = Client(address, security=security, timeout=_CONNECT_SECONDS)
            except (OSError, TimeoutError) as error:
                raise ClusterError(
                    f"the scheduler of DaskCluster {name} does not answer at {address} ({error}): "
                    f"see whether a network policy keeps you from it"
                ) from error
            with client:
                while not workers_of(client):
                    _pause(self, name, "worker", deadline)
                yield client


def _check_pod(role: str, pod: Mapping[str, Any]) -> None:
    containers = pod.get("containers")
    if not (isinstance(containers, list) and containers and isinstance(containers[0], Mapping)):
        raise ValueError(f"{role} must be a pod spec with containers")
    for key in ("command", "args"):
        if key in containers[0]:
            raise ValueError(
                f"{role}.containers[0].{key} is zarrbench's own: leave it out; shell lines of "
                f"yours belong into the image or an init container"
            )


@contextlib.contextmanager
def _created(recipe: KubernetesRecipe, name: str, security: Security) -> Iterator[None]:
    """Create the cluster and its secret; delete both in the end.

    Raises
    ------
    ClusterError
        If Kubernetes does not take them.
    """
    try:
        from kr8s.objects import Secret, new_class
    except ImportError as error:
        raise ClusterError(
            f"the cluster kind kubernetes needs dask-kubernetes, which cannot be imported "
            f"({error}): install it with pip install 'zarrbench[kubernetes]'"
        ) from error
    with contextlib.ExitStack() as stack:
        try:
            kind = new_class("DaskCluster", API, asyncio=False)
            cluster = kind(manifest(recipe, name), namespace=recipe.namespace)
            cluster.create()
            stack.callback(cluster.delete)
            owner = cluster.raw["metadata"]
            Secret(secret(name, security, owner), namespace=recipe.namespace).create()
        except Exception as error:  # those of kr8s and httpx have no common base
            raise ClusterError(
                f"Kubernetes does not create a DaskCluster ({' '.join(str(error).split())[:300]}): "
                f"see that kubectl reaches it, that the Dask operator is installed, and that you "
                f"may create daskclusters and secrets"
            ) from error
        yield


@dataclass(frozen=True)
class _Pod:
    role: str
    is_ready: bool
    state: str


def _pods(recipe: KubernetesRecipe, name: str) -> list[_Pod]:
    """Return the pods of a cluster, with what keeps each from running."""
    from kr8s.objects import Pod

    found = []
    label = f"dask.org/cluster-name={name}"
    for pod in Pod.list(namespace=recipe.namespace, label_selector=label):
        status = pod.raw.get("status", {})
        conditions = {each["type"]: each for each in status.get("conditions", [])}
        waiting = [
            each["state"]["waiting"]
            for each in status.get("containerStatuses", [])
            if "waiting" in each.get("state", {})
        ]
        unmet = [each for each in conditions.values() if each.get("status") == "False"]
        reasons = [
            f"{each.get('reason', '')} {each.get('message', '')}".strip()
            for each in [*waiting, *unmet][:1]
        ]
        role = pod.raw["metadata"].get("labels", {}).get("dask.org/component", "")
        is_ready = conditions.get("Ready", {}).get("status") == "True"
        found.append(_Pod(role, is_ready, " ".join([status.get("phase", ""), *reasons])))
    return found


def _pause(recipe: KubernetesRecipe, name: str, role: str, deadline: float) -> None:
    """Wait a moment for a pod.

    Raises
    ------
    ClusterError
        If the time is over, with what Kubernetes says of the pods.
    """
    if time.monotonic() > deadline:
        states = sorted({pod.state for pod in _pods(recipe, name) if pod.role == role})
        raise ClusterError(
            f"no {role} of DaskCluster {name} arrived within {recipe.wait}: Kubernetes says of "
            f"its pods: {'; '.join(states) or 'none (does the Dask operator run?)'}; correct the "
            f"cluster file, or raise 'wait'"
        )
    time.sleep(_POLL_SECONDS)


def scheduler_address(name: str, namespace: str | None) -> str:
    """Return where the scheduler is reached: by its name inside, else through a forwarded port."""
    from dask_kubernetes.operator.networking import get_scheduler_address

    plain = asyncio.run(get_scheduler_address(f"{name}-scheduler", namespace))
    return str(plain).replace("tcp://", "tls://")
