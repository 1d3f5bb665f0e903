"""The guide is true: its code runs, its YAML is accepted, its notebooks run, and it builds.

A page is run from top to bottom in a copy of the finished demo: Python in one namespace, shell
by bash, and a block with a file's name as caption becomes that file. What cannot be run here says
so in its caption, to readers as well.
"""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import matplotlib
import nbformat
import pytest
import yaml
from matplotlib import pyplot
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import zarrbench
from zarrbench import attribution_layouts, cli, layouts
from zarrbench.clusters import load_cluster_recipe
from zarrbench.models.protocol import parse_model
from zarrbench.pipeline import STAGES, load_pipeline
from zarrbench.recipes import parse
from zarrbench.store_recipe import load_stores_recipe

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
TASKS = [page for page in PAGES if page.parent == DOCS]
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
NOT_RUN = "Not run by our tests"

FENCE = re.compile(r"^(`{3,}|:{3,})(?!`)(.*)\n((?:.*\n)*?)\1$", re.MULTILINE)
CAPTION = re.compile(r"^:caption: *(.*)\n")
# What is no code
PROSE = ("{toctree}", "{eval-rst}", "{note}")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `caption` is empty if it has none."""

    language: str
    caption: str
    text: str
    where: str


def blocks(page: Path) -> list[Block]:
    """Return the code of a page: fences ``python``, or ``{code-block} python`` with a caption."""
    content, found = page.read_text(encoding="utf-8"), []
    for match in FENCE.finditer(content):
        info, text = match[2].strip(), match[3]
        if info in PROSE:
            continue
        caption = ""
        if info.startswith("{code-block} "):
            info = info.removeprefix("{code-block} ")
            given = CAPTION.match(text)
            assert given, f"{page.name}: a code-block without a caption"
            caption, text = yaml.safe_load(given[1]), text[given.end() :]
        where = f"{page.name}:{content[: match.start()].count(chr(10)) + 1}"
        found.append(Block(info, caption, text, where))
    return found


def run(block: Block, namespace: dict[str, Any]) -> None:
    """Run a block in the present folder; one of unknown kind is an error."""
    if block.caption.startswith(NOT_RUN):
        reason = block.caption.removeprefix(NOT_RUN).removeprefix(" here").removeprefix(":")
        assert len(reason.split()) > 2, f"{block.where} does not say why it is not run"
        return
    kind = "file" if "/" in block.caption else block.caption
    match block.language, kind:
        case "python", "":
            code = compile(block.text, block.where, "exec")
            with contextlib.redirect_stdout(io.StringIO()):
                exec(code, namespace)
        case "bash", "":
            shell(block)
        case "python" | "toml" | "yaml", "file":
            written = Path(block.caption)
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(block.text)
            accept_file(written)
        case "yaml", "stages of a pipeline":
            for stage in yaml.safe_load(block.text):
                [(name, parameters)] = stage.items()
                parse(STAGES[name], parameters, block.where)
        case "yaml", "model of a pipeline":
            parse_model(yaml.safe_load(block.text), block.where)
        case _:
            raise AssertionError(f"{block.where}: {block.language!r} {block.caption!r} is no kind")


def shell(block: Block) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{block.where}\n{block.text}\n{done.stdout}\n{done.stderr}"


def accept_file(path: Path) -> None:
    """Read a file that a page shows with the loader that it belongs to."""
    loaders: dict[str, Callable[[Path], Any]] = {
        "stores": load_stores_recipe,
        "cluster": load_cluster_recipe,
        "pipelines": load_pipeline,
    }
    if path.suffix == ".toml":
        tomllib.loads(path.read_text())
    elif path.suffix == ".yaml" and not own_model(path):
        loaders[path.parts[0]](path)
    else:
        assert path.suffix in (".py", ".yaml"), f"{path}: no loader"


def own_model(path: Path) -> bool:
    """Whether a pipeline asks for a model kind that its page installs later, and then runs."""
    return yaml.safe_load(path.read_text()).get("model", {}).get("kind") == "cpg"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the demo has been run; shared, so that nobody writes there."""
    folder = tmp_path_factory.mktemp("guide")
    command = [sys.executable, "-m", "zarrbench", "run", "synthetic"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def reader(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """Somebody who follows a page, in a folder with `data`; yields the namespace of the page.

    What the page installs goes into the folder, not into the environment of the tests.
    """
    shutil.copytree(finished / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    site = tmp_path / "site"
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{ROOT}")
    monkeypatch.setenv("PIP_TARGET", str(site))
    for name in ("NO_DEPS", "NO_INDEX", "DISABLE_PIP_VERSION_CHECK"):
        monkeypatch.setenv(f"PIP_{name}", "1")
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # pip reads it the other way round
    with matplotlib.rc_context({"backend": "agg"}):
        yield {"__name__": "guide"}
    pyplot.close("all")


@pytest.mark.bcftools
@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize("page", [ROOT / "README.md", *TASKS], ids=lambda page: page.stem)
def test_code_runs(page: Path, reader: dict[str, Any]) -> None:
    if page.name == "README.md":  # its YAML and its commands are judged in test_readme.py
        for block in blocks(page):
            if block.language == "python":
                with contextlib.redirect_stdout(io.StringIO()) as printed:
                    exec(compile(block.text, block.where, "exec"), {})
                assert printed.getvalue().strip()
        return
    for block in blocks(page):
        run(block, reader)


def test_code_is_found() -> None:
    """A change of how pages are written must not leave their code unread."""
    found = {}
    for page in PAGES:
        text, found[page.name] = page.read_text(), blocks(page)
        prose = len(re.findall(r"^```\{(?:toctree|eval-rst)", text, re.MULTILINE))
        assert len(found[page.name]) + prose == len(re.findall("^```$", text, re.MULTILINE))
    run_here = {name for name, some in found.items()
                if any(not block.caption.startswith(NOT_RUN) for block in some)}  # fmt: skip
    tasks = ("vcf", "model", "slurm", "slice", "reuse", "report", "paper")
    assert run_here == {f"{task}.md" for task in tasks}


@pytest.mark.parametrize(
    ("language", "caption", "text"),
    [
        ("julia", "", "1 + 1"),
        ("yaml", "", "name: x"),
        ("bash", "", "false | true"),
        ("bash", "Not run by our tests", "true"),
        ("yaml", "stages of a pipeline", "- report: {colour: red}"),
        ("yaml", "elsewhere/mine.yaml", "name: x"),
        ("python", "", "1 / 0"),
    ],
)
def test_what_is_wrong_is_found(
    language: str, caption: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((AssertionError, KeyError, ZeroDivisionError, zarrbench.ZarrbenchError)):
        run(Block(language, caption, text, "page.md:1"), {})


def execute(path: Path, folder: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}})
    return client.execute()


def pictures(notebook: nbformat.NotebookNode) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize("name", ["slice_the_cube", "one_gene"])
def test_notebooks_run(
    name: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("ZARRBENCH_DATA", str(finished / "data"))
    assert pictures(execute(DOCS / f"notebooks/{name}.ipynb", tmp_path)) >= 3


def test_the_papers_notebook_runs(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("ZARRBENCH_PUBLISHED", str(published))
    assert pictures(execute(DOCS / "notebooks/paper_revisited.ipynb", tmp_path)) >= 3


def test_the_papers_notebook_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("ZARRBENCH_PUBLISHED", str(tmp_path / "nowhere"))
    with pytest.raises(CellExecutionError, match=r"the study's tables are not in .*nowhere"):
        execute(DOCS / "notebooks/paper_revisited.ipynb", tmp_path)


def test_notebooks_hold_no_results() -> None:
    assert len(NOTEBOOKS) == 3
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            assert not cell.get("outputs"), path.name
            assert cell.get("execution_count") is None, path.name


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guide, built as `make docs` does it, but without running the notebooks."""
    place = tmp_path_factory.mktemp("site")
    environment = {name: value for name, value in os.environ.items() if name != "ZARRBENCH_DATA"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q",
         "-d", str(place / "trees"), str(DOCS), str(place / "html")],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return place / "html"


@pytest.mark.slow
def test_every_page_is_reachable_from_the_first(site: Path) -> None:
    seen, waiting = set(), ["index.html"]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        for link in re.findall(r'<a [^>]*href="([^"#]+)', (site / page).read_text()):
            parts = urlsplit(link)
            if not parts.scheme and parts.path.endswith(".html"):
                target = os.path.normpath(Path(page).parent / parts.path)
                assert (site / target).is_file(), f"{page} leads to {link}"
                waiting += [target] if target not in seen | set(waiting) else []
    sources = [*PAGES, *NOTEBOOKS]
    assert {str(path.relative_to(DOCS).with_suffix(".html")) for path in sources} <= seen


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img|iframe)[^>]* (?:src|href)="([^"]+)',
                            page.read_text())  # fmt: skip
        assert not [url for url in loaded if urlsplit(url).scheme or url.startswith("//")], page
    for sheet in site.rglob("*.css"):
        assert "http" not in " ".join(re.findall(r"(?:url\(|@import)[^;)]*", sheet.read_text()))


@pytest.mark.slow
def test_references_are_complete(site: Path) -> None:
    commands = (site / "commands.html").read_text()
    for name, command in cli.main.commands.items():
        inner = getattr(command, "commands", {"": command})
        for below in inner:
            assert f"<h2>{' '.join(f'zarrbench {name} {below}'.split())}<" in commands
    assert "--retry-failed" in commands
    stores = (site / "stores.html").read_text()
    for layout in {**vars(layouts), **vars(attribution_layouts)}.values():
        if isinstance(layout, layouts.Layout):
            assert f"zarrbench.{layout.name}</span>" in stores
            assert all(f'<span class="pre">{name}</span>' in stores for name in layout.variables)
    public = (site / "api/index.html").read_text()
    for name in set(zarrbench.__all__) - {"__version__"}:
        assert f'<span class="pre">{name}</span>' in public


def test_every_figure_and_statistic_is_in_the_reference() -> None:
    described = {line.split()[-1] for page in (DOCS / "api").glob("*.md")
                 for line in page.read_text().splitlines()
                 if line.startswith(".. automodule::")}  # fmt: skip
    for folder in ("figures", "statistics"):
        for path in (ROOT / "zarrbench" / folder).glob("[!_]*.py"):
            assert f"zarrbench.{folder}.{path.stem}" in described
