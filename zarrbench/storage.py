"""Writing and opening stores: whole or not at all, and never one of another format.

A folder or file is built under a temporary name beside its destination and renamed when it is
complete, so that a killed run leaves nothing that a later one would trust. Behind a URL nothing can
be renamed: there a store is built here and copied, with what makes it a store last.
"""

import contextlib
import errno
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import xarray as xr
import zarr
from upath import UPath

from zarrbench.errors import SourceError, StorageError, StoreLayoutError, ZarrbenchError
from zarrbench.layouts import Layout
from zarrbench.remote import (
    Place,
    described,
    is_object,
    is_url,
    of_client,
    reading,
    sizes_below,
    storage_options,
)

# What makes a folder a Zarr store: behind a URL written last and removed first, in this order
# and its reverse
_MARKERS = (".zattrs", ".zmetadata", ".zgroup", "zarr.json")
# Objects that are copied at once, each in memory: a shard of the reference is 16 MB
_AT_ONCE = 16

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.EIO: "the device reported an input/output error",
    errno.ENOTDIR: "a file stands where a folder must be",
    errno.EISDIR: "a folder stands where a file must be",
    errno.EEXIST: "a file stands where a folder must be",
    errno.ENAMETOOLONG: "the name is too long",
}


def storage_failure(error: BaseException, where: Place | str) -> StorageError | None:
    """Return the StorageError behind `error` (or behind one of its causes), None if there is none.

    Libraries wrap an OSError in errors of their own, hence the walk along the chain of causes.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, StorageError):
            return seen
        if isinstance(seen, OSError) and seen.errno in _REASONS:
            reason = _REASONS[seen.errno]
            denied = seen.errno in (errno.EACCES, errno.EPERM)
            if denied and seen.filename and not str(seen.filename).startswith(str(where)):
                return StorageError(f"cannot open {seen.filename}: {reason}; ask for access to it")
            return StorageError(
                f"cannot write {where}: {reason}; free space or choose another folder with --data, "
                f"or for models ZARRBENCH_CACHE, then run the same command again: finished work is "
                f"kept"
            )
        if of_client(seen):
            return StorageError(f"{where} cannot be written: {described(seen, 'write')}")
        seen = seen.__cause__ or seen.__context__
    return None


@contextlib.contextmanager
def writing(where: Place | str) -> Iterator[None]:
    """Turn a failure of the file system inside the block into one StorageError about `where`.

    An error that zarrbench raised on purpose has its own sentence, and keeps it. Behind a URL every
    other error is one of the storage: the block does nothing else.
    """
    try:
        yield
    except ZarrbenchError:
        raise
    except Exception as error:
        if is_url(where):
            reason = described(error, "write")
            raise StorageError(f"{where} cannot be written: {reason}") from error
        failure = storage_failure(error, where)
        if failure is None:
            raise
        raise failure from error


def exists(place: Place) -> bool:
    """Whether a file, a folder or, behind a URL, an object or a whole store is there.

    Behind a URL a folder is what lies in it, also where a copy was killed: what makes it a store
    must be there.
    """
    if not isinstance(place, UPath):
        return place.exists()
    with reading(place):
        try:
            kind = place.fs.info(place.path)["type"]
        except FileNotFoundError:
            return False
    return kind == "file" or is_object(place / "zarr.json") or is_object(place / ".zgroup")


def get(place: Place) -> bytes | None:
    """Return the content of a file or an object, None if there is none.

    Raises
    ------
    SourceError
        If an object cannot be read.
    """
    with reading(place), contextlib.suppress(FileNotFoundError):
        content: bytes = (
            place.fs.cat_file(place.path) if isinstance(place, UPath) else place.read_bytes()
        )
        return content
    return None


def make_folder(folder: Place) -> None:
    """Make a folder with those above it; behind a URL there are only objects."""
    if not isinstance(folder, UPath):
        folder.mkdir(parents=True, exist_ok=True)


def remove(path: Place) -> None:
    """Remove a file or folder, so that a killed removal leaves nothing that is trusted.

    A folder is renamed first; behind a URL, what makes it a store goes first.
    """
    if isinstance(path, UPath):
        _remove_objects(path)
    elif path.is_dir():
        doomed = path.with_name(f".{path.name}.deleting-{uuid.uuid4().hex[:8]}")
        path.rename(doomed)
        shutil.rmtree(doomed)
    else:
        path.unlink(missing_ok=True)


def _remove_objects(path: UPath) -> None:
    files, keys = path.fs, sizes_below(path)
    with writing(path):
        for marker in reversed(_MARKERS):
            if keys.pop(marker, None) is not None:
                files.rm_file(f"{path.path}/{marker}")
        if keys:
            files.rm([f"{path.path}/{key}" for key in keys])
        with contextlib.suppress(FileNotFoundError):
            files.rm_file(path.path)


@contextlib.contextmanager
def published(path: Place) -> Iterator[Path]:
    """Give a temporary path; on success what lies there replaces `path`, else it is removed.

    It lies beside `path`, or in the folder for temporary files (TMPDIR) if that is a URL.
    """
    if isinstance(path, UPath):
        with tempfile.TemporaryDirectory(prefix="zarrbench-") as scratch:
            here = Path(scratch) / path.name
            with writing(here):
                yield here
            upload(here, path)
        return
    temporary = path.with_name(f".{path.name}.writing-{uuid.uuid4().hex[:8]}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if temporary.is_dir() and path.exists():
                remove(path)
            temporary.rename(path)
        finally:
            if temporary.is_dir():
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    temporary.unlink()


def upload(source: Path, place: UPath) -> None:
    """Copy a file or folder behind a URL, in place of what is there; a killed copy is no store."""
    remove(place)
    keys = [p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()]
    markers = [marker for marker in _MARKERS if marker in keys]
    others = sorted(set(keys).difference(markers))
    with writing(place):
        if source.is_file():
            place.fs.put_file(str(source), place.path)
        if others:
            here, there = (str(source), place.path)
            pairs = [[f"{root}/{key}" for key in others] for root in (here, there)]
            place.fs.put(*pairs, batch_size=_AT_ONCE)
        for marker in markers:
            place.fs.put_file(str(source / marker), f"{place.path}/{marker}")


def download(place: UPath, folder: Path) -> None:
    """Copy all that lies below a URL into a new folder."""
    with published(folder) as temporary:
        temporary.mkdir()
        for key in sizes_below(place):
            (temporary / key).parent.mkdir(parents=True, exist_ok=True)
            with reading(place):
                place.fs.get_file(f"{place.path}/{key}", str(temporary / key))


def put(path: Place, content: bytes | Iterable[bytes], scratch: Place) -> None:
    """Write an object whole or not at all; it is on disk (or stored) when this returns.

    Its folder must exist: one that is gone was taken away, and is not made again.

    Parameters
    ----------
    path : Path or UPath
    content : bytes, or parts of them
    scratch : Path or UPath
        Folder of the same file system that takes the file until it is whole: what a killed process
        leaves there is nobody's. Behind a URL an object needs none.

    Raises
    ------
    StorageError
    """
    if isinstance(path, UPath):
        with writing(path):
            whole = content if isinstance(content, bytes) else b"".join(content)
            path.fs.pipe_file(path.path, whole)
        return
    if isinstance(scratch, UPath):
        raise TypeError("a file needs scratch in its own file system")
    temporary = scratch / f".{uuid.uuid4().hex}"
    with writing(path), still_there(path.parent):
        try:
            with temporary.open("wb") as handle:
                handle.writelines([content] if isinstance(content, bytes) else content)
                handle.flush()
                os.fsync(handle.fileno())
            if not temporary.exists() and path.parent.exists():
                raise StorageError(
                    f"{path} was not written: another run has begun in {scratch} and cleared what "
                    f"it found half-written; leave it to that run"
                )
            temporary.rename(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def still_there(folder: Path) -> Iterator[None]:
    """Say so if a folder is gone that the block writes to.

    Raises
    ------
    StorageError
    """
    try:
        yield
    except FileNotFoundError as error:
        if folder.is_dir():
            raise
        raise StorageError(
            f"{folder} is gone: it was removed, renamed or unmounted while it was written to; put "
            f"it back, then run the same command again"
        ) from error


def refuse_gone(store: Place) -> None:
    """Raise if a store is no longer there: what Zarr then finds missing, it takes for fill values.

    To be asked after reading.

    Raises
    ------
    SourceError
    """
    if not exists(store):
        raise SourceError(
            f"the store {store} is gone: it was removed, renamed or unmounted while it was read; "
            f"put it back, then run the same command again: finished work is kept"
        )


def write_text(path: Place, text: str) -> None:
    """Write a text file (UTF-8) whole or not at all."""
    if isinstance(path, UPath):
        put(path, text.encode("utf-8"), path.parent)
        return
    with published(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_dataset(dataset: xr.Dataset, path: Place, layout: Layout) -> None:
    """Write `dataset` as one Zarr 3 group of `layout`, whole or not at all.

    Format name and version go into the attributes; the description of each variable into its own.
    """
    layout.check(dataset, path)
    stamped = layout.described(dataset).assign_attrs(layout.attributes())
    # Encodings of the files that the data came from do not belong to the new store.
    with published(path) as temporary, quiet_zarr():
        stamped.drop_encoding().to_zarr(temporary, mode="w", zarr_format=3, consolidated=True)


def open_dataset(path: Place, layout: Layout, *, lazy: bool = True) -> xr.Dataset:
    """Open a store of `layout`; lazy (Dask) by default.

    Raises
    ------
    StoreLayoutError
        If there is no store, or it is damaged, has another format, another version or lacks a
        variable.
    SourceError
        If a URL cannot be read.
    """
    if not exists(path / "zarr.json"):
        raise StoreLayoutError(f"there is no {layout.name} store at {path}; build it first")
    try:
        with quiet_zarr():
            dataset = xr.open_zarr(
                str(path) if isinstance(path, UPath) else path,
                chunks={} if lazy else None,
                consolidated=None,
                storage_options=storage_options(path),
            )
    except Exception as error:  # zarr raises many kinds for damaged metadata
        detail = " ".join(str(error).split())[:200]
        raise StoreLayoutError(
            f"the {layout.name} store at {path} cannot be opened: {detail}; build it again"
        ) from error
    layout.check_version(dataset.attrs, path)
    layout.check(dataset, path)
    return dataset


@contextlib.contextmanager
def quiet_zarr() -> Iterator[None]:
    """Silence zarr's notes that consolidated metadata and string arrays await standardisation."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*onsolidated metadata.*")
        warnings.filterwarnings("ignore", message=".*not part in the Zarr format 3.*")
        warnings.filterwarnings("ignore", message=".*does not have a Zarr V3 specification.*")
        yield


def open_group(path: Place) -> zarr.Group:
    """Open a Zarr group for reading."""
    where = str(path) if isinstance(path, UPath) else path
    with quiet_zarr():
        return zarr.open_group(where, mode="r", storage_options=storage_options(path))
