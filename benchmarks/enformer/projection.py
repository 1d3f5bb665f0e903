"""From seconds of the parts to those of a window with all its people."""

from dataclasses import asdict, dataclass
from typing import Any

from zarrbench.models.enformer.cost import Work

#: times the stock model on a CPU
GOAL, STRETCH = 4.0, 4.5


@dataclass(frozen=True)
class Parts:
    """Seconds, or operations, of the parts.

    Attributes
    ----------
    stock : float
        Of a sequence in the stock model.
    rest : float
        Of a sequence in what follows our trunk.
    tile, edge : float
        Of a tile in our trunk, between the edges of a window and at one.
    """

    stock: float
    rest: float
    tile: float
    edge: float


@dataclass(frozen=True)
class Projection:
    """What a window takes, were every part of it as fast as it was alone.

    Attributes
    ----------
    work : Work
    seconds, operations : Parts
    """

    work: Work
    seconds: Parts
    operations: Parts

    @property
    def ratio(self) -> float:
        """Return how many times faster the shared forward is if every sequence is computed."""
        return _ratio(self.work, self.seconds, self.work.sequences)

    @property
    def ratio_of_distinct(self) -> float:
        """Return the same if each distinct sequence is computed once, as it is.

        Simulated haplotypes are without phasing errors, which make equal ones rarer.
        """
        return _ratio(self.work, self.seconds, self.work.distinct)

    @property
    def ratio_of_operations(self) -> float:
        """Return what `ratio` would be at equal operations a second."""
        return _ratio(self.work, self.operations, self.work.sequences)

    def figures(self) -> dict[str, Any]:
        """Return the work, its seconds and the ratios."""
        work, seconds = self.work, self.seconds
        return {
            "work": asdict(work),
            "stock_seconds": work.sequences * seconds.stock,
            "rest_seconds": work.sequences * seconds.rest,
            "tile_seconds": work.tiles * seconds.tile,
            "edge_seconds": work.edges * seconds.edge,
            "ratio": self.ratio,
            "ratio_of_distinct": self.ratio_of_distinct,
            "ratio_of_operations": self.ratio_of_operations,
            "goal": GOAL,
            "stretch": STRETCH,
            "reached": self.ratio >= GOAL,
        }


def _ratio(work: Work, parts: Parts, rests: int) -> float:
    trunk = work.tiles * parts.tile + work.edges * parts.edge
    return work.sequences * parts.stock / (rests * parts.rest + trunk)
