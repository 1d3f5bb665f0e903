"""Every byte of a cube is vouched for: flips, cuts and losses are found, and named."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from zarrbench import ledger
from zarrbench.errors import StoreLayoutError
from zarrbench.predictions.cube import done_shards
from zarrbench.predictions.run import fill_cube
from zarrbench.predictions.verification import CubeDamage, verify_cube


@pytest.fixture(scope="module")
def whole(planned, job_of, client, tmp_path_factory) -> Path:
    """A finished cube with bins, two readouts and three blocks."""
    plan = planned(block_size=8, store_bins=True)
    job = job_of(plan, tmp_path_factory.mktemp("whole") / "predictions.zarr")
    fill_cube(plan, job, client, "GPU")
    return job.cube


@pytest.fixture
def cube(whole, tmp_path) -> Path:
    copy = tmp_path / whole.name
    shutil.copytree(whole, copy)
    shutil.copytree(ledger.ledger_of(whole), ledger.ledger_of(copy))
    return copy


def files(cube: Path) -> list[Path]:
    return sorted(path for path in cube.rglob("*") if path.is_file())


def test_an_untouched_cube_is_whole_and_every_file_was_read(cube):
    assert verify_cube(cube) == (len(files(cube)), [])


def test_every_flipped_byte_is_found(cube):
    """1,000 flips of any bits anywhere in the files, one at a time in every file in turn."""
    shards = {key: shard for shard, entry in done_shards(cube).items() for key in entry.checksums}
    rng = np.random.default_rng(5)
    for start in range(0, 1000, len(files(cube))):
        flipped = {}
        for path in files(cube)[: 1000 - start]:
            original = path.read_bytes()
            damaged = bytearray(original)
            damaged[rng.integers(len(damaged))] ^= int(rng.integers(1, 256))
            path.write_bytes(damaged)
            flipped[path] = original
        _, found = verify_cube(cube)
        keys = [path.relative_to(cube).as_posix() for path in flipped]
        assert found == [CubeDamage(key, "altered", shards.get(key)) for key in sorted(keys)]
        for path, original in flipped.items():
            path.write_bytes(original)


def test_cut_and_lost_files_are_found(cube):
    n_objects = len(files(cube))
    (cube / "prediction" / "c.2.1.0.0").unlink()
    cut = cube / "reference_output" / "c.3.0.0"
    cut.write_bytes(cut.read_bytes()[:-1])
    (cube / "track" / "zarr.json").unlink()
    n_read, found = verify_cube(cube)
    assert n_read == n_objects
    assert [(damage.key, damage.described) for damage in found] == [
        ("prediction/c.2.1.0.0", "gene ENSG00000000003 block 1: missing"),
        ("reference_output/c.3.0.0", "gene ENSG00000000004 block 0: altered"),
        ("track/zarr.json", "missing"),
    ]


def test_shards_that_are_not_done_are_no_damage(planned, job_of, client, tmp_path):
    plan = planned(block_size=8)
    job = job_of(plan, tmp_path / "predictions.zarr")
    fill_cube(plan, job, client, "GPU", 2)
    n_objects, found = verify_cube(job.cube)
    assert (n_objects, found) == (len(files(job.cube)), [])


def test_a_cube_without_its_ledger_cannot_be_vouched_for(cube):
    shutil.rmtree(ledger.ledger_of(cube))
    with pytest.raises(StoreLayoutError, match=r"manifest\.json cannot be read"):
        verify_cube(cube)
