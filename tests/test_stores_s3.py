"""Stores whose genotypes are a VCF Zarr on S3, and a whole run with them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
import zarr

from zarrbench.errors import RecipeError, SourceError, StoreLayoutError, UnphasedGenotypeError
from zarrbench.stores import PARTS, StoreFamily

pytestmark = pytest.mark.network


class Place:
    """The hand-made cohort with its genotypes in the bucket, for one test to spoil."""

    def __init__(self, s3, folder: Path, local: StoreFamily) -> None:
        self.s3, self.name = s3, f"{folder.name}.vcz"
        self.url = s3.put(local.part_path("genotypes"), self.name)
        self.recipe, self.data = folder / "stores" / "toy.yaml", folder / "data"
        shutil.copytree(local.recipe_file.parent, self.recipe.parent)
        self.rewrite(lambda r: r.update(genotypes={"source": self.url}))

    def rewrite(self, change: Callable[[dict], object]) -> None:
        recipe = yaml.safe_load(self.recipe.read_text())
        change(recipe)
        self.recipe.write_text(yaml.safe_dump(recipe))

    @property
    def family(self) -> StoreFamily:
        return StoreFamily(self.recipe, self.data)

    @property
    def folder(self) -> Path:
        return self.data / "stores" / "toy"


@pytest.fixture
def place(s3, family, tmp_path) -> Place:
    return Place(s3, tmp_path, family)


def test_it_is_used_where_it_lies(place, family, tmp_path):
    mine = place.family
    assert mine.build() == list(PARTS)
    assert mine.genotypes.path == mine.genotypes_path == place.url
    assert mine.genotypes.samples == family.genotypes.samples
    facts = mine.facts()["genotypes"]
    assert facts["path"] == place.url
    assert facts["checks"] == family.facts()["genotypes"]["checks"] == mine.check()
    assert not (place.folder / "genotypes.vcz").exists()
    assert not list(place.folder.rglob("*s3*"))
    assert place.family.build() == []
    assert place.family.build(overwrite=True) == list(PARTS)
    assert place.family.identity() == mine.identity()
    moved = StoreFamily(place.recipe, Path(shutil.move(place.data, tmp_path / "moved")))
    assert moved.build() == []
    assert moved.genotypes.n_variants == family.genotypes.n_variants


def test_only_other_content_is_a_change(place, s3):
    place.family.build()
    before = place.family.identity()
    key = f"{place.name}/call_genotype/0.0.0"
    content = s3.client.get_object(Bucket=s3.bucket, Key=key)["Body"].read()
    s3.client.put_object(Bucket=s3.bucket, Key=key, Body=content)
    assert place.family.build() == []
    s3.client.put_object(Bucket=s3.bucket, Key=key, Body=content[:-1] + b"!")
    with pytest.raises(RecipeError, match=rf"{place.url}: files in it were changed.*--overwrite"):
        place.family.build()
    s3.client.put_object(Bucket=s3.bucket, Key=key, Body=content)
    s3.client.put_object(Bucket=s3.bucket, Key=f"{place.name}/call_genotype/9.0.0", Body=b"")
    with pytest.raises(RecipeError, match=rf"{place.url}: files in it were changed"):
        place.family.build()
    s3.client.delete_object(Bucket=s3.bucket, Key=f"{place.name}/call_genotype/9.0.0")
    assert place.family.build() == []
    assert place.family.identity() == before


def test_a_store_that_is_gone(place, s3):
    place.family.build()
    listed = s3.client.list_objects_v2(Bucket=s3.bucket, Prefix=place.name)["Contents"]
    s3.client.delete_objects(
        Bucket=s3.bucket, Delete={"Objects": [{"Key": item["Key"]} for item in listed]}
    )
    with pytest.raises(SourceError, match=rf"{place.url} cannot be read: nothing is there; correc"):
        place.family.build()


def test_a_store_that_fails_its_check_is_left_alone(place, family, s3, tmp_path):
    theirs = shutil.copytree(family.part_path("genotypes"), tmp_path / "theirs.vcz")
    zarr.open_group(theirs, mode="r+")["call_genotype_phased"][:] = False
    url = s3.put(theirs, "unphased.vcz")
    place.rewrite(lambda r: r["genotypes"].update(source=url))
    with pytest.raises(UnphasedGenotypeError, match=f"the genotype store {url} has .* at chr1:"):
        place.family.build()
    assert set(place.family.facts()) == {"reference"}


@pytest.mark.parametrize("key", ["regions", "samples"])
def test_it_cannot_be_filtered(place, s3, key):
    place.family.build(["reference"])
    value = {"regions": ["chr1"], "samples": "people.txt"}[key]
    place.rewrite(lambda r: r["genotypes"].update({key: value}))
    s3.requests.clear()
    with pytest.raises(RecipeError, match="used as it is; remove 'regions' and 'samples'"):
        place.family.build()
    assert not s3.requests


def test_only_vcf_zarr_may_be_remote(place, family, s3):
    vcf = family.recipe_file.parent / "cohort.vcf.gz"
    s3.client.upload_file(str(vcf), s3.bucket, "cohort.vcf.gz")
    place.rewrite(lambda r: r["genotypes"].update(source=f"s3://{s3.bucket}/cohort.vcf.gz"))
    with pytest.raises(
        StoreLayoutError, match=r"a VCF must be downloaded, or converted .*vcf2zarr"
    ):
        place.family.build()
    place.rewrite(lambda r: r["reference"].update(source=f"s3://{s3.bucket}/reference.fa"))
    with pytest.raises(SourceError, match=r"reference\.fa is a URL, .*download it and give its pa"):
        place.family.build(overwrite=True)
    place.rewrite(lambda r: r["genotypes"].update(source={"file": place.url, "size": 9}))
    with pytest.raises(RecipeError, match="is a URL, which is read where it lies: it takes no url"):
        place.family.build()


SYNTHETIC = """\
name: {name}
stores: {stores}
model: {{kind: motif, input_length: 1024}}
stages:
  - predict: {{readout: {{kind: sum_log}}, block_size: 25}}
  - statistics: {{track: expression, null_test: {{draws: 50, window: 5000}}}}
  - report: {{}}
"""

STORES = """\
name: {name}
genotypes: {{source: {genotypes}}}
reference: {{source: reference.fa}}
genes: {{source: genes.gtf}}
expression: {{source: expression.tsv}}
truth: truth.tsv
"""


@pytest.mark.cluster
@pytest.mark.slow
def test_a_whole_run_in_processes(s3, tmp_path):
    """Spawned workers read the genotypes on S3 and give the very numbers of a local store."""
    simulated = STORES.format(name="local", genotypes="cohort.vcf.gz") + (
        "simulate: {seed: 3, individuals: 40, contigs: {chr1: 60_000, chr2: 40_000}, genes: 4,"
        " flank: 512, min_maf: 0.1}\n"
    )
    for folder in ("stores", "pipelines", "cluster"):
        (tmp_path / folder).mkdir()
    (tmp_path / "stores/local.yaml").write_text(simulated)
    (tmp_path / "cluster/two.yaml").write_text("name: two\nprocesses: 2\n")
    for name in ("local", "remote"):
        recipe = SYNTHETIC.format(name=name, stores=name)
        (tmp_path / f"pipelines/{name}.yaml").write_text(recipe)

    def run(name: str, *flags: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "zarrbench", "run", f"pipelines/{name}.yaml", *flags]
        command += ["--cluster", "cluster/two.yaml", "--data", "data", "--json"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    local = run("local")
    assert local.returncode == 0, local.stderr
    stores = tmp_path / "data/stores/local"
    url = s3.put(stores / "genotypes.vcz", "simulated.vcz")
    recipe = STORES.format(name="remote", genotypes=url)
    (tmp_path / "stores/remote.yaml").write_text(recipe)
    s3.requests.clear()
    remote = run("remote", "--sources", str(stores / "sources"))
    assert remote.returncode == 0, remote.stderr
    assert "Unclosed" not in remote.stderr
    assert any("call_genotype/" in key for key in s3.read("simulated.vcz"))
    mine, theirs = (zarr.open_group(tmp_path / "data" / n / "predictions.zarr", mode="r")
                    for n in ("remote", "local"))  # fmt: skip
    assert (mine["prediction"][:] == theirs["prediction"][:]).all()
    tables = [(tmp_path / "data" / n / "genes.tsv").read_text() for n in ("remote", "local")]
    assert tables[0] == tables[1]
    assert json.loads(remote.stdout)["genes"] == 4
    with s3.refusing():
        refused = run("remote", "--sources", str(stores / "sources"))
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert f"{url} cannot be read" in refused.stderr
