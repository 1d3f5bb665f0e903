"""The two cohorts: files as users bring them, and the stores made of them."""

import contextlib
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pysam
import pysam.bcftools
from numpy.typing import NDArray

from zarrbench.genome.coordinates import Window, model_window
from zarrbench.genome.reference import Reference, build_reference
from zarrbench.genotypes.ingest import ingest
from zarrbench.genotypes.store import GenotypeStore
from zarrbench.simulation import Simulation, simulate

LENGTH = 196_608
WINDOWS = 8


@dataclass(frozen=True)
class Cohort:
    """Phased genomes and the windows to make of them.

    Attributes
    ----------
    name : str
    vcf, fasta : Path
        Indexed, in a folder that the benchmark may write to.
    genotypes, reference : Path
        zarrbench's stores of them.
    windows : sequence of Window
        On one contig, forward strand.
    samples : sequence of str
        In the order in which all contenders give them: sorted, as GenVarLoader does.
    order : int64 (individual,)
        Rows of `samples` in the genotype store.
    """

    name: str
    vcf: Path
    fasta: Path
    genotypes: Path
    reference: Path
    windows: Sequence[Window]
    samples: Sequence[str]
    order: NDArray[np.int64]

    @property
    def folder(self) -> Path:
        return self.vcf.parent

    def open(self) -> tuple[GenotypeStore, Reference]:
        reference = Reference(self.reference)
        return GenotypeStore(self.genotypes, reference.lengths), reference


def simulated(folder: Path, _sources: Path) -> Cohort:
    """Simulate 839 Europeans: 2 Mb, about 800 SNVs a window, all haplotypes phased.

    Without the SNVs whose minor allele occurs once, which no statistical phasing can place; with
    them there would be twice as many.
    """
    length = 250_000 * WINDOWS
    simulate(
        Simulation(individuals=839, contigs={"chr1": length}, genes=WINDOWS, flank=LENGTH // 2,
                   indels=0.0),
        folder / "simulated",
    )  # fmt: skip
    vcf = folder / "cohort.vcf.gz"
    everything = folder / "simulated" / "cohort.vcf.gz"
    pysam.bcftools.view("-c", "2:minor", "-Oz", "-o", str(vcf), str(everything), catch_stdout=False)
    pysam.tabix_index(str(vcf), preset="vcf", force=True)
    starts = (np.arange(WINDOWS) * 250_000 + (250_000 - LENGTH) // 2).tolist()
    windows = [Window("chr1", start, start + LENGTH) for start in starts]
    return _with_stores("simulated", vcf, folder / "simulated" / "reference.fa", windows)


def real(folder: Path, sources: Path) -> Cohort:
    """Take 358 people of GEUVADIS and windows around genes of the published benchmark on chr22."""
    vcf = _linked(sources / "genotypes" / "geuvadis_eur358.chr22_16-22Mb.hg19.vcf.gz", folder)
    fasta = _linked(sources / "reference" / "chr22_1-22000000.hg19.fa.gz", folder)
    with (sources / "benchmark" / "gene_list.csv").open(newline="") as file:
        sites = sorted({int(tss) for _, contig, tss, *_ in csv.reader(file) if contig == "22"})
    around = [model_window("chr22", tss, "+", LENGTH, LENGTH // 2, False) for tss in sites]
    windows = [w for w in around if w.start >= 17_000_000 and w.end <= 22_000_000][:WINDOWS]
    return _with_stores("real chr22", vcf, fasta, windows)


def _linked(file: Path, folder: Path) -> Path:
    """Link a file and its indexes into a folder that peers may write theirs into."""
    for each in file.parent.glob(f"{file.name}*"):
        (folder / each.name).symlink_to(each.resolve())
    return folder / file.name


def _with_stores(name: str, vcf: Path, fasta: Path, windows: Sequence[Window]) -> Cohort:
    genotypes, reference = vcf.parent / "genotypes.vcz", vcf.parent / "reference.zarr"
    with contextlib.redirect_stdout(sys.stderr):
        ingest(vcf, genotypes)
        build_reference(fasta, reference)
    stored = GenotypeStore(genotypes, Reference(reference).lengths).samples
    order = np.argsort(stored)
    samples = [stored[i] for i in order]
    return Cohort(name, vcf, fasta, genotypes, reference, windows, samples, order)
