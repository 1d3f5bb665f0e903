"""TLS: who may connect to a scheduler that other machines can reach."""

import contextlib
import ipaddress
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from distributed.security import Security

from zarrbench.errors import ClusterError
from zarrbench.storage import writing


@dataclass(frozen=True)
class Tls:
    """Files with which both sides of every connection show that they belong to the cluster.

    Parameters
    ----------
    ca, cert, key : str
        PEM files: the authority, and the certificate of whoever runs with its key.
    """

    ca: str
    cert: str
    key: str

    def security(self) -> Security:
        """Return them as Dask takes them.

        Raises
        ------
        ClusterError
            If a file is missing.
        """
        files = {name: Path(text).expanduser() for name, text in vars(self).items()}
        for name, path in files.items():
            if not path.is_file():
                raise ClusterError(f"tls.{name}: there is no file {path}; correct its path")
        return security_of(files)


@contextlib.contextmanager
def temporary_security(folder: Path) -> Iterator[Security]:
    """Make credentials for one run, in files below `folder` that their owner alone can read.

    They are removed with the block.

    Raises
    ------
    ClusterError
        If the package that makes them is missing.
    StorageError
        If the folder cannot be written.
    """
    try:
        made = Security.temporary()
    except ImportError as error:
        raise ClusterError(
            f"TLS between hosts needs the package cryptography ({error}): install it with "
            f"pip install cryptography"
        ) from error
    texts = {"ca": made.tls_ca_file, "cert": made.tls_scheduler_cert, "key": made.tls_scheduler_key}
    with contextlib.ExitStack() as stack:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            private = stack.enter_context(tempfile.TemporaryDirectory(prefix=".tls-", dir=folder))
            files = {name: Path(private) / f"{name}.pem" for name in texts}
            for name, path in files.items():
                path.touch(mode=0o600)
                path.write_text(str(texts[name]))
        yield security_of(files)


def security_of(files: Mapping[str, Path]) -> Security:
    """Return the files `ca`, `cert` and `key` as Dask takes them, for every role."""
    roles = ("client", "scheduler", "worker")
    own = {f"tls_{role}_{kind}": str(files[kind]) for role in roles for kind in ("cert", "key")}
    return Security(require_encryption=True, tls_ca_file=str(files["ca"]), **own)


def is_this_machine(address: str) -> bool:
    """Whether a scheduler's address can be reached from this machine alone."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
