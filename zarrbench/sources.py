"""Finding a recipe's source files: in a given folder, beside the recipe, or by download.

Compute nodes are often offline, so that a download is the last resort, and always checked.
"""

from dataclasses import dataclass
from pathlib import Path

from zarrbench.errors import SourceError
from zarrbench.provenance import file_sha256
from zarrbench.storage import writing


@dataclass(frozen=True)
class Source:
    """A file that a recipe reads. In YAML either a plain path or a mapping.

    Parameters
    ----------
    file : str
        Absolute, or relative to ``--sources`` or to the folder of the recipe.
    url : str, optional
        Where to download it when it is in neither place; needs `sha256`.
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
        if self.url is not None and self.sha256 is None:
            raise ValueError(f"the source {self.file!r} has a url and needs its sha256 too")

    @classmethod
    def from_text(cls, text: str) -> "Source":
        return cls(file=text)


@dataclass(frozen=True)
class SourceFolders:
    """Where sources are looked for, in this order; `downloads` is written to, the others never."""

    given: Path | None
    recipe: Path
    downloads: Path

    def find(self, source: Source) -> Path | None:
        """Return where `source` lies, None if it is nowhere; unchecked."""
        return next((c.absolute() for c in self._candidates(source) if c.exists()), None)

    def locate(self, source: Source) -> Path:
        """Return the path of `source`, downloading it if it must be and can be.

        Raises
        ------
        SourceError
            If the file is nowhere, or its size or checksum is wrong.
        """
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
        try:
            with writing(target):
                fetched = pooch.retrieve(
                    url=source.url,
                    known_hash=f"sha256:{source.sha256}",
                    path=target.parent,
                    fname=target.name,
                    progressbar=True,
                )
        except requests.exceptions.RequestException as error:
            raise SourceError(
                f"cannot download {source.file!r} from {source.url}: {error}; fetch it on a machine "
                f"with a network and give its folder with --sources DIR"
            ) from error
        except ValueError as error:
            raise SourceError(
                f"the download of {source.file!r} from {source.url} is damaged: {error}"
            ) from error
        return Path(fetched)


def check(path: Path, source: Source) -> None:
    """Refuse a file whose size or SHA-256 is not what the recipe says."""
    if source.size is not None and path.stat().st_size != source.size:
        raise SourceError(
            f"{path} has {path.stat().st_size} bytes, the recipe says {source.size}: it is "
            f"incomplete or another file"
        )
    if source.sha256 is not None:
        found = file_sha256(path)
        if found != source.sha256:
            raise SourceError(
                f"{path} has SHA-256 {found}, the recipe says {source.sha256}: it is damaged or "
                f"another file"
            )
