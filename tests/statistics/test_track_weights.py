"""Weights of tracks: the study's file, matching by index and name, haplotypes, laziness."""

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrbench.errors import ModelInputError, RecipeError, SourceError
from zarrbench.statistics.track_weights import (
    TrackWeights,
    apply_track_weights,
    read_track_weights,
    track_weights_text,
)

WEIGHTS = TrackWeights(("a; b", "same", "same", "c"), np.array([0.5, -2.0, 0.0, 3.0]), 7.0)


def refuse_to_compute(*args, **kwargs):
    raise AssertionError("something computed")


def summary(values, indices=(0, 1, 2, 3), descriptions=("a, b", "same", "same", "c")):
    dims = ("gene", "individual", "haplotype", "track")
    return xr.DataArray(
        values,
        {
            "gene": [f"G{k}" for k in range(values.shape[0])],
            "haplotype": np.arange(values.shape[2]),
            "track": [f"T{k}" for k in indices],
            "track_index": ("track", list(indices)),
            "track_description": ("track", list(descriptions)),
        },
        dims,
    )


@pytest.fixture
def rng():
    return np.random.default_rng(5313)


def test_the_study(published):
    weights = read_track_weights(published / "GTExWeights.csv")
    assert len(weights.tracks) == 5313
    assert weights.tracks[4980] == "CAGE:brain; adult;"
    assert weights.tracks[4680] == "CAGE:brain; adult; pool1"
    assert weights.offset == 3.87769
    assert len(set(weights.tracks)) < 5313
    lines = (published / "GTExWeights.csv").read_text().splitlines()
    assert weights.weights.tolist() == [float(line.split(",")[1]) for line in lines[1:-1]]


@pytest.mark.realdata
def test_the_study_belongs_to_the_released_targets(published, realdata):
    from zarrbench.models.enformer.targets import read_targets

    weights = read_track_weights(published / "GTExWeights.csv")
    tracks = read_targets(realdata / "enformer" / "targets_human.txt")
    assert tuple(t.description.replace(",", ";") for t in tracks) == weights.tracks


def test_what_is_written_is_read(tmp_path, rng):
    path, names = tmp_path / "weights.csv", ("a, b", "", "µ;", "same", "same")
    written = TrackWeights(names, rng.normal(size=5) * 10.0 ** rng.integers(-9, 9, 5), -1 / 3)
    path.write_text(track_weights_text(written))
    found = read_track_weights(path)
    assert found.tracks == ("a; b", *names[1:])
    assert found.weights.tolist() == written.weights.tolist()
    assert found.offset == written.offset


@pytest.mark.parametrize("name", ["offset", "two\nlines"])
def test_descriptions_that_no_table_can_hold_are_refused(name):
    with pytest.raises(ModelInputError, match="describe it in another way"):
        track_weights_text(TrackWeights(("a", name), np.ones(2), 0.0))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "begins with ''"),
        ("track,weight\na,1\noffset,2\n", "begins with 'track,weight'"),
        ("tracks,weights\na,1\n", "has 0 rows 'offset'"),
        ("tracks,weights\noffset,2\na,1\n", "has 1 rows 'offset', where its last row"),
        ("tracks,weights\noffset,2\noffset,1\n", "has 2 rows"),
        ("tracks,weights\na, b,1\noffset,2\n", "line 2: expected a track without commas"),
        ("tracks,weights\na,1\nb\noffset,2\n", "line 3"),
        ("tracks,weights\na,nan\noffset,2\n", "line 2"),
        ("tracks,weights\na,x\noffset,2\n", "line 2"),
        ("tracks,weights\na,1\noffset,\n", "line 3"),
    ],
)
def test_files_that_are_none_are_refused(tmp_path, text, sentence):
    path = tmp_path / "w.csv"
    path.write_text(text)
    with pytest.raises(SourceError, match=sentence):
        read_track_weights(path)


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(SourceError, match="cannot read"):
        read_track_weights(tmp_path / "none.csv")


def test_haplotypes_are_averaged_or_added_with_the_offset_twice(rng):
    values = rng.normal(size=(3, 5, 2, 4))
    per_haplotype = values @ WEIGHTS.weights + 7.0
    mean = apply_track_weights(summary(values), WEIGHTS)
    total = apply_track_weights(summary(values), WEIGHTS, "sum")
    np.testing.assert_allclose(mean, per_haplotype.mean(axis=2))
    np.testing.assert_allclose(total, per_haplotype.sum(axis=2))
    assert mean.dims == total.dims == ("gene", "individual")
    nothing = apply_track_weights(summary(np.zeros((1, 1, 2, 4))), WEIGHTS, "sum")
    assert nothing.item() == 14.0


def test_without_haplotypes_the_offset_counts_once(rng):
    values = rng.normal(size=(3, 1, 1, 4))
    reference = summary(values).isel(individual=0, haplotype=0)
    np.testing.assert_allclose(
        apply_track_weights(reference, WEIGHTS, "sum"), values[:, 0, 0] @ WEIGHTS.weights + 7
    )


@settings(max_examples=30)
@given(
    order=st.permutations(range(4)),
    chunks=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 2), st.integers(1, 4)),
)
def test_neither_order_of_tracks_nor_chunks_change_the_result(order, chunks):
    values = np.random.default_rng(3).normal(size=(3, 5, 2, 4))
    plain = summary(values)
    moved = plain.isel(track=list(order))
    moved = moved.copy(data=da.from_array(moved.values, chunks))
    with dask.config.set(scheduler=refuse_to_compute):
        lazy = apply_track_weights(moved, WEIGHTS)
    assert lazy.chunks
    np.testing.assert_allclose(
        lazy.compute(scheduler="synchronous"), apply_track_weights(plain, WEIGHTS), rtol=1e-12
    )


def test_tracks_without_weight_are_not_needed(rng):
    values = rng.normal(size=(3, 5, 2, 4))
    values[..., 2] = np.nan
    whole = apply_track_weights(summary(values), WEIGHTS)
    assert np.isfinite(whole).all()
    fewer = apply_track_weights(summary(values).isel(track=[3, 0, 1]), WEIGHTS)
    np.testing.assert_allclose(fewer, whole)


def test_what_was_not_predicted_stays_missing(rng):
    values = rng.normal(size=(2, 2, 2, 4))
    values[0, 0, 1, 3] = np.nan
    found = apply_track_weights(summary(values), WEIGHTS)
    assert np.isnan(found.values).tolist() == [[True, False], [False, False]]


def test_float32_is_summed_in_double_precision(rng):
    values = rng.normal(size=(1, 1, 2, 4)).astype(np.float32)
    found = apply_track_weights(summary(values), WEIGHTS)
    assert found.dtype == np.float64
    np.testing.assert_allclose(
        found, apply_track_weights(summary(values.astype(np.float64)), WEIGHTS), rtol=1e-14
    )


def test_no_weight_at_all_leaves_the_offset(rng):
    none = TrackWeights(WEIGHTS.tracks, np.zeros(4), 7.0)
    assert (apply_track_weights(summary(rng.normal(size=(2, 2, 2, 4))), none) == 7.0).all()


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        ({"indices": (1, 0, 2, 3)}, "track 1 is 'a, b' in the summary, but 'same' of 4"),
        ({"indices": (0, 1, 2, 4)}, "track 4 is 'c' in the summary, but none of 4"),
        ({"indices": (0, 1, 2, -1)}, "track -1 is 'c' in the summary, but none of 4"),
        ({"descriptions": ("a, b", "same", "c", "same")}, "track 2 is 'c'"),
        ({"indices": (0, 1, 1, 3)}, "stands more than once"),
    ],
)
def test_index_and_name_must_belong_together(rng, array, sentence):
    with pytest.raises(ModelInputError, match=sentence):
        apply_track_weights(summary(rng.normal(size=(1, 1, 2, 4)), **array), WEIGHTS)


def test_missing_tracks_and_coordinates_are_refused(rng):
    whole = summary(rng.normal(size=(1, 1, 2, 4)))
    with pytest.raises(ModelInputError, match=r"1 of 3 tracks with a weight .* the first is 1"):
        apply_track_weights(whole.isel(track=[0, 2, 3]), WEIGHTS)
    for name in ("track_index", "track_description"):
        with pytest.raises(ModelInputError, match=f"no coordinate '{name}'"):
            apply_track_weights(whole.drop_vars(name), WEIGHTS)
    with pytest.raises(RecipeError, match="use mean or sum"):
        apply_track_weights(whole, WEIGHTS, "max")


def test_weights_and_tracks_have_one_length():
    with pytest.raises(ValueError, match="2 tracks"):
        TrackWeights(("a", "b"), np.zeros(3), 0.0)
