"""Every result of a pipeline as tidy tables, with one file that says what each column means."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr
from tqdm import tqdm

from zarrbench import progress
from zarrbench.errors import RecipeError
from zarrbench.exports.catalogue import NOT_IN_TABLES, TABLES, Table
from zarrbench.exports.destinations import check_destination
from zarrbench.exports.facts import described
from zarrbench.exports.rows import Rows
from zarrbench.parameters import Statistics
from zarrbench.predictions.cube import sel_track
from zarrbench.recipes import nearest
from zarrbench.stages.standing import standing
from zarrbench.stages.statistics import selected_track
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import published
from zarrbench.tables import TSV

Format = Literal["tsv", "parquet"]
#: the file that describes the tables, and makes a folder one of ours
DESCRIPTION = "tables.json"

_CONVENTIONS = {
    "positions": "variant_position, position, tss, start and end are 1-based as in VCF and GTF, "
    "end inclusive; distance and offset are in bases, from 0 at the TSS or driver",
    "signs": "slope, ism, gradient and distance are of the effect allele and the forward strand",
    "missing": "NA in TSV, null in Parquet; text that is missing is empty",
    "booleans": "True and False in TSV",
}
_WITH_PEOPLE = (
    "tables marked 'of single people', and rows with few minor_carriers or a rare allele, tell of "
    "single people; their ids are those of your files"
)
_WITHOUT_PEOPLE = (
    "no table is of single people; where fewer than 5 people carry the rarer allele, or have "
    "expression of the gene, what was measured is missing ('hidden' counts these rows); "
    "--individuals writes all. Numbers have all digits, so that differences of rows may tell of "
    "single people, as in any table of eQTLs: share it under the same terms"
)


def export_tables(
    workspace: Workspace,
    folder: Path,
    form: Format = "tsv",
    *,
    names: Sequence[str] = (),
    tracks: Sequence[str] = (),
    individuals: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the results of all stages as tables, and ``tables.json``, which describes them.

    The folder appears whole or not at all. Rows are read and written some hundred thousand at a
    time, so that memory does not grow with them.

    Without `individuals`, what was measured (slopes, correlations, support, frequencies and counts)
    is missing from the rows of variants whose rarer allele fewer than `MINIMUM_PEOPLE` people
    carry, of genes that fewer people have expression of, and from what would give it away; see
    `zarrbench.exports.few_people`.

    Parameters
    ----------
    workspace : Workspace
    folder : Path
        New, or of an earlier export.
    form : {'tsv', 'parquet'}
        Tab-separated text with all digits, or Parquet, whose columns carry their meanings too.
    names : sequence of str
        These tables alone, of `zarrbench.exports.catalogue.TABLES`; all but the very long ones by
        default.
    tracks : sequence of str
        Whose predictions are written; that of the statistics by default.
    individuals : bool
        Whether tables of single people are written, with their ids, and nothing is hidden.
    overwrite : bool
        Whether an earlier export may be replaced.

    Returns
    -------
    dict
        ``tables.json``: `tables` by name with `file`, `rows`, what one is, `columns`, and
        `hidden` with numbers of rows and reasons, where something may be; `not_written` by name
        with the reason, of those asked for.

    Raises
    ------
    RecipeError
        If there is no such table or track, or tracks are named and nothing is predicted.
    StorageError
        If the folder holds something else, or cannot be written.
    """
    for name in names:
        if name not in TABLES:
            raise RecipeError(f"there is no table {name!r}{nearest(name, TABLES)}")
    if not (folder.is_dir() and not any(folder.iterdir())):
        check_destination(folder, overwrite, _is_ours, "folder")
    asked = {name: table for name, table in TABLES.items() if name in (names or TABLES)}
    stages = {table.stage for table in asked.values()} | ({"predict"} if tracks else set())
    found = {stage: standing(workspace, stage) for stage in stages}
    predicted = found.get("predict")
    if tracks and isinstance(predicted, str):
        raise RecipeError(f"tracks are chosen of the predictions, and {predicted}")
    if isinstance(predicted, xr.Dataset):
        found["predict"] = _of_tracks(workspace, predicted, tracks)
    written: dict[str, Any] = {}
    not_written: dict[str, str] = {}
    with (
        published(folder) as temporary,
        progress.bar(total=None, label="tables", unit="rows", scaled=True) as bar,
    ):
        temporary.mkdir()
        for name, table in asked.items():
            named = name in names
            rows = _rows(workspace, table, found[table.stage], named, individuals)
            if isinstance(rows, str):
                not_written[name] = rows
                continue
            path = temporary / f"{name}.{form}"
            store = found[table.stage]
            hidden = []
            if not individuals and not isinstance(store, str):
                for one in table.hidden:
                    rows, counts = one.applied(rows, workspace, store)
                    hidden.append((one.why, counts))
            written[name] = _described(table, path.name, rows, _write(rows, path, form, bar))
            if hidden:
                # Known only now that the blocks were written
                told = [{"rows": sum(counts), "why": why} for why, counts in hidden]
                written[name]["hidden"] = told
        made = {
            **described(workspace),
            "conventions": {
                **_CONVENTIONS,
                "before you share": _WITH_PEOPLE if individuals else _WITHOUT_PEOPLE,
            },
            "tables": written,
            "not_written": not_written,
            "not_in_tables": dict(NOT_IN_TABLES),
        }
        text = json.dumps(made, indent=1, ensure_ascii=False)
        (temporary / DESCRIPTION).write_text(text, encoding="utf-8")
    return made


def _is_ours(folder: Path) -> bool:
    return (folder / DESCRIPTION).is_file()


def _of_tracks(workspace: Workspace, cube: xr.Dataset, tracks: Sequence[str]) -> xr.Dataset:
    """Return a cube with the tracks named, or with that of the statistics; without bins."""
    cube = cube.drop_vars(NOT_IN_TABLES, errors="ignore")
    if tracks:
        chosen = [str(sel_track(cube, track)["track"].item()) for track in tracks]
    else:
        parameters = workspace.recipe.stages.get("statistics")
        if not isinstance(parameters, Statistics):
            return cube.isel(track=slice(1))
        chosen = [str(selected_track(cube, parameters)["track"].item())]
    return cube.sel(track=list(dict.fromkeys(chosen)))


def _rows(
    workspace: Workspace,
    table: Table,
    found: xr.Dataset | str,
    named: bool,
    individuals: bool,
) -> Rows | str:
    """Return the rows of a table, or why it is not written."""
    if isinstance(found, str):
        return found
    if table.people and not individuals:
        return "it is of single people: add --individuals"
    if table.asked and not named:
        return "it is very long: ask for it with --table"
    rows = table.read(workspace, found)
    return f"the stage {table.stage!r} was not asked for it" if rows is None else rows


def _write(rows: Rows, path: Path, form: Format, bar: tqdm) -> int:
    """Write a table and return how many rows it has."""
    n_rows = 0
    with contextlib.ExitStack() as stack:
        if form == "parquet":
            writer = stack.enter_context(pq.ParquetWriter(path, rows.schema))
        else:
            handle = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
            handle.write("\t".join(rows.schema.names) + "\n")
        for block in rows.blocks:
            if form == "parquet":
                table = pa.Table.from_pandas(block, rows.schema, preserve_index=False)
                writer.write_table(table)
            else:
                block.to_csv(handle, header=False, **TSV)
            n_rows += len(block)
            bar.update(len(block))
    return n_rows


def _described(table: Table, file: str, rows: Rows, n_rows: int) -> dict[str, Any]:
    return {
        "file": file,
        "stage": table.stage,
        "one row is": table.row,
        "of single people": table.people,
        "rows": n_rows,
        "columns": {field.name: _column(field) for field in rows.schema},
    }


def _column(field: pa.Field) -> Mapping[str, str]:
    return {"type": str(field.type), "meaning": (field.metadata or {})[b"description"].decode()}
