"""The commands that write results in the forms of other tools."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from zarrbench.command import DATA, JSON, PIPELINE, SOURCES, command, open_workspace, show

if TYPE_CHECKING:
    from zarrbench.remote import Place

_OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace what an earlier export wrote.")
_TRACKS = click.option(
    "--track", "tracks", multiple=True, metavar="TRACK",
    help="Id or description of a track of the cube; may be given several times. "
         "[default: that of the statistics]",
)  # fmt: skip


@click.group()
def export() -> None:
    """Write results as tidy tables, AnnData or VCF."""


@export.command()
@PIPELINE
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["tsv", "parquet"]), default="tsv",
              show_default=True, help="Text, or Parquet for large results.")  # fmt: skip
@click.option("--table", "names", multiple=True, metavar="NAME",
              help="Write this table alone; may be given several times.")  # fmt: skip
@_TRACKS
@click.option(
    "--individuals",
    is_flag=True,
    help="Tables of single people, too, with their ids, and slopes that a few decide.",
)
@_OVERWRITE
@SOURCES
@DATA
@JSON
@command
def tables(
    pipeline: Path,
    folder: Path,
    form: str,
    names: tuple[str, ...],
    tracks: tuple[str, ...],
    individuals: bool,
    overwrite: bool,
    sources: Path | None,
    data: "Place",
    as_json: bool,
) -> None:
    """Write every result as a tidy table into FOLDER.

    FOLDER/tables.json says what every column means, and which tables are missing and why. Without
    --individuals, what was measured on variants whose rarer allele fewer than five people carry, or
    on fewer people of a gene, is missing; it says in how many rows.
    """
    from zarrbench.exports.tables import export_tables

    made = export_tables(
        open_workspace(pipeline, data, sources),
        folder,
        "parquet" if form == "parquet" else "tsv",
        names=names,
        tracks=tracks,
        individuals=individuals,
        overwrite=overwrite,
    )
    facts = {
        "folder": str(folder),
        "rows": {name: table["rows"] for name, table in made["tables"].items()},
        "not_written": made["not_written"],
    }
    show(facts, as_json)


@export.command()
@PIPELINE
@click.argument("file", type=click.Path(path_type=Path))
@_TRACKS
@_OVERWRITE
@SOURCES
@DATA
@JSON
@command
def anndata(
    pipeline: Path,
    file: Path,
    tracks: tuple[str, ...],
    overwrite: bool,
    sources: Path | None,
    data: "Place",
    as_json: bool,
) -> None:
    """Write predictions as AnnData, people by genes.

    FILE ends with .h5ad or .zarr, and has the ids of people: local data. The expression is the
    layer 'observed'.
    """
    from zarrbench.exports.cube import export_anndata
    from zarrbench.progress import note

    workspace = open_workspace(pipeline, data, sources)
    made = export_anndata(workspace, file, tracks=tracks, overwrite=overwrite)
    facts = {"file": str(file), "individuals": made.n_obs, "genes": made.n_vars}
    show({**facts, "layers": ", ".join(made.layers)}, as_json)
    note(f"{file} holds ids and predictions of people: keep it where their genotypes are kept")


@export.command()
@PIPELINE
@click.argument("file", type=click.Path(path_type=Path))
@_OVERWRITE
@SOURCES
@DATA
@JSON
@command
def vcf(
    pipeline: Path,
    file: Path,
    overwrite: bool,
    sources: Path | None,
    data: "Place",
    as_json: bool,
) -> None:
    """Write attributions and drivers as VCF, without people.

    FILE ends with .vcf.gz; its index is written beside it. Sites whose rarer allele fewer than
    five people with expression carry are left out and counted.
    """
    from zarrbench.exports.vcf import export_vcf

    workspace = open_workspace(pipeline, data, sources)
    show({"file": str(file), **export_vcf(workspace, file, overwrite=overwrite)}, as_json)
