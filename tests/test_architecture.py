"""The shape of the package: imports run one way, Keras stays inside models, modules stay small."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import zarrbench

PACKAGE = Path(zarrbench.__file__).parent
ROOT = PACKAGE.parent

# From the ground up; a module imports from its own line or from lines above.
LAYERS = (
    ("errors",),
    ("layouts", "attribution_layouts", "provenance"),
    ("storage", "locks", "progress", "delimited", "remote"),
    ("checksums", "ledger", "recipes", "sources", "tables"),
    ("genome",),
    ("genotypes",),
    ("haplotypes",),
    ("expression", "simulation", "models", "statistics", "predictdb"),
    ("store_recipe", "stores", "clusters"),
    ("personal", "predictions", "attributions", "figures", "report", "reproduction"),
    ("parameters", "attribution_parameters"),
    ("pipeline",),
    ("stages",),
    ("exports",),
    ("cli", "export_commands", "command", "doctor", "__main__", "__init__"),
)


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def unit(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "zarrbench":
                found |= {f"zarrbench.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def level(name: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    own = level(unit(path))
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "zarrbench" and len(parts) > 1 and parts[1] != "__version__":
            assert level(parts[1]) <= own, f"{path.name} imports {name} from a higher layer"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_keras_and_tensorflow_stay_inside_models(path: Path) -> None:
    networks = {n for n in imports(path) if n.split(".")[0] in ("keras", "tensorflow", "tf_keras")}
    assert not networks or unit(path) == "models"


def test_modules_are_small_and_named() -> None:
    for path in modules():
        assert len(path.read_text().splitlines()) <= 500, f"{path} is too long: split it by noun"
        assert path.stem not in {"utils", "util", "helpers", "common", "misc", "manager"}


def test_public_names_are_importable() -> None:
    for name in zarrbench.__all__:
        assert getattr(zarrbench, name) is not None
    with pytest.raises(AttributeError):
        zarrbench.no_such_name  # noqa: B018


@pytest.mark.slow
def test_wheel_holds_recipes_and_template(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for family in ("stores", "pipelines", "cluster"):
        for path in (ROOT / family).iterdir():
            assert f"zarrbench/recipes_packaged/{family}/{path.name}" in names
    for name in ("page.html.j2", "explorer.html.j2", "explorer.css", "explorer.js"):
        assert f"zarrbench/report/{name}" in names
