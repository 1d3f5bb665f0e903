import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from zarrbench.errors import (
    ContigError,
    GenotypeError,
    ReferenceMismatchError,
    SampleError,
    UnphasedGenotypeError,
)
from zarrbench.genome.reference import Reference, build_reference
from zarrbench.genotypes.checks import GenotypeChecks, check_genotypes
from zarrbench.genotypes.ingest import ingest
from zarrbench.genotypes.policies import Policies
from zarrbench.genotypes.store import GenotypeStore

REFUSE = Policies()
KEEP = Policies(unphased="keep_order")


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Reference:
    """chr1 is five times ACGTNacgt, chr2 is 30 T."""
    folder = tmp_path_factory.mktemp("reference")
    fasta = folder / "reference.fa"
    fasta.write_text(f">chr1\n{'ACGTNacgt' * 5}\n>chr2\n{'T' * 30}\n")
    build_reference(fasta, folder / "reference.zarr")
    return Reference(folder / "reference.zarr")


@pytest.fixture
def check(write_vcz, reference) -> Callable[..., GenotypeChecks]:
    """Check a store of these records: contig, POS, REF, ALT, calls split by spaces."""

    def checked(records, policies=REFUSE, contigs=("chr1", "chr2"), **kwargs) -> GenotypeChecks:
        genotypes, phased = parsed([record[4] for record in records])
        path = write_vcz(
            [record[1] for record in records],
            [[record[2], *record[3].split(",")] for record in records],
            genotypes,
            phased,
            contigs=contigs,
            contig=[contigs.index(record[0]) for record in records],
            **kwargs,
        )
        store = GenotypeStore(path, reference.lengths)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return check_genotypes(store, reference, policies)

    return checked


def parsed(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return genotypes and phase of calls such as ``0|1 ./. 1``, one text a record."""
    calls = [[re.split(r"[|/]", call) for call in text.split()] for text in texts]
    codes = [
        [[-1 if a == "." else int(a) for a in call] + [-2] * (2 - len(call)) for call in row]
        for row in calls
    ]
    # As in VCF a call of one allele counts as phased.
    phased = [["/" not in call for call in text.split()] for text in texts]
    return np.array(codes, dtype=np.int8), np.array(phased)


GOOD = [
    ("1", 1, "A", "C", "0|1 1|0"),
    ("1", 2, "c", "a,t", "1|2 0|0"),
    ("1", 3, "GT", "G", "0|0 0|1"),
    ("1", 3, "G", "*", "0|0 0|1"),
    ("1", 5, "N", "A", "0|0 0|0"),
    ("1", 8, "G", "T,GA", ".|. .|."),
    ("2", 1, "T", ".", "0/0 ./."),
    ("2", 2, "T", "A", ". 1/1"),
    ("decoy", 9, "A", "C", "0|0 0|0"),
]


@pytest.mark.parametrize("by_hand", [True, False])
def test_good_genotypes_are_counted(tmp_path, check, write_vcf, reference, by_hand):
    contigs = ["1", "2", "decoy"]
    if by_hand:
        checks = check(GOOD, contigs=contigs)
    else:
        ingest(write_vcf(GOOD, contigs=contigs), tmp_path / "genotypes.vcz")
        store = GenotypeStore(tmp_path / "genotypes.vcz", reference.lengths)
        checks = check_genotypes(store, reference, REFUSE)
    assert checks == GenotypeChecks(
        n_variants=9,
        n_snvs=4,  # of which one on the decoy; REF is N in the fifth
        n_indels=2,
        n_symbolic=1,
        n_samples=2,
        contigs={"chr1": 6, "chr2": 2},
        contig_map={"1": "chr1", "2": "chr2"},
        unmapped_contigs={"decoy": 1},
        call_rate=1 - 4 / 18,
        n_missing_calls=4,
        n_unphased_heterozygous=0,
        n_haploid=0,
        n_common_variants=4,
        n_ref_mismatches=0,
    )


def test_common_variants_have_a_minor_allele_frequency_of_five_percent(check):
    common = ["0|1" + " 0|0" * 9, "0|1" + " 1|1" * 9, "0|1 .|." + " 0|0" * 8, "0|2" + " 2|2" * 9]
    rare = ["0|0" + " 0|0" * 9, "1|1" + " 1|1" * 9, ".|." + " .|." * 9, "0|1" + " 0|0" * 10]
    for calls, n_common in ((common, 4), (rare[:3], 0)):
        records = [("chr1", 1, "A", "C,G", text) for text in calls]
        checks = check(records, samples=[f"p{i}" for i in range(10)])
        assert checks.n_common_variants == n_common
    checks = check([("chr1", 1, "A", "C", rare[3])], samples=[f"p{i}" for i in range(11)])
    assert checks.n_common_variants == 0


@pytest.mark.parametrize("call", ["0/1", "1/0", "1/2", "./1", "1/."])
def test_heterozygous_calls_need_a_phase(check, call):
    records = [("chr1", 1, "A", "C", "0|0 0|1"), ("chr1", 3, "G", "A,T", f"0/0 {call}")]
    with pytest.raises(UnphasedGenotypeError, match=r"has 1 heterozygous .* first at chr1:3;"):
        check(records)
    assert check(records, KEEP).n_unphased_heterozygous == 1


@pytest.mark.parametrize("call", ["0/0", "1/1", "./.", "."])
def test_homozygous_calls_need_no_phase(check, call):
    assert check([("chr1", 1, "A", "C", f"0|1 {call}")]).n_unphased_heterozygous == 0


def test_a_store_that_says_nothing_of_phase_is_unphased(write_vcz, reference):
    calls = np.array([[[0, 1], [0, 0]], [[1, 1], [-1, -2]]], dtype=np.int8)
    store = GenotypeStore(write_vcz([1, 10], [["A", "C"]] * 2, calls), reference.lengths)
    with pytest.raises(UnphasedGenotypeError, match="no call_genotype_phased at all"):
        check_genotypes(store, reference, REFUSE)
    assert check_genotypes(store, reference, KEEP).n_unphased_heterozygous == 1


@pytest.mark.parametrize("policies", [REFUSE, KEEP])
def test_haploid_calls_are_refused(check, policies):
    with pytest.raises(GenotypeError, match="has 2 haploid calls"):
        check([("chr1", 1, "A", "C", "0|0 1"), ("chr1", 3, "G", "C", "0 0|1")], policies)


def mismatching(n: int, of: int) -> list[tuple[str, int, str, str, str]]:
    return [("chr2", i + 1, "G" if i < n else "T", "A", "0|0 0|1") for i in range(of)]


def test_one_wrong_ref_is_refused_unless_some_are_allowed(check):
    records = mismatching(1, of=20)
    with pytest.raises(ReferenceMismatchError, match=r"1 of 20 REF .*bcftools norm"):
        check(records)
    assert check(records, Policies(max_ref_mismatch=1)).n_ref_mismatches == 1


def test_all_of_ref_must_fit_where_indels_are_applied(check):
    # chr2 is all T
    records = [*mismatching(0, of=18), ("chr2", 19, "TTTT", "T", "0|1 0|0")]
    records += [("chr2", 24, "TTG", "T", "0|1 0|0")]
    assert check(records).n_ref_mismatches == 0
    with pytest.raises(ReferenceMismatchError, match=r"1 of 20 REF .*bcftools norm"):
        check(records, Policies(indels="anchor_tss"))
    allowed = Policies(indels="anchor_tss", max_ref_mismatch=1)
    checks = check(records, allowed)
    assert (checks.n_ref_mismatches, checks.n_indels) == (1, 2)


def test_alleles_without_a_sequence_are_counted(check):
    alternatives = ["<DEL>", "C,<INS>", "*", "C,*", "A[chr2:7[", "]chr2:7]A", "C,G"]
    records = [("chr1", 1, "A", alts, "0|1 0|0") for alts in alternatives]
    checks = check(records)
    assert (checks.n_symbolic, checks.n_indels, checks.n_snvs) == (6, 0, 1)


@pytest.mark.parametrize("allowed", [0, 100])
def test_many_wrong_refs_mean_another_build(check, allowed):
    with pytest.raises(ReferenceMismatchError, match=r"3 of 20 REF .* another genome build"):
        check(mismatching(3, of=20), Policies(max_ref_mismatch=allowed))


def test_records_elsewhere_do_not_hide_another_build(check):
    decoys = [("decoy", i + 1, "A", "C", "0|0 0|1") for i in range(50)]
    with pytest.raises(ReferenceMismatchError, match=r"3 of 5 REF .* another genome build"):
        check(mismatching(3, of=5) + decoys, contigs=["chr2", "decoy"])


def test_records_beyond_a_contig_are_wrong(check):
    records = [*mismatching(0, of=20), ("chr2", 31, "T", "A", "0|0 0|1")]
    records += [("chr2", 900_000, "N", "A", "0|0 0|1")]
    checks = check(records, Policies(max_ref_mismatch=2))
    assert checks.n_ref_mismatches == 2


def test_positions_far_apart_are_compared(tmp_path, write_vcz):
    fasta = tmp_path / "long.fa"
    length = (1 << 24) + 5_000
    fasta.write_text(">chr1\n" + "A" * length + "\n")
    build_reference(fasta, tmp_path / "long.zarr")
    reference = Reference(tmp_path / "long.zarr")
    positions = [1, 1 << 24, (1 << 24) + 1, length, length + 1]
    for ref, wrong in (("A", 1), ("C", 5)):
        calls = np.zeros((5, 2, 2), np.int8)
        store = GenotypeStore(write_vcz(positions, [[ref, "G"]] * 5, calls), ["chr1"])
        with pytest.raises(ReferenceMismatchError, match=f"{wrong} of 5"):
            check_genotypes(store, reference, REFUSE)


def test_samples_must_differ(write_vcz, reference):
    calls = np.zeros((1, 3, 2), np.int8)
    path = write_vcz([1], [["A", "C"]], calls, samples=["ann", "bob", "ann"])
    with pytest.raises(SampleError, match="names the sample 'ann' twice"):
        check_genotypes(GenotypeStore(path, reference.lengths), reference, REFUSE)


def test_a_contig_must_be_shared(check):
    with pytest.raises(ContigError, match=r"no contig of .* \(7, scaffold_1\) is in the reference"):
        check(
            [("7", 1, "A", "C", "0|0 0|1"), ("scaffold_1", 1, "A", "C", "0|0 0|1")],
            contigs=["7", "scaffold_1"],
        )


def test_a_store_without_records_has_nothing_wrong(write_vcz, reference):
    path = write_vcz([], [], np.zeros((0, 2, 2), np.int8), np.zeros((0, 2), bool))
    checks = check_genotypes(GenotypeStore(path, reference.lengths), reference, REFUSE)
    assert checks.n_variants == 0
    assert checks.call_rate == 1


@pytest.mark.realdata
def test_the_real_cohort_is_good(tmp_path, realdata):
    """The README of the data: all REF alleles match; 1,900 SNVs, 87 indels, 1 deletion."""
    build_reference(
        realdata / "reference" / "chr22_1-22000000.hg19.fa.gz", tmp_path / "reference.zarr"
    )
    vcf: Path = realdata / "genotypes" / "1kg_phase1_1092.chr22_16.05-17.80Mb.hg19.vcf.gz"
    ingest(vcf, tmp_path / "genotypes.vcz", samples=["HG00096", "HG00097", "HG00099"])
    reference = Reference(tmp_path / "reference.zarr")
    store = GenotypeStore(tmp_path / "genotypes.vcz", reference.lengths)
    checks = check_genotypes(store, reference, REFUSE)
    assert (checks.n_variants, checks.n_snvs, checks.n_ref_mismatches) == (1_988, 1_900, 0)
    assert checks.contigs == {"chr22": 1_988}
    assert checks.call_rate == 1
