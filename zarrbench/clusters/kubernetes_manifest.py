"""What Kubernetes is given: a ``DaskCluster`` as ``kubectl apply`` takes it, and its secret."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed.security import Security

from zarrbench.clusters.recipe import THREADS, environment

if TYPE_CHECKING:
    from zarrbench.clusters.kubernetes import KubernetesRecipe

API = "kubernetes.dask.org/v1"
PORT = 8786
TLS_FOLDER = "/etc/zarrbench-tls"


def manifest(recipe: "KubernetesRecipe", name: str) -> dict[str, Any]:
    """Return the ``DaskCluster`` as ``kubectl apply`` would take it.

    It mounts the secret ``NAME-tls``, which holds ``ca.pem``, ``cert.pem`` and ``key.pem``.
    """
    files = {"--tls-ca-file": "ca.pem", "--tls-cert": "cert.pem", "--tls-key": "key.pem"}
    tls = [word for flag, file in files.items() for word in (flag, f"{TLS_FOLDER}/{file}")]
    scheduler = _pod(recipe.scheduler, name, "scheduler", [
        "--protocol", "tls", "--port", str(PORT), "--dashboard-address", "127.0.0.1:8787", *tls,
    ])  # fmt: skip
    probe = {"tcpSocket": {"port": "tcp-comm"}, "periodSeconds": 10}
    scheduler["containers"][0] |= {
        "ports": [{"name": "tcp-comm", "containerPort": PORT, "protocol": "TCP"}],
        "readinessProbe": probe,
    }
    worker = _pod(recipe.worker, name, "worker", [
        f"tls://{name}-scheduler:{PORT}", "--name", "$(DASK_WORKER_NAME)",
        "--nthreads", str(THREADS), "--resources", f"{recipe.slot}=1",
        "--memory-limit", "1.0",  # of the pod's; auto would give a share for the threads
        "--death-timeout", "60", "--no-dashboard", "--dashboard-address", "127.0.0.1:0", *tls,
    ])  # fmt: skip
    service = {
        "type": "ClusterIP",
        "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
        "ports": [{"name": "tcp-comm", "port": PORT, "targetPort": "tcp-comm", "protocol": "TCP"}],
    }
    return {
        "apiVersion": API,
        "kind": "DaskCluster",
        "metadata": {"name": name},
        "spec": {
            "scheduler": {"spec": scheduler, "service": service},
            "worker": {"replicas": recipe.workers, "spec": worker},
        },
    }


def _pod(spec: Mapping[str, Any], name: str, role: str, words: list[str]) -> dict[str, Any]:
    pod = copy.deepcopy(dict(spec))
    for each in [*pod["containers"], *pod.get("initContainers", [])]:
        resources = each.get("resources", {})
        for kind in ("requests", "limits"):
            # Kubernetes takes a number of cards, the operator's definition only text.
            amounts = resources.get(kind, {})
            amounts.update({key: str(amount) for key, amount in amounts.items()})
    container = pod["containers"][0]
    container.setdefault("name", role)
    container["command"] = ["python", "-m", f"distributed.cli.dask_{role}"]
    container["args"] = words
    container["env"] = [*container.get("env", []), *_environment(container)]
    pod["volumes"] = [
        *pod.get("volumes", []), {"name": "zarrbench-tls", "secret": {"secretName": f"{name}-tls"}}
    ]  # fmt: skip
    container["volumeMounts"] = [
        *container.get("volumeMounts", []),
        {"name": "zarrbench-tls", "mountPath": TLS_FOLDER, "readOnly": True},
    ]
    return pod


def _environment(container: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the variables of a container that says how many cores it has, else none."""
    resources = container.get("resources", {})
    stated = {**resources.get("requests", {}), **resources.get("limits", {})}.get("cpu")
    if stated is None:
        return []
    text = str(stated)
    cores = float(text.removesuffix("m")) / (1000 if text.endswith("m") else 1)
    own = {entry["name"] for entry in container.get("env", [])}
    variables = environment(max(1, int(cores)))
    return [{"name": key, "value": value} for key, value in variables.items() if key not in own]


def secret(name: str, security: Security, owner: Mapping[str, Any]) -> dict[str, Any]:
    """Return the secret with the credentials of a run; Kubernetes removes it with its owner."""
    files = {
        "ca.pem": security.tls_ca_file,
        "cert.pem": security.tls_worker_cert,
        "key.pem": security.tls_worker_key,
    }
    reference = {
        "apiVersion": API, "kind": "DaskCluster", "name": name, "uid": str(owner["uid"])
    }  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{name}-tls", "ownerReferences": [reference]},
        "type": "Opaque",
        "stringData": {file: Path(str(path)).read_text() for file, path in files.items()},
    }
