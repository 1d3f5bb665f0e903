"""A simulated region, its genes, and which variants are near each of them."""

from dataclasses import dataclass

import msprime
import numpy as np
import xarray as xr
from numpy.typing import NDArray

#: half of the window of Enformer
WINDOW = 98_304


@dataclass(frozen=True)
class Workload:
    """Genotypes and expression in memory.

    Attributes
    ----------
    dosage : int8 (variant, individual)
    positions : int64 (variant,)
        1-based.
    y : float64 (gene, individual)
    tss : int64 (gene,)
        1-based, rising.
    first, last : int64 (gene,)
        The run of variants within `WINDOW` of each TSS.
    """

    dosage: NDArray[np.int8]
    positions: NDArray[np.int64]
    y: NDArray[np.float64]
    tss: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    @property
    def pairs(self) -> int:
        return int((self.last - self.first).sum())

    def of_genes(self, genes: int) -> "Workload":
        """Return the first so many genes with all variants."""
        part = slice(genes)
        return Workload(self.dosage, self.positions, self.y[part], self.tss[part],
                        self.first[part], self.last[part])  # fmt: skip

    def labelled(self) -> tuple[xr.Dataset, xr.DataArray]:
        """Return dosages and expression as zarrbench labels them."""
        people = np.array([f"P{i}" for i in range(self.dosage.shape[1])], dtype=object)
        one, many = (
            np.full(len(self.tss), "chr1", object),
            np.full(len(self.dosage), "chr1", object),
        )
        dosages = xr.Dataset(
            {"dosage": (("variant", "individual"), self.dosage)},
            coords={
                "variant_contig": ("variant", many),
                "variant_position": ("variant", self.positions),
                "other_allele": ("variant", np.full(many.shape, "A", object)),
                "effect_allele": ("variant", np.full(many.shape, "C", object)),
                "individual": people,
            },
        )
        genes = np.array([f"G{i}" for i in range(len(self.tss))], dtype=object)
        coords = {"gene": genes, "contig": ("gene", one), "tss": ("gene", self.tss)}
        expression = xr.DataArray(
            self.y, dims=("gene", "individual"), coords={**coords, "individual": people}
        )
        return dosages, expression


def simulated(length: int, people: int, genes: int, seed: int = 1) -> Workload:
    """Simulate a region with msprime; every third gene has an effect of a variant near it."""
    ancestry = msprime.sim_ancestry(
        people, population_size=10_000, sequence_length=length, recombination_rate=1e-8,
        random_seed=seed,
    )  # fmt: skip
    mutated = msprime.sim_mutations(
        ancestry, rate=1e-8, model=msprime.BinaryMutationModel(), random_seed=seed
    )
    haplotypes = mutated.genotype_matrix().astype(np.int8)
    dosage = haplotypes[:, 0::2] + haplotypes[:, 1::2]
    positions = mutated.sites_position.astype(np.int64) + 1
    kept = np.concatenate([[True], np.diff(positions) > 0])  # one variant a place
    dosage, positions = np.ascontiguousarray(dosage[kept]), positions[kept]
    rng = np.random.default_rng(seed)
    tss = np.sort(rng.integers(WINDOW, length - WINDOW, genes))
    first = np.searchsorted(positions, tss - WINDOW)
    last = np.searchsorted(positions, tss + WINDOW, side="right")
    y = rng.standard_normal((genes, people))
    for gene in range(0, genes, 3):
        y[gene] += 0.3 * dosage[rng.integers(first[gene], last[gene])]
    return Workload(dosage, positions, y, tss, first, last)
