"""What every kind of cluster has in common: a name, a slot, and a way to start."""

import contextlib
from dataclasses import dataclass

from dask.utils import parse_bytes, parse_timedelta
from distributed import Client

#: what a process with TensorFlow and one small model needs at least
PROCESS_BYTES = 2 << 30

#: Dask threads of a process: one prepares the next gene, one predicts, one writes the last
THREADS = 3


@dataclass(frozen=True, kw_only=True)
class ClusterRecipe:
    """One place to run.

    Parameters
    ----------
    name : str
    slot : str
        Dask resource that one prediction takes; every worker process offers one.
    description : str
    """

    name: str
    slot: str = "GPU"
    description: str = ""

    def __post_init__(self) -> None:
        if not self.slot.isidentifier():
            raise ValueError(f"slot must name a resource, one plain word, found {self.slot!r}")

    @property
    def patience(self) -> float:
        """Seconds that a run goes on without any worker, when there were some."""
        return 600.0

    def start(self, process_bytes: int) -> contextlib.AbstractContextManager[Client]:
        """Start it, give a client, and stop in the end what was started.

        Raises
        ------
        ClusterError
            If it does not start.
        """
        raise NotImplementedError


def environment(cores: int) -> dict[str, str]:
    """Return the variables of a worker process that has so many cores.

    One prediction at a time takes them all: more threads would compete.
    """
    return {
        "TF_NUM_INTRAOP_THREADS": str(cores),
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "OMP_NUM_THREADS": str(cores),
    }


def refuse_memory(key: str, text: str) -> None:
    """Raise ValueError unless Dask reads a size in the text."""
    try:
        if parse_bytes(text) >= 0:
            return
    except ValueError:
        pass
    raise ValueError(f"{key} must be auto or a size, such as 16GiB, found {text!r}")


def seconds(key: str, text: str) -> float:
    """Return the seconds that Dask reads in a text such as ``30 minutes``."""
    try:
        return float(parse_timedelta(text))
    except (ValueError, KeyError) as error:
        raise ValueError(f"{key} must be a time, such as 30 minutes, found {text!r}") from error
