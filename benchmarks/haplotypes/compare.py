"""Contenders on one cohort: compared for equality, timed in rounds, and set against the goals."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import islice
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.haplotypes import THREADS, contenders, peers
from benchmarks.haplotypes.cohort import Cohort
from benchmarks.haplotypes.contenders import (
    CODES,
    DIFFERING,
    DTYPES,
    NEW,
    READ,
    READING,
    WHOLE,
    Contender,
)
from benchmarks.haplotypes.tiles import TILING
from zarrbench.genome.bases import Codes, encode
from zarrbench.genotypes.policies import Policies
from zarrbench.haplotypes.sequences import personal_window
from zarrbench.haplotypes.tiles import tiles as find_tiles

ROUNDS = 9

#: What is asked of zarrbench: ours, what it is divided by (the fastest that so begins and ends),
#: and the least ratio of haplotypes per second.
GOALS = tuple(
    goal
    for what in DTYPES
    for how in (DIFFERING, WHOLE)
    for goal in (
        (what, f"{how}, {READING}", ("GenVarLoader", peers.SEQPRO), 20),
        (what, f"{how}, {READING}", ("GenVarLoader", peers.TABLE), 10),
        (what, f"{how}, {READ}", ("copy", ""), 0.75),
        (what, f"{how}, {READING}", ("copy", ""), 0.6),
    )
) + tuple(
    (CODES, f"{how}, {when}", ("GenVarLoader", peers.BYTES), goal)
    for how, goal in ((NEW, 1.0), (DIFFERING, 1.5), (WHOLE, 1.5))
    for when in (READ, READING)
)


def run(cohort: Cohort, threads: int) -> None:
    """Print what every contender does with a cohort, the ratios, and what tiles cost."""
    everyone = assemble(cohort)
    equal = check(cohort, everyone)
    found = rounds(cohort, everyone)
    for contender, same, (speeds, size) in zip(everyone, equal, found, strict=True):
        speed = median(speeds)
        say(cohort, what=contender.what, contender=contender.name, threads=threads,
            haplotypes_per_second=round(speed), gigabytes_per_second=round(speed * size / 1e9, 2),
            haplotypes_equal_to_ours=same)  # fmt: skip
    ratios(cohort, everyone, [speeds for speeds, _ in found])
    tiles(cohort)


def say(cohort: Cohort, **found: Any) -> None:
    print(json.dumps({"benchmark": "haplotypes", "cohort": cohort.name, **found}), flush=True)


def assemble(cohort: Cohort) -> list[Contender]:
    """Return all contenders that can run here, ours first, and say which cannot."""
    buffers = contenders.buffers()
    everyone = [
        *contenders.zarrbench(cohort, buffers),
        *contenders.dense_numpy(cohort, buffers),
        *contenders.copies(buffers),
    ]
    if peers.genvarloader_installed():
        for backend in peers.BACKENDS:
            theirs, seconds = peers.genvarloader(cohort, backend, buffers)
            everyone += theirs
            say(cohort, contender=f"GenVarLoader {backend}", ingest_seconds=round(seconds, 1))
    else:
        say(cohort, left_out="GenVarLoader", why="not installed: pip install genvarloader==0.43.1")
    if peers.bcftools_installed():
        everyone.append(peers.bcftools(cohort))
    else:
        say(cohort, left_out="bcftools consensus", why="bcftools or samtools is not installed")
    return everyone


def check(cohort: Cohort, everyone: Sequence[Contender]) -> list[int]:
    """Compare the first batches of every window with ours; this also warms everything up.

    Returns
    -------
    list of int
        How many haplotypes of each contender were compared, and equal; none of a copy.
    """
    ours = next(c for c in everyone if c.what == CODES)
    compared = [0] * len(everyone)
    for i, window in enumerate(cohort.windows):
        expected = np.concatenate([batch.copy() for batch in islice(ours.batches(i), 3)])
        for k, contender in enumerate(everyone):
            seen = 0
            for made in islice(contender.batches(i), 3):
                of_ours = expected[seen : seen + len(made)]
                if not contender.is_copy and not np.array_equal(as_codes(made), of_ours):
                    raise SystemExit(f"{contender.name} differs from {ours.name} in {window}")
                seen += len(made)
            compared[k] += 0 if contender.is_copy else seen
    return compared


def as_codes(batch: NDArray[Any]) -> Codes:
    """Return base codes of a batch of one-hot rows, letters or codes."""
    if batch.ndim == 3:
        return np.where(batch.any(axis=2), batch.argmax(axis=2), 4).astype(np.uint8)
    if batch.max() <= 4:
        return batch
    return encode(batch.tobytes()).reshape(batch.shape)


def rounds(cohort: Cohort, everyone: Sequence[Contender]) -> list[tuple[list[float], float]]:
    """Time everyone on one window after the other.

    Returns
    -------
    list of (list of float, float)
        For each contender its haplotypes per second in every round, and bytes a haplotype.
    """
    speeds: list[list[float]] = [[] for _ in everyone]
    sizes = [0.0] * len(everyone)
    for i in range(ROUNDS):
        for k, contender in enumerate(everyone):
            speed, sizes[k] = timed(contender, i % len(cohort.windows))
            speeds[k].append(speed)
    return list(zip(speeds, sizes, strict=True))


def timed(contender: Contender, i: int) -> tuple[float, float]:
    """Return haplotypes per second on one window, and bytes a haplotype."""
    haplotypes = size = 0
    began = time.perf_counter()
    for batch in contender.batches(i):
        haplotypes += len(batch)
        size = batch[0].nbytes
        if haplotypes == contender.most:
            break
    return haplotypes / (time.perf_counter() - began), size


def ratios(cohort: Cohort, everyone: Sequence[Contender], speeds: Sequence[list[float]]) -> None:
    """Print the ratios that have a goal: medians of those of each round.

    `copy_would_reach` is the ratio that copying memory alone would have: where that is below the
    goal, nothing that writes whole sequences can reach it.
    """
    for what, ours, (begin, end), goal in GOALS:
        of_what = {c.name: s for c, s in zip(everyone, speeds, strict=True) if c.what == what}
        others = [name for name in of_what if name.startswith(begin) and name.endswith(end)]
        if not others:
            continue
        other = max(others, key=lambda name: median(of_what[name]))
        mine, copy = f"zarrbench, {ours}", f"copy, {ours.split(',')[0]}"
        reached = _ratio(of_what[mine], of_what[other])
        limit = _ratio(of_what.get(copy) or of_what["copy"], of_what[other])
        say(cohort, what=what, contender=mine, divided_by=other, ratio=round(reached, 2),
            at_least=goal, reached=reached >= goal, copy_would_reach=round(limit, 2))  # fmt: skip


def _ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    return median(a / b for a, b in zip(ours, others, strict=True))


def tiles(cohort: Cohort) -> None:
    """Print what the distinct tiles of one gene and of all cost, each in a process of its own."""
    windows = cohort.windows
    personal = personal_window(*cohort.open(), windows[0], Policies())
    some = np.arange(0, personal.n_rows, 10)
    rebuilt = find_tiles(personal, TILING).codes(some)
    if not np.array_equal(rebuilt, personal.codes(some)):
        raise SystemExit(f"tiles differ from sequences in {windows[0]}")
    one, all_genes = (_tiles(cohort, n) for n in (1, len(windows)))
    # The first gene of a process waits for compiled code to be loaded.
    seconds = median(all_genes["seconds"][1:])
    shared = {"what": "distinct tiles", "haplotypes": 2 * len(cohort.samples), "threads": 1}
    for n, found in ((1, one), (len(windows), all_genes)):
        peak, imports = found["peak_mib"], found["of_imports_mib"]
        say(cohort, **shared, genes=n, first_gene_seconds=round(found["seconds"][0], 3),
            peak_mib=round(peak), peak_mib_above_imports=round(peak - imports))  # fmt: skip
    growth = all_genes["peak_mib"] / one["peak_mib"]
    for name, value, goal in (
        ("seconds_of_a_gene", seconds, 0.25),
        ("peak_mib", all_genes["peak_mib"], 1024),
        (f"peak_of_{len(windows)}_genes_to_1", growth, 1.25),
    ):
        say(cohort, **shared, **{name: round(value, 3)}, at_most=goal, reached=value <= goal)


def _tiles(cohort: Cohort, n: int) -> dict[str, Any]:
    """Run `benchmarks.haplotypes.tiles` on n genes, on one core."""
    core = min(os.sched_getaffinity(0))
    command = ["taskset", "-c", str(core), sys.executable, "-m", "benchmarks.haplotypes.tiles",
               str(cohort.genotypes), str(cohort.reference), cohort.windows[0].contig,
               *(str(window.start) for window in cohort.windows[:n])]  # fmt: skip
    alone = {**os.environ, **dict.fromkeys(THREADS, "1")}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=alone)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
