"""Enformer for the people of a window: our forward, which shares the trunk, beside the stock model.

    python -m benchmarks.enformer [SOURCES, default ../shared/realdata] [--small] [--json FILE]

Weights are random, at the size of the released model; what is timed does not depend on them. The
parts are timed in turn, so that a machine that slows down slows all of them, and one window is
sent through both as it is. From the parts and the tiles of real windows follows what a window of
a whole cohort takes. About ten minutes on two cores; `--small` makes hardly any channels, tries
everything in a minute and says nothing about speed.

With TensorFlow the stock model is a SavedModel like the released one, called as it is. On another
backend (KERAS_BACKEND=jax) it is our own forward on whole sequences, every bin and human track.
How busy a device is kept is not measured: see nvidia-smi.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.enformer import device, networks, table, timing, windows
from benchmarks.enformer.projection import Parts, Projection
from zarrbench.models.enformer.architecture import SMALL, Architecture

#: middle of the output, where the study reads its tracks
BINS = range(446, 451)
#: haplotypes of the study
HAPLOTYPES = 1678


def main() -> None:
    arguments = parsed()
    sizes = SMALL if arguments.small else Architecture()
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), sizes, arguments)
    table.show(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.enformer")
    parser.add_argument("sources", nargs="?", type=Path, default=Path("../shared/realdata"))
    parser.add_argument("--small", action="store_true", help="hardly any channels, to try it out")
    parser.add_argument("--haplotypes", type=int, default=2, help="of the window sent through both")
    parser.add_argument("--repeats", type=int, default=3, help="of every part; the median counts")
    parser.add_argument("--memory-gib", type=float, default=6.0, help="as in a recipe")
    parser.add_argument("--precision", default="tensorfloat32",
                        choices=("float32", "tensorfloat32", "bfloat16"))  # fmt: skip
    parser.add_argument("--peak-tflops", type=float, help="of the device, to give shares of it")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    return parser.parse_args()


def measured(folder: Path, sizes: Architecture, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return everything that is printed, in types of JSON."""
    load = device.load()
    say("cohorts")
    made = windows.cohorts(folder, arguments.sources)
    work = {each.name: windows.work(each, sizes) for each in made}
    say("networks")
    both = networks.made(folder, sizes, arguments.memory_gib, arguments.precision)
    say("parts")
    times = timing.parts(both, BINS, arguments.repeats)
    seconds = Parts(**{name: median(found) for name, found in times.items()})
    flops = timing.operations(sizes, both.stock_flops, BINS)
    say("a window as it is")
    direct = timing.direct(both, windows.few(made[0], arguments.haplotypes), BINS)
    typical = {name: windows.typical(each) for name, each in work.items()}
    # The study's haplotypes, were they no more varied than those of the real cohort
    typical |= {
        f"{name}, as {HAPLOTYPES}": replace(each, sequences=HAPLOTYPES, distinct=HAPLOTYPES)
        for name, each in typical.items()
        if each.sequences != HAPLOTYPES
    }
    projections = {name: Projection(each, seconds, flops) for name, each in typical.items()}
    return {
        "benchmark": "enformer",
        "small": arguments.small,
        "device": device.described(),
        "peak_tflops": arguments.peak_tflops,
        "precision": arguments.precision,
        "load_before_and_after": [load, device.load()],
        "peak_memory_gib": device.peak_memory(),
        "stock_is": both.stock_is,
        "stock_batch": both.stock_batch,
        "batches": asdict(both.forward.batches),
        "parity": both.parity,
        "times": times,
        "seconds": asdict(seconds),
        "operations": asdict(flops),
        "direct": direct,
        "windows": {name: [asdict(window) for window in each] for name, each in work.items()},
        "projections": {name: each.figures() for name, each in projections.items()},
    }


def say(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
