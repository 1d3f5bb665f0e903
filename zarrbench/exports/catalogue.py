"""Which tables are exported, and from what: every variable that a stage leaves is in one of them.

`tests/exports/test_catalogue.py` holds it to the layouts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr

from zarrbench.attribution_layouts import ATTRIBUTIONS, DRIVERS, MOTIFS, SENSITIVITY
from zarrbench.exports import few_people, meanings, rows
from zarrbench.exports.few_people import Hidden
from zarrbench.exports.rows import Rows
from zarrbench.layouts import (
    EQTL,
    EXPRESSION,
    GENE_STATISTICS,
    GENE_TABLE,
    GENOTYPE_QUALITY,
    POPULATION,
    PREDICTIONS,
    PREDIXCAN,
    TRACK_WEIGHTS,
    Layout,
)
from zarrbench.remote import Place
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import exists

#: by stage, what its store holds
LAYOUTS: Mapping[str, Layout] = {
    "genotype_quality": GENOTYPE_QUALITY,
    "expression": EXPRESSION,
    "predict": PREDICTIONS,
    "statistics": GENE_STATISTICS,
    "attributions": ATTRIBUTIONS,
    "drivers": DRIVERS,
    "motifs": MOTIFS,
    "population": POPULATION,
    "track_weights": TRACK_WEIGHTS,
    "eqtl": EQTL,
    "predixcan": PREDIXCAN,
    "gene_table": GENE_TABLE,
    "sensitivity": SENSITIVITY,
}


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes
    ----------
    stage : str
        Whose result it is.
    row : str
        What one row is.
    people : bool
        Whether it is of single people, so that it is written only where that is asked for.
    asked : bool
        Whether it is so long that it is written only where it is named.
    hidden : tuple of Hidden
        What is missing from it unless people are asked for.
    """

    stage: str
    row: str
    people: bool = False
    asked: bool = False
    hidden: tuple[Hidden, ...] = ()

    def read(self, workspace: Workspace, found: xr.Dataset) -> Rows | None:
        """Return its rows; None if the stage was not asked for what it would hold."""
        raise NotImplementedError


def _as_it_is(found: xr.Dataset) -> xr.Dataset:
    return found


@dataclass(frozen=True)
class OfStore(Table):
    """The variables of a stage's store over some dims; see `rows.of_dataset`."""

    dims: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    prepared: Callable[[xr.Dataset], xr.Dataset] = _as_it_is

    def read(self, workspace: Workspace, found: xr.Dataset) -> Rows | None:
        return rows.of_dataset(
            self.prepared(found), self.dims, self.also, tuple(LAYOUTS[self.stage].variables)
        )


@dataclass(frozen=True)
class OfFile(Table):
    """A table that a stage wrote, or the rows of it that `keep` marks."""

    file: Callable[[Workspace], Place] = lambda workspace: workspace.folder
    meanings: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, type] = field(default_factory=dict)
    keep: Callable[[pd.DataFrame], pd.Series] | None = None

    def read(self, workspace: Workspace, found: xr.Dataset) -> Rows | None:
        path = self.file(workspace)
        if not exists(path):
            return None
        if path.suffix == ".parquet":
            return rows.of_parquet(path, self.meanings, self.keep)
        return rows.of_text(path, self.meanings, self.kinds)


def _chosen(statistics: xr.Dataset) -> xr.Dataset:
    """Return the statistics with the chosen null alone."""
    return statistics.sel(statistic=statistics.attrs["statistic"])


def _with_choice(statistics: xr.Dataset) -> xr.Dataset:
    chosen = statistics["statistic"] == statistics.attrs["statistic"]
    meaning = "whether the pipeline chose this statistic"
    return statistics.assign(chosen=chosen.assign_attrs(description=meaning))


def _with_genes(attributions: xr.Dataset) -> xr.Dataset:
    """Return attributions with the gene of each SNV beside it."""
    row = np.repeat(np.arange(attributions.sizes["gene"]), attributions["n_variants"].values)
    names = attributions["gene"].values.astype(object)[row]
    distance = attributions["variant_position"] - attributions["tss"].values[row]
    of_gene = meanings.CONCORDANCE_COLUMNS
    return attributions.assign(
        gene_id=("variant", names, {"description": of_gene["gene_id"]}),
        distance=distance.assign_attrs(description=of_gene["distance"]),
    )


def _drivers(table: pd.DataFrame) -> pd.Series:
    return table["is_driver"] | table["is_backward_driver"]


#: by name, in the order in which they are written
TABLES: Mapping[str, Table] = {
    "genes": OfStore(
        "statistics",
        "a gene, with the null statistic that was chosen",
        dims=("gene",),
        prepared=_chosen,
        hidden=(few_people.GENES,),
    ),
    "null_statistics": OfStore(
        "statistics",
        "a gene and null statistic",
        dims=("gene", "statistic"),
        also=("chosen",),
        prepared=_with_choice,
        hidden=(few_people.GENES,),
    ),
    "null_counts": OfStore(
        "statistics",
        "a gene and bin of |r| of random predictors",
        dims=("gene", "null_bin"),
        hidden=(few_people.GENES,),
    ),
    "policy_cases": OfStore(
        "statistics", "a gene and row of the haplotype policies", dims=("gene", "case")
    ),
    "genes_left_out": OfFile(
        "predict",
        "a gene that was not predicted",
        file=lambda workspace: workspace.left_out,
        meanings=meanings.LEFT_OUT_COLUMNS,
    ),
    "tracks": OfStore("predict", "a chosen track", dims=("track",)),
    "reference_predictions": OfStore(
        "predict", "a gene and chosen track", dims=("gene", "track")
    ),
    "attributions": OfStore(
        "attributions",
        "a gene, SNV and track",
        dims=("variant", "track"),
        also=("effect_allele_frequency", "carrier_frequency", "n_called", "reason"),
        prepared=_with_genes,
        hidden=(few_people.FREQUENCIES,),
    ),
    "attribution_genes": OfStore("attributions", "a gene", dims=("gene",)),
    "attribution_references": OfStore(
        "attributions", "a gene and track", dims=("gene", "track"), also=("track_description",)
    ),
    "gradient_profiles": OfStore(
        "attributions",
        "a gene, track and base of its window",
        asked=True,
        dims=("gene", "track", "offset"),
    ),
    "concordance": OfFile(
        "drivers",
        "a gene and SNV: attribution beside slope",
        file=lambda workspace: workspace.concordance,
        meanings=meanings.CONCORDANCE_COLUMNS,
        hidden=(few_people.CONCORDANCE,),
    ),
    "drivers": OfFile(
        "drivers",
        "a driver of a gene, forward or backward",
        file=lambda workspace: workspace.concordance,
        meanings=meanings.CONCORDANCE_COLUMNS,
        keep=_drivers,
        hidden=(few_people.CONCORDANCE,),
    ),
    "driver_genes": OfStore(
        "drivers", "a gene", dims=("gene",), hidden=(few_people.GENES, few_people.DRIVER_GENES)
    ),
    "motifs": OfStore(
        "motifs", "a main driver, allele and threshold", dims=("gene", "base", "threshold")
    ),
    "motif_genes": OfStore(
        "motifs", "a main driver", dims=("gene",), hidden=(few_people.MOTIF_GENES,)
    ),
    "motif_effects": OfStore("motifs", "a main driver and allele", dims=("gene", "base")),
    "driver_scans": OfStore(
        "motifs",
        "a main driver, allele, position around it and base put in",
        dims=("gene", "base", "offset", "allele"),
    ),
    "tss_scans": OfStore(
        "motifs",
        "a gene, position around its TSS and base put in",
        dims=("gene", "tss_offset", "allele"),
    ),
    "clusters": OfFile(
        "motifs",
        "a cluster of the sequences around drivers",
        file=lambda workspace: workspace.motif_tables[1],
        meanings=meanings.CLUSTER_COLUMNS,
        kinds=meanings.CLUSTER_KINDS,
        hidden=(few_people.CLUSTERS,),
    ),
    "cluster_members": OfStore(
        "motifs",
        "a driver and allele",
        dims=("base", "driver"),
        hidden=(few_people.CLUSTER_MEMBERS,),
    ),
    "population": OfStore(
        "population",
        "a subset of genes and track",
        dims=("subset", "track"),
        also=("track_description",),
    ),
    "population_genes": OfStore(
        "population",
        "a gene and track",
        dims=("gene", "track"),
        also=("mean_observed",),
        hidden=(few_people.GENES,),
    ),
    "population_subsets": OfStore("population", "a subset and gene", dims=("subset", "gene")),
    "track_weights": OfStore("track_weights", "a track", dims=("track",)),
    "track_weights_genes": OfStore(
        "track_weights", "a gene", dims=("gene",), hidden=(few_people.GENES,)
    ),
    "track_weights_references": OfStore(
        "track_weights", "an evaluation and gene", dims=("evaluation", "gene")
    ),
    "track_weights_across_genes": OfStore(
        "track_weights", "an evaluation across genes", dims=("against", "evaluation")
    ),
    "eqtl": OfFile(
        "eqtl",
        "a gene and variant near it",
        file=lambda workspace: workspace.eqtl_table,
        meanings=meanings.EQTL_COLUMNS,
        hidden=(few_people.EQTL,),
    ),
    "predixcan": OfStore("predixcan", "a gene", dims=("gene",), hidden=(few_people.GENES,)),
    "gene_table": OfStore(
        "gene_table", "a gene, as the study's table", dims=("gene",), hidden=(few_people.GENES,)
    ),
    "fine_mapped": OfStore(
        "gene_table", "a list of fine-mapped variants and gene", dims=("variant_list", "gene")
    ),
    "fine_mapped_tests": OfStore(
        "gene_table", "a list of fine-mapped variants", dims=("variant_list",)
    ),
    "sensitivity": OfStore("sensitivity", "another choice", dims=("choice",)),
    "sensitivity_genes": OfStore(
        "sensitivity",
        "a choice and gene",
        dims=("choice", "gene"),
        also=("significant",),
        hidden=(few_people.GENES,),
    ),
    "sensitivity_subsets": OfStore("sensitivity", "a subset of genes", dims=("subset",)),
    "variants": OfStore(
        "genotype_quality", "a variant", dims=("variant",), hidden=(few_people.FREQUENCIES,)
    ),
    "genotype_components": OfStore(
        "genotype_quality", "a genotype component", dims=("component",)
    ),
    "expression_genes": OfStore(
        "expression", "a gene", dims=("gene",), hidden=(few_people.GENES, few_people.SAMPLES)
    ),
    "predictions": OfStore(
        "predict",
        "a gene, person, haplotype and chosen track",
        people=True,
        dims=("gene", "individual", "haplotype", "track"),
    ),
    "samples": OfFile(
        "predict",
        "a sample of the expression, or a person without",
        people=True,
        file=lambda workspace: workspace.folder / "samples.tsv",
        meanings=meanings.SAMPLE_COLUMNS,
        kinds={"kept": bool},
    ),
    "individuals": OfStore("genotype_quality", "a person", people=True, dims=("individual",)),
    "individual_components": OfStore(
        "genotype_quality",
        "a genotype component and person",
        people=True,
        dims=("component", "individual"),
    ),
    "related_pairs": OfFile(
        "genotype_quality",
        "two people who are related",
        people=True,
        file=lambda workspace: workspace.genotype_tables[2],
        meanings=meanings.PAIR_COLUMNS,
        kinds={"kinship": float},
    ),
    "expression": OfStore(
        "expression", "a gene and sample", people=True, dims=("gene", "sample")
    ),
    "expression_samples": OfStore("expression", "a sample", people=True, dims=("sample",)),
    "covariates": OfStore(
        "expression", "a covariate and sample", people=True, dims=("covariate", "sample")
    ),
    "expression_components": OfStore(
        "expression", "an expression component and sample", people=True, dims=("pc", "sample")
    ),
}  # fmt: skip

#: variables of stores that no table has, with the reason
NOT_IN_TABLES: Mapping[str, str] = {
    "bin": "bins of a model's output are in predictions.zarr alone",
    "output": "bins of a model's output are in predictions.zarr alone",
    "reference_output": "bins of a model's output are in predictions.zarr alone",
}
