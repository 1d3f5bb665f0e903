"""What of a pipeline is done, failed and missing, read from the cube and its ledger."""

from typing import Any

from zarrbench import ledger
from zarrbench.errors import StoreLayoutError
from zarrbench.predictions.cube import blocks, done_shards, open_cube, read_attributes
from zarrbench.stages.workspace import Workspace

_ERRORS_SHOWN = 3


def pipeline_status(workspace: Workspace) -> dict[str, Any]:
    """Return counts of shards, the first errors, and which results exist.

    Raises
    ------
    StoreLayoutError
        If the pipeline has never been run under this data folder.
    """
    if not workspace.cube.exists():
        raise StoreLayoutError(
            f"the pipeline {workspace.recipe.name!r} has no cube in {workspace.folder}; start it "
            f"with 'zarrbench run'"
        )
    attributes = read_attributes(workspace.cube)
    cube = open_cube(workspace.cube, incomplete="nan")
    standing = ledger.entries(ledger.ledger_of(workspace.cube), str(attributes["recipe_hash"]))
    failed = {key: e for key, e in standing.items() if e.state == "failed"}
    shards = cube.sizes["gene"] * len(blocks(cube.sizes["individual"], attributes["block_size"]))
    # A complete cube may have been copied without its ledger.
    copied = attributes["complete"] and not standing
    n_done = shards if copied else len(done_shards(workspace.cube))
    return {
        "cube": str(workspace.cube),
        "complete": bool(attributes["complete"]),
        "shards": shards,
        "done": n_done,
        "failed": len(failed),
        "missing": shards - n_done - len(failed),
        "worker_seconds": round(sum(entry.seconds for entry in standing.values()), 1),
        "first_errors": {
            f"{gene} block {block}": entry.error
            for (gene, block), entry in list(failed.items())[:_ERRORS_SHOWN]
        },
        "results": {
            path.name: path.exists()
            for path in (workspace.statistics, workspace.gene_table, workspace.report)
        },
    }
