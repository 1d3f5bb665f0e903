"""Released networks, SavedModels of TensorFlow Hub and Kaggle: their names, and where they lie.

Ours lie in ``<cache>/models/<URL without https://>/model`` with a record `fetched.json`, put there
by `zarrbench.models.fetch`. This finds them; it downloads nothing and loads nothing.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zarrbench.errors import SourceError
from zarrbench.provenance import FETCHED

RELEASED = "https://tfhub.dev/deepmind/enformer/1"
KAGGLE = "https://www.kaggle.com/models/"

_ENFORMER = (RELEASED, f"{KAGGLE}deepmind/enformer/TensorFlow2/enformer/1")
_NAME = r"[A-Za-z0-9][\w.-]*"
_HUB_HANDLE = re.compile(rf"https://tfhub\.dev(/{_NAME}){{2,}}/\d+", re.ASCII)
# Kaggle's pages write frameworks/, variations/ and versions/ between; its handles do not.
_KAGGLE_HANDLE = re.compile(
    rf"(?:https://(?:www\.)?kaggle\.com/models/)?({_NAME})/({_NAME})/(?:frameworks/)?"
    rf"(TensorFlow[12])/(?:variations/)?({_NAME})/(?:versions/)?(\d+)",
    re.ASCII | re.IGNORECASE,
)


def is_handle(source: str) -> bool:
    """Whether `source` names a released SavedModel rather than a folder.

    Names are ``enformer``, TensorFlow Hub's ``https://tfhub.dev/OWNER/NAME/VERSION``, and Kaggle's
    ``OWNER/MODEL/FRAMEWORK/VARIATION/VERSION`` or the URL of its page, with the framework
    TensorFlow1 or TensorFlow2, since files of the other frameworks are no SavedModels.
    """
    return _url(source) is not None


def _url(source: str) -> str | None:
    """Return the URL that a handle in any spelling stands for."""
    if source == "enformer":
        return RELEASED
    if source.startswith("https://"):
        source = source.partition("?")[0].rstrip("/")
    if _HUB_HANDLE.fullmatch(source):
        return source
    found = _KAGGLE_HANDLE.fullmatch(source)
    if found is None:
        return None
    owner, model, framework, *rest = found.groups()
    return KAGGLE + "/".join((owner, model, f"TensorFlow{framework[-1]}", *rest))


def urls(handle: str) -> tuple[str, ...]:
    """Return the URLs that a handle's model has, the handle's own first: Enformer has two.

    Raises
    ------
    SourceError
        If it is no handle.
    """
    url = _url(handle)
    if url is None:
        raise SourceError(
            f"{handle!r} names no released model: expected 'enformer', "
            f"https://tfhub.dev/OWNER/NAME/VERSION or Kaggle's "
            f"OWNER/MODEL/TensorFlow2/VARIATION/VERSION"
        )
    others = _ENFORMER if url in _ENFORMER else ()
    return (url, *(other for other in others if other != url))


def cache() -> Path:
    """Return the folder of what was fetched: ZARRBENCH_CACHE, else in the user's cache."""
    own, users = os.environ.get("ZARRBENCH_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return _absolute(own) if own else _absolute(users or "~/.cache") / "zarrbench"


def _absolute(folder: str) -> Path:
    return Path(folder).expanduser().absolute()


def place(url: str) -> Path:
    """Return the folder of our cache for a URL: `model` in it, and what is left of a download."""
    return cache() / "models" / url.removeprefix("https://")


def located(source: str) -> Path:
    """Return where a model lies: what was fetched under a handle, or a folder or file.

    Raises
    ------
    SourceError
        If it is neither, or was not fetched.
    """
    if is_handle(source):
        return fetched(source)
    if not Path(source).exists():
        raise SourceError(
            f"there is no model {source!r}: give a SavedModel folder, a file that 'zarrbench model "
            f"convert' has written, or the handle of what was fetched, such as enformer"
        )
    return Path(source)


def fetched(handle: str) -> Path:
    """Return the SavedModel folder of a handle's model; nothing is downloaded.

    It lies in our cache, or in that of TensorFlow Hub (where TFHUB_CACHE_DIR names one: its default
    is in /tmp, where anybody may have written it), or in that of kagglehub.

    Raises
    ------
    SourceError
        If it is nowhere, or the first one found is not whole; or if `handle` is none.
    """
    known = urls(handle)
    again = f"'zarrbench model fetch {handle}'"
    for folder in (place(url) / "model" for url in known):
        if folder.exists():
            fault = _damage(folder)
            if fault is not None:
                raise SourceError(f"the model in {folder} is damaged: {fault}; run {again}")
            return folder
    for folder, finished in (found for url in known for found in _elsewhere(url)):
        if folder.exists():
            fault = missing(folder) if finished else "its download has not ended"
            if fault is not None:
                raise SourceError(
                    f"{folder}, in another program's cache, is not a whole SavedModel: {fault}; "
                    f"remove it and run {again}"
                )
            return folder
    raise SourceError(
        f"the model {handle} is not fetched: it is not in {place(known[0])}; run {again} on a "
        f"machine with a network that shares {cache()} (ZARRBENCH_CACHE), or give the folder of a "
        f"SavedModel"
    )


def _elsewhere(url: str) -> Iterator[tuple[Path, bool]]:
    """Yield where other programs keep the model of a URL, and whether they call it finished."""
    hub = os.environ.get("TFHUB_CACHE_DIR")
    if hub:
        name = hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
        yield _absolute(hub) / name, True
    if url.startswith(KAGGLE):
        root = _absolute(os.environ.get("KAGGLEHUB_CACHE") or "~/.cache/kagglehub")
        name = url.removeprefix(KAGGLE)
        for spelling in (name, name.replace("/TensorFlow", "/tensorFlow")):
            folder = root / "models" / spelling
            yield folder, folder.with_name(f"{folder.name}.complete").exists()


def record(folder: Path) -> dict[str, Any]:
    """Return what `fetch` wrote about a SavedModel folder; empty if nothing that can be read."""
    try:
        found = json.loads((folder / FETCHED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _damage(folder: Path) -> str | None:
    """Return in what a folder differs from its record."""
    try:
        sizes = {name: int(about["size"]) for name, about in record(folder)["files"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return f"its {FETCHED} is missing or damaged"
    for name, size in sizes.items():
        found = (folder / name).stat().st_size if (folder / name).is_file() else "no"
        if found != size:
            return f"{name} has {found} bytes, its record says {size}"
    return missing(folder)


def missing(folder: Path) -> str | None:
    """Return what a folder lacks of a SavedModel; None if nothing."""
    parts = ("saved_model.pb", "variables/variables.index", "variables/variables.data-*")
    return next((f"it has no {part}" for part in parts if not any(folder.glob(part))), None)
