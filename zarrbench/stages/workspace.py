"""One pipeline with its stores, its model and its results folder."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from zarrbench.errors import RecipeError
from zarrbench.expression.samples import Join, join_samples
from zarrbench.models.protocol import LoadableModel
from zarrbench.pipeline import PipelineRecipe, load_pipeline
from zarrbench.predictions.cube import read_recipe
from zarrbench.predictions.plan import Plan, described_recipe, make_plan
from zarrbench.predictions.worker import Job
from zarrbench.provenance import differences
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
    folder : Path
        ``<data>/<pipeline name>``.
    sources : Path or None
        Where source files are looked for first.
    """

    recipe: PipelineRecipe
    file: Path
    stores: StoreFamily
    folder: Path
    sources: Path | None

    @classmethod
    def open(cls, file: Path, data: Path, sources: Path | None = None) -> "Workspace":
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
    def cube(self) -> Path:
        return self.folder / "predictions.zarr"

    @property
    def statistics(self) -> Path:
        return self.folder / "genes.zarr"

    @property
    def gene_table(self) -> Path:
        return self.folder / "genes.tsv"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def left_out(self) -> Path:
        """Local table of the genes that were left out, with reasons."""
        return self.folder / "genes_left_out.tsv"

    @cached_property
    def join(self) -> Join:
        return join_samples(self.stores.expression, self.stores.genotypes.samples)

    @cached_property
    def model(self) -> LoadableModel:
        """The model with its files found: in the sources folder, beside the YAML, or downloaded."""
        folders = self.stores.folders_beside(self.sources, self.file.absolute().parent)
        recipe = self.recipe.model
        files = tuple((source.file, folders.locate(source)) for source in recipe.sources())
        return LoadableModel(recipe, files)

    @cached_property
    def plan(self) -> Plan:
        return make_plan(self.stores, self.join, self.model, self.recipe.predict)

    @cached_property
    def job(self) -> Job:
        return Job(
            cube=self.cube,
            genotypes=self.stores.genotypes_path,
            reference=self.stores.part_path("reference"),
            policies=self.stores.recipe.policies,
            model=self.model,
            readouts=self.recipe.predict.readouts,
            recipe_hash=self.plan.recipe_hash,
        )

    def check_cube(self) -> None:
        """Refuse a cube that another pipeline file or other stores made; needs no model file.

        Raises
        ------
        RecipeError
            Naming the fields that differ.
        """
        described = described_recipe(self.stores, self.recipe.model, self.recipe.predict)
        made = read_recipe(self.cube)
        made["model"].pop("contents", None)
        changed = differences({key: made.get(key) for key in described}, described)
        if changed:
            raise RecipeError(
                f"the cube {self.cube} was made with another recipe "
                f"({'; '.join(changed[:5])}); run the pipeline under another "
                f"name or --data folder, or change the file back"
            )
