"""A number that the released tables give."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recomputed:
    """A number from the released tables, and what it rests on."""

    value: float
    note: str = ""
