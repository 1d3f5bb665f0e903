"""What the study printed of drivers, from its tables of them (METHODS sections 14 to 16)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zarrbench.reproduction.recomputed import Recomputed
from zarrbench.reproduction.tables import PublishedTables
from zarrbench.statistics.support import (
    Fractions,
    GeneGroups,
    driver_counts,
    fractions,
    main_driver_support,
    select_genes,
    sign_support,
)

# The study's parameters: r of a gene that is well predicted, and the people sequenced, who are more
# than those with expression
_CUT, _SEQUENCED = 0.2, 1161
# Half a unit of the one decimal of percentages, and what float64 adds
_HALF_TENTH = 0.5 * 10.0**-1 + 1e-9


def driver_claims(tables: PublishedTables) -> dict[str, Recomputed]:
    """Return the quantities by their keys."""
    return {**_table(tables), **_numbers(tables), **_signs(tables)}


def _table(tables: PublishedTables) -> dict[str, Recomputed]:
    """What holds of every row."""
    drivers = tables.drivers
    distance = drivers["position"] - drivers["tss"]
    percent = 100 * drivers["carriers"] / _SEQUENCED
    increments = drivers.groupby("gene")["increment"]
    largest = increments.transform("max") == drivers["increment"]
    main = drivers["is_main"]
    scans = tables.tss_scans.reindex(drivers["gene"])
    equal = drivers[["prediction", "scan_largest", "scan_sd"]].to_numpy() == scans.to_numpy()
    agreeing = pd.Series(equal.all(axis=1), drivers.index).groupby(drivers["gene"]).all()
    constant = drivers["r_genotype"].isna()
    return {
        "main_driver_increment": Recomputed(
            (main & largest).sum(),
            f"of {main.sum()}; {(increments.size() == 1).sum()} are the only driver of their gene, "
            f"{(largest & ~main).sum()} has a rival whose increment rounds to the same",
        ),
        "driver_distance": Recomputed((distance == drivers["distance"]).sum(), "position - TSS"),
        "driver_carriers": Recomputed(
            ((percent - drivers["percent_carriers"]).abs() <= _HALF_TENTH).sum(),
            f"of {_SEQUENCED:,} people, to the released decimal",
        ),
        "driver_scan": Recomputed(
            agreeing.sum(),
            "prediction, maximum and standard deviation are those of the table of scans",
        ),
        "driver_constant": Recomputed(
            (constant & (drivers["slope"] == 0)).sum(),
            f"of {constant.sum()} that do not vary among people with expression",
        ),
    }


def _numbers(tables: PublishedTables) -> dict[str, Recomputed]:
    listed = tables.drivers.groupby("gene").size()
    without = max(0, len(tables.gene_set) - len(listed))
    counted = driver_counts(np.concatenate([listed.to_numpy(), np.zeros(without, int)]))
    return {
        f"percent_{name}": Recomputed(
            100 * of_listed,
            f"{round(of_listed * counted.n_with_driver)} of {counted.n_with_driver} genes with a "
            f"driver; {100 * of_all:.1f} % of the "
            f"{counted.n_examined} examined",
        )
        for name, of_listed, of_all in (
            ("single_driver", counted.one_of_with_driver, counted.one_of_examined),
            ("few_drivers", counted.few_of_with_driver, counted.few_of_examined),
        )
    }


@dataclass(frozen=True, eq=False)
class SupportedDrivers:
    """Whether drivers are supported, and of which genes.

    Parameters
    ----------
    genes
        Ids of the genes that have drivers, in the order of the table.
    gene, signs
        Of each driver: the index of its gene, and 1 supported, -1 not, 0 neither.
    shares
        Of the drivers of each gene.
    groups
        Genes compared, by the sign of r.
    """

    genes: pd.Index
    gene: NDArray[np.int64]
    signs: NDArray[np.int8]
    shares: Fractions
    groups: GeneGroups


def supported_drivers(tables: PublishedTables) -> SupportedDrivers:
    """Return what the released drivers are by the rules of METHODS section 15."""
    drivers = tables.drivers
    gene, ids = pd.factorize(drivers["gene"])
    signs = sign_support(drivers["ism"], drivers["slope"])
    groups = select_genes(
        ids.isin(tables.gene_set),
        np.ones(len(ids), dtype=bool),
        drivers.groupby("gene", sort=False)["r_linear"].first(),
        tables.genes["r_track"].reindex(ids),
        _CUT,
        _CUT,
    )
    return SupportedDrivers(ids, gene, signs, fractions(signs, gene, len(ids)), groups)


def _signs(tables: PublishedTables) -> dict[str, Recomputed]:
    all_drivers = supported_drivers(tables)
    shares, groups = all_drivers.shares, all_drivers.groups
    main = main_driver_support(
        all_drivers.signs, tables.drivers["is_main"], all_drivers.gene, groups
    )
    found: dict[str, Recomputed] = {}
    for name, genes in (("positive", groups.positive), ("negative", groups.negative)):
        supported, unsupported = (
            values[genes].mean() if genes.any() else np.nan
            for values in (shares.supported, shares.unsupported)
        )
        of_main = main[name]
        found |= {
            f"{name}_genes": Recomputed(
                genes.sum(),
                f"mean share of drivers: {100 * supported:.0f} % supported, "
                f"{100 * unsupported:.0f} % not",
            ),
            f"supported_share ({name})": Recomputed(
                supported, f"mean of {genes.sum()} genes, each driver of a gene alike"
            ),
            f"supported_main ({name})": Recomputed(
                of_main.supported,
                f"of {genes.sum()} genes; {of_main.unsupported} not, {of_main.neutral} neither",
            ),
        }
    return found
