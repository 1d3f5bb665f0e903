import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import zarrbench
from zarrbench import provenance
from zarrbench.provenance import (
    differences,
    file_sha256,
    fingerprint,
    folder_state,
    installed,
    now,
    plain,
    software,
    stamp,
)


@dataclass(frozen=True)
class Inner:
    bins: tuple[int, ...] | None = (1, 2)


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    by_name: dict[str, Inner] = field(default_factory=dict)


def test_versions_without_imports():
    code = (
        "import sys; from zarrbench.provenance import installed; v = installed();"
        "assert v['tensorflow'][0].isdigit(), v; print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"tensorflow", "keras", "zarr", "xarray", "sgkit", "numpy"} & set(
        done.stdout.split()
    )
    assert installed(("numpy", "no-such-package")) == {
        "numpy": np.__version__,
        "no-such-package": "not installed",
    }


def test_stamp_is_json_and_names_no_person(monkeypatch):
    monkeypatch.setenv("USER", "margaret-hamilton")
    text = json.dumps(stamp())
    assert set(json.loads(text)) == {"created", "python", "platform", "cores", "versions"}
    assert "margaret" not in text
    assert os.uname().nodename not in text
    assert set(json.loads(text)["versions"]) == set(provenance.PACKAGES)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", now())


def test_plain():
    outer = Outer("x", Inner(), {"a": Inner(None)})
    assert plain([outer, (1, 2.5), Path("/a/b"), {3: True}, None]) == [
        {"name": "x", "inner": {"bins": [1, 2]}, "by_name": {"a": {"bins": None}}},
        [1, 2.5],
        "/a/b",
        {"3": True},
        None,
    ]


def test_fingerprint_is_that_of_the_content():
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": (1, 2), "a": 1})
    assert fingerprint(Inner()) == fingerprint({"bins": [1, 2]})
    different = [{"a": 1}, {"a": 1.5}, {"a": "1"}, {"a": True}, {"a": None}, {"b": 1}, {}, [], None]
    assert len({fingerprint(value) for value in different}) == len(different)
    expected = hashlib.sha256(b'{"a":[1,"\\u00e4"]}').hexdigest()
    assert fingerprint({"a": [1, "ä"]}) == expected


def test_fingerprint_of_what_is_no_recipe_is_refused():
    with pytest.raises(TypeError):
        fingerprint({"a": np.arange(3)})


def test_fingerprint_is_the_same_in_every_process():
    value = {"genes": [f"g{i}" for i in range(50)], "seed": 1}
    code = f"from zarrbench.provenance import fingerprint; print(fingerprint({value!r}))"
    for seed in ("0", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True,
                              text=True, check=True)  # fmt: skip
        assert done.stdout.strip() == fingerprint(value)


def test_file_sha256(tmp_path):
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_software_is_what_predicts():
    assert software().startswith(f"zarrbench {zarrbench.__version__}, keras 3.")
    assert "\n" not in software()


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "a" / "0").write_bytes(b"12"),
        lambda folder: os.utime(folder / "a" / "0", ns=(0, 1)),
        lambda folder: (folder / "b").write_bytes(b""),
        lambda folder: (folder / "a" / "0").unlink(),
        lambda folder: (folder / "a" / "0").rename(folder / "a" / "1"),
    ],
    ids=["size", "time", "added", "removed", "renamed"],
)
def test_folder_state_changes_with_its_files(tmp_path, change):
    folder = tmp_path / "store"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "0").write_bytes(b"1")
    before = folder_state(folder)
    assert folder_state(folder) == before
    moved = folder.rename(tmp_path / "moved")
    assert folder_state(moved) == before
    change(moved)
    assert folder_state(moved) != before


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}}, ["a.b: 1 -> 3"]),
        ({"b": 1, "a": 1}, {"b": 2, "a": 2}, ["a: 1 -> 2", "b: 1 -> 2"]),
        ({"a": 1}, {}, ["a: 1 -> null"]),
        ({}, {"a": "x"}, ['a: null -> "x"']),
        ({}, {"a": None}, []),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["a: [1, 2] -> [1, 3]"]),
        ({"a": {"b": 1}}, {"a": None}, ['a: {"b": 1} -> null']),
    ],
)
def test_differences(old, new, expected):
    assert differences(old, new) == expected


def test_long_values_are_shortened():
    (text,) = differences({"a": list(range(100))}, {"a": "x" * 100})
    old, new = text.removeprefix("a: ").split(" -> ")
    assert old.startswith("[0, 1, 2")
    assert old.endswith("...")
    assert len(old) == len(new) == 60
