"""A simulated cohort whose answers are known: which variant drives a gene, how much, which way.

Genomes come from a coalescent with recombination, so that linkage and allele frequencies are those
of a European sample. Near the TSS of every gene one common SNV completes or breaks a motif with a
known effect. The expression of right-signed genes follows the motif, that of wrong-signed genes
contradicts it, and that of the rest ignores it. No system tools are needed.

The mean expression of genes is drawn at random, or follows further motifs near the TSS, so that a
network can learn it from the reference.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zarrbench import storage
from zarrbench.errors import RecipeError
from zarrbench.genome.bases import decode
from zarrbench.genome.coordinates import to_one_based
from zarrbench.genome.motifs import MOTIFS, Motif

# The Europeans of Tennessen et al., Science 337, 64 (2012), without migration: from so many
# generations ago backwards, the number of people and its growth. The mutation rate is theirs too,
# since the sizes were fitted with it.
SIZES = (
    (0, 512_000, 0.0195),
    (204, 9_279, 0.00307),
    (920, 1_861, 0.0),  # out of Africa
    (2_040, 14_474, 0.0),
    (5_920, 7_310, 0.0),
)
MUTATION_RATE = 2.36e-8
RECOMBINATION_RATE = 1e-8
BASE_SHARES = (0.295, 0.205, 0.205, 0.295)  # A, C, G, T: 41 % GC, as in the human genome
MASKED_RUN = 400  # mean length of the stretches in lower and in upper case
LONGEST_INDEL = 4
TILE = 32  # bases that hold one motif of the baseline or none, with room for an indel beside it
MOTIF_EFFECT = 0.5  # of one such motif on expression
WITHOUT_MOTIFS = 5.0  # expression where there is none

# Steps in the code of a base: A-G and C-T differ by 2. With these shares transitions are twice as
# frequent as the two transversions together, as in people.
_SUBSTITUTIONS = np.array([2, 1, 3], dtype=np.uint8)
_SUBSTITUTION_SHARES = (2 / 3, 1 / 6, 1 / 6)
_GENOTYPES = np.array([["0|0", "0|1"], ["1|0", "1|1"]], dtype=object)


@dataclass(frozen=True)
class Simulation:
    """What to simulate.

    Parameters
    ----------
    seed : int
        The same seed gives the same files.
    individuals : int
        Diploid; named SIM0001 and so on.
    contigs : mapping of str to int
        Name and length in bp of each contig.
    genes : int
        Spread evenly over the contigs; every one has one causal variant.
    flank : int
        Bases to either side of a TSS that lie on the contig and belong to no other gene's flank.
        The causal variant is within half of it, so that a window of ``2 * flank`` sees it well.
    min_maf : float
        Smallest minor allele frequency of a causal variant.
    heritability : float
        Expected share of the variance of expression that is due to the causal variant.
    share_wrong, share_none : float
        Shares of genes whose expression contradicts or ignores the motif; the others follow it.
    indels : float
        Share of the variants that are short insertions and deletions.
    baseline_motifs : float, optional
        Expected number of further motifs within half of the flank of every TSS, of equal effects
        but for their signs, that add up to its mean expression. By default that is random.
    """

    seed: int = 1
    individuals: int = 200
    contigs: dict[str, int] = field(default_factory=lambda: {"chr1": 1_000_000, "chr2": 600_000})
    genes: int = 40
    flank: int = 4096
    min_maf: float = 0.15
    heritability: float = 0.35
    share_wrong: float = 0.25
    share_none: float = 0.15
    indels: float = 0.03
    baseline_motifs: float | None = None

    def __post_init__(self) -> None:
        motifs, tiles = self.baseline_motifs, self.flank // TILE
        rules = (
            ("seed", self.seed >= 0, "not be negative"),
            ("individuals", self.individuals >= 3, "be 3 or more"),
            ("contigs", _are_contigs(self.contigs), "map plain names to positive lengths"),
            ("genes", self.genes >= 1, "be 1 or more"),
            ("flank", self.flank >= 64, "be 64 or more, to hold a motif"),
            ("min_maf", 0 < self.min_maf < 0.5, "be above 0 and below 0.5"),
            ("heritability", 0 < self.heritability < 1, "be above 0 and below 1"),
            ("share_wrong", 0 <= self.share_wrong <= 1, "be between 0 and 1"),
            ("share_none", 0 <= self.share_none <= 1, "be between 0 and 1"),
            ("share_none", self.share_wrong + self.share_none <= 1, "be 1 - share_wrong at most"),
            ("indels", 0 <= self.indels < 1, "be at least 0 and below 1"),
            ("baseline_motifs", motifs is None or 0 < motifs <= tiles, f"be 0 to {tiles}, not 0"),
        )
        for name, holds, rule in rules:
            if not holds:
                raise ValueError(f"{name} must {rule}, found {getattr(self, name)}")
        room = min(slot.end - slot.start for slot in _slots(self)) // 2
        if self.flank > room:
            raise ValueError(
                f"{self.genes} genes on {sum(self.contigs.values())} bp leave room for a flank of "
                f"{room} at most, found {self.flank}; ask for fewer genes or longer contigs"
            )


def simulate(simulation: Simulation, folder: Path) -> None:
    """Write the files of a simulated cohort as a new `folder`, all of them or none.

    reference.fa
        With its ``.fai``; partly in lower case.
    cohort.vcf.gz
        With its ``.tbi``; every call phased; SNVs and a few indels.
    genes.gtf
        Gene records, on both strands, with versioned gene ids.
    expression.tsv
        Gene (versioned id) by individual, on a log2 scale, without confounders.
    truth.tsv
        One row a gene: the causal SNV (`position` is 1-based); the `motif` that one of its alleles
        completes and the other breaks, on the forward strand; `model_sign`, the sign of the effect
        of ALT on that motif; `beta`, the effect of one ALT allele on expression; `planted_sign`, 1
        where expression follows the motif, -1 where it contradicts it, 0 where it ignores it; the
        `maf`; and the `heritability`, the share of variance that is planted. With
        `baseline_motifs` also `baseline`, the expression of who has no ALT allele there.

    No other variant touches a planted motif or the 4 bp (the longest indel) beside it: records that
    would are left out. The rest of the sequence is random: chance matches to a motif are rare there
    but not excluded.

    Raises
    ------
    RecipeError
        If no common SNV is found for some gene.
    """
    rng = np.random.default_rng(simulation.seed)
    variants = {
        name: _variants(length, simulation.individuals, rng)
        for name, length in simulation.contigs.items()
    }
    genes = _place_genes(simulation, variants, rng)
    contigs = {
        name: _contig(
            length,
            variants[name],
            [gene for gene in genes if gene.contig == name],
            simulation.indels,
            rng,
        )
        for name, length in simulation.contigs.items()
    }
    truth, expression = _expression(simulation, genes, contigs, rng)
    with storage.published(folder) as temporary:
        temporary.mkdir()
        _write_reference(temporary / "reference.fa", contigs)
        _write_vcf(temporary / "cohort.vcf", contigs, _samples(simulation))
        (temporary / "genes.gtf").write_text(_gtf(simulation, genes), encoding="ascii")
        expression.to_csv(temporary / "expression.tsv", sep="\t", float_format="%.4f")
        truth.to_csv(temporary / "truth.tsv", sep="\t", index=False, float_format="%.6g")


class _Variants(NamedTuple):
    """Sites of a contig, 0-based, and the alleles there, shape (site, individual, haplotype)."""

    positions: NDArray[np.int64]
    calls: NDArray[np.int8]


class _Slot(NamedTuple):
    """A stretch of a contig that belongs to one gene, 0-based half-open."""

    contig: str
    start: int
    end: int


class _Planted(NamedTuple):
    """A motif at a 0-based start."""

    motif: Motif
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.motif.consensus)


@dataclass(frozen=True)
class _Gene:
    """A gene and what is planted in it; positions are 0-based."""

    number: int
    contig: str
    tss: int
    strand: str
    length: int
    site: int
    causal: _Planted
    alt_completes: bool
    planted_sign: int
    promoter: tuple[_Planted, ...] = ()

    @property
    def id(self) -> str:
        return f"ZBG{self.number:08d}"

    @property
    def name(self) -> str:
        return f"SIMG{self.number}"

    @property
    def model_sign(self) -> int:
        return self.causal.motif.sign if self.alt_completes else -self.causal.motif.sign


class _Contig(NamedTuple):
    """A finished contig: its sequence as printed, and the records of the VCF."""

    sequence: str
    variants: _Variants
    ref: list[str]
    alt: list[str]


def _are_contigs(contigs: Mapping[str, int]) -> bool:
    well_formed = (re.fullmatch(r"\w+", name) and length > 0 for name, length in contigs.items())
    return bool(contigs) and all(well_formed)


def _slots(simulation: Simulation) -> list[_Slot]:
    """Cut the contigs into as many slots as there are genes, of nearly equal length."""
    ends = np.cumsum([0, *simulation.contigs.values()])
    centres = (np.arange(simulation.genes) + 0.5) * ends[-1] / simulation.genes
    counts = np.histogram(centres, ends)[0]
    slots = []
    for (name, length), count in zip(simulation.contigs.items(), counts, strict=True):
        edges = [length * i // int(count) for i in range(count + 1)] if count else []
        slots += [_Slot(name, start, end) for start, end in itertools.pairwise(edges)]
    return slots


def _variants(length: int, individuals: int, rng: np.random.Generator) -> _Variants:
    """Simulate the genomes of a European sample. A position that mutated twice is left out."""
    import msprime  # half a second that only a simulation should cost

    demography = msprime.Demography()
    demography.add_population(initial_size=512_000)
    for generations, size, growth in SIZES:
        demography.add_population_parameters_change(
            time=generations, initial_size=size, growth_rate=growth
        )
    ancestry = msprime.sim_ancestry(
        individuals,
        demography=demography,
        sequence_length=length,
        recombination_rate=RECOMBINATION_RATE,
        random_seed=int(rng.integers(1, 2**31)),
    )
    mutated = msprime.sim_mutations(
        ancestry,
        rate=MUTATION_RATE,
        model=msprime.BinaryMutationModel(),
        random_seed=int(rng.integers(1, 2**31)),
    )
    once = np.bincount(mutated.mutations_site, minlength=mutated.num_sites) == 1
    calls = mutated.genotype_matrix()[once].astype(np.int8)
    positions = mutated.sites_position[once].astype(np.int64)
    return _Variants(positions, calls.reshape(len(positions), individuals, 2))


def _place_genes(
    simulation: Simulation, variants: Mapping[str, _Variants], rng: np.random.Generator
) -> list[_Gene]:
    """Give every slot a gene: a common SNV first, then a TSS near it."""
    n, flank, half = simulation.genes, simulation.flank, simulation.flank // 2
    wrong, none = round(simulation.share_wrong * n), round(simulation.share_none * n)
    planted_signs = rng.permutation(([-1] * wrong + [0] * none + [1] * n)[:n])
    strands = rng.permutation((["+", "-"] * n)[:n])
    common = {name: _common(of_contig, simulation.min_maf) for name, of_contig in variants.items()}
    genes = []
    for i, (contig, start, end) in enumerate(_slots(simulation)):
        first, last = start + flank, end - flank  # where the TSS may lie
        low, high = np.searchsorted(common[contig], [first - half, last + half + 1])
        if low == high:
            raise RecipeError(
                f"{contig}:{start + 1}-{end} has no SNV with a minor allele frequency of "
                f"{simulation.min_maf} or more for gene {i + 1}; ask for fewer genes, longer "
                f"contigs, a smaller min_maf or another seed"
            )
        site = int(rng.choice(common[contig][low:high]))
        motif = MOTIFS[rng.integers(len(MOTIFS))]
        gene = _Gene(
            number=i + 1,
            contig=contig,
            tss=int(rng.integers(max(first, site - half), min(last, site + half) + 1)),
            strand=str(strands[i]),
            length=int(rng.lognormal(np.log(5_000), 0.8)) + 1,
            site=site,
            causal=_Planted(motif, site - int(rng.integers(len(motif.consensus)))),
            alt_completes=bool(rng.integers(2)),
            planted_sign=int(planted_signs[i]),
        )
        if simulation.baseline_motifs is not None:
            gene = replace(gene, promoter=_promoter(gene, flank, simulation.baseline_motifs, rng))
        genes.append(gene)
    return genes


def _promoter(
    gene: _Gene, flank: int, expected: float, rng: np.random.Generator
) -> tuple[_Planted, ...]:
    """Draw motifs for some of the tiles around a TSS, none of which touches the causal motif."""
    n = flank // TILE
    tiles = gene.tss + TILE * (np.arange(n) - n // 2)
    motifs = [MOTIFS[number] for number in rng.integers(len(MOTIFS), size=n)]
    room = [TILE - 2 * LONGEST_INDEL - len(motif.consensus) for motif in motifs]
    starts = tiles + LONGEST_INDEL + rng.integers(np.array(room) + 1)
    clear = (tiles + TILE <= gene.causal.start) | (gene.causal.end <= tiles)
    filled = np.flatnonzero(clear & (rng.random(n) < expected / n))
    return tuple(_Planted(motifs[i], int(starts[i])) for i in filled)


def _common(variants: _Variants, min_maf: float) -> NDArray[np.int64]:
    """Return the positions of common variants whose dosage differs between individuals."""
    dosage = variants.calls.sum(axis=2)
    differs = (dosage != dosage[:, :1]).any(axis=1)  # not so where everybody is heterozygous
    return variants.positions[differs & (_maf(variants.calls) >= min_maf)]


def _maf(calls: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return the minor allele frequency of calls of shape (site, individual, haplotype)."""
    frequency = calls.mean(axis=(1, 2))
    return np.minimum(frequency, 1 - frequency)


def _contig(
    length: int,
    variants: _Variants,
    genes: Sequence[_Gene],
    indels: float,
    rng: np.random.Generator,
) -> _Contig:
    """Draw the sequence, plant the motifs, and give the variants their alleles."""
    codes = rng.choice(4, size=length, p=BASE_SHARES).astype(np.uint8)
    for planted in (one for gene in genes for one in (*gene.promoter, gene.causal)):
        codes[planted.start : planted.end] = planted.motif.codes
    variants = _without_neighbours(variants, genes)
    positions = variants.positions
    steps = rng.choice(_SUBSTITUTIONS, size=len(positions), p=_SUBSTITUTION_SHARES)
    other = codes[positions] ^ steps
    sites = np.array([gene.site for gene in genes], dtype=np.int64)
    # So far REF completes every motif; where ALT shall, the two alleles change places.
    swapped = np.isin(positions, sites[[gene.alt_completes for gene in genes]])
    other[swapped], codes[positions[swapped]] = codes[positions[swapped]], other[swapped]

    ref, alt = list(decode(codes[positions])), list(decode(other))
    eligible = ~np.isin(positions, sites) & (positions < length - LONGEST_INDEL)
    for i in np.flatnonzero(eligible & (rng.random(len(positions)) < indels)):
        size, anchor = rng.integers(1, LONGEST_INDEL + 1), positions[i]
        if rng.random() < 0.5:
            ref[i], alt[i] = decode(codes[anchor : anchor + 1 + size]), ref[i]
        else:
            alt[i] = ref[i] + decode(rng.integers(4, size=size, dtype=np.uint8))
    return _Contig(_masked(decode(codes), rng), variants, ref, alt)


def _without_neighbours(variants: _Variants, genes: Sequence[_Gene]) -> _Variants:
    """Leave out the variants, other than the causal one, that could touch a planted motif."""
    positions = variants.positions
    keep = np.ones(len(positions), dtype=bool)
    for gene in genes:
        for planted in (*gene.promoter, gene.causal):
            first, last = planted.start - LONGEST_INDEL, planted.end + LONGEST_INDEL
            keep &= (positions < first) | (positions >= last) | (positions == gene.site)
    return _Variants(positions[keep], variants.calls[keep])


def _masked(sequence: str, rng: np.random.Generator) -> str:
    """Put alternating stretches into lower case, as repeat masking does."""
    cuts = rng.integers(len(sequence), size=len(sequence) // MASKED_RUN)
    lower = np.cumsum(np.bincount(cuts, minlength=len(sequence))) % 2
    letters = np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)
    return (letters + 32 * lower).astype(np.uint8).tobytes().decode("ascii")


def _expression(
    simulation: Simulation,
    genes: Sequence[_Gene],
    contigs: Mapping[str, _Contig],
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the truth, one row a gene, and the expression that follows from it."""
    rows: list[dict[str, Any]] = []
    values = []
    for gene in genes:
        contig = contigs[gene.contig]
        record = int(np.searchsorted(contig.variants.positions, gene.site))
        calls = contig.variants.calls[record]
        dosage = calls.sum(axis=1)
        noise = rng.lognormal(np.log(0.4), 0.4)
        explained = simulation.heritability if gene.planted_sign else 0.0
        size = noise * np.sqrt(explained / (1 - explained) / dosage.var())
        beta = gene.planted_sign * gene.model_sign * size
        baseline = WITHOUT_MOTIFS + MOTIF_EFFECT * sum(one.motif.sign for one in gene.promoter)
        if simulation.baseline_motifs is None:
            baseline = rng.uniform(2, 10)
        values.append(baseline + beta * dosage + rng.normal(0, noise, len(dosage)))
        rows.append(
            {
                "gene_id": gene.id,
                "gene_name": gene.name,
                "contig": gene.contig,
                "position": int(to_one_based(gene.site)),
                "ref": contig.ref[record],
                "alt": contig.alt[record],
                "motif": gene.causal.motif.name,
                "model_sign": gene.model_sign,
                "beta": beta,
                "planted_sign": gene.planted_sign,
                "maf": _maf(calls[None])[0],
                "heritability": explained,
                **({} if simulation.baseline_motifs is None else {"baseline": baseline}),
            }
        )
    index = pd.Index([f"{gene.id}.1" for gene in genes], name="gene_id")
    return pd.DataFrame(rows), pd.DataFrame(values, index, _samples(simulation))


def _samples(simulation: Simulation) -> list[str]:
    return [f"SIM{i + 1:04d}" for i in range(simulation.individuals)]


def _write_reference(path: Path, contigs: Mapping[str, _Contig]) -> None:
    """Write a FASTA of 60 bases a line and its index."""
    import pyfaidx

    with path.open("w", encoding="ascii") as file:
        for name, contig in contigs.items():
            sequence = contig.sequence
            lines = (sequence[i : i + 60] for i in range(0, len(sequence), 60))
            file.write("\n".join([f">{name}", *lines, ""]))
    pyfaidx.Faidx(str(path)).close()


def _write_vcf(path: Path, contigs: Mapping[str, _Contig], samples: Sequence[str]) -> None:
    """Write a phased VCF, compressed and indexed: ``.gz`` and ``.gz.tbi`` are added to the path."""
    import pysam

    columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples]
    header = [
        "##fileformat=VCFv4.3",
        "##source=zarrbench.simulation",
        '##FILTER=<ID=PASS,Description="All filters passed">',
        *(f"##contig=<ID={name},length={len(c.sequence)}>" for name, c in contigs.items()),
        '##INFO=<ID=AC,Number=A,Type=Integer,Description="Count of ALT alleles">',
        '##INFO=<ID=AN,Number=1,Type=Integer,Description="Count of alleles">',
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Phased genotype">',
        "\t".join(columns),
    ]
    with path.open("w", encoding="ascii") as file:
        file.write("\n".join([*header, ""]))
        for name, contig in contigs.items():
            positions = to_one_based(contig.variants.positions)
            records = zip(positions, contig.ref, contig.alt, contig.variants.calls, strict=True)
            for position, ref, alt, calls in records:
                info = f"AC={calls.sum()};AN={calls.size}"
                genotypes = "\t".join(_GENOTYPES[calls[:, 0], calls[:, 1]])
                line = f"{name}\t{position}\t.\t{ref}\t{alt}\t.\tPASS\t{info}\tGT\t{genotypes}\n"
                file.write(line)
    pysam.tabix_index(str(path), preset="vcf", force=True)


def _gtf(simulation: Simulation, genes: Sequence[_Gene]) -> str:
    """Return a GTF of gene records in the manner of GENCODE."""
    lines = ["##description: simulated genes", "##provider: zarrbench", "##format: gtf"]
    for gene in genes:
        tss = int(to_one_based(gene.tss))
        downstream = tss + gene.length if gene.strand == "+" else tss - gene.length
        start, end = sorted([tss, min(max(downstream, 1), simulation.contigs[gene.contig])])
        columns = (gene.contig, "zarrbench", "gene", start, end, ".", gene.strand, ".")
        names = f'gene_id "{gene.id}.1"; gene_type "protein_coding"; gene_name "{gene.name}";'
        lines.append("\t".join([*map(str, columns), f"{names} level 2;"]))
    return "\n".join([*lines, ""])
