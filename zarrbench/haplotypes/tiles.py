"""Distinct tiles: the pieces of sequence that a convolutional trunk must see, each once.

A row of output of such a trunk depends on the bases of its own bin and `halo` bases to either side,
so that people who are alike there share it, wherever else they differ.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from numpy.typing import NDArray

from zarrbench.genome.bases import Codes
from zarrbench.haplotypes.content import Catalogue
from zarrbench.haplotypes.sequences import PersonalWindow

# Sequences made at once: few enough to stay in the cache
_BLOCK = 32


@dataclass(frozen=True)
class Tiling:
    """How a window is cut into tiles; the defaults are those of Enformer's trunk.

    Parameters
    ----------
    bins : int
        Rows of output of the whole window.
    bin_size : int
        Bases of a bin.
    bins_of_tile : int
        Rows of output that one tile gives.
    halo : int
        Bases to either side of a bin on which its row depends.
    """

    bins: int = 1536
    bin_size: int = 128
    bins_of_tile: int = 4
    halo: int = 259

    def __post_init__(self) -> None:
        if self.bins % self.bins_of_tile or self.n_tiles < 3:
            raise ValueError(f"{self.bins} bins are not three or more tiles of {self.bins_of_tile}")
        if self.step % 8:
            raise ValueError(f"a tile must advance by a multiple of 8 bases, not by {self.step}")
        if self.halo > self.step:
            raise ValueError(f"the halo of {self.halo} bases reaches beyond the next tile")

    @property
    def length(self) -> int:
        """Bases of the window."""
        return self.bins * self.bin_size

    @property
    def n_tiles(self) -> int:
        return self.bins // self.bins_of_tile

    @property
    def step(self) -> int:
        """Bases by which a tile follows the one before: those that belong to it alone."""
        return self.bins_of_tile * self.bin_size

    @property
    def tile_length(self) -> int:
        """Bases of a tile between the two at the edges, halo included."""
        return self.step + 2 * self.halo

    @property
    def edge_length(self) -> int:
        """Bases of a tile at an edge of the window: its own bins, and whole ones for the halo.

        A trunk that pads is run on it as on the window, and the rows of its own bins are kept.
        """
        return self.step + -(-self.halo // self.bin_size) * self.bin_size


@dataclass(frozen=True)
class Tiles:
    """The distinct tiles of a window, and of which ones each sequence is made.

    Attributes
    ----------
    tiling : Tiling
    left, right : uint8 (distinct, edge_length)
        Base codes of the tiles at the edges of the window.
    middle : uint8 (distinct, tile_length)
        Those between; one tile may stand for several places.
    rows : int32 (sequence, n_tiles)
        For each distinct sequence of the window the row in `left` (first column), in `middle`, and
        in `right` (last column). ``rows[personal.rows]`` is that of people's haplotypes.
    """

    tiling: Tiling
    left: Codes
    middle: Codes
    right: Codes
    rows: NDArray[np.int32]

    def codes(self, sequences: NDArray | slice = slice(None)) -> Codes:
        """Rebuild sequences from their tiles, uint8 (sequence, length)."""
        step, halo = self.tiling.step, self.tiling.halo
        rows = self.rows[sequences]
        middle = self.middle[rows[:, 1:-1], halo : halo + step].reshape(len(rows), -1)
        left, right = self.left[rows[:, 0], :step], self.right[rows[:, -1], -step:]
        return np.hstack([left, middle, right])


def tiles_of(codes: Codes, tiling: Tiling) -> Tiles:
    """Cut one sequence, uint8 (length,), into its tiles, each in its place and none shared."""
    middle = sliding_window_view(codes, tiling.tile_length)[tiling.step - tiling.halo :]
    return Tiles(
        tiling,
        left=codes[None, : tiling.edge_length],
        middle=middle[:: tiling.step][: tiling.n_tiles - 2],
        right=codes[None, -tiling.edge_length :],
        rows=np.array([[0, *range(tiling.n_tiles - 2), 0]], dtype=np.int32),
    )


def tiles(personal: PersonalWindow, tiling: Tiling) -> Tiles:
    """Find the distinct tiles of all sequences of a window, by content.

    Tiles are numbered in the order of the window's distinct sequences, so that neither the order
    of people nor how many are looked at together matters.

    Raises
    ------
    ValueError
        If the window is not as long as the tiling.
    """
    if personal.window.length != tiling.length:
        raise ValueError(f"{personal.window} is not {tiling.length} bases long")
    n = personal.n_rows
    left, right = (Catalogue(tiling.edge_length, n) for _ in range(2))
    middle = Catalogue(tiling.tile_length, n * (tiling.n_tiles - 2))
    # The first tile between the edges begins at a whole word.
    first = tiling.step - tiling.halo
    lead = -first % 8
    end = lead + first + (tiling.n_tiles - 3) * tiling.step + 8 * middle.words
    block = np.zeros((_BLOCK, -(-max(end, lead + tiling.length) // 8) * 8), dtype=np.uint8)
    codes = block[:, lead : lead + tiling.length]
    between = as_strided(
        block.view(np.uint64)[:, (lead + first) // 8 :],
        (_BLOCK, tiling.n_tiles - 2, middle.words),
        (block.strides[0], tiling.step, 8),
        writeable=False,
    )
    edge = np.zeros((_BLOCK, 1, 8 * left.words), dtype=np.uint8)
    rows = np.empty((n, tiling.n_tiles), dtype=np.int32)
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        size = stop - start
        personal.codes(slice(start, stop), out=codes[:size])
        rows[start:stop, 1:-1] = middle.number(between[:size])
        edge[:size, 0, : tiling.edge_length] = codes[:size, : tiling.edge_length]
        rows[start:stop, :1] = left.number(edge[:size].view(np.uint64))
        edge[:size, 0, : tiling.edge_length] = codes[:size, -tiling.edge_length :]
        rows[start:stop, -1:] = right.number(edge[:size].view(np.uint64))
    return Tiles(tiling, left.codes, middle.codes, right.codes, rows)
