"""Fixtures that several folders of tests use; with CI=true nothing that they need may be absent."""

import os
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest


ROOT = Path(__file__).parent.parent
# What CI must not skip: its machines have the real cohort and install bcftools.
NEVER_SKIPPED = ("realdata", "bcftools", "parity")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With CI=true, turn a skip of a test that must run into a failure."""
    report = yield
    marked = any(item.get_closest_marker(name) for name in NEVER_SKIPPED)
    if report.skipped and marked and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and CI=true: {report.longrepr}"
    return report


def absent(reason: str) -> None:
    """Skip a test for want of something, except in CI, where everything must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI=true", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of the real chr22 cohort."""
    folder = Path(os.environ.get("ZARRBENCH_REALDATA", ROOT.parent / "shared" / "realdata"))
    if not folder.is_dir():
        absent(f"the real cohort is not at {folder} (ZARRBENCH_REALDATA)")
    return folder


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder of the study's public tables."""
    folder = Path(os.environ.get("ZARRBENCH_PUBLISHED", ROOT.parent / "shared" / "published"))
    if not folder.is_dir():
        absent(f"the study's tables are not at {folder} (ZARRBENCH_PUBLISHED)")
    return folder


@pytest.fixture(scope="session")
def bcftools() -> str:
    """The path of bcftools."""
    found = shutil.which("bcftools")
    if found is None:
        absent("bcftools is not installed")
    return str(found)
