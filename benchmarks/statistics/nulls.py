"""Nulls of genes: zarrbench, and the sums that the study broadcasts, with the same draws."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr

from benchmarks.statistics.workload import Workload
from zarrbench.statistics.null import gene_generator, null_correlations, polymorphic

DRAWS = 50


def zarrbench_null(work: Workload) -> NDArray[np.float64]:
    return np.stack(
        [
            null_correlations(work.dosage[a:b], y, DRAWS, gene_generator(1, f"G{i}"))
            for i, (y, a, b) in enumerate(zip(work.y, work.first, work.last, strict=True))
        ]
    )


def broadcast(work: Workload) -> NDArray[np.float64]:
    """Weights times dosages as one array (draw, variant, individual), summed over variants."""
    found = np.empty((len(work.y), DRAWS))
    for i, (y, a, b) in enumerate(zip(work.y, work.first, work.last, strict=True)):
        calls = work.dosage[a:b]
        calls = calls[polymorphic(calls)].astype(np.float64)
        weights = gene_generator(1, f"G{i}").standard_normal((DRAWS, len(calls)))
        predictors = (weights[:, :, np.newaxis] * calls).sum(axis=1)
        found[i] = [abs(pearsonr(predictor, y).statistic) for predictor in predictors]
    return found
