"""The gene table: one TSS a gene, from GTF, GFF3 or a plain table, and the names of genes.

Every reader yields `_Gene` records that are checked line by line; one function makes the dataset.
Positions stay 1-based, as the files write them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from zarrbench.delimited import read_rows, reading_text
from zarrbench.errors import ContigError, GeneTableError
from zarrbench.genome.coordinates import Window, map_contigs, model_window, tss_of_gene
from zarrbench.recipes import nearest, resolve

_GENE_FEATURES = frozenset({"gene", "ncRNA_gene", "pseudogene"})
_PART_FEATURES = frozenset({"transcript", "exon"})

# Seven digits: Ensembl, GENCODE and simulated ids have more, a clone name such as AC018470.1 has
# six, and its .1 tells two genes apart.
_VERSIONED = re.compile(r"^([A-Za-z]+\d{7,})\.\d+(?:_\d+)?(_PAR_Y)?\Z")

# `key "value"` of GTF or `key=value` of GFF3; a quoted value may hold a semicolon.
_ATTRIBUTE = re.compile(r'(?:^|;)\s*([\w.-]+)(?:=|\s+)(?:"([^"]*)"|([^;]*))')

# Column names of plain tables, without regard to case; the first one present is taken.
_COLUMNS = {
    "gene_id": ("gene_id", "gene"),
    "contig": ("contig", "chrom", "chromosome", "chr"),
    "strand": ("strand",),
    "tss": ("tss",),
    "start": ("start",),
    "end": ("end",),
    "gene_name": ("gene_name", "symbol"),
    "biotype": ("biotype", "gene_type", "gene_biotype"),
}


class _Gene(NamedTuple):
    """A checked record of one gene, or of a transcript or exon of it."""

    gene_id_version: str
    contig: str
    strand: str
    start: int
    end: int
    tss: int
    gene_name: str
    biotype: str


def read_genes(path: Path, contigs: Iterable[str]) -> xr.Dataset:
    """Return the genes of an annotation that lie on the reference, as `layouts.GENES` has them.

    A GTF gives its ``gene`` records or, if it has none, the extent of each gene's transcripts and
    exons (those of one id on one contig and strand). A GFF3 gives ``gene``, ``ncRNA_gene`` and
    ``pseudogene`` records. Any other text is a table with a header: gene_id, contig, strand, and
    tss or start and end; optional gene_name and biotype. Files may be gzip-compressed.

    The TSS is the table's own or else the start of a + gene and the end of a - gene; start and end
    are the TSS where a table gives nothing else. A gene without a name is named by its id. The copy
    of a gene in the pseudoautosomal region of Y is a gene of its own (see `unversioned`).

    Parameters
    ----------
    path : Path
    contigs : iterable of str
        Contigs of the reference, in its order. Genes on others are left out: the attributes
        ``n_left_out_contig`` and ``left_out_contigs`` say how many and where.

    Returns
    -------
    xr.Dataset
        In the order of contig, TSS and gene id.

    Raises
    ------
    GeneTableError
        If there is no gene, a line cannot be read, or two genes have the same unversioned id.
    ContigError
        If no gene lies on a contig of the reference.
    SourceError
        If the file is missing, truncated or not text.
    """
    genes = pd.DataFrame(_read(path), columns=_Gene._fields)
    names = list(contigs)
    found = list(dict.fromkeys(genes["contig"]))
    mapped = map_contigs(found, names, str(path))
    if not mapped:
        raise ContigError(
            f"none of the {len(genes)} genes of {path} lies on a contig of the reference: the "
            f"genes are on {', '.join(found[:3])}, the reference has {', '.join(names[:3])}; use "
            f"an annotation of the same assembly"
        )
    kept = genes[genes["contig"].isin(mapped)].copy()
    kept["contig"] = kept["contig"].map(mapped)
    kept["gene"] = unversioned(kept["gene_id_version"])
    _refuse_duplicates(kept["gene"], path)
    return _dataset(kept, names).assign_attrs(
        source_file=path.name,
        n_left_out_contig=len(genes) - len(kept),
        left_out_contigs=[name for name in found if name not in mapped],
    )


def unversioned(ids: Iterable[str]) -> NDArray[np.object_]:
    """Return gene ids without their version, as an object array.

    A version is ``.N`` after letters and at least seven digits: it goes from ENSG00000134202.10 and
    ZBG00000001.1, while RP11-34P13.7 and AC018470.1 are names and stay. What GENCODE appends when
    it maps to hg19 (ENSG00000134202.10_2) goes too; ``_PAR_Y`` stays, so that
    ENSG00000182378.10_PAR_Y becomes ENSG00000182378_PAR_Y and differs from the gene on X.
    """
    return np.array([_VERSIONED.sub(r"\1\2", gene_id) for gene_id in ids], dtype=object)


def read_gene_ids(path: Path) -> list[str]:
    """Return the gene ids of a list as they are written, each once, in its order.

    Parameters
    ----------
    path : Path
        A NumPy array of texts (``.npy``), or a text table, plain or gzip-compressed: its first
        column, without a header.

    Raises
    ------
    GeneTableError
        If it cannot be read as either, or is empty.
    """
    if path.suffix == ".npy":
        try:
            found = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise GeneTableError(f"{path} is no NumPy array of gene ids: {error}") from error
        if found.dtype.kind not in "UST":
            raise GeneTableError(f"{path} holds {found.dtype}, expected gene ids as text")
        ids = [str(one) for one in found.astype(str).ravel().tolist()]
    else:
        ids = [cells[0].strip() for _, cells in read_rows(path)]
    ids = [one for one in dict.fromkeys(ids) if one]
    if not ids:
        raise GeneTableError(f"{path} holds no gene id; give one a line, or in the first column")
    return ids


def sel_gene(dataset: xr.Dataset, name: str) -> xr.Dataset:
    """Select a gene by id (with or without version) or by name; ambiguity lists the candidates.

    `dataset` is a cube or a gene store: it has the dim ``gene`` and names in ``gene_name``.
    """
    ids = [str(i) for i in dataset["gene"].values]
    for candidate in (name, *unversioned([name])):
        if candidate in ids:
            return dataset.sel(gene=candidate)
    return dataset.sel(gene=resolve(name, dataset["gene_name"].values, ids, "gene"))


def one_gene(found: xr.Dataset, gene: str) -> xr.Dataset:
    """Select a gene of a store by its unversioned id.

    Raises
    ------
    GeneTableError
        If there is no such gene.
    """
    if gene not in found.indexes["gene"]:
        raise GeneTableError(
            f"no gene {gene!r} here{nearest(gene, map(str, found['gene'].values))}"
        )
    return found.sel(gene=gene)


def window_around(
    gene: xr.Dataset, length: int, tss_index: int, strand_aware: bool = False
) -> Window:
    """Return the `model_window` of one gene: a dataset without the dim ``gene``."""
    contig, tss, strand = (gene[name].item() for name in ("contig", "tss", "strand"))
    return model_window(str(contig), int(tss), str(strand), length, tss_index, strand_aware)


def _read(path: Path) -> list[_Gene]:
    if not _is_annotation(path):
        genes = list(_tabulated(path))
        sought = "rows below the header"
    else:
        genes = list(_annotated(path, _GENE_FEATURES))
        genes = genes or _joined(_annotated(path, _PART_FEATURES))
        sought = f"records of type {', '.join(sorted(_GENE_FEATURES | _PART_FEATURES))}"
    if not genes:
        raise GeneTableError(
            f"{path} holds no genes (looked for {sought}); give a GTF, a GFF3, or a table with the "
            f"columns gene_id, contig, strand and tss"
        )
    return genes


def _is_annotation(path: Path) -> bool:
    """Whether a file is GTF or GFF3: by its name, else by the nine columns of its first record."""
    if re.search(r"\.(gtf|gff[23]?)(\.b?gz)?$", path.name.lower()):
        return True
    with reading_text(path) as handle:
        first = next((line for line in handle if line.strip() and line[0] != "#"), "")
    cells = first.split("\t")
    return len(cells) == 9 and cells[6] in {"+", "-", ".", "?"}


def _annotated(path: Path, features: frozenset[str]) -> Iterator[_Gene]:
    with reading_text(path) as handle:
        for number, line in enumerate(handle, 1):
            cells = line.split("\t", 3)
            # A whole genome has 50 times more lines of other features: they go first.
            if len(cells) == 4 and cells[2] not in features:
                continue
            if line.startswith("##FASTA"):
                break
            if line.strip() and line[0] != "#":
                yield _annotated_gene(line.rstrip("\n").split("\t"), f"{path}, line {number}")


def _annotated_gene(cells: list[str], where: str) -> _Gene:
    if len(cells) != 9:
        raise GeneTableError(f"{where}: expected 9 columns split by tabs, found {len(cells)}")
    attributes = {
        key: quoted or unquote(plain.strip()) for key, quoted, plain in _ATTRIBUTE.findall(cells[8])
    }
    gene_id = attributes.get("gene_id", "")
    if cells[2] in _GENE_FEATURES and "ID" in attributes:
        # In GFF3 only the ID is unique: GENCODE's gene_id lacks the suffix _PAR_Y.
        gene_id = re.sub(r"^gene[:-]", "", attributes["ID"])
    texts = {
        "gene_id": gene_id,
        "contig": cells[0],
        "start": cells[3],
        "end": cells[4],
        "strand": cells[6],
        "gene_name": _first(attributes, "gene_name", "Name", "gene"),
        "biotype": _first(attributes, "gene_type", "gene_biotype", "biotype"),
    }
    return _gene(texts, where)


def _first(attributes: Mapping[str, str], *keys: str) -> str:
    return next((attributes[key] for key in keys if key in attributes), "")


def _joined(parts: Iterable[_Gene]) -> list[_Gene]:
    genes: dict[tuple[str, str, str], _Gene] = {}
    for part in parts:
        key = (part.gene_id_version, part.contig, part.strand)
        gene = genes.get(key, part)
        start, end = min(gene.start, part.start), max(gene.end, part.end)
        tss = tss_of_gene(start, end, gene.strand)
        genes[key] = gene._replace(start=start, end=end, tss=tss)
    return list(genes.values())


def _tabulated(path: Path) -> Iterator[_Gene]:
    rows = read_rows(path)
    _, header = next(rows, (0, []))
    names = [name.strip().lower().lstrip("#") for name in header]
    known = {
        field: [names.index(alias) for alias in aliases if alias in names]
        for field, aliases in _COLUMNS.items()
    }
    present = {field: positions[0] for field, positions in known.items() if positions}
    lacking = [field for field in ("gene_id", "contig", "strand") if field not in present]
    if "tss" not in present and not {"start", "end"} <= present.keys():
        lacking.append("tss (or start and end)")
    if lacking:
        raise GeneTableError(
            f"{path} is read as a table, being neither GTF nor GFF3, and its header lacks "
            f"{', '.join(lacking)}; found {', '.join(header[:8]) or 'nothing'}"
        )
    for number, cells in rows:
        where = f"{path}, line {number}"
        if len(cells) != len(header):
            raise GeneTableError(
                f"{where}: expected {len(header)} columns as in the header, found {len(cells)}"
            )
        yield _gene({field: cells[at].strip() for field, at in present.items()}, where)


def _gene(texts: Mapping[str, str], where: str) -> _Gene:
    """Check one record; `where` names file and line."""
    if not texts["gene_id"]:
        raise GeneTableError(f"{where}: expected a gene id (gene_id, or ID in GFF3), found none")
    if texts["strand"] not in {"+", "-"}:
        raise GeneTableError(f"{where}: expected the strand + or -, found {texts['strand']!r}")
    position = {
        field: _position(texts[field], field, where)
        for field in ("start", "end", "tss")
        if field in texts
    }
    if {"start", "end"} <= position.keys():
        start, end = position["start"], position["end"]
    else:
        start = end = position["tss"]
    if start > end:
        raise GeneTableError(f"{where}: the start {start} is greater than the end {end}")
    return _Gene(
        gene_id_version=texts["gene_id"],
        contig=texts["contig"],
        strand=texts["strand"],
        start=start,
        end=end,
        tss=position.get("tss", tss_of_gene(start, end, texts["strand"])),
        gene_name=texts.get("gene_name") or str(unversioned([texts["gene_id"]])[0]),
        biotype=texts.get("biotype", ""),
    )


def _position(text: str, field: str, where: str) -> int:
    if not re.fullmatch(r"[0-9]+", text) or int(text) < 1:
        raise GeneTableError(
            f"{where}: expected a 1-based position as {field}, found {text or 'nothing'!r}"
        )
    return int(text)


def _refuse_duplicates(genes: "pd.Series[str]", path: Path) -> None:
    repeated = genes[genes.duplicated()].unique()
    if len(repeated) > 0:
        raise GeneTableError(
            f"{path} has {len(repeated)} gene ids more than once (without their versions): "
            f"{', '.join(repeated[:3])}; keep one record of each"
        )


def _dataset(genes: pd.DataFrame, contigs: list[str]) -> xr.Dataset:
    """Make the dataset of a frame with the columns of `_Gene` and ``gene``, sorted."""
    rank = genes["contig"].map({name: number for number, name in enumerate(contigs)})
    ordered = genes.assign(rank=rank).sort_values(["rank", "tss", "gene"])
    types = dict.fromkeys(("tss", "start", "end"), np.int64)
    variables = {
        name: ("gene", ordered[name].to_numpy(dtype=types.get(name, np.object_)))
        for name in ("gene", *_Gene._fields)
    }
    return xr.Dataset(variables)
