"""Parts: whole or not at all, trusted only with their ledger."""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from zarrbench import ledger
from zarrbench.attributions.parts import (
    begin,
    failed_parts,
    finished_parts,
    key_of,
    parts_of,
    read_part,
    write_part,
)
from zarrbench.errors import RecipeError, SourceError
from zarrbench.provenance import fingerprint

RECIPE = {"model": {"name": "toy"}, "tracks": ["T1"]}
ARRAYS = {"ism": np.arange(6.0).reshape(3, 2), "position": np.array([1, 5, 9])}


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "attributions.zarr"
    begin(path, RECIPE)
    return path


def written(store, gene: str, state: str = "done") -> None:
    checksums, sizes = write_part(store, gene, ARRAYS)
    entry = ledger.Entry(gene, 0, state, fingerprint(RECIPE), "2026-01-01T00:00:00Z",
                         checksums=checksums, sizes=sizes)  # fmt: skip
    ledger.append(ledger.ledger_of(store), entry)


@pytest.mark.parametrize("gene", ["ENSG1", "HLA-A", "a/b", "../x", "..", "Ä b", "x" * 100])
def test_what_is_written_is_read(store, gene):
    written(store, gene)
    found = read_part(store, gene)
    assert found.keys() == ARRAYS.keys()
    for name, values in ARRAYS.items():
        assert (found[name] == values).all()
        assert found[name].dtype == values.dtype
    assert read_part(store, gene, ["ism", "other"]).keys() == {"ism"}
    assert finished_parts(store, RECIPE).keys() == {gene}
    assert [p.parent for p in store.parent.rglob("*.npz")] == [parts_of(store)]


def test_the_same_arrays_give_the_same_bytes(store):
    first = write_part(store, "A", ARRAYS)
    assert [list(part.values()) for part in write_part(store, "B", dict(ARRAYS))] == [
        list(part.values()) for part in first
    ]
    assert (parts_of(store) / key_of("A")).read_bytes() == (
        parts_of(store) / key_of("B")
    ).read_bytes()


def test_a_part_counts_only_with_its_entry_and_whole(store):
    write_part(store, "A", ARRAYS)  # killed before its entry
    written(store, "B")
    written(store, "C")
    place = parts_of(store) / key_of("C")
    place.write_bytes(place.read_bytes()[:-1])
    written(store, "D")
    (parts_of(store) / key_of("D")).unlink()
    assert finished_parts(store, RECIPE).keys() == {"B"}
    assert finished_parts(store, {**RECIPE, "tracks": ["T2"]}) == {}
    for gene in ("C", "D"):
        with pytest.raises(SourceError, match=r"cannot be read.*remove it and run the stage again"):
            read_part(store, gene)


def test_failures_are_kept_until_they_are_mended(store):
    for gene in ("A", "B"):
        ledger.append(
            ledger.ledger_of(store),
            ledger.Entry(gene, 0, "failed", fingerprint(RECIPE), "2026-01-01T00:00:00Z", error="x"),
        )
    written(store, "B")
    assert failed_parts(store, RECIPE).keys() == {"A"}


def test_another_recipe_is_refused_by_its_fields(store):
    begin(store, {**RECIPE, "model": {"name": "other"}})  # nothing is there yet
    begin(store, RECIPE)
    written(store, "A")
    begin(store, RECIPE)
    with pytest.raises(RecipeError, match=r"another recipe \(model.name: .*toy.* -> .*other"):
        begin(store, {**RECIPE, "model": {"name": "other"}})


class Dying:
    """Garbage whose end runs Python code, where another thread may take over."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        sum(range(50))


def test_threads_read_parts_at_once(store):
    """CPython 3.11 lets `ast`, which reads the header of an array, fail in two threads at once."""
    write_part(store, "A", ARRAYS)
    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()

    def read(_: int) -> None:
        Dying()
        np.testing.assert_array_equal(read_part(store, "A", ["ism"])["ism"], ARRAYS["ism"])

    try:
        gc.set_threshold(20, 2, 2)
        sys.setswitchinterval(1e-6)
        with ThreadPoolExecutor(8) as pool:
            assert len(list(pool.map(read, range(1500)))) == 1500
    finally:
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(interval)
