"""Where an export goes: something new, or with ``--overwrite`` what an earlier export wrote."""

from collections.abc import Callable
from pathlib import Path

from zarrbench.errors import StorageError


def check_destination(
    path: Path, overwrite: bool, is_ours: Callable[[Path], bool], what: str
) -> None:
    """Refuse to write where something stands that no export of this kind wrote.

    Parameters
    ----------
    path : Path
    overwrite : bool
        Whether what an export wrote there may be replaced.
    is_ours : callable
        Whether what stands there was written by such an export.
    what : str
        What is written, such as ``file``.

    Raises
    ------
    StorageError
    """
    if not path.exists():
        return
    if not is_ours(path):
        raise StorageError(
            f"{path} is there and was not written by this export, so that it is not replaced; name "
            f"a new {what}"
        )
    if not overwrite:
        raise StorageError(f"{path} is there; name a new {what}, or add --overwrite")
