"""What every model satisfies, and how a recipe's ``kind`` becomes one.

A model kind is a frozen dataclass (the recipe: its fields are the YAML keys) registered as an
entry point of the group ``zarrbench.models``, so that another package can add one. The recipe is
cheap and imports no network library; `load` does, on the worker that predicts.
"""

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from zarrbench.errors import RecipeError, ZarrbenchError
from zarrbench.genome.bases import Codes
from zarrbench.haplotypes.sequences import PersonalWindow
from zarrbench.models.training import Division, Epoch, Examples, Training
from zarrbench.provenance import fingerprint
from zarrbench.recipes import nearest, parse
from zarrbench.sources import Source

GROUP = "zarrbench.models"


@dataclass(frozen=True)
class Track:
    """One output of a model.

    Parameters
    ----------
    id : str
        Unique.
    description : str
        What it measures; need not be unique.
    index : int, optional
        0-based column of the model's output; by default its place among the tracks.
    """

    id: str
    description: str = ""
    index: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ModelSpec:
    """What the rest of zarrbench must know of a model, without loading it.

    Parameters
    ----------
    name : str
    input_length : int
        Bases that the model reads.
    tss_index : int
        0-based index of the TSS base in the input, in the model's own orientation.
    strand_aware : bool
        Whether genes of the minus strand are read as reverse complement.
    bins : int
        Output bins; 1 for a scalar model.
    batch_size : int
        Sequences in every call; the last batch of a gene is padded to it, so that shapes are fixed.
    """

    name: str
    input_length: int
    tss_index: int
    strand_aware: bool
    bins: int
    batch_size: int

    def __post_init__(self) -> None:
        if not 0 <= self.tss_index < self.input_length:
            raise ValueError(
                f"tss_index {self.tss_index} lies outside the input of {self.input_length} bases"
            )


def check_tracks(tracks: Sequence[Track]) -> None:
    """Raise ValueError unless there are tracks and each has an id of its own."""
    ids = [track.id for track in tracks]
    if not ids or len(set(ids)) != len(ids):
        raise ValueError("a model needs at least one track, each with an id of its own")


class Model(Protocol):
    """A loaded network. It is called by one thread at a time.

    It may have a `remark`: what whoever started the run should know of how it runs.
    """

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def tracks(self) -> tuple[Track, ...]: ...

    def predict(self, codes: Codes, gene: str) -> NDArray[np.float32]:
        """Map base codes (batch, input_length) to outputs (batch, bins, track).

        `gene` (unversioned id) selects per-gene extra inputs; most models ignore it. Any batch
        size is accepted.
        """
        ...


@runtime_checkable
class WindowModel(Model, Protocol):
    """A network that computes once what the sequences of a window have in common."""

    def prepare_window(self, personal: PersonalWindow) -> Any:
        """Return what `predict_window` will want to know of a window.

        It is called while the network predicts another window, in another thread, and so must
        leave the device alone.
        """
        ...

    def predict_window(
        self, personal: PersonalWindow, prepared: Any, gene: str, bins: range
    ) -> Iterator[NDArray[np.float32]]:
        """Yield outputs (sequence, asked bin, track) of all distinct sequences, in their order.

        Each part holds as many sequences as suits the network. `prepared` is what `prepare_window`
        returned.
        """
        ...


@runtime_checkable
class DifferentiableModel(Model, Protocol):
    """A network whose outputs have a gradient by the sequence that it reads."""

    def input_gradient(
        self, codes: Codes, gene: str, bins: range, weights: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the gradient of ``(weights * output[bins]).sum()`` by the one-hot sequence.

        With the derivatives of a readout by the outputs as weights it is that of the readout, in
        one pass forward and one back: METHODS section 12 multiplies it by what an allele changes.

        Parameters
        ----------
        codes : uint8 (base,)
            One sequence of `spec.input_length`, as the model reads it: of a gene of the minus
            strand, where the model is aware of strands, the reverse complement. What is no letter
            is a zero vector, at which there is a gradient all the same.
        gene : str
            As for `predict`.
        bins : range
            Neighbouring 0-based output bins.
        weights : float32 (bin of `bins`, track)

        Returns
        -------
        float32 (base, 4)
            In the order of `codes`, channels A, C, G, T, in the unit of the weighted outputs.

        Raises
        ------
        ModelInputError
            If the sequence has another length, or the network has no gradient.
        """
        ...


@dataclass(frozen=True)
class Cost:
    """What the sequences of one window cost.

    Attributes
    ----------
    tiles : int
        Distinct pieces of sequence of which a shared trunk reads each once.
    stock, shared : int
        Floating point operations without and with sharing.
    """

    tiles: int
    stock: int
    shared: int


@runtime_checkable
class EstimatedRecipe(Protocol):
    """A model recipe that knows beforehand what a window will cost."""

    def estimate(self, personal: PersonalWindow, n_bins: int, n_tracks: int) -> Cost: ...


class ModelRecipe(Protocol):
    """The description of a model in a pipeline file; a frozen dataclass.

    A large one may say with `process_bytes` what memory a process with the model needs.
    """

    def spec(self) -> ModelSpec: ...

    def read_tracks(self, files: Mapping[str, Path]) -> tuple[Track, ...]:
        """Return the outputs in the order of the last axis; `files` as for `load`."""
        ...

    def sources(self) -> tuple[Source, ...]:
        """Return the files that loading needs."""
        ...

    def load(self, files: Mapping[str, Path]) -> Model:
        """Load the network; `files` maps ``Source.file`` to where it lies.

        Raises
        ------
        ModelInputError
            If a file does not fit the description.
        """
        ...


@runtime_checkable
class TrainableRecipe(ModelRecipe, Protocol):
    """A model recipe whose network `zarrbench model train` makes."""

    @property
    def weights(self) -> Source:
        """The file that training writes and `load` reads."""
        ...

    @property
    def training(self) -> Training: ...

    def inputs(self, examples: Examples) -> str:
        """Return a fingerprint of what determines the numbers of a training, but its length."""
        ...

    def train(self, examples: Examples, weights: Path) -> tuple[Division, tuple[Epoch, ...]]:
        """Train, or continue what was begun, and write `weights`.

        The folder `zarrbench.models.training.training_folder` exists and is this process's alone.
        """
        ...


def parse_model(data: Any, where: str) -> ModelRecipe:
    """Return the model recipe of the ``model`` mapping of a pipeline."""
    if not isinstance(data, Mapping) or "kind" not in data:
        raise RecipeError(f"{where}: expected a mapping with the key 'kind'")
    kinds = {point.name: point for point in entry_points(group=GROUP)}
    kind = str(data["kind"])
    if kind not in kinds:
        raise RecipeError(f"{where}.kind: there is no model kind {kind!r}{nearest(kind, kinds)}")
    try:
        described = kinds[kind].load()
    except (ImportError, AttributeError) as error:
        raise RecipeError(
            f"{where}.kind: the model kind {kind!r} cannot be imported from {kinds[kind].value}: "
            f"{error}; install the package that offers it again"
        ) from error
    recipe = parse(described, {k: v for k, v in data.items() if k != "kind"}, where)
    try:
        recipe.spec()
    except ValueError as error:
        raise RecipeError(f"{where}: {error}") from error
    return cast(ModelRecipe, recipe)


@dataclass(frozen=True)
class LoadableModel:
    """A model recipe with the places of its files: what travels to workers instead of a network."""

    recipe: ModelRecipe
    files: tuple[tuple[str, Path], ...]

    def tracks(self) -> tuple[Track, ...]:
        return self.recipe.read_tracks(dict(self.files))

    def key(self) -> str:
        """Return what tells this network from another in one process, as the files are now."""
        kind = f"{type(self.recipe).__module__}.{type(self.recipe).__qualname__}"
        files = [
            [name, str(path), path.stat().st_mtime_ns if path.exists() else None]
            for name, path in self.files
        ]
        return fingerprint({"kind": kind, "recipe": self.recipe, "files": files})


@contextlib.contextmanager
def held_back_output() -> Iterator[None]:
    """Hold back what native libraries print to standard error; show it if the block fails.

    An error that zarrbench raises on purpose says all that is needed: then nothing is shown.

    TensorFlow writes a dozen lines about absent GPUs from every process, past Python and past its
    own log level.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except ZarrbenchError:
            raise
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


# One network a process: a run predicts with one model, and a second would share its memory.
_in_this_process: dict[str, Model] = {}
_loading = threading.Lock()


def loaded(model: LoadableModel) -> Model:
    """Return the network, loaded once in this process, however many threads ask for it."""
    key = model.key()
    with _loading:
        network = _in_this_process.get(key)
        if network is None:
            _in_this_process.clear()
            with held_back_output():
                network = model.recipe.load(dict(model.files))
            _in_this_process[key] = network
    return network
