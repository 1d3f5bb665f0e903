"""A VCF Zarr store on S3 is read where it lies: the same records, and no object too many."""

import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from bio2zarr import vcf as vcf2zarr
from fsspec.registry import _registry

from zarrbench.errors import SourceError, StoreLayoutError
from zarrbench.genotypes.store import GenotypeStore, Records

pytestmark = pytest.mark.network

N, CHUNK = 60, 7
RNG = np.random.default_rng(5)
CONTIG = np.repeat([0, 1], [35, 25])
POSITIONS = np.concatenate([np.sort(RNG.choice(np.arange(1, 3000), n, False)) for n in (35, 25)])
SAMPLES = [f"P{i}" for i in range(8)]


@pytest.fixture(scope="module")
def vcf(write_vcf) -> Path:
    calls = RNG.integers(0, 2, (N, len(SAMPLES), 2))
    texts = [" ".join(f"{a}|{b}" for a, b in row) for row in calls]
    return write_vcf(
        [
            (f"chr{c + 1}", int(p), "A", "C", t)
            for c, p, t in zip(CONTIG, POSITIONS, texts, strict=True)
        ],
        SAMPLES,
    )


class Pair:
    """One store on disk and its copy in the bucket."""

    def __init__(self, s3, folder: Path, name: str) -> None:
        self.s3, self.folder, self.name = s3, folder, name
        self.url = s3.put(folder, name)

    @property
    def local(self) -> GenotypeStore:
        return GenotypeStore(self.folder, ["chr1", "chr2"])

    @property
    def remote(self) -> GenotypeStore:
        return GenotypeStore(self.url, ["chr1", "chr2"])


def make(vcf: Path, path: Path, zarr_format: int, consolidated: bool) -> Path:
    vcf2zarr.convert(
        [str(vcf)],
        str(path),
        variants_chunk_size=CHUNK,
        samples_chunk_size=3,
        zarr_format=zarr_format,
    )
    if consolidated:
        zarr.consolidate_metadata(str(path))
    return path


@pytest.fixture(scope="module", params=["2", "2 consolidated", "3"])
def pair(request, s3, vcf, tmp_path_factory) -> Pair:
    path = tmp_path_factory.mktemp("s3") / "cohort.vcz"
    make(vcf, path, int(request.param[0]), "consolidated" in request.param)
    return Pair(s3, path, f"zarr {request.param}.vcz")


@pytest.fixture(scope="module")
def kept(s3, vcf, tmp_path_factory) -> Pair:
    return Pair(s3, make(vcf, tmp_path_factory.mktemp("s3") / "cohort.vcz", 2, True), "kept.vcz")


def assert_same(found: Records, expected: Records) -> None:
    for field in ("positions", "genotypes", "phased"):
        mine, theirs = getattr(found, field), getattr(expected, field)
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
    assert found.alleles.tolist() == expected.alleles.tolist()


def test_records_are_those_on_disk(pair):
    local, remote = pair.local, pair.remote
    assert remote.path == pair.url
    assert remote.samples == local.samples == SAMPLES
    assert remote.contig_map == local.contig_map
    assert remote.n_variants == N
    everything = local.records("chr1", 0, 3000)
    np.testing.assert_array_equal(everything.positions, POSITIONS[CONTIG == 0] - 1)
    for contig, start, end in [("chr1", 0, 3000), ("chr2", 700, 900), ("chr2", 2999, 3005)]:
        for individuals in (None, np.array([5, 0])):
            window = (contig, start, end, individuals)
            assert_same(remote.records(*window), local.records(*window))


def chunks_of(contig: int, start: int, end: int) -> list[int]:
    """The variant chunks that span a window, from the arrays at the top."""
    spanning = []
    for chunk in range(-(-N // CHUNK)):
        rows = np.arange(chunk * CHUNK, min(N, (chunk + 1) * CHUNK))
        inside = POSITIONS[rows][CONTIG[rows] == contig] - 1
        if inside.size and inside[0] < end and inside[-1] >= start:
            spanning.append(chunk)
    return spanning


@pytest.mark.parametrize(
    ("contig", "start", "end"), [(0, 400, 600), (0, 1500, 2400), (1, 2000, 2600)]
)
def test_a_window_costs_its_chunks_and_nothing_else(pair, contig, start, end):
    store = pair.remote
    pair.s3.read(pair.name)
    store.records(f"chr{contig + 1}", start, end)
    chunks = chunks_of(contig, start, end)
    assert 0 < len(chunks) < 10
    version_2 = (pair.folder / ".zgroup").exists()

    def key(array: str, *numbers: int) -> str:
        parts = [str(number) for number in numbers]
        return f"{array}/{'.'.join(parts)}" if version_2 else "/".join([array, "c", *parts])

    expected = [key("variant_position", c) for c in chunks]
    expected += [key("variant_allele", c, 0) for c in chunks]
    expected += [key("call_genotype", c, s, 0) for c in chunks for s in range(3)]
    expected += [key("call_genotype_phased", c, s) for c in chunks for s in range(3)]
    assert pair.s3.read(pair.name) == sorted(expected)


def test_opening_reads_samples_contigs_and_index(pair):
    pair.s3.read(pair.name)
    pair.remote  # noqa: B018
    metadata = (".zgroup", ".zarray", ".zattrs", ".zmetadata", "zarr.json")
    asked = pair.s3.read(pair.name)
    values = [key for key in asked if not key.endswith(metadata)]
    assert {key.split("/")[0] for key in values} == {"sample_id", "contig_id", "region_index"}
    assert len(values) == 3 + 1 + 1
    if "consolidated" in pair.name:
        assert all("/" not in key for key in asked if key.endswith(metadata))
    else:
        assert len([key for key in asked if key.endswith((".zarray", "zarr.json"))]) <= 10


def test_it_is_a_dataset_of_sgkit_too(pair):
    local, remote = pair.local.dataset(), pair.remote.dataset()
    assert set(remote) == set(local)
    np.testing.assert_array_equal(remote["call_genotype"], local["call_genotype"])
    assert remote["sample_id"].values.tolist() == SAMPLES


def test_a_slash_at_the_end(kept):
    store = GenotypeStore(f"{kept.url}/", ["chr1", "chr2"])
    assert_same(store.records("chr2", 0, 999), kept.local.records("chr2", 0, 999))


def test_what_is_no_store(kept, vcf, s3):
    s3.client.upload_file(str(vcf), s3.bucket, "cohort.vcf.gz")
    for url in (f"s3://{s3.bucket}/none.vcz", "s3://absent/cohort.vcz", "what://is/this"):
        with pytest.raises(StoreLayoutError, match=f"{url} cannot be opened as VCF Zarr.*correct "):
            GenotypeStore(url, ["chr1"])
    with pytest.raises(StoreLayoutError, match=r"cohort\.vcf\.gz .*downloaded, or .*'vcf2zarr'"):
        GenotypeStore(f"s3://{s3.bucket}/cohort.vcf.gz", ["chr1"])
    s3.client.delete_object(Bucket=s3.bucket, Key=f"{kept.name}/.zmetadata")
    s3.client.delete_object(Bucket=s3.bucket, Key=f"{kept.name}/variant_allele/.zarray")
    with pytest.raises(StoreLayoutError, match=r"kept\.vcz is not VCF Zarr: it lacks variant_all"):
        kept.remote  # noqa: B018
    s3.put(kept.folder, kept.name)


@pytest.mark.usefixtures("s3_client_afresh")
class TestNoAccess:
    """One sentence that names the URL and says what to do."""

    @pytest.mark.parametrize(
        ("variable", "value", "message"),
        [
            (
                "AWS_ENDPOINT_URL",
                "http://127.0.0.1:9",
                "Could not connect .*check the URL, the net",
            ),
            ("AWS_PROFILE", "nobody", r"profile \(nobody\) could not be found; .*AWS_PROFILE"),
            ("AWS_ACCESS_KEY_ID", None, "Unable to locate credentials; .*AWS_ACCESS_KEY_ID"),
        ],
    )
    def test_for_the_environment(self, kept, monkeypatch, variable, value, message):
        if value is None:
            monkeypatch.delenv(variable)
        else:
            monkeypatch.setenv(variable, value)
        with pytest.raises(SourceError, match=rf"{kept.url} cannot be read: .*{message}"):
            kept.remote  # noqa: B018

    def test_for_a_malformed_endpoint(self, kept, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
        with pytest.raises(StoreLayoutError, match=r"Invalid endpoint: .*; correct .*AWS_"):
            kept.remote  # noqa: B018

    def test_to_refused_credentials(self, kept, s3):
        with s3.refusing(), pytest.raises(SourceError, match="may list and read it: AWS_ACCESS_K"):
            kept.remote  # noqa: B018

    def test_any_more(self, kept, s3):
        store = kept.remote
        dataset = store.dataset()
        with s3.refusing(), pytest.raises(SourceError, match=f"{kept.url} cannot be read: .*list"):
            store.records("chr1", 0, 500)
        assert_same(store.records("chr1", 0, 500), kept.local.records("chr1", 0, 500))
        assert dataset.sizes["variants"] == N

    def test_without_the_extra(self, kept, monkeypatch):
        monkeypatch.setitem(sys.modules, "s3fs", None)
        monkeypatch.delitem(_registry, "s3")
        with pytest.raises(SourceError, match=r"Install s3fs .*pip install 'zarrbench\[s3\]'"):
            kept.remote  # noqa: B018
