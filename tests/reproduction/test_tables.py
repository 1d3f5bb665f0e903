"""The released tables are read as they are, and nothing else is."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from zarrbench.errors import SourceError
from zarrbench.reproduction.tables import read_published

TABLE_1, TABLE_2 = "SupplementaryTable1.tsv", "SupplementaryTable2.tsv"
POPULATION, TEST_GENES = "MeanGeXPredFineTuned.txt", "enformer_test_set_genes.npy"
TABLE_3, TSS_SCANS = "SupplementaryTable3.txt", "tss_attribution_stats.txt"
PREDIXCAN = "PrediXcanCorrelationWithExpressionENSG.tsv"
GENE_SET = ("Prediction_correlationsCageAdultBrainGeneSpecific_CorrelationtoObsRandomNull_tstats_"
            "set0.2.list")  # fmt: skip
TEXTS = (TABLE_1, TABLE_2, TABLE_3, TSS_SCANS, POPULATION, PREDIXCAN, GENE_SET)
ARRAYS = (TEST_GENES, "maindrivernpz.tar",
          *(f"ALLgenes_ism_attributions_driversfw{of}_{base}seq_winsize13.npz"
            for of in ("", "main") for base in ("ref", "var")))  # fmt: skip
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
        "tss": "tss_hg38",
        "position": "LociDriverhg38",
        "distance": "DisttoTSS",
        "ism": "ISM",
        "r_linear": "SumISMPearsonRtoCAGE,adult,brain",
        "r_alone": "DriverPearsonRtoCAGE,adult,brain",
        "increment": "IncreasedFractionofSumPearonRbyrankedDrivertoCAGE,adult,brain",
        "carriers": "NIndividualsWithSNV",
        "percent_carriers": "FractionIndividualsWithSNV",
        "is_main": "IsMainDriver",
        "ism_share": "ISMFractionofISMmaxinSNV",
        "slope": "eQTL",
        "r_genotype": "PearsonRGenotypetoObs",
        "prediction": "RefseqforwardCAGE,adult,brain",
        "scan_largest": "MaxISM+-1000TSS",
        "scan_sd": "StdISM+-1000ISM",
    }.items():
        pd.testing.assert_series_equal(
            tables.drivers[ours], drivers[column], check_names=False, check_dtype=False
        )
    assert tables.drivers["is_main"].dtype == bool
    assert tables.drivers["position"].dtype == np.int64
    motifs = pd.read_csv(published / TABLE_3, sep=" ", index_col=0)
    np.testing.assert_array_equal(tables.motifs.to_numpy(), motifs.to_numpy())
    assert tables.motifs.index.tolist() == motifs.index.tolist()
    for ours, place in {"position": 1, "reference_s": 2, "reference_size_5": 3,
                        "reference_distance_50": 10, "reference_value_5": 11, "variant_s": 15,
                        "variant_value_50": 27}.items():  # fmt: skip
        assert tables.motifs.columns.get_loc(ours) == place - 1
    summaries = pd.read_csv(published / TSS_SCANS, sep=" ", header=None, index_col=0)
    np.testing.assert_array_equal(tables.tss_scans.to_numpy(), summaries.to_numpy())
    assert tables.tss_scans.index.tolist() == summaries.index.tolist()
    population = pd.read_csv(published / POPULATION, sep="\t", index_col=0)
    np.testing.assert_array_equal(tables.population.to_numpy(), population.to_numpy())
    assert tables.population.index.tolist() == population.index.tolist()
    predixcan = pd.read_csv(published / PREDIXCAN, sep="\t", header=None)
    np.testing.assert_array_equal(tables.predixcan["r"], predixcan[1])
    assert len(tables.gene_set) == 256
    assert len(tables.test_genes) == 5595


@pytest.mark.parametrize("name", [*TEXTS, *ARRAYS])
def test_a_missing_file_is_named(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(SourceError, match=f"{re.escape(name)} is missing; give the folder"):
        read_published(copied)


@pytest.mark.parametrize("name", [*TEXTS, *ARRAYS])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_a_truncated_file_is_refused(copied: Path, name: str, share: float) -> None:
    content = (copied / name).read_bytes()
    (copied / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(SourceError, match=f"{re.escape(name)}.* (truncated|has 0|should)"):
        read_published(copied)


@pytest.mark.parametrize("name", TEXTS)
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
        (TABLE_2, "\t24417389\t", "\t24417389.5\t", "column 8: expected a whole number from 1"),
        (TABLE_2, "\t24417389\t", "\t0\t", "column 8: expected a whole number from 1, found '0'"),
        (TABLE_2, "\t455\t", "\tnear\t", "line 2, column 9: expected a whole number, found 'near'"),
        (TABLE_2, "\tTrue\t", "\tyes\t", "line 2, column 17: expected True or False, found 'yes'"),
        (TABLE_2, "\t43.8\t", "\t143.8\t", "column 16: expected a number from 0 to 100"),
        (TABLE_3, "ENSG00000006607 ", "ENSG00000001460 ", "ENSG00000001460 more than once"),
        (TABLE_3, "MainDriverLoci", "Loci", "'MainDriverLoci' at place 2, found 'Loci'"),
        (TABLE_3, "-0.0527815329", "nan", "line 2, column 3: expected a number, found 'nan"),
        (TSS_SCANS, "0.0850742757320404", "-0.08", "line 1, column 3: expected a number from 0"),
        (TSS_SCANS, " 39.728615 ", " ", "line 2 has 3 columns, expected 4"),
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
