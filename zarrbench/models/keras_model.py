"""Any Keras model (``.h5``, ``.keras``) that reads one-hot DNA, as described in YAML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zarrbench.errors import ModelInputError
from zarrbench.genome.bases import Codes
from zarrbench.models.protocol import ModelSpec, Track, check_tracks
from zarrbench.sources import Source

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class ExtraInput:
    """A further input of the network: one number for all its units, or a row for each gene.

    Parameters
    ----------
    constant : float, optional
        The value of every unit.
    table : Source, optional
        TSV with a header: gene id (with or without version), then one column a unit.
    """

    constant: float | None = None
    table: Source | None = None

    def __post_init__(self) -> None:
        if (self.constant is None) == (self.table is None):
            raise ValueError("an extra input needs either 'constant' or 'table'")


@dataclass(frozen=True)
class KerasRecipe:
    """A Keras file and how to feed it.

    Parameters
    ----------
    name : str
    file : Source
    input_length, tss_index, strand_aware
        As in `zarrbench.models.protocol.ModelSpec`.
    tracks : tuple of Track
        Names of the outputs, in the order of the last axis.
    bins : int
        Length of the middle axis of a (batch, bins, track) output; 1 for (batch, track).
    sequence_input : str, optional
        Name of the input that takes the sequence; needed if there are several.
    output : str, optional
        Name of the output to use; needed if there are several.
    extra_inputs : dict of ExtraInput
    channels : str
        Letters of the one-hot axis in the network's order.
    batch_size : int
    """

    name: str
    file: Source
    input_length: int
    tss_index: int
    strand_aware: bool
    tracks: tuple[Track, ...]
    bins: int = 1
    sequence_input: str | None = None
    output: str | None = None
    extra_inputs: dict[str, ExtraInput] = field(default_factory=dict)
    channels: str = "ACGT"
    batch_size: int = 64

    def __post_init__(self) -> None:
        if sorted(self.channels) != sorted("ACGT"):
            raise ValueError(f"channels must hold each of A, C, G, T once, not {self.channels!r}")
        if self.batch_size < 1:
            raise ValueError("batch_size must be at least 1")
        check_tracks(self.tracks)

    def spec(self) -> ModelSpec:
        return ModelSpec(
            name=self.name,
            input_length=self.input_length,
            tss_index=self.tss_index,
            strand_aware=self.strand_aware,
            bins=self.bins,
            batch_size=self.batch_size,
        )

    def read_tracks(self, files: Mapping[str, Path]) -> tuple[Track, ...]:
        return self.tracks

    def sources(self) -> tuple[Source, ...]:
        tables = [extra.table for extra in self.extra_inputs.values() if extra.table is not None]
        return (self.file, *tables)

    def load(self, files: Mapping[str, Path]) -> "KerasModel":
        return KerasModel(self, files)


class KerasModel:
    """A loaded Keras file behind the model protocol."""

    def __init__(self, recipe: KerasRecipe, files: Mapping[str, Path]) -> None:
        from zarrbench.models.keras_network import FixedBatch, InputGradient, of_codes

        self.spec, self.tracks = recipe.spec(), recipe.tracks
        self._path = files[recipe.file.file]
        network, units = _adapted(recipe, self._path)
        self._call = FixedBatch(of_codes(network), recipe.batch_size)
        self._gradient = InputGradient(network, recipe.bins, recipe.name)
        self._constant: dict[str, NDArray[np.float32]] = {}
        self._tables: dict[str, pd.DataFrame] = {}
        for name, extra in recipe.extra_inputs.items():
            if extra.table is None:
                self._constant[name] = np.full(units[name], extra.constant, dtype=np.float32)
            else:
                self._tables[name] = _gene_table(files[extra.table.file], name, units[name])

    def predict(self, codes: Codes, gene: str) -> NDArray[np.float32]:
        """As `zarrbench.models.protocol.Model.predict`.

        Raises
        ------
        ModelInputError
            If the sequences have another length, or a table lacks the gene.
        """
        self._check(codes)
        outputs = self._call(codes, self._extra(gene))
        return outputs.reshape(outputs.shape[0], self.spec.bins, len(self.tracks))

    def input_gradient(
        self, codes: Codes, gene: str, bins: range, weights: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """As `zarrbench.models.protocol.DifferentiableModel.input_gradient`.

        Raises
        ------
        ModelInputError
            As `predict`; or if the network cannot be differentiated.
        """
        self._check(codes[None])
        return self._gradient(codes, bins, weights, self._extra(gene))

    def _check(self, codes: Codes) -> None:
        if codes.ndim != 2 or codes.shape[1] != self.spec.input_length:
            raise ModelInputError(
                f"the model {self.spec.name!r} reads {self.spec.input_length} bases, got sequences "
                f"of shape {codes.shape}"
            )

    def _extra(self, gene: str) -> dict[str, NDArray[np.float32]]:
        """Return the vector of each extra input."""
        extra = dict(self._constant)
        for name, table in self._tables.items():
            if gene not in table.index:
                raise ModelInputError(
                    f"the table of the extra input {name!r} of {self.spec.name!r} has no gene "
                    f"{gene!r}; add its row"
                )
            extra[name] = table.loc[gene].to_numpy(dtype=np.float32)
        return extra


def _adapted(recipe: KerasRecipe, path: Path) -> "tuple[keras.Model, dict[str, int]]":
    """Load the file as a network of one-hot, channels A, C, G, T, and of extra inputs.

    Returns
    -------
    network : keras.Model
        As `zarrbench.models.keras_network.of_codes` wants it.
    units : dict of int
        Of each extra input.
    """
    import keras

    from zarrbench.models.keras_network import prepare_backend

    prepare_backend()
    network = open_network(path)
    inputs = {tensor.name: tensor for tensor in network.inputs}
    sequence = _pick(recipe.sequence_input, [n for n in inputs if n not in recipe.extra_inputs],
                     "sequence_input", path)  # fmt: skip
    unexplained = set(inputs) ^ {sequence, *recipe.extra_inputs}
    if unexplained:
        raise ModelInputError(
            f"{path} has the inputs {sorted(inputs)}, the recipe describes "
            f"{sorted({sequence, *recipe.extra_inputs})}; describe each further one in extra_inputs"
        )
    shape = tuple(inputs[sequence].shape)
    if len(shape) != 3 or shape[2] != 4 or shape[1] not in (None, recipe.input_length):
        raise ModelInputError(
            f"the input {sequence!r} of {path} has the shape {shape}, the recipe says "
            f"input_length: {recipe.input_length}, that is (None, {recipe.input_length}, 4); "
            f"correct the recipe"
        )
    for name in recipe.extra_inputs:
        if len(inputs[name].shape) != 2 or inputs[name].shape[1] is None:
            raise ModelInputError(
                f"the extra input {name!r} of {path} has the shape {tuple(inputs[name].shape)}, "
                f"only vectors (None, units) can be given; change the network"
            )
    one_hot = keras.Input((recipe.input_length, 4))
    extra = {n: keras.Input(tuple(inputs[n].shape[1:]), name=n) for n in recipe.extra_inputs}
    fed = {sequence: _reordered(one_hot, recipe.channels), **extra}
    chosen = _chosen_output(network, recipe, path)
    try:
        # From a list of tensors to one, whatever structures the file was saved with
        output = keras.Model(network.inputs, chosen)(
            [fed[tensor.name] for tensor in network.inputs]
        )
    except Exception as error:  # Keras raises many kinds for shapes that a layer cannot take
        raise ModelInputError(
            f"{path} cannot be applied to sequences of {recipe.input_length} bases: "
            f"{_shortened(error)}; correct the recipe"
        ) from error
    _check_output(tuple(output.shape), recipe, path)
    units = {name: int(tensor.shape[1]) for name, tensor in extra.items()}
    return keras.Model([one_hot, extra], output), units


def _reordered(one_hot: Any, channels: str) -> Any:
    """Return one-hot of the channels A, C, G, T in another order of them."""
    from keras import ops

    if channels == "ACGT":
        return one_hot
    return ops.take(one_hot, ["ACGT".index(letter) for letter in channels], axis=-1)


def open_network(path: Path) -> "keras.Model":
    """Load a network that says what it reads; no code of the file's own is run.

    Raises
    ------
    ModelInputError
        If the file holds none.
    """
    import keras

    try:
        network = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds for a bad file
        if "safe_mode" in str(error):
            raise ModelInputError(
                f"{path} holds code of its own (a Lambda layer), which zarrbench does not run; "
                f"save the network with Keras layers in its place"
            ) from error
        raise ModelInputError(
            f"{path} cannot be loaded as a Keras model: {_shortened(error)}; give a whole network "
            f"saved as .keras or .h5"
        ) from error
    # A Sequential that was never built has no inputs, nor has a subclassed Model.
    if not getattr(network, "inputs", None):
        raise ModelInputError(
            f"{path} does not say what it reads; save it again with a keras.Input of shape "
            f"(length, 4)"
        )
    return network


def _shortened(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")


def _chosen_output(network: "keras.Model", recipe: KerasRecipe, path: Path) -> Any:
    """Return the output tensor that the recipe names, by its key or by its layer."""
    # A Sequential has a single output without a name.
    names = list(getattr(network, "output_names", ["output"]))
    structure = network.output if hasattr(network, "output_names") else None
    if isinstance(structure, Mapping):
        return structure[_pick(recipe.output, list(structure), "output", path)]
    return network.outputs[names.index(_pick(recipe.output, names, "output", path))]


def _check_output(shape: tuple[int | None, ...], recipe: KerasRecipe, path: Path) -> None:
    tracks = len(recipe.tracks)
    allowed: list[tuple[int | None, ...]] = [(None, recipe.bins, tracks)]
    if recipe.bins == 1:
        allowed.append((None, tracks))
    if shape not in allowed:
        raise ModelInputError(
            f"the output of {path} has the shape {shape}, the recipe describes {tracks} tracks and "
            f"{recipe.bins} bins, that is {allowed[-1]}; correct tracks or bins"
        )


def _pick(asked: str | None, present: list[str], key: str, path: Path) -> str:
    if asked is None and len(present) == 1:
        return present[0]
    if asked is not None and present.count(asked) == 1:
        return asked
    said = "names none" if asked is None else f"says {asked!r}"
    advice = "name one" if asked not in present else "save it with a name for each"
    raise ModelInputError(
        f"{path} offers {', '.join(present) or 'nothing'} for {key}, the recipe {said}; {advice}"
    )


def _gene_table(path: Path, name: str, units: int) -> pd.DataFrame:
    from zarrbench.delimited import reading_text
    from zarrbench.genome.genes import unversioned

    what = f"the table {path} of the extra input {name!r}"
    try:
        with reading_text(path) as handle:
            table = pd.read_csv(handle, sep="\t", index_col=0)
        numbers = table.astype(np.float32)
    except ValueError as error:
        raise ModelInputError(f"{what} is no table of numbers: {error}; correct it") from error
    numbers.index = pd.Index(unversioned(table.index.astype(str)))
    if numbers.shape[1] != units:
        raise ModelInputError(
            f"{what} has {numbers.shape[1]} columns of numbers, the network takes {units}; give "
            f"the gene id, then one column a unit"
        )
    repeated = numbers.index[numbers.index.duplicated()]
    if len(repeated) > 0:
        raise ModelInputError(
            f"{what} has the gene {repeated[0]!r} more than once; keep one row of each"
        )
    missing = numbers.index[~np.isfinite(numbers.to_numpy()).all(axis=1)]
    if len(missing) > 0:
        raise ModelInputError(
            f"{what} lacks a number for the gene {missing[0]!r}; complete its row or leave it out"
        )
    return numbers
