import gzip

import pytest

from zarrbench.errors import ModelInputError, SourceError
from zarrbench.models.enformer.targets import STUDY_INDEX, STUDY_TRACK, read_targets
from zarrbench.models.protocol import Track

HEADER = "index\tgenome\tidentifier\tfile\tclip\tscale\tsum_stat\tdescription\n"


def table(*tracks: tuple[str, str], first: int = 0, header: str = HEADER) -> str:
    rows = [
        f"{first + row}\t0\t{name}\t/data/{name}.w5\t32\t2\tmean\t{description}\n"
        for row, (name, description) in enumerate(tracks)
    ]
    return header + "".join(rows)


@pytest.mark.realdata
def test_the_published_table(realdata):
    tracks = read_targets(realdata / "enformer" / "targets_human.txt")
    assert len(tracks) == 5313
    assert tracks[0].id == "ENCFF833POA"
    assert tracks[STUDY_INDEX] == Track("CNhs11796", STUDY_TRACK)
    assert STUDY_INDEX == 4980
    assert "GM12878" in tracks[5110].description
    assert tracks[5110].description.startswith("CAGE:")
    assert len({track.id for track in tracks}) == 5313


@pytest.mark.parametrize("opened", [open, gzip.open])
def test_tracks_are_rows_in_order(tmp_path, opened):
    path = tmp_path / "targets.txt"
    with opened(path, "wt") as handle:
        handle.write(table(("B", "CAGE:one, two"), ("A", 'with a " quote'), ("NA", "NA")))
    found = read_targets(path)
    assert found == (Track("B", "CAGE:one, two"), Track("A", 'with a " quote'), Track("NA", "NA"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read"),
        ("\n\n", "cannot be read"),
        (HEADER, "incomplete: a model needs at least one track"),
        ("index\tdescription\n0\tx\n", "lacks the column 'identifier'"),
        (table(("A", "x"), header=HEADER.replace("\t", ",")), "lacks the column 'index'"),
        (table(("A", "x"), first=1), "not numbered from 0 in order"),
        (table(("A", "x"), ("B", "y")).replace("\n1\t", "\n0\t"), "not numbered from 0 in order"),
        (table(("A", "x"), ("A", "y")), "each with an id of its own"),
        (table(("A", STUDY_TRACK)), "in row 0, the released model in 4980"),
        (table(("A", "x")) + "1\t0\tB\t/d\t1\t2\tmean\ty\tmore\tand more\n", "cannot be read"),
    ],
)
def test_another_table_is_refused(tmp_path, content, message):
    path = tmp_path / "targets.txt"
    path.write_text(content)
    with pytest.raises(ModelInputError, match=message) as refused:
        read_targets(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "targets.txt").write_bytes(b"\xff\xfe\x00\x01" * 100)
    with pytest.raises(SourceError, match="not a text file"):
        read_targets(tmp_path / "targets.txt")
    with pytest.raises(SourceError, match="cannot read"):
        read_targets(tmp_path / "absent.txt")
