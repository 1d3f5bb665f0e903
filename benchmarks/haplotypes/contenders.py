"""Ways to make sequences, all with one interface: batches of 32 haplotypes of a window."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import cyvcf2
import numpy as np
from numpy.typing import NDArray

from benchmarks.haplotypes.cohort import LENGTH, Cohort
from zarrbench.genome.bases import Codes, encode
from zarrbench.genome.coordinates import Window
from zarrbench.genotypes.policies import Policies
from zarrbench.haplotypes.sequences import PersonalWindow, personal_window

BATCH = 32
ONE_HOT, ONE_HOT_BYTES, CODES = "one_hot float32", "one_hot uint8", "codes"
DTYPES = {ONE_HOT: np.float32, ONE_HOT_BYTES: np.uint8}
EYE = np.eye(5, 4)
READ = "genotypes read before"
READING = "region read included"
NEW = "new memory"
DIFFERING = "reused buffer, what differs"
WHOLE = "reused buffer, written whole"


# What every contender writes to that can write to a given buffer: by `what`
Buffers = Mapping[str, NDArray[Any]]


def buffers() -> Buffers:
    shape = (BATCH, LENGTH)
    one_hot = {what: np.zeros((*shape, 4), dtype) for what, dtype in DTYPES.items()}
    return {CODES: np.zeros(shape, np.uint8), **one_hot}


@dataclass(frozen=True)
class Contender:
    """One way to make the sequences of a window.

    Attributes
    ----------
    name : str
    what : str
        `ONE_HOT` or `ONE_HOT_BYTES` (haplotype, base, 4), or `CODES` (haplotype, base): one byte a
        base, code or letter.
    batches : callable
        Of the number of a window; yields arrays of 32 haplotypes in the order of people, and
        may use the memory of one for the next.
    most : int, optional
        Haplotypes of a window to time, where all would take too long.
    is_copy : bool
        Whether it copies memory and has no sequences to compare.
    """

    name: str
    what: str
    batches: Callable[[int], Iterator[NDArray[Any]]]
    most: int | None = None
    is_copy: bool = False


def zarrbench(cohort: Cohort, buffers: Buffers) -> list[Contender]:
    """Return this project's ways, through the public API, with and without reading the stores."""
    genotypes, reference = cohort.open()
    kept: dict[int, PersonalWindow] = {}

    def read(i: int) -> PersonalWindow:
        return personal_window(genotypes, reference, cohort.windows[i], Policies())

    def read_before(i: int) -> PersonalWindow:
        if i not in kept:
            kept[i] = read(i)
        return kept[i]

    def differing(personal: PersonalWindow, out: NDArray) -> Iterator[NDArray]:
        return personal.batches(personal.rows[cohort.order].reshape(-1), out)

    def whole(personal: PersonalWindow, make: Callable, out: NDArray | None) -> Iterator[NDArray]:
        rows = personal.rows[cohort.order].reshape(-1)
        for first in range(0, rows.size, BATCH):
            batch = rows[first : first + BATCH]
            yield make(personal, batch, None if out is None else out[: batch.size])

    make = {CODES: PersonalWindow.codes} | dict.fromkeys(DTYPES, PersonalWindow.one_hot)
    ways: list[tuple[str, str, Callable[[PersonalWindow], Iterator[NDArray]]]] = [
        (NEW, CODES, lambda personal: whole(personal, PersonalWindow.codes, None))
    ]
    for what, out in buffers.items():
        ways.append((DIFFERING, what, partial(differing, out=out)))
        ways.append((WHOLE, what, partial(whole, make=make[what], out=out)))
    return [
        Contender(f"zarrbench, {how}, {when}", what, lambda i, get=get, way=way: way(get(i)))
        for how, what, way in ways
        for get, when in ((read_before, READ), (read, READING))
    ]


def dense_numpy(cohort: Cohort, buffers: Buffers) -> list[Contender]:
    """Return plain NumPy: bool genotypes in memory, reference copied, ALT scattered."""
    _, reference = cohort.open()
    dense = [_dense(cohort, window) for window in cohort.windows]
    references = [reference.codes(window) for window in cohort.windows]

    def batches(i: int, out: NDArray[Any], of_code: NDArray[Any]) -> Iterator[NDArray[Any]]:
        columns, alternative, carried = dense[i]
        whole, bases = of_code[references[i]], of_code[alternative]
        for first in range(0, len(carried), BATCH):
            of_batch = carried[first : first + BATCH]
            for row, has in zip(out, of_batch, strict=False):
                row[:] = whole
                row[columns[has]] = bases[has]
            yield out[: len(of_batch)]

    of_code = {what: EYE.astype(dtype) for what, dtype in DTYPES.items()}
    of_code[CODES] = np.arange(5, dtype=np.uint8)
    return [
        Contender(
            "plain NumPy, dense genotypes in memory",
            what,
            partial(batches, out=buffers[what], of_code=of_code[what]),
        )
        for what in buffers
    ]


def _dense(cohort: Cohort, window: Window) -> tuple[NDArray[np.int64], Codes, NDArray[np.bool_]]:
    """Return columns (site,), ALT codes (site,) and who carries ALT (haplotype, site)."""
    file = cyvcf2.VCF(str(cohort.vcf))
    order = np.argsort(file.samples)
    records = [(v.start, v.ALT[0], v.genotype.array()[order, :2]) for v in file(str(window))]
    file.close()
    starts, alternative, calls = zip(*records, strict=True)
    carried = np.array(calls).reshape(len(records), -1).T == 1
    return np.array(starts) - window.start, encode("".join(alternative)), carried.copy()


def copies(buffers: Buffers) -> list[Contender]:
    """Return the limits: memory copied, block by block of the same shape."""
    blocks = {what: np.ones_like(out) for what, out in buffers.items()}

    def reused(_: int, what: str) -> Iterator[NDArray[Any]]:
        for _ in range(16):
            np.copyto(buffers[what], blocks[what])
            yield buffers[what]

    def new(_: int) -> Iterator[NDArray[Any]]:
        for _ in range(16):
            yield blocks[CODES].copy()

    return [
        *(Contender("copy", what, partial(reused, what=what), is_copy=True) for what in DTYPES),
        Contender("copy, reused buffer", CODES, partial(reused, what=CODES), is_copy=True),
        Contender("copy, new memory", CODES, new, is_copy=True),
    ]
