"""Which stretches of the reference every haplotype replaces, and by what.

From the records of a region, by the policies of the store (METHODS section 4;
`zarrbench.genotypes.policies.CASES` lists what is counted). With ``indels: skip`` an edit is one
base for another, so that coordinates never shift. With ``indels: anchor_tss`` alleles of any length
are edits, and of overlapping ones on a haplotype the first counts, as in ``bcftools consensus``.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from zarrbench.errors import GenotypeError, UnphasedGenotypeError
from zarrbench.genome.bases import OTHER, Codes
from zarrbench.genome.coordinates import Window
from zarrbench.genotypes.policies import CASES, Policies
from zarrbench.genotypes.store import Records, reference_lengths
from zarrbench.haplotypes import ragged
from zarrbench.haplotypes.alleles import Alleles, applicable, match_reference


@dataclass(frozen=True)
class Edits:
    """What the alleles of a region replace in the reference, sorted and distinct.

    An edit replaces the reference bases ``starts .. ends`` (none: an insertion before `starts`) by
    its own (none: a deletion). The edits that one haplotype carries do not overlap.

    Attributes
    ----------
    starts, ends : int64 (edit,)
        0-based, relative to the start of the window; beyond it in the stretches beside the window.
    offsets : int64 (edit + 1,)
    bases : uint8 (offsets[-1],)
        Base codes of edit i are ``bases[offsets[i]:offsets[i + 1]]``.
    carried : bool (edit, haplotype)
        Haplotype h of individual i is column ``2 * i + h``.
    inside : bool (edit,)
        Whether it touches the window itself.
    unknown : bool (edit, haplotype), optional
        Where an allele is missing; None if none is.
    counts : dict
        How often each of `CASES` occurred in the window.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    offsets: NDArray[np.int64]
    bases: Codes
    carried: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    unknown: NDArray[np.bool_] | None
    counts: dict[str, int]

    @property
    def shifts(self) -> NDArray[np.int64]:
        """By how many bases each edit lengthens a sequence, (edit,); negative if it shortens."""
        return np.diff(self.offsets) - (self.ends - self.starts)

    def take(self, rows: NDArray[np.int64]) -> "Edits":
        """Return some of the edits."""
        offsets, bases = ragged.take(self.offsets, self.bases, rows)
        unknown = None if self.unknown is None else self.unknown[rows]
        return Edits(
            self.starts[rows],
            self.ends[rows],
            offsets,
            bases,
            self.carried[rows],
            self.inside[rows],
            unknown,
            self.counts,
        )

    def split(self, place: int) -> "Edits":
        """Return the same with every edit that spans a place made two, before it and from it on.

        Its bases stand for the reference bases one by one from the left; what is left over of
        either is inserted or deleted. So an edit that ends at the place with more bases than it
        replaces is two as well: the rest is an insertion there.
        """
        longer = self.shifts > 0
        spans = (self.starts < place) & ((self.ends > place) | ((self.ends == place) & longer))
        if not spans.any():
            return self
        rows = np.repeat(np.arange(spans.size), 1 + spans)
        first = np.flatnonzero(spans) + np.arange(np.count_nonzero(spans))
        sizes, starts, ends = np.diff(self.offsets)[rows], self.starts[rows], self.ends[rows]
        sizes[first] = np.minimum(sizes[first], place - starts[first])
        sizes[first + 1] -= sizes[first]
        ends[first] = starts[first + 1] = place
        unknown = None if self.unknown is None else self.unknown[rows]
        # The bases keep their order: only where one edit ends and the next begins is new.
        offsets, bases = ragged.offsets(sizes), self.bases
        carried, inside = self.carried[rows], self.inside[rows]
        halves = Edits(starts, ends, offsets, bases, carried, inside, unknown, self.counts)
        return halves.take(np.lexsort([ends, starts]))

    def removing(self, place: int) -> int:
        """Count the haplotypes that lack the reference base at a place."""
        sizes = np.diff(self.offsets)
        without = (self.starts <= place) & (self.ends > place) & (place - self.starts >= sizes)
        return int(np.count_nonzero(self.carried[without].any(axis=0)))

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Where in the window people can differ, (position,): each start of an edit once.

        An insertion and a replacement that begin at one base are two.
        """
        return self._sites[0]

    @cached_property
    def dosage(self) -> NDArray[np.int8]:
        """Haplotypes with an edit at each of `positions`, (position, individual).

        -1 where an allele is missing.
        """
        _, chosen, first = self._sites
        if chosen.size == 0:
            return np.zeros((0, self.carried.shape[1] // 2), dtype=np.int8)
        carried = np.logical_or.reduceat(self.carried[chosen], first)
        # A sum along the short axis of two haplotypes would be five times slower.
        dosage = carried[:, 0::2].astype(np.int8) + carried[:, 1::2]
        if self.unknown is not None:
            # What one record leaves open another one at the same position may tell.
            unknown = np.logical_or.reduceat(self.unknown[chosen], first) & ~carried
            dosage[unknown[:, 0::2] | unknown[:, 1::2]] = -1
        return dosage

    @cached_property
    def _sites(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return `positions`, the edits at them, and which of these is the first at each."""
        chosen = np.flatnonzero(self._of_dosage)
        site = site_of(self.starts[chosen], self.ends[chosen])
        first = np.flatnonzero(np.diff(site, prepend=site[:1] - 1))
        return self.starts[chosen[first]], chosen, first

    @property
    def _of_dosage(self) -> NDArray[np.bool_]:
        """The edits of the window that are alleles: not the N of a missing one."""
        no_letter = np.zeros(self.starts.size, dtype=bool)
        one = np.diff(self.offsets) == 1
        no_letter[one] = self.bases[self.offsets[:-1][one]] == OTHER
        return self.inside & ~no_letter


def edits(
    records: Records, reference: Codes, window: Window, policies: Policies, before: int = 0
) -> Edits:
    """Apply the policies to the records of a window.

    Parameters
    ----------
    records : Records
    reference : uint8 (length,)
        Base codes, forward strand, of the window and of what lies beside it.
    window : Window
    policies : Policies
    before : int
        How many bases of `reference` lie before the window.

    Raises
    ------
    ReferenceMismatchError
        If more than ``policies.max_ref_mismatch`` records contradict the reference.
    UnphasedGenotypeError
        If a heterozygous call has no phase and the policy refuses it.
    GenotypeError
        For haploid calls; and with ``indels: skip`` where two records give one haplotype different
        bases.
    """
    counts = dict.fromkeys(CASES, 0)
    starts = records.positions - window.start
    here = (starts < window.length) & (starts + reference_lengths(records.alleles) > 0)
    alleles = applicable(records, starts, here, policies, counts)
    if policies.indels == "skip":
        alleles = alleles.take(
            np.flatnonzero((alleles.starts >= 0) & (alleles.starts < window.length))
        )
    alleles = match_reference(alleles, records, reference, window, before, here, policies, counts)
    used = np.unique(alleles.record)
    everything = used.size == records.positions.size
    genotypes = records.genotypes if everything else records.genotypes[used]
    phased = records.phased if everything else records.phased[used]
    lowest = int(genotypes.min(initial=0))
    if lowest < -1:
        raise GenotypeError(
            f"{window} holds haploid calls; only diploid autosomes can be made into two "
            f"haplotypes: leave this contig out of the recipe"
        )
    _check_phase(genotypes, phased, here[used], window, policies, counts)
    genotypes = genotypes.reshape(used.size, 2 * genotypes.shape[1])
    of_allele = np.searchsorted(used, alleles.record)
    called = genotypes if alleles.record.size == used.size else genotypes[of_allele]
    carried = called == alleles.index[:, None].astype(called.dtype)  # eight times as fast so
    if records.alleles.shape[1] > 2:
        counts["mixed_site_alleles"] = _others(genotypes, carried, of_allele, here[used])
    unknown = None
    if lowest == -1:
        unknown = called == -1
        counts["missing_alleles"] = int((genotypes[here[used]] == -1).sum())
    if policies.indels == "anchor_tss":
        counts["overlapping_alleles"] = _first_counts(alleles, starts, here, carried)
    if unknown is not None and policies.missing == "zeros":
        alleles, carried, unknown = _with_no_letter(alleles, carried, unknown)
    return _merged(alleles, carried, unknown, window, policies, counts)


def _check_phase(
    genotypes: NDArray[np.signedinteger],
    phased: NDArray[np.bool_],
    here: NDArray[np.bool_],
    window: Window,
    policies: Policies,
    counts: dict[str, int],
) -> None:
    if phased.all():
        return
    unphased = (genotypes[..., 0] != genotypes[..., 1]) & ~phased
    counts["unphased_calls"] = int(unphased[here].sum())
    if unphased.any() and policies.unphased == "refuse":
        raise UnphasedGenotypeError(
            f"{window} holds {int(unphased.sum())} heterozygous calls without phase; phase "
            f"the VCF, or set 'unphased: keep_order' in the recipe's policies"
        )


def _others(
    genotypes: NDArray[np.signedinteger],
    carried: NDArray[np.bool_],
    of_allele: NDArray[np.int64],
    here: NDArray[np.bool_],
) -> int:
    """Count haplotypes with an allele that is not applied, in records of which another one is."""
    return int((genotypes[here] > 0).sum()) - int(carried[here[of_allele]].sum())


def _first_counts(
    alleles: Alleles,
    starts: NDArray[np.int64],
    here: NDArray[np.bool_],
    carried: NDArray[np.bool_],
) -> int:
    """Unset in `carried` what overlaps an earlier allele of its haplotype; return how many.

    The rule of ``bcftools consensus``: a record is applied if it begins behind the last base of REF
    of the record applied before; on that very base only if it leaves it alone and adds or removes
    bases after it, and the one before was no insertion.
    """
    begins = starts[alleles.record]
    reach = np.maximum.accumulate(alleles.last)
    close = np.flatnonzero(begins[1:] <= reach[:-1]) + 1
    skipped = 0
    frozen = np.full(carried.shape[1], np.iinfo(np.int64).min)
    inserted = np.zeros(carried.shape[1], dtype=bool)
    grows = np.diff(alleles.offsets) > alleles.ends - alleles.starts
    # Alleles of one record exclude each other, so that their order does not matter.
    for i in np.union1d(close, close - 1).tolist():
        own = carried[i]
        bad = own & (
            (begins[i] < frozen)
            | ((begins[i] == frozen) & (inserted if alleles.follows[i] else True))
        )
        own &= ~bad
        skipped += int(bad.sum()) if here[alleles.record[i]] else 0
        frozen[own] = alleles.last[i]
        inserted[own] = grows[i]
    return skipped


def _with_no_letter(
    alleles: Alleles, carried: NDArray[np.bool_], unknown: NDArray[np.bool_]
) -> tuple[Alleles, NDArray[np.bool_], NDArray[np.bool_]]:
    """Add an edit to code 4 for every base that a missing allele leaves open.

    Bases are open where alleles of the record put one base for another; a missing call of an
    insertion or deletion keeps the reference.
    """
    sizes = alleles.ends - alleles.starts
    open_ = np.flatnonzero((np.diff(alleles.offsets) == sizes) & unknown.any(axis=1))
    bases = sorted(
        {
            (int(alleles.record[i]), start): int(i)
            for i in open_[::-1]
            for start in range(int(alleles.starts[i]), int(alleles.ends[i]))
        }.items()
    )
    n = len(bases)
    record = np.array([key[0] for key, _ in bases], dtype=np.int64)
    starts = np.array([key[1] for key, _ in bases], dtype=np.int64)
    of = np.array([i for _, i in bases], dtype=np.int64)
    added = Alleles(
        np.concatenate([alleles.record, record]),
        np.concatenate([alleles.index, np.full(n, -1)]),
        np.concatenate([alleles.starts, starts]),
        np.concatenate([alleles.ends, starts + 1]),
        np.concatenate([alleles.offsets, alleles.offsets[-1] + 1 + np.arange(n)]),
        np.concatenate([alleles.bases, np.full(n, OTHER, dtype=np.uint8)]),
        np.concatenate([alleles.last, alleles.last[of]]),
        np.concatenate([alleles.follows, np.zeros(n, dtype=bool)]),
    )
    nowhere = np.zeros((n, unknown.shape[1]), dtype=bool)
    return added, np.vstack([carried, unknown[of]]), np.vstack([unknown, nowhere])


def _merged(
    alleles: Alleles,
    carried: NDArray[np.bool_],
    unknown: NDArray[np.bool_] | None,
    window: Window,
    policies: Policies,
    counts: dict[str, int],
) -> Edits:
    """Sort the alleles, make equal ones one, and refuse those that contradict each other.

    An alternative base wins over the reference of another record, and over the missing allele of
    one.
    """
    order = np.lexsort([alleles.index < 0, alleles.ends, alleles.starts])
    if not np.array_equal(order, np.arange(order.size)):
        alleles, carried = alleles.take(order), carried[order]
        unknown = None if unknown is None else unknown[order]
    inside = (alleles.starts < window.length) & (alleles.ends > 0)
    site = site_of(alleles.starts, alleles.ends)
    shared = np.unique(site[1:][np.diff(site) == 0])
    kept = np.ones(order.size, dtype=bool)
    if shared.size:
        of_records = np.unique(np.stack([alleles.record, site])[:, inside], axis=1)
        counts["merged_records"] = int(of_records.shape[1] - np.unique(of_records[1]).size)
        for one in shared:
            rows = np.flatnonzero(site == one)
            start = int(alleles.starts[rows[0]])
            kept[rows] = _unite(alleles, rows, carried, unknown)
            rows = rows[kept[rows] & (alleles.index[rows] > 0)]
            if policies.indels == "skip" and (carried[rows].sum(axis=0) > 1).any():
                raise GenotypeError(
                    f"two records at {window.contig}:{window.start + start + 1} give one haplotype "
                    f"two different alternative bases; join them with 'bcftools norm -m +any' or "
                    f"remove one"
                )
            several = np.count_nonzero(carried[rows[inside[rows]]].any(axis=1)) > 1
            counts["multiallelic_sites"] += int(several)
    for row in np.flatnonzero(kept & (alleles.index < 0)):
        place = alleles.starts[row]
        others = (alleles.starts <= place) & (alleles.ends > place) & (alleles.index > 0)
        carried[row] &= ~carried[others].any(axis=0)
    if not kept.all():
        alleles, carried, inside = alleles.take(np.flatnonzero(kept)), carried[kept], inside[kept]
        unknown = None if unknown is None else unknown[kept]
    changes = np.diff(alleles.offsets) != alleles.ends - alleles.starts
    counts["indel_alleles"] = int(carried[changes & inside].sum())
    return Edits(
        alleles.starts,
        alleles.ends,
        alleles.offsets,
        alleles.bases,
        carried,
        inside,
        unknown,
        counts,
    )


def site_of(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the places at which edits begin, in their order: insertions before the others."""
    return 2 * starts + (ends > starts)


def _unite(
    alleles: Alleles,
    rows: NDArray[np.int64],
    carried: NDArray[np.bool_],
    unknown: NDArray[np.bool_] | None,
) -> list[bool]:
    """Give the first of equal alleles all that carry them; return which rows are such a first."""
    first: dict[tuple[int, bytes], int] = {}
    for row in rows.tolist():
        bases = alleles.bases[alleles.offsets[row] : alleles.offsets[row + 1]]
        known = first.setdefault((int(alleles.ends[row]), bases.tobytes()), row)
        if known != row:
            carried[known] |= carried[row]
            if unknown is not None:
                unknown[known] |= unknown[row]
    return [row in first.values() for row in rows.tolist()]
