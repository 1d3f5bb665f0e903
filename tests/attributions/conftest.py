"""Attribution jobs of the toy model on the hand-made cohort, and what they must give."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from zarrbench.attributions.ism import GeneTask
from zarrbench.attributions.worker import AttributionJob
from zarrbench.models.protocol import LoadableModel
from zarrbench.predictions.plan import window_of
from zarrbench.predictions.readouts import Readout
from zarrbench.provenance import fingerprint
from zarrbench.stores import StoreFamily

RECIPE = {"readout": "toy"}
#: a window with several SNVs
WIDE = {"input_length": 200, "tss_index": 60}


@pytest.fixture(scope="session")
def job_in(family: StoreFamily, toy: type) -> Callable[..., AttributionJob]:
    """Return the job of a store in a folder; changes go to the model."""

    def job(
        folder: Path,
        readout: Readout | None = None,
        tracks: tuple[int, ...] = (1,),
        policies: object = None,
        **model: object,
    ) -> AttributionJob:
        return AttributionJob(
            store=folder / "attributions.zarr",
            genotypes=family.part_path("genotypes"),
            reference=family.part_path("reference"),
            policies=policies or family.recipe.policies,
            model=LoadableModel(toy(**{**WIDE, "gradients": True, **model}), ()),
            readout=readout or Readout("raw_sum"),
            tracks=tracks,
            numbers_hash=fingerprint(RECIPE),
        )

    return job


@pytest.fixture(scope="session")
def task_of(family: StoreFamily) -> Callable[..., GeneTask]:
    """Return the task of a gene."""

    def task(job: AttributionJob, gene: str, gradients: bool = True, profiles: bool = False):
        window = window_of(family.genes.sel(gene=gene), job.model.recipe.spec())
        return GeneTask(gene, window, gradients, profiles)

    return task


@pytest.fixture(scope="session")
def snvs_of(cohort) -> Callable[[str, int, int], pd.DataFrame]:
    """SNVs of first..last (1-based): position, ref and the most frequent alternative, by a loop."""

    def found(contig: str, first: int, last: int) -> pd.DataFrame:
        rows = []
        for row, variant in enumerate(cohort.variants.itertuples()):
            alts = variant.alt.split(",")
            if variant.contig != contig or not first <= variant.position <= last:
                continue
            if len(variant.ref) > 1 or any(len(alt) > 1 for alt in alts):
                continue
            called = Counter(alts[a - 1] for a in cohort.calls[row].ravel() if a > 0)
            alt = min(called, key=lambda base: (-called[base], base)) if called else alts[0]
            number = alts.index(alt) + 1
            copies = (cohort.calls[row] == number).sum(axis=1)
            carriers = np.where((cohort.calls[row] < 0).any(axis=1), -1, copies)
            rows.append((variant.position, variant.ref, alt, carriers))
        return pd.DataFrame(rows, columns=["position", "ref", "alt", "dosage"])

    return found
