import asyncio
import contextlib
import http.client
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from zarrbench.errors import SourceError, StorageError
from zarrbench.report import server

TOKEN = "a-token_of-this-test"


@contextlib.contextmanager
def served(views, page="<p>the page</p>"):
    """A real server in a thread; its port."""
    ready, port = threading.Event(), []

    async def run():
        sockets = bind_sockets(0, server.ADDRESS)
        port.append(sockets[0].getsockname()[1])
        with ThreadPoolExecutor(1) as reader:
            serving = HTTPServer(server.application(page, views, TOKEN, port[0], reader))
            serving.add_sockets(sockets)
            stop[0] = asyncio.get_running_loop(), asyncio.Event()
            ready.set()
            await stop[0][1].wait()
            serving.stop()
            await serving.close_all_connections()

    stop = [None]
    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(10)
    try:
        yield port[0]
    finally:
        loop, event = stop[0]
        loop.call_soon_threadsafe(event.set)
        thread.join(10)


def ask(port, path, method="GET", **headers):
    """Send a request as it is written; return status, headers and body."""
    connection = http.client.HTTPConnection(server.ADDRESS, port, timeout=20)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    with contextlib.closing(connection):
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()


@pytest.fixture
def port(inputs):
    with served(inputs.views) as port:
        yield port


def test_page_and_genes_for_who_has_the_token(inputs, port):
    status, headers, body = ask(port, f"/?token={TOKEN}")
    assert (status, body) == (200, "<p>the page</p>")
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert not {"Server", "Etag", "Set-Cookie", "Access-Control-Allow-Origin"} & set(headers)
    status, headers, body = ask(port, f"/genes/ENSG0000007?token={TOKEN}")
    assert status == 200
    assert headers["Content-Type"].startswith("application/json")
    assert json.loads(body) == inputs.views.view("ENSG0000007")


def test_genes_are_read_when_they_are_asked_for(inputs, port):
    ask(port, f"/?token={TOKEN}")
    assert inputs.views.variants.asked == []
    ask(port, f"/genes/ENSG0000009?token={TOKEN}")
    assert inputs.views.variants.asked == ["ENSG0000009"]


@pytest.mark.parametrize("path", ["/", "/genes/ENSG0000007", "/elsewhere"])
@pytest.mark.parametrize(
    "query", ["", "?token=", f"?token={TOKEN}x", "?token=%ff%00", "?token=%C3%A9"]
)
def test_without_the_token_nothing_is_told(inputs, port, path, query):
    status, headers, body = ask(port, path + query)
    assert status in (400, 403)
    assert "no-store" in headers.get("Cache-Control", "no-store")
    assert "the page" not in body
    assert "cells" not in body
    assert inputs.views.variants.asked == []


def test_only_its_own_names_for_the_host(port):
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        assert ask(port, f"/?token={TOKEN}", Host=host)[0] == 200
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}",
                 f"127.0.0.1:{port}.evil.example", f"[::1]:{port}", ""):  # fmt: skip
        status, _, body = ask(port, f"/?token={TOKEN}", Host=host)
        assert status in (400, 403), host
        assert "the page" not in body


def test_it_is_only_read(port):
    status, headers, body = ask(port, f"/?token={TOKEN}", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "15", "")
    assert ask(port, f"/genes/ENSG0000007?token={TOKEN}", "HEAD")[0] == 200
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        for path in ("/", "/genes/ENSG0000007"):
            assert ask(port, f"{path}?token={TOKEN}", method)[0] == 405


@pytest.mark.parametrize(
    "path",
    ["/genes/ENSG9", "/genes/", "/genes/../../etc/passwd", "/genes/..%2f..%2fetc%2fpasswd",
     "/../../../etc/passwd", "/report.html", "/genes/%00", "/static/x"],
)  # fmt: skip
def test_no_path_leads_elsewhere(inputs, port, path):
    status, _, body = ask(port, f"{path}?token={TOKEN}")
    assert status == 404
    assert "root:" not in body
    assert inputs.views.variants.asked == []


def test_what_cannot_be_read_is_said_and_the_next_is(inputs):
    class Broken:
        genes = inputs.views.genes

        def view(self, gene):
            if gene == "ENSG0000001":
                raise SourceError("the bucket is gone")
            if gene == "ENSG0000002":
                raise RuntimeError("secret detail")
            return {"gene": gene}

    with served(Broken()) as port:
        assert ask(port, f"/genes/ENSG0000001?token={TOKEN}")[::2] == (500, "the bucket is gone")
        status, _, body = ask(port, f"/genes/ENSG0000002?token={TOKEN}")
        assert (status, "secret" in body, "Traceback" in body) == (500, False, False)
        assert ask(port, f"/genes/ENSG0000003?token={TOKEN}")[0] == 200


def test_it_is_bound_to_this_machine_and_its_token_is_new(inputs, monkeypatch):
    said = []

    def say(text):
        said.append(text)
        port = int(text.split(":")[2].split("/")[0])
        with socket.create_connection((server.ADDRESS, port), timeout=5) as connection:
            assert connection.getpeername()[0] == "127.0.0.1"
        raise KeyboardInterrupt  # Ctrl-C, as soon as it can be opened

    for _ in range(2):
        server.serve("", inputs.views, 0, say)
    tokens = [text.split("token=")[1] for text in said]
    assert len(set(tokens)) == 2
    assert min(map(len, tokens)) >= 40
    assert all(text.startswith("http://127.0.0.1:") for text in said)


def test_a_port_that_is_taken(inputs):
    with socket.socket() as taken:
        taken.bind((server.ADDRESS, 0))
        taken.listen()
        with pytest.raises(StorageError, match=r"cannot be used .*--port"):
            server.serve("", inputs.views, taken.getsockname()[1], print)
