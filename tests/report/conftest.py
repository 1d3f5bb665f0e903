"""A made-up run whose report holds single genes: numbers of people and SNVs are all known."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from zarrbench import layouts
from zarrbench.genotypes import policies
from zarrbench.report.gene_views import SNV_COLUMNS, GeneViews
from zarrbench.report.page import ReportInputs
from zarrbench.statistics.null import STATISTICS

GENES, PEOPLE, SNVS, BINS = 60, 150, 40, 100
HOSTILE = "</script><script>alert('x')</script>"


def statistics() -> xr.Dataset:
    """Of 60 genes; r falls from 0.8 to -0.8, the last has none; beyond 0.5 they are significant."""
    rng = np.random.default_rng(5)
    sizes = {"gene": GENES, "statistic": 5, "case": len(policies.CASES), "null_bin": BINS}
    made = {
        "string": lambda shape: np.full(shape, "chr22", object),
        "float": lambda shape: rng.uniform(0.01, 0.99, shape),
        "int": lambda shape: rng.integers(1, 900, shape),
        "bool": lambda shape: np.zeros(shape, bool),
    }
    variables = {
        name: (kind.dims, made[kind.kind](tuple(sizes[d] for d in kind.dims)))
        for name, kind in layouts.GENE_STATISTICS.variables.items()
        if not kind.optional or name.startswith("null")
    }
    r = np.linspace(0.8, -0.8, GENES)
    r[-1] = np.nan
    names = [f"NAME{i}" for i in range(GENES)]
    names[1], names[2] = HOSTILE, '<img src=x onerror="alert(1)">'
    significant = np.repeat((np.abs(np.nan_to_num(r)) > 0.5)[:, None], 5, axis=1)
    counts = np.zeros((GENES, BINS), int)
    counts[:, :10] = 5
    variables |= {
        "gene": ("gene", np.array([f"ENSG{i:07d}" for i in range(GENES)], object)),
        "gene_name": ("gene", np.array(names, object)),
        "n_individuals": ("gene", np.full(GENES, PEOPLE)),
        "r": ("gene", r),
        "statistic": ("statistic", np.array(STATISTICS, object)),
        "case": ("case", np.array(list(policies.CASES), object)),
        "significant": (("gene", "statistic"), significant),
        "null_bin": ("null_bin", np.arange(BINS) / BINS),
        "null_count": (("gene", "null_bin"), counts),
    }
    attributes = {
        "statistic": "signed", "alpha": 0.05, "count_rule": "q_le_alpha", "track": "T",
        "track_description": "", "draws": 50,
    }  # fmt: skip
    dataset = xr.Dataset(variables, attrs=attributes)
    layouts.GENE_STATISTICS.check(dataset, Path("x"))
    return dataset


def concordance(gene: int) -> pd.DataFrame:
    """Rows of the concordance table of a gene: the first five SNVs have too few carriers."""
    rng = np.random.default_rng(100 + gene)
    ism, slope = rng.normal(0, 0.01, SNVS), rng.normal(0, 1, SNVS)
    driver = np.arange(SNVS) >= SNVS - 3
    table = pd.DataFrame(
        {
            "gene_id": f"ENSG{gene:07d}",
            "distance": np.linspace(-9000, 9000, SNVS).astype(int),
            "other_allele": "A",
            "effect_allele": rng.choice(list("CGT"), SNVS),
            "carrier_frequency": rng.uniform(0.04, 1, SNVS),
            "minor_carriers": np.where(np.arange(SNVS) < 5, 4, 50),
            "ism": ism,
            "slope": slope,
            "is_driver": driver,
            "increment": np.where(driver, 0.1 * np.arange(SNVS) - 3, 0.0),
            "support": np.sign(ism * slope).astype(int),
        }
    )
    assert tuple(table) == SNV_COLUMNS
    return table


class Rows:
    """What gives the rows of genes, and remembers who was asked for; gene 3 has none."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, genes: Sequence[str]) -> pd.DataFrame:
        self.asked += genes
        rows = [concordance(int(gene[4:])) for gene in genes if gene != "ENSG0000003"]
        return pd.concat([concordance(0)[:0], *rows], ignore_index=True)


def made_inputs() -> ReportInputs:
    found = statistics()
    rng = np.random.default_rng(7)
    labels = {
        "gene": found["gene"].values,
        "individual": [f"HG{i:05d}" for i in range(PEOPLE)],
    }
    observed = xr.DataArray(
        rng.normal(5, 1, (GENES, PEOPLE)), dims=("gene", "individual"), coords=labels
    )
    predicted = 0.5 * observed + rng.normal(0, 1, (GENES, PEOPLE))
    views = GeneViews(found, predicted, observed, variants=Rows())
    return ReportInputs("Made up", found, predicted, observed, facts={}, views=views)


@pytest.fixture
def inputs() -> ReportInputs:
    """What the report of the made-up run is made of."""
    return made_inputs()


@pytest.fixture(scope="module")
def shared_inputs() -> ReportInputs:
    """The same, for several tests that change nothing."""
    return made_inputs()
