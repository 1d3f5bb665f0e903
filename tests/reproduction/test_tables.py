"""The released tables are read as they are, and nothing else is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from zarrbench.errors import SourceError
from zarrbench.reproduction.tables import read_published

TABLE_1, TABLE_2 = "SupplementaryTable1.tsv", "SupplementaryTable2.tsv"
POPULATION, TEST_GENES = "MeanGeXPredFineTuned.txt", "enformer_test_set_genes.npy"
PREDIXCAN = "PrediXcanCorrelationWithExpressionENSG.tsv"
GENE_SET = ("Prediction_correlationsCageAdultBrainGeneSpecific_CorrelationtoObsRandomNull_tstats_"
            "set0.2.list")  # fmt: skip
Edit = Callable[[str, str, str], Path]


def test_columns_hold_what_pandas_reads(published: Path) -> None:
    tables = read_published(published)
    theirs = pd.read_csv(published / TABLE_1, sep="\t").set_index("gene_id")
    assert tables.genes.index.tolist() == theirs.index.tolist()
    for ours, column in {
        "gene_name": "# gene_name",
        "r_track": "PearsonRCAGE,adult,brain",
        "r_finetuned": "PearsonRfineTuned",
        "null_mean": "RmeanRandom",
        "null_sd": "Rstdrandom",
        "t": "TstatCAGE,adult,brain",
        "log10_p": "Log10PvalueTstatCAGE,adult,brain",
        "log10_q": "Log10BHPvalueTstatCAGE,adult,brain",
        "r_predixcan": "PrediXcanR",
        "fine_mapped_brain": "SuSieCausalBrainhg38",
        "fine_mapped_cortex": "SusieCausalCortexhg38",
    }.items():
        expected = theirs[column].fillna("") if ours.startswith("fine_") else theirs[column]
        pd.testing.assert_series_equal(tables.genes[ours], expected, check_names=False)
    drivers = pd.read_csv(published / TABLE_2, sep="\t")
    for ours, column in {
        "gene": "gene_id",
        "ism": "ISM",
        "r_linear": "SumISMPearsonRtoCAGE,adult,brain",
        "slope": "eQTL",
    }.items():
        pd.testing.assert_series_equal(
            tables.drivers[ours], drivers[column], check_names=False, check_dtype=False
        )
    population = pd.read_csv(published / POPULATION, sep="\t", index_col=0)
    np.testing.assert_array_equal(tables.population.to_numpy(), population.to_numpy())
    assert tables.population.index.tolist() == population.index.tolist()
    predixcan = pd.read_csv(published / PREDIXCAN, sep="\t", header=None)
    np.testing.assert_array_equal(tables.predixcan["r"], predixcan[1])
    assert len(tables.gene_set) == 256
    assert len(tables.test_genes) == 5595


@pytest.mark.parametrize("name", [TABLE_1, TABLE_2, POPULATION, TEST_GENES, PREDIXCAN, GENE_SET])
def test_a_missing_file_is_named(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(SourceError, match=f"{name} is missing; give the folder"):
        read_published(copied)


@pytest.mark.parametrize("name", [TABLE_1, TABLE_2, POPULATION, TEST_GENES, PREDIXCAN, GENE_SET])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_a_truncated_file_is_refused(copied: Path, name: str, share: float) -> None:
    content = (copied / name).read_bytes()
    (copied / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(SourceError, match=f"{name}.* (truncated|has 0|should)"):
        read_published(copied)


@pytest.mark.parametrize("name", [TABLE_1, TABLE_2, POPULATION, PREDIXCAN, GENE_SET])
def test_a_missing_last_row_or_half_of_it_is_refused(copied: Path, name: str) -> None:
    lines = (copied / name).read_text().splitlines(keepends=True)
    (copied / name).write_text("".join(lines[:-1]))
    with pytest.raises(SourceError, match=f"{len(lines) - 2:,}|{len(lines) - 1:,} rows"):
        read_published(copied)
    (copied / name).write_text("".join(lines)[:-3])
    with pytest.raises(SourceError, match="its last line has no end"):
        read_published(copied)


@pytest.mark.parametrize(
    ("name", "pattern", "replacement", "sentence"),
    [
        (TABLE_1, "RmeanRandom\t", "RMean\t", "'RmeanRandom' at place 18, found 'RMean'"),
        (TABLE_1, "PearsonRfineTuned\t", "", "'PearsonRfineTuned' at place 10, found 'Pvalue"),
        (TABLE_1, "\tSusieCausalCortexhg38$", "", "at place 25, found only 24 columns"),
        (TABLE_1, "^SCYL3\t", "", "line 3 has 24 columns, expected 25"),
        (TABLE_1, "\tENSG00000000457\t", "\tENSG00000000419\t", "ENSG00000000419 more than once"),
        (TABLE_1, "\tENSG00000000457\t", "\tENSG457\t", "column 2: expected a gene id without"),
        (TABLE_1, "-0.028\t0.42", "-1.028\t0.42", "line 3, column 10: expected a number from -1"),
        (TABLE_1, "\t0.0706\t", "\t-0.0706\t", "column 19: expected a number from 0 to 1"),
        (TABLE_1, "\t0.0706\t", "\tNaN\t", "column 19: expected a number from 0 to 1, found 'NaN'"),
        (TABLE_1, "\t0.0706\t", "\tlow\t", "found 'low'"),
        (TABLE_2, "\tISM\t", "\tism\t", "the column 'ISM' at place 10, found 'ism'"),
        (TABLE_2, "\t-0.99268\t", "\tinf\t", "line 3, column 10: expected a number, found 'inf'"),
        (POPULATION, "mean gene expression", "mean", "'mean gene expression' at place 2"),
        (POPULATION, "4.284999", "nan", "line 2, column 3: expected a number, found 'nan'"),
        (PREDIXCAN, "0.205679", "2.05679", "line 2, column 2: expected a number from -1 to 1"),
        (GENE_SET, "ENSG00000005156", "ENSG00000001460", "ENSG00000001460 more than once"),
    ],
)  # fmt: skip
def test_what_is_not_written_as_released_is_one_sentence(
    edited: Edit, name: str, pattern: str, replacement: str, sentence: str
) -> None:
    folder = edited(name, pattern, replacement)
    with pytest.raises(SourceError, match=sentence) as error:
        read_published(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.array(["ENSG00000203825"]), r"found \(1,\) <U15"),
        (np.zeros(5595), "float64"),
        (np.array(["ENSG00000203825.2"] * 5595), "which is no gene id"),
        (np.array(["ENSG00000203825"] * 5595, dtype=object), "no array of text"),
    ],
)
def test_arrays_that_are_no_gene_ids_are_refused(
    copied: Path, array: np.ndarray, sentence: str
) -> None:
    np.save(copied / TEST_GENES, array, allow_pickle=True)
    with pytest.raises(SourceError, match=sentence):
        read_published(copied)
