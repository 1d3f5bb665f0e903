import errno
import os
import random
import shutil
import subprocess
from pathlib import Path

import pysam
import pytest
import zarr

from zarrbench.errors import ContigError, RecipeError, SampleError, SourceError, StorageError
from zarrbench.genotypes.ingest import check_vcf, ingest, is_vcf_zarr
from zarrbench.genotypes.store import GenotypeStore

SMALL = [
    ("chr1", 1, "A", "C", "0|1 1|0"),
    ("chr1", 5, "A", "C,*", "0/1 2|1"),
    ("chr1", 5, "AC", "A", "1|1 0|0"),
    ("chr1", 70, "a", "<DEL>", ".|. ./1"),
    ("chr2", 3, "G", ".", "0|0 0|0"),
    ("chr2", 900_000, "T", "G", "0|0 1|1"),
]
END_MARKER = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
PHASE1 = "genotypes/1kg_phase1_1092.chr22_16.05-17.80Mb.hg19.vcf.gz"

Call = tuple[tuple[int, int], bool]
Row = tuple[str, int, tuple[str, ...], tuple[Call, ...]]


def stored(path: Path, contig: str = "", start: int = 0, end: int = 1 << 30) -> list[Row]:
    """The records of a store, with 1-based positions; of all contigs unless one is named."""
    store = GenotypeStore(path, [str(name) for name in zarr.open_group(path)["contig_id"][:]])
    rows = []
    for name in [contig] if contig else store.contigs:
        records = store.records(name, start, end)
        for i, position in enumerate(records.positions):
            alleles = tuple(allele for allele in records.alleles[i] if allele)
            calls = tuple(
                ((int(a), int(b)), bool(phased))
                for (a, b), phased in zip(records.genotypes[i], records.phased[i], strict=True)
            )
            rows.append((name, int(position) + 1, alleles, calls))
    return rows


def by_htslib(path: Path) -> list[Row]:
    """The same, read with pysam."""
    rows = []
    for record in pysam.VariantFile(str(path)):
        calls = tuple(
            (tuple(-1 if a is None else a for a in sample.allele_indices), sample.phased)
            for sample in record.samples.values()
        )
        rows.append((record.chrom, record.pos, tuple(record.alleles), calls))
    return rows


def by_bcftools(bcftools: str, vcf: Path, *arguments: str) -> list[Row]:
    """The same, by ``bcftools query`` on the output of ``bcftools view``."""
    view = subprocess.run(
        [bcftools, "view", "-Ou", *arguments, str(vcf)], check=True, capture_output=True
    )
    form = "%CHROM\t%POS\t%REF\t%ALT[\t%GT]\n"
    query = subprocess.run(
        [bcftools, "query", "-f", form], input=view.stdout, check=True, capture_output=True
    )
    rows = []
    for line in query.stdout.decode().splitlines():
        contig, pos, ref, alt, *texts = line.split("\t")
        calls = []
        for text in texts:
            a, b = text.replace("|", "/").split("/")
            indices = (-1 if a == "." else int(a), -1 if b == "." else int(b))
            calls.append((indices, "|" in text))
        rows.append((contig, int(pos), (ref, *alt.split(",")), tuple(calls)))
    return rows


def assert_refused(vcf: Path, folder: Path, error: type, match: str, *arguments) -> None:
    """The ingest fails with `error`; neither folder gains a file."""
    folder.mkdir(exist_ok=True)
    before = sorted(vcf.parent.iterdir())
    with pytest.raises(error, match=match):
        ingest(vcf, folder / "genotypes.vcz", *arguments)
    assert list(folder.iterdir()) == []
    assert sorted(vcf.parent.iterdir()) == before


def test_records_are_those_of_the_vcf(tmp_path, write_vcf):
    vcf = write_vcf(SMALL)
    ingest(vcf, tmp_path / "out" / "genotypes.vcz")
    rows = stored(tmp_path / "out" / "genotypes.vcz")
    assert rows == by_htslib(vcf)
    assert rows[1] == ("chr1", 5, ("A", "C", "*"), (((0, 1), False), ((2, 1), True)))
    assert os.listdir(tmp_path / "out") == ["genotypes.vcz"]


def test_records_are_those_of_the_bcf(tmp_path, write_vcf):
    bcf = tmp_path / "small.bcf"
    bcf.write_bytes(pysam.bcftools.view("-Ob", str(write_vcf(SMALL))))
    pysam.bcftools.index(str(bcf))
    ingest(bcf, tmp_path / "genotypes.vcz")
    assert stored(tmp_path / "genotypes.vcz") == by_htslib(bcf)


def test_a_vcf_may_have_a_csi_index(tmp_path, write_vcf):
    vcf = write_vcf(SMALL)
    Path(f"{vcf}.tbi").unlink()
    pysam.bcftools.index("-c", str(vcf))
    ingest(vcf, tmp_path / "genotypes.vcz")
    assert stored(tmp_path / "genotypes.vcz") == by_htslib(vcf)


def test_the_store_is_consolidated_zarr_2(tmp_path, write_vcf):
    assert not is_vcf_zarr(tmp_path)
    ingest(write_vcf(SMALL), tmp_path / "genotypes.vcz")
    assert is_vcf_zarr(tmp_path / "genotypes.vcz")
    assert (tmp_path / "genotypes.vcz" / ".zmetadata").exists()


@pytest.mark.parametrize(
    ("regions", "kept"),
    [
        (["chr2"], [4, 5]),
        (["chr1:1-5"], [0, 1, 2]),
        (["chr1:2-4", "chr1:70-70"], [3]),
        (["chr2:1-900,000"], [4, 5]),
        (["chr2", "chr1:1-5", "chr1:5-70"], [0, 1, 2, 3, 4, 5]),
        # A record belongs where its POS is, not where its REF reaches.
        (["chr1:6-100"], [3]),
    ],
)
def test_regions_are_kept_by_pos(tmp_path, write_vcf, regions, kept):
    vcf = write_vcf(SMALL)
    ingest(vcf, tmp_path / "genotypes.vcz", regions)
    rows = by_htslib(vcf)
    assert stored(tmp_path / "genotypes.vcz") == [rows[i] for i in kept]


def test_samples_are_kept_in_the_order_asked(tmp_path, write_vcf):
    vcf = write_vcf(SMALL, samples=("ann", "bob"))
    ingest(vcf, tmp_path / "genotypes.vcz", (), ["bob", "ann"])
    assert GenotypeStore(tmp_path / "genotypes.vcz", ["chr1"]).samples == ["bob", "ann"]
    turned = [(*row[:3], row[3][::-1]) for row in by_htslib(vcf)]
    assert stored(tmp_path / "genotypes.vcz") == turned


def test_a_lone_dot_is_a_missing_call(tmp_path, write_vcf):
    ingest(write_vcf([("chr1", 1, "A", "C", ". 0|1")]), tmp_path / "genotypes.vcz")
    calls = GenotypeStore(tmp_path / "genotypes.vcz", ["chr1"]).records("chr1", 0, 9).genotypes
    assert calls.tolist() == [[[-1, -1], [0, 1]]]


@pytest.mark.realdata
@pytest.mark.bcftools
def test_real_records_are_those_of_bcftools(tmp_path, realdata, bcftools):
    vcf = realdata / PHASE1
    region = "chr22:17,660,001-17,700,000"
    ingest(vcf, tmp_path / "genotypes.vcz", [region])
    chooser = random.Random(22)
    for _ in range(6):
        start = chooser.randrange(17_660_000, 17_695_000)
        end = start + chooser.randrange(1, 5_000)
        expected = by_bcftools(
            bcftools, vcf, "-r", f"chr22:{start + 1}-{end}", "--regions-overlap", "pos"
        )
        found = stored(tmp_path / "genotypes.vcz", "chr22", start, end)
        assert found == expected, (start, end)


@pytest.mark.realdata
@pytest.mark.bcftools
def test_a_real_subset_is_that_of_bcftools(tmp_path, realdata, bcftools):
    vcf = realdata / PHASE1
    samples = random.Random(1).sample(list(pysam.VariantFile(str(vcf)).header.samples), 40)
    regions = ["chr22:17650001-17720000", "chr22:16050000-16500000", "chr22:17700001-17750000"]
    ingest(vcf, tmp_path / "genotypes.vcz", regions, samples)
    expected = by_bcftools(
        bcftools, vcf, "-r", ",".join(regions), "--regions-overlap", "pos", "-s", ",".join(samples)
    )
    assert len(expected) > 100
    assert stored(tmp_path / "genotypes.vcz") == expected


@pytest.mark.parametrize("content", [b"", b"##fileformat=VCFv4.2\n"])
def test_plain_text_is_refused(tmp_path, write_vcf, content):
    vcf = write_vcf(SMALL)
    vcf.write_bytes(content)
    assert_refused(vcf, tmp_path / "out", SourceError, "not compressed, expected bgzip")


def test_ordinary_gzip_is_refused(tmp_path, write_vcf):
    vcf = write_vcf(SMALL)
    subprocess.run(f"gunzip -c {vcf} | gzip > {vcf}.new && mv {vcf}.new {vcf}", shell=True)
    assert_refused(vcf, tmp_path / "out", SourceError, "ordinary gzip, expected bgzip")


def test_a_file_without_index_is_refused(tmp_path, write_vcf):
    vcf = write_vcf(SMALL)
    Path(f"{vcf}.tbi").unlink()
    assert_refused(vcf, tmp_path / "out", SourceError, "has no index")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(SourceError, match="No such file"):
        check_vcf(tmp_path / "none.vcf.gz")


@pytest.mark.parametrize("regions", [[], ["chr1"]])
def test_what_is_no_vcf_is_refused(tmp_path, write_vcf, regions):
    vcf = write_vcf(SMALL)
    with pysam.BGZFile(str(vcf), "wb") as file:
        file.write(b"hello\nworld\n")
    assert_refused(vcf, tmp_path / "out", SourceError, "cannot be", regions)


@pytest.mark.parametrize("regions", [[], ["chr1"]])
def test_a_damaged_index_is_refused(tmp_path, write_vcf, regions):
    vcf = write_vcf(SMALL)
    Path(f"{vcf}.tbi").write_bytes(b"x")
    assert_refused(vcf, tmp_path / "out", SourceError, "cannot be", regions)


@pytest.mark.parametrize("regions", [[], ["chr1"]])
@pytest.mark.parametrize("kind", ["vcf.gz", "bcf"])
def test_a_truncated_file_is_refused(tmp_path, write_vcf, kind, regions):
    chooser = random.Random(3)
    calls = [" ".join(chooser.choices(["0|0", "0|1", "1|0", "1|1"], k=200)) for _ in range(600)]
    records = [("chr1", 10 * i + 1, "A", "C", call) for i, call in enumerate(calls)]
    vcf = write_vcf(records, samples=[f"s{i}" for i in range(200)])
    whole, index = vcf, Path(f"{vcf}.tbi")
    if kind == "bcf":
        whole = tmp_path / "whole.bcf"
        whole.write_bytes(pysam.bcftools.view("-Ob", str(vcf)))
        pysam.bcftools.index(str(whole))
        index = Path(f"{whole}.csi")
    content = whole.read_bytes()
    blocks = [0]
    while blocks[-1] < len(content) - len(END_MARKER):
        at = blocks[-1]
        blocks.append(at + int.from_bytes(content[at + 16 : at + 18], "little") + 1)
    assert len(blocks) > 3
    middle = len(content) // 2
    damages = {
        "no end marker": (content[: -len(END_MARKER)], "truncated"),
        "half a file": (content[:middle], "truncated"),
        "inside a block, with an end marker": (content[:middle] + END_MARKER, "cannot be"),
        "between blocks, with an end marker": (content[: blocks[-2]] + END_MARKER, "cannot be"),
        "a changed byte": (content[:middle] + b"\xff\x00\xff" + content[middle + 3 :], "cannot be"),
    }
    for name, (damaged, match) in damages.items():
        folder = tmp_path / name
        folder.mkdir()
        path = folder / f"cut.{kind}"
        path.write_bytes(damaged)
        shutil.copy(index, folder / f"{path.name}{index.suffix}")
        assert_refused(path, tmp_path / "out", SourceError, match, regions)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((["chr3:1-100"],), ContigError, "no contig for the region 'chr3:1-100'"),
        ((["chr1:9-1"],), RecipeError, "must have 1 <= START <= END"),
        ((["chr1:100-200", "chr2:9-10"],), SourceError, "no records in chr1:100-200, chr2:9-10"),
        (([], ["ann", "eve"]), SampleError, "lacks 1 of the 2 asked samples, for example 'eve'"),
        (([], ["ann", "ann"]), SampleError, "'ann' twice"),
    ],
)
def test_what_cannot_be_chosen_is_refused(tmp_path, write_vcf, arguments, error, match):
    assert_refused(write_vcf(SMALL), tmp_path / "out", error, match, *arguments)


def test_an_empty_vcf_is_refused(tmp_path, write_vcf):
    assert_refused(write_vcf([]), tmp_path / "out", SourceError, "holds no records")


def test_a_vcf_without_people_is_refused(tmp_path, write_vcf):
    with pysam.VariantFile(str(write_vcf(SMALL))) as small:
        header = small.header.copy()
    people = tmp_path / "people"
    people.mkdir()
    path = people / "none.vcf.gz"
    text = str(header).replace("\tFORMAT\tann\tbob", "")
    with pysam.BGZFile(str(path), "wb") as file:
        file.write(f"{text}chr1\t1\t.\tA\tC\t.\tPASS\t.\n".encode())
    pysam.tabix_index(str(path), preset="vcf")
    assert_refused(path, tmp_path / "out", SourceError, "genotypes")


def test_a_failed_ingest_keeps_the_standing_store(tmp_path, write_vcf):
    vcf, store = write_vcf(SMALL), tmp_path / "genotypes.vcz"
    ingest(vcf, store)
    with pytest.raises(SourceError):
        ingest(vcf, store, ["chr1:100-200"])
    assert stored(store) == by_htslib(vcf)
    ingest(vcf, store, ["chr2"])
    assert stored(store) == by_htslib(vcf)[4:]


@pytest.mark.parametrize("place", ["tempfile.TemporaryDirectory", "bio2zarr.vcf.convert"])
def test_a_full_disk_is_no_fault_of_the_vcf(tmp_path, write_vcf, monkeypatch, place):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(place, full)
    assert_refused(write_vcf(SMALL), tmp_path / "out", StorageError, "the disk is full")
