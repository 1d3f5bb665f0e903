from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zarrbench.genome.bases import decode, encode, reverse_complement
from zarrbench.haplotypes import ragged
from zarrbench.haplotypes.assembly import Assembly, Parts, assemble

# Reference beside the window, as far as any row below can reach
BESIDE = 60


def parts(edits, carried, anchor, length) -> Parts:
    """Edits are (start, end, bases)."""
    starts, ends, texts = zip(*edits, strict=True) if edits else ((), (), ())
    return Parts(
        np.array(starts, dtype=np.int64),
        np.array(ends, dtype=np.int64),
        ragged.offsets(np.array([len(text) for text in texts], dtype=np.int64)),
        encode("".join(texts)),
        np.array(carried, dtype=bool).reshape(len(carried), len(edits)),
        anchor,
        length,
    )


@st.composite
def assemblies(draw):
    """Edits around a window that rows carry without overlap, none of them across the anchor."""
    length = draw(st.integers(1, 12))
    anchor = draw(st.integers(0, length - 1))
    edits = []
    for _ in range(draw(st.integers(0, 7))):
        start = draw(st.integers(-6, length + 6))
        size = draw(st.integers(0, 5))
        text = draw(st.text("ACGTN", max_size=5))
        # What holds the anchor holds no other base, and puts no more than one in its place.
        if start <= anchor < start + size:
            start, size, text = anchor, 1, text[:1] or "T"
        edits.append((start, start + size, text))
    edits.sort(key=lambda edit: edit[:2])
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        end, row = -100, []
        for edit in edits:
            takes = draw(st.booleans()) and (edit[0] > end or edit[0] == end < edit[1])
            row.append(takes)
            end = edit[1] if takes else end
        rows.append(row)
    return edits, rows, anchor, length


def plain(reference: str, edits, row, anchor: int, length: int) -> str:
    """One sequence, base after base outwards from the anchor; `reference` begins at -BESIDE."""
    left, right, at = "", "", -BESIDE
    for start, end, text in [edit for edit, takes in zip(edits, row, strict=True) if takes]:
        for place in range(at, start):
            left, right = add(left, right, place < anchor, reference[BESIDE + place])
        left, right = add(left, right, end <= anchor, text)
        at = end
    for place in range(at, length + BESIDE):
        left, right = add(left, right, place < anchor, reference[BESIDE + place])
    return left[len(left) - anchor :] + right[: length - anchor]


def add(left: str, right: str, is_left: bool, text: str) -> tuple[str, str]:
    return (left + text, right) if is_left else (left, right + text)


def written(assembly: Assembly, reference: str, rows: list[int], length: int) -> list[str]:
    out = np.full((len(rows), length), 9, dtype=np.uint8)
    source = encode(reference)
    assembly.write(
        np.array(rows, dtype=np.int64), source, BESIDE, np.arange(5, dtype=np.uint8), out
    )
    return [decode(codes) for codes in out]


_SWAP = str.maketrans("CG", "GC")
REFERENCE = "".join(np.random.default_rng(3).choice(list("ACGT"), 12 + 2 * BESIDE))


@given(assemblies())
def test_rows_are_those_of_a_plain_loop(case):
    edits, rows, anchor, length = case
    reference = REFERENCE[: length + 2 * BESIDE]
    made = parts(edits, rows, anchor, length)
    assembly = assemble(made)
    expected = [plain(reference, edits, row, anchor, length) for row in rows]
    everybody = list(range(len(rows)))
    assert written(assembly, reference, everybody, length) == expected
    first, last = assembly.reach
    # What lies beyond the reach is never read.
    masked = "".join(
        base if first <= place < last else "N" for place, base in enumerate(reference, -BESIDE)
    )
    assert written(assembly, masked, everybody, length) == expected

    back = decode(reverse_complement(encode(reference)))
    turned = [decode(reverse_complement(encode(sequence))) for sequence in expected]
    assert written(assemble(made.reversed()), back, everybody, length) == turned
    twice = made.reversed().reversed()
    for field in fields(Parts):
        np.testing.assert_array_equal(getattr(twice, field.name), getattr(made, field.name))


@given(assemblies(), st.data())
def test_rows_can_be_taken_in_any_order(case, data):
    edits, rows, anchor, length = case
    reference = REFERENCE[: length + 2 * BESIDE]
    assembly = assemble(parts(edits, rows, anchor, length))
    whole = written(assembly, reference, list(range(len(rows))), length)
    chosen = data.draw(st.lists(st.sampled_from(range(len(rows))), max_size=5))
    assert written(assembly, reference, chosen, length) == [whole[row] for row in chosen]
    fewer = assembly.take(np.array(chosen, dtype=np.int64))
    assert written(fewer, reference, list(range(len(chosen))), length) == [whole[r] for r in chosen]


def test_the_reach_of_rows_with_deletions():
    deletions = [(1, 3, ""), (6, 9, "")]
    assembly = assemble(parts(deletions, [[0, 0], [1, 0], [0, 1], [1, 1]], 5, 10))
    assert assembly.reach == (-2, 13)
    assert [assembly.take(np.array([row])).reach for row in range(4)] == [
        (0, 10),
        (-2, 10),
        (0, 13),
        (-2, 13),
    ]


def test_as_many_bases_as_edits():
    made = parts([(3, 5, ""), (7, 7, "TT")], [[1, 0], [0, 1], [1, 1]], 0, 10)
    reference = "N" * BESIDE + "ACGACGACGACGA" + "N" * BESIDE
    assert written(assemble(made), reference, [0, 1, 2], 10) == [
        "ACGGACGACG",
        "ACGACGATTC",
        "ACGGATTCGA",
    ]


def test_bases_beside_the_window_are_left_out():
    made = parts([(-1, 1, "TG"), (8, 10, "CT")], [[1, 1], [1, 0]], 4, 9)
    reference = "N" * (BESIDE - 1) + "A" * 11 + "N" * BESIDE
    assert written(assemble(made), reference, [0, 1], 9) == ["GAAAAAAAC", "GAAAAAAAA"]


def test_without_insertions_and_deletions_a_row_is_one_stretch():
    substitutions = [(1, 2, "T"), (4, 6, "GG"), (7, 8, "A")]
    assembly = assemble(parts(substitutions, [[1, 1, 0], [0, 0, 0]], 0, 10))
    assert assembly.stretch_offsets.tolist() == [0, 1, 2]
    assert assembly.stretch_size.tolist() == [10, 10]
    assert assembly.base_offsets.tolist() == [0, 3, 3]
    assert assembly.base_to.tolist() == [1, 4, 5]


@pytest.mark.parametrize("anchor", range(8))
def test_the_anchor_keeps_its_place(anchor):
    reference = "C" * (BESIDE + anchor) + "G" + "C" * (7 - anchor + BESIDE)
    edits = [(0, 0, "TTT"), (2, 4, ""), (4, 5, "A"), (5, 5, "AA"), (7, 12, "")]
    kept = [edit for edit in edits if not edit[0] <= anchor < edit[1]]
    made = parts(kept, [[1] * len(kept)], anchor, 8)
    (found,) = written(assemble(made), reference, [0], 8)
    (turned,) = written(assemble(made.reversed()), reference[::-1].translate(_SWAP), [0], 8)
    assert (found.index("G"), found.count("G")) == (anchor, 1)
    assert (turned.index("C"), turned.count("C")) == (7 - anchor, 1)
