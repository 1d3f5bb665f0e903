"""Contenders on one cohort: compared for equality, timed in rounds, and set against the goals."""

import json
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.haplotypes import contenders, peers
from benchmarks.haplotypes.cohort import Cohort
from benchmarks.haplotypes.contenders import (
    CODES,
    DTYPES,
    READ,
    READING,
    Contender,
)
from zarrbench.genome.bases import Codes, encode

ROUNDS = 9

#: What is asked of zarrbench: ours, what it is divided by (the fastest that so begins and ends),
#: and the least ratio of haplotypes per second.
GOALS = tuple(
    goal
    for what in DTYPES
    for goal in (
        (what, READING, ("GenVarLoader", peers.SEQPRO), 20),
        (what, READING, ("GenVarLoader", peers.TABLE), 10),
        (what, READ, ("copy", ""), 0.75),
        (what, READING, ("copy", ""), 0.6),
    )
) + tuple(
    (CODES, f"{place}, {when}", ("GenVarLoader", peers.BYTES), goal)
    for place, goal in (("new memory", 1.0), ("reused buffer", 1.5))
    for when in (READ, READING)
)


def run(cohort: Cohort, threads: int) -> None:
    """Print what every contender does with a cohort, and the ratios."""
    everyone = assemble(cohort)
    check(cohort, everyone)
    timed = rounds(cohort, everyone)
    for contender, (speeds, size) in zip(everyone, timed, strict=True):
        speed = median(speeds)
        say(cohort, what=contender.what, contender=contender.name, threads=threads,
            haplotypes_per_second=round(speed), gigabytes_per_second=round(speed * size / 1e9, 2),
        )  # fmt: skip
    ratios(cohort, everyone, [speeds for speeds, _ in timed])


def say(cohort: Cohort, **found: Any) -> None:
    print(json.dumps({"benchmark": "haplotypes", "cohort": cohort.name, **found}), flush=True)


def assemble(cohort: Cohort) -> list[Contender]:
    """Return all contenders that can run here, ours first, and say which cannot."""
    everyone = [*contenders.zarrbench(cohort), *contenders.dense_numpy(cohort)]
    everyone += contenders.copies()
    if peers.genvarloader_installed():
        for backend in peers.BACKENDS:
            theirs, seconds = peers.genvarloader(cohort, backend)
            everyone += theirs
            say(cohort, contender=f"GenVarLoader {backend}", ingest_seconds=round(seconds, 1))
    else:
        say(cohort, left_out="GenVarLoader", why="not installed: pip install genvarloader==0.43.1")
    if peers.bcftools_installed():
        everyone.append(peers.bcftools(cohort))
    else:
        say(cohort, left_out="bcftools consensus", why="bcftools or samtools is not installed")
    return everyone


def check(cohort: Cohort, everyone: Sequence[Contender]) -> None:
    """Compare the first haplotypes of windows with ours; this also warms everything up."""
    ours = next(c for c in everyone if c.what == CODES)
    compared = {}
    for i, window in enumerate(cohort.windows):
        expected = next(ours.batches(i)).copy()
        for contender in everyone:
            if contender.is_copy or (i and contender.name == peers.CONSENSUS):
                continue
            made = as_codes(next(contender.batches(i)))
            if not np.array_equal(made, expected[: len(made)]):
                raise SystemExit(f"{contender.name} differs from {ours.name} in {window}")
            compared[contender.name] = compared.get(contender.name, 0) + len(made)
    say(cohort, haplotypes_equal_to_ours=compared)


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
    goal, nothing can reach it.
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
