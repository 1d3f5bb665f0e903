"""Expression tables, covariates and sample maps of many layouts into one dataset.

A table of numbers passes through here as a DataFrame of float64 whose labels may still repeat;
`_refuse_bad_table` checks what the expression must satisfy.
"""

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from zarrbench.delimited import read_rows
from zarrbench.errors import ExpressionError, SampleError, SourceError
from zarrbench.genome.genes import unversioned

_MISSING = frozenset({"", "NA", "NaN"})
_BED_CONTIG_NAMES = frozenset({"chr", "chrom", "chromosome", "contig"})


def read_expression(
    path: Path, covariates: Path | None = None, sample_map: Path | None = None
) -> xr.Dataset:
    """Return an expression table as `layouts.EXPRESSION` has it, values as given (float64).

    Recognised by header or extension, plain or compressed by gzip or bgzip:

    - text split by tabs, commas or spaces: gene id, then samples; the header may lack the name of
      the first column, as R's write.table leaves it out;
    - BED of fastQTL (``#chr start end id``, then samples) or of QTLtools (two more columns, the
      second of them ``strand``); positions are not used: those of the gene table count;
    - parquet (``.parquet``): gene id as index or first column.

    Empty cells, NA and NaN become NaN; a gene that is all NaN is kept. The unit is not in the file:
    the caller sets it.

    Parameters
    ----------
    path : Path
    covariates : Path, optional
        Text table with samples in columns or in rows, whichever matches the expression better.
        Samples that it lacks get NaN, samples that only it has are left out.
    sample_map : Path, optional
        Text table with a header and two columns: expression sample, individual in the genotypes.
        Samples that are not in it keep their own id as `individual`. That two samples are of one
        individual is no error here: `samples.join_samples` keeps the first.

    Raises
    ------
    ExpressionError
        For text or an infinite value in a cell, repeated gene ids (without their versions) or
        covariates, no genes, no samples, or nothing but missing values.
    SampleError
        For repeated samples, or if covariates or map share none with the expression.
    SourceError
        If a file is missing, truncated or not readable.
    """
    table = _read_parquet(path) if path.suffix == ".parquet" else _read_numbers(path)
    genes = unversioned(table.index)
    _refuse_bad_table(table, genes, path)
    samples = np.array(table.columns, dtype=object)
    individuals = samples if sample_map is None else _mapped(samples, sample_map)
    dataset = xr.Dataset(
        {"expression": (("gene", "sample"), table.to_numpy())},
        coords={
            "gene": genes,
            "gene_id_version": ("gene", np.array(table.index, dtype=object)),
            "sample": samples,
            "individual": ("sample", individuals),
        },
        attrs={"source_file": path.name},
    )
    if covariates is None:
        return dataset
    return dataset.assign(covariates=_read_covariates(covariates, samples))


def _read_numbers(path: Path) -> pd.DataFrame:
    """Read a text table of numbers, labelled at its left and its top."""
    rows = read_rows(path)
    _, header = next(rows, (0, []))
    first = next(rows, None)
    if first is None:
        raise ExpressionError(
            f"{path} has {'nothing below its header' if header else 'no content'}"
        )
    if len(header) == len(first[1]) - 1:
        header = ["", *header]
    label_at, fixed = _label_columns(header)
    columns = [name.strip() for name in header[fixed:]]
    labels: list[str] = []
    values: list[NDArray[np.float64]] = []
    for line, cells in itertools.chain([first], rows):
        where = f"{path}, line {line}"
        if len(cells) != len(header):
            raise ExpressionError(
                f"{where}: expected {len(header)} columns as in the header, found {len(cells)}"
            )
        label = cells[label_at].strip()
        labels.append(label)
        values.append(_numbers(cells[fixed:], columns, label, where))
    return pd.DataFrame(np.stack(values), index=labels, columns=columns)


def _label_columns(header: list[str]) -> tuple[int, int]:
    """Return which column holds the row labels, and how many columns stand before the numbers."""
    names = [name.strip().lower().lstrip("#") for name in header[:6]]
    if names[0] not in _BED_CONTIG_NAMES or names[1:3] != ["start", "end"]:
        return 0, 1
    if "strand" in names:
        return 3, names.index("strand") + 1
    return 3, 4


def _numbers(cells: list[str], columns: list[str], label: str, where: str) -> NDArray[np.float64]:
    # Nearly all rows hold plain numbers, and are read three times as fast without a look at each.
    try:
        return np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        pass
    values = np.full(len(cells), np.nan)
    for position, cell in enumerate(cells):
        text = cell.strip()
        if text in _MISSING:
            continue
        try:
            values[position] = float(text)
        except ValueError:
            raise _not_a_number(label, columns[position], text, where) from None
    return values


def _not_a_number(label: str, column: str, found: object, where: str) -> ExpressionError:
    return ExpressionError(
        f"{where}: the value of {label!r} for {column!r} is {found!r}, expected a number (or "
        f"empty, NA or NaN where it is missing)"
    )


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot read {path} as parquet: {error}") from error
    # Numbers as index are row numbers: the ids then stand in the first column.
    if pd.api.types.is_numeric_dtype(frame.index.dtype) and len(frame.columns) > 0:
        frame = frame.set_index(frame.columns[0])
    frame = frame.rename(index=str, columns=str)
    for column, values in frame.select_dtypes(exclude="number").items():
        texts = values.dropna()
        if len(texts) > 0:
            raise _not_a_number(texts.index[0], str(column), texts.iloc[0], str(path))
    numbers = frame.to_numpy(dtype=np.float64, na_value=np.nan)
    return pd.DataFrame(numbers, index=list(frame.index), columns=list(frame.columns))


def _refuse_bad_table(table: pd.DataFrame, genes: NDArray[np.object_], path: Path) -> None:
    if table.shape[0] == 0:
        raise ExpressionError(f"{path} has no genes; expected one row a gene")
    if table.shape[1] == 0:
        raise ExpressionError(
            f"{path} has no samples; expected the gene id, then a column a sample"
        )
    if "" in genes or "" in table.columns:
        raise ExpressionError(f"{path} has a gene or a sample with an empty id; name it")
    repeated = _repeated(genes)
    if repeated:
        raise ExpressionError(
            f"{path} has {len(repeated)} gene ids more than once (without their versions): "
            f"{', '.join(repeated[:3])}; keep one row of each"
        )
    _refuse_repeated_samples(table.columns, path)
    _refuse_infinite(table, path)
    if table.isna().to_numpy().all():
        raise ExpressionError(f"{path} holds nothing but missing values")


def _refuse_infinite(table: pd.DataFrame, path: Path) -> None:
    infinite = np.argwhere(np.isinf(table.to_numpy()))
    if len(infinite) > 0:
        row, column = infinite[0]
        raise ExpressionError(
            f"{path}: {len(infinite)} values are infinite, first that of {table.index[row]!r} for "
            f"{table.columns[column]!r}; a logarithm of zero needs a pseudocount"
        )


def _refuse_repeated_samples(samples: Iterable[str], path: Path) -> None:
    repeated = _repeated(samples)
    if repeated:
        raise SampleError(
            f"{path} has {len(repeated)} sample ids more than once: {', '.join(repeated[:3])}; "
            f"keep one of each"
        )


def _repeated(labels: Iterable[str]) -> list[str]:
    index = pd.Index(list(labels))
    return list(index[index.duplicated()].unique())


def _read_covariates(path: Path, samples: NDArray[np.object_]) -> xr.DataArray:
    """Return the covariates of `samples`, dims (covariate, sample)."""
    table = _read_numbers(path)
    in_columns, in_rows = (
        np.isin(samples, list(side)).sum() for side in (table.columns, table.index)
    )
    if in_columns == in_rows == 0:
        raise SampleError(
            f"the covariates {path} share no sample with the expression: it has "
            f"{', '.join(samples[:3])}, they have {', '.join(table.columns[:3])} in columns and "
            f"{', '.join(table.index[:3])} in rows"
        )
    if in_rows > in_columns:
        table = table.T
    _refuse_repeated_samples(table.columns, path)
    repeated = _repeated(table.index)
    if repeated:
        raise ExpressionError(f"{path} has covariates more than once: {', '.join(repeated[:3])}")
    _refuse_infinite(table, path)
    return xr.DataArray(
        table.reindex(columns=samples).to_numpy(),
        dims=("covariate", "sample"),
        coords={"covariate": np.array(table.index, dtype=object)},
        attrs={"source_file": path.name},
    )


def _mapped(samples: NDArray[np.object_], path: Path) -> NDArray[np.object_]:
    """Return the individual of each sample after the sample map, the sample's own id without."""
    rows = list(read_rows(path))
    for line, cells in rows:
        if len(cells) != 2:
            raise SampleError(
                f"{path}, line {line}: expected 2 columns (expression sample, individual in the "
                f"genotypes), found {len(cells)}"
            )
    pairs = [(sample.strip(), individual.strip()) for _, (sample, individual) in rows]
    known = set(samples)
    # The first row is a header, unless its author forgot it.
    if pairs and pairs[0][0] not in known:
        pairs = pairs[1:]
    _refuse_repeated_samples([sample for sample, _ in pairs], path)
    individual_of = {sample: individual for sample, individual in pairs if sample in known}
    if not individual_of:
        raise SampleError(
            f"the sample map {path} names no sample of the expression: that has "
            f"{', '.join(samples[:3])}, the first column of the map "
            f"{', '.join(sample for sample, _ in pairs[:3]) or 'nothing'}"
        )
    return np.array([individual_of.get(sample, sample) for sample in samples], dtype=object)
