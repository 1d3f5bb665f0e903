"""Which people have both genotype and expression, and why the others are left out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from zarrbench.errors import SampleError

KEPT = "genotype and expression"
NO_GENOTYPE = "no genotype"
NO_EXPRESSION = "no expression"
LATER_SAMPLE = "later sample of an individual"


@dataclass(frozen=True)
class Join:
    """The people that two inputs share.

    Parameters
    ----------
    individuals : tuple of str
        Those with genotype and expression, in the order of the genotypes.
    table : pd.DataFrame
        Columns sample, individual, kept (bool), reason: one row per expression sample, in the order
        of the expression, then one per individual without expression (its sample is empty).
    """

    individuals: tuple[str, ...]
    table: pd.DataFrame

    def counts(self) -> dict[str, int]:
        """Return the number of rows per reason, the kept ones first; free of ids, for reports."""
        reasons = self.table["reason"].value_counts()
        return {
            reason: int(reasons.get(reason, 0))
            for reason in (KEPT, LATER_SAMPLE, NO_GENOTYPE, NO_EXPRESSION)
        }


def join_samples(expression: xr.Dataset, genotype_samples: Sequence[str]) -> Join:
    """Join expression samples with the individuals of the genotypes, by id.

    Of several samples of one individual the first counts (METHODS section 8).

    Parameters
    ----------
    expression : xr.Dataset
        As `layouts.EXPRESSION` has it; its `individual` is compared with the genotypes.
    genotype_samples : sequence of str
        In the order of the genotype store.

    Raises
    ------
    SampleError
        If a genotype id stands twice, or none is shared.
    """
    genotyped = pd.Index([str(sample) for sample in genotype_samples], dtype=object)
    repeated = genotyped[genotyped.duplicated()].unique()
    if len(repeated) > 0:
        raise SampleError(
            f"the genotypes have {len(repeated)} sample ids more than once: "
            f"{', '.join(repeated[:3])}; rename or remove the copies"
        )
    samples = pd.DataFrame(
        {name: expression[name].values.astype(object) for name in ("sample", "individual")},
        dtype=object,
    )
    has_genotype = samples["individual"].isin(genotyped)
    later = samples["individual"].duplicated()
    samples["reason"] = np.select([~has_genotype, later], [NO_GENOTYPE, LATER_SAMPLE], default=KEPT)
    measured = genotyped.isin(samples["individual"])
    if not measured.any():
        raise SampleError(
            f"no individual has both genotype and expression: the genotypes have "
            f"{', '.join(genotyped[:3])}, the expression has "
            f"{', '.join(samples['individual'][:3])}; if they name the same people differently, "
            f"give a sample map (two columns: expression sample, individual in the genotypes)"
        )
    unmeasured = pd.DataFrame(
        {"sample": "", "individual": genotyped[~measured], "reason": NO_EXPRESSION}, dtype=object
    )
    table = pd.concat([samples, unmeasured], ignore_index=True)
    table.insert(2, "kept", table["reason"] == KEPT)
    return Join(tuple(genotyped[measured]), table)


def observed(expression: xr.Dataset, join: Join) -> xr.DataArray:
    """Return expression (gene, individual) of the joined people, labelled and ordered as `join`."""
    kept = join.table[join.table["kept"]].set_index("individual")["sample"]
    samples = kept.loc[list(join.individuals)].to_list()
    values = expression["expression"].sel(sample=samples).drop_vars("individual")
    individuals = np.array(join.individuals, dtype=object)
    return (
        values.rename(sample="individual")
        .assign_coords(individual=individuals)
        .transpose("gene", "individual")
    )
