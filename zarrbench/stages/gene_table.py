"""The gene_table stage: all that the other stages found of a gene in one row, as the study has it.

Nothing is computed twice: the columns come from the stores of the stages before.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

import zarrbench
from zarrbench.errors import GeneTableError, RecipeError, SourceError
from zarrbench.genome.genes import unversioned
from zarrbench.genome.variant_lists import read_variant_list
from zarrbench.layouts import GENE_TABLE
from zarrbench.parameters import ANY_LIST, GeneTable
from zarrbench.provenance import file_sha256, fingerprint
from zarrbench.stages.predixcan import standing_predixcan
from zarrbench.stages.statistics import open_statistics
from zarrbench.stages.track_weights import standing_weights
from zarrbench.stages.workspace import Workspace
from zarrbench.statistics.fine_mapping import compare_flagged_genes, flag_genes
from zarrbench.storage import exists, open_dataset, write_dataset
from zarrbench.tables import write_table

# Columns of the table, and the variables of the stores that they come from
_STATISTICS = {
    "n_individuals": "n_individuals", "n_variants": "n_variants",
    "mean_observed": "mean_observed", "sd_observed": "sd_observed",
    "r_track": "r", "p_track": "p_r", "mean_track": "mean_predicted", "sd_track": "sd_predicted",
    "null_mean": "null_mean", "null_sd": "null_sd", "null_t": "null_t",
}  # fmt: skip
_PREDIXCAN = {"r_predixcan": "r_predixcan"}
_FINETUNED = {
    "r_finetuned": "pearson_r", "p_finetuned": "p",
    "mean_finetuned": "mean_predicted", "sd_finetuned": "sd_predicted",
}  # fmt: skip
# The order of the study's table; what it lacks stands behind
_COLUMNS = (
    "gene_name", "gene_id", "contig", "start", "end", "strand", "tss", "mean_observed",
    "sd_observed", "r_finetuned", "p_finetuned", "mean_finetuned", "sd_finetuned", "r_track",
    "p_track", "mean_track", "sd_track", "null_mean", "null_sd", "null_t", "minus_log10_p",
    "minus_log10_q", "r_predixcan",
)  # fmt: skip
_FURTHER = ("n_individuals", "n_variants")


class Parts(NamedTuple):
    """What the stages before have left; None where one did not run."""

    statistics: xr.Dataset
    predixcan: xr.Dataset | None
    finetuned: xr.Dataset | None


def run_gene_table(workspace: Workspace) -> xr.Dataset:
    """Write and return the table of all genes that the statistics stage has.

    What was made from the same stores and lists is kept.

    Raises
    ------
    StoreLayoutError
        If the statistics stage did not run.
    RecipeError
        If what it or the predixcan stage wrote is not of this cube, or of other choices.
    SourceError, GeneTableError
        If a list of fine-mapped variants cannot be read, or names none of the annotation's genes.
    """
    parts = _parts(workspace)
    asked = "predixcan" in workspace.recipe.stages
    if asked and parts.predixcan is None and exists(workspace.predixcan):
        raise RecipeError(
            f"the PrediXcan results {workspace.predixcan} are of other genes than the statistics, "
            f"or were made with other parameters or from other files; run 'zarrbench run "
            f"{workspace.file} --only predixcan' first"
        )
    found = _standing(workspace, parts)
    if found is None:
        found = together(workspace, parts).assign_attrs(inputs=_inputs(workspace, parts))
        # The store last: it says what both were made from.
        write_table(study_table(found), workspace.study_table_text, missing="NaN")
        write_dataset(found, workspace.study_table, GENE_TABLE)
    return found


def standing_gene_table(workspace: Workspace) -> xr.Dataset | None:
    """Return what the stage wrote, None if anything has changed since or a list is not found."""
    try:
        return _standing(workspace, _parts(workspace))
    except SourceError:  # `zarrbench report` is told of no folder of sources
        return None


def together(workspace: Workspace, parts: Parts) -> xr.Dataset:
    """Return the columns, as `layouts.GENE_TABLE` says: NaN where a stage or a gene gives none."""
    statistics = parts.statistics
    names = [str(gene) for gene in statistics["gene"].values]
    chosen = statistics.sel(statistic=statistics.attrs["statistic"]).reset_coords(drop=True)
    described = workspace.stores.genes.sel(gene=names)
    placed = {
        name: ("gene", described[name].values)
        for name in ("gene_name", "contig", "start", "end", "strand", "tss")
    }
    table = xr.Dataset(coords={"gene": np.array(names, dtype=object), **placed})
    for part, columns in (
        (chosen, _STATISTICS), (parts.predixcan, _PREDIXCAN), (parts.finetuned, _FINETUNED)
    ):  # fmt: skip
        if part is None:
            table = table.assign({name: ("gene", np.full(len(names), np.nan)) for name in columns})
            continue
        part = part.reindex(gene=names)
        table = table.assign({name: ("gene", part[of].values) for name, of in columns.items()})
    with np.errstate(divide="ignore"):
        for name in ("p", "q"):
            values = -np.log10(chosen[f"null_{name}"].values) + 0.0  # of p = 1: 0, not -0
            table[f"minus_log10_{name}"] = ("gene", values)
    annotated = workspace.stores.genes["gene"].values.astype(object)
    compared = compare_lists(table["r_track"], annotated, _lists(workspace, annotated))
    return table.merge(compared, join="exact").assign_attrs(
        {name: statistics.attrs[name] for name in ("statistic", "track", "recipe_hash")}
    )


def compare_lists(r: xr.DataArray, annotated: Any, lists: Mapping[str, pd.DataFrame]) -> xr.Dataset:
    """Return the fine-mapped variants of genes, and |r| of those that have one against the rest.

    Parameters
    ----------
    r : xr.DataArray
        Correlations (gene), by id without version; genes whose r is NaN are not compared.
    annotated : array of str
        Ids among which every list must have one, `r`'s and possibly more.
    lists : mapping of str to pd.DataFrame
        Columns gene and variant, as `read_variant_list` returns them.

    Returns
    -------
    xr.Dataset
        Over variant_list, the names and `ANY_LIST` for their union: fine_mapped (with gene),
        and what `compare_flagged` gives; empty without lists.

    Raises
    ------
    SourceError, GeneTableError
        As `zarrbench.statistics.fine_mapping.flag_genes`.
    """
    if not lists:
        return xr.Dataset()
    every = {**lists, ANY_LIST: pd.concat(list(lists.values()))}
    names = np.array(list(every), dtype=object)
    flagged = xr.DataArray(
        np.stack([flag_genes(annotated, rows["gene"], rows["variant"]) for rows in every.values()]),
        {"variant_list": names, "gene": annotated},
        ("variant_list", "gene"),
    )
    compared = compare_flagged_genes(r.reset_coords(drop=True), flagged)
    ids = [str(gene) for gene in r["gene"].values]
    texts = np.array([_variants(rows).reindex(ids, fill_value="") for rows in every.values()])
    return compared.rename(z="rank_sum_z", p="rank_sum_p").assign(
        fine_mapped=xr.DataArray(
            texts.astype(object),
            {"variant_list": names, "gene": np.array(ids, dtype=object)},
            ("variant_list", "gene"),
        )
    )


def _variants(rows: pd.DataFrame) -> "pd.Series[str]":
    """Return the distinct variants of every gene of a list, joined by commas."""
    distinct = rows.assign(gene=unversioned(rows["gene"])).drop_duplicates(["gene", "variant"])
    return distinct.groupby("gene")["variant"].agg(",".join)


def study_table(found: xr.Dataset) -> pd.DataFrame:
    """Return one row a gene, unrounded: the columns of the study's table in its order, then ours.

    A list's column has ``NA`` for genes that it lacks.
    """
    columns = {name: found["gene" if name == "gene_id" else name].values for name in _COLUMNS}
    for name in _names_of_lists(found):
        if name != ANY_LIST:
            texts = found["fine_mapped"].sel(variant_list=name).values.astype(object)
            columns[f"fine_mapped_{name}"] = np.where(texts == "", "NA", texts)
    columns |= {name: found[name].values for name in _FURTHER}
    # pandas takes object strings alone of the three kinds in which zarr and xarray hold them
    return pd.DataFrame(
        {name: v.astype(object) if v.dtype.kind in "UT" else v for name, v in columns.items()}
    )


def summary(found: xr.Dataset) -> dict[str, Any]:
    """Return the headline counts of the stage, as the command line prints them."""
    counts: dict[str, Any] = {"genes": found.sizes["gene"]}
    for name in ("track", "predixcan", "finetuned"):
        counts[f"genes_with_r_{name}"] = int(found[f"r_{name}"].notnull().sum())
    counts["fine_mapped"] = {}
    for name in _names_of_lists(found):
        row = found.sel(variant_list=name)
        counts["fine_mapped"][name] = {
            "genes": int(row["n_flagged"]),
            "negative": int(row["n_flagged_negative"]),
            "other_genes": int(row["n_rest"]),
            "other_negative": int(row["n_rest_negative"]),
            "z": float(row["rank_sum_z"]),
            "p": float(row["rank_sum_p"]),
        }
    return counts


def _names_of_lists(found: xr.Dataset) -> list[str]:
    return [str(name) for name in found["variant_list"].values] if "variant_list" in found else []


def _lists(workspace: Workspace, annotated: NDArray[np.object_]) -> dict[str, pd.DataFrame]:
    """Return the lists by name; each must have variants in the study's form and known genes."""
    lists = {}
    for name, source in workspace.recipe.stage(GeneTable).fine_mapped.items():
        path = workspace.locate(source)
        rows = read_variant_list(path)
        try:
            flag_genes(annotated, rows["gene"], rows["variant"])
        except (SourceError, GeneTableError) as error:
            raise type(error)(f"{path}: {error}") from error
        lists[name] = rows
    return lists


def _parts(workspace: Workspace) -> Parts:
    statistics = open_statistics(workspace)
    names = [str(gene) for gene in statistics["gene"].values]
    stages = workspace.recipe.stages
    return Parts(
        statistics,
        standing_predixcan(workspace, names) if "predixcan" in stages else None,
        standing_weights(workspace, names) if "track_weights" in stages else None,
    )


def _standing(workspace: Workspace, parts: Parts) -> xr.Dataset | None:
    if not (exists(workspace.study_table) and exists(workspace.study_table_text)):
        return None
    found = open_dataset(workspace.study_table, GENE_TABLE).load()
    return found if found.attrs.get("inputs") == _inputs(workspace, parts) else None


def _inputs(workspace: Workspace, parts: Parts) -> str:
    lists = workspace.recipe.stage(GeneTable).fine_mapped
    return fingerprint(
        {
            "version": [GENE_TABLE.version, zarrbench.__version__],
            "lists": [[name, file_sha256(workspace.locate(file))] for name, file in lists.items()],
            "genes": workspace.stores.facts()["genes"]["files"],
            "stages": [part is not None and part.attrs.get("inputs") for part in parts],
        }
    )
