"""The commands as somebody types them."""

import json

import anndata
import pytest
from click.testing import CliRunner, Result

from zarrbench.cli import main


@pytest.fixture
def typed(finished, monkeypatch):
    """Run a command of the finished pipeline, whatever pipeline is named."""
    monkeypatch.setattr("zarrbench.export_commands.open_workspace", lambda *_: finished)

    def run(*words: object) -> Result:
        return CliRunner().invoke(main, ["export", *map(str, words)])

    return run


def test_tables(typed, tmp_path):
    done = typed("tables", "synthetic", tmp_path / "out", "--format", "parquet", "--table", "genes",
                 "--table", "predictions", "--json")  # fmt: skip
    assert done.exit_code == 0
    facts = json.loads(done.stdout)
    assert [*facts["rows"]] == ["genes"]
    assert [*facts["not_written"]] == ["predictions"]
    assert (tmp_path / "out" / "genes.parquet").is_file()
    again = typed("tables", "synthetic", tmp_path / "out")
    assert (again.exit_code, again.stdout) == (2, "")
    assert again.stderr.startswith(f"zarrbench: {tmp_path / 'out'} is there; name a new folder")
    assert len(again.stderr.splitlines()) == 1
    everything = typed("tables", "synthetic", tmp_path / "out", "--overwrite", "--individuals")
    assert "predictions" in everything.stdout
    assert (tmp_path / "out" / "related_pairs.tsv").is_file()


def test_anndata(typed, tmp_path):
    done = typed("anndata", "synthetic", tmp_path / "cube.h5ad", "--track", "T0")
    assert done.exit_code == 0
    assert "holds ids and predictions of people" in done.stderr.splitlines()[-1]
    assert "ids" not in done.stdout
    assert anndata.read_h5ad(tmp_path / "cube.h5ad").uns["zarrbench"]["X"] == "T0"


def test_vcf(typed, tmp_path):
    done = typed("vcf", "synthetic", tmp_path / "study.vcf.gz", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["records"] > 20
    assert json.loads(done.stdout)["sites_of_few"] > 0
    assert (tmp_path / "study.vcf.gz.tbi").is_file()
