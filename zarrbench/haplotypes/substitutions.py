"""Which base every haplotype carries at every variable position of a window.

Only single-base substitution, so that coordinates never shift. The policy table is METHODS
section 4; `zarrbench.genotypes.policies.CASES` lists what is counted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zarrbench.errors import GenotypeError, ReferenceMismatchError, UnphasedGenotypeError
from zarrbench.genome.bases import LETTERS, OTHER, Codes
from zarrbench.genome.coordinates import Window
from zarrbench.genotypes.policies import CASES, Policies
from zarrbench.genotypes.store import Records

_CODES = {letter: code for code, letter in enumerate("ACGT")}
# Code, beside those of the bases, of an allele that is not a substitution
_KEEPS_REFERENCE = 5


@dataclass(frozen=True)
class Substitutions:
    """The alleles of a window's variable positions, one row a position, sorted and distinct.

    Attributes
    ----------
    columns : int64 (position,)
        0-based index in the window, forward strand.
    bases : uint8 (position, individual, 2)
        Base code that each haplotype carries (4 where a missing allele is to be a zero vector).
    dosage : int8 (position, individual)
        Number of haplotypes with an alternative base, -1 where an allele is missing.
    counts : dict
        How often each of `CASES` occurred.
    """

    columns: NDArray[np.int64]
    bases: Codes
    dosage: NDArray[np.int8]
    counts: dict[str, int]


@dataclass(frozen=True)
class _Sites:
    """Single-base view of records: one row for each position that a record can substitute."""

    rows: NDArray[np.int64]  # row of the record
    columns: NDArray[np.int64]  # index in the window
    table: Codes  # (site, allele + 1): base code of each allele; the last column is 'missing'


def substitutions(
    records: Records, reference: Codes, window: Window, policies: Policies
) -> Substitutions:
    """Apply the policy table to the records of a window.

    Parameters
    ----------
    records : Records
        Records whose POS lies in the window. An SNV inside the window that is written with so many
        bases before it that its POS is outside is not seen.
    reference : uint8 (window.length,)
        Base codes of the window, forward strand.
    window : Window
    policies : Policies

    Raises
    ------
    ReferenceMismatchError
        If more than ``policies.max_ref_mismatch`` records contradict the reference.
    UnphasedGenotypeError
        If a heterozygous call has no phase and the policy refuses it.
    GenotypeError
        For haploid calls, and where two records give one haplotype different alternative bases.
    """
    counts = dict.fromkeys(CASES, 0)
    missing = OTHER if policies.missing == "zeros" else _KEEPS_REFERENCE
    sites = _atomise(records, window, reference.size, missing, counts)
    sites = _match_reference(sites, records, reference, window, policies, counts)
    genotypes = records.genotypes[sites.rows]
    _refuse_haploid(genotypes, window)
    _check_phase(genotypes, records.phased[sites.rows], window, policies, counts)
    # Allele -1 (missing) takes the last column of the table.
    bases = sites.table[np.arange(sites.rows.size)[:, None, None], genotypes]
    is_missing = genotypes == -1
    counts["missing_alleles"] = int(is_missing.sum())
    kept = (bases == _KEEPS_REFERENCE) & ~is_missing
    counts["mixed_site_alleles"] = int(kept.sum())
    own = reference[sites.columns][:, None, None]
    bases = np.where(bases == _KEEPS_REFERENCE, own, bases)
    columns, bases, is_missing = _merge(sites.columns, bases, is_missing, reference, window, counts)
    alternative = _alternative(bases, reference[columns][:, None, None])
    # A sum along the short axis of two haplotypes would be five times slower.
    dosage = alternative[..., 0].astype(np.int8) + alternative[..., 1]
    dosage[is_missing[..., 0] | is_missing[..., 1]] = -1
    counts["multiallelic_sites"] = _multiallelic(bases, alternative)
    return Substitutions(columns, bases, dosage, counts)


def _atomise(
    records: Records, window: Window, length: int, missing: int, counts: dict[str, int]
) -> _Sites:
    """Find the positions that each record can substitute, and the base of each allele there.

    An allele as long as REF that differs from it in one base is a substitution at that base, as in
    multi-allelic records padded for an indel. Everything else keeps the reference.
    """
    rows, columns, tables = [], [], []
    offsets = (records.positions - window.start).tolist()
    for row, (offset, alleles) in enumerate(zip(offsets, records.alleles, strict=True)):
        ref, *others = [allele.upper() for allele in alleles]
        substituted = [_substituted(ref, allele) for allele in others]
        places = sorted({place for found in substituted for place in found or ()})
        counts["excluded_records"] += not places
        for place in places:
            if not 0 <= offset + place < length:
                continue
            codes = [
                _KEEPS_REFERENCE if found is None else _CODES.get(allele[place], OTHER)
                for allele, found in zip(others, substituted, strict=True)
            ]
            rows.append(row)
            columns.append(offset + place)
            tables.append([_CODES.get(ref[place], OTHER), *codes, missing])
    return _Sites(
        np.array(rows, dtype=np.int64),
        np.array(columns, dtype=np.int64),
        np.array(tables, dtype=np.uint8).reshape(len(rows), records.alleles.shape[1] + 1),
    )


def _substituted(ref: str, allele: str) -> list[int] | None:
    """Return where `allele` differs from `ref`: one place, or none if it is REF itself.

    None if it is not a substitution of one base by A, C, G or T.
    """
    if len(allele) != len(ref):
        return None
    differing = [i for i, (a, b) in enumerate(zip(ref, allele, strict=True)) if a != b]
    if len(differing) > 1 or any(allele[i] not in _CODES for i in differing):
        return None
    return differing


def _match_reference(
    sites: _Sites,
    records: Records,
    reference: Codes,
    window: Window,
    policies: Policies,
    counts: dict[str, int],
) -> _Sites:
    """Drop the records whose REF contradicts the reference, or refuse them."""
    differs = sites.table[:, 0] != reference[sites.columns]
    wrong = np.isin(sites.rows, sites.rows[differs])
    counts["ref_mismatches"] = int(np.unique(sites.rows[wrong]).size)
    if counts["ref_mismatches"] > policies.max_ref_mismatch:
        first = int(np.flatnonzero(differs)[0])
        said = records.alleles[sites.rows[first]][0]
        position = window.start + int(sites.columns[first]) + 1
        raise ReferenceMismatchError(
            f"{counts['ref_mismatches']} records in {window} contradict the reference (allowed: "
            f"{policies.max_ref_mismatch}); at {window.contig}:{position} REF says {said!r}, the "
            f"reference {LETTERS[reference[sites.columns[first]]]!r}: is it the same genome build?"
        )
    return _Sites(sites.rows[~wrong], sites.columns[~wrong], sites.table[~wrong])


def _refuse_haploid(genotypes: NDArray[np.signedinteger], window: Window) -> None:
    if (genotypes < -1).any():
        raise GenotypeError(
            f"{window} holds haploid calls; only diploid autosomes can be made into two "
            f"haplotypes: leave this contig out of the recipe"
        )


def _check_phase(
    genotypes: NDArray[np.signedinteger],
    phased: NDArray[np.bool_],
    window: Window,
    policies: Policies,
    counts: dict[str, int],
) -> None:
    heterozygous = genotypes[..., 0] != genotypes[..., 1]
    counts["unphased_calls"] = int((heterozygous & ~phased).sum())
    if counts["unphased_calls"] and policies.unphased == "refuse":
        raise UnphasedGenotypeError(
            f"{window} holds {counts['unphased_calls']} heterozygous calls without phase; phase "
            f"the VCF, or set 'unphased: keep_order' in the recipe's policies"
        )


def _merge(
    columns: NDArray[np.int64],
    bases: Codes,
    is_missing: NDArray[np.bool_],
    reference: Codes,
    window: Window,
    counts: dict[str, int],
) -> tuple[NDArray[np.int64], Codes, NDArray[np.bool_]]:
    """Sort by position; where rows share one, an alternative base wins over the reference.

    A zero vector (a missing allele) wins over the reference too, but not over an alternative base.
    """
    order = np.argsort(columns, kind="stable")
    columns, bases, is_missing = columns[order], bases[order], is_missing[order]
    distinct, starts = np.unique(columns, return_index=True)
    counts["merged_records"] = int(columns.size - distinct.size)
    if not counts["merged_records"]:
        return columns, bases, is_missing
    merged, still_missing = bases[starts].copy(), is_missing[starts].copy()
    place = np.repeat(np.arange(distinct.size), np.diff(np.append(starts, columns.size)))
    for row in np.setdiff1d(np.arange(columns.size), starts):
        at = place[row]
        before, now = merged[at], bases[row]
        was_alternative = _alternative(before, reference[columns[row]])
        is_alternative = _alternative(now, reference[columns[row]])
        if (was_alternative & is_alternative & (before != now)).any():
            position = window.start + int(columns[row]) + 1
            raise GenotypeError(
                f"two records at {window.contig}:{position} give one haplotype two different "
                f"alternative bases; join them with 'bcftools norm -m +any' or remove one"
            )
        merged[at] = np.where(is_alternative | ((now == OTHER) & ~was_alternative), now, before)
        still_missing[at] |= is_missing[row]
    # What one record leaves open another one may tell.
    still_missing &= ~_alternative(merged, reference[distinct][:, None, None])
    return distinct, merged, still_missing


def _alternative(bases: Codes, own: Codes) -> NDArray[np.bool_]:
    """Whether bases are other than the reference's own; a zero vector is not."""
    return (bases != own) & (bases != OTHER)


def _multiallelic(bases: Codes, alternative: NDArray[np.bool_]) -> int:
    """Count the sites whose alternative bases, as bits, are more than one."""
    bits = np.where(alternative, np.left_shift(1, bases, dtype=np.uint8), 0)
    carried = np.bitwise_or.reduce(bits[..., 0] | bits[..., 1], axis=1)
    return int((carried & (carried - 1) != 0).sum())
