"""The command line itself: what it imports, and how it ends."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import zarrbench
from zarrbench import cli, command, errors

HEAVY = ("tensorflow", "keras", "xarray", "zarr", "dask", "distributed", "sgkit", "pandas", "numpy")


def in_a_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def imported_by(done: subprocess.CompletedProcess[str]) -> set[str]:
    """Return the packages that `-X importtime` names."""
    return {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "-h"],
        ["store", "build", "--help"],
        ["model", "fetch", "-h"],
        ["reproduce", "published", "-h"],
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    shown = in_a_process("-X", "importtime", "-m", "zarrbench", *arguments)
    assert shown.returncode == 0
    assert shown.stdout.startswith("Usage: ")
    imported = imported_by(shown)
    assert "click" in imported
    assert not imported.intersection(HEAVY)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "nosuch"], r"there is no pipelines recipe 'nosuch' \(looked for .*; known: "),
        (
            ["run", "synthetic", "--cluster", "lokal"],
            r"no cluster recipe 'lokal' \(looked for .*\); did you mean 'local'",
        ),
        (["store", "check", "nosuch.yaml"], "there is no stores recipe 'nosuch.yaml'"),
    ],
)
def test_a_misspelt_name_is_refused_before_anything_heavy_is_imported(
    arguments: list[str], sentence: str
) -> None:
    refused = in_a_process("-X", "importtime", "-m", "zarrbench", *arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    said = refused.stderr.splitlines()[-1]
    assert said.startswith("zarrbench: ")
    assert re.search(sentence, said)
    assert not imported_by(refused).intersection(HEAVY)


def test_help_returns_in_under_a_second() -> None:
    times = []
    for _ in range(3):
        began = time.perf_counter()
        assert in_a_process("-m", "zarrbench", "--help").returncode == 0
        times.append(time.perf_counter() - began)
    assert min(times) < 1


def test_looking_at_stores_and_planning_need_no_network_library(tmp_path: Path) -> None:
    program = "import sys; from zarrbench.stages.status import pipeline_status; " \
        "from zarrbench.stages import run, report, statistics; " \
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"  # fmt: skip
    assert in_a_process("-c", program).stdout == "[]\n"


def test_version() -> None:
    shown = CliRunner().invoke(cli.main, ["--version"])
    assert shown.output.endswith(f"version {zarrbench.__version__}\n")


def ended_by(error: BaseException, *flags: str) -> Result:
    """Run a command that fails so."""

    @click.command()
    @command.command
    def fails() -> None:
        raise error

    return CliRunner().invoke(fails, flags)


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (errors.RecipeError("a b\n  c"), 2, "a b c"),
        (errors.StorageError("cannot write x"), 2, "cannot write x"),
        (errors.IncompleteCubeError("1 of 2"), 3, "1 of 2"),
        (
            KeyboardInterrupt(),
            130,
            "interrupted; finished work is kept: run the same command again",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            2,
            "cannot write the data folder: the disk is full; free space or choose another folder "
            "with --data, or for models ZARRBENCH_CACHE, then run the same command again: finished "
            "work is kept",
        ),
        (
            KeyError("x"),
            1,
            "unexpected KeyError: 'x'; run again with --traceback and report it",
        ),
    ],
)
def test_every_end_is_one_sentence_and_a_code(
    error: BaseException, code: int, sentence: str
) -> None:
    ended = ended_by(error)
    assert ended.exit_code == code
    assert ended.stderr == f"zarrbench: {sentence}\n"
    assert ended.stdout == ""


def test_the_traceback_is_shown_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    ended = ended_by(errors.RecipeError("wrong"), "--traceback")
    assert ended.exit_code == 2
    assert "Traceback (most recent call last)" in ended.stderr
    assert ended.stderr.endswith("zarrbench: wrong\n")


def test_click_reports_its_own_errors() -> None:
    assert ended_by(click.UsageError("wrong flag")).exit_code == 2
    assert "unexpected" not in ended_by(click.UsageError("wrong flag")).stderr
    assert "unexpected" not in ended_by(BrokenPipeError(errno.EPIPE, "Broken pipe")).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "synthetic", "--sources", "/no/such/folder"],
        ["run", "synthetic", "--data", __file__],
        ["run", "synthetic", "--limit-genes", "0"],
        ["store", "build", "synthetic", "--only", "genomes"],
        ["rnu"],
    ],
)
def test_wrong_flags(arguments: list[str]) -> None:
    ended = CliRunner().invoke(cli.main, arguments)
    assert ended.exit_code == 2
    assert "Traceback" not in ended.stderr


def test_models_are_not_written_over_other_things(tmp_path: Path) -> None:
    kept = tmp_path / "notes.txt"
    kept.write_text("kept")
    for arguments in (["random", str(tmp_path)], ["convert", "enformer", str(kept)]):
        ended = CliRunner().invoke(cli.main, ["model", *arguments])
        assert ended.exit_code == 2
        assert "exists and is no" in ended.stderr
        assert kept.read_text() == "kept"


def test_a_model_that_is_nowhere(tmp_path: Path) -> None:
    ended = CliRunner().invoke(cli.main, ["model", "check", "enfromer"])
    assert ended.exit_code == 2
    assert "there is no model 'enfromer': give a SavedModel folder" in ended.stderr


def test_a_reader_that_stops_listening_is_no_error() -> None:
    shown = subprocess.run(
        f"{sys.executable} -m zarrbench doctor | true",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert "Traceback" not in shown.stderr
    assert "unexpected" not in shown.stderr


def test_released_tables_that_were_changed_end_with_a_code_of_their_own(
    published: Path, tmp_path: Path
) -> None:
    command = ["reproduce", "published", "--tables"]
    figures = ["--figures", str(tmp_path / "new" / "figures")]
    shown = CliRunner().invoke(cli.main, [*command, str(published), *figures])
    assert shown.exit_code == 0
    assert "significant genes (Fig. 2a)" in shown.stdout
    assert f"{figures[1]}: fig_2a, fig_2c" in shown.stderr
    kinds = {path.suffix for path in Path(figures[1]).glob("fig_2a.*")}
    assert kinds == {".svg", ".pdf", ".tsv"}
    in_the_way = ["--figures", figures[1] + "/fig_2a.svg"]
    refused = CliRunner().invoke(cli.main, [*command, str(published), *in_the_way])
    assert refused.exit_code == 2
    assert "fig_2a.svg' is a file" in refused.stderr
    folder = tmp_path / "tables"
    shutil.copytree(published, folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    table = folder / "SupplementaryTable1.tsv"
    text = table.read_text()
    table.write_text(text.replace("\t0.846\t", "\t0.001\t"))
    changed = CliRunner().invoke(cli.main, [*command, str(folder), "--json"])
    assert changed.exit_code == 4
    assert json.loads(changed.stdout)["verdicts"]["differs"] > 10
    assert re.fullmatch(r"zarrbench: \d+ of \d+ verdicts are not those .*\n", changed.stderr)
    table.write_text(text.replace("RmeanRandom", "RMean"))
    lacking = CliRunner().invoke(cli.main, [*command, str(folder)])
    assert lacking.exit_code == 2
    assert lacking.stdout == ""
    assert re.fullmatch(r"zarrbench: .*should have the column 'RmeanRandom'.*\n", lacking.stderr)
    assert CliRunner().invoke(cli.main, [*command, str(tmp_path / "none")]).exit_code == 2
    assert CliRunner().invoke(cli.main, command[:2]).exit_code == 2
