"""Leases: what stands for a lock where there is none, in memory and in a folder without locks."""

import errno
import fcntl
import threading
import time
import uuid
from types import SimpleNamespace

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from zarrbench import locks
from zarrbench.errors import SourceError, StorageError
from zarrbench.locks import is_locked, locked
from zarrbench.remote import Place, place
from zarrbench.storage import get, put, remove

HELD = "another zarrbench is writing"


@pytest.fixture(autouse=True)
def short_times(monkeypatch):
    for name, seconds in (("_RENEWAL", 0.05), ("_SILENCE", 0.6), ("_SETTLING", 0.1)):
        monkeypatch.setattr(locks, name, seconds)


@pytest.fixture(params=["memory", "folder"])
def folder(request, tmp_path, monkeypatch) -> Place:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    return place(f"memory://{uuid.uuid4().hex}") if request.param == "memory" else tmp_path


def leave_behind(folder: Place) -> Place:
    """Write the lease of somebody who was killed."""
    put(folder / "lease", b"somebody", folder)
    return folder / "lease"


def test_a_lease_keeps_others_out_and_ends(folder):
    assert not is_locked(folder)
    with locked(folder):
        assert is_locked(folder)
        time.sleep(3 * locks._RENEWAL)
        with pytest.raises(StorageError, match=HELD), locked(folder):
            pass
        assert is_locked(folder)
    assert get(folder / "lease") is None
    with locked(folder):
        pass


def test_one_that_was_left_behind_is_taken_over_after_a_silence(folder, capsys, monkeypatch):
    leave_behind(folder)
    assert not is_locked(folder)
    # A clock that is set back, or forward, changes nothing: it is not asked. (Of this module alone:
    # heartbeats of this process's Dask workers would wait until 1970 is over.)
    clock = SimpleNamespace(**{**vars(time), "time": lambda: 0.0})
    monkeypatch.setattr(locks, "time", clock)
    began = time.monotonic()
    with locked(folder):
        assert time.monotonic() - began >= locks._SILENCE
        assert not (get(folder / "lease") or b"").startswith(b"somebody")
        assert is_locked(folder)
    assert "waiting for up to" in capsys.readouterr().err


def test_one_that_ends_while_another_waits(folder):
    lease = leave_behind(folder)
    ending = threading.Timer(0.2, remove, [lease])
    ending.start()
    began = time.monotonic()
    with locked(folder):
        assert time.monotonic() - began < locks._SILENCE
    ending.join()


def test_a_holder_that_lost_it_is_stopped_whatever_it_does(folder):
    began = time.monotonic()
    lost = pytest.raises(StorageError, match=r"lease .* is lost: another .* has taken it over; see")
    with lost, locked(folder):
        put(folder / "lease", b"somebody", folder)
        time.sleep(30)
    assert time.monotonic() - began < 10
    assert get(folder / "lease") == b"somebody"  # which is not ours to remove


def test_a_holder_that_cannot_renew_is_stopped(folder, monkeypatch):
    def refused(*_: object) -> bytes:
        raise SourceError("no network")

    def hold() -> None:
        with locked(folder):
            monkeypatch.setattr(locks, "get", refused)
            time.sleep(30)

    with pytest.raises(StorageError, match=r"it could not be renewed \(no network\)"):
        hold()


def test_outside_of_the_main_thread_it_is_told_at_the_end(folder):
    found = []

    def hold() -> None:
        try:
            with locked(folder):
                put(folder / "lease", b"somebody", folder)
                time.sleep(0.3)
        except StorageError as error:
            found.append(error)

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert len(found) == 1


@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("left", [True, False])
def test_of_several_at_once_one_wins(folder, conditional, left, monkeypatch):
    if left:
        leave_behind(folder)
    if not conditional:  # as servers do that know no If-None-Match
        write = MemoryFileSystem.pipe_file
        monkeypatch.setattr(
            MemoryFileSystem, "pipe_file", lambda self, path, value, **_: write(self, path, value)
        )
    outcomes = []

    def take() -> None:
        try:
            with locked(folder):
                outcomes.append("won")
                time.sleep(1)
        except StorageError as error:
            outcomes.append("refused" if HELD in str(error) else str(error))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 3 + ["won"]


def test_what_killed_ones_left_half_written_is_cleared(folder):
    put(folder / ".seen-1", b"", folder)
    put(folder / "samples.tsv", b"", folder)
    with locked(folder):
        assert sorted(path.name for path in folder.iterdir() if path.name != "lock") == [
            "lease",
            "samples.tsv",
        ]
