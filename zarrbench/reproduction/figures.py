"""Figures of the study, drawn from its released tables by the functions that draw a user's own."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from zarrbench.figures.choices import fine_mapped_genes
from zarrbench.figures.drivers import drivers_per_gene, support_against_r
from zarrbench.figures.files import drawn, write_figure
from zarrbench.figures.genes import r_against_p
from zarrbench.figures.predixcan import network_against_predixcan
from zarrbench.remote import Place
from zarrbench.reproduction.claims import (
    ALPHA,
    INDIVIDUALS,
    counted_genes,
    tested_against_null,
)
from zarrbench.reproduction.driver_claims import supported_drivers
from zarrbench.reproduction.tables import PublishedTables
from zarrbench.statistics.multiple_testing import benjamini_hochberg
from zarrbench.statistics.null import STATISTICS, Statistic


def write_published_figures(tables: PublishedTables, folder: Place) -> list[str]:
    """Write `published_figures` into a folder, which is made; return their names.

    Each is an SVG, a PDF and the table that it draws.

    Raises
    ------
    StorageError
        If the folder cannot be written to.
    """
    figures = published_figures(tables)
    for name, (figure, table) in figures.items():
        write_figure(folder, name, figure, table)
    return list(figures)


def published_figures(tables: PublishedTables) -> Mapping[str, tuple[Figure, pd.DataFrame]]:
    """Return the figures of the study that its tables give, by name, with what they draw.

    Fig. 2a, 2c and 2e, Extended Data Fig. 1c, Supplementary Fig. 7.
    """
    statistics, drivers = _statistics(tables), _drivers(tables)
    passing = (statistics["null_q"] <= ALPHA).isel(statistic=0)
    return {
        "fig_2a": drawn(r_against_p, statistics),
        "fig_2c": drawn(network_against_predixcan, _predixcan(tables), passing),
        "fig_2e": drawn(support_against_r, drivers),
        "ext_data_fig_1c": drawn(fine_mapped_genes, _fine_mapped(tables)),
        "supp_fig_7": drawn(drivers_per_gene, drivers),
    }


def _statistics(tables: PublishedTables) -> xr.Dataset:
    """Return what `r_against_p` needs of `zarrbench.layouts.GENE_STATISTICS`."""
    name: Statistic = "published"
    p = tested_against_null(tables).p[:, STATISTICS.index(name)]
    tested = {
        "null_p": p,
        "null_q": benjamini_hochberg(p),
        "significant": counted_genes(tables, name, "strict_above_cut"),
    }
    found = _of_genes(
        tables.genes, r=tables.genes["r_track"], mean_predicted=tables.genes["mean_track"]
    )
    found = found.assign(
        {key: (("gene", "statistic"), values[:, None]) for key, values in tested.items()}
    )
    labels = np.array([name], dtype=object)
    return found.assign_coords(statistic=labels).assign_attrs(statistic=name, alpha=ALPHA)


def _predixcan(tables: PublishedTables) -> xr.Dataset:
    """Return what `network_against_predixcan` needs of `zarrbench.layouts.PREDIXCAN`."""
    genes = tables.genes
    return _of_genes(
        genes,
        r_predixcan=genes["r_predixcan"],
        r_network=genes["r_track"],
        n_individuals=np.full(len(genes), INDIVIDUALS),
    )


def _fine_mapped(tables: PublishedTables) -> xr.Dataset:
    """Return what `fine_mapped_genes` needs of `zarrbench.layouts.GENE_TABLE`."""
    lists = ("cortex", "brain")
    listed = [tables.genes[f"fine_mapped_{name}"].to_numpy(object) for name in lists]
    found = _of_genes(tables.genes, r_track=tables.genes["r_track"])
    found["fine_mapped"] = (("variant_list", "gene"), np.stack(listed))
    return found.assign_coords(variant_list=np.array(lists, object))


def _drivers(tables: PublishedTables) -> xr.Dataset:
    """Return what figures of genes need of `zarrbench.attribution_layouts.DRIVERS`.

    The genes are those that the study examined.
    """
    genes = tables.genes.reindex(list(tables.gene_set))
    supported = supported_drivers(tables)
    group = supported.groups.positive.astype(int) - supported.groups.negative
    number = np.bincount(supported.gene, minlength=len(supported.genes))
    return _of_genes(
        genes,
        r=genes["r_track"],
        n_drivers=_placed(number, supported.genes, genes, 0),
        fraction_supported=_placed(supported.shares.supported, supported.genes, genes, np.nan),
        examined=np.ones(len(genes), dtype=bool),
        group=_placed(group, supported.genes, genes, 0),
    )


def _placed(values: ArrayLike, ids: pd.Index, genes: pd.DataFrame, missing: float) -> np.ndarray:
    """Return values of the genes `ids` in the order of `genes`."""
    return pd.Series(values, ids).reindex(genes.index, fill_value=missing).to_numpy()


def _of_genes(genes: pd.DataFrame, **columns: ArrayLike) -> xr.Dataset:
    """Return columns as variables along `gene`, with the names of the genes."""
    variables = {name: ("gene", np.asarray(values)) for name, values in columns.items()}
    names = ("gene", genes["gene_name"].to_numpy(object))
    return xr.Dataset(variables, {"gene": genes.index.to_numpy(object), "gene_name": names})
