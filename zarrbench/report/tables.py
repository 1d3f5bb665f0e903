"""Per-gene tables as people read them: one row a gene, one null statistic."""

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from zarrbench import storage

GENE_COLUMNS = (
    "gene_id", "gene_name", "contig", "tss", "strand",
    "n_individuals", "n_variants", "n_distinct_haplotypes", "reference_prediction",
    "mean_observed", "sd_observed", "mean_predicted", "sd_predicted", "r", "p_r",
    "null_mean", "null_sd", "null_t", "null_p", "null_q", "significant",
)  # fmt: skip

_PLANTED = {1: "right-signed", -1: "wrong-signed", 0: "no effect"}


def _columns(statistics: xr.Dataset, names: tuple[str, ...]) -> pd.DataFrame:
    """Return variables as columns; `gene_id` is the `gene` index, the statistic the chosen one."""
    sources = ["gene" if name == "gene_id" else name for name in names]
    chosen = statistics[[*sources, "statistic"]].sel(statistic=statistics.attrs["statistic"])
    chosen = chosen.compute()
    columns = {}
    for name, source in zip(names, sources, strict=True):
        values = chosen[source].values
        # pandas takes object strings alone of the three kinds in which zarr and xarray hold them
        columns[name] = values.astype(object) if values.dtype.kind in "UT" else values
    return pd.DataFrame(columns)


def gene_table(statistics: xr.Dataset) -> pd.DataFrame:
    """Return the per-gene statistics, one row a gene in the order of the store.

    Parameters
    ----------
    statistics : xr.Dataset
        A dataset of `zarrbench.layouts.GENE_STATISTICS`.

    Returns
    -------
    pd.DataFrame
        The columns `GENE_COLUMNS`, unrounded. `tss` is 1-based. `null_t`, `null_p`, `null_q` and
        `significant` are those of the null statistic that ``statistics.attrs["statistic"]`` names.
    """
    return _columns(statistics, GENE_COLUMNS)


def write_gene_table(statistics: xr.Dataset, path: Path) -> None:
    """Write `gene_table` as tab-separated text, whole or not at all.

    Floats are written with all their digits, missing numbers as ``NA``, booleans as ``True`` and
    ``False``.
    """
    text = gene_table(statistics).to_csv(sep="\t", index=False, na_rep="NA", lineterminator="\n")
    storage.write_text(path, text)


def planted_table(statistics: xr.Dataset) -> pd.DataFrame | None:
    """Return what a simulated cohort planted in each gene beside what was found in it.

    Returns
    -------
    pd.DataFrame or None
        `gene_id`, `gene_name`, `planted` ("right-signed", "wrong-signed", "no effect"), `found`
        ("right-signed", "wrong-signed", "not significant") under the chosen null statistic, and
        `recovered` as the store holds it. None for cohorts without planted effects.
    """
    if "planted_sign" not in statistics or "recovered" not in statistics:
        return None
    names = ("gene_id", "gene_name", "planted_sign", "r", "significant", "recovered")
    columns = _columns(statistics, names)
    found = np.where(columns["r"] > 0, "right-signed", "wrong-signed")
    columns["planted"] = [_PLANTED[int(sign)] for sign in columns["planted_sign"]]
    columns["found"] = np.where(columns["significant"], found, "not significant")
    return columns[["gene_id", "gene_name", "planted", "found", "recovered"]]
