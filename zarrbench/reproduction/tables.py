"""Strict readers of the study's released tables: what is not as released is one typed error.

Structure is checked (files, columns, number of rows, ids, ranges); a value that differs from the
released one is read, and shows in the verdicts.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zarrbench.delimited import reading_text
from zarrbench.errors import SourceError
from zarrbench.reproduction.arrays import (
    AGAIN,
    GENE,
    DriverScans,
    DriverSequences,
    missing,
    read_scans,
    read_sequences,
    read_test_genes,
)


@dataclass(frozen=True)
class PublishedTables:
    """What the verdicts need of the release; numbers are rounded as there.

    Parameters
    ----------
    genes
        Supplementary Table 1, indexed by gene id: gene_name, r_finetuned, r_track, mean_track (mean
        prediction), null_mean, null_sd, t, log10_p, log10_q, r_predixcan, fine_mapped_brain,
        fine_mapped_cortex (empty where there is none).
    drivers
        Supplementary Table 2, a row a driver: gene, tss, position (1-based), distance (bases from
        the TSS, along the plus strand), ism, r_linear (of the sum over SNVs with the prediction),
        r_alone (of the driver by itself), increment (of the running r of r_linear), carriers,
        percent_carriers, is_main, ism_share (of the largest |ism| of the gene), slope (0 where the
        SNV does not vary), r_genotype (with expression, NaN there), prediction (of the reference),
        scan_largest and scan_sd (of the scan about the TSS).
    motifs
        Supplementary Table 3, indexed by gene id: position, then reference_s, reference_size_5,
        _10, _20 and _50 (percent), the distances and values likewise, and the same of variant.
    tss_scans
        Indexed by gene id: prediction of the reference, largest and sd of the scan about the TSS.
    gene_set
        Ids of the genes whose drivers the study examined.
    predixcan
        gene, r: repeated ids as released.
    population
        Indexed by gene id: observed, predicted.
    test_genes
        Ids in the model's held-out regions, repeated as released.
    scans
        About the main drivers.
    sequences, main_sequences
        Around all drivers, and around the main ones.
    """

    genes: pd.DataFrame
    drivers: pd.DataFrame
    motifs: pd.DataFrame
    tss_scans: pd.DataFrame
    gene_set: tuple[str, ...]
    predixcan: pd.DataFrame
    population: pd.DataFrame
    test_genes: NDArray[np.str_]
    scans: DriverScans
    sequences: DriverSequences
    main_sequences: DriverSequences


Parse = Callable[[str], object]


def _text(cell: str) -> str:
    return "" if cell == "NA" else cell


def _gene_id(cell: str) -> str:
    if not GENE.fullmatch(cell):
        raise ValueError("a gene id without version")
    return cell


def _number(low: float = -np.inf, high: float = np.inf, missing: bool = False) -> Parse:
    def parse(cell: str) -> float:
        expected = "a number"
        if np.isfinite(low) or np.isfinite(high):
            expected += f" from {low:g} to {high:g}"
        try:
            value = float(cell)
        except ValueError:
            raise ValueError(expected) from None
        if not (low <= value <= high and np.isfinite(value)) and not (missing and np.isnan(value)):
            raise ValueError(expected)
        return value

    return parse


def _whole(low: int | None = None) -> Parse:
    def parse(cell: str) -> int:
        expected = "a whole number" if low is None else f"a whole number from {low}"
        try:
            value = int(cell)
        except ValueError:
            raise ValueError(expected) from None
        if low is not None and value < low:
            raise ValueError(expected)
        return value

    return parse


def _flag(cell: str) -> bool:
    if cell not in ("True", "False"):
        raise ValueError("True or False")
    return cell == "True"


@dataclass(frozen=True)
class _Layout:
    """How a released file is written: its rows, its header, and the columns that are taken."""

    file: str
    rows: int
    columns: Mapping[str, tuple[int, Parse]]
    header: Mapping[int, str] = field(default_factory=dict)
    n_columns: int = 1
    separator: str = "\t"


_R = _number(-1, 1, missing=True)
_VALUE = _number()
_NOT_NEGATIVE = _number(0)
_ANY = _number(missing=True)

_SUPPLEMENT_1 = _Layout(
    "SupplementaryTable1.tsv",
    6_820,
    {
        "gene_name": (0, str),
        "gene": (1, _gene_id),
        "r_finetuned": (9, _R),
        "r_track": (13, _R),
        "mean_track": (15, _ANY),
        "null_mean": (17, _number(0, 1)),
        "null_sd": (18, _number(0, 1)),
        "t": (19, _ANY),
        "log10_p": (20, _ANY),
        "log10_q": (21, _VALUE),
        "r_predixcan": (22, _R),
        "fine_mapped_brain": (23, _text),
        "fine_mapped_cortex": (24, _text),
    },
    {
        0: "# gene_name",
        1: "gene_id",
        9: "PearsonRfineTuned",
        13: "PearsonRCAGE,adult,brain",
        15: "MeanCAGE,adult,brain",
        17: "RmeanRandom",
        18: "Rstdrandom",
        19: "TstatCAGE,adult,brain",
        20: "Log10PvalueTstatCAGE,adult,brain",
        21: "Log10BHPvalueTstatCAGE,adult,brain",
        22: "PrediXcanR",
        23: "SuSieCausalBrainhg38",
        24: "SusieCausalCortexhg38",
    },
    25,
)
_SUPPLEMENT_2 = _Layout(
    "SupplementaryTable2.tsv",
    1_091,
    {
        "gene": (1, _gene_id),
        "tss": (6, _whole(1)),
        "position": (7, _whole(1)),
        "distance": (8, _whole()),
        "ism": (9, _VALUE),
        "r_linear": (10, _R),
        "r_alone": (11, _R),
        "increment": (13, _VALUE),
        "carriers": (14, _whole(0)),
        "percent_carriers": (15, _number(0, 100)),
        "is_main": (16, _flag),
        "ism_share": (17, _number(-1, 1)),
        "slope": (18, _ANY),
        "r_genotype": (20, _R),
        "prediction": (21, _NOT_NEGATIVE),
        "scan_largest": (22, _NOT_NEGATIVE),
        "scan_sd": (23, _NOT_NEGATIVE),
    },
    {
        1: "gene_id",
        6: "tss_hg38",
        7: "LociDriverhg38",
        8: "DisttoTSS",
        9: "ISM",
        10: "SumISMPearsonRtoCAGE,adult,brain",
        11: "DriverPearsonRtoCAGE,adult,brain",
        13: "IncreasedFractionofSumPearonRbyrankedDrivertoCAGE,adult,brain",
        14: "NIndividualsWithSNV",
        15: "FractionIndividualsWithSNV",
        16: "IsMainDriver",
        17: "ISMFractionofISMmaxinSNV",
        18: "eQTL",
        20: "PearsonRGenotypetoObs",
        21: "RefseqforwardCAGE,adult,brain",
        22: "MaxISM+-1000TSS",
        23: "StdISM+-1000ISM",
    },
    24,
)
_MOTIF_COLUMNS = tuple(
    f"{base}_{name}"
    for base in ("reference", "variant")
    for name in ("s", *(f"{one}_{percent}" for one in ("size", "distance", "value")
                        for percent in (5, 10, 20, 50)))
)  # fmt: skip
_SUPPLEMENT_3 = _Layout(
    "SupplementaryTable3.txt",
    251,
    {
        "gene": (0, _gene_id),
        "position": (1, _whole(1)),
        **{name: (place, _VALUE) for place, name in enumerate(_MOTIF_COLUMNS, 2)},
    },
    {
        0: "gene_id",
        1: "MainDriverLoci",
        2: "MeanISMatLoci_in_refseq/MaxISM",
        15: "MeanISMatLoci_in_varseq/MaxISM",
    },
    28,
    " ",
)
_TSS_SCANS = _Layout(
    "tss_attribution_stats.txt",
    324,
    {
        "gene": (0, _gene_id),
        "prediction": (1, _NOT_NEGATIVE),
        "largest": (2, _NOT_NEGATIVE),
        "sd": (3, _NOT_NEGATIVE),
    },
    n_columns=4,
    separator=" ",
)
_GENE_SET = _Layout(
    "Prediction_correlationsCageAdultBrainGeneSpecific_CorrelationtoObsRandomNull_tstats_"
    "set0.2.list",
    256,
    {"gene": (0, _gene_id)},
)
_PREDIXCAN = _Layout(
    "PrediXcanCorrelationWithExpressionENSG.tsv",
    6_825,
    {"gene": (0, _gene_id), "r": (1, _R)},
    n_columns=2,
)
_POPULATION = _Layout(
    "MeanGeXPredFineTuned.txt",
    12_702,
    {"gene": (0, _gene_id), "observed": (1, _VALUE), "predicted": (2, _VALUE)},
    {0: "", 1: "mean gene expression", 2: "Enf prediction, Reference, fine-tuned"},
    3,
)


def read_published(folder: Path) -> PublishedTables:
    """Return the released tables of a folder.

    Raises
    ------
    SourceError
        If a file is missing, truncated, or not written as released: other columns, another number
        of rows, text where a number belongs, a correlation beyond 1, a repeated gene, an array of
        another shape.
    """
    return PublishedTables(
        genes=_indexed(folder, _SUPPLEMENT_1),
        drivers=_read(folder, _SUPPLEMENT_2),
        motifs=_indexed(folder, _SUPPLEMENT_3),
        tss_scans=_indexed(folder, _TSS_SCANS),
        gene_set=tuple(_indexed(folder, _GENE_SET).index),
        predixcan=_read(folder, _PREDIXCAN),
        population=_indexed(folder, _POPULATION),
        test_genes=read_test_genes(folder),
        scans=read_scans(folder),
        sequences=read_sequences(folder, main=False),
        main_sequences=read_sequences(folder, main=True),
    )


def _indexed(folder: Path, layout: _Layout) -> pd.DataFrame:
    table = _read(folder, layout)
    repeated = table["gene"][table["gene"].duplicated()]
    if len(repeated):
        raise SourceError(
            f"{folder / layout.file} holds the gene {repeated.iloc[0]} more than once; {AGAIN}"
        )
    return table.set_index("gene")


def _read(folder: Path, layout: _Layout) -> pd.DataFrame:
    path = folder / layout.file
    if not path.is_file():
        raise missing(path)
    with reading_text(path) as handle:
        text = handle.read()
    if not text.endswith("\n"):
        raise SourceError(f"{path} is truncated: its last line has no end; {AGAIN}")
    lines = [line.rstrip("\r").split(layout.separator) for line in text[:-1].split("\n")]
    first = 0
    if layout.header:
        _check_header(path, lines[0], layout)
        first = 1
    if len(lines) - first != layout.rows:
        raise SourceError(
            f"{path} has {len(lines) - first:,} rows, the released file {layout.rows:,}: it is "
            f"truncated or altered; {AGAIN}"
        )
    return _parsed(path, lines[first:], layout, first + 1)


def _check_header(path: Path, cells: list[str], layout: _Layout) -> None:
    for place, expected in layout.header.items():
        if place >= len(cells) or cells[place] != expected:
            found = repr(cells[place]) if place < len(cells) else f"only {len(cells)} columns"
            raise SourceError(
                f"{path} should have the column {expected!r} at place {place + 1}, found {found}; "
                f"{AGAIN}"
            )


def _parsed(path: Path, rows: Iterable[list[str]], layout: _Layout, first: int) -> pd.DataFrame:
    values: dict[str, list[object]] = {name: [] for name in layout.columns}
    for line, cells in enumerate(rows, first):
        if len(cells) != layout.n_columns:
            raise SourceError(
                f"{path}, line {line} has {len(cells)} columns, expected {layout.n_columns}: it is "
                f"truncated or altered; {AGAIN}"
            )
        for name, (place, parse) in layout.columns.items():
            try:
                values[name].append(parse(cells[place]))
            except ValueError as error:
                raise SourceError(
                    f"{path}, line {line}, column {place + 1}: expected {error}, found "
                    f"{cells[place]!r:.40}; {AGAIN}"
                ) from error
    return pd.DataFrame(values)
