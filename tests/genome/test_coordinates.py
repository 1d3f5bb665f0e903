import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zarrbench.errors import ContigError, RecipeError
from zarrbench.genome.bases import OTHER, decode, encode, reverse_complement
from zarrbench.genome.coordinates import (
    Window,
    from_one_based,
    map_contigs,
    model_window,
    parse_region,
    to_one_based,
    tss_of_gene,
)

TSS = 250_000


def test_xpresso_window_of_a_plus_gene():
    window = model_window("chr1", TSS, "+", 10_500, 6_999, strand_aware=True)
    assert window == Window("chr1", TSS - 7_000, TSS + 3_500, anchor=TSS - 1)


def test_xpresso_window_of_a_minus_gene():
    window = model_window("chr1", TSS, "-", 10_500, 6_999, strand_aware=True)
    assert window == Window("chr1", TSS - 3_501, TSS + 6_999, reverse=True, anchor=TSS - 1)


@pytest.mark.parametrize("strand", ["+", "-"])
def test_enformer_window_of_either_strand(strand):
    window = model_window("chr1", TSS, strand, 196_608, 98_304, strand_aware=False)
    assert str(window) == f"chr1:{TSS - 98_304}-{TSS + 98_303}"
    assert window.length == 196_608
    assert not window.reverse
    # METHODS 3.1: a variant at POS has index POS - TSS + 98304.
    assert int(from_one_based(TSS)) - window.start == 98_304


@given(
    letters=st.text("ACGT", min_size=1, max_size=40),
    tss=st.integers(1, 40),
    strand=st.sampled_from("+-"),
    length=st.integers(1, 50),
    tss_index=st.integers(0, 49),
    strand_aware=st.booleans(),
)
def test_the_base_at_tss_index_is_the_tss(letters, tss, strand, length, tss_index, strand_aware):
    tss, tss_index = min(tss, len(letters)), min(tss_index, length - 1)
    window = model_window("chr1", tss, strand, length, tss_index, strand_aware)
    assert window.length == length
    # Far enough beyond both ends for every window
    padded = np.concatenate([np.full(60, OTHER, np.uint8), encode(letters), np.full(60, OTHER)])
    codes = padded[window.start + 60 : window.end + 60].astype(np.uint8)
    oriented = reverse_complement(codes) if window.reverse else codes
    base = letters[tss - 1]
    if strand_aware and strand == "-":
        base = base.translate(str.maketrans("ACGT", "TGCA"))
    assert decode(oriented)[tss_index] == base


@st.composite
def moves(draw):
    """A contig, a window well inside, and a shift that keeps the TSS inside the window."""
    length = draw(st.integers(1, 50))
    tss_index = draw(st.integers(0, length - 1))
    shift = draw(st.integers(-tss_index, length - 1 - tss_index))
    letters = draw(st.text("ACGT", min_size=205, max_size=230))
    tss = draw(st.integers(102, 104))
    strand, strand_aware = draw(st.sampled_from("+-")), draw(st.booleans())
    return letters, tss, strand, length, tss_index, strand_aware, shift


@given(moves())
def test_windows_that_move_are_slices_of_the_contig_as_it_is_read(case):
    letters, tss, strand, length, tss_index, strand_aware, shift = case
    window = model_window("chr1", tss, strand, length, tss_index, strand_aware)

    def turned(text: str) -> str:
        return text[::-1].translate(str.maketrans("ACGT", "TGCA"))

    def read(window: Window) -> str:
        forward = letters[window.start : window.end]
        return turned(forward) if window.reverse else forward

    as_read, at = letters, tss - 1
    if strand_aware and strand == "-":
        as_read, at = turned(letters), len(letters) - tss
    first = at - tss_index - shift
    assert read(window.shifted(shift)) == as_read[first : first + length]
    first = len(letters) - 1 - at - tss_index
    assert read(window.other_strand()) == turned(as_read)[first : first + length]
    for moved in (window.shifted(shift), window.other_strand()):
        assert (moved.anchor, moved.length) == (tss - 1, length)
    assert window.shifted(0) == window.shifted(shift).shifted(-shift) == window
    assert window.other_strand().other_strand() == window


def test_an_anchor_cannot_be_moved_out_of_its_window():
    window = Window("chr1", 10, 20, anchor=12)
    assert window.shifted(7) == Window("chr1", 3, 13, anchor=12)
    for shift in (8, -3):
        with pytest.raises(ValueError, match="the anchor 12 lies outside"):
            window.shifted(shift)


def test_without_an_anchor_the_first_base_is_the_one_that_stays():
    assert Window("chr1", 10, 20).other_strand() == Window("chr1", 1, 11, reverse=True, anchor=10)


def test_a_window_knows_whether_it_leaves_its_contig():
    assert Window("chr1", 0, 10).inside(10)
    assert not Window("chr1", -1, 9).inside(10)
    assert not Window("chr1", 1, 11).inside(10)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.int64, np.uint32])
def test_positions_of_any_type_become_int64(dtype):
    positions = np.array([0, 1, 127], dtype=dtype)
    assert from_one_based(positions).dtype == np.int64
    assert from_one_based(positions).tolist() == [-1, 0, 126]
    assert to_one_based(positions).dtype == np.int64
    assert to_one_based(positions).tolist() == [1, 2, 128]


def test_large_positions_do_not_overflow():
    largest = np.iinfo(np.int32).max
    assert to_one_based(np.array([largest], dtype=np.int32)).tolist() == [largest + 1]


def test_tss_is_the_start_of_plus_and_the_end_of_minus_genes():
    assert tss_of_gene(100, 900, "+") == 100
    assert tss_of_gene(100, 900, "-") == 900


@given(st.integers(1, 10**9), st.integers(0, 10**6), st.booleans())
def test_regions_are_read_with_and_without_commas(start, extent, commas):
    form = ",d" if commas else "d"
    text = f" chr22:{start:{form}}-{start + extent:{form}} "
    assert parse_region(text) == ("chr22", start - 1, start + extent)


def test_a_region_may_be_a_whole_contig():
    assert parse_region("chr22") == ("chr22", 0, None)


@pytest.mark.parametrize(
    "text", ["", ":1-2", "chr1:", "chr1:5", "chr1:5-", "chr1:0-5", "chr1:6-5", "chr1:,-,", "a:b-c"]
)
def test_what_is_no_region_is_refused(text):
    with pytest.raises(RecipeError, match="region"):
        parse_region(text)


@pytest.mark.parametrize(
    ("names", "reference", "mapped"),
    [
        (["1", "X"], ["chr1", "chrX"], {"1": "chr1", "X": "chrX"}),
        (["chr1"], ["1"], {"chr1": "1"}),
        (["Chr1", "CHRx"], ["1", "X"], {"Chr1": "1", "CHRx": "X"}),
        (["MT"], ["chrM"], {"MT": "chrM"}),
        (["chrM"], ["MT"], {"chrM": "MT"}),
        (["1"], ["1", "chr1"], {"1": "1"}),
        (["Chr1"], ["1", "chr1"], {}),
        (["chr1", "chrUn_1"], ["chr1", "chr2"], {"chr1": "chr1"}),
        ([], ["chr1"], {}),
    ],
)
def test_contigs_are_mapped_where_there_is_no_doubt(names, reference, mapped):
    assert map_contigs(names, reference, "the VCF") == mapped
    assert map_contigs(iter(names), iter(reference), "the VCF") == mapped


@pytest.mark.parametrize("names", [["1", "chr1"], ["chr1", "1"], ["M", "MT"]])
def test_two_names_of_one_contig_are_refused(names):
    with pytest.raises(ContigError, match=r"the VCF names the contig .* in two ways"):
        map_contigs(names, ["chr1", "chrM"], "the VCF")
