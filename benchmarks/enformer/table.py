"""Figures for people to read."""

from collections.abc import Sequence
from typing import Any

_PARTS = {
    "stock": "stock model, a sequence",
    "rest": "after the trunk, a sequence",
    "tile": "trunk, a tile",
    "edge": "trunk, a tile at an edge",
}


def show(found: dict[str, Any]) -> None:
    """Print what `benchmarks.enformer.__main__.measured` returns."""
    batches, memory = found["batches"], found["peak_memory_gib"]
    before, after = found["load_before_and_after"]
    size = "hardly any channels: speeds mean nothing" if found["small"] else "the released size"
    print(f"Enformer of {size}, random weights, {found['precision']}")
    print(f"on {found['device']}; load {before} before, {after} after")
    print(f"stock: {found['stock_is']}, batches of {found['stock_batch']}")
    print(f"shared: batches of {batches['sequences']} sequences, {batches['tiles']} tiles")
    peaks = ", ".join(f"{name} {gib} GiB" for name, gib in memory.items())
    print(f"peak memory, both models at once: {peaks}")
    if found["parity"] is not None:
        print(f"parity: {found['parity']:.1e} of the output's range, in float32")
    _parts(found)
    _direct(found["direct"])
    _projections(found)


def _parts(found: dict[str, Any]) -> None:
    peak = found["peak_tflops"]
    lines = [["part", "seconds", "from", "to", "a second", "GFLOP", "GFLOP/s"]]
    lines[0] += ["of peak"] if peak else []
    for name, what in _PARTS.items():
        seconds, giga = found["seconds"][name], found["operations"][name] / 1e9
        times = found["times"][name]
        line = [what, *(f"{s:.3g}" for s in (seconds, min(times), max(times), 1 / seconds))]
        line += [f"{giga:.2f}", f"{giga / seconds:.0f}"]
        lines.append([*line, f"{giga / seconds / peak / 10:.1f}%"] if peak else line)
    _aligned(lines)


def _direct(found: dict[str, Any]) -> None:
    stock, shared = found["stock_seconds"], found["shared_seconds"]
    print(
        f"\none window of {found['sequences']} sequences ({found['tiles']} tiles, "
        f"{found['edges']} edges) as it is: stock {stock:.1f} s, shared {shared:.1f} s, "
        f"{stock / shared:.2f} times as fast (few sequences share little)\n"
        f"largest difference {found['relative_difference']:.1e} of the output's range; "
        f"sequences differ by {found['difference_of_sequences']:.1e} of it"
    )


def _projections(found: dict[str, Any]) -> None:
    lines = [["a window of", "haplotypes", "distinct", "tiles", "edges", "stock s", "rest s",
              "tiles s", "edges s", "ratio", "of distinct", "of FLOPs"]]  # fmt: skip
    for name, each in found["projections"].items():
        work, haplotypes = each["work"], each["work"]["sequences"]
        parts = [each[f"{part}_seconds"] / haplotypes for part in ("stock", "rest", "tile", "edge")]
        seconds = [f"{part:.3g}" for part in parts]
        ratios = [f"{each[r]:.2f}" for r in ("ratio", "ratio_of_distinct", "ratio_of_operations")]
        lines.append([name, *map(str, work.values()), *seconds, *ratios])
    _aligned(lines)
    print(
        "seconds a haplotype, projected from the parts; ratio: every haplotype computed; of "
        "distinct:\nequal ones once (simulated ones have no phasing errors, so promise the former)"
    )
    if not found["small"]:
        first = next(iter(found["projections"].values()))
        reached = all(each["reached"] for each in found["projections"].values())
        print(
            f"goal on a CPU: {first['goal']} (stretch {first['stretch']}): "
            f"{'reached' if reached else 'missed'}"
        )


def _aligned(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print()
    for name, *figures in lines:
        cells = [f"{f:>{width}}" for f, width in zip(figures, widths[1:], strict=True)]
        print("  ".join([f"{name:<{widths[0]}}", *cells]))
