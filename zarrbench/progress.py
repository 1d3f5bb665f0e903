"""Progress on standard error with an estimate of the time left."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def bar(iterable: Iterable[Any] | None = None, *, total: int | None, label: str, unit: str) -> tqdm:
    """Return a tqdm bar on standard error; where that is no terminal it redraws every 10 s."""
    interval = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(
        iterable,
        total=total,
        desc=label,
        unit=f" {unit}",
        mininterval=interval,
        maxinterval=max(10.0, interval),
        dynamic_ncols=True,
        file=sys.stderr,
    )
