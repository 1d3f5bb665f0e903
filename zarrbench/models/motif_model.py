"""A model whose answers are known exactly: it reads motifs of known sign near the TSS.

It needs no file. A simulated cohort plants variants in these motifs, so that what the benchmark
must find is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from zarrbench.errors import ModelInputError
from zarrbench.genome.bases import Codes
from zarrbench.genome.motifs import MOTIFS
from zarrbench.models.protocol import ModelSpec, Track
from zarrbench.sources import Source

if TYPE_CHECKING:
    import keras

BINS = 5
TRACKS = (
    Track("expression", "expression by known motifs"),
    Track("control", "the same motifs with every sign reversed"),
)
#: a stretch counts as a motif above this share of the best possible score
THRESHOLD = 0.8
#: share of the signal in each bin; symmetric about the bin of the TSS
PROFILE = (0.1, 0.2, 0.4, 0.2, 0.1)


@dataclass(frozen=True)
class MotifRecipe:
    """The motif model.

    The score of a sequence is the sum, over `zarrbench.genome.motifs.MOTIFS` and positions of the
    strand it reads, of ``sign * max(0, log odds - 0.8 * best) * exp(-|distance to TSS| / decay)``.
    Outputs of the track ``expression`` are ``PROFILE[bin] * exp(score / 2)``; the track ``control``
    is the same with every sign reversed.

    Parameters
    ----------
    name : str
    input_length : int
        Bases read, the TSS at ``input_length // 2``.
    decay : float
        Distance in bases at which a motif counts 1/e.
    batch_size : int
    """

    name: str = "motif"
    input_length: int = 8192
    decay: float = 2048.0
    batch_size: int = 64

    def __post_init__(self) -> None:
        longest = max(len(motif.consensus) for motif in MOTIFS)
        if self.input_length < 2 * longest or self.decay <= 0 or self.batch_size < 1:
            raise ValueError(
                f"input_length must be at least {2 * longest}, decay and batch_size positive"
            )

    def spec(self) -> ModelSpec:
        return ModelSpec(
            name=self.name,
            input_length=self.input_length,
            tss_index=self.input_length // 2,
            strand_aware=False,
            bins=BINS,
            batch_size=self.batch_size,
        )

    def read_tracks(self, files: Mapping[str, Path]) -> tuple[Track, ...]:
        return TRACKS

    def sources(self) -> tuple[Source, ...]:
        return ()

    def load(self, files: Mapping[str, Path]) -> "MotifModel":
        return MotifModel(self)


class MotifModel:
    """The motif network behind the model protocol."""

    def __init__(self, recipe: MotifRecipe) -> None:
        from zarrbench.models.keras_network import (
            FixedBatch,
            InputGradient,
            of_codes,
            prepare_backend,
        )

        prepare_backend()
        self.spec, self.tracks = recipe.spec(), TRACKS
        network = _network(recipe)
        self._call = FixedBatch(of_codes(network), recipe.batch_size)
        self._gradient = InputGradient(network, BINS, recipe.name)

    def predict(self, codes: Codes, gene: str) -> NDArray[np.float32]:
        """As `zarrbench.models.protocol.Model.predict`."""
        self._check(codes)
        return self._call(codes)

    def input_gradient(
        self, codes: Codes, gene: str, bins: range, weights: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """As `zarrbench.models.protocol.DifferentiableModel.input_gradient`.

        A base of a motif below `THRESHOLD` has no gradient there, though a change of it may make
        the motif count: the score has a kink.
        """
        self._check(codes[None])
        return self._gradient(codes, bins, weights)

    def _check(self, codes: Codes) -> None:
        if codes.ndim != 2 or codes.shape[1] != self.spec.input_length:
            raise ModelInputError(
                f"the motif model reads {self.spec.input_length} bases, got {codes.shape}"
            )


def _network(recipe: MotifRecipe) -> "keras.Model":
    """Return the network of one-hot (batch, input_length, 4), and of no extra inputs."""
    import keras

    one_hot = keras.Input((recipe.input_length, 4))
    scores = []
    for motif in MOTIFS:
        weights = motif.weights()
        best = float(weights.max(axis=1).sum())
        scan = keras.layers.Conv1D(1, len(weights), activation="relu", name=motif.name)
        hits = scan(one_hot)
        scan.set_weights([weights[:, :, None], np.array([-THRESHOLD * best])])
        centres = np.arange(hits.shape[1]) + (len(weights) - 1) / 2
        distance = np.abs(centres - recipe.input_length // 2)
        weigh = keras.layers.Dense(1, use_bias=False, name=f"{motif.name}_near_tss")
        score = weigh(keras.layers.Flatten()(hits))
        weigh.set_weights([motif.sign * np.exp(-distance / recipe.decay)[:, None]])
        scores.append(score)
    signal = keras.layers.Add()(scores)
    profile = np.array(PROFILE, dtype=np.float32)[None, :, None]
    both = keras.ops.exp(keras.ops.concatenate([signal, -signal], axis=1) / 2)
    return keras.Model([one_hot, {}], both[:, None, :] * profile)
