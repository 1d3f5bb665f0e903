"""One pipeline with its stores, its model and its results folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

import zarrbench
from zarrbench.errors import IncompleteCubeError, RecipeError
from zarrbench.expression.samples import Join, join_samples, observed
from zarrbench.layouts import EXPRESSION, GENOTYPE_QUALITY
from zarrbench.models.protocol import LoadableModel, TrainableRecipe
from zarrbench.models.training import check_trained
from zarrbench.parameters import Expression, GenotypeQuality, Statistics
from zarrbench.pipeline import PipelineRecipe, check_track, load_pipeline
from zarrbench.predictions.cube import done_shards, finished_genes, open_cube, read_recipe
from zarrbench.predictions.extension import in_order_of
from zarrbench.predictions.plan import Plan, Predict, described_recipe, make_plan
from zarrbench.predictions.worker import Job
from zarrbench.provenance import differences, fingerprint, plain
from zarrbench.remote import Place
from zarrbench.sources import Source, SourceFolders
from zarrbench.storage import exists, open_dataset
from zarrbench.stores import StoreFamily


@dataclass(frozen=True)
class Workspace:
    """Where a pipeline reads and writes.

    Attributes
    ----------
    recipe : PipelineRecipe
    file : Path
        The pipeline's YAML.
    stores : StoreFamily
    folder : Path or UPath
        ``<data>/<pipeline name>``.
    sources : Path or None
        Where source files are looked for first.
    """

    recipe: PipelineRecipe
    file: Path
    stores: StoreFamily
    folder: Place
    sources: Path | None

    @classmethod
    def open(cls, file: Path, data: Place, sources: Path | None = None) -> "Workspace":
        """Read a pipeline file and the recipe of its stores; nothing is written."""
        recipe = load_pipeline(file)
        return cls(
            recipe=recipe,
            file=file,
            stores=StoreFamily(recipe.stores_file, data, sources),
            folder=data.absolute() / recipe.name,
            sources=sources,
        )

    @property
    def cube(self) -> Place:
        return self.folder / "predictions.zarr"

    @property
    def adjusted(self) -> Place:
        """Store of the expression stage."""
        return self.folder / "expression.zarr"

    @property
    def genotype_quality(self) -> Place:
        return self.folder / "genotype_quality.zarr"

    @property
    def genotype_tables(self) -> tuple[Place, Place, Place]:
        """Tables of variants, people and related pairs; the last two are local, having ids."""
        names = ("variants.parquet", "individuals.tsv", "related_pairs.tsv")
        return self.folder / names[0], self.folder / names[1], self.folder / names[2]

    @property
    def statistics(self) -> Place:
        return self.folder / "genes.zarr"

    @property
    def gene_table(self) -> Place:
        return self.folder / "genes.tsv"

    @property
    def population(self) -> Place:
        return self.folder / "population.zarr"

    @property
    def population_table(self) -> Place:
        return self.folder / "population.tsv"

    @property
    def track_weights(self) -> Place:
        return self.folder / "track_weights.zarr"

    @property
    def track_weights_table(self) -> Place:
        return self.folder / "track_weights.tsv"

    @property
    def fitted_weights(self) -> Place:
        """The weights that the track_weights stage fitted; there are none if it was given some."""
        return self.folder / "track_weights.csv"

    @property
    def attributions(self) -> Place:
        return self.folder / "attributions.zarr"

    @property
    def drivers(self) -> Place:
        return self.folder / "drivers.zarr"

    @property
    def drivers_table(self) -> Place:
        return self.folder / "drivers.tsv"

    @property
    def concordance(self) -> Place:
        """Table of the drivers stage: one row a gene and SNV."""
        return self.folder / "concordance.parquet"

    @property
    def motifs(self) -> Place:
        return self.folder / "motifs.zarr"

    @property
    def motif_tables(self) -> tuple[Place, Place]:
        """Tables of main drivers, in the form of the study, and of clusters."""
        return self.folder / "motifs.tsv", self.folder / "clusters.tsv"

    def cluster_motifs(self, base: str) -> Place:
        """Motifs of the clusters of sequences with either allele, for MEME."""
        return self.folder / f"clusters_{base}.meme"

    @property
    def sensitivity(self) -> Place:
        return self.folder / "sensitivity.zarr"

    @property
    def sensitivity_table(self) -> Place:
        return self.folder / "sensitivity.tsv"

    @property
    def ensemble(self) -> Place:
        """Cube of the genes that the sensitivity stage predicts from several inputs."""
        return self.folder / "ensemble.zarr"

    @property
    def eqtl(self) -> Place:
        return self.folder / "eqtl.zarr"

    @property
    def eqtl_table(self) -> Place:
        return self.folder / "eqtl.parquet"

    @property
    def predixcan(self) -> Place:
        return self.folder / "predixcan.zarr"

    @property
    def predixcan_table(self) -> Place:
        return self.folder / "predixcan.tsv"

    @property
    def predixcan_weights(self) -> Place:
        """The weights that the predixcan stage trained; there are none if it was given some."""
        return self.folder / "predixcan.db"

    @property
    def study_table(self) -> Place:
        """Store of the gene_table stage; `gene_table` is that of the statistics alone."""
        return self.folder / "gene_table.zarr"

    @property
    def study_table_text(self) -> Place:
        return self.folder / "gene_table.tsv"

    @property
    def report(self) -> Place:
        return self.folder / "report.html"

    @property
    def left_out(self) -> Place:
        """Local table of the genes that were left out, with reasons."""
        return self.folder / "genes_left_out.tsv"

    @property
    def adjusts_expression(self) -> bool:
        """Whether the pipeline has the expression stage."""
        return any(isinstance(stage, Expression) for stage in self.recipe.stages.values())

    @property
    def genotype_inputs(self) -> str:
        """Fingerprint of what determines the store of the genotype_quality stage."""
        return fingerprint(
            {
                "version": [GENOTYPE_QUALITY.version, zarrbench.__version__],
                "parameters": plain(self.recipe.stage(GenotypeQuality)),
                "genotypes": self.stores.identity(),
            }
        )

    def genotype_components(self, n_components: int) -> xr.DataArray:
        """Return the first components of the genotypes (covariate, individual), as covariates.

        Raises
        ------
        RecipeError
            If the pipeline lacks the stage, it was not run since something changed, or it made
            fewer.
        """
        inputs = self.genotype_inputs
        standing = exists(self.genotype_quality)
        found = open_dataset(self.genotype_quality, GENOTYPE_QUALITY) if standing else xr.Dataset()
        if found.attrs.get("inputs") != inputs:
            raise RecipeError(
                f"the genotype components {self.genotype_quality} are not there, or were made with "
                f"other parameters or from other files; run 'zarrbench run {self.file} --only "
                f"genotype_quality' first"
            )
        made = found.sizes.get("component", 0)
        if n_components > made:
            raise RecipeError(
                f"{self.file} asks for {n_components} genotype components, and {made} were made; "
                f"raise 'n_components' of genotype_quality"
            )
        values = found["genotype_components"].isel(component=slice(n_components)).load()
        return xr.DataArray(
            values.transpose("component", "individual").values,
            dims=("covariate", "individual"),
            coords={
                "covariate": values["component"].values.astype(object),
                "individual": values["individual"].values.astype(object),
            },
        )

    @property
    def expression_inputs(self) -> str:
        """Fingerprint of what determines the store of the expression stage."""
        made = self.stores.facts()["expression"]
        parameters = self.recipe.stage(Expression)
        return fingerprint(
            {
                "version": [EXPRESSION.version, zarrbench.__version__],
                "parameters": plain(parameters),
                "expression": [made["files"], made["recipe"]],
                "genotypes": self.genotype_inputs if parameters.genotype_components else "",
            }
        )

    @property
    def has_expression(self) -> bool:
        """Whether `expression` can be read: the stage was run as the pipeline has it, if it has."""
        if not self.adjusts_expression:
            return True
        if not exists(self.adjusted):
            return False
        made = open_dataset(self.adjusted, EXPRESSION).attrs.get("inputs")
        return bool(made == self.expression_inputs)

    @property
    def expression(self) -> xr.Dataset:
        """What predictions are compared with: the expression stage's store, or else the given one.

        Raises
        ------
        RecipeError
            If the stage was not run since its parameters or its files were changed.
        """
        if not self.adjusts_expression:
            return self.stores.expression
        if self.has_expression:
            return open_dataset(self.adjusted, EXPRESSION)
        found = "is not there"
        if exists(self.adjusted):
            found = "was made with other parameters or from other files"
        raise RecipeError(
            f"the adjusted expression {self.adjusted} {found}; run 'zarrbench run {self.file} "
            f"--only expression' first"
        )

    @property
    def expression_state(self) -> str:
        """Fingerprint of what the expression stage made, empty without the stage."""
        return str(self.expression.attrs["outcome"]) if self.adjusts_expression else ""

    @property
    def not_expressed(self) -> set[str]:
        """Genes of the expression store that the expression stage left out."""
        given, kept = self.stores.expression["gene"].values, self.expression["gene"].values
        return set(map(str, given)).difference(map(str, kept))

    def compared_genes(self, limit: int | None = None) -> list[str]:
        """Return the finished genes of the cube, among the first `limit`, that are expressed.

        Raises
        ------
        IncompleteCubeError
            If there is none.
        """
        cube = open_cube(self.cube, incomplete="nan")
        wanted = set(finished_genes(self.cube)) - self.not_expressed
        names = [name for name in map(str, cube["gene"].values[:limit]) if name in wanted]
        if not names:
            raise IncompleteCubeError(
                f"no gene of the cube {self.cube} is finished; 'zarrbench status' shows why"
            )
        return names

    def compared(self, names: Sequence[str]) -> dict[str, Any]:
        """Return what tells predictions and expression of some genes from others."""
        facts = self.stores.facts()
        return {
            "cube": open_cube(self.cube, incomplete="nan").attrs["recipe_hash"],
            "tables": {part: facts[part]["files"] for part in ("genes", "expression")},
            "adjusted": self.expression_state,
            "genes": list(names),
            "shards": sorted(
                [*key, *entry.checksums.values()] for key, entry in done_shards(self.cube).items()
            ),
        }

    @cached_property
    def join(self) -> Join:
        return join_samples(self.expression, self.stores.genotypes.samples)

    @cached_property
    def people_of_genes(self) -> pd.Series:
        """How many of the joined people have expression of each gene, by its id."""
        known = observed(self.expression, self.join).notnull().sum("individual")
        return pd.Series(known.values, [str(gene) for gene in known["gene"].values])

    @cached_property
    def model(self) -> LoadableModel:
        """The model with its files found: in the sources folder, beside the YAML, or downloaded."""
        recipe = self.recipe.model
        if isinstance(recipe, TrainableRecipe) and recipe.weights.url is None:
            weights = self.folders.find(recipe.weights)
            check_trained(recipe.spec().name, recipe.training, weights, self.file)
        files = tuple((source.file, self.locate(source)) for source in recipe.sources())
        return LoadableModel(recipe, files)

    def locate(self, source: Source) -> Path:
        """Return where a file lies that the pipeline names."""
        return self.folders.locate(source)

    @property
    def folders(self) -> SourceFolders:
        """Where files that the pipeline names are looked for, and where they are downloaded to."""
        return self.stores.folders_beside(self.sources, self.file.absolute().parent)

    def check_track(self) -> None:
        """Refuse, before anything is built, a track for the statistics that the model lacks."""
        if "statistics" in self.recipe.stages:
            where = f"{self.file}: stages.statistics.track"
            check_track(self.recipe.stage(Statistics).track, self.model.tracks(), where)

    @cached_property
    def plan(self) -> Plan:
        """What is to be predicted, in the order of the cube if there is one.

        Genes that the cube has stay in it when the expression stage leaves them out later.
        """
        left_out, standing = self.not_expressed, exists(self.cube)
        if left_out and standing:
            left_out -= set(map(str, open_cube(self.cube, incomplete="nan")["gene"].values))
        plan = make_plan(self.stores, self.join, self.model, self.recipe.stage(Predict), left_out)
        return in_order_of(self.cube, plan) if standing else plan

    @cached_property
    def job(self) -> Job:
        return Job(
            cube=self.cube,
            genotypes=self.stores.genotypes_path,
            reference=self.stores.part_path("reference"),
            policies=self.stores.recipe.policies,
            model=self.model,
            predict=self.recipe.stage(Predict),
            numbers_hash=self.plan.numbers_hash,
        )

    def check_cube(self) -> None:
        """Refuse a cube that another pipeline file or other stores made; needs no model file.

        Raises
        ------
        RecipeError
            Naming the fields that differ.
        """
        described = described_recipe(self.stores, self.recipe.model, self.recipe.stage(Predict))
        made = read_recipe(self.cube)
        made["model"].pop("contents", None)
        changed = differences({key: made.get(key) for key in described}, described)
        if changed:
            raise RecipeError(
                f"the cube {self.cube} was made with another recipe "
                f"({'; '.join(changed[:5])}); run the pipeline under another "
                f"name or --data folder, or change the file back"
            )
