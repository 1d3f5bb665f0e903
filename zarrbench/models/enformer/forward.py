"""Enformer on a device: whole sequences, or those of a window with the trunk shared by all.

The trunk sees each distinct tile of a window once and leaves its rows in a table on the device.
A sequence is then a list of rows: it is gathered, and only what follows the trunk is computed for
it. Equal to the network on whole sequences to the rounding of float32.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zarrbench.genome.bases import Codes
from zarrbench.haplotypes.sequences import PersonalWindow
from zarrbench.haplotypes.tiles import Tiles, Tiling, tiles, tiles_of
from zarrbench.models.enformer.architecture import (
    BINS_OF_TILE,
    ROWS_AT_ONCE,
    Architecture,
    Precision,
)
from zarrbench.models.enformer.batches import padded
from zarrbench.models.enformer.gradient import Gradient
from zarrbench.models.enformer.head import of_tracks
from zarrbench.models.enformer.network import after_trunk, network
from zarrbench.models.enformer.precision import in_precision, set_precision
from zarrbench.models.enformer.transformer import position_keys
from zarrbench.models.enformer.trunk import trunk
from zarrbench.models.enformer.weights import Arrays, on_device
from zarrbench.models.keras_network import compiled, on_accelerator, ops

# At most at once: more fill a device no better. One sequence keeps all cores busy.
_SEQUENCES, _SEQUENCES_ON_CPU, _TILES = 8, 1, 64


@dataclass(frozen=True)
class Batches:
    """How much is computed at once: bounds memory, and changes results by rounding only.

    Attributes
    ----------
    sequences : int
        Sequences that pass what follows the trunk together.
    tiles : int
        Tiles that pass the trunk together.
    rows : int
        Rows that the table of a window may hold. A window with more is split.
    """

    sequences: int
    tiles: int
    rows: int


def batches_within(architecture: Architecture, memory: int) -> Batches:
    """Return what fits into so many bytes of a device beside weights.

    Half goes to the table, which is twice as large while it is put together, half to one batch.

    Raises
    ------
    ValueError
        If not even one sequence fits.
    """
    row = 4 * architecture.channels
    # a row, its norm, query, key, value, the wide layer; and logits of a block of rows
    sequence = (
        24 * architecture.bins * row
        + 12 * 4 * ROWS_AT_ONCE * architecture.heads * architecture.bins
    )
    tile = 5 * 4 * tiling_of(architecture).tile_length * architecture.filters[0]
    least = 2 * max(sequence, tile, 2 * architecture.bins * row)
    if memory < least:
        raise ValueError(
            f"{memory / 2**30:.2g} GiB are too few for one sequence: give at least "
            f"{least / 2**30:.2g}"
        )
    half = memory // 2
    return Batches(
        sequences=min(_SEQUENCES if on_accelerator() else _SEQUENCES_ON_CPU, half // sequence),
        tiles=min(_TILES, half // tile),
        rows=half // (2 * row),
    )


def tiling_of(architecture: Architecture) -> Tiling:
    """Return how a window is cut for the trunk."""
    return Tiling(architecture.bins, architecture.bin_size, BINS_OF_TILE, architecture.halo)


class Forward:
    """The network with its weights on the device, compiled once for each kind of batch.

    Parameters
    ----------
    architecture : Architecture
    arrays : mapping of str to float32
    batches : Batches
    tracks : sequence of int, optional
        Human tracks that are predicted, in this order; all by default.
    precision : {'float32', 'tensorfloat32', 'bfloat16'}
        Holds for everything that this process multiplies.
    """

    def __init__(
        self,
        architecture: Architecture,
        arrays: Arrays,
        batches: Batches,
        tracks: Sequence[int] | None = None,
        precision: Precision = "tensorfloat32",
    ) -> None:
        set_precision(precision)
        self.architecture, self.batches = architecture, batches
        self.tiling = tiling_of(architecture)
        weights = on_device(arrays)
        self._keys = position_keys(architecture, weights)
        used = {n: w for n, w in weights.items() if not n.endswith(("positions", "/position"))}
        chosen = used if tracks is None else of_tracks(used, tracks)
        self._weights = in_precision(chosen, precision)
        self._trunk = {
            padding: compiled(partial(trunk, architecture, padding=padding))
            for padding in ("same", "valid")
        }
        self._network = cache(lambda bins: compiled(partial(network, architecture, bins=bins)))
        self._rest = cache(lambda bins: compiled(partial(after_trunk, architecture, bins=bins)))
        self._gradient = Gradient(architecture)

    def sequences(self, codes: Codes, bins: range) -> Iterator[NDArray[np.float32]]:
        """Yield predictions (sequence, bin, track) of whole sequences, one by one, nothing shared.

        Parameters
        ----------
        codes : uint8 (sequence, input_length)
        bins : range
            Neighbouring output bins.
        """
        call = self._network(bins)
        for row in range(len(codes)):
            yield ops.convert_to_numpy(call(self._weights, self._keys, codes[row : row + 1]))

    def prepare(self, personal: PersonalWindow) -> Tiles:
        """Return the distinct tiles of a window; touches no device."""
        return tiles(personal, self.tiling)

    def window(
        self, personal: PersonalWindow, bins: range, found: Tiles | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """Yield predictions (sequence, bin, track) of the distinct sequences of a window, in order.

        What follows the trunk is computed for every sequence, the trunk for every distinct tile
        (once for each part of the window, if its rows need more than the table may hold).
        """
        found = self.prepare(personal) if found is None else found
        for rows in _parts(found.rows, self.batches.rows // self.tiling.bins_of_tile):
            yield from self._part(found, rows, bins)

    def input_gradient(
        self, codes: Codes, bins: range, weights: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the gradient of weighted outputs by one sequence.

        As `zarrbench.models.protocol.DifferentiableModel.input_gradient`, of the tracks that are
        predicted.
        """
        found = tiles_of(codes, self.tiling)
        table, places = self._table(found, found.rows)
        rows = ops.take(table, places, axis=0)
        of_rows = self._gradient.by_rows(self._weights, self._keys, rows, bins, weights)
        return self._gradient.by_bases(self._weights, found, of_rows, self._few)

    @property
    def _few(self) -> int:
        """Tiles at once where there are hardly more, or where each needs more memory."""
        return -(-self.batches.tiles // 8)

    def _part(
        self, found: Tiles, rows: NDArray[np.int32], bins: range
    ) -> Iterator[NDArray[np.float32]]:
        """Predict some sequences; their table ends with this."""
        table, places = self._table(found, rows)
        for batch in padded(places, self.batches.sequences):
            gathered = ops.take(table, batch.rows, axis=0)
            predicted = self._rest(bins)(self._weights, self._keys, gathered)
            yield ops.convert_to_numpy(predicted)[: batch.count]

    def _table(self, found: Tiles, rows: NDArray[np.int32]) -> tuple[Any, NDArray[np.int32]]:
        """Run the trunk on the tiles of some sequences.

        Returns
        -------
        table : float32 (row, channel)
        places : int32 (sequence, bin)
            Where in the table the rows of each sequence are.
        """
        k, many, few = self.tiling.bins_of_tile, self.batches.tiles, self._few
        table: list[Any] = []
        columns = []
        for codes, numbers, padding, size, kept in (
            (found.left, rows[:, :1], "same", few, slice(None, k)),
            (found.middle, rows[:, 1:-1], "valid", many, slice(None)),
            (found.right, rows[:, -1:], "same", few, slice(-k, None)),
        ):
            used, local = np.unique(numbers, return_inverse=True)
            first = sum(part.shape[0] for part in table)
            for batch in padded(codes[used], size):
                made = self._trunk[padding](self._weights, batch.rows)[:, kept]
                table.append(ops.reshape(made, (-1, made.shape[-1])))
            place = first + k * local.reshape(numbers.shape)[..., None] + np.arange(k)
            columns.append(place.reshape(len(rows), -1))
        return ops.concatenate(table), np.hstack(columns).astype(np.int32)


def _parts(rows: NDArray[np.int32], capacity: int) -> Iterator[NDArray[np.int32]]:
    """Split sequences, given by their tiles, into parts of at most `capacity` distinct tiles."""
    distinct = sum(np.unique(part).size for part in (rows[:, :1], rows[:, 1:-1], rows[:, -1:]))
    if len(rows) == 1 or distinct <= capacity:
        yield rows
        return
    middle = len(rows) // 2
    yield from _parts(rows[:middle], capacity)
    yield from _parts(rows[middle:], capacity)
