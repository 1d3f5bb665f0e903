"""What of a pipeline is done, failed and missing, read from the cube and its ledger."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import numpy as np

from zarrbench import ledger
from zarrbench.errors import StoreLayoutError
from zarrbench.locks import is_locked
from zarrbench.predictions.cube import done_shards, failed_shards, open_cube, read_attributes
from zarrbench.predictions.grid import blocks
from zarrbench.remote import Place
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import exists

_ERRORS_SHOWN = 3


def pipeline_status(workspace: Workspace) -> dict[str, Any]:
    """Return counts of shards, their rate, the first errors, and which results exist.

    Raises
    ------
    StoreLayoutError
        If the pipeline has never been run under this data folder.
    """
    if not exists(workspace.cube):
        raise StoreLayoutError(
            f"the pipeline {workspace.recipe.name!r} has no cube in {workspace.folder}; start it "
            f"with 'zarrbench run'"
        )
    attributes = read_attributes(workspace.cube)
    cube = open_cube(workspace.cube, incomplete="nan")
    entries = ledger.entries(ledger.ledger_of(workspace.cube))
    done, failed = done_shards(workspace.cube), failed_shards(workspace.cube)
    shards = cube.sizes["gene"] * len(blocks(cube.sizes["individual"], attributes["block_size"]))
    # A complete cube may have been copied without its ledger.
    n_done = shards if attributes["complete"] and not entries else len(done)
    missing = shards - n_done - len(failed)
    rate = shards_per_hour([entry.time for entry in done.values()])
    return {
        "cube": str(workspace.cube),
        "running": is_locked(workspace.folder),
        "complete": bool(attributes["complete"]),
        "shards": shards,
        "done": n_done,
        "failed": len(failed),
        "missing": missing,
        "shards_per_hour": None if rate is None else float(f"{rate:.3g}"),
        "hours_left": None if rate is None or not missing else round(missing / rate, 2),
        "worker_seconds": ledger.seconds_by_step(entries.values()),
        "first_errors": {
            f"{gene} block {block}": entry.error
            for (gene, block), entry in list(failed.items())[:_ERRORS_SHOWN]
        },
        "results": {path.name: exists(path) for path in _results(workspace)},
    }


def _results(workspace: Workspace) -> list[Place]:
    stages = workspace.recipe.stages
    found = []
    if "genotype_quality" in stages:
        found += [workspace.genotype_quality, *workspace.genotype_tables]
    if workspace.adjusts_expression:
        found.append(workspace.adjusted)
    found += [workspace.statistics, workspace.gene_table, workspace.report]
    if "attributions" in stages:
        found.append(workspace.attributions)
    if "drivers" in stages:
        found += [workspace.drivers, workspace.drivers_table, workspace.concordance]
    if "motifs" in stages:
        found += [workspace.motifs, *workspace.motif_tables]
    if "population" in stages:
        found += [workspace.population, workspace.population_table]
    if "track_weights" in stages:
        found += [workspace.track_weights, workspace.track_weights_table]
    if "eqtl" in stages:
        found += [workspace.eqtl, workspace.eqtl_table]
    if "predixcan" in stages:
        found += [workspace.predixcan, workspace.predixcan_table]
    if "gene_table" in stages:
        found += [workspace.study_table, workspace.study_table_text]
    if "sensitivity" in stages:
        found += [workspace.sensitivity, workspace.sensitivity_table]
    return found


def shards_per_hour(times: Collection[str]) -> float | None:
    """Return how fast shards were written of late: up to an hour before the last one.

    Long pauses (ten minutes, and ten times what is usual) do not count: nothing ran then, or a
    clock was set.

    Parameters
    ----------
    times : collection of str
        When each was written (ISO 8601), in any order.

    Returns
    -------
    float or None
        None if it cannot be told from so few.
    """
    seconds = np.sort([datetime.fromisoformat(time).timestamp() for time in times])
    recent = seconds[seconds >= seconds[-1] - 3600] if seconds.size else seconds
    gaps = np.diff(recent)
    gaps = gaps[gaps <= max(600.0, 10 * float(np.median(gaps)))] if gaps.size else gaps
    span = gaps.sum()
    return float(3600 * gaps.size / span) if span > 0 else None
