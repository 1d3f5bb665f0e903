"""PrediXcan weights as PredictDB and MetaXcan keep them: SQLite tables `weights` and `extra`.

Such a file comes from anywhere. It is opened read-only, only plain tables are read, and SQLite is
allowed nothing but reading them. Gene ids lose their version. Positions in keys are 1-based.
"""

import contextlib
import re
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zarrbench.errors import SourceError, StorageError
from zarrbench.genome.coordinates import from_one_based, to_one_based
from zarrbench.genome.genes import unversioned
from zarrbench.remote import Place
from zarrbench.storage import published

Build = Literal["b37", "b38"]

#: how a variant is written, for messages
KEY = "chr{chrom}_{pos}_{ref}_{alt}_b38 (or _b37)"
_KEY = re.compile(r"(?P<contig>.+)_(?P<position>[1-9]\d{0,9})_(?P<ref>\w+)_(?P<alt>\w+)_b3[78]")

# Spellings of each column, those of older and newer releases; case, dots and underscores do not
# count. The first that is there is taken.
_WEIGHTS = {
    "gene": ("gene",),
    "rsid": ("rsid",),
    "varid": ("varID",),
    "ref_allele": ("ref_allele",),
    "eff_allele": ("eff_allele", "effect_allele"),
    "weight": ("weight",),
}
_EXTRA = {
    "gene": ("gene",),
    "genename": ("genename", "gene_name"),
    "n_snps": ("n.snps.in.model", "n_snps"),
    "r2": ("pred.perf.R2", "cv_R2_avg", "R2"),
    "p": ("pred.perf.pval", "nested_cv_fisher_pval", "cv_pval_est", "pval"),
    "q": ("pred.perf.qval", "qval"),
}
_NEEDED = {"weights": ("gene", "rsid", "ref_allele", "eff_allele", "weight"), "extra": ("gene",)}

_SCHEMA = (
    "CREATE TABLE weights (rsid TEXT, gene TEXT, varID TEXT, ref_allele TEXT, eff_allele TEXT, "
    "weight REAL)",
    'CREATE TABLE extra (gene TEXT, genename TEXT, "n.snps.in.model" INTEGER, '
    '"pred.perf.R2" REAL, "pred.perf.pval" REAL, "pred.perf.qval" REAL)',
    "CREATE INDEX weights_rsid ON weights (rsid)",
    "CREATE INDEX weights_gene ON weights (gene)",
    "CREATE INDEX weights_rsid_gene ON weights (rsid, gene)",
    "CREATE INDEX extra_gene ON extra (gene)",
)


@dataclass(frozen=True)
class PredictDB:
    """The weights of many genes.

    Parameters
    ----------
    weights : pd.DataFrame
        Columns gene (without version), rsid, varid (empty where there is none), ref_allele,
        eff_allele (upper case) and weight, the change of expression for a copy of `eff_allele`.
    genes : pd.DataFrame
        Columns gene, genename, n_snps, r2, p, q, as published; missing values are NaN.
    """

    weights: pd.DataFrame
    genes: pd.DataFrame

    def sites(self) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
        """Return contig and 0-based position of every weight, as its varid or its rsid says.

        The contig is empty and the position -1 where neither is written as `KEY`.
        """
        contigs = np.full(len(self.weights), "", dtype=object)
        positions = np.zeros(len(self.weights), dtype=np.int64)
        for i, texts in enumerate(self.weights[["varid", "rsid"]].itertuples(index=False)):
            found = next(filter(None, map(_KEY.fullmatch, texts)), None)
            if found is not None:
                contigs[i], positions[i] = found["contig"], int(found["position"])
        return contigs, from_one_based(positions)


def variant_keys(
    contig: str,
    positions: NDArray[np.int64],
    references: Iterable[str],
    alternatives: Iterable[str],
    build: Build,
) -> list[str]:
    """Return the keys of variants at 0-based positions, such as ``chr22_17523190_G_A_b38``."""
    name = "chr" + contig.removeprefix("chr")
    rows = zip(to_one_based(positions).tolist(), references, alternatives, strict=True)
    return [f"{name}_{position}_{ref}_{alt}_{build}" for position, ref, alt in rows]


def read_predictdb(path: Path) -> PredictDB:
    """Read a PredictDB file, whatever release its column names are from.

    Raises
    ------
    SourceError
        If it is no SQLite database, lacks a table or a column, holds a weight that is no finite
        number, an allele that is no sequence, alleles that contradict the key, or a variant of a
        gene or a gene twice.
    """
    with _reading(path) as connection:
        weights = _table(connection, path, "weights", _WEIGHTS)
        genes = _table(connection, path, "extra", _EXTRA)
    for column in ("gene", "rsid", "varid", "ref_allele", "eff_allele"):
        weights[column] = _texts(weights[column])
    for column in ("ref_allele", "eff_allele"):
        weights[column] = weights[column].str.upper()
    genes["genename"] = _texts(genes["genename"])
    for column in ("n_snps", "r2", "p", "q"):
        genes[column] = pd.to_numeric(genes[column], errors="coerce").astype(np.float64)
    for table in (weights, genes):
        table["gene"] = unversioned(map(str, table["gene"]))
    _check(weights, genes, path)
    weights["weight"] = weights["weight"].astype(np.float64)
    return PredictDB(weights, genes)


def write_predictdb(database: PredictDB, path: Place) -> None:
    """Write a PredictDB file that MetaXcan reads, whole or not at all.

    Where a weight has no rsid its varid stands in its place.

    Raises
    ------
    SourceError
        For what `read_predictdb` would refuse.
    StorageError
        If it cannot be written.
    """
    weights, genes = database.weights, database.genes
    _check(weights, genes, path)
    rows = weights.assign(rsid=weights["rsid"].where(weights["rsid"] != "", weights["varid"]))
    columns = ["rsid", "gene", "varid", "ref_allele", "eff_allele", "weight"]
    known = genes[["gene", "genename", "n_snps", "r2", "p", "q"]].astype(object)
    known = known.where(genes.notna(), None)
    weight_rows = rows[columns].itertuples(index=False, name=None)
    gene_rows = [
        (gene, name, None if n is None else int(n), r2, p, q)
        for gene, name, n, r2, p, q in known.itertuples(index=False, name=None)
    ]
    with published(path) as temporary:
        try:
            with contextlib.closing(sqlite3.connect(temporary)) as connection:
                for statement in _SCHEMA:
                    connection.execute(statement)
                for table, filled in (("weights", weight_rows), ("extra", gene_rows)):
                    statement = f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?)"
                    connection.executemany(statement, filled)
                connection.commit()
        except sqlite3.Error as error:
            raise StorageError(
                f"cannot write {path}: {error}; free space or choose another folder with --data, "
                f"then run the same command again"
            ) from error


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database that may do nothing but read its own tables."""
    try:
        with path.open("rb") as handle:
            head = handle.read(16)
    except OSError as error:
        raise SourceError(
            f"cannot read {path}: {error.strerror or error}; give the folder of the weights with "
            f"--sources DIR"
        ) from error
    if head != b"SQLite format 3\0":
        raise SourceError(
            f"{path} is no SQLite database (it begins with {head[:8]!r}); give weights in "
            f"PredictDB's format, a .db file, unpacked"
        )
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)
        ) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.set_authorizer(_only_reading)
            yield connection
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise SourceError(
            f"{path} is damaged, or no PredictDB database: {error}; fetch it again"
        ) from error


def _only_reading(action: int, *_: str | None) -> int:
    allowed = action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ)
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _table(
    connection: sqlite3.Connection, path: Path, name: str, spellings: dict[str, tuple[str, ...]]
) -> pd.DataFrame:
    """Return a table with our names of its columns; those that it lacks are NaN."""
    tables = sorted(
        row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    )
    if name not in tables:
        raise SourceError(
            f"{path} has no table {name!r}, found {', '.join(tables[:6]) or 'none'}; give weights "
            f"in PredictDB's format"
        )
    cursor = connection.execute(f'SELECT * FROM "{name}"')
    given = {_plain(column[0]): at for at, column in reversed(list(enumerate(cursor.description)))}
    rows = cursor.fetchall()
    columns: dict[str, list[object]] = {}
    for ours, theirs in spellings.items():
        at = next((given[_plain(one)] for one in theirs if _plain(one) in given), None)
        if at is None and ours in _NEEDED[name]:
            found = ", ".join(column[0] for column in cursor.description[:8])
            raise SourceError(
                f"the table {name!r} of {path} has no column {theirs[0]!r}, found {found}; give "
                f"weights in PredictDB's format"
            )
        columns[ours] = [np.nan if at is None else row[at] for row in rows]
    return pd.DataFrame(columns, dtype=object)


def _plain(column: str) -> str:
    return column.lower().replace(".", "").replace("_", "")


def _texts(values: pd.Series) -> pd.Series:
    texts = ["" if _missing(value) else str(value) for value in values]
    return pd.Series(texts, values.index, dtype=object)


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value)) or value in ("", "NA")


def _check(weights: pd.DataFrame, genes: pd.DataFrame, path: Place) -> None:
    numbers = [
        isinstance(w, float | int) and bool(np.isfinite(w)) for w in weights["weight"].tolist()
    ]
    bases = r"[ACGT]+"
    alleles = weights["ref_allele"].str.fullmatch(bases) & weights["eff_allele"].str.fullmatch(
        bases
    )
    twice = weights.duplicated(["gene", "varid", "rsid", "ref_allele", "eff_allele"], keep=False)
    keyed = weights["varid"] != ""
    twice |= keyed & weights.duplicated(["gene", "varid"], keep=False)
    faults = (
        (~np.array(numbers, dtype=bool), "a weight that is no finite number"),
        (~alleles.to_numpy(bool), "an allele that is not written in A, C, G and T"),
        (_contradicted(weights), "alleles that are not those of its key"),
        (twice.to_numpy(bool), "a weight more than once in a gene"),
    )
    for wrong, what in faults:
        if wrong.any():
            shown = weights[wrong].head(3)
            examples = ", ".join(
                f"{varid or rsid} of {gene}"
                for varid, rsid, gene in shown[["varid", "rsid", "gene"]].itertuples(
                    index=False, name=None
                )
            )
            raise SourceError(
                f"the table 'weights' of {path} has {int(wrong.sum())} rows with {what} "
                f"({examples}); correct or remove them"
            )
    repeated = genes["gene"][genes["gene"].duplicated()].unique()
    if len(repeated):
        raise SourceError(
            f"the table 'extra' of {path} has {len(repeated)} genes more than once (without their "
            f"versions): {', '.join(map(str, repeated[:3]))}; keep one row of each"
        )


def _contradicted(weights: pd.DataFrame) -> NDArray[np.bool_]:
    """Return the rows whose two alleles are others than those that their key names."""
    wrong = np.zeros(len(weights), dtype=bool)
    columns = ["varid", "rsid", "ref_allele", "eff_allele"]
    rows = weights[columns].itertuples(index=False, name=None)
    for i, (varid, rsid, ref, effect) in enumerate(rows):
        key = _KEY.fullmatch(varid or rsid)
        wrong[i] = key is not None and {key["ref"].upper(), key["alt"].upper()} != {ref, effect}
    return wrong
