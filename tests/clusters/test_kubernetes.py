"""Manifests as Kubernetes and the Dask operator take them, and a run on a stand-in for both."""

import copy
import http.server
import importlib.util
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from zarrbench.clusters import THREADS, check_slots, kubernetes, load_cluster_recipe, started
from zarrbench.clusters.kubernetes import KubernetesRecipe
from zarrbench.clusters.kubernetes_manifest import TLS_FOLDER, manifest, secret
from zarrbench.clusters.security import temporary_security
from zarrbench.errors import ClusterError, RecipeError
from zarrbench.recipes import parse

ROOT = Path(__file__).parent.parent.parent
KUBERNETES = "1.30"
POD = {"containers": [{"image": "x"}]}
SMALL = {"name": "x", "workers": 2, "scheduler": POD, "worker": POD}


@pytest.fixture
def packaged() -> KubernetesRecipe:
    return load_cluster_recipe(ROOT / "cluster" / "kubernetes_gpu.yaml")


def valid(resource: dict[str, Any]) -> dict[str, Any]:
    """Return a resource that Kubernetes knows, every field of it."""
    kubernetes_validate.validate(resource, KUBERNETES, strict=True)
    return resource


def definition() -> dict[str, Any]:
    """The schema of DaskCluster that the operator's chart installs."""
    package = Path(importlib.util.find_spec("dask_kubernetes").origin).parent
    [path] = package.glob("operator/deployment/helm/*/crds/daskcluster.yaml")
    [version] = yaml.safe_load(path.read_text())["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 0}, "workers must be at least 1"),
        ({"worker": {}}, "worker must be a pod spec with containers"),
        ({"worker": {"containers": []}}, "worker must be a pod spec with containers"),
        ({"scheduler": {"containers": [{"args": ["x"]}]}}, r"containers\[0\].args is zarrbench"),
        ({"image": "x"}, "unknown key 'image'"),
        ({"wait": "long"}, "wait must be a time"),
    ],
)
def test_recipe_that_is_refused(changes, message):
    with pytest.raises(RecipeError, match=rf"mine\.yaml.*{message}"):
        parse(KubernetesRecipe, SMALL | changes, "mine.yaml")


def test_dask_cluster_fits_the_definition_of_the_operator(packaged):
    schema = definition()
    jsonschema.validate(manifest(packaged, "zb"), schema)
    broken = manifest(packaged, "zb")
    broken["spec"]["worker"]["spec"]["containers"][0]["env"][0]["name"] = 7
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


def test_what_the_operator_makes_is_valid(packaged):
    """Deployments and service by the operator's own functions, every field checked."""
    from dask_kubernetes.operator.controller import controller

    spec = manifest(packaged, "zb")["spec"]
    scheduler = valid(
        controller.build_scheduler_deployment_spec("zb", spec["scheduler"]["spec"], {}, {})
    )
    worker = valid(
        controller.build_worker_deployment_spec(
            "zb-default", "genomics", "zb", "0a1b", spec["worker"]["spec"], {}, {}
        )
    )
    service = valid(
        controller.build_scheduler_service_spec("zb", spec["scheduler"]["service"], {}, {})
    )
    # the worker finds the service, the service the scheduler's pods, the probe its port
    container = scheduler["spec"]["template"]["spec"]["containers"][0]
    [port] = service["spec"]["ports"]
    address = worker["spec"]["template"]["spec"]["containers"][0]["args"][0]
    assert address == f"tls://{service['metadata']['name']}:{port['port']}"
    assert [port["targetPort"]] == [each["name"] for each in container["ports"]]
    assert container["readinessProbe"]["tcpSocket"]["port"] == port["targetPort"]
    labels = scheduler["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    names = [e["name"] for e in worker["spec"]["template"]["spec"]["containers"][0]["env"]]
    assert "DASK_WORKER_NAME" in names  # which --name refers to
    scheduler["spec"]["template"]["spec"]["containers"][0]["recources"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        valid(scheduler)


def test_the_driver_of_the_page():
    page = (ROOT / "cluster" / "README.md").read_text()
    [written] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    resources = [valid(resource) for resource in yaml.safe_load_all(written)]
    assert [each["kind"] for each in resources] == ["Job", "ServiceAccount", "Role", "RoleBinding"]


def test_credentials(packaged, tmp_path):
    with temporary_security(tmp_path) as security:
        made = valid(secret("zb", security, {"uid": "1-2"}))
    assert set(made["stringData"]) == {"ca.pem", "cert.pem", "key.pem"}
    [volume] = [
        each["secret"]
        for each in manifest(packaged, "zb")["spec"]["worker"]["spec"]["volumes"]
        if "secret" in each
    ]
    assert volume["secretName"] == made["metadata"]["name"]


def test_one_process_one_card_one_slot(packaged):
    [container] = manifest(packaged, "zb")["spec"]["worker"]["spec"]["containers"]
    words = " ".join(container["args"])
    assert f"--nthreads {THREADS} --resources GPU=1 " in words
    assert "--nworkers" not in words
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert variables["OMP_NUM_THREADS"] == container["resources"]["limits"]["cpu"]
    assert {"/data", TLS_FOLDER} == {each["mountPath"] for each in container["volumeMounts"]}


@pytest.mark.parametrize(
    ("resources", "threads"),
    [
        ({"requests": {"cpu": "2"}}, "2"),
        ({"requests": {"cpu": 2}, "limits": {"cpu": "3500m"}}, "3"),
        ({"limits": {"cpu": "500m"}}, "1"),
        ({"limits": {"memory": "1Gi"}}, None),
    ],
)
def test_threads_of_the_cores_of_a_pod(resources, threads):
    pod = {"containers": [{"image": "x", "resources": resources}]}
    recipe = parse(KubernetesRecipe, SMALL | {"worker": copy.deepcopy(pod)}, "")
    [container] = manifest(recipe, "zb")["spec"]["worker"]["spec"]["containers"]
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert variables.get("OMP_NUM_THREADS") == threads
    assert recipe.worker == pod  # left as it was


class StandIn:
    """Kubernetes' API and the Dask operator, as far as a run goes: pods are processes here."""

    def __init__(self, processes: Callable[..., subprocess.Popen[bytes]], folder: Path) -> None:
        self.calls: list[tuple[str, str]] = []
        self.cluster: dict[str, Any] | None = None
        self.processes, self.folder = processes, folder
        self.file = folder / "scheduler.json"

    def answer(self, verb: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        path, _, _ = path.partition("?")
        self.calls.append((verb, path.removeprefix("/apis/kubernetes.dask.org/v1")))
        if verb == "POST" and path.endswith("/daskclusters"):
            assert body["apiVersion"] == "kubernetes.dask.org/v1"
            jsonschema.validate(body, definition())
            self.cluster = body
            body["metadata"]["uid"] = "0-1"
            return 201, body
        if verb == "POST" and path.endswith("/secrets"):
            for name, text in body["stringData"].items():
                (self.folder / name).write_text(text)
            self.run_pods()
            return 201, body
        if verb == "GET" and path.endswith("/pods"):
            return 200, {"items": [self.pod("scheduler", self.file.exists())]}
        if verb == "DELETE":
            return 200, {}
        if path == "/version/":
            return 200, {"major": "1", "minor": "30", "gitVersion": "v1.30.0"}
        return 404, {"message": f"no {path}", "code": 404}

    def run_pods(self) -> None:
        """Start what the pods' containers would."""
        spec = self.cluster["spec"]
        self.start(spec["scheduler"], "--scheduler-file", str(self.file), "--host", "127.0.0.1")
        while not self.address():
            time.sleep(0.05)
        for number in range(spec["worker"]["replicas"]):
            self.start(spec["worker"], number=number)

    def start(self, part: dict[str, Any], *more: str, number: int = 0) -> None:
        [container] = part["spec"]["containers"]
        words = [*container["command"], *container["args"], *more]
        words[0] = sys.executable
        found = {"8786": "0", "$(DASK_WORKER_NAME)": f"pod-{number}"}
        if words[3].startswith("tls://"):
            words[3] = self.address()
        self.processes(
            *(found.get(word, word.replace(TLS_FOLDER, str(self.folder))) for word in words)
        )

    def address(self) -> str:
        """Where the scheduler listens; empty as long as its file is not there, or not all of it."""
        try:
            return json.loads(self.file.read_text())["address"]
        except (FileNotFoundError, ValueError):
            return ""

    def pod(self, role: str, ready: bool) -> dict[str, Any]:
        reason = {"reason": "Unschedulable", "message": "0/3 nodes are available"}
        return {
            "metadata": {"name": role, "labels": {"dask.org/component": role}},
            "status": {
                "phase": "Running" if ready else "Pending",
                "conditions": [
                    {"type": "Ready", "status": str(ready), **({} if ready else reason)}
                ],
            },
        }


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """An API server that asks `answer`; its address is in the file `kubeconfig`."""
    here = SimpleNamespace(answer=None, kubeconfig=tmp_path_factory.mktemp("kube") / "config")

    class Handler(http.server.BaseHTTPRequestHandler):
        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            code, reply = here.answer(self.command, self.path, json.loads(body or b"{}"))
            data = json.dumps(reply).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = respond

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = {"server": f"http://127.0.0.1:{server.server_port}"}
    context = {"cluster": "c", "user": "u", "namespace": "genomics"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": context}],
        "clusters": [{"name": "c", "cluster": place}],
        "users": [{"name": "u", "user": {}}],
    }
    here.kubeconfig.write_text(yaml.safe_dump(config))
    yield here
    server.shutdown()


@pytest.fixture
def stand_in(api, processes, tmp_path: Path, monkeypatch) -> StandIn:
    """A stand-in whose API this process's clients of Kubernetes use."""
    standing = StandIn(processes, tmp_path)
    api.answer = lambda *call: standing.answer(*call)
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig))
    monkeypatch.setattr(kubernetes, "scheduler_address", lambda *_: standing.address())
    monkeypatch.setattr(kubernetes, "_POLL_SECONDS", 0.1)
    return standing


@pytest.mark.cluster
@pytest.mark.slow
def test_run_on_pods(stand_in, packaged, toy_run, undisturbed, tmp_path):
    recipe = replace(packaged, workers=2)
    with started(recipe) as client:
        client.wait_for_workers(2, timeout=60)
        assert check_slots(client, "GPU") == 2
        assert client.scheduler.address.startswith("tls://")
        files = toy_run.fill(tmp_path / "cube.zarr", client)
    assert files == undisturbed
    name = stand_in.cluster["metadata"]["name"]
    changes = [call for call in stand_in.calls if call[0] != "GET"]
    assert changes == [
        ("POST", "/namespaces/genomics/daskclusters"),
        ("POST", "/api/v1/namespaces/genomics/secrets"),
        ("DELETE", f"/namespaces/genomics/daskclusters/{name}"),
    ]


def test_pods_that_find_no_node(stand_in, packaged, monkeypatch):
    monkeypatch.setattr(stand_in, "run_pods", lambda: None)
    message = (
        r"no scheduler of .* within 1s: .* Pending Unschedulable 0/3 nodes are available; corr"
    )
    with pytest.raises(ClusterError, match=message), started(replace(packaged, wait="1s")):
        pass
    assert stand_in.calls[-1][0] == "DELETE"


def test_kubernetes_without_the_operator(stand_in, packaged, monkeypatch):
    monkeypatch.setattr(stand_in, "answer", lambda *_: (404, {"message": "page not found"}))
    message = r"does not create a DaskCluster .* Dask operator is installed"
    with pytest.raises(ClusterError, match=message), started(packaged):
        pass
