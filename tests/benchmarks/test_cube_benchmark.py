"""The benchmark of the cube runs, at a size that says nothing about speed."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIZES = {"genes": 2, "many-genes": 3, "people": 5, "tracks": 70, "rounds": 2, "threads": 1}
SMALL = [f"--{name}={size}" for name, size in SIZES.items()]


@pytest.mark.parametrize("values", ["people", "random"])
def test_everyone_reads_what_was_written(tmp_path: Path, values: str) -> None:
    command = [sys.executable, "-m", "benchmarks.cube", "--folder", str(tmp_path), *SMALL]
    done = subprocess.run(
        [*command, "--values", values], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\nzarrbench, open_cube ") == 2
    assert done.stdout.count("\n.npy a gene ") == 2
    for module, contender in (("hdf5plugin", "HDF5, lz4"), ("zarrs", "Zarr, with zarrs")):
        if find_spec(module) is None:
            assert f"{module} is not installed: pip install" in done.stdout
        else:
            assert done.stdout.count(f"\n{contender} ") == 2
    if find_spec("h5py") and find_spec("hdf5plugin"):
        assert done.stdout.count("of the time of HDF5, lz4, goal") == 7
    assert not list(tmp_path.iterdir())
