"""The table of all SNVs that the drivers stage wrote, read gene by gene, many times over."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from zarrbench.errors import StoreLayoutError
from zarrbench.remote import Place, reading
from zarrbench.report.gene_views import SNV_COLUMNS
from zarrbench.storage import exists


class ConcordanceTable:
    """The columns of the table that a view of a gene is made of.

    Opened, and the groups of rows of each gene found, when a gene is first asked for; it stays
    open. For one thread at a time. To read a gene once, `read_concordance` is simpler.

    Parameters
    ----------
    path : Path or UPath
        The file `concordance.parquet` of a run.
    """

    def __init__(self, path: Place) -> None:
        self._path = path

    def rows(self, genes: Sequence[str]) -> pd.DataFrame:
        """Return the rows of some genes; none of a gene that the table lacks.

        Raises
        ------
        StoreLayoutError
            If there is no such file.
        SourceError
            If a URL cannot be read.
        """
        with reading(self._path):
            groups = sorted({group for gene in genes for group in self._groups.get(gene, ())})
            found = self._file.read_row_groups(groups, columns=list(SNV_COLUMNS))
        wanted = found.filter(pc.is_in(found["gene_id"], pa.array(list(genes), pa.string())))
        table: pd.DataFrame = wanted.to_pandas()
        return table

    @cached_property
    def _file(self) -> pq.ParquetFile:
        if not exists(self._path):
            raise StoreLayoutError(f"there is no table {self._path}; run the drivers stage first")
        return pq.ParquetFile(self._path.open("rb"))

    @cached_property
    def _groups(self) -> dict[str, list[int]]:
        """Where the rows of each gene are: ids are no order, so that their extremes tell little."""
        groups: dict[str, list[int]] = {}
        for group in range(self._file.num_row_groups):
            ids = self._file.read_row_group(group, columns=["gene_id"])["gene_id"]
            for gene in np.asarray(pc.unique(ids)).tolist():
                groups.setdefault(str(gene), []).append(group)
        return groups
