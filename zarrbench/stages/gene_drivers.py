"""What workers do for the drivers stage: all that is known of the SNVs of a gene, side by side.

And the table of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import xarray as xr
from numpy.typing import NDArray

from zarrbench.errors import RecipeError, StoreLayoutError
from zarrbench.genome.bases import LETTERS
from zarrbench.genome.coordinates import Window, to_one_based
from zarrbench.genotypes.policies import Policies
from zarrbench.haplotypes.sequences import window_edits
from zarrbench.haplotypes.snvs import snvs
from zarrbench.predictions.worker import opened
from zarrbench.remote import Place, place, storage_options
from zarrbench.statistics.concordance import COLUMNS, concordance
from zarrbench.statistics.drivers import DriverRule
from zarrbench.storage import exists
from zarrbench.tables import plain_column

_LETTERS = np.array(list(LETTERS), dtype=object)
_POSITION = "variant_position"
OF_GENE = ("gene_name", "contig", "tss", "strand")
_OF_SNV = (
    _POSITION, "other_allele", "effect_allele", "effect_allele_frequency", "carrier_frequency",
    "n_called",
)  # fmt: skip

#: the table of all SNVs; where genes have none, or no reason, its types cannot be told from them
SCHEMA = pa.schema(
    [
        ("gene_id", pa.string()), ("gene_name", pa.string()), ("contig", pa.string()),
        ("tss", pa.int64()), ("strand", pa.string()), ("variant_position", pa.int64()),
        ("other_allele", pa.string()), ("effect_allele", pa.string()),
        ("effect_allele_frequency", pa.float64()), ("carrier_frequency", pa.float64()),
        ("n_called", pa.int64()), ("carriers", pa.int64()), ("minor_carriers", pa.int64()),
        ("distance", pa.int64()),
        ("ism", pa.float64()), ("gradient", pa.float64()),
        *((name, pa.from_numpy_dtype(dtype)) for name, dtype in COLUMNS.items()),
        ("reason", pa.string()),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class DriversJob:
    """What all tasks share; `individuals` are rows of the genotype store."""

    genotypes: Path | str
    reference: Place
    policies: Policies
    individuals: NDArray[np.int64]
    rule: DriverRule
    recipe_hash: str


@dataclass(frozen=True)
class GeneItem:
    """One gene: its SNVs, and what is predicted and observed of each individual."""

    gene: str
    window: Window
    snvs: pd.DataFrame
    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]


@dataclass(frozen=True)
class GeneResult:
    """What is found of one gene."""

    gene: str
    table: pd.DataFrame
    r_linear: float
    r_linear_gradient: float
    r_ism_gradient: float
    reason: str
    n_variants: int


def snv_tables(attributions: xr.Dataset, runs: xr.Dataset) -> Iterator[pd.DataFrame]:
    """Yield what the attributions say of the SNVs of some genes, one row each.

    `runs` says where those of each gene are; all that lies between the first and the last is read.
    """
    first, size = runs["first_variant"].values, runs["n_variants"].values
    start, stop = int(first.min()), int((first + size).max())
    names = [*_OF_SNV, "ism", "reason", *(["gradient"] if "gradient" in attributions else [])]
    block = attributions[names].isel(variant=slice(start, stop)).load()
    columns = {name: plain_column(block[name].values) for name in names}
    columns.setdefault("gradient", np.full(stop - start, np.nan))
    genes = attributions[list(OF_GENE)].sel(gene=runs["gene"].values).load()
    for row, gene in enumerate(runs["gene"].values):
        here = slice(int(first[row]) - start, int(first[row] + size[row]) - start)
        of_gene = {name: genes[name].values[row] for name in OF_GENE}
        table = pd.DataFrame({name: column[here] for name, column in columns.items()})
        distance = table[_POSITION] - of_gene["tss"]
        yield pd.DataFrame({"gene_id": str(gene), **of_gene}, table.index).join(
            table.assign(distance=distance)
        )


def genes_drivers(job: DriversJob, items: Sequence[GeneItem]) -> list[GeneResult]:
    """Find the drivers of some genes, from the genotypes on disk (runs on a worker)."""
    return [_gene_drivers(job, item) for item in items]


def _gene_drivers(job: DriversJob, item: GeneItem) -> GeneResult:
    genotypes, reference = opened(job.genotypes, job.reference, job.recipe_hash)
    codes = reference.codes(item.window)
    # Of everybody, since everybody decides which alternative is the most frequent.
    chosen = snvs(window_edits(genotypes, reference, item.window, job.policies), codes)
    table, dosage = item.snvs, chosen.dosage[:, job.individuals]
    if table.empty:  # of a gene that failed in the stage before
        dosage = dosage[:0]
    elif not (
        np.array_equal(to_one_based(chosen.positions + item.window.start), table[_POSITION])
        and np.array_equal(_LETTERS[chosen.alternative], table["effect_allele"])
    ):
        raise RecipeError(
            f"the attributions of {item.gene} are of other SNVs than the genotypes now hold; "
            f"remove attributions.parts and run the stage again"
        )
    gradient = table["gradient"].to_numpy()
    found = concordance(
        table["ism"].to_numpy(),
        None if np.isnan(gradient).all() else gradient,
        dosage,
        table[_POSITION].to_numpy(),
        item.predicted,
        item.observed,
        job.rule,
    )
    carriers = np.count_nonzero(dosage > 0, axis=1)
    measured = dosage[:, np.isfinite(item.observed)]
    of_genotype = np.stack([np.count_nonzero(measured == copies, axis=1) for copies in range(3)])
    minor = of_genotype.sum(axis=0) - of_genotype.max(axis=0)
    return GeneResult(
        item.gene,
        table.assign(carriers=carriers, minor_carriers=minor, **found.variants),
        found.r_linear,
        found.r_linear_gradient,
        found.r_ism_gradient,
        found.reason,
        int(table["ism"].notna().sum()),
    )


def read_concordance(path: Place | str, gene: str | None = None) -> pd.DataFrame:
    """Return the table of all SNVs that the stage wrote, or of those of one gene.

    One row a gene and SNV: place and alleles; frequencies among everybody sequenced; `carriers` of
    the effect allele among the people predicted; `minor_carriers`, how many of those with
    expression have not the commonest genotype (where they are few, a slope tells of them); `ism`
    and `gradient`; the regression of expression on the dosage (`slope` per effect allele, `se`,
    `p_slope`, `r_slope`, `n`); what makes it a driver; and `support` (1, -1 or 0).

    Parameters
    ----------
    path : path, or URL as text
        The file `concordance.parquet` of a run.
    gene : str, optional
        Unversioned id; only the parts of the file that have it are read.

    Raises
    ------
    StoreLayoutError
        If there is no such file.
    """
    path = place(path)
    if not exists(path):
        raise StoreLayoutError(f"there is no table {path}; run the drivers stage first")
    filters = None if gene is None else [("gene_id", "==", gene)]
    table: pd.DataFrame = pd.read_parquet(
        str(path), filters=filters, storage_options=storage_options(path)
    )
    return table
