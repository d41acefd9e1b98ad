"""A small HTTPS server on loopback that answers as told, with a certificate of a test authority.

    with HttpsServer(authority.issue_cert("mta-sts.example.test"), {"/x": Page(b"text")}) as server:
        server.port, server.requests

Runs in a thread of its own.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import trustme


@dataclass
class Page:
    content: bytes = b""
    status: int = 200
    media_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    is_silent: bool = False


@dataclass
class Request:
    method: str
    host: str
    path: str
    media_type: str
    content: bytes


class HttpsServer:
    """`pages` may be changed while it runs."""

    def __init__(self, certificate: trustme.LeafCert, pages: dict[str, Page]) -> None:
        self.pages = pages
        self.requests: list[Request] = []
        self.released = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(b"")

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

            def _answer(self, content: bytes) -> None:
                server.requests.append(
                    Request(
                        self.command,
                        self.headers.get("Host", ""),
                        self.path,
                        self.headers.get("Content-Type", ""),
                        content,
                    )
                )
                page = server.pages.get(self.path, Page(status=404))
                if page.is_silent:
                    server.released.wait(10)
                    return
                self.send_response(page.status)
                self.send_header("Content-Type", page.media_type)
                self.send_header("Content-Length", str(len(page.content)))
                for name, value in page.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(page.content)

            def log_message(self, *_: object) -> None:
                """Nothing is logged."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that goes away is no fault here."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> HttpsServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
