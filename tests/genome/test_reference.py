import gzip
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pysam
import pytest
import zarr

from zarrbench.errors import ContigError, SourceError, StoreLayoutError
from zarrbench.genome import reference
from zarrbench.genome.bases import decode, encode
from zarrbench.genome.coordinates import Window
from zarrbench.genome.reference import Reference, build_reference

_RANDOM = random.Random(20231130)
SEQUENCES = {
    "chr1": "".join(_RANDOM.choices("ACGTacgtNnRyM", k=2_500)),
    "chr2": "".join(_RANDOM.choices("ACGT", k=2_048)),
    "chr22_KI270731v1_random": "acg",
}
# Incompressible enough for several bgzip blocks (of 64 KiB of text)
LONG = {"chr1": "".join(_RANDOM.choices("ACGT", k=300_000))}
FORMATS = ["a.fa", "a.fa.gz"]

# Damaging a file makes it younger than its index, of which pyfaidx warns.
pytestmark = pytest.mark.filterwarnings("ignore:.*older than FASTA file:RuntimeWarning")


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    """Let small sequences have several chunks and shards."""
    monkeypatch.setattr(reference, "CHUNK", 1 << 8)
    monkeypatch.setattr(reference, "SHARD", 1 << 10)


def written(path: Path, sequences: dict[str, str], width: int = 60) -> Path:
    lines = []
    for name, sequence in sequences.items():
        lines.append(f">{name} a description")
        lines += [sequence[i : i + width] for i in range(0, len(sequence), width)]
    text = "\n".join(lines) + "\n"
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".gz":
        with pysam.BGZFile(str(path), "wb") as file:
            file.write(text.encode())
    else:
        path.write_text(text)
    return path


def indexed(fasta: Path) -> Path:
    pysam.faidx(str(fasta))
    return fasta


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def assert_refused(fasta: Path, store: Path, error: type, match: str, contigs=()) -> None:
    """The build fails with `error` and leaves neither a store nor a file beside the FASTA."""
    before = files(fasta.parent)
    with pytest.raises(error, match=match):
        build_reference(fasta, store, contigs)
    assert files(fasta.parent) == before
    assert not store.exists()
    assert not list(store.parent.glob(".*"))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("index", [True, False])
def test_windows_are_those_of_the_fasta(tmp_path, name, index):
    fasta = written(tmp_path / "fasta" / name, SEQUENCES)
    if index:
        indexed(fasta)
    before = files(fasta.parent)
    build_reference(fasta, tmp_path / "reference.zarr")
    assert files(fasta.parent) == before
    built = Reference(tmp_path / "reference.zarr")
    assert built.lengths == {name: len(sequence) for name, sequence in SEQUENCES.items()}
    htslib = pysam.FastaFile(str(indexed(written(tmp_path / "copy" / name, SEQUENCES))))
    chooser = random.Random(1)
    for _ in range(100):
        contig = chooser.choice(list(SEQUENCES))
        start = chooser.randrange(-400, len(SEQUENCES[contig]) + 400)
        window = Window(contig, start, start + chooser.randrange(1, 1_500))
        inside = (max(window.start, 0), max(window.end, 0))
        bases = htslib.fetch(contig, *inside) if inside[0] < built.lengths[contig] else ""
        before_start = min(window.length, max(0, -window.start))
        expected = encode(("N" * before_start + bases).ljust(window.length, "N"))
        assert built.codes(window).dtype == np.uint8
        np.testing.assert_array_equal(built.codes(window), expected, str(window))


@pytest.mark.realdata
def test_windows_are_those_of_the_real_fasta(tmp_path, realdata, monkeypatch):
    monkeypatch.undo()
    fasta = realdata / "reference" / "chr22_1-22000000.hg19.fa.gz"
    build_reference(fasta, tmp_path / "reference.zarr")
    built = Reference(tmp_path / "reference.zarr")
    htslib = pysam.FastaFile(str(fasta))
    starts = [0, 16_049_990, 16_697_800, 21_803_392]
    starts += np.random.default_rng(1).integers(16_050_000, 21_800_000, 8).tolist()
    for start in starts:
        window = Window("chr22", start, start + 196_608)
        expected = encode(htslib.fetch("chr22", window.start, window.end))
        np.testing.assert_array_equal(built.codes(window), expected, str(window))


def test_windows_beyond_both_ends_are_padded(tmp_path):
    build_reference(written(tmp_path / "a.fa", {"c": "ACGT"}), tmp_path / "r.zarr")
    built = Reference(tmp_path / "r.zarr")
    assert decode(built.codes(Window("c", -2, 7))) == "NNACGTNNN"
    assert decode(built.codes(Window("c", -9, -4))) == "NNNNN"
    assert decode(built.codes(Window("c", 4, 6))) == "NN"


def test_contigs_are_kept_as_asked(tmp_path):
    fasta = written(tmp_path / "a.fa", SEQUENCES)
    build_reference(fasta, tmp_path / "r.zarr", ["chr2", "chr1", "chr2"])
    assert list(Reference(tmp_path / "r.zarr").lengths) == ["chr2", "chr1"]


def test_line_ends_of_windows_are_no_bases(tmp_path):
    fasta = written(tmp_path / "a.fa", SEQUENCES)
    fasta.write_bytes(fasta.read_bytes().replace(b"\n", b"\r\n"))
    build_reference(fasta, tmp_path / "r.zarr", ["chr1"])
    codes = Reference(tmp_path / "r.zarr").codes(Window("chr1", 0, 2_500))
    np.testing.assert_array_equal(codes, encode(SEQUENCES["chr1"]))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "cannot be read as FASTA"),
        (b"ACGT\nACGT\n", "cannot be read as FASTA"),
        (b">a\nACGT\nAC\nACGT\n", "cannot be read as FASTA"),
        (b">a\nACGT\n>a\nACGT\n", "Duplicate key"),
        (b">a\nAC\xc3\x84T\n", "damaged or truncated in a:1-"),
        (b"\xff\xfe\x00binary\x00", "cannot be read as FASTA"),
    ],
    ids=["empty", "no header", "uneven lines", "duplicate", "not ASCII", "binary"],
)
def test_what_is_no_fasta_is_refused(tmp_path, content, match):
    fasta = tmp_path / "fasta" / "a.fa"
    fasta.parent.mkdir()
    fasta.write_bytes(content)
    assert_refused(fasta, tmp_path / "r.zarr", SourceError, match)


def test_ordinary_gzip_is_refused(tmp_path):
    fasta = tmp_path / "fasta" / "a.fa.gz"
    fasta.parent.mkdir()
    fasta.write_bytes(gzip.compress(b">a\nACGT\n"))
    assert_refused(fasta, tmp_path / "r.zarr", SourceError, "not with bgzip")


def test_a_missing_file_is_refused(tmp_path):
    (tmp_path / "fasta").mkdir()
    assert_refused(tmp_path / "fasta" / "a.fa", tmp_path / "r.zarr", SourceError, "Cannot read")


def test_a_missing_contig_is_refused(tmp_path):
    fasta = written(tmp_path / "fasta" / "a.fa", SEQUENCES)
    match = "lacks the contig 'chr3'"
    assert_refused(fasta, tmp_path / "r.zarr", ContigError, match, ["chr1", "chr3"])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_refused(tmp_path, name, share):
    fasta = indexed(written(tmp_path / "fasta" / name, LONG))
    fasta.write_bytes(fasta.read_bytes()[: int(fasta.stat().st_size * share)])
    assert_refused(fasta, tmp_path / "r.zarr", SourceError, "truncated|cannot be read")


@pytest.mark.parametrize("index", [(), (".fai",), (".fai", ".gzi")])
def test_a_damaged_bgzip_file_is_refused(tmp_path, index):
    whole = indexed(written(tmp_path / "whole" / "a.fa.gz", LONG))
    content = whole.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0xFF
    for i, damaged in enumerate([bytes(flipped), content[:40_000], content[:-28]]):
        fasta = tmp_path / str(i) / "a.fa.gz"
        fasta.parent.mkdir()
        fasta.write_bytes(damaged)
        for suffix in index:
            shutil.copy(f"{whole}{suffix}", f"{fasta}{suffix}")
        if damaged == content[:-28] and ".gzi" in index:
            continue  # only the end marker is gone, and the index tells that nothing else is
        assert_refused(fasta, tmp_path / "r.zarr", SourceError, "damaged|cannot be read")


@pytest.mark.parametrize("junk", [b"", b"x", b"chr1\t5\n", b"\xf4\xf5\x00"])
@pytest.mark.parametrize("suffix", [".fai", ".gzi"])
def test_a_damaged_index_is_refused(tmp_path, suffix, junk):
    fasta = indexed(written(tmp_path / "fasta" / "a.fa.gz", LONG))
    Path(f"{fasta}{suffix}").write_bytes(junk)
    assert_refused(fasta, tmp_path / "r.zarr", SourceError, "cannot be read|holds no sequence")


def test_a_failed_build_keeps_the_standing_store(tmp_path):
    store = tmp_path / "r.zarr"
    build_reference(written(tmp_path / "a.fa", {"c": "ACGT"}), store)
    shorter = written(tmp_path / "b.fa", LONG)
    indexed(shorter)
    os.truncate(shorter, 1_000)
    with pytest.raises(SourceError, match="shorter than its index says"):
        build_reference(shorter, store)
    assert Reference(store).lengths == {"c": 4}


def test_a_store_of_another_version_is_refused(tmp_path):
    store = tmp_path / "r.zarr"
    with pytest.raises(StoreLayoutError, match="no reference store"):
        Reference(store)
    build_reference(written(tmp_path / "a.fa", {"c": "ACGT"}), store)
    group = zarr.open_group(store, mode="r+")
    group.attrs["format_version"] = 0
    with pytest.raises(StoreLayoutError, match="format version 0"):
        Reference(store)
    group.attrs["format"] = "zarrbench.genes"
    with pytest.raises(StoreLayoutError, match=r"not a zarrbench\.reference store"):
        Reference(store)


def test_an_unknown_contig_is_refused(tmp_path):
    build_reference(written(tmp_path / "a.fa", {"c": "ACGT"}), tmp_path / "r.zarr")
    with pytest.raises(ContigError, match="no contig 'chrX'"):
        Reference(tmp_path / "r.zarr").codes(Window("chrX", 0, 4))
