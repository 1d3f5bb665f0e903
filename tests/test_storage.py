import errno
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

from zarrbench.errors import SourceError, StorageError, StoreLayoutError
from zarrbench.layouts import GENES, Layout, Variable
from zarrbench.locks import locked
from zarrbench.storage import (
    open_dataset,
    published,
    put,
    quiet_zarr,
    remove,
    storage_failure,
    write_dataset,
    write_text,
    writing,
)

TOY = Layout(
    "toy",
    3,
    {
        "gene": Variable(("gene",), "string", "gene id"),
        "value": Variable(("gene", "sample"), "float", "a number"),
        "note": Variable(("gene",), "string", "a remark", optional=True),
    },
)


def toy() -> xr.Dataset:
    return xr.Dataset(
        {"value": (("gene", "sample"), np.arange(6.0).reshape(2, 3))},
        coords={"gene": np.array(["G1", "a much longer gene id"], dtype=object)},
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "permission is denied"),
        (errno.EIO, "the device reported an input/output error"),
        (errno.ENOTDIR, "a file stands where a folder must be"),
        (errno.ENAMETOOLONG, "the name is too long"),
    ],
)
def test_reasons_of_a_failure(number: int, reason: str) -> None:
    failure = storage_failure(OSError(number, "whatever"), Path("/data/x"))
    assert str(failure) == (
        f"cannot write /data/x: {reason}; free space or choose another folder with --data, or "
        f"for models ZARRBENCH_CACHE, then run the same command again: finished work is kept"
    )


def fill_disk() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def flush() -> None:
    try:
        fill_disk()
    except OSError as full:
        raise RuntimeError("cannot flush") from full


def close() -> None:
    try:
        flush()
    except RuntimeError:
        raise KeyError("in passing")  # noqa: B904 (without a cause, as libraries do)


@pytest.mark.parametrize("fail", [fill_disk, flush, close])
def test_the_reason_is_found_behind_what_libraries_raise_of_it(fail: Callable[[], None]) -> None:
    disk_is_full = pytest.raises(StorageError, match="cannot write x: the disk is full")
    with disk_is_full as failed, writing("x"):
        fail()
    assert storage_failure(failed.value, "y") is failed.value


@pytest.mark.parametrize("error", [KeyError("x"), OSError(errno.ENOENT, "absent"), OSError("odd")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as passed, writing("x"):
        raise error
    assert passed.value is error


def test_an_input_that_cannot_be_read_is_not_blamed_on_the_storage() -> None:
    def read() -> None:
        try:
            raise OSError(errno.EIO, "Input/output error")
        except OSError as error:
            raise SourceError("cannot read it") from error

    with pytest.raises(SourceError, match=r"^cannot read it$"), writing("/data/x"):
        read()


def test_published_file_and_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a"
    with published(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".")
        assert not path.exists()
        temporary.write_text("1")
    assert path.read_text() == "1"
    with published(path) as temporary:
        temporary.mkdir()
        (temporary / "b").write_text("2")
        assert path.read_text() == "1"
    assert (path / "b").read_text() == "2"
    with published(path) as temporary:
        temporary.mkdir()
    assert names(path) == set()
    assert names(path.parent) == {"a"}


def write_and(then: Callable[[], None], path: Path, folder: bool) -> None:
    with published(path) as temporary:
        if folder:
            (temporary / "sub").mkdir(parents=True)
        else:
            temporary.write_text("after")
        then()


@pytest.mark.parametrize("folder", [False, True])
def test_a_failure_leaves_what_was_there(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "a"
    write_text(path, "before")
    with pytest.raises(StorageError, match=f"cannot write {path}: the disk is full"):
        write_and(fill_disk, path, folder)
    assert names(tmp_path) == {"a"}
    assert path.read_text() == "before"


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and(interrupt, tmp_path / "a", folder=True)
    assert names(tmp_path) == set()


def test_a_killed_writer_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from zarrbench.storage import published
with published(Path(sys.argv[1])) as temporary:
    temporary.mkdir()
    (temporary / "zarr.json").write_text("{}")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a")], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "a").exists()
    (left,) = names(tmp_path)
    assert left.startswith(".a.writing-")


def test_a_file_where_a_folder_must_be(tmp_path: Path) -> None:
    write_text(tmp_path / "data", "")
    with pytest.raises(StorageError, match="a file stands where a folder must be"):
        write_text(tmp_path / "data" / "stores" / "a", "")
    with pytest.raises(StorageError, match="a file stands where a folder must be"):
        write_text(tmp_path / "data" / "a", "")


def test_text_is_utf8_and_has_the_permissions_of_the_user(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "Zürich →")
        write_dataset(toy(), tmp_path / "b", TOY)
    finally:
        os.umask(before)
    assert (tmp_path / "a").read_bytes().decode("utf-8") == "Zürich →"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o750


def test_remove(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    write_text(tmp_path / "c", "")
    for name in ("a", "c", "absent"):
        remove(tmp_path / name)
    assert names(tmp_path) == set()


def test_a_dataset_and_back(tmp_path: Path) -> None:
    path = tmp_path / "toy.zarr"
    source = toy()
    source["value"].encoding = {"chunks": (1, 1), "dtype": "int8"}  # as from another store
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_dataset(source, path, TOY)
        found = open_dataset(path, TOY)
    assert found["value"].dtype == np.float64
    assert found["value"].attrs["description"] == "a number"
    assert found.attrs == {"format": "zarrbench.toy", "format_version": 3}
    np.testing.assert_array_equal(found["value"], source["value"])
    assert found["gene"].values.tolist() == ["G1", "a much longer gene id"]
    assert names(tmp_path) == {"toy.zarr"}
    assert json.loads((path / "zarr.json").read_text())["zarr_format"] == 3


def test_opening_computes_nothing(tmp_path: Path) -> None:
    write_dataset(toy(), tmp_path / "toy.zarr", TOY)

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("computed")

    with dask.config.set(scheduler=refused):
        lazy = open_dataset(tmp_path / "toy.zarr", TOY)
    assert isinstance(lazy["value"].data, da.Array)
    assert open_dataset(tmp_path / "toy.zarr", TOY, lazy=False)["value"].chunks is None


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (toy().drop_vars("value"), "lacks the variable 'value'"),
        (toy().transpose(), r"holds 'value' as float64 \('sample', 'gene'\)"),
        (toy().astype(int), "holds 'value' as int64"),
        (toy().assign(note=("gene", [1, 2])), "holds 'note' as int64"),
    ],
)
def test_a_dataset_of_another_layout_is_not_written(
    tmp_path: Path, dataset: xr.Dataset, message: str
) -> None:
    with pytest.raises(StoreLayoutError, match=message):
        write_dataset(dataset, tmp_path / "toy.zarr", TOY)
    assert names(tmp_path) == set()


def test_a_dataset_that_fails_to_compute_is_not_written(tmp_path: Path) -> None:
    def broken() -> np.ndarray:
        raise OSError(errno.ENOSPC, "No space left on device")

    values = da.from_delayed(dask.delayed(broken)(), shape=(2, 3), dtype=float)
    with pytest.raises(StorageError, match="disk is full"):
        write_dataset(toy().assign(value=(("gene", "sample"), values)), tmp_path / "toy.zarr", TOY)
    assert names(tmp_path) == set()


def test_stores_that_are_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "toy.zarr"
    with pytest.raises(StoreLayoutError, match=f"there is no toy store at {path}; build it first"):
        open_dataset(path, TOY)
    write_dataset(toy(), path, TOY)
    with pytest.raises(StoreLayoutError, match=r"not a zarrbench\.genes store: .*'zarrbench\.toy'"):
        open_dataset(path, GENES)
    older = Layout("toy", 2, TOY.variables)
    with pytest.raises(StoreLayoutError, match="has format version 3, this zarrbench reads ver"):
        open_dataset(path, older)
    zarr.open_group(path).attrs["format_version"] = "3"
    with quiet_zarr():
        zarr.consolidate_metadata(str(path))
    with pytest.raises(StoreLayoutError, match="has format version '3'"):
        open_dataset(path, TOY)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"zarr_format": 3, "node_type": "group"'])
def test_a_damaged_store_is_not_opened(tmp_path: Path, content: str) -> None:
    path = tmp_path / "toy.zarr"
    write_dataset(toy(), path, TOY)
    (path / "zarr.json").write_text(content)
    with pytest.raises(StoreLayoutError, match=r"toy store at .* cannot be opened: .*build it aga"):
        open_dataset(path, TOY)


def test_a_store_of_zarr_format_2_is_another(tmp_path: Path) -> None:
    toy().to_zarr(tmp_path / "toy.zarr", zarr_format=2)
    with pytest.raises(StoreLayoutError, match="there is no toy store"):
        open_dataset(tmp_path / "toy.zarr", TOY)


def test_a_locked_folder_is_refused_and_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from zarrbench.locks import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StorageError, match="another zarrbench is writing"), locked(tmp_path):
        pass
    (tmp_path / ".genes.zarr.writing-1234").mkdir()
    holder.kill()
    holder.wait()
    with locked(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.parametrize(("taken", "said"), [("all", "is gone: it was"), ("file", "another run")])
def test_put_says_what_was_taken_away_while_it_wrote(tmp_path: Path, taken: str, said: str) -> None:
    folder = tmp_path / "results" / "cube"
    folder.mkdir(parents=True)

    def parts() -> Iterator[bytes]:
        yield b"some"
        if taken == "all":
            folder.parent.rename(tmp_path / "elsewhere")
        else:
            [temporary] = folder.parent.glob(".*")
            temporary.unlink()

    with pytest.raises(StorageError, match=said):
        put(folder / "c.0", parts(), folder.parent)
    assert (tmp_path / "results").exists() == (taken == "file")
