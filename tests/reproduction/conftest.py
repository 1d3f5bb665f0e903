"""The released tables, and copies of them that a test may change."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from zarrbench.reproduction.tables import PublishedTables, read_published

NEEDED = ("SupplementaryTable1.tsv", "SupplementaryTable2.tsv", "MeanGeXPredFineTuned.txt",
          "PrediXcanCorrelationWithExpressionENSG.tsv", "enformer_test_set_genes.npy",
          "SupplementaryTable3.txt", "tss_attribution_stats.txt", "maindrivernpz.tar",
          *(f"ALLgenes_ism_attributions_driversfw{of}_{base}seq_winsize13.npz"
            for of in ("", "main") for base in ("ref", "var")),
          "Prediction_correlationsCageAdultBrainGeneSpecific_CorrelationtoObsRandomNull_tstats_"
          "set0.2.list")  # fmt: skip


@pytest.fixture(scope="session")
def tables(published: Path) -> PublishedTables:
    """The released tables."""
    return read_published(published)


@pytest.fixture(scope="session")
def table(published: Path) -> pd.DataFrame:
    """Supplementary Table 1, by pandas."""
    return pd.read_csv(published / "SupplementaryTable1.tsv", sep="\t").set_index("gene_id")


@pytest.fixture
def copied(published: Path, tmp_path: Path) -> Path:
    """A folder of copies."""
    folder = tmp_path / "published"
    folder.mkdir()
    for name in NEEDED:
        shutil.copyfile(published / name, folder / name)
    return folder


@pytest.fixture
def edited(copied: Path) -> Callable[[str, str, str], Path]:
    """Replace what a pattern matches first in a table; return the folder."""

    def edit(name: str, pattern: str, replacement: str) -> Path:
        path = copied / name
        changed, n = re.subn(pattern, replacement, path.read_text(), count=1, flags=re.MULTILINE)
        assert n == 1
        path.write_text(changed)
        return copied

    return edit
