"""The motifs stage: what the main driver of each gene changes, and what drivers have in common.

Scans around main drivers and TSSs are made on the cluster, as parts with a ledger.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from distributed import Client
from numpy.typing import NDArray

import zarrbench
from zarrbench.attribution_layouts import MOTIFS
from zarrbench.attribution_parameters import Motifs
from zarrbench.attributions.parts import finished_parts, read_part
from zarrbench.attributions.run import fill_parts
from zarrbench.attributions.scans import DRIVER_FLANK, ScanTask
from zarrbench.errors import RecipeError
from zarrbench.genome.bases import LETTERS, OTHER, Codes, decode
from zarrbench.genome.coordinates import Window, from_one_based
from zarrbench.predictions.run import Filled
from zarrbench.provenance import fingerprint, plain
from zarrbench.stages.attributions import (
    attributed_window,
    attribution_job,
    attribution_recipe,
    current_attributions,
)
from zarrbench.stages.drivers import standing_drivers
from zarrbench.stages.workspace import Workspace
from zarrbench.statistics.attribution_motifs import (
    THRESHOLDS,
    MotifStatistics,
    motif_statistics,
    scan_summary,
)
from zarrbench.statistics.sequence_clusters import Motif, as_meme, clusters, enrichment, motif
from zarrbench.storage import exists, get, open_dataset, write_dataset, write_text
from zarrbench.tables import plain_column, write_table

#: which allele of the driver a sequence has
BASES = ("reference", "variant")
# Thresholds of z-scores, where the standard deviation is the norm
_Z = (1.64, 1.96, 2.58, 3.29)
_ENRICHMENT = ("size", "unsupported", "p_more", "p_fewer", "q_more", "q_fewer")
# Bases to either side of a driver that are clustered
_CLUSTERED = 6


def run_motifs(
    workspace: Workspace, client: Client, slot: str, retry_failed: bool = False
) -> Filled:
    """Scan the main drivers that lack it, and write scans, their statistics and clusters.

    A run that was killed continues; a gene that fails stops no other.

    Raises
    ------
    RecipeError
        If the attributions or drivers stage has to run first, or scans were begun with another
        recipe.
    ModelInputError, StorageError, SourceError, ClusterError
        As `zarrbench.attributions.run.fill_parts`.
    """
    drivers = standing_drivers(workspace)
    if drivers is None:
        raise RecipeError(
            f"the drivers {workspace.drivers} are not there, or were made from something else; "
            f"run 'zarrbench run {workspace.file} --only drivers' first"
        )
    attributed = [str(track) for track in current_attributions(workspace)["track"].values]
    parameters = workspace.recipe.stage(Motifs)
    track = str(drivers.attrs["track"])
    recipe = scan_recipe(workspace, track)
    job = attribution_job(workspace, workspace.motifs, recipe)
    job = replace(job, tracks=(job.tracks[attributed.index(track)],))
    chosen = main_drivers(drivers, parameters)
    tasks = [
        ScanTask(
            gene=gene,
            window=attributed_window(workspace, drivers.sel(gene=gene)),
            position=int(position),
            alternative=LETTERS.index(allele),
            tss_flank=parameters.tss_flank,
        )
        for gene, position, allele in zip(
            chosen["gene_id"].tolist(),
            chosen["position"].tolist(),
            chosen["effect_allele"].tolist(),
            strict=True,
        )
    ]
    filled = fill_parts(job, recipe, tasks, client, slot, retry_failed, "scan")
    inputs = _inputs(workspace, drivers, recipe, tasks)
    standing = _written(workspace)
    if standing is None or standing.attrs.get("inputs") != inputs:
        reasons = {name: f"it failed: {error}" for (name, _), error in filled.failed.items()}
        of_genes = _drivers_of(drivers, chosen["gene_id"].tolist())
        sequences = _sequences(workspace, of_genes)
        found = _scanned(workspace, drivers, chosen, tasks, reasons)
        found = found.assign(_clustered(of_genes, sequences)).assign_attrs(
            inputs=inputs,
            drivers=drivers.attrs["inputs"],
            parameters=json.dumps(plain(parameters), sort_keys=True),
            track=drivers.attrs["track"],
        )
        write_table(motif_table(found), workspace.motif_tables[0], missing="NaN")
        _write_clusters(workspace, found, sequences)
        write_dataset(found, workspace.motifs, MOTIFS)
    return filled


def scan_recipe(workspace: Workspace, track: str) -> dict[str, Any]:
    """Return all that determines the scans of a driver of a track."""
    made = attribution_recipe(workspace)
    stage = {"alignment": made.pop("stage")["alignment"]}
    stage["tss_flank"] = workspace.recipe.stage(Motifs).tss_flank
    version = {"version": MOTIFS.version}
    return {**made, "attributions": version, "stage": stage, "tracks": [track]}


def main_drivers(drivers: xr.Dataset, parameters: Motifs) -> pd.DataFrame:
    """Return the main driver of each gene that is asked for, in the order of the genes."""
    names = ("other_allele", "effect_allele", "support", "distance")
    main = drivers.isel(driver=drivers["is_main"].values.astype(bool))
    table = pd.DataFrame(
        {
            "gene_id": plain_column(main["driver_gene"].values),
            "position": main["driver_position"].values,
            **{name: plain_column(main[name].values) for name in names},
        }
    )
    genes = drivers["gene"].values
    if parameters.genes == "examined":
        genes = genes[drivers["examined"].values.astype(bool)]
    return table[table["gene_id"].isin(list(map(str, genes)))].reset_index(drop=True)


def standing_motifs(workspace: Workspace) -> xr.Dataset | None:
    """Return what the stage wrote, None if anything has changed since."""
    found = _written(workspace)
    drivers = None if found is None else standing_drivers(workspace)
    if found is None or drivers is None:
        return None
    asked = json.dumps(plain(workspace.recipe.stage(Motifs)), sort_keys=True)
    made = (found.attrs.get("drivers"), found.attrs.get("parameters"))
    return found if made == (drivers.attrs["inputs"], asked) else None


def _written(workspace: Workspace) -> xr.Dataset | None:
    """Return the store if all that the stage writes is there."""
    motifs = [workspace.cluster_motifs(base) for base in BASES]
    if not all(exists(path) for path in (workspace.motifs, *workspace.motif_tables, *motifs)):
        return None
    return open_dataset(workspace.motifs, MOTIFS).load()


def _inputs(
    workspace: Workspace, drivers: xr.Dataset, recipe: dict[str, Any], tasks: Sequence[ScanTask]
) -> str:
    done = finished_parts(workspace.motifs, recipe)
    return fingerprint(
        {
            "version": [MOTIFS.version, zarrbench.__version__],
            "parameters": plain(workspace.recipe.stage(Motifs)),
            "drivers": drivers.attrs["inputs"],
            "recipe": recipe,
            "parts": {t.name: done[t.name].checksums for t in tasks if t.name in done},
        }
    )


def _scanned(
    workspace: Workspace,
    drivers: xr.Dataset,
    chosen: pd.DataFrame,
    tasks: Sequence[ScanTask],
    reasons: dict[str, str],
) -> xr.Dataset:
    """Return scans and their statistics, as `attribution_layouts.MOTIFS` says."""
    parameters = workspace.recipe.stage(Motifs)
    n, width = len(tasks), 2 * DRIVER_FLANK + 1
    length = 2 * parameters.tss_flank + 1
    scans = np.full((n, len(BASES), width, OTHER), np.nan)
    tss = np.full((n, length, OTHER), np.nan)
    reference = np.full(n, np.nan)
    sequences = [""] * n
    for row, task in enumerate(tasks):
        if task.name in reasons:
            continue
        part = read_part(workspace.motifs, task.name)
        for base, name in enumerate(("from_reference", "from_variant")):
            scans[row, base] = part[name][..., 0]
        tss[row] = part["tss_scan"][..., 0]
        reference[row] = part["reference_prediction"][0]
        sequences[row] = decode(part["sequence"].astype(np.uint8))
    summary = scan_summary(tss)
    norm, thresholds = (
        (summary.largest, THRESHOLDS) if parameters.norm == "max" else (summary.sd, _Z)
    )
    found = [motif_statistics(scans[:, base], norm, thresholds) for base in range(len(BASES))]
    genes = drivers.sel(gene=chosen["gene_id"].tolist())
    places = ("gene", "gene_name", "contig", "tss", "strand")
    return xr.Dataset(
        {
            **{
                name: ("gene", chosen[name].to_numpy())
                for name in ("position", "other_allele", "effect_allele", "support")
            },
            "gene_reason": (
                "gene", np.array([reasons.get(task.name, "") for task in tasks], dtype=object)
            ),
            "sequence": ("gene", np.array(sequences, dtype=object)),
            "driver_scan": (("gene", "base", "offset", "allele"), scans),
            "tss_scan": (("gene", "tss_offset", "allele"), tss),
            "reference_prediction": ("gene", reference),
            "tss_largest": ("gene", summary.largest),
            "tss_sd": ("gene", summary.sd),
            "effect": (("gene", "base"), _both(found, "s")),
            **{
                name: (("gene", "base", "threshold"), _both(found, source))
                for name, source in (
                    ("run_length", "size"), ("run_distance", "distance"), ("value", "value")
                )
            },
        },
        coords={
            **{name: ("gene", genes[name].values) for name in places},
            "base": np.array(BASES, dtype=object),
            "offset": np.arange(-DRIVER_FLANK, DRIVER_FLANK + 1),
            "tss_offset": np.arange(-parameters.tss_flank, parameters.tss_flank + 1),
            "allele": np.array(list(LETTERS[:OTHER]), dtype=object),
            "threshold": np.array(thresholds),
        },
    )  # fmt: skip


def _both(found: Sequence[MotifStatistics], name: str) -> NDArray[np.float64]:
    """Return a statistic of the scans of both alleles, along the second axis."""
    return np.stack([getattr(of_base, name) for of_base in found], axis=1)


def _drivers_of(drivers: xr.Dataset, genes: Sequence[str]) -> xr.Dataset:
    """Return all drivers of some genes."""
    return drivers.isel(driver=np.isin(plain_column(drivers["driver_gene"].values), list(genes)))


def _clustered(drivers: xr.Dataset, sequences: Sequence[Codes]) -> dict[str, tuple[Any, NDArray]]:
    """Return the drivers, and the clusters of the bases around them for either allele."""
    cluster = np.full((len(BASES), drivers.sizes["driver"]), -1)
    for row, codes in zip(cluster, sequences, strict=True):
        inside = (codes != OTHER).all(axis=1)
        if inside.any():
            row[inside] = clusters(codes[inside])
    return {
        "driver_gene": ("driver", plain_column(drivers["driver_gene"].values)),
        "driver_position": ("driver", drivers["driver_position"].values),
        "driver_support": ("driver", drivers["support"].values),
        "cluster": (("base", "driver"), cluster),
    }


def _sequences(workspace: Workspace, drivers: xr.Dataset) -> tuple[Codes, Codes]:
    """Return the bases around drivers (driver, 13) with the reference, and the effect, allele."""
    reference = workspace.stores.reference
    contig_of = dict(
        zip(map(str, drivers["gene"].values), map(str, drivers["contig"].values), strict=True)
    )
    length = 2 * _CLUSTERED + 1
    codes = np.full((drivers.sizes["driver"], length), OTHER, dtype=np.uint8)
    for row in range(len(codes)):
        contig = contig_of[str(drivers["driver_gene"].values[row])]
        at = int(from_one_based(drivers["driver_position"].values[row]))
        window = Window(contig, at - _CLUSTERED, at + _CLUSTERED + 1)
        codes[row] = reference.codes(window)
    variant = codes.copy()
    alleles = plain_column(drivers["effect_allele"].values)
    variant[:, _CLUSTERED] = [LETTERS.index(str(allele)) for allele in alleles]
    return codes, variant


def _write_clusters(workspace: Workspace, found: xr.Dataset, sequences: Sequence[Codes]) -> None:
    """Write how clusters are enriched in unsupported drivers, and their motifs."""
    unsupported = found["driver_support"].values < 0
    parts = [pd.DataFrame(columns=["base", "cluster", *_ENRICHMENT])]
    for base, labels, codes in zip(BASES, found["cluster"].values, sequences, strict=True):
        kept = labels >= 0
        motifs = []
        if kept.any():
            tested = enrichment(labels[kept], unsupported[kept])
            columns = {name: getattr(tested, name) for name in _ENRICHMENT}
            numbers = np.arange(tested.size.size)
            parts.append(pd.DataFrame({"base": base, "cluster": numbers, **columns}))
            for number in numbers:
                made = motif(codes, np.flatnonzero(labels == number))
                motifs += [] if made is None else [(f"{base}_{number}", made)]
        write_text(workspace.cluster_motifs(base), as_meme(motifs))
    table = pd.concat(parts[1:] or parts, ignore_index=True)
    write_table(table, workspace.motif_tables[1])


def motif_table(found: xr.Dataset) -> pd.DataFrame:
    """Return one row a main driver, in the order of the study's Supplementary Table 3, unrounded.

    Gene and position, then for the sequence with the reference allele, and for that with the effect
    allele: effect, run length, distance and value at each threshold.
    """
    columns: dict[str, Any] = {
        "gene_id": plain_column(found["gene"].values),
        "position": found["position"].values,
    }
    for base in BASES:
        one = found.sel(base=base)
        columns[f"{base}_effect"] = one["effect"].values
        for name in ("run_length", "run_distance", "value"):
            for threshold in found["threshold"].values:
                values = one[name].sel(threshold=threshold).values
                columns[f"{base}_{name}_{threshold:g}"] = values
    return pd.DataFrame(columns)


def headline(workspace: Workspace) -> dict[str, Any]:
    """Return the `summary` of what the stage wrote."""
    return summary(open_dataset(workspace.motifs, MOTIFS).load(), cluster_table(workspace))


def cluster_table(workspace: Workspace) -> pd.DataFrame:
    """Return the table `clusters.tsv` that the stage wrote."""
    table: pd.DataFrame = pd.read_csv(io.BytesIO(get(workspace.motif_tables[1]) or b""), sep="\t")
    return table


def largest_clusters(
    workspace: Workspace, found: xr.Dataset, base: str = "reference", most: int = 20
) -> dict[int, Motif]:
    """Return the motifs of the largest clusters of drivers with an allele, by number.

    Made again from the reference, since files of motifs do not say where the SNV is; clusters
    without a motif are left out.

    Parameters
    ----------
    found : Dataset
        As `standing_motifs`.
    base
        One of `BASES`.
    most
        How many clusters are looked at.

    Raises
    ------
    RecipeError
        If the drivers that were clustered are no longer there.
    """
    drivers = standing_drivers(workspace)
    if drivers is None or drivers.attrs["inputs"] != found.attrs["drivers"]:
        raise RecipeError(
            f"the drivers {workspace.drivers} are not those that were clustered; run "
            f"'zarrbench run {workspace.file} --only motifs' first"
        )
    of_genes = _drivers_of(drivers, plain_column(found["gene"].values).tolist())
    codes = _sequences(workspace, of_genes)[BASES.index(base)]
    labels = found["cluster"].sel(base=base).values
    made = {
        n: motif(codes, np.flatnonzero(labels == n))
        for n in range(min(most, labels.max(initial=-1) + 1))
    }
    return {number: one for number, one in made.items() if one is not None}


def summary(found: xr.Dataset, clusters_tested: pd.DataFrame) -> dict[str, Any]:
    """Return how many drivers were scanned, how many disturb a motif, and whether clusters differ.

    A driver disturbs one where, with either allele, a run of five bases or more reaches the third
    threshold (20 % of the largest effect around the TSS).

    Parameters
    ----------
    found : Dataset
        What `run_motifs` writes.
    clusters_tested : pd.DataFrame
        The table `clusters.tsv`.
    """
    longest = found["run_length"].isel(threshold=2).max("base").values
    scanned = np.isfinite(longest)
    support = found["support"].values
    counted = {}
    for name, sign in (("supported", 1), ("unsupported", -1)):
        here = scanned & (support == sign)
        counted[f"in_a_motif_{name}"] = f"{int((longest[here] >= 5).sum())} of {int(here.sum())}"
    q = clusters_tested["q_more"]
    return {
        "main_drivers": found.sizes["gene"],
        "scanned": int(scanned.sum()),
        **counted,
        "clusters": len(clusters_tested),
        "clusters_enriched_in_unsupported": int((q <= 0.05).sum()),
    }
