"""Rows of results, some at a time: of the variables of a store, or of a table that a stage wrote.

What is in memory at once are the rows of one block, however many there are.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr

from zarrbench.remote import Place, reading
from zarrbench.storage import get
from zarrbench.tables import plain_column

# Rows of a block: 100 MB of a table with fifty columns
ROWS = 1 << 18

# What tells a row along a dim; of any other dim its own coordinate
_KEYS = {
    "variant": (
        "gene_id", "variant_contig", "variant_position", "other_allele", "effect_allele", "distance"
    ),
    "driver": ("driver_gene", "driver_position", "driver_support"),
    "sample": ("sample", "individual"),
}  # fmt: skip
# Where the SNVs or pairs of a gene lie in the store, which says nothing of the gene
_INTERNAL = {"first_variant", "first_pair"}
_NAMES = {"gene": "gene_id"}
_ARROW = {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_()}


@dataclass(frozen=True)
class Rows:
    """A table that is read block by block.

    Attributes
    ----------
    schema : pa.Schema
        Columns with their types; the metadata of each says what it means (``description``).
    blocks : iterator of pd.DataFrame
        Each with these columns.
    """

    schema: pa.Schema
    blocks: Iterator[pd.DataFrame]


def of_dataset(
    found: xr.Dataset,
    dims: Sequence[str],
    also: Sequence[str] = (),
    order: Sequence[str] = (),
    rows: int = ROWS,
) -> Rows | None:
    """Return the variables over exactly these dims in long form; None if there are none.

    One row for each combination of their labels, the last dim fastest; those labels come first
    (`gene` as `gene_id`), then `also`, then the variables.

    Parameters
    ----------
    found : Dataset
        Its variables have their meaning in the attribute ``description``.
    dims : sequence of str
    also : sequence of str
        Variables over some of these dims, repeated along the others.
    order : sequence of str
        The order of the variables; those that it lacks come last.
    rows : int
        Of a block, at most, if one label of the first dim gives no more.
    """
    keys = [name for dim in dims for name in _KEYS.get(dim, (dim,)) if name in found.variables]
    values = [
        str(name)
        for name, array in found.variables.items()
        if set(array.dims) == set(dims) and name not in _INTERNAL and name not in keys
    ]
    if not keys or (not values and len(dims) > 1):
        return None
    place = {name: number for number, name in enumerate(order)}
    names = [*keys, *also, *sorted(values, key=lambda name: place.get(name, len(place)))]
    schema = pa.schema([_field(found, name) for name in names])

    def blocks() -> Iterator[pd.DataFrame]:
        first, *rest = dims
        step = max(1, rows // max(1, prod(found.sizes[dim] for dim in rest)))
        for start in range(0, found.sizes[first], step):
            part = found[names].isel({first: slice(start, start + step)}).load()
            yield _long(part, dims, names)

    return Rows(schema, blocks())


def _field(found: xr.Dataset, name: str) -> pa.Field:
    array = found[name]
    kind = pa.string() if array.dtype.kind in "OUT" else pa.from_numpy_dtype(array.dtype)
    meaning = array.attrs.get("description", "")
    return pa.field(_NAMES.get(name, name), kind, metadata={"description": meaning})


def _long(part: xr.Dataset, dims: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    shape = [part.sizes[dim] for dim in dims]
    columns = {}
    for name in names:
        array = part[name].variable
        array = array.transpose(*[dim for dim in dims if dim in array.dims])
        lying = [part.sizes[dim] if dim in array.dims else 1 for dim in dims]
        values = plain_column(array.values).reshape(lying)
        columns[_NAMES.get(name, name)] = np.broadcast_to(values, shape).ravel()
    return pd.DataFrame(columns)


def of_parquet(
    path: Place,
    meanings: Mapping[str, str],
    keep: Callable[[pd.DataFrame], pd.Series] | None = None,
    rows: int = ROWS,
) -> Rows:
    """Return the rows of a Parquet file, those that `keep` marks; `gene` becomes `gene_id`."""
    with reading(path), path.open("rb") as handle:
        stored = pq.read_schema(handle)
    schema = pa.schema([_described(field.name, field.type, meanings) for field in stored])

    def blocks() -> Iterator[pd.DataFrame]:
        with reading(path), path.open("rb") as handle:
            for batch in pq.ParquetFile(handle).iter_batches(rows):
                table = batch.to_pandas().rename(columns=_NAMES)
                yield table if keep is None else table[keep(table)]

    return Rows(schema, blocks())


def of_text(path: Place, meanings: Mapping[str, str], kinds: Mapping[str, type]) -> Rows:
    """Return the rows of a small tab-separated table; columns without a kind are text."""
    table = pd.read_csv(
        io.BytesIO(get(path) or b""),
        sep="\t",
        dtype={name: kinds.get(name, str) for name in meanings},
        keep_default_na=False,
        na_values={name: ["NA"] for name, kind in kinds.items() if kind is float},
    )
    fields = [_described(str(name), _ARROW[kinds.get(str(name), str)], meanings) for name in table]
    return Rows(pa.schema(fields), iter([table]))


def _described(name: str, kind: pa.DataType, meanings: Mapping[str, str]) -> pa.Field:
    name = _NAMES.get(name, name)
    return pa.field(name, kind, metadata={"description": meanings[name]})
