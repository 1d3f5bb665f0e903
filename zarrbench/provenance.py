"""What made a store: versions, machine, time; and a fingerprint of any recipe."""

import dataclasses
import hashlib
import json
import os
import platform
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "zarrbench", "numpy", "scipy", "pandas", "xarray", "zarr", "numcodecs", "dask", "distributed",
    "sgkit", "bio2zarr", "pyfaidx", "scikit-learn", "tensorflow", "keras", "tensorflow-hub",
)  # fmt: skip


#: what `zarrbench model fetch` writes into a folder about its origin
FETCHED = "fetched.json"


def installed(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Return the versions of `packages`, without importing any of them."""
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


@lru_cache
def software() -> str:
    """Return the versions that the numbers of a prediction depend on, in one line."""
    versions = installed(("zarrbench", "keras", os.environ.get("KERAS_BACKEND", "tensorflow")))
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def now() -> str:
    """Return the present time, UTC, ISO 8601 to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp() -> dict[str, Any]:
    """Return versions, platform and time as a JSON-ready mapping. No user or host name."""
    return {
        "created": now(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "versions": installed(),
    }


def plain(value: Any) -> Any:
    """Return dataclasses, tuples and paths as JSON-ready mappings, lists and strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of a JSON-ready value, independent of the order of keys."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def content_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or one over names and contents of all files of a folder.

    Where and when the folder was fetched does not count.
    """
    if path.is_file():
        return file_sha256(path)
    files = sorted(p for p in path.rglob("*") if p.is_file() and p != path / FETCHED)
    return fingerprint([[p.relative_to(path).as_posix(), file_sha256(p)] for p in files])


def folder_state(path: Path) -> str:
    """Return a SHA-256 over names, sizes and times of all files below a folder, reading none.

    A store of other people's making may be large; whoever changes it changes these.
    """
    stats = [(p.relative_to(path).as_posix(), p.stat()) for p in path.rglob("*") if p.is_file()]
    return fingerprint(sorted([name, s.st_size, s.st_mtime_ns] for name, s in stats))


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Name the fields in which two JSON-ready values differ, as ``a.b: old -> new``."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted(set(old) | set(new)):
            name = f"{prefix}.{key}" if prefix else key
            found += differences(old.get(key), new.get(key), name)
        return found
    if old == new:
        return []
    return [f"{prefix}: {_short(old)} -> {_short(new)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
