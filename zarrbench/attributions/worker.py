"""What runs on a worker: mutants of a gene, what the model says of them, and the gene's part.

In three steps, as for the cube: the device is busy with one gene while the next is prepared and the
last one written.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from zarrbench import ledger
from zarrbench.attributions.parts import key_of, parts_of, write_part
from zarrbench.errors import ModelInputError
from zarrbench.genome.bases import OTHER
from zarrbench.genome.reference import Reference
from zarrbench.genotypes.policies import Policies
from zarrbench.genotypes.store import GenotypeStore
from zarrbench.haplotypes.sequences import PersonalWindow
from zarrbench.models.protocol import DifferentiableModel, LoadableModel, Model, WindowModel, loaded
from zarrbench.predictions.readouts import Readout, asked_bins, derivative, read_out
from zarrbench.predictions.worker import Input, opened, outputs_of, remark, tried
from zarrbench.provenance import now, software
from zarrbench.remote import Place
from zarrbench.storage import exists

Arrays = dict[str, NDArray]
_WITHOUT = "set 'gradients: false' in the attributions stage"
T = TypeVar("T")


@dataclass(frozen=True)
class AttributionJob:
    """What all tasks of a run share. Small: paths and recipes, never data or networks.

    Attributes
    ----------
    store : Path or UPath
        Parts and ledger lie beside it.
    readout : Readout
    tracks : tuple of int
        Which of the model's tracks.
    numbers_hash : str
        Fingerprint of what determines the numbers.
    """

    store: Place
    genotypes: Path | str
    reference: Place
    policies: Policies
    model: LoadableModel
    readout: Readout
    tracks: tuple[int, ...]
    numbers_hash: str

    def opened(self) -> tuple[GenotypeStore, Reference]:
        return opened(self.genotypes, self.reference, self.numbers_hash)


@dataclass(frozen=True)
class Mutants:
    """Sequences that a task wants predicted.

    Attributes
    ----------
    inputs : tuple of Input
        Row 0 of each is the reference.
    known : dict of arrays
        What the task knows of them.
    """

    inputs: tuple[Input, ...]
    known: Arrays
    seconds: float = 0.0


@dataclass(frozen=True)
class Attributed:
    """The arrays of a part, and what they took."""

    arrays: Arrays
    sequences: int
    seconds: dict[str, float]


class PartTask(Protocol):
    """What makes the part of one gene."""

    @property
    def key(self) -> tuple[str, int]: ...

    def mutants(self, job: AttributionJob) -> Mutants:
        """Read what is needed and put bases into the reference, without the device."""
        ...

    def arrays(self, model: Model, job: AttributionJob, found: Mutants) -> Arrays:
        """Predict them."""
        ...


def prepare_part(job: AttributionJob, task: PartTask) -> Mutants | ledger.Entry:
    """Make the mutants of a task.

    Here and in the next steps, an entry instead says that nothing is left to do.
    """
    # Outside of what fails one gene: a process without the model would fail every gene it gets.
    model = loaded(job.model)
    return tried(job, task, job.store, lambda: _done(job, task) or _prepared(model, job, task))


def predict_part(
    job: AttributionJob, task: PartTask, found: Mutants | ledger.Entry
) -> Attributed | ledger.Entry:
    """Predict the mutants of a task; of the three steps the one on the device."""
    if isinstance(found, ledger.Entry):
        return found
    model = loaded(job.model)
    return tried(job, task, job.store, lambda: _attributed(model, job, task, found))


def write_part_of(
    job: AttributionJob, task: PartTask, found: Attributed | ledger.Entry
) -> ledger.Entry:
    """Write the part of a task, then its entry."""
    if isinstance(found, ledger.Entry):
        return found
    model = loaded(job.model)
    return tried(
        job, task, job.store, lambda: _done(job, task) or _written(model, job, task, found)
    )


#: what becomes of a task, with how much of the slot each step takes
STEPS: tuple[tuple[Callable[..., object], int], ...] = (
    (prepare_part, 0),
    (predict_part, 1),
    (write_part_of, 0),
)


def _done(job: AttributionJob, task: PartTask) -> ledger.Entry | None:
    """Return the entry of a part that was finished meanwhile."""
    gene, _ = task.key
    if not exists(parts_of(job.store) / key_of(gene)):
        return None
    standing = ledger.entries(ledger.ledger_of(job.store), job.numbers_hash, gene=gene)
    entry = standing.get(task.key)
    if entry is None or entry.state != "done":
        return None
    return entry if ledger.intact(parts_of(job.store), entry) else None


def _prepared(model: Model, job: AttributionJob, task: PartTask) -> Mutants:
    began = time.perf_counter()
    found = task.mutants(job)
    if isinstance(model, WindowModel):
        inputs = tuple(Input(i.personal, model.prepare_window(i.personal)) for i in found.inputs)
        found = replace(found, inputs=inputs)
    return replace(found, seconds=time.perf_counter() - began)


def _attributed(model: Model, job: AttributionJob, task: PartTask, found: Mutants) -> Attributed:
    began = time.perf_counter()
    arrays = task.arrays(model, job, found)
    seconds = {"prepare": found.seconds, "predict": time.perf_counter() - began}
    return Attributed(arrays, sum(i.personal.n_rows for i in found.inputs), seconds)


def _written(model: Model, job: AttributionJob, task: PartTask, found: Attributed) -> ledger.Entry:
    began = time.perf_counter()
    gene, block = task.key
    checksums, sizes = write_part(job.store, gene, found.arrays)
    seconds = {**found.seconds, "write": time.perf_counter() - began}
    entry = ledger.Entry(
        gene=gene,
        block=block,
        state="done",
        recipe=job.numbers_hash,
        time=now(),
        checksums=checksums,
        sizes=sizes,
        seconds={step: round(value, 4) for step, value in seconds.items()},
        sequences=found.sequences,
        software="; ".join(filter(None, (software(), remark(model)))),
    )
    ledger.append(ledger.ledger_of(job.store), entry)
    return entry


def readouts(
    model: Model, found: Input, gene: str, job: AttributionJob
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the readout of every sequence of a window, and the output for the first.

    Readouts are in float64, since what counts are small differences. The model's own outputs are
    float32: differences below about 1e-6 of a readout mean nothing.

    Returns
    -------
    float64 (sequence, track)
    float32 (bin, track)
        The bins that the readout asks for.
    """
    bins = asked_bins([job.readout], model.spec.bins)
    values: list[NDArray[np.float64]] = []
    first = np.empty((len(bins), len(job.tracks)), dtype=np.float32)
    for outputs in outputs_of(model, found, gene, bins):
        chosen = outputs[:, :, list(job.tracks)]
        if not values:
            first = chosen[0].copy()  # a view would hold all of it in memory
        values.append(
            read_out(chosen, job.readout, bins, np.float64).astype(np.float64, copy=False)
        )
    return np.concatenate(values), first


def probe_gradient(model: LoadableModel, gene: str) -> str:
    """Load the network in this process, and differentiate it; return what it remarks.

    So a model without gradients stops a run before the first gene.

    Raises
    ------
    ModelInputError
    """
    network = loaded(model)
    codes = np.zeros(network.spec.input_length, dtype=np.uint8)
    weights = np.ones((network.spec.bins, len(network.tracks)), dtype=np.float32)
    _differentiable(network).input_gradient(codes, gene, range(network.spec.bins), weights)
    return remark(network)


def _differentiable(model: Model) -> DifferentiableModel:
    if not isinstance(model, DifferentiableModel):
        raise ModelInputError(f"the model {model.spec.name!r} offers no gradients; {_WITHOUT}")
    return model


def gradients(
    model: Model, reference: PersonalWindow, output: NDArray[np.float32], gene: str,
    job: AttributionJob,
) -> NDArray[np.float32]:  # fmt: skip
    """Return the gradient of the readout by the one-hot reference, (track, base, 4).

    Along the forward strand, in A, C, G, T, whichever strand the model reads. METHODS section 12
    has the mean over bins where the readout ``raw_sum`` has their sum: a third of it.

    Parameters
    ----------
    reference : PersonalWindow
        Row 0 is the reference.
    output : float32 (bin, track)
        For it, as `readouts` returns it.

    Raises
    ------
    ModelInputError
        If the model cannot be differentiated, or the gradient is not finite.
    """
    differentiable = _differentiable(model)
    bins = asked_bins([job.readout], model.spec.bins)
    slopes = derivative(output, job.readout, bins)
    codes = reference.codes([0])[0]
    found = np.empty((len(job.tracks), codes.size, OTHER), dtype=np.float32)
    for row, track in enumerate(job.tracks):
        weights = np.zeros((len(bins), len(model.tracks)), dtype=np.float32)
        weights[:, track] = slopes[:, row]
        found[row] = differentiable.input_gradient(codes, gene, bins, weights)
    if not np.isfinite(found).all():
        raise ModelInputError(
            f"the gradient of the model {model.spec.name!r} is not finite; {_WITHOUT}"
        )
    return found[:, ::-1, ::-1] if reference.window.reverse else found
