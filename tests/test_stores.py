import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

import zarrbench
from zarrbench import stores as stores_module
from zarrbench.errors import (
    RecipeError,
    SampleError,
    SourceError,
    StorageError,
    StoreLayoutError,
    UnphasedGenotypeError,
)
from zarrbench.locks import locked
from zarrbench.provenance import plain
from zarrbench.stores import PARTS, StoreFamily, load_stores_recipe, open_stores


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything that a write would change."""
    return {
        str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.stat().st_mode, p.read_bytes())
        for p in folder.rglob("*")
        if p.is_file()
    }


@pytest.fixture(scope="module")
def master(new_cohort, tmp_path_factory) -> Path:
    """A folder with the hand-made cohort and its built stores, to be copied."""
    folder = tmp_path_factory.mktemp("master")
    cohort = new_cohort(folder)
    assert StoreFamily(cohort.recipe, folder / "data").build() == list(PARTS)
    return folder


class Place:
    """A copy of the cohort and its stores that a test may spoil."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.sources, self.data = folder, folder / "stores", folder / "data"
        self.recipe = self.sources / "toy.yaml"

    @property
    def family(self) -> StoreFamily:
        return StoreFamily(self.recipe, self.data)

    @property
    def stores(self) -> Path:
        return self.data / "stores" / "toy"

    def rewrite(self, change: Callable[[dict], object]) -> None:
        recipe = yaml.safe_load(self.recipe.read_text())
        change(recipe)
        self.recipe.write_text(yaml.safe_dump(recipe))


@pytest.fixture
def built(master: Path, tmp_path: Path) -> Place:
    shutil.copytree(master, tmp_path / "copy")
    return Place(tmp_path / "copy")


@pytest.fixture
def unbuilt(built: Place) -> Place:
    shutil.rmtree(built.data)
    return built


def test_parts_hold_what_the_files_say(built, cohort):
    family = built.family
    assert family.genotypes.samples == cohort.people
    assert family.genotypes.n_variants == len(cohort.variants)
    assert family.reference.lengths == {"chr1": 6000, "chr2": 3000, "chr3": 600}
    assert set(family.genes.gene.values) == set(cohort.genes.index)
    table = family.expression.expression.to_pandas()
    np.testing.assert_array_equal(table.to_numpy(), cohort.expression.to_numpy())
    assert list(table.columns) == list(cohort.expression.columns)
    assert family.expression.attrs["unit"] == "log2"
    assert family.truth is None
    assert sorted(p.name for p in built.stores.iterdir() if p.name != "lock") == [
        "checksums", "expression.zarr", "genes.zarr", "genotypes.vcz", "reference.zarr",
        "store.json",
    ]  # fmt: skip


def test_every_file_of_the_parts_is_vouched_for(built):
    parts = ("expression.zarr", "genes.zarr", "genotypes.vcz", "reference.zarr")
    files = [p for part in parts for p in (built.stores / part).rglob("*") if p.is_file()]
    assert built.family.verify() == (len(files), {})
    damaged = {}
    for part in parts:
        last = max(p for p in files if p.is_relative_to(built.stores / part))
        content = last.read_bytes()
        last.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        damaged[last.relative_to(built.stores).as_posix()] = "altered"
    # the chunk of calls that a reader would take for no calls at all
    lost = next(
        p
        for p in files
        if p.parent.name != "c" and "call_genotype" in p.parts and p.name[0] in "0."
    )
    lost.unlink()
    damaged[lost.relative_to(built.stores).as_posix()] = "missing"
    assert built.family.verify() == (len(files), damaged)


def test_facts_say_from_what(built):
    facts = built.family.facts()
    assert list(facts) == list(PARTS)
    for part, file in zip(
        PARTS, ("reference.fa", "cohort.vcf.gz", "genes.tsv", "expression.tsv"), strict=True
    ):
        content = (built.sources / file).read_bytes()
        assert facts[part]["files"] == {
            file: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        }
        assert facts[part]["provenance"]["versions"]["zarrbench"] == zarrbench.__version__
    assert built.family.policies() == plain(built.family.recipe.policies)
    assert facts["genotypes"]["checks"]["n_samples"] == 23
    assert facts["genotypes"]["checks"]["n_missing_calls"] > 0
    assert facts["genes"]["checks"] == {"genes": 10, "left_out_contig": 0}
    assert facts["reference"]["checks"]["contigs"]["chr3"] == 600
    assert facts["expression"]["checks"]["gene"] == 10
    assert facts["expression"]["checks"]["sample"] == 21
    assert facts["expression"]["checks"]["missing_values"] == 21 + 3
    json.dumps(facts)


def test_check_again(built):
    family = built.family
    assert family.check() == family.facts()["genotypes"]["checks"]


def test_nothing_is_built_twice(built):
    before = state(built.data)
    assert built.family.build() == []
    assert state(built.data) == before


def test_one_part_after_the_other(unbuilt):
    for part in PARTS:
        assert unbuilt.family.build([part]) == [part]
    assert unbuilt.family.build() == []


def test_genotypes_need_the_reference(unbuilt):
    with pytest.raises(StoreLayoutError, match=r"the reference store of 'toy' is not built .*store "
                       r"build .*toy\.yaml"):  # fmt: skip
        unbuilt.family.build(["genotypes"])
    assert unbuilt.family.facts() == {}


@pytest.mark.parametrize("part", PARTS)
def test_what_is_not_built_says_so(unbuilt, part):
    with pytest.raises(StoreLayoutError, match=f"the (reference|{part}) store of 'toy' is not"):
        getattr(unbuilt.family, part)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda r: r["genotypes"].update(regions=["chr1"]),
            r'genotypes store .*regions: .*\["chr1"\]',
        ),
        (lambda r: r["reference"].update(contigs=["chr1", "chr2"]), "reference .*contigs"),
        (lambda r: r["expression"].update(unit="TPM"), 'expression .*unit: "log2" -> "TPM"'),
        (lambda r: r.update(policies={"unphased": "keep_order"}), "genotypes .*unphased"),
        (lambda r: r.update(policies={"max_ref_mismatch": 2}), "max_ref_mismatch: 0 -> 2"),
        (lambda r: r["genes"].update(source="genes2.tsv"), r"genes .*genes2\.tsv"),
    ],
)
def test_a_changed_recipe_is_refused_naming_the_field(built, change, message):
    shutil.copy(built.sources / "genes.tsv", built.sources / "genes2.tsv")
    built.rewrite(change)
    before = state(built.stores)
    with pytest.raises(RecipeError, match=f"{message}.*--overwrite"):
        built.family.build()
    assert state(built.stores) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update(description="other words"),
        lambda r: r.update(policies={"missing": "zeros", "beyond_contig": "pad"}),
        lambda r: r["genes"].update(source={"file": "genes.tsv", "size": 1}),
    ],
    ids=["description", "policies of the prediction", "how a file is fetched"],
)
def test_changes_that_do_not_matter(built, change):
    built.rewrite(change)
    assert built.family.build() == []


def test_a_changed_file_is_refused_naming_it(built):
    path = built.sources / "genes.tsv"
    text = path.read_text()
    path.write_text(text + "\n")
    with pytest.raises(RecipeError, match=rf"genes\.tsv: {len(text)} -> {len(text) + 1} bytes"):
        built.family.build()
    path.write_text(text.replace("QUIET", "LOUD!"))
    with pytest.raises(RecipeError, match=r"genes\.tsv: other content of the same size"):
        built.family.build()
    path.write_text(text)  # written again, and the same: only its time differs
    assert built.family.build() == []


def test_overwrite_builds_from_the_changed_file(built):
    family = built.family
    assert "QUIET" in family.genes.gene_name.values
    path = built.sources / "genes.tsv"
    path.write_text(path.read_text().replace("QUIET", "LOUD!"))
    table = built.sources / "expression.tsv"
    table.write_text(table.read_text().replace("X1", "X7"))
    assert "X1" in family.expression["sample"].values
    assert family.build(["genes", "expression"], overwrite=True) == ["genes", "expression"]
    # also through the object that had read the ones before
    assert "LOUD!" in family.genes.gene_name.values
    assert "X7" in family.expression["sample"].values
    assert built.family.build() == []


def test_a_new_reference_takes_along_what_was_checked_against_the_old(built):
    before = built.family.facts()["genotypes"]["provenance"]
    shutil.rmtree(built.stores / "reference.zarr")
    assert built.family.build() == ["reference", "genotypes", "genes"]
    assert built.family.build(["reference"], overwrite=True) == ["reference"]
    assert set(built.family.facts()) == {"reference", "expression"}
    assert built.family.build() == ["genotypes", "genes"]
    assert set(built.family.facts()["genotypes"]["provenance"]) == set(before)


def test_a_part_that_was_removed_is_built_again(built):
    shutil.rmtree(built.stores / "expression.zarr")
    assert built.family.build() == ["expression"]


def test_a_family_that_was_never_complete_follows_its_recipe(unbuilt):
    unbuilt.family.build(["reference", "genes"])
    unbuilt.rewrite(lambda r: r["reference"].update(contigs=["chr2", "chr1"]))
    assert unbuilt.family.build() == list(PARTS)
    assert list(unbuilt.family.reference.lengths) == ["chr2", "chr1"]


def test_sources_may_go_after_building(built):
    for file in built.sources.iterdir():
        if file != built.recipe:
            file.unlink()
    assert built.family.build() == []
    assert built.family.genotypes.n_variants > 0
    assert built.family.check()["n_samples"] == 23
    with pytest.raises(SourceError, match=r"'genes\.tsv' was not found .*--sources DIR"):
        built.family.build(["genes"], overwrite=True)
    assert built.family.genes.sizes["gene"] == 10


def test_the_data_folder_may_be_moved(built, tmp_path):
    moved = shutil.move(built.data, tmp_path / "elsewhere")
    family = StoreFamily(built.recipe, moved)
    assert family.build() == []
    assert family.genotypes.path.is_relative_to(tmp_path / "elsewhere")
    assert family.genes.sizes["gene"] == 10


def test_sources_are_found_in_the_given_folder_first(built, tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    shutil.move(built.sources / "genes.tsv", given / "genes.tsv")
    family = StoreFamily(built.recipe, tmp_path / "other", given)
    before = state(given)
    assert family.build() == list(PARTS)
    assert state(given) == before


def test_identity_is_that_of_the_content(built, tmp_path):
    identity = built.family.identity()
    assert set(identity) == {"genotypes", "reference"}
    other = StoreFamily(built.recipe, tmp_path / "other")
    other.build(["reference", "genotypes"])
    assert other.identity() == identity
    built.rewrite(lambda r: r["genotypes"].update(regions=["chr1", "chr2"]))
    third = StoreFamily(built.recipe, tmp_path / "third")
    third.build(["reference", "genotypes"])
    assert third.identity() != identity


def test_chosen_samples(unbuilt):
    (unbuilt.sources / "chosen.txt").write_text("# some\nP05\nP02\n\nP20\n")
    unbuilt.rewrite(lambda r: r["genotypes"].update(samples="chosen.txt"))
    unbuilt.family.build()
    assert sorted(unbuilt.family.genotypes.samples) == ["P02", "P05", "P20"]
    assert "chosen.txt" in unbuilt.family.facts()["genotypes"]["files"]
    (unbuilt.sources / "chosen.txt").write_text("P05\n")
    with pytest.raises(RecipeError, match=r"chosen\.txt: .* bytes"):
        unbuilt.family.build()


@pytest.mark.parametrize("content", ["", "# nobody\n\n"])
def test_an_empty_sample_list(unbuilt, content):
    (unbuilt.sources / "chosen.txt").write_text(content)
    unbuilt.rewrite(lambda r: r["genotypes"].update(samples="chosen.txt"))
    with pytest.raises(SourceError, match=r"the sample list .*chosen\.txt is empty"):
        unbuilt.family.build()


def test_genotypes_that_fail_their_check_are_not_kept(unbuilt):
    import pysam

    plain = unbuilt.sources / "cohort.vcf"
    with pysam.BGZFile(str(plain) + ".gz") as packed:
        text = packed.read().decode()
    os.remove(f"{plain}.gz")
    plain.write_text(text.replace("0|1", "0/1"))
    pysam.tabix_index(str(plain), preset="vcf", force=True)
    with pytest.raises(UnphasedGenotypeError) as raised:
        unbuilt.family.build()
    # the sentence names the file that can be corrected, not the store that is gone
    assert f"the VCF file {plain}.gz has" in str(raised.value)
    assert "genotypes.vcz" not in str(raised.value)
    assert not (unbuilt.stores / "genotypes.vcz").exists()
    assert set(unbuilt.family.facts()) == {"reference"}
    unbuilt.rewrite(lambda r: r.update(policies={"unphased": "keep_order"}))
    assert unbuilt.family.build() == ["genotypes", "genes", "expression"]
    assert unbuilt.family.facts()["genotypes"]["checks"]["n_unphased_heterozygous"] > 0


def test_expression_of_other_people(unbuilt):
    table = unbuilt.sources / "expression.tsv"
    table.write_text(table.read_text().replace("P", "Q"))
    with pytest.raises(SampleError, match="no individual has both"):
        unbuilt.family.build()
    assert not (unbuilt.stores / "expression.zarr").exists()
    assert set(unbuilt.family.facts()) == {"reference", "genotypes", "genes"}


def test_a_build_that_is_killed_is_continued(unbuilt, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*args: object, **kwargs: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(stores_module, "read_genes", kill)
        with pytest.raises(Killed):
            unbuilt.family.build()
    assert set(unbuilt.family.facts()) == {"reference", "genotypes"}
    assert unbuilt.family.build() == ["genes", "expression"]


def test_two_builds_at_once(unbuilt, built):
    with (
        locked(unbuilt.stores),
        pytest.raises(StorageError, match="another zarrbench is writing to"),
    ):
        unbuilt.family.build()
    assert unbuilt.family.build() == list(PARTS)
    with locked(unbuilt.stores):  # nothing to do needs nobody to wait
        assert unbuilt.family.build() == []


class TestVcfZarr:
    """A store that someone else made is used where it lies, and never touched."""

    @pytest.fixture
    def place(self, built: Place) -> Place:
        shutil.move(built.stores / "genotypes.vcz", built.sources / "theirs.vcz")
        shutil.rmtree(built.data)
        built.rewrite(lambda r: r.update(genotypes={"source": "theirs.vcz"}))
        return built

    def test_it_is_used_in_place(self, place, cohort):
        before = state(place.sources)
        family = place.family
        assert family.build() == list(PARTS)
        assert family.genotypes.path == place.sources / "theirs.vcz"
        assert not (place.stores / "genotypes.vcz").exists()
        assert family.genotypes.samples == cohort.people
        assert family.check() == family.facts()["genotypes"]["checks"]
        assert place.family.build() == []
        assert place.family.build(overwrite=True) == list(PARTS)
        assert state(place.sources) == before

    def test_it_is_left_alone_when_its_check_fails(self, place):
        import zarr

        group = zarr.open_group(place.sources / "theirs.vcz", mode="r+")
        group["call_genotype_phased"][:] = False
        before = state(place.sources)
        with pytest.raises(UnphasedGenotypeError, match=r"theirs\.vcz"):
            place.family.build()
        assert state(place.sources) == before
        assert set(place.family.facts()) == {"reference"}

    def test_a_changed_store_is_refused(self, place):
        import zarr

        place.family.build()
        group = zarr.open_group(place.sources / "theirs.vcz", mode="r+")
        group["call_genotype"][0] = 1 - group["call_genotype"][0].clip(0, 1)
        with pytest.raises(RecipeError, match=r"theirs\.vcz: files in it were changed"):
            place.family.build()

    def test_it_cannot_be_filtered(self, place):
        place.rewrite(lambda r: r["genotypes"].update(regions=["chr1"]))
        with pytest.raises(RecipeError, match="used as it is; remove 'regions' and 'samples'"):
            place.family.build()

    def test_its_place_may_be_absolute(self, place, tmp_path):
        theirs = shutil.move(place.sources / "theirs.vcz", tmp_path / "far.vcz")
        place.rewrite(lambda r: r.update(genotypes={"source": str(theirs)}))
        place.family.build()
        moved = shutil.move(place.data, tmp_path / "moved")
        assert StoreFamily(place.recipe, moved).genotypes.path == theirs


class TestSimulated:
    """Stores that make their sources themselves."""

    @pytest.fixture
    def recipe(self, tmp_path) -> Path:
        path = tmp_path / "stores" / "made.yaml"
        path.parent.mkdir()
        path.write_text(
            "name: made\n"
            "simulate: {seed: 3, individuals: 30, contigs: {chr1: 60_000, chr2: 40_000}, genes: 6,"
            " flank: 512, min_maf: 0.1}\n"
            "genotypes: {source: cohort.vcf.gz}\n"
            "reference: {source: reference.fa}\n"
            "genes: {source: genes.gtf}\n"
            "expression: {source: expression.tsv}\n"
            "truth: truth.tsv\n"
        )
        return path

    def test_from_the_seed_to_the_truth(self, recipe, tmp_path):
        family = StoreFamily(recipe, tmp_path / "data")
        assert family.build() == list(PARTS)
        assert family.build() == []
        assert set(family.truth.index) == set(family.genes.gene.values)
        assert set(family.truth.planted_sign) <= {-1, 0, 1}
        facts = family.facts()
        # without its sources the cohort is made again, the same from the seed
        shutil.rmtree(family.folder / "sources")
        shutil.rmtree(family.folder / "genes.zarr")
        assert family.build() == ["genes"]
        assert family.facts()["genes"]["files"] == facts["genes"]["files"]
        other = tmp_path / "made.yaml"
        other.write_text(recipe.read_text().replace("flank:", "heritability: 0.5, flank:"))
        changed = StoreFamily(other, tmp_path / "data")
        with pytest.raises(RecipeError, match=r"simulate\.heritability: 0\.35 -> 0\.5"):
            changed.build()
        assert changed.build(overwrite=True) == list(PARTS)
        assert changed.facts()["genes"]["files"] == facts["genes"]["files"]
        assert changed.facts()["expression"]["files"] != facts["expression"]["files"]


def test_a_damaged_manifest(built):
    (built.stores / "store.json").write_text('{"format_version": 1, "gen')
    with pytest.raises(StoreLayoutError, match=r"store\.json is damaged"):
        built.family.facts()
    (built.stores / "store.json").write_text('{"format_version": 7}')
    with pytest.raises(StoreLayoutError, match="format version 7, this zarrbench reads version 1"):
        built.family.build()


def test_open_stores(built, monkeypatch):
    by_file = open_stores(built.recipe, built.data)
    xr.testing.assert_identical(by_file.genes, built.family.genes)
    monkeypatch.chdir(built.folder)
    assert open_stores("stores/toy.yaml").genes.sizes["gene"] == 10
    with pytest.raises(RecipeError, match="did you mean 'synthetic'"):
        open_stores("synthetik", built.data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.pop("genes"), "genes"),
        (lambda r: r.update(genotype=r.pop("genotypes")), "'genotype'; did you mean 'genotypes'"),
        (lambda r: r.update(name="../toy"), "name of a folder"),
        (lambda r: r["expression"].update(source={"file": "x", "url": "https://x/y"}), "sha256"),
        (lambda r: r.update(policies={"missing": "guess"}), "'guess' is not a choice"),
    ],
)
def test_recipes_that_are_refused(unbuilt, change, message):
    unbuilt.rewrite(change)
    with pytest.raises(RecipeError, match=message):
        load_stores_recipe(unbuilt.recipe)


def test_a_recipe_is_frozen(built):
    with pytest.raises(dataclasses.FrozenInstanceError):
        built.family.recipe.name = "other"
