"""The two contenders: the stock model, and our forward with the same weights."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from benchmarks.enformer import device
from zarrbench.genome.bases import Codes
from zarrbench.models.enformer.architecture import Architecture, Precision
from zarrbench.models.enformer.batches import padded
from zarrbench.models.enformer.cost import rest_flops, stock_flops, trunk_flops
from zarrbench.models.enformer.forward import Forward, batches_within
from zarrbench.models.enformer.network import network
from zarrbench.models.enformer.weights import Arrays, random_weights
from zarrbench.models.enformer_model import LARGEST_BATCH
from zarrbench.models.keras_network import compiled, prepare_backend

# What a sequence needs in the stock model, beside the weights
_STOCK_GIB = 3.0


class Sequences(Protocol):
    """Predicts whole sequences, nothing shared."""

    def sequences(self, codes: Codes, bins: range) -> Iterator[NDArray[np.float32]]: ...


@dataclass(frozen=True)
class Networks:
    """What is compared.

    Attributes
    ----------
    stock : Sequences
    stock_is : str
        What plays the stock model.
    stock_batch : int
        Sequences of one call of it.
    stock_flops : int
        What it computes for a sequence.
    forward : Forward
    parity : float, optional
        Difference of the two in float32, relative to the range of the output.
    """

    stock: Sequences
    stock_is: str
    stock_batch: int
    stock_flops: int
    forward: Forward
    parity: float | None


def made(
    folder: Path, architecture: Architecture, memory_gib: float, precision: Precision
) -> Networks:
    """Draw weights and return both networks with them; batches are as large as memory allows."""
    prepare_backend()
    weights = random_weights(architecture)
    fit = int(memory_gib / _STOCK_GIB)
    size = max(1, min(LARGEST_BATCH, fit)) if device.gpu() else 1
    batches = batches_within(architecture, int(memory_gib * 2**30))
    if keras.backend.backend() == "tensorflow":
        return _beside_saved_model(folder, architecture, weights, batches, precision, size)
    forward = Forward(architecture, weights, batches, precision=precision)
    every, tracks = architecture.output_bins, architecture.tracks
    flops = trunk_flops(architecture, architecture.bins, "same")
    flops += rest_flops(architecture, every, tracks)
    what = "our own forward on whole sequences, every bin and human track (no SavedModel here)"
    return Networks(_Whole(forward, size), what, size, flops, forward, None)


def _beside_saved_model(
    folder: Path,
    architecture: Architecture,
    weights: Arrays,
    batches: Any,
    precision: Precision,
    size: int,
) -> Networks:
    """Go the way of users: a SavedModel is written, opened, its weights are extracted, checked."""
    from zarrbench.models.enformer.extraction import extract
    from zarrbench.models.enformer.parity import compare
    from zarrbench.models.enformer.saved_model import Stock, open_released
    from zarrbench.models.enformer.stand_in import write_saved_model

    write_saved_model(architecture, weights, folder / "enformer")
    released = open_released(folder / "enformer")
    found, arrays = extract(released)
    if found != architecture:
        raise SystemExit(f"extracted {found}, expected {architecture}")
    parity = compare(released, architecture, arrays)
    if not parity.same:
        raise SystemExit(f"our forward differs from the SavedModel: {parity}")
    stock = Stock(
        released, size, precision="float32" if precision == "float32" else "tensorfloat32"
    )
    forward = Forward(architecture, arrays, batches, precision=precision)
    what = "a SavedModel like the released one, as it is"
    return Networks(stock, what, size, stock_flops(architecture), forward, float(parity.relative))


class _Whole:
    """Our forward on whole sequences with every bin; the asked ones are cut on the device."""

    def __init__(self, forward: Forward, size: int) -> None:
        self._forward, self._size = forward, size
        self._call = compiled(partial(network, forward.architecture))

    def sequences(self, codes: Codes, bins: range) -> Iterator[NDArray[np.float32]]:
        for batch in padded(codes, self._size):
            found = self._call(self._forward._weights, self._forward._keys, batch.rows)
            yield np.asarray(found[:, bins.start : bins.stop])[: batch.count]
