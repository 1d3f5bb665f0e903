"""PredictDB files: those of others as sqlite3 reads them, our own, and what must be refused."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from zarrbench.errors import SourceError, StorageError
from zarrbench.predictdb import PredictDB, read_predictdb, variant_keys, write_predictdb

WEIGHTS = (
    ("rs1", "ENSG00000000001.4", "chr1_101_A_G_b38", "A", "G", 0.5),
    ("rs2", "ENSG00000000001.4", "chr1_205_C_T_b38", "C", "T", -0.25),
    ("rs3", "ENSG00000000002.1", "chr2_7_AC_A_b38", "AC", "A", 2.0),
)
OLD = ("gene", "genename", "n.snps.in.model", "pred.perf.R2", "pred.perf.pval", "pred.perf.qval")
NEW = (
    "gene",
    "genename",
    "n_snps_in_model",
    "cv_R2_avg",
    "nested_cv_fisher_pval",
    "pred_perf_qval",
)
EXTRA = (
    ("ENSG00000000001.4", "ONE", 2, 0.25, 1e-6, 2e-6),
    ("ENSG00000000002.1", "TWO", 1, 0.5, 0.01, None),
)


def write(path, weights=WEIGHTS, extra=EXTRA, columns=OLD, weight_columns=None):
    names = weight_columns or ("rsid", "gene", "varID", "ref_allele", "eff_allele", "weight")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for table, header, rows in (("weights", names, weights), ("extra", columns, extra)):
            quoted = ", ".join(f'"{name}"' for name in header)
            connection.execute(f"CREATE TABLE {table} ({quoted})")
            marks = ", ".join("?" for _ in header)
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
        connection.commit()
    return path


def changed(row, **values):
    names = ("rsid", "gene", "varid", "ref_allele", "eff_allele", "weight")
    return tuple(values.get(name, old) for name, old in zip(names, WEIGHTS[row], strict=True))


@pytest.mark.parametrize("columns", [OLD, NEW], ids=["older", "newer"])
def test_spellings_of_columns(tmp_path, columns):
    database = read_predictdb(write(tmp_path / "w.db", columns=columns))
    assert database.weights.gene.tolist() == ["ENSG00000000001"] * 2 + ["ENSG00000000002"]
    assert database.weights.weight.tolist() == [0.5, -0.25, 2.0]
    assert database.weights.eff_allele.tolist() == ["G", "T", "A"]
    genes = database.genes.set_index("gene").loc["ENSG00000000001"]
    assert genes.tolist() == ["ONE", 2, 0.25, 1e-6, 2e-6]
    assert np.isnan(database.genes.q[1])


def test_positions_of_keys_become_zero_based(tmp_path):
    rows = (
        *WEIGHTS,
        ("chr3_9_A_C_b37", "ENSG00000000002.1", "", "a", "c", 1),
        ("rs9", "ENSG00000000002.1", None, "A", "C", 1),
        ("rs10", "ENSG00000000002.1", "chr1_KI270706v1_random_5_A_C_b38", "A", "C", 1),
        ("rs11", "ENSG00000000002.1", "9_5_A_C", "A", "C", 1),
    )
    database = read_predictdb(write(tmp_path / "w.db", rows))
    contigs, positions = database.sites()
    assert contigs.tolist() == [
        "chr1", "chr1", "chr2", "chr3", "", "chr1_KI270706v1_random", "",
    ]  # fmt: skip
    assert positions.tolist() == [100, 204, 6, 8, -1, 4, -1]
    assert database.weights.ref_allele[3] == "A"


def test_keys():
    positions = np.array([100, 204])
    keys = variant_keys("chr1", positions, ["A", "C"], ["G", "T"], "b37")
    assert keys == ["chr1_101_A_G_b37", "chr1_205_C_T_b37"]
    assert variant_keys("22", positions[:1], ["A"], ["G"], "b38") == ["chr22_101_A_G_b38"]


def test_a_round_trip(tmp_path):
    database = read_predictdb(write(tmp_path / "w.db"))
    write_predictdb(database, tmp_path / "again.db")
    again = read_predictdb(tmp_path / "again.db")
    pd.testing.assert_frame_equal(again.weights, database.weights)
    pd.testing.assert_frame_equal(again.genes, database.genes)


def test_what_is_written_has_the_schema_that_metaxcan_queries(tmp_path):
    weights = pd.DataFrame(
        [("ENSG1", "", "chr1_5_A_C_b38", "A", "C", 0.1)],
        columns=["gene", "rsid", "varid", "ref_allele", "eff_allele", "weight"],
    )
    genes = pd.DataFrame(
        [("ENSG1", "ONE", 1.0, 0.2, 0.01, np.nan)],
        columns=["gene", "genename", "n_snps", "r2", "p", "q"],
    )
    write_predictdb(PredictDB(weights, genes), tmp_path / "w.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "w.db")) as connection:
        asked = "SELECT gene, rsid, eff_allele, ref_allele, weight, varID FROM weights"
        assert connection.execute(asked).fetchall() == [
            ("ENSG1", "chr1_5_A_C_b38", "C", "A", 0.1, "chr1_5_A_C_b38")
        ]
        asked = 'SELECT gene, genename, "n.snps.in.model", "pred.perf.R2", "pred.perf.pval", '
        asked += '"pred.perf.qval" FROM extra'
        assert connection.execute(asked).fetchall() == [("ENSG1", "ONE", 1, 0.2, 0.01, None)]
    assert [path.name for path in tmp_path.iterdir()] == ["w.db"]


def test_no_genes_at_all(tmp_path):
    write_predictdb(
        PredictDB(
            read_predictdb(write(tmp_path / "w.db")).weights[:0],
            read_predictdb(tmp_path / "w.db").genes[:0],
        ),
        tmp_path / "none.db",
    )
    assert read_predictdb(tmp_path / "none.db").weights.empty


def test_a_file_is_not_changed_by_reading(tmp_path):
    path = write(tmp_path / "it's 100% #1?.db")
    content, changed_at = path.read_bytes(), path.stat().st_mtime_ns
    path.chmod(0o444)
    assert len(read_predictdb(path).weights) == 3
    assert path.read_bytes() == content
    assert path.stat().st_mtime_ns == changed_at
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([changed(0, weight="heavy")], "a weight that is no finite number"),
        ([changed(0, weight=None)], "a weight that is no finite number"),
        ([changed(0, weight=float("inf"))], "a weight that is no finite number"),
        ([changed(0, eff_allele="<DEL>")], "an allele that is not written in A, C, G and T"),
        ([changed(0, eff_allele=None)], "an allele that is not written in A, C, G and T"),
        ([changed(0, eff_allele="T")], "alleles that are not those of its key"),
        ([WEIGHTS[0], WEIGHTS[0]], "2 rows with a weight more than once in a gene"),
        ([WEIGHTS[0], changed(0, rsid="rs7")], "2 rows with a weight more than once in a gene"),
        ([WEIGHTS[0], changed(0, gene="ENSG00000000001.5")], "a weight more than once in a gene"),
    ],
)  # fmt: skip
def test_rows_that_are_refused(tmp_path, rows, said):
    path = write(tmp_path / "w.db", rows)
    with pytest.raises(SourceError) as error:
        read_predictdb(path)
    assert said in str(error.value)
    assert "chr1_101_A_G_b38 of ENSG00000000001" in str(error.value)
    assert str(path) in str(error.value)


def test_one_rsid_with_two_alternative_alleles_is_two_variants(tmp_path):
    rows = [WEIGHTS[0], changed(0, varid="chr1_101_A_T_b38", eff_allele="T")]
    assert len(read_predictdb(write(tmp_path / "w.db", rows)).weights) == 2


def test_databases_that_are_refused(tmp_path):
    with pytest.raises(SourceError, match=r"cannot read .*none\.db: No such file"):
        read_predictdb(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("rsid gene weight\n")
    with pytest.raises(SourceError, match="is no SQLite database"):
        read_predictdb(tmp_path / "text.db")
    whole = write(tmp_path / "w.db").read_bytes()
    (tmp_path / "cut.db").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match="is damaged"):
        read_predictdb(tmp_path / "cut.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE weights (rsid, gene)")
        connection.commit()
    with pytest.raises(SourceError, match="has no column 'ref_allele', found rsid, gene"):
        read_predictdb(tmp_path / "other.db")
    write(tmp_path / "twice.db", extra=(*EXTRA, ("ENSG00000000001.9", "ONE", 1, 0, 1, 1)))
    with pytest.raises(SourceError, match="1 genes more than once"):
        read_predictdb(tmp_path / "twice.db")


def test_a_view_is_no_table(tmp_path):
    path = write(tmp_path / "w.db")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE weights RENAME TO hidden")
        connection.execute("CREATE VIEW weights AS SELECT *, randomblob(9) FROM hidden")
        connection.commit()
    with pytest.raises(SourceError, match="has no table 'weights', found extra, hidden"):
        read_predictdb(path)


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    database = read_predictdb(write(tmp_path / "w.db"))
    before = (tmp_path / "w.db").read_bytes()
    broken = PredictDB(database.weights.assign(weight=np.nan), database.genes)
    with pytest.raises(SourceError, match="no finite number"):
        write_predictdb(broken, tmp_path / "w.db")

    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("zarrbench.predictdb.sqlite3.connect", full)
    with pytest.raises(StorageError, match="disk is full"):
        write_predictdb(database, tmp_path / "w.db")
    assert (tmp_path / "w.db").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["w.db"]


def test_a_kill_leaves_what_was_there(tmp_path):
    """The process ends between the last row and the end: the old file stands, whole."""
    path = write(tmp_path / "w.db")
    script = f"""
import os, signal, sqlite3
from pathlib import Path
from zarrbench import predictdb
path = Path({str(path)!r})
database = predictdb.read_predictdb(path)
class Killing(sqlite3.Connection):
    def commit(self):
        os.kill(os.getpid(), signal.SIGKILL)
connect = sqlite3.connect
predictdb.sqlite3.connect = lambda at: connect(at, factory=Killing)
predictdb.write_predictdb(predictdb.PredictDB(database.weights[:1], database.genes), path)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert any(".writing-" in found.name for found in tmp_path.iterdir())
    assert len(read_predictdb(path).weights) == 3
    write_predictdb(read_predictdb(path), path)
    assert len(read_predictdb(path).weights) == 3


@pytest.mark.realdata
def test_the_real_databases(realdata):
    """Those of GTEx, which name variants by rsid alone, and ours, as plain SQL counts them."""
    for path in sorted((realdata / "predixcan").glob("*.db")):
        database = read_predictdb(path)
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            asked = "SELECT gene, count(*), sum(weight) FROM weights GROUP BY gene ORDER BY gene"
            expected = connection.execute(asked).fetchall()
            asked = 'SELECT gene, "n.snps.in.model", "pred.perf.R2" FROM extra ORDER BY gene'
            published = connection.execute(asked).fetchall()
        found = database.weights.groupby("gene")["weight"].agg(["size", "sum"])
        assert found.index.tolist() == [gene.split(".")[0] for gene, *_ in expected]
        assert found["size"].tolist() == [n for _, n, _ in expected]
        np.testing.assert_allclose(found["sum"], [total for *_, total in expected])
        genes = database.genes.sort_values("gene")
        assert genes.n_snps.tolist() == [n for _, n, _ in published]
        assert genes.r2.tolist() == [r2 for *_, r2 in published]
        contigs, positions = database.sites()
        keyed = path.name.startswith("geuvadis")
        assert set(contigs) == ({"chr22"} if keyed else {""})
        assert (positions > 0).all() if keyed else (positions == -1).all()
