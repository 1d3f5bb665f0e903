"""The store of attributions: one flat array of SNVs, in which every gene is a run."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import dask
import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from zarrbench.attribution_layouts import ATTRIBUTIONS
from zarrbench.attributions.parts import read_part
from zarrbench.genome.bases import LETTERS, OTHER
from zarrbench.genome.genes import one_gene
from zarrbench.haplotypes.ragged import offsets
from zarrbench.models.protocol import ModelSpec, Track
from zarrbench.remote import Place, place
from zarrbench.storage import open_dataset

NO_SNV = "no SNV in the window"
NO_ALTERNATIVE = "nobody carries an alternative base, and the records name several"

# SNVs of a chunk: half a megabyte of one track
_CHUNK = 1 << 16
_LETTERS = np.array(list(LETTERS), dtype=object)
_PLACE = ("gene_name", "contig", "tss", "strand")
# What every part holds of each SNV, read at once
_SMALL = {
    "position": np.int64,
    "reference": np.int64,
    "alternative": np.int64,
    "effect_allele_frequency": np.float64,
    "carrier_frequency": np.float64,
    "n_called": np.int64,
}


def assembled(
    store: Place,
    genes: xr.Dataset,
    reasons: Mapping[str, str],
    tracks: Sequence[Track],
    spec: ModelSpec,
    columns: Collection[str],
) -> xr.Dataset:
    """Return the store that the parts make, lazily where they are large.

    Parameters
    ----------
    store : Path or UPath
        Its parts lie beside it.
    genes : Dataset
        Rows of the gene store, in the order wanted.
    reasons : mapping of str to str
        By gene, why it has no part; the others have one.
    tracks : sequence of Track
        Those of the parts.
    spec : ModelSpec
    columns : collection of str
        Which optional variables the parts hold: gradient, gradient_profile.

    Raises
    ------
    SourceError
        If a part cannot be read.
    """
    names = [str(gene) for gene in genes["gene"].values]
    nothing = {name: np.zeros(0, dtype=dtype) for name, dtype in _SMALL.items()}
    small = [nothing if n in reasons else read_part(store, n, _SMALL) for n in names]
    flat = {
        name: np.concatenate([part[name] for part in small]).astype(dtype)
        for name, dtype in _SMALL.items()
    }
    sizes = np.array([part["position"].size for part in small], dtype=np.int64)
    why = [reasons.get(n) or ("" if size else NO_SNV) for n, size in zip(names, sizes, strict=True)]
    unclear = np.where(flat["alternative"] == OTHER, NO_ALTERNATIVE, "")

    def joined(name: str, shapes: Iterable[tuple[int, ...]], dtype: type) -> da.Array:
        return da.concatenate(
            [
                _lazy(store, n, n in reasons, name, s, dtype)
                for n, s in zip(names, shapes, strict=True)
            ]
        )

    n_tracks, length = len(tracks), spec.input_length
    found = xr.Dataset(
        {
            "first_variant": ("gene", offsets(sizes)[:-1]),
            "n_variants": ("gene", sizes),
            "gene_reason": ("gene", np.array(why, dtype=object)),
            "reason": ("variant", unclear.astype(object)),
            **{n: ("variant", flat[n]) for n in list(_SMALL)[3:]},
            "reference_prediction": (
                ("gene", "track"),
                joined("reference_prediction", [(1, n_tracks)] * len(names), np.float64).rechunk(
                    -1
                ),
            ),
        },
        coords={
            **{n: ("gene", genes[n].values) for n in ("gene", *_PLACE)},
            "variant_contig": ("variant", np.repeat(genes["contig"].values.astype(object), sizes)),
            "variant_position": ("variant", flat["position"]),
            "other_allele": ("variant", _LETTERS[flat["reference"]]),
            "effect_allele": ("variant", _LETTERS[flat["alternative"]]),
            "track": ("track", np.array([t.id for t in tracks], dtype=object)),
            "track_description": ("track", np.array([t.description for t in tracks], dtype=object)),
        },
    )
    found["reference_prediction"] = found["reference_prediction"].chunk({"gene": -1})
    for name in ("ism", *sorted({"gradient"} & set(columns))):
        values = joined(name, [(int(size), n_tracks) for size in sizes], np.float64)
        found[name] = (("variant", "track"), values.rechunk({0: _CHUNK, 1: -1}))
    if "gradient_profile" in columns:
        values = joined("gradient_profile", [(1, n_tracks, length)] * len(names), np.float32)
        found["gradient_profile"] = (("gene", "track", "offset"), values)
        found = found.assign_coords(offset=np.arange(length) - spec.tss_index)
    return found


def _lazy(
    store: Place, gene: str, absent: bool, name: str, shape: tuple[int, ...], dtype: type
) -> da.Array:
    """Return an array of a part, NaN if there is none, when it is asked for."""
    if absent:
        return da.full(shape, np.nan, dtype=dtype)
    return da.from_delayed(dask.delayed(_read)(store, gene, name, shape, dtype), shape, dtype)


def _read(store: Place, gene: str, name: str, shape: tuple[int, ...], dtype: type) -> NDArray:
    return read_part(store, gene, [name])[name].reshape(shape).astype(dtype, copy=False)


def open_attributions(path: Place | str) -> xr.Dataset:
    """Open the attributions of a pipeline, lazily; `of_gene` takes the SNVs of one gene.

    Parameters
    ----------
    path : path, or URL as text
        The folder `attributions.zarr` of a run.

    Raises
    ------
    StoreLayoutError
        If there is none, or it has another format.
    """
    return open_dataset(place(path), ATTRIBUTIONS)


def of_gene(found: xr.Dataset, gene: str) -> xr.Dataset:
    """Return the SNVs of one gene, lazily, indexed by their position (1-based).

    `distance` is position - TSS, along the forward strand. So ``of_gene(found, gene).sel(
    variant_position=17_000_123)`` is one SNV.

    Parameters
    ----------
    found : Dataset
        Of `open_attributions`, or another store in which SNVs are runs of genes.
    gene : str
        Unversioned id.

    Raises
    ------
    GeneTableError
        If there is no such gene.
    """
    one = one_gene(found, gene)
    first, size = int(one["first_variant"]), int(one["n_variants"])
    part = one.isel(variant=slice(first, first + size)).drop_vars(["first_variant", "n_variants"])
    part = part.assign_coords(distance=part["variant_position"] - part["tss"])
    return part.swap_dims(variant="variant_position")
