"""The verdict on each printed number: same, differs, or cannot be recomputed."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isnan
from typing import get_args

import numpy as np

from zarrbench.errors import NotReproducedError
from zarrbench.reproduction.claims import recompute
from zarrbench.reproduction.printed import PRINTED, Printed, Verdict
from zarrbench.reproduction.recomputed import Recomputed
from zarrbench.reproduction.tables import PublishedTables

_COLUMNS = ("quantity", "printed", "recomputed", "verdict", "note")


@dataclass(frozen=True)
class Row:
    """A printed number beside the recomputed one (None where there is none)."""

    printed: Printed
    recomputed: float | None
    verdict: Verdict
    note: str

    @property
    def as_known(self) -> bool:
        """Whether the verdict is the one that the tables give as they were released."""
        return self.verdict == self.printed.known

    def facts(self) -> dict[str, object]:
        """Return what JSON says of it."""
        known = None if self.recomputed is None or isnan(self.recomputed) else self.recomputed
        return {
            "quantity": self.printed.quantity,
            "where": self.printed.where,
            "relation": self.printed.relation,
            "printed": self.printed.value,
            "recomputed": known,
            "verdict": self.verdict,
            "as_known": self.as_known,
            "note": self.note,
        }

    def cells(self) -> tuple[str, ...]:
        """Return what the table says of it, in the order of its columns."""
        printed = _shown(self.printed.value, self.printed)
        return (
            f"{self.printed.quantity} ({self.printed.where})",
            f"< {printed}" if self.printed.relation == "<" else printed,
            "-" if self.recomputed is None else _shown(self.recomputed, self.printed, 1),
            self.verdict,
            self.note,
        )


def reproduce(tables: PublishedTables) -> list[Row]:
    """Return a row for every number in `printed.PRINTED`, from the released tables.

    Raises
    ------
    SourceError
        If a gene that the study names is not in the tables exactly once.
    """
    return compare(PRINTED, recompute(tables))


def compare(printed: Iterable[Printed], found: Mapping[str, Recomputed]) -> list[Row]:
    """Return a row for every printed number.

    The verdict is "cannot" where the tables do not give the number. Else it is "same" if the
    recomputed number, rounded to the decimals that were printed, is the printed one, or keeps the
    printed bound, and "differs" if not; a NaN always differs.

    Raises
    ------
    KeyError
        If a key was not recomputed.
    """
    rows = []
    for one in printed:
        recomputed = None if one.key is None else found[one.key]
        value = None if recomputed is None else float(recomputed.value)
        notes = (one.cannot, "" if recomputed is None else recomputed.note, one.remark)
        rows.append(Row(one, value, _verdict(one, value), "; ".join(filter(None, notes))))
    return rows


def _verdict(printed: Printed, value: float | None) -> Verdict:
    if printed.cannot or value is None:
        return "cannot"
    if printed.relation == "<":
        return "same" if value < printed.value else "differs"
    # in units of the last printed digit: both are whole numbers then
    unit = 10.0**printed.decimals
    same = np.isfinite(value) and round(value * unit) == round(printed.value * unit)
    return "same" if same else "differs"


def refuse_changed(rows: Iterable[Row]) -> None:
    """Raise an error if a verdict is not the one that the tables give as they were released.

    Raises
    ------
    NotReproducedError
    """
    rows = list(rows)
    changed = [row for row in rows if not row.as_known]
    if changed:
        examples = ", ".join(
            f"{row.printed.quantity} ({row.printed.where}) {row.verdict}" for row in changed[:3]
        )
        raise NotReproducedError(
            f"{len(changed)} of {len(rows)} verdicts are not those of the tables as they were "
            f"released ({examples}); fetch the tables again, or find what changed the statistics"
        )


def as_json(rows: Iterable[Row]) -> str:
    """Return the rows, and how often each verdict was given, as JSON; a NaN is null."""
    rows = list(rows)
    given = [row.verdict for row in rows]
    counts = {verdict: given.count(verdict) for verdict in get_args(Verdict)}
    return json.dumps({"verdicts": counts, "rows": [row.facts() for row in rows]}, indent=1)


def as_table(rows: Iterable[Row]) -> str:
    """Return the rows as lines of text with aligned columns."""
    cells = [_COLUMNS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)][:-1]
    right = (False, True, True, False)
    lines = []
    for *aligned, note in cells:
        padded = [
            text.rjust(width) if to_the_right else text.ljust(width)
            for text, width, to_the_right in zip(aligned, widths, right, strict=True)
        ]
        lines.append("  ".join([*padded, note]).rstrip())
    return "\n".join(lines)


def _shown(value: float, printed: Printed, more: int = 0) -> str:
    if printed.relation == "<":
        return f"{value:.0e}"
    whole = printed.decimals == 0 and value == round(value, 9) and float(value).is_integer()
    return f"{value:,.0f}" if whole else f"{value:,.{printed.decimals + more}f}"
