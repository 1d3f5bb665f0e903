"""PrediXcan on the real cohort, without a network: sums from the VCF, and people shuffled."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pysam
import pytest
from scipy import stats

from zarrbench.expression.samples import join_samples, observed
from zarrbench.genome.genes import window_around
from zarrbench.parameters import PrediXcan, TrainingPeople
from zarrbench.predictdb import read_predictdb
from zarrbench.sources import Source
from zarrbench.stages.gene_models import GeneModel, ModelJob, genes_predicted
from zarrbench.statistics.correlation import pearson
from zarrbench.stores import StoreFamily

pytestmark = pytest.mark.realdata

ROOT = Path(__file__).parent.parent.parent
DATABASE = "predixcan/geuvadis_chr22_enet_halfsplit.db"
SHUFFLED = 30  # genes


@pytest.fixture(scope="module")
def stores(realdata, tmp_path_factory) -> StoreFamily:
    data = tmp_path_factory.mktemp("geuvadis")
    stores = StoreFamily(ROOT / "stores/geuvadis_chr22.yaml", data, realdata)
    stores.build()
    return stores


@pytest.fixture(scope="module")
def halves(stores, realdata) -> tuple[list[str], list[str]]:
    split = pd.read_csv(realdata / "genotypes/samples.tsv", sep="\t", index_col=0).enet_split
    people = stores.genotypes.samples
    own, rest = ([p for p in people if split[p] == half] for half in ("train", "test"))
    assert (len(own), len(rest)) == (180, 178)
    return own, rest


@pytest.fixture(scope="module")
def expression(stores) -> pd.DataFrame:
    values = observed(stores.expression, join_samples(stores.expression, stores.genotypes.samples))
    return pd.DataFrame(values.values, values.gene.values, values.individual.values)


@pytest.fixture(scope="module")
def job(stores, halves) -> Callable[..., ModelJob]:
    def of(parameters: PrediXcan) -> ModelJob:
        own, rest = map(stores.genotypes.rows_of, halves)
        return ModelJob(
            stores.genotypes_path, stores.part_path("reference"), "", own, rest, parameters
        )

    return of


@pytest.fixture(scope="module")
def windows(stores) -> Callable[[str, int], object]:
    genes = stores.genes
    row_of = {str(gene): row for row, gene in enumerate(genes.gene.values)}

    def around(gene: str, flank: int) -> object:
        return window_around(genes.isel(gene=row_of[gene]), 2 * flank + 1, flank)

    return around


def test_given_weights_are_summed_as_the_vcf_says(
    stores, halves, job, windows, expression, realdata
):
    """By key and by rsid (the ids of the VCF); r of ranks is what the database says of itself."""
    path = realdata / DATABASE
    database = read_predictdb(path)
    contigs, positions = database.sites()
    placed = database.weights.assign(contig=contigs, position=positions)
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT * FROM weights").fetchall()
        extra = 'SELECT gene, "pred.perf.R2" FROM extra'
        published = {gene.split(".")[0]: r2 for gene, r2 in connection.execute(extra)}
    by_gene: dict[str, list[tuple]] = {}
    for _, gene, varid, ref, effect, weight in rows:
        by_gene.setdefault(gene.split(".")[0], []).append((varid, ref, effect, weight))
    vcf = pysam.VariantFile(str(realdata / "genotypes/geuvadis_eur358.chr22_16-22Mb.hg19.vcf.gz"))
    vcf.subset_samples(halves[1])
    calls = {
        (record.pos, record.ref, record.alts[0]): [sum(record.samples[p]["GT"]) for p in halves[1]]
        for record in vcf
    }
    parameters = PrediXcan(Source(str(path)), window=600_000)
    checked = by_rsid = 0
    for gene, model in by_gene.items():
        keys = [(int(varid.split("_")[1]), ref, effect) for varid, ref, effect, _ in model]
        if not all(key in calls for key in keys):
            continue
        own = placed[placed.gene == gene].reset_index(drop=True)
        item = GeneModel(gene, windows(gene, 600_000), own, np.empty(0))
        [found] = genes_predicted(job(parameters), [item])
        expected = sum(
            weight * np.array(calls[key]) for key, (*_, weight) in zip(keys, model, strict=True)
        )
        np.testing.assert_allclose(found.predicted, expected, rtol=1e-9, atol=1e-12)
        assert (found.n_model, found.n_found, found.n_swapped) == (len(model), len(model), 0)
        ranks = stats.norm.ppf((stats.rankdata(expression.loc[gene, halves[1]]) - 0.5) / 178)
        r = float(pearson(found.predicted, ranks).r)
        assert r**2 == pytest.approx(published[gene], abs=0.03)
        turned = own.assign(
            ref_allele=own.eff_allele, eff_allele=own.ref_allele, weight=-own.weight
        )
        [other] = genes_predicted(
            job(parameters), [GeneModel(gene, item.window, turned, item.expression)]
        )
        assert other.n_swapped == len(model)
        np.testing.assert_allclose(np.diff(other.predicted), np.diff(expected), atol=1e-9)
        unkeyed = own.assign(contig="", position=-1, varid="")
        [named] = genes_predicted(
            job(parameters), [GeneModel(gene, item.window, unkeyed, item.expression)]
        )
        assert named.n_found == own.rsid.str.startswith("22_").sum()
        by_rsid += named.n_found
        checked += 1
    assert checked >= 15
    assert by_rsid > 0


def held_out(job, windows, expression, halves, genes, orders) -> np.ndarray:
    """Held-out r of weights trained with each gene's own order of people; NaN without weights."""
    own, rest = halves
    y = np.take_along_axis(expression.loc[genes, own + rest].to_numpy(), orders, axis=1)
    people = TrainingPeople(Source("unused"))
    parameters = PrediXcan(train=people, window=20_000, folds=3, min_cv_r=-1, max_cv_p=1)
    items = [
        GeneModel(gene, windows(gene, 20_000), None, values[: len(own)])
        for gene, values in zip(genes, y, strict=True)
    ]
    found = genes_predicted(job(parameters), items)
    return pearson(np.stack([one.predicted for one in found]), y[:, len(own) :]).r


@pytest.mark.slow
def test_held_out_r_of_shuffled_people_is_centred_on_zero(stores, job, windows, expression, halves):
    placed = dict(zip(map(str, stores.genes.gene.values), stores.genes.tss.values, strict=True))
    genes = [g for g in expression.index if 17_500_000 < placed.get(g, 0) < 21_900_000][:SHUFFLED]
    everyone = np.tile(np.arange(358), (len(genes), 1))
    real = held_out(job, windows, expression, halves, genes, everyone)
    orders = np.random.default_rng(1).permuted(everyone, axis=1)
    chance = held_out(job, windows, expression, halves, genes, orders)
    chance, real = chance[np.isfinite(chance)], real[np.isfinite(real)]
    assert chance.size >= 8
    error = 1 / np.sqrt(176 * chance.size)  # of the mean of r between strangers
    assert abs(chance.mean()) < 3 * error
    assert np.abs(chance).max() < 4 / np.sqrt(176)
    assert real.mean() > chance.mean() + 5 * error
    assert (real > 0.2).sum() >= 3
