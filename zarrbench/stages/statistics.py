"""The statistics stage: r of every gene, its own null, the false discovery rate; two tables."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from distributed import Client
from numpy.typing import NDArray

import zarrbench
from zarrbench import progress
from zarrbench.errors import (
    ExpressionError,
    IncompleteCubeError,
    RecipeError,
    SourceError,
    StoreLayoutError,
    ZarrbenchError,
)
from zarrbench.expression.preparation import NOT_EXPRESSED
from zarrbench.expression.samples import observed
from zarrbench.genome.coordinates import Window
from zarrbench.genome.genes import window_around
from zarrbench.genotypes.policies import CASES, Policies
from zarrbench.haplotypes.sequences import personal_window, window_edits
from zarrbench.layouts import GENE_STATISTICS
from zarrbench.parameters import Null, Statistics
from zarrbench.predictions.cube import (
    done_shards,
    finished_genes,
    open_cube,
    read_attributes,
    read_recipe,
    sel_track,
)
from zarrbench.predictions.plan import window_of
from zarrbench.predictions.readouts import combine_haplotypes
from zarrbench.predictions.run import submit_bounded
from zarrbench.predictions.worker import opened
from zarrbench.provenance import fingerprint, plain
from zarrbench.recipes import parse
from zarrbench.remote import Place
from zarrbench.stages.workspace import Workspace
from zarrbench.statistics.correlation import correlate, people_who_differ
from zarrbench.statistics.multiple_testing import adjust, benjamini_hochberg, significant
from zarrbench.statistics.null import (
    effective_variants,
    gene_generator,
    null_correlations,
    null_histogram,
    null_statistics,
    polymorphic,
)
from zarrbench.storage import exists, open_dataset, write_dataset
from zarrbench.tables import write_gene_table

Stream = np.random.Generator | np.random.RandomState

# Genes of one Dask task: enough to hide its overhead, few enough for an even progress bar
_GENES_A_TASK = 8


@dataclass(frozen=True)
class NullJob:
    """What all null tasks share."""

    genotypes: Path | str
    reference: Place
    policies: Policies
    individuals: NDArray[np.int64]
    null: Null
    recipe_hash: str


@dataclass(frozen=True)
class GeneNull:
    """One gene's windows and observed expression: the input of its null."""

    gene: str
    window: Window
    null_window: Window
    observed: NDArray[np.float64]


@dataclass(frozen=True)
class NullResult:
    """What the genotypes of one gene give: its null, and counts over people with expression."""

    gene: str
    correlations: NDArray[np.float64]
    effective_variants: float
    n_null_variants: int
    n_variants: int
    n_distinct_haplotypes: int
    cases: dict[str, int]
    error: str = ""


def run_statistics(workspace: Workspace, client: Client, limit: int | None = None) -> xr.Dataset:
    """Compute, write and return the statistics of all finished genes (among the first `limit`).

    Genes that the expression stage left out have none; attributes say which and why. What was
    computed from the same cube and expression with the same choices is kept.

    Raises
    ------
    ExpressionError
        If the expression stage left out every finished gene.
    IncompleteCubeError
        If no gene is finished.
    RecipeError
        If the cube is not that of the pipeline file.
    """
    parameters = workspace.recipe.stage(Statistics)
    workspace.check_cube()
    cube = open_cube(workspace.cube, incomplete="nan")
    finished = set(finished_genes(workspace.cube))
    names = [name for name in map(str, cube["gene"].values[:limit]) if name in finished]
    if not names:
        raise IncompleteCubeError(
            f"no gene of the cube {workspace.cube} is finished; 'zarrbench status' shows why"
        )
    unexpressed = workspace.not_expressed
    left_out = {name: NOT_EXPRESSED for name in names if name in unexpressed}
    names = [name for name in names if name not in left_out]
    if not names:
        raise ExpressionError(
            f"the expression stage left out all {len(left_out)} finished genes of the cube "
            f"{workspace.cube} ({NOT_EXPRESSED}); lower 'min_mean_log2cpm' in {workspace.file}"
        )
    inputs = fingerprint(
        {
            "version": [GENE_STATISTICS.version, zarrbench.__version__],
            "parameters": plain(parameters),
            "cube": cube.attrs["recipe_hash"],
            "expression": workspace.expression_state
            or workspace.stores.facts()["expression"]["files"],
            "truth": plain(workspace.stores.recipe.truth),
            "genes": names,
            # a shard that was made again may have been made up by Zarr when it was lost
            "shards": sorted(
                [*key, *entry.checksums.values()]
                for key, entry in done_shards(workspace.cube).items()
            ),
        }
    )
    if exists(workspace.statistics) and exists(workspace.gene_table):
        standing = open_dataset(workspace.statistics, GENE_STATISTICS).load()
        if standing.attrs.get("inputs") == inputs:
            return standing
    statistics = gene_statistics(workspace, client, names, parameters)
    statistics.attrs |= {"inputs": inputs, "left_out": json.dumps(left_out)}
    # The store last: it says what both were made from.
    write_gene_table(statistics, workspace.gene_table)
    write_dataset(statistics, workspace.statistics, GENE_STATISTICS)
    return statistics


def open_statistics(workspace: Workspace) -> xr.Dataset:
    """Return what the stage wrote, loaded.

    Raises
    ------
    StoreLayoutError
        If there is nothing.
    RecipeError
        If it is of another cube, of other expression or of other parameters.
    """
    if not exists(workspace.statistics):
        raise StoreLayoutError(
            f"there are no statistics {workspace.statistics}: nothing was run there yet; run "
            f"'zarrbench run {workspace.file}' first, or name the folder of the run with --data"
        )
    statistics = open_dataset(workspace.statistics, GENE_STATISTICS).load()
    workspace.check_cube()
    asked = json.dumps(plain(workspace.recipe.stage(Statistics)), sort_keys=True)
    recipe_hash = read_attributes(workspace.cube)["recipe_hash"]
    made = [statistics.attrs.get(name, "") for name in ("parameters", "recipe_hash", "expression")]
    if made != [asked, recipe_hash, workspace.expression_state]:
        raise RecipeError(
            f"the statistics in {workspace.statistics} were made with other parameters than those "
            f"of {workspace.file}, or from another cube or expression; run 'zarrbench run "
            f"{workspace.file} --only statistics' first"
        )
    return statistics


def gene_statistics(
    workspace: Workspace, client: Client, names: Sequence[str], parameters: Statistics
) -> xr.Dataset:
    """Return the statistics of the named genes, as `zarrbench.layouts.GENE_STATISTICS` says."""
    cube = open_cube(workspace.cube, incomplete="nan").sel(gene=list(names))
    cube = selected_track(cube, parameters)
    expression = observed(workspace.expression, workspace.join).reset_coords(drop=True)
    # Who came to the expression after the cube was made has no part in r, nor in its null.
    predicted_too = expression["individual"].isin(cube["individual"].values)
    measured = expression.isel(individual=predicted_too.values).reindex(gene=list(names)).load()
    predicted = combine_haplotypes(cube["prediction"], parameters.haplotypes)
    described = correlate(predicted, measured)
    # Loaded together, so that the cube is read once
    described = described.assign(n_differing=people_who_differ(predicted, measured)).load()
    nulls = _nulls(workspace, client, cube, measured, parameters.null_test)
    correlations = xr.DataArray(
        np.stack([null.correlations for null in nulls]),
        dims=("gene", "draw"),
        coords={"gene": list(names)},
    )
    tested = null_statistics(described["r"], correlations, parameters.round_r)
    # A gene without r has no p either; what that means for the others is the policy.
    p = tested["null_p"]
    adjusted = adjust(
        p if parameters.nan_policy == "p1" else p.where(described["r"].notnull()),
        alpha=parameters.alpha,
        nan_policy=parameters.nan_policy,
        count_rule=parameters.count_rule,
    )
    counted = null_histogram(correlations)
    statistics = xr.merge([described, tested, adjusted, counted], compat="equals", join="exact")
    statistics = statistics.assign(
        {
            "reference_prediction": cube["reference_prediction"].astype(np.float64).load(),
            "null_effective_variants": ("gene", np.array([n.effective_variants for n in nulls])),
            "null_n_variants": ("gene", np.array([n.n_null_variants for n in nulls])),
            "n_variants": ("gene", np.array([n.n_variants for n in nulls])),
            "n_distinct_haplotypes": ("gene", np.array([n.n_distinct_haplotypes for n in nulls])),
            "case_count": (
                ("gene", "case"),
                np.array([[n.cases[case] for case in CASES] for n in nulls]),
            ),
        }
    )
    statistics = statistics.assign_coords(case=("case", np.array(list(CASES), dtype=object)))
    statistics = _with_truth(statistics, workspace, parameters)
    statistics = statistics.drop_vars(
        ["track", "track_description", "track_index"], errors="ignore"
    )
    return statistics.assign_attrs(
        statistic=parameters.null_test.statistic,
        draws=parameters.null_test.draws,
        alpha=parameters.alpha,
        count_rule=parameters.count_rule,
        nan_policy=parameters.nan_policy,
        track=str(cube["track"].item()),
        track_description=str(cube["track_description"].item()),
        recipe_hash=cube.attrs["recipe_hash"],
        expression=workspace.expression_state,
        parameters=json.dumps(plain(parameters), sort_keys=True),
        without_null=json.dumps({null.gene: null.error for null in nulls if null.error}),
    )


def selected_track(cube: xr.Dataset, parameters: Statistics) -> xr.Dataset:
    """Select the track of the statistics, which a model of one track need not name."""
    if parameters.track is not None:
        return sel_track(cube, parameters.track)
    if cube.sizes["track"] == 1:
        return cube.isel(track=0)
    shown = ", ".join(str(t) for t in cube["track"].values[:5])
    raise RecipeError(
        f"the model has {cube.sizes['track']} tracks ({shown}, ...); name one with 'track' in the "
        f"statistics stage"
    )


def _nulls(
    workspace: Workspace,
    client: Client,
    cube: xr.Dataset,
    measured: xr.DataArray,
    null: Null,
) -> list[NullResult]:
    """Compute the nulls of all genes of the cube on the cluster, in its order."""
    job = NullJob(
        genotypes=workspace.stores.genotypes_path,
        reference=workspace.stores.part_path("reference"),
        policies=parse(Policies, read_recipe(workspace.cube)["policies"], str(workspace.cube)),
        individuals=workspace.stores.genotypes.rows_of(map(str, measured["individual"].values)),
        null=null,
        recipe_hash=str(cube.attrs["recipe_hash"]),
    )
    values = measured.transpose("gene", "individual").values
    spec = workspace.recipe.model.spec()
    inputs = []
    for row, name in enumerate(cube["gene"].values):
        gene = cube.isel(gene=row)
        window = window_of(gene, spec)
        inputs.append(GeneNull(str(name), window, _null_window(gene, window, null), values[row]))
    found: dict[str, NullResult] = {}
    with progress.bar(total=len(inputs), label="null", unit="genes") as bar:
        for result in _computed(client, job, inputs):
            found.update({item.gene: item for item in result})
            bar.update(len(result))
    return [found[item.gene] for item in inputs]


def _computed(
    client: Client, job: NullJob, inputs: Sequence[GeneNull]
) -> Iterator[list[NullResult]]:
    """Yield the nulls of a few genes at a time."""
    legacy = job.null.rng == "legacy_sequential"
    ordered = sorted(inputs, key=lambda item: item.gene) if legacy else inputs
    stream = np.random.RandomState(job.null.seed).get_state() if legacy else None
    parts = (
        (ordered[i : i + _GENES_A_TASK], stream) for i in range(0, len(ordered), _GENES_A_TASK)
    )
    # One at a time, a part is not asked for before the one before it has moved the stream.
    at_once = 1 if legacy else None
    for _, result in submit_bounded(client, [(genes_null, 0)], parts, job, at_once=at_once):
        if isinstance(result, BaseException):
            raise result
        nulls, stream = result
        yield nulls


def _null_window(gene: xr.Dataset, window: Window, null: Null) -> Window:
    if null.window == "model":
        return window
    flank = int(null.window)
    return window_around(gene, 2 * flank + 1, flank)


def genes_null(job: NullJob, part: tuple[Sequence[GeneNull], Any]) -> tuple[list[NullResult], Any]:
    """Compute the nulls of some genes, from the store on disk (runs on a worker).

    With the stream of all genes comes its state, and it is returned as the last gene leaves it.
    """
    genes, state = part
    if state is None:
        streams = (gene_generator(job.null.seed, gene.gene) for gene in genes)
        return [_gene_null_or_reason(job, *each) for each in zip(genes, streams, strict=True)], None
    stream = np.random.RandomState()
    stream.set_state(state)
    return [_gene_null_or_reason(job, gene, stream) for gene in genes], stream.get_state()


def _gene_null_or_reason(job: NullJob, gene: GeneNull, stream: Stream) -> NullResult:
    """Return the null of a gene, or an undefined one with the reason.

    The null's window may be wider than the model's, and hold records that no prediction met.
    """
    try:
        return _gene_null(job, gene, stream)
    except SourceError:  # genotypes behind a URL: of no gene in particular
        raise
    except ZarrbenchError as error:
        undefined = np.full(job.null.draws, np.nan)
        return NullResult(gene.gene, undefined, 0.0, 0, 0, 0, dict.fromkeys(CASES, 0), str(error))


def _gene_null(job: NullJob, gene: GeneNull, stream: Stream) -> NullResult:
    genotypes, reference = opened(job.genotypes, job.reference, job.recipe_hash)
    personal = personal_window(genotypes, reference, gene.window, job.policies, job.individuals)
    dosage = personal.edits.dosage
    if gene.null_window != gene.window:
        dosage = window_edits(
            genotypes, reference, gene.null_window, job.policies, job.individuals
        ).dosage
    # The null is that of the people who have an expression of this gene.
    measured = dosage[:, np.isfinite(gene.observed)]
    return NullResult(
        gene=gene.gene,
        correlations=null_correlations(
            dosage, gene.observed, job.null.draws, stream, job.null.positive
        ),
        effective_variants=effective_variants(measured),
        n_null_variants=int(polymorphic(measured).sum()),
        n_variants=int(personal.edits.positions.size),
        n_distinct_haplotypes=personal.n_distinct_haplotypes,
        cases=personal.edits.counts,
    )


def _with_truth(statistics: xr.Dataset, workspace: Workspace, parameters: Statistics) -> xr.Dataset:
    """Add what was planted in a simulated cohort, and whether the verdict agrees."""
    truth = workspace.stores.truth
    if truth is None:
        return statistics
    planted = truth["planted_sign"].reindex(statistics["gene"].values).fillna(0).to_numpy(np.int64)
    # Whether a sign was found at all is asked of r itself: the null asks another question, namely
    # whether r is better than that of random predictors, which share the planted variant.
    p = statistics["p_r"].values
    found = significant(p, benjamini_hochberg(p), parameters.alpha)
    sign = np.where(found, np.sign(np.nan_to_num(statistics["r"].values)), 0).astype(np.int64)
    return statistics.assign(
        planted_sign=("gene", planted),
        found_sign=("gene", sign),
        recovered=("gene", sign == planted),
    )


def summary(statistics: xr.Dataset) -> dict[str, int | float | str]:
    """Return the headline counts of a run, as the command line prints them."""
    chosen = statistics["significant"].sel(statistic=statistics.attrs["statistic"]).values
    r = statistics["r"].values
    counts: dict[str, int | float | str] = {
        "genes": int(r.size),
        "genes_with_r": int(np.isfinite(r).sum()),
        "null_statistic": str(statistics.attrs["statistic"]),
        "significant": int(chosen.sum()),
        "significant_negative": int((chosen & (r < 0)).sum()),
        "mean_r": round(float(np.nanmean(r)), 4) if np.isfinite(r).any() else float("nan"),
    }
    if "recovered" in statistics:
        recovered = int(statistics["recovered"].sum())
        counts["planted_signs_recovered"] = f"{recovered} of {r.size}"
    return counts
