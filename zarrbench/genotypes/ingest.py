"""Phased VCF or BCF into a VCF Zarr store, with bio2zarr.

What is refused before anything is written: files without bgzip compression, end marker or index.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cyvcf2
import pysam
import pysam.bcftools
import zarr
from bio2zarr import vcf as vcf2zarr
from upath import UPath

from zarrbench.errors import ContigError, SampleError, SourceError
from zarrbench.genome.coordinates import parse_region
from zarrbench.remote import Place
from zarrbench.storage import published, quiet_zarr, storage_failure, writing

# The empty block that bgzip writes last (SAM specification, section 4.1.2)
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
# Below this size one process is faster: starting workers costs more than they save.
_PARALLEL_BYTES = 200_000_000


def is_vcf_zarr(path: Path) -> bool:
    """Whether `path` is a folder that holds a Zarr group (format 2 or 3)."""
    return any((path / name).exists() for name in (".zgroup", "zarr.json"))


def check_vcf(path: Path) -> None:
    """Refuse a VCF or BCF that is not bgzip-compressed, truncated, or without an index.

    Raises
    ------
    SourceError
    """
    try:
        with path.open("rb") as handle:
            start = handle.read(18)
            handle.seek(max(0, path.stat().st_size - len(_BGZF_END)))
            end = handle.read()
    except OSError as error:
        raise SourceError(f"cannot read the VCF file {path}: {error.strerror}") from error
    if start[:2] != b"\x1f\x8b" or start[12:14] != b"BC":
        how = "ordinary gzip" if start[:2] == b"\x1f\x8b" else "not compressed"
        raise SourceError(
            f"the VCF file {path} is {how}, expected bgzip; compress it with "
            f"'bgzip' and index it with 'bcftools index'"
        )
    if end != _BGZF_END:
        raise SourceError(
            f"the VCF file {path} is truncated: its bgzip end marker is missing; copy or make it "
            f"again"
        )
    if not any(path.with_name(path.name + suffix).exists() for suffix in (".tbi", ".csi")):
        raise SourceError(
            f"the VCF file {path} has no index ({path.name}.tbi or .csi) beside it; run "
            f"'bcftools index {path.name}'"
        )


def ingest(
    vcf: Path, path: Place, regions: Sequence[str] = (), samples: Sequence[str] | None = None
) -> None:
    """Write the VCF Zarr store of a phased, indexed VCF or BCF.

    Parameters
    ----------
    vcf : Path
    path : Path or UPath
        Where the store (Zarr format 2, consolidated) goes; it appears whole or not at all.
    regions : sequence of str
        ``CONTIG`` or ``CONTIG:START-END`` (1-based, inclusive) to keep; everything by default.
        A record belongs to the region that holds its POS. Regions may overlap.
    samples : sequence of str, optional
        Samples to keep; all by default.

    Raises
    ------
    SourceError
        If the file cannot be read, or no record or no genotype is left.
    ContigError, SampleError
        If the file lacks a contig of `regions` or one of `samples`.
    """
    check_vcf(vcf)
    with _scratch(path) as scratch:
        chosen = vcf
        if regions or samples is not None:
            chosen = _subset(vcf, Path(scratch) / "chosen.bcf", regions, samples)
        with published(path) as temporary, quiet_zarr():
            try:
                _convert(chosen, temporary, Path(scratch) / "intermediate")
            except Exception as error:  # bio2zarr raises many kinds for a bad file
                if storage_failure(error, path) is not None:
                    raise
                detail = " ".join(str(error).split()) or "it is damaged, or its index is of another"
                raise SourceError(
                    f"the VCF file {vcf} cannot be converted to VCF Zarr: {detail}; check it with "
                    f"'bcftools view {vcf.name} > /dev/null'"
                ) from error
            _refuse_empty(temporary, vcf, regions)


def _scratch(path: Place) -> tempfile.TemporaryDirectory[str]:
    """Return a folder for intermediate files, removed on leaving it as a context."""
    if isinstance(path, UPath):
        return tempfile.TemporaryDirectory(prefix="zarrbench-")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Beside the store: the intermediate files may be larger than it, and /tmp is often small.
        return tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent)


def _convert(vcf: Path, path: Path, intermediate: Path) -> None:
    workers = (os.cpu_count() or 1) if vcf.stat().st_size > _PARALLEL_BYTES else 0
    vcf2zarr.convert(
        [str(vcf)],
        str(path),
        worker_processes=workers,
        show_progress=True,
        icf_path=str(intermediate),
        zarr_format=2,
    )
    zarr.consolidate_metadata(str(path))


def _refuse_empty(path: Path, vcf: Path, regions: Sequence[str]) -> None:
    group = zarr.open_group(path, mode="r")
    if group["variant_position"].shape[0] == 0:
        where = f" in {', '.join(regions)}" if regions else ""
        raise SourceError(f"the VCF file {vcf} holds no records{where}; correct the recipe")
    if "call_genotype" not in group or group["sample_id"].shape[0] == 0:
        raise SourceError(f"the VCF file {vcf} holds no genotypes (FORMAT/GT): use another file")


def _subset(vcf: Path, bcf: Path, regions: Sequence[str], samples: Sequence[str] | None) -> Path:
    """Write the asked records and samples to an indexed BCF; bio2zarr itself takes whole files."""
    try:
        header = cyvcf2.VCF(str(vcf))
    except OSError as error:
        raise SourceError(f"the VCF file {vcf} cannot be read: {error}") from error
    present, contigs = header.samples, header.seqnames
    header.close()
    arguments = ["-Ob", "-o", str(bcf)]
    asked = []
    for region in regions:
        contig, start, end = parse_region(region)
        if contig not in contigs:
            raise ContigError(
                f"the VCF file {vcf} has no contig for the region {region!r} (it has "
                f"{', '.join(contigs[:5])}); correct the recipe's regions"
            )
        # bcftools would take a comma within a number for the end of the region.
        asked.append(contig if end is None else f"{contig}:{start + 1}-{end}")
    if asked:
        arguments += ["-r", ",".join(asked), "--regions-overlap", "pos"]
    if samples is not None:
        if len(set(samples)) < len(samples):
            twice = next(name for name, n in Counter(samples).items() if n > 1)
            raise SampleError(f"the sample list names {twice!r} twice; remove one of them")
        absent = sorted(set(samples) - set(present))
        if absent:
            raise SampleError(
                f"the VCF file {vcf} lacks {len(absent)} of the {len(samples)} asked samples, for "
                f"example {absent[0]!r} (it has {present[0]!r}, ...); correct the sample list"
            )
        names = bcf.with_suffix(".samples")
        names.write_text("\n".join(samples) + "\n")
        arguments += ["-S", str(names)]
    try:
        pysam.bcftools.view(*arguments, str(vcf), catch_stdout=False)
        pysam.bcftools.index(str(bcf))
    except pysam.SamtoolsError as error:
        raise SourceError(f"the VCF file {vcf} cannot be read: {error}") from error
    return bcf
