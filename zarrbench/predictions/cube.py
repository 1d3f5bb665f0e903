"""The prediction cube: gene x individual x haplotype x track; its shards are written by `shards`.

One shard holds one gene and one block of individuals with all tracks (and all bins, where bins are
kept), and is written whole by one task; inner chunks are short along `track` and hold one bin, so
that one track over all genes reads little else.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec

from zarrbench import ledger
from zarrbench.checksums import checksum, checksums_of, read_checksums, write_checksums
from zarrbench.errors import IncompleteCubeError, RecipeError, StoreLayoutError
from zarrbench.layouts import PREDICTIONS, Variable
from zarrbench.models.protocol import Track
from zarrbench.predictions.grid import Grid, Storage, blocks
from zarrbench.predictions.local_array import read_locally
from zarrbench.provenance import differences, fingerprint
from zarrbench.recipes import resolve
from zarrbench.remote import Place, place, reading
from zarrbench.storage import exists, get, open_dataset, open_group, published, put, quiet_zarr

# What each codec does well in little time
_LEVELS = {"lz4": 5, "zstd": 1}
#: the object that makes a folder a cube
ROOT = "zarr.json"


@dataclass(frozen=True)
class Frame:
    """What a cube is before its first prediction.

    Attributes
    ----------
    genes : Dataset
        Coordinates along ``gene``.
    individuals : sequence of str
    tracks : sequence of Track
    variables : sequence of str
        Names of the readouts' variables; each has its `reference_` beside it.
    bins : range or None
        Bins of the model whose output is kept in `output`.
    grid : Grid
    storage : Storage
    recipe : mapping
        All that determines the numbers; kept in the attributes, with its fingerprint.
    """

    genes: xr.Dataset
    individuals: Sequence[str]
    tracks: Sequence[Track]
    variables: Sequence[str]
    bins: range | None
    grid: Grid
    storage: Storage
    recipe: Mapping[str, Any]


def create_cube(path: Place, frame: Frame, versions: Mapping[str, str]) -> None:
    """Make an empty cube (all NaN) with its coordinates; it appears whole or not at all.

    Parameters
    ----------
    path : Path or UPath
    frame : Frame
    versions : mapping
        Of the packages that make it.
    """
    ledger.clear(ledger.ledger_of(path))
    with published(path) as temporary:
        write_frame(temporary, frame, versions)
        write_checksums(ledger.manifest_of(ledger.ledger_of(path)), checksums_of(temporary))


def write_frame(folder: Path, frame: Frame, versions: Mapping[str, str]) -> None:
    """Write metadata and coordinates of a cube, and no predictions, into a new folder."""
    coordinates = _coordinates(frame)
    attributes = {
        **PREDICTIONS.attributes(),
        "recipe": json.dumps(frame.recipe, sort_keys=True),
        "recipe_hash": fingerprint(frame.recipe),
        "versions": dict(versions),
        "n_individuals": len(frame.individuals),
        "block_size": frame.grid.block_size,
        "track_chunk": frame.grid.track_chunk,
        "complete": False,
    }
    like = dict.fromkeys(frame.variables, "prediction")
    if frame.bins is not None:
        like["output"] = "output"
    with quiet_zarr():
        described = PREDICTIONS.described(coordinates)
        # Written even where all is the fill value: then what is on disk is all that is meant.
        described.to_zarr(
            folder, mode="w", zarr_format=3, consolidated=False, write_empty_chunks=True
        )
        group = zarr.open_group(folder, mode="r+")
        for name, layout in like.items():
            _create_variable(group, name, layout, coordinates.sizes, frame.grid, frame.storage)
        group.attrs.update(attributes)
        zarr.consolidate_metadata(str(folder))


def _create_variable(
    group: zarr.Group,
    name: str,
    like: str,
    sizes: Mapping[Any, int],
    grid: Grid,
    storage: Storage,
) -> None:
    """Make an empty variable and its `reference_`, as the layout has those called `like`."""
    shard = grid.shard(sizes["track"], sizes.get("bin", 1))
    row = {**sizes, "gene": 1}
    layouts = PREDICTIONS.variables
    for prefix, chunks, shards in (("", grid.chunk(), shard), ("reference_", row, row)):
        layout = layouts[prefix + like]
        _create_array(group, prefix + name, layout, sizes, chunks, shards, storage)


def _create_array(
    group: zarr.Group,
    name: str,
    layout: Variable,
    sizes: Mapping[Any, int],
    chunks: Mapping[Any, int],
    shards: Mapping[Any, int],
    storage: Storage,
) -> None:
    shape, chunk, shard = (tuple(of[dim] for dim in layout.dims) for of in (sizes, chunks, shards))
    group.create_array(
        name,
        shape=shape,
        chunks=chunk,
        shards=None if shard == chunk else shard,
        dtype=storage.dtype,
        fill_value=np.nan,
        compressors=BloscCodec(
            cname=storage.codec,
            clevel=_LEVELS[storage.codec],
            shuffle="shuffle",
            typesize=storage.itemsize,
        ),
        # one folder for all objects of a variable, not one for each and each of its dims
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=layout.dims,
        attributes={"description": layout.meaning},
    )


def _coordinates(frame: Frame) -> xr.Dataset:
    genes, tracks = frame.genes, frame.tracks
    names = ("gene_name", "contig", "tss", "strand")
    bins = {} if frame.bins is None else {"bin": ("bin", np.array(frame.bins, dtype=np.int64))}
    columns = [place if t.index is None else t.index for place, t in enumerate(tracks)]
    descriptions = np.array([t.description for t in tracks], dtype=object)
    return xr.Dataset(
        coords={
            "gene": ("gene", genes["gene"].values.astype(object)),
            **{name: ("gene", genes[name].values) for name in names},
            "individual": ("individual", np.array(list(frame.individuals), dtype=object)),
            "haplotype": ("haplotype", np.arange(2, dtype=np.int64)),
            **bins,
            "track": ("track", np.array([t.id for t in tracks], dtype=object)),
            "track_description": ("track", descriptions),
            "track_index": ("track", np.array(columns, dtype=np.int64)),
        }
    )


def numbers_hash(recipe: Mapping[str, Any]) -> str:
    """Return the fingerprint of what determines a shard's numbers: not which others there are."""
    rest = {name: field for name, field in recipe.items() if name not in ("genes", "individuals")}
    chosen = {"genes", "individuals"}
    rest["predict"] = {k: v for k, v in recipe.get("predict", {}).items() if k not in chosen}
    return fingerprint(rest)


def check_recipe(path: Place, recipe: Mapping[str, Any]) -> None:
    """Refuse to continue a cube that another recipe began, naming the fields that differ."""
    attributes = read_attributes(path)
    if attributes["recipe_hash"] == fingerprint(recipe):
        return
    known = read_recipe(path)
    labels = ("genes", "individuals")
    others = any(known[name] != recipe[name] for name in labels)
    if others and numbers_hash(known) == numbers_hash(recipe):
        grown = all(known[name]["n"] <= recipe[name]["n"] for name in labels)
        advice = (
            "add --extend to give the cube those that it lacks"
            if grown
            else "a cube is only ever extended: leave in what it has"
        )
        raise RecipeError(
            f"the cube {path} has {_counted(known)}, the pipeline now has {_counted(recipe)}: "
            f"{advice}, or give the pipeline another name"
        )
    changed = differences(known, dict(recipe))
    shown = "; ".join(changed[:5]) + ("; ..." if len(changed) > 5 else "")
    shown = shown or "what another version of zarrbench records"
    raise RecipeError(
        f"the cube {path} was begun with another recipe ({shown}); give the pipeline another name, "
        f"use another --data folder, or remove the cube"
    )


def _counted(recipe: Mapping[str, Any]) -> str:
    return f"{recipe['genes']['n']:,} genes of {recipe['individuals']['n']:,} people"


def read_attributes(path: Place) -> dict[str, Any]:
    """Return the attributes of a cube, refusing one of another format version."""
    if not exists(path / ROOT):
        raise StoreLayoutError(f"there is no prediction cube at {path}; run the pipeline first")
    try:
        attributes: dict[str, Any] = open_group(path).attrs.asdict()
    except Exception as error:  # zarr raises many kinds for damaged metadata
        raise StoreLayoutError(
            f"the prediction cube {path} cannot be opened: {error}; remove it and run the pipeline "
            f"again"
        ) from error
    PREDICTIONS.check_version(attributes, path)
    return attributes


def read_recipe(path: Place) -> dict[str, Any]:
    """Return the recipe that a cube was made with: all that determines its numbers."""
    recipe: dict[str, Any] = json.loads(read_attributes(path)["recipe"])
    return recipe


def finish_cube(path: Place) -> None:
    """Mark a cube complete, so that it can be read without its ledger."""
    metadata = json.loads(get(path / ROOT) or b"{}")
    if metadata["attributes"]["complete"]:
        return
    metadata["attributes"]["complete"] = True
    content = json.dumps(metadata, indent=2).encode()
    # Both are right until the new one is in place.
    manifest = ledger.manifest_of(ledger.ledger_of(path))
    known = read_checksums(manifest)
    write_checksums(manifest, {**known, ROOT: [*known[ROOT], checksum(content)]})
    put(path / ROOT, content, path.parent)


def open_cube(
    path: Place | str, *, incomplete: Literal["raise", "nan"] = "raise", lazy: bool = True
) -> xr.Dataset:
    """Open a prediction cube, lazily by default.

    Parameters
    ----------
    path : path, or URL as text
        The folder `predictions.zarr` of a run.
    incomplete : {'raise', 'nan'}
        What to do about shards that are not done: refuse, or read them as NaN.

    Returns
    -------
    Dataset
        ``prediction`` (gene, individual, haplotype, track) float32 and its coordinates; with
        ``store_bins`` also ``output`` (gene, individual, haplotype, bin, track).

    Raises
    ------
    IncompleteCubeError
        If shards are missing and `incomplete` is ``raise``.
    StoreLayoutError
    """
    path = place(path)
    if exists(ledger.extension_of(ledger.ledger_of(path))):
        raise StoreLayoutError(
            f"the cube {path} is being extended, or was when something interrupted it: then "
            f"'zarrbench run' with --extend finishes it"
        )
    dataset = open_dataset(path, PREDICTIONS, lazy=lazy and not isinstance(path, Path))
    # Coordinates are small and every selection needs them: read here, on no cluster.
    with reading(path):
        dataset = dataset.assign_coords(
            {name: c.load(scheduler="synchronous") for name, c in dataset.coords.items()}
        )
    if isinstance(path, Path):
        dataset = read_locally(dataset, path, lazy=lazy, complete=dataset.attrs["complete"])
    if incomplete == "raise" and not dataset.attrs["complete"]:
        per_gene = len(blocks(dataset.sizes["individual"], dataset.attrs["block_size"]))
        wanted = dataset.sizes["gene"] * per_gene
        missing = wanted - len(done_shards(path))
        if missing:
            raise IncompleteCubeError(
                f"{missing} of {wanted} shards of the cube {path} are not done "
                f"({len(failed_shards(path))} failed); finish it with 'zarrbench run' (and "
                f"--retry-failed), or open it with incomplete='nan'"
            )
    return dataset


def done_shards(path: Place) -> dict[tuple[str, int], ledger.Entry]:
    """Return the ledger entries of the finished shards of a cube by gene and block.

    An entry does not count whose objects are gone or of another size, or whose block had fewer
    people than it has by now.
    """
    attributes = read_attributes(path)
    people = {
        block.number: block.stop - block.start
        for block in blocks(attributes["n_individuals"], attributes["block_size"])
    }
    recipe = numbers_hash(json.loads(attributes["recipe"]))
    standing = ledger.entries(ledger.ledger_of(path), recipe)
    listed = ledger.listing(path) if standing else None
    return {
        key: entry
        for key, entry in standing.items()
        if entry.state == "done"
        and entry.individuals == people.get(entry.block)
        and ledger.intact(path, entry, listed)
    }


def failed_shards(path: Place) -> dict[tuple[str, int], ledger.Entry]:
    """Return the ledger entries of the shards that were last tried in vain, by gene and block."""
    recipe = numbers_hash(read_recipe(path))
    latest, done = ledger.entries(ledger.ledger_of(path), recipe, "latest"), done_shards(path)
    return {k: e for k, e in latest.items() if e.state == "failed" and k not in done}


def has_ledger(path: Place) -> bool:
    """Whether the ledger lies beside a cube; one that is complete may have been copied without."""
    return exists(ledger.manifest_of(ledger.ledger_of(path)))


def finished_genes(path: Place) -> list[str]:
    """Return the genes of a cube of which every block is done, in the order of the cube."""
    cube = open_cube(path, incomplete="nan")
    names = [str(gene) for gene in cube["gene"].values]
    if cube.attrs["complete"] and not has_ledger(path):
        return names
    numbers = [b.number for b in blocks(cube.sizes["individual"], cube.attrs["block_size"])]
    done = done_shards(path)
    return [name for name in names if all((name, number) in done for number in numbers)]


def sel_track(cube: xr.Dataset, name: str) -> xr.Dataset:
    """Select a track by identifier or by description; ambiguity lists the candidates."""
    ids = [str(i) for i in cube["track"].values]
    if name in ids:
        return cube.sel(track=name)
    return cube.sel(track=resolve(name, cube["track_description"].values, ids, "track"))
