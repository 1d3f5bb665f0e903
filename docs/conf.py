"""How Sphinx makes the guide: `make docs` writes docs/_build/html, and a warning is an error.

Pages are MyST Markdown, notebooks are run where a finished run of the demo is found
(ZARRBENCH_DATA, which `make docs` sets) and shown without results elsewhere. Command line and
stores are described from the code itself. Nothing is fetched, neither here nor by the reader.
"""

import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
from numpy.typing import ArrayLike, DTypeLike
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

import zarrbench
from zarrbench import attribution_layouts, cli, layouts

project = "zarrbench"
author = copyright = "The zarrbench developers"
version = release = zarrbench.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "zarrbench"
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["guide.css"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force" if Path(os.environ.get("ZARRBENCH_DATA", "")).is_absolute() else "off"
nb_execution_raise_on_error = True
if not Path(os.environ.get("ZARRBENCH_PUBLISHED", "../shared/published")).is_dir():
    nb_execution_excludepatterns = ["*paper_revisited*"]  # it would say so, and stop
nb_execution_timeout = 120
nb_output_stderr = "remove"

# Single backticks in docstrings are Python names, which become links where they are documented.
default_role = "py:obj"
autodoc_member_order = "bysource"
# Its docstring is not numpydoc, and it is looked at wherever it is imported.
autodoc_default_options = {"exclude-members": "UPath"}
autodoc_typehints = "signature"
numpydoc_show_class_members = False


def commands() -> str:
    """Return the reference of the command line, of what `zarrbench --help` is made from."""
    return "\n".join(_command(click.Context(cli.main, info_name="zarrbench")))


def _command(context: click.Context) -> Iterator[str]:
    command = context.command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _command(click.Context(inner, parent=context, info_name=name))
        return
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    meaning = _text(inspect.cleandoc(command.help or ""))
    yield f"## {context.command_path}\n\n```text\n{usage}\n```\n\n{meaning}\n"
    records = [option.get_help_record(context) for option in command.params]
    yield from (
        f"`{record[0]}`\n: {_text(record[1])}\n" for record in records if record and record[1]
    )


def stores() -> str:
    """Return the reference of the stores, from their registry."""
    found = {**vars(layouts), **vars(attribution_layouts)}.values()
    parts = []
    for layout in (value for value in found if isinstance(value, layouts.Layout)):
        parts.append(f"## {layout.name}\n\nFormat `zarrbench.{layout.name}`, ")
        parts.append(f"version {layout.version}.\n\n")
        if not layout.variables:
            continue
        parts.append("| variable | dimensions | type | meaning |\n|---|---|---|---|\n")
        for name, variable in layout.variables.items():
            meaning = _text(variable.meaning) + (" *(optional)*" if variable.optional else "")
            parts.append(
                f"| `{name}` | {', '.join(variable.dims)} | {variable.kind} | {meaning} |\n"
            )
        parts.append("\n")
    return "".join(parts)


def _text(words: str) -> str:
    """Return words that Markdown leaves as they are; what stands in backticks is code."""
    return re.sub(r"[\\*_\[\]<>|#]", r"\\\g<0>", words)


#: pages that end with what the code says of itself
_GENERATED = {"commands": commands, "stores": stores}


def _complete(app: Sphinx, page: str, source: list[str]) -> None:
    if page in _GENERATED:
        source[0] += f"\n\n{_GENERATED[page]()}"


def _magnitudes(app: Sphinx, what: str, name: str, obj: object, options: object,
                lines: list[str]) -> None:  # fmt: skip
    """Let |r| of a docstring be a magnitude, not one of Sphinx' substitutions."""
    literal = re.compile("(``.*?``)")
    for number, line in enumerate(lines):
        parts = literal.split(line)
        parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
        lines[number] = "".join(parts)


_ARRAY = r"~numpy\.ndarray\[tuple\[~typing\.Any, \.\.\.\], ~numpy\.dtype\[~([\w.]+)\]\]"


def _types(app: Sphinx, what: str, name: str, obj: object, options: object,
           signature: str | None, returns: str | None) -> tuple[str | None, ...]:  # fmt: skip
    """Call NumPy's types in signatures by the names under which the code has them."""
    return _named(signature), _named(returns)


def _named(types: str | None) -> str | None:
    if types is None:
        return None
    for alias, name in ((ArrayLike, "ArrayLike"), (DTypeLike, "DTypeLike")):
        types = types.replace(stringify_annotation(alias, "smart"), name)
    types = re.sub(_ARRAY, lambda found: f"NDArray[{found[1].split('.')[-1]}]", types)
    return types.replace("NDArray[_ScalarT]", "NDArray")


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-signature", _types, priority=900)
    app.connect("source-read", _complete)
    app.connect("autodoc-process-docstring", _magnitudes, priority=900)  # after numpydoc
