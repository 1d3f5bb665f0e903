"""Strict readers of the study's released tables: what is not as released is one typed error.

Structure is checked (files, columns, number of rows, ids, ranges); a value that differs from the
released one is read, and shows in the verdicts.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zarrbench.delimited import reading_text
from zarrbench.errors import SourceError

_GENE = re.compile(r"ENSG\d{11}")
_AGAIN = "fetch the released file again"


@dataclass(frozen=True)
class PublishedTables:
    """What the verdicts need of the release; numbers are rounded as there.

    Parameters
    ----------
    genes
        Supplementary Table 1, indexed by gene id: gene_name, r_track, r_finetuned, null_mean,
        null_sd, t, log10_p, log10_q, r_predixcan, fine_mapped_brain, fine_mapped_cortex (empty
        where there is none).
    drivers
        Supplementary Table 2, a row a driver: gene, r_linear, ism, slope.
    gene_set
        Ids of the genes whose drivers the study examined.
    predixcan
        gene, r: repeated ids as released.
    population
        Indexed by gene id: observed, predicted.
    test_genes
        Ids in the model's held-out regions, repeated as released.
    """

    genes: pd.DataFrame
    drivers: pd.DataFrame
    gene_set: tuple[str, ...]
    predixcan: pd.DataFrame
    population: pd.DataFrame
    test_genes: NDArray[np.str_]


Parse = Callable[[str], object]


def _text(cell: str) -> str:
    return "" if cell == "NA" else cell


def _gene_id(cell: str) -> str:
    if not _GENE.fullmatch(cell):
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
    {"gene": (1, _gene_id), "ism": (9, _VALUE), "r_linear": (10, _R), "slope": (18, _ANY)},
    {1: "gene_id", 9: "ISM", 10: "SumISMPearsonRtoCAGE,adult,brain", 18: "eQTL"},
    24,
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
_TEST_GENES, _N_TEST_GENES = "enformer_test_set_genes.npy", 5_595


def read_published(folder: Path) -> PublishedTables:
    """Return the released tables of a folder.

    Raises
    ------
    SourceError
        If a file is missing, truncated, or not written as released: other columns, another number
        of rows, text where a number belongs, a correlation beyond 1, a repeated gene.
    """
    return PublishedTables(
        genes=_indexed(folder, _SUPPLEMENT_1),
        drivers=_read(folder, _SUPPLEMENT_2),
        gene_set=tuple(_indexed(folder, _GENE_SET).index),
        predixcan=_read(folder, _PREDIXCAN),
        population=_indexed(folder, _POPULATION),
        test_genes=_read_test_genes(folder / _TEST_GENES),
    )


def _indexed(folder: Path, layout: _Layout) -> pd.DataFrame:
    table = _read(folder, layout)
    repeated = table["gene"][table["gene"].duplicated()]
    if len(repeated):
        raise SourceError(
            f"{folder / layout.file} holds the gene {repeated.iloc[0]} more than once; {_AGAIN}"
        )
    return table.set_index("gene")


def _read(folder: Path, layout: _Layout) -> pd.DataFrame:
    path = folder / layout.file
    if not path.is_file():
        raise SourceError(
            f"{path} is missing; give the folder of the study's released tables with --tables"
        )
    with reading_text(path) as handle:
        text = handle.read()
    if not text.endswith("\n"):
        raise SourceError(f"{path} is truncated: its last line has no end; {_AGAIN}")
    lines = [line.rstrip("\r").split(layout.separator) for line in text[:-1].split("\n")]
    first = 0
    if layout.header:
        _check_header(path, lines[0], layout)
        first = 1
    if len(lines) - first != layout.rows:
        raise SourceError(
            f"{path} has {len(lines) - first:,} rows, the released file {layout.rows:,}: it is "
            f"truncated or altered; {_AGAIN}"
        )
    return _parsed(path, lines[first:], layout, first + 1)


def _check_header(path: Path, cells: list[str], layout: _Layout) -> None:
    for place, expected in layout.header.items():
        if place >= len(cells) or cells[place] != expected:
            found = repr(cells[place]) if place < len(cells) else f"only {len(cells)} columns"
            raise SourceError(
                f"{path} should have the column {expected!r} at place {place + 1}, found {found}; "
                f"{_AGAIN}"
            )


def _parsed(path: Path, rows: Iterable[list[str]], layout: _Layout, first: int) -> pd.DataFrame:
    values: dict[str, list[object]] = {name: [] for name in layout.columns}
    for line, cells in enumerate(rows, first):
        if len(cells) != layout.n_columns:
            raise SourceError(
                f"{path}, line {line} has {len(cells)} columns, expected {layout.n_columns}: it is "
                f"truncated or altered; {_AGAIN}"
            )
        for name, (place, parse) in layout.columns.items():
            try:
                values[name].append(parse(cells[place]))
            except ValueError as error:
                raise SourceError(
                    f"{path}, line {line}, column {place + 1}: expected {error}, found "
                    f"{cells[place]!r:.40}; {_AGAIN}"
                ) from error
    return pd.DataFrame(values)


def _read_test_genes(path: Path) -> NDArray[np.str_]:
    try:
        ids = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise SourceError(
            f"{path} is missing; give the folder of the study's released tables with --tables"
        ) from None
    except (OSError, ValueError, EOFError) as error:
        raise SourceError(
            f"{path} is truncated or no array of text: {' '.join(str(error).split())}; {_AGAIN}"
        ) from error
    if not isinstance(ids, np.ndarray) or ids.dtype.kind != "U" or ids.shape != (_N_TEST_GENES,):
        found = getattr(ids, "shape", "several arrays"), getattr(ids, "dtype", "")
        raise SourceError(
            f"{path} should hold {_N_TEST_GENES:,} gene ids, found {found[0]} {found[1]}; {_AGAIN}"
        )
    strange = [one for one in ids.tolist() if not _GENE.fullmatch(one)]
    if strange:
        raise SourceError(f"{path} holds {strange[0]!r:.40}, which is no gene id; {_AGAIN}")
    return ids
