"""Writing and opening stores: whole or not at all, and never one of another format.

A folder or file is built under a temporary name beside its destination and renamed when it is
complete, so that a killed run leaves nothing that a later one would trust.
"""

import contextlib
import errno
import fcntl
import shutil
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import xarray as xr

from zarrbench.errors import StorageError, StoreLayoutError, ZarrbenchError
from zarrbench.layouts import Layout

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.EIO: "the device reported an input/output error",
    errno.ENOTDIR: "a file stands where a folder must be",
    errno.EEXIST: "a file stands where a folder must be",
    errno.ENAMETOOLONG: "the name is too long",
}


def storage_failure(error: BaseException, where: Path | str) -> StorageError | None:
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
                f"then run the same command again: finished work is kept"
            )
        seen = seen.__cause__ or seen.__context__
    return None


@contextlib.contextmanager
def writing(where: Path | str) -> Iterator[None]:
    """Turn a failure of the file system inside the block into one StorageError about `where`.

    An error that zarrbench raised on purpose has its own sentence, and keeps it.
    """
    try:
        yield
    except ZarrbenchError:
        raise
    except Exception as error:
        failure = storage_failure(error, where)
        if failure is None:
            raise
        raise failure from error


def remove(path: Path) -> None:
    """Remove a file or folder, renaming a folder first so that a killed removal is not trusted."""
    if path.is_dir():
        doomed = path.with_name(f".{path.name}.deleting-{uuid.uuid4().hex[:8]}")
        path.rename(doomed)
        shutil.rmtree(doomed)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def published(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it replaces `path`, else it is removed."""
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


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process alone, and clear what killed ones left half-written in it.

    The lock is the kernel's (`flock`): it ends with the process, however that ends, so that
    nothing stale can stay. File systems without locks are used without.

    Raises
    ------
    StorageError
        If another process holds it.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / "lock").open("a")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                f"another zarrbench is writing to {folder}; wait until it ends, or use another "
                f"--data folder"
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
                raise
        for leftover in folder.glob(".*"):
            remove(leftover)
        yield


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8) whole or not at all."""
    with published(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_dataset(dataset: xr.Dataset, path: Path, layout: Layout) -> None:
    """Write `dataset` as one Zarr 3 group of `layout`, whole or not at all.

    Format name and version go into the attributes; the description of each variable into its own.
    """
    layout.check(dataset, path)
    stamped = layout.described(dataset).assign_attrs(layout.attributes())
    # Encodings of the files that the data came from do not belong to the new store.
    with published(path) as temporary, quiet_zarr():
        stamped.drop_encoding().to_zarr(temporary, mode="w", zarr_format=3, consolidated=True)


def open_dataset(path: Path, layout: Layout, *, lazy: bool = True) -> xr.Dataset:
    """Open a store of `layout`; lazy (Dask) by default.

    Raises
    ------
    StoreLayoutError
        If there is no store, or it is damaged, has another format, another version or lacks a
        variable.
    """
    if not (path / "zarr.json").exists():
        raise StoreLayoutError(f"there is no {layout.name} store at {path}; build it first")
    try:
        with quiet_zarr():
            dataset = xr.open_zarr(path, chunks={} if lazy else None, consolidated=None)
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
