"""One file of ``stores/``: where a cohort comes from, part by part."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from zarrbench.genotypes.policies import Policies
from zarrbench.recipes import check_folder_name, load_yaml, parse
from zarrbench.simulation import Simulation
from zarrbench.sources import Source


@dataclass(frozen=True)
class GenotypeSource:
    """Phased VCF, BCF (bgzip and index beside it) or an existing VCF Zarr, folder or URL.

    Parameters
    ----------
    source : Source
    index : Source, optional
        The ``.tbi`` or ``.csi``; needed only where it must be downloaded.
    regions : tuple of str
        ``CONTIG`` or ``CONTIG:START-END`` (1-based) to keep; everything by default.
    samples : Source, optional
        Text file with one sample id a line; everybody by default.
    """

    source: Source
    index: Source | None = None
    regions: tuple[str, ...] = ()
    samples: Source | None = None


@dataclass(frozen=True)
class ReferenceSource:
    """FASTA, plain or bgzip-compressed; `contigs` to keep (all by default)."""

    source: Source
    contigs: tuple[str, ...] = ()


@dataclass(frozen=True)
class GeneSource:
    """Gene annotation: GTF, GFF3 or a table with a header."""

    source: Source


@dataclass(frozen=True)
class ExpressionSource:
    """Expression by gene and sample, as it stands.

    Parameters
    ----------
    source : Source
        TSV, BED-like (as QTLtools uses) or parquet.
    unit : str
        What the numbers are; shown in the report.
    covariates : Source, optional
    sample_map : Source, optional
        Two columns with a header: expression sample, id of the same person in the genotypes.
    """

    source: Source
    unit: str = ""
    covariates: Source | None = None
    sample_map: Source | None = None


@dataclass(frozen=True)
class StoresRecipe:
    """One file of ``stores/``: where a cohort comes from and how doubtful calls are treated."""

    name: str
    genotypes: GenotypeSource
    reference: ReferenceSource
    genes: GeneSource
    expression: ExpressionSource
    description: str = ""
    policies: Policies = dataclasses.field(default_factory=Policies)
    simulate: Simulation | None = None
    truth: Source | None = None


def load_stores_recipe(path: Path) -> StoresRecipe:
    """Read one file of ``stores/``."""
    recipe = parse(StoresRecipe, load_yaml(path), str(path))
    check_folder_name(recipe.name, path)
    return recipe
