"""Personal sequences are those that bcftools consensus writes, on random and on real people."""

import random
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pysam
import pytest

from zarrbench.genome.bases import decode, encode, reverse_complement
from zarrbench.genome.coordinates import Window, model_window
from zarrbench.genome.genes import read_genes
from zarrbench.genome.reference import Reference, build_reference
from zarrbench.genotypes.ingest import ingest
from zarrbench.genotypes.policies import Policies
from zarrbench.genotypes.store import GenotypeStore
from zarrbench.haplotypes.sequences import personal_window, whole_region

pytestmark = pytest.mark.bcftools

SKIP, ANCHORED = Policies(), Policies(indels="anchor_tss")
CHR22 = "reference/chr22_1-22000000.hg19.fa.gz"
GEUVADIS = "genotypes/geuvadis_eur358.chr22_16-22Mb.hg19.vcf.gz"
PHASE1 = "genotypes/1kg_phase1_1092.chr22_16.05-17.80Mb.hg19.vcf.gz"


@dataclass
class Consensus:
    """Haplotypes of the people of a VCF, by bcftools."""

    bcftools: str
    vcf: Path
    fasta: Path
    folder: Path
    options: tuple[str, ...] = ()
    _known: dict[tuple, str] = field(default_factory=dict)

    def __call__(self, contig: str, start: int, end: int, sample: str, haplotype: int) -> str:
        """Return one haplotype of a region (0-based, half-open), in upper case."""
        key = (contig, start, end, sample, haplotype)
        if key not in self._known:
            part = self.folder / f"{contig}_{start}_{end}.fa"
            if not part.exists():
                with pysam.FastaFile(str(self.fasta)) as file:
                    sequence = file.fetch(contig, start, end)
                part.write_text(f">{contig}:{start + 1}-{end}\n{sequence}\n")
            chosen = ["-H", str(haplotype + 1), "-s", sample, *self.options]
            command = [self.bcftools, "consensus", *chosen, "-f", str(part), str(self.vcf)]
            made = subprocess.run(command, check=True, capture_output=True, text=True)
            self._known[key] = "".join(made.stdout.splitlines()[1:]).upper()
        return self._known[key]

    def anchored(self, window: Window, beside: int, sample: str, haplotype: int) -> str:
        """Return one haplotype of a window, forward, from what lies left and right of its anchor.

        No record may span the anchor. `beside` more bases are put together at either side.
        """
        before, anchor = max(0, window.start - beside), window.anchor
        assert anchor is not None
        left = self(window.contig, before, anchor, sample, haplotype)
        right = self(window.contig, anchor, window.end + beside, sample, haplotype)
        n = anchor - window.start
        return left[len(left) - n :] + right[: window.length - n]


def forward(codes: np.ndarray, window: Window) -> str:
    return decode(reverse_complement(codes) if window.reverse else codes)


# --- random people --------------------------------------------------------------------------------

LENGTH = 400
PEOPLE = [f"s{i}" for i in range(4)]


def random_records(rng: random.Random, sequence: str) -> list[tuple[int, str, list[str]]]:
    """Records (POS, REF, ALTs) of all kinds, so close that many of them overlap."""
    records = []
    for _ in range(60):
        position = rng.randrange(1, LENGTH - 12)
        ref = sequence[position - 1 : position - 1 + rng.choice([1, 1, 1, 1, 2, 3, 5, 9])]

        def bases(low: int, high: int) -> str:
            return "".join(rng.choices("ACGT", k=rng.randrange(low, high)))

        alts = set()
        for _ in range(rng.choice([1, 1, 1, 2])):
            kinds = [rng.choice("ACGT") + ref[1:], ref[0] + bases(0, 5), ref + bases(1, 4)]
            alts.add(rng.choices([*kinds, bases(1, 6)], weights=[4, 2, 2, 2])[0])
        if alts - {ref}:
            records.append((position, ref, sorted(alts - {ref})))
    return sorted(records, key=lambda record: record[0])


@dataclass
class RandomCohort:
    records: list[tuple[int, str, list[str]]]
    reference: Reference
    genotypes: GenotypeStore
    consensus: Consensus


@pytest.fixture(scope="module", params=range(8))
def cohort(request, bcftools, tmp_path_factory) -> RandomCohort:
    rng, folder = random.Random(request.param), tmp_path_factory.mktemp("random")
    sequence = "".join(rng.choices("ACGT", k=LENGTH))
    (folder / "r.fa").write_text(f">chr1\n{sequence}\n")
    records = random_records(rng, sequence)
    header = ["##fileformat=VCFv4.2", f"##contig=<ID=chr1,length={LENGTH}>"]
    header.append('##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">')
    fixed = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    lines = [*header, "\t".join([*fixed, *PEOPLE])]
    for position, ref, alts in records:
        alleles = [0, 0, *range(len(alts) + 1)]
        calls = [f"{rng.choice(alleles)}|{rng.choice(alleles)}" for _ in PEOPLE]
        written = ["chr1", str(position), ".", ref, ",".join(alts), ".", ".", ".", "GT", *calls]
        lines.append("\t".join(written))
    (folder / "c.vcf").write_text("\n".join(lines) + "\n")
    vcf = Path(pysam.tabix_index(str(folder / "c.vcf"), preset="vcf", force=True))
    build_reference(folder / "r.fa", folder / "reference.zarr")
    ingest(vcf, folder / "genotypes.vcz")
    reference = Reference(folder / "reference.zarr")
    genotypes = GenotypeStore(folder / "genotypes.vcz", reference.lengths)
    return RandomCohort(
        records, reference, genotypes, Consensus(bcftools, vcf, folder / "r.fa", folder)
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_random_people_over_a_whole_contig(cohort, reverse):
    window = Window("chr1", 0, LENGTH, reverse)
    lengths = set()
    for individual, sample in enumerate(PEOPLE):
        made = whole_region(cohort.genotypes, cohort.reference, window, ANCHORED, individual)
        for haplotype, codes in enumerate(made):
            assert forward(codes, window) == cohort.consensus("chr1", 0, LENGTH, sample, haplotype)
            lengths.add(codes.size)
    assert len(lengths) > 1


@pytest.mark.parametrize("reverse", [False, True])
def test_random_people_around_a_tss(cohort, reverse):
    rng = random.Random(5)
    spanned = {place for pos, ref, _ in cohort.records for place in range(pos, pos - 1 + len(ref))}
    for anchor in rng.sample(sorted(set(range(150, 250)) - spanned), 3):
        start = anchor - rng.randrange(20, 60)
        window = Window("chr1", start, anchor + rng.randrange(20, 60), reverse, anchor=anchor)
        personal = personal_window(cohort.genotypes, cohort.reference, window, ANCHORED)
        for individual, sample in enumerate(PEOPLE):
            for haplotype in (0, 1):
                # The contig ends 150 bases beyond: more is asked, and less is there.
                expected = cohort.consensus.anchored(window, LENGTH, sample, haplotype)
                found = forward(personal.haplotype(individual, haplotype), window)
                assert found == expected, f"{window} {sample} {haplotype}"


# --- real people ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chr22(realdata, tmp_path_factory) -> Reference:
    folder = tmp_path_factory.mktemp("chr22")
    build_reference(realdata / CHR22, folder / "reference.zarr")
    return Reference(folder / "reference.zarr")


@dataclass
class RealCohort:
    """Some people of a real VCF, as a store and as bcftools sees them."""

    people: list[str]
    genotypes: GenotypeStore
    consensus: Consensus


@pytest.fixture(scope="module")
def people_of(realdata, bcftools, chr22, tmp_path_factory) -> Callable[..., RealCohort]:
    def make(name: str, n: int, *options: str) -> RealCohort:
        folder = tmp_path_factory.mktemp("people")
        with pysam.VariantFile(str(realdata / name)) as file:
            people = random.Random(2023).sample(list(file.header.samples), n)
        ingest(realdata / name, folder / "genotypes.vcz", samples=people)
        genotypes = GenotypeStore(folder / "genotypes.vcz", chr22.lengths)
        # bcftools is faster where it reads these people only.
        vcf = folder / "people.vcf.gz"
        chosen = ["-s", ",".join(people), "-Oz", "-o", str(vcf)]
        subprocess.run([bcftools, "view", *chosen, str(realdata / name)], check=True)
        subprocess.run([bcftools, "index", str(vcf)], check=True)
        made = Consensus(bcftools, vcf, realdata / CHR22, folder, options)
        return RealCohort(genotypes.samples, genotypes, made)

    return make


@pytest.fixture(scope="module")
def geuvadis(people_of) -> RealCohort:
    return people_of(GEUVADIS, 50, "-i", 'TYPE="snp"')


@pytest.fixture(scope="module")
def phase1(people_of) -> RealCohort:
    """More people than regions are compared on, so that the long deletion is among them."""
    return people_of(PHASE1, 110)


def records_of(vcf: Path) -> list[tuple[int, int]]:
    """The first base and the one behind the last (0-based) of every REF."""
    with pysam.VariantFile(str(vcf)) as file:
        return [(record.start, record.start + len(record.ref)) for record in file]


def genes(realdata: Path) -> list[Window]:
    """Windows of Enformer's length around all chr22 genes of the annotation, where they fit."""
    found = read_genes(realdata / "annotation/gencode.v19.annotation.chr22.gtf.gz", ["chr22"])
    sites = sorted(zip(found["tss"].values.tolist(), found["strand"].values, strict=True))
    windows = [model_window("chr22", tss, s, 196_608, 98_304, False) for tss, s in sites]
    return [w for w in windows if w.start >= 16_050_000 and w.end <= 22_000_000]


@pytest.mark.realdata
@pytest.mark.slow
def test_substitutions_around_every_gene(realdata, chr22, geuvadis):
    windows = genes(realdata)
    assert len(windows) > 200
    start, end = 16_000_000, 22_000_000
    personal = [personal_window(geuvadis.genotypes, chr22, w, SKIP) for w in windows]
    assert sum(len(one.edits.positions) for one in personal) > 4_000
    haplotypes = [(i, h) for i in range(len(geuvadis.people)) for h in (0, 1)]

    def differing(individual: int, haplotype: int) -> list[str]:
        """Windows in which a haplotype is not that of bcftools; SNVs keep all coordinates."""
        sample = geuvadis.people[individual]
        codes = encode(geuvadis.consensus("chr22", start, end, sample, haplotype))
        return [
            f"{w} {sample} {haplotype}"
            for w, one in zip(windows, personal, strict=True)
            if not np.array_equal(
                one.haplotype(individual, haplotype), codes[w.start - start : w.end - start]
            )
        ]

    differing(0, 0)  # the part of the FASTA is written once
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(differing, *zip(*haplotypes, strict=True)))
    assert len(found) == 100
    assert [where for some in found for where in some] == []


# Both hold a deletion of 8,757 bases, at 17,770,350.
REGIONS = [(17_599_999, 17_800_000), (17_764_999, 17_785_000)]


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize(("start", "end"), REGIONS)
def test_whole_regions_of_real_people(chr22, phase1, start, end):
    for first, stop in records_of(phase1.consensus.vcf):
        assert not first < start < stop, "a record reaches into the region: bcftools leaves it out"
    window = Window("chr22", start, end)
    people = phase1.people[:100]
    n = end - start
    lengths = []

    def compare(individual: int) -> None:
        sample = people[individual]
        made = whole_region(phase1.genotypes, chr22, window, ANCHORED, individual)
        for haplotype, codes in enumerate(made):
            expected = phase1.consensus("chr22", start, end, sample, haplotype)
            lengths.append(codes.size - n)
            assert decode(codes) == expected, f"{window} {sample} {haplotype}"

    compare(0)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(compare, range(1, 100)))
    assert len(lengths) == 200
    assert len(set(lengths)) > 10
    carriers = sum(length < -8_000 for length in lengths)
    assert 20 < carriers < 180


# 0-based TSS, strand, bases; the last two windows end in the long deletion, at either side.
PLACES = [
    (17_646_176, "-", 80_000, False),
    (17_700_000, "+", 10_500, False),
    (17_767_000, "+", 10_500, True),
    (17_781_000, "-", 10_500, True),
]


@pytest.mark.realdata
@pytest.mark.parametrize(("tss", "strand", "length", "deleted"), PLACES)
def test_anchored_windows_of_real_people(chr22, phase1, tss, strand, length, deleted):
    window = model_window("chr22", tss + 1, strand, length, length // 2, True)
    beside = 12_000
    for first, stop in records_of(phase1.consensus.vcf):
        assert not first < tss < stop, "a record spans the TSS"
        assert not first < window.start - beside < stop
    individuals = np.arange(15)
    personal = personal_window(phase1.genotypes, chr22, window, ANCHORED, individuals)
    for individual in individuals:
        sample = phase1.people[individual]
        for haplotype in (0, 1):
            expected = phase1.consensus.anchored(window, beside, sample, haplotype)
            found = forward(personal.haplotype(individual, haplotype), window)
            assert found == expected, f"{window} {sample} {haplotype}"
    without = personal.edits.carried[personal.edits.shifts < -8_000].any(axis=0)
    assert without.any() == deleted
    assert not without.all()
    assert personal.edits.counts["indel_alleles"] > 0
    assert personal.n_distinct_haplotypes > 5
