"""How a cube is cut: blocks of individuals, one shard a gene and block, chunks along the tracks."""

from dataclasses import dataclass
from typing import Literal

# Largest shard: a worker holds some of them at once, and writes each as one object
_SHARD_BYTES = 1 << 28
# Inner chunk aimed at: large enough for the fixed costs of one, small for whoever wants one track
_CHUNK_BYTES = 1 << 19


@dataclass(frozen=True)
class Block:
    """Consecutive individuals that one task predicts: rows start to stop of the cube."""

    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class Storage:
    """How the numbers of a cube are kept.

    Parameters
    ----------
    dtype : {'float32', 'float16'}
        Half the bytes, to 3 digits and up to 65,504; a gene whose predictions go beyond fails.
    codec : {'lz4', 'zstd'}
        Of Blosc, with bytes shuffled: lz4 is faster, zstd smaller.
    keepbits : int, optional
        Bits of the mantissa (23 in float32, 10 in float16) that are kept, the others rounded away
        so that it compresses better; all by default.
    """

    dtype: Literal["float32", "float16"] = "float32"
    codec: Literal["lz4", "zstd"] = "lz4"
    keepbits: int | None = None

    def __post_init__(self) -> None:
        most = 23 if self.dtype == "float32" else 10
        if self.keepbits is not None and not 1 <= self.keepbits <= most:
            raise ValueError(f"keepbits must lie between 1 and {most} for {self.dtype}")

    @property
    def itemsize(self) -> int:
        return 4 if self.dtype == "float32" else 2


@dataclass(frozen=True)
class Grid:
    """Where a cube is cut.

    Attributes
    ----------
    block_size : int
        Individuals of a shard.
    track_chunk : int
        Tracks of an inner chunk.
    """

    block_size: int
    track_chunk: int

    def chunk(self) -> dict[str, int]:
        """Return the inner chunk by dim: one gene, one block, one bin, some tracks."""
        chunk = {"gene": 1, "individual": self.block_size, "haplotype": 2, "bin": 1}
        return {**chunk, "track": self.track_chunk}

    def shard(self, n_tracks: int, n_bins: int = 1) -> dict[str, int]:
        """Return the shard by dim: whole inner chunks, as many as hold all bins and tracks."""
        n_chunks = -(-n_tracks // self.track_chunk)
        return {**self.chunk(), "bin": n_bins, "track": n_chunks * self.track_chunk}


def blocks(n_individuals: int, block_size: int) -> list[Block]:
    """Return the blocks of so many individuals; the last may be smaller."""
    starts = range(0, n_individuals, block_size)
    return [Block(k, s, min(s + block_size, n_individuals)) for k, s in enumerate(starts)]


def plan_grid(
    n_individuals: int,
    n_tracks: int,
    n_bins: int = 1,
    itemsize: int = 4,
    block_size: int | None = None,
) -> Grid:
    """Choose blocks and chunks.

    All individuals are one block, which shares the most work, unless a shard would be larger than
    256 MiB: then as few blocks of about the same size as keep it below. A chunk holds about 512
    KiB: a power of two of tracks, or all of them.

    Parameters
    ----------
    n_bins : int
        Bins that the cube keeps of every track, 1 if it keeps none.
    block_size : int, optional
        Individuals of a block, instead of the rule.
    """
    if block_size is None:
        person = 2 * n_tracks * n_bins * itemsize
        n_blocks = -(-n_individuals * person // _SHARD_BYTES)
        block_size = -(-n_individuals // n_blocks)
    block_size = min(block_size, n_individuals)
    fitting = max(1, _CHUNK_BYTES // (2 * block_size * itemsize))
    return Grid(block_size, min(n_tracks, 1 << (fitting.bit_length() - 1)))
