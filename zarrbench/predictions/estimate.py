"""What a run will compute, from a sample of its genes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from zarrbench import progress
from zarrbench.models.protocol import EstimatedRecipe
from zarrbench.predictions.plan import Plan, Task
from zarrbench.predictions.readouts import asked_bins
from zarrbench.predictions.worker import Job, prepare

_GENES = 5
#: operations a second that a large card is taken to sustain, in TFLOP/s: 50 to 60 ms for one stock
#: call of Enformer on an H100. An assumption: `python -m benchmarks.enformer` measures yours
ASSUMED_RATE = 60.0


@dataclass(frozen=True)
class Estimate:
    """Totals of all tasks that are to do, as far as a sample of them tells.

    Attributes
    ----------
    genes : int
        Genes of the sample.
    sequences, distinct : int
        Inputs of all people (haplotypes, times the members of an ensemble), and distinct ones.
    tiles : int
        Distinct pieces of sequence that a shared trunk reads; 0 if the model shares none.
    stock, shared : float
        Floating point operations, everything computed for every sequence, and with what is shared
        computed once; 0 if the model does not say.
    """

    genes: int
    sequences: int
    distinct: int
    tiles: int
    stock: float
    shared: float

    def shown(self) -> dict[str, Any]:
        """Return what ``--dry-run`` prints."""
        shown: dict[str, Any] = {
            "sampled_genes": self.genes,
            "sequences": self.sequences,
            "distinct_sequences": self.distinct,
        }
        if self.stock:
            per_hour = ASSUMED_RATE * 1e12 * 3600
            shown |= {
                "distinct_tiles": self.tiles,
                "petaflop_stock": _rounded(self.stock / 1e15),
                "petaflop_shared": _rounded(self.shared / 1e15),
                "gpu_hours_stock": _rounded(self.stock / per_hour),
                "gpu_hours_shared": _rounded(self.shared / per_hour),
                "assumed": f"sizes of the released model, {ASSUMED_RATE:.0f} TFLOP/s sustained",
            }
        return shown


def estimate(plan: Plan, job: Job, tasks: list[Task]) -> Estimate:
    """Read the windows of a few genes, evenly spread over `tasks`, and scale up by haplotypes."""
    places = np.unique(np.linspace(0, len(tasks) - 1, _GENES).round().astype(int))
    sample = [tasks[place] for place in places] if tasks else []
    recipe = job.model.recipe
    bins = asked_bins(plan.predict.readouts.values(), plan.spec.bins)
    counts = np.zeros(5)
    for task in progress.bar(sample, total=len(sample), label="sample", unit="genes"):
        for personal in prepare(job, task):
            counts[:2] += personal.rows.size, personal.n_rows
            if isinstance(recipe, EstimatedRecipe):
                cost = recipe.estimate(personal, len(bins), len(plan.tracks))
                counts[2:] += cost.tiles, cost.stock, cost.shared
    people = sum(task.individuals.size for task in tasks)
    totals = counts * people / max(1, sum(task.individuals.size for task in sample))
    return Estimate(len(sample), *(int(n) for n in totals[:3].round()), *map(float, totals[3:]))


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
