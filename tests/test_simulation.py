import dataclasses
import itertools
from pathlib import Path

import cyvcf2
import numpy as np
import pandas as pd
import pyfaidx
import pytest

from zarrbench import recipes, storage
from zarrbench.errors import RecipeError, StorageError
from zarrbench.genome.bases import encode
from zarrbench.genome.coordinates import tss_of_gene
from zarrbench.genome.motifs import MOTIFS
from zarrbench.simulation import LONGEST_INDEL, Simulation, simulate

SMALL = Simulation(
    seed=7,
    individuals=80,
    contigs={"chrA": 300_000, "chrB": 180_000},
    genes=16,
    flank=1024,
    heritability=0.5,
    indels=0.1,
)
FILES = {
    "reference.fa",
    "reference.fa.fai",
    "cohort.vcf.gz",
    "cohort.vcf.gz.tbi",
    "genes.gtf",
    "expression.tsv",
    "truth.tsv",
}


class Cohort:
    """The files of a simulation, read by other people's software."""

    def __init__(self, folder: Path) -> None:
        with pyfaidx.Fasta(str(folder / "reference.fa")) as fasta:
            self.sequences = {name: str(fasta[name]) for name in fasta.keys()}  # noqa: SIM118
        with (folder / "reference.fa").open() as file:
            self.line_lengths = {len(line.rstrip("\n")) for line in file if line[0] != ">"}
        vcf = cyvcf2.VCF(str(folder / "cohort.vcf.gz"))
        self.samples = vcf.samples
        self.contig_lengths = dict(zip(vcf.seqnames, vcf.seqlens, strict=True))
        records, calls, phased = [], [], []
        for v in vcf:
            assert len(v.ALT) == 1
            records.append((v.CHROM, v.POS, v.REF, v.ALT[0], v.INFO["AC"], v.INFO["AN"]))
            genotypes = np.array(v.genotypes)
            calls.append(genotypes[:, :2])
            phased.append(genotypes[:, 2].all())
        self.records = pd.DataFrame(
            records, columns=["contig", "position", "ref", "alt", "ac", "an"]
        )
        self.calls = np.array(calls)
        self.phased = np.array(phased, dtype=bool)
        self.is_snv = ((self.records.ref.str.len() == 1) & (self.records.alt.str.len() == 1)).values
        self.truth = pd.read_csv(folder / "truth.tsv", sep="\t")
        self.expression = pd.read_csv(folder / "expression.tsv", sep="\t", index_col=0)
        columns = ["contig", "source", "feature", "start", "end", "score", "strand", "frame"]
        gtf = pd.read_csv(
            folder / "genes.gtf", sep="\t", comment="#", names=[*columns, "attributes"]
        )
        for key in ("gene_id", "gene_name", "gene_type"):
            gtf[key] = gtf.attributes.str.extract(f'{key} "([^"]+)";', expand=False)
        gtf["tss"] = [tss_of_gene(g.start, g.end, g.strand) for g in gtf.itertuples()]
        self.genes = gtf

    def record_of(self, row: tuple) -> int:
        """Return the one record of the VCF at a row of the truth."""
        here = (self.records.contig == row.contig) & (self.records.position == row.position)
        (record,) = np.flatnonzero(here)
        return int(record)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("simulation") / "cohort"
    simulate(SMALL, path)
    return path


@pytest.fixture(scope="module")
def cohort(folder: Path) -> Cohort:
    return Cohort(folder)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """The packaged store at its full size."""
    recipe = recipes.load_yaml(recipes.find("stores", "synthetic"))
    path = tmp_path_factory.mktemp("simulation") / "full"
    simulate(recipes.parse(Simulation, recipe["simulate"], "synthetic: simulate"), path)
    return Cohort(path)


def instances(sequence: str) -> list[tuple[int, int]]:
    """Return (0-based start, end) of every exact match to a motif on the forward strand."""
    sequence = sequence.upper()
    return [
        (start, start + len(motif.consensus))
        for motif in MOTIFS
        for start in range(len(sequence))
        if sequence.startswith(motif.consensus, start)
    ]


def motif_scores(windows: np.ndarray, decay: float) -> np.ndarray:
    """Return the motif model's score of windows of base codes (haplotype, position), TSS central.

    The slow and plain form of the model: sum over motifs of
    sign * sum over positions of relu(match - 0.8 * best match) * exp(-|position - tss| / decay).
    """
    scores = np.zeros(len(windows))
    for motif in MOTIFS:
        weights = motif.weights()
        places = windows.shape[1] - len(weights) + 1
        match = np.zeros((len(windows), places))
        for offset, weight in enumerate(weights):
            match += weight[windows[:, offset : offset + places]]
        distance = np.abs(np.arange(places) - windows.shape[1] // 2)
        excess = np.maximum(match - 0.8 * weights.max(axis=1).sum(), 0)
        scores += motif.sign * (excess * np.exp(-distance / decay)).sum(axis=1)
    return scores


def individual_scores(cohort: Cohort, contig: str, tss: int, flank: int) -> np.ndarray:
    """Return the model's score of every individual: the mean of both haplotypes' windows."""
    start = tss - 1 - flank
    reference = encode(cohort.sequences[contig])[start : start + 2 * flank]
    inside = cohort.is_snv & (cohort.records.contig == contig).values
    inside &= cohort.records.position.between(start + 1, start + 2 * flank).values
    index = cohort.records.position.values[inside] - 1 - start
    alt = encode("".join(cohort.records.alt[inside]))
    alleles = cohort.calls[inside].reshape(len(index), -1).T
    distinct, which = np.unique(alleles, axis=0, return_inverse=True)
    windows = np.tile(reference, (len(distinct), 1))
    windows[:, index] = np.where(distinct, alt, reference[index])
    return motif_scores(windows, decay=flank / 4)[which].reshape(-1, 2).mean(axis=1)


def test_writes_all_files_and_nothing_else(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["cohort"]


def test_same_seed_same_files_other_seed_others(folder: Path, tmp_path: Path) -> None:
    simulate(SMALL, tmp_path / "same")
    simulate(dataclasses.replace(SMALL, seed=8), tmp_path / "other")
    for name in FILES:
        assert (tmp_path / "same" / name).read_bytes() == (folder / name).read_bytes()
    for name in FILES - {"reference.fa.fai"}:
        assert (tmp_path / "other" / name).read_bytes() != (folder / name).read_bytes()


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full_disk)
    with pytest.raises(StorageError, match="disk is full"):
        simulate(SMALL, tmp_path / "cohort")
    assert list(tmp_path.iterdir()) == []


def test_reference(cohort: Cohort) -> None:
    assert {name: len(s) for name, s in cohort.sequences.items()} == SMALL.contigs
    assert max(cohort.line_lengths) == 60
    for sequence in cohort.sequences.values():
        lower = sum(sequence.count(base) for base in "acgt")
        gc = sum(sequence.upper().count(base) for base in "GC")
        assert set(sequence) == set("ACGTacgt")
        assert 0.3 < lower / len(sequence) < 0.7
        assert 0.39 < gc / len(sequence) < 0.43


def test_vcf_is_phased_diploid_sorted_and_agrees_with_the_reference(cohort: Cohort) -> None:
    assert cohort.samples == [f"SIM{i:04d}" for i in range(1, 81)]
    assert cohort.contig_lengths == SMALL.contigs
    assert cohort.phased.all()
    assert cohort.calls.shape == (len(cohort.records), 80, 2)
    assert set(np.unique(cohort.calls)) == {0, 1}
    np.testing.assert_array_equal(cohort.records.ac, cohort.calls.sum(axis=(1, 2)))
    assert ((cohort.records.ac > 0) & (cohort.records.ac < cohort.records.an)).all()
    assert not cohort.records.duplicated(["contig", "position"]).any()
    for _, records in cohort.records.groupby("contig"):
        assert records.position.is_monotonic_increasing
    for r in cohort.records.itertuples():
        here = cohort.sequences[r.contig][r.position - 1 : r.position - 1 + len(r.ref)]
        assert here.upper() == r.ref != r.alt


def test_vcf_has_an_index(folder: Path, cohort: Cohort) -> None:
    vcf = cyvcf2.VCF(str(folder / "cohort.vcf.gz"))
    found = [v.POS for v in vcf("chrB:20001-40000")]
    b = cohort.records[cohort.records.contig == "chrB"]
    assert found == b.position[b.position.between(20_001, 40_000)].tolist()
    assert found


def test_indels_stay_away_from_planted_motifs(cohort: Cohort) -> None:
    indels = cohort.records[~cohort.is_snv]
    assert 0.05 < len(indels) / len(cohort.records) < 0.15
    assert (indels.ref.str[0] == indels.alt.str[0]).all()
    lengths = indels.ref.str.len() - indels.alt.str.len()
    assert lengths.min() == -LONGEST_INDEL
    assert lengths.max() == LONGEST_INDEL


def test_one_allele_completes_the_motif_and_nothing_else_touches_it(cohort: Cohort) -> None:
    completed_by = set()
    for row in cohort.truth.itertuples():
        motif = next(m for m in MOTIFS if m.name == row.motif)
        length = len(motif.consensus)
        sequence, site = cohort.sequences[row.contig].upper(), row.position - 1
        assert sequence[site] == row.ref
        record = cohort.records.loc[cohort.record_of(row)]
        assert (record.ref, record.alt) == (row.ref, row.alt)
        assert len(row.ref) == len(row.alt) == 1
        around = slice(site - length + 1, site + length)
        ref = sequence[around]
        alt = ref[: length - 1] + row.alt + ref[length:]
        assert (motif.consensus in ref) != (motif.consensus in alt)
        completes = "alt" if motif.consensus in alt else "ref"
        completed_by.add(completes)
        assert row.model_sign == motif.sign * (1 if completes == "alt" else -1)
        start = (alt if completes == "alt" else ref).index(motif.consensus) + around.start
        first = cohort.records.position - 1
        last = first + cohort.records.ref.str.len() - 1
        touches = (cohort.records.contig == row.contig) & (first < start + length) & (last >= start)
        assert np.flatnonzero(touches).tolist() == [cohort.record_of(row)]
    assert completed_by == {"ref", "alt"}


def test_genes(cohort: Cohort) -> None:
    genes = cohort.genes
    assert set(genes.feature) == {"gene"}
    assert set(genes.strand) == {"+", "-"}
    assert genes.gene_id.tolist() == cohort.expression.index.tolist()
    assert genes.gene_id.str.removesuffix(".1").tolist() == cohort.truth.gene_id.tolist()
    assert genes.gene_name.tolist() == cohort.truth.gene_name.tolist()
    assert genes.contig.tolist() == cohort.truth.contig.tolist()
    lengths = genes.contig.map(SMALL.contigs)
    assert ((genes.start >= 1) & (genes.start < genes.end) & (genes.end <= lengths)).all()
    assert (genes.tss > SMALL.flank).all()
    assert (genes.tss + SMALL.flank <= lengths).all()
    assert (np.abs(genes.tss - cohort.truth.position) <= SMALL.flank // 2).all()
    for _, tss in genes.groupby("contig").tss:
        assert (np.diff(tss) >= 2 * SMALL.flank).all()


def test_planted_signs_and_frequencies(cohort: Cohort) -> None:
    truth = cohort.truth
    assert truth.planted_sign.value_counts().to_dict() == {1: 10, -1: 4, 0: 2}
    assert (np.sign(truth.beta) == truth.planted_sign * truth.model_sign).all()
    assert (truth.heritability == np.where(truth.planted_sign != 0, 0.5, 0)).all()
    frequency = np.array([cohort.calls[cohort.record_of(row)].mean() for row in truth.itertuples()])
    np.testing.assert_allclose(truth.maf, np.minimum(frequency, 1 - frequency), rtol=1e-5)
    assert (truth.maf >= SMALL.min_maf).all()


def test_expression_follows_the_model_as_planted(cohort: Cohort) -> None:
    assert cohort.expression.columns.tolist() == cohort.samples
    for row, gene in zip(cohort.truth.itertuples(), cohort.genes.itertuples(), strict=True):
        dosage = cohort.calls[cohort.record_of(row)].sum(axis=1)
        score = individual_scores(cohort, gene.contig, gene.tss, SMALL.flank)
        of_dosage = np.corrcoef(score, dosage)[0, 1]
        assert of_dosage * row.model_sign > 0.98  # nothing else in the window matters
        r = np.corrcoef(score, cohort.expression.loc[gene.gene_id])[0, 1]
        if row.planted_sign == 0:
            assert abs(r) < 0.45
        else:
            assert r * row.planted_sign > 0.4


def test_heritability_and_slope_are_those_planted(full: Cohort) -> None:
    slopes, explained = [], []
    for row in full.truth.itertuples():
        dosage = full.calls[full.record_of(row)].sum(axis=1)
        y = full.expression.loc[f"{row.gene_id}.1"]
        slopes.append(np.polyfit(dosage, y, 1)[0])
        explained.append(np.corrcoef(dosage, y)[0, 1] ** 2)
    planted = (full.truth.planted_sign != 0).values
    assert np.mean(np.array(explained)[planted]) == pytest.approx(0.35, abs=0.03)
    assert np.mean(np.array(explained)[~planted]) < 0.03
    np.testing.assert_allclose(np.array(slopes), full.truth.beta, atol=0.35)
    assert np.corrcoef(slopes, full.truth.beta)[0, 1] > 0.98


def test_packaged_store_has_the_promised_genes(full: Cohort) -> None:
    assert full.truth.planted_sign.value_counts().to_dict() == {1: 24, -1: 10, 0: 6}
    assert len(full.samples) == 200
    for contig, sequence in full.sequences.items():
        # Chance matches are rare: besides the planted ones at most a few.
        assert len(instances(sequence)) <= (full.truth.contig == contig).sum() + 3


def test_frequencies_and_linkage_are_lifelike(full: Cohort) -> None:
    frequency = full.calls.mean(axis=(1, 2))
    maf = np.minimum(frequency, 1 - frequency)
    assert (maf < 0.01).mean() > 0.35
    assert (maf < 0.05).mean() > 0.5
    diversity = 2 * (frequency * (1 - frequency)).sum() / 1_600_000
    assert 5e-4 < diversity < 1.2e-3  # about 8e-4 in Europeans

    snvs = full.records[full.is_snv]
    pairs = {"".join(sorted(pair)) for pair in ("AG", "CT")}
    is_transition = [("".join(sorted(r.ref + r.alt)) in pairs) for r in snvs.itertuples()]
    assert np.mean(is_transition) == pytest.approx(2 / 3, abs=0.03)

    common = ((full.records.contig == "chr1") & (maf > 0.1)).values
    dosage = full.calls[common].sum(axis=2)
    position = full.records.position.values[common]
    r2 = np.corrcoef(dosage) ** 2
    distance = np.abs(position[:, None] - position)
    edges = [1, 2_000, 20_000, 100_000, 1_000_000]
    means = [
        r2[(distance >= low) & (distance < high)].mean() for low, high in itertools.pairwise(edges)
    ]
    assert means == sorted(means, reverse=True)
    assert means[0] > 0.3
    assert means[-1] < 0.03


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seed", -1, "seed must not be negative"),
        ("individuals", 2, "individuals must be 3 or more, found 2"),
        ("contigs", {}, "contigs must map plain names"),
        ("contigs", {"chr 1": 100_000}, "contigs must map plain names"),
        ("contigs", {"chr1": 0}, "positive lengths"),
        ("contigs", ["chr1"], "expected a mapping"),
        ("genes", 0, "genes must be 1 or more"),
        ("genes", 500, "room for a flank of 1[56][0-9]{2} at most, found 4096"),
        ("flank", 10, "flank must be 64 or more"),
        ("min_maf", 0.5, "min_maf must be above 0 and below 0.5"),
        ("heritability", 1.0, "heritability must be above 0 and below 1"),
        ("heritability", "high", "expected a number"),
        ("share_wrong", 1.5, "share_wrong must be between 0 and 1"),
        ("share_none", -0.5, "share_none must be between 0 and 1"),
        ("share_none", 0.8, "share_none must be 1 - share_wrong at most"),
        ("indels", 1.0, "indels must be at least 0 and below 1"),
        ("indel", 0.1, "unknown key 'indel'; did you mean 'indels'"),
    ],
)
def test_invalid_fields_are_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipes.parse(Simulation, {field: value}, "mine.yaml: simulate")


def test_shares_may_sum_to_one() -> None:
    assert Simulation(share_wrong=0.9, share_none=0.1).share_none == 0.1


def test_a_gene_without_a_common_variant_is_an_error(tmp_path: Path) -> None:
    crowded = Simulation(contigs={"1": 20_000}, genes=100, flank=64, individuals=10)
    with pytest.raises(RecipeError, match=r"has no SNV with .* ask for fewer genes"):
        simulate(crowded, tmp_path / "cohort")
    assert list(tmp_path.iterdir()) == []


def test_a_contig_may_be_without_genes(tmp_path: Path) -> None:
    uneven = Simulation(contigs={"1": 40_000, "decoy": 500}, genes=2, individuals=10, indels=0)
    simulate(uneven, tmp_path / "cohort")
    cohort = Cohort(tmp_path / "cohort")
    assert set(cohort.genes.contig.astype(str)) == {"1"}
    assert len(cohort.sequences["decoy"]) == 500
    assert cohort.is_snv.all()


def test_replaces_an_earlier_cohort(tmp_path: Path) -> None:
    storage.write_text(tmp_path / "cohort" / "stale.txt", "")
    simulate(Simulation(contigs={"1": 40_000}, genes=1, individuals=10), tmp_path / "cohort")
    assert {path.name for path in (tmp_path / "cohort").iterdir()} == FILES


@pytest.fixture(scope="module")
def with_motifs(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Genes whose mean expression follows motifs."""
    path = tmp_path_factory.mktemp("simulation") / "motifs"
    simulate(dataclasses.replace(SMALL, baseline_motifs=12), path)
    return Cohort(path)


def test_mean_expression_follows_the_motifs_near_the_tss(with_motifs: Cohort) -> None:
    """By counting the words in the FASTA; the causal one is no part of it."""
    counts = []
    for gene, row in zip(with_motifs.genes.itertuples(), with_motifs.truth.itertuples(),
                         strict=True):  # fmt: skip
        start = gene.tss - 1 - SMALL.flank // 2
        near = with_motifs.sequences[gene.contig][start : start + SMALL.flank].upper()
        causal = row.position - 1 - start
        number = total = 0
        for motif in MOTIFS:
            for at in range(len(near)):
                if near.startswith(motif.consensus, at) and not (
                    at <= causal < at + len(motif.consensus)
                ):
                    number, total = number + 1, total + motif.sign
        counts.append(number)
        assert row.baseline == pytest.approx(5 + 0.5 * total)
        record = with_motifs.record_of(row)
        dosage = with_motifs.calls[record].sum(axis=1)
        values = with_motifs.expression.loc[gene.gene_id].to_numpy()
        noise = values - row.baseline - row.beta * dosage
        assert abs(noise.mean()) < 5 * noise.std() / np.sqrt(len(noise))
    assert 8 < np.mean(counts) < 14
    assert with_motifs.truth.baseline.std() > 0.5


def test_no_other_variant_touches_the_motifs_of_the_baseline(with_motifs: Cohort) -> None:
    positions = with_motifs.records.groupby("contig").position.apply(lambda p: p.values - 1)
    for gene, row in zip(with_motifs.genes.itertuples(), with_motifs.truth.itertuples(),
                         strict=True):  # fmt: skip
        start = gene.tss - 1 - SMALL.flank // 2
        near = with_motifs.sequences[gene.contig][start : start + SMALL.flank]
        for first, end in instances(near):
            here = positions[gene.contig] - start
            inside = here[(here >= first - LONGEST_INDEL) & (here < end + LONGEST_INDEL)]
            assert set(inside) <= {row.position - 1 - start}


@pytest.mark.parametrize("number", [0, -1, SMALL.flank // 32 + 1])
def test_more_motifs_than_there_is_room_for(number: int) -> None:
    with pytest.raises(ValueError, match=r"baseline_motifs must be 0 to 32, not 0, found"):
        dataclasses.replace(SMALL, baseline_motifs=number)
