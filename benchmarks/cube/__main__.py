"""Writing and reading a prediction cube: zarrbench, HDF5 of the same chunks, Zarr, `.npy` files.

    python -m benchmarks.cube [--folder FOLDER] [--threads N] [--values people|random]

Prints a table for a cube of a few genes with all tracks of Enformer, and one for many genes with
64 tracks; times are medians in ms and, in brackets, the ratio to HDF5 with the same codec, which
is the median of the ratios of each round. All take turns in one process, so that noise hits them
alike; what they read is compared first. Everything lies in the page cache, nothing waits for the
disk except where it says so. HDF5 and Zarr's pipeline in Rust come with the extra `bench`
(``pip install 'zarrbench[bench]'``). About three minutes and 6 GB of the folder.

HDF5 works on one thread; BLOSC_NTHREADS=2 in the environment lets its Blosc use two.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

MODULES = {"h5py": "HDF5", "hdf5plugin": "HDF5 with Blosc", "zarrs": "Zarr with zarrs"}


def main() -> None:
    arguments = parsed()
    # Before anything is imported that counts the cores
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[: arguments.threads])

    from benchmarks.cube import compare, table
    from benchmarks.cube.workload import Workload

    for name, what in MODULES.items():
        if not compare.installed(name):
            print(f"{what} is left out: {name} is not installed: pip install 'zarrbench[bench]'")
    few = Workload(arguments.genes, arguments.people, arguments.tracks, arguments.values)
    many = Workload(arguments.many_genes, arguments.people, 64, arguments.values)
    for workload, reads in ((few, compare.OF_FEW), (many, compare.OF_MANY)):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            found = compare.measured(workload, Path(folder), reads, arguments.rounds)
        table.show(workload, reads, found, arguments.threads)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.cube")
    parser.add_argument("--folder", type=Path, help="where to write; the system's by default")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="cores to use")
    parser.add_argument("--values", choices=("people", "random"), default="people",
                        help="as people share haplotypes, or each of its own")  # fmt: skip
    parser.add_argument("--genes", type=int, default=20)
    parser.add_argument("--many-genes", type=int, default=500)
    parser.add_argument("--people", type=int, default=839)
    parser.add_argument("--tracks", type=int, default=5313)
    parser.add_argument("--rounds", type=int, default=30)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
