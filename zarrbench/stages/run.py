"""Running the stages of a pipeline in the order of its file."""

import contextlib
import time
from collections.abc import Callable

from zarrbench.clusters import ClusterRecipe, started
from zarrbench.errors import RecipeError
from zarrbench.recipes import nearest
from zarrbench.stages.predict import refuse_failed, run_predict
from zarrbench.stages.report import run_report
from zarrbench.stages.statistics import run_statistics
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import locked


def run_pipeline(
    workspace: Workspace,
    cluster: ClusterRecipe,
    only: str | None = None,
    limit: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, float]:
    """Build the stores and run the stages; return the seconds that each took.

    Parameters
    ----------
    workspace : Workspace
    cluster : ClusterRecipe
    only : str, optional
        Run this stage alone (``stores`` for nothing but the stores).
    limit : int, optional
        Only the first so many genes.
    say : callable
        Takes a line on what is happening.

    Raises
    ------
    RecipeError
        If the pipeline has no such stage.
    IncompleteCubeError
        After the last stage, if genes failed; the others are in the results.
    StorageError
        If another run is writing the same results.
    """
    known = ["stores", *workspace.recipe.stages]
    if only is not None and only not in known:
        raise RecipeError(f"the pipeline has no stage {only!r}{nearest(only, known)}")
    stages = [name for name in known if only in (None, name)]
    timings: dict[str, float] = {}
    filled = None
    with contextlib.ExitStack() as stack:
        client = None
        for name in stages:
            if name != "stores" and client is None:
                stack.enter_context(locked(workspace.folder))
                if name != "report":
                    client = stack.enter_context(started(cluster))
            began = time.perf_counter()
            if name == "stores":
                built = workspace.stores.build()
                say(f"stores: built {', '.join(built)}" if built else "stores: up to date")
            elif name == "predict":
                filled = run_predict(workspace, client, cluster.slot, limit)
            elif name == "statistics":
                run_statistics(workspace, client, limit)
            else:
                run_report(workspace, timings)
            timings[name] = time.perf_counter() - began
            say(f"{name}: {timings[name]:.1f} s")
    if filled is not None:
        refuse_failed(filled)
    return timings
