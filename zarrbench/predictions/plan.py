"""What a run will predict: genes, individuals, tasks, and what was left out with the reason."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from zarrbench.errors import GeneTableError
from zarrbench.expression.preparation import NOT_EXPRESSED
from zarrbench.expression.samples import Join
from zarrbench.genome.coordinates import Window
from zarrbench.genome.genes import window_around
from zarrbench.layouts import PREDICTIONS
from zarrbench.models.protocol import LoadableModel, ModelRecipe, ModelSpec, Track
from zarrbench.predictions.cube import Frame, numbers_hash
from zarrbench.predictions.ensemble import Ensemble
from zarrbench.predictions.grid import Block, Grid, Storage, blocks, plan_grid
from zarrbench.predictions.readouts import Readout, asked_bins
from zarrbench.provenance import content_sha256, fingerprint, plain
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
        Further variables `prediction_NAME` from the same model run; so no NAME is taken.
    store_bins : bool
        Keep also what the readouts are made from, in the variable `output`: the model's
        neighbouring bins that serve all of them, so that other readouts need no other run. Not
        together with `ensemble`: the logarithm of mean bins is not the mean of logarithms.
    ensemble : Ensemble, optional
        Predict the mean over several inputs; by default the one input as the model reads it.
    genes : {'expressed', 'all'}
        Genes with expression, or every gene of the gene store.
    individuals : {'expressed', 'all'}
        People with genotype and expression, or everybody with a genotype.
    block_size : int, optional
        Individuals of one task and shard; by default all, which shares the most work, unless a
        shard would be larger than 256 MiB.
    storage : Storage
        How the numbers are kept.
    """

    readout: Readout
    more_readouts: dict[str, Readout] = field(default_factory=dict)
    store_bins: bool = False
    ensemble: Ensemble | None = None
    genes: Literal["expressed", "all"] = "expressed"
    individuals: Literal["expressed", "all"] = "expressed"
    block_size: int | None = None
    storage: Storage = field(default_factory=Storage)

    def __post_init__(self) -> None:
        if self.block_size is not None and self.block_size < 1:
            raise ValueError("block_size must be at least 1")
        if not all(name.isidentifier() for name in self.more_readouts):
            raise ValueError("names in more_readouts must be plain words")
        if self.store_bins and self.ensemble is not None:
            raise ValueError(
                "store_bins keeps the bins of one input, an ensemble has several: leave one out"
            )

    @property
    def readouts(self) -> dict[str, Readout]:
        """All readouts by the variable of the cube that holds them, the primary one first."""
        more = {f"prediction_{name}": readout for name, readout in self.more_readouts.items()}
        return {"prediction": self.readout, **more}

    def check(self, spec: ModelSpec, where: str) -> None:
        """Refuse what a model cannot serve."""
        self.readout.check(spec.bins, f"{where}.readout")
        for name, readout in self.more_readouts.items():
            readout.check(spec.bins, f"{where}.more_readouts.{name}")
        if self.ensemble is not None:
            self.ensemble.check(spec, f"{where}.ensemble")

    def stored_bins(self, spec: ModelSpec) -> range | None:
        """Return the bins of a model that the cube keeps, None if it keeps none."""
        return asked_bins(self.readouts.values(), spec.bins) if self.store_bins else None

    def windows(self, window: Window) -> tuple[Window, ...]:
        """Return the windows of all inputs of a haplotype, given the model's own."""
        return (window,) if self.ensemble is None else self.ensemble.windows(window)


@dataclass(frozen=True)
class Task:
    """One gene with all individuals of a block: the unit of work.

    Attributes
    ----------
    gene : str
    row : int
        Row of the gene in the cube.
    windows : tuple of Window
        Of every input whose readouts are averaged; one without an ensemble.
    block : Block
    individuals : int64 (individual of the block,)
        Rows of the genotype store.
    """

    gene: str
    row: int
    windows: tuple[Window, ...]
    block: Block
    individuals: NDArray[np.int64]

    @property
    def key(self) -> tuple[str, int]:
        """Gene and number of the block: what the ledger calls a shard."""
        return self.gene, self.block.number


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
    tracks : tuple of Track
    predict : Predict
    recipe : dict
        All that determines the numbers.
    grid : Grid
        Where the cube is cut.
    """

    genes: xr.Dataset
    left_out: dict[str, str]
    individuals: list[str]
    rows: NDArray[np.int64]
    spec: ModelSpec
    tracks: tuple[Track, ...]
    predict: Predict
    recipe: dict[str, Any]
    grid: Grid

    @property
    def recipe_hash(self) -> str:
        return fingerprint(self.recipe)

    @property
    def numbers_hash(self) -> str:
        """What the ledger calls the recipe of a shard."""
        return numbers_hash(self.recipe)

    @property
    def frame(self) -> Frame:
        """The cube before its first prediction."""
        return Frame(
            self.genes,
            self.individuals,
            self.tracks,
            list(self.predict.readouts),
            self.stored_bins,
            self.grid,
            self.predict.storage,
            self.recipe,
        )

    @property
    def blocks(self) -> list[Block]:
        return blocks(len(self.individuals), self.grid.block_size)

    @property
    def stored_bins(self) -> range | None:
        """Bins of the model that the cube keeps, None if it keeps none."""
        return self.predict.stored_bins(self.spec)

    def windows(self, row: int) -> tuple[Window, ...]:
        """Return the windows of a gene as the model reads them."""
        return self.predict.windows(window_of(self.genes.isel(gene=row), self.spec))

    def tasks(self, limit: int | None = None) -> Iterator[Task]:
        """Yield the tasks of the first `limit` genes, gene by gene."""
        for row, gene in enumerate(self.genes["gene"].values[:limit]):
            windows = self.windows(row)
            for block in self.blocks:
                individuals = self.rows[block.start : block.stop]
                yield Task(str(gene), row, windows, block, individuals)

    def size(self) -> dict[str, int]:
        """Return tasks, uncompressed bytes and files of the whole cube."""
        genes, people = self.genes.sizes["gene"], len(self.individuals)
        item = self.predict.storage.itemsize
        readouts, bins = len(self.predict.readouts), len(self.stored_bins or ())
        shards, variables = genes * len(self.blocks), readouts + bool(bins)
        one_dim = [v for v in PREDICTIONS.variables.values() if len(v.dims) == 1]
        coordinates = len([v for v in one_dim if bins or not v.optional])
        return {
            "tasks": shards,
            "bytes": (readouts + bins) * len(self.tracks) * item * genes * (2 * people + 1),
            # one object a shard and one a row of references; metadata and coordinates beside
            "files": variables * (shards + genes + 2) + 2 * coordinates + 1,
        }


def make_plan(
    stores: StoreFamily,
    join: Join,
    model: LoadableModel,
    predict: Predict,
    not_expressed: Collection[str] = (),
) -> Plan:
    """Choose genes and individuals, and write down what determines the cube.

    Genes `not_expressed` of the expression store are predicted only with ``genes: all``.

    Raises
    ------
    GeneTableError
        If no gene remains; the sentence counts the reasons.
    """
    spec = model.recipe.spec()
    genes, left_out = _choose_genes(stores, spec, predict, not_expressed)
    everybody = stores.genotypes.samples
    individuals = list(join.individuals) if predict.individuals == "expressed" else everybody
    rows = stores.genotypes.rows_of(individuals)
    recipe = described_recipe(stores, model.recipe, predict)
    recipe["model"]["contents"] = [content_sha256(path) for _, path in model.files]
    recipe |= _labels(genes, individuals)
    tracks = model.tracks()
    kept = len(predict.stored_bins(spec) or (1,))
    grid = plan_grid(
        len(individuals), len(tracks), kept, predict.storage.itemsize, predict.block_size
    )
    return Plan(genes, left_out, individuals, rows, spec, tracks, predict, recipe, grid)


def arranged(plan: Plan, genes: Sequence[str], individuals: Sequence[str], grid: Grid) -> Plan:
    """Return a plan with its labels in the order of a cube, what the cube lacks behind.

    Parameters
    ----------
    genes, individuals : sequence of str
        Those of the cube; the plan may lack some.
    grid : Grid
        Of the cube.
    """
    names = [str(name) for name in plan.genes["gene"].values]
    rows, people = _behind(names, genes), _behind(plan.individuals, individuals)
    chosen, persons = plan.genes.isel(gene=rows), [plan.individuals[i] for i in people]
    return replace(
        plan,
        genes=chosen,
        individuals=persons,
        rows=plan.rows[people],
        recipe={**plan.recipe, **_labels(chosen, persons)},
        grid=grid,
    )


def only(plan: Plan, genes: Sequence[str]) -> Plan:
    """Return the plan of some of its genes, in its order."""
    chosen = plan.genes.isel(gene=np.isin(plan.genes["gene"].values, list(genes)))
    return replace(plan, genes=chosen, recipe={**plan.recipe, **_labels(chosen, plan.individuals)})


def _behind(labels: Sequence[str], first: Sequence[str]) -> list[int]:
    """Return places in `labels`: of those that stand in `first`, in its order, then of others."""
    place = {label: i for i, label in enumerate(first)}
    return sorted(range(len(labels)), key=lambda i: (place.get(labels[i], len(place)), i))


def _labels(genes: xr.Dataset, individuals: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return how a recipe records who and what is predicted."""
    return {
        "genes": {"n": genes.sizes["gene"], "sha256": _digest(genes)},
        "individuals": {"n": len(individuals), "sha256": fingerprint(list(individuals))},
    }


def described_recipe(
    stores: StoreFamily, model: ModelRecipe, predict: Predict
) -> dict[str, dict[str, Any]]:
    """Return what determines the numbers of a cube, as far as recipes say it.

    Sizes of batches and the descriptions of tracks determine none: they may change between runs.
    How a network was trained is in its weights, whose content counts (`make_plan`).
    """
    described = without_sources(model)
    for key in ("batch_size", "memory_gib", "training"):
        described.pop(key, None)
    described["kind"] = type(model).__name__
    if described.get("tracks") is not None:
        described["tracks"] = [t["id"] if isinstance(t, dict) else t for t in described["tracks"]]
    return {
        "cube": {"version": PREDICTIONS.version},
        "stores": stores.identity(),
        "policies": plain(stores.recipe.policies),
        "model": described,
        "predict": plain(predict),
    }


def _choose_genes(
    stores: StoreFamily, spec: ModelSpec, predict: Predict, not_expressed: Collection[str]
) -> tuple[xr.Dataset, dict[str, str]]:
    genes = stores.genes
    if predict.genes == "expressed":
        expressed = stores.expression["gene"].values
        left_out = dict.fromkeys(map(str, not_expressed), NOT_EXPRESSED)
        absent = np.setdiff1d(expressed, genes["gene"].values)
        left_out |= dict.fromkeys(map(str, absent), "not in the gene annotation")
        wanted = [gene for gene in expressed if str(gene) not in left_out]
        genes = genes.isel(gene=np.isin(genes["gene"].values, wanted))
    else:
        left_out = {}
    lengths = stores.reference.lengths
    genotyped = set(stores.genotypes.contigs)
    refuse_beyond = stores.recipe.policies.beyond_contig == "refuse"
    kept = np.zeros(genes.sizes["gene"], dtype=bool)
    for row in range(genes.sizes["gene"]):
        gene = genes.isel(gene=row)
        contig = str(gene["contig"].item())
        if contig not in genotyped:
            left_out[str(gene["gene"].item())] = "its contig has no genotypes"
        elif refuse_beyond and not all(
            window.inside(lengths[contig]) for window in predict.windows(window_of(gene, spec))
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
    """Return the model's own window of one gene (a dataset without the dim ``gene``)."""
    return window_around(gene, spec.input_length, spec.tss_index, spec.strand_aware)


def _digest(genes: xr.Dataset) -> str:
    columns: Mapping[str, Any] = {
        name: [str(v) for v in genes[name].values] for name in ("gene", "contig", "tss", "strand")
    }
    return fingerprint(columns)
