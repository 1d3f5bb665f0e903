"""Reading a VCF Zarr store: as an sgkit dataset, and the records of one region fast.

The field names are those of the VCF Zarr specification, which sgkit shares. Any such store is
read as it is, Zarr format 2 or 3, whoever wrote it, in a folder or behind a URL.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from zarrbench.errors import SampleError, StoreLayoutError
from zarrbench.genome.coordinates import from_one_based, map_contigs
from zarrbench.recipes import nearest
from zarrbench.remote import is_url, reading, storage_options
from zarrbench.storage import quiet_zarr, refuse_gone

REQUIRED = ("sample_id", "contig_id", "variant_contig", "variant_position", "variant_allele",
            "call_genotype")  # fmt: skip
OPTIONAL = ("call_genotype_phased", "region_index")


# Positions and alleles of so many chunks stay in memory; genotypes, which are large, do not.
_CHUNKS_KEPT = 64


@dataclass(frozen=True)
class Records:
    """The records that touch a region, in the order of the store.

    Attributes
    ----------
    positions : int64 (record,)
        0-based.
    alleles : text (record, allele)
        REF first; empty text where a record has fewer alleles.
    genotypes : signed integer (record, individual, 2)
        Allele indices; -1 = missing, -2 = no second allele (haploid). A call of a lone ``.`` is
        two missing alleles.
    phased : bool (record, individual)
        False everywhere if the store does not say.
    """

    positions: NDArray[np.int64]
    alleles: NDArray
    genotypes: NDArray[np.signedinteger]
    phased: NDArray[np.bool_]


class GenotypeStore:
    """A VCF Zarr store opened for reading.

    Parameters
    ----------
    path : Path or str
        A folder, or a URL that fsspec reads, such as ``s3://bucket/cohort.vcz``.
    reference_contigs : iterable of str
        Names of the reference; the store's own are mapped to them (``1`` to ``chr1``).

    Raises
    ------
    StoreLayoutError
        If the store lacks a field, is not diploid, or its records are not sorted.
    ContigError
        If its contig names cannot be mapped without doubt.
    SourceError
        If what lies behind a URL cannot be read, now or later.
    """

    def __init__(self, path: Path | str, reference_contigs: Iterable[str]) -> None:
        self.path = path
        with reading(path):
            self._arrays = _open_arrays(path)
            shape = self._arrays["call_genotype"].shape
            if len(shape) != 3 or shape[2] != 2:
                raise StoreLayoutError(
                    f"{path} has call_genotype of shape {shape}, expected (variants, samples, 2): "
                    f"only diploid genotypes can be made into two haplotypes"
                )
            self.n_variants, n_samples = int(shape[0]), int(shape[1])
            self.samples: list[str] = [str(s) for s in self._arrays["sample_id"][:]]
            if len(self.samples) != n_samples:
                raise StoreLayoutError(f"{path} names {len(self.samples)} samples for {n_samples}")
            self._contigs = [str(c) for c in self._arrays["contig_id"][:]]
            self._index = self._read_index()
        # Windows of neighbouring genes, and a gene's own and that of its null, share chunks.
        self._sites = lru_cache(maxsize=_CHUNKS_KEPT)(self._read_sites)
        self._wholly_phased = np.zeros(self.n_variants, dtype=bool)
        present = [self._contigs[i] for i in sorted(set(self._index[:, 1].tolist()))]
        self.contig_map = map_contigs(present, reference_contigs, f"the genotype store {path}")
        #: contigs that have records but no partner in the reference
        self.unmapped_contigs = [name for name in present if name not in self.contig_map]
        self._id_of = {self.contig_map[n]: self._contigs.index(n) for n in self.contig_map}

    @property
    def contigs(self) -> list[str]:
        """Contigs with records, as the reference names them."""
        return list(self._id_of)

    def rows_of(self, samples: Iterable[str]) -> NDArray[np.int64]:
        """Return the rows of some of `samples`, in their order.

        Raises
        ------
        SampleError
            If one is not in the store.
        """
        row_of = {sample: row for row, sample in enumerate(self.samples)}
        rows = []
        for sample in samples:
            if sample not in row_of:
                raise SampleError(
                    f"the genotype store {self.path} has no sample {sample!r}"
                    f"{nearest(sample, row_of)}"
                )
            rows.append(row_of[sample])
        return np.array(rows, dtype=np.int64)

    def dataset(self) -> xr.Dataset:
        """Return the store as sgkit reads it, lazily."""
        import sgkit

        with reading(self.path), quiet_zarr():
            return sgkit.load_dataset(str(self.path), storage_options(self.path))

    def records(
        self, contig: str, start: int, end: int, individuals: NDArray[np.int64] | None = None
    ) -> Records:
        """Return the records whose REF touches start..end (0-based, half-open) on a contig.

        A record before them comes along if it overlaps one of them, directly or through others:
        which of two overlapping alleles counts is decided from the left. Only the variant chunks
        that the region index names are read.

        Parameters
        ----------
        contig : str
            As the reference names it; one without records gives an empty result.
        start, end : int
        individuals : int64 (individual,), optional
            Rows of `samples` to keep, in this order; all by default.
        """
        rows, positions, alleles = self._touching(contig, start, end)
        genotypes = self._rows("call_genotype", rows)
        phased = self._read_phased(rows)
        everyone = np.arange(len(self.samples))
        if individuals is not None and not np.array_equal(individuals, everyone):
            # `take` is nine times as fast as an index here.
            genotypes, phased = genotypes.take(individuals, axis=1), phased[:, individuals]
        if genotypes.min(initial=0) < -1:
            genotypes[(genotypes[..., 0] == -1) & (genotypes[..., 1] == -2)] = -1
        return Records(positions, alleles, genotypes, phased)

    def ids(self, contig: str, start: int, end: int) -> NDArray[np.object_]:
        """Return the VCF ids of the records that `records` returns, (record,); empty text = none.

        A VCF Zarr need not hold any.
        """
        rows, *_ = self._touching(contig, start, end)
        if "variant_id" not in self._arrays:
            with reading(self.path), quiet_zarr():
                options = storage_options(self.path)
                group = zarr.open_group(self.path, mode="r", storage_options=options)
                found = group.get("variant_id")
            if found is None:
                return np.full(rows.size, "", dtype=object)
            self._arrays["variant_id"] = found
        ids = [str(text) for text in self._rows("variant_id", rows)]
        return np.array(["" if text == "." else text for text in ids], dtype=object)

    def _touching(
        self, contig: str, start: int, end: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray]:
        """Return what `_reaching` does, with the records before that overlap one of them."""
        rows, positions, alleles = self._reaching(contig, start, end)
        while rows.size and positions[0] < start:
            start = int(positions[0])
            rows, positions, alleles = self._reaching(contig, start, end)
        return rows, positions, alleles

    def _reaching(
        self, contig: str, start: int, end: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray]:
        """Return rows, 0-based positions and alleles of the records that reach into a region."""
        index = self._index
        contig_id = self._id_of.get(contig, -1)
        touched = (index[:, 1] == contig_id) & (index[:, 2] <= end) & (index[:, 4] > start)
        if not touched.any():
            nothing = np.empty(0, dtype=np.int64)
            return nothing, nothing, self._arrays["variant_allele"][:0]
        found = [self._sites(int(chunk)) for chunk in index[touched, 0]]
        rows, contigs, positions, ends, alleles = map(np.concatenate, zip(*found, strict=True))
        reaching = (contigs == contig_id) & (positions < end) & (ends > start)
        return rows[reaching], positions[reaching], alleles[reaching]

    def _read_sites(self, chunk: int) -> tuple[NDArray, ...]:
        """Return rows, contigs, positions, ends of REF and alleles of the records of a chunk."""
        first = chunk * self._chunk
        here = slice(first, min(first + self._chunk, self.n_variants))
        of_chunk = self._index[self._index[:, 0] == chunk, 1]
        with self._reading():
            positions = from_one_based(self._arrays["variant_position"][here])
            alleles = self._arrays["variant_allele"][here]
            if of_chunk.size == 1:
                contigs = np.full(positions.size, of_chunk[0])
            else:
                contigs = self._arrays["variant_contig"][here]
        ends = positions + reference_lengths(alleles)
        return np.arange(here.start, here.stop), contigs, positions, ends, alleles

    def _read_phased(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether calls are phased, (row, sample); not read again where all of them are."""
        shape = (rows.size, len(self.samples))
        if "call_genotype_phased" not in self._arrays:
            return np.zeros(shape, dtype=bool)
        if self._wholly_phased[rows].all():
            return np.broadcast_to(np.True_, shape)
        phased: NDArray[np.bool_] = self._rows("call_genotype_phased", rows).astype(bool)
        self._wholly_phased[rows] = phased.all(axis=1)
        return phased

    def _rows(self, name: str, rows: NDArray[np.int64]) -> NDArray:
        """Read rows of an array; those of a region follow each other, or nearly so."""
        array = self._arrays[name]
        if rows.size == 0:
            return array[:0]
        with self._reading():
            values = array[int(rows[0]) : int(rows[-1]) + 1]
        return values if len(values) == rows.size else values[rows - rows[0]]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with reading(self.path):
            yield
        if isinstance(self.path, Path):
            refuse_gone(self.path)

    def _read_index(self) -> NDArray[np.int64]:
        """Return the region index, one row a chunk and contig.

        Columns: chunk, contig, first and last POS (1-based), and the last base that a record
        covers.
        """
        if "region_index" in self._arrays:
            index: NDArray[np.int64] = self._arrays["region_index"][:].astype(np.int64)
            # Who filters or rechunks a store may leave the index of the old one in it.
            edges = np.append(np.arange(0, self.n_variants, self._chunk), self.n_variants)
            if np.array_equal(np.bincount(index[:, 0], weights=index[:, 5]), np.diff(edges)):
                return index[:, :5]
        return self._scan()

    @cached_property
    def _chunk(self) -> int:
        return int(self._arrays["variant_position"].chunks[0])

    def _scan(self) -> NDArray[np.int64]:
        """Make the region index of a store that has none, and check that it is sorted."""
        contig = self._arrays["variant_contig"][:].astype(np.int64)
        position = self._arrays["variant_position"][:].astype(np.int64)
        step = np.diff(contig)
        scattered = np.count_nonzero(step) >= max(1, np.unique(contig).size)
        if scattered or (np.diff(position)[step == 0] < 0).any():
            raise StoreLayoutError(
                f"the records of {self.path} are not sorted by contig and position; sort them with "
                f"'bcftools sort' and convert again"
            )
        chunk = np.arange(position.size) // self._chunk
        starts = np.flatnonzero(np.diff(chunk, prepend=-1) | np.diff(contig, prepend=-1))
        ends = np.flatnonzero(np.diff(chunk, append=-1) | np.diff(contig, append=-1))
        last = position + reference_lengths(self._arrays["variant_allele"][:]) - 1
        furthest = np.maximum.reduceat(last, starts) if starts.size else last
        return np.stack(
            [chunk[starts], contig[starts], position[starts], position[ends], furthest], axis=1
        )


def _open_arrays(path: Path | str) -> dict[str, zarr.Array]:
    """Open what is read of a store: every look into a group costs requests."""
    try:
        with quiet_zarr():
            group = zarr.open_group(path, mode="r", storage_options=storage_options(path))
            found = {name: group.get(name) for name in (*REQUIRED, *OPTIONAL)}
    except (FileNotFoundError, ValueError, KeyError) as error:
        advice = (
            "; correct the URL or AWS_ENDPOINT_URL; a VCF must be downloaded, or converted to VCF "
            "Zarr with 'vcf2zarr'"
            if is_url(path)
            else ""
        )
        raise StoreLayoutError(f"{path} cannot be opened as VCF Zarr: {error}{advice}") from error
    absent = [name for name in REQUIRED if found[name] is None]
    if absent:
        raise StoreLayoutError(f"{path} is not VCF Zarr: it lacks {', '.join(absent)}")
    return {name: array for name, array in found.items() if array is not None}


def reference_lengths(alleles: NDArray) -> NDArray[np.int64]:
    """Return the length of every REF of alleles (record, allele)."""
    lengths: NDArray[np.int64] = np.strings.str_len(alleles[:, 0].astype(np.dtypes.StringDType()))
    return lengths
