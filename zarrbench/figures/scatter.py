"""Genes by two numbers: the scatter that many figures are."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from zarrbench.figures.style import density_points, identity_line, labelled, r_and_number, say
from zarrbench.statistics.correlation import pearson
from zarrbench.tables import plain_column


def finite_genes(dataset: xr.Dataset, **columns: xr.DataArray) -> pd.DataFrame:
    """Return genes for which every column is a number: `gene_id`, `gene_name` and the columns.

    Parameters
    ----------
    dataset : xr.Dataset
        With `gene` and `gene_name`.
    **columns : xr.DataArray
        ``(gene,)``, in the order of `dataset`; of float, int or bool.
    """
    values = {name: np.asarray(column.values) for name, column in columns.items()}
    names = {name: plain_column(dataset[name].values) for name in ("gene", "gene_name")}
    table = pd.DataFrame({"gene_id": names["gene"], "gene_name": names["gene_name"], **values})
    known = np.isfinite(np.stack([column.astype(float) for column in values.values()])).all(axis=0)
    return table.loc[known].reset_index(drop=True)


def density_scatter(
    ax: Axes, table: pd.DataFrame, x: str, y: str, labels: tuple[str, str], identity: bool = False
) -> pd.DataFrame:
    """Draw genes by two columns, coloured by density; Pearson r and their number in the title.

    Parameters
    ----------
    ax : Axes
    table : pd.DataFrame
        Of `finite_genes`.
    x, y : str
        Columns of it.
    labels : tuple of str
        What both are.
    identity : bool
        Draw the line where both are the same.

    Returns
    -------
    pd.DataFrame
        The table; r in ``attrs["r"]``, NaN where it is undefined.
    """
    labelled(ax, *labels)
    table.attrs["r"] = r = float(pearson(table[x], table[y]).r)
    if table.empty:
        say(ax, "no gene has both numbers")
        return table
    density_points(ax, table[x], table[y])
    if identity:
        identity_line(ax)
    ax.set_title(r_and_number(r, len(table), "genes"), fontsize=9)
    return table
