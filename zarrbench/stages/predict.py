"""The predict stage: the cube, and the local tables of who and what was left out."""

from typing import Any

import pandas as pd
from distributed import Client

from zarrbench.errors import IncompleteCubeError
from zarrbench.predictions.cube import check_recipe, done_shards
from zarrbench.predictions.run import Filled, fill_cube
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import write_text


def run_predict(
    workspace: Workspace, client: Client, slot: str, limit: int | None = None
) -> Filled:
    """Fill the cube; return what was done and what failed."""
    plan = workspace.plan
    write_local_tables(workspace)
    return fill_cube(plan, workspace.job, client, slot, limit)


def refuse_failed(filled: Filled) -> None:
    """Raise if shards failed, with their number and the first error.

    Raises
    ------
    IncompleteCubeError
    """
    if not filled.failed:
        return
    (gene, block), error = next(iter(filled.failed.items()))
    raise IncompleteCubeError(
        f"{len(filled.failed)} of {filled.wanted} shards failed, the first {gene} (block {block}): "
        f"{error}; the others are kept and reported: 'zarrbench status' counts, the same command "
        f"tries the failed ones again, and corrected input needs another --data folder"
    )


def write_local_tables(workspace: Workspace) -> None:
    """Write who was joined and which genes were left out; with ids, for this machine only."""
    table = workspace.join.table.to_csv(sep="\t", index=False, na_rep="NA")
    write_text(workspace.folder / "samples.tsv", table)
    left_out = pd.DataFrame(sorted(workspace.plan.left_out.items()), columns=["gene_id", "reason"])
    write_text(workspace.left_out, left_out.to_csv(sep="\t", index=False))


def dry_run(workspace: Workspace, limit: int | None = None) -> dict[str, Any]:
    """Return what a run would do: tasks, bytes, files, and what is done already."""
    plan = workspace.plan
    size = plan.size()
    if workspace.cube.exists():
        check_recipe(workspace.cube, plan.recipe)
    done = done_shards(workspace.cube) if workspace.cube.exists() else {}
    wanted = list(plan.tasks(limit))
    todo = [task for task in wanted if (task.gene, task.block.number) not in done]
    reasons = pd.Series(list(plan.left_out.values()), dtype=object).value_counts()
    return {
        "pipeline": workspace.recipe.name,
        "model": plan.spec.name,
        "genes": plan.genes.sizes["gene"],
        "genes_left_out": {str(reason): int(n) for reason, n in reasons.items()},
        "individuals": len(plan.individuals),
        "tracks": len(plan.spec.tracks),
        "tasks": len(wanted),
        "tasks_done": len(wanted) - len(todo),
        "tasks_to_do": len(todo),
        "haplotypes_to_do": sum(2 * task.individuals.size for task in todo),
        "cube_bytes": size["bytes"],
        "cube_files": size["files"],
        "results": str(workspace.folder),
    }
