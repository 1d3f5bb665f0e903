"""Finding a recipe's source files: in a given folder, beside the recipe, or by download.

Compute nodes are often offline, so that a download is the last resort, and always checked.
"""

import dataclasses
import ftplib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zarrbench.errors import SourceError
from zarrbench.provenance import file_sha256, plain
from zarrbench.remote import is_url, refuse_password
from zarrbench.storage import storage_failure, writing


@dataclass(frozen=True)
class Source:
    """A file that a recipe reads. In YAML either a plain path or a mapping.

    Parameters
    ----------
    file : str
        Absolute, or relative to ``--sources`` or to the folder of the recipe. For genotypes also
        the URL of a VCF Zarr, which is read where it lies.
    url : str, optional
        Where to download it when it is in neither place (http, https or ftp); needs `sha256`, and
        a `file` inside the folder of downloads.
    sha256 : str, optional
        Checksum that the file must have.
    size : int, optional
        Size in bytes, for messages and for a quick check.
    """

    file: str
    url: str | None = None
    sha256: str | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        if not self.file or "\0" in self.file:
            raise ValueError(f"file must name a file, found {self.file!r}")
        refuse_password(self.file)
        refuse_password(self.url or "")
        if is_url(self.file) and (self.url, self.sha256, self.size) != (None, None, None):
            raise ValueError(
                f"the source {self.file!r} is a URL, which is read where it lies: it takes no url, "
                f"no sha256 and no size"
            )
        if self.url is None:
            return
        if self.sha256 is None:
            raise ValueError(f"the source {self.file!r} has a url and needs its sha256 too")
        if not self.url.startswith(("https://", "http://", "ftp://")):
            raise ValueError(f"the url {self.url!r} must begin with https://, http:// or ftp://")
        if Path(self.file).is_absolute() or ".." in Path(self.file).parts:
            raise ValueError(
                f"the source {self.file!r} has a url: its file must be relative and without '..', "
                f"so that it is downloaded into the folder of downloads"
            )

    @classmethod
    def from_text(cls, text: str) -> "Source":
        return cls(file=text)


def without_sources(value: Any) -> Any:
    """Return a recipe as JSON-ready values, less its sources.

    Where a file lies and how it is fetched determine no number; its content does, and is recorded
    by checksum beside this.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return without_sources(items)
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not isinstance(v, Source)}
        return {str(key): without_sources(item) for key, item in kept.items()}
    if isinstance(value, list | tuple):
        return [without_sources(item) for item in value if not isinstance(item, Source)]
    return plain(value)


@dataclass(frozen=True)
class SourceFolders:
    """Where sources are looked for, in this order; `downloads` is written to, the others never."""

    given: Path | None
    recipe: Path
    downloads: Path

    def find(self, source: Source) -> Path | None:
        """Return where `source` lies, None if it is nowhere; unchecked."""
        candidates = self._candidates(source)
        return next((c.absolute() for c in candidates if os.path.exists(c)), None)

    def locate(self, source: Source) -> Path:
        """Return the path of `source`, downloading it if it must be and can be.

        Raises
        ------
        SourceError
            If the file is nowhere, cannot be read, or its size or checksum is wrong.
        """
        if is_url(source.file):
            raise SourceError(
                f"{source.file} is a URL, and only genotypes that are VCF Zarr are read where they "
                f"lie; download it and give its path, or write 'file', 'url' and 'sha256'"
            )
        found = self.find(source)
        if found is not None:
            check(found, source)
            return found
        if source.url is None:
            looked = ", ".join(str(c) for c in self._candidates(source))
            raise SourceError(
                f"the source file {source.file!r} was not found (looked at {looked}); give its "
                f"folder with --sources DIR"
            )
        return self._download(source)

    def _candidates(self, source: Source) -> list[Path]:
        if Path(source.file).is_absolute():
            return [Path(source.file)]
        folders = [self.given, self.recipe, self.downloads]
        return [folder / source.file for folder in folders if folder is not None]

    def _download(self, source: Source) -> Path:
        import pooch
        import requests

        target = self.downloads / source.file
        advice = "fetch it on a machine with a network and give its folder with --sources DIR"
        with writing(target):
            try:
                fetched = pooch.retrieve(
                    url=source.url,
                    known_hash=f"sha256:{source.sha256}",
                    path=target.parent,
                    fname=target.name,
                    progressbar=True,
                )
            except ftplib.all_errors as error:  # requests' own are OSErrors too
                of_network = isinstance(error, requests.exceptions.RequestException)
                if not of_network and storage_failure(error, target) is not None:
                    raise
                raise SourceError(
                    f"cannot download {source.file!r} from {source.url}: {error}; {advice}"
                ) from error
            except ValueError as error:
                raise SourceError(
                    f"what {source.url} gives for {source.file!r} is damaged or another file: "
                    f"{error}; {advice}, or correct the recipe"
                ) from error
        return Path(fetched)


def check(path: Path, source: Source) -> None:
    """Refuse a file that cannot be read, or whose size or SHA-256 is not what the recipe says.

    A folder may be a VCF Zarr; it has no checksum.
    """
    if path.is_dir():
        if source.size is not None or source.sha256 is not None:
            raise SourceError(f"{path} is a folder: the recipe can give it no size and no sha256")
        return
    try:
        _check_content(path, source)
    except OSError as error:
        raise SourceError(
            f"cannot read {path}: {error.strerror or error}; make it readable, or give another "
            f"folder with --sources DIR"
        ) from error


def _check_content(path: Path, source: Source) -> None:
    with path.open("rb"):
        pass
    if source.size is not None and path.stat().st_size != source.size:
        raise SourceError(
            f"{path} has {path.stat().st_size} bytes, the recipe says {source.size}: it is "
            f"incomplete or another file; fetch it again, or correct the recipe"
        )
    if source.sha256 is not None:
        found = file_sha256(path)
        if found != source.sha256:
            raise SourceError(
                f"{path} has SHA-256 {found}, the recipe says {source.sha256}: it is damaged or "
                f"another file; fetch it again, or correct the recipe"
            )
