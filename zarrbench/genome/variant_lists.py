"""Lists of genes and their variants, such as those of fine-mapping."""

from pathlib import Path

import pandas as pd

from zarrbench.delimited import read_rows
from zarrbench.errors import SourceError


def read_variant_list(path: Path) -> pd.DataFrame:
    """Return the rows of a list as it is written: columns gene and variant, as text.

    Parameters
    ----------
    path : Path
        A text table, plain or gzip-compressed: with a header that has the columns gene (or
        gene_id) and variant, among others; or of two columns, gene and variant, without a header.

    Raises
    ------
    SourceError
        If it cannot be read, is empty, or a row has another number of cells or an empty one.
    """
    rows = list(read_rows(path))
    header = [cell.lower().strip("# ") for cell in rows[0][1]] if rows else []
    genes = [header.index(name) for name in ("gene", "gene_id") if name in header]
    at, width = (0, 1), 2
    if genes and "variant" in header:
        at, width, rows = (genes[0], header.index("variant")), len(header), rows[1:]
    if not rows:
        raise SourceError(f"{path} holds no gene with a variant; give one a line: gene, variant")
    found = []
    for line, cells in rows:
        pair = [cells[column].strip() for column in at] if len(cells) == width else [""]
        if not all(pair):
            raise SourceError(
                f"{path}, line {line}: expected {width} cells, with a gene and a variant among "
                f"them, found {', '.join(cells)!r:.60}; give a table with the columns gene and "
                f"variant, or of these two alone"
            )
        found.append(pair)
    return pd.DataFrame(found, columns=["gene", "variant"], dtype=object)
