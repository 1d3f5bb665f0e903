"""The genotype_quality stage: variants and people of the genotypes; a store and three tables."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr
from numpy.typing import NDArray

from zarrbench import progress
from zarrbench.genotypes.dosage import allele_dosages, dosage_blocks
from zarrbench.layouts import GENOTYPE_QUALITY
from zarrbench.parameters import GenotypeQuality
from zarrbench.remote import Place
from zarrbench.stages.workspace import Workspace
from zarrbench.statistics.genotype_components import genotype_components
from zarrbench.statistics.genotype_quality import individual_quality, variant_quality
from zarrbench.statistics.kinship import related_pairs
from zarrbench.statistics.linkage import ld_pruned
from zarrbench.storage import exists, open_dataset, published, write_dataset
from zarrbench.tables import write_table

# Rows of the table of variants that are in memory at once
_ROWS = 500_000
# Below this p a variant counts as far from Hardy-Weinberg proportions in the summary
_FAR = 1e-6
# Standard deviations from strangers at which few of their pairs are left
_DEVIATIONS = 4


def run_genotype_quality(workspace: Workspace) -> xr.Dataset:
    """Compute, write and return the quality of all variants and people of the genotype store.

    What was computed from the same genotypes with the same choices is kept.

    Raises
    ------
    GenotypeError
        If there are too few variants or people for the components.
    SampleError
        If there are too many people for components.
    """
    standing = standing_quality(workspace)
    if standing is not None:
        return standing
    parameters = workspace.recipe.stage(GenotypeQuality)
    found, pairs = cohort_quality(allele_dosages(workspace.stores.genotypes), parameters)
    found.attrs["inputs"] = workspace.genotype_inputs
    variants, individuals, related = workspace.genotype_tables
    _write_variants(found, variants)
    write_table(_individuals(found), individuals)
    write_table(pairs, related)
    # The store last: it says what the others were made from.
    write_dataset(found, workspace.genotype_quality, GENOTYPE_QUALITY)
    return found


def standing_quality(workspace: Workspace) -> xr.Dataset | None:
    """Return what the stage wrote, None if it is not there or something has changed since."""
    if not all(map(exists, (workspace.genotype_quality, *workspace.genotype_tables))):
        return None
    found = open_dataset(workspace.genotype_quality, GENOTYPE_QUALITY).load()
    return found if found.attrs.get("inputs") == workspace.genotype_inputs else None


def cohort_quality(
    dosages: xr.Dataset, parameters: GenotypeQuality
) -> tuple[xr.Dataset, pd.DataFrame]:
    """Return quality as `layouts.GENOTYPE_QUALITY` says, and the pairs of related people.

    Dosages are read three times, block by block: once for variants and people, for the common
    variants once to leave out linked ones, and for the rest once for components and at least once
    for kinship. What is held of all variants is what is returned of them.

    Parameters
    ----------
    dosages : xr.Dataset
        As `zarrbench.genotypes.dosage.allele_dosages` returns it.
    parameters : GenotypeQuality

    Returns
    -------
    xr.Dataset, pd.DataFrame
        In memory; the pairs as `zarrbench.statistics.kinship.Relatives` has them.
    """
    dosage = dosages["dosage"].reset_coords(drop=True)
    found = xr.merge(
        [variant_quality(dosage), individual_quality(dosage)], compat="equals", join="exact"
    ).compute()
    common = (found["minor_allele_frequency"] >= parameters.min_maf) & (
        found["variant_missing"] <= parameters.max_missing
    )
    rows = np.flatnonzero(common.values)
    candidates = dosage.isel(variant=rows)
    unlinked = ld_pruned(
        _progressing(candidates, "linkage"),
        dosages["variant_contig"].values[rows],
        dosages["variant_position"].values[rows],
        parameters.ld_window,
        parameters.max_r2,
    )
    chosen = dosage.isel(variant=rows[unlinked])
    names = [str(name) for name in dosages["individual"].values]
    relatives = related_pairs(lambda: dosage_blocks(chosen), names, parameters.min_kinship)
    pairs = relatives.pairs
    counted = pd.concat([pairs["individual_1"], pairs["individual_2"]]).value_counts()
    alleles = ("variant_contig", "variant_position", "other_allele", "effect_allele")
    found = found.assign(_components(chosen, parameters.n_components).variables)
    together = found.assign(
        in_components=("variant", np.isin(np.arange(common.size), rows[unlinked])),
        n_related=("individual", counted.reindex(names, fill_value=0).to_numpy(np.int64)),
    ).assign_coords(
        {
            **{name: ("variant", dosages[name].values) for name in alleles},
            "individual": np.array(names, dtype=object),
        }
    )
    return together.assign_attrs(
        n_related_pairs=len(pairs),
        min_kinship=parameters.min_kinship,
        kinship_scatter=relatives.scatter,
    ), pairs


def summary(found: xr.Dataset) -> dict[str, Any]:
    """Return headline counts, without any id, as the command line and the report show them."""
    return {
        "people": found.sizes["individual"],
        "variants": found.sizes["variant"],
        "variants_with_maf_from_5_percent": int((found["minor_allele_frequency"] >= 0.05).sum()),
        "variants_far_from_hardy_weinberg": int((found["hwe_p"] < _FAR).sum()),
        "largest_share_of_people_without_a_call": _rounded(found["variant_missing"].max()),
        "mean_share_of_variants_without_a_call": _rounded(found["individual_missing"].mean()),
        "common_variants_not_linked": int(found["in_components"].sum()),
        "related_pairs": int(found.attrs["n_related_pairs"]),
        "kinship_scatter_of_strangers": _rounded(found.attrs["kinship_scatter"]),
        "variance_explained_by_first_components": [
            _rounded(value) for value in found.get("explained", np.empty(0))[:3]
        ],
    }


def warnings_of(found: xr.Dataset) -> list[str]:
    """Return what a reader of the report must know, without any id."""
    pairs, bound = int(found.attrs["n_related_pairs"]), float(found.attrs["min_kinship"])
    scatter = float(found.attrs["kinship_scatter"])
    if not pairs:
        return []
    said = f"{pairs:,} pairs of people have a kinship of {bound:g} or more"
    if scatter > bound / _DEVIATIONS:
        return [
            f"{said}, but that of strangers scatters by {scatter:.2g}: these variants are too few, "
            f"or too near each other, to tell relatives."
        ]
    return [f"{said}: every p across people takes them as independent."]


def _components(chosen: xr.DataArray, n_components: int) -> xr.Dataset:
    """Return the components of people with their names; of none, nothing."""
    if n_components == 0:
        return xr.Dataset()
    made = genotype_components(_progressing(chosen, "components"), n_components)
    names = np.array([f"genotype_pc{i + 1}" for i in range(n_components)], dtype=object)
    return xr.Dataset(
        {
            "component": ("component", names),
            "genotype_components": (("component", "individual"), made.scores),
            "eigenvalue": ("component", made.eigenvalues),
            "explained": ("component", made.explained),
        }
    )


def _progressing(dosage: xr.DataArray, label: str) -> Iterator[NDArray]:
    with progress.bar(total=dosage.sizes["variant"], label=label, unit="variants") as bar:
        for block in dosage_blocks(dosage):
            yield block
            bar.update(len(block))


def _write_variants(found: xr.Dataset, path: Place) -> None:
    """Write one row a variant, in the order of the store, some at a time."""
    of_variant = found[[n for n, v in GENOTYPE_QUALITY.variables.items() if v.dims == ("variant",)]]
    parts = (
        pa.Table.from_pandas(_frame(of_variant.isel(variant=slice(row, row + _ROWS))))
        for row in range(0, max(1, found.sizes["variant"]), _ROWS)
    )
    first = next(parts)
    with published(path) as temporary, pq.ParquetWriter(temporary, first.schema) as writer:
        writer.write_table(first)
        for part in parts:
            writer.write_table(part)


def _individuals(found: xr.Dataset) -> pd.DataFrame:
    """Return one row a person: ids, not for reports."""
    names = [n for n, v in GENOTYPE_QUALITY.variables.items() if v.dims == ("individual",)]
    table = _frame(found[names])
    if "component" in found:
        scores = found["genotype_components"].transpose("component", "individual").values
        table = table.assign(**dict(zip(map(str, found["component"].values), scores, strict=True)))
    return table


def _frame(part: xr.Dataset) -> pd.DataFrame:
    """Return the variables of one dimension as columns."""
    # pandas takes only object strings of the kinds in which zarr and xarray hold them
    return pd.DataFrame(
        {
            str(name): array.values.astype(object) if array.dtype.kind in "UT" else array.values
            for name, array in part.variables.items()
        }
    )


def _rounded(value: Any) -> float:
    return float(f"{float(value):.4g}")
