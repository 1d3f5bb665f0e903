"""Sequences that nobody carries: the reference of a window with chosen bases in it."""

import numpy as np
from numpy.typing import NDArray

from zarrbench.genome.bases import OTHER, Codes, reverse_complement
from zarrbench.genome.coordinates import Window
from zarrbench.genotypes.policies import CASES
from zarrbench.haplotypes.assembly import Parts, assemble
from zarrbench.haplotypes.edits import Edits
from zarrbench.haplotypes.sequences import PersonalWindow

_LETTERS = np.arange(OTHER, dtype=np.uint8)


def mutants(
    window: Window,
    reference: Codes,
    positions: NDArray[np.int64],
    bases: Codes,
    carried: NDArray[np.bool_],
) -> PersonalWindow:
    """Return sequences with single bases put into the reference, for a model to read.

    They are a window like that of people, of which nobody is there: whatever shares work between
    the sequences of a window shares it here too.

    Parameters
    ----------
    window : Window
    reference : uint8 (base,)
        Base codes of the window, forward strand.
    positions : int64 (base put in,)
        0-based, relative to the start of the window, rising; may repeat.
    bases : uint8 (base put in,)
    carried : bool (sequence, base put in)
        Which of them each sequence has, of one position at most one.

    Returns
    -------
    PersonalWindow
        Row 0 is the reference; row i + 1 is sequence i. Read on the other strand if the window is.
    """
    n = positions.size
    offsets = np.arange(n + 1, dtype=np.int64)
    rows = np.concatenate([np.zeros((1, n), dtype=bool), carried])
    anchor = 0 if window.anchor is None else window.anchor - window.start
    parts = Parts(positions, positions + 1, offsets, bases, rows, anchor, window.length)
    codes = reference
    if window.reverse:
        parts, codes = parts.reversed(), reverse_complement(reference)
    nobody = np.zeros((n, 0), dtype=bool)
    inside = np.ones(n, dtype=bool)
    return PersonalWindow(
        window=window,
        reference=codes,
        before=0,
        assembly=assemble(parts),
        rows=np.zeros((0, 2), dtype=np.int32),
        reference_row=0,
        edits=Edits(
            positions, positions + 1, offsets, bases, nobody, inside, None,
            dict.fromkeys(CASES, 0),
        ),
    )  # fmt: skip


def one_by_one(
    window: Window, reference: Codes, positions: NDArray[np.int64], bases: Codes
) -> PersonalWindow:
    """Return the reference with each base put in alone: row i + 1 has base i."""
    return mutants(window, reference, positions, bases, np.identity(positions.size, dtype=np.bool_))


def saturated(
    window: Window,
    reference: Codes,
    positions: NDArray[np.int64],
    substituted: tuple[int, int] | None = None,
) -> tuple[PersonalWindow, NDArray[np.int64], int]:
    """Return every other base at each of some positions, one at a time.

    Parameters
    ----------
    window : Window
    reference : uint8 (base,)
        Base codes of the window, forward strand.
    positions : int64 (position,)
        0-based, relative to the start of the window, rising, each once.
    substituted : (int, int), optional
        Position and base code of a variant that the sequences have beside: they are mutants of the
        reference with it.

    Returns
    -------
    PersonalWindow
        Row 0 is the reference.
    rows : int64 (position, 4)
        Which row is the mutant with A, C, G, T at each position; where the base is that already, it
        is the row of what is mutated. -1 where the reference has no letter.
    base : int
        The row of what is mutated: 0 without a variant, else 1.
    """
    base = reference.copy()
    if substituted is not None:
        base[substituted[0]] = substituted[1]
    current = base[positions]
    place = np.repeat(np.arange(positions.size), OTHER)
    letter = np.tile(_LETTERS, positions.size)
    changed = (letter != current[place]) & (current[place] != OTHER)
    # A mutant that undoes the variant is the reference: it puts nothing in.
    undone = changed & (letter == reference[positions][place])
    put_in = positions[place[changed]], letter[changed]
    carried = (
        np.identity(int(np.count_nonzero(changed)), dtype=np.bool_) & ~undone[changed][:, None]
    )
    row_of_base = 0
    if substituted is not None:
        at, code = substituted
        beside = put_in[0] != at
        put_in = np.append(put_in[0], at), np.append(put_in[1], np.uint8(code))
        carried = np.column_stack([carried, beside])
        alone = np.zeros((1, carried.shape[1]), dtype=bool)
        alone[0, -1] = True
        carried, row_of_base = np.concatenate([alone, carried]), 1
        order = np.argsort(put_in[0], kind="stable")
        put_in, carried = (put_in[0][order], put_in[1][order]), carried[:, order]
    rows = np.full(positions.size * OTHER, row_of_base, dtype=np.int64)
    rows[changed] = row_of_base + 1 + np.arange(np.count_nonzero(changed))
    rows[(current == OTHER)[place]] = -1
    return mutants(window, reference, *put_in, carried), rows.reshape(-1, OTHER), row_of_base
