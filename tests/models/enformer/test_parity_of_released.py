"""The comparison that decides whether our forward stands in for the released model."""

import dataclasses

import numpy as np
import pytest

from zarrbench.models.enformer.architecture import SMALL, TINY
from zarrbench.models.enformer.extraction import extract
from zarrbench.models.enformer.parity import TOLERANCE, Parity, compare
from zarrbench.models.enformer.weights import Arrays

LAYER = "transformer/1"
NORM = ("scale", "offset")
PARTS = {
    "attention": (
        *NORM,
        *("query", "key", "value", "position", "content_bias", "position_bias", "kernel", "bias"),
    ),
    "perceptron": (*NORM, "wide_kernel", "wide_bias", "kernel", "bias"),
}
SWAPS = [
    ("transformer/0/attention/query", "transformer/0/attention/key"),
    (f"{LAYER}/attention/query", f"{LAYER}/attention/key"),
    (f"{LAYER}/attention/content_bias", f"{LAYER}/attention/position_bias"),
    (f"{LAYER}/attention/value", f"{LAYER}/attention/kernel"),
    (f"{LAYER}/attention/scale", f"{LAYER}/attention/offset"),
    (f"{LAYER}/attention/scale", f"{LAYER}/perceptron/scale"),
    (f"{LAYER}/attention/bias", f"{LAYER}/perceptron/bias"),
    ("stem/pointwise/mean", "stem/pointwise/variance"),
    ("tower/0/convolution/mean", "tower/0/convolution/variance"),
    ("tower/0/convolution/scale", "tower/0/pointwise/scale"),
    ("tower/0/convolution/scale", "tower/0/convolution/offset"),
    ("final/mean", "final/variance"),
    ("stem/pooling/kernel", "stem/pointwise/kernel"),
    ("stem/pooling/kernel", "tower/0/pooling/kernel"),
    *((f"transformer/0/{part}/{name}", f"transformer/1/{part}/{name}")
      for part, names in PARTS.items() for name in names),
]  # fmt: skip


@pytest.fixture(scope="module")
def extracted(released, slim):
    return extract(released(slim))


@pytest.fixture
def parity_of(released, extracted, slim, compiled_once):
    """Compare the stand-in with its own weights, changed."""
    return lambda changed: compare(released(slim), slim, extracted[1] | changed)


@pytest.fixture(scope="module")
def compiled_once(released, slim):
    """Compile neither side anew for every comparison: only weights change."""
    from zarrbench.models.enformer import forward, parity, saved_model

    stock, calls, own = {}, {}, forward.compiled

    def once(function):
        key = (function.func, str(function.keywords))
        return calls.setdefault(key, own(function))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward, "compiled", once)
        patch.setattr(
            parity,
            "Stock",
            lambda *given, **options: stock.setdefault(
                given[0].folder, saved_model.Stock(*given, **options)
            ),
        )
        yield


@pytest.mark.parametrize("sizes", [TINY, SMALL], ids=["tiny", "small"])
def test_the_weights_of_the_graph_are_the_same_network(released, sizes):
    parity = compare(released(sizes), *extract(released(sizes)))
    assert parity.same
    assert parity.relative < TOLERANCE / 5


def test_unchanged_is_the_same(parity_of):
    assert parity_of({}).relative < TOLERANCE / 5


@pytest.mark.parametrize(("one", "other"), SWAPS)
def test_exchanged_weights_are_noticed(parity_of, extracted, one, other):
    arrays: Arrays = extracted[1]
    assert arrays[one].shape == arrays[other].shape
    assert not parity_of({one: arrays[other], other: arrays[one]}).same


def test_exchanged_perceptrons_and_attentions_are_noticed(parity_of, extracted):
    arrays = extracted[1]
    for part in PARTS:
        changed = {
            f"transformer/{1 - layer}/{part}/{name}": arrays[f"transformer/{layer}/{part}/{name}"]
            for layer in (0, 1)
            for name in PARTS[part]
        }
        assert not parity_of(changed).same


def test_every_kernel_the_other_way_round_is_noticed(parity_of, extracted):
    square = {n: w for n, w in extracted[1].items() if w.ndim == 2 and len(set(w.shape)) == 1}
    assert len(square) > 8
    unnoticed = [n for n, w in square.items() if parity_of({n: w.T.copy()}).same]
    assert unnoticed == []


def test_every_weight_counts(parity_of, extracted):
    """Noise of a twentieth of its spread."""
    arrays = extracted[1]
    rng = np.random.default_rng(0)
    unnoticed = []
    for name, array in arrays.items():
        noise = rng.standard_normal(array.shape, dtype=np.float32)
        if parity_of({name: array + np.float32(0.05 * array.std()) * noise}).same:
            unnoticed.append(name)
    assert unnoticed == []


def test_an_output_that_never_changes_is_never_the_same():
    assert not Parity(0.0, 0.0).same
    assert not Parity(np.nan, 1.0).same
    assert Parity(0.0, 1.0).same
    assert dataclasses.astuple(Parity(1.0, 2.0)) == (1.0, 2.0)


def test_tiles_that_lack_their_halo_are_noticed(released, slim, extracted, monkeypatch):
    """It is the way of a run that is compared, not only the network."""
    from zarrbench.models.enformer import forward

    def blind(*given):
        found = forward_tiles(*given)
        found.middle[:, : slim.halo] = 4
        return found

    forward_tiles = forward.tiles
    assert compare(released(slim), slim, extracted[1]).same
    monkeypatch.setattr(forward, "tiles", blind)
    assert not compare(released(slim), slim, extracted[1]).same
