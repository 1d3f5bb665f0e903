"""The README is true: its YAML is accepted, its columns are there (test_docs runs its Python)."""

import dataclasses
import json
import re
from pathlib import Path

import yaml
from click.testing import CliRunner

from zarrbench import cli
from zarrbench.layouts import PREDICTIONS
from zarrbench.models.cnn import CnnRecipe
from zarrbench.models.enformer.targets import STUDY_TRACK
from zarrbench.models.enformer_model import EnformerRecipe
from zarrbench.models.protocol import parse_model
from zarrbench.models.training import Training
from zarrbench.parameters import Expression
from zarrbench.pipeline import STAGES, load_pipeline
from zarrbench.recipes import parse
from zarrbench.store_recipe import load_stores_recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_study_is_reproduced_as_shown(published: Path) -> None:
    [line] = re.findall(r"^    zarrbench (reproduce .*)$", README, flags=re.MULTILINE)
    *command, folder = line.split()
    assert Path(folder).name == published.name
    shown = CliRunner().invoke(cli.main, [*command, str(published), "--json"])
    assert shown.exit_code == 0
    rows = json.loads(shown.stdout)["rows"]
    section = README.split("## The study's own numbers")[1].split("\n## ")[0]
    for verdict, claim in re.findall(r"^- `(\w+)`: (.*)$", section, flags=re.MULTILINE):
        given = [row for row in rows if row["verdict"] == verdict]
        assert given
        for number in re.findall(r"\b\d[\d,.]*\d\b|\b\d\b", claim):
            value, decimals = float(number.replace(",", "")), len(number.partition(".")[2])
            assert value in [round(row["recomputed"], decimals) for row in given]


def test_slicing_takes_five_lines() -> None:
    lines = [line for line in blocks("python")[0].splitlines() if line.strip()]
    assert len(lines) == 5


def test_yaml_examples_are_accepted(tmp_path: Path) -> None:
    _, _, stores, pipeline = blocks("yaml")
    for folder, text in (("stores", stores), ("pipelines", pipeline)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.yaml").write_text(text)
    assert load_stores_recipe(tmp_path / "stores/mine.yaml").name == "mine"
    recipe = load_pipeline(tmp_path / "pipelines/mine.yaml")
    why = ["attributions", "drivers"]
    assert list(recipe.stages) == ["predict", "statistics", *why, "eqtl", "report"]
    # The policies shown are said to be the defaults.
    without = yaml.safe_load(stores)
    del without["policies"]
    (tmp_path / "stores/plain.yaml").write_text(yaml.safe_dump({**without, "name": "plain"}))
    shown = load_stores_recipe(tmp_path / "stores/mine.yaml").policies
    assert shown == load_stores_recipe(tmp_path / "stores/plain.yaml").policies


def test_the_expression_example_is_accepted_and_shows_defaults() -> None:
    [line] = re.findall(r"^ +- (expression: .*)$", README, flags=re.MULTILINE)
    shown = parse(Expression, yaml.safe_load(line)["expression"], "README.md")
    assert dataclasses.replace(shown, covariates="all") == Expression(counts=True)
    assert "expression" in STAGES


def test_the_model_example_shows_defaults() -> None:
    shown = yaml.safe_load(blocks("yaml")[0])["model"]
    recipe = parse_model(shown, "README.md: model")
    assert isinstance(recipe, EnformerRecipe)
    assert recipe.tracks == (STUDY_TRACK,)
    assert recipe == EnformerRecipe(recipe.source, recipe.targets, recipe.tracks)


def test_the_cnn_example_shows_defaults() -> None:
    shown = yaml.safe_load(blocks("yaml")[1])["model"]
    recipe = parse_model(shown, "README.md: model")
    assert isinstance(recipe, CnnRecipe)
    training = Training(recipe.training.held_out, pseudocount=recipe.training.pseudocount)
    assert recipe == CnnRecipe(recipe.name, recipe.weights, training)


def test_stages_in_the_text_are_accepted() -> None:
    """Every ``- stage: {...}`` line of the README, whatever section it stands in."""
    lines = re.findall(r"^ +- (\w+: \{.*\})(?:\s+#.*)?$", README, flags=re.MULTILINE)
    shown = [next(iter(yaml.safe_load(line).items())) for line in lines]
    for name, given in shown:
        if name in STAGES:
            parse(STAGES[name], given, f"README.md: {name}")
    assert {"attributions", "drivers", "motifs", "sensitivity"} <= {name for name, _ in shown}


def test_dims_of_the_cube_are_as_said() -> None:
    dims = ", ".join(PREDICTIONS.variables["prediction"].dims)
    assert f"`prediction ({dims})`" in README
