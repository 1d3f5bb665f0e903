"""The released model as it is: a SavedModel, called as it stands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from zarrbench.errors import ModelInputError
from zarrbench.genome.bases import ONE_HOT, Codes
from zarrbench.haplotypes.sequences import PersonalWindow
from zarrbench.models.enformer.architecture import Precision
from zarrbench.models.enformer.batches import padded
from zarrbench.models.keras_network import grow_memory
from zarrbench.models.released import missing


@dataclass(frozen=True)
class Released:
    """A SavedModel with the interface of the released Enformer.

    Attributes
    ----------
    folder : Path
    loaded : object
        The root of what was loaded; variables live as long as it does.
    function : object
        The concrete function of ``predict_on_batch``.
    """

    folder: Path
    loaded: Any
    function: Any

    @property
    def context_length(self) -> int:
        """Bases of the input; the model crops it to the middle half itself."""
        return int(self.function.inputs[0].shape[1])

    @property
    def input_length(self) -> int:
        """Bases that count."""
        return self.context_length // 2

    @property
    def output_bins(self) -> int:
        return int(self.human.shape[1])

    @property
    def tracks(self) -> int:
        """Human tracks."""
        return int(self.human.shape[2])

    @property
    def human(self) -> Any:
        """The output tensor of the human head."""
        function, structure = self.function, self.function.structured_outputs
        # Once differentiated, it also gives what the way back needs, behind its own outputs.
        own = function.outputs[: len(tf.nest.flatten(structure))]
        return tf.nest.pack_sequence_as(structure, own)["human"]


def open_released(folder: Path) -> Released:
    """Load a SavedModel.

    Raises
    ------
    ModelInputError
        If the folder is none, is damaged, or holds another model than Enformer.
    """
    fault = missing(folder)
    if fault is not None:
        raise ModelInputError(
            f"{folder} is no SavedModel: {fault}; give the folder of the released model, or fetch "
            "it with 'zarrbench model fetch'"
        )
    grow_memory()
    try:
        loaded = _load(str(folder))
    except Exception as error:  # TensorFlow raises many kinds for damaged files
        raise ModelInputError(
            f"{folder} cannot be loaded as a SavedModel: {_shortened(error)}; its files are "
            "damaged or incomplete: fetch it again"
        ) from error
    try:
        [function] = loaded.model.predict_on_batch.concrete_functions
        released = Released(folder, loaded, function)
        lengths, human = function.inputs[0].shape.as_list(), released.human.shape.as_list()
    except (AttributeError, ValueError, LookupError, TypeError) as error:
        raise ModelInputError(
            f"{folder} is a SavedModel, but not Enformer: it offers no model.predict_on_batch that "
            "gives 'human'; give the folder of the released model"
        ) from error
    known = None not in (*lengths[1:], *human[1:])
    if len(lengths) != 3 or lengths[2] != 4 or len(human) != 3 or not known:
        raise ModelInputError(
            f"{folder} is not Enformer: it makes {human} of {lengths}, expected (batch, bin, "
            "track) of (batch, base, 4); give the folder of the released model"
        )
    return released


def _load(folder: str) -> Any:
    try:
        import tensorflow_hub
    except ImportError:  # it needs an old setuptools, which this environment may lack
        return tf.saved_model.load(folder)
    return tensorflow_hub.load(folder)


class Stock:
    """The model called as it is, with batches of one size, sequence by sequence.

    Parameters
    ----------
    released : Released
    batch_size : int
        Sequences of one call.
    tracks : sequence of int, optional
        Human tracks that are kept, in this order; all by default.
    precision : {'float32', 'tensorfloat32'}
        Holds for everything that this process multiplies.
    """

    def __init__(
        self,
        released: Released,
        batch_size: int,
        tracks: Sequence[int] | None = None,
        precision: Precision = "tensorfloat32",
    ) -> None:
        # In TensorFlow, whatever the backend of our own forward
        tf.config.experimental.enable_tensor_float_32_execution(precision != "float32")
        self._released, self._size, self._tracks = released, batch_size, tracks
        self._calls, self._gradients = cache(self._compiled), cache(self._differentiated)

    def sequences(self, codes: Codes, bins: range) -> Iterator[NDArray[np.float32]]:
        """As `zarrbench.models.enformer.forward.Forward.sequences`."""
        call = self._calls(bins)
        for batch in padded(codes, self._size):
            yield np.asarray(call(batch.rows))[: batch.count]

    def prepare(self, personal: PersonalWindow) -> None:
        """Return nothing: nothing is shared."""

    def window(
        self, personal: PersonalWindow, bins: range, found: object = None
    ) -> Iterator[NDArray[np.float32]]:
        """As `zarrbench.models.enformer.forward.Forward.window`, with nothing shared."""
        for start in range(0, personal.n_rows, self._size):
            yield from self.sequences(personal.codes(slice(start, start + self._size)), bins)

    def input_gradient(
        self, codes: Codes, bins: range, weights: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """As `zarrbench.models.enformer.forward.Forward.input_gradient`.

        All that the model computes for the sequence is kept until it has gone back through it:
        several times the memory of a prediction.
        """
        return np.asarray(self._gradients(bins)(ONE_HOT[codes][None], weights))[0]

    def _compiled(self, bins: range) -> Any:
        """Return a function of base codes to asked bins and tracks."""
        spec = tf.TensorSpec((self._size, self._released.input_length), tf.uint8)

        @tf.function(input_signature=[spec], autograph=False)
        def call(codes: Any) -> Any:
            bases = tf.gather(tf.constant(ONE_HOT), tf.cast(codes, tf.int32))
            return self._predicted(bases, bins)

        return call

    def _differentiated(self, bins: range) -> Any:
        """Return a function of one one-hot sequence and weights of outputs to the gradient."""

        @tf.function(autograph=False)
        def call(bases: Any, weights: Any) -> Any:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(bases)
                weighted = tf.reduce_sum(self._predicted(bases, bins) * weights)
            return tape.gradient(weighted, bases)

        return call

    def _predicted(self, bases: Any, bins: range) -> Any:
        """Pad one-hot (batch, input_length, 4) and cut the output, on the device."""
        released, tracks = self._released, self._tracks
        beside = (released.context_length - released.input_length) // 2
        around = tf.pad(bases, ((0, 0), (beside, beside), (0, 0)))
        human = released.loaded.model.predict_on_batch(around)["human"]
        kept = human[:, bins.start : bins.stop]
        return kept if tracks is None else tf.gather(kept, list(tracks), axis=2)


def _shortened(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
