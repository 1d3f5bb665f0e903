"""Stores behind a URL (``s3://bucket/cohort.vcz``): read where they lie, through fsspec.

Endpoint, region and credentials are found as every S3 client finds them: in the environment
(``AWS_*``) or in the files of the AWS command line.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zarrbench.errors import SourceError, ZarrbenchError
from zarrbench.provenance import fingerprint

# What names the content of an object, the best first; the file systems of fsspec differ in it.
_TAGS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "created")
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a public bucket "
    "FSSPEC_S3='{\"anon\": true}'"
)


def is_url(place: Path | str) -> bool:
    """Whether a place is a URL, not a path."""
    return isinstance(place, str) and "://" in place


def storage_options(place: Path | str) -> dict[str, Any] | None:
    """Return what fsspec is told about a place: None but for S3."""
    # Else s3fs asks for the size of every object before it asks for the object.
    return {"max_concurrency": 1} if str(place).startswith(("s3://", "s3a://")) else None


@contextlib.contextmanager
def reading(place: Path | str) -> Iterator[None]:
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
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SourceError(f"{place} cannot be read: {reason}; {_advice(error)}") from error


def _advice(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "for S3 install it with pip install 'zarrbench[s3]', or download the store"
    if isinstance(error, FileNotFoundError):
        return "correct the URL or AWS_ENDPOINT_URL"
    if isinstance(error, PermissionError):
        return f"use credentials that may list and read it: {_CREDENTIALS}"
    return (
        f"check the URL, the network, AWS_ENDPOINT_URL and the credentials ({_CREDENTIALS}), then "
        f"run the same command again: finished work is kept"
    )


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
