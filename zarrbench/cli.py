"""The command line. Every body is a few lines; imports of the library wait until a command runs.

Exit codes: 0 success; 1 an unexpected failure; 2 bad input or a place that cannot be written;
3 a run that ended with shards undone; 4 published tables that give other numbers; 130 interrupted.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zarrbench import errors
from zarrbench.command import (
    DATA,
    JSON,
    PIPELINE,
    SOURCES,
    STORE,
    Recipe,
    command,
    open_workspace,
    say,
    show,
    start_tensorflow,
    store_family,
)
from zarrbench.export_commands import export
from zarrbench.model_commands import model

if TYPE_CHECKING:
    from zarrbench.remote import Place
    from zarrbench.stages.workspace import Workspace


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="zarrbench")
def main() -> None:
    """Benchmark sequence-to-expression networks on personal genomes, from VCF to report.

    Exit codes: 0 success; 1 unexpected failure; 2 bad input or unwritable folder; 3 some genes
    failed; 4 a published number came out otherwise; 130 interrupted.
    """


main.add_command(export)
main.add_command(model)


@main.command()
@PIPELINE
@click.option("--cluster", type=Recipe("cluster"), default="local", show_default=True,
              help="Cluster YAML, or its name.")  # fmt: skip
@SOURCES
@DATA
@click.option(
    "--dry-run",
    is_flag=True,
    help="Build the stores if need be, print tasks, bytes and files; predict nothing.",
)
@click.option("--only", metavar="STAGE", help="Run one stage of PIPELINE, or stores alone.")
@click.option("--limit-genes", type=click.IntRange(min=1), help="Only the first N genes.")
@click.option("--retry-failed", is_flag=True, help="Try what failed before once more.")
@click.option("--extend", is_flag=True, help="Give the cube genes and people that it lacks.")
@JSON
@command
def run(
    pipeline: Path,
    cluster: Path,
    sources: Path | None,
    data: "Place",
    dry_run: bool,
    only: str | None,
    limit_genes: int | None,
    retry_failed: bool,
    extend: bool,
    as_json: bool,
) -> None:
    """Run PIPELINE (a YAML file or the name of a packaged one), or continue it."""
    from zarrbench.attribution_layouts import DRIVERS, SENSITIVITY
    from zarrbench.clusters import load_cluster_recipe
    from zarrbench.layouts import GENE_TABLE, GENOTYPE_QUALITY, POPULATION, TRACK_WEIGHTS
    from zarrbench.stages import (
        attributions,
        drivers,
        gene_table,
        genotype_quality,
        motifs,
        population,
        predict,
        predixcan,
        sensitivity,
        track_weights,
    )
    from zarrbench.stages.expression import have_expression
    from zarrbench.stages.run import run_pipeline
    from zarrbench.storage import open_dataset

    place = load_cluster_recipe(cluster)
    workspace = open_workspace(pipeline, data, sources)
    if dry_run:
        workspace.check_track()
        track_weights.check_weights(workspace)
        attributions.check_attributions(workspace)
        workspace.stores.build()
        have_expression(workspace)
        show(predict.dry_run(workspace, limit_genes, extend), as_json)
        return
    timings = run_pipeline(workspace, place, only, limit_genes, retry_failed, extend, say)
    outcome = _outcome(workspace) if "report" in timings else {}
    if "genotype_quality" in timings:
        quality = open_dataset(workspace.genotype_quality, GENOTYPE_QUALITY)
        outcome["genotype_quality"] = genotype_quality.summary(quality.load())
    if "drivers" in timings:
        outcome["drivers"] = drivers.summary(open_dataset(workspace.drivers, DRIVERS).load())
    if "motifs" in timings:
        outcome["motifs"] = motifs.headline(workspace)
    if "population" in timings:
        found = open_dataset(workspace.population, POPULATION).load()
        outcome["population"] = population.summary(found)
    if "track_weights" in timings:
        weighted = open_dataset(workspace.track_weights, TRACK_WEIGHTS).load()
        outcome["track_weights"] = track_weights.summary(weighted)
    if "predixcan" in timings:
        outcome["predixcan"] = predixcan.summary(workspace)
    if "gene_table" in timings:
        together = open_dataset(workspace.study_table, GENE_TABLE).load()
        outcome["gene_table"] = gene_table.summary(together)
    if "sensitivity" in timings:
        compared = open_dataset(workspace.sensitivity, SENSITIVITY).load()
        outcome["sensitivity"] = sensitivity.summary(compared)
    seconds = {stage: round(value, 1) for stage, value in timings.items()}
    show({"results": str(workspace.folder), "seconds": seconds, **outcome}, as_json)


def _outcome(workspace: "Workspace") -> dict[str, Any]:
    from zarrbench.layouts import GENE_STATISTICS
    from zarrbench.stages.statistics import summary
    from zarrbench.storage import open_dataset

    statistics = open_dataset(workspace.statistics, GENE_STATISTICS).load()
    return {"report": str(workspace.report), **summary(statistics)}


@main.command()
@PIPELINE
@DATA
@JSON
@command
def status(pipeline: Path, data: "Place", as_json: bool) -> None:
    """Show what of PIPELINE is done, failed (with the first errors) and missing."""
    from zarrbench.stages.status import pipeline_status

    show(pipeline_status(open_workspace(pipeline, data, None)), as_json)


@main.command()
@PIPELINE
@SOURCES
@DATA
@command
def report(pipeline: Path, sources: Path | None, data: "Place") -> None:
    """Write the report of PIPELINE again from its stores."""
    from zarrbench.stages.report import run_report

    workspace = open_workspace(pipeline, data, sources)
    run_report(workspace, {})
    click.echo(workspace.report)


@main.command()
@PIPELINE
@SOURCES
@DATA
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Port of 127.0.0.1; 0 takes a free one.",
)
@command
def explore(pipeline: Path, sources: Path | None, data: "Place", port: int) -> None:
    """Serve the report of PIPELINE to your browser, every gene read from the stores.

    Only this machine can reach it, and only with the URL that is printed. Ctrl-C ends it.
    """
    from zarrbench.stages.explore import explore as serve

    def announce(text: str) -> None:
        click.echo(text)
        say("open this URL in a browser; Ctrl-C ends it")

    say("drawing the page")
    serve(open_workspace(pipeline, data, sources), port, announce)


@main.command()
@PIPELINE
@click.argument("gene")
@click.argument("variants", nargs=-1, required=True, metavar="CONTIG:POSITION:REF:ALT...")
@SOURCES
@DATA
@command
def attribute(
    pipeline: Path, gene: str, variants: tuple[str, ...], sources: Path | None, data: "Place"
) -> None:
    """Print what SNVs do to the prediction of GENE by the model of PIPELINE, one at a time.

    Positions are 1-based, alleles those of the forward strand; nobody needs to carry them. The
    attributions stage of PIPELINE says which readout and tracks.
    """
    start_tensorflow()
    from zarrbench.stages.named_variants import attribute_variants

    found = attribute_variants(open_workspace(pipeline, data, sources), gene, variants)
    click.echo(found.to_csv(sep="\t", index=False), nl=False)


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
@DATA
@command
def haplotype(
    individual: str,
    gene: str | None,
    region: str | None,
    length: int,
    store: str | None,
    data: "Place",
) -> None:
    """Print both haplotypes of somebody as FASTA, around the TSS of a gene or over a region.

    Variants are applied by the policies of STORE; forward strand.
    """
    from zarrbench import personal

    if (gene is None) == (region is None):
        raise click.UsageError("give either --gene or --region")
    stores = store_family(store or _only_store(data), data, None)
    if region is not None:
        click.echo(personal.region_fasta(stores, region, individual), nl=False)
    elif gene is not None:
        click.echo(personal.gene_fasta(stores, gene, individual, length), nl=False)


def _only_store(data: "Place") -> str:
    from zarrbench.remote import reading

    with reading(data):
        built = sorted(path.parent.name for path in data.glob("stores/*/store.json"))
    if len(built) == 1:
        return built[0]
    found = f"{len(built)} stores ({', '.join(built)})" if built else "no stores"
    raise errors.RecipeError(f"{data} holds {found}; name one with --store")


@main.command()
@JSON
@command
def doctor(as_json: bool) -> None:
    """Show what is installed and name combinations that are known not to work."""
    from zarrbench.doctor import diagnose

    found = diagnose()
    show(found, as_json)
    if found["problems"]:
        raise errors.RecipeError(
            f"{len(found['problems'])} problems: {'; '.join(found['problems'])}"
        )


@main.group()
def store() -> None:
    """Build and look at the stores of a recipe: genotypes, reference, genes, expression."""


@store.command()
@STORE
@SOURCES
@DATA
@click.option("--only", "parts", multiple=True, metavar="PART",
              type=click.Choice(["reference", "genotypes", "genes", "expression"]),
              help="Build this part alone; may be given several times.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Build again what is there.")
@command
def build(
    store: Path, sources: Path | None, data: "Place", parts: tuple[str, ...], overwrite: bool
) -> None:
    """Build the stores of STORE (a YAML file or the name of a packaged one)."""
    from zarrbench.stores import PARTS

    family = store_family(store, data, sources)
    built = family.build(parts or PARTS, overwrite=overwrite)
    say(f"built {', '.join(built)}" if built else "up to date")
    click.echo(family.folder)


@store.command()
@STORE
@DATA
@JSON
@command
def check(store: Path, data: "Place", as_json: bool) -> None:
    """Check the genotypes of STORE against its reference and policies."""
    show(store_family(store, data, None).check(), as_json)


@store.command()
@STORE
@DATA
@JSON
@command
def info(store: Path, data: "Place", as_json: bool) -> None:
    """Show what every part of STORE was built from, what its check found, and the policies."""
    family = store_family(store, data, None)
    show({**family.facts(), "policies": family.policies()}, as_json)


@store.command()
@click.argument("target")
@DATA
@JSON
@command
def verify(target: str, data: "Place", as_json: bool) -> None:
    """Read every byte of TARGET, and name what is not what was written.

    TARGET is a pipeline, of which cube and stores are read, or the recipe of stores (a YAML file or
    a name; a pipeline wins). A damaged shard is named with its gene and block; to have it made
    again, remove the file that is named and run the pipeline.
    """
    from zarrbench.stages import verify as reading

    pipeline = _pipeline(target)
    if pipeline is not None:
        workspace = open_workspace(pipeline, data, None)
        found = reading.verify(workspace.stores, workspace)
    else:
        found = reading.verify(store_family(target, data, None))
    show(found, as_json)
    reading.refuse_damaged(found)


def _pipeline(target: str) -> Path | None:
    from zarrbench.recipes import find, load_yaml

    try:
        file = find("pipelines", target)
        return file if "stages" in load_yaml(file) else None
    except errors.RecipeError:
        return None


@main.group()
def reproduce() -> None:
    """Recompute what the reference study printed."""


@reproduce.command(name="published")
@click.option("--tables", required=True, help="Folder of the study's released tables.",
              type=click.Path(file_okay=False, exists=True, path_type=Path))  # fmt: skip
@click.option("--figures", metavar="FOLDER", help="Also draw figures of the study into FOLDER.",
              type=click.Path(file_okay=False, path_type=Path))  # fmt: skip
@JSON
@command
def reproduce_published(tables: Path, figures: Path | None, as_json: bool) -> None:
    """Judge each printed number; exit code 4 if a verdict is not that of the untouched tables."""
    from zarrbench.reproduction import verdicts
    from zarrbench.reproduction.tables import read_published

    published = read_published(tables)
    rows = verdicts.reproduce(published)
    if figures is not None:
        from zarrbench.reproduction.figures import write_published_figures

        names = write_published_figures(published, figures)
        say(f"figures in {figures}: {', '.join(names)}")
    click.echo(verdicts.as_json(rows) if as_json else verdicts.as_table(rows))
    verdicts.refuse_changed(rows)
