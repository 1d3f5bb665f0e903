"""Reading delimited text, plain or gzip-compressed, row by row with line numbers for messages."""

import contextlib
import csv
import gzip
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from zarrbench.errors import SourceError


@contextlib.contextmanager
def reading_text(path: Path) -> Iterator[TextIO]:
    """Open a text file (UTF-8), plain or gzip-compressed; failures inside become a SourceError."""
    try:
        with path.open("rb") as probe:
            compressed = probe.read(2) == b"\x1f\x8b"
        opened = gzip.open if compressed else open
        with opened(path, "rt", encoding="utf-8-sig") as handle:
            yield handle
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not a text file (UTF-8): {error}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(f"{path} is truncated or damaged: {error}; fetch it again") from error
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the cells of every row of a text table, its header first.

    Cells are split at tabs, else at commas, else at spaces, whichever the header has; they may be
    quoted. Empty lines, and lines with ``##`` before the header, are passed over.
    """
    with reading_text(path) as handle:
        numbered = enumerate(handle)
        content = ((n, line) for n, line in numbered if line.strip() and not line.startswith("##"))
        before, header = next(content, (0, ""))
        separator = next((s for s in "\t," if s in header), " ")
        # Spaces at the ends would count as cells; tabs there are missing values and stay.
        lines = (line.strip(" \n") for line in itertools.chain([header], handle))
        rows = csv.reader(lines, delimiter=separator, skipinitialspace=separator == " ")
        try:
            for cells in rows:
                if cells:
                    yield before + rows.line_num, cells
        except csv.Error as error:
            raise SourceError(
                f"{path}, line {before + rows.line_num}: {error}; is a quote left open above it?"
            ) from error
