"""Progress on standard error with an estimate of the time left."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def note(text: str) -> None:
    """Write a line on standard error, above any bar."""
    tqdm.write(text, file=sys.stderr)


def bar(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None,
    label: str,
    unit: str,
    done: int = 0,
    scaled: bool = False,
) -> tqdm:
    """Return a tqdm bar on standard error; where that is no terminal it redraws every 10 s.

    `done` of `total` are there already and count for no rate; `scaled` writes 12.3M.
    """
    interval = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(
        iterable,
        total=total,
        initial=done,
        desc=label,
        unit=f" {unit}",
        unit_scale=scaled,
        mininterval=interval,
        maxinterval=max(10.0, interval),
        dynamic_ncols=True,
        file=sys.stderr,
    )
