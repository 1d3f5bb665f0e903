"""Base codes: A, C, G, T are 0, 1, 2, 3; every other symbol, N and padding are 4.

Codes are what stores hold and what travels to a device; one-hot is made where it is used.
"""

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint8]

OTHER = 4
LETTERS = "ACGTN"

#: one-hot vector of each code, channels A, C, G, T; that of code 4 is zero
ONE_HOT = np.eye(5, 4, dtype=np.float32)

_CODE_OF_BYTE = np.full(256, OTHER, dtype=np.uint8)
for _code, _letter in enumerate("ACGT"):
    _CODE_OF_BYTE[ord(_letter)] = _CODE_OF_BYTE[ord(_letter.lower())] = _code
_BYTE_OF_CODE = np.frombuffer(LETTERS.encode(), dtype=np.uint8)
_COMPLEMENT = np.array([3, 2, 1, 0, OTHER], dtype=np.uint8)


def encode(sequence: str | bytes) -> Codes:
    """Return the base codes of a sequence, upper or lower case; shape (length,)."""
    raw = sequence.encode("ascii") if isinstance(sequence, str) else sequence
    return _CODE_OF_BYTE[np.frombuffer(raw, dtype=np.uint8)]


def decode(codes: Codes) -> str:
    """Return the upper-case letters of base codes of shape (length,); code 4 becomes N."""
    return _BYTE_OF_CODE[codes].tobytes().decode("ascii")


def reverse_complement(codes: Codes) -> Codes:
    """Return the other strand, read 5' to 3', of base codes of shape (..., length)."""
    return _COMPLEMENT[codes[..., ::-1]]
