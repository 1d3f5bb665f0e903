import math

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from zarrbench.errors import ModelInputError, RecipeError
from zarrbench.predictions.readouts import (
    Readout,
    asked_bins,
    combine_haplotypes,
    derivative,
    read_out,
)
from zarrbench.recipes import parse
from zarrbench.statistics.correlation import pearson

MIDDLE, FIVE = (447, 448, 449), (446, 447, 448, 449, 450)


@pytest.fixture(scope="module")
def outputs() -> np.ndarray:
    """What a network of 896 bins gives: mostly small, never negative, (sequence, bins, track)."""
    return np.random.default_rng(1).lognormal(-1, 2, (7, 896, 3)).astype(np.float32)


def by_hand(outputs: np.ndarray, readout: Readout) -> np.ndarray:
    """METHODS section 5, one number at a time."""
    bins = range(outputs.shape[1]) if readout.bins is None else readout.bins
    base = math.e if readout.log_base == "e" else readout.log_base
    result = np.empty((outputs.shape[0], outputs.shape[2]))
    for sequence, track in np.ndindex(result.shape):
        x = [float(outputs[sequence, b, track]) for b in bins]
        result[sequence, track] = {
            "raw_sum": lambda x=x: sum(x),
            "sum_log": lambda x=x: sum(math.log(v + readout.pseudocount, base) for v in x),
            "log_sum": lambda x=x: math.log(sum(x) + readout.pseudocount, base),
        }[readout.kind]()
    return result


@pytest.mark.parametrize(
    "readout",
    [
        pytest.param(Readout("raw_sum"), id="all bins"),
        pytest.param(Readout("sum_log", (0,), 2, 0.01), id="pseudocount"),
        pytest.param(Readout("log_sum", (895, 3), "e", 2.5), id="bins in any order"),
    ],
)
def test_definitions(outputs, readout):
    found = read_out(outputs, readout)
    assert found.dtype == np.float32
    assert found.shape == (7, 3)
    np.testing.assert_allclose(found, by_hand(outputs, readout), rtol=1e-6)


def test_identity_is_the_only_bin(outputs):
    scalar = outputs[:, 448:449] - 5  # a network may predict a logarithm itself
    assert np.array_equal(read_out(scalar, Readout("identity")), scalar[:, 0])


def test_sum_beyond_float32_is_refused():
    with pytest.raises(ModelInputError, match="beyond float32"):
        read_out(np.full((1, 2, 1), 3e38, np.float32), Readout("raw_sum"))


def test_default_is_natural_logarithm_with_pseudocount_one(outputs):
    expected = np.log1p(outputs[:, list(MIDDLE)].astype(float)).sum(axis=1)
    np.testing.assert_allclose(read_out(outputs, Readout("sum_log", MIDDLE)), expected, rtol=1e-6)
    silent = np.zeros((1, 896, 1), np.float32)
    assert read_out(silent, Readout("sum_log", MIDDLE)) == 0


def test_base_rescales_a_track_and_leaves_r(outputs):
    e, ten = (read_out(outputs, Readout("sum_log", MIDDLE, base)) for base in ("e", 10))
    np.testing.assert_allclose(e, ten * math.log(10), rtol=1e-6)
    y = np.random.default_rng(2).normal(size=7)
    np.testing.assert_allclose(pearson(e.T, y).r, pearson(ten.T, y).r, atol=1e-6)


def test_sums_are_taken_in_float64():
    small = np.full((1, 896, 1), 1e-3, np.float32)
    small[0, 0] = 3e4  # in float32 every small bin would be rounded to a step of 0.002
    assert read_out(small, Readout("raw_sum"))[0, 0] == np.float32(3e4 + 895e-3)


@pytest.mark.parametrize("kind", ["sum_log", "log_sum"])
def test_logarithm_of_a_negative_output_is_refused(kind):
    logits = np.full((2, 3, 1), -1.5, np.float32)
    with pytest.raises(ModelInputError, match=rf"{kind}.* pseudocount 1.0 is -.*; use raw_sum"):
        read_out(logits, Readout(kind))
    assert read_out(logits, Readout("raw_sum")).tolist() == [[-4.5], [-4.5]]


@pytest.mark.parametrize("kind", ["identity", "raw_sum", "sum_log", "log_sum"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_output_that_is_no_number_is_refused(kind, value):
    """NaN in a cube means 'not done'."""
    broken = np.ones((2, 1, 2), np.float32)
    broken[1, 0, 1] = value
    with pytest.raises(ModelInputError, match=r"1 of 4 .* not finite"):
        read_out(broken, Readout(kind))


@pytest.mark.parametrize(
    ("readout", "n_bins", "message"),
    [
        (Readout("identity"), 896, "'identity' needs a model of one bin, this one has 896"),
        (Readout("raw_sum", (3,)), 3, r"bins \(3,\) are not all in 0\.\.2"),
        (Readout("raw_sum", (-1,)), 3, r"are not all in 0\.\.2"),
        (Readout("raw_sum", ()), 3, "at least one bin"),
        (Readout("raw_sum", (1, 1)), 3, "name a bin twice"),
    ],
)
def test_readout_that_a_model_cannot_serve(readout, n_bins, message):
    with pytest.raises(RecipeError, match=f"mine.yaml: {message}|mine.yaml: .*{message}"):
        readout.check(n_bins, "mine.yaml")


def test_readout_that_a_model_can_serve():
    Readout("identity").check(1, "mine.yaml")
    Readout("sum_log", (0, 2)).check(3, "mine.yaml")
    Readout("sum_log").check(3, "mine.yaml")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("sum_log", "'sum_log' is neither a mapping .* nor a known name; known: attribution, "),
        ("papr", "did you mean 'paper'"),
        ("released_finetune", "did you mean 'released_finetuned'"),
        ({"kind": "log_sums"}, "did you mean 'log_sum'"),
        ({"kind": "sum_log", "log_base": 3}, "is not a choice"),
        ({"kind": "sum_log", "bins": 447}, "expected a list"),
        ({"kind": "sum_log", "pseudocount": -1.0}, "pseudocount must be 0 or more"),
        ({"kind": "sum_log", "pseudocount": float("nan")}, "pseudocount must be 0 or more"),
    ],
)
def test_yaml_that_is_refused(written, message):
    with pytest.raises(RecipeError, match=message):
        parse(Readout, written, "mine.yaml")


def test_yaml():
    assert parse(Readout, "identity", "") == Readout("identity")
    written = {"kind": "log_sum", "bins": [446, 450], "log_base": 2, "pseudocount": 1}
    assert parse(Readout, written, "") == Readout("log_sum", (446, 450), 2, 1.0)


@pytest.mark.parametrize(
    ("name", "kind", "bins", "base"),
    [
        ("paper", "sum_log", MIDDLE, "e"),
        ("released_track", "sum_log", FIVE, 10),
        ("released_finetuned", "log_sum", FIVE, 2),
        ("attribution", "raw_sum", MIDDLE, None),
    ],
)
def test_the_readouts_of_the_study(outputs, name, kind, bins, base):
    readout = parse(Readout, name, "")
    written = {"kind": kind, "bins": list(bins), **({"log_base": base} if base else {})}
    assert readout == parse(Readout, written, "")
    np.testing.assert_allclose(read_out(outputs, readout), by_hand(outputs, readout), rtol=1e-6)
    readout.check(896, "mine.yaml")


def test_combining_haplotypes():
    values = np.random.default_rng(3).normal(size=(5, 2, 4)).astype(np.float32)
    prediction = xr.DataArray(values, dims=("individual", "haplotype", "track"))
    mean, total = (combine_haplotypes(prediction, how) for how in ("mean", "sum"))
    assert mean.dtype == total.dtype == np.float64
    np.testing.assert_array_equal(total, values[:, 0].astype(float) + values[:, 1])
    np.testing.assert_array_equal(total, 2 * mean)
    y = np.random.default_rng(4).normal(size=5)
    np.testing.assert_allclose(pearson(mean.T, y).r, pearson(total.T, y).r, rtol=1e-12)


@pytest.mark.parametrize("how", ["mean", "sum"])
def test_a_haplotype_that_is_not_done_is_not_made_up(how):
    prediction = xr.DataArray([[1.0, np.nan], [np.nan, np.nan]], dims=("individual", "haplotype"))
    assert combine_haplotypes(prediction, how).isnull().all()


def test_combining_stays_lazy():
    lazy = xr.DataArray(da.zeros((5, 2), chunks=1), dims=("individual", "haplotype"))
    assert combine_haplotypes(lazy, "mean").chunks is not None


# --- derivatives, and numbers whose differences count


def readouts_of(n_bins: int) -> list[Readout]:
    bins = [None, (1,), (2, 0), (n_bins - 1, 1, 2)] if n_bins > 1 else [None, (0,)]
    kinds = ["raw_sum", "sum_log", "log_sum", *(["identity"] if n_bins == 1 else [])]
    logarithms = [("e", 1.0), (2, 0.5), (10, 3.0)]
    return [
        Readout(kind, chosen, *log)
        for kind in kinds
        for chosen in bins
        for log in (logarithms if "log" in kind else logarithms[:1])
    ]


@pytest.mark.parametrize("readout", [*readouts_of(1), *readouts_of(6)], ids=str)
def test_derivatives_are_differences(readout):
    """By each bin of each track, up and down a little; a readout takes no other track's bins."""
    n_bins = 1 if readout in readouts_of(1) else 6
    output = np.random.default_rng(3).lognormal(0, 1, (n_bins, 2)).astype(np.float32)
    asked = asked_bins([readout], n_bins)
    held = output[asked.start : asked.stop]
    found = derivative(held, readout, asked)
    assert found.shape == held.shape
    assert found.dtype == np.float64
    step = 2.0**-8  # no rounding of float32 in the step itself
    expected = np.zeros((*held.shape, 2))
    for place in np.ndindex(held.shape):
        ends = []
        for way in (1, -1):
            moved = held.astype(np.float64)
            moved[place] += way * step
            ends.append(read_out(moved[np.newaxis], readout, asked, np.float64)[0])
        expected[place] = (ends[0] - ends[1]) / (2 * step)
    for track in range(2):
        np.testing.assert_allclose(found[:, track], expected[:, track, track], rtol=3e-4)
        assert (expected[:, track, 1 - track] == 0).all()
    # bins that do not count have none
    counted = range(n_bins) if readout.bins is None else readout.bins
    assert {b + asked.start for b in np.flatnonzero(found.any(axis=1))} == {*counted}


@pytest.mark.parametrize("kind", ["raw_sum", "sum_log", "log_sum"])
def test_small_differences_are_kept_in_float64(kind):
    """Of a mutant that changes one bin by its last digit; float32 would round it away."""
    output = np.full((2, 3, 1), 1000.0, np.float32)
    output[1, 1] = np.nextafter(np.float32(1000), np.float32(2000))
    readout = Readout(kind)
    single = read_out(output, readout)
    assert single.dtype == np.float32
    if kind != "raw_sum":
        assert single[0, 0] == single[1, 0]
    double = read_out(output, readout, dtype=np.float64)
    assert double.dtype == np.float64
    change = float(output[1, 1, 0]) - 1000
    slope = derivative(output[0], readout)[1, 0]
    assert (double[1] - double[0])[0] == pytest.approx(slope * change, rel=1e-4)
    np.testing.assert_array_equal(double.astype(np.float32), single)


def test_sums_that_float64_holds_are_no_failure():
    huge = np.full((1, 2, 1), 3e38, np.float32)
    assert read_out(huge, Readout("raw_sum"), dtype=np.float64)[0, 0] == pytest.approx(6e38)
