"""Fetching a released network: its archive downloaded, checked, unpacked and put into our cache.

At every moment the cache holds a whole model or none: the download grows in `archive.part`, its
files are unpacked beside `model`, and renamed into place when their record is written.
"""

import base64
import contextlib
import errno
import gzip
import json
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from zarrbench.errors import SourceError
from zarrbench.locks import locked
from zarrbench.models.download import download, forget, shown
from zarrbench.models.released import KAGGLE, fetched, missing, place, record, urls
from zarrbench.provenance import FETCHED, file_sha256, now
from zarrbench.storage import published

# What an archive's names can provoke, and no full disk does
_OF_NAMES = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG)


def fetch(handle: str, url: str | None = None, sha256: str | None = None) -> Path:
    """Return the SavedModel folder of a handle's model, fetching it if it is not here whole.

    Parameters
    ----------
    handle : str
        See `zarrbench.models.released.is_handle`.
    url : str, optional
        Where its archive (tar.gz) comes from instead: a mirror.
    sha256 : str, optional
        What the archive must have. A model that came from another one is then fetched again.

    Raises
    ------
    SourceError
        If it cannot be downloaded, or is not what it should be.
    StorageError
        If the cache cannot be written, or another process is fetching this model.
    """
    name = urls(handle)[0]
    if url is not None and not re.match(r"https?://[^/]", url):
        raise SourceError(f"--url must begin with https:// or http://, found {shown(url)!r}")
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise SourceError(f"--sha256 must be 64 hexadecimal digits, found {sha256!r}")
    with contextlib.suppress(SourceError):
        here = fetched(handle)
        if sha256 is None or record(here).get("sha256") == sha256.lower():
            return here
    folder = place(name)
    with locked(folder):
        part = folder / "archive.part"
        source, headers = (url, {}) if url is not None else _archive(name)
        download(source, part, headers)
        try:
            about = {"handle": name, "url": shown(source), "sha256": _checked(part, sha256)}
            with published(folder / "model") as temporary:
                _unpack(part, temporary)
                _write_record(temporary, about)
        except SourceError as error:
            forget(part)  # continuing it would give the same again
            raise SourceError(
                f"what {shown(source)} gives is not the model {handle}: {error}; it is removed: "
                f"fetch again, or from a mirror with --url"
            ) from error
        forget(part)
    return folder / "model"


def _archive(name: str) -> tuple[str, dict[str, str]]:
    """Return where the archive of a model's URL is downloaded, and the headers for that."""
    if not name.startswith(KAGGLE):
        return f"{name}?tf-hub-format=compressed", {}
    site = os.environ.get("KAGGLE_API_ENDPOINT") or "https://www.kaggle.com"
    path = name.removeprefix(KAGGLE)
    return f"{site.rstrip('/')}/api/v1/models/{path}/download", _credentials()


def _credentials() -> dict[str, str]:
    """Return the header that names the user to Kaggle, from where its own programs look."""
    token = os.environ.get("KAGGLE_API_TOKEN")
    if token:
        return {"Authorization": f"Bearer {token}"}
    user, key = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    if not (user and key):
        folder = Path(os.environ.get("KAGGLE_CONFIG_DIR") or "~/.kaggle").expanduser()
        try:
            found = json.loads((folder / "kaggle.json").read_text(encoding="utf-8"))
            user, key = found["username"], found["key"]
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SourceError(
                f"{folder / 'kaggle.json'} cannot be read: expected JSON with username and key; "
                f"make it anew on Kaggle, or set KAGGLE_API_TOKEN"
            ) from error
    pair = base64.b64encode(f"{user}:{key}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def _checked(part: Path, sha256: str | None) -> str:
    """Return the SHA-256 of the archive, which must be the expected one if there is one."""
    found = file_sha256(part)
    if sha256 is not None and found != sha256.lower():
        raise SourceError(f"its SHA-256 is {found}, expected {sha256.lower()}")
    return found


def _unpack(part: Path, target: Path) -> None:
    """Unpack the SavedModel of a tar.gz, which lies in its root or in a folder of it."""
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=target.parent) as scratch:
        root = Path(scratch) / "archive"
        root.mkdir()
        try:
            with gzip.open(part) as content, tarfile.open(fileobj=content, mode="r|") as archive:
                _write_files(archive, root)
                while content.read(1 << 20):  # gzip compares its checksum at the very end
                    pass
        except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise SourceError(
                f"it is truncated, damaged or no tar.gz ({' '.join(str(error).split())})"
            ) from error
        found = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
        model = next((path for path in found if missing(path) is None), None)
        if model is None:
            raise SourceError(f"it holds no SavedModel: {missing(root)}, nor has a folder in it")
        model.rename(target)


def _write_files(archive: tarfile.TarFile, root: Path) -> None:
    """Write the files of an archive: their content only, and only below `root`."""
    for member in archive:
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts or "\0" in member.name:
            raise SourceError(f"it would write outside its folder ({member.name!r})")
        if member.isdir():
            continue
        content = archive.extractfile(member) if member.isfile() else None
        if content is None:
            raise SourceError(f"it holds a link or a device ({member.name!r})")
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("wb")
        except OSError as error:
            if error.errno not in _OF_NAMES:
                raise
            raise SourceError(f"its names do not fit together ({member.name!r})") from error
        with file:
            shutil.copyfileobj(content, file, 1 << 20)


def _write_record(folder: Path, about: dict[str, Any]) -> None:
    files = {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": file_sha256(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    text = json.dumps({**about, "time": now(), "files": files}, indent=1)
    (folder / FETCHED).write_text(text + "\n", encoding="utf-8")
