"""A weight for every track of a model and an offset: one prediction from all its outputs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from zarrbench.delimited import reading_text
from zarrbench.errors import ModelInputError, RecipeError, SourceError

HaplotypeCombine = Literal["mean", "sum"]
_HEADER = "tracks,weights"
_OFFSET = "offset"


@dataclass(frozen=True)
class TrackWeights:
    """Weights in the order of a model's outputs, with what each output measures.

    Parameters
    ----------
    tracks
        Descriptions, in which ``,`` and ``;`` are the same; not unique.
    weights
        Shape (track,), per unit of a track's summary.
    offset
        Added once for every haplotype.
    """

    tracks: tuple[str, ...]
    weights: NDArray[np.float64]
    offset: float

    def __post_init__(self) -> None:
        if self.weights.shape != (len(self.tracks),):
            raise ValueError(f"{len(self.tracks)} tracks, but weights {self.weights.shape}")


def read_track_weights(path: Path) -> TrackWeights:
    """Return the weights of a file like the study's GTExWeights.csv.

    It has the header ``tracks,weights``, a row a track in the order of the model's outputs, with
    commas inside descriptions replaced by semicolons, and a last row ``offset``.

    Raises
    ------
    SourceError
        If it is no such file, a weight is no finite number, or the row of the offset, and so
        perhaps more, is missing.
    """
    with reading_text(path) as handle:
        lines = [line.rstrip("\n") for line in handle]
    if not lines or lines[0] != _HEADER:
        raise SourceError(
            f"{path} begins with {lines[0] if lines else ''!r:.60}, not with {_HEADER!r}; give a "
            "table of track weights"
        )
    names, values = [], []
    for number, line in enumerate(lines[1:], 2):
        name, comma, text = line.rpartition(",")
        value = _number(text)
        if not comma or "," in name or not np.isfinite(value):
            raise SourceError(
                f"{path}, line {number}: expected a track without commas, a comma and a number, "
                f"found {line!r:.60}; fetch the file again"
            )
        names.append(name)
        values.append(value)
    if names.count(_OFFSET) != 1 or names[-1] != _OFFSET:
        raise SourceError(
            f"{path} has {names.count(_OFFSET)} rows {_OFFSET!r}, where its last row should be the "
            "one; if it is truncated, fetch it again"
        )
    return TrackWeights(tuple(names[:-1]), np.array(values[:-1]), values[-1])


def track_weights_text(weights: TrackWeights) -> str:
    """Return weights as the text of a file that `read_track_weights` reads, with all digits.

    Raises
    ------
    ModelInputError
        If a description cannot stand in such a file.
    """
    names = [_plain(name) for name in weights.tracks]
    for name in names:
        if name == _OFFSET or len(name.splitlines()) > 1:
            raise ModelInputError(
                f"a track is described as {name!r}, which cannot name one in a table of weights "
                f"(one line each, and {_OFFSET!r} the last); describe it in another way"
            )
    rows = zip([*names, _OFFSET], [*weights.weights.tolist(), weights.offset], strict=True)
    return "\n".join([_HEADER, *(f"{name},{value!r}" for name, value in rows), ""])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def apply_track_weights(
    summary: xr.DataArray, weights: TrackWeights, haplotype_combine: HaplotypeCombine = "mean"
) -> xr.DataArray:
    """Return ``s . w + offset`` for every haplotype, and haplotypes combined; lazy where Dask is.

    The study's own weights expect the summary ``log_sum`` in base 2 over five bins (the readout
    ``released_finetuned``); which summary is given cannot be told from the numbers.

    Parameters
    ----------
    summary
        Over (..., track), perhaps with ``haplotype``, and with the coordinates ``track_index`` and
        ``track_description`` of a cube. Tracks of weight 0 may be missing, and are not read.
    weights
    haplotype_combine
        "mean" of the haplotypes, or their "sum", as in the study, which counts the offset twice.

    Returns
    -------
    xarray.DataArray
        Dimensions of `summary` without track and haplotype, float64.

    Raises
    ------
    ModelInputError
        If a coordinate is missing, an index and its description do not belong together, a track
        stands twice, or one whose weight is not 0 is missing.
    RecipeError
        If `haplotype_combine` is unknown.
    """
    if haplotype_combine not in get_args(HaplotypeCombine):
        raise RecipeError(f"haplotype_combine cannot be {haplotype_combine!r}; use mean or sum")
    columns = _columns(summary, weights)
    used = xr.DataArray(weights.weights[columns.used], dims="track")
    chosen = summary.isel(track=columns.places)
    chosen = chosen.drop_vars([name for name, c in chosen.coords.items() if "track" in c.dims])
    predicted = xr.dot(chosen, used, dim="track") + weights.offset
    if "haplotype" not in predicted.dims:
        return predicted
    combined = predicted.mean("haplotype", skipna=False)
    return combined if haplotype_combine == "mean" else combined * predicted.sizes["haplotype"]


@dataclass(frozen=True)
class _Columns:
    """Tracks whose weight is not 0, and their places in an array."""

    used: NDArray[np.int64]
    places: NDArray[np.int64]


def _columns(summary: xr.DataArray, weights: TrackWeights) -> _Columns:
    for name in ("track_index", "track_description"):
        if name not in summary.coords or summary[name].dims != ("track",):
            raise ModelInputError(
                f"the summary has no coordinate {name!r} along track, and weights are not matched "
                "by position alone; take it from a cube"
            )
    indices = summary["track_index"].values
    for index, found in zip(indices, summary["track_description"].values, strict=True):
        expected = weights.tracks[index] if 0 <= index < len(weights.tracks) else None
        if expected is None or _plain(str(found)) != _plain(expected):
            raise ModelInputError(
                f"track {index} is {str(found)!r} in the summary, but "
                f"{'none' if expected is None else repr(expected)} of {len(weights.tracks)} in the "
                "weights; give weights that were made for this model"
            )
    place = {int(index): row for row, index in enumerate(indices)}
    if len(place) != len(indices):
        raise ModelInputError("a track stands more than once in the summary; keep one of each")
    used = np.flatnonzero(weights.weights)
    missing = [int(index) for index in used if int(index) not in place]
    if missing:
        raise ModelInputError(
            f"{len(missing)} of {len(used)} tracks with a weight are not in the summary, the first "
            f"is {missing[0]} ({weights.tracks[missing[0]]!r}); predict all tracks"
        )
    return _Columns(used, np.array([place[int(index)] for index in used], np.int64))


def _plain(description: str) -> str:
    return description.replace(",", ";")
