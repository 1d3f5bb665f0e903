"""The download of one archive by HTTP: what an interrupted one left is continued, not repeated.

A note beside the growing file says which version its bytes are of, so that bytes of two versions
never come together.
"""

import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from zarrbench import progress
from zarrbench.errors import SourceError
from zarrbench.storage import write_text, writing

if TYPE_CHECKING:
    from requests import Response

# Seconds until a server answers, and between two pieces.
_TIMEOUT = (20, 60)
# A cut connection loses at most one piece.
_PIECE = 1 << 16
_AGAIN = "run the same command again: it continues where it stopped"


@dataclass(frozen=True)
class _Object:
    """What a server says of the archive: what names this version, its bytes, its MD5 (base64)."""

    url: str
    validator: str | None
    size: int | None
    md5: str | None


def shown(url: str) -> str:
    """Return a URL as messages and records may hold it: without user, password and query."""
    return re.sub(r"//[^/@]*@", "//", re.split(r"[?#]", url)[0])


def download(url: str, part: Path, headers: Mapping[str, str]) -> None:
    """Bring the bytes of `url` into the file `part`, continuing what an earlier call left there.

    Parameters
    ----------
    url : str
        http or https; redirections are followed.
    part : Path
        What is left if this is interrupted. Whole, and equal to the server's MD5 where it gives
        one (``x-goog-hash``), when this returns.
    headers : mapping
        Further headers; ``Authorization`` is not sent to another host that `url` redirects to.

    Raises
    ------
    SourceError
        If the server cannot be reached, refuses, or breaks off.
    StorageError
        If `part` cannot be written.
    """
    about = _of_part(part, url)
    if about is None or part.stat().st_size != about.size:
        about = _receive(url, part, headers, about)
    if about.md5 is not None and _md5(part) != about.md5:
        forget(part)
        raise SourceError(
            f"{shown(url)} came with MD5 {about.md5}, and what arrived has another: it was damaged "
            f"on the way and is removed; fetch it again"
        )


def forget(part: Path) -> None:
    """Remove a download and what is known of it."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _of_part(part: Path, url: str) -> _Object | None:
    """Return what the bytes of `part` are of; None where they cannot be continued."""
    try:
        about = _Object(**json.loads(_note(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return about if part.is_file() and about.validator and about.url == shown(url) else None


def _receive(url: str, part: Path, headers: Mapping[str, str], about: _Object | None) -> _Object:
    # Bytes as they lie on the server: its size and MD5 are of these.
    asked = {**headers, "Accept-Encoding": "identity"}
    have = 0
    if about is not None and about.validator is not None:
        have = part.stat().st_size
        asked |= {"Range": f"bytes={have}-", "If-Range": about.validator}
    with _answer(url, asked) as response:
        if response.status_code == 200:
            about, have = _described(response, url), 0
        elif about is None or _range(response) != (have, about.size):
            forget(part)
            return _receive(url, part, headers, None)
        with writing(part), part.open("ab" if have else "wb") as file:
            # Only now, that bytes of another version are gone.
            write_text(_note(part), json.dumps(dataclasses.asdict(about)))
            with progress.bar(
                total=about.size, label="download", unit="B", done=have, scaled=True
            ) as bar:
                _copy(response, file, bar)
    return about


def _answer(url: str, headers: Mapping[str, str]) -> "Response":
    """Return the response to a request, opened, its status one that `_receive` understands."""
    import requests

    try:
        response = requests.get(url, headers=dict(headers), stream=True, timeout=_TIMEOUT)
    except requests.exceptions.RequestException as error:
        # The error's own text may hold the query.
        reason = getattr(error.args[0] if error.args else None, "reason", type(error).__name__)
        raise SourceError(
            f"cannot reach {shown(url)}: {reason}; compute nodes often have no network: run this "
            f"where there is one (a log-in node), or give a mirror with --url"
        ) from error
    if response.status_code in ((200, 206, 416) if "Range" in headers else (200,)):
        return response
    response.close()
    raise SourceError(f"{shown(url)} answers HTTP {response.status_code}: {_advice(response)}")


def _advice(response: "Response") -> str:
    if response.status_code in (401, 403):
        return (
            "access is refused; where this is Kaggle, accept the licence on the model's page, make "
            "an API token there, set KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY, and "
            "fetch the model by its Kaggle handle (Enformer: "
            "deepmind/enformer/TensorFlow2/enformer/1); else give a mirror with --url, or use the "
            "folder of a SavedModel that you downloaded by hand"
        )
    if response.status_code in (404, 410):
        return "it is not there; correct the handle and its version, or give a mirror with --url"
    return f"try later, or give a mirror with --url; {_AGAIN}"


def _described(response: "Response", url: str) -> _Object:
    headers = response.headers
    etag = headers.get("ETag", "W/")
    # A weak ETag does not promise equal bytes, and If-Range does not take it.
    validator = headers.get("Last-Modified") if etag.startswith("W/") else etag
    length = headers.get("Content-Length", "")
    md5 = re.search(r"md5=([\w+/]+=*)", headers.get("x-goog-hash", ""))
    return _Object(shown(url), validator, int(length) if length.isdigit() else None,
                   md5 and md5[1])  # fmt: skip


def _range(response: "Response") -> tuple[int, int | None] | None:
    """Return the first byte and the whole size that a partial answer is of."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    return found and (int(found[1]), None if found[2] == "*" else int(found[2]))


def _copy(response: "Response", file: BinaryIO, bar: Any) -> None:
    """Append a response to a file, as far as it comes."""
    from urllib3.exceptions import HTTPError

    failure = None
    try:
        for piece in response.raw.stream(_PIECE, decode_content=False):
            file.write(piece)
            bar.update(len(piece))
    except HTTPError as error:
        failure = error
    # urllib3 counts the bytes itself only since version 2.
    if failure is not None or bar.total not in (None, bar.n):
        raise SourceError(
            f"{shown(response.url)} broke off after {bar.n} of {bar.total or 'unknown'} bytes; "
            f"{_AGAIN}"
        ) from failure


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return base64.b64encode(digest.digest()).decode()
