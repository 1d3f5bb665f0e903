import numpy as np
import pytest
from Bio import Seq
from hypothesis import given
from hypothesis import strategies as st

from zarrbench.genome.bases import OTHER, decode, encode, reverse_complement

SEQUENCES = st.text("ACGTacgtNnRYKMSWBVDHX-*", max_size=60)


def masked(sequence: str) -> str:
    return "".join(base if base in "ACGT" else "N" for base in sequence.upper())


def test_codes_are_those_of_the_channels():
    assert encode("ACGTacgt").tolist() == [0, 1, 2, 3] * 2
    assert encode(b"NnRU-*").tolist() == [OTHER] * 6
    assert encode("").shape == (0,)
    assert encode("ACGT").dtype == np.uint8


@given(SEQUENCES)
def test_decoding_masks_what_is_no_base(sequence):
    assert decode(encode(sequence)) == masked(sequence)


@given(st.text("ACGTacgtNnRYKMSWBVDH", max_size=60))
def test_reverse_complement_is_that_of_biopython(sequence):
    assert decode(reverse_complement(encode(sequence))) == masked(Seq.reverse_complement(sequence))


def test_reverse_complement_of_many():
    codes = encode("AACGTN" * 6).reshape(2, 3, 6)
    turned = reverse_complement(codes)
    assert turned.shape == codes.shape
    assert {decode(row) for row in turned.reshape(-1, 6)} == {"NACGTT"}


def test_only_ascii_is_a_sequence():
    with pytest.raises(UnicodeEncodeError):
        encode("ACGÄ")
