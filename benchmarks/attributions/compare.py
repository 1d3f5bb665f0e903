"""All contenders in turn: seconds of an SNV, and by how much their attributions differ."""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.attributions.contenders import Contenders
from benchmarks.attributions.gene import Gene


def compared(
    made: Contenders, gene: Gene, snvs: int, peer_snvs: int, rounds: int
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Return the seconds of an SNV by contender and round, and the differences to the task.

    Parameters
    ----------
    snvs : int
        That the task mutates in every round, evenly chosen.
    peer_snvs : int
        Of these, in all rounds together, that the others mutate.
    rounds : int
    """
    of_task = _evenly(gene.n_snvs, snvs)
    of_peers = _evenly(of_task.size, peer_snvs)
    calls = {"stock": made.stock, "whole": made.whole}
    # compiles; the reference itself is left out of what the others take
    made.task(gene, of_task[:1])
    reference = {name: call(gene.reference) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in (*calls, "shared")}
    found: dict[str, NDArray] = {name: np.zeros(of_peers.size) for name in calls}
    for number in range(rounds):
        began = time.perf_counter()
        shared = made.task(gene, of_task)
        seconds["shared"].append((time.perf_counter() - began) / of_task.size)
        places = range(number, of_peers.size, rounds)
        taken = dict.fromkeys(calls, 0.0)
        for place in places:
            codes = gene.mutant(of_task[of_peers[place]])
            for name, call in calls.items():
                began = time.perf_counter()
                found[name][place] = call(codes) - reference[name]
                taken[name] += time.perf_counter() - began
        for name in calls:
            seconds[name].append(taken[name] / len(places))
    return seconds, {
        "snvs": of_task.size,
        "peer_snvs": of_peers.size,
        "range": float(np.ptp(found["stock"])),
        "range_of_output": float(np.ptp(made.every_bin(gene.reference))),
        "largest": {
            name: float(np.abs(values - shared[of_peers]).max()) for name, values in found.items()
        },
    }


def _evenly(n: int, asked: int) -> NDArray[np.int64]:
    """Return so many of n rows, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, asked)).round().astype(np.int64))
