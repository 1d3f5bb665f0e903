import dataclasses
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from zarrbench import ledger
from zarrbench import remote as urls
from zarrbench.errors import StorageError
from zarrbench.ledger import Entry, append, clear, entries, intact, ledger_of
from zarrbench.storage import get, put

RECIPE = "f" * 64


def entry(gene: str, block: int = 0, state: str = "done", second: int = 0, **fields: str) -> Entry:
    return Entry(gene, block, state, RECIPE, f"2026-01-01T00:00:{second:02}Z", **fields)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return ledger_of(tmp_path / "predictions.zarr")


def test_it_lies_beside_the_cube():
    assert ledger_of(Path("/data/study/predictions.zarr")) == Path("/data/study/predictions.ledger")


def test_what_is_appended_is_read(place):
    assert entries(place, RECIPE) == {}
    done = Entry(
        "ENSG1",
        3,
        "done",
        RECIPE,
        "2026-01-01T00:00:00Z",
        {"prediction/c.0": "ab"},
        {"prediction/c.0": 9},
        {"predict": 1.5},
        7,
    )
    failed = entry("ENSG2", 0, "failed", error="ModelInputError: ä 'quoted'\n\u2028 and\ttwo lines")
    append(place, done)
    append(place, failed)
    assert entries(place, RECIPE) == {("ENSG1", 3): done, ("ENSG2", 0): failed}


def test_a_process_keeps_to_one_file(place):
    for gene in ("a", "b", "c"):
        append(place, entry(gene))
    (file,) = place.iterdir()
    assert len(file.read_text().splitlines()) == 3


def test_several_processes_at_once(place):
    written = [entry(f"gene{i}", block) for i in range(40) for block in range(5)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(append, [(place, e) for e in written], chunksize=1)
    append(place, entry("own"))
    assert 2 <= len(list(place.iterdir())) <= 3
    expected = {(e.gene, e.block): e for e in [*written, entry("own")]}
    assert entries(place, RECIPE) == expected


def test_a_writer_that_is_killed_leaves_what_it_had_written(place):
    program = (
        "import itertools, sys; from pathlib import Path; from zarrbench.ledger import *\n"
        "for i in itertools.count():\n"
        f"    append(Path(sys.argv[1]), Entry(f'g{{i}}', 0, 'done', '{RECIPE}', '2026'))\n"
        "    print(i, flush=True)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program, str(place)], stdout=subprocess.PIPE, text=True
    )
    while int(writer.stdout.readline()) < 40:
        pass
    writer.kill()
    reported = [int(line) for line in writer.communicate()[0].split()]
    standing = entries(place, RECIPE)
    assert len(standing) in (max(reported, default=40) + 1, max(reported, default=40) + 2)
    append(place, entry("later"))
    assert set(entries(place, RECIPE)) == {*standing, ("later", 0)}


@pytest.mark.parametrize("cut", [1, 2, 40, 150])
def test_a_torn_last_line_is_skipped(place, cut):
    for gene in ("a", "b"):
        append(place, entry(gene))
    (file,) = place.iterdir()
    file.write_bytes(file.read_bytes()[:-cut])
    kept = {("a", 0), ("b", 0)} if cut == 1 else {("a", 0)}
    assert set(entries(place, RECIPE)) == kept


@pytest.mark.parametrize(
    "line", ["", "null", "3", '{"gene": "x"}', "[1, 2]", '{"unknown": 1}', "\x00\x00", "\ufffd"]
)
def test_a_line_that_is_no_entry_is_skipped(place, line):
    append(place, entry("a"))
    (place / "other.jsonl").write_text(f"{line}\n{json.dumps(dataclasses.asdict(entry('b')))}\n")
    (place / "note.txt").write_text("not a ledger")
    assert set(entries(place, RECIPE)) == {("a", 0), ("b", 0)}


def test_an_entry_after_a_failed_write_is_not_lost(place, monkeypatch):
    append(place, entry("a"))
    (file,) = place.iterdir()

    def full(descriptor: int) -> None:
        file.write_bytes(file.read_bytes()[:-20])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="the disk is full"):
            append(place, entry("b"))
    append(place, entry("c"))
    assert set(entries(place, RECIPE)) == {("a", 0), ("c", 0)}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_done_outlives_failures_before_and_after(place, order):
    three = [
        entry("a", state="failed", second=1, error="first"),
        entry("a", state="done", second=2),
        entry("a", state="failed", second=3, error="last"),
    ]
    for i in order:
        append(place, three[i])
    assert entries(place, RECIPE) == {("a", 0): three[1]}


def test_the_latest_failure_counts(place):
    append(place, entry("a", state="failed", second=2, error="later"))
    append(place, entry("a", state="failed", second=1, error="earlier"))
    assert entries(place, RECIPE)["a", 0].error == "later"


def test_entries_of_another_recipe_are_ignored(place):
    append(place, entry("a"))
    append(place, dataclasses.replace(entry("b"), recipe="0" * 64))
    append(place, dataclasses.replace(entry("a", state="failed"), recipe="0" * 64))
    assert set(entries(place, RECIPE)) == {("a", 0)}
    assert entries(place, "0" * 64)["a", 0].state == "failed"


def test_clear(place):
    clear(place)
    append(place, entry("a"))
    clear(place)
    assert not place.exists()
    assert list(place.parent.iterdir()) == []
    append(place, entry("b"))
    assert set(entries(place, RECIPE)) == {("b", 0)}


def test_intact_looks_at_the_objects(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "0").write_bytes(b"12345")
    (tmp_path / "c" / "1").write_bytes(b"")
    done = dataclasses.replace(entry("a"), sizes={"c/0": 5, "c/1": 0})
    assert intact(tmp_path, done)
    assert not intact(tmp_path, dataclasses.replace(done, sizes={"c/0": 4}))
    assert not intact(tmp_path, dataclasses.replace(done, sizes={"c/0": 5, "c/2": 0}))


def test_a_child_process_has_a_file_of_its_own(place):
    append(place, entry("parent"))
    child = multiprocessing.get_context("fork").Process(target=append, args=(place, entry("child")))
    child.start()
    child.join()
    assert len(list(place.iterdir())) == 2
    assert set(entries(place, RECIPE)) == {("parent", 0), ("child", 0)}


def test_thousands_of_entries_are_read_fast(place):
    place.mkdir()
    keys = {f"prediction/c/{i}/0/0/0": "0" * 32 for i in range(2)}
    for file in range(7):
        lines = [
            json.dumps(dataclasses.asdict(entry(f"ENSG{file}{i:010}", checksums=keys)))
            for i in range(1000)
        ]
        (place / f"{file}.jsonl").write_text("\n".join(lines) + "\n")
    began = time.process_time()
    assert len(entries(place, RECIPE)) == 7000
    assert time.process_time() - began < 1.5


def test_a_ledger_that_cannot_be_written(tmp_path):
    (tmp_path / "predictions.ledger").write_text("a file")
    with pytest.raises(StorageError, match="a file stands where a folder must be"):
        append(tmp_path / "predictions.ledger", entry("a"))
    assert ledger.ledger_of(tmp_path / "predictions.zarr").is_file()


@pytest.fixture
def remote():
    return ledger_of(urls.place(f"memory://{uuid.uuid4().hex}/predictions.zarr"))


def test_behind_a_url_every_entry_is_an_object_until_they_are_joined(remote):
    assert entries(remote) == {}
    ledger.compact(remote)
    for number in range(5):
        append(remote, entry(f"G{number}"))
    append(remote, entry("G0", state="failed", second=9))
    put(ledger.manifest_of(remote), b"{}", remote)
    put(remote / "torn.jsonl", b'{"gene": "G7", "blo', remote)
    before = entries(remote, RECIPE)
    assert {key: found.state for key, found in before.items()} == {
        (f"G{number}", 0): "done" for number in range(5)
    }
    assert len(list(remote.glob("*.jsonl"))) == 7
    ledger.compact(remote)
    assert entries(remote, RECIPE) == before
    assert len(list(remote.glob("*.jsonl"))) == 1
    append(remote, entry("G9"))
    ledger.compact(remote)
    assert set(entries(remote)) == {*before, ("G9", 0)}
    assert get(ledger.manifest_of(remote)) == b"{}"
    clear(remote)
    assert entries(remote) == {}


def test_joining_that_is_interrupted_loses_and_doubles_nothing(remote, monkeypatch):
    for number in range(3):
        append(remote, entry(f"G{number}"))
    before = entries(remote)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "rm", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ledger.compact(remote)
    assert len(list(remote.glob("*.jsonl"))) == 4
    assert entries(remote) == before
    ledger.compact(remote)
    [joined] = remote.glob("*.jsonl")
    assert len((get(joined) or b"").splitlines()) == 3


def test_a_reader_that_meets_a_joining_reads_again(remote, monkeypatch):
    for number in range(3):
        append(remote, entry(f"G{number}"))
    read = ledger.contents_of
    joined = []

    def after_joining(*given):
        if not joined:
            joined.append(True)
            monkeypatch.setattr(ledger, "contents_of", read)
            ledger.compact(remote)
        return read(*given)

    monkeypatch.setattr(ledger, "contents_of", after_joining)
    assert len(entries(remote)) == 3


def test_objects_behind_a_url_are_listed_once(remote):
    cube = remote.with_suffix(".zarr")
    put(cube / "prediction/c.0", b"123", cube)
    known = dataclasses.replace(entry("G"), sizes={"prediction/c.0": 3})
    listed = ledger.listing(cube)
    assert listed == {"prediction/c.0": 3}
    for sizes in (listed, None):
        assert intact(cube, known, sizes)
        assert not intact(cube, dataclasses.replace(known, sizes={"prediction/c.0": 4}), sizes)
        assert not intact(cube, dataclasses.replace(known, sizes={"prediction/c.1": 3}), sizes)
