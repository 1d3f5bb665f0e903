"""Motifs with a known direction of effect: what the motif model reads and a simulation plants.

The matrices are made from consensus words of well-known factors; no database is needed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zarrbench.genome.bases import Codes, encode


@dataclass(frozen=True)
class Motif:
    """A consensus word and the sign of its effect on expression: +1 activates, -1 represses."""

    name: str
    consensus: str
    sign: int

    @property
    def codes(self) -> Codes:
        return encode(self.consensus)

    def weights(self, match: float = 0.85) -> NDArray[np.float64]:
        """Return log2 odds against a uniform background, shape (length, 4) in A, C, G, T.

        `match` is the probability of the consensus base at each position.
        """
        probabilities = np.full((len(self.consensus), 4), (1 - match) / 3)
        probabilities[np.arange(len(self.consensus)), self.codes] = match
        return np.log2(probabilities / 0.25)


MOTIFS = (
    Motif("SP1", "GGGGGCGGGGC", +1),
    Motif("NRF1", "TGCGCATGCGCA", +1),
    Motif("YY1", "CAAGATGGCGGC", +1),
    Motif("ETS", "ACCGGAAGTGAC", +1),
    Motif("REST", "TTCAGCACCACGGACA", -1),
    Motif("ZEB1", "CTCACCTGTGGA", -1),
)
