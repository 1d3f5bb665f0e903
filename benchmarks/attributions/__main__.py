"""In-silico mutagenesis with Enformer: a gene's task, beside a call of the model for each SNV.

    python -m benchmarks.attributions [SOURCES, default ../shared/realdata] [--json FILE]

One window of 196,608 bases with about 500 SNVs, of 358 people of GEUVADIS on chr22 where SOURCES
has them, else of simulated ones; the study's track and bins. Three ways to the same attributions:

- stock: the SavedModel called with each mutant, as it stands and as the study's scripts do;
- whole: our forward on each whole mutant, only the asked bins and track;
- shared: the ISM task as a worker runs it, from the genotypes on disk to the attributions, where
  the trunk sees each distinct tile once.

Weights are random. By default there are hardly any channels, and ratios are those of this network.
Each round sends every SNV through the task, then some of them through the two others in turn, so
that a machine that slows down slows both; two to three minutes on two cores. `--released` has the
size of the released model, of which one call takes 20 seconds on two cores. A handful of SNVs then
go through all three (their task also pays for the tiles of the reference, which hundreds share),
and what all SNVs of the window take is projected from its parts, in 7 GiB and ten quiet minutes:

    python -m benchmarks.attributions --released --snvs 8 --peer-snvs 4 --rounds 1
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.attributions import contenders, table
from benchmarks.attributions.compare import compared
from benchmarks.attributions.gene import gene_of
from benchmarks.enformer import device, timing
from benchmarks.enformer.projection import Parts, Projection
from zarrbench.models.enformer.architecture import SMALL, Architecture


def main() -> None:
    arguments = parsed()
    sizes = Architecture() if arguments.released else SMALL
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder), sizes, arguments)
    table.show(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.attributions")
    parser.add_argument("sources", nargs="?", type=Path, default=Path("../shared/realdata"))
    parser.add_argument("--released", action="store_true", help="the size of the released model")
    parser.add_argument("--snvs", type=int, help="that the task mutates; all by default")
    parser.add_argument("--peer-snvs", type=int, default=40, help="of them, in all rounds together")
    parser.add_argument("--rounds", type=int, default=2, help="the median counts")
    parser.add_argument("--memory-gib", type=float, default=6.0, help="as in a recipe")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    arguments = parser.parse_args()
    if not 1 <= arguments.rounds <= arguments.peer_snvs:
        parser.error("every round needs one of --peer-snvs at least")
    return arguments


def measured(folder: Path, sizes: Architecture, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return everything that is printed, in types of JSON."""
    load = device.load()
    say("cohort")
    gene = gene_of(folder, arguments.sources)
    say("networks")
    made = contenders.made(folder, sizes, gene, arguments.memory_gib)
    say("SNVs")
    snvs = arguments.snvs or gene.n_snvs
    seconds, figures = compared(made, gene, snvs, arguments.peer_snvs, arguments.rounds)
    say("parts")
    times = timing.parts(made.networks, contenders.BINS, repeats=3)
    parts = Parts(**{name: median(found) for name, found in times.items()})
    flops = timing.operations(sizes, made.networks.stock_flops, contenders.BINS)
    projection = Projection(gene.work(made.networks.forward.tiling), parts, flops)
    return {
        "benchmark": "attributions",
        "released": arguments.released,
        "device": device.described(),
        "load_before_and_after": [load, device.load()],
        "peak_memory_gib": device.peak_memory(),
        "cohort": gene.people.name,
        "window": str(gene.window),
        "snvs_of_window": gene.n_snvs,
        "seconds_of_an_snv": seconds,
        "compared": figures,
        "parts": times,
        "projection": projection.figures(),
    }


def say(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
