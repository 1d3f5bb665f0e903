"""The command line. Every body is a few lines; imports of the library wait until a command runs.

Exit codes: 0 success; 1 an unexpected failure; 2 bad input or a place that cannot be written;
3 a run that ended with shards undone; 130 interrupted.
"""

import functools
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zarrbench import errors

if TYPE_CHECKING:
    from zarrbench.stages.workspace import Workspace
    from zarrbench.stores import StoreFamily

_DATA = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder for stores and results.",
)
_SOURCES = click.option(
    "--sources",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Folder where source files are looked for first; never written to.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
_TRACEBACK = click.option("--traceback", is_flag=True, help="Show the traceback of an error.")
_PIPELINE = click.argument("pipeline")
_STORE = click.argument("store")


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """Report an error as one sentence on standard error, with its exit code."""

    @_TRACEBACK
    @functools.wraps(function)
    def guarded(*args: Any, traceback: bool, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except errors.ZarrbenchError as error:
            _fail(str(error), error.exit_code, traceback)
        except KeyboardInterrupt:
            _fail("interrupted; finished work is kept: run the same command again", 130, traceback)
        except (click.exceptions.ClickException, BrokenPipeError):
            raise  # click reports both
        except Exception as error:
            from zarrbench.storage import storage_failure

            failure = storage_failure(error, "the data folder")
            if failure is not None:
                _fail(str(failure), failure.exit_code, traceback)
            _fail(
                f"unexpected {type(error).__name__}: {error}; run again with --traceback and "
                f"report it",
                errors.EXIT_UNEXPECTED,
                traceback,
            )

    return guarded


def _fail(message: str, code: int, show: bool) -> None:
    if show:
        traceback.print_exc()
    click.echo(f"zarrbench: {' '.join(message.split())}", err=True)
    sys.exit(code)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _print(facts: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(facts, indent=1, default=str))
        return
    for line in _lines(facts):
        click.echo(line)


def _lines(facts: Mapping[str, Any], indent: str = "") -> list[str]:
    width = max((len(str(key)) for key in facts), default=0)
    lines = []
    for key, value in facts.items():
        if isinstance(value, Mapping) and value:
            lines += [f"{indent}{key}", *_lines(value, indent + "  ")]
        else:
            shown = (
                f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
            )
            lines.append(
                f"{indent}{key!s:<{width}}  {'-' if shown in ({}, [], None, '') else shown}"
            )
    return lines


def _workspace(pipeline: str, data: Path, sources: Path | None) -> "Workspace":
    from zarrbench.recipes import find
    from zarrbench.stages.workspace import Workspace

    return Workspace.open(find("pipelines", pipeline), data, sources)


def _family(store: str, data: Path, sources: Path | None) -> "StoreFamily":
    from zarrbench.recipes import find
    from zarrbench.stores import StoreFamily

    return StoreFamily(find("stores", store), data, sources)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="zarrbench")
def main() -> None:
    """Benchmark sequence-to-expression networks on personal genomes, from VCF to report.

    Exit codes: 0 success; 1 unexpected failure; 2 bad input or unwritable folder; 3 some genes
    failed; 130 interrupted.
    """


@main.command()
@_PIPELINE
@click.option("--cluster", default="local", show_default=True, help="Cluster YAML, or its name.")
@_SOURCES
@_DATA
@click.option(
    "--dry-run",
    is_flag=True,
    help="Build the stores if need be, print tasks, bytes and files; predict nothing.",
)
@click.option("--only", metavar="STAGE", help="Run one stage: stores, predict, statistics, report.")
@click.option("--limit-genes", type=click.IntRange(min=1), help="Only the first N genes.")
@_JSON
@_command
def run(
    pipeline: str,
    cluster: str,
    sources: Path | None,
    data: Path,
    dry_run: bool,
    only: str | None,
    limit_genes: int | None,
    as_json: bool,
) -> None:
    """Run PIPELINE (a YAML file or the name of a packaged one), or continue it."""
    from zarrbench.clusters import load_cluster_recipe
    from zarrbench.recipes import find
    from zarrbench.stages import predict
    from zarrbench.stages.run import run_pipeline

    place = load_cluster_recipe(find("cluster", cluster))
    workspace = _workspace(pipeline, data, sources)
    if dry_run:
        workspace.stores.build()
        _print(predict.dry_run(workspace, limit_genes), as_json)
        return
    timings = run_pipeline(workspace, place, only, limit_genes, _say)
    outcome = _outcome(workspace) if "report" in timings else {}
    seconds = {stage: round(value, 1) for stage, value in timings.items()}
    _print({"results": str(workspace.folder), "seconds": seconds, **outcome}, as_json)


def _outcome(workspace: "Workspace") -> dict[str, Any]:
    from zarrbench.layouts import GENE_STATISTICS
    from zarrbench.stages.statistics import summary
    from zarrbench.storage import open_dataset

    statistics = open_dataset(workspace.statistics, GENE_STATISTICS).load()
    return {"report": str(workspace.report), **summary(statistics)}


@main.command()
@_PIPELINE
@_DATA
@_JSON
@_command
def status(pipeline: str, data: Path, as_json: bool) -> None:
    """Show what of PIPELINE is done, failed (with the first errors) and missing."""
    from zarrbench.stages.status import pipeline_status

    _print(pipeline_status(_workspace(pipeline, data, None)), as_json)


@main.command()
@_PIPELINE
@_DATA
@_command
def report(pipeline: str, data: Path) -> None:
    """Write the report of PIPELINE again from its stores."""
    from zarrbench.stages.report import run_report

    workspace = _workspace(pipeline, data, None)
    run_report(workspace, {})
    click.echo(workspace.report)


@main.command()
@click.option("--individual", required=True, metavar="ID", help="Sample id of the genotypes.")
@click.option("--gene", metavar="GENE", help="Id or name: the window around its TSS.")
@click.option("--region", metavar="CONTIG:START-END", help="A whole region instead (1-based).")
@click.option(
    "--length",
    type=click.IntRange(min=1),
    default=196_608,
    show_default=True,
    help="Bases around the TSS, which is the first of the second half.",
)
@click.option("--store", metavar="STORE", help="YAML file or name; needed if several are built.")
@_DATA
@_command
def haplotype(
    individual: str,
    gene: str | None,
    region: str | None,
    length: int,
    store: str | None,
    data: Path,
) -> None:
    """Print both haplotypes of somebody as FASTA, around the TSS of a gene or over a region.

    Variants are applied by the policies of STORE; forward strand.
    """
    from zarrbench import personal

    if (gene is None) == (region is None):
        raise click.UsageError("give either --gene or --region")
    stores = _family(store or _only_store(data), data, None)
    if region is not None:
        click.echo(personal.region_fasta(stores, region, individual), nl=False)
    elif gene is not None:
        click.echo(personal.gene_fasta(stores, gene, individual, length), nl=False)


def _only_store(data: Path) -> str:
    built = sorted(path.parent.name for path in data.glob("stores/*/store.json"))
    if len(built) == 1:
        return built[0]
    found = f"{len(built)} stores ({', '.join(built)})" if built else "no stores"
    raise errors.RecipeError(f"{data} holds {found}; name one with --store")


@main.command()
@_JSON
@_command
def doctor(as_json: bool) -> None:
    """Show what is installed and name combinations that are known not to work."""
    from zarrbench.doctor import diagnose

    found = diagnose()
    _print(found, as_json)
    if found["problems"]:
        raise errors.RecipeError(
            f"{len(found['problems'])} problems: {'; '.join(found['problems'])}"
        )


@main.group()
def store() -> None:
    """Build and look at the stores of a recipe: genotypes, reference, genes, expression."""


@store.command()
@_STORE
@_SOURCES
@_DATA
@click.option("--only", "parts", multiple=True, metavar="PART",
              type=click.Choice(["reference", "genotypes", "genes", "expression"]),
              help="Build this part alone; may be given several times.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Build again what is there.")
@_command
def build(
    store: str, sources: Path | None, data: Path, parts: tuple[str, ...], overwrite: bool
) -> None:
    """Build the stores of STORE (a YAML file or the name of a packaged one)."""
    from zarrbench.stores import PARTS

    family = _family(store, data, sources)
    built = family.build(parts or PARTS, overwrite=overwrite)
    _say(f"built {', '.join(built)}" if built else "up to date")
    click.echo(family.folder)


@store.command()
@_STORE
@_DATA
@_JSON
@_command
def check(store: str, data: Path, as_json: bool) -> None:
    """Check the genotypes of STORE against its reference and policies."""
    _print(_family(store, data, None).check(), as_json)


@store.command()
@_STORE
@_DATA
@_JSON
@_command
def info(store: str, data: Path, as_json: bool) -> None:
    """Show what every part of STORE was built from, what its check found, and the policies."""
    family = _family(store, data, None)
    _print({**family.facts(), "policies": family.policies()}, as_json)
