"""The report stage: gather what the page shows from the stores, and write it."""

import io
import json
import math
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from zarrbench import ledger
from zarrbench.attributions.profiles import profile_of, profile_windows
from zarrbench.errors import RecipeError
from zarrbench.expression.samples import observed
from zarrbench.genome.coordinates import to_one_based
from zarrbench.genome.genes import sel_gene
from zarrbench.haplotypes.sequences import window_edits
from zarrbench.parameters import Expression, Report, Statistics
from zarrbench.predictions.cube import done_shards, open_cube, read_recipe
from zarrbench.predictions.plan import window_of
from zarrbench.predictions.readouts import combine_haplotypes
from zarrbench.provenance import PACKAGES, installed, plain, stamp
from zarrbench.remote import Place
from zarrbench.report.gene_views import GeneViews
from zarrbench.report.page import ReportInputs, write_report
from zarrbench.stages.attributions import summary as attributions_summary
from zarrbench.stages.concordance_table import ConcordanceTable
from zarrbench.stages.drivers import summary as drivers_summary
from zarrbench.stages.gene_drivers import read_concordance
from zarrbench.stages.gene_table import summary as gene_table_summary
from zarrbench.stages.genotype_quality import summary as genotype_summary
from zarrbench.stages.genotype_quality import warnings_of
from zarrbench.stages.motifs import cluster_table, largest_clusters
from zarrbench.stages.motifs import headline as motifs_headline
from zarrbench.stages.population import summary as population_summary
from zarrbench.stages.sensitivity import summary as sensitivity_summary
from zarrbench.stages.standing import standing as left_by
from zarrbench.stages.statistics import open_statistics, selected_track
from zarrbench.stages.track_weights import summary as weights_summary
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import get, write_text

# Headings of what further stages found
_TITLES = {
    "attributions": "Attributions",
    "drivers": "Drivers",
    "motifs": "Motifs of main drivers",
    "sensitivity": "Other choices",
    "genotype_quality": "Genotype quality",
    "population": "Across genes: reference prediction against mean expression",
    "track_weights": "All tracks by weight",
    "gene_table": "Gene table",
}
# Those that the page shows something of, beside statistics and predictions
_FURTHER = (*_TITLES, "predixcan")


def run_report(workspace: Workspace, timings: Mapping[str, float]) -> None:
    """Write report.html from the stores of a finished run.

    `timings` are the seconds of this run's stages; of the others the last known ones are shown.
    """
    timings = {**known_timings(workspace), **timings}
    write_report(workspace.report, report_inputs(workspace, timings))
    write_text(_record(workspace), json.dumps({**stamp(), "timings": timings}, indent=1))


def _record(workspace: Workspace) -> Place:
    return workspace.folder / "run.json"


def known_timings(workspace: Workspace) -> dict[str, float]:
    """Return the seconds of each stage when it ran last, as far as a report was written since."""
    before = get(_record(workspace))
    timings: dict[str, float] = json.loads(before)["timings"] if before is not None else {}
    return timings


def report_inputs(workspace: Workspace, timings: Mapping[str, float]) -> ReportInputs:
    """Return what the report of a run is made of, from its stores.

    Raises
    ------
    StoreLayoutError, RecipeError
        If there are no statistics, or not those of the pipeline file.
    """
    statistics = open_statistics(workspace)
    names = [str(g) for g in statistics["gene"].values]
    whole = open_cube(workspace.cube, incomplete="nan")
    parameters = workspace.recipe.stage(Statistics)
    cube = selected_track(whole.sel(gene=names), parameters)
    unfinished = None
    left_out = json.loads(statistics.attrs.get("left_out", "{}"))
    if len(names) + len(left_out) < whole.sizes["gene"]:
        unfinished = (
            f"This page shows {len(names)} of {whole.sizes['gene']} genes: the others failed, or "
            f"were not predicted yet."
        )
    report = workspace.recipe.stage(Report)
    found, absent = _standing(workspace)
    predicted = combine_haplotypes(cube["prediction"], parameters.haplotypes)
    # Of some predicted genes nobody measured any expression.
    measured = observed(workspace.expression, workspace.join).reset_coords(drop=True)
    measured = measured.reindex(gene=names)
    has_drivers = "drivers" in found
    # Several figures of a gene ask for its SNVs, and each reading looks through the whole table.
    variants = cache(lambda gene: read_concordance(workspace.concordance, gene))
    track = str(statistics.attrs["track"])
    strand_aware = workspace.recipe.model.spec().strand_aware
    return ReportInputs(
        title=report.title or workspace.recipe.name,
        statistics=statistics,
        predicted=predicted,
        observed=measured,
        facts=_facts(workspace, statistics, timings, found, absent),
        warnings=_warnings(workspace, statistics, found),
        individual_points=report.individual_points,
        unfinished=unfinished,
        variants=variants if has_drivers else None,
        genes=_asked_for(workspace, statistics, report),
        stages=found,
        absent=absent,
        dosage=lambda gene: _dosage(workspace, gene),
        profile=lambda gene: profile_of(found["attributions"], gene, track, strand_aware),
        profile_windows=cache(lambda: profile_windows(found["attributions"], track)),
        clusters=cluster_table(workspace) if "motifs" in found else None,
        cluster_motifs=lambda: largest_clusters(workspace, found["motifs"]),
        views=GeneViews(
            statistics,
            predicted,
            measured,
            report.individual_points,
            ConcordanceTable(workspace.concordance).rows if has_drivers else None,
        ),
    )


def _asked_for(workspace: Workspace, statistics: xr.Dataset, report: Report) -> list[str]:
    """Return the ids of the genes that the pipeline wants to see one by one."""
    found = []
    for name in report.genes:
        try:
            found.append(str(sel_gene(statistics, name)["gene"].item()))
        except RecipeError as error:
            raise RecipeError(f"{workspace.file}: stages.report.genes: {error}") from error
    return found


def _dosage(workspace: Workspace, gene: str) -> xr.DataArray:
    """Return the dosage (variant, individual) of the SNVs in the model's window of a gene."""
    stores = workspace.stores
    window = window_of(stores.genes.sel(gene=gene), workspace.recipe.model.spec())
    edits = window_edits(stores.genotypes, stores.reference, window, stores.recipe.policies)
    single = edits.take(np.flatnonzero((edits.ends - edits.starts == 1) & (edits.shifts == 0)))
    return xr.DataArray(
        single.dosage,  # of any alternative base
        dims=("variant", "individual"),
        coords={"variant": to_one_based(single.positions + window.start)},
    )


def _facts(
    workspace: Workspace,
    statistics: xr.Dataset,
    timings: Mapping[str, float],
    standing: Mapping[str, xr.Dataset],
    absent: Mapping[str, str],
) -> dict[str, dict[str, str]]:
    recipe, stores = workspace.recipe, workspace.stores
    made, built = read_recipe(workspace.cube), workspace.stores.facts()
    n_genes, n_individuals = made["genes"]["n"], made["individuals"]["n"]
    done = done_shards(workspace.cube).values()
    sequences = sum(entry.sequences for entry in done)
    checks = built["genotypes"]["checks"]
    left_out = pd.read_csv(io.BytesIO(get(workspace.left_out) or b""), sep="\t")
    reasons = left_out["reason"].value_counts()
    adjustment = (
        {"Choices: expression": _of_expression(workspace)} if workspace.adjusts_expression else {}
    )
    contigs = ", ".join(f"{n} ({count:,})" for n, count in checks["contigs"].items())
    return {
        "What was run": {
            "pipeline": f"{recipe.name}: {recipe.description}".strip(": "),
            "model": made["model"].get("name", made["model"]["kind"]),
            "track": f"{statistics.attrs['track']}: {statistics.attrs['track_description']}".strip(
                ": "
            ),
            "stores": f"{stores.recipe.name}: {stores.recipe.description}".strip(": "),
            "genes": f"{statistics.sizes['gene']:,} of {n_genes:,} planned",
            **{f"genes left out: {reason}": f"{n:,}" for reason, n in reasons.items()},
            "individuals": f"{n_individuals:,}",
            "distinct sequences predicted": f"{sequences:,}, with those of the reference, for "
            f"{2 * n_individuals * len({e.gene for e in done}):,} haplotypes",
        },
        "Samples joined": {k: f"{n:,}" for k, n in workspace.join.counts().items()},
        "Genotypes": {
            "variants by contig": contigs,
            "SNVs": f"{checks['n_snvs']:,}",
            "insertions and deletions": f"{checks['n_indels']:,}",
            "variants with MAF of 5 % or more": f"{checks['n_common_variants']:,}",
            "call rate": f"{checks['call_rate']:.4%}",
            "REF alleles that contradict the reference": f"{checks['n_ref_mismatches']:,}",
            "contig names": _renamed(checks["contig_map"]),
        },
        **_of_stages(workspace, standing, absent, str(statistics.attrs["track"])),
        "Choices: haplotypes": _flat(made["policies"]),
        "Choices: model": _flat(made["model"]),
        "Choices: predictions": _flat(made["predict"]),
        **adjustment,
        "Choices: statistics": _flat(json.loads(statistics.attrs["parameters"])),
        "Inputs": {
            f"{part}: {Path(name).name}": f"{_bytes(state['size'])}, {state['sha256']}"
            for part, facts in built.items()
            for name, state in facts["files"].items()
        },
        "Timings": {
            **{f"{stage}, last run": f"{seconds:.1f} s" for stage, seconds in timings.items()},
            **{
                f"{step}, all shards": f"{seconds:.1f} s on the workers"
                for step, seconds in ledger.seconds_by_step(done).items()
            },
        },
        "Software": {
            **installed(PACKAGES),
            "python": str(stamp()["python"]),
            "platform": str(stamp()["platform"]),
            "recipe fingerprint": str(statistics.attrs["recipe_hash"]),
        },
    }


def _warnings(
    workspace: Workspace, statistics: xr.Dataset, standing: Mapping[str, xr.Dataset]
) -> list[str]:
    found = []
    checks = workspace.stores.facts()["genotypes"]["checks"]
    if checks["n_unphased_heterozygous"]:
        found.append(
            f"{checks['n_unphased_heterozygous']:,} heterozygous calls carry no phase; their "
            f"alleles were taken in the order of the VCF, so that haplotypes are arbitrary."
        )
    for name, count in checks["unmapped_contigs"].items():
        found.append(
            f"{count:,} variants on {name!r} were left out: the reference has no such contig."
        )
    undefined = int(statistics["r"].isnull().sum())
    if undefined:
        found.append(
            f"{undefined} genes have no r: their prediction or expression does not vary across "
            f"people. None counts as significant."
        )
    left_out = Counter(json.loads(statistics.attrs.get("left_out", "{}")).values())
    for reason, count in left_out.items():
        found.append(f"{count:,} predicted genes are not shown: {reason}.")
    if "genotype_quality" in standing:
        found += warnings_of(standing["genotype_quality"])
    weighted = standing.get("track_weights")
    if weighted is not None and not weighted.attrs["n_tracks_with_weight"]:
        found.append(
            "No track has a weight, so that all people and genes have the offset alone: a fit ends "
            "so where no track predicts the mean of genes on other contigs."
        )
    covariates = workspace.stores.recipe.expression.covariates
    if covariates is not None and not workspace.adjusts_expression:
        found.append(
            "The expression was taken as it stands: its covariates are stored, not removed."
        )
    for gene, reason in json.loads(statistics.attrs["without_null"]).items():
        found.append(f"{gene} has no null: {reason}")
    software = {entry.software for entry in done_shards(workspace.cube).values()}
    if len(software) > 1:
        found.append(f"The cube was filled by several versions: {'; '.join(sorted(software))}.")
    few = int((statistics["null_effective_variants"] < 3).sum())
    if few and statistics.attrs["statistic"] == "signed":
        found.append(
            f"{few} gene{' has' if few == 1 else 's have'} fewer than 3 effectively independent "
            f"variants: the null is far from normal; look at the empirical p there."
        )
    return found


def _standing(workspace: Workspace) -> tuple[dict[str, xr.Dataset], dict[str, str]]:
    """Return what further stages of the pipeline found, by stage; and why others are not shown."""
    results = {
        stage: left_by(workspace, stage) for stage in _FURTHER if stage in workspace.recipe.stages
    }
    found = {stage: one for stage, one in results.items() if isinstance(one, xr.Dataset)}
    return found, {stage: one for stage, one in results.items() if isinstance(one, str)}


def _of_stages(
    workspace: Workspace,
    standing: Mapping[str, xr.Dataset],
    absent: Mapping[str, str],
    track: str,
) -> dict[str, dict[str, str]]:
    """Return what further stages found, counts and r, no ids; and which cannot be shown."""
    found: dict[str, dict[str, str]] = {}
    if "genotype_quality" in standing:
        found[_TITLES["genotype_quality"]] = {
            name.replace("_", " "): f"{value:,}" if isinstance(value, int) else str(value)
            for name, value in genotype_summary(standing["genotype_quality"]).items()
        }
    if "attributions" in standing:
        attributed = attributions_summary(standing["attributions"])
        found[_TITLES["attributions"]] = {
            name.replace("_", " "): f"{value:,}" for name, value in attributed.items()
        }
    if "drivers" in standing:
        told = _flat(drivers_summary(standing["drivers"]))
        told["drivers of every gene"] = told.pop("drivers")
        found[_TITLES["drivers"]] = told
    if "motifs" in standing:
        told = _flat(motifs_headline(workspace))
        told["clusters of sequences with either allele"] = told.pop("clusters")
        found[_TITLES["motifs"]] = told
    if "sensitivity" in standing:
        found[_TITLES["sensitivity"]] = _flat(sensitivity_summary(standing["sensitivity"]))
    if "population" in standing:
        found[_TITLES["population"]] = {
            f"{subset} ({row['genes']:,} genes)": f"r = {row['pearson_r']:.3f}, of ranks "
            f"{row['spearman_r']:.3f}"
            for subset, row in population_summary(standing["population"], track).items()
        }
    if "track_weights" in standing:
        found[_TITLES["track_weights"]] = _of_weights(weights_summary(standing["track_weights"]))
    if "gene_table" in standing:
        counted = gene_table_summary(standing["gene_table"])
        lists = counted.pop("fine_mapped")
        found[_TITLES["gene_table"]] = {
            **{name.replace("_", " "): f"{value:,}" for name, value in counted.items()},
            **{
                f"fine-mapped, {name} ({row['genes']:,} genes with r)": f"{row['negative']:,} "
                f"with r < 0; |r| against the {row['other_genes']:,} others: z = "
                f"{row['z']:.2f}, p = {row['p']:.2g}"
                for name, row in lists.items()
            },
        }
    for stage, title in _TITLES.items():
        if stage in absent:
            found[title] = {"not shown": absent[stage]}
    return found


def _of_weights(headline: Mapping[str, Any]) -> dict[str, str]:
    """Return the headline of the track_weights stage as texts."""
    rows = headline["across_genes"]
    plainly = {name: value for name, value in headline.items() if name != "across_genes"}
    return {
        **{name.replace("_", " "): str(value) for name, value in plainly.items()},
        **{
            f"across {row['genes']:,} genes: {name.replace('_', ' ')}": f"r = "
            f"{row['pearson_r']:.3f}, of ranks {row['spearman_r']:.3f}"
            for name, row in rows.items()
        },
    }


def _of_expression(workspace: Workspace) -> dict[str, str]:
    """Return how the expression was made: what was asked for, and what came of it."""
    made = workspace.expression
    covariates = {
        f"covariates {what}": ", ".join(json.loads(made.attrs[f"covariates_{what}"])) or "none"
        for what in ("removed", "constant", "collinear")
    }
    return {
        **_flat(plain(workspace.recipe.stage(Expression))),
        "unit": str(made.attrs["unit"]),
        **covariates,
        "genes below the threshold": f"{made.attrs['n_genes_not_expressed']:,}",
        "genes without a count or variance": f"{int(made['flagged'].sum()):,}",
    }


def _renamed(contig_map: Mapping[str, str]) -> str:
    renamed = [f"{old} → {new}" for old, new in contig_map.items() if old != new]
    return ", ".join(renamed) if renamed else "as in the reference"


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested choices as ``a.b: value`` texts."""
    flat: dict[str, str] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        elif isinstance(value, list) and len(value) > 8:
            flat[f"{prefix}{key}"] = f"{len(value)} items"
        else:
            flat[f"{prefix}{key}"] = "none" if value in (None, [], {}) else _plainly(value)
    return flat


def _plainly(value: Any) -> str:
    """Return a choice or a number as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "undefined" if math.isnan(value) else f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(_plainly, value))
    return str(value)


def _bytes(size: int | None) -> str:
    return "" if size is None else f"{size:,} bytes"
