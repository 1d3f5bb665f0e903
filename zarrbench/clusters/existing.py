"""A Dask cluster that somebody has started: its scheduler's address, or the file that holds it."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distributed import Client

from zarrbench.clusters.recipe import ClusterRecipe
from zarrbench.clusters.security import Tls, is_this_machine
from zarrbench.errors import ClusterError

_CONNECT_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class ExistingRecipe(ClusterRecipe):
    """A running cluster, joined and left as it is.

    Its workers must offer the slot: ``dask worker --resources GPU=1 --nthreads 3``.

    Parameters
    ----------
    address : str, optional
        Of the scheduler, such as ``tls://10.0.0.5:8786``.
    scheduler_file : str, optional
        Instead of `address`: the JSON that ``dask scheduler --scheduler-file`` writes.
    tls : Tls, optional
        Needed beyond this machine.
    insecure : bool
        Connect to another machine without TLS all the same: whoever reaches that scheduler runs
        programs as whoever started the workers, and reads along.
    """

    address: str | None = None
    scheduler_file: str | None = None
    tls: Tls | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.address is None) == (self.scheduler_file is None):
            raise ValueError("give either address or scheduler_file")
        if self.address is not None:
            self._refuse_plain(self.address, ValueError)

    def _refuse_plain(self, address: str, kind: type[Exception]) -> None:
        encrypted = address.startswith("tls://")
        if not encrypted and not address.startswith("tcp://"):
            raise kind(f"the address must begin with tls:// or tcp://, found {address!r}")
        if encrypted and self.tls is None:
            raise kind(f"{address} speaks TLS: give its files as tls: {{ca: , cert: , key: }}")
        if not encrypted and not self.insecure and not is_this_machine(address):
            raise kind(
                f"{address} is another machine and not encrypted: start its scheduler with TLS "
                f"and give tls:// and tls: {{ca: , cert: , key: }}; or, on a network that you "
                f"trust wholly, write insecure: true"
            )

    def scheduler_address(self) -> str:
        """Return the scheduler's address as the recipe or its file has it.

        Raises
        ------
        ClusterError
            If the file cannot be read, or leads to another machine without TLS.
        """
        if self.address is not None:
            return self.address
        path = Path(str(self.scheduler_file)).expanduser()
        try:
            address = str(json.loads(path.read_text())["address"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ClusterError(
                f"scheduler_file {path} does not hold an address ({error}): start the scheduler "
                f"with --scheduler-file {path}, or correct the path"
            ) from error
        self._refuse_plain(address, ClusterError)
        return address

    @contextlib.contextmanager
    def start(self, process_bytes: int) -> Iterator[Client]:
        address = self.scheduler_address()
        security = self.tls.security() if self.tls is not None else None
        try:
            client = Client(address, security=security, timeout=_CONNECT_SECONDS)
        except (OSError, TimeoutError, ValueError) as error:  # a TLS failure is an OSError
            raise ClusterError(
                f"no scheduler answers at {address} ({' '.join(str(error).split())[:200]}): start "
                f"it, or correct address and tls"
            ) from error
        with client:
            yield client
