"""The window that is mutated: its SNVs, and an even choice of them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.haplotypes import cohort
from benchmarks.haplotypes.cohort import Cohort
from zarrbench.attributions.ism import GeneTask
from zarrbench.attributions.worker import AttributionJob, Mutants
from zarrbench.genome.bases import OTHER, Codes
from zarrbench.genome.coordinates import Window
from zarrbench.genotypes.policies import Policies
from zarrbench.haplotypes.mutants import one_by_one
from zarrbench.haplotypes.sequences import window_edits
from zarrbench.haplotypes.snvs import Snvs, snvs
from zarrbench.haplotypes.tiles import Tiling, tiles
from zarrbench.models.enformer.cost import Work
from zarrbench.predictions.worker import Input

#: of a window in the study's data, about
SNVS = 500


@dataclass(frozen=True)
class Gene:
    """A window of a cohort.

    Attributes
    ----------
    people : Cohort
    window : Window
    reference : uint8 (base,)
    found : Snvs
        All of the window.
    """

    people: Cohort
    window: Window
    reference: Codes
    found: Snvs

    @property
    def n_snvs(self) -> int:
        return int(np.count_nonzero(self.found.known))

    def mutant(self, row: int) -> Codes:
        """Return the reference with one SNV, counted among those with an alternative."""
        codes, known = self.reference.copy(), np.flatnonzero(self.found.known)
        codes[self.found.positions[known[row]]] = self.found.alternative[known[row]]
        return codes

    def work(self, tiling: Tiling) -> Work:
        """Return what there is to compute for all SNVs; the reference is one more sequence."""
        known = self.found.known
        put_in = self.found.positions[known], self.found.alternative[known]
        of_window = tiles(one_by_one(self.window, self.reference, *put_in), tiling)
        edges = len(of_window.left) + len(of_window.right)
        return Work(self.n_snvs, self.n_snvs + 1, len(of_window.middle), edges)


def gene_of(folder: Path, sources: Path) -> Gene:
    """Return the window of the real cohort, else of a simulated one, with about `SNVS` SNVs."""
    people = (cohort.real if sources.is_dir() else cohort.simulated)(folder, sources)
    genotypes, reference = people.open()
    genes = []
    for window in people.windows:
        codes = reference.codes(window)
        found = snvs(window_edits(genotypes, reference, window, Policies()), codes)
        genes.append(Gene(people, window, codes, found))
    return min(genes, key=lambda gene: abs(gene.n_snvs - SNVS))


@dataclass(frozen=True)
class SomeSnvs(GeneTask):
    """The task of a gene, of which only some SNVs are put in.

    Attributes
    ----------
    rows : tuple of int
        Of the SNVs with an alternative, rising.
    """

    rows: tuple[int, ...]

    def mutants(self, job: AttributionJob) -> Mutants:
        """As `zarrbench.attributions.ism.GeneTask.mutants`."""
        found = super().mutants(job)
        [window] = found.inputs
        chosen: NDArray[np.int64] = np.array(self.rows)
        assembly = window.personal.assembly.take(np.append(0, chosen + 1))
        known = np.flatnonzero(found.known["alternative"] != OTHER)[chosen]
        return Mutants(
            (Input(replace(window.personal, assembly=assembly), None),),
            {name: values[known] for name, values in found.known.items()},
        )
