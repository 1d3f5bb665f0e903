"""The typed errors of zarrbench and the exit codes of its command line.

Every message says what was wrong, where, what was expected and found, and what to do, in one
sentence that needs no traceback.
"""

EXIT_OK = 0
EXIT_UNEXPECTED = 1
EXIT_BAD_INPUT = 2
EXIT_INCOMPLETE = 3
EXIT_NOT_REPRODUCED = 4


class ZarrbenchError(Exception):
    """Base of every error that zarrbench raises on purpose."""

    exit_code = EXIT_BAD_INPUT


class RecipeError(ZarrbenchError):
    """A YAML file (stores, pipeline, cluster) cannot be read or asks for something impossible."""


class SourceError(ZarrbenchError):
    """A source file is missing, unreadable, truncated or not in the promised format."""


class StorageError(ZarrbenchError):
    """The place that stores are written to failed: disk full, read-only, not permitted."""


class StoreLayoutError(ZarrbenchError):
    """A store is missing, of another format version, or lacks a variable."""


class DamagedStoreError(ZarrbenchError):
    """Objects of a store are not what was written."""


class ContigError(ZarrbenchError):
    """Contig names of two inputs do not match, or a window leaves its contig."""


class ReferenceMismatchError(ZarrbenchError):
    """REF alleles contradict the reference sequence."""


class GenotypeError(ZarrbenchError):
    """Genotypes that cannot be turned into two haplotypes: haploid calls, conflicting records."""


class UnphasedGenotypeError(GenotypeError):
    """A heterozygous call carries no phase."""


class SampleError(ZarrbenchError):
    """Samples are duplicated, unknown, or two inputs share none."""


class GeneTableError(ZarrbenchError):
    """The gene annotation has no genes, duplicates, or cannot be matched to the expression."""


class ExpressionError(ZarrbenchError):
    """The expression table has text in a cell, duplicates, or nothing but missing values."""


class ModelInputError(ZarrbenchError):
    """The model file is missing or does not fit its description."""


class UnknownGraphError(ModelInputError):
    """The graph of a SavedModel is not built as the released Enformer's is."""


class IncompleteCubeError(ZarrbenchError):
    """A prediction cube lacks shards that a reader asked for, or a run left some undone."""

    exit_code = EXIT_INCOMPLETE


class ClusterError(ZarrbenchError):
    """The Dask cluster could not be started or does not offer what the run needs."""


class NotReproducedError(ZarrbenchError):
    """Published tables give other numbers than they did as they were released."""

    exit_code = EXIT_NOT_REPRODUCED
