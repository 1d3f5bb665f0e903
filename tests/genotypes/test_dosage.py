"""Dosages of alternative alleles, against calls written by hand and what sgkit counts."""

import numpy as np
import pytest
import sgkit
import xarray as xr

from zarrbench.errors import SampleError
from zarrbench.genotypes import dosage
from zarrbench.genotypes.dosage import allele_dosages
from zarrbench.genotypes.store import GenotypeStore
from zarrbench.stores import StoreFamily

ALLELES = [["A", "G", ""], ["C", "T", "CA"], ["G", "*", "A"], ["T", "", ""], ["A", "<DEL>", ""]]
CALLS = np.array(
    [
        [[0, 1], [1, 1], [0, 0]],
        [[1, 2], [2, 2], [0, 1]],
        [[1, 2], [0, 2], [-1, 2]],
        [[0, 0], [0, 0], [0, 0]],
        [[0, 1], [-1, -1], [1, -2]],
    ],
    dtype=np.int8,
)
PEOPLE = ("ann", "bob", "eve")


@pytest.fixture
def store(write_vcz) -> GenotypeStore:
    contig = [0, 0, 0, 1, 1]
    path = write_vcz([10, 20, 30, 5, 9], ALLELES, CALLS, samples=PEOPLE, contig=contig,
                     contigs=("1", "2"))  # fmt: skip
    return GenotypeStore(path, ["chr1", "chr2"])


@pytest.mark.parametrize("records", [1, 2, 16_384])
def test_by_hand(store, monkeypatch, records):
    monkeypatch.setattr(dosage, "_RECORDS", records)
    found = allele_dosages(store)
    assert found["variant_contig"].values.tolist() == ["chr1"] * 4 + ["chr2"]
    assert found["variant_position"].values.tolist() == [10, 20, 20, 30, 9]
    assert found["other_allele"].values.tolist() == ["A", "C", "C", "G", "A"]
    assert found["effect_allele"].values.tolist() == ["G", "T", "CA", "A", "<DEL>"]
    assert found["dosage"].dtype == np.int8
    assert found["dosage"].values.tolist() == [
        [1, 2, 0], [1, 0, 1], [1, 2, 0], [1, 1, -1], [1, -1, -1]]  # fmt: skip


def test_some_people_in_another_order(store):
    found = allele_dosages(store, ["eve", "ann"])
    assert found["individual"].values.tolist() == ["eve", "ann"]
    assert found["dosage"].values[:2].tolist() == [[0, 1], [1, 1]]
    with pytest.raises(SampleError, match="no sample 'ane'"):
        allele_dosages(store, ["ane"])


def test_calls_are_read_last(store, monkeypatch):
    def refuse(*_):
        raise AssertionError("read")

    monkeypatch.setattr(dosage, "_copies", refuse)
    found = allele_dosages(store)
    assert found["dosage"].shape == (5, 3)
    with pytest.raises(AssertionError, match="read"):
        found["dosage"].load()


def test_agrees_with_sgkit(family: StoreFamily):
    store = family.genotypes
    found = allele_dosages(store)
    counts = sgkit.count_call_alleles(store.dataset())["call_allele_count"].values
    alleles = store.dataset()["variant_allele"].values
    records, columns = np.nonzero(~np.isin(alleles[:, 1:], ["", "*"]))
    expected, values = counts[records, :, columns + 1], found["dosage"].values
    assert len(values) == len(expected) > 100
    called = values >= 0
    assert called.mean() > 0.9
    np.testing.assert_array_equal(values[called], expected[called])


def test_blocks_are_all_rows_in_their_order(monkeypatch):
    monkeypatch.setattr(dosage, "_ROWS", 4)
    values = np.arange(60, dtype=np.int8).reshape(20, 3)
    plain = xr.DataArray(values, dims=("variant", "individual"))
    for given in (plain, plain.chunk(variant=7, individual=2), plain.T, plain.isel(variant=[])):
        blocks = list(dosage.dosage_blocks(given))
        assert max(map(len, blocks)) <= 4
        expected = given.transpose("variant", "individual").values
        np.testing.assert_array_equal(np.concatenate(blocks), expected)
