"""The personal sequences of a window, each distinct one once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from zarrbench.genome.bases import ONE_HOT, Codes, reverse_complement
from zarrbench.genome.coordinates import Window
from zarrbench.genome.reference import Reference
from zarrbench.genotypes.policies import Policies
from zarrbench.genotypes.store import GenotypeStore
from zarrbench.haplotypes.assembly import Assembly, Parts, assemble
from zarrbench.haplotypes.content import Catalogue, Content
from zarrbench.haplotypes.edits import Edits, edits

# Reference read beside a window where deletions may need it; more is read where more is needed.
_BESIDE = 2048
# Sequences compared at once: few enough to stay in the cache
_BLOCK = 32


@dataclass(frozen=True)
class PersonalWindow:
    """All sequences that people carry in one window, without repetition.

    Attributes
    ----------
    window : Window
    reference : uint8 (base,)
        Base codes of the reference as the model reads it, `before` of them before the window.
    before : int
    assembly : Assembly
        What each distinct sequence is made of.
    rows : int32 (individual, 2)
        Which distinct sequence each haplotype is. The order of sequences is that of their edits: it
        does not depend on the order of people.
    reference_row : int
        The reference is always among them.
    n_distinct_haplotypes : int
        Distinct sequences that people carry (the reference counts only if somebody carries it).
    edits : Edits
    """

    window: Window
    reference: Codes
    before: int
    assembly: Assembly
    rows: NDArray[np.int32]
    reference_row: int
    edits: Edits

    @property
    def n_rows(self) -> int:
        """Distinct sequences, the reference included."""
        return self.assembly.stretch_offsets.size - 1

    @property
    def n_distinct_haplotypes(self) -> int:
        return int(np.unique(self.rows).size)

    def codes(self, rows: ArrayLike | slice | None = None, out: Codes | None = None) -> Codes:
        """Return base codes of distinct sequences as the model reads them, uint8 (row, length).

        Parameters
        ----------
        rows : slice or int (row,), optional
            Which of the distinct sequences; all by default. ``personal.rows[i]`` are the two
            haplotypes of individual i.
        out : uint8 (row, length), optional
            Where to write them; new memory by default.
        """
        chosen = self._chosen(rows)
        if out is None:
            out = np.empty((chosen.size, self.window.length), dtype=np.uint8)
        self.assembly.write(chosen, self.reference, self.before, _SAME, out)
        return out

    def one_hot(
        self,
        rows: ArrayLike | slice | None = None,
        out: NDArray | None = None,
        dtype: DTypeLike = np.float32,
    ) -> NDArray:
        """Return sequences as `codes` does, one-hot: (row, length, 4), channels A, C, G, T.

        What is no letter is a zero vector. `out` decides the type if it is given.
        """
        chosen = self._chosen(rows)
        if out is None:
            out = np.empty((chosen.size, self.window.length, 4), dtype=dtype)
        source, letters = self._one_hot_source(out.dtype)
        self.assembly.write(chosen, source, self.before, letters, _opaque(out))
        return out

    def batches(self, rows: ArrayLike, out: NDArray) -> Iterator[NDArray]:
        """Yield sequences, batch by batch, in an array that is used again and again.

        Only what differs from the batch before is written, which without insertions and deletions
        is far less than a copy of the sequences. A batch holds until the next one is asked for,
        and is read-only; copy what must last.

        Parameters
        ----------
        rows : int (row,)
            Which of the distinct sequences, in this order; any may stand more than once.
        out : uint8 (batch, length), or any type (batch, length, 4)
            What is filled with `codes`, or with `one_hot`. The last batch may be shorter.
        """
        chosen = np.asarray(rows, dtype=np.int64)
        shown = out.view()
        shown.flags.writeable = False
        if out.ndim == 2:
            source, letters, written = self.reference, _SAME, out
        else:
            (source, letters), written = self._one_hot_source(out.dtype), _opaque(out)
        held = None
        for start in range(0, chosen.size, len(out)):
            batch = chosen[start : start + len(out)]
            size = batch.size
            before = None if held is None else held[:size]
            self.assembly.write(batch, source, self.before, letters, written[:size], before)
            held = batch
            yield shown[:size]

    def haplotype(self, individual: int, haplotype: int) -> Codes:
        """Return the base codes of one haplotype of one individual (both 0-based rows)."""
        return self.codes(self.rows[individual, haplotype][None])[0]

    def _chosen(self, rows: ArrayLike | slice | None) -> NDArray[np.int64]:
        if rows is None or isinstance(rows, slice):
            return np.arange(self.n_rows)[rows or slice(None)]
        return np.asarray(rows, dtype=np.int64)

    def _one_hot_source(self, dtype: np.dtype) -> tuple[NDArray, NDArray]:
        """Return the reference and the letters as `_opaque` one-hot vectors, made once."""
        if dtype not in self._one_hot_sources:
            letters = ONE_HOT.astype(dtype)
            self._one_hot_sources[dtype] = (_opaque(letters[self.reference]), _opaque(letters))
        return self._one_hot_sources[dtype]

    @cached_property
    def _one_hot_sources(self) -> dict[np.dtype, tuple[NDArray, NDArray]]:
        return {}


def _opaque(one_hot: NDArray) -> NDArray:
    """Return a view of one-hot vectors (..., 4) as one item each: they are moved faster whole."""
    item = np.dtype((np.void, 4 * one_hot.itemsize))
    return one_hot.view(item)[..., 0]


_SAME = np.arange(5, dtype=np.uint8)


def personal_window(
    genotypes: GenotypeStore,
    reference: Reference,
    window: Window,
    policies: Policies,
    individuals: NDArray[np.int64] | None = None,
) -> PersonalWindow:
    """Read a window's variants and return the distinct personal sequences.

    With ``indels: anchor_tss`` a sequence is rebuilt outwards from the anchor of the window, which
    keeps its index, and ends where it is full: a deletion brings in what lies beyond the window,
    with the person's variants there. Where the base of the anchor itself is removed, the next one
    in the direction of reading takes its place.

    Parameters
    ----------
    genotypes : GenotypeStore
    reference : Reference
    window : Window
    policies : Policies
    individuals : int64 (individual,), optional
        Rows of ``genotypes.samples``; all by default.

    Raises
    ------
    ReferenceMismatchError, UnphasedGenotypeError, GenotypeError
        As `zarrbench.haplotypes.edits.edits`.
    """
    before = after = 0 if policies.indels == "skip" else _BESIDE
    while True:
        codes, found = _read(genotypes, reference, window, policies, individuals, before, after)
        personal = distinct(found, codes, window, before)
        first, last = personal.assembly.reach
        if window.reverse:
            first, last = window.length - last, window.length - first
        if first >= -before and last <= window.length + after:
            return one_of_each(personal)
        before, after = max(before, -first), max(after, last - window.length)


def whole_region(
    genotypes: GenotypeStore,
    reference: Reference,
    window: Window,
    policies: Policies,
    individual: int,
) -> tuple[Codes, Codes]:
    """Return both haplotypes of one individual over a whole region, as long as they are.

    What ``bcftools consensus`` gives, but for a record that begins before the region and reaches
    into it: bcftools leaves it out, here its part inside is applied. An insertion belongs to the
    base before it.

    Parameters
    ----------
    genotypes, reference, window, policies
        As for `personal_window`; the anchor of the window plays no part.
    individual : int
        Row of ``genotypes.samples``.

    Returns
    -------
    two arrays of uint8 (base,)
        Base codes, on the strand that the window names.
    """
    codes, found = _read(genotypes, reference, window, policies, np.array([individual]), 0, 0)
    found = found.split(0).split(window.length)
    first = 0 if window.start > 0 else -1  # before the first base of a contig there is no other
    within = (found.ends > first) & (found.starts >= 0) & (found.ends <= window.length)
    first_haplotype, second_haplotype = (
        _replaced(codes, found.take(np.flatnonzero(within & found.carried[:, haplotype])))
        for haplotype in (0, 1)
    )
    if window.reverse:
        return reverse_complement(first_haplotype), reverse_complement(second_haplotype)
    return first_haplotype, second_haplotype


def _replaced(codes: Codes, found: Edits) -> Codes:
    pieces, at = [], 0
    for i in range(found.starts.size):
        pieces += [codes[at : found.starts[i]], found.bases[slice(*found.offsets[i : i + 2])]]
        at = int(found.ends[i])
    return np.concatenate([*pieces, codes[at:]])


def window_edits(
    genotypes: GenotypeStore,
    reference: Reference,
    window: Window,
    policies: Policies,
    individuals: NDArray[np.int64] | None = None,
) -> Edits:
    """Read what people's alleles replace in a window, without making sequences.

    Parameters and errors are those of `personal_window`.
    """
    return _read(genotypes, reference, window, policies, individuals, 0, 0)[1]


def _read(
    genotypes: GenotypeStore,
    reference: Reference,
    window: Window,
    policies: Policies,
    individuals: NDArray[np.int64] | None,
    before: int,
    after: int,
) -> tuple[Codes, Edits]:
    start, end = window.start - before, window.end + after
    codes = reference.codes(Window(window.contig, start, end))
    records = genotypes.records(window.contig, start, end, individuals)
    found = edits(records, codes, window, policies, before)
    length = reference.lengths[window.contig]
    inside = max(0, min(window.end, length) - max(window.start, 0))
    found.counts["padded_bases"] = window.length - inside
    return codes, found


def distinct(found: Edits, codes: Codes, window: Window, before: int = 0) -> PersonalWindow:
    """Find the distinct sequences among all haplotypes of a window, by the edits they carry.

    Where edits change the length, different edits may give one sequence: see `one_of_each`.
    """
    anchor = 0 if window.anchor is None else window.anchor - window.start
    found.counts["removed_tss"] = found.removing(anchor)
    used = found.carried.any(axis=1)
    if not found.shifts[used].any():
        used &= found.inside
    kept = found.take(np.flatnonzero(used)).split(anchor).split(anchor + 1)
    carried, inverse = _distinct_rows(kept.carried)
    parts = Parts(
        kept.starts,
        kept.ends,
        kept.offsets,
        kept.bases,
        carried,
        anchor,
        window.length,
    )
    if window.reverse:
        before = codes.size - before - window.length
        parts, codes = parts.reversed(), reverse_complement(codes)
    return PersonalWindow(
        window=window,
        reference=codes,
        before=before,
        assembly=assemble(parts),
        rows=inverse[1:].reshape(-1, 2),
        reference_row=int(inverse[0]),
        edits=found,
    )


def _distinct_rows(carried: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Return the distinct columns of (edit, haplotype) as rows, and which one each column is.

    A column without edits, the reference, is put before the others. The order of the distinct ones
    is that of their keys, so that it does not depend on the order of people.
    """
    n_edits, n_haplotypes = carried.shape
    n_bytes = 8 * max(1, -(-n_edits // 64))
    bits = np.zeros((n_bytes, 8, n_haplotypes), dtype=np.uint8)
    bits.reshape(-1, n_haplotypes)[:n_edits] = carried
    for bit in range(1, 8):  # a tenth of the time of packbits along this axis
        bits[:, 0] |= bits[:, bit] << bit
    packed = np.zeros((n_haplotypes + 1, n_bytes), dtype=np.uint8)
    packed[1:] = bits[:, 0].T
    catalogue = Catalogue(n_bytes, n_haplotypes + 1)
    number = catalogue.number(packed.view(np.uint64)[None])[0]
    keys = catalogue.keys(catalogue.codes.view(np.uint64))
    order = np.argsort(keys, kind="stable")
    if np.unique(keys).size < keys.size:  # hardly ever: then the bits themselves decide
        order = np.array(sorted(range(keys.size), key=lambda row: catalogue.codes[row].tobytes()))
    place = np.empty(order.size, dtype=np.int32)
    place[order] = np.arange(order.size)
    distinct = np.unpackbits(catalogue.codes[order], axis=1, count=n_edits, bitorder="little")
    return distinct.view(np.bool_), place[number]


def one_of_each(personal: PersonalWindow) -> PersonalWindow:
    """Return the window with sequences that are equal, though their edits are not, made one."""
    changed = personal.edits.carried.any(axis=1)
    if not personal.edits.shifts[changed].any():
        return personal
    content = Content(personal.window.length)
    block = np.zeros((_BLOCK, 8 * content.words), dtype=np.uint8)
    keys = []
    for start in range(0, personal.n_rows, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, personal.n_rows))
        personal.codes(rows, out=block[: rows.size, : content.length])
        keys.append(content.keys(block[: rows.size].view(np.uint64)))
    _, first, inverse = np.unique(np.concatenate(keys), return_index=True, return_inverse=True)
    first_like = first[inverse]
    alike: dict[int, list[int]] = {}  # sequences with one key that differ: hardly ever two
    for row in np.flatnonzero(first_like != np.arange(personal.n_rows)).tolist():
        known = alike.setdefault(int(first_like[row]), [int(first_like[row])])
        own, *others = personal.codes([row, *known])
        same = [k for k, other in zip(known, others, strict=True) if np.array_equal(own, other)]
        first_like[row] = same[0] if same else row
        known += [] if same else [row]
    kept, place = np.unique(first_like, return_inverse=True)
    number: NDArray[np.int32] = place.astype(np.int32)
    return replace(
        personal,
        assembly=personal.assembly.take(kept),
        rows=number[personal.rows],
        reference_row=int(number[personal.reference_row]),
    )
