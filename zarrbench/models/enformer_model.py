"""Enformer as a model kind: the released SavedModel, or its weights as `convert` writes them."""

import contextlib
import gc
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from zarrbench.errors import ModelInputError, UnknownGraphError
from zarrbench.genome.bases import Codes
from zarrbench.haplotypes.sequences import PersonalWindow
from zarrbench.haplotypes.tiles import Tiles, Tiling, tiles
from zarrbench.models.enformer.architecture import Architecture, Precision
from zarrbench.models.enformer.cost import Work, stock_flops
from zarrbench.models.enformer.targets import read_targets
from zarrbench.models.protocol import Cost, ModelSpec, Track
from zarrbench.models.released import fetched, is_handle
from zarrbench.recipes import resolve
from zarrbench.sources import Source

if TYPE_CHECKING:
    from zarrbench.models.enformer.forward import Batches, Forward
    from zarrbench.models.enformer.saved_model import Stock

#: what one call of the stock model takes on a GPU: from 15 on TensorFlow's 32-bit index overflows
LARGEST_BATCH = 14


@dataclass(frozen=True)
class EnformerRecipe:
    """Enformer, and how to run it.

    Parameters
    ----------
    source : Source
        The folder of the SavedModel; or ``enformer`` or another handle of TensorFlow Hub or Kaggle
        that ``zarrbench model fetch`` has fetched; or the file that ``zarrbench model convert``
        has written.
    targets : Source
        The table that names the human tracks (``targets_human.txt``).
    tracks : tuple of str, optional
        Identifiers or descriptions of the tracks to predict; all by default.
    forward : {'shared', 'stock'}
        Our forward, which computes once what the sequences of a window have in common; or the
        SavedModel as it is, sequence by sequence. The same numbers, but for rounding.
    precision : {'tensorfloat32', 'float32', 'bfloat16'}
        See `zarrbench.models.enformer.precision`. The stock model knows no bfloat16.
    memory_gib : float
        What the shared forward may hold on a device beside the weights.
    batch_size : int
        Sequences of one call of the stock model, which needs about 4 GiB for each.
    name : str
    input_length, bins : int
        Of the released model; others are for tests.
    """

    source: Source
    targets: Source
    tracks: tuple[str, ...] | None = None
    forward: Literal["shared", "stock"] = "shared"
    precision: Precision = "tensorfloat32"
    memory_gib: float = 6
    batch_size: int = 1
    name: str = "enformer"
    input_length: int = 196_608
    bins: int = 896

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= LARGEST_BATCH:
            raise ValueError(f"batch_size must lie in 1..{LARGEST_BATCH}, found {self.batch_size}")
        if not self.memory_gib > 0:
            raise ValueError(f"memory_gib must be positive, found {self.memory_gib}")
        if self.tracks == ():
            raise ValueError("tracks must name at least one track; leave it out for all")
        if self.source.file == self.targets.file:
            raise ValueError(f"source and targets are the same file {self.source.file!r}")
        if self.forward == "stock" and self.precision == "bfloat16":
            raise ValueError("the stock model has no bfloat16: choose forward: shared")
        if is_handle(self.source.file) and self.source != Source(self.source.file):
            raise ValueError(
                f"the source {self.source.file!r} is a released model from the cache: it takes no "
                "url, sha256 or size here; give them to 'zarrbench model fetch'"
            )

    @property
    def process_bytes(self) -> int:
        """Memory of a process on a CPU: weights, and a batch of ours or a call of the stock model.

        Measured at the released size: 6.2 GiB, while the two are compared.
        """
        return int((1.5 + max(5.5, self.memory_gib)) * 2**30)

    def spec(self) -> ModelSpec:
        return ModelSpec(
            name=self.name,
            input_length=self.input_length,
            tss_index=self.input_length // 2,
            strand_aware=False,
            bins=self.bins,
            batch_size=self.batch_size,
        )

    def sources(self) -> tuple[Source, ...]:
        """Return the model's place and the table.

        Raises
        ------
        SourceError
            If the model is a handle that nobody has fetched.
        """
        if is_handle(self.source.file):
            return (Source(str(fetched(self.source.file))), self.targets)
        return (self.source, self.targets)

    def read_tracks(self, files: Mapping[str, Path]) -> tuple[Track, ...]:
        every = read_targets(files[self.targets.file])
        return tuple(every[i] for i in self.places(every))

    def places(self, every: tuple[Track, ...]) -> list[int]:
        """Return the outputs that are predicted, in the order asked for.

        Raises
        ------
        RecipeError
            If a track is unknown or its description is that of several.
        """
        if self.tracks is None:
            return list(range(len(every)))
        ids = [track.id for track in every]
        descriptions = [track.description for track in every]
        asked = [n if n in ids else resolve(n, descriptions, ids, "track") for n in self.tracks]
        return [ids.index(name) for name in asked]

    def estimate(self, personal: PersonalWindow, n_bins: int, n_tracks: int) -> Cost:
        """As `zarrbench.models.protocol.EstimatedRecipe.estimate`, by the released sizes."""
        architecture = Architecture()
        if personal.window.length != architecture.input_length:
            return Cost(0, 0, 0)
        if self.forward == "stock":  # whole sequences that are alike are shared all the same
            each = stock_flops(architecture)
            return Cost(0, personal.rows.size * each, personal.n_rows * each)
        found = tiles(personal, Tiling())
        edges = len(found.left) + len(found.right)
        work = Work(personal.rows.size, personal.n_rows, len(found.middle), edges)
        return Cost(
            work.tiles, work.stock(architecture), work.shared(architecture, n_bins, n_tracks)
        )

    def load(self, files: Mapping[str, Path]) -> "EnformerModel":
        every = read_targets(files[self.targets.file])
        [place] = [path for file, path in files.items() if file != self.targets.file]
        return EnformerModel(self, place, every)


class EnformerModel:
    """Enformer behind the model protocol.

    Attributes
    ----------
    remark : str
        Why the stock model runs though the shared forward was asked for; empty if it does not.
    """

    def __init__(self, recipe: EnformerRecipe, place: Path, every: tuple[Track, ...]) -> None:
        self.spec = recipe.spec()
        places = recipe.places(every)
        self.tracks = tuple(every[i] for i in places)
        chosen = None if recipe.tracks is None else places
        self._network, self.remark = _opened(recipe, place, len(every), chosen)

    def predict(self, codes: Codes, gene: str) -> NDArray[np.float32]:
        """As `zarrbench.models.protocol.Model.predict`."""
        self._check(codes)
        return np.concatenate(list(self._network.sequences(codes, range(self.spec.bins))))

    def prepare_window(self, personal: PersonalWindow) -> Tiles | None:
        """As `zarrbench.models.protocol.WindowModel.prepare_window`."""
        return self._network.prepare(personal)

    def predict_window(
        self, personal: PersonalWindow, prepared: Tiles | None, gene: str, bins: range
    ) -> Iterator[NDArray[np.float32]]:
        """As `zarrbench.models.protocol.WindowModel.predict_window`."""
        return self._network.window(personal, bins, prepared)

    def input_gradient(
        self, codes: Codes, gene: str, bins: range, weights: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """As `zarrbench.models.protocol.DifferentiableModel.input_gradient`."""
        self._check(codes[None])
        return self._network.input_gradient(codes, bins, weights)

    def _check(self, codes: Codes) -> None:
        if codes.ndim != 2 or codes.shape[1] != self.spec.input_length:
            raise ModelInputError(
                f"Enformer reads {self.spec.input_length} bases, got sequences of shape "
                f"{codes.shape}; cut a window around the TSS of this length (the zeros that the "
                "SavedModel wants beside it are added here)"
            )


def _opened(
    recipe: EnformerRecipe, place: Path, n_tracks: int, tracks: list[int] | None
) -> "tuple[Forward | Stock, str]":
    """Return the network that a recipe asks for, or the stock one and why."""
    from zarrbench.models.enformer.forward import Forward
    from zarrbench.models.enformer.trial import middle_bins, trial
    from zarrbench.models.enformer.weights import load_weights
    from zarrbench.models.keras_network import prepare_backend

    prepare_backend()
    if place.is_dir():
        return _beside_saved_model(recipe, place, n_tracks, tracks)
    architecture, arrays = load_weights(place)
    sizes = (architecture.input_length, architecture.output_bins, architecture.tracks)
    _check_sizes(recipe, place, sizes, n_tracks)
    if recipe.forward == "stock":
        raise ModelInputError(
            f"{place} holds converted weights, which only the shared forward reads; give the "
            "folder of the SavedModel, or leave out forward: stock"
        )
    batches = _batches(recipe, architecture)
    with _within_memory(recipe):
        forward = Forward(architecture, arrays, batches, tracks, recipe.precision)
        for _ in forward.window(trial(architecture), middle_bins(architecture)):
            pass
    return forward, ""


def _beside_saved_model(
    recipe: EnformerRecipe, place: Path, n_tracks: int, tracks: list[int] | None
) -> "tuple[Forward | Stock, str]":
    """Return our forward if it is the SavedModel, else the SavedModel and why."""
    from zarrbench.models.enformer.extraction import extract
    from zarrbench.models.enformer.forward import Forward
    from zarrbench.models.enformer.parity import TOLERANCE, compare
    from zarrbench.models.enformer.saved_model import Stock, open_released

    released = open_released(place)
    sizes = (released.input_length, released.output_bins, released.tracks)
    _check_sizes(recipe, place, sizes, n_tracks)
    remark = ""
    if recipe.forward == "shared":
        try:
            architecture, arrays = extract(released)
            batches = _batches(recipe, architecture)
            with _within_memory(recipe):
                parity = compare(released, architecture, arrays, batches)
        except UnknownGraphError as error:
            remark = f"the graph of {place} is unknown ({error})"
        else:
            if parity.same:
                del released
                gc.collect()  # what was loaded refers to itself, and fills a GPU
                return Forward(architecture, arrays, batches, tracks, recipe.precision), ""
            remark = (
                f"our forward differs from {place} by {parity.relative:.1e} of the output's range, "
                f"more than {TOLERANCE:.0e}"
            )
        if recipe.precision == "bfloat16":
            raise ModelInputError(f"{remark}, and the stock model has no bfloat16")
        remark += "; the stock model runs instead, sequence by sequence"
    return Stock(released, recipe.batch_size, tracks, recipe.precision), remark


def _batches(recipe: EnformerRecipe, architecture: Architecture) -> "Batches":
    from zarrbench.models.enformer.forward import batches_within

    try:
        return batches_within(architecture, int(recipe.memory_gib * 2**30))
    except ValueError as error:
        raise ModelInputError(f"memory_gib of {recipe.name!r}: {error}") from error


@contextlib.contextmanager
def _within_memory(recipe: EnformerRecipe) -> Iterator[None]:
    """Say what to do if full batches do not fit: here, before a first gene fails of it."""
    try:
        yield
    except Exception as error:  # every backend has an exception of its own for this
        said = f"{type(error).__name__} {error}".lower()
        if any(word in said for word in _EXHAUSTED):
            raise ModelInputError(
                f"the device has too little memory for {recipe.name!r} with memory_gib: "
                f"{recipe.memory_gib:g}; give less, or let fewer processes share the device"
            ) from error
        raise


_EXHAUSTED = ("resource_exhausted", "resourceexhausted", "out of memory", "outofmemory",
              "memoryerror")  # fmt: skip


def _check_sizes(
    recipe: EnformerRecipe, place: Path, sizes: tuple[int, int, int], n_tracks: int
) -> None:
    """Refuse a network of another size than the recipe and its table of tracks describe."""
    described = (recipe.input_length, recipe.bins, n_tracks)
    what = ("bases of input", "bins", "human tracks")
    for name, found, expected in zip(what, sizes, described, strict=True):
        if found != expected:
            raise ModelInputError(
                f"{place} has {found} {name}, the recipe and its table {recipe.targets.file} say "
                f"{expected}; one of them is of another model"
            )
