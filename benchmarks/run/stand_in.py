"""A network that holds its device for a fixed time a window, and the cohort that it reads."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zarrbench.haplotypes.sequences import PersonalWindow
from zarrbench.haplotypes.tiles import Tiling, tiles
from zarrbench.models.protocol import ModelSpec, Track
from zarrbench.simulation import Simulation, simulate
from zarrbench.sources import Source

LENGTH = 196_608
_CONTIG = 1_200_000


@dataclass(frozen=True)
class HoldingRecipe:
    """Sleeps for `seconds` a window: then only what zarrbench itself costs is left over.

    It prepares a window as Enformer does: the distinct tiles.
    """

    seconds: float
    n_tracks: int
    name: str = "holding"

    def spec(self) -> ModelSpec:
        return ModelSpec(self.name, LENGTH, LENGTH // 2, False, bins=1, batch_size=1)

    def read_tracks(self, files: Mapping[str, Path]) -> tuple[Track, ...]:
        return tuple(Track(f"T{i}", f"track {i}") for i in range(self.n_tracks))

    def sources(self) -> tuple[Source, ...]:
        return ()

    def load(self, files: Mapping[str, Path]) -> "Holding":
        return Holding(self)


class Holding:
    """Gives every sequence numbers of its own."""

    def __init__(self, recipe: HoldingRecipe) -> None:
        self.spec, self.tracks, self._seconds = (
            recipe.spec(),
            recipe.read_tracks({}),
            recipe.seconds,
        )

    def prepare_window(self, personal: PersonalWindow) -> Any:
        return tiles(personal, Tiling()) if self._seconds else None

    def predict_window(
        self, personal: PersonalWindow, prepared: Any, gene: str, bins: range
    ) -> Iterator[NDArray[np.float32]]:
        began = time.perf_counter()
        numbers = np.random.default_rng(personal.n_rows)
        outputs = numbers.random((personal.n_rows, 1, len(self.tracks)), dtype=np.float32)
        time.sleep(max(0.0, self._seconds - (time.perf_counter() - began)))
        yield outputs

    def predict(self, codes: NDArray[np.uint8], gene: str) -> NDArray[np.float32]:
        raise NotImplementedError


def write_cohort(folder: Path, individuals: int, genes: int) -> Path:
    """Simulate people and write the recipe of their stores; genes lie all over one contig.

    Their windows overlap, as those of a dense region do, so that a small contig serves.
    """
    simulate(
        Simulation(seed=1, individuals=individuals, contigs={"chr1": _CONTIG}, genes=2, flank=4096),
        folder / "sources",
    )
    places = np.linspace(LENGTH, _CONTIG - LENGTH, genes).astype(int)
    rows = [f"G{i:06d}\tchr1\t+\t{place}\tN{i}" for i, place in enumerate(places)]
    table = "gene_id\tcontig\tstrand\ttss\tgene_name\n" + "\n".join(rows) + "\n"
    (folder / "sources" / "genes.tsv").write_text(table)
    (folder / "stores").mkdir()
    recipe = folder / "stores" / "cohort.yaml"
    recipe.write_text(
        "name: cohort\n"
        "genotypes: {source: cohort.vcf.gz}\n"
        "reference: {source: reference.fa}\n"
        "genes: {source: genes.tsv}\n"
        "expression: {source: expression.tsv, unit: none}\n"
    )
    return recipe
