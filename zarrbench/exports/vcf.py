"""SNVs with their attributions and slopes as a VCF of sites: for bcftools and genome browsers.

No people, and no site whose rarer allele fewer than `MINIMUM_PEOPLE` of them carry.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pyarrow.parquet as pq
import pysam
import xarray as xr

import zarrbench
from zarrbench import progress
from zarrbench.errors import RecipeError, StoreLayoutError
from zarrbench.exports.destinations import check_destination
from zarrbench.exports.facts import described
from zarrbench.figures.disclosure import MINIMUM_PEOPLE
from zarrbench.remote import Place, reading
from zarrbench.stages.standing import standing
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import published

# A tabix index reaches so far; longer contigs need the other kind
_TABIX_END = 1 << 29
_SOURCE = f"##source=zarrbench {zarrbench.__version__}"
# What a text in INFO may not hold (VCF 4.3, section 1.2), besides blanks and control characters
_RESERVED = frozenset(":;=%,")


@dataclass(frozen=True)
class Field:
    """One key of INFO; of each gene a value, in the order of ZB_GENE, or one for the record."""

    key: str
    column: str
    kind: str
    meaning: str
    number: str = "."
    measured: bool = False

    def line(self) -> str:
        hidden = f"; . where fewer than {MINIMUM_PEOPLE} people with expression carry the rarer "
        meaning = self.meaning + (hidden + "allele" if self.measured else "")
        return (
            f"##INFO=<ID={self.key},Number={self.number},Type={self.kind},"
            f'Description="{_quoted(meaning)}">'
        )


FIELDS = (
    Field("ZB_GENE", "gene_id", "String",
          "Genes in whose window the SNV lies, percent-encoded; the other lists are in this order"),
    Field("ZB_NAME", "gene_name", "String", "Symbols of these genes, percent-encoded"),
    Field("ZB_DIST", "distance", "Integer", "POS - TSS in bases, along the forward strand"),
    Field("ZB_ISM", "ism", "Float",
          "Readout of the model with ALT in the reference, less that of the reference"),
    Field("ZB_GRAD", "gradient", "Float",
          "Gradient of the readout at the reference, times (ALT - REF)"),
    Field("ZB_SLOPE", "slope", "Float", "Units of expression per copy of ALT", measured=True),
    Field("ZB_SE", "se", "Float", "Standard error of ZB_SLOPE", measured=True),
    Field("ZB_SUPPORT", "support", "Integer",
          "1 if ZB_ISM and ZB_SLOPE have one sign, -1 if two, 0 if one is 0 or not defined",
          measured=True),
    Field("ZB_DRIVER", "is_driver", "Integer", "1 if the SNV is a forward driver of the gene",
          measured=True),
    Field("ZB_MAIN", "is_main", "Integer", "1 if it is the driver with the largest increment",
          measured=True),
    Field("ZB_INC", "increment", "Float",
          "What the SNV adds, at its rank by |ZB_ISM|, to the correlation of the sum of "
          "contributions with the prediction, as a share of that of all SNVs", measured=True),
    Field("ZB_AF", "effect_allele_frequency", "Float",
          "Share of ALT among the alleles called of everybody sequenced", "A"),
)  # fmt: skip
_SITE = ("variant_position", "other_allele", "effect_allele")
_COLUMNS = ("contig", *_SITE, "minor_carriers", *(field.column for field in FIELDS))


def export_vcf(workspace: Workspace, path: Path, *, overwrite: bool = False) -> dict[str, int]:
    """Write the SNVs of the drivers stage as a VCF without people, and its index beside it.

    A record is one place and ALT; lists in INFO have one value for each gene near it. ALT is the
    effect allele: signs of attributions and slopes are those of putting ALT in the place of REF.
    Sites are left out whose rarer allele fewer than `MINIMUM_PEOPLE` people with expression carry.
    Where they are enough for one gene of a site and too few for another, which has expression of
    fewer people, what was measured on people (slope, its standard error, support, what makes the
    SNV a driver) is missing for the other. One contig is in memory at a time.

    Parameters
    ----------
    workspace : Workspace
    path : Path
        Ends with ``.vcf.gz``; compressed by bgzip, with ``.tbi`` beside it (``.csi`` where a contig
        is longer than 512 Mb).
    overwrite : bool
        Whether what an earlier export wrote there may be replaced.

    Returns
    -------
    dict
        Counts of `records`, of `gene_snv_pairs` in them, and of what is left out:
        `without_alternative`, pairs of a gene and SNV whose alternative allele is not known, which
        VCF cannot say, and `sites_of_few`, sites whose rarer allele too few people carry.

    Raises
    ------
    RecipeError
        If the name ends otherwise, or the drivers stage has to be run.
    StorageError
        If something else stands there, or it cannot be written.
    """
    if not path.name.endswith(".vcf.gz"):
        raise RecipeError(f"{path} does not end with .vcf.gz; name it so")
    check_destination(path, overwrite, _is_ours, "file")
    found = standing(workspace, "drivers")
    if isinstance(found, str):
        raise StoreLayoutError(f"a VCF needs the results of the drivers stage, and {found}")
    lengths = workspace.stores.reference.lengths
    long = max(lengths.values()) > _TABIX_END
    index = path.with_name(f"{path.name}.{'csi' if long else 'tbi'}")
    having = pd.Series(found["contig"].values.astype(object)).value_counts()
    contigs = [contig for contig in lengths if contig in having.index]
    # The header says it, and is written first.
    of_few = sum(shown(snvs_of(workspace.concordance, contig))[1] for contig in contigs)
    counts = {"records": 0, "gene_snv_pairs": 0, "without_alternative": 0, "sites_of_few": of_few}
    with published(index) as beside, published(path) as temporary:
        with (
            pysam.BGZFile(str(temporary), "wb") as file,
            progress.bar(total=found.sizes["gene"], label="vcf", unit="genes") as bar,
        ):
            for line in header(workspace, found, lengths, of_few):
                file.write(f"{line}\n".encode())
            for contig in contigs:
                table = snvs_of(workspace.concordance, contig)
                counts["without_alternative"] += int((~_known(table)).sum())
                table, _ = shown(table)
                counts["gene_snv_pairs"] += len(table)
                for line in records(table):
                    file.write(f"{line}\n".encode())
                    counts["records"] += 1
                bar.update(int(having[contig]))
        pysam.tabix_index(
            str(temporary), preset="vcf", index=str(beside), csi=long, keep_original=True
        )
        for old in ("tbi", "csi"):  # it would pass for that of the new file
            path.with_name(f"{path.name}.{old}").unlink(missing_ok=True)
    return counts


def _is_ours(path: Path) -> bool:
    """Whether the first lines of a file say that this export wrote it."""
    try:
        with pysam.BGZFile(str(path), "rb") as file:
            return file.read(200).decode("utf-8", "replace").count("\n##source=zarrbench ") == 1
    except OSError:
        return False


def header(
    workspace: Workspace, drivers: xr.Dataset, lengths: Mapping[str, int], of_few: int
) -> Iterator[str]:
    """Yield the lines of the header: what the file is, contigs, and every key of INFO."""
    facts = described(workspace)
    yield "##fileformat=VCFv4.3"
    yield _SOURCE
    yield _line("pipeline", facts["pipeline"])
    yield _line("model", facts["model"])
    yield _line("track", drivers.attrs["track"])
    yield _line("readout", facts["units"]["prediction, ism, gradient"])
    yield _line("expression", facts["units"]["expression, observed"])
    yield _line(
        "about",
        "sites only, no people; ALT is the effect allele, to which every sign refers; lists have "
        "one value for each gene of ZB_GENE",
    )
    yield _line(
        "left_out",
        f"{of_few} sites whose rarer allele fewer than {MINIMUM_PEOPLE} people with expression "
        "carry",
    )
    for contig, length in lengths.items():
        yield f"##contig=<ID={contig},length={length}>"
    for field in FIELDS:
        yield field.line()
    yield "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"


def _line(name: str, value: str) -> str:
    """Return a line of the header with a text as its value."""
    text = " ".join(str(value).split())
    return f"##zarrbench_{name}={quote(text[0]) + text[1:] if text.startswith('<') else text}"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def snvs_of(concordance: Place, contig: str) -> pd.DataFrame:
    """Return the SNVs of a contig from the table of the drivers stage, in the order of a VCF."""
    with reading(concordance), concordance.open("rb") as handle:
        table: pd.DataFrame = pq.read_table(
            handle, columns=list(_COLUMNS), filters=[("contig", "==", contig)]
        ).to_pandas()
    return table.sort_values(list(_SITE), kind="stable", ignore_index=True)


def _known(table: pd.DataFrame) -> pd.Series:
    return table["effect_allele"].isin(list("ACGT"))


def shown(table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return the SNVs of a contig that a VCF may have, and how many sites too few people carry.

    Enough carry a site if `MINIMUM_PEOPLE` of the people of any gene do.
    """
    table = table[_known(table)]
    sites = table.groupby(list(_SITE), sort=False)["minor_carriers"]
    few = sites.transform("max") < MINIMUM_PEOPLE
    return table[~few].reset_index(drop=True), len(table[few].drop_duplicates(list(_SITE)))


def records(table: pd.DataFrame) -> Iterator[str]:
    """Yield a line for each place and ALT of a table that `shown` gave."""
    hidden = table["minor_carriers"] < MINIMUM_PEOPLE
    texts = {}
    for field in FIELDS:
        values = [_TEXTS[field.kind](value) for value in table[field.column]]
        if field.measured:
            values = ["." if few else v for few, v in zip(hidden, values, strict=True)]
        texts[field.key] = values
    sites = table[["contig", *_SITE]].itertuples(index=False, name=None)
    for (contig, position, ref, alt), of_site in groupby(enumerate(sites), key=itemgetter(1)):
        rows = [row for row, _ in of_site]
        info = []
        for field in FIELDS:
            of_genes = [texts[field.key][row] for row in rows]
            if field.number == "A":  # of everybody, and so one for all genes
                of_genes = of_genes[:1]
            info.append(f"{field.key}={','.join(of_genes)}")
        yield f"{contig}\t{position}\t.\t{ref}\t{alt}\t.\t.\t{';'.join(info)}"


def escaped(text: str) -> str:
    """Return a text as INFO can hold it: percent-encoded by VCF 4.3, ``.`` if it is empty.

    ``urllib.parse.unquote`` gives it back.
    """
    if text == ".":
        return "%2E"  # alone it would say that there is none
    return "".join(quote(c, safe="") if _special(c) else c for c in text) or "."


def _special(character: str) -> bool:
    return character in _RESERVED or character.isspace() or not character.isprintable()


def _number(value: float) -> str:
    """Return a number with as many digits as VCF readers keep."""
    return f"{value:.7g}" if math.isfinite(value) else "."


_TEXTS: dict[str, Callable[[Any], str]] = {
    "String": escaped,
    "Integer": lambda value: str(int(value)),
    "Float": _number,
}
