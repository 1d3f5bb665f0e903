"""Training a Keras network: steps of accumulated gradients, early stopping, a checkpoint an epoch.

The state of a training is arrays alone, and what an epoch does follows from the seed and its
number: a training that was killed continues from its checkpoint to the same numbers.
"""

import json
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from zarrbench import progress
from zarrbench.errors import DamagedStoreError, RecipeError
from zarrbench.genome.bases import OTHER, Codes
from zarrbench.models.keras_network import compiled, one_hot, with_gradient
from zarrbench.models.training import (
    Division,
    Epoch,
    Examples,
    Training,
    best,
    history_table,
    is_over,
)
from zarrbench.storage import published, write_text

Arrays = list[NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """A training between two epochs: its weights, those of the optimiser, and the best so far."""

    weights: Arrays
    optimizer: Arrays
    best: Arrays
    history: tuple[Epoch, ...]


class Steps:
    """A network, its optimiser, and what is done with a batch.

    Parameters
    ----------
    network : keras.Model
        One-hot sequence (batch, length, 4) to (batch, 1), without weights that are not trained.
    training : Training
    """

    def __init__(self, network: keras.Model, training: Training) -> None:
        self._rows, self._network = training.rows, network
        self._optimizer = keras.optimizers.Adam(training.learning_rate)
        self._optimizer.build(network.trainable_variables)
        error = partial(_squared_error, network)
        self._error, self._gradient = compiled(error), compiled(with_gradient(error))

    @property
    def weights(self) -> Arrays:
        return [_array(variable) for variable in self._network.trainable_variables]

    @property
    def optimizer(self) -> Arrays:
        return [_array(variable) for variable in self._optimizer.variables]

    def restore(self, weights: Arrays, optimizer: Arrays) -> None:
        variables = [*self._network.trainable_variables, *self._optimizer.variables]
        for variable, value in zip(variables, [*weights, *optimizer], strict=True):
            variable.assign(value)

    def step(self, codes: Codes, targets: NDArray[np.float32]) -> float:
        """Take one step on a batch; return the sum of its squared errors before.

        The gradient is that of the mean squared error of the batch, however many of its rows are
        on the device at once.
        """
        values, total = self._values, 0.0
        summed = [ops.zeros_like(value) for value in values]
        for part in self._parts(codes, targets):
            error, gradient = self._gradient(values, *part)
            total += float(error)
            summed = [a + b for a, b in zip(summed, gradient, strict=True)]
        mean = [array / len(targets) for array in summed]
        self._optimizer.apply(mean, self._network.trainable_variables)
        return total

    def error(self, codes: Codes, targets: NDArray[np.float32]) -> float:
        """Return the sum of squared errors."""
        values = self._values
        return sum(float(self._error(values, *part)) for part in self._parts(codes, targets))

    @property
    def _values(self) -> list[Any]:
        return [variable.value for variable in self._network.trainable_variables]

    def _parts(
        self, codes: Codes, targets: NDArray[np.float32]
    ) -> Iterator[tuple[Codes, NDArray[np.float32], NDArray[np.float32]]]:
        """Yield rows of one number, with weights of 0 where they are padding."""
        for start in range(0, len(targets), self._rows):
            stop = start + self._rows
            part, wanted = codes[start:stop], targets[start:stop]
            short = self._rows - len(wanted)
            weight = np.pad(np.ones(len(wanted), np.float32), (0, short))
            padded: Codes = np.pad(part, ((0, short), (0, 0)), constant_values=OTHER)
            yield padded, np.pad(wanted, (0, short)), weight


def _array(variable: Any) -> NDArray[Any]:
    return np.asarray(variable.value).copy()  # steps change it in place


def _squared_error(network: keras.Model, weights: Any, codes: Any, wanted: Any, n: Any) -> Any:
    predicted, _ = network.stateless_call(weights, [], one_hot(codes), training=True)
    return ops.sum(n * ops.square(predicted[:, 0] - wanted))


def fit(
    network: keras.Model,
    examples: Examples,
    division: Division,
    training: Training,
    folder: Path,
    inputs: str,
) -> tuple[Epoch, ...]:
    """Train `network` until the loss on validation genes no longer falls; keep the best weights.

    After every epoch `checkpoint.npz` and `history.tsv` in `folder` say how far it is, and a later
    call with the same `inputs` continues there.

    Parameters
    ----------
    network : keras.Model
        With its initial weights; it ends with those of the best epoch.
    examples, division
        Held-out genes are not looked at.
    training : Training
    folder : Path
        Exists.
    inputs : str
        Fingerprint of what determines the numbers.

    Raises
    ------
    RecipeError
        If the loss is no longer a number.
    DamagedStoreError
        If the checkpoint cannot be read.
    """
    steps, path = Steps(network, training), folder / "checkpoint.npz"
    history: tuple[Epoch, ...] = ()
    kept = steps.weights
    found = _read(path, inputs, len(kept), len(steps.optimizer))
    if found is not None and len(found.history) <= training.max_epochs:
        steps.restore(found.weights, found.optimizer)
        kept, history = found.best, found.history
    n = len(division.training)
    total, done = training.max_epochs * n, len(history) * n
    with progress.bar(total=total, label="training", unit="gene", done=done) as bar:
        while not is_over(history, training):
            epoch = _epoch(steps, len(history) + 1, examples, division, training, bar)
            history = (*history, epoch)
            if best(history) is epoch:
                kept = steps.weights
            _write(path, Checkpoint(steps.weights, steps.optimizer, kept, history), inputs)
            write_text(folder / "history.tsv", history_table(history))
            bar.set_postfix(validation_loss=f"{epoch.validation_loss:.4g}", refresh=False)
    steps.restore(kept, steps.optimizer)
    return history


def _epoch(
    steps: Steps,
    number: int,
    examples: Examples,
    division: Division,
    training: Training,
    bar: Any,
) -> Epoch:
    began, loss = time.perf_counter(), 0.0
    # By seed and number alone: a training that goes on needs no state of a generator.
    order = np.random.default_rng([training.seed, number]).permutation(division.training)
    for start in range(0, len(order), training.batch_size):
        rows = order[start : start + training.batch_size]
        loss += steps.step(examples.codes[rows], examples.targets[rows])
        bar.update(len(rows))
    rows = division.validation
    after = steps.error(examples.codes[rows], examples.targets[rows])
    seconds = round(time.perf_counter() - began, 3)
    epoch = Epoch(number, loss / len(order), after / len(rows), seconds)
    if not np.isfinite([epoch.training_loss, epoch.validation_loss]).all():
        raise RecipeError(
            f"the training diverges: the loss of epoch {number} is {epoch.validation_loss:g}; "
            f"lower its learning_rate of {training.learning_rate:g}"
        )
    return epoch


def _write(path: Path, state: Checkpoint, inputs: str) -> None:
    told = json.dumps({"inputs": inputs, "history": [vars(epoch) for epoch in state.history]})
    arrays = {
        f"{name}_{i}": array
        for name in ("weights", "optimizer", "best")
        for i, array in enumerate(getattr(state, name))
    }
    with published(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, allow_pickle=False, told=np.array(told), **arrays)


def _read(path: Path, inputs: str, n_weights: int, n_optimizer: int) -> Checkpoint | None:
    """Return a checkpoint, None if there is none or it is of another training."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as found:
            told = json.loads(str(found["told"]))
            if told["inputs"] != inputs:
                progress.note(f"{path} is of another training; this one begins anew")
                return None
            sizes = {"weights": n_weights, "optimizer": n_optimizer, "best": n_weights}
            parts = {name: [found[f"{name}_{i}"] for i in range(n)] for name, n in sizes.items()}
            return Checkpoint(**parts, history=tuple(Epoch(**one) for one in told["history"]))
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DamagedStoreError(
            f"the checkpoint {path} is damaged ({error}); remove it, then train again"
        ) from error
