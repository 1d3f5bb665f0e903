"""The table that says what each output of the released model is (``targets_human.txt``)."""

from pathlib import Path

import pandas as pd

from zarrbench.delimited import reading_text
from zarrbench.errors import ModelInputError
from zarrbench.models.protocol import Track, check_tracks

_COLUMNS = ("index", "identifier", "description")
#: the track of the study and its place among the human tracks (METHODS section 3.4)
STUDY_TRACK, STUDY_INDEX = "CAGE:brain, adult,", 4980


def read_targets(path: Path) -> tuple[Track, ...]:
    """Return the tracks of a targets table (tab-separated, with a header), in its order.

    Raises
    ------
    ModelInputError
        If it is no such table, its rows are not in the order of the outputs, or the track of the
        study is in another place than in the released model.
    """
    try:
        with reading_text(path) as handle:
            table = pd.read_csv(handle, sep="\t", dtype=str, keep_default_na=False)
    except ValueError as error:
        reason = str(error).strip()
        raise ModelInputError(f"the targets table {path} cannot be read: {reason}") from error
    lacking = [name for name in _COLUMNS if name not in table.columns]
    if lacking:
        raise ModelInputError(
            f"the targets table {path} lacks the column {lacking[0]!r}; give targets_human.txt of "
            "the released model"
        )
    expected = [str(row) for row in range(len(table))]
    if list(table["index"]) != expected:
        raise ModelInputError(
            f"the rows of the targets table {path} are not numbered from 0 in order, so that they "
            "do not say which output they describe; give targets_human.txt as it was published"
        )
    tracks = tuple(map(Track, table["identifier"], table["description"], range(len(table))))
    try:
        check_tracks(tracks)
    except ValueError as error:
        raise ModelInputError(f"the targets table {path} is incomplete: {error}") from error
    study = [row for row, track in enumerate(tracks) if track.description == STUDY_TRACK]
    if study not in ([], [STUDY_INDEX]):
        raise ModelInputError(
            f"the targets table {path} has {STUDY_TRACK!r} in row {study[0]}, the released model "
            f"in {STUDY_INDEX}: it is of another model"
        )
    return tracks
