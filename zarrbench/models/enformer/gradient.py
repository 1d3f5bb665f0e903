"""The gradient of Enformer's outputs by the bases of a sequence, in the memory of a prediction.

What follows the trunk is differentiated by the rows of the trunk. That is pulled back through the
trunk tile by tile: a base has a part in the tiles that overlap there, and its gradient is their
sum. Equal to that of the network on the whole sequence to the rounding of float32. At the released
size the first half needs 1.3 GiB beside the weights, the second hardly more (measured on a CPU).
"""

from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zarrbench.genome.bases import ONE_HOT, Codes
from zarrbench.haplotypes.tiles import Tiles
from zarrbench.models.enformer.architecture import Architecture, Weights
from zarrbench.models.enformer.batches import padded
from zarrbench.models.enformer.network import after_trunk
from zarrbench.models.enformer.trunk import trunk_of_one_hot
from zarrbench.models.keras_network import differentiated, ops


class Gradient:
    """The two halves of the gradient, compiled once for each kind of batch."""

    def __init__(self, architecture: Architecture) -> None:
        self._by_rows = cache(
            lambda bins: differentiated(partial(_weighted_outputs, architecture, bins))
        )
        self._by_bases = {
            padding: differentiated(partial(_weighted_rows, architecture, padding))
            for padding in ("same", "valid")
        }

    def by_rows(
        self, weights: Weights, keys: list[Any], rows: Any, bins: range, of_outputs: NDArray
    ) -> NDArray[np.float32]:
        """Return the gradient (row, channel) of weighted outputs by the rows of one sequence.

        Parameters
        ----------
        weights : Weights
        keys : list of float32 (head, distance, key)
        rows : float32 (1, row, channel)
        bins : range
            Neighbouring output bins.
        of_outputs : float32 (bin, track)
            What outputs are weighted with.
        """
        found = self._by_rows(bins)(rows, weights, keys, of_outputs)
        return np.asarray(ops.convert_to_numpy(found)[0])

    def by_bases(
        self, weights: Weights, found: Tiles, of_rows: NDArray[np.float32], at_once: int
    ) -> NDArray[np.float32]:
        """Return the gradient (base, 4) of weighted rows of the trunk by the one-hot sequence.

        Parameters
        ----------
        weights : Weights
        found : Tiles
            Of one sequence, by `zarrbench.haplotypes.tiles.tiles_of`.
        of_rows : float32 (row, channel)
            What rows are weighted with.
        at_once : int
            Tiles that are differentiated together: bounds memory, and changes results by rounding.
        """
        tiling = found.tiling
        k, edge = tiling.bins_of_tile, tiling.edge_length
        of_tiles = of_rows.reshape(tiling.n_tiles, k, -1)
        # Of the rows that an edge gives only its own count; the others are of the tile beside it.
        beside = np.zeros((edge // tiling.bin_size - k, of_rows.shape[1]), dtype=np.float32)
        of_edges = np.stack(
            [np.concatenate([of_tiles[0], beside]), np.concatenate([beside, of_tiles[-1]])]
        )
        edges = self._pulled(weights, "same", np.concatenate([found.left, found.right]), of_edges)
        total = np.zeros((tiling.length, 4), dtype=np.float32)
        total[:edge] += edges[0]
        total[-edge:] += edges[1]
        first = tiling.step - tiling.halo
        for batch in padded(np.arange(len(found.middle)), at_once):
            of_batch = of_tiles[1:-1][batch.rows]
            pulled = self._pulled(weights, "valid", found.middle[batch.rows], of_batch)
            for tile, gradient in zip(batch.rows[: batch.count], pulled, strict=False):
                start = first + tile * tiling.step
                total[start : start + tiling.tile_length] += gradient
        return total

    def _pulled(
        self, weights: Weights, padding: str, codes: Codes, of_rows: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the gradient (tile, base, 4) of weighted rows of some tiles."""
        found = self._by_bases[padding](ONE_HOT[codes], weights, of_rows)
        return np.asarray(ops.convert_to_numpy(found))


def _weighted_outputs(
    architecture: Architecture, bins: range, rows: Any, weights: Weights, keys: Any, of_outputs: Any
) -> Any:
    return ops.sum(after_trunk(architecture, weights, keys, rows, bins) * of_outputs)


def _weighted_rows(
    architecture: Architecture, padding: str, bases: Any, weights: Weights, of_rows: Any
) -> Any:
    return ops.sum(trunk_of_one_hot(architecture, weights, bases, padding) * of_rows)
