"""What a network is trained on, how its genes are divided, and what is written down about it.

Nothing here imports a network library: `zarrbench.models.fitting` does the training.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zarrbench.errors import GeneTableError, ModelInputError
from zarrbench.genome.bases import Codes
from zarrbench.genome.gene_subset import GeneSubset
from zarrbench.provenance import differences, fingerprint, plain

#: fewest genes beside the held-out ones: with the default share one of them validates
FEWEST = 10


@dataclass(frozen=True)
class Training:
    """How a network is trained (METHODS section 21, with the recommendations there).

    Parameters
    ----------
    held_out : GeneSubset
        Genes that are never trained on, nor validated with.
    validation_share : float
        Share of the other genes that decides when to stop.
    batch_size : int
        Genes of one step of the optimiser.
    micro_batch : int
        Genes that are on the device at once: their gradients are added up to those of a batch. It
        determines memory, and of the numbers the last digits only.
    learning_rate : float
        Of Adam.
    patience : int
        Training ends after so many epochs without improvement.
    max_epochs : int
    seed : int
        Of the initial weights, of the order of genes and of the choice of validation genes.
    pseudocount : float, optional
        Train on log2 of each gene's mean expression plus this, for units that are no logarithms
        (RPKM, TPM). By default on the mean as it stands.
    """

    held_out: GeneSubset
    validation_share: float = 0.1
    batch_size: int = 64
    micro_batch: int = 4
    learning_rate: float = 1e-3
    patience: int = 10
    max_epochs: int = 200
    seed: int = 1
    pseudocount: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.validation_share <= 0.5:
            raise ValueError("validation_share must be above 0 and at most 0.5")
        for name in ("batch_size", "micro_batch", "patience", "max_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if not self.learning_rate > 0:
            raise ValueError("learning_rate must be a positive number")
        if self.seed < 0:
            raise ValueError("seed must not be negative")
        if self.pseudocount is not None and not self.pseudocount > 0:
            raise ValueError("pseudocount must be a positive number")

    @property
    def rows(self) -> int:
        """Genes that are on the device at once."""
        return min(self.micro_batch, self.batch_size)


@dataclass(frozen=True)
class Examples:
    """Genes with the reference sequence of their windows and what is to be predicted.

    Attributes
    ----------
    genes, contigs : array of str (gene,)
    tss : int64 (gene,)
        0-based.
    codes : uint8 (gene, input_length)
    targets : float32 (gene,)
        Finite.
    held_out : bool (gene,)
    """

    genes: NDArray[np.object_]
    contigs: NDArray[np.object_]
    tss: NDArray[np.int64]
    codes: Codes
    targets: NDArray[np.float32]
    held_out: NDArray[np.bool_]


@dataclass(frozen=True)
class Division:
    """Rows of the examples by what they serve; `rule` says how validation genes were chosen."""

    training: NDArray[np.int64]
    validation: NDArray[np.int64]
    held_out: NDArray[np.int64]
    rule: str

    @property
    def sets(self) -> dict[str, NDArray[np.int64]]:
        return {
            "training": self.training,
            "validation": self.validation,
            "held_out": self.held_out,
        }


@dataclass(frozen=True)
class Epoch:
    """One pass over the training genes.

    Attributes
    ----------
    epoch : int
        From 1.
    training_loss : float
        Mean squared error while the weights changed.
    validation_loss : float
        Of the validation genes afterwards.
    seconds : float
    """

    epoch: int
    training_loss: float
    validation_loss: float
    seconds: float


def divide(examples: Examples, share: float, seed: int) -> Division:
    """Choose validation genes among those that are not held out.

    Whole contigs are taken in an order drawn by `seed` until they hold `share` of the genes;
    passed over is one with which they would hold more than half. Where all genes are on one contig
    it is a stretch of genes in the order of their TSS: then windows at its ends may share bases
    with training genes (`sharing_bases`).

    Raises
    ------
    GeneTableError
        If fewer than `FEWEST` genes are not held out.
    """
    free = np.flatnonzero(~examples.held_out)
    if len(free) < FEWEST:
        raise GeneTableError(
            f"{len(free)} genes can be trained on (and {examples.held_out.sum()} are held out), "
            f"expected {FEWEST} or more; hold out fewer, or use stores with more genes"
        )
    rng = np.random.default_rng(seed)
    contigs = examples.contigs[free].astype(str)
    names = np.unique(contigs)
    if len(names) == 1:
        n = max(1, round(share * len(free)))
        first = int(rng.integers(len(free) - n + 1))
        chosen = np.zeros(len(free), dtype=bool)
        chosen[np.argsort(examples.tss[free], kind="stable")[first : first + n]] = True
        rule = f"a stretch of {n} genes, since all are on {names[0]}"
    else:
        taken: list[str] = []
        for name in rng.permutation(names):
            if np.isin(contigs, taken).sum() >= share * len(free):
                break
            if np.isin(contigs, [*taken, name]).sum() <= len(free) / 2:
                taken.append(str(name))
        chosen = np.isin(contigs, taken)
        rule = f"all genes of {', '.join(sorted(taken))}"
    return Division(free[~chosen], free[chosen], np.flatnonzero(examples.held_out), rule)


def sharing_bases(examples: Examples, rows: NDArray[np.int64], others: NDArray[np.int64]) -> int:
    """Return how many of the genes `rows` have a window that overlaps one of `others`."""
    length, count = examples.codes.shape[1], 0
    for contig in np.unique(examples.contigs[rows].astype(str)):
        here = np.sort(examples.tss[others[examples.contigs[others] == contig]])
        tss = examples.tss[rows[examples.contigs[rows] == contig]]
        near = np.searchsorted(here, tss + length) - np.searchsorted(here, tss - length, "right")
        count += int((near > 0).sum())
    return count


def inputs_of(architecture: Any, training: Training, examples: Examples) -> str:
    """Return a fingerprint of all that determines the numbers of a training, but its length."""
    parameters = parameters_of(training)
    del parameters["max_epochs"], parameters["held_out"]  # which genes those are is in the arrays
    arrays = (examples.codes, examples.targets, examples.tss, examples.held_out)
    return fingerprint(
        {
            "architecture": architecture,
            "parameters": parameters,
            "contigs": [str(contig) for contig in examples.contigs],
            "arrays": [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays],
        }
    )


def parameters_of(training: Training) -> dict[str, Any]:
    """Return the parameters that determine numbers, JSON-ready."""
    parameters: dict[str, Any] = plain(training)
    del parameters["micro_batch"]
    return parameters


def training_folder(weights: Path) -> Path:
    """Return the folder beside a file of weights that says how they came about."""
    return weights.with_name(f"{weights.name}.training")


def best(history: Sequence[Epoch]) -> Epoch:
    """Return the first epoch with the smallest loss on validation genes."""
    return min(history, key=lambda epoch: epoch.validation_loss)


def is_over(history: Sequence[Epoch], training: Training) -> bool:
    """Whether no further epoch follows."""
    if not history:
        return False
    done = history[-1].epoch
    return done >= training.max_epochs or done - best(history).epoch >= training.patience


def history_table(history: Sequence[Epoch]) -> str:
    """Return the epochs as tab-separated text with a header."""
    names = list(Epoch.__dataclass_fields__)
    rows = [[repr(value) for value in vars(epoch).values()] for epoch in history]
    return "".join("\t".join(row) + "\n" for row in [names, *rows])


def read_record(weights: Path) -> dict[str, Any]:
    """Return what a training wrote down about its weights; empty if nothing that can be read."""
    try:
        found = json.loads((training_folder(weights) / "trained.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def check_trained(name: str, training: Training, weights: Path | None, pipeline: Path) -> None:
    """Refuse weights that are not there (None), or were trained with other parameters.

    Weights that come without a record of their training are taken as they are.

    Raises
    ------
    ModelInputError
        Saying what to run.
    """
    advice = f"run 'zarrbench model train {pipeline}' first"
    if weights is None:
        raise ModelInputError(f"the network {name!r} is not trained yet; {advice}")
    known = read_record(weights).get("parameters")
    changed = differences(known, parameters_of(training)) if known else []
    if changed:
        raise ModelInputError(
            f"the network {weights} was trained with other parameters ({'; '.join(changed[:3])}); "
            f"{advice}, or change them back"
        )
