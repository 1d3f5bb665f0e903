import warnings
from collections.abc import Callable
from pathlib import Path

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


def reaching(refs: list[tuple[int, int]], start: int, end: int) -> list[int]:
    """Which REFs (first base, end) touch a region, and which before it overlap one of those."""
    touching = [i for i, (first, stop) in enumerate(refs) if first < end and stop > start]
    furthest = min([start, *(refs[i][0] for i in touching)])
    return touching if furthest == start else reaching(refs, furthest, end)


def assert_rows(records: Records, rows: np.ndarray, individuals=slice(None), phased=PHASED) -> None:
    """The records are these rows of the arrays at the top."""
    np.testing.assert_array_equal(records.positions, POSITIONS[rows] - 1)
    np.testing.assert_array_equal(records.genotypes, GENOTYPES[rows][:, individuals])
    np.testing.assert_array_equal(records.phased, phased[rows][:, individuals])
    assert [list(map(str, row)) for row in records.alleles] == [ALLELES[i] for i in rows]
    assert records.positions.dtype == np.int64
    assert records.phased.dtype == bool


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
    @given(st.integers(0, 1), st.integers(-5, 510), st.integers(1, 510))
    def check(contig, start, extent):
        records = store.records(f"chr{contig + 1}", start, start + extent)
        rows = np.flatnonzero(contig == CONTIG)
        refs = [(POSITIONS[i] - 1, POSITIONS[i] - 1 + len(ALLELES[i][0])) for i in rows]
        assert_rows(records, rows[reaching(refs, start, start + extent)])

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


# --- records that reach into a region -------------------------------------------------------------


class Long:
    """Records of chr1 with REFs of many lengths, in a store of three records a chunk."""

    def __init__(self, path: Path, refs: list[tuple[int, int]]) -> None:
        self.refs = refs
        self.store = GenotypeStore(path, ["chr1", "chr2"])

    def rows(self, start: int, end: int) -> list[int]:
        return [int(row) for row in self.store.records("chr1", start, end).genotypes[:, 0, 0]]


@pytest.fixture(scope="module", params=["indexed", "without an index"])
def long_of(request, write_vcz) -> Callable[[list[tuple[int, int]]], Long]:
    """Make a store of records (0-based first base, bases of REF); allele 0 of ann is its row."""

    def make(records: list[tuple[int, int]]) -> Long:
        n = len(records)
        alleles = [["A" * size, "C"] for _, size in records]
        calls = np.zeros((n + 2, 2, 2), dtype=np.int16)
        calls[:n, 0, 0] = np.arange(n)
        positions = np.array([first + 1 for first, _ in records])
        # Two records of another contig end the last chunk and begin another one.
        contig = [0] * n + [1] * 2
        path = write_vcz(
            [*positions.tolist(), 1, 2], [*alleles, ["A", "C"], ["A", "C"]], calls,
            np.ones((n + 2, 2), dtype=bool), contig=contig, chunk=3,
        )  # fmt: skip
        if request.param == "indexed":
            add_index(path)
        return Long(path, [(first, first + size) for first, size in records])

    return make


def add_index(path: Path) -> None:
    """Add the region index of the VCF Zarr specification, in a plain loop."""
    group = zarr.open_group(path, mode="r+")
    chunk = group["variant_position"].chunks[0]
    rows: dict[tuple[int, int], list[int]] = {}
    for i, (contig, position) in enumerate(
        zip(group["variant_contig"][:].tolist(), group["variant_position"][:].tolist(), strict=True)
    ):
        last = position + len(str(group["variant_allele"][i, 0])) - 1
        row = rows.setdefault(
            (i // chunk, contig), [i // chunk, contig, position, position, last, 0]
        )
        row[3], row[4], row[5] = position, max(row[4], last), row[5] + 1
    group["region_index"] = np.array(list(rows.values()), dtype=np.int32)


#         0       1       2         3        4         5        6        7        8        9
FAR = [
    (10, 1),
    (20, 300),
    (30, 1),
    (40, 1),
    (100, 5),
    (103, 9),
    (111, 2),
    (113, 1),
    (320, 1),
    (400, 1),
]


@pytest.mark.parametrize(
    ("start", "end", "rows"),
    [
        (0, 10, []),
        (10, 11, [0]),
        (11, 20, []),
        (11, 21, [1]),
        # The deletion of 300 bases begins in the first of four chunks.
        (319, 320, [1, 2, 3, 4, 5, 6, 7]),
        (320, 321, [8]),
        (319, 321, [1, 2, 3, 4, 5, 6, 7, 8]),
        (321, 400, []),
        (400, 500, [9]),
    ],
)
def test_a_long_deletion_reaches_into_a_region(long_of, start, end, rows):
    assert long_of(FAR).rows(start, end) == rows


# Each overlaps the next one, so that what counts at the end depends on the first.
CHAIN = [(5, 1), (10, 4), (13, 3), (15, 1), (15, 6), (20, 2), (21, 9), (30, 1), (31, 2), (32, 5)]


@pytest.mark.parametrize(
    ("start", "end", "rows"),
    [
        (29, 30, [1, 2, 3, 4, 5, 6]),
        (21, 22, [1, 2, 3, 4, 5, 6]),
        (16, 20, [1, 2, 3, 4]),
        (13, 14, [1, 2]),
        (10, 11, [1]),
        (5, 7, [0]),
        (30, 31, [7]),
        (36, 40, [8, 9]),
    ],
)
def test_a_chain_of_overlapping_records_comes_along(long_of, start, end, rows):
    assert long_of(CHAIN).rows(start, end) == rows


@settings(max_examples=60, deadline=None)
@given(
    records=st.lists(
        st.tuples(st.integers(0, 60), st.sampled_from([1, 1, 1, 2, 4, 30])), min_size=1, max_size=14
    ),
    regions=st.lists(st.tuples(st.integers(0, 70), st.integers(1, 20)), min_size=1, max_size=8),
)
def test_any_records_that_reach_into_a_region(long_of, records, regions):
    long = long_of(sorted(records, key=lambda record: record[0]))
    for start, extent in regions:
        assert long.rows(start, start + extent) == reaching(long.refs, start, start + extent)


@pytest.fixture
def read_chunks(monkeypatch) -> set[str]:
    """The chunks that are read from now on, as array/index of the chunk along variants."""
    read = set()
    get = zarr.storage.LocalStore.get

    async def spied(self, key, *arguments, **options):
        name, _, chunk = key.partition("/c/")
        if chunk:
            read.add(f"{name}/{chunk.split('/')[0]}")
        return await get(self, key, *arguments, **options)

    monkeypatch.setattr(zarr.storage.LocalStore, "get", spied)
    return read


@pytest.mark.parametrize(
    ("start", "end", "chunks"),
    [
        (0, 10, []),
        (10, 12, [0]),
        (321, 330, []),
        # What reaches in from the first chunk, and the four between by their overlap with it
        (319, 320, [0, 1, 2]),
        (320, 321, [2]),
        (400, 401, [3]),
        (320, 401, [2, 3]),
    ],
)
def test_only_the_chunks_of_a_region_are_read(long_of, read_chunks, start, end, chunks):
    long = long_of(FAR)
    read_chunks.clear()
    assert long.rows(start, end) == reaching(long.refs, start, end)
    of_calls = sorted(int(key.split("/")[1]) for key in read_chunks if "call_genotype/" in key)
    assert of_calls == chunks
    assert {key for key in read_chunks if "phased" in key} == {
        f"call_genotype_phased/{chunk}" for chunk in chunks
    }


def test_a_far_record_that_reaches_in_does_not_read_what_lies_between(long_of, read_chunks):
    """Two hundred chunks between, and none of their records overlaps."""
    between = [(1_000 + 10 * i, 1) for i in range(600)]
    long = long_of([(900, 20), *between, (8_000, 50), (9_000, 1)])
    read_chunks.clear()
    assert long.rows(8_040, 8_041) == [601]
    names = ("variant_position", "variant_allele", "call_genotype", "call_genotype_phased")
    assert {f"{name}/200" for name in names} == read_chunks - {"variant_contig/200"}
    read_chunks.clear()
    assert long.rows(915, 1_001) == [0, 1]
    assert {f"{name}/0" for name in names} == read_chunks - {"variant_contig/0"}


def test_the_index_that_bio2zarr_writes_knows_how_far_records_reach(tmp_path, write_vcf):
    written = [("chr1", first + 1, "A" * size, "C", "0|1 1|0") for first, size in FAR]
    path = tmp_path / "genotypes.vcz"
    vcf2zarr.convert([str(write_vcf(written))], str(path), variants_chunk_size=3, zarr_format=2)
    assert "region_index" in zarr.open_group(path)
    store = GenotypeStore(path, ["chr1", "chr2"])
    positions = store.records("chr1", 319, 320).positions
    assert positions.tolist() == [first for first, _ in FAR[1:8]]


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
