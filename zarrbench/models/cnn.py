"""The study's own CNN: one convolution, pooled, and a dense layer, trained on this cohort's genes.

METHODS section 21. `zarrbench model train` makes its weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zarrbench.errors import ModelInputError
from zarrbench.genome.bases import Codes
from zarrbench.models.keras_model import open_network
from zarrbench.models.protocol import ModelSpec, Track
from zarrbench.models.training import (
    Division,
    Epoch,
    Examples,
    Training,
    divide,
    inputs_of,
    training_folder,
)
from zarrbench.provenance import differences, plain
from zarrbench.sources import Source
from zarrbench.storage import writing

if TYPE_CHECKING:
    import keras

TRACKS = (Track("expression", "mean expression of a gene"),)
# Pieces of sequence that are convolved at once: 0.2 GB at full size
_PIECES = 64
# What of a Keras layer makes its shape and what it computes
_SHAPE = (
    "filters", "kernel_size", "strides", "padding", "dilation_rate", "groups", "pool_size", "units",
    "activation", "use_bias",
)  # fmt: skip


@dataclass(frozen=True)
class CnnRecipe:
    """One-hot sequence, convolution with ReLU, average pooling, dense with ReLU, dense to a number.

    Sequences are of the forward strand, also those of genes on the minus strand. Nothing is padded
    but beyond a contig's end; what pooling leaves over is dropped.

    Parameters
    ----------
    name : str
    weights : Source
        The .keras file that the training writes into the folder of downloads.
    training : Training
    input_length : int
        Bases read, the TSS at ``input_length // 2``; 40,001 in the study.
    kernels, kernel_width : int
        Of the convolution.
    pool : int
        Positions that are averaged, without overlap.
    dense : int
        Units of the hidden layer.
    batch_size : int
        Sequences of a prediction.
    """

    name: str
    weights: Source
    training: Training
    input_length: int = 40_001
    kernels: int = 900
    kernel_width: int = 10
    pool: int = 900
    dense: int = 200
    batch_size: int = 64

    def __post_init__(self) -> None:
        for name in ("kernels", "kernel_width", "pool", "dense", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.input_length < self.kernel_width + self.pool - 1:
            raise ValueError(
                f"input_length must hold kernel_width + pool - 1 = "
                f"{self.kernel_width + self.pool - 1} bases, found {self.input_length}"
            )
        if not self.weights.file.endswith(".keras"):
            raise ValueError(f"weights must name a .keras file, found {self.weights.file!r}")

    def spec(self) -> ModelSpec:
        return ModelSpec(
            name=self.name,
            input_length=self.input_length,
            tss_index=self.input_length // 2,
            strand_aware=False,
            bins=1,
            batch_size=self.batch_size,
        )

    def read_tracks(self, files: Mapping[str, Path]) -> tuple[Track, ...]:
        return TRACKS

    def sources(self) -> tuple[Source, ...]:
        return (self.weights,)

    def load(self, files: Mapping[str, Path]) -> "CnnModel":
        return CnnModel(self, files[self.weights.file])

    def inputs(self, examples: Examples) -> str:
        """Return a fingerprint of what determines the numbers of a training, but its length."""
        shape = [self.input_length, self.kernels, self.kernel_width, self.pool, self.dense]
        return inputs_of(shape, self.training, examples)

    def train(self, examples: Examples, weights: Path) -> tuple[Division, tuple[Epoch, ...]]:
        """Train, or continue what was begun, and write `weights`.

        The bias of the last layer begins at the mean of what is trained on: from 0, a few hundred
        genes teach a network of this kind their mean and little else.

        Raises
        ------
        GeneTableError
            If there are too few genes.
        RecipeError, DamagedStoreError
            As `zarrbench.models.fitting.fit`.
        """
        from zarrbench.models.fitting import fit

        training, folder = self.training, training_folder(weights)
        division = divide(examples, training.validation_share, training.seed)
        network = untrained(self)
        network.layers[-1].bias.assign([np.mean(examples.targets[division.training])])
        history = fit(network, examples, division, training, folder, self.inputs(examples))
        scratch = folder / ".trained.keras"  # Keras wants its suffix
        with writing(weights):
            network.save(scratch)
            scratch.replace(weights)
        return division, history


class CnnModel:
    """The trained network behind the model protocol.

    What is pooled depends on ``pool + kernel_width - 1`` bases, so that people who are alike there
    share it, wherever else they differ: of the sequences of a call each distinct piece is computed
    once.
    """

    def __init__(self, recipe: CnnRecipe, path: Path) -> None:
        import keras

        from zarrbench.models.keras_network import (
            FixedBatch,
            InputGradient,
            OneHot,
            prepare_backend,
        )

        prepare_backend()
        network = open_network(path)
        changed = differences(_architecture(untrained(recipe)), _architecture(network))
        if changed:
            raise ModelInputError(
                f"{path} does not hold the network of the recipe (as the recipe says it -> as it "
                f"is: {'; '.join(changed[:3])}); correct the recipe, or train it again with "
                f"'zarrbench model train'"
            )
        self.spec, self.tracks = recipe.spec(), TRACKS
        self._pool, self._length = recipe.pool, recipe.pool + recipe.kernel_width - 1
        self._n_pieces = (recipe.input_length - recipe.kernel_width + 1) // recipe.pool
        convolution, pooling, flat, hidden, last = _layers(network)
        piece = keras.Input((self._length,), dtype="uint8")
        pooled = keras.Input((self._n_pieces, recipe.kernels))
        self._scan = FixedBatch(
            keras.Model([piece, {}], pooling(convolution(OneHot()(piece)))), _PIECES
        )
        self._rest = FixedBatch(
            keras.Model([pooled, {}], last(hidden(flat(pooled)))), recipe.batch_size
        )
        sequence = keras.Input((recipe.input_length, 4))
        whole = keras.Model([sequence, {}], network(sequence))
        self._gradient = InputGradient(whole, 1, recipe.name)

    def predict(self, codes: Codes, gene: str) -> NDArray[np.float32]:
        """As `zarrbench.models.protocol.Model.predict`."""
        if codes.ndim != 2 or codes.shape[1] != self.spec.input_length:
            raise ModelInputError(
                f"the model {self.spec.name!r} reads {self.spec.input_length} bases, got sequences "
                f"of shape {codes.shape}"
            )
        starts = range(0, self._n_pieces * self._pool, self._pool)
        place: dict[bytes, int] = {}
        rows = [
            [place.setdefault(row[at : at + self._length].tobytes(), len(place)) for at in starts]
            for row in codes
        ]
        pieces = np.frombuffer(b"".join(place), dtype=np.uint8).reshape(-1, self._length)
        pooled = self._scan(pieces)[:, 0]
        return self._rest(pooled[np.array(rows)])[:, :, None]

    def input_gradient(
        self, codes: Codes, gene: str, bins: range, weights: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """As `zarrbench.models.protocol.DifferentiableModel.input_gradient`."""
        return self._gradient(codes, bins, weights)


def untrained(recipe: CnnRecipe) -> "keras.Model":
    """Return the network with Glorot's uniform weights, drawn by the seed of the training."""
    import keras
    from keras import layers

    from zarrbench.models.keras_network import prepare_backend

    prepare_backend()
    seeds = np.random.default_rng(recipe.training.seed).integers(2**31, size=3).tolist()
    drawn = [keras.initializers.GlorotUniform(seed=seed) for seed in seeds]
    return keras.Sequential(
        [
            keras.Input((recipe.input_length, 4), name="sequence"),
            layers.Conv1D(
                recipe.kernels, recipe.kernel_width, activation="relu", kernel_initializer=drawn[0]
            ),
            layers.AveragePooling1D(recipe.pool),
            layers.Flatten(),
            layers.Dense(recipe.dense, activation="relu", kernel_initializer=drawn[1]),
            layers.Dense(1, kernel_initializer=drawn[2]),
        ]
    )


def _layers(network: "keras.Model") -> "list[keras.layers.Layer]":
    return [layer for layer in network.layers if type(layer).__name__ != "InputLayer"]


def _architecture(network: "keras.Model") -> dict[str, Any]:
    """Return what goes in and what each layer computes, JSON-ready; names do not count."""
    found: dict[str, Any] = {"input": [list(tensor.shape[1:]) for tensor in network.inputs]}
    for number, layer in enumerate(_layers(network), start=1):
        config = layer.get_config()
        shape = {key: config[key] for key in _SHAPE if key in config}
        found[f"layer {number}"] = {"kind": type(layer).__name__, **plain(shape)}
    return found
