"""Slopes and nulls: zarrbench beside tensorQTL, sgkit, scikit-learn and NumPy, in one run.

    python -m benchmarks.statistics [--threads N] [--megabases MB] [--genes N] [--rounds N]

All start from the same genotypes in memory and take turns, so that noise hits them alike. The
figures are medians, the ratios medians of the ratios of each round. Slopes are compared first, in
standard errors of the float64 ones. tensorQTL comes with ``pip install tensorqtl``; what is not
installed is left out. About ten minutes.
"""

import argparse
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any


def main() -> None:
    arguments = parsed()
    cores = sorted(os.sched_getaffinity(0))[: arguments.threads]
    os.sched_setaffinity(0, cores)  # before anything is imported that counts the cores

    from benchmarks.statistics import contenders, nulls
    from benchmarks.statistics.workload import simulated
    from zarrbench.statistics.slopes import slopes

    work = simulated(arguments.megabases * 1_000_000, arguments.people, arguments.genes)
    print(f"{len(work.dosage):,} variants, {len(work.y)} genes, {work.pairs:,} pairs, "
          f"{arguments.people} people, {len(cores)} threads\n")  # fmt: skip
    chosen = {
        name: run
        for name, run in contenders.SLOPES.items()
        if "tensorQTL" not in name or importlib.util.find_spec("tensorqtl")
    }
    exact = slopes(work.dosage, work.y, work.first, work.last)
    parts = {name: work.of_genes(contenders.FEW.get(name, len(work.y))) for name in chosen}
    for name, run in chosen.items():
        found = run(parts[name])
        apart = abs(found - exact.slope[: found.size]) / exact.se[: found.size]
        worst = max(a for a in apart.tolist() if a == a)
        print(f"{name:34} largest difference {worst:.1e} standard errors")
    measured = rates(chosen, parts, {n: p.pairs for n, p in parts.items()}, arguments.rounds)
    show("pairs/s", measured, "zarrbench: slopes", "zarrbench: cis_slopes, labelled")
    few = work.of_genes(arguments.null_genes)
    both = {"zarrbench: null_correlations": nulls.zarrbench_null, "broadcast": nulls.broadcast}
    apart = abs(nulls.zarrbench_null(few) - nulls.broadcast(few)).max()
    print(f"\nnull, {nulls.DRAWS} draws, float64, largest difference {apart:.1e}")
    items = dict.fromkeys(both, len(few.y))
    show("genes/s", rates(both, dict.fromkeys(both, few), items, arguments.rounds),
         "zarrbench: null_correlations")  # fmt: skip


def rates(
    runs: dict[str, Callable[[Any], object]],
    parts: dict[str, Any],
    items: dict[str, int],
    rounds: int,
) -> dict[str, list[float]]:
    """Return items a second of each contender, round by round."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            run(parts[name])
            found[name].append(items[name] / (time.perf_counter() - began))
    return found


def show(unit: str, measured: dict[str, list[float]], *ours: str) -> None:
    print(f"\n{'':34}{unit:>14}" + "".join(f"{name.partition(': ')[2]:>24}" for name in ours))
    for name, speeds in measured.items():
        ratios = [
            statistics.median(a / b for a, b in zip(measured[own], speeds, strict=True))
            for own in ours
        ]
        print(f"{name:34}{statistics.median(speeds):14,.0f}"
              + "".join(f"{f'{ratio:,.2f} x':>24}" for ratio in ratios))  # fmt: skip


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.statistics")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="cores to use")
    parser.add_argument("--megabases", type=int, default=20)
    parser.add_argument("--people", type=int, default=839)
    parser.add_argument("--genes", type=int, default=400)
    parser.add_argument("--null-genes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
