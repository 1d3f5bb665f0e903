"""The prediction cube: gene x individual x haplotype x track. This module is its only writer.

One shard holds one gene and one block of individuals with all tracks, and is written whole by one
task; inner chunks are short along `track`, so that one track over all genes reads little else.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from zarrbench import ledger
from zarrbench.errors import IncompleteCubeError, RecipeError, StoreLayoutError
from zarrbench.layouts import PREDICTIONS
from zarrbench.models.protocol import Track
from zarrbench.provenance import differences, fingerprint
from zarrbench.recipes import resolve
from zarrbench.storage import open_dataset, published, quiet_zarr, writing

TRACK_CHUNK = 64
DIMS = ("gene", "individual", "haplotype", "track")


@dataclass(frozen=True)
class Block:
    """Consecutive individuals that one task predicts: rows start to stop of the cube."""

    number: int
    start: int
    stop: int


def blocks(n_individuals: int, size: int | None) -> list[Block]:
    """Split the individuals of a cube into blocks of `size` (all in one by default)."""
    size = n_individuals if size is None else min(size, n_individuals)
    starts = range(0, n_individuals, size)
    return [Block(k, s, min(s + size, n_individuals)) for k, s in enumerate(starts)]


def shapes(n_individuals: int, n_tracks: int, size: int | None) -> dict[str, tuple[int, ...]]:
    """Return chunk and shard shapes; one shard a gene and block of individuals."""
    block = n_individuals if size is None else min(size, n_individuals)
    chunk = min(TRACK_CHUNK, n_tracks)
    padded = -(-n_tracks // chunk) * chunk
    return {"chunk": (1, block, 2, chunk), "shard": (1, block, 2, padded)}


def create_cube(
    path: Path,
    genes: xr.Dataset,
    individuals: Sequence[str],
    tracks: Sequence[Track],
    readouts: Sequence[str],
    block_size: int | None,
    recipe: Mapping[str, Any],
    versions: Mapping[str, str],
) -> None:
    """Make an empty cube (all NaN) with its coordinates fixed; it appears whole or not at all.

    Parameters
    ----------
    genes : Dataset
        Coordinates along ``gene``.
    individuals : sequence of str
    tracks : sequence of Track
    readouts : sequence of str
        Names of the readouts; the first is `prediction`, any other `prediction_NAME`.
    recipe : mapping
        All that determines the numbers; kept in the attributes, with its fingerprint.
    """
    ledger.clear(ledger.ledger_of(path))
    coordinates = _coordinates(genes, individuals, tracks)
    attributes = {
        **PREDICTIONS.attributes(),
        "recipe": json.dumps(recipe, sort_keys=True),
        "recipe_hash": fingerprint(recipe),
        "versions": dict(versions),
        "block_size": len(individuals) if block_size is None else block_size,
        "complete": False,
    }
    n = {dim: coordinates.sizes[dim] for dim in DIMS}
    shape = shapes(n["individual"], n["track"], block_size)
    codec = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=4)
    with published(path) as temporary, quiet_zarr():
        described = PREDICTIONS.described(coordinates)
        # Written even where all is the fill value: then what is on disk is all that is meant.
        described.to_zarr(
            temporary, mode="w", zarr_format=3, consolidated=False, write_empty_chunks=True
        )
        group = zarr.open_group(temporary, mode="r+")
        for suffix in _suffixes(readouts):
            sharded = shape["chunk"] != shape["shard"]
            group.create_array(
                f"prediction{suffix}",
                shape=tuple(n[dim] for dim in DIMS),
                chunks=shape["chunk"],
                shards=shape["shard"] if sharded else None,
                dtype="float32",
                fill_value=np.nan,
                compressors=codec,
                dimension_names=DIMS,
                attributes={"description": PREDICTIONS.variables["prediction"].meaning},
            )
            group.create_array(
                f"reference_prediction{suffix}",
                shape=(n["gene"], n["track"]),
                chunks=(1, n["track"]),
                dtype="float32",
                fill_value=np.nan,
                compressors=codec,
                dimension_names=("gene", "track"),
                attributes={"description": PREDICTIONS.variables["reference_prediction"].meaning},
            )
        group.attrs.update(attributes)
        zarr.consolidate_metadata(str(temporary))


def _coordinates(
    genes: xr.Dataset, individuals: Sequence[str], tracks: Sequence[Track]
) -> xr.Dataset:
    names = ("gene_name", "contig", "tss", "strand")
    return xr.Dataset(
        coords={
            "gene": ("gene", genes["gene"].values.astype(object)),
            **{name: ("gene", genes[name].values) for name in names},
            "individual": ("individual", np.array(list(individuals), dtype=object)),
            "haplotype": ("haplotype", np.arange(2, dtype=np.int64)),
            "track": ("track", np.array([t.id for t in tracks], dtype=object)),
            "track_description": (
                "track",
                np.array([t.description for t in tracks], dtype=object),
            ),
            "track_index": ("track", np.arange(len(tracks), dtype=np.int64)),
        }
    )


def _suffixes(readouts: Sequence[str]) -> list[str]:
    return ["", *(f"_{name}" for name in readouts[1:])]


def check_recipe(path: Path, recipe: Mapping[str, Any]) -> None:
    """Refuse to continue a cube that another recipe began, naming the fields that differ."""
    attributes = read_attributes(path)
    if attributes["recipe_hash"] == fingerprint(recipe):
        return
    changed = differences(read_recipe(path), dict(recipe))
    shown = "; ".join(changed[:5]) + ("; ..." if len(changed) > 5 else "")
    shown = shown or "what another version of zarrbench records"
    raise RecipeError(
        f"the cube {path} was begun with another recipe ({shown}); give the pipeline another name, "
        f"use another --data folder, or remove the cube"
    )


def read_attributes(path: Path) -> dict[str, Any]:
    """Return the attributes of a cube, refusing one of another format version."""
    if not (path / "zarr.json").exists():
        raise StoreLayoutError(f"there is no prediction cube at {path}; run the pipeline first")
    try:
        with quiet_zarr():
            attributes: dict[str, Any] = zarr.open_group(path, mode="r").attrs.asdict()
    except Exception as error:  # zarr raises many kinds for damaged metadata
        raise StoreLayoutError(
            f"the prediction cube {path} cannot be opened: {error}; remove it and run the pipeline "
            f"again"
        ) from error
    PREDICTIONS.check_version(attributes, path)
    return attributes


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the recipe that a cube was made with: all that determines its numbers."""
    recipe: dict[str, Any] = json.loads(read_attributes(path)["recipe"])
    return recipe


def write_shard(
    path: Path,
    gene: int,
    block: Block,
    predictions: Mapping[str, NDArray[np.float32]],
    references: Mapping[str, NDArray[np.float32]],
) -> dict[str, str]:
    """Write all readouts of one gene and block; return a checksum of every object written.

    Parameters
    ----------
    gene : int
        Row of the cube.
    predictions : mapping
        (individual of the block, 2, track) by readout, the primary one first.
    references : mapping
        (track,) by readout; written by the first block only, so that one task owns the chunk.
    """
    rows: dict[str, tuple[object, NDArray[np.float32]]] = {}
    for suffix, values in zip(_suffixes(list(predictions)), predictions.values(), strict=True):
        key = f"prediction{suffix}/c/{gene}/{block.number}/0/0"
        rows[key] = ((gene, slice(block.start, block.stop)), values)
    if block.number == 0:
        for suffix, values in zip(_suffixes(list(references)), references.values(), strict=True):
            rows[f"reference_prediction{suffix}/c/{gene}/0"] = (gene, values)
    checksums = {}
    # Every object is written, also one of fill values only: the ledger speaks of it.
    empty_too = zarr.config.set({"array.write_empty_chunks": True})
    with writing(path), quiet_zarr(), empty_too:
        group = zarr.open_group(path, mode="r+")
        for key, (selection, values) in rows.items():
            # zarr would read the object of an earlier try, which may be damaged.
            (path / key).unlink(missing_ok=True)
            group[key.split("/")[0]][selection] = values
            checksums[key] = _checksum(path / key)
    return checksums


def _checksum(path: Path) -> str:
    """Return the checksum of an object, which is on disk when this returns."""
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        os.fsync(handle.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return digest


def finish_cube(path: Path) -> None:
    """Mark a cube complete, so that it can be read without its ledger."""
    with writing(path), quiet_zarr():
        group = zarr.open_group(path, mode="r+")
        if not group.attrs["complete"]:
            group.attrs["complete"] = True
            zarr.consolidate_metadata(str(path))


def open_cube(
    path: Path | str, *, incomplete: Literal["raise", "nan"] = "raise", lazy: bool = True
) -> xr.Dataset:
    """Open a prediction cube, lazily by default.

    Parameters
    ----------
    path : path
        The folder `predictions.zarr` of a run.
    incomplete : {'raise', 'nan'}
        What to do about shards that are not done: refuse, or read them as NaN.

    Returns
    -------
    Dataset
        ``prediction`` (gene, individual, haplotype, track) float32 and its coordinates.

    Raises
    ------
    IncompleteCubeError
        If shards are missing and `incomplete` is ``raise``.
    StoreLayoutError
    """
    path = Path(path)
    dataset = open_dataset(path, PREDICTIONS, lazy=lazy)
    # Coordinates are small and every selection needs them: read here, on no cluster.
    dataset = dataset.assign_coords(
        {name: c.load(scheduler="synchronous") for name, c in dataset.coords.items()}
    )
    if incomplete == "raise" and not dataset.attrs["complete"]:
        per_gene = len(blocks(dataset.sizes["individual"], dataset.attrs["block_size"]))
        wanted = dataset.sizes["gene"] * per_gene
        missing = wanted - len(done_shards(path))
        if missing:
            raise IncompleteCubeError(
                f"{missing} of {wanted} shards of the cube {path} are not done; finish it "
                f"with 'zarrbench run', or open it with incomplete='nan'"
            )
    return dataset


def done_shards(path: Path) -> dict[tuple[str, int], ledger.Entry]:
    """Return the ledger entries of the finished shards of a cube by gene and block.

    An entry whose objects are gone or of another size does not count.
    """
    recipe = str(read_attributes(path)["recipe_hash"])
    standing = ledger.entries(ledger.ledger_of(path), recipe)
    return {
        key: entry
        for key, entry in standing.items()
        if entry.state == "done" and ledger.intact(path, entry)
    }


def finished_genes(path: Path) -> list[str]:
    """Return the genes of a cube of which every block is done, in the order of the cube."""
    cube = open_cube(path, incomplete="nan")
    names = [str(gene) for gene in cube["gene"].values]
    if cube.attrs["complete"]:
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
