"""The predict stage: the cube, and the local tables of who and what was left out."""

from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd
from distributed import Client

from zarrbench import ledger
from zarrbench.errors import IncompleteCubeError
from zarrbench.predictions.cube import check_recipe, done_shards, failed_shards
from zarrbench.predictions.estimate import estimate
from zarrbench.predictions.extension import check_extension, extend_cube, finish_extension
from zarrbench.predictions.plan import Task
from zarrbench.predictions.run import Filled, fill_cube
from zarrbench.provenance import installed
from zarrbench.stages.attributions import estimated
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import exists, write_text


def run_predict(
    workspace: Workspace,
    client: Client,
    slot: str,
    limit: int | None = None,
    retry_failed: bool = False,
    extend: bool = False,
) -> Filled:
    """Fill the cube; return what was done and what failed.

    With `extend` a cube that lacks genes or people of the pipeline is given them first.
    """
    finish_extension(workspace.cube)
    plan = workspace.plan
    if extend and exists(workspace.cube):
        extend_cube(workspace.cube, plan, installed())
    write_local_tables(workspace)
    book = ledger.ledger_of(workspace.cube)
    ledger.compact(book)
    filled = fill_cube(plan, workspace.job, client, slot, limit, retry_failed)
    ledger.compact(book)  # the stages that follow read it too
    return filled


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
        f"{error}; the others are kept and reported: 'zarrbench status' counts, 'zarrbench run' "
        f"with --retry-failed tries them again, and corrected input needs another --data folder"
    )


def write_local_tables(workspace: Workspace) -> None:
    """Write who was joined and which genes were left out; with ids, for this machine only."""
    table = workspace.join.table.to_csv(sep="\t", index=False, na_rep="NA")
    write_text(workspace.folder / "samples.tsv", table)
    left_out = pd.DataFrame(sorted(workspace.plan.left_out.items()), columns=["gene_id", "reason"])
    write_text(workspace.left_out, left_out.to_csv(sep="\t", index=False))


def dry_run(workspace: Workspace, limit: int | None = None, extend: bool = False) -> dict[str, Any]:
    """Return what a run would do: tasks, bytes, files, and what is done already.

    What will be computed is scaled up from a few genes.
    """
    plan = workspace.plan
    size = plan.size()
    standing = exists(workspace.cube)
    if standing:
        if extend:
            check_extension(workspace.cube, plan)
        else:
            check_recipe(workspace.cube, plan.recipe)
    done = done_shards(workspace.cube) if standing else {}
    failed = failed_shards(workspace.cube) if standing else {}
    wanted = list(plan.tasks(limit))
    # A block that an extension would fill up is not done.
    there = [t for t in wanted if t.key in done and done[t.key].individuals == t.individuals.size]
    n_done, known = len(there), {task.key for task in there} | failed.keys()
    todo = [task for task in wanted if task.key not in known]
    reasons = pd.Series(list(plan.left_out.values()), dtype=object).value_counts()
    inputs = len(plan.windows(0))
    return {
        "pipeline": workspace.recipe.name,
        "model": plan.spec.name,
        "genes": plan.genes.sizes["gene"],
        "genes_left_out": {str(reason): int(n) for reason, n in reasons.items()},
        "individuals": len(plan.individuals),
        "tracks": len(plan.tracks),
        "tasks": len(wanted),
        "tasks_done": n_done,
        "tasks_failed": len(wanted) - len(todo) - n_done,
        "tasks_to_do": len(todo),
        "haplotypes_to_do": sum(2 * task.individuals.size for task in todo),
        **({"inputs_per_haplotype": inputs} if inputs > 1 else {}),
        "cube_bytes": size["bytes"],
        "cube_files": size["files"],
        **estimate(plan, workspace.job, todo).shown(),
        **_at_the_rate_of(done.values(), todo),
        **(estimated(workspace, limit) if "attributions" in workspace.recipe.stages else {}),
        "results": str(workspace.folder),
    }


def _at_the_rate_of(done: Collection[ledger.Entry], todo: Sequence[Task]) -> dict[str, float]:
    """Return the hours that one slot needs, if shards that are done say how long one takes."""
    if not done or not todo:
        return {}
    seconds = ledger.seconds_by_step(done)["predict"] / len(done)
    return {"slot_hours_at_the_rate_so_far": round(seconds * len(todo) / 3600, 2)}
