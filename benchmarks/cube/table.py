"""Figures for people to read."""

from collections.abc import Sequence
from statistics import median

from benchmarks.cube.compare import REFERENCE, Found, Selection, ratio
from benchmarks.cube.workload import Workload


def show(
    workload: Workload,
    reads: dict[str, Selection],
    everyone: Sequence[Found],
    threads: int,
) -> None:
    """Print a line a contender, then which goals are reached."""
    genes, people, haplotypes, tracks = workload.shape
    print(
        f"\n{genes} genes x {people} people x {haplotypes} x {tracks} tracks, float32, "
        f"{genes * workload.gene_bytes / 1e6:.0f} MB, values of '{workload.values}', "
        f"chunk {workload.chunk}, {threads} cores"
    )
    reference = next((found for found in everyone if found.name == REFERENCE), None)
    lines = [["", "write MB/s", "MB", "files", *(f"{name}, ms" for name in reads)]]
    for found in everyone:
        line = [found.name, *_written(found, reference, workload.gene_bytes)]
        lines.append(line + [_read(found, reference, name) for name in reads])
    _aligned(lines)
    if reference is not None:
        _goals(reads, everyone[0], reference)


def _written(found: Found, reference: Found | None, gene_bytes: int) -> list[str]:
    if not found.written:
        return ["", "", ""]
    speed = gene_bytes / 1e6 / median(found.written)
    beside = "" if reference is None else f" ({ratio(reference.written, found.written):.2f})"
    return [f"{speed:.0f}{beside}", f"{found.size / 1e6:.0f}", str(found.files)]


def _read(found: Found, reference: Found | None, name: str) -> str:
    if name not in found.read:
        return ""
    beside = "" if reference is None else f" ({ratio(found.read[name], reference.read[name]):.2f})"
    return f"{1000 * median(found.read[name]):.3g}{beside}"


def _goals(reads: dict[str, Selection], ours: Found, reference: Found) -> None:
    reached = {"write": (ratio(ours.written, reference.written), 1.0)}
    for name, selection in reads.items():
        reached[name] = (ratio(ours.read[name], reference.read[name]), selection.goal)
    for name, (of_time, most) in reached.items():
        verdict = "reached" if of_time <= most else "missed"
        print(f"{name}: {of_time:.2f} of the time of {REFERENCE}, goal {most}: {verdict}")


def _aligned(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for name, *figures in lines:
        cells = [f"{f:>{width}}" for f, width in zip(figures, widths[1:], strict=True)]
        print("  ".join([f"{name:<{widths[0]}}", *cells]))
