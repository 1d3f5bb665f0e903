import warnings

import numpy as np
import pytest
import sgkit
import xarray as xr
import zarr
from bio2zarr import vcf as vcf2zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrbench.errors import ContigError, StoreLayoutError
from zarrbench.genotypes.ingest import ingest
from zarrbench.genotypes.store import GenotypeStore, Records

N = 60
RNG = np.random.default_rng(7)
CONTIG = np.repeat([0, 1], [35, 25])
POSITIONS = np.concatenate([np.sort(RNG.integers(1, 500, n)) for n in (35, 25)])
GENOTYPES = RNG.integers(-1, 3, (N, 4, 2)).astype(np.int8)
PHASED = RNG.random((N, 4)) < 0.7
ALLELES = [["A", "C", "G"] if i % 3 else ["AT", "A", "ATT"] for i in range(N)]
SAMPLES = ["ann", "bob", "cat", "dan"]


def vcf_records() -> list[tuple[str, int, str, str, str]]:
    records = []
    for i in range(N):
        calls = []
        for (a, b), phased in zip(GENOTYPES[i].tolist(), PHASED[i], strict=True):
            texts = ["." if index < 0 else str(index) for index in (a, b)]
            calls.append(("|" if phased else "/").join(texts))
        ref, *alts = ALLELES[i]
        contig = f"chr{CONTIG[i] + 1}"
        records.append((contig, int(POSITIONS[i]), ref, ",".join(alts), " ".join(calls)))
    return records


def assert_rows(records: Records, rows: np.ndarray, individuals=slice(None), phased=PHASED) -> None:
    """The records are these rows of the arrays at the top."""
    np.testing.assert_array_equal(records.positions, POSITIONS[rows] - 1)
    np.testing.assert_array_equal(records.genotypes, GENOTYPES[rows][:, individuals])
    np.testing.assert_array_equal(records.phased, phased[rows][:, individuals])
    assert records.alleles.tolist() == [ALLELES[i] for i in rows]
    assert records.positions.dtype == np.int64
    assert records.phased.dtype == bool
    assert records.alleles.dtype == object


@pytest.fixture(scope="module", params=["zarr 2", "zarr 3", "small chunks", "by hand"])
def store(request, tmp_path_factory, write_vcf, write_vcz) -> GenotypeStore:
    """The same genotypes in stores of different making."""
    path = tmp_path_factory.mktemp("store") / "genotypes.vcz"
    if request.param == "by hand":
        arrays = (POSITIONS, ALLELES, GENOTYPES, PHASED, SAMPLES)
        path = write_vcz(*arrays, contig=CONTIG, position_type="int16", chunk=3)
        assert "region_index" not in zarr.open_group(path)
    else:
        vcf = write_vcf(vcf_records(), SAMPLES)
        if request.param == "zarr 2":
            ingest(vcf, path)
        else:
            chunks = {"variants_chunk_size": 7, "samples_chunk_size": 3}
            vcf2zarr.convert(
                [str(vcf)],
                str(path),
                zarr_format=3 if request.param == "zarr 3" else 2,
                **(chunks if request.param == "small chunks" else {}),
            )
    return GenotypeStore(path, ["chr1", "chr2"])


def test_any_region_is_that_of_the_arrays(store):
    assert store.samples == SAMPLES
    assert store.contigs == ["chr1", "chr2"]
    assert store.n_variants == N

    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 1), st.integers(-5, 510), st.integers(0, 510))
    def check(contig, start, extent):
        records = store.records(f"chr{contig + 1}", start, start + extent)
        inside = np.isin(POSITIONS - 1, np.arange(start, start + extent))
        assert_rows(records, np.flatnonzero((contig == CONTIG) & inside))

    check()


def test_individuals_are_given_in_the_order_asked(store):
    for individuals in ([2, 0], [3], [0, 1, 2, 3], [1, 1]):
        records = store.records("chr2", 0, 10**6, np.array(individuals))
        assert_rows(records, np.flatnonzero(CONTIG == 1), individuals)


def test_a_contig_without_records_is_empty(store):
    records = store.records("chr9", 0, 10**6, np.array([0, 1]))
    assert records.positions.shape == (0,)
    assert records.genotypes.shape == (0, 2, 2)
    assert records.phased.shape == (0, 2)
    assert records.alleles.shape == (0, 3)


def test_the_store_is_a_dataset_of_sgkit(store):
    dataset = store.dataset()
    assert dict(dataset["call_genotype"].sizes) == {"variants": N, "samples": 4, "ploidy": 2}
    np.testing.assert_array_equal(dataset["call_genotype"], GENOTYPES)
    assert [str(sample) for sample in dataset["sample_id"].values] == SAMPLES
    counted = sgkit.count_call_alleles(dataset)["call_allele_count"].values
    np.testing.assert_array_equal(counted[..., 1], (GENOTYPES == 1).sum(axis=-1))


def test_an_ingested_store_opens_elsewhere_without_a_warning(tmp_path, write_vcf):
    path = tmp_path / "genotypes.vcz"
    ingest(write_vcf(vcf_records(), SAMPLES), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        by_xarray = xr.open_zarr(path)
        by_sgkit = sgkit.load_dataset(str(path))
        np.testing.assert_array_equal(by_xarray["call_genotype"], GENOTYPES)
        np.testing.assert_array_equal(by_sgkit["variant_position"], POSITIONS)


def test_a_filtered_store_does_not_trust_its_old_index(tmp_path, write_vcf):
    whole, part = tmp_path / "whole.vcz", tmp_path / "part.vcz"
    ingest(write_vcf(vcf_records(), SAMPLES), whole)
    kept = np.arange(3, N, 2)
    filtered = sgkit.load_dataset(str(whole)).isel(variants=kept)
    chunks = {"variant_position": {"chunks": (5,)}}
    filtered.drop_encoding().compute().to_zarr(part, zarr_format=2, encoding=chunks)
    assert "region_index" in zarr.open_group(part)
    found = GenotypeStore(part, ["chr1", "chr2"]).records("chr2", 0, 10**6)
    assert_rows(found, kept[CONTIG[kept] == 1])


def test_without_phase_in_the_store_nothing_is_phased(write_vcz):
    path = write_vcz(POSITIONS, ALLELES, GENOTYPES, None, SAMPLES, contig=CONTIG)
    records = GenotypeStore(path, ["chr1", "chr2"]).records("chr1", 0, 10**6)
    assert_rows(records, np.flatnonzero(CONTIG == 0), phased=np.zeros((N, 4), dtype=bool))


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32"])
def test_genotypes_of_any_width_are_read(write_vcz, dtype):
    alleles = [["A", *["ACGT"[i % 4] * (i // 4 + 1) for i in range(200)]]]
    calls = np.array([[[0, 100], [-1, -2]]], dtype=dtype)
    calls[0, 0, 1] = min(200, np.iinfo(dtype).max)
    store = GenotypeStore(write_vcz([5], alleles, calls), ["chr1"])
    assert store.records("chr1", 0, 9).genotypes.tolist() == [
        [[0, calls[0, 0, 1]], [-1, -1]],
    ]


def test_contigs_are_named_as_in_the_reference(write_vcz):
    path = write_vcz(
        [5, 6, 7],
        [["A", "C"]] * 3,
        np.zeros((3, 2, 2), dtype=np.int8),
        contigs=["1", "X", "decoy", "2"],
        contig=[0, 1, 2],
    )
    store = GenotypeStore(path, ["chr1", "chr2", "chrX"])
    assert store.contig_map == {"1": "chr1", "X": "chrX"}
    assert store.contigs == ["chr1", "chrX"]
    assert store.unmapped_contigs == ["decoy"]
    assert store.records("chrX", 0, 9).positions.tolist() == [5]
    assert store.records("X", 0, 9).positions.size == 0
    assert store.records("chr2", 0, 9).positions.size == 0


def test_two_names_of_one_contig_are_refused(write_vcz):
    path = write_vcz(
        [5, 6],
        [["A", "C"]] * 2,
        np.zeros((2, 2, 2), np.int8),
        contigs=["1", "chr1"],
        contig=[0, 1],
    )
    with pytest.raises(ContigError, match="in two ways"):
        GenotypeStore(path, ["chr1"])


def test_contigs_may_come_in_any_order(write_vcz):
    calls = np.arange(10).reshape(5, 1, 2).astype(np.int8) % 2
    path = write_vcz(
        [9, 9, 3, 4, 5], [["A", "C"]] * 5, calls, samples=["ann"], contig=[1, 1, 0, 0, 0]
    )
    store = GenotypeStore(path, ["chr1", "chr2"])
    assert store.records("chr2", 0, 99).positions.tolist() == [8, 8]
    assert store.records("chr1", 3, 99).positions.tolist() == [3, 4]


@pytest.mark.parametrize(
    ("positions", "contig"), [([5, 4, 6], [0, 0, 0]), ([5, 6, 7], [0, 1, 0]), ([9, 2], [1, 1])]
)
def test_unsorted_records_are_refused(write_vcz, positions, contig):
    n = len(positions)
    path = write_vcz(positions, [["A", "C"]] * n, np.zeros((n, 2, 2), np.int8), contig=contig)
    with pytest.raises(StoreLayoutError, match="not sorted"):
        GenotypeStore(path, ["chr1", "chr2"])


def test_a_store_without_records_is_read(write_vcz):
    path = write_vcz([], [], np.zeros((0, 2, 2), np.int8), np.zeros((0, 2), bool))
    store = GenotypeStore(path, ["chr1"])
    assert store.contigs == []
    assert store.records("chr1", 0, 10).positions.size == 0


def test_what_is_no_diploid_store_is_refused(tmp_path, write_vcz):
    with pytest.raises(StoreLayoutError, match="cannot be opened"):
        GenotypeStore(tmp_path / "none.vcz", ["chr1"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreLayoutError, match="cannot be opened"):
        GenotypeStore(tmp_path / "empty", ["chr1"])
    haploid = write_vcz([5], [["A", "C"]], np.zeros((1, 2, 1), np.int8))
    with pytest.raises(StoreLayoutError, match="only diploid"):
        GenotypeStore(haploid, ["chr1"])
    three_names = write_vcz(
        [5], [["A", "C"]], np.zeros((1, 2, 2), np.int8), samples=["a", "b", "c"]
    )
    with pytest.raises(StoreLayoutError, match="names 3 samples for 2"):
        GenotypeStore(three_names, ["chr1"])
    array = zarr.create_array(tmp_path / "array.zarr", shape=(3,), dtype="int8")
    with pytest.raises(StoreLayoutError, match="cannot be opened"):
        GenotypeStore(tmp_path / "array.zarr", ["chr1"])
    assert array.shape == (3,)


@pytest.mark.parametrize("name", ["call_genotype", "sample_id", "variant_position"])
def test_a_store_without_a_required_field_is_refused(write_vcz, name):
    path = write_vcz([5], [["A", "C"]], np.zeros((1, 2, 2), np.int8))
    del zarr.open_group(path, mode="r+")[name]
    with pytest.raises(StoreLayoutError, match=f"it lacks {name}"):
        GenotypeStore(path, ["chr1"])
