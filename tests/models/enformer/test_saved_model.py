"""The stand-in called as it is, and what is no such model."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from zarrbench.errors import ModelInputError
from zarrbench.genome.bases import ONE_HOT
from zarrbench.genome.coordinates import Window
from zarrbench.genotypes.policies import Policies
from zarrbench.haplotypes.sequences import personal_window
from zarrbench.models.enformer.architecture import SMALL
from zarrbench.models.enformer.saved_model import Stock, open_released


@pytest.fixture(scope="module")
def predicted(released, slim, random_codes):
    """Base codes of four sequences, and all that the model makes of them, called by hand."""
    codes = random_codes(4, slim.input_length)
    beside = slim.input_length // 2
    x = np.concatenate([np.zeros((4, beside, 4)), ONE_HOT[codes], np.zeros((4, beside, 4))], axis=1)
    x = tf.constant(x, tf.float32)
    return codes, released(slim).loaded.model.predict_on_batch(x)["human"].numpy()


def test_sizes_are_those_of_the_graph(released, slim):
    found = released(slim)
    assert (found.context_length, found.input_length) == (2 * 768, 768)
    assert (found.output_bins, found.tracks) == (56, 7)


@pytest.mark.parametrize("size", [1, 3, 4, 14])
@pytest.mark.parametrize("bins", [range(56), range(27, 30), range(55, 56)])
def test_it_is_the_model_with_zeros_on_both_sides(released, slim, predicted, size, bins):
    codes, whole = predicted
    stock = Stock(released(slim), size)
    parts = list(stock.sequences(codes, bins))
    assert [len(part) for part in parts] == [min(size, 4 - start) for start in range(0, 4, size)]
    expected = whole[:, bins.start : bins.stop]
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=0, atol=1e-5 * np.ptp(whole))
    assert stock._calls(bins).experimental_get_tracing_count() == 1


@pytest.mark.parametrize("tracks", [[6, 0, 3], [2], list(range(7))])
def test_tracks_come_in_the_order_asked_for(released, slim, predicted, tracks):
    codes, whole = predicted
    [found] = Stock(released(slim), 4, tracks).sequences(codes, range(10, 12))
    expected = whole[:, 10:12][..., tracks]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.ptp(whole))


def test_a_window_is_its_sequences_in_order(released, slim, family):
    window = Window("chr1", 1000, 1000 + slim.input_length, anchor=1300)
    personal = personal_window(family.genotypes, family.reference, window, Policies())
    assert personal.n_rows > 10
    stock, bins = Stock(released(slim), 3), range(20, 25)
    found = np.concatenate(list(stock.window(personal, bins)))
    one_by_one = np.concatenate(list(Stock(released(slim), 1).sequences(personal.codes(), bins)))
    np.testing.assert_allclose(found, one_by_one, rtol=0, atol=1e-5 * np.ptp(one_by_one))
    assert stock._calls(bins).experimental_get_tracing_count() == 1


# --- what is none ---------------------------------------------------------------------------------


@pytest.fixture
def folder(saved_model, slim, tmp_path):
    """A copy that may be broken."""
    return shutil.copytree(saved_model(slim), tmp_path / "copy")


def cut(path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def assert_refused(folder, *parts: str) -> None:
    with pytest.raises(ModelInputError) as refused:
        open_released(folder)
    message = str(refused.value)
    assert str(folder) in message
    assert "\n" not in message
    assert len(message) < 600
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    "part",
    ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"],
)
@pytest.mark.parametrize("share", [None, 0, 0.5, 0.99])
def test_a_part_that_is_missing_or_truncated_is_named(folder, part, share):
    if share is None:
        (folder / part).unlink()
        assert_refused(folder, "it has no", part.partition("-")[0], "zarrbench model fetch")
    else:
        cut(folder / part, share)
        assert_refused(folder, "damaged or incomplete: fetch it again")


@pytest.mark.parametrize("part", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
def test_content_that_is_something_else_is_refused(folder, part):
    size = (folder / part).stat().st_size
    (folder / part).write_bytes(np.random.default_rng(0).bytes(size))
    assert_refused(folder, "cannot be loaded as a SavedModel")


def test_a_folder_that_is_none_is_refused(tmp_path):
    assert_refused(tmp_path, "it has no saved_model.pb")


def written(folder, call, *shapes, name: str = "predict_on_batch"):
    """A SavedModel of one function."""
    root = tf.Module()
    root.model = tf.Module()
    specs = [tf.TensorSpec(shape) for shape in shapes]
    setattr(root.model, name, tf.function(call, input_signature=specs, autograph=False))
    tf.saved_model.save(root, str(folder))
    return folder


ONE_HOT_BASES = [None, 64, 4]


@pytest.mark.parametrize(
    ("call", "shapes"),
    [
        (lambda x: {"mouse": x}, [ONE_HOT_BASES]),
        (lambda x: [x], [ONE_HOT_BASES]),
        (lambda x: x, [ONE_HOT_BASES]),
        (lambda x: {"human": x}, [None]),
        (lambda x: {"human": x}, [[None, 64, 5]]),
        (lambda x: {"human": x}, [[None, None, 4]]),
        (lambda x: {"human": x}, [[64, 4]]),
        (lambda x: {"human": x[0]}, [ONE_HOT_BASES]),
        (lambda x: {"human": tf.boolean_mask(x, x[0, :, 0] > 0, axis=1)}, [ONE_HOT_BASES]),
        (lambda x: {"human": tf.tile(x, [1, 1, tf.shape(x)[0]])}, [ONE_HOT_BASES]),
        (lambda x: {"human": tf.reshape(x, tf.cast(x[0, 0], tf.int32))}, [ONE_HOT_BASES]),
        (lambda: {"human": tf.zeros([1, 2, 3])}, []),
    ],
    ids=map(str, range(12)),
)
def test_another_model_is_refused(tmp_path, call, shapes):
    folder = written(tmp_path, call, *shapes)
    assert_refused(folder, "not Enformer", "give the folder of the released model")


def test_a_model_without_predict_on_batch_is_refused(tmp_path):
    folder = written(tmp_path, lambda x: {"human": x}, ONE_HOT_BASES, name="predict")
    assert_refused(folder, "no model.predict_on_batch that gives 'human'")


def test_sizes_of_the_released_model(released):
    found = released(SMALL)
    assert (found.input_length, found.output_bins, found.tracks) == (196_608, 896, 5313)
