"""Seconds of the parts, each at the size of its batches, and of a window as it is.

To time the parts of `Forward` alone it reaches for what `Forward` has compiled.
"""

import time
from collections.abc import Callable
from copy import copy
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from benchmarks.enformer.networks import Networks
from benchmarks.enformer.projection import Parts
from zarrbench.haplotypes.sequences import PersonalWindow
from zarrbench.haplotypes.tiles import tiles
from zarrbench.models.enformer.architecture import Architecture
from zarrbench.models.enformer.cost import edge_flops, rest_flops, tile_flops
from zarrbench.models.enformer.forward import Forward
from zarrbench.models.keras_network import ops

# A part is called again until so many seconds have passed
_LEAST = 0.5

Call = Callable[[], Any]


def operations(architecture: Architecture, stock_flops: int, bins: range) -> Parts:
    """Return the floating point operations of the parts, all human tracks."""
    rest = rest_flops(architecture, len(bins), architecture.tracks)
    return Parts(stock_flops, rest, tile_flops(architecture), edge_flops(architecture))


def parts(networks: Networks, bins: range, repeats: int) -> dict[str, list[float]]:
    """Time the parts in turn, `repeats` times: seconds a sequence or tile, by fields of `Parts`."""
    calls = _calls(networks, bins)
    for call, _ in calls.values():  # compiles
        call()
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, (call, size) in calls.items():
            found[name].append(_seconds(call) / size)
    return found


def _calls(networks: Networks, bins: range) -> dict[str, tuple[Call, int]]:
    """Return what is timed, and how many sequences or tiles one call computes."""
    forward, size = networks.forward, networks.stock_batch
    tiling, many = forward.tiling, forward.batches.tiles
    few = -(-many // 8)
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (max(size, many), tiling.length), dtype=np.uint8)
    middle, edge = codes[:many, : tiling.tile_length], codes[:few, : tiling.edge_length]
    trunk, weights = forward._trunk, forward._weights
    return {
        "stock": (lambda: list(networks.stock.sequences(codes[:size], bins)), size),
        "rest": (_rest(forward, bins), forward.batches.sequences),
        "tile": (lambda: np.asarray(trunk["valid"](weights, middle)), many),
        "edge": (lambda: np.asarray(trunk["same"](weights, edge)), few),
    }


def _rest(forward: Forward, bins: range) -> Call:
    """Return a call of what follows the trunk for one batch, its rows taken from a table."""
    sizes, rng = forward.architecture, np.random.default_rng(0)
    table = rng.standard_normal((4 * sizes.bins, sizes.channels), dtype=np.float32)
    places = rng.integers(0, len(table), (forward.batches.sequences, sizes.bins), dtype=np.int32)
    on_device, rest = ops.convert_to_tensor(table), forward._rest(bins)

    def call() -> Any:
        rows = ops.take(on_device, places, axis=0)
        return np.asarray(rest(forward._weights, forward._keys, rows))

    return call


def _seconds(call: Call) -> float:
    began, times = time.perf_counter(), 0
    while True:
        call()
        times += 1
        passed = time.perf_counter() - began
        if passed >= _LEAST:
            return passed / times


def direct(networks: Networks, personal: PersonalWindow, bins: range) -> dict[str, Any]:
    """Send all sequences of a window through both, once, and compare.

    A batch is no larger than the window, which would be filled up otherwise.
    """
    forward = copy(networks.forward)
    size = min(forward.batches.sequences, personal.n_rows)
    forward.batches = replace(forward.batches, sequences=size)
    _rest(forward, bins)()
    found = tiles(personal, forward.tiling)
    began = time.perf_counter()
    shared = np.concatenate(list(forward.window(personal, bins)))
    middle = time.perf_counter()
    stock = np.concatenate(list(networks.stock.sequences(personal.codes(), bins)))
    end = time.perf_counter()
    return {
        "window": asdict(personal.window),
        "sequences": personal.n_rows,
        "tiles": len(found.middle),
        "edges": len(found.left) + len(found.right),
        "shared_seconds": middle - began,
        "stock_seconds": end - middle,
        "relative_difference": float(np.abs(shared - stock).max() / np.ptp(stock)),
        "range": float(np.ptp(stock)),
        "difference_of_sequences": float(np.ptp(stock, axis=0).max() / np.ptp(stock)),
    }
