"""Windows around a TSS and the names of contigs: the only place that converts 1-based positions.

Positions are 1-based in VCF and in user tables (and in the `tss` variable of every store, so that
it equals the table's); inside they are 0-based, half-open and int64.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zarrbench.errors import ContigError, RecipeError


@dataclass(frozen=True)
class Window:
    """A stretch of a contig, 0-based half-open; it may leave the contig at either end.

    Parameters
    ----------
    contig : str
    start, end : int
    reverse : bool
        Whether a model reads it on the other strand.
    anchor : int, optional
        Position of the base that keeps its place when insertions and deletions are applied: the
        TSS. The first base of the window by default.
    """

    contig: str
    start: int
    end: int
    reverse: bool = False
    anchor: int | None = None

    def __post_init__(self) -> None:
        if self.anchor is not None and not self.start <= self.anchor < self.end:
            raise ValueError(f"the anchor {self.anchor} lies outside {self.start}..{self.end}")

    @property
    def length(self) -> int:
        return self.end - self.start

    def inside(self, contig_length: int) -> bool:
        """Whether the whole window lies on a contig of this length."""
        return self.start >= 0 and self.end <= contig_length

    def shifted(self, bases: int) -> "Window":
        """Return the window in which, as it is read, every base has an index larger by `bases`.

        The anchor stays the same base.

        Raises
        ------
        ValueError
            If the anchor would lie outside.
        """
        by = bases if self.reverse else -bases
        return replace(self, start=self.start + by, end=self.end + by)

    def other_strand(self) -> "Window":
        """Return the window on the other strand in which the anchor has the same index.

        Around the anchor it is the mirror image: unless that is the middle base, the two hold
        different bases.
        """
        anchor = self.start if self.anchor is None else self.anchor
        start, end = 2 * anchor - (self.end - 1), 2 * anchor - self.start + 1
        return replace(self, start=start, end=end, reverse=not self.reverse, anchor=anchor)

    def __str__(self) -> str:
        return f"{self.contig}:{self.start + 1}-{self.end}"


def from_one_based(positions: ArrayLike) -> NDArray[np.int64]:
    """Return 0-based int64 positions of 1-based ones (VCF POS, TSS) of any integer type."""
    return np.asarray(positions).astype(np.int64) - 1


def to_one_based(positions: ArrayLike) -> NDArray[np.int64]:
    """Return the 1-based positions of 0-based ones."""
    return np.asarray(positions).astype(np.int64) + 1


def tss_of_gene(start: int, end: int, strand: str) -> int:
    """Return the 1-based TSS: the start of a + gene, the end of a - gene (METHODS section 0)."""
    return start if strand == "+" else end


def model_window(
    contig: str, tss: int, strand: str, length: int, tss_index: int, strand_aware: bool
) -> Window:
    """Return the window that puts a TSS at index `tss_index` of the sequence that a model reads.

    Parameters
    ----------
    contig : str
    tss : int
        1-based.
    strand : str
        ``+`` or ``-``.
    length : int
        Input length of the model.
    tss_index : int
        0-based index of the TSS base in the model's input, in the model's own orientation.
    strand_aware : bool
        Whether the model reads genes of the minus strand as reverse complement.
    """
    position = int(from_one_based(tss))
    reverse = strand_aware and strand == "-"
    before = length - 1 - tss_index if reverse else tss_index
    start = position - before
    return Window(contig, start, start + length, reverse, anchor=position)


_REGION = re.compile(r"^(?P<contig>[^:]+)(?::(?P<start>\d[\d,]*)-(?P<end>\d[\d,]*))?$")


def parse_region(text: str) -> tuple[str, int, int | None]:
    """Return (contig, 0-based start, end or None) of ``CONTIG`` or ``CONTIG:START-END``.

    The text is 1-based and inclusive, as in ``chr22:16,000,001-17,000,000``.
    """
    match = _REGION.match(text.strip())
    if match is None:
        raise RecipeError(f"{text!r} is not a region; write CONTIG or CONTIG:START-END (1-based)")
    if match["start"] is None:
        return match["contig"], 0, None
    start, end = (int(match[k].replace(",", "")) for k in ("start", "end"))
    if not 1 <= start <= end:
        raise RecipeError(f"the region {text!r} must have 1 <= START <= END")
    return match["contig"], start - 1, end


def map_contigs(names: Iterable[str], reference_names: Iterable[str], what: str) -> dict[str, str]:
    """Map contig names of one input to those of the reference, where that is unambiguous.

    The same name wins; else the one reference contig that differs only in a ``chr`` prefix (and
    M against MT). Names without a partner are absent from the result.

    Raises
    ------
    ContigError
        If two names of the input mean the same reference contig; `what` names the input.
    """
    known = list(reference_names)
    by_core: dict[str, list[str]] = {}
    for name in known:
        by_core.setdefault(_core(name), []).append(name)
    mapped: dict[str, str] = {}
    for name in names:
        candidates = [name] if name in known else by_core.get(_core(name), [])
        if len(candidates) == 1:
            mapped[name] = candidates[0]
    taken: dict[str, str] = {}
    for name, target in mapped.items():
        if target in taken:
            raise ContigError(
                f"{what} names the contig {target!r} of the reference in two ways "
                f"({taken[target]!r} and {name!r}); rename one of them"
            )
        taken[target] = name
    return mapped


def _core(name: str) -> str:
    core = name.lower().removeprefix("chr")
    return "m" if core == "mt" else core
