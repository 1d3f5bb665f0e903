"""What workers do for the predixcan stage: apply a gene's weights, or train and apply them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zarrbench.errors import SourceError, ZarrbenchError
from zarrbench.genome.coordinates import Window
from zarrbench.genotypes.effect_alleles import (
    AlternativeAlleles,
    alternative_alleles,
    match_effect_alleles,
)
from zarrbench.genotypes.store import GenotypeStore
from zarrbench.parameters import PrediXcan
from zarrbench.predictdb import variant_keys
from zarrbench.predictions.worker import opened
from zarrbench.remote import Place
from zarrbench.statistics.null import gene_generator
from zarrbench.statistics.predixcan import train_elastic_net, weighted_dosage

# Variants of a model that lie further apart are read apart
_GAP = 100_000
_EXAMPLES = 3


@dataclass(frozen=True)
class ModelJob:
    """What all tasks share; `own` and `rest` are rows of people trained on and of the others."""

    genotypes: Path | str
    reference: Place
    recipe_hash: str
    own: NDArray[np.int64]
    rest: NDArray[np.int64]
    parameters: PrediXcan


@dataclass(frozen=True)
class GeneModel:
    """One gene.

    Attributes
    ----------
    gene : str
    window : Window
        The bases around its TSS from which variants are taken for training.
    weights : pd.DataFrame, optional
        Rows of `PredictDB.weights` with contig and 0-based position (-1 = unknown); None: it has no
        model, or it is to be trained.
    expression : float64 (individual,)
        Of the people trained on.
    """

    gene: str
    window: Window
    weights: pd.DataFrame | None
    expression: NDArray[np.float64]


@dataclass(frozen=True)
class GeneResult:
    """PrediXcan of one gene for the people not trained on, and what was found of its model.

    `trained` are its weights in the form of PredictDB, if they were trained and are worth it;
    `lacking` and `present` a few keys of variants that the genotypes lack, and have.
    """

    gene: str
    predicted: NDArray[np.float64]
    n_model: int = 0
    n_found: int = 0
    n_swapped: int = 0
    n_other_strand: int = 0
    n_absent: int = 0
    n_trained_on: int = 0
    cv_r: float = np.nan
    cv_r2: float = np.nan
    cv_p: float = np.nan
    trained: pd.DataFrame | None = None
    lacking: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    error: str = ""


def genes_predicted(job: ModelJob, genes: Sequence[GeneModel]) -> list[GeneResult]:
    """Predict some genes, from the store on disk (runs on a worker)."""
    return [_predicted_or_reason(job, gene) for gene in genes]


def _predicted_or_reason(job: ModelJob, gene: GeneModel) -> GeneResult:
    genotypes, _ = opened(job.genotypes, job.reference, job.recipe_hash)
    try:
        if job.parameters.weights is None:
            return _trained(job, gene, genotypes)
        if gene.weights is not None:
            return _applied(job, gene, gene.weights, genotypes)
        return GeneResult(gene.gene, np.full(job.rest.size, np.nan))
    except SourceError:  # genotypes behind a URL: of no gene in particular
        raise
    except ZarrbenchError as error:
        return GeneResult(gene.gene, np.full(job.rest.size, np.nan), error=str(error))


def _trained(job: ModelJob, gene: GeneModel, genotypes: GenotypeStore) -> GeneResult:
    parameters = job.parameters
    everyone = np.concatenate([job.own, job.rest])
    alleles = _alleles(genotypes, gene.window, everyone)
    inside = (alleles.positions >= gene.window.start) & (alleles.positions < gene.window.end)
    candidates = np.flatnonzero(inside)
    dosage = alleles.dosage(candidates)
    own, rest = dosage[:, : job.own.size], dosage[:, job.own.size :]
    net = train_elastic_net(
        own, gene.expression, parameters.folds, gene_generator(parameters.seed, gene.gene)
    )
    chosen = np.flatnonzero(net.weights)
    validated = GeneResult(
        gene.gene,
        np.full(job.rest.size, np.nan),
        n_trained_on=net.n,
        cv_r=net.r,
        cv_r2=net.r2,
        cv_p=net.p,
    )
    good = np.nan_to_num(net.r) > parameters.min_cv_r
    if not chosen.size or not good or np.nan_to_num(net.p, nan=1.0) > parameters.max_cv_p:
        return validated
    rows = candidates[chosen]
    called = (rest[chosen] >= 0).any(axis=1)
    references, alternatives = alleles.references[rows], alleles.alternatives[rows]
    table = pd.DataFrame(
        {
            "gene": gene.gene,
            "rsid": alleles.ids[rows],
            "varid": variant_keys(
                gene.window.contig,
                alleles.positions[rows],
                references,
                alternatives,
                parameters.build,
            ),
            "ref_allele": references,
            "eff_allele": alternatives,
            "weight": net.weights[chosen],
        }
    )
    return GeneResult(
        gene.gene,
        weighted_dosage(rest[chosen], net.weights[chosen]),
        n_model=chosen.size,
        n_found=int(called.sum()),
        n_absent=int((~called).sum()),
        n_trained_on=net.n,
        cv_r=net.r,
        cv_r2=net.r2,
        cv_p=net.p,
        trained=table,
    )


def _applied(
    job: ModelJob, gene: GeneModel, weights: pd.DataFrame, genotypes: GenotypeStore
) -> GeneResult:
    contig = gene.window.contig
    # Models are of variants near their gene: one on another contig is not there.
    own_contig = (weights["contig"] == contig).to_numpy(bool)
    positions = np.where(own_contig, weights["position"].to_numpy(np.int64), -1)
    rsids = weights["rsid"].to_numpy(object)
    if (positions < 0).any():
        positions = _placed(genotypes, gene.window, positions, rsids)
    effect, other = (weights[name].to_numpy(object) for name in ("eff_allele", "ref_allele"))
    size = len(weights)
    dosage = np.full((size, job.rest.size), -1, dtype=np.int8)
    swapped, other_strand = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    present: list[str] = []
    known = np.unique(positions[positions >= 0])
    for run in np.split(known, np.flatnonzero(np.diff(known) > _GAP) + 1):
        if not run.size:
            continue
        region = Window(contig, int(run[0]), int(run[-1]) + 1)
        alleles = _alleles(genotypes, region, job.rest)
        here = np.flatnonzero((positions >= run[0]) & (positions <= run[-1]))
        matched = match_effect_alleles(positions[here], effect[here], other[here], alleles)
        hit = matched.rows >= 0
        dosage[here[hit]] = alleles.dosage(matched.rows[hit], matched.swapped[hit])
        swapped[here], other_strand[here] = matched.swapped, matched.other_strand
        present += _keys(job, contig, alleles)
    found = (dosage >= 0).any(axis=1)
    if not present:
        present = _keys(job, contig, _alleles(genotypes, gene.window, job.rest))
    names = np.where(weights["varid"] != "", weights["varid"], weights["rsid"])
    return GeneResult(
        gene.gene,
        weighted_dosage(dosage, weights["weight"].to_numpy(np.float64), swapped),
        n_model=size,
        n_found=int(found.sum()),
        n_swapped=int((found & swapped).sum()),
        n_other_strand=int(other_strand.sum()),
        n_absent=int((~found & ~other_strand).sum()),
        lacking=tuple(names[~found][:_EXAMPLES]),
        present=tuple(present[:_EXAMPLES]),
    )


def _alleles(
    genotypes: GenotypeStore, region: Window, individuals: NDArray[np.int64]
) -> AlternativeAlleles:
    start = max(0, region.start)
    records = genotypes.records(region.contig, start, region.end, individuals)
    return alternative_alleles(records, genotypes.ids(region.contig, start, region.end))


def _placed(
    genotypes: GenotypeStore, window: Window, positions: NDArray[np.int64], rsids: NDArray
) -> NDArray[np.int64]:
    """Fill in positions that are unknown by rsid; an id that stands at two positions is none."""
    start = max(0, window.start)
    at = genotypes.records(window.contig, start, window.end, np.array([], dtype=np.int64)).positions
    places: dict[str, set[int]] = {}
    for position, text in zip(
        at.tolist(), genotypes.ids(window.contig, start, window.end), strict=True
    ):
        for one in str(text).split(";"):
            places.setdefault(one, set()).add(position)
    places.pop("", None)
    filled = positions.copy()
    for i in np.flatnonzero(positions < 0):
        found = places.get(str(rsids[i]), set())
        if len(found) == 1:
            [filled[i]] = found
    return filled


def _keys(job: ModelJob, contig: str, alleles: AlternativeAlleles) -> list[str]:
    few = slice(0, _EXAMPLES)
    pairs = alleles.references[few], alleles.alternatives[few]
    return variant_keys(contig, alleles.positions[few], *pairs, job.parameters.build)
