"""What is installed, and combinations that are known not to work together."""

import platform
import sys
from typing import Any

from packaging.version import Version

from zarrbench.provenance import installed

#: package, version that fails (as ``< X`` or ``>= X``), why, what to do
_KNOWN_BAD = (
    ("zarr", "<", "3.1", "the cube needs Zarr format 3 with sharding", "zarr>=3.1"),
    ("numpy", "<", "2", "variable-length strings need numpy 2", "numpy>=2"),
    ("bio2zarr", "<", "0.2.1", "older releases write another VCF Zarr", "bio2zarr>=0.2.1"),
    (
        "setuptools",
        ">=",
        "81",
        "tensorflow-hub imports pkg_resources, which is gone",
        "setuptools<81",
    ),
    ("keras", "<", "3.12", "older ones run code hidden in .h5 files", "keras>=3.12"),
    ("tensorflow", "<", "2.18", "Keras 3 with numpy 2 needs it", "tensorflow>=2.18"),
)


def diagnose() -> dict[str, Any]:
    """Return versions, and one sentence for each known problem; imports none of the packages."""
    versions = {**installed(), **installed(("setuptools", "tf_keras", "tensorflow-cpu"))}
    problems = [
        f"{name} {versions[name]} does not work here ({why}): install '{remedy}'"
        for name, relation, bound, why, remedy in _KNOWN_BAD
        if _is_bad(versions[name], relation, bound)
    ]
    problems += [
        f"{name} is missing: install zarrbench again with 'pip install zarrbench'"
        for name in ("zarr", "xarray", "dask", "sgkit", "bio2zarr", "tensorflow", "keras")
        if versions[name] == "not installed"
    ]
    if "not installed" not in (versions["tensorflow-cpu"], versions["tensorflow"]):
        problems.append(
            "tensorflow and tensorflow-cpu are both installed and overwrite each other's files: "
            "uninstall tensorflow-cpu"
        )
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        problems.append(f"Python {platform.python_version()} is not supported: use 3.11 to 3.13")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "problems": problems,
    }


def _is_bad(found: str, relation: str, bound: str) -> bool:
    if found == "not installed":
        return False
    older = Version(found) < Version(bound)
    return older if relation == "<" else not older
