import csv
import random
import subprocess
from pathlib import Path

import cyvcf2
import numpy as np
import pyfaidx
import pysam
import pytest

from zarrbench.errors import ReferenceMismatchError
from zarrbench.genome.bases import OTHER, decode, encode, reverse_complement
from zarrbench.genome.coordinates import Window, model_window
from zarrbench.genome.reference import Reference, build_reference
from zarrbench.genotypes.ingest import ingest
from zarrbench.genotypes.policies import CASES, Policies
from zarrbench.genotypes.store import GenotypeStore
from zarrbench.haplotypes.sequences import PersonalWindow, distinct, personal_window
from zarrbench.haplotypes.substitutions import Substitutions
from zarrbench.simulation import Simulation, simulate

POLICIES = Policies()
CHR22 = "reference/chr22_1-22000000.hg19.fa.gz"
GEUVADIS = "genotypes/geuvadis_eur358.chr22_16-22Mb.hg19.vcf.gz"
PHASE1 = "genotypes/1kg_phase1_1092.chr22_16.05-17.80Mb.hg19.vcf.gz"


def random_window(
    individuals: int = 30, sites: int = 12, length: int = 200, reverse: bool = False
) -> tuple[PersonalWindow, np.ndarray]:
    """A window with few founder haplotypes, and all its haplotypes, forward and one by one."""
    rng = np.random.default_rng(sites)
    reference = rng.integers(0, 4, length).astype(np.uint8)
    columns = np.sort(rng.choice(length, sites, replace=False))
    founders = rng.integers(0, 5, (9, sites)).astype(np.uint8)
    bases = founders[rng.integers(0, 9, (individuals, 2))].transpose(2, 0, 1)
    everyone = np.tile(reference, (individuals, 2, 1))
    everyone[:, :, columns] = bases.transpose(1, 2, 0)
    dosage = np.zeros((sites, individuals), dtype=np.int8)
    found = Substitutions(columns, bases, dosage, dict.fromkeys(CASES, 0))
    return distinct(found, reference, Window("chr1", 0, length, reverse)), everyone


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("sites", [0, 1, 12])
def test_distinct_rows_rebuild_every_haplotype(sites, reverse):
    personal, everyone = random_window(sites=sites, reverse=reverse)
    oriented = reverse_complement(everyone) if reverse else everyone
    np.testing.assert_array_equal(personal.codes()[personal.rows], oriented)
    np.testing.assert_array_equal(personal.haplotype(3, 1), oriented[3, 1])
    different = {row.tobytes() for row in everyone.reshape(-1, 200)}
    assert personal.n_distinct_haplotypes == len(different)
    assert personal.n_rows == len(different | {personal.reference.tobytes()})
    assert len({row.tobytes() for row in personal.alleles}) == personal.n_rows


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_batches_are_parts_of_the_whole(size, reverse):
    personal, _ = random_window(reverse=reverse)
    starts = range(0, personal.n_rows, size)
    batches = [personal.codes(start, start + size) for start in starts]
    assert all(batch.shape == (len(batch), 200) for batch in batches)
    assert all(batch.dtype == np.uint8 for batch in batches)
    np.testing.assert_array_equal(np.concatenate(batches), personal.codes())
    assert personal.codes(personal.n_rows).shape == (0, 200)


def test_the_reference_is_always_a_row():
    personal, _ = random_window()
    row = personal.reference_row
    np.testing.assert_array_equal(personal.codes(row, row + 1)[0], personal.reference)
    assert row not in personal.rows
    assert personal.n_rows == personal.n_distinct_haplotypes + 1
    nothing, _ = random_window(sites=0)
    assert (nothing.n_rows, nothing.n_distinct_haplotypes, nothing.reference_row) == (1, 1, 0)


def test_making_sequences_leaves_the_window_as_it_is():
    personal, _ = random_window()
    personal.codes()[:] = OTHER
    assert OTHER not in personal.reference


class Simulated:
    """A small simulated cohort, its stores, and its files read by other people's software."""

    def __init__(self, folder: Path) -> None:
        simulation = Simulation(
            seed=11, individuals=12, contigs={"chrA": 80_000}, genes=2, flank=512, indels=0.5
        )
        simulate(simulation, folder / "files")
        build_reference(folder / "files" / "reference.fa", folder / "reference.zarr")
        ingest(folder / "files" / "cohort.vcf.gz", folder / "genotypes.vcz")
        self.reference = Reference(folder / "reference.zarr")
        self.genotypes = GenotypeStore(folder / "genotypes.vcz", self.reference.lengths)
        with pyfaidx.Fasta(str(folder / "files" / "reference.fa")) as fasta:
            self.sequence = str(fasta["chrA"]).upper()
        self.variants = list(cyvcf2.VCF(str(folder / "files" / "cohort.vcf.gz")))

    def haplotype(self, window: Window, individual: int, haplotype: int) -> str:
        """A personal sequence, one SNV after the other."""
        bases = dict(enumerate(self.sequence))
        for variant in self.variants:
            if variant.is_snp and variant.genotypes[individual][haplotype] == 1:
                assert bases[variant.POS - 1] == variant.REF
                bases[variant.POS - 1] = variant.ALT[0]
        return "".join(bases.get(i, "N") for i in range(window.start, window.end))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Simulated:
    return Simulated(tmp_path_factory.mktemp("simulated"))


@pytest.mark.parametrize(("start", "end"), [(-500, 3_000), (20_000, 45_000), (78_000, 90_000)])
@pytest.mark.parametrize("reverse", [False, True])
def test_personal_windows_of_a_simulated_cohort(simulated, start, end, reverse):
    window = Window("chrA", start, end, reverse)
    people = np.array([7, 0, 11])
    personal = personal_window(simulated.genotypes, simulated.reference, window, POLICIES, people)
    inside = [v for v in simulated.variants if start < v.POS <= end]
    snvs = [v for v in inside if v.is_snp]
    assert 0 < len(snvs) < len(inside)
    assert personal.columns.tolist() == [v.POS - 1 - start for v in snvs]
    dosages = [[sum(v.genotypes[person][:2]) for person in people] for v in snvs]
    assert personal.substitutions.dosage.tolist() == dosages
    counts = dict.fromkeys(CASES, 0)
    counts["excluded_records"] = len(inside) - len(snvs)
    counts["padded_bases"] = max(0, -start) + max(0, end - 80_000)
    assert personal.substitutions.counts == counts
    for i, person in enumerate(people):
        for haplotype in (0, 1):
            codes = personal.haplotype(i, haplotype)
            forward = reverse_complement(codes) if reverse else codes
            assert decode(forward) == simulated.haplotype(window, person, haplotype)


def test_a_window_beyond_its_contig_is_padding(simulated):
    window = Window("chrA", 80_000, 80_010)
    personal = personal_window(simulated.genotypes, simulated.reference, window, POLICIES)
    assert personal.rows.shape == (12, 2)
    assert decode(personal.codes()[0]) == "N" * 10
    assert personal.substitutions.counts["padded_bases"] == 10


def test_everybody_is_the_default(simulated):
    window = Window("chrA", 20_000, 30_000)
    everybody = personal_window(simulated.genotypes, simulated.reference, window, POLICIES)
    turned = np.arange(12)[::-1]
    again = personal_window(simulated.genotypes, simulated.reference, window, POLICIES, turned)
    np.testing.assert_array_equal(again.rows, everybody.rows[turned])
    np.testing.assert_array_equal(again.alleles, everybody.alleles)


def test_another_genome_is_refused(simulated, tmp_path):
    (tmp_path / "other.fa").write_text(">chrA\n" + "N" * 80_000 + "\n")
    build_reference(tmp_path / "other.fa", tmp_path / "other.zarr")
    with pytest.raises(ReferenceMismatchError, match="is it the same genome build"):
        personal_window(
            simulated.genotypes,
            Reference(tmp_path / "other.zarr"),
            Window("chrA", 20_000, 30_000),
            POLICIES,
        )


# --- against bcftools consensus, on real people ---------------------------------------------------


@pytest.fixture(scope="module")
def chr22(realdata, tmp_path_factory) -> Reference:
    folder = tmp_path_factory.mktemp("chr22")
    build_reference(realdata / CHR22, folder / "reference.zarr")
    return Reference(folder / "reference.zarr")


@pytest.fixture(scope="module", params=[GEUVADIS, PHASE1], ids=["GEUVADIS", "phase 1"])
def real_cohort(request, realdata, chr22, tmp_path_factory) -> tuple[Path, GenotypeStore]:
    """A real VCF and the store of five of its people; the second one has indels too."""
    vcf = realdata / request.param
    with pysam.VariantFile(str(vcf)) as file:
        people = random.Random(2023).sample(list(file.header.samples), 5)
    path = tmp_path_factory.mktemp("cohort") / "genotypes.vcz"
    ingest(vcf, path, ["chr22:17,300,001-19,600,000"], people)
    return vcf, GenotypeStore(path, chr22.lengths)


def consensus(bcftools: str, vcf: Path, fasta: Path, sample: str, haplotype: int) -> str:
    """The sequence of one haplotype of a person, SNVs only, in upper case."""
    arguments = ["-H", str(haplotype + 1), "-s", sample, "-i", 'TYPE="snp"', "-f", str(fasta)]
    made = subprocess.run(
        [bcftools, "consensus", *arguments, str(vcf)], check=True, capture_output=True, text=True
    )
    return "".join(made.stdout.splitlines()[1:]).upper()


def windows(realdata: Path, last: int) -> list[Window]:
    """Windows of real and imagined genes before `last`: ten of Xpresso, three of Enformer."""
    with (realdata / "benchmark" / "gene_list.csv").open() as file:
        genes = sorted((int(row[2]), row[4]) for row in csv.reader(file) if row[1] == "22")
    genes = [gene for gene in genes if gene[0] < last]
    chooser = random.Random(1)
    # Few of the genes lie before the end of the second VCF: random places join them.
    places = chooser.sample(genes, 3)
    places += [(chooser.randrange(17_500_000, last), chooser.choice("+-")) for _ in range(7)]
    small = [model_window("chr22", *gene, 10_500, 6_999, True) for gene in places]
    return small + [model_window("chr22", *gene, 196_608, 98_304, False) for gene in places[:3]]


@pytest.mark.realdata
@pytest.mark.bcftools
def test_real_haplotypes_are_those_of_bcftools_consensus(
    realdata, bcftools, chr22, real_cohort, tmp_path
):
    vcf, genotypes = real_cohort
    last = 19_500_000 if "geuvadis" in vcf.name else 17_790_000
    fasta = pysam.FastaFile(str(realdata / CHR22))
    substituted = 0
    for number, window in enumerate(windows(realdata, last)):
        part = tmp_path / f"{number}.fa"
        part.write_text(f">{window}\n{fasta.fetch('chr22', window.start, window.end)}\n")
        personal = personal_window(genotypes, chr22, window, POLICIES)
        substituted += len(personal.columns)
        for individual, sample in enumerate(genotypes.samples):
            for haplotype in (0, 1):
                expected = encode(consensus(bcftools, vcf, part, sample, haplotype))
                if window.reverse:
                    expected = reverse_complement(expected)
                found = personal.haplotype(individual, haplotype)
                np.testing.assert_array_equal(found, expected, f"{window} {sample} {haplotype}")
    assert substituted > 900
