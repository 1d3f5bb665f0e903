"""The SNVs of a window, with the one alternative base that in-silico mutagenesis puts into each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zarrbench.errors import GenotypeError, ReferenceMismatchError
from zarrbench.genome.bases import LETTERS, OTHER, Codes
from zarrbench.genome.coordinates import Window, from_one_based, to_one_based
from zarrbench.haplotypes.edits import Edits


@dataclass(frozen=True)
class Snvs:
    """SNVs of a window, forward strand, in the order of their positions, each position once.

    Attributes
    ----------
    positions : int64 (variant,)
        0-based, relative to the start of the window.
    reference, alternative : uint8 (variant,)
        Base codes; the alternative is 4 where nobody carries one and the records name several.
    dosage : int8 (variant, individual)
        Copies of `alternative`, -1 where an allele is missing. Another alternative base of the
        same position counts as the reference does: 0.
    """

    positions: NDArray[np.int64]
    reference: Codes
    alternative: Codes
    dosage: NDArray[np.int8]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which of them have an alternative base."""
        return self.alternative != OTHER


def snvs(found: Edits, reference: Codes) -> Snvs:
    """Choose one alternative base for every SNV of a window (METHODS section 11).

    It is the one that most haplotypes carry, the first in A, C, G, T if several do. Where nobody
    carries any, it is that of the records if they name just one. Insertions, deletions and
    replacements of several bases are left out.

    Parameters
    ----------
    found : Edits
        Of everybody whose genome is known.
    reference : uint8 (base,)
        Base codes of the window, forward strand.
    """
    single = (found.ends - found.starts == 1) & (np.diff(found.offsets) == 1) & found.inside
    rows = np.flatnonzero(single)
    bases = found.bases[found.offsets[:-1][rows]]
    rows, bases = rows[bases != OTHER], bases[bases != OTHER]
    carriers = np.count_nonzero(found.carried[rows], axis=1)
    starts = found.starts[rows]
    order = np.lexsort([bases, -carriers, starts])
    first = np.flatnonzero(np.diff(starts[order], prepend=-1))
    chosen = order[first]
    unclear = (np.diff(np.append(first, order.size)) > 1) & (carriers[chosen] == 0)
    positions = starts[chosen]
    carried = found.carried[rows[chosen]]
    dosage = carried[:, 0::2].astype(np.int8) + carried[:, 1::2]
    if found.unknown is not None:
        unknown = found.unknown[rows[chosen]] & ~carried
        dosage[unknown[:, 0::2] | unknown[:, 1::2]] = -1
    return Snvs(
        positions,
        reference[positions],
        np.where(unclear, np.uint8(OTHER), bases[chosen]),
        dosage,
    )


def named_snvs(
    window: Window,
    reference: Codes,
    positions: NDArray[np.int64],
    alleles: NDArray[np.str_],
    alternatives: NDArray[np.str_],
) -> Snvs:
    """Return SNVs that somebody names, with nobody's dosage.

    Parameters
    ----------
    window : Window
    reference : uint8 (base,)
        Base codes of the window, forward strand.
    positions : int64 (variant,)
        1-based.
    alleles, alternatives : text (variant,)
        REF and ALT, one letter each.

    Raises
    ------
    GenotypeError
        If a position lies outside the window or stands twice, or an allele is no single letter.
    ReferenceMismatchError
        If REF is not the base of the reference.
    """
    places = from_one_based(positions) - window.start
    order = np.argsort(places, kind="stable")
    codes = []
    for i in order.tolist():
        place, ref, alt = int(places[i]), str(alleles[i]).upper(), str(alternatives[i]).upper()
        name = f"{window.contig}:{int(positions[i])} {ref}>{alt}"
        if not 0 <= place < window.length:
            raise GenotypeError(f"{name} lies outside the window {window}; leave it out")
        if not (ref in LETTERS[:OTHER] and alt in LETTERS[:OTHER] and len(ref) == len(alt) == 1):
            raise GenotypeError(f"{name} is no SNV: both alleles must be one of A, C, G, T")
        if ref == alt:
            raise GenotypeError(f"{name} puts a base in its own place; name another alternative")
        found = LETTERS[reference[place]]
        if found != ref:
            raise ReferenceMismatchError(
                f"{name} contradicts the reference, which has {found} there; check the genome "
                f"build, and which allele is REF"
            )
        codes.append((LETTERS.index(ref), LETTERS.index(alt)))
    sorted_places = places[order]
    twice = sorted_places[1:][np.diff(sorted_places) == 0]
    if twice.size:
        at = int(to_one_based(twice[0] + window.start))
        raise GenotypeError(f"{window.contig}:{at} is named twice; name one alternative at a time")
    pairs = np.array(codes, dtype=np.uint8).reshape(-1, 2)
    nobody = np.zeros((len(pairs), 0), dtype=np.int8)
    return Snvs(sorted_places, pairs[:, 0], pairs[:, 1], nobody)
