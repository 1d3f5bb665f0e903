"""Small VCF files and genotype stores, made without zarrbench."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pysam
import pytest
import zarr

Record = tuple[str, int, str, str, str]  # contig, POS, REF, ALT, calls split by spaces


@pytest.fixture(scope="session")
def write_vcf(tmp_path_factory) -> Callable[..., Path]:
    """Write a bgzip-compressed, indexed VCF into a folder of its own."""

    def write(
        records: Sequence[Record],
        samples: Sequence[str] = ("ann", "bob"),
        contigs: Sequence[str] = ("chr1", "chr2"),
    ) -> Path:
        lines = ["##fileformat=VCFv4.2", '##FILTER=<ID=PASS,Description="">']
        lines += [f"##contig=<ID={contig},length=1000000>" for contig in contigs]
        lines.append('##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">')
        fixed = ["CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
        lines.append("\t".join(["#" + fixed[0], *fixed[1:], *samples]))
        for contig, pos, ref, alt, calls in records:
            row = [contig, str(pos), ".", ref, alt, ".", "PASS", ".", "GT", *calls.split()]
            lines.append("\t".join(row))
        path = tmp_path_factory.mktemp("vcf") / "small.vcf"
        path.write_text("\n".join(lines) + "\n")
        return Path(pysam.tabix_index(str(path), preset="vcf", force=True))

    return write


@pytest.fixture(scope="session")
def write_vcz(tmp_path_factory) -> Callable[..., Path]:
    """Write the smallest VCF Zarr store that the specification allows, with plain zarr."""

    def write(
        positions: Sequence[int],
        alleles: Sequence[Sequence[str]],
        genotypes: np.ndarray,
        phased: np.ndarray | None = None,
        samples: Sequence[str] = ("ann", "bob"),
        contigs: Sequence[str] = ("chr1", "chr2"),
        contig: Sequence[int] | None = None,
        chunk: int = 16,
        position_type: str = "int32",
    ) -> Path:
        path = tmp_path_factory.mktemp("vcz") / "small.vcz"
        group = zarr.open_group(path, mode="w", zarr_format=3)

        def add(name: str, values: np.ndarray, dims: Sequence[str]) -> None:
            text = values.dtype.kind in "UO"
            array = group.create_array(
                name,
                shape=values.shape,
                chunks=tuple(max(1, min(chunk, n)) for n in values.shape),
                dtype=str if text else values.dtype,
                dimension_names=dims,
            )
            if values.size:
                array[:] = values

        width = max((len(row) for row in alleles), default=1)
        padded = [[*row, *[""] * (width - len(row))] for row in alleles]
        add("sample_id", np.array(samples, dtype=object), ["samples"])
        add("contig_id", np.array(contigs, dtype=object), ["contigs"])
        of_contig = np.zeros(len(positions), int) if contig is None else np.array(contig)
        add("variant_contig", of_contig.astype(np.int8), ["variants"])
        add("variant_position", np.array(positions, dtype=position_type), ["variants"])
        allele = np.array(padded, dtype=object).reshape(-1, width)
        add("variant_allele", allele, ["variants", "alleles"])
        add("call_genotype", np.asarray(genotypes), ["variants", "samples", "ploidy"])
        if phased is not None:
            add("call_genotype_phased", np.asarray(phased), ["variants", "samples"])
        return path

    return write
