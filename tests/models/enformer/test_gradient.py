"""The gradient tile by tile, against that of the whole network and against differences."""

from functools import partial

import numpy as np
import pytest

from zarrbench.genome.bases import ONE_HOT
from zarrbench.models.enformer import forward as module
from zarrbench.models.enformer.architecture import TINY, Architecture
from zarrbench.models.enformer.extraction import extract
from zarrbench.models.enformer.forward import Batches, Forward
from zarrbench.models.enformer.network import after_trunk
from zarrbench.models.enformer.saved_model import Stock
from zarrbench.models.enformer.transformer import position_keys
from zarrbench.models.enformer.trunk import trunk_of_one_hot
from zarrbench.models.enformer.weights import random_weights
from zarrbench.models.keras_network import compiled, differentiated, ops

SOME = Batches(sequences=1, tiles=24, rows=100_000)
BINS = range(3, 8)


def weights_of(bins: range, tracks: int = 7) -> np.ndarray:
    return np.random.default_rng(4).standard_normal((len(bins), tracks)).astype(np.float32)


def forward_of(architecture: Architecture, batches: Batches = SOME, **options) -> Forward:
    return Forward(architecture, random_weights(architecture), batches, **options)


@pytest.fixture(scope="module")
def slim_forward(slim) -> Forward:
    return forward_of(slim)


def whole(architecture: Architecture, bins: range, bases, weights, keys, of_outputs):
    """The weighted outputs of a network that reads one-hot sequences as they are."""
    rows = trunk_of_one_hot(architecture, weights, bases)
    outputs = after_trunk(architecture, weights, keys, rows, bins)
    return ops.sum(outputs * of_outputs, axis=(1, 2))


def plain(forward: Forward, codes: np.ndarray, bins: range, of_outputs: np.ndarray) -> np.ndarray:
    """The gradient of the whole network at once."""
    function = partial(whole, forward.architecture, bins)
    call = differentiated(lambda *arrays: ops.sum(function(*arrays)))
    found = call(ONE_HOT[codes][None], forward._weights, forward._keys, of_outputs)
    return ops.convert_to_numpy(found)[0]


def assert_equal(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    """Equal within a share of the largest one."""
    assert (found.shape, found.dtype) == (expected.shape, np.float32)
    largest = float(np.abs(expected).max())
    assert largest > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize("bins", [range(24), range(11, 14), range(1)])
def test_it_is_the_gradient_of_the_whole_network(random_codes, bins):
    forward, codes = forward_of(TINY), random_codes(TINY.input_length)
    weights = weights_of(bins)
    found = forward.input_gradient(codes, bins, weights)
    assert_equal(found, plain(forward, codes, bins, weights))
    # Attention reaches every base, and padding none of them twice.
    assert (np.abs(found).max(axis=1) > 0).mean() > 0.99


def test_it_is_what_differences_say(random_codes, slim, slim_forward):
    """In float64, by some numbers of the one-hot, ends and gaps among them; and all at once."""
    arrays = {name: array.astype(np.float64) for name, array in random_weights(slim).items()}
    keys = position_keys(slim, arrays)
    codes, weights = random_codes(slim.input_length), weights_of(BINS)
    rng = np.random.default_rng(1)
    places = [0, 1, slim.input_length - 1, *np.flatnonzero(codes == 4)[:3], *range(380, 390)]
    steps = np.zeros((4 * len(places) + 1, slim.input_length, 4))
    of_step = [(place, channel) for place in places for channel in range(4)]
    for step, at in zip(steps, of_step, strict=False):
        step[at] = 1
    steps[-1] = rng.standard_normal(steps.shape[1:])
    near = ONE_HOT[codes] + 1e-6 * np.concatenate([steps, -steps])
    call = compiled(partial(whole, slim, BINS))
    up, down = ops.convert_to_numpy(call(near, arrays, keys, weights.astype(float))).reshape(2, -1)
    expected = (up - down) / 2e-6
    found = slim_forward.input_gradient(codes, BINS, weights)
    assert_equal(np.array([found[at] for at in of_step]), expected[:-1])
    assert (found * steps[-1]).sum() == pytest.approx(expected[-1], rel=1e-4)


@pytest.mark.parametrize("tiles", [1, 16, 40, 640])
def test_how_many_tiles_at_once_does_not_matter(random_codes, slim, slim_forward, tiles):
    codes, weights = random_codes(slim.input_length, seed=2), weights_of(BINS)
    slim_forward.batches = SOME
    expected = slim_forward.input_gradient(codes, BINS, weights)
    slim_forward.batches = Batches(1, tiles, 100_000)
    assert_equal(slim_forward.input_gradient(codes, BINS, weights), expected, 2e-6)


@pytest.mark.parametrize("k", [3, 8])
def test_the_size_of_a_tile_does_not_matter(random_codes, slim, slim_forward, k, monkeypatch):
    codes, weights = random_codes(slim.input_length), weights_of(BINS)
    expected = slim_forward.input_gradient(codes, BINS, weights)
    monkeypatch.setattr(module, "BINS_OF_TILE", k)
    other = forward_of(slim)
    assert other.tiling.bins_of_tile == k
    assert_equal(other.input_gradient(codes, BINS, weights), expected)


def test_chosen_tracks_are_those_of_all(random_codes, slim, slim_forward):
    codes, tracks, weights = random_codes(slim.input_length), [6, 0, 3], weights_of(BINS, 3)
    of_all = np.zeros((len(BINS), 7), dtype=np.float32)
    of_all[:, tracks] = weights
    expected = slim_forward.input_gradient(codes, BINS, of_all)
    found = forward_of(slim, tracks=tracks).input_gradient(codes, BINS, weights)
    assert_equal(found, expected)


def test_bfloat16_is_close(random_codes, slim, slim_forward):
    codes, weights = random_codes(slim.input_length), weights_of(BINS)
    exact = slim_forward.input_gradient(codes, BINS, weights)
    found = forward_of(slim, precision="bfloat16").input_gradient(codes, BINS, weights)
    assert 1e-5 < np.abs(found - exact).max() / np.abs(exact).max() < 0.1


def test_memory_is_that_of_a_few_tiles_and_nothing_is_compiled_twice(random_codes, slim):
    forward, seen = forward_of(slim), []
    own = dict(forward._gradient._by_bases)
    for padding, call in own.items():

        def counted(bases, weights, of_rows, padding=padding, call=call):
            seen.append((padding, *bases.shape[:2]))
            return call(bases, weights, of_rows)

        forward._gradient._by_bases[padding] = counted
    for seed in range(2):
        forward.input_gradient(random_codes(slim.input_length, seed=seed), BINS, weights_of(BINS))
    # 24 tiles of 32 bases, with 19 to either side, three at once; the two edges with 3 rows more
    assert forward._few == 3
    assert seen == 2 * [("same", 2, 56), *8 * [("valid", 3, 70)]]
    calls = [*own.values(), forward._gradient._by_rows(BINS)]
    assert [call.experimental_get_tracing_count() for call in calls] == [1, 1, 1]


def test_the_stock_model_gives_the_same(released, slim, random_codes):
    codes, found = random_codes(slim.input_length), released(slim)
    for tracks in (None, [6, 0, 3]):
        weights = weights_of(BINS, 7 if tracks is None else 3)
        stock = Stock(found, 3, tracks).input_gradient(codes, BINS, weights)
        ours = Forward(*extract(found), SOME, tracks).input_gradient(codes, BINS, weights)
        assert_equal(ours, stock)
