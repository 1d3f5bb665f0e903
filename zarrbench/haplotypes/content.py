"""Distinct sequences, told apart by their bases and by nothing else."""

import numba
import numpy as np
from numpy.typing import NDArray

from zarrbench.genome.bases import Codes

_WORD = 8


class Content:
    """Keys of sequences of one length: equal sequences have equal keys, and hardly any others.

    Parameters
    ----------
    length : int
        Bases of a sequence.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.words = -(-length // _WORD)
        generator = np.random.default_rng(length)
        self._factors = generator.integers(1 << 63, size=self.words, dtype=np.uint64) * 2 + 1
        spare = self.words * _WORD - length
        self._mask = np.uint64((1 << 64) - 1) >> np.uint64(8 * spare)

    def keys(self, words: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return the key of each sequence.

        Parameters
        ----------
        words : uint64 (row, words)
            Base codes, eight to a word in the order of memory; what a last word holds beyond
            `length` is ignored.
        """
        keys = np.empty(len(words), dtype=np.uint64)
        _keys(words, self._mask, self._factors, keys)
        return keys


class Catalogue(Content):
    """Distinct sequences of one length, numbered in the order in which they come.

    The key finds the candidate and its bases decide, so that it is exact.

    Parameters
    ----------
    length : int
    most : int
        How many sequences may be looked up in all.
    """

    def __init__(self, length: int, most: int) -> None:
        super().__init__(length)
        self._size = 0
        self._slots = np.full(1 << max(4, (2 * most - 1).bit_length()), -1, dtype=np.int32)
        self._kept = np.empty((0, self.words), dtype=np.uint64)
        self._keys = np.empty(0, dtype=np.uint64)

    def number(self, words: NDArray[np.uint64]) -> NDArray[np.int32]:
        """Return the number of each sequence of (row, item, words), taking in the new ones."""
        numbers = np.empty(words.shape[:2], dtype=np.int32)
        self._make_room(numbers.size)
        self._size = _look_up(
            words, self._mask, self._factors, self._slots, self._keys, self._kept, self._size,
            numbers,
        )  # fmt: skip
        return numbers

    @property
    def codes(self) -> Codes:
        """Base codes of the distinct sequences, uint8 (distinct, length)."""
        codes: Codes = self._kept[: self._size].view(np.uint8)[:, : self.length]
        return codes

    def _make_room(self, more: int) -> None:
        needed = self._size + more
        if needed > len(self._kept):
            room = max(needed, 2 * self._size)
            kept, keys = np.empty((room, self.words), np.uint64), np.empty(room, np.uint64)
            kept[: self._size] = self._kept[: self._size]
            keys[: self._size] = self._keys[: self._size]
            self._kept, self._keys = kept, keys


@numba.njit(cache=True, nogil=True)
def _key(item, mask, factors):  # type: ignore[no-untyped-def]
    end = factors.size - 1
    last = item[end] & mask
    # A product moves bits up only: without the upper half brought down, the last bases of a word
    # would leave next to nothing in the key.
    key = (last ^ (last >> np.uint64(32))) * factors[end]
    for i in range(end):
        key += (item[i] ^ (item[i] >> np.uint64(32))) * factors[i]
    key ^= key >> np.uint64(32)
    key *= np.uint64(0x9E3779B97F4A7C15)
    return key ^ (key >> np.uint64(29))


@numba.njit(cache=True, nogil=True)
def _keys(words, mask, factors, keys):  # type: ignore[no-untyped-def]
    for row in range(words.shape[0]):
        keys[row] = _key(words[row], mask, factors)


@numba.njit(cache=True, nogil=True)
def _look_up(items, mask, factors, slots, keys, kept, size, numbers):  # type: ignore[no-untyped-def]
    end = factors.size - 1
    wrap = np.uint64(slots.size - 1)
    for row in range(items.shape[0]):
        for column in range(items.shape[1]):
            item = items[row, column]
            last = item[end] & mask
            key = _key(item, mask, factors)
            slot = key & wrap
            while True:
                found = slots[slot]
                if found < 0:
                    slots[slot] = size
                    keys[size] = key
                    kept[size, :end] = item[:end]
                    kept[size, end] = last
                    found = size
                    size += 1
                    break
                if keys[found] == key and kept[found, end] == last:
                    same = True
                    for i in range(end):
                        same &= kept[found, i] == item[i]
                    if same:
                        break
                slot = (slot + np.uint64(1)) & wrap
            numbers[row, column] = found
    return size
