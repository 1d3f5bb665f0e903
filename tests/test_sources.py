import errno
import hashlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zarrbench.errors import RecipeError, SourceError, StorageError
from zarrbench.recipes import parse
from zarrbench.sources import Source, SourceFolders, check

CONTENT = b"chr1\t100\n" * 5_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def folders(tmp_path: Path) -> SourceFolders:
    made = SourceFolders(tmp_path / "given", tmp_path / "recipe", tmp_path / "downloads")
    for folder in ("given", "recipe"):
        (tmp_path / folder).mkdir()
    return made


def put(folder: Path | None, name: str, content: bytes = CONTENT) -> Path:
    assert folder is not None
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("a/b.vcf.gz", Source("a/b.vcf.gz")),
        ({"file": "b", "size": 3}, Source("b", size=3)),
        (
            {"file": "b", "url": "https://x/b", "sha256": "0"},
            Source("b", url="https://x/b", sha256="0"),
        ),
    ],
)
def test_in_yaml(data: object, expected: Source) -> None:
    assert parse(Source, data, "mine.yaml: file") == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "file must name a file, found ''"),
        ({"file": ""}, "file must name a file"),
        ("a\0b", "file must name a file"),
        ({"file": "b", "url": "https://x/b"}, "'b' has a url and needs its sha256 too"),
        ({"file": "b", "url": "gopher://x", "sha256": "0"}, "must begin with https://, http://"),
        ({"file": "b", "url": "file:///etc/passwd", "sha256": "0"}, "must begin with https://"),
        ({"file": "../b", "url": "https://x/b", "sha256": "0"}, "must be relative and without"),
        ({"file": "s3://b/c.vcz", "sha256": "0"}, "is a URL, which is read where it lies"),
        ({"file": "s3://b/c.vcz", "size": 3}, "takes no url, no sha256 and no size"),
        ({"file": "/b", "url": "https://x/b", "sha256": "0"}, "must be relative and without"),
        ({"file": "b", "sha265": "0"}, "unknown key 'sha265'; did you mean 'sha256'"),
        ({"size": 3}, "the key 'file' is missing"),
    ],
)
def test_refused_in_yaml(data: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as refused:
        parse(Source, data, "mine.yaml: file")
    assert str(refused.value).startswith("mine.yaml: file: ")


def test_given_folder_wins_then_the_recipe_then_downloads(folders: SourceFolders) -> None:
    source = Source("sub/a.txt")
    assert folders.find(source) is None
    for folder in (folders.downloads, folders.recipe, folders.given):
        path = put(folder, "sub/a.txt")
        assert folders.locate(source) == path
        assert folders.find(source) == path


def test_absolute_and_without_a_given_folder(folders: SourceFolders, tmp_path: Path) -> None:
    path = put(tmp_path / "elsewhere", "a.txt")
    assert folders.locate(Source(str(path))) == path
    only = SourceFolders(None, folders.recipe, folders.downloads)
    assert only.locate(Source("a.txt") if put(folders.recipe, "a.txt") else Source("")).is_file()


def test_relative_folders_give_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Workers may run in another folder.
    monkeypatch.chdir(tmp_path)
    put(Path("here"), "a.txt")
    found = SourceFolders(Path("here"), Path("."), Path("downloads")).locate(Source("a.txt"))
    assert found == tmp_path / "here" / "a.txt"


def test_nowhere(folders: SourceFolders) -> None:
    with pytest.raises(SourceError, match=r"'a.txt' was not found .* with --sources DIR") as error:
        folders.locate(Source("a.txt"))
    for folder in (folders.given, folders.recipe, folders.downloads):
        assert str(folder) in str(error.value)


def test_size_and_checksum(folders: SourceFolders) -> None:
    path = put(folders.given, "a.txt")
    right = Source("a.txt", sha256=SHA256, size=len(CONTENT))
    assert folders.locate(right) == path
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(SourceError, match=r"has 44999 bytes, the recipe says 45000: .*fetch it"):
        folders.locate(right)
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(SourceError, match=rf"has SHA-256 \w+, the recipe says {SHA256}: .*fetch"):
        folders.locate(right)


def test_a_damaged_file_is_not_passed_over_for_a_good_one(folders: SourceFolders) -> None:
    put(folders.given, "a.txt", b"damaged")
    put(folders.recipe, "a.txt")
    with pytest.raises(SourceError, match=r"given/a\.txt has SHA-256"):
        folders.locate(Source("a.txt", sha256=SHA256))


def test_a_folder_has_no_checksum(tmp_path: Path) -> None:
    check(tmp_path, Source("store.vcz"))
    with pytest.raises(SourceError, match="is a folder"):
        check(tmp_path, Source("store.vcz", sha256=SHA256))


def test_what_cannot_be_read_is_a_matter_of_the_source(
    folders: SourceFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(folders.given, "a.txt")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(SourceError, match=f"^cannot read {path}: Permission denied; make"):
        folders.locate(Source("a.txt"))


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/absent":
            self.send_error(404)
            return
        body = b"another file" if self.path == "/other" else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.path == "/cut":
            body = body[:20_000]
        self.wfile.write(body)
        if self.path == "/cut":
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def remains(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.network
def test_download(folders: SourceFolders, server: str) -> None:
    source = Source("sub/a.txt", url=f"{server}/a.txt", sha256=SHA256, size=len(CONTENT))
    path = folders.locate(source)
    assert path == folders.downloads / "sub" / "a.txt"
    assert path.read_bytes() == CONTENT
    assert remains(folders.downloads) == [path]
    # The second time nothing is asked of the server.
    assert folders.locate(Source("sub/a.txt", url="http://127.0.0.1:1/", sha256=SHA256)) == path


@pytest.mark.network
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/other", "gives for 'a.txt' is damaged or another file: .*--sources DIR"),
        ("/cut", "cannot download 'a.txt' from .*--sources DIR"),
        ("/absent", "cannot download 'a.txt' from .*404.*--sources DIR"),
    ],
)
def test_a_bad_download_leaves_nothing(
    folders: SourceFolders, server: str, path: str, message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        folders.locate(Source("a.txt", url=f"{server}{path}", sha256=SHA256))
    assert remains(folders.downloads) == []
    good = Source("a.txt", url=f"{server}/a.txt", sha256=SHA256)
    assert folders.locate(good).read_bytes() == CONTENT


@pytest.mark.network
def test_no_server(folders: SourceFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.txt"
        with pytest.raises(SourceError, match=r"cannot download .* with --sources DIR"):
            folders.locate(Source("a.txt", url=url, sha256=SHA256))
    assert remains(folders.downloads) == []


@pytest.mark.network
def test_no_ftp_server(folders: SourceFolders) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"ftp://127.0.0.1:{taken.getsockname()[1]}/a.txt"
        with pytest.raises(SourceError, match=r"cannot download .* with --sources DIR"):
            folders.locate(Source("a.txt", url=url, sha256=SHA256))


@pytest.mark.network
def test_a_disk_that_is_full_is_a_matter_of_the_storage(
    folders: SourceFolders, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pooch

    def full(*_: object, **__: object) -> Callable[..., None]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pooch, "retrieve", full)
    with pytest.raises(StorageError, match=r"cannot write .*downloads/a.txt: the disk is full"):
        folders.locate(Source("a.txt", url=f"{server}/a.txt", sha256=SHA256))


@pytest.mark.network
def test_a_network_that_is_forbidden_is_no_matter_of_the_storage(
    folders: SourceFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(socket.socket, "connect", forbidden)
    with pytest.raises(SourceError, match=r"cannot download .* with --sources DIR"):
        folders.locate(Source("a.txt", url="http://127.0.0.1:9/a.txt", sha256=SHA256))
