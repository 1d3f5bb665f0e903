"""What the study printed of motifs around drivers, from its scans and sequences.

METHODS sections 11, 18 and 19.
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from zarrbench.reproduction.arrays import DriverScans, DriverSequences
from zarrbench.reproduction.recomputed import Recomputed
from zarrbench.reproduction.tables import PublishedTables
from zarrbench.statistics.attribution_motifs import motif_statistics
from zarrbench.statistics.sequence_clusters import clusters, enrichment

# Table 3 holds all digits, so that only the order of a sum shows; Table 2 five decimals of what
# was then float32
_EXACT, _ISM_UNIT = 1e-12, 1e-5
_ALPHA = 0.05


def motif_claims(tables: PublishedTables) -> dict[str, Recomputed]:
    """Return the quantities by their keys."""
    return {**_motif_table(tables), **_scans(tables), **_clusters(tables)}


def _motif_table(tables: PublishedTables) -> dict[str, Recomputed]:
    table, scans = tables.motifs, tables.scans
    rows = _rows(scans, table.index, table["position"])
    norm = tables.tss_scans["largest"].reindex(table.index).where(rows >= 0).to_numpy()
    columns = []
    for scan in (scans.reference, scans.variant):
        found = motif_statistics(scan[rows], norm)
        columns += [found.s[:, np.newaxis], found.size, found.distance, found.value]
    released = table.drop(columns="position").to_numpy(np.float64)
    same = np.abs(np.hstack(columns) - released) <= _EXACT
    return {
        "motif_rows": Recomputed(
            same.all(axis=1).sum(),
            f"of {len(table)}, all {same.shape[1]} numbers within {_EXACT:g}",
        )
    }


def _scans(tables: PublishedTables) -> dict[str, Recomputed]:
    scans, mains = tables.scans, tables.drivers[tables.drivers["is_main"]]
    centre = scans.reference.shape[1] // 2
    rows = _rows(scans, mains["gene"], mains["position"])
    reference, variant = (
        codes[rows, centre] for codes in (scans.reference_codes, scans.variant_codes)
    )
    there = scans.reference[rows, centre, variant]
    back = -scans.variant[rows, centre, reference]
    agreeing = [np.abs(one - mains["ism"]) <= _ISM_UNIT for one in (there, back)]
    return {
        "main_driver_ism": Recomputed(
            ((rows >= 0) & agreeing[0] & agreeing[1]).sum(),
            f"of {len(mains)}: the entry of the other base at the centre of the scan from the "
            f"reference, and minus that of the scan from the variant, within {_ISM_UNIT:g}",
        ),
        "main_driver_sequences": Recomputed(
            _in_scans(scans, tables.main_sequences).sum(),
            "from either base, the middle of the scans' letters",
        ),
    }


def _in_scans(scans: DriverScans, sequences: DriverSequences) -> NDArray[np.bool_]:
    """Return which sequences are the middle of the scanned ones, from either base."""
    rows = _rows(scans, sequences.gene, sequences.position)
    spare = (scans.reference_codes.shape[1] - sequences.reference.shape[1]) // 2
    middle = slice(spare, spare + sequences.reference.shape[1])
    return (
        (rows >= 0)
        & (scans.reference_codes[rows, middle] == sequences.reference).all(axis=1)
        & (scans.variant_codes[rows, middle] == sequences.variant).all(axis=1)
    )


def _rows(scans: DriverScans, gene: ArrayLike, position: ArrayLike) -> NDArray[np.intp]:
    """Return the row of the scans of each driver, -1 where there is none."""
    return _keys(scans.gene, scans.position).get_indexer(_keys(gene, position))


def _keys(gene: ArrayLike, position: ArrayLike) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([np.asarray(gene, object), np.asarray(position, np.int64)])


def _clusters(tables: PublishedTables) -> dict[str, Recomputed]:
    drivers = tables.drivers.set_index(["gene", "position"])
    product = (drivers["ism"] * drivers["slope"].fillna(0.0)).groupby(level=[0, 1]).first()
    found = {}
    for name, sequences in (("all", tables.sequences), ("main", tables.main_sequences)):
        keys = _keys(sequences.gene, sequences.position)
        known = keys.isin(product.index)
        unsupported = product.reindex(keys[known]).to_numpy() < 0
        passing, said = 0, []
        for base, codes in (("reference", sequences.reference), ("variant", sequences.variant)):
            # clusters of every driver, tested on those whose sign is in Supplementary Table 2
            _, labels = np.unique(clusters(codes)[known], return_inverse=True)
            tested = enrichment(labels, unsupported)
            p = np.minimum(tested.p_more, tested.p_fewer)
            passing += int((p <= _ALPHA / max(len(p), 1)).sum())
            said.append(
                f"{base} base {len(p)}, the largest of {tested.size.max(initial=0)}, smallest p "
                f"{p.min(initial=1.0):.3f}"
            )
        found[f"enriched_clusters ({name})"] = Recomputed(
            passing, f"of clusters with one of {known.sum():,} drivers of known sign: "
            + "; ".join(said)
        )  # fmt: skip
    return found
