"""What every command shares: its options, how it prints facts, and how it ends on an error."""

import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zarrbench import errors

if TYPE_CHECKING:
    from zarrbench.remote import Place
    from zarrbench.stages.workspace import Workspace
    from zarrbench.stores import StoreFamily


class _Place(click.ParamType):
    """A folder, or a URL in its place."""

    name = "directory"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> "Place":
        if "://" not in str(value):
            return Path(os.fsdecode(click.Path(file_okay=False).convert(value, param, ctx)))
        from zarrbench.remote import place

        try:
            return place(str(value))
        except errors.ZarrbenchError as error:
            self.fail(str(error), param, ctx)


class _Refused(click.ClickException):
    """A recipe that cannot be found, before a command runs."""

    exit_code = errors.RecipeError.exit_code

    def show(self, file: Any = None) -> None:
        _say_why(self.message)


class Recipe(click.ParamType):
    """A YAML file, or the name of a packaged one: found before anything that it needs is loaded."""

    name = "text"

    def __init__(self, family: str) -> None:
        self.family = family

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        from zarrbench.recipes import find

        try:
            return find(self.family, value)
        except errors.RecipeError as error:
            raise _Refused(str(error)) from error


DATA = click.option(
    "--data",
    type=_Place(),
    default=Path("data"),
    show_default=True,
    help="Folder for stores and results, or a URL such as s3://bucket/folder.",
)
SOURCES = click.option(
    "--sources",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Folder where source files are looked for first; never written to.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
_TRACEBACK = click.option("--traceback", is_flag=True, help="Show the traceback of an error.")
PIPELINE = click.argument("pipeline", type=Recipe("pipelines"))
STORE = click.argument("store", type=Recipe("stores"))


def open_workspace(pipeline: Path, data: "Place", sources: Path | None) -> "Workspace":
    """Open a pipeline by its file."""
    from zarrbench.stages.workspace import Workspace

    return Workspace.open(pipeline, data, sources)


def store_family(store: str | Path, data: "Place", sources: Path | None) -> "StoreFamily":
    """Return the stores of a recipe, given as a YAML file or the name of a packaged one."""
    from zarrbench.recipes import find
    from zarrbench.stores import StoreFamily

    return StoreFamily(find("stores", store), data, sources)


def start_tensorflow() -> None:
    """Import it and look for GPUs, without the dozen lines that it writes about that."""
    from zarrbench.models.protocol import held_back_output

    with held_back_output():
        from zarrbench.models.keras_network import prepare_backend

        prepare_backend()


def command(function: Callable[..., None]) -> Callable[..., None]:
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
    _say_why(message)
    sys.exit(code)


def _say_why(message: str) -> None:
    click.echo(f"zarrbench: {' '.join(message.split())}", err=True)


def say(text: str) -> None:
    click.echo(text, err=True)


def show(facts: Mapping[str, Any], as_json: bool) -> None:
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
