import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zarrbench.errors import StoreLayoutError
from zarrbench.report.gene_views import SNV_COLUMNS
from zarrbench.stages.concordance_table import ConcordanceTable
from zarrbench.stages.gene_drivers import SCHEMA

GENES = ["G5", "G1", "G9", "G2", "G7"]  # ids are in no order


@pytest.fixture
def written(tmp_path):
    """A table of two genes a group of rows, and the file."""
    rows = pd.DataFrame({name: np.arange(20) for name in SCHEMA.names})
    rows["gene_id"] = np.repeat(GENES, 4)
    for field in SCHEMA:
        if field.type in (pa.string(), pa.bool_()) and field.name != "gene_id":
            rows[field.name] = rows[field.name].astype(str if field.type == pa.string() else bool)
    path = tmp_path / "concordance.parquet"
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for start in (0, 8, 16):
            part = pa.Table.from_pandas(rows[start : start + 8], SCHEMA, preserve_index=False)
            writer.write_table(part)
    return rows, path


def test_rows_of_genes(written):
    rows, path = written
    table = ConcordanceTable(path)
    for genes in (["G2"], ["G7", "G5"], GENES):
        expected = rows.loc[rows["gene_id"].isin(genes), list(SNV_COLUMNS)]
        pd.testing.assert_frame_equal(
            table.rows(genes), expected.reset_index(drop=True), check_dtype=False
        )
    for genes in (["G"], []):
        assert table.rows(genes).empty
        assert tuple(table.rows(genes)) == SNV_COLUMNS


def test_only_the_groups_of_a_gene_are_read(written, monkeypatch):
    table = ConcordanceTable(written[1])
    table.rows(["G5"])
    read = []
    whole = pq.ParquetFile.read_row_groups

    def noted(self, groups, **options):
        read.append(groups)
        return whole(self, groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", noted)
    table.rows(["G9"])
    table.rows(["G1", "G7"])
    assert read == [[1], [0, 2]]


def test_a_table_that_is_not_there(tmp_path):
    table = ConcordanceTable(tmp_path / "concordance.parquet")  # nothing is opened yet
    with pytest.raises(StoreLayoutError, match="run the drivers stage first"):
        table.rows(["G1"])
