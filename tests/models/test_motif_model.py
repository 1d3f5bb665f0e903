import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from zarrbench.errors import ModelInputError, RecipeError
from zarrbench.genome.bases import Codes, encode, reverse_complement
from zarrbench.genome.motifs import MOTIFS, Motif
from zarrbench.models.motif_model import BINS, PROFILE, THRESHOLD, MotifModel, MotifRecipe
from zarrbench.models.protocol import DifferentiableModel
from zarrbench.recipes import parse

LENGTH = 400
RECIPE = MotifRecipe(input_length=LENGTH, decay=80.0, batch_size=8)
by_motif = pytest.mark.parametrize("motif", MOTIFS, ids=lambda motif: motif.name)


@pytest.fixture(scope="module")
def model() -> MotifModel:
    return RECIPE.load({})


def score(codes: Codes, recipe: MotifRecipe) -> float:
    """What the docstring of `MotifRecipe` says, letter by letter."""
    total = 0.0
    for motif in MOTIFS:
        odds = motif.weights()
        best = odds.max(axis=1).sum()
        for start in range(codes.size - len(odds) + 1):
            letters = codes[start : start + len(odds)]
            found = sum(odds[i, letter] for i, letter in enumerate(letters) if letter < 4)
            distance = abs(start + (len(odds) - 1) / 2 - recipe.input_length // 2)
            hit = max(0.0, found - THRESHOLD * best)
            total += motif.sign * hit * np.exp(-distance / recipe.decay)
    return total


def expected(codes: Codes, recipe: MotifRecipe) -> NDArray[np.float64]:
    signals = np.array([[score(row, recipe)] for row in codes])
    tracks = np.exp(np.concatenate([signals, -signals], axis=1) / 2)
    return tracks[:, None, :] * np.array(PROFILE)[None, :, None]


def random_codes(rows: int, seed: int) -> Codes:
    return np.random.default_rng(seed).integers(0, 4, (rows, LENGTH)).astype(np.uint8)


def planted(motif: Motif, start: int, background: Codes, reverse: bool = False) -> Codes:
    codes = background.copy()
    word = reverse_complement(motif.codes) if reverse else motif.codes
    codes[start : start + word.size] = word
    return codes


def test_equals_its_description(model: MotifModel) -> None:
    rng = np.random.default_rng(1)
    codes = random_codes(20, seed=2)
    for row in codes:
        for motif in rng.choice(len(MOTIFS), 5):
            start = int(rng.integers(0, LENGTH - 20))
            row[:] = planted(MOTIFS[motif], start, row)
            # a substitution or an unknown base in about half of the planted words
            row[start + rng.integers(0, 12)] = rng.integers(0, 5)
    codes[3, 100:150] = 4
    found = model.predict(codes, "G")
    assert found.shape == (20, BINS, 2)
    assert found.dtype == np.float32
    assert np.ptp(found[:, 2, 0]) > 0.5
    np.testing.assert_allclose(found, expected(codes, RECIPE), rtol=2e-4)


def test_other_lengths_and_decays() -> None:
    recipe = MotifRecipe(input_length=101, decay=20.0, batch_size=2)
    codes = random_codes(3, seed=4)[:, :101]
    codes[0] = np.resize(MOTIFS[0].codes, 101)
    codes[1, 89:] = MOTIFS[1].codes  # the last place where it fits
    np.testing.assert_allclose(
        recipe.load({}).predict(codes, "G"), expected(codes, recipe), rtol=2e-4
    )


def test_nothing_known_gives_one() -> None:
    silent = np.full((1, LENGTH), 4, dtype=np.uint8)
    output = RECIPE.load({}).predict(silent, "G")
    np.testing.assert_allclose(output[0], np.array(PROFILE)[:, None] * [1, 1], rtol=1e-6)
    assert sum(PROFILE) == pytest.approx(1)
    assert list(PROFILE) == list(reversed(PROFILE))


@by_motif
def test_a_planted_motif_has_its_sign(model: MotifModel, motif: Motif) -> None:
    background = encode("AT" * (LENGTH // 2))
    middle = LENGTH // 2 - len(motif.consensus) // 2
    codes = np.stack(
        [
            background,
            planted(motif, middle, background),
            planted(motif, middle + 100, background),
            planted(motif, middle, background, reverse=True),
        ]
    )
    signal = np.log(model.predict(codes, "G").sum(axis=1))
    control = signal[:, 1]
    np.testing.assert_allclose(control, -signal[:, 0], atol=1e-5)
    absent, near, far, other_strand = motif.sign * signal[:, 0]
    assert near > far > absent
    assert absent == pytest.approx(0, abs=1e-6)
    # It reads the strand that it is given; NRF1 is the same on both.
    palindrome = np.array_equal(motif.codes, reverse_complement(motif.codes))
    assert other_strand == pytest.approx(near if palindrome else 0, abs=1e-6)


@by_motif
def test_a_broken_motif_counts_less(model: MotifModel, motif: Motif) -> None:
    whole = planted(motif, 190, encode("AT" * (LENGTH // 2)))
    broken = np.stack([whole] * len(motif.consensus))
    for position in range(len(motif.consensus)):
        broken[position, 190 + position] = (whole[190 + position] + 1) % 4
    effects = motif.sign * np.log(model.predict(np.vstack([whole[None], broken]), "G")[:, 2, 0])
    assert (effects[1:] < effects[0]).all()


def test_a_result_does_not_depend_on_the_batch(model: MotifModel) -> None:
    codes = random_codes(21, seed=5)
    together = model.predict(codes, "G")
    alone = np.concatenate([model.predict(row[None], "G") for row in codes])
    np.testing.assert_array_equal(together[::8], alone[::8])  # the first row of every batch
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    one_by_one = MotifRecipe(input_length=LENGTH, decay=80.0, batch_size=1).load({})
    np.testing.assert_allclose(one_by_one.predict(codes, "G"), together, rtol=1e-5)


def soft_score(vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Score vectors (..., base, 4) as `score` does letters; and how near any word is to a kink."""
    total, nearest = np.zeros(vectors.shape[:-2]), np.inf
    for motif in MOTIFS:
        odds = motif.weights()
        words = sliding_window_view(vectors, len(odds), axis=-2)  # (..., start, 4, base of word)
        excess = np.einsum("...scb,bc->...s", words, odds) - THRESHOLD * odds.max(axis=1).sum()
        centres = np.arange(excess.shape[-1]) + (len(odds) - 1) / 2
        weights = motif.sign * np.exp(-np.abs(centres - LENGTH // 2) / RECIPE.decay)
        total += np.maximum(0, excess) @ weights
        nearest = min(nearest, float(np.abs(excess).min()))
    return total, nearest


def test_gradient(model: MotifModel) -> None:
    """Against differences of the description in float64, at a sequence away from kinks."""
    codes = random_codes(1, seed=8)[0]
    for number, motif in enumerate(MOTIFS):
        codes = planted(motif, 100 + 35 * number, codes)
    codes[20:40] = 4
    vectors = np.eye(5, 4)[codes]
    assert soft_score(vectors)[0] == pytest.approx(score(codes, RECIPE))
    assert soft_score(vectors)[1] > 1e-3
    steps = 1e-5 * np.eye(4 * LENGTH).reshape(-1, LENGTH, 4)
    bins, weights = range(1, 4), np.float32([[1, 2], [-3, 0.5], [0.2, -1]])

    def readout(signal: NDArray[np.float64]) -> NDArray[np.float64]:
        profile = np.array(PROFILE)[bins.start : bins.stop]
        up, down = profile @ weights
        return up * np.exp(signal / 2) + down * np.exp(-signal / 2)

    up, down = (readout(soft_score(vectors + sign * steps)[0]) for sign in (1, -1))
    expected = ((up - down) / 2e-5).reshape(LENGTH, 4)
    found = model.input_gradient(codes, "G", bins, weights)
    assert isinstance(model, DifferentiableModel)
    assert (found.shape, found.dtype) == ((LENGTH, 4), np.float32)
    assert expected.any(axis=1).sum() > 50
    assert not expected[20:40].any()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_the_gradient_of_another_length_is_refused(model: MotifModel) -> None:
    with pytest.raises(ModelInputError, match="the motif model reads 400 bases, got"):
        model.input_gradient(np.zeros(401, np.uint8), "G", range(1), np.ones((1, 2), np.float32))


@pytest.mark.parametrize("shape", [(2, LENGTH - 1), (2, LENGTH + 1), (LENGTH,), (1, LENGTH, 4)])
def test_other_shapes_are_refused(model: MotifModel, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelInputError, match="the motif model reads 400 bases, got"):
        model.predict(np.zeros(shape, dtype=np.uint8), "G")


def test_spec() -> None:
    spec = MotifRecipe().spec()
    assert (spec.name, spec.input_length, spec.tss_index, spec.bins) == ("motif", 8192, 4096, BINS)
    assert [track.id for track in MotifRecipe().read_tracks({})] == ["expression", "control"]
    assert not spec.strand_aware
    assert MotifRecipe().sources() == ()


@pytest.mark.parametrize("change", [{"input_length": 31}, {"decay": 0}, {"batch_size": 0}])
def test_refused_fields(change: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match="m: input_length must be at least 32, decay and batch"):
        parse(MotifRecipe, change, "m")
