"""Distinct tiles of genes in a process of its own, so that its peak memory is theirs.

python -m benchmarks.haplotypes.tiles GENOTYPES REFERENCE CONTIG START...

Prints one JSON line: for every gene the seconds from the stores on disk to the arrays of tiles
and the rows of every haplotype.
"""

import json
import sys
import time
from pathlib import Path

from zarrbench.genome.coordinates import Window
from zarrbench.genome.reference import Reference
from zarrbench.genotypes.policies import Policies
from zarrbench.genotypes.store import GenotypeStore
from zarrbench.haplotypes.sequences import personal_window
from zarrbench.haplotypes.tiles import Tiling, tiles

TILING = Tiling()


def main() -> None:
    genotypes_at, reference_at, contig, *starts = sys.argv[1:]
    imported = peak_mib()
    reference = Reference(Path(reference_at))
    genotypes = GenotypeStore(Path(genotypes_at), reference.lengths)
    windows = [Window(contig, int(start), int(start) + TILING.length) for start in starts]
    seconds = [seconds_of(genotypes, reference, window) for window in windows]
    peak = peak_mib()
    print(json.dumps({"seconds": seconds, "peak_mib": peak, "of_imports_mib": imported}))


def seconds_of(genotypes: GenotypeStore, reference: Reference, window: Window) -> float:
    began = time.perf_counter()
    personal = personal_window(genotypes, reference, window, Policies())
    found = tiles(personal, TILING)
    rows = found.rows[personal.rows]
    seconds = time.perf_counter() - began
    assert (rows.dtype, rows.shape) == ("int32", (*personal.rows.shape, TILING.n_tiles))
    return seconds


def peak_mib() -> float:
    """Return the most memory that this process had.

    Not ``ru_maxrss``, which Linux inherits from the process that started this one.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
