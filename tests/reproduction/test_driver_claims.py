"""What is recomputed of drivers, against plain pandas on Supplementary Table 2."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from zarrbench.reproduction.driver_claims import driver_claims
from zarrbench.reproduction.recomputed import Recomputed
from zarrbench.reproduction.tables import PublishedTables

R = "PearsonRCAGE,adult,brain"
INCREMENT = "IncreasedFractionofSumPearonRbyrankedDrivertoCAGE,adult,brain"


@pytest.fixture(scope="module")
def found(tables: PublishedTables) -> dict[str, Recomputed]:
    return driver_claims(tables)


@pytest.fixture(scope="module")
def drivers(published: Path) -> pd.DataFrame:
    return pd.read_csv(published / "SupplementaryTable2.tsv", sep="\t")


def signed(drivers: pd.DataFrame, table: pd.DataFrame) -> dict[str, list[str]]:
    """Genes that pass the filter of METHODS section 15, by the sign of their r."""
    linear = drivers.groupby("gene_id")["SumISMPearsonRtoCAGE,adult,brain"].first()
    r = table[R].reindex(linear.index[linear > 0.2])
    return {"positive": r.index[r > 0.2].tolist(), "negative": r.index[r < -0.2].tolist()}


def test_signs(found: Mapping[str, Recomputed], drivers: pd.DataFrame, table: pd.DataFrame) -> None:
    sign = np.sign(drivers["ISM"] * drivers["eQTL"])
    for name, genes in signed(drivers, table).items():
        shares, mains = [], []
        for gene in genes:
            own = drivers["gene_id"] == gene
            shares.append((sign[own] > 0).mean())
            [main] = sign[own & drivers["IsMainDriver"]]
            mains.append(main)
        assert found[f"{name}_genes"].value == len(genes)
        assert found[f"supported_share ({name})"].value == pytest.approx(np.mean(shares))
        assert found[f"supported_main ({name})"].value == mains.count(1)
        note = found[f"supported_main ({name})"].note
        assert note == f"of {len(genes)} genes; {mains.count(-1)} not, {mains.count(0)} neither"
    assert found["positive_genes"].note.endswith("93 % supported, 6 % not")
    assert found["negative_genes"].note.endswith("5 % supported, 94 % not")
    assert [found[f"supported_main ({one})"].value for one in ("positive", "negative")] == [154, 0]


def test_numbers_of_drivers(found: Mapping[str, Recomputed], drivers: pd.DataFrame) -> None:
    number = drivers["gene_id"].value_counts()
    assert found["percent_single_driver"].value == pytest.approx(100 * (number == 1).sum() / 251)
    assert found["percent_few_drivers"].value == pytest.approx(100 * (number <= 5).sum() / 251)
    assert found["percent_few_drivers"].note.startswith("209 of 251 genes with a driver; 81.6 %")
    assert found["percent_single_driver"].note.endswith("31.2 % of the 256 examined")


def test_main_drivers_have_the_largest_increment(
    found: Mapping[str, Recomputed], drivers: pd.DataFrame
) -> None:
    for _, own in drivers.groupby("gene_id"):
        assert own.loc[own["IsMainDriver"], INCREMENT].tolist() == [own[INCREMENT].max()]
    assert found["main_driver_increment"].value == drivers["gene_id"].nunique()
    assert "80 are the only driver of their gene, 1 has" in found["main_driver_increment"].note


def test_a_row_that_does_not_hold_is_not_counted(
    tables: PublishedTables, found: Mapping[str, Recomputed]
) -> None:
    counted = {"driver_distance": "distance", "driver_carriers": "carriers",
               "main_driver_increment": "increment", "driver_scan": "scan_sd"}  # fmt: skip
    several = tables.drivers["gene"].duplicated(keep=False)
    row = tables.drivers.index[tables.drivers["is_main"] & several][0]
    for key, column in counted.items():
        changed = tables.drivers.copy()
        changed.loc[row, column] -= 10
        fewer = driver_claims(dataclasses.replace(tables, drivers=changed))
        differing = {one for one in found if fewer[one].value != found[one].value}
        assert differing == {key}
        assert found[key].value - fewer[key].value == 1
    sloping = tables.drivers.copy()
    sloping.loc[sloping["r_genotype"].isna(), "slope"] = 0.1
    assert driver_claims(dataclasses.replace(tables, drivers=sloping))["driver_constant"].value == 0


def test_only_genes_of_the_set_count_among_those_with_drivers(
    tables: PublishedTables, found: Mapping[str, Recomputed]
) -> None:
    r = tables.genes["r_track"][list(tables.gene_set)]
    counted = driver_claims(dataclasses.replace(tables, gene_set=tuple(r.index[r < 0])))
    assert counted["positive_genes"].value == 0
    assert np.isnan(counted["supported_share (positive)"].value)
    assert counted["supported_main (positive)"].value == 0
    assert counted["negative_genes"].value == found["negative_genes"].value
