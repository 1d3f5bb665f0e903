"""Slopes of every gene on every variant near its TSS: labelled, lazy, ragged by gene.

The variants of a gene are a run of rows of one table, and its pairs a run of flat arrays; `of_gene`
and `tidy` put them together again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import dask
import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from zarrbench.errors import GeneTableError, SampleError
from zarrbench.genome.genes import one_gene
from zarrbench.layouts import EQTL
from zarrbench.recipes import nearest
from zarrbench.remote import Place, place
from zarrbench.statistics.slopes import Slopes, slopes
from zarrbench.statistics.variants import variant_frequency
from zarrbench.storage import open_dataset

# Bytes of dosages that one Dask block may read: its pairs are at most as many as its variants
_BLOCK_BYTES = 1 << 27
# Few pairs are shared among this many blocks all the same, each worth a Dask task
_BLOCKS, _LEAST = 16, 8192
_PAIR = {field.name: np.int64 if field.name == "n" else np.float64 for field in fields(Slopes)}
_ALLELE = ("variant_contig", "variant_position", "other_allele", "effect_allele")
_FREQUENCY = (
    "effect_allele_frequency",
    "minor_allele_frequency",
    "carrier_frequency",
    "n_called",
)


def cis_slopes(
    dosages: xr.Dataset,
    expression: xr.DataArray,
    window: int,
    covariates: xr.DataArray | None = None,
) -> xr.Dataset:
    """Regress every gene on every variant within `window` bases of its TSS.

    As `zarrbench.statistics.slopes.slopes` does it, for the people whose labels all inputs share,
    in the order of `dosages`. No dosage is read before the result is.

    Parameters
    ----------
    dosages : xr.Dataset
        `dosage` (variant, individual) with variant_contig, variant_position (1-based),
        other_allele and effect_allele, as `zarrbench.genotypes.dosage.allele_dosages` returns it:
        contig after contig, positions rising.
    expression : xr.DataArray
        Dims gene and individual, with the coordinates contig and tss (1-based).
    window : int
        A variant is near a gene if ``|variant_position - tss| <= window``.
    covariates : xr.DataArray, optional
        Dims covariate and individual; people with a value that is not finite are left out.

    Returns
    -------
    xr.Dataset
        Over (pair): slope (units of expression per copy of effect_allele), se, t, p, r and n.
        Over (variant), those near a gene: the alleles, and of the people here
        effect_allele_frequency, minor_allele_frequency, carrier_frequency (share of people with a
        copy) and n_called. Over (gene): first_variant, first_pair and n_pairs: the pairs from
        first_pair on are those with the variants from first_variant on.

    Raises
    ------
    SampleError
        If the inputs share nobody, or one names somebody twice.
    GeneTableError
        If positions do not rise within a contig, or a contig comes twice.
    """
    people = _shared_people(dosages, expression, covariates)
    expression = expression.sel(individual=people)
    if not np.array_equal(dosages["individual"].values, people):  # a copy, if they are in memory
        dosages = dosages.sel(individual=people)
    y = expression.transpose("gene", "individual").values.astype(np.float64)
    extra = None
    if covariates is not None:
        extra = covariates.sel(individual=people).transpose("individual", "covariate").values
    first, last = _near(dosages, expression, window)
    kept, first, last = _needed(dosages.sizes["variant"], first, last)
    if not kept.all():
        dosages = dosages.isel(variant=np.flatnonzero(kept))
    # In the order of the genome a block of pairs needs one run of variants.
    order = np.lexsort([last, first])
    offsets = np.concatenate([[0], np.cumsum((last - first)[order])])
    first_pair = np.empty(len(y), dtype=np.int64)
    first_pair[order] = offsets[:-1]
    calls = _lazy(dosages["dosage"].transpose("variant", "individual").data)
    pairs = _Pairs(y[order], first[order], last[order], offsets)
    return xr.Dataset(
        {
            **{name: ("pair", array) for name, array in _lazy_slopes(calls, pairs, extra).items()},
            **{name: ("variant", array) for name, array in _lazy_frequencies(calls).items()},
            "first_variant": ("gene", first),
            "first_pair": ("gene", first_pair),
            "n_pairs": ("gene", last - first),
        },
        coords={
            **{name: dosages[name].variable for name in _ALLELE},
            **{name: c.variable for name, c in expression.coords.items() if c.dims == ("gene",)},
        },
        attrs={"window": window, "n_individuals": len(people)},
    )


def open_eqtl(path: Place | str) -> xr.Dataset:
    """Open the slopes that the stage `eqtl` wrote, lazily; see `cis_slopes` for what it holds.

    Parameters
    ----------
    path : path, or URL as text
        The folder `eqtl.zarr` of a run.

    Raises
    ------
    StoreLayoutError
        If there is none, or it has another format.
    """
    return open_dataset(place(path), EQTL)


def of_gene(found: xr.Dataset, gene: str) -> xr.Dataset:
    """Return the pairs of one gene over (variant), with `distance` = position - TSS, lazily.

    Raises
    ------
    GeneTableError
        If there is no such gene.
    """
    one = one_gene(found, gene)
    pair, variant = int(one["first_pair"]), int(one["first_variant"])
    size = int(one["n_pairs"])
    part = one.isel(pair=slice(pair, pair + size), variant=slice(variant, variant + size))
    part = part.drop_vars(["first_variant", "first_pair", "n_pairs"]).rename(pair="variant")
    return part.assign_coords(distance=part["variant_position"] - part["tss"])


def tidy(found: xr.Dataset, genes: Iterable[str] | None = None) -> pd.DataFrame:
    """Return one row a pair, gene after gene, with what is known of both beside it.

    Reads what it returns: of millions of pairs ask for some genes at a time.

    Raises
    ------
    GeneTableError
        If there is no such gene.
    """
    names = found["gene"].values if genes is None else np.array(list(genes), dtype=object)
    unknown = [str(name) for name in names if name not in found.indexes["gene"]]
    if unknown:
        raise GeneTableError(
            f"no gene {unknown[0]!r} here{nearest(unknown[0], map(str, found['gene'].values))}"
        )
    rows = found.indexes["gene"].get_indexer(pd.Index(names))
    first_pair, first_variant, size = (
        found[name].values[rows] for name in ("first_pair", "first_variant", "n_pairs")
    )
    within = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    of_pair = {"gene": np.repeat(rows, size), "pair": np.repeat(first_pair, size) + within,
               "variant": np.repeat(first_variant, size) + within}  # fmt: skip
    columns = {}
    for name, array in found.variables.items():
        [dim] = array.dims
        if name not in ("first_pair", "first_variant", "n_pairs"):
            values = array.isel({dim: _run(of_pair[str(dim)])}).values
            # pandas takes only object strings of the kinds in which zarr and xarray hold them
            columns[str(name)] = values.astype(object) if values.dtype.kind in "UT" else values
    table = pd.DataFrame(columns)
    table["distance"] = table["variant_position"] - table["tss"]
    known = [name for name in columns if found[name].dims == ("gene",) and name != "gene"]
    return table[["gene", *known, *_ALLELE, "distance", *_FREQUENCY, *_PAIR]]


def _run(index: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Return an index as a slice where it is one: that is read faster."""
    if index.size and (np.diff(index) == 1).all():
        return slice(int(index[0]), int(index[-1]) + 1)
    return index


def _lazy(calls: NDArray | da.Array) -> da.Array:
    """Return dosages as a Dask array with all people in each block; what is in memory stays there.

    (`dask.array.from_array` would copy and hash it.)
    """
    if isinstance(calls, da.Array):
        return calls.rechunk({1: -1})
    return da.from_delayed(dask.delayed(calls, traverse=False), calls.shape, calls.dtype)


def _shared_people(*inputs: xr.Dataset | xr.DataArray | None) -> NDArray[np.object_]:
    """Return the labels that all inputs have, in the order of the first."""
    indexes = []
    for given in inputs:
        if given is None:
            continue
        index = given.indexes["individual"]
        if not index.is_unique:
            raise SampleError(
                f"individual {index[index.duplicated()][0]!r} stands twice; keep one of each"
            )
        if isinstance(given, xr.DataArray) and "covariate" in given.dims:
            index = index[
                np.isfinite(given.transpose("individual", "covariate").values).all(axis=1)
            ]
        indexes.append(index)
    shared = indexes[0][np.all([indexes[0].isin(other) for other in indexes], axis=0)]
    if shared.empty:
        raise SampleError(
            "dosages, expression and covariates share no individual: they name "
            + ", ".join(repr(index[0]) if len(index) else "nobody" for index in indexes)
            + " first; use the same ids"
        )
    return shared.values


def _near(
    dosages: xr.Dataset, expression: xr.DataArray, window: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for each gene, which run of variants lies within `window` of its TSS."""
    contigs, positions = dosages["variant_contig"].values, dosages["variant_position"].values
    starts = np.flatnonzero(np.concatenate([[True], contigs[1:] != contigs[:-1]])[: contigs.size])
    ends = np.append(starts[1:], contigs.size)
    runs = dict(zip(contigs[starts], zip(starts, ends, strict=True), strict=True))
    if len(runs) < starts.size:
        raise GeneTableError("the variants of a contig do not lie together; sort the genotypes")
    first, last = np.zeros((2, expression.sizes["gene"]), dtype=np.int64)
    of_gene, tss = expression["contig"].values, expression["tss"].values.astype(np.int64)
    for contig, (start, end) in runs.items():
        here = positions[start:end]
        if (np.diff(here) < 0).any():
            raise GeneTableError(f"the variants of {contig} are not sorted by position; sort them")
        genes = of_gene == contig
        first[genes] = start + np.searchsorted(here, tss[genes] - window, side="left")
        last[genes] = start + np.searchsorted(here, tss[genes] + window, side="right")
    return first, last


def _needed(
    size: int, first: NDArray[np.int64], last: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
    """Return which variants some gene is paired with, and the runs among those."""
    begins, ends = (np.bincount(at, minlength=size + 1) for at in (first, last))
    kept = np.cumsum(begins - ends)[:-1] > 0
    rank = np.concatenate([[0], np.cumsum(kept)])
    return kept, rank[first], rank[last]


@dataclass(frozen=True)
class _Pairs:
    """Genes in the order of their pairs, and the variants of each."""

    y: NDArray[np.float64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def block(self, start: int, end: int) -> "_Pairs":
        """Return the genes of pairs start..end, with just those of their variants."""
        genes = slice(
            int(np.searchsorted(self.offsets, start, side="right")) - 1,
            int(np.searchsorted(self.offsets, end, side="left")),
        )
        first = self.first[genes] + np.maximum(start - self.offsets[:-1][genes], 0)
        last = self.last[genes] - np.maximum(self.offsets[1:][genes] - end, 0)
        return _Pairs(self.y[genes], first, last, self.offsets[genes])


def _lazy_slopes(
    calls: da.Array, pairs: _Pairs, covariates: NDArray[np.float64] | None
) -> dict[str, da.Array]:
    """Return the regressions of all pairs, block by block."""
    total = int(pairs.offsets[-1])
    step = min(_BLOCK_BYTES // max(1, calls.shape[1]), max(_LEAST, -(-total // _BLOCKS)))
    step = max(1, step)
    blocks: dict[str, list[da.Array]] = {name: [] for name in _PAIR}
    for start in range(0, total, step):
        size = min(step, total - start)
        part = pairs.block(start, start + size)
        low, high = int(part.first.min()), int(part.last.max())
        found = dask.delayed(_regressed, nout=len(_PAIR))(
            calls[low:high], part.y, part.first - low, part.last - low, covariates
        )
        for name, array in zip(_PAIR, found, strict=True):
            blocks[name].append(da.from_delayed(array, (size,), _PAIR[name]))
    return {
        name: da.concatenate(parts) if parts else da.empty(0, dtype=_PAIR[name])
        for name, parts in blocks.items()
    }


def _regressed(
    calls: NDArray,
    y: NDArray[np.float64],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    covariates: NDArray[np.float64] | None,
) -> tuple[NDArray, ...]:
    return tuple(vars(slopes(calls, y, first, last, covariates)).values())


def _lazy_frequencies(calls: da.Array) -> dict[str, da.Array]:
    counted = da.map_blocks(_frequencies, calls, dtype=np.float64, chunks=(calls.chunks[0], (4,)))
    found = {name: counted[:, column] for column, name in enumerate(_FREQUENCY)}
    return {**found, "n_called": found["n_called"].astype(np.int64)}


def _frequencies(calls: NDArray) -> NDArray[np.float64]:
    """Return the columns named in `_FREQUENCY`, NaN where nobody is called."""
    found = variant_frequency(calls)
    return np.stack([found.allele, found.minor_allele, found.carrier, found.n_called], axis=1)
