"""What is recomputed of scans and sequences: counted row by row, and not where it does not hold."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest

from zarrbench.reproduction.motif_claims import motif_claims
from zarrbench.reproduction.recomputed import Recomputed
from zarrbench.reproduction.tables import PublishedTables


@pytest.fixture(scope="module")
def found(tables: PublishedTables) -> dict[str, Recomputed]:
    return motif_claims(tables)


@pytest.fixture
def fewer(tables: PublishedTables) -> PublishedTables:
    """The tables with few sequences, which are quick to cluster."""
    kept = {
        field.name: getattr(tables.sequences, field.name)[:50]
        for field in dataclasses.fields(tables.sequences)
    }
    return dataclasses.replace(tables, sequences=type(tables.sequences)(**kept))


def test_the_release(found: Mapping[str, Recomputed]) -> None:
    values = {key: one.value for key, one in found.items()}
    assert values == {
        "motif_rows": 251,
        "main_driver_ism": 251,
        "main_driver_sequences": 481,
        "enriched_clusters (all)": 0,
        "enriched_clusters (main)": 0,
    }
    assert "1,091 drivers of known sign" in found["enriched_clusters (all)"].note


def test_a_number_that_is_not_the_scans_is_not_counted(fewer: PublishedTables) -> None:
    for column, change in (("reference_s", 1e-11), ("variant_size_5", 1), ("position", 1)):
        changed = fewer.motifs.copy()
        changed.loc[changed.index[3], column] += change
        found = motif_claims(dataclasses.replace(fewer, motifs=changed))
        assert found["motif_rows"].value == 250


def test_a_gene_without_a_scan_about_its_tss_is_not_counted(fewer: PublishedTables) -> None:
    lacking = fewer.tss_scans.drop(index=fewer.motifs.index[:2])
    assert motif_claims(dataclasses.replace(fewer, tss_scans=lacking))["motif_rows"].value == 249


def test_scans_that_are_not_of_the_drivers_are_not_counted(
    tables: PublishedTables, fewer: PublishedTables
) -> None:
    scans = tables.scans
    [gene] = np.flatnonzero(scans.gene == tables.motifs.index[0])
    other = {name: getattr(scans, name).copy() for name in ("variant", "variant_codes", "position")}
    other["variant"][gene] += 2e-5
    found = motif_claims(dataclasses.replace(
        fewer, scans=dataclasses.replace(scans, variant=other["variant"])))  # fmt: skip
    assert (found["main_driver_ism"].value, found["motif_rows"].value) == (250, 250)
    other["variant_codes"][gene, 14] ^= 1
    found = motif_claims(dataclasses.replace(
        fewer, scans=dataclasses.replace(scans, variant_codes=other["variant_codes"])))  # fmt: skip
    assert (found["main_driver_ism"].value, found["main_driver_sequences"].value) == (251, 480)
    other["position"][gene] += 1
    found = motif_claims(dataclasses.replace(
        fewer, scans=dataclasses.replace(scans, position=other["position"])))  # fmt: skip
    assert found["main_driver_ism"].value == found["motif_rows"].value == 250
    assert found["main_driver_sequences"].value == 480


def test_a_cluster_that_tells_the_sign_is_counted(tables: PublishedTables) -> None:
    drivers = tables.drivers.copy()
    of_known = {key: row for row, key in enumerate(zip(drivers["gene"], drivers["position"],
                                                       strict=True))}  # fmt: skip
    sequences = tables.sequences
    known = np.array([
        of_known.get((gene, position), -1)
        for gene, position in zip(sequences.gene.tolist(), sequences.position.tolist(), strict=True)
    ])  # fmt: skip
    [row] = np.flatnonzero(known >= 0)[:1]
    alike = np.flatnonzero(known >= 0)[:20]
    codes = sequences.reference.copy()
    codes[alike] = codes[row]
    drivers["slope"] = drivers["ism"]
    drivers.loc[known[alike], "slope"] *= -1
    changed = dataclasses.replace(
        tables, drivers=drivers, sequences=dataclasses.replace(sequences, reference=codes)
    )
    assert motif_claims(changed)["enriched_clusters (all)"].value == 1


def test_no_driver_of_known_sign_is_no_failure(fewer: PublishedTables) -> None:
    found = motif_claims(dataclasses.replace(fewer, drivers=fewer.drivers.iloc[:0]))
    assert found["enriched_clusters (all)"].value == 0
    assert found["main_driver_ism"].value == 0
