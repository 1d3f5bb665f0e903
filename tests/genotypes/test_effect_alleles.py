"""Copies of alleles, and models' variants among them: each case by hand, and against the VCF."""

import numpy as np
import pytest

from zarrbench.errors import GenotypeError
from zarrbench.genotypes.effect_alleles import alternative_alleles, match_effect_alleles
from zarrbench.genotypes.store import GenotypeStore, Records


def records(*rows):
    """Records of (0-based position, alleles, calls such as "0|1 1|1")."""
    width = max(len(alleles) for _, alleles, _ in rows)
    calls = [
        [[-1 if a == "." else int(a) for a in call.split("|")] for call in text.split()]
        for *_, text in rows
    ]
    genotypes = np.array(calls, dtype=np.int8)
    return Records(
        np.array([position for position, *_ in rows], dtype=np.int64),
        np.array([[*alleles, *[""] * (width - len(alleles))] for _, alleles, _ in rows]),
        genotypes,
        np.ones(genotypes.shape[:2], dtype=bool),
    )


def found(*rows, ids=None):
    names = np.array([""] * len(rows) if ids is None else ids, dtype=object)
    return alternative_alleles(records(*rows), names)


def matched(alleles, *variants):
    """Match (0-based position, other allele, effect allele)."""
    columns = [np.array(column, dtype=object) for column in zip(*variants, strict=True)]
    return match_effect_alleles(columns[0].astype(np.int64), columns[2], columns[1], alleles)


def outcome(alleles, *variant):
    one = matched(alleles, variant)
    return int(one.rows[0]), bool(one.swapped[0]), bool(one.other_strand[0])


def test_each_way_in_which_a_pair_can_fit():
    alleles = found((10, ["A", "G"], "0|1 1|1"))
    assert outcome(alleles, 10, "A", "G") == (0, False, False)
    assert outcome(alleles, 10, "G", "A") == (0, True, False)
    assert outcome(alleles, 10, "T", "C") == (-1, False, True)
    assert outcome(alleles, 10, "C", "T") == (-1, False, True)
    assert outcome(alleles, 10, "A", "C") == (-1, False, False)
    assert outcome(alleles, 11, "A", "G") == (-1, False, False)


def test_a_palindromic_pair_is_taken_as_written():
    alleles = found((10, ["A", "T"], "0|1"), (20, ["C", "G"], "1|1"))
    assert outcome(alleles, 10, "A", "T") == (0, False, False)
    assert outcome(alleles, 10, "T", "A") == (0, True, False)
    assert outcome(alleles, 20, "G", "C") == (1, True, False)


def test_only_single_bases_have_a_complement():
    alleles = found((10, ["AC", "A"], "0|1"))
    assert outcome(alleles, 10, "A", "AC") == (0, True, False)
    assert outcome(alleles, 10, "TG", "T") == (-1, False, False)


def test_alleles_of_one_record_are_told_apart():
    alleles = found((10, ["A", "G", "T"], "0|1 1|2 2|2 .|2 0|0"))
    assert list(zip(alleles.references, alleles.alternatives, strict=True)) == [
        ("A", "G"), ("A", "T"),
    ]  # fmt: skip
    both = np.array([0, 1])
    assert alleles.dosage(both).tolist() == [[1, 1, 0, -1, 0], [0, 1, 2, -1, 0]]
    # 2 less these are the copies of A, whichever other allele a person has
    swapped = alleles.dosage(both, np.array([True, True]))
    assert swapped.tolist() == [[1, 2, 2, -1, 0]] * 2


def test_a_call_with_one_missing_allele_is_missing():
    alleles = found((10, ["A", "G"], ".|1 1|. .|. 0|1"))
    assert alleles.dosage(np.array([0])).tolist() == [[-1, -1, -1, 1]]


def test_records_that_repeat_are_merged():
    alleles = found((10, ["A", "G"], "0|1 .|. 0|0"), (10, ["A", "G"], "1|0 1|1 0|0"))
    assert alleles.positions.tolist() == [10]
    assert alleles.dosage(np.array([0])).tolist() == [[2, 2, 0]]


def test_what_has_no_sequence_is_left_out():
    alleles = found((10, ["A", "<DEL>"], "0|1"), (11, ["A", "*", "N", "g"], "0|3"))
    assert alleles.alternatives.tolist() == ["G"]
    assert alleles.dosage(np.array([0])).tolist() == [[1]]


def test_ids_go_with_alleles():
    alleles = found((30, ["A", "G"], "0|1"), (20, ["C", "T"], "0|1"), ids=["rs30", ""])
    assert alleles.positions.tolist() == [20, 30]
    assert alleles.ids.tolist() == ["", "rs30"]


def test_nothing_at_all():
    empty = Records(
        np.empty(0, np.int64), np.empty((0, 2), "U1"), np.empty((0, 3, 2), np.int8),
        np.empty((0, 3), bool),
    )  # fmt: skip
    alleles = alternative_alleles(empty, np.empty(0, object))
    assert alleles.dosage(np.empty(0, np.int64)).shape == (0, 3)
    assert outcome(alleles, 10, "A", "G") == (-1, False, False)


def test_haploid_calls_are_refused():
    with pytest.raises(GenotypeError, match="haploid calls"):
        found((10, ["A", "G"], "0|-2 1|1"))


def test_dosages_are_those_of_the_vcf(family, cohort):
    """Each record of the hand-made cohort through the store, by its 1-based position."""
    store = family.genotypes
    checked = 0
    for contig in ("chr1", "chr2"):
        end = len(cohort.sequences[contig])
        alleles = alternative_alleles(store.records(contig, 0, end), store.ids(contig, 0, end))
        for row, variant in cohort.variants[cohort.variants.contig == contig].iterrows():
            calls = cohort.calls[row]
            for index, alt in enumerate(variant.alt.split(","), start=1):
                one = matched(alleles, (variant.position - 1, alt, variant.ref))
                assert one.swapped.all()
                missing = (calls < 0).any(axis=1)
                expected = np.where(missing, -1, (calls == index).sum(axis=1))
                assert alleles.dosage(one.rows)[0].tolist() == expected.tolist()
                whole = np.where(missing, -1, 2 - (calls == 0).sum(axis=1))
                assert alleles.dosage(one.rows, one.swapped)[0].tolist() == whole.tolist()
                checked += 1
    assert checked > len(cohort.variants)


def test_ids_of_the_store(write_vcf, write_vcz, tmp_path):
    from zarrbench.genotypes.ingest import ingest

    vcf = write_vcf([("chr1", 100, "A", "G", "0|1 1|1"), ("chr1", 200, "C", "T", "0|0 0|1")])
    ingest(vcf, tmp_path / "small.vcz")
    store = GenotypeStore(tmp_path / "small.vcz", ["chr1"])
    assert store.ids("chr1", 0, 1000).tolist() == ["", ""]  # "." in the VCF
    bare = write_vcz([100, 200], [["A", "G"], ["C", "T"]], np.zeros((2, 2, 2), np.int8))
    assert GenotypeStore(bare, ["chr1"]).ids("chr1", 150, 1000).tolist() == [""]
