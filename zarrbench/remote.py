"""Places behind URLs (``s3://bucket/folder``): stores and results on object stores, by fsspec.

Endpoint, region and credentials are found as every client finds them: in the environment
(``AWS_*``, ``FSSPEC_*``) or in the files of the AWS command line; never in a URL.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from upath import UPath

from zarrbench.errors import RecipeError, SourceError, ZarrbenchError
from zarrbench.provenance import fingerprint

#: where something lies: in a file system, or behind a URL, which has the same interface
Place: TypeAlias = Path | UPath

# What names the content of an object, the best first; the file systems of fsspec differ in it.
_TAGS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "created")
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a public bucket "
    "FSSPEC_S3='{\"anon\": true}'"
)
# A secret may hold any character, hence no parser of URLs
_WITH_PASSWORD = re.compile(r"://[^/]*:.*@")
# Who raises it when an object store fails, whatever wraps it
_CLIENTS = ("botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google", "adlfs", "azure")


def is_url(place: Place | str) -> bool:
    """Whether a place is a URL, not a path."""
    return isinstance(place, UPath) or (isinstance(place, str) and "://" in place)


def place(text: str | Place) -> Place:
    """Return the place that a path or a URL names; ``file://`` is a path.

    Raises
    ------
    RecipeError
        If it is a URL that holds a password.
    SourceError
        If nothing is known, or installed, that reads such URLs.
    """
    text = str(text)
    if not is_url(text):
        return Path(text)
    refuse_password(text)
    protocol, _, path = text.partition("://")
    if protocol in ("file", "local"):
        return Path(path)
    with reading(text):  # the package of a protocol may be absent
        return UPath(text.rstrip("/"), **storage_options(text) or {})


def refuse_password(url: str) -> None:
    """Raise if a URL holds a password: it would get into stores, records and messages.

    Raises
    ------
    RecipeError
    """
    if _WITH_PASSWORD.search(url):
        raise RecipeError(
            f"a URL {url.partition('://')[0]}://... holds a user and a password; leave them out "
            f"and give credentials in the environment ({_CREDENTIALS})"
        )


def storage_options(place: Place | str) -> dict[str, Any] | None:
    """Return what fsspec is told about a place: None for a path."""
    if not is_url(place):
        return None
    # Others write there too, so that no listing may be kept.
    fresh = {"use_listings_cache": False}
    # Else s3fs asks for the size of every object before it asks for the object.
    at_s3 = str(place).startswith(("s3://", "s3a://"))
    return {**fresh, "max_concurrency": 1} if at_s3 else fresh


@contextlib.contextmanager
def reading(place: Place | str) -> Iterator[None]:
    """Turn whatever keeps the block from reading a URL into one sentence; paths are left alone.

    Raises
    ------
    SourceError
        If a package is missing, the server does not answer, or it refuses access.
    """
    try:
        yield
    except ZarrbenchError:
        raise
    except Exception as error:  # botocore, aiohttp and fsspec raise kinds without a common base
        if not is_url(place):
            raise
        raise SourceError(f"{place} cannot be read: {described(error, 'read')}") from error


def described(error: BaseException, doing: str) -> str:
    """Return what a client of an object store says, and what to do about it."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"{reason}; {_advice(error, doing)}"


def _advice(error: BaseException, doing: str) -> str:
    if isinstance(error, ImportError):
        return "for S3 install it with pip install 'zarrbench[s3]', or download the store"
    if isinstance(error, FileNotFoundError):
        return "correct the URL or AWS_ENDPOINT_URL"
    if isinstance(error, PermissionError):
        return f"use credentials that may list and {doing} it: {_CREDENTIALS}"
    return (
        f"check the URL, the network, AWS_ENDPOINT_URL and the credentials ({_CREDENTIALS}), then "
        f"run the same command again: finished work is kept"
    )


def of_client(error: BaseException) -> bool:
    """Whether an error is that of a client of an object store."""
    return type(error).__module__.partition(".")[0] in _CLIENTS


def url_exists(url: Place | str) -> bool:
    """Whether anything lies behind a URL.

    Raises
    ------
    SourceError
        If that cannot be told: no answer, no access, or a package is missing.
    """
    with reading(url):
        from fsspec.core import url_to_fs

        files, root = url_to_fs(str(url))
        return bool(files.exists(root))


def is_object(place: UPath) -> bool:
    """Whether one object lies behind a URL; `url_exists` is true of its folder too.

    Raises
    ------
    SourceError
        If that cannot be told.
    """
    with reading(place):
        try:
            return bool(place.fs.info(place.path)["type"] == "file")
        except FileNotFoundError:
            return False


def sizes_below(folder: UPath) -> dict[str, int]:
    """Return the bytes of every object below a URL by its key there, from one listing.

    Raises
    ------
    SourceError
        If it cannot be listed.
    """
    root = folder.path.rstrip("/")
    with reading(folder):
        try:
            found = folder.fs.find(root, detail=True)
        except FileNotFoundError:
            return {}
    keys = {key: key.removeprefix(root).lstrip("/") for key in found}
    return {short: int(found[key]["size"]) for key, short in keys.items() if short}


def contents_of(folder: UPath, keys: list[str]) -> dict[str, bytes]:
    """Return objects below a URL by their keys, many at once; those that are gone are left out.

    Raises
    ------
    SourceError
        If one cannot be read.
    """
    root = folder.path.rstrip("/")
    with reading(folder):
        found = folder.fs.cat([f"{root}/{key}" for key in keys], on_error="return") if keys else {}
        read = {}
        for key, content in found.items():
            if isinstance(content, bytes):
                read[key.removeprefix(root).lstrip("/")] = content
            elif not isinstance(content, FileNotFoundError):
                raise content
    return read


def url_state(url: str) -> str:
    """Return a SHA-256 over names, sizes and ETags of all objects below a URL, reading none.

    Where a server gives no ETag, the time of the last change stands for it. A copy with the same
    ETags in another place has the same state.

    Raises
    ------
    SourceError
        If nothing is there, or it cannot be listed.
    """
    with reading(url):
        from fsspec.core import url_to_fs

        files, root = url_to_fs(url)
        files.invalidate_cache()  # some file systems keep listings
        objects = files.find(root, detail=True)
        if not objects:
            raise FileNotFoundError("nothing is there")
    return fingerprint(
        sorted(
            [
                key.removeprefix(root),
                about["size"],
                next(str(about[t]) for t in _TAGS if t in about),
            ]
            for key, about in objects.items()
        )
    )
