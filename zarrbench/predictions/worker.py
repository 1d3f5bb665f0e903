"""What runs on a worker: prepare a gene, predict each distinct sequence once, write the shard.

The three are tasks of their own, so that the next gene is prepared and the last one written while
the device predicts this one. Each is idempotent: together they write whole objects that no other
gene touches, and the ledger entry last.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from zarrbench import ledger
from zarrbench.errors import ModelInputError, SourceError, StorageError
from zarrbench.genome.reference import Reference
from zarrbench.genotypes.policies import Policies
from zarrbench.genotypes.store import GenotypeStore
from zarrbench.haplotypes.sequences import PersonalWindow, personal_window
from zarrbench.models.protocol import LoadableModel, Model, WindowModel, loaded
from zarrbench.predictions.plan import Predict, Task
from zarrbench.predictions.readouts import asked_bins, read_out, refuse_not_finite
from zarrbench.predictions.shards import key_of, write_shard
from zarrbench.provenance import now, software
from zarrbench.remote import Place
from zarrbench.storage import exists

# Sequences encoded at once, in batches of the model: bounds memory, not results
_BATCHES_AT_ONCE = 4


@dataclass(frozen=True)
class Job:
    """What all tasks of a run share. Small: paths and recipes, never data or networks."""

    cube: Place
    genotypes: Path | str
    reference: Place
    policies: Policies
    model: LoadableModel
    predict: Predict
    numbers_hash: str


class Numbered(Protocol):
    """What all tasks of a run share: it knows the fingerprint of what determines their numbers."""

    @property
    def numbers_hash(self) -> str: ...


class Keyed(Protocol):
    """A task: it knows its gene and block."""

    @property
    def key(self) -> tuple[str, int]: ...


@dataclass(frozen=True)
class Input:
    """One window of a gene, ready for the network.

    Attributes
    ----------
    personal : PersonalWindow
    prepared : object
        What the model's `prepare_window` made of it, None for a model that has none.
    """

    personal: PersonalWindow
    prepared: Any


@dataclass(frozen=True)
class Prepared:
    """All inputs of a task, and the seconds that they took."""

    inputs: tuple[Input, ...]
    seconds: float


@dataclass(frozen=True)
class Predicted:
    """What the cube will hold of a task, and what it took.

    Attributes
    ----------
    people : dict
        (individual, 2, track), or with bins before tracks, by variable.
    references : dict
        The same of the reference, without individual and haplotype.
    sequences : int
        Sequences predicted: the distinct ones of every input.
    seconds : dict
        By step.
    """

    people: dict[str, NDArray[np.float32]]
    references: dict[str, NDArray[np.float32]]
    sequences: int
    seconds: dict[str, float]


def warm_up(model: LoadableModel) -> str:
    """Load the network in this process: a model that cannot be loaded stops a run early.

    Returns what the model remarks on how it runs here; usually nothing.
    """
    return remark(loaded(model))


def remark(model: Model) -> str:
    return str(getattr(model, "remark", ""))


T = TypeVar("T")


def prepare_task(job: Job, task: Task) -> Prepared | ledger.Entry:
    """Read the windows of a task and find the distinct sequences of each, without the device.

    Here and in the next steps, an entry instead says that nothing is left to do: the gene failed,
    or it was done meanwhile (by a worker that died before it could say so). What would fail every
    gene is raised: a failure of the storage, genotypes behind a URL that cannot be read any more,
    or a model that this process cannot load.
    """
    # Outside of what fails one gene: a process without the model would fail every gene it gets.
    model = loaded(job.model)
    return tried(job, task, job.cube, lambda: _done(job, task) or _prepared(model, job, task))


def predict_task(job: Job, task: Task, found: Prepared | ledger.Entry) -> Predicted | ledger.Entry:
    """Predict every distinct sequence of a task; of the three steps the one on the device."""
    if isinstance(found, ledger.Entry):
        return found
    model = loaded(job.model)
    return tried(job, task, job.cube, lambda: predict_people(model, job, task, found))


def write_task(job: Job, task: Task, found: Predicted | ledger.Entry) -> ledger.Entry:
    """Write the shard of a task, then its entry."""
    if isinstance(found, ledger.Entry):
        return found
    model = loaded(job.model)
    return tried(job, task, job.cube, lambda: _done(job, task) or _written(model, job, task, found))


def tried(job: Numbered, task: Keyed, store: Place, step: Callable[[], T]) -> T | ledger.Entry:
    """Run a step; turn what fails this gene alone into its entry in the ledger of `store`."""
    began = time.perf_counter()
    try:
        return step()
    except (StorageError, SourceError):
        raise
    except Exception as error:
        entry = failure(job, task, error, {"failed": time.perf_counter() - began})
        ledger.append(ledger.ledger_of(store), entry)
        return entry


def _done(job: Job, task: Task) -> ledger.Entry | None:
    """Return the entry of a shard that was finished before; looks only where an object lies."""
    first = next(iter(job.predict.readouts))
    if not exists(job.cube / key_of(first, task.row, task.block.number, 4)):
        return None
    standing = ledger.entries(ledger.ledger_of(job.cube), job.numbers_hash, gene=task.gene)
    entry = standing.get(task.key)
    # A block with more people was extended meanwhile: who comes late must not undo that.
    if entry is None or entry.state != "done" or entry.individuals < task.individuals.size:
        return None
    return entry if ledger.intact(job.cube, entry) else None


def _prepared(model: Model, job: Job, task: Task) -> Prepared:
    began = time.perf_counter()
    inputs = tuple(
        Input(p, model.prepare_window(p) if isinstance(model, WindowModel) else None)
        for p in prepare(job, task)
    )
    return Prepared(inputs, time.perf_counter() - began)


def predict_people(model: Model, job: Job, task: Task, prepared: Prepared) -> Predicted:
    """Return what the cube holds of a task: the mean over its inputs."""
    began = time.perf_counter()
    people: dict[str, NDArray] = {}
    references: dict[str, NDArray] = {}
    for found in prepared.inputs:
        personal = found.personal
        for name, values in predict_distinct(model, found, task.gene, job.predict).items():
            _add(people, name, values[personal.rows])
            _add(references, name, values[personal.reference_row])
    n = len(prepared.inputs)
    return Predicted(
        people={name: _mean(total, n) for name, total in people.items()},
        references={name: _mean(total, n) for name, total in references.items()},
        sequences=sum(found.personal.n_rows for found in prepared.inputs),
        seconds={"prepare": prepared.seconds, "predict": time.perf_counter() - began},
    )


def _written(model: Model, job: Job, task: Task, predicted: Predicted) -> ledger.Entry:
    began = time.perf_counter()
    checksums, sizes = write_shard(
        job.cube,
        task.row,
        task.block,
        predicted.people,
        predicted.references,
        job.predict.storage,
    )
    entry = ledger.Entry(
        gene=task.gene,
        block=task.block.number,
        state="done",
        recipe=job.numbers_hash,
        time=now(),
        checksums=checksums,
        sizes=sizes,
        seconds=_rounded({**predicted.seconds, "write": time.perf_counter() - began}),
        sequences=predicted.sequences,
        individuals=task.individuals.size,
        software="; ".join(filter(None, (software(), remark(model)))),
    )
    ledger.append(ledger.ledger_of(job.cube), entry)
    return entry


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {step: round(value, 4) for step, value in seconds.items()}


def _add(totals: dict[str, NDArray], name: str, values: NDArray[np.float32]) -> None:
    """Add the values of one more input, in float64; the first alone stays as it is."""
    totals[name] = totals[name] + values.astype(np.float64) if name in totals else values


def _mean(total: NDArray, inputs: int) -> NDArray[np.float32]:
    return total if inputs == 1 else (total / inputs).astype(np.float32)


def prepare(job: Job, task: Task) -> Iterator[PersonalWindow]:
    """Read the windows of a task, one after the other, and find the distinct sequences of each."""
    genotypes, reference = opened(job.genotypes, job.reference, job.numbers_hash)
    for window in task.windows:
        yield personal_window(genotypes, reference, window, job.policies, task.individuals)


def predict_distinct(
    model: Model, found: Input, gene: str, predict: Predict
) -> dict[str, NDArray[np.float32]]:
    """Return what the cube holds of every distinct sequence of a window, by variable.

    Readouts are (distinct, track); ``output``, if bins are kept, is (distinct, bin, track).

    Raises
    ------
    ModelInputError
        If the model's output has another shape than its description says, or cannot be read out.
    """
    parts: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    bins = asked_bins(predict.readouts.values(), model.spec.bins)
    for outputs in outputs_of(model, found, gene, bins):
        for name, readout in predict.readouts.items():
            parts[name].append(read_out(outputs, readout, bins))
        if predict.store_bins:
            refuse_not_finite(outputs, "stand in")
            parts["output"].append(outputs.copy())  # a view would hold all bins in memory
    return {name: np.concatenate(values) for name, values in parts.items()}


def outputs_of(model: Model, found: Input, gene: str, bins: range) -> Iterator[NDArray[np.float32]]:
    """Yield outputs (sequence, asked bin, track) of all distinct sequences of a window, in order.

    Raises
    ------
    ModelInputError
        If the model's output has another shape than its description says.
    """
    spec, personal = model.spec, found.personal
    if isinstance(model, WindowModel):
        predicted = 0
        for outputs in model.predict_window(personal, found.prepared, gene, bins):
            predicted += len(outputs)
            _check_shape(model, outputs, (len(outputs), len(bins), len(model.tracks)))
            yield outputs
        if predicted != personal.n_rows:
            raise ModelInputError(
                f"the model {spec.name!r} predicts {predicted} sequences of a window that has "
                f"{personal.n_rows}; correct its predict_window"
            )
        return
    step = spec.batch_size * _BATCHES_AT_ONCE
    for start in range(0, personal.n_rows, step):
        codes = personal.codes(slice(start, start + step))
        outputs = model.predict(codes, gene)
        _check_shape(model, outputs, (codes.shape[0], spec.bins, len(model.tracks)))
        yield outputs[:, bins.start : bins.stop]


def _check_shape(model: Model, outputs: NDArray[np.float32], expected: tuple[int, ...]) -> None:
    if outputs.shape != expected:
        raise ModelInputError(
            f"the model {model.spec.name!r} gives an output of shape {outputs.shape}, its "
            f"description says {expected} (sequences, bins, tracks); correct one of them"
        )


def failure(
    job: Numbered, task: Keyed, error: BaseException, seconds: Mapping[str, float] | None = None
) -> ledger.Entry:
    """Return the ledger entry of a task that failed."""
    gene, block = task.key
    return ledger.Entry(
        gene=gene,
        block=block,
        state="failed",
        recipe=job.numbers_hash,
        time=now(),
        seconds=_rounded(seconds or {}),
        error=f"{type(error).__name__}: {error}",
    )


@lru_cache(maxsize=2)
def opened(
    genotypes: Path | str, reference: Place, recipe_hash: str
) -> tuple[GenotypeStore, Reference]:
    """Open the stores once in this process.

    The recipe's fingerprint is part of the key: a standing worker must not serve the store that
    lay under the same path before.
    """
    sequence = Reference(reference)
    return GenotypeStore(genotypes, sequence.lengths), sequence
