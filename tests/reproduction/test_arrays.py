"""The released arrays are read as they are, and nothing else is, nor unpickled, nor unpacked."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from zarrbench.errors import SourceError
from zarrbench.genome.bases import decode
from zarrbench.reproduction.arrays import read_scans, read_sequences, read_test_genes

TEST_GENES, ARCHIVE = "enformer_test_set_genes.npy", "maindrivernpz.tar"
AROUND = "ALLgenes_ism_attributions_driversfwmain_{}seq_winsize13.npz"
FIRST = "from_ref/ENSG00000001460_24417389_attribution.npz"
Change = Callable[[dict[str, bytes]], None]


def npz(**arrays: object) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


@pytest.fixture
def archived(copied: Path) -> Callable[[Change], Path]:
    """Change the members of the archive, by name; return the folder."""

    def change(edit: Change) -> Path:
        path = copied / ARCHIVE
        with tarfile.open(path) as archive:
            members = {one.name: archive.extractfile(one).read() for one in archive}
        edit(members)
        with tarfile.open(path, "w") as archive:
            for name, content in members.items():
                member = tarfile.TarInfo(name.rstrip("*"))
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return copied

    return change


def test_scans_are_the_members_of_the_archive(published: Path) -> None:
    scans = read_scans(published)
    assert len(set(scans.gene.tolist())) == len(scans.gene) == 481
    with tarfile.open(published / ARCHIVE) as archive:
        for row in (0, 100, 480):
            name = f"{scans.gene[row]}_{scans.position[row]}_attribution.npz"
            for folder, scan, codes in (
                ("from_ref", scans.reference, scans.reference_codes),
                ("from_main_var", scans.variant, scans.variant_codes),
            ):
                member = archive.extractfile(f"{folder}/{name}")
                with np.load(io.BytesIO(member.read())) as arrays:
                    np.testing.assert_array_equal(scan[row], arrays["attribution"])
                    assert decode(codes[row]) == str(arrays["seq"])
    # a mutation to the base that is there changes nothing, and the two sequences differ by the SNV
    for scan, codes in (
        (scans.reference, scans.reference_codes), (scans.variant, scans.variant_codes)
    ):  # fmt: skip
        assert not np.take_along_axis(scan, codes[..., np.newaxis].astype(int), axis=2).any()
    differing = (scans.reference_codes != scans.variant_codes).sum(axis=0)
    assert differing.tolist() == [0] * 20 + [481] + [0] * 20


@pytest.mark.parametrize(("main", "n"), [(True, 481), (False, 2658)])
def test_sequences_are_those_of_the_files(published: Path, main: bool, n: int) -> None:
    found = read_sequences(published, main)
    assert found.reference.shape == found.variant.shape == (n, 13)
    for base, codes in (("ref", found.reference), ("var", found.variant)):
        name = AROUND.format(base) if main else AROUND.format(base).replace("main", "")
        with np.load(published / name) as arrays:
            np.testing.assert_array_equal(np.eye(4, dtype=int)[codes], arrays["seqs"])
            assert found.gene.tolist() == arrays["genes"].tolist()
            assert list(map(str, found.position)) == arrays["loci"].tolist()


def set_(name: str, content: bytes) -> Change:
    return lambda members: members.update({name: content})


SCAN = np.zeros((41, 4))
MEMBERS = {
    "another name": (set_("from_ref/other.npz", b""), "'from_ref/other.npz', which is not named"),
    "outside": (set_("../ENSG00000001460_1_attribution.npz", b""), "which is not named as a scan"),
    "absolute": (set_("/from_ref/ENSG00000001460_1_attribution.npz", b""), "is not named as"),
    "twice": (set_(FIRST + "*", npz(attribution=SCAN, seq="A" * 41)), "more than once"),
    "one base only": (lambda members: members.pop(FIRST), "either base, found 480 and 481"),
    "one more": (
        set_("from_ref/ENSG00000001461_5_attribution.npz", npz(attribution=SCAN, seq="A" * 41)),
        "found 482 and 481",
    ),
    "large": (set_(FIRST, bytes(70_000)), "should hold small files only, found 'from_ref/ENSG"),
    "no arrays": (set_(FIRST, b"some text"), f"{FIRST} is truncated or no set of arrays"),
    "empty": (set_(FIRST, b""), f"{FIRST} is truncated or no set of arrays"),
    "shape": (set_(FIRST, npz(attribution=SCAN[1:], seq="A" * 41)), r"found {'attribution': \(40"),
    "names": (set_(FIRST, npz(attribution=SCAN, letters="A" * 41)), "should hold arrays of shapes"),
    "letters": (set_(FIRST, npz(attribution=SCAN, seq="A" * 40 + "R")), "should hold 41 letters"),
    "fewer": (set_(FIRST, npz(attribution=SCAN, seq="A" * 40)), "should hold 41 letters"),
    "nan": (set_(FIRST, npz(attribution=SCAN * np.nan, seq="A" * 41)), "should hold numbers"),
    "type": (set_(FIRST, npz(attribution=SCAN.astype("U1"), seq="A" * 41)), "should hold numbers"),
    "pickled": (
        set_(FIRST, npz(attribution=np.full((41, 4), None), seq="A" * 41)),
        "is truncated or no set of arrays: Object arrays cannot be loaded",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MEMBERS)
def test_archives_with_other_members_are_refused(
    archived: Callable[[Change], Path], case: str
) -> None:
    edit, sentence = MEMBERS[case]
    with pytest.raises(SourceError, match=sentence) as error:
        read_scans(archived(edit))
    assert "\n" not in str(error.value)


def test_links_are_refused(copied: Path) -> None:
    link = tarfile.TarInfo(FIRST)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(copied / ARCHIVE, "w") as archive:
        archive.addfile(link)
    with pytest.raises(SourceError, match="small files only"):
        read_scans(copied)


def test_the_release_is_not_compressed(copied: Path) -> None:
    with tarfile.open(copied / ARCHIVE, "w:gz"):
        pass
    with pytest.raises(SourceError, match="no archive"):
        read_scans(copied)


ONE_HOT = np.tile(np.eye(4, dtype=int)[0], (481, 13, 1))
GENES, LOCI = np.array(["ENSG00000001460"] * 481), np.array(["24417389"] * 481)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"seqs": ONE_HOT[1:]}, r"found {'seqs': \(480, 13, 4\)"),
        ({"seqs": ONE_HOT * 2}, "zeros and ones in 'seqs'"),
        ({"seqs": ONE_HOT.astype(float)}, "zeros and ones in 'seqs'"),
        ({"seqs": ONE_HOT * 0}, "one base at every place of 'seqs'"),
        ({"loci": np.array(["24417389.0"] * 481)}, "positions in 'loci'"),
        ({"loci": np.zeros(481)}, "positions in 'loci'"),
        ({"genes": np.array(["DDX11"] * 481)}, "'DDX11', which is no gene id"),
        ({"genes": GENES.astype(object)}, "no set of arrays: Object arrays cannot"),
        ({"more": LOCI}, "should hold arrays of shapes"),
        ({}, r"varseq_winsize13.npz should hold the drivers of .*refseq"),
    ],
)
def test_sequences_that_are_none_are_refused(
    copied: Path, arrays: dict[str, np.ndarray], sentence: str
) -> None:
    content = npz(**{"seqs": ONE_HOT, "genes": GENES, "loci": LOCI, **arrays})
    (copied / AROUND.format("ref")).write_bytes(content)
    with pytest.raises(SourceError, match=sentence):
        read_sequences(copied, main=True)


def test_a_single_array_is_no_set(copied: Path) -> None:
    with (copied / AROUND.format("ref")).open("wb") as handle:
        np.save(handle, ONE_HOT)
    with pytest.raises(SourceError, match="no set of arrays: a single array"):
        read_sequences(copied, main=True)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.array(["ENSG00000203825"]), r"found \(1,\) <U15"),
        (np.zeros(5595), "float64"),
        (np.array(["ENSG00000203825.2"] * 5595), "which is no gene id"),
        (np.array(["ENSG00000203825"] * 5595, dtype=object), "no array of text"),
    ],
)
def test_arrays_that_are_no_gene_ids_are_refused(
    copied: Path, array: np.ndarray, sentence: str
) -> None:
    np.save(copied / TEST_GENES, array, allow_pickle=True)
    with pytest.raises(SourceError, match=sentence):
        read_test_genes(copied)
