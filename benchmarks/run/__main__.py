"""What zarrbench itself costs: a run with a stand-in network that holds its device a fixed time.

    python -m benchmarks.run [--json FILE]

Two runs over 839 simulated people (1,678 haplotypes), windows of 196,608 bases, one slot. First 60
genes of 1.0 s each: the wall time from the first submit to the last ledger entry, beside the time
that the network holds its device. Then 6,825 genes by 16 tracks of a network that answers at once:
tasks a second, and how the memory of the driver, which is also the scheduler's, grows after the
first 500 genes. About fifteen minutes on two cores; `--genes` makes the second shorter.
"""

import argparse
import contextlib
import json
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
from distributed import Client

from benchmarks.run.stand_in import HoldingRecipe, write_cohort
from zarrbench import ledger
from zarrbench.clusters import started
from zarrbench.clusters.local import LocalRecipe
from zarrbench.expression.samples import join_samples
from zarrbench.models.protocol import LoadableModel
from zarrbench.predictions.plan import Plan, Predict, make_plan
from zarrbench.predictions.readouts import Readout
from zarrbench.predictions.run import STEPS, fill_cube
from zarrbench.predictions.worker import Job
from zarrbench.stores import StoreFamily

WARM_UP = 4
STEADY = 500


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.run")
    parser.add_argument("--individuals", type=int, default=839)
    parser.add_argument("--held-genes", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--genes", type=int, default=6825)
    parser.add_argument("--json", type=Path, help="where to write all figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores = StoreFamily(
            write_cohort(folder, arguments.individuals, arguments.genes),
            folder / "data",
            folder / "sources",
        )
        stores.build()
        with started(LocalRecipe(name="bench", processes=1)) as client:
            found = {
                "held": held(stores, folder, client, arguments.held_genes, arguments.seconds),
                "at once": at_once(stores, folder, client, arguments.genes),
            }
    print(json.dumps(found, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


def held(
    stores: StoreFamily, folder: Path, client: Client, genes: int, seconds: float
) -> dict[str, Any]:
    """Run so many genes of so many seconds; give the ratio to what the network alone takes."""
    recipe = HoldingRecipe(seconds, n_tracks=16)
    # The workers are warm: they have loaded the network and opened the stores.
    fill_cube(*planned(stores, recipe, folder / "warm.zarr"), client, "GPU", WARM_UP)
    plan, job = planned(stores, recipe, folder / "held.zarr")
    wall = timed(plan, job, client, genes)
    steps = ledger.seconds_by_step(done(job))
    return {
        "genes": genes,
        "wall_seconds": round(wall, 2),
        "network_seconds": genes * seconds,
        "ratio": round(wall / (genes * seconds), 4),
        "seconds_by_step": steps,
    }


def at_once(stores: StoreFamily, folder: Path, client: Client, genes: int) -> dict[str, Any]:
    """Run every gene with a network that answers at once; watch the memory of this process."""
    plan, job = planned(stores, HoldingRecipe(0.0, n_tracks=16), folder / "at_once.zarr")
    with watched(job.cube) as memory:
        wall = timed(plan, job, client, genes)
    after = [mib for n, mib in memory if n >= STEADY]
    return {
        "genes": genes,
        "wall_seconds": round(wall, 1),
        "shards_per_second": round(genes / wall, 1),
        "dask_tasks_per_second": round(len(STEPS) * genes / wall, 1),
        "driver_mib_by_shards": memory[:: max(1, len(memory) // 10)],
        "driver_growth_after_500_mib": round(max(after) - after[0], 1) if after else None,
        "seconds_by_step": ledger.seconds_by_step(done(job)),
    }


def planned(stores: StoreFamily, recipe: HoldingRecipe, cube: Path) -> tuple[Plan, Job]:
    """Return all genes and people as a plan, and what its tasks share."""
    predict = Predict(Readout("identity"), genes="all", individuals="all")
    model = LoadableModel(recipe, ())
    join = join_samples(stores.expression, stores.genotypes.samples)
    plan = make_plan(stores, join, model, predict)
    job = Job(
        cube=cube,
        genotypes=stores.genotypes_path,
        reference=stores.part_path("reference"),
        policies=stores.recipe.policies,
        model=model,
        predict=predict,
        numbers_hash=plan.numbers_hash,
    )
    return plan, job


def timed(plan: Plan, job: Job, client: Client, genes: int) -> float:
    """Fill a new cube; return the seconds from the first submit to the last ledger entry.

    The cube appears right before the first submit.
    """
    filled = fill_cube(plan, job, client, "GPU", genes)
    assert (filled.now, filled.failed) == (genes, {})
    began = (job.cube / "gene" / "zarr.json").stat().st_mtime
    return max(p.stat().st_mtime for p in ledger.ledger_of(job.cube).glob("*.jsonl")) - began


def done(job: Job) -> Iterable[ledger.Entry]:
    return ledger.entries(ledger.ledger_of(job.cube), job.numbers_hash).values()


@contextlib.contextmanager
def watched(cube: Path) -> Iterator[list[tuple[int, float]]]:
    """Give a list that grows every second by (shards written, MiB of this process)."""
    seen: list[tuple[int, float]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(1.0):
            n = sum(1 for _ in (cube / "prediction").glob("c.*"))
            seen.append((n, round(psutil.Process().memory_info().rss / 2**20, 1)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


if __name__ == "__main__":
    main()
