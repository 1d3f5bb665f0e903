"""What is to be computed in windows of real and of simulated people."""

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from statistics import median_low

import numpy as np

from benchmarks.haplotypes import cohort
from benchmarks.haplotypes.cohort import Cohort
from zarrbench.genotypes.policies import Policies
from zarrbench.haplotypes.sequences import PersonalWindow, personal_window
from zarrbench.haplotypes.tiles import tiles
from zarrbench.models.enformer.architecture import Architecture
from zarrbench.models.enformer.cost import Work
from zarrbench.models.enformer.forward import tiling_of


def cohorts(folder: Path, sources: Path) -> list[Cohort]:
    """Return 358 people of GEUVADIS, where their files are, and 839 simulated ones."""
    makers = {"real": cohort.real, "simulated": cohort.simulated}
    if not sources.is_dir():
        print(f"left out: the real cohort, since there is no {sources}", file=sys.stderr)
        del makers["real"]
    made = []
    for name, maker in makers.items():
        (folder / name).mkdir()
        made.append(maker(folder / name, sources))
    return made


def work(people: Cohort, architecture: Architecture) -> list[Work]:
    """Return what there is to compute in each window of a cohort, the reference included."""
    tiling = tiling_of(architecture)
    genotypes, reference = people.open()
    found = []
    for window in people.windows:
        personal = personal_window(genotypes, reference, window, Policies())
        of_window = tiles(personal, tiling)
        edges = len(of_window.left) + len(of_window.right)
        found.append(Work(personal.rows.size, personal.n_rows, len(of_window.middle), edges))
    return found


def typical(windows: Sequence[Work]) -> Work:
    """Return the median of each count."""
    return Work(*(median_low(getattr(w, field.name) for w in windows) for field in fields(Work)))


def few(people: Cohort, haplotypes: int) -> PersonalWindow:
    """Return the first window of a cohort with its first people only, and with the reference."""
    individuals = np.arange(-(-haplotypes // 2))
    return personal_window(*people.open(), people.windows[0], Policies(), individuals)
