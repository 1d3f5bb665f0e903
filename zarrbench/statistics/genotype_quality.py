"""Quality of genotypes: how common and how complete variants are, and how complete people are."""

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from zarrbench.statistics.correlation import apply_along
from zarrbench.statistics.variants import variant_frequency

# What is said of variants, with dtypes
_OUTPUTS = {
    "effect_allele_frequency": np.float64,
    "minor_allele_frequency": np.float64,
    "carrier_frequency": np.float64,
    "n_called": np.int64,
    "variant_missing": np.float64,
    "hwe_p": np.float64,
}


def hardy_weinberg_p(dosage: ArrayLike) -> NDArray[np.float64]:
    """Return the p of the exact test for Hardy-Weinberg proportions, shape (...).

    The test of Wigginton, Cutler and Abecasis (2005, doi:10.1086/429864), computed by sgkit: the
    share of ways to pair the alleles that give a number of heterozygotes as unlikely as the one
    found, or more so; no mid-p. A small p speaks of genotyping errors, and likewise of structure,
    relatives or selection, which it does not tell apart.

    Parameters
    ----------
    dosage
        Shape (..., individual): copies 0, 1, 2 of an allele against all others; negative =
        missing. Whole numbers only, and diploid.

    Returns
    -------
    ndarray
        From 0 to 1; 1 where everybody has the same homozygous genotype, NaN where nobody is called.
    """
    # imported late: it compiles, and takes seconds
    from sgkit.stats.hwe import hardy_weinberg_p_value_vec_jit

    calls = np.asarray(dosage)
    heterozygous, other, effect = (
        np.asarray((calls == copies).sum(axis=-1), np.int64) for copies in (1, 0, 2)
    )
    called = (heterozygous + other + effect) > 0
    p = np.full(called.shape, np.nan)
    p[called] = hardy_weinberg_p_value_vec_jit(heterozygous[called], other[called], effect[called])
    return p


def variant_quality(dosage: xr.DataArray) -> xr.Dataset:
    """Return quality over the dimensions other than ``individual``, lazily where Dask is.

    Parameters
    ----------
    dosage
        Dims (..., individual): copies of the effect allele, -1 = missing.

    Returns
    -------
    xarray.Dataset
        effect_allele_frequency and minor_allele_frequency (of alleles), carrier_frequency (share of
        people with a copy), n_called, variant_missing (share of people without a call) and hwe_p.
        Shares are NaN where nobody is called.
    """
    return apply_along("individual", _of_variants, _OUTPUTS, dosage)


def individual_quality(dosage: xr.DataArray) -> xr.Dataset:
    """Return quality over the dimensions other than ``variant``, lazily where Dask is.

    Parameters
    ----------
    dosage
        Dims (variant, ...): copies of the effect allele, -1 = missing. A record with several
        alternative alleles has a row for each.

    Returns
    -------
    xarray.Dataset
        individual_missing, the share of rows without a call, and heterozygosity, the share of rows
        called with one copy (NaN without a call).
    """
    called = (dosage >= 0).sum("variant")
    single = (dosage == 1).sum("variant")
    return xr.Dataset(
        {
            "individual_missing": 1 - called / dosage.sizes["variant"],
            "heterozygosity": single / called.where(called > 0),
        }
    ).reset_coords(drop=True)


def _of_variants(calls: NDArray) -> tuple[NDArray, ...]:
    """Return the arrays named in `_OUTPUTS`."""
    found = variant_frequency(calls)
    missing = 1 - found.n_called / np.float64(calls.shape[-1])
    p = hardy_weinberg_p(calls)
    return found.allele, found.minor_allele, found.carrier, found.n_called, missing, p
