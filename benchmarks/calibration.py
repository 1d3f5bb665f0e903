"""How often each null statistic calls a gene significant at p <= 0.05, 0.01, 0.001 when none is.

    python -m benchmarks.calibration [--draws N] [--genes N] [--tests N]

Genes lie on simulated genotypes with linkage; expression is noise; the predictor under test is one
more draw of the same random predictors, which is what the null says it is. Genes are shown by about
how many independent variants carry them. With 50 draws, as the study has, and with more.
"""

import argparse
import sys

import numpy as np

from benchmarks.statistics.workload import simulated
from zarrbench.statistics.null import (
    STATISTICS,
    effective_variants,
    gene_generator,
    null_correlations,
    null_test,
)

LEVELS = (0.05, 0.01, 0.001)
#: bounds of the number of effective variants
CLASSES = ((0.0, 3.0), (3.0, 10.0), (10.0, np.inf))
# Draws of one matrix product of a gene
_BLOCK = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.calibration")
    parser.add_argument("--draws", type=int, nargs="+", default=[50, 1000])
    parser.add_argument("--genes", type=int, default=60)
    parser.add_argument("--tests", type=int, default=2000, help="of each gene; fewer of many draws")
    parser.add_argument("--people", type=int, default=300)
    arguments = parser.parse_args()
    work = simulated(8_000_000, arguments.people, arguments.genes)
    windows = [100_000, 5_000, 500]  # the narrow ones have few independent variants
    for draws in arguments.draws:
        tests = min(arguments.tests, 100_000 // draws)
        found: dict[tuple[float, float], list[np.ndarray]] = {bounds: [] for bounds in CLASSES}
        rng = np.random.default_rng(draws)
        for gene, tss in enumerate(work.tss):
            window = windows[gene % len(windows)]
            first, last = np.searchsorted(work.positions, [tss - window, tss + window])
            calls = work.dosage[first:last]
            effective = effective_variants(calls)
            if effective == 0:
                continue
            stream = gene_generator(1, f"{gene}")
            p = np.concatenate(
                [
                    _p(calls, rng.standard_normal(calls.shape[1]), draws, many, stream)
                    for many in np.diff(
                        np.unique([*range(0, tests, max(1, _BLOCK // draws)), tests])
                    )
                ]
            )
            [bounds] = (b for b in CLASSES if b[0] <= effective < b[1])
            found[bounds].append(p)
        _show(draws, found)


def _p(
    calls: np.ndarray, y: np.ndarray, draws: int, tests: int, stream: np.random.Generator
) -> np.ndarray:
    """Return p (test, statistic) of draws that are tested against others of the same gene."""
    q = null_correlations(calls, y, int(tests) * (draws + 1), stream).reshape(-1, draws + 1)
    return null_test(q[:, 0], q[:, 1:]).p


def _show(draws: int, found: dict[tuple[float, float], list[np.ndarray]]) -> None:
    print(f"\n{draws} draws{'':12}" + "".join(f"{name:>22}" for name in STATISTICS))
    for (low, high), parts in found.items():
        if not parts:
            continue
        p = np.concatenate(parts)
        print(f"effective variants {low:g} to {high:g}: {len(parts)} genes, {len(p):,} tests")
        for level in LEVELS:
            rates = (p <= level).mean(axis=0)
            cells = [
                "cannot" if name == "empirical" and level < 1 / (draws + 1) else f"{rate:.5f}"
                for name, rate in zip(STATISTICS, rates, strict=True)
            ]
            print(f"  p <= {level:<14}" + "".join(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    sys.exit(main())
