"""BED regions against a base-by-base reference, and files that are none."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrbench.errors import ContigError, SourceError
from zarrbench.genome.regions import Regions, read_regions

STRETCHES = st.lists(
    st.tuples(st.sampled_from(["chr1", "chr2"]), st.integers(0, 40), st.integers(1, 12)).map(
        lambda s: (s[0], s[1], s[1] + s[2])
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150)
@given(stretches=STRETCHES, asked=STRETCHES)
def test_a_stretch_is_held_if_every_base_is_in_a_region(stretches, asked):
    bases = {(contig, base) for contig, start, end in stretches for base in range(start, end)}
    expected = [
        all((contig, base) in bases for base in range(start, end)) for contig, start, end in asked
    ]
    contigs, starts, ends = zip(*asked, strict=True)
    assert Regions.of(stretches).hold(contigs, starts, ends).tolist() == expected


def test_touching_and_nested_regions_are_one():
    regions = Regions.of([("1", 10, 20), ("1", 12, 14), ("1", 20, 25), ("1", 26, 27)])
    assert regions.intervals["1"].tolist() == [[10, 25], [26, 27]]
    assert regions.intervals["1"].dtype == np.int64


def test_ends_are_half_open_and_nothing_holds_an_empty_stretch():
    regions = Regions.of([("chr1", 10, 20)])
    starts, ends = [10, 9, 19, 20, 15, -5], [11, 10, 20, 21, 15, 12]
    assert regions.hold(["chr1"] * 6, starts, ends).tolist() == [True, False, True, *[False] * 3]


def test_the_prefix_of_contigs_makes_no_difference():
    regions = Regions.of([("chr1", 0, 5)])
    assert regions.hold(["1", "2"], [1, 1], [2, 2]).tolist() == [True, False]
    with pytest.raises(ContigError):
        regions.hold(["1", "chr1"], [1, 1], [2, 2])


@pytest.mark.parametrize("kind", [object, str, np.dtypes.StringDType()])
def test_contigs_in_any_kind_of_text(kind):
    contigs = np.array(["chr1", "1" * 40, "chr1"]).astype(kind)
    held = Regions.of([("chr1", 0, 5)]).hold(contigs, [1, 1, 4], [2, 2, 6])
    assert held.tolist() == [True, False, False]


@pytest.mark.parametrize("opened", [open, gzip.open])
def test_files_are_read_plain_or_compressed(tmp_path, opened):
    path = tmp_path / "sequences.bed"
    with opened(path, "wt") as handle:
        handle.write("track name=x\n#c\nchr1\t5\t9\ttest\n\nchr2\t1\t3\ttrain\nchr1\t9\t11\ttest\n")
    assert {k: v.tolist() for k, v in read_regions(path, "test").intervals.items()} == {
        "chr1": [[5, 11]]
    }
    assert set(read_regions(path).intervals) == {"chr1", "chr2"}


@pytest.mark.parametrize(
    ("text", "label", "sentence"),
    [
        ("chr1\t5\n", None, "line 1 is no row of BED"),
        ("chr1\t1\t2\nchr1\tx\t2\n", None, "line 2 is no row of BED"),
        ("chr1\t5\t5\n", None, "a region from 5 to 5 is empty"),
        ("chr1\t-1\t5\n", None, "a region from -1 to 5 is empty"),
        ("", None, "holds no region;"),
        ("chr1\t1\t2\ttrain\n", "test", "holds no region with 'test' in the fourth column"),
        ("chr1\t1\t2\n", "test", "holds no region with 'test'"),
    ],
)
def test_what_is_no_bed_file_is_refused(tmp_path, text, label, sentence):
    path = tmp_path / "x.bed"
    path.write_text(text)
    with pytest.raises(SourceError, match=sentence):
        read_regions(path, label)
    with pytest.raises(SourceError, match="cannot read"):
        read_regions(tmp_path / "none.bed")
