import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zarrbench.haplotypes.content import Catalogue, Content


def words(sequences: list[bytes], spare: int = 0) -> np.ndarray:
    """Sequences of one length as uint64 (row, words), with something in the bytes to spare."""
    length = len(sequences[0])
    block = np.full((len(sequences), -(-length // 8) * 8), spare, dtype=np.uint8)
    block[:, :length] = [list(sequence) for sequence in sequences]
    return block.view(np.uint64)


def numbered(sequences: list[bytes]) -> tuple[list[int], list[bytes]]:
    """The number of each sequence in the order in which they come, and the distinct ones."""
    distinct = list(dict.fromkeys(sequences))
    return [distinct.index(sequence) for sequence in sequences], distinct


@st.composite
def batches(draw):
    """Lists of sequences of one length, many of them alike."""
    length = draw(st.integers(1, 26))
    pool = draw(st.lists(st.binary(min_size=length, max_size=length), min_size=1, max_size=6))
    # Others that differ from them in one base
    pool += [
        sequence[:place] + bytes([sequence[place] ^ 1]) + sequence[place + 1 :]
        for sequence in pool[:3]
        for place in (0, length // 2, length - 1)
    ]
    return draw(st.lists(st.lists(st.sampled_from(pool), min_size=1, max_size=9), max_size=5))


@pytest.mark.parametrize("colliding", [False, True], ids=["", "colliding"])
@given(batches=batches())
def test_sequences_are_numbered_as_they_come(batches, colliding):
    if not batches:
        return
    everything = [sequence for batch in batches for sequence in batch]
    catalogue = Catalogue(len(everything[0]), len(everything))
    if colliding:
        catalogue._factors = np.zeros_like(catalogue._factors)
        assert np.unique(catalogue.keys(words(everything))).tolist() == [0]
    found = [catalogue.number(words(batch, spare)[None]) for spare, batch in enumerate(batches)]
    expected, distinct = numbered(everything)
    assert np.concatenate(found, axis=1)[0].tolist() == expected
    assert [bytes(codes) for codes in catalogue.codes] == distinct


def test_rows_of_items_are_numbered_in_their_order():
    sequences = [b"abc", b"abd", b"abc", b"xyz", b"abd", b"abe"]
    catalogue = Catalogue(3, 6)
    numbers = catalogue.number(words(sequences).reshape(3, 2, 1))
    assert numbers.dtype == np.int32
    assert numbers.tolist() == [[0, 1], [0, 2], [1, 3]]
    assert catalogue.number(words(sequences[::-1])[None]).tolist() == [[3, 1, 2, 0, 1, 0]]


def test_an_empty_catalogue():
    assert Catalogue(11, 5).codes.shape == (0, 11)


def test_it_grows_and_keeps_what_it_has():
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 5, (3_000, 24)).astype(np.uint8)
    catalogue = Catalogue(24, 2 * len(rows))
    for start in range(0, len(rows), 37):
        batch = rows[start : start + 37].view(np.uint64)
        assert catalogue.number(batch[None])[0].tolist() == [*range(start, start + len(batch))]
    np.testing.assert_array_equal(catalogue.codes, rows)
    assert catalogue.number(rows.view(np.uint64)[None])[0].tolist() == [*range(len(rows))]


@pytest.mark.parametrize("length", [1, 7, 8, 9, 63, 64, 65, 259])
def test_keys_are_of_the_content_alone(length):
    rng = np.random.default_rng(length)
    rows = [rng.integers(0, 5, length).astype(np.uint8).tobytes()]
    # Every other base in every place
    for place in range(length):
        base = bytes([(rows[0][place] + 1 + place % 4) % 5])
        rows.append(rows[0][:place] + base + rows[0][place + 1 :])
    content = Content(length)
    keys = content.keys(words(rows))
    assert np.unique(keys).size == length + 1
    np.testing.assert_array_equal(content.keys(words(rows, 255)), keys)
    np.testing.assert_array_equal(Content(length).keys(words(rows)), keys)
