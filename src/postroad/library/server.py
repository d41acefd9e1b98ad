"""`Server`: receive mail in Python, with a handler of a few hooks.

    class Handler:
        async def message(self, caller, envelope, body):
            print(envelope.reverse_path, envelope.recipients, len(body))

    async with Server(Handler(), port=2525) as server:
        await server.wait()

It is the same protocol core and session that `postroad serve` runs, without its spool: a message is kept, or not,
by what the handler does before it returns.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import ssl
from collections.abc import Awaitable
from types import TracebackType
from typing import Any

from postroad.net.listen import bind
from postroad.receive.accept import to_envelope
from postroad.receive.auth import BAD_CREDENTIALS
from postroad.receive.caller import Caller, Role
from postroad.receive.checks import Checks
from postroad.receive.door import TlsDoor
from postroad.receive.session import Reception
from postroad.receive.station import Roll, SessionTimeouts, Station
from postroad.smtp.reply import Reply
from postroad.smtp.sasl import ScramKeys
from postroad.smtp.server_events import (
    HelloReceived,
    MailReceived,
    MessageReceived,
    RcptReceived,
    ServerSettings,
)
from postroad.store.accounts import Account


class Server:
    """Listens while `async with` lasts.

    The handler may have any of these methods, plain or async; each returns None to accept or a Reply to refuse:

    - `hello(caller, name)`, `mail(caller, reverse_path)`, `rcpt(caller, address)`;
    - `message(caller, envelope, body)`: return None (250) only once the message is safe;
    - `auth(peer, username, password) -> bool`: offers AUTH PLAIN and LOGIN inside TLS.

    `port` 0 takes a free one, told by `server.port`. `tls` offers STARTTLS, or with `implicit_tls` TLS at once.
    """

    def __init__(
        self,
        handler: object,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        hostname: str = "localhost",
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        auth_required: bool = False,
        settings: ServerSettings | None = None,
        timeouts: SessionTimeouts | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self._handler = handler
        self._tls = tls
        self._is_implicit = implicit_tls
        has_auth = hasattr(handler, "auth")
        self._settings = settings or ServerSettings(
            hostname=hostname,
            has_starttls=tls is not None and not implicit_tls,
            auth_mechanisms=("PLAIN", "LOGIN") if has_auth else (),
            is_auth_required=auth_required,
        )
        self._timeouts = timeouts or SessionTimeouts()
        self._roll = Roll()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._listener: socket.socket | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Bind and listen. Raises ListenError."""
        loop = asyncio.get_running_loop()
        listener = bind(self.host, self.port, shared=False)
        self.port = listener.getsockname()[1]
        station = self._station()
        if self._is_implicit:
            self._listener = listener
            self._spawn(TlsDoor(listener, lambda: station, self._roll).serve())
        else:
            self._server = await loop.create_server(lambda: Reception(station, self._roll), sock=listener)
        self._sweeper = loop.create_task(self._sweep())

    def _station(self) -> Station:
        hooks = _Hooks(self._handler, self._settings.hostname)
        return Station(
            settings=self._settings,
            role=Role.MX,
            checks=Checks(hello=(hooks.hello,), mail=(hooks.mail,), rcpt=(hooks.rcpt,)),
            accept=lambda caller, event, amended: hooks.message(caller, event),
            spawn=self._spawn,
            nonce=lambda: secrets.token_urlsafe(18),
            authenticator=hooks if hasattr(self._handler, "auth") else None,
            tls=self._tls,
            timeouts=self._timeouts,
        )

    def _spawn(self, work: Any) -> object:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._roll.sweep(asyncio.get_running_loop().time())

    async def wait(self) -> None:
        """Serve until cancelled."""
        await asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        """Close the listener and every session."""
        if self._server is not None:
            self._server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._roll.drain()
        self._roll.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
        if self._server is not None:
            await self._server.wait_closed()


class _Hooks:
    """The handler's methods in the shapes that a session asks for."""

    def __init__(self, handler: object, hostname: str) -> None:
        self._handler = handler
        self._hostname = hostname

    def _call(self, name: str, *arguments: object) -> Any:
        method = getattr(self._handler, name, None)
        return None if method is None else method(*arguments)

    def hello(self, caller: Caller, event: HelloReceived) -> Reply | Awaitable[Reply | None] | None:
        return self._call("hello", caller, event.name)  # type: ignore[no-any-return]

    def mail(self, caller: Caller, event: MailReceived) -> Reply | Awaitable[Reply | None] | None:
        return self._call("mail", caller, event.reverse_path)  # type: ignore[no-any-return]

    def rcpt(self, caller: Caller, event: RcptReceived) -> Reply | Awaitable[Reply | None] | None:
        return self._call("rcpt", caller, event.forward_path)  # type: ignore[no-any-return]

    def message(self, caller: Caller, event: MessageReceived) -> Reply | Awaitable[Reply | None] | None:
        return self._call("message", caller, to_envelope(event, self._hostname, event.body), event.body)  # type: ignore[no-any-return]

    async def check_password(self, username: str, authzid: str, password: str, peer: str) -> Reply | None:
        outcome = self._call("auth", peer, username, password)
        is_right = await outcome if isinstance(outcome, Awaitable) else outcome
        return None if is_right is True and authzid in ("", username) else BAD_CREDENTIALS

    async def check_token(self, username: str, authzid: str, token: str, peer: str) -> Reply | None:
        return BAD_CREDENTIALS  # not offered here

    def account(self, username: str) -> Account | None:
        return None

    def bar(self, username: str, peer: str) -> Reply | None:
        return None

    def scram_keys(self, username: str, authzid: str) -> ScramKeys:
        raise LookupError(f"SCRAM is not offered to {username}")

    async def failed(self, username: str, peer: str) -> None:
        return None

    def succeeded(self, username: str, peer: str) -> None:
        return None
