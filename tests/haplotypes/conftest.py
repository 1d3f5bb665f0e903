"""A contig and its records in memory, in place of the stores that a window is read from."""

from collections.abc import Sequence

import numpy as np
import pytest

from zarrbench.genome.bases import OTHER, encode
from zarrbench.genome.coordinates import Window
from zarrbench.genotypes.store import Records


class Contig:
    """A contig, chr1, in place of a `Reference` and of a `GenotypeStore`.

    Records are (0-based position, [REF, ALT, ...], [(allele, allele), ...] of every individual),
    sorted.
    """

    def __init__(
        self,
        sequence: str,
        written: Sequence[tuple[int, Sequence[str], Sequence[Sequence[int]]]],
        individuals: int = 1,
    ) -> None:
        self.sequence, self.written, self.individuals = sequence, list(written), individuals
        self.lengths = {"chr1": len(sequence)}

    def codes(self, window: Window) -> np.ndarray:
        codes = np.full(window.length, OTHER, dtype=np.uint8)
        start, end = max(window.start, 0), min(window.end, len(self.sequence))
        if end > start:
            codes[start - window.start : end - window.start] = encode(self.sequence[start:end])
        return codes

    def records(
        self, contig: str, start: int, end: int, individuals: np.ndarray | None = None
    ) -> Records:
        found = [r for r in self.written if r[0] < end and r[0] + len(r[1][0]) > start]
        if found and found[0][0] < start:
            return self.records(contig, found[0][0], end, individuals)
        people = np.arange(self.individuals) if individuals is None else individuals
        width = max((len(alleles) for _, alleles, _ in found), default=2)
        padded = [[*alleles, *[""] * (width - len(alleles))] for _, alleles, _ in found]
        calls = np.array([calls for *_, calls in found], dtype=np.int8)
        return Records(
            np.array([position for position, *_ in found], dtype=np.int64),
            np.array(padded, dtype=np.dtypes.StringDType()).reshape(len(found), width),
            calls.reshape(len(found), self.individuals, 2)[:, people],
            np.ones((len(found), len(people)), dtype=bool),
        )


@pytest.fixture(scope="session")
def make_contig() -> type[Contig]:
    return Contig
