"""The storage functions behind URLs: in memory, and what a client cannot reach."""

import pickle
import uuid

import fsspec
import numpy as np
import pytest
import xarray as xr
from fsspec.implementations.memory import MemoryFileSystem
from upath import UPath

from zarrbench.checksums import checksums_of, damages
from zarrbench.cli import main
from zarrbench.errors import RecipeError, SourceError, StorageError, StoreLayoutError
from zarrbench.layouts import Layout, Variable
from zarrbench.remote import place
from zarrbench.sources import Source
from zarrbench.storage import (
    download,
    exists,
    get,
    open_dataset,
    published,
    put,
    remove,
    storage_failure,
    write_dataset,
    write_text,
)

TOY = Layout("toy", 3, {"value": Variable(("gene",), "float", "a number")})
DATASET = xr.Dataset({"value": ("gene", np.arange(4.0))})


@pytest.fixture
def folder() -> UPath:
    found = place(f"memory://{uuid.uuid4().hex}")
    assert isinstance(found, UPath)
    return found


def test_places(tmp_path):
    assert place(tmp_path) is not place(str(tmp_path))
    assert place(f"file://{tmp_path}") == place(str(tmp_path)) == place(tmp_path) == tmp_path
    url = place("s3://bucket/study/")
    assert str(url / "a.zarr") == "s3://bucket/study/a.zarr"
    assert pickle.loads(pickle.dumps(url)) == url == place(url)
    assert len(pickle.dumps(url / "predictions.zarr")) < 300


@pytest.mark.parametrize("url", ["s3://key:se/cr+et@bucket/x", "ftp://key:secret@host/x"])
def test_a_url_with_a_password_is_refused_without_repeating_it(url, capsys):
    for refuse in (place, Source.from_text):
        with pytest.raises(RecipeError, match="holds a user and a password") as raised:
            refuse(url)
        assert "cr" not in str(raised.value).split("credentials")[0]
    with pytest.raises(SystemExit) as ended:
        main(["status", "synthetic", "--data", url])
    assert ended.value.code == 2
    assert "bucket/x" not in capsys.readouterr().err


def test_texts_and_objects(folder):
    assert get(folder / "a") is None
    assert not exists(folder / "a")
    write_text(folder / "a", "Zürich →")
    assert get(folder / "a") == "Zürich →".encode()
    put(folder / "a", b"2", folder)
    assert get(folder / "a") == b"2"
    assert exists(folder / "a")
    assert not exists(folder)
    remove(folder / "a")
    remove(folder / "a")
    assert not exists(folder / "a")


def test_a_dataset_and_back(folder):
    path = folder / "toy.zarr"
    with pytest.raises(StoreLayoutError, match="there is no toy store at memory://"):
        open_dataset(path, TOY)
    write_dataset(DATASET, path, TOY)
    np.testing.assert_array_equal(open_dataset(path, TOY)["value"], DATASET["value"])
    assert exists(path)
    known = checksums_of(path)
    assert len(known) == 3
    put(path / "value/c/0", b"other", path)
    remove(path / "value/zarr.json")
    assert [(d.key, d.what) for d in damages(path, known)] == [
        ("value/c/0", "altered"),
        ("value/zarr.json", "missing"),
    ]


def test_what_makes_it_a_store_is_written_last_and_removed_first(folder, monkeypatch):
    path, done = folder / "toy.zarr", []
    write_dataset(DATASET, path, TOY)
    for name in ("put_file", "rm_file"):
        plain = getattr(MemoryFileSystem, name)

        def noted(self, first, *rest, _plain=plain, _name=name, **given):
            done.append((_name, str(rest[0] if rest else first).removeprefix(f"{path.path}/")))
            return _plain(self, first, *rest, **given)

        monkeypatch.setattr(MemoryFileSystem, name, noted)
    write_dataset(DATASET, path, TOY)
    assert done[0] == ("rm_file", "zarr.json")
    assert done[-1] == ("put_file", "zarr.json")
    assert ("put_file", "value/c/0") in done


@pytest.mark.parametrize("fails", ["value/c/0", "zarr.json"])
def test_a_copy_that_is_cut_short_is_no_store(folder, fails, monkeypatch):
    path = folder / "toy.zarr"
    write_dataset(DATASET, path, TOY)
    write = MemoryFileSystem.put_file

    def cut(self, source, target, **given):
        if target == f"{path.path}/{fails}":
            raise ConnectionResetError("connection lost")
        write(self, source, target, **given)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "put_file", cut)
        lost = pytest.raises(StorageError, match=f"{path} cannot be written: connection lost; che")
        with lost:
            write_dataset(DATASET, path, TOY)
    assert not exists(path)
    with pytest.raises(StoreLayoutError, match="there is no toy store"):
        open_dataset(path, TOY)
    write_dataset(DATASET, path, TOY)
    assert exists(path)


def test_a_failure_before_the_copy_leaves_what_was_there(folder):
    path = folder / "a"
    write_text(path, "before")

    def write_and_fail() -> None:
        with published(path) as temporary:
            temporary.write_text("after")
            raise KeyError("x")

    with pytest.raises(KeyError):
        write_and_fail()
    assert get(path) == b"before"
    with published(path) as temporary:
        temporary.write_text("after")
    assert get(path) == b"after"


def test_a_folder_is_copied_back(folder, tmp_path):
    with published(folder / "sources") as temporary:
        (temporary / "sub").mkdir(parents=True)
        (temporary / "sub" / "a").write_text("1")
        (temporary / "b").write_text("2")
    download(folder / "sources", tmp_path / "here")
    assert (tmp_path / "here/sub/a").read_text() == "1"
    assert (tmp_path / "here/b").read_text() == "2"


def test_a_missing_package():
    fsspec.register_implementation(
        "absent", "no_such_package.FileSystem", errtxt="Install no_such_package", clobber=True
    )
    for url, reason in (("absent", "Install no_such_package"), ("s4", "Unsupported filesystem")):
        with pytest.raises(SourceError, match=rf"^{url}://bucket/x cannot be read: {reason}"):
            place(f"{url}://bucket/x")


def test_the_error_of_a_client_is_a_failure_of_the_storage():
    from botocore.exceptions import EndpointConnectionError, NoCredentialsError

    for error in (NoCredentialsError(), EndpointConnectionError(endpoint_url="where")):
        failure = storage_failure(error, "s3://bucket/x")
        assert str(failure).startswith(f"s3://bucket/x cannot be written: {error}; check the URL")
        assert "\n" not in str(failure)
