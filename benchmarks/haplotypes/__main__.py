"""Personal sequences: zarrbench, GenVarLoader, bcftools consensus, plain NumPy and memory itself.

    python -m benchmarks.haplotypes [SOURCES, default ../shared/realdata] [--threads N]

Prints JSON lines: one a contender, then the ratios of the two cohorts with the goal of each.
Everything runs in one process on as many cores as threads, in rounds, so that noise hits all
alike; every contender's sequences are compared with ours first. GenVarLoader is left out, and
said to be, where it is not installed (``pip install genvarloader==0.43.1``). About five minutes.
"""

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.haplotypes import THREADS


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.haplotypes")
    parser.add_argument("sources", nargs="?", type=Path, default=Path("../shared/realdata"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cohort", choices=("simulated", "real"), help="one of the two only")
    arguments = parser.parse_args()
    use(arguments.threads)

    from benchmarks.haplotypes import cohort, compare

    made = {"simulated": cohort.simulated, "real": cohort.real}
    for name in [arguments.cohort] if arguments.cohort else made:
        with tempfile.TemporaryDirectory() as folder:
            measured = made[name](Path(folder), arguments.sources)
            compare.run(measured, arguments.threads)


def use(threads: int) -> None:
    """Hold this process and its children to so many threads and cores."""
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


if __name__ == "__main__":
    main()
