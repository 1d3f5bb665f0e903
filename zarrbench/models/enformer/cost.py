"""What the network costs: floating point operations of its convolutions and matrix products.

A multiplication with its addition counts as two. Norms, activations and softmax are left out: they
are below one hundredth, and bound by memory.
"""

from dataclasses import dataclass

from zarrbench.models.enformer.architecture import (
    BINS_OF_TILE,
    MOUSE_TRACKS,
    ROWS_AT_ONCE,
    STEM_WIDTH,
    TOWER_WIDTH,
    Architecture,
)


@dataclass(frozen=True)
class Work:
    """What is to be computed for the people of one window.

    Attributes
    ----------
    sequences : int
        Sequences asked for, such as all haplotypes.
    distinct : int
        Those that differ from one another.
    tiles : int
        Distinct tiles of them, without those at the edges.
    edges : int
        Distinct tiles at the two edges of the window.
    """

    sequences: int
    distinct: int
    tiles: int
    edges: int

    def stock(self, architecture: Architecture) -> int:
        """Return the operations of one stock call for every sequence."""
        return self.sequences * stock_flops(architecture)

    def shared(self, architecture: Architecture, n_bins: int, n_tracks: int) -> int:
        """Return the operations where distinct tiles and distinct sequences are computed once."""
        return (
            self.distinct * rest_flops(architecture, n_bins, n_tracks)
            + self.tiles * tile_flops(architecture)
            + self.edges * edge_flops(architecture)
        )


def stock_flops(architecture: Architecture, mouse_tracks: int = MOUSE_TRACKS) -> int:
    """Return the operations of the released model for one sequence: every bin of both heads.

    It pools by two logits of each pair of rows, and makes the keys of distances at every call.
    """
    every, distances = architecture.bins, 2 * architecture.bins - 1
    layer = _layer(architecture, every, every * distances)
    layer += 2 * distances * architecture.value_size * architecture.heads * architecture.key_size
    return (
        _trunk(architecture, every, "same", logits=2)
        + architecture.layers * layer
        + _head(architecture, architecture.output_bins, architecture.tracks + mouse_tracks)
    )


def trunk_flops(architecture: Architecture, rows: int, padding: str) -> int:
    """Return the operations of our trunk for an input of which it makes so many rows."""
    return _trunk(architecture, rows, padding, logits=1)


def tile_flops(architecture: Architecture, bins_of_tile: int = BINS_OF_TILE) -> int:
    """Return the operations of our trunk for one tile between the edges."""
    return trunk_flops(architecture, bins_of_tile, "valid")


def edge_flops(architecture: Architecture, bins_of_tile: int = BINS_OF_TILE) -> int:
    """Return the operations of our trunk for one tile at an edge of the window."""
    beside = -(-architecture.halo // architecture.bin_size)
    return trunk_flops(architecture, bins_of_tile + beside, "same")


def rest_flops(architecture: Architecture, n_bins: int, n_tracks: int) -> int:
    """Return the operations of what follows our trunk for one sequence.

    The last layer makes the rows of `n_bins` bins only, and the keys of distances are at hand.
    """
    every = architecture.bins
    return (
        (architecture.layers - 1) * _layer(architecture, every, _by_distance(every, every))
        + _layer(architecture, n_bins, _by_distance(n_bins, every))
        + _head(architecture, n_bins, n_tracks)
    )


def _trunk(architecture: Architecture, rows: int, padding: str, logits: int) -> int:
    """Count from the last stage to the first, so that the rows of any input are known."""
    products = 0
    inputs = (4, *architecture.filters[:-1])
    stages = zip(_widths(architecture), inputs, architecture.filters, strict=True)
    for width, before, filters in reversed(list(stages)):
        pooled, rows = rows, 2 * rows
        products += rows * (width * before + filters) * filters
        products += logits * pooled * filters**2
        if padding == "valid":
            rows += width - 1
    return 2 * products


def _widths(architecture: Architecture) -> tuple[int, ...]:
    return (STEM_WIDTH, *[TOWER_WIDTH] * (len(architecture.filters) - 1))


def _layer(architecture: Architecture, asked: int, distances: int) -> int:
    """Count a layer that makes `asked` rows, with so many logits of distances a head."""
    every, channels = architecture.bins, architecture.channels
    keys = architecture.heads * architecture.key_size
    projections = (asked + every) * channels * keys + (every + asked) * channels**2
    attention = (asked * every + distances) * keys + asked * every * channels
    perceptron = 2 * asked * channels * 2 * channels
    return 2 * (projections + attention + perceptron)


def _by_distance(asked: int, every: int) -> int:
    """Return the logits of distances a head where rows attend block by block."""
    blocks = [min(ROWS_AT_ONCE, asked - start) for start in range(0, asked, ROWS_AT_ONCE)]
    return sum(block * (every + block - 1) for block in blocks)


def _head(architecture: Architecture, n_bins: int, n_tracks: int) -> int:
    wide = 2 * architecture.channels
    return 2 * n_bins * wide * (architecture.channels + n_tracks)
