"""What is recomputed, against plain pandas, scipy and statsmodels on the released tables."""

import ast
import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from zarrbench.errors import SourceError
from zarrbench.reproduction import claims, driver_claims, motif_claims
from zarrbench.reproduction.claims import recompute
from zarrbench.reproduction.printed import PRINTED
from zarrbench.reproduction.recomputed import Recomputed
from zarrbench.reproduction.tables import PublishedTables

R, MEAN, SD = "PearsonRCAGE,adult,brain", "RmeanRandom", "Rstdrandom"


@pytest.fixture(scope="module")
def found(tables: PublishedTables) -> dict[str, Recomputed]:
    return recompute(tables)


def test_every_key_is_used_once_and_every_number_is_there(found: Mapping[str, Recomputed]) -> None:
    assert sorted(one.key for one in PRINTED if one.key) == sorted(found)


def test_no_printed_number_stands_in_the_code_that_computes_it(tables: PublishedTables) -> None:
    parts = {module: set(part(tables)) for module, part in (
        (driver_claims, driver_claims.driver_claims), (motif_claims, motif_claims.motif_claims)
    )}  # fmt: skip
    keys = {one.key for one in PRINTED}
    parts[claims] = keys.difference(*parts.values())
    assert all(parts.values())
    for module, own in parts.items():
        printed = {abs(one.value) for one in PRINTED if one.key in own} - {0}
        tree = ast.parse(Path(module.__file__).read_text())
        literals = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, int | float)
        }
        assert not printed & literals
        names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert "zarrbench.reproduction.printed" not in names


@pytest.mark.parametrize(
    ("statistic", "genes", "negative"),
    [("published", 599, 195), ("sem", 3000, 1253), ("prediction", 102, 27), ("signed", 4, 1)],
)
def test_the_headline_under_each_statistic(
    found: Mapping[str, Recomputed], table: pd.DataFrame, statistic: str, genes: int, negative: int
) -> None:
    r, mean, sd, n = table[R].fillna(0.0), table[MEAN], table[SD], 50
    usable = sd > 0
    excess = (r.abs() - mean)[usable]
    t = {
        "published": excess / np.sqrt(sd[usable] / n),
        "sem": excess / (sd[usable] / np.sqrt(n)),
        "prediction": excess / (sd[usable] * np.sqrt(n / (n - 1)) * np.sqrt(1 + 1 / n)),
        "signed": (r / np.sqrt(mean**2 + sd**2))[usable],
    }[statistic]
    p = pd.Series(1.0, table.index)
    p[usable] = 2 * stats.t.sf(t.abs(), n) if statistic == "signed" else stats.t.sf(t, n - 1)
    if statistic == "published":
        p[t.index[t < 0]] = 1.0
    rejected = multipletests(p, method="fdr_bh", alpha=0.05)[0]
    assert rejected.sum() == genes
    assert (rejected & (table[R] < 0)).sum() == negative
    key = f"({statistic}, q_le_alpha)"
    assert found[f"significant {key}"].value == genes
    assert found[f"significant, negative {key}"].value == negative


def test_the_study_counts_above_its_rounded_cut(
    found: Mapping[str, Recomputed], table: pd.DataFrame
) -> None:
    evidence = table["Log10PvalueTstatCAGE,adult,brain"].fillna(0.0)
    accepted = table["Log10BHPvalueTstatCAGE,adult,brain"] > -np.log10(0.05)
    counted = evidence > evidence[accepted].min()
    key = "(published, strict_above_cut)"
    assert found[f"significant {key}"].value == counted.sum() == 598
    assert found[f"significant, negative {key}"].value == (counted & (table[R] < 0)).sum() == 195
    assert found["gene_set"].value == (counted & (table[R].abs() > 0.2)).sum() == 256
    assert found["gene_set_difference"].value == 0


def test_predixcan(found: Mapping[str, Recomputed], table: pd.DataFrame) -> None:
    both = table.dropna(subset=[R, "PrediXcanR"])  # the study's own join
    predixcan, enformer = both["PrediXcanR"], both[R]
    assert found["predixcan_both"].value == len(both) == 1568
    assert found["predixcan_above"].value == (predixcan > 0.2).sum() == 921
    assert found["enformer_above"].value == (enformer > 0.2).sum() == 162
    assert found["enformer_above (absolute)"].value == (enformer.abs() > 0.2).sum()
    accepted = both["Log10BHPvalueTstatCAGE,adult,brain"] >= 1.301
    assert found["enformer_above (false discovery rate)"].value == accepted.sum()
    assert found["predixcan_mean"].value == pytest.approx(predixcan.mean(), rel=1e-12)
    assert found["predixcan_mean"].value == pytest.approx(0.261, abs=5e-4)
    assert found["enformer_mean"].value == pytest.approx(0.017, abs=5e-4)
    r = stats.pearsonr(predixcan, enformer.abs()).statistic
    assert found["predixcan_correlation"].value == pytest.approx(r, rel=1e-10)
    assert r == pytest.approx(0.585, abs=5e-4)


def test_single_genes_and_means(found: Mapping[str, Recomputed], table: pd.DataFrame) -> None:
    by_name = table.set_index("# gene_name")
    assert found["r_ddx11"].value == by_name.loc["DDX11", "PearsonRfineTuned"] == 0.847
    assert found["r_gstm3"].value == by_name.loc["GSTM3", R] == -0.492
    assert found["mean_r"].value == pytest.approx(table[R].mean(), rel=1e-12)
    t = -0.492 * np.sqrt(837 / (1 - 0.492**2))
    assert found["p_gstm3"].value == pytest.approx(2 * stats.t.sf(abs(t), 837), rel=1e-6)


def test_population_averages(found: Mapping[str, Recomputed]) -> None:
    assert found["population_r"].value == pytest.approx(0.577, abs=5e-4)
    assert found["population_r_test"].value == pytest.approx(0.512, abs=5e-4)
    assert (found["population_n"].value, found["population_n_test"].value) == (12_702, 1_168)


def test_fine_mapped_genes(found: Mapping[str, Recomputed], table: pd.DataFrame) -> None:
    for tissue, column in (("brain", "SuSieCausalBrainhg38"), ("cortex", "SusieCausalCortexhg38")):
        known = table.dropna(subset=[R])
        flagged = known[column].notna()
        assert found[f"fine_mapped ({tissue})"].value == flagged.sum()
        negative = (known.loc[flagged, R] < 0).sum()
        assert found[f"fine_mapped, negative ({tissue})"].value == negative
        p = stats.ranksums(known.loc[flagged, R].abs(), known.loc[~flagged, R].abs()).pvalue
        assert f"p {p:.1e}" in found[f"fine_mapped ({tissue})"].note


def test_a_gene_that_is_named_must_be_there_once(tables: PublishedTables) -> None:
    for name in ("GSTM3", "DDX11"):
        renamed = tables.genes.replace({"gene_name": {name: "OTHER"}})
        with pytest.raises(SourceError, match=f"holds 0 genes named {name}"):
            recompute(dataclasses.replace(tables, genes=renamed))
    twice = tables.genes.assign(gene_name=tables.genes["gene_name"].replace("SCYL3", "DDX11"))
    with pytest.raises(SourceError, match="holds 2 genes named DDX11"):
        recompute(dataclasses.replace(tables, genes=twice))


def test_nothing_significant_is_no_failure(tables: PublishedTables) -> None:
    silent = tables.genes.assign(r_track=tables.genes["r_track"] * 1e-3)
    found = recompute(dataclasses.replace(tables, genes=silent))
    assert found["significant (published, strict_above_cut)"].value == 0
    assert np.isnan(found["percent_negative"].value)
    assert found["positive_genes"].value == 0
    assert found["gene_set_difference"].value == 256
