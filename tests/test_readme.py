"""The README is true: its Python runs, its YAML is accepted, its columns and stores are there."""

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from zarrbench.layouts import PREDICTIONS
from zarrbench.pipeline import load_pipeline
from zarrbench.stores import load_stores_recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.cluster
@pytest.mark.slow
def test_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "zarrbench", "run", "synthetic", "--limit-genes", "2"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.chdir(tmp_path)
    for source in blocks("python"):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(source, "README.md", "exec"), {})
        assert printed.getvalue().strip()


def test_slicing_takes_five_lines() -> None:
    lines = [line for line in blocks("python")[0].splitlines() if line.strip()]
    assert len(lines) == 5


def test_yaml_examples_are_accepted(tmp_path: Path) -> None:
    stores, pipeline = blocks("yaml")
    for folder, text in (("stores", stores), ("pipelines", pipeline)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.yaml").write_text(text)
    assert load_stores_recipe(tmp_path / "stores/mine.yaml").name == "mine"
    recipe = load_pipeline(tmp_path / "pipelines/mine.yaml")
    assert list(recipe.stages) == ["predict", "statistics", "report"]
    # The policies shown are said to be the defaults.
    without = yaml.safe_load(stores)
    del without["policies"]
    (tmp_path / "stores/plain.yaml").write_text(yaml.safe_dump({**without, "name": "plain"}))
    shown = load_stores_recipe(tmp_path / "stores/mine.yaml").policies
    assert shown == load_stores_recipe(tmp_path / "stores/plain.yaml").policies


def test_dims_of_the_cube_are_as_said() -> None:
    dims = ", ".join(PREDICTIONS.variables["prediction"].dims)
    assert f"`prediction ({dims})`" in README
