"""What tables do not say unless people are asked for: what a few people decide.

The mean of a gene that one person has expression of is that person's. A slope with the mean of a
gene gives the expression of a lone carrier away, and its sign says on which side of the mean that
person is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr
from numpy.typing import NDArray

from zarrbench.exports.rows import Rows
from zarrbench.figures.disclosure import MINIMUM_PEOPLE, genes_of_many
from zarrbench.layouts import GENE_STATISTICS
from zarrbench.remote import reading
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import exists, open_dataset

FEW_CARRIERS = f"fewer than {MINIMUM_PEOPLE} people carry the rarer allele"
FEW_PEOPLE = f"fewer than {MINIMUM_PEOPLE} people decide it"
FEW_SAMPLES = f"fewer than {MINIMUM_PEOPLE} samples beside those compared take part"
#: in which rows of a block of a table
Marks: TypeAlias = Callable[[pd.DataFrame], NDArray[np.bool_]]
#: the same, given the workspace and the store of the stage, of which it reads what it needs
Rule: TypeAlias = Callable[[Workspace, xr.Dataset], Marks]
# Shares are divided and multiplied by the people called: whole numbers but for the last digits
_DIGITS = 6


@dataclass(frozen=True)
class Hidden:
    """What is missing from a table without people.

    Attributes
    ----------
    columns : tuple of str
        What is made missing; columns that the table has not are passed over.
    rule : Rule
        In which rows.
    why : str
        What is true of these rows.
    """

    columns: tuple[str, ...]
    rule: Rule
    why: str = FEW_CARRIERS

    def applied(
        self, rows: Rows, workspace: Workspace, found: xr.Dataset
    ) -> tuple[Rows, list[int]]:
        """Return the table without that, and a list that gets the rows of each block it is read."""
        names = [name for name in self.columns if name in rows.schema.names]
        schema = rows.schema
        counts: list[int] = []
        marks = self.rule(workspace, found)
        for name in names:
            place = schema.get_field_index(name)
            schema = schema.set(place, self._told(schema.field(place)))

        def blocks() -> Iterator[pd.DataFrame]:
            for block in rows.blocks:
                few = marks(block)
                counts.append(int(few.sum()))
                yield block.assign(**{name: _missing(block[name], few) for name in names})

        return Rows(schema, blocks()), counts

    def _told(self, field: pa.Field) -> pa.Field:
        """Return a column whose meaning says when it is missing."""
        meaning = (field.metadata or {})[b"description"].decode()
        return field.with_metadata({"description": f"{meaning}; missing where {self.why}"})


def _missing(column: pd.Series, few: NDArray[np.bool_]) -> pd.Series:
    """Return a column that is missing in some rows, of the kind it was."""
    if column.dtype.kind in "iub":
        column = column.astype("boolean" if column.dtype.kind == "b" else "Int64")
    return column.mask(few)


def by_count(workspace: Workspace, found: xr.Dataset) -> Marks:
    """Mark SNVs by `minor_carriers`, which the drivers stage counted of the gene's people."""
    return lambda block: np.asarray(block["minor_carriers"] < MINIMUM_PEOPLE)


def by_frequency(workspace: Workspace, found: xr.Dataset) -> Marks:
    """Mark variants by their frequencies among the people called, and where nobody is called.

    With f of the alleles and c of the people, 2 f - c of the people have two copies, since they
    count twice in f and once in c, and 2 (c - f) one. Who has not the commonest genotype counts: of
    an allele that is rare, these are its carriers. Of a gene with expression of fewer people (`n`),
    those without it may be among them: they are taken off. Dosages that were imputed count as
    carriers where they may have a part of a copy.
    """

    def marks(block: pd.DataFrame) -> NDArray[np.bool_]:
        called, share = block["n_called"], block["carrier_frequency"]
        twice = 2 * block["effect_allele_frequency"]
        commonest = np.maximum(np.maximum(1 - share, 2 * share - twice), twice - share)
        carriers = called * (1 - commonest)
        if "n" in block:
            carriers = carriers - (called - block["n"])
        return ~np.asarray(carriers.round(_DIGITS) >= MINIMUM_PEOPLE)

    return marks


def of_drivers(gene: str, position: str) -> Rule:
    """Return what marks the rows of drivers with few carriers, named by these two columns."""

    def rule(workspace: Workspace, found: xr.Dataset) -> Marks:
        rare = _rare_drivers(workspace)
        return lambda block: np.asarray(
            pd.MultiIndex.from_frame(block[[gene, position]]).isin(rare)
        )

    return rule


def genes_with_one(workspace: Workspace, found: xr.Dataset) -> Marks:
    """Mark genes with such a driver: with the other drivers known, a share tells of it."""
    rare = _rare_drivers(workspace).get_level_values("gene_id")
    return lambda block: np.asarray(block["gene_id"].isin(rare))


def clusters_with_one(workspace: Workspace, found: xr.Dataset) -> Marks:
    """Mark clusters of motifs with such a driver: a count tells of it as a share does."""
    drivers = pd.MultiIndex.from_arrays(
        [found["driver_gene"].values.astype(object), found["driver_position"].values]
    )
    rare = drivers.isin(_rare_drivers(workspace))
    members = {
        (str(base), int(cluster))
        for base, clusters in zip(found["base"].values, found["cluster"].values, strict=True)
        for cluster in clusters[rare]
    }

    def marks(block: pd.DataFrame) -> NDArray[np.bool_]:
        named = zip(block["base"], block["cluster"], strict=True)
        return np.array([name in members for name in named], dtype=bool)

    return marks


def _rare_drivers(workspace: Workspace) -> pd.MultiIndex:
    """Return gene_id and variant_position of the forward drivers that few carry."""
    key = ["gene_id", "variant_position"]
    filters = [("is_driver", "==", True), ("minor_carriers", "<", MINIMUM_PEOPLE)]
    with reading(workspace.concordance), workspace.concordance.open("rb") as handle:
        table = pq.read_table(handle, columns=key, filters=filters).to_pandas()
    return pd.MultiIndex.from_frame(table)


def of_few_people(workspace: Workspace, found: xr.Dataset) -> Marks:
    """Mark genes that fewer people decide (`figures.disclosure.genes_of_many`), or nobody.

    Also rows that count their people themselves, as those that PrediXcan was compared on.
    """
    people = workspace.people_of_genes
    many = set(people.index[people >= MINIMUM_PEOPLE])
    if exists(workspace.statistics):
        known = genes_of_many(open_dataset(workspace.statistics, GENE_STATISTICS))
        many -= set(known["gene"].values[~known.values].tolist())

    def marks(block: pd.DataFrame) -> NDArray[np.bool_]:
        few = ~block["gene_id"].isin(many)
        if "n_individuals" in block:
            few |= block["n_individuals"] < MINIMUM_PEOPLE
        return np.asarray(few)

    return marks


def of_few_samples(workspace: Workspace, found: xr.Dataset) -> Marks:
    """Mark every gene if fewer samples are of nobody joined: means of both give back theirs."""
    others = workspace.expression.sizes["sample"] - len(workspace.join.individuals)
    return lambda block: np.full(len(block), 0 < others < MINIMUM_PEOPLE)


_FREQUENCIES = ("effect_allele_frequency", "minor_allele_frequency", "carrier_frequency")
_SUPPORTED = ("unsupported", "p_more", "p_fewer", "q_more", "q_fewer")

GENES = Hidden(
    (
        "mean_observed", "sd_observed", "mean_predicted", "sd_predicted", "mean_finetuned",
        "sd_finetuned", "mean_track", "sd_track", "mean_log2cpm", "target", "r", "p_r", "pearson_r",
        "p", "r_finetuned", "p_finetuned", "r_track", "p_track", "r_predixcan", "p_predixcan",
        "q_predixcan", "r_network", "p_network", "q_network", "cv_r", "cv_r2", "cv_p", "r_linear",
        "r_linear_gradient", "r_ism_gradient", "fraction_supported", "fraction_unsupported",
        "examined", "group", "null_mean", "null_sd", "null_rms", "null_t", "null_p", "null_q",
        "null_count", "minus_log10_p", "minus_log10_q", "significant", "found_sign", "recovered",
    ),
    of_few_people,
    FEW_PEOPLE,
)  # fmt: skip
SAMPLES = Hidden(("mean_log2cpm",), of_few_samples, FEW_SAMPLES)
CONCORDANCE = Hidden(
    (
        *_FREQUENCIES, "carriers", "minor_carriers", "slope", "se", "p_slope", "r_slope",
        "r_single", "p_single", "r_running", "increment", "loss", "round_impact", "first_impact",
        "support",
    ),
    by_count,
)  # fmt: skip
EQTL = Hidden((*_FREQUENCIES, "slope", "se", "t", "p", "r"), by_frequency)
FREQUENCIES = Hidden((*_FREQUENCIES, "hwe_p"), by_frequency)
DRIVER_GENES = Hidden(("fraction_supported", "fraction_unsupported"), genes_with_one)
MOTIF_GENES = Hidden(("support",), of_drivers("gene_id", "position"))
CLUSTERS = Hidden(_SUPPORTED, clusters_with_one)
CLUSTER_MEMBERS = Hidden(("driver_support",), of_drivers("driver_gene", "driver_position"))
