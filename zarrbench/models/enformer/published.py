"""Our predictions for reference genes beside those that a published benchmark released.

Huang et al., Nature Genetics 2023: one output of Enformer for the hg19 sequence around the TSS of
3,259 genes. Which summary of the output their table holds is not said: their script offers four.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zarrbench import progress
from zarrbench.errors import ModelInputError
from zarrbench.genome.bases import Codes
from zarrbench.genome.coordinates import map_contigs, model_window
from zarrbench.genome.reference import Reference

#: GM12878 CAGE
TRACK = 5110
GENES, PREDICTIONS = "gene_list.csv", "all_models_ref_preds.csv"
#: largest relative difference at which a summary counts as the published one
TOLERANCE = 1e-3

SUMMARIES: dict[str, Callable[[NDArray], NDArray]] = {
    "mean_of_all_bins": lambda x: x.mean(axis=1),
    "mean_of_3_bins": lambda x: _middle(x, 1, 2).mean(axis=1),
    "mean_of_10_bins": lambda x: _middle(x, 5, 5).mean(axis=1),
    "max_of_all_bins": lambda x: x.max(axis=1),
}


def published_genes(folder: Path) -> pd.DataFrame:
    """Return the genes of the benchmark with Enformer's published prediction.

    Returns
    -------
    DataFrame
        Columns contig, tss (1-based), strand, published; indexed by gene id.

    Raises
    ------
    ModelInputError
        If the two tables are not in the folder, or are others.
    """
    try:
        genes = pd.read_csv(
            folder / GENES, names=["gene", "contig", "tss", "name", "strand"], dtype=str
        )
        predictions = pd.read_csv(folder / PREDICTIONS, index_col="gene")["Enformer"]
        label = genes["name"].fillna(genes["gene"]).str.lower()
        genes["published"] = predictions.rename(index=str.lower).reindex(label).to_numpy()
        genes["tss"] = genes["tss"].astype(np.int64)
    except (OSError, ValueError, KeyError) as error:
        raise ModelInputError(
            f"{folder} does not hold {GENES} and {PREDICTIONS} of the published benchmark: {error}"
        ) from error
    return genes.dropna(subset="published").set_index("gene")


def compare_published(
    predict: Callable[[Codes], NDArray[np.float32]],
    length: int,
    reference: Reference,
    genes: pd.DataFrame,
    limit: int | None = None,
) -> dict[str, Any]:
    """Predict the genes whose window the reference holds, and compare each summary.

    The published window is even, and which of the two middle bases is the TSS depends on how it was
    rounded: both are tried.

    Parameters
    ----------
    predict : callable
        uint8 (1, length) to float32 (1, bin, 1): all bins of the published track.
    length : int
        Bases that it reads.
    reference : Reference
    genes : DataFrame
        From `published_genes`.
    limit : int, optional
        Only so many of them.

    Returns
    -------
    dict
        Number of genes, for each place of the TSS and each summary the Pearson r and the largest
        relative difference, and the verdict.
    """
    contigs = map_contigs(genes["contig"].unique(), reference.lengths, "the published benchmark")
    columns = [genes.index, *(genes[name].tolist() for name in ("contig", "tss", "strand"))]
    found: dict[str, dict[str, dict[str, float]]] = {}
    kept = genes
    for place in (length // 2, length // 2 - 1):
        windows = {
            name: model_window(contigs[contig], tss, strand, length, place, False)
            for name, contig, tss, strand in zip(*columns, strict=True)
            if contig in contigs
        }
        inside = [n for n, w in windows.items() if w.inside(reference.lengths[w.contig])]
        kept = kept.loc[kept.index.isin(inside)][:limit]
        if kept.empty:
            break
        outputs = [
            predict(reference.codes(windows[name])[None])[0, :, 0]
            for name in progress.bar(kept.index, total=len(kept), label="published", unit="genes")
        ]
        expected = kept["published"].to_numpy()
        stacked = np.stack(outputs).astype(np.float64)
        found[f"tss_at_{place}"] = {
            summary: _agreement(take(stacked), expected) for summary, take in SUMMARIES.items()
        }
    return {
        "genes_published": len(genes),
        "genes_compared": len(kept),
        **found,
        "verdict": _verdict(found, len(genes)),
    }


def _agreement(ours: NDArray, theirs: NDArray) -> dict[str, float]:
    varies = len(ours) > 2 and np.ptp(ours) > 0 and np.ptp(theirs) > 0
    r = np.corrcoef(ours, theirs)[0, 1] if varies else np.nan
    relative = np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1e-6)
    return {"r": round(float(r), 6), "max_relative_difference": float(f"{relative.max():.3g}")}


def _verdict(found: dict[str, dict[str, dict[str, float]]], published: int) -> str:
    if not found:
        return f"not compared: the reference holds the window of none of the {published} genes"
    flat = {
        f"{summary}, {place}": agreement["max_relative_difference"]
        for place, summaries in found.items()
        for summary, agreement in summaries.items()
    }
    best = min(flat, key=lambda name: flat[name])
    if flat[best] <= TOLERANCE:
        return f"the published predictions ({best})"
    return f"NOT the published predictions: the nearest ({best}) differs by {flat[best]:.2g}"


def _middle(x: NDArray, before: int, after: int) -> NDArray:
    middle = x.shape[1] // 2
    return x[:, middle - before : middle + after]
