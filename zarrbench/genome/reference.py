"""The reference sequence as a chunked Zarr store: workers slice windows without the FASTA."""

import struct
import tempfile
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyfaidx
import zarr
from zarr.codecs import BloscCodec

from zarrbench import progress
from zarrbench.errors import ContigError, SourceError, StoreLayoutError
from zarrbench.genome.bases import OTHER, Codes, encode
from zarrbench.genome.coordinates import Window
from zarrbench.layouts import REFERENCE
from zarrbench.remote import Place, reading
from zarrbench.storage import exists, open_group, published, quiet_zarr, refuse_gone

# A window of Enformer's 196,608 bases touches one or two chunks; a shard keeps a human genome at
# about 200 files.
CHUNK = 1 << 18
SHARD = 1 << 24
# 8 MB of chunks stay in memory
_CHUNKS_KEPT = 32

# What pyfaidx and Biopython let through when a file, or an index beside it, is damaged
_DAMAGE = (
    pyfaidx.FetchError,
    pyfaidx.FastaIndexingError,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    struct.error,
    zlib.error,
)


def build_reference(fasta: Path, path: Place, contigs: Sequence[str] = ()) -> None:
    """Write the reference store of a FASTA file, plain or bgzip-compressed.

    Every contig becomes one uint8 array of base codes (A, C, G, T = 0-3, all else 4; case is
    dropped), chunked along the sequence.

    Parameters
    ----------
    fasta : Path
        Indexed with ``.fai`` (and ``.gzi``) or not; nothing is written beside it.
    path : Path or UPath
        Where the store goes; it appears whole or not at all.
    contigs : sequence of str
        Contigs to keep, as the FASTA names them; all by default.

    Raises
    ------
    SourceError
        If the file is no FASTA, is compressed otherwise, or is damaged.
    ContigError
        If it lacks one of `contigs`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        sequences = _open_fasta(fasta, Path(scratch))
        try:
            names = _chosen(list(sequences.keys()), contigs, fasta)
            with published(path) as temporary, quiet_zarr():
                _write(sequences, names, temporary, fasta)
        finally:
            sequences.close()


def _open_fasta(fasta: Path, scratch: Path) -> pyfaidx.Fasta:
    # pyfaidx writes a missing index beside the FASTA, where the user may not want or allow it.
    index = fasta.with_name(f"{fasta.name}.fai")
    indexname = index if index.exists() else scratch / index.name
    gzi = fasta.with_name(f"{fasta.name}.gzi")
    gziname = gzi if gzi.exists() else scratch / gzi.name
    try:
        return pyfaidx.Fasta(
            str(fasta),
            indexname=str(indexname),
            gzi_indexname=str(gziname),
            rebuild=False,
            sequence_always_upper=True,
            as_raw=True,
        )
    except pyfaidx.UnsupportedCompressionFormat as error:
        raise SourceError(
            f"the FASTA file {fasta} is compressed, but not with bgzip; run "
            f"'gunzip' on it, or 'gunzip -c {fasta.name} | bgzip'"
        ) from error
    except _DAMAGE as error:
        raise SourceError(f"{fasta} cannot be read as FASTA: {error}") from error


def _chosen(present: list[str], contigs: Sequence[str], fasta: Path) -> list[str]:
    if not present:
        raise SourceError(f"the FASTA file {fasta} holds no sequence")
    absent = [name for name in contigs if name not in present]
    if absent:
        shown = ", ".join(present[:5])
        raise ContigError(
            f"the FASTA file {fasta} lacks the contig {absent[0]!r} (it has {shown}"
            f"{', ...' if len(present) > 5 else ''}); correct the recipe's contigs"
        )
    return list(dict.fromkeys(contigs)) or present


def _write(sequences: pyfaidx.Fasta, names: list[str], path: Path, fasta: Path) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=3)
    total = sum(len(sequences[name]) for name in names)
    with progress.bar(total=total, label="reference", unit="bp") as bar:
        for name in names:
            length = len(sequences[name])
            array = group.create_array(
                name,
                shape=(length,),
                dtype="uint8",
                chunks=(CHUNK,),
                shards=(SHARD,),
                compressors=BloscCodec(cname="zstd", clevel=5, shuffle="noshuffle"),
                fill_value=OTHER,
                dimension_names=("position",),
                attributes={"description": "base codes: A, C, G, T = 0-3, all else 4"},
            )
            for start in range(0, length, SHARD):
                stop = min(start + SHARD, length)
                array[start:stop] = _read(sequences, name, start, stop, fasta)
                bar.update(stop - start)
    group.attrs.update({**REFERENCE.attributes(), "contigs": names})
    zarr.consolidate_metadata(group.store)


def _read(sequences: pyfaidx.Fasta, name: str, start: int, stop: int, fasta: Path) -> Codes:
    try:
        codes = encode(sequences[name][start:stop])
    except _DAMAGE as error:
        raise SourceError(
            f"the FASTA file {fasta} is damaged or truncated in {name}:{start + 1}-{stop}: "
            f"{error}; copy or make it again"
        ) from error
    if codes.size != stop - start:
        raise SourceError(
            f"the FASTA file {fasta} is shorter than its index says at {name}:"
            f"{start + codes.size + 1}; it is truncated, or its .fai is of another file"
        )
    return codes


class Reference:
    """The sequence of every contig, read window by window.

    Parameters
    ----------
    path : Path or UPath
        A store that `build_reference` wrote.
    """

    def __init__(self, path: Place) -> None:
        if not exists(path / "zarr.json"):
            raise StoreLayoutError(f"there is no reference store at {path}; build it first")
        self._path = path
        with reading(path):
            self._group = open_group(path)
            REFERENCE.check_version(self._group.attrs.asdict(), path)
            names = list(self._group.attrs["contigs"])
            self._arrays = {name: self._group[name] for name in names}
        # Windows of neighbouring genes share chunks.
        self._chunk = lru_cache(maxsize=_CHUNKS_KEPT)(self._read_chunk)
        self.lengths: dict[str, int] = {n: int(a.shape[0]) for n, a in self._arrays.items()}

    def codes(self, window: Window) -> Codes:
        """Return the base codes of a window on the forward strand, shape (window.length,).

        Positions beyond either end of the contig are code 4 (a zero vector once one-hot).
        """
        array = self._arrays.get(window.contig)
        if array is None:
            raise ContigError(f"the reference store has no contig {window.contig!r}")
        codes = np.full(window.length, OTHER, dtype=np.uint8)
        start = max(window.start, 0)
        stop = min(window.end, array.shape[0])
        while start < stop:
            number, at = divmod(start, CHUNK)
            end = min(stop, (number + 1) * CHUNK)
            part = self._chunk(window.contig, number)
            codes[start - window.start : end - window.start] = part[at : at + end - start]
            start = end
        return codes

    def _read_chunk(self, contig: str, number: int) -> Codes:
        with reading(self._path):
            chunk: Codes = self._arrays[contig][number * CHUNK : (number + 1) * CHUNK]
        refuse_gone(self._path)
        return chunk
