"""What is written: predictions of a cohort, gene by gene, and the cube that takes them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from zarrbench.models.protocol import Track
from zarrbench.predictions.cube import Frame, create_cube
from zarrbench.predictions.grid import Grid, Storage, plan_grid

#: Distinct haplotypes of a gene; the k-th is as frequent as 1 / k
_DISTINCT = 400
#: How much haplotypes differ: standard deviation of the logarithm, of all tracks and of each
_SPREAD = 0.02

STORAGE = Storage()
RECIPE = "benchmark"


@dataclass(frozen=True)
class Workload:
    """A cube of so many genes, people and tracks.

    Attributes
    ----------
    values : {'people', 'random'}
        Log-normal both. Of ``people``, some haplotypes are common and differ little from each
        other; in ``random`` no two numbers have anything to do with each other.
    """

    genes: int
    people: int
    tracks: int
    values: Literal["people", "random"]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.genes, self.people, 2, self.tracks

    @property
    def gene_bytes(self) -> int:
        return 4 * self.people * 2 * self.tracks

    @property
    def grid(self) -> Grid:
        return plan_grid(self.people, self.tracks)

    @property
    def chunk(self) -> tuple[int, int, int, int]:
        return 1, self.people, 2, self.grid.track_chunk

    def gene(self, number: int) -> NDArray[np.float32]:
        """Return the predictions of a gene, (individual, haplotype, track)."""
        rng = np.random.default_rng(number)
        tracks = rng.lognormal(0, 2, self.tracks).astype(np.float32)
        if self.values == "random":
            noise = rng.standard_normal((self.people, 2, self.tracks), dtype=np.float32)
            return tracks * np.exp(noise)
        frequency = 1 / np.arange(1, _DISTINCT + 1)
        rows = rng.choice(_DISTINCT, (self.people, 2), p=frequency / frequency.sum())
        of_all = rng.normal(0, _SPREAD, (_DISTINCT, 1))
        of_each = rng.normal(0, _SPREAD, (_DISTINCT, self.tracks))
        distinct = (tracks * np.exp(of_all + of_each)).astype(np.float32)
        return distinct[rows]

    def create(self, path: Path) -> None:
        """Make the empty cube of a run."""
        genes = np.array([f"ENSG{i:011d}" for i in range(self.genes)], dtype=object)
        text = np.array([""] * self.genes, dtype=object)
        coordinates = xr.Dataset(
            coords={
                "gene": ("gene", genes),
                "gene_name": ("gene", genes),
                "contig": ("gene", text),
                "tss": ("gene", np.arange(self.genes)),
                "strand": ("gene", text),
            }
        )
        people = [f"NA{i:05d}" for i in range(self.people)]
        tracks = [Track(f"T{i}", "") for i in range(self.tracks)]
        frame = Frame(
            coordinates, people, tracks, ["prediction"], None, self.grid, STORAGE, {"": RECIPE}
        )
        create_cube(path, frame, {})
