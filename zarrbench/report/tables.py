"""Tables as people read them: genes by one null statistic, and people only in cells of several."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.ticker import MaxNLocator

from zarrbench import storage
from zarrbench.layouts import PREDIXCAN
from zarrbench.remote import Place

GENE_COLUMNS = (
    "gene_id", "gene_name", "contig", "tss", "strand",
    "n_individuals", "n_variants", "n_distinct_haplotypes", "reference_prediction",
    "mean_observed", "sd_observed", "mean_predicted", "sd_predicted", "r", "p_r",
    "null_mean", "null_sd", "null_t", "null_p", "null_q", "significant",
)  # fmt: skip

MINIMUM_PEOPLE = 5  # a report says nothing about fewer people than this
_GRIDS = (20, 16, 14, 12, 10, 8, 6, 5, 4, 3, 2, 1)  # cells along an axis, finest first
_SHOWN = 0.75  # a grid is coarse enough when it shows this share of the people
_EFFECTS = {1: "right-signed", -1: "wrong-signed", 0: "no effect"}


def plain_column(values: np.ndarray) -> np.ndarray:
    """Return values as pandas takes them: of strings only the object kind, which zarr's are not."""
    return values.astype(object) if values.dtype.kind in "UT" else values


def _columns(statistics: xr.Dataset, names: tuple[str, ...]) -> pd.DataFrame:
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
    return _columns(statistics, GENE_COLUMNS)


def write_gene_table(statistics: xr.Dataset, path: Place) -> None:
    """Write `gene_table` by `write_table`."""
    write_table(gene_table(statistics), path)


def write_table(table: pd.DataFrame, path: Place, missing: str = "NA") -> None:
    """Write a table as tab-separated text, whole or not at all.

    Floats are written with all their digits, missing numbers as `missing`, booleans as ``True`` and
    ``False``.
    """
    text = table.to_csv(sep="\t", index=False, na_rep=missing, lineterminator="\n")
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
    columns = _columns(statistics, names)
    for kind in ("planted", "found"):
        columns[kind] = [_EFFECTS[int(sign)] for sign in columns[f"{kind}_sign"]]
    return columns[["gene_id", "gene_name", "planted", "found", "r", "recovered"]]


def people_in_cells(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count people in the cells of a grid, without those in cells of fewer than `MINIMUM_PEOPLE`.

    The grid is the finest of a few that still shows three quarters of the people, or the one that
    shows most. It lies on round numbers and its empty margins are cut off, so that its edges do
    not give away the most extreme person.

    Returns
    -------
    counts, x_edges, y_edges : ndarray
        Counts ``(x, y)``, 0 where suppressed; all of size 0 but one edge if nothing is left.
    """
    # A few people far out must not decide the size of the cells: they are not shown anyway.
    outer = 1 if len(x) >= 100 else 0
    spans = [np.percentile(values, [outer, 100 - outer]) for values in (x, y)]
    grids = []
    for side in _GRIDS:
        edges = [np.asarray(MaxNLocator(side).tick_values(*span)) for span in spans]
        counts = np.histogram2d(x, y, edges)[0].astype(int)
        counts[counts < MINIMUM_PEOPLE] = 0
        grids.append((counts, *edges))
        if counts.sum() >= _SHOWN * len(x):
            break
    counts, x_edges, y_edges = max(grids, key=lambda grid: int(grid[0].sum()))
    i, j = np.nonzero(counts)
    if not len(i):
        return counts[:0, :0], x_edges[:1], y_edges[:1]
    within = slice(i.min(), i.max() + 1), slice(j.min(), j.max() + 1)
    return counts[within], x_edges[i.min() : i.max() + 2], y_edges[j.min() : j.max() + 2]
