"""The page served to the browser of this machine: single genes are read when they are asked for.

What a report holds is about people, if never about one of them, and other users of the machine and
pages of other sites open in the browser must not read it: the server listens on 127.0.0.1 alone,
knows those who were given the token, by a URL that no Referer repeats, and takes no name but its
own for the host, so that no foreign name can be made to lead here (DNS rebinding). It only reads.
"""

import asyncio
import hmac
import json
import logging
import os
import secrets
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from tornado.httpserver import HTTPServer
from tornado.httputil import url_concat
from tornado.web import Application, HTTPError, RequestHandler

from zarrbench.errors import StorageError, ZarrbenchError
from zarrbench.report.gene_views import GeneViews

ADDRESS = "127.0.0.1"
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; img-src data: blob:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
}
_MEANINGS = {
    403: "this needs the whole URL that 'zarrbench explore' printed, with its token",
    404: "there is no such page or gene",
    405: "this page is read, not changed: use GET or HEAD",
}


def serve(page: str, views: GeneViews, port: int, say: Callable[[str], None]) -> None:
    """Serve a page and its genes on 127.0.0.1 until it is interrupted (Ctrl-C), and return then.

    Parameters
    ----------
    page : str
        `zarrbench.report.page.report_html` without embedded views.
    views : GeneViews
        Read in one thread, gene by gene; nothing is kept.
    port : int
        0 takes one that is free.
    say : callable
        Is told the URL, with a new token, once it can be opened.

    Raises
    ------
    StorageError
        If the port is taken or may not be used.
    """
    try:
        asyncio.run(_serve(page, views, port, say, secrets.token_urlsafe(32)))
    except KeyboardInterrupt:  # the way to end it
        return


async def _serve(
    page: str, views: GeneViews, port: int, say: Callable[[str], None], token: str
) -> None:
    try:
        listening = socket.create_server((ADDRESS, port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise StorageError(
            f"port {port} of {ADDRESS} cannot be used ({reason}); name another one with --port, or "
            f"0 for any that is free"
        ) from error
    listening.setblocking(False)
    port = listening.getsockname()[1]
    with ThreadPoolExecutor(1) as reader:
        server = HTTPServer(application(page, views, token, port, reader))
        server.add_socket(listening)
        try:
            say(url_concat(f"http://{ADDRESS}:{port}/", {"token": token}))
            await asyncio.Event().wait()
        finally:
            server.stop()


def application(
    page: str, views: GeneViews, token: str, port: int, reader: ThreadPoolExecutor
) -> Application:
    """Return what answers: ``/`` with the page, ``/genes/<id>`` with the view of a gene as JSON."""
    shared = {
        "page": page,
        "views": views,
        "genes": frozenset(views.genes),
        "reader": reader,
        "token": token,
        "hosts": frozenset(f"{name}:{port}" for name in (ADDRESS, "localhost")),
    }
    return Application(
        [(r"/", _Page, shared), (r"/genes/([^/]+)", _Gene, shared)],
        default_handler_class=_Nothing,
        default_handler_args=shared,
        log_function=lambda handler: None,  # its lines would hold the token
    )


class _Handler(RequestHandler):
    SUPPORTED_METHODS: ClassVar[tuple[str, ...]] = ("GET", "HEAD")

    def initialize(self, **shared: Any) -> None:
        self.shared = shared

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        for name, value in _HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        given = self.get_query_argument("token", "", strip=False)
        known = hmac.compare_digest(given.encode(), self.shared["token"].encode())
        if self.request.host not in self.shared["hosts"] or not known:
            raise HTTPError(403)

    def compute_etag(self) -> None:
        return None  # nothing may be kept

    def write_error(self, status_code: int, **details: Any) -> None:
        error = details.get("exc_info", (None, None, None))[1]
        text = str(error) if isinstance(error, ZarrbenchError) else _MEANINGS.get(status_code, "")
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(text or f"the server cannot answer this ({status_code})")

    def log_exception(self, kind: Any, value: Any, traceback: Any) -> None:
        if not isinstance(value, HTTPError):
            logging.getLogger("zarrbench").error("a gene could not be read: %s", value)


class _Page(_Handler):
    def get(self) -> None:
        self.write(self.shared["page"])

    head = get


class _Gene(_Handler):
    async def get(self, gene: str) -> None:
        if gene not in self.shared["genes"]:
            raise HTTPError(404)
        loop = asyncio.get_running_loop()
        view = await loop.run_in_executor(self.shared["reader"], self.shared["views"].view, gene)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.write(json.dumps(view, allow_nan=False, separators=(",", ":")))

    head = get


class _Nothing(_Handler):
    def get(self) -> None:
        raise HTTPError(404)

    head = get
