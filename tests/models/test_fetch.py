"""Fetching a released model: from a server on this machine, with every fault that one can have."""

import base64
import contextlib
import gzip
import hashlib
import http.server
import io
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

from zarrbench import cli
from zarrbench.errors import SourceError, StorageError
from zarrbench.locks import locked
from zarrbench.models.download import download, shown
from zarrbench.models.fetch import fetch
from zarrbench.models.released import RELEASED, cache, fetched, is_handle, place, record

KAGGLE = "deepmind/enformer/TensorFlow2/enformer/1"
TFHUB_NAME = "c444fdff3e183daf686869692c26e00391f6773c"  # what hub.load makes of RELEASED
FILES = {
    "saved_model.pb": b"graph",
    "variables/variables.index": b"index",
    # Random, so that the archive is as large, and the connection can be cut in the middle.
    "variables/variables.data-00000-of-00001": random.Random(0).randbytes(1_000_000),
}


def tar_gz(files: dict[str, bytes], *others: tarfile.TarInfo) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
        for about in others:
            archive.addfile(about)
    return gzip.compress(plain.getvalue(), 1, mtime=0)


ARCHIVE = tar_gz(FILES)
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()


@dataclass
class Server:
    """What the server gives, its faults, and what it was asked."""

    url: str = ""
    content: bytes = ARCHIVE
    etag: str | None = '"one"'
    modified: str | None = None
    md5: str | None = None
    status: int = 200
    ranges: bool = True
    shift: int = 0  # of the ranges that it gives
    cut: int | None = None  # bytes after which the connection ends
    stall: bool = False  # it then hangs instead
    length: bool = True
    redirect: str | None = None
    asked: list[dict[str, str]] = field(default_factory=list)

    def ranges_asked(self) -> list[str | None]:
        return [request.get("Range") for request in self.asked]


class _Handler(http.server.BaseHTTPRequestHandler):
    state: Server

    def do_GET(self) -> None:
        state = self.state
        state.asked.append({**self.headers, "path": self.path})
        if state.redirect and not self.path.startswith("/redirected"):
            self.send_response(302)
            self.send_header("Location", f"{state.redirect}/redirected")
            self.end_headers()
            return
        if state.status != 200:
            self.send_error(state.status)
            return
        self.give(*self.wanted())

    def wanted(self) -> tuple[int, int]:
        state, start = self.state, self.headers.get("Range")
        valid = self.headers.get("If-Range") in (state.etag, state.modified)
        if not (start and state.ranges and valid):
            return 200, 0
        first = int(start.removeprefix("bytes=").removesuffix("-"))
        return (206, first + state.shift) if first < len(state.content) else (416, 0)

    def give(self, status: int, first: int) -> None:
        state, body = self.state, self.state.content[first:]
        self.send_response(status)
        if status == 206:
            whole = len(state.content)
            self.send_header("Content-Range", f"bytes {first}-{whole - 1}/{whole}")
        if state.length:
            self.send_header("Content-Length", str(len(body)))
        hashes = state.md5 and f"crc32c=AAAAAA==, md5={state.md5}"
        given = {"ETag": state.etag, "Last-Modified": state.modified, "x-goog-hash": hashes}
        for name, value in given.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        # Clients that were killed read no more.
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body[: state.cut])
            if state.stall:
                self.connection.recv(1)
            elif state.cut is not None:
                self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    handler = type("Handler", (_Handler,), {"state": state})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        state.url = f"http://127.0.0.1:{running.server_port}/enformer.tar.gz"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield state
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in [name for name in os.environ if name.startswith(("KAGGLE", "TFHUB"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ZARRBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def assert_whole(folder: Path) -> None:
    found = contents(folder)
    del found["fetched.json"]
    assert found == FILES
    assert fetched("enformer") == folder
    assert sorted(path.name for path in folder.parent.iterdir()) == ["lock", "model"]


def part() -> Path:
    return place(RELEASED) / "archive.part"


def put(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    "source",
    ["enformer", RELEASED, f"{RELEASED}/", f"{RELEASED}?tf-hub-format=compressed", KAGGLE,
     "https://tfhub.dev/google/imagenet/inception_v3/classification/4",
     "deepmind/enformer/tensorFlow2/enformer/1", f"https://www.kaggle.com/models/{KAGGLE}",
     f"https://kaggle.com/models/{KAGGLE}?tfhub-redirect=true",
     "https://www.kaggle.com/models/deepmind/enformer/frameworks/TensorFlow2/variations/enformer/"
     "versions/1"],
)  # fmt: skip
def test_handles(source: str) -> None:
    assert is_handle(source)


@pytest.mark.parametrize(
    "source",
    ["", "models/enformer", "./enformer", "enformer/", "/a/b/TensorFlow2/c/1", "a/b/c/d/1",
     "./a/TensorFlow2/b/1", "../a/TensorFlow2/b/1", "../b/TensorFlow2/c/1", "a/../TensorFlow2/b/1",
     "https://tfhub.dev/../../a/1", "https://tfhub.dev/deepmind/enformer", "a/b/TensorFlow2/c/d",
     "a/b/PyTorch/c/1", "http://tfhub.dev/deepmind/enformer/1", "https://x/deepmind/enformer/1",
     "enformer.keras", "s3://b/enformer/1", f"{KAGGLE}\n"],
)  # fmt: skip
def test_no_handles(source: str) -> None:
    assert not is_handle(source)
    for ask in (fetched, fetch):
        with pytest.raises(SourceError, match="names no released model: expected 'enformer', http"):
            ask(source)


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache() == tmp_path / "cache"
    monkeypatch.setenv("ZARRBENCH_CACHE", "~/mine")
    assert cache() == tmp_path / "mine"
    monkeypatch.setenv("ZARRBENCH_CACHE", "")
    assert cache() == tmp_path / ".cache" / "zarrbench"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache() == tmp_path / "xdg" / "zarrbench"


def test_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as error:
        fetched("enformer")
    assert str(error.value) == (
        f"the model enformer is not fetched: it is not in {tmp_path}/cache/models/tfhub.dev/"
        f"deepmind/enformer/1; run 'zarrbench model fetch enformer' on a machine with a network "
        f"that shares {tmp_path}/cache (ZARRBENCH_CACHE), or give the folder of a SavedModel"
    )


def test_in_the_cache_of_tensorflow_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(tmp_path / "hub" / TFHUB_NAME)
    with pytest.raises(SourceError, match="is not fetched"):
        fetched("enformer")
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    assert fetched("enformer") == fetched(KAGGLE) == folder
    assert fetch("enformer", url="http://127.0.0.1:1/") == folder


@pytest.mark.parametrize("handle", [KAGGLE, "enformer"])
@pytest.mark.parametrize("framework", ["TensorFlow2", "tensorFlow2"])
def test_in_the_cache_of_kagglehub(tmp_path: Path, handle: str, framework: str) -> None:
    name = KAGGLE.replace("TensorFlow2", framework)
    folder = put(tmp_path / ".cache" / "kagglehub" / "models" / name)
    message = f"^{folder}, in another .*its download has not ended; remove it and run 'zarrbench"
    with pytest.raises(SourceError, match=message):
        fetched(handle)
    folder.with_name("1.complete").touch()
    assert fetched(handle) == folder


@pytest.mark.parametrize("lost", FILES)
def test_half_a_folder_of_another_program_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    folder = put(tmp_path / TFHUB_NAME)
    (folder / lost).unlink()
    message = (
        f"^{folder}, in another program's cache, .* it has no {lost[:20]}.*; remove it and run"
    )
    with pytest.raises(SourceError, match=message):
        fetched("enformer")


@pytest.mark.network
@pytest.mark.parametrize("inside", ["", "./", "enformer_1/"])
def test_fetch(server: Server, inside: str) -> None:
    server.content = tar_gz({inside + name: content for name, content in FILES.items()})
    folder = fetch("enformer", server.url)
    assert folder == cache() / "models" / "tfhub.dev" / "deepmind" / "enformer" / "1" / "model"
    assert_whole(folder)
    assert server.ranges_asked() == [None]
    about = record(folder)
    assert about["handle"] == RELEASED
    assert about["url"] == server.url
    assert about["sha256"] == hashlib.sha256(server.content).hexdigest()
    assert about["files"] == {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in FILES.items()
    }


@pytest.mark.network
def test_a_second_time_nothing_is_asked(server: Server) -> None:
    folder = fetch("enformer", server.url)
    before = contents(folder)
    for handle in ("enformer", RELEASED, KAGGLE):
        assert fetch(handle, server.url) == folder
    assert fetch("enformer", server.url, SHA256.upper()) == folder
    assert len(server.asked) == 1
    assert contents(folder) == before


@pytest.mark.network
def test_a_model_of_another_archive_is_replaced(server: Server) -> None:
    folder = fetch("enformer", server.url)
    (folder / "foreign").touch()
    server.content = gzip.compress(gzip.decompress(ARCHIVE), 2, mtime=0)
    sha256 = hashlib.sha256(server.content).hexdigest()
    assert fetch("enformer", server.url, sha256) == folder
    assert record(folder)["sha256"] == sha256
    assert_whole(folder)


def lose(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def shorten(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-1])


@pytest.mark.network
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose("saved_model.pb"), "saved_model.pb has no bytes, its record says 5"),
        (shorten("variables/variables.index"), "variables.index has 4 bytes, its record says 5"),
        (lose("fetched.json"), "its fetched.json is missing or damaged"),
        (shorten("fetched.json"), None),  # the line end
        (lambda f: (f / "fetched.json").write_text('{"files": [1]}'), "is missing or damaged"),
        (lambda f: (f / "fetched.json").write_text('{"files": {}}') and lose("saved_model.pb")(f),
         "it has no saved_model.pb"),
    ],
)  # fmt: skip
def test_damage_is_seen_and_mended(
    server: Server, damage: Callable[[Path], None], message: str | None
) -> None:
    folder = fetch("enformer", server.url)
    damage(folder)
    if message is not None:
        again = "; run 'zarrbench model fetch enformer'$"
        with pytest.raises(
            SourceError, match=f"^the model in {folder} is damaged: .*{message}{again}"
        ):
            fetched("enformer")
    assert_whole(fetch("enformer", server.url))


CUT = 400_000


def interrupted(server: Server) -> int:
    """Cut the connection of a fetch; return what arrived."""
    server.cut = CUT
    broke = rf"^{server.url} broke off after (\d+) of {len(server.content)} bytes; run the same "
    with pytest.raises(SourceError, match=f"{broke}command again: it continues") as error:
        fetch("enformer", server.url)
    have = part().stat().st_size
    assert f"after {have} of" in str(error.value)
    assert 0.8 * CUT < have <= CUT
    server.cut = None
    with pytest.raises(SourceError, match="is not fetched"):
        fetched("enformer")
    return have


@pytest.mark.network
@pytest.mark.parametrize("validators", [{}, {"etag": 'W/"one"', "modified": "yesterday"}])
def test_a_cut_connection_is_continued(server: Server, validators: dict[str, str]) -> None:
    server.md5 = base64.b64encode(hashlib.md5(ARCHIVE).digest()).decode()
    vars(server).update(validators)
    have = interrupted(server)
    assert_whole(fetch("enformer", server.url, SHA256))
    assert server.ranges_asked() == [None, f"bytes={have}-"]
    assert server.asked[1]["If-Range"] == (server.modified or server.etag)


@pytest.mark.network
@pytest.mark.parametrize(
    ("change", "requests"),
    [
        ({"etag": '"two"'}, 2),  # another version: the server gives all of it
        ({"etag": '"two"', "content": tar_gz(FILES | {"more": b"x"})}, 2),
        ({"ranges": False}, 2),
        ({"shift": 1}, 3),  # not what was asked for
        ({"content": ARCHIVE[:100]}, 3),  # 416: it says that the version is the same
    ],
)
def test_what_cannot_be_continued_starts_over(
    server: Server, change: dict[str, object], requests: int
) -> None:
    interrupted(server)
    vars(server).update(change)
    if server.content != ARCHIVE[:100]:
        folder = fetch("enformer", server.url)
        assert record(folder)["sha256"] == hashlib.sha256(server.content).hexdigest()
    else:
        with pytest.raises(SourceError, match="it is truncated, damaged or no"):
            fetch("enformer", server.url)
    assert [asked is None for asked in server.ranges_asked()] == [True, False, True][:requests]


@pytest.mark.network
def test_without_a_validator_or_from_another_url_it_starts_over(server: Server) -> None:
    server.etag = None
    interrupted(server)
    server.etag = '"one"'
    interrupted(server)
    assert_whole(fetch("enformer", f"{server.url}.mirror"))
    assert server.ranges_asked() == [None, None, None]


@pytest.mark.network
def test_without_a_length(server: Server) -> None:
    server.length = False
    assert_whole(fetch("enformer", server.url))


@pytest.mark.network
def test_what_arrived_whole_is_not_asked_for_again(server: Server) -> None:
    part().parent.mkdir(parents=True)
    download(server.url, part(), {})
    # What a process that was killed while it unpacked leaves.
    put(part().with_name(".model.writing-0"), {"saved_model.pb": b"half"})
    assert_whole(fetch("enformer", server.url))
    assert len(server.asked) == 1


def in_a_process(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "zarrbench", "model", "fetch", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.network
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_fetch_is_continued(server: Server, how: signal.Signals) -> None:
    server.cut, server.stall = 600_000, True
    process = in_a_process("--url", server.url)
    limit = time.monotonic() + 60
    while not (part().exists() and part().stat().st_size > 500_000):
        assert time.monotonic() < limit
        assert process.poll() is None
        time.sleep(0.02)
    with pytest.raises(StorageError, match=r"another zarrbench is writing to .* ZARRBENCH_CACHE"):
        fetch("enformer", server.url)
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -9)
    assert how != signal.SIGINT or errors.endswith("is kept: run the same command again\n")
    with pytest.raises(SourceError, match="is not fetched"):
        fetched("enformer")
    have = part().stat().st_size
    server.cut, server.stall = None, False
    assert_whole(fetch("enformer", server.url, SHA256))
    assert server.ranges_asked() == [None, f"bytes={have}-"]


@pytest.mark.network
@pytest.mark.parametrize("check", ["md5", "sha256", "gzip"])
def test_a_damaged_part_is_removed(server: Server, check: str) -> None:
    if check == "md5":
        server.md5 = base64.b64encode(hashlib.md5(ARCHIVE).digest()).decode()
    have = interrupted(server)
    with part().open("r+b") as file:
        file.seek(have // 2)
        file.write(b"damaged")
    message = {
        "md5": r"came with MD5 \S+, and what arrived has another: .*; fetch it again$",
        "sha256": rf"is not the model enformer: its SHA-256 is \w+, expected {SHA256}; it is rem",
        "gzip": r"is not the model enformer: it is truncated, damaged or no tar\.gz \(.*; it is",
    }[check]
    with pytest.raises(SourceError, match=message):
        fetch("enformer", server.url, SHA256 if check == "sha256" else None)
    assert [path.name for path in part().parent.iterdir()] == ["lock"]
    assert_whole(fetch("enformer", server.url, SHA256))


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    about = tarfile.TarInfo(name)
    about.type, about.linkname = kind, target
    return about


@pytest.mark.network
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tar_gz({**FILES, "../../evil": b"x"}), r"outside its folder \('../../evil'\)"),
        (tar_gz({**FILES, "/tmp/zarrbench-evil": b"x"}), "outside its folder"),
        (tar_gz(FILES, link("a", "saved_model.pb", tarfile.SYMTYPE)), r"a link or a dev.*\('a'\)"),
        (tar_gz(FILES, link("a", "../../evil", tarfile.SYMTYPE)), "a link or a device"),
        (tar_gz(FILES, link("a", "saved_model.pb", tarfile.LNKTYPE)), "a link or a device"),
        (tar_gz(FILES, link("a", "", tarfile.FIFOTYPE)), "a link or a device"),
        (tar_gz({"readme": b"x"}), "it holds no SavedModel: it has no saved_model.pb, nor"),
        (tar_gz({"a/b/" + name: content for name, content in FILES.items()}), "no SavedModel"),
        (tar_gz({"saved_model.pb": b"x"}), "no SavedModel: it has no variables/variables.index"),
        (tar_gz({}), "it holds no SavedModel"),
        (b"<!doctype html><title>Log in", r"no tar\.gz \(Not a gzipped file"),
        (b"", r"no tar\.gz"),
        (gzip.compress(b"no tar", mtime=0), r"no tar\.gz"),
        (ARCHIVE[: len(ARCHIVE) // 2], "it is truncated, damaged"),
        (ARCHIVE[:-9], "it is truncated, damaged"),
        (ARCHIVE[:-8] + b"12345678", r"no tar\.gz \(CRC check failed"),
    ],
)  # fmt: skip
def test_bad_archives(server: Server, tmp_path: Path, content: bytes, message: str) -> None:
    server.content = content
    whole = f"^what {server.url} gives is not the model enformer: .*{message}.*; it is removed: "
    with pytest.raises(SourceError, match=whole):
        fetch("enformer", server.url)
    assert list(contents(tmp_path)) == ["cache/models/tfhub.dev/deepmind/enformer/1/lock"]
    assert not Path("/tmp/zarrbench-evil").exists()
    server.content = ARCHIVE
    assert_whole(fetch("enformer", server.url))


@pytest.mark.network
@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "HTTP 403: access is refused; .*licence.* token.* KAGGLE_USERNAME and KAGGLE_KEY.*"
              "--url, or use the folder of a SavedModel that you downloaded by hand$"),
        (401, "HTTP 401: access is refused; .*KAGGLE_API_TOKEN"),
        (404, "HTTP 404: it is not there; correct the handle and its version, or .* --url$"),
        (429, "HTTP 429: try later, or give a mirror with --url; run the same command again: it"),
        (503, "HTTP 503: try later"),
    ],
)  # fmt: skip
def test_refusals_keep_what_arrived(server: Server, status: int, message: str) -> None:
    have = interrupted(server)
    server.status = status
    with pytest.raises(SourceError, match=f"^{server.url} answers {message}"):
        fetch("enformer", server.url)
    assert part().stat().st_size == have
    server.status = 200
    assert_whole(fetch("enformer", server.url))
    assert server.ranges_asked()[1:] == [f"bytes={have}-"] * 2


@pytest.mark.network
def test_a_server_that_always_refuses_ranges(server: Server) -> None:
    interrupted(server)
    server.status = 416
    with pytest.raises(SourceError, match=f"^{server.url} answers HTTP 416: try later"):
        fetch("enformer", server.url)
    assert len(server.asked) == 3


@pytest.mark.network
def test_no_server() -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a?secret"
        with pytest.raises(SourceError, match=r"^cannot reach .*/a: .*refused; compute nodes") as e:
            fetch("enformer", url)
    assert "secret" not in str(e.value)


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    message = rf"^cannot reach {RELEASED}: .*Name or service not known.*; compute nodes .* --url$"
    with pytest.raises(SourceError, match=message):
        fetch("enformer")


@pytest.mark.network
def test_a_full_disk(server: Server) -> None:
    part().parent.mkdir(parents=True)
    part().symlink_to("/dev/full")
    message = f"cannot write {part()}: the disk is full; free space or .* ZARRBENCH_CACHE, then run"
    with pytest.raises(StorageError, match=message):
        fetch("enformer", server.url)


@pytest.mark.network
def test_a_disk_that_is_full_when_it_unpacks(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", lambda *_: Path("/dev/full").write_text("x"))
        with pytest.raises(StorageError, match=r"cannot write .*/1/model: the disk is full"):
            fetch("enformer", server.url)
    assert sorted(p.name for p in part().parent.iterdir() if p.name != "lock") == [
        "archive.part",
        "archive.part.json",
    ]
    assert_whole(fetch("enformer", server.url))
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("url", "sha256", "message"),
    [
        ("ftp://x/a", None, "^--url must begin with https:// or http://, found 'ftp://x/a'"),
        ("file:///etc/passwd", None, "--url must begin with"),
        ("http:///a", None, "--url must begin with"),
        ("enformer.tar.gz", None, "--url must begin with"),
        (None, "123", "^--sha256 must be 64 hexadecimal digits, found '123'"),
    ],
)
def test_bad_options(url: str | None, sha256: str | None, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        fetch("enformer", url, sha256)


@pytest.mark.parametrize("url", ["http://[/a", "http://x:port/a", "http://.x/a"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(SourceError, match=r"^cannot reach "):
        fetch("enformer", url)


@pytest.mark.network
def test_secrets_of_a_url_are_written_nowhere(server: Server) -> None:
    url = server.url.replace("//", "//me:hush@") + "?token=hush#hush"
    assert shown(url) == server.url
    server.cut = CUT
    with pytest.raises(SourceError, match=f"^{server.url} broke off") as error:
        fetch("enformer", url)
    note = part().with_name("archive.part.json").read_text()
    server.cut = None
    folder = fetch("enformer", url)
    assert record(folder)["url"] == server.url
    assert "hush" not in str(error.value) + note + (folder / "fetched.json").read_text()


@pytest.fixture
def kaggle(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("KAGGLE_API_ENDPOINT", server.url.removesuffix("/enformer.tar.gz"))
    return server


def authorization(server: Server) -> str | None:
    return server.asked[-1].get("Authorization")


BASIC = "Basic " + base64.b64encode(b"me:key").decode()


@pytest.mark.network
def test_kaggle(kaggle: Server) -> None:
    folder = fetch(KAGGLE)
    assert folder == cache() / "models" / "www.kaggle.com" / "models" / KAGGLE / "model"
    assert kaggle.asked[0]["path"] == f"/api/v1/models/{KAGGLE}/download"
    assert authorization(kaggle) is None
    # Enformer is one model, from wherever it came.
    assert fetched("enformer") == fetch("enformer") == folder
    assert len(kaggle.asked) == 1


@pytest.mark.network
def test_credentials_of_kaggle(kaggle: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kaggle.status = 403

    def asked_with(url: str | None = None) -> str | None:
        with pytest.raises(SourceError, match="HTTP 403"):
            fetch(KAGGLE, url)
        return authorization(kaggle)

    put(home / ".kaggle", {"kaggle.json": b'{"username": "me", "key": "key"}'})
    assert asked_with() == BASIC
    assert asked_with(kaggle.url) is None
    put(home / ".kaggle", {"kaggle.json": b'{"username": "me"}'})
    with pytest.raises(SourceError, match=r"\.kaggle/kaggle\.json cannot be read: expected JSON"):
        fetch(KAGGLE)
    monkeypatch.setenv("KAGGLE_USERNAME", "me")
    monkeypatch.setenv("KAGGLE_KEY", "key")
    assert asked_with() == BASIC
    monkeypatch.setenv("KAGGLE_API_TOKEN", "token")
    assert asked_with() == "Bearer token"


@pytest.mark.network
def test_credentials_stay_with_kaggle(kaggle: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "token")
    kaggle.redirect = os.environ["KAGGLE_API_ENDPOINT"].replace("127.0.0.1", "localhost")
    fetch(KAGGLE)
    sent = [(request["path"], request.get("Authorization")) for request in kaggle.asked]
    assert sent == [(f"/api/v1/models/{KAGGLE}/download", "Bearer token"), ("/redirected", None)]


@pytest.mark.network
def test_on_the_command_line(server: Server) -> None:
    arguments = ["model", "fetch", "--url", server.url, "--sha256"]
    refused = CliRunner().invoke(cli.main, [*arguments, "0" * 64])
    assert refused.exit_code == 2
    last = refused.stderr.splitlines()[-1]
    assert re.match(r"zarrbench: what .* its SHA-256 is \w+, expected 0{64}; it is removed", last)
    done = CliRunner().invoke(cli.main, [*arguments, SHA256])
    assert done.exit_code == 0
    assert done.stdout == f"{fetched('enformer')}\n"


@pytest.mark.network
def test_a_fetch_waits_for_no_other_model(server: Server) -> None:
    with locked(place("https://tfhub.dev/other/model/1")):
        assert_whole(fetch("enformer", server.url))


def test_the_modules_import_no_network_library() -> None:
    program = (
        "import sys; import zarrbench.models.fetch, zarrbench.models.released; "
        "print(sorted({'tensorflow', 'keras', 'requests', 'urllib3'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert shown.stdout == b"[]\n"
