"""Regions of a genome from a BED file, and what lies inside them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zarrbench.delimited import reading_text
from zarrbench.errors import SourceError
from zarrbench.genome.coordinates import map_contigs


@dataclass(frozen=True)
class Regions:
    """Disjoint stretches of contigs in order, 0-based half-open: shape (region, 2) by contig."""

    intervals: dict[str, NDArray[np.int64]]

    @classmethod
    def of(cls, stretches: Iterable[tuple[str, int, int]]) -> "Regions":
        """Return the union of (contig, start, end), 0-based half-open; touching ones are joined."""
        by_contig: dict[str, list[list[int]]] = {}
        for contig, start, end in sorted(stretches):
            joined = by_contig.setdefault(contig, [])
            if joined and start <= joined[-1][1]:
                joined[-1][1] = max(joined[-1][1], end)
            else:
                joined.append([start, end])
        return cls({name: np.array(rows, np.int64) for name, rows in by_contig.items()})

    def hold(self, contig: ArrayLike, start: ArrayLike, end: ArrayLike) -> NDArray[np.bool_]:
        """Return which stretches, shape (stretch,), lie inside one region with all their bases.

        Contig names may differ from those of the regions in a ``chr`` prefix. `start` and `end`
        are 0-based half-open; nothing holds an empty stretch.

        Raises
        ------
        ContigError
            If two of the names mean the same contig.
        """
        names = np.asarray(contig).astype(object)  # of whichever of NumPy's kinds of text
        starts, ends = np.asarray(start, np.int64), np.asarray(end, np.int64)
        inside = np.zeros(names.shape, dtype=bool)
        known = map_contigs(sorted(set(names.tolist())), self.intervals, "the stretches")
        for name, region_name in known.items():
            here = names == name
            regions = self.intervals[region_name]
            before = np.searchsorted(regions[:, 0], starts[here], side="right") - 1
            inside[here] = (before >= 0) & (ends[here] <= regions[np.maximum(before, 0), 1])
        return inside & (starts < ends)


def read_regions(path: Path, label: str | None = None) -> Regions:
    """Return the regions of a BED file, plain or gzip-compressed.

    Columns after the third are passed over, and so are empty lines, comments, ``track`` and
    ``browser`` lines.

    Parameters
    ----------
    path
    label
        Take only the rows with this text in the fourth column, as in the file of a model's
        training, validation and test regions (``test``).

    Raises
    ------
    SourceError
        If a row is none of BED, or no region is left.
    """
    stretches = []
    with reading_text(path) as handle:
        for number, line in enumerate(handle, 1):
            if not line.strip() or line.startswith(("#", "track", "browser")):
                continue
            cells = line.split("\t") if "\t" in line else line.split()
            stretch = _stretch(cells, f"{path}, line {number}")
            if label is None or (len(cells) > 3 and cells[3].strip() == label):
                stretches.append(stretch)
    if not stretches:
        wanted = "" if label is None else f" with {label!r} in the fourth column"
        raise SourceError(f"{path} holds no region{wanted}; give a BED file that does")
    return Regions.of(stretches)


def _stretch(cells: list[str], where: str) -> tuple[str, int, int]:
    try:
        contig, start, end = cells[0].strip(), int(cells[1]), int(cells[2])
    except (ValueError, IndexError) as error:
        raise SourceError(
            f"{where} is no row of BED: expected contig, start and end, found "
            f"{' '.join(cells[:3]).strip()!r}"
        ) from error
    if not 0 <= start < end:
        raise SourceError(
            f"{where}: a region from {start} to {end} is empty; BED is 0-based and half-open"
        )
    return contig, start, end
