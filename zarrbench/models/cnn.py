"""The study's own CNN: one convolution, pooled, and a dense layer, trained on this cohort's genes.

METHODS section 21. `zarrbench model train` makes its weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zarrbench.errors import ModelInputError
from zarrbench.models.keras_model import KerasModel, KerasRecipe
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
        Sequences of a prediction; four of full size take 1.2 GB.
    """

    name: str
    weights: Source
    training: Training
    input_length: int = 40_001
    kernels: int = 900
    kernel_width: int = 10
    pool: int = 900
    dense: int = 200
    batch_size: int = 4

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

    @property
    def process_bytes(self) -> int:
        """Memory of a process: two copies of what the convolution makes of a batch."""
        positions = self.input_length - self.kernel_width + 1
        return (2 << 30) + 2 * 4 * self.batch_size * positions * self.kernels

    def read_tracks(self, files: Mapping[str, Path]) -> tuple[Track, ...]:
        return TRACKS

    def sources(self) -> tuple[Source, ...]:
        return (self.weights,)

    def load(self, files: Mapping[str, Path]) -> KerasModel:
        spec = self.spec()
        described = KerasRecipe(
            name=spec.name,
            file=self.weights,
            input_length=spec.input_length,
            tss_index=spec.tss_index,
            strand_aware=spec.strand_aware,
            tracks=TRACKS,
            batch_size=spec.batch_size,
        )
        return KerasModel(described, files, self._check)

    def _check(self, network: "keras.Model", path: Path) -> None:
        changed = differences(_layers(untrained(self)), _layers(network))
        if changed:
            raise ModelInputError(
                f"{path} does not hold the network of the recipe (as the recipe says it -> as it "
                f"is: {'; '.join(changed[:3])}); correct the recipe, or train it again with "
                f"'zarrbench model train'"
            )

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


def _layers(network: "keras.Model") -> dict[str, Any]:
    """Return what each layer computes, JSON-ready; names and weights do not count."""
    found: dict[str, Any] = {}
    for layer in network.layers:
        kind = type(layer).__name__
        if kind == "InputLayer":
            continue
        config = layer.get_config()
        shape = {key: config[key] for key in _SHAPE if key in config}
        found[f"layer {len(found) + 1}"] = {"kind": kind, **plain(shape)}
    return found
