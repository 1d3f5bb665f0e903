"""The commands about models: to train one, and to fetch, check and convert released ones."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from zarrbench import errors
from zarrbench.command import (
    DATA,
    JSON,
    PIPELINE,
    SOURCES,
    command,
    open_workspace,
    show,
    start_tensorflow,
    store_family,
)

if TYPE_CHECKING:
    from zarrbench.remote import Place


@click.group()
def model() -> None:
    """Train a pipeline's network; fetch released ones, check what they are, take their weights."""


@model.command()
@click.argument("handle", default="enformer")
@click.option("--url", metavar="URL", help="Download its archive (tar.gz) from this mirror.")
@click.option("--sha256", metavar="HEX", help="Checksum that the archive must have.")
@command
def fetch(handle: str, url: str | None, sha256: str | None) -> None:
    """Fetch the SavedModel of HANDLE into the cache (ZARRBENCH_CACHE), and print its folder.

    HANDLE is enformer (the default), or one of TensorFlow Hub or Kaggle. Whatever interrupts it,
    the same command continues.
    """
    from zarrbench.models import fetch as models

    click.echo(models.fetch(handle, url, sha256))


_MODEL = click.argument("source", default="enformer", metavar="[MODEL]")


@model.command()
@PIPELINE
@SOURCES
@DATA
@JSON
@command
def train(pipeline: Path, sources: Path | None, data: "Place", as_json: bool) -> None:
    """Train the network of PIPELINE, or continue it; print r with mean expression across genes.

    Whatever interrupts it, the same command continues after the last whole epoch.
    """
    start_tensorflow()
    from zarrbench.stages.training import run_training

    show(run_training(open_workspace(pipeline, data, sources)), as_json)


@model.command(name="check")
@_MODEL
@click.option(
    "--published",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Folder with gene_list.csv and all_models_ref_preds.csv: compare with these too.",
)
@click.option("--store", metavar="STORE", help="Built stores (hg19) for --published.")
@click.option("--limit-genes", type=click.IntRange(min=1), help="Only so many, for --published.")
@DATA
@JSON
@command
def check_model(
    source: str,
    published: Path | None,
    store: str | None,
    limit_genes: int | None,
    data: "Place",
    as_json: bool,
) -> None:
    """Check that MODEL is Enformer, and that our forward gives its numbers.

    MODEL is a SavedModel folder, a handle that was fetched (enformer by default), or a file that
    'zarrbench model convert' has written.
    """
    start_tensorflow()
    from zarrbench.models.enformer.checking import check, check_published
    from zarrbench.models.released import located

    if published is None:
        show(check(located(source)), as_json)
        return
    if store is None:
        raise click.UsageError("--published needs --store, for the sequence of the genes")
    reference = store_family(store, data, None).reference
    show(check_published(located(source), published, reference, limit_genes), as_json)


@model.command()
@_MODEL
@click.argument("weights", type=click.Path(dir_okay=False, path_type=Path))
@JSON
@command
def convert(source: str, weights: Path, as_json: bool) -> None:
    """Write the weights of MODEL as one safetensors file, which needs no TensorFlow to be read."""
    if weights.exists() and weights.suffix != ".safetensors":
        raise errors.StorageError(f"{weights} exists and is no .safetensors file; name a new one")
    start_tensorflow()
    from zarrbench.models.enformer.checking import convert as write
    from zarrbench.models.released import located

    show(write(located(source), weights), as_json)


@model.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--full", is_flag=True, help="As large as the released model (1 GB).")
@click.option("--seed", default=0, show_default=True)
@command
def random(folder: Path, full: bool, seed: int) -> None:
    """Write a SavedModel with the interface of Enformer and random weights, to try things out."""
    if folder.exists() and not (folder / "saved_model.pb").exists():
        raise errors.StorageError(f"{folder} exists and is no SavedModel; name a new folder")
    start_tensorflow()
    from zarrbench.models.enformer.architecture import SMALL, Architecture
    from zarrbench.models.enformer.stand_in import write_saved_model
    from zarrbench.models.enformer.weights import random_weights

    architecture = Architecture() if full else SMALL
    write_saved_model(architecture, random_weights(architecture, seed), folder)
    click.echo(folder)
