"""Tables as people read them: genes by one null statistic, and how they are written."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from zarrbench import storage
from zarrbench.layouts import PREDIXCAN
from zarrbench.remote import Place

GENE_COLUMNS = (
    "gene_id", "gene_name", "contig", "tss", "strand",
    "n_individuals", "n_variants", "n_distinct_haplotypes", "reference_prediction",
    "mean_observed", "sd_observed", "mean_predicted", "sd_predicted", "r", "p_r",
    "null_mean", "null_sd", "null_t", "null_p", "null_q", "significant",
)  # fmt: skip

#: how pandas writes a table as tab-separated text
TSV: dict[str, Any] = {"sep": "\t", "index": False, "na_rep": "NA", "lineterminator": "\n"}

_EFFECTS = {1: "right-signed", -1: "wrong-signed", 0: "no effect"}


def plain_column(values: np.ndarray) -> np.ndarray:
    """Return values as pandas takes them: of strings only the object kind, which zarr's are not."""
    return values.astype(object) if values.dtype.kind in "UT" else values


def gene_columns(statistics: xr.Dataset, names: Sequence[str]) -> pd.DataFrame:
    """Return variables as columns; `gene_id` is the `gene` index, the statistic the chosen one."""
    sources = ["gene" if name == "gene_id" else name for name in names]
    chosen = statistics[[*sources, "statistic"]].sel(statistic=statistics.attrs["statistic"])
    chosen = chosen.compute()
    columns = {}
    for name, source in zip(names, sources, strict=True):
        columns[name] = plain_column(chosen[source].values)
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
    return gene_columns(statistics, GENE_COLUMNS)


def write_gene_table(statistics: xr.Dataset, path: Place) -> None:
    """Write `gene_table` by `write_table`."""
    write_table(gene_table(statistics), path)


def write_table(table: pd.DataFrame, path: Place, missing: str = "NA") -> None:
    """Write a table as tab-separated text, whole or not at all.

    Floats are written with all their digits, missing numbers as `missing`, booleans as ``True`` and
    ``False``.
    """
    text = table.to_csv(**{**TSV, "na_rep": missing})
    storage.write_text(path, text)


def predixcan_table(compared: xr.Dataset) -> pd.DataFrame:
    """Return a dataset of `zarrbench.layouts.PREDIXCAN` as one row a gene, unrounded."""
    columns = {}
    for name in PREDIXCAN.variables:
        columns["gene_id" if name == "gene" else name] = plain_column(compared[name].values)
    return pd.DataFrame(columns)


def planted_table(statistics: xr.Dataset) -> pd.DataFrame | None:
    """Return what a simulated cohort planted in each gene beside what was found in it.

    Returns
    -------
    pd.DataFrame or None
        `gene_id`, `gene_name`, `planted` and `found` ("right-signed", "wrong-signed", "no effect"),
        `r`, and `recovered` as the store holds them. None for cohorts without planted effects.
    """
    if "planted_sign" not in statistics or "recovered" not in statistics:
        return None
    names = ("gene_id", "gene_name", "planted_sign", "found_sign", "r", "recovered")
    columns = gene_columns(statistics, names)
    for kind in ("planted", "found"):
        columns[kind] = [_EFFECTS[int(sign)] for sign in columns[f"{kind}_sign"]]
    return columns[["gene_id", "gene_name", "planted", "found", "r", "recovered"]]
