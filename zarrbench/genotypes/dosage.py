"""How many copies of each alternative allele everybody carries, lazily from a genotype store."""

from collections.abc import Iterable, Iterator

import dask
import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from zarrbench.genotypes.store import GenotypeStore

# Records of one Dask block, a few MB of calls for a thousand people; fewer for many more
_RECORDS, _BYTES = 16_384, 1 << 27
# Dosages that are yielded at once
_ROWS = 2048
# What is no allele: a record's unused columns, the missing allele, and what another record deletes
_NO_ALLELE = ("", ".", "*")


def allele_dosages(store: GenotypeStore, individuals: Iterable[str] | None = None) -> xr.Dataset:
    """Return the dosage of every alternative allele, one row each, in the order of the store.

    A record with several alternative alleles has a row for each of them. No policy of a store
    recipe applies: indels count as much as SNVs, and REF is not compared with the reference.

    Parameters
    ----------
    store : GenotypeStore
    individuals : iterable of str, optional
        In the order wanted; everybody by default.

    Returns
    -------
    xarray.Dataset
        Dask-backed `dosage` (variant, individual), int8: copies of `effect_allele` from 0 to 2, -1
        where an allele of the call is missing or the call is haploid. Along variant:
        `variant_contig` as the reference names it, `variant_position` (1-based), `other_allele`
        (REF) and `effect_allele` (ALT).

    Raises
    ------
    SampleError
        If an individual is not in the store.
    """
    names = store.samples if individuals is None else list(individuals)
    rows = store.rows_of(names)
    dataset = store.dataset()
    calls = dataset["call_genotype"].data
    if not np.array_equal(rows, np.arange(len(store.samples))):
        calls = calls[:, rows]
    size = min(_RECORDS, max(1, _BYTES // max(1, 2 * len(names))))
    calls = calls.rechunk((size, -1, -1))
    alleles = dataset["variant_allele"].values.astype(object)
    record, allele = np.nonzero(~np.isin(alleles[:, 1:], _NO_ALLELE))
    allele += 1
    starts = np.concatenate([[0], np.cumsum(calls.chunks[0])])
    blocks = []
    for number, part in enumerate(calls.to_delayed().ravel()):
        a, b = np.searchsorted(record, starts[number : number + 2])
        counted = dask.delayed(_copies)(part, record[a:b] - starts[number], allele[a:b])
        blocks.append(da.from_delayed(counted, (b - a, len(names)), np.int8))
    dosage = da.concatenate(blocks) if blocks else da.empty((0, len(names)), dtype=np.int8)
    contigs = np.array([store.contig_map.get(str(c), str(c)) for c in dataset["contig_id"].values])
    return xr.Dataset(
        {"dosage": (("variant", "individual"), dosage)},
        coords={
            "variant_contig": (
                "variant",
                contigs.astype(object)[dataset["variant_contig"].values[record]],
            ),
            "variant_position": (
                "variant",
                dataset["variant_position"].values[record].astype(np.int64),
            ),
            "other_allele": ("variant", alleles[record, 0]),
            "effect_allele": ("variant", alleles[record, allele]),
            "individual": np.array(names, dtype=object),
        },
    )


def dosage_blocks(dosage: xr.DataArray) -> Iterator[NDArray]:
    """Yield dosages (variant, individual) a few variants at a time, one Dask block in memory.

    What is made of them, floats mostly, is several times as large.
    """
    data = dosage.transpose("variant", "individual").data
    blocks = data.rechunk({1: -1}).blocks if isinstance(data, da.Array) else [data]
    for block in blocks:
        computed = np.asarray(block)
        for start in range(0, max(1, len(computed)), _ROWS):
            yield computed[start : start + _ROWS]


def _copies(calls: NDArray, record: NDArray[np.int64], allele: NDArray[np.int64]) -> NDArray:
    """Return the dosage (row, individual) of alleles of calls (record, individual, 2)."""
    if not np.array_equal(record, np.arange(len(calls))):
        calls = calls[record]
    wanted = allele.astype(calls.dtype)[:, np.newaxis]
    first, second = calls[..., 0], calls[..., 1]
    copies = (first == wanted).astype(np.int8) + (second == wanted)
    copies[(first < 0) | (second < 0)] = -1
    return copies
