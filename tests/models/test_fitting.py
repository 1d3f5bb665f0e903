"""Steps of accumulated gradients against Keras' own, early stopping, seeds, interruption."""

from pathlib import Path

import keras
import numpy as np
import pytest

from zarrbench.errors import DamagedStoreError, RecipeError
from zarrbench.genome.gene_subset import GeneSubset
from zarrbench.models import fitting
from zarrbench.models.cnn import CnnRecipe, untrained
from zarrbench.models.fitting import Steps, fit
from zarrbench.models.training import Division, Epoch, Examples, Training, best, divide
from zarrbench.sources import Source

LENGTH = 60


def recipe(**fields: object) -> CnnRecipe:
    held_out = GeneSubset("test", genes=Source("test.tsv"))
    settings = {"batch_size": 16, "micro_batch": 5, "max_epochs": 6, **fields}
    return CnnRecipe(
        name="cnn",
        weights=Source("cnn.keras"),
        training=Training(held_out=held_out, **settings),
        input_length=LENGTH,
        kernels=6,
        kernel_width=4,
        pool=10,
        dense=5,
    )


@pytest.fixture(scope="module")
def examples() -> Examples:
    """Genes whose expression is the number of CG, and some noise."""
    rng, n = np.random.default_rng(1), 70
    codes = rng.integers(0, 4, (n, LENGTH)).astype(np.uint8)
    codes[:, 3] = 4
    count = ((codes[:, :-1] == 1) & (codes[:, 1:] == 2)).sum(axis=1)
    return Examples(
        genes=np.array([f"G{i}" for i in range(n)], dtype=object),
        contigs=np.array([f"chr{i % 7}" for i in range(n)], dtype=object),
        tss=np.arange(n, dtype=np.int64) * 100,
        codes=codes,
        targets=(count + rng.normal(0, 0.3, n)).astype(np.float32),
        held_out=np.arange(n) % 7 == 6,
    )


def one_hot(codes: np.ndarray) -> np.ndarray:
    return (codes[..., None] == np.arange(4)).astype(np.float32)


def trained(
    of: CnnRecipe, examples: Examples, folder: Path, inputs: str = "a"
) -> tuple[list[np.ndarray], tuple[Epoch, ...], Division]:
    folder.mkdir(exist_ok=True)
    network = untrained(of)
    division = divide(examples, of.training.validation_share, of.training.seed)
    history = fit(network, examples, division, of.training, folder, inputs)
    return network.get_weights(), history, division


def without_time(history: tuple[Epoch, ...]) -> list[tuple[float, float]]:
    return [(epoch.training_loss, epoch.validation_loss) for epoch in history]


def assert_same(some: list[np.ndarray], others: list[np.ndarray]) -> None:
    for a, b in zip(some, others, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("micro_batch", [1, 5, 16, 64])
def test_a_step_is_that_of_the_whole_batch(examples: Examples, micro_batch: int) -> None:
    """Against Keras' own training on the batch at once, over two batches of unequal size."""
    ours, theirs = untrained(recipe()), untrained(recipe())
    steps = Steps(ours, recipe(micro_batch=micro_batch).training)
    theirs.compile(keras.optimizers.Adam(1e-3), "mse")
    for rows in (slice(0, 16), slice(16, 29)):
        codes, targets = examples.codes[rows], examples.targets[rows]
        total = steps.step(codes, targets)
        assert (
            total / len(targets)
            == pytest.approx(float(theirs.train_on_batch(one_hot(codes), targets)), rel=1e-5)
            or rows.start
        )  # Keras' later losses are running means
        for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6)
    assert not np.allclose(ours.get_weights()[0], untrained(recipe()).get_weights()[0], atol=1e-4)


@pytest.mark.parametrize("micro_batch", [3, 16])
def test_the_error_is_that_of_the_network(examples: Examples, micro_batch: int) -> None:
    network = untrained(recipe())
    steps = Steps(network, recipe(micro_batch=micro_batch).training)
    predicted = network.predict_on_batch(one_hot(examples.codes))[:, 0]
    expected = float(((predicted - examples.targets) ** 2).sum())
    assert steps.error(examples.codes, examples.targets) == pytest.approx(expected, rel=1e-5)


def test_the_best_weights_are_restored(examples: Examples, tmp_path: Path) -> None:
    of = recipe(learning_rate=0.03, patience=4, max_epochs=400)
    weights, history, division = trained(of, examples, tmp_path)
    kept = best(history)
    assert kept.epoch + 4 == len(history) < 400
    assert all(epoch.validation_loss > kept.validation_loss for epoch in history[kept.epoch :])
    network = untrained(of)
    network.set_weights(weights)
    rows = division.validation
    predicted = network.predict_on_batch(one_hot(examples.codes[rows]))[:, 0]
    loss = ((predicted - examples.targets[rows]) ** 2).mean()
    assert loss == pytest.approx(kept.validation_loss, rel=1e-5)
    assert loss < 0.8 * history[0].validation_loss


def test_the_seed_decides(examples: Examples, tmp_path: Path) -> None:
    first, history, _ = trained(recipe(), examples, tmp_path / "1")
    second, again, _ = trained(recipe(), examples, tmp_path / "2")
    other, _, _ = trained(recipe(seed=2), examples, tmp_path / "3")
    assert_same(first, second)
    assert without_time(history) == without_time(again)
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(untrained(recipe()).get_weights()[0],
                              untrained(recipe(seed=2)).get_weights()[0])  # fmt: skip


def test_held_out_genes_are_never_seen(examples: Examples, tmp_path: Path) -> None:
    out = examples.held_out[:, None]
    changed = Examples(
        examples.genes,
        examples.contigs,
        examples.tss,
        np.where(out, 3, examples.codes).astype(np.uint8),
        np.where(out[:, 0], np.float32(np.nan), examples.targets),
        examples.held_out,
    )
    some, history, division = trained(recipe(), examples, tmp_path / "1")
    others, again, _ = trained(recipe(), changed, tmp_path / "2")
    assert_same(some, others)
    assert without_time(history) == without_time(again)
    assert len(division.held_out) == 10


@pytest.mark.parametrize("after", [1, 4])
def test_an_interrupted_training_ends_with_the_same_numbers(
    examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    expected, undisturbed, _ = trained(recipe(), examples, tmp_path / "whole")
    written = []

    def interrupted(path: Path, text: str) -> None:
        written.append(path)
        if len(written) == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "write_text", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(recipe(), examples, tmp_path / "parts")
    found, history, _ = trained(recipe(), examples, tmp_path / "parts")
    assert_same(expected, found)
    assert without_time(history) == without_time(undisturbed)
    assert len((tmp_path / "parts" / "history.tsv").read_text().splitlines()) == 7


def test_more_epochs_continue_and_fewer_begin_anew(examples: Examples, tmp_path: Path) -> None:
    expected, whole, _ = trained(recipe(), examples, tmp_path / "whole")
    _, short, _ = trained(recipe(max_epochs=2), examples, tmp_path / "parts")
    found, history, _ = trained(recipe(), examples, tmp_path / "parts")
    assert_same(expected, found)
    assert history[:2] == short  # seconds and all: not done again
    _, again, _ = trained(recipe(max_epochs=2), examples, tmp_path / "parts")
    assert without_time(again) == without_time(whole[:2])


def test_a_checkpoint_of_another_training_is_not_used(
    examples: Examples, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(recipe(seed=5), examples, tmp_path, inputs="b")
    capsys.readouterr()
    found, _, _ = trained(recipe(), examples, tmp_path)
    assert "checkpoint.npz is of another training; this one begins anew" in capsys.readouterr().err
    assert_same(found, trained(recipe(), examples, tmp_path / "new")[0])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", None])
def test_a_damaged_checkpoint(examples: Examples, tmp_path: Path, content: bytes | None) -> None:
    trained(recipe(max_epochs=1), examples, tmp_path)
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-300] if content is None else content)
    with pytest.raises(DamagedStoreError, match=r"checkpoint.npz is damaged .*; remove it, then"):
        trained(recipe(max_epochs=2), examples, tmp_path)


def test_a_training_that_diverges(examples: Examples, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"the training diverges: the loss of epoch .* is "
                       r"(nan|inf); lower its learning_rate of 1e\+30"):  # fmt: skip
        trained(recipe(learning_rate=1e30), examples, tmp_path)
