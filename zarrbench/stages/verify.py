"""Whether what a pipeline keeps is still what was written."""

from collections.abc import Mapping
from typing import Any

from zarrbench.attributions.parts import parts_of, verify_parts
from zarrbench.errors import DamagedStoreError
from zarrbench.predictions.verification import verify_cube
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import exists
from zarrbench.stores import StoreFamily


def verify(stores: StoreFamily, workspace: Workspace | None = None) -> dict[str, Any]:
    """Read every byte of the stores, and of cube and parts of a pipeline that has them.

    Returns
    -------
    dict
        ``objects`` that were read, and ``damaged``: what is wrong with each that is not what was
        written, by where it lies; of a shard with its gene and block.
    """
    n_objects, damaged = stores.verify()
    if workspace is not None and exists(workspace.cube):
        n_of_cube, of_cube = verify_cube(workspace.cube)
        n_objects += n_of_cube
        damaged |= {f"{workspace.cube.name}/{d.key}": d.described for d in of_cube}
    for store in () if workspace is None else (workspace.attributions, workspace.motifs):
        n_of_parts, of_parts = verify_parts(store)
        n_objects += n_of_parts
        damaged |= {f"{parts_of(store).name}/{d.key}": d.what for d in of_parts}
    return {"objects": n_objects, "damaged": damaged}


def refuse_damaged(found: Mapping[str, Any]) -> None:
    """Raise if anything is damaged, with its number and the first.

    Raises
    ------
    DamagedStoreError
    """
    if found["damaged"]:
        place, what = next(iter(found["damaged"].items()))
        raise DamagedStoreError(
            f"{len(found['damaged'])} of {found['objects']:,} objects are not what was "
            f"written, the first {place} ({what}); remove damaged shards and run the pipeline, "
            f"which makes them again, or put the files back from a copy"
        )
