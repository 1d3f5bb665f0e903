import dataclasses
import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import LocalStore, WrapperStore

import zarrbench
from zarrbench import ledger
from zarrbench.errors import IncompleteCubeError, RecipeError, StorageError, StoreLayoutError
from zarrbench.genome.genes import sel_gene
from zarrbench.models.protocol import Track
from zarrbench.predictions import cube as cube_module
from zarrbench.predictions.cube import (
    Frame,
    check_recipe,
    create_cube,
    done_shards,
    finish_cube,
    finished_genes,
    numbers_hash,
    open_cube,
    read_recipe,
    sel_track,
)
from zarrbench.predictions.grid import Block, Grid, Storage, blocks
from zarrbench.predictions.shards import write_shard
from zarrbench.provenance import fingerprint
from zarrbench.storage import quiet_zarr

GENES = xr.Dataset(
    coords={
        "gene": ("gene", np.array([f"ENSG{i:011d}" for i in (7, 3, 5, 1)], dtype=object)),
        "gene_name": ("gene", np.array(["Y_RNA", "GSTM3", "Y_RNA", "DDX11"], dtype=object)),
        "contig": ("gene", np.array(["chr1", "chr1", "chr2", "chr10"], dtype=object)),
        "tss": ("gene", np.array([10, 2_000, 30, 400])),
        "strand": ("gene", np.array(["+", "-", "+", "+"], dtype=object)),
        "biotype": ("gene", np.array(["misc_RNA"] * 4, dtype=object)),
    }
)
TRACKS = (Track("F5:1", "CAGE:brain"), Track("F5:2", "CAGE:liver"), Track("D:1", "CAGE:brain"))
RECIPE = {"predict": {"block_size": 2}, "genes": {"n": 4, "sha256": "abc"}, "model": {"name": "m"},
          "individuals": {"n": 5, "sha256": "def"}}  # fmt: skip


def tracks(n: int) -> list[Track]:
    return [Track(f"T{i}", f"track {i // 2}") for i in range(n)]


def people(n: int) -> list[str]:
    return [f"NA{i:05d}" for i in range(n)]


def new_cube(path: Path, n_genes=4, n_people=5, of=TRACKS, block_size=2, readouts=("prediction",)):
    genes = GENES.isel(gene=slice(n_genes))
    versions = {"zarr": zarr.__version__}
    grid = Grid(block_size, min(64, len(of)))
    frame = Frame(genes, people(n_people), of, readouts, None, grid, Storage(), RECIPE)
    create_cube(path, frame, versions)
    return path


def put(path: Path, gene: int, block: Block, predictions: dict, references: dict) -> dict[str, str]:
    """Write one shard; return the checksums."""
    sums, sizes = write_shard(path, gene, block, predictions, references, Storage())
    assert sizes == {key: (path / key).stat().st_size for key in sums}
    return sums


def write(path: Path, gene: int, block: Block, values: np.ndarray) -> dict[str, str]:
    """Write one shard of a whole cube (gene, individual, 2, track) given as an array."""
    part = {"prediction": values[gene, block.start : block.stop]}
    return put(path, gene, block, part, {"prediction": values[gene, 0, 0]})


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def entry(gene: str, block: int, state: str = "done") -> ledger.Entry:
    n_people = 1 if block == 2 else 2  # of five, in blocks of two
    return ledger.Entry(
        gene, block, state, numbers_hash(RECIPE), "2026-01-01T00:00:00Z", individuals=n_people
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "predictions.zarr"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A finished cube of 4 genes, 5 people in blocks of 2, and 130 tracks; and what is in it."""
    path = new_cube(tmp_path_factory.mktemp("filled") / "predictions.zarr", of=tracks(130))
    values = numbers(4, 5, 2, 130)
    for gene in range(4):
        for block in blocks(5, 2):
            write(path, gene, block, values)
    finish_cube(path)
    return path, values


@pytest.fixture
def no_computing():
    """Let any computation by Dask fail."""

    def refuse(*args, **kwargs):
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        yield


@pytest.mark.parametrize(
    ("n", "size", "expected"),
    [
        (5, 2, [(0, 2), (2, 4), (4, 5)]),
        (5, 9, [(0, 5)]),
        (4, 2, [(0, 2), (2, 4)]),
        (1, 1, [(0, 1)]),
    ],
)
def test_blocks(n, size, expected):
    assert blocks(n, size) == [Block(k, *ends) for k, ends in enumerate(expected)]


def test_plain_xarray_opens_it_labelled_lazily_and_without_a_warning(filled, no_computing):
    path, _ = filled
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cube = xr.open_zarr(path)
        picked = cube.prediction.sel(gene="ENSG00000000005", track="T129", individual="NA00003")
        over_genes = cube.prediction.sel(track="T7").mean("haplotype")
    assert picked.dims == ("haplotype",)
    assert picked.chunks is not None
    assert over_genes.dims == ("gene", "individual")
    assert over_genes.chunks is not None


def test_coordinates_are_those_promised(path):
    cube = xr.open_zarr(new_cube(path))
    assert cube.prediction.dims == ("gene", "individual", "haplotype", "track")
    assert cube.prediction.dtype == cube.reference_prediction.dtype == np.float32
    assert cube.prediction.shape == (4, 5, 2, 3)
    for name in ("gene", "gene_name", "contig", "tss", "strand"):
        assert cube[name].values.tolist() == GENES[name].values.tolist()
    assert "biotype" not in cube.variables
    assert cube.individual.values.tolist() == people(5)
    assert cube.haplotype.values.tolist() == [0, 1]
    assert cube.track.values.tolist() == ["F5:1", "F5:2", "D:1"]
    assert cube.track_description.values.tolist() == ["CAGE:brain", "CAGE:liver", "CAGE:brain"]
    assert cube.track_index.values.tolist() == [0, 1, 2]
    assert {name: index.is_unique for name, index in cube.indexes.items()} == {
        "gene": True, "individual": True, "haplotype": True, "track": True
    }  # fmt: skip
    assert all(v.attrs["description"] for v in cube.variables.values())
    assert cube.prediction.isnull().all()


def test_strings_are_of_variable_length(path):
    new_cube(path)
    for name in ("gene", "gene_name", "contig", "strand", "individual", "track",
                 "track_description"):  # fmt: skip
        described = json.loads((path / name / "zarr.json").read_text())
        assert described["data_type"] == "string"


def test_attributes(path):
    new_cube(path)
    attributes = xr.open_zarr(path).attrs
    assert attributes["format"] == "zarrbench.predictions"
    assert attributes["format_version"] == 1
    assert json.loads(attributes["recipe"]) == read_recipe(path) == RECIPE
    assert attributes["recipe_hash"] == fingerprint(RECIPE)
    assert attributes["versions"] == {"zarr": zarr.__version__}
    assert attributes["block_size"] == 2
    assert attributes["complete"] is False


@pytest.mark.parametrize(
    ("n_tracks", "n_people", "block_size"),
    [(1, 5, 2), (3, 7, 7), (64, 5, 2), (65, 1, 1), (65, 5, 2), (130, 7, 3), (5313, 5, 2)],
)
def test_a_shard_is_its_own_objects_and_no_others(path, n_tracks, n_people, block_size):
    new_cube(path, 2, n_people, tracks(n_tracks), block_size, ("prediction", "prediction_raw"))
    values = numbers(2, n_people, 2, n_tracks)
    for gene in (1, 0):
        for block in reversed(blocks(n_people, block_size)):
            before = files(path)
            part = values[gene, block.start : block.stop]
            reference = values[gene, 0, 0]
            both = {"prediction": part, "prediction_raw": 2 * part}
            references = {"prediction": reference, "prediction_raw": 2 * reference}
            sums = put(path, gene, block, both, references)
            after = files(path)
            assert {name for name in after if after[name] != before.get(name)} == set(sums)
            expected = {f"prediction{s}/c.{gene}.{block.number}.0.0" for s in ("", "_raw")}
            if block.number == 0:
                expected |= {f"reference_prediction{s}/c.{gene}.0" for s in ("", "_raw")}
            assert set(sums) == expected
            for key, checksum in sums.items():
                assert hashlib.blake2b(after[key], digest_size=16).hexdigest() == checksum
    cube = xr.open_zarr(path)
    np.testing.assert_array_equal(cube.prediction, values)
    np.testing.assert_array_equal(cube.prediction_raw, 2 * values)
    np.testing.assert_array_equal(cube.reference_prediction, values[:, 0, 0])
    np.testing.assert_array_equal(cube.reference_prediction_raw, 2 * values[:, 0, 0])


def test_chosen_tracks_keep_their_column_of_the_model(path):
    new_cube(path, of=(Track("B", index=4980), Track("A", index=17)))
    assert open_cube(path, incomplete="nan").track_index.values.tolist() == [4980, 17]


@pytest.mark.parametrize(("n_bins", "n_tracks"), [(1, 3), (3, 1), (3, 65), (2, 130)])
def test_a_shard_with_bins_is_one_object_more(path, n_bins, n_tracks):
    grid = Grid(2, min(64, n_tracks))
    bins = range(7, 7 + n_bins)
    frame = Frame(GENES, people(5), tracks(n_tracks), ["prediction"], bins, grid, Storage(), RECIPE)
    create_cube(path, frame, {})
    values = numbers(4, 5, 2, n_bins, n_tracks)
    for gene in range(4):
        for block in blocks(5, 2):
            part, reference = values[gene, block.start : block.stop], values[gene, 0, 0]
            sums = put(path, gene, block, {"prediction": part[:, :, 0], "output": part},
                       {"prediction": reference[0], "output": reference})  # fmt: skip
            expected = {f"prediction/c.{gene}.{block.number}.0.0",
                        f"output/c.{gene}.{block.number}.0.0.0"}  # fmt: skip
            if block.number == 0:
                expected |= {f"reference_prediction/c.{gene}.0", f"reference_output/c.{gene}.0.0"}
            assert set(sums) == expected
            for key, checksum in sums.items():
                found = hashlib.blake2b((path / key).read_bytes(), digest_size=16).hexdigest()
                assert found == checksum
    assert len(list((path / "output").glob("c.*"))) == 4 * 3
    cube = open_cube(path, incomplete="nan")
    assert cube.bin.values.tolist() == list(range(7, 7 + n_bins))
    assert cube.output.dtype == np.float32
    assert cube.output.dims == ("gene", "individual", "haplotype", "bin", "track")
    np.testing.assert_array_equal(cube.output, values)
    np.testing.assert_array_equal(cube.reference_output, values[:, 0, 0])
    np.testing.assert_array_equal(cube.prediction, values[..., 0, :])


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_order_of_writing_gives_the_same_cube(tmp_path_factory, data):
    n_genes, n_people = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 9))
    n_tracks = data.draw(st.sampled_from([1, 2, 63, 64, 65, 129]))
    size = data.draw(st.integers(1, n_people))
    path = tmp_path_factory.mktemp("order") / "c.zarr"
    new_cube(path, n_genes, n_people, tracks(n_tracks), size)
    shards = [(gene, block) for gene in range(n_genes) for block in blocks(n_people, size)]
    order = data.draw(st.permutations(shards))
    written = order[: data.draw(st.integers(0, len(order)))]
    values = numbers(n_genes, n_people, 2, n_tracks)
    expected = np.full_like(values, np.nan)
    for gene, block in written:
        write(path, gene, block, values)
        expected[gene, block.start : block.stop] = values[gene, block.start : block.stop]
    np.testing.assert_array_equal(xr.open_zarr(path).prediction, expected)


def test_writing_again_is_the_same_bytes(path):
    new_cube(path)
    values = numbers(4, 5, 2, 3)
    first = write(path, 2, blocks(5, 2)[0], values)
    before = files(path)
    assert write(path, 2, blocks(5, 2)[0], values) == first
    assert files(path) == before


@pytest.mark.parametrize("n_tracks", [3, 130])
@pytest.mark.parametrize("number", [0, 2], ids=["whole block", "short last block"])
def test_a_damaged_shard_is_written_over(path, n_tracks, number):
    new_cube(path, of=tracks(n_tracks))
    values, block = numbers(4, 5, 2, n_tracks), blocks(5, 2)[number]
    sums = write(path, 1, block, values)
    for key in sums:
        (path / key).write_bytes(b"torn")
    assert write(path, 1, block, values) == sums
    read = xr.open_zarr(path).prediction[1, block.start : block.stop]
    np.testing.assert_array_equal(read, values[1, block.start : block.stop])


def test_a_shard_of_nothing_but_nan_is_an_object_too(path):
    new_cube(path, of=tracks(65))
    block = blocks(5, 2)[0]
    sums = write(path, 0, block, np.full((4, 5, 2, 65), np.nan, np.float32))
    assert set(sums) <= set(files(path))
    assert xr.open_zarr(path).prediction.isnull().all()


class CountingStore(WrapperStore[LocalStore]):
    """Counts the bytes and requests that reach a store."""

    read = 0
    requests = 0

    async def get(self, key, prototype, byte_range=None):
        found = await self._store.get(key, prototype, byte_range)
        CountingStore.requests += 1
        CountingStore.read += 0 if found is None else len(found)
        return found


def test_one_track_over_all_genes_reads_little_else(path):
    n_people, n_tracks = 25, 1300
    new_cube(path, 4, n_people, tracks(n_tracks), n_people)
    values = numbers(4, n_people, 2, n_tracks)
    for gene in range(4):
        write(path, gene, Block(0, 0, n_people), values)
    cube = xr.open_zarr(CountingStore(LocalStore(path)))
    CountingStore.read = CountingStore.requests = 0
    found = cube.prediction.reset_coords(drop=True).sel(track="T700").load()
    np.testing.assert_array_equal(found, values[..., 700])
    # a chunk of 64 of the 1300 tracks, and the index of the shard, a gene
    assert CountingStore.requests == 2 * 4
    assert CountingStore.read < 0.08 * values.nbytes


def test_open_cube_is_lazy_with_coordinates_at_hand(filled, no_computing):
    path, _ = filled
    cube = open_cube(path)
    assert cube.prediction.chunks is not None
    assert sel_gene(cube, "GSTM3").gene.item() == "ENSG00000000003"
    assert zarrbench.open_cube(str(path)).sizes == cube.sizes
    assert open_cube(path, lazy=False).prediction.chunks is None


def test_open_cube_that_is_not_done(path):
    new_cube(path)
    values = numbers(4, 5, 2, 3)
    for gene in ("ENSG00000000007", "ENSG00000000003"):
        row = GENES.gene.values.tolist().index(gene)
        for block in blocks(5, 2):
            write(path, row, block, values)
            ledger.append(ledger.ledger_of(path), entry(gene, block.number))
    ledger.append(ledger.ledger_of(path), entry("ENSG00000000005", 0, "failed"))
    with pytest.raises(IncompleteCubeError) as raised:
        open_cube(path)
    assert str(raised.value) == (
        f"6 of 12 shards of the cube {path} are not done (1 failed); finish it with 'zarrbench "
        f"run' (and --retry-failed), or open it with incomplete='nan'"
    )
    cube = open_cube(path, incomplete="nan")
    np.testing.assert_array_equal(cube.prediction[:2], values[:2])
    assert cube.prediction[2:].isnull().all()
    assert set(done_shards(path)) == {(str(g), b) for g in GENES.gene.values[:2] for b in range(3)}


def test_done_but_not_yet_marked_complete(path):
    """A kill between the last ledger entry and the mark."""
    new_cube(path)
    for gene in GENES.gene.values:
        for block in blocks(5, 2):
            ledger.append(ledger.ledger_of(path), entry(str(gene), block.number))
    assert open_cube(path).sizes["gene"] == 4


def test_finished_genes_have_every_block(path):
    new_cube(path)
    values = numbers(4, 5, 2, 3)
    for row, numbers_done in enumerate([(0, 1, 2), (0, 2), (), (2, 1, 0)]):
        for block in (blocks(5, 2)[n] for n in numbers_done):
            sums = write(path, row, block, values)
            sizes = {key: (path / key).stat().st_size for key in sums}
            done = dataclasses.replace(
                entry(str(GENES.gene.values[row]), block.number), checksums=sums, sizes=sizes
            )
            ledger.append(ledger.ledger_of(path), done)
    assert finished_genes(path) == ["ENSG00000000007", "ENSG00000000001"]
    (path / "prediction" / "c.3.1.0.0").unlink()
    assert finished_genes(path) == ["ENSG00000000007"]
    with pytest.raises(IncompleteCubeError, match="5 of 12 shards"):
        open_cube(path)
    finish_cube(path)
    assert finished_genes(path) == ["ENSG00000000007"]
    shutil.rmtree(ledger.ledger_of(path))  # a complete one may have been copied without
    assert finished_genes(path) == GENES.gene.values.tolist()


def test_a_complete_cube_needs_no_ledger(filled, tmp_path):
    original, values = filled
    path = tmp_path / "copied.zarr"
    shutil.copytree(original, path)
    cube = open_cube(path)
    assert cube.attrs["complete"] is True
    np.testing.assert_array_equal(cube.prediction, values)
    before = files(path)
    finish_cube(path)
    assert files(path) == before


def test_no_cube_and_damaged_cubes(path):
    for read in (open_cube, read_recipe):
        with pytest.raises(StoreLayoutError, match="there is no"):
            read(path)
    new_cube(path)
    (path / "zarr.json").write_text('{"zarr_format": 3, "node_ty')
    for read in (open_cube, read_recipe, done_shards):
        with pytest.raises(StoreLayoutError, match="cannot be opened"):
            read(path)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"format_version": 2}, "format version 2, this zarrbench reads version 1"),
        ({"format": "zarrbench.genes"}, r"not a zarrbench\.predictions store"),
    ],
)
def test_other_format_is_refused(path, attributes, message):
    new_cube(path)
    group = zarr.open_group(path, mode="r+")
    group.attrs.update(attributes)
    with quiet_zarr():
        zarr.consolidate_metadata(path)
    for read in (open_cube, read_recipe, done_shards, lambda p: check_recipe(p, RECIPE)):
        with pytest.raises(StoreLayoutError, match=message):
            read(path)


def test_cube_that_lacks_a_coordinate_is_refused(path):
    new_cube(path)
    del zarr.open_group(path, mode="r+")["track_description"]
    with quiet_zarr():
        zarr.consolidate_metadata(path)
    with pytest.raises(StoreLayoutError, match="lacks the variable 'track_description'"):
        open_cube(path, incomplete="nan")


def test_changed_recipe_is_refused_naming_the_fields(path):
    new_cube(path)
    check_recipe(path, RECIPE)
    changed = {**RECIPE, "predict": {"block_size": 3}, "model": {"name": "m", "bins": 5}}
    with pytest.raises(RecipeError) as raised:
        check_recipe(path, changed)
    assert "(model.bins: null -> 5; predict.block_size: 2 -> 3);" in str(raised.value)
    many = {**RECIPE, "model": {"name": "m", **{f"field{i}": i for i in range(9)}}}
    with pytest.raises(RecipeError, match=r"model.field4: null -> 4; \.\.\.\)"):
        check_recipe(path, many)
    with pytest.raises(RecipeError, match="another version of zarrbench"):
        check_recipe(path, {**RECIPE, "added_later": None})


def test_a_new_cube_forgets_the_ledger_of_the_one_before(path):
    ledger.append(ledger.ledger_of(path), entry("ENSG00000000007", 0))
    new_cube(path)
    assert done_shards(path) == {}


def test_a_failed_creation_leaves_nothing(path, monkeypatch):
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cube_module.zarr, "consolidate_metadata", fail)
    with pytest.raises(StorageError, match="the disk is full"):
        new_cube(path)
    assert list(path.parent.iterdir()) == []


def test_a_killed_creation_leaves_no_cube(path, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*args: object, **kwargs: object) -> None:
        monkeypatch.setattr("shutil.rmtree", lambda *args, **kwargs: None)  # nobody tidies up
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(cube_module.zarr, "consolidate_metadata", kill)
        with pytest.raises(Killed):
            new_cube(path)
    assert [p.name.split("-")[0] for p in path.parent.iterdir()] == [".predictions.zarr.writing"]
    new_cube(path)
    assert open_cube(path, incomplete="nan").sizes["gene"] == 4


def test_a_place_that_cannot_be_written(path):
    new_cube(path)
    shutil.rmtree(path / "prediction")
    (path / "prediction").write_text("not a folder")
    with pytest.raises(StorageError, match="a file stands where a folder must be"):
        write(path, 0, blocks(5, 2)[0], numbers(4, 5, 2, 3))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    path = new_cube(tmp_path_factory.mktemp("labelled") / "predictions.zarr")
    return open_cube(path, incomplete="nan")


@pytest.mark.parametrize(
    ("select", "name", "expected"),
    [
        (sel_gene, "ENSG00000000003", "ENSG00000000003"),
        (sel_gene, "ENSG00000000003.14", "ENSG00000000003"),
        (sel_gene, "DDX11", "ENSG00000000001"),
        (sel_track, "F5:2", "F5:2"),
        (sel_track, "CAGE:liver", "F5:2"),
    ],
)
def test_selecting(labelled, select: Callable, name, expected):
    selected = select(labelled, name)
    dim = select.__name__.removeprefix("sel_")
    assert selected[dim].item() == expected
    assert dim not in selected.prediction.dims


@pytest.mark.parametrize(
    ("select", "name", "message"),
    [
        (sel_gene, "Y_RNA",
         "2 genes are called 'Y_RNA': choose one of ENSG00000000007, ENSG00000000005"),
        (sel_track, "CAGE:brain", "2 tracks are called 'CAGE:brain': choose one of F5:1, D:1"),
        (sel_gene, "GSTM2", "no gene 'GSTM2'; did you mean 'GSTM3'"),
        (sel_gene, "ENSG00000000009", "no gene 'ENSG00000000009'; did you mean 'ENSG0000000000"),
        (sel_track, "CAGE:livr", "no track 'CAGE:livr'; did you mean 'CAGE:liver'"),
    ],
)  # fmt: skip
def test_selecting_what_is_ambiguous_or_absent(labelled, select, name, message):
    with pytest.raises(RecipeError, match=message):
        select(labelled, name)
