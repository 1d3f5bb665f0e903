"""The predixcan stage: PrediXcan beside the network, gene by gene, on the very same people."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from distributed import Client

import zarrbench
from zarrbench import progress
from zarrbench.delimited import read_rows
from zarrbench.errors import GeneTableError, SampleError, SourceError
from zarrbench.expression.samples import observed
from zarrbench.genome.coordinates import map_contigs
from zarrbench.genome.genes import window_around
from zarrbench.layouts import PREDIXCAN
from zarrbench.parameters import PrediXcan, Statistics, TrainingPeople
from zarrbench.predictdb import KEY, PredictDB, read_predictdb, write_predictdb
from zarrbench.predictions.cube import done_shards, open_cube
from zarrbench.predictions.readouts import combine_haplotypes
from zarrbench.predictions.run import submit_bounded
from zarrbench.provenance import file_sha256, fingerprint, installed, plain
from zarrbench.recipes import nearest
from zarrbench.sources import without_sources
from zarrbench.stages.gene_models import GeneModel, GeneResult, ModelJob, genes_predicted
from zarrbench.stages.statistics import selected_track
from zarrbench.stages.workspace import Workspace
from zarrbench.statistics.correlation import correlate
from zarrbench.statistics.multiple_testing import benjamini_hochberg
from zarrbench.statistics.predixcan import compare
from zarrbench.storage import exists, open_dataset, remove, write_dataset
from zarrbench.tables import predixcan_table, write_table

# Genes of one Dask task that applies weights; one that trains them takes seconds for each
_GENES_A_TASK = 8
_FEWEST_PEOPLE = 3  # with whom a correlation is defined
_COUNTS = ("n_model", "n_found", "n_swapped", "n_other_strand", "n_absent", "n_trained_on")


def run_predixcan(workspace: Workspace, client: Client, limit: int | None = None) -> xr.Dataset:
    """Compute, write and return the comparison for all finished genes (among the first `limit`).

    What was computed from the same cube and files with the same choices is kept.

    Raises
    ------
    IncompleteCubeError
        If no gene is finished.
    RecipeError
        If the cube is not that of the pipeline file, or the pipeline has no statistics stage, whose
        track and haplotypes count here too.
    SourceError
        If a file cannot be read, or too few variants of the models are among the genotypes.
    SampleError
        If the people to train on are unknown, or leave fewer than three to evaluate.
    """
    workspace.check_cube()
    names = workspace.compared_genes(limit)
    standing = standing_predixcan(workspace, names)
    if standing is not None:
        return standing
    compared, trained = compare_genes(workspace, client, names)
    compared.attrs["inputs"] = _inputs(workspace, names)
    # The store last: it says what the others were made from.
    if trained is not None:
        write_predictdb(trained, workspace.predixcan_weights)
    elif exists(workspace.predixcan_weights):
        remove(workspace.predixcan_weights)
    write_table(predixcan_table(compared), workspace.predixcan_table)
    write_dataset(compared, workspace.predixcan, PREDIXCAN)
    return compared


def standing_predixcan(workspace: Workspace, names: Sequence[str]) -> xr.Dataset | None:
    """Return what the stage wrote of these genes, None if anything has changed since."""
    results = [workspace.predixcan, workspace.predixcan_table]
    if workspace.recipe.stage(PrediXcan).weights is None:
        results.append(workspace.predixcan_weights)
    if not all(exists(path) for path in results):
        return None
    found = open_dataset(workspace.predixcan, PREDIXCAN).load()
    return found if found.attrs.get("inputs") == _inputs(workspace, names) else None


def _inputs(workspace: Workspace, names: Sequence[str]) -> str:
    parameters = workspace.recipe.stage(PrediXcan)
    statistics = workspace.recipe.stage(Statistics)
    sources = (parameters.weights, parameters.train and parameters.train.samples)
    return fingerprint(
        {
            "version": [PREDIXCAN.version, zarrbench.__version__, installed(("scikit-learn",))],
            "parameters": without_sources(parameters),
            "files": [s and file_sha256(workspace.locate(s)) for s in sources],
            "statistics": plain([statistics.track, statistics.haplotypes, statistics.nan_policy]),
            "cube": open_cube(workspace.cube, incomplete="nan").attrs["recipe_hash"],
            "expression": workspace.expression_state
            or workspace.stores.facts()["expression"]["files"],
            "genes": list(names),
            "shards": sorted(
                [*key, *entry.checksums.values()]
                for key, entry in done_shards(workspace.cube).items()
            ),
        }
    )


def compare_genes(
    workspace: Workspace, client: Client, names: Sequence[str]
) -> tuple[xr.Dataset, PredictDB | None]:
    """Return the comparison of the named genes, as `layouts.PREDIXCAN`, and weights if trained.

    Both r are of the people who have expression and both predictions and were not trained on.
    """
    parameters = workspace.recipe.stage(PrediXcan)
    statistics = workspace.recipe.stage(Statistics)
    cube = open_cube(workspace.cube, incomplete="nan").sel(gene=list(names))
    cube = selected_track(cube, statistics)
    expression = observed(workspace.expression, workspace.join).reset_coords(drop=True)
    measured = expression.reindex(gene=list(names)).load()
    predicted_for = set(map(str, cube["individual"].values))
    people = [str(p) for p in measured["individual"].values if str(p) in predicted_for]
    trained_on = _trained_on(workspace, parameters.train, people)
    rest = [person for person in people if person not in trained_on]
    own = [person for person in people if person in trained_on]
    if len(rest) < _FEWEST_PEOPLE:
        raise SampleError(
            f"{len(rest)} of {len(people)} people are left to evaluate PrediXcan on, expected at "
            f"least {_FEWEST_PEOPLE}; train on fewer"
        )
    database = (
        None if parameters.weights is None else read_predictdb(workspace.locate(parameters.weights))
    )
    results = _results(workspace, client, cube, measured, own, rest, database)
    coordinates = {name: cube[name].load() for name in ("gene_name", "contig", "tss", "strand")}
    network = combine_haplotypes(cube["prediction"], statistics.haplotypes).reset_coords(drop=True)
    network = network.sel(individual=rest).transpose("gene", "individual").load()
    predixcan = network.copy(data=np.stack([result.predicted for result in results]))
    has_model = np.isfinite(predixcan.values).any(axis=1, keepdims=True)
    y = measured.sel(individual=rest).transpose("gene", "individual")
    same = np.isfinite(network.values) & (np.isfinite(predixcan.values) | ~has_model)
    y = y.copy(data=np.where(same, y.values, np.nan))
    found: dict[str, xr.DataArray] = {}
    for name, values in (("predixcan", predixcan), ("network", network)):
        described = correlate(values, y)
        p = described["p_r"]
        q = benjamini_hochberg(p.values, statistics.nan_policy)
        found |= {f"r_{name}": described["r"], f"p_{name}": p, f"q_{name}": p.copy(data=q)}
    together = found["r_network"].copy(data=np.isfinite(y.values).sum(axis=1))
    counts = {
        name: ("gene", np.array([getattr(r, name) for r in results], dtype=np.int64))
        for name in _COUNTS
    }
    validated = {
        name: ("gene", np.array([getattr(r, name) for r in results], dtype=np.float64))
        for name in ("cv_r", "cv_r2", "cv_p")
    }
    dataset = xr.Dataset({"n_individuals": together, **found, **counts, **validated})
    dataset = dataset.reset_coords(drop=True).assign_coords(coordinates)
    dataset = dataset.drop_vars(
        [name for name in dataset.coords if name not in PREDIXCAN.variables]
    )
    dataset = dataset.assign_attrs(
        alpha=statistics.alpha,
        track=str(cube["track"].item()),
        recipe_hash=cube.attrs["recipe_hash"],
        parameters=json.dumps(plain(parameters), sort_keys=True),
        n_trained_on=len(own),
        n_evaluated=len(rest),
        without_model=json.dumps({r.gene: r.error for r in results if r.error}),
    )
    trained = None if database is not None else _database(results, dataset)
    return dataset, trained


def summary(workspace: Workspace) -> dict[str, Any]:
    """Return the headline counts of the stage, as the command line prints them."""
    compared = open_dataset(workspace.predixcan, PREDIXCAN).load()
    r = {name: compared[f"r_{name}"].values for name in ("predixcan", "network")}
    both = np.isfinite(r["predixcan"]) & np.isfinite(r["network"])
    alpha = compared.attrs["alpha"]
    counted = dataclasses.asdict(compare(r["predixcan"], r["network"]))
    return {
        "genes": int(both.size),
        "genes_with_model": int((compared["n_model"] > 0).sum()),
        "genes_with_both_r": counted["n"],
        "predixcan_r_above_0.2": counted["n_predixcan"],
        "network_r_above_0.2": counted["n_network"],
        "predixcan_abs_r_above_0.2": counted["n_predixcan_either_sign"],
        "network_abs_r_above_0.2": counted["n_network_either_sign"],
        "predixcan_significant": int((compared["q_predixcan"].values[both] <= alpha).sum()),
        "network_significant": int((compared["q_network"].values[both] <= alpha).sum()),
        "mean_r_predixcan": round(counted["mean_predixcan"], 4),
        "mean_r_network": round(counted["mean_network"], 4),
        "correlation_of_predixcan_r_and_network_abs_r": round(counted["r"], 4),
        "model_variants": int(compared["n_model"].sum()),
        "model_variants_found": int(compared["n_found"].sum()),
        "people_trained_on": int(compared.attrs["n_trained_on"]),
        "people_evaluated": int(compared.attrs["n_evaluated"]),
    }


def _trained_on(
    workspace: Workspace, train: TrainingPeople | None, people: Sequence[str]
) -> set[str]:
    """Return which of `people` the file names as those trained on."""
    if train is None:
        return set()
    path = workspace.locate(train.samples)
    rows = list(read_rows(path))
    at = 1
    if train.column is not None:
        header = rows[0][1] if rows else []
        if train.column not in header[1:]:
            raise SourceError(
                f"{path} has no column {train.column!r} behind its first, which has the "
                f"individuals{nearest(train.column, header[1:])}"
            )
        at, rows = header.index(train.column), rows[1:]
    widths = {len(cells) for _, cells in rows}
    if len(widths) != 1 or (train.column is None and not widths <= {1, 2}):
        raise SourceError(
            f"{path} has rows of {', '.join(map(str, sorted(widths))) or 'no'} cells, expected "
            f"individuals one a line, or beside each 'train' or something else; or name a column "
            f"of the table with 'column'"
        )
    named = [cells[0] for _, cells in rows if len(cells) == 1 or cells[at].strip() == "train"]
    found = set(named).intersection(people)
    if not found:
        raise SampleError(
            f"none of the {len(named)} people to train on in {path} has genotype, expression and "
            f"prediction: it names {', '.join(named[:3]) or 'nobody'}, the cube has "
            f"{', '.join(people[:3])}; use the same ids"
        )
    return found


def _results(
    workspace: Workspace,
    client: Client,
    cube: xr.Dataset,
    measured: xr.DataArray,
    own: Sequence[str],
    rest: Sequence[str],
    database: PredictDB | None,
) -> list[GeneResult]:
    """Predict all genes of the cube on the cluster, in its order."""
    parameters = workspace.recipe.stage(PrediXcan)
    genotypes = workspace.stores.genotypes
    job = ModelJob(
        genotypes=workspace.stores.genotypes_path,
        reference=workspace.stores.part_path("reference"),
        recipe_hash=str(cube.attrs["recipe_hash"]),
        own=genotypes.rows_of(own),
        rest=genotypes.rows_of(rest),
        parameters=parameters,
    )
    models = {} if database is None else _models(workspace, database)
    names = [str(name) for name in cube["gene"].values]
    if parameters.weights is not None and not models.keys() & set(names):
        raise GeneTableError(
            f"{workspace.locate(parameters.weights)} has no model of any of the {len(names)} genes "
            f"of the cube: it has {', '.join(list(models)[:3]) or 'none'}, the cube has "
            f"{', '.join(names[:3])}; give gene ids of Ensembl in both"
        )
    expression = measured.sel(individual=list(own)).transpose("gene", "individual").values
    items = []
    for row, name in enumerate(names):
        flank = parameters.window
        window = window_around(cube.isel(gene=row), 2 * flank + 1, flank)
        items.append(GeneModel(name, window, models.get(name), expression[row]))
    size = 1 if database is None else _GENES_A_TASK
    parts = [items[i : i + size] for i in range(0, len(items), size)]
    found: dict[str, GeneResult] = {}
    with progress.bar(total=len(items), label="predixcan", unit="genes") as bar:
        for part, result in submit_bounded(client, [(genes_predicted, 0)], parts, job):
            if isinstance(result, BaseException):
                raise result
            found.update({item.gene: item for item in result})
            bar.update(len(part))
    results = [found[name] for name in names]
    _refuse_uncovered(workspace, results, parameters)
    return results


def _models(workspace: Workspace, database: PredictDB) -> dict[str, pd.DataFrame]:
    """Return each gene's weights with where they are, contigs named as in the reference."""
    contigs, positions = database.sites()
    keyed = sorted(set(contigs) - {""})
    names = map_contigs(keyed, workspace.stores.reference.lengths, "the weights")
    placed = database.weights.assign(
        contig=[names.get(contig, "") for contig in contigs], position=positions
    )
    return {str(gene): rows for gene, rows in placed.groupby("gene", sort=False)}


def _refuse_uncovered(
    workspace: Workspace, results: Sequence[GeneResult], parameters: PrediXcan
) -> None:
    wanted, found = (sum(getattr(r, name) for r in results) for name in ("n_model", "n_found"))
    if parameters.weights is None or found >= parameters.min_coverage * wanted:
        return
    lacking = [key for result in results for key in result.lacking][:3]
    present = [key for result in results for key in result.present][:3]
    raise SourceError(
        f"{found} of {wanted} variants of the models in {workspace.locate(parameters.weights)} are "
        f"among the genotypes, expected a share of {parameters.min_coverage} (min_coverage): the "
        f"models have {', '.join(lacking)}, the genotypes have "
        f"{', '.join(present) or 'none near these genes'}; tried {KEY} by position and unordered "
        f"pair of alleles, then the rsid: is it the same genome build?"
    )


def _database(results: Sequence[GeneResult], compared: xr.Dataset) -> PredictDB:
    """Return the trained weights in the form of PredictDB."""
    kept = [result for result in results if result.trained is not None]
    columns = ["gene", "rsid", "varid", "ref_allele", "eff_allele", "weight"]
    tables = [result.trained for result in kept if result.trained is not None]
    weights = pd.concat(tables) if tables else pd.DataFrame(columns=columns)
    names = compared["gene_name"].to_series()
    p = np.array([result.cv_p for result in kept])
    genes = pd.DataFrame(
        {
            "gene": [result.gene for result in kept],
            "genename": [names[result.gene] for result in kept],
            "n_snps": [float(result.n_model) for result in kept],
            "r2": [result.cv_r**2 for result in kept],
            "p": p,
            "q": benjamini_hochberg(p),
        }
    )
    return PredictDB(weights.reset_index(drop=True).astype({"weight": np.float64}), genes)
