"""Predictions of chosen tracks as AnnData: people by genes, with the statistics of each gene."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
import zarr

from zarrbench import progress
from zarrbench.errors import RecipeError, StorageError
from zarrbench.exports.destinations import check_destination
from zarrbench.exports.facts import described
from zarrbench.expression.samples import observed
from zarrbench.layouts import GENE_STATISTICS
from zarrbench.parameters import Statistics
from zarrbench.predictions.cube import open_cube, read_attributes, sel_track
from zarrbench.predictions.readouts import combine_haplotypes
from zarrbench.stages.statistics import open_statistics, selected_track
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import published, quiet_zarr
from zarrbench.tables import plain_column

if TYPE_CHECKING:
    from anndata import AnnData

# Genes that are read at once
_GENES = 64
_OURS = "zarrbench"


def export_anndata(
    workspace: Workspace, path: Path, *, tracks: Sequence[str] = (), overwrite: bool = False
) -> "AnnData":
    """Write `cube_anndata` as ``.h5ad``, or as Zarr if the name ends with ``.zarr``; return it.

    Raises
    ------
    RecipeError
        If the name ends otherwise, anndata is not installed, or there is no such track.
    StorageError
        If something else stands there, the folder is missing, or it cannot be written.
    StoreLayoutError
        If the statistics stage has not run.
    """
    if path.suffix not in (".h5ad", ".zarr"):
        raise RecipeError(f"{path} ends with neither .h5ad nor .zarr; name it so")
    if find_spec("anndata") is None:
        raise RecipeError("AnnData needs anndata; install it with pip install 'zarrbench[anndata]'")
    check_destination(path, overwrite, _is_ours, "file")
    if not path.parent.is_dir():
        raise StorageError(f"there is no folder {path.parent} for {path.name}; make it first")
    made = cube_anndata(workspace, tracks)
    with published(path) as temporary, quiet_zarr():
        if path.suffix == ".zarr":
            made.write_zarr(temporary)
        else:
            made.write_h5ad(temporary, compression="gzip")
    return made


def _is_ours(path: Path) -> bool:
    """Whether an AnnData file or folder is there that this export wrote."""
    import anndata

    try:
        if path.is_dir():
            with quiet_zarr():
                return _OURS in zarr.open_group(path, mode="r")["uns"]
        found = anndata.read_h5ad(path, backed="r")
        found.file.close()
        return _OURS in found.uns
    except Exception:  # whatever it is, nothing says that it is ours
        return False


def cube_anndata(workspace: Workspace, tracks: Sequence[str] = ()) -> "AnnData":
    """Return predictions as AnnData, for the genes that have statistics.

    The cube is read some genes at a time: memory is that of what is returned.

    Parameters
    ----------
    workspace : Workspace
    tracks : sequence of str
        By identifier or description; that of the statistics by default.

    Returns
    -------
    AnnData
        ``obs`` : the individuals, by their ids in the genotypes: local data. `has_expression`.

        ``var`` : genes by unversioned id, with `gene_name`, `contig`, `tss` (1-based), `strand` and
        the statistics of each, of the null statistic that the pipeline chose (NaN: not defined).

        ``X`` : predictions of the first track, haplotypes combined as the statistics combine them
        (float64). ``layers``: the same by the name of each track, ``<track>_haplotype_0`` and
        ``_1`` (the first and the second allele of the VCF call) and ``observed`` (NaN where
        somebody or a gene has none). ``%`` and ``/`` in names of tracks are ``%25`` and ``%2F``.

        ``uns["zarrbench"]`` : texts on pipeline, model, units and versions; `layers` says what
        each is.

    Raises
    ------
    RecipeError
        If there is no such track, or the statistics are of something else.
    StoreLayoutError
        If the statistics stage has not run.
    """
    from anndata import AnnData

    parameters = workspace.recipe.stage(Statistics)
    statistics = open_statistics(workspace)
    statistics = statistics.sel(statistic=statistics.attrs["statistic"])
    genes = [str(gene) for gene in statistics["gene"].values]
    cube = open_cube(workspace.cube, incomplete="nan").sel(gene=genes)
    chosen = [sel_track(cube, t) for t in tracks] or [selected_track(cube, parameters)]
    names = [str(one["track"].item()) for one in chosen]
    if len(set(names)) < len(names):
        raise RecipeError(f"a track is named twice: {', '.join(names)}; name it once")
    keys = [name.replace("%", "%25").replace("/", "%2F") for name in names]
    people = [str(person) for person in cube["individual"].values]
    measured = observed(workspace.expression, workspace.join).reset_coords(drop=True)
    measured = measured.reindex(individual=people)
    layers = {"observed": np.empty((len(people), len(genes)))}
    for key, track in zip(keys, chosen, strict=True):
        layers[key] = np.empty_like(layers["observed"])
        for of_one in _haplotypes(key):
            layers[of_one] = np.empty_like(layers["observed"], track["prediction"].dtype)
    if len(layers) < 3 * len(keys) + 1:
        raise RecipeError(f"the tracks {', '.join(names)} give layers of one name; export one each")
    with progress.bar(total=len(genes), label="anndata", unit="genes") as bar:
        for start in range(0, len(genes), _GENES):
            rows = slice(start, start + _GENES)
            for key, track in zip(keys, chosen, strict=True):
                part = track["prediction"].isel(gene=rows).load()
                part = part.transpose("haplotype", "individual", "gene")
                layers[key][:, rows] = combine_haplotypes(part, parameters.haplotypes).values
                for of_one, values in zip(_haplotypes(key), part.values, strict=True):
                    layers[of_one][:, rows] = values
            part = measured.reindex(gene=genes[rows]).transpose("individual", "gene")
            layers["observed"][:, rows] = part.values
            bar.update(len(genes[rows]))
    with_sample = np.isin(people, list(workspace.join.individuals))
    index = pd.Index(people, dtype=object, name="individual")
    return AnnData(
        X=layers[keys[0]],
        obs=pd.DataFrame({"has_expression": with_sample}, index),
        var=_genes(statistics),
        layers=layers,
        uns={
            _OURS: {
                **_facts(workspace, statistics),
                "X": keys[0],
                "layers": _meanings(keys, chosen, parameters.haplotypes),
            }
        },
    )


def _haplotypes(key: str) -> tuple[str, str]:
    """Return the names of the layers of single haplotypes of a track."""
    return f"{key}_haplotype_0", f"{key}_haplotype_1"


def _meanings(keys: Sequence[str], tracks: Sequence[xr.Dataset], how: str) -> dict[str, str]:
    """Return what each layer is."""
    found = {"observed": "expression that predictions are compared with; NaN if there is none"}
    for key, track in zip(keys, tracks, strict=True):
        name = f"{track['track'].item()} {track['track_description'].item()}".strip()
        found[key] = f"prediction, {how} of both haplotypes: {name}"
        for haplotype, of_one in enumerate(_haplotypes(key)):
            found[of_one] = f"prediction, haplotype {haplotype} of the call: {name}"
    return found


def _facts(workspace: Workspace, statistics: xr.Dataset) -> dict[str, Any]:
    """Return texts on what was run and on the columns of `var`."""
    facts = described(workspace)
    return {
        **{name: value for name, value in facts.items() if isinstance(value, str)},
        "about": "individuals are those of the genotypes, by their ids: local data",
        "coordinates": "tss is 1-based",
        "units": facts["units"],
        "statistic": str(statistics.attrs["statistic"]),
        "statistics": json.dumps(facts["statistics"]),
        "recipe": str(read_attributes(workspace.cube)["recipe"]),
        "var": {
            name: GENE_STATISTICS.variables[name].meaning for name in map(str, _genes(statistics))
        },
    }


def _genes(statistics: xr.Dataset) -> pd.DataFrame:
    """Return all that is known of each gene, where it lies first."""
    names = [name for name in GENE_STATISTICS.variables if name in statistics]
    of_gene = [name for name in names if statistics[name].dims == ("gene",) and name != "gene"]
    columns = {name: plain_column(statistics[name].values) for name in of_gene}
    index = pd.Index(statistics["gene"].values.astype(object), dtype=object, name="gene_id")
    # Texts as objects: anndata does not write the strings of pandas 3.
    return pd.DataFrame(
        {name: pd.Series(v, index, dtype=v.dtype) for name, v in columns.items()}, index
    )
