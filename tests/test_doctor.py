import subprocess
import sys

import pytest

from zarrbench import doctor
from zarrbench.doctor import diagnose

GOOD = {
    "zarr": "3.1.6",
    "xarray": "2026.9.0",
    "dask": "2026.8.0",
    "sgkit": "0.8.0",
    "bio2zarr": "0.2.1",
    "numpy": "2.4.6",
    "setuptools": "80.9.0",
    "tensorflow": "2.21.0",
    "tensorflow-cpu": "not installed",
    "tf_keras": "not installed",
    "keras": "3.15.0",
}


@pytest.fixture
def found(monkeypatch):
    """Diagnose a machine with other versions than this one."""

    def with_versions(**changes: str) -> list[str]:
        versions = {**GOOD, **{name.replace("_", "-"): v for name, v in changes.items()}}
        monkeypatch.setattr(doctor, "installed", lambda packages=(): versions)
        return diagnose()["problems"]

    return with_versions


def test_versions_that_work(found):
    assert found() == []
    assert found(numpy="2.0.0", zarr="3.1.0", tensorflow="2.18.0") == []


@pytest.mark.parametrize(
    ("package", "version", "remedy"),
    [
        ("zarr", "2.18.7", "zarr>=3.1"),
        ("zarr", "3.0.10", "zarr>=3.1"),
        ("numpy", "1.26.4", "numpy>=2"),
        ("bio2zarr", "0.1.6", "bio2zarr>=0.2.1"),
        ("setuptools", "81.0.0", "setuptools<81"),
        ("setuptools", "90", "setuptools<81"),
        ("keras", "3.5.0", "keras>=3.12"),
        ("tensorflow", "2.17.1", "tensorflow>=2.18"),
    ],
)
def test_a_version_known_not_to_work(found, package, version, remedy):
    (problem,) = found(**{package: version})
    assert problem.startswith(f"{package} {version} does not work here (")
    assert problem.endswith(f"install '{remedy}'")


@pytest.mark.parametrize("version", ["3.10.0", "3.1.0.post1", "3.2.0rc1", "3.1.6+local"])
def test_versions_are_compared_as_versions(found, version):
    assert found(zarr=version) == []


@pytest.mark.parametrize(
    "package", ["zarr", "xarray", "dask", "sgkit", "bio2zarr", "tensorflow", "keras"]
)
def test_a_missing_package(found, package):
    (problem,) = found(**{package: "not installed"})
    assert problem.startswith(f"{package} is missing")


def test_two_tensorflows(found):
    (problem,) = found(tensorflow_cpu="2.21.0")
    assert "uninstall tensorflow-cpu" in problem


def test_python_that_is_not_supported(found, monkeypatch):
    for version, known in [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)]:
        monkeypatch.setattr(sys, "version_info", (*version, 0))
        assert (found() == []) == known


def test_several_problems_at_once(found):
    assert len(found(zarr="2.18", numpy="1.26", tensorflow_cpu="2.17")) == 3


def test_this_machine():
    here = diagnose()
    assert set(here) == {"python", "platform", "versions", "problems"}
    assert here["versions"]["zarr"].startswith("3.")
    assert here["problems"] == []


def test_it_imports_nothing_that_may_be_broken():
    code = (
        "import sys; from zarrbench.doctor import diagnose; diagnose();"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "zarr", "xarray", "dask", "sgkit", "bio2zarr", "tensorflow", "keras"}
    assert not heavy & set(done.stdout.split())
