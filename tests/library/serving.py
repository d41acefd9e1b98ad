"""A library Server in a thread of its own, with a certificate for localhost: for clients that block."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import trustme

from postroad.library.server import Server
from postroad.message.envelope import Envelope
from postroad.receive.caller import Caller

AUTHORITY = trustme.CA()
SERVER_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
AUTHORITY.issue_cert("localhost", "127.0.0.1").configure_cert(SERVER_TLS)


def trusting() -> ssl.SSLContext:
    """A client's context that trusts our authority."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@dataclass
class Keeper:
    """A handler that keeps what it gets."""

    envelopes: list[Envelope] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    callers: list[Caller] = field(default_factory=list)

    def message(self, caller: Caller, envelope: Envelope, body: bytes) -> None:
        self.callers.append(caller)
        self.envelopes.append(envelope)
        self.bodies.append(body)


@dataclass
class Guarded(Keeper):
    """A handler that knows one user."""

    tried: list[tuple[str, str]] = field(default_factory=list)

    async def auth(self, peer: str, username: str, password: str) -> bool:
        self.tried.append((username, password))
        return (username, password) == ("ann", "right")


@contextlib.contextmanager
def serving(handler: object, **options: Any) -> Iterator[int]:
    """The port of a running server."""
    started: list[int] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        try:
            async with Server(handler, **options) as server:
                started.append(server.port)
                ready.set()
                await stop.wait()
        finally:
            ready.set()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    try:
        yield started[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
