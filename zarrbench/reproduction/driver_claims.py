"""What the study printed of drivers, from its tables of them (METHODS sections 14 to 16)."""

import numpy as np
import pandas as pd

from zarrbench.reproduction.recomputed import Recomputed
from zarrbench.reproduction.tables import PublishedTables

# The study's parameters: r of a gene that is well predicted, how few drivers are few, and the
# people sequenced, who are more than those with expression
_CUT, _FEW, _SEQUENCED = 0.2, 5, 1161
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
    number = tables.drivers.groupby("gene").size()
    examined = len(tables.gene_set)

    def share(genes: "pd.Series[bool]") -> Recomputed:
        of_examined = 100 * genes.sum() / examined if examined else np.nan
        return Recomputed(
            100 * genes.mean(),
            f"{genes.sum()} of {len(genes)} genes with a driver; {of_examined:.1f} % of the "
            f"{examined} examined",
        )

    return {
        "percent_single_driver": share(number == 1),
        "percent_few_drivers": share(number <= _FEW),
    }


def _signs(tables: PublishedTables) -> dict[str, Recomputed]:
    product = tables.drivers["ism"] * tables.drivers["slope"].fillna(0.0)
    drivers = tables.drivers.assign(supported=product > 0, unsupported=product < 0)
    by_gene = drivers.groupby("gene")
    shares = by_gene[["supported", "unsupported"]].mean()
    examined = shares.index.isin(tables.gene_set)
    passing = (by_gene["r_linear"].first() > _CUT) & examined
    r = tables.genes["r_track"].reindex(shares.index)
    mains = drivers[drivers["is_main"]].set_index("gene")
    found: dict[str, Recomputed] = {}
    for name, sign in (("positive", 1), ("negative", -1)):
        genes = passing & (sign * r > _CUT)
        supported, unsupported = shares[genes].mean()
        main = mains[mains.index.isin(genes.index[genes])]
        neither = (~main["supported"] & ~main["unsupported"]).sum()
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
                main["supported"].sum(),
                f"of {len(main)} genes; {main['unsupported'].sum()} not, {neither} neither",
            ),
        }
    return found
