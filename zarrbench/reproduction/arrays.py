"""Strict readers of the study's released arrays: sequences and scans around drivers, gene ids.

Structure is checked (names, shapes, types, letters), as `tables` checks that of the tables. Nothing
is unpacked to disk and nothing is unpickled.
"""

import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zarrbench.errors import SourceError
from zarrbench.genome.bases import Codes, encode

GENE = re.compile(r"ENSG\d{11}")
AGAIN = "fetch the released file again"

_TEST_GENES, _N_TEST_GENES = "enformer_test_set_genes.npy", 5_595
_ARCHIVE, _N_MAIN, _N_DRIVERS = "maindrivernpz.tar", 481, 2_658
_BASES = ("from_ref", "from_main_var")
_MEMBER = re.compile(rf"({'|'.join(_BASES)})/({GENE.pattern})_([1-9]\d*)_attribution\.npz")
_SCANNED, _AROUND = 41, 13
# A member holds about 1,000 bytes; none is read that could unpack to much
_MOST_BYTES = 1 << 16
_BROKEN = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, tarfile.TarError)


@dataclass(frozen=True)
class DriverScans:
    """Saturation scans of main drivers from either base of the driver, which is at the centre.

    Parameters
    ----------
    gene, position
        Shape (driver,); position 1-based.
    reference, variant
        Prediction of the mutant - prediction of the base sequence, shape (driver, 41, 4).
    reference_codes, variant_codes
        Base codes of the two sequences, shape (driver, 41).
    """

    gene: NDArray[np.str_]
    position: NDArray[np.int64]
    reference: NDArray[np.float64]
    variant: NDArray[np.float64]
    reference_codes: Codes
    variant_codes: Codes


@dataclass(frozen=True)
class DriverSequences:
    """Base codes around drivers with either base, shape (driver, 13); position 1-based."""

    gene: NDArray[np.str_]
    position: NDArray[np.int64]
    reference: Codes
    variant: Codes


def missing(path: Path) -> SourceError:
    """Return the error for a file that is not there."""
    return SourceError(
        f"{path} is missing; give the folder of the study's released tables with --tables"
    )


def read_test_genes(folder: Path) -> NDArray[np.str_]:
    """Return the ids in the model's held-out regions, repeated as released.

    Raises
    ------
    SourceError
        If the file is missing, truncated, or not written as released.
    """
    path = folder / _TEST_GENES
    try:
        ids = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise missing(path) from None
    except _BROKEN as error:
        raise SourceError(
            f"{path} is truncated or no array of text: {_one_line(error)}; {AGAIN}"
        ) from error
    if not isinstance(ids, np.ndarray) or ids.dtype.kind != "U" or ids.shape != (_N_TEST_GENES,):
        found = getattr(ids, "shape", "several arrays"), getattr(ids, "dtype", "")
        raise SourceError(
            f"{path} should hold {_N_TEST_GENES:,} gene ids, found {found[0]} {found[1]}; {AGAIN}"
        )
    _check_genes(str(path), ids)
    return ids


def read_sequences(folder: Path, main: bool) -> DriverSequences:
    """Return the sequences around all drivers, or around the main ones.

    Raises
    ------
    SourceError
        If a file is missing, truncated, or not written as released, or if the two of a set are not
        of the same drivers.
    """
    stem = f"ALLgenes_ism_attributions_driversfw{'main' if main else ''}"
    names = [f"{stem}_{base}_winsize{_AROUND}.npz" for base in ("refseq", "varseq")]
    n = _N_MAIN if main else _N_DRIVERS
    (gene, position, reference), (other_gene, other_position, variant) = (
        _read_around(folder / name, n) for name in names
    )
    if not (np.array_equal(gene, other_gene) and np.array_equal(position, other_position)):
        raise SourceError(
            f"{folder / names[1]} should hold the drivers of {names[0]} in their order; {AGAIN}"
        )
    return DriverSequences(gene, position, reference, variant)


def _read_around(path: Path, n: int) -> tuple[NDArray[np.str_], NDArray[np.int64], Codes]:
    if not path.is_file():
        raise missing(path)
    arrays = _arrays(path, str(path), {"seqs": (n, _AROUND, 4), "genes": (n,), "loci": (n,)})
    one_hot, gene, position = arrays["seqs"], arrays["genes"], arrays["loci"]
    if one_hot.dtype.kind not in "iu" or not ((one_hot == 0) | (one_hot == 1)).all():
        raise SourceError(f"{path} should hold zeros and ones in 'seqs'; {AGAIN}")
    if not (one_hot.sum(axis=-1) == 1).all():
        raise SourceError(f"{path} should hold one base at every place of 'seqs'; {AGAIN}")
    if position.dtype.kind != "U" or not np.char.isdigit(position).all():
        raise SourceError(f"{path} should hold positions in 'loci'; {AGAIN}")
    _check_genes(str(path), gene)
    return gene, position.astype(np.int64), one_hot.argmax(axis=-1).astype(np.uint8)


def read_scans(folder: Path) -> DriverScans:
    """Return the scans of the main drivers, in the order of genes.

    Raises
    ------
    SourceError
        If the archive is missing, truncated, or not written as released: another member, another
        shape, a scan from one base only.
    """
    path = folder / _ARCHIVE
    if not path.is_file():
        raise missing(path)
    found: dict[str, dict[tuple[str, int], tuple[NDArray[np.float64], Codes]]] = {
        base: {} for base in _BASES
    }
    try:
        for name, content in _members(path):
            base, gene, position = _named(path, name)
            key = gene, int(position)
            if key in found[base]:
                raise SourceError(f"{path} holds {name} more than once; {AGAIN}")
            found[base][key] = _scan(content, f"{path}, {name}")
    except _BROKEN as error:
        raise SourceError(
            f"{path} is truncated or no archive: {_one_line(error)}; {AGAIN}"
        ) from error
    reference, variant = found.values()
    if reference.keys() != variant.keys() or len(reference) != _N_MAIN:
        raise SourceError(
            f"{path} should hold the scans of {_N_MAIN} drivers from either base, found "
            f"{len(reference)} and {len(variant)}: it is truncated or altered; {AGAIN}"
        )
    keys = sorted(reference)
    return DriverScans(
        gene=np.array([key[0] for key in keys]),
        position=np.array([key[1] for key in keys], np.int64),
        reference=np.stack([reference[key][0] for key in keys]),
        variant=np.stack([variant[key][0] for key in keys]),
        reference_codes=np.stack([reference[key][1] for key in keys]),
        variant_codes=np.stack([variant[key][1] for key in keys]),
    )


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Give the name and the content of each member, the authors' note left out."""
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            if member.name == "README":
                continue
            content = archive.extractfile(member) if member.isreg() else None
            if content is None or member.size > _MOST_BYTES:
                raise SourceError(
                    f"{path} should hold small files only, found {member.name!r:.80}; {AGAIN}"
                )
            yield member.name, content.read()


def _named(path: Path, name: str) -> tuple[str, str, str]:
    match = _MEMBER.fullmatch(name)
    if match is None:
        raise SourceError(
            f"{path} holds {name!r:.80}, which is not named as a scan of the release; {AGAIN}"
        )
    base, gene, position = match.groups()
    return base, gene, position


def _scan(content: bytes, where: str) -> tuple[NDArray[np.float64], Codes]:
    arrays = _arrays(io.BytesIO(content), where, {"attribution": (_SCANNED, 4), "seq": ()})
    attribution, sequence = arrays["attribution"], str(arrays["seq"])
    if attribution.dtype != np.float64 or not np.isfinite(attribution).all():
        raise SourceError(f"{where} should hold numbers in 'attribution'; {AGAIN}")
    if not re.fullmatch(rf"[ACGT]{{{_SCANNED}}}", sequence):
        raise SourceError(
            f"{where} should hold {_SCANNED} letters, found {sequence!r:.60}; {AGAIN}"
        )
    return attribution, encode(sequence)


def _arrays(
    source: Path | io.BytesIO, where: str, shapes: dict[str, tuple[int, ...]]
) -> dict[str, NDArray]:
    """Return the arrays of an .npz, which has to hold these names in these shapes."""
    try:
        loaded = np.load(source, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ValueError("a single array")
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except _BROKEN as error:
        raise SourceError(
            f"{where} is truncated or no set of arrays: {_one_line(error)}; {AGAIN}"
        ) from error
    found = {name: array.shape for name, array in arrays.items()}
    if found != shapes:
        raise SourceError(f"{where} should hold arrays of shapes {shapes}, found {found}; {AGAIN}")
    return arrays


def _check_genes(where: str, ids: NDArray) -> None:
    strange = [one for one in ids.tolist() if not GENE.fullmatch(str(one))]
    if strange:
        raise SourceError(f"{where} holds {strange[0]!r:.40}, which is no gene id; {AGAIN}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
