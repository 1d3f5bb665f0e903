"""From one YAML of ``cluster/`` to a Dask client: where a pipeline runs."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from distributed import Client

from zarrbench.clusters.existing import ExistingRecipe
from zarrbench.clusters.kubernetes import KubernetesRecipe
from zarrbench.clusters.local import LocalRecipe
from zarrbench.clusters.local_gpu import LocalGpuRecipe
from zarrbench.clusters.recipe import PROCESS_BYTES, THREADS, ClusterRecipe
from zarrbench.clusters.requirements import Requirements, checked, forget
from zarrbench.clusters.slots import check_slots, loss_noticed, quiet_dask, slots_of, workers_of
from zarrbench.clusters.slurm import SlurmRecipe
from zarrbench.errors import RecipeError
from zarrbench.recipes import load_yaml, nearest, parse

__all__ = [
    "PROCESS_BYTES", "THREADS", "ClusterRecipe", "Requirements", "check_slots", "checked",
    "load_cluster_recipe", "slots_of", "started", "workers_of",
]  # fmt: skip

_KINDS: dict[str, type[ClusterRecipe]] = {
    "local": LocalRecipe,
    "local_gpu": LocalGpuRecipe,
    "slurm": SlurmRecipe,
    "kubernetes": KubernetesRecipe,
    "existing": ExistingRecipe,
}


def load_cluster_recipe(path: Path) -> ClusterRecipe:
    """Read one file of ``cluster/``; its ``kind`` says which keys it has."""
    data = load_yaml(path)
    kind = str(data.pop("kind", "local"))
    if kind not in _KINDS:
        raise RecipeError(f"{path}.kind: {kind!r} is not a choice{nearest(kind, _KINDS)}")
    return parse(_KINDS[kind], data, str(path))


@contextlib.contextmanager
def started(recipe: ClusterRecipe, process_bytes: int = PROCESS_BYTES) -> Iterator[Client]:
    """Start the cluster, or join it, give a client, and stop what was started in the end.

    Parameters
    ----------
    recipe : ClusterRecipe
    process_bytes : int
        Memory that a process needs; decides how many there are where the recipe does not.

    Raises
    ------
    ClusterError
        If it does not start or offers no slot, or scheduler or workers are lost in the middle.
    """
    with (
        quiet_dask(),
        recipe.start(process_bytes) as client,
        loss_noticed(client, recipe.slot, recipe.patience),
    ):
        forget(client)
        check_slots(client, recipe.slot)
        yield client
