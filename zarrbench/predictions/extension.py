"""Adding genes and people to a cube: its metadata and coordinates change at once or not at all.

The new ones are written beside the cube first, as a whole (`predictions.ledger/extension`), and
then put into it one by one, the root's metadata last. Whoever is interrupted in between leaves
them lying there, and the next run puts them all in once more.
"""

from collections.abc import Mapping

import xarray as xr

from zarrbench import ledger
from zarrbench.checksums import checksums_of, read_checksums, write_checksums
from zarrbench.errors import RecipeError
from zarrbench.predictions.cube import (
    ROOT,
    Frame,
    numbers_hash,
    open_cube,
    read_attributes,
    read_recipe,
    write_frame,
)
from zarrbench.predictions.grid import Grid
from zarrbench.predictions.plan import Plan, arranged
from zarrbench.provenance import differences
from zarrbench.remote import Place
from zarrbench.storage import exists, get, published, put, remove

_LABELS = ("gene_name", "contig", "tss", "strand")


def in_order_of(path: Place, plan: Plan) -> Plan:
    """Return the plan with its genes and people in the order of a cube, new ones behind."""
    cube = open_cube(path, incomplete="nan")
    genes, people = ([str(v) for v in cube[name].values] for name in ("gene", "individual"))
    grid = Grid(int(cube.attrs["block_size"]), int(cube.attrs["track_chunk"]))
    return arranged(plan, genes, people, grid)


def extend_cube(path: Place, plan: Plan, versions: Mapping[str, str]) -> None:
    """Give a cube the genes and people of a plan that it lacks; their predictions are NaN.

    Parameters
    ----------
    path : Path or UPath
    plan : Plan
        In the order of the cube, by `in_order_of`.
    versions : mapping
        Of the packages that do it.

    Raises
    ------
    RecipeError
        If the plan would give other numbers than the cube has, if it lacks a gene or a person of
        the cube, or if it has a gene of the same name in another place.
    StoreLayoutError
        If the cube was copied without its ledger.
    """
    if read_attributes(path)["recipe_hash"] == plan.recipe_hash:
        return
    check_extension(path, plan)
    with published(ledger.extension_of(ledger.ledger_of(path))) as temporary:
        write_frame(temporary, plan.frame, versions)
    finish_extension(path)


def check_extension(path: Place, plan: Plan) -> None:
    """Raise RecipeError unless the plan can extend the cube: see `extend_cube`."""
    read_checksums(ledger.manifest_of(ledger.ledger_of(path)))  # a ledger, or it ends here
    _refuse_other_numbers(path, plan)
    _refuse_other_labels(open_cube(path, incomplete="nan"), plan.frame)


def finish_extension(path: Place) -> None:
    """Put into the cube what an extension has prepared, if there is one."""
    prepared = ledger.extension_of(ledger.ledger_of(path))
    if not exists(prepared / ROOT):
        return
    manifest = ledger.manifest_of(ledger.ledger_of(path))
    new, old = checksums_of(prepared), read_checksums(manifest)
    # Either may be found until all is in place.
    either = {key: [*old.get(key, []), *sums] for key, sums in new.items()}
    write_checksums(manifest, either)
    for key in sorted(new, key=lambda key: key == ROOT):
        put(path / key, get(prepared / key) or b"", path.parent)
    write_checksums(manifest, new)
    remove(prepared)


def _refuse_other_numbers(path: Place, plan: Plan) -> None:
    known = read_recipe(path)
    if numbers_hash(known) == plan.numbers_hash:
        return
    changed = [
        change
        for change in differences(known, plan.recipe)
        if not change.startswith(("genes.", "individuals.", "predict.genes", "predict.indiv"))
    ]
    raise RecipeError(
        f"the cube {path} cannot be extended, since its numbers would not be comparable "
        f"({'; '.join(changed[:5])}); change the recipe back, or give the pipeline another name"
    )


def _refuse_other_labels(cube: xr.Dataset, frame: Frame) -> None:
    """Refuse unless the labels of the cube are the first ones of the frame, and the same."""
    for dim, labels in (("gene", frame.genes["gene"].values), ("individual", frame.individuals)):
        known = [str(label) for label in cube[dim].values]
        if known != [str(label) for label in labels[: len(known)]]:
            lacking = sorted(set(known) - {str(label) for label in labels})
            shown = f", such as {lacking[0]}" if dim == "gene" and lacking else ""
            raise RecipeError(
                f"the cube has {len(lacking)} {dim}s that the pipeline lacks{shown}; a cube is "
                f"only ever extended: leave them in, or give the pipeline another name"
            )
    for name in _LABELS:
        pairs = zip(cube["gene"].values, cube[name].values, frame.genes[name].values, strict=False)
        other = [(gene, there, here) for gene, there, here in pairs if there != here]
        if other:
            gene, there, here = other[0]
            raise RecipeError(
                f"{len(other)} genes have another {name} than in the cube, such as {gene}: {there} "
                f"there, {here} here; extend it with the annotation that it was made from"
            )
