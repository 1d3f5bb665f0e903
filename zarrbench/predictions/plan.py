"""What a run will predict: genes, individuals, tasks, and what was left out with the reason."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from zarrbench.errors import GeneTableError
from zarrbench.expression.samples import Join
from zarrbench.genome.coordinates import Window
from zarrbench.genome.genes import window_around
from zarrbench.layouts import PREDICTIONS
from zarrbench.models.protocol import LoadableModel, ModelRecipe, ModelSpec
from zarrbench.predictions.cube import Block, blocks
from zarrbench.predictions.readouts import Readout
from zarrbench.provenance import file_sha256, fingerprint, plain
from zarrbench.sources import without_sources
from zarrbench.stores import StoreFamily


@dataclass(frozen=True)
class Predict:
    """Fill the prediction cube.

    Parameters
    ----------
    readout : Readout
        What `prediction` holds.
    more_readouts : dict of Readout
        Further variables `prediction_NAME` from the same model run.
    genes : {'expressed', 'all'}
        Genes with expression, or every gene of the gene store.
    individuals : {'expressed', 'all'}
        People with genotype and expression, or everybody with a genotype.
    block_size : int, optional
        Individuals of one task and shard; all by default, which shares the most work.
    """

    readout: Readout
    more_readouts: dict[str, Readout] = field(default_factory=dict)
    genes: Literal["expressed", "all"] = "expressed"
    individuals: Literal["expressed", "all"] = "expressed"
    block_size: int | None = None

    def __post_init__(self) -> None:
        if self.block_size is not None and self.block_size < 1:
            raise ValueError("block_size must be at least 1")
        if not all(name.isidentifier() for name in self.more_readouts):
            raise ValueError("names in more_readouts must be plain words")
        if "prediction" in self.more_readouts:
            raise ValueError("more_readouts cannot name one 'prediction': that is the readout")

    @property
    def readouts(self) -> dict[str, Readout]:
        """All readouts by name, the primary one first."""
        return {"prediction": self.readout, **self.more_readouts}


@dataclass(frozen=True)
class Task:
    """One gene with all individuals of a block: the unit of work.

    Attributes
    ----------
    gene : str
    row : int
        Row of the gene in the cube.
    window : Window
    block : Block
    individuals : int64 (individual of the block,)
        Rows of the genotype store.
    """

    gene: str
    row: int
    window: Window
    block: Block
    individuals: NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """Everything about a cube that is decided before anything is predicted.

    Attributes
    ----------
    genes : Dataset
        Rows of the gene store that will be predicted, in its order.
    left_out : dict
        Reason by gene id, of the genes that were asked for and cannot be predicted.
    individuals : list of str
    rows : int64 (individual,)
        Their rows in the genotype store.
    spec : ModelSpec
    predict : Predict
    recipe : dict
        All that determines the numbers.
    """

    genes: xr.Dataset
    left_out: dict[str, str]
    individuals: list[str]
    rows: NDArray[np.int64]
    spec: ModelSpec
    predict: Predict
    recipe: dict[str, Any]

    @property
    def recipe_hash(self) -> str:
        return fingerprint(self.recipe)

    @property
    def blocks(self) -> list[Block]:
        return blocks(len(self.individuals), self.predict.block_size)

    def window(self, row: int) -> Window:
        """Return the window of a gene as the model reads it."""
        return window_of(self.genes.isel(gene=row), self.spec)

    def tasks(self, limit: int | None = None) -> Iterator[Task]:
        """Yield the tasks of the first `limit` genes, gene by gene."""
        for row, gene in enumerate(self.genes["gene"].values[:limit]):
            window = self.window(row)
            for block in self.blocks:
                individuals = self.rows[block.start : block.stop]
                yield Task(str(gene), row, window, block, individuals)

    def size(self) -> dict[str, int]:
        """Return tasks, uncompressed bytes and files of the whole cube."""
        genes, people = self.genes.sizes["gene"], len(self.individuals)
        readouts, tracks = len(self.predict.readouts), len(self.spec.tracks)
        shards = genes * len(self.blocks)
        coordinates = len([n for n in PREDICTIONS.variables if not n.endswith("prediction")])
        return {
            "tasks": shards,
            "bytes": readouts * tracks * 4 * genes * (2 * people + 1),
            # one object a shard and one a row of references; metadata and coordinates beside
            "files": readouts * (shards + genes + 2) + 2 * coordinates + 1,
        }


def make_plan(stores: StoreFamily, join: Join, model: LoadableModel, predict: Predict) -> Plan:
    """Choose genes and individuals, and write down what determines the cube.

    Raises
    ------
    GeneTableError
        If no gene remains; the sentence counts the reasons.
    """
    spec = model.recipe.spec()
    genes, left_out = _choose_genes(stores, spec, predict)
    everybody = stores.genotypes.samples
    individuals = list(join.individuals) if predict.individuals == "expressed" else everybody
    rows = stores.genotypes.rows_of(individuals)
    recipe = described_recipe(stores, model.recipe, predict)
    recipe["model"]["contents"] = [file_sha256(path) for _, path in model.files]
    recipe["genes"] = {"n": genes.sizes["gene"], "sha256": _digest(genes)}
    recipe["individuals"] = {"n": len(individuals), "sha256": fingerprint(individuals)}
    return Plan(genes, left_out, individuals, rows, spec, predict, recipe)


def described_recipe(
    stores: StoreFamily, model: ModelRecipe, predict: Predict
) -> dict[str, dict[str, Any]]:
    """Return what determines the numbers of a cube, as far as recipes say it.

    Batch size and the descriptions of tracks determine none: they may change between runs.
    """
    described = without_sources(model)
    described.pop("batch_size", None)
    described["kind"] = type(model).__name__
    described["tracks"] = [track.id for track in model.spec().tracks]
    return {
        "cube": {"version": PREDICTIONS.version},
        "stores": stores.identity(),
        "policies": plain(stores.recipe.policies),
        "model": described,
        "predict": plain(predict),
    }


def _choose_genes(
    stores: StoreFamily, spec: ModelSpec, predict: Predict
) -> tuple[xr.Dataset, dict[str, str]]:
    genes = stores.genes
    if predict.genes == "expressed":
        expressed = stores.expression["gene"].values
        absent = np.setdiff1d(expressed, genes["gene"].values)
        left_out = dict.fromkeys(map(str, absent), "not in the gene annotation")
        genes = genes.isel(gene=np.isin(genes["gene"].values, expressed))
    else:
        left_out = {}
    lengths = stores.reference.lengths
    genotyped = set(stores.genotypes.contigs)
    kept = np.zeros(genes.sizes["gene"], dtype=bool)
    for row in range(genes.sizes["gene"]):
        gene = genes.isel(gene=row)
        contig = str(gene["contig"].item())
        if contig not in genotyped:
            left_out[str(gene["gene"].item())] = "its contig has no genotypes"
        elif stores.recipe.policies.beyond_contig == "refuse" and not window_of(gene, spec).inside(
            lengths[contig]
        ):
            left_out[str(gene["gene"].item())] = "its window leaves the contig"
        else:
            kept[row] = True
    if not kept.any():
        reasons = "; ".join(f"{n} {why}" for why, n in Counter(left_out.values()).items())
        raise GeneTableError(
            f"no gene of {stores.recipe.name!r} can be predicted "
            f"({reasons or 'the table is empty'}); check that annotation, expression, genotypes "
            f"and reference are of one genome build"
        )
    return genes.isel(gene=kept), left_out


def window_of(gene: xr.Dataset, spec: ModelSpec) -> Window:
    """Return the window of one gene (a dataset without the dim ``gene``) as a model reads it."""
    return window_around(gene, spec.input_length, spec.tss_index, spec.strand_aware)


def _digest(genes: xr.Dataset) -> str:
    columns: Mapping[str, Any] = {
        name: [str(v) for v in genes[name].values] for name in ("gene", "contig", "tss", "strand")
    }
    return fingerprint(columns)
