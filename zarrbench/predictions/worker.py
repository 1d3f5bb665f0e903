"""What runs on a worker: read a window, predict each distinct sequence once, write the shard.

A task is idempotent: it writes whole chunks that no other task touches, and its ledger entry last.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zarrbench import ledger
from zarrbench.errors import ModelInputError, SourceError, StorageError
from zarrbench.genome.reference import Reference
from zarrbench.genotypes.policies import Policies
from zarrbench.genotypes.store import GenotypeStore
from zarrbench.haplotypes.sequences import PersonalWindow, personal_window
from zarrbench.models.protocol import LoadableModel, Model, ModelSpec, loaded
from zarrbench.predictions.cube import write_shard
from zarrbench.predictions.plan import Task
from zarrbench.predictions.readouts import Readout, read_out
from zarrbench.provenance import now, software

# Sequences encoded at once, in batches of the model: bounds memory, not results
_BATCHES_AT_ONCE = 4


@dataclass(frozen=True)
class Job:
    """What all tasks of a run share. Small: paths and recipes, never data or networks."""

    cube: Path
    genotypes: Path | str
    reference: Path
    policies: Policies
    model: LoadableModel
    readouts: Mapping[str, Readout]
    recipe_hash: str


def warm_up(model: LoadableModel) -> ModelSpec:
    """Load the network in this process: a model that cannot be loaded stops a run early."""
    return loaded(model).spec


def run_task(job: Job, task: Task) -> ledger.Entry:
    """Predict one gene for one block of individuals, write the shard and its ledger entry.

    A failure of this gene becomes a ``failed`` entry, so that the others go on; what would hit
    them all is raised: a failure of the storage, genotypes behind a URL that cannot be read any
    more, or a model that this process cannot load.
    """
    began = time.perf_counter()
    # Outside the block below: a process that cannot load the model would fail every gene it gets.
    model = loaded(job.model)
    try:
        personal = prepare(job, task)
        by_readout = predict_distinct(model, personal, task.gene, job.readouts)
        people = {name: values[personal.rows] for name, values in by_readout.items()}
        references = {name: v[personal.reference_row] for name, v in by_readout.items()}
        checksums = write_shard(job.cube, task.row, task.block, people, references)
    except (StorageError, SourceError):
        raise
    except Exception as error:
        entry = failure(job, task, error, time.perf_counter() - began)
    else:
        entry = ledger.Entry(
            gene=task.gene,
            block=task.block.number,
            state="done",
            recipe=job.recipe_hash,
            time=now(),
            checksums=checksums,
            sizes={key: (job.cube / key).stat().st_size for key in checksums},
            seconds=round(time.perf_counter() - began, 4),
            sequences=personal.n_rows,
            software=software(),
        )
    ledger.append(ledger.ledger_of(job.cube), entry)
    return entry


def prepare(job: Job, task: Task) -> PersonalWindow:
    """Read the window of a task and find its distinct sequences."""
    genotypes, reference = opened(job.genotypes, job.reference, job.recipe_hash)
    return personal_window(genotypes, reference, task.window, job.policies, task.individuals)


def predict_distinct(
    model: Model, personal: PersonalWindow, gene: str, readouts: Mapping[str, Readout]
) -> dict[str, NDArray[np.float32]]:
    """Return the readouts of every distinct sequence of a window, each (distinct, track).

    Raises
    ------
    ModelInputError
        If the model's output has another shape than its description says, or cannot be read out.
    """
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in readouts}
    spec = model.spec
    step = spec.batch_size * _BATCHES_AT_ONCE
    for start in range(0, personal.n_rows, step):
        codes = personal.codes(slice(start, start + step))
        outputs = model.predict(codes, gene)
        expected = (codes.shape[0], spec.bins, len(spec.tracks))
        if outputs.shape != expected:
            raise ModelInputError(
                f"the model {spec.name!r} gives an output of shape {outputs.shape}, its "
                f"description says {expected} (sequences, bins, tracks); correct one of them"
            )
        for name, readout in readouts.items():
            parts[name].append(read_out(outputs, readout))
    return {name: np.concatenate(values) for name, values in parts.items()}


def failure(job: Job, task: Task, error: BaseException, seconds: float = 0.0) -> ledger.Entry:
    """Return the ledger entry of a task that failed."""
    return ledger.Entry(
        gene=task.gene,
        block=task.block.number,
        state="failed",
        recipe=job.recipe_hash,
        time=now(),
        seconds=round(seconds, 4),
        error=f"{type(error).__name__}: {error}",
    )


@lru_cache(maxsize=2)
def opened(
    genotypes: Path | str, reference: Path, recipe_hash: str
) -> tuple[GenotypeStore, Reference]:
    """Open the stores once in this process.

    The recipe's fingerprint is part of the key: a standing worker must not serve the store that
    lay under the same path before.
    """
    sequence = Reference(reference)
    return GenotypeStore(genotypes, sequence.lengths), sequence
