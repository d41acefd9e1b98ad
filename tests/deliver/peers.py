"""Mail hosts to deliver to: real sockets on 127.0.0.1, answers as told; and a resolver that knows where they are."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from postroad.deliver.attempt import Attempter
from postroad.net.endpoint import PhaseTimeouts, TlsMode
from postroad.net.resolver import AddressAnswer, DnsStatus, MxAnswer
from postroad.road.policy import TlsPolicy
from postroad.road.pool import Pool, PoolSettings
from postroad.road.route import Router, StaticRoute
from postroad.road.site import SiteLimits, SitePresets

CLOSE = b"close"
"""An answer that is none: the host closes the connection."""

SILENCE = b"silence"
"""Neither: the host says nothing any more, and keeps the connection."""


@dataclass
class Taken:
    """One transaction that came as far as the body."""

    mail: bytes
    rcpts: list[bytes]
    body: bytes


@dataclass
class Host:
    """A mail host. `answers`: by the start of the command line, in upper case; the body's answer is under `.`."""

    offers: tuple[str, ...] = ("PIPELINING", "SIZE 1000000", "8BITMIME")
    answers: dict[str, bytes] = field(default_factory=dict)
    decide: Callable[[str, int], bytes | None] | None = None
    """Asked first, with the command and how many RCPTs were accepted."""
    greeting: bytes = b"220 mx.example.net ESMTP\r\n"
    taken: list[Taken] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    hellos: set[str] = field(default_factory=set)

    def answer(self, command: str, accepted: int, default: bytes) -> bytes:
        self.commands.append(command)
        if self.decide is not None and (said := self.decide(command, accepted)) is not None:
            return said
        for start, said in self.answers.items():
            if command.upper().startswith(start.upper()):
                return said
        return default

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(self.greeting)
        mail, rcpts = b"", list[bytes]()
        while line := await reader.readline():
            command = line.decode("utf-8").rstrip("\r\n")
            verb = command[:4].upper()
            if verb in ("EHLO", "HELO"):
                self.hellos.add(command[5:])
                keywords = ("mx.example.net", *self.offers)
                said = b"".join(
                    f"250{' ' if at == len(keywords) - 1 else '-'}{word}\r\n".encode()
                    for at, word in enumerate(keywords)
                )
            elif verb == "MAIL":
                mail, rcpts = line.rstrip(), []
                said = self.answer(command, 0, b"250 2.1.0 ok\r\n")
            elif verb == "RCPT":
                said = self.answer(command, len(rcpts), b"250 2.1.5 ok\r\n")
                if said.startswith(b"2"):
                    rcpts.append(line.rstrip())
            elif verb == "DATA":
                said = self.answer(command, len(rcpts), b"354 go on\r\n" if rcpts else b"554 no recipients\r\n")
                if said.startswith(b"354"):
                    writer.write(said)
                    body = bytearray()
                    while (text := await reader.readline()) != b".\r\n":
                        if not text:
                            return
                        body += text.removeprefix(b".")
                    said = self.answer(".", len(rcpts), b"250 2.0.0 taken\r\n")
                    if not said.startswith((b"4", b"5")):
                        self.taken.append(Taken(mail, list(rcpts), bytes(body)))
            elif verb == "QUIT":
                writer.write(b"221 2.0.0 bye\r\n")
                return
            else:
                said = self.answer(command, len(rcpts), b"250 2.0.0 ok\r\n")
            if said == CLOSE:
                return
            if said == SILENCE:
                await reader.read()
                return
            writer.write(said)


@contextlib.asynccontextmanager
async def listening(host: Host) -> AsyncIterator[int]:
    """The host on a free port, which is yielded."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await host.serve(reader, writer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


class Names:
    """A resolver: MX records as told, every host at 127.0.0.1; a domain it does not know does not exist."""

    def __init__(self, **mx: tuple[tuple[int, str], ...]) -> None:
        self.records = {name.replace("_", "."): records for name, records in mx.items()}
        self.is_down = False

    async def mx(self, domain: str) -> MxAnswer:
        if self.is_down:
            return MxAnswer(DnsStatus.TEMPORARY, (), "SERVFAIL")
        records = self.records.get(domain)
        return MxAnswer(DnsStatus.NO_DOMAIN, ()) if records is None else MxAnswer(DnsStatus.FOUND, records)

    async def addresses(self, host: str) -> AddressAnswer:
        return AddressAnswer(DnsStatus.FOUND, ("127.0.0.1",))

    async def close(self) -> None:
        pass


DEFAULT_NAMES = {"example_net": ((10, "mx.example.net"),), "example_com": ((10, "mx.example.com"),)}


@dataclass
class Road:
    """All that an attempt needs, joined."""

    router: Router
    pool: Pool
    names: Names


@contextlib.asynccontextmanager
async def road(
    port: int,
    *,
    limits: SiteLimits | None = None,
    names: Names | None = None,
    static: dict[str, StaticRoute] | None = None,
    tls: TlsMode = TlsMode.NONE,
    timeouts: PhaseTimeouts | None = None,
) -> AsyncIterator[Road]:
    """A road on which every mail host has that port."""
    names = names or Names(**DEFAULT_NAMES)
    router = Router(
        names,
        rng=random.Random(1),
        port=port,
        allow_private=True,
        static=static,
        tls=TlsPolicy(tls),
        presets=SitePresets(limits or SiteLimits()),
    )
    pool = Pool(PoolSettings(hello="mail.example.org", timeouts=timeouts or PhaseTimeouts()), router.endpoints)
    try:
        yield Road(router, pool, names)
    finally:
        await pool.close()


@contextlib.asynccontextmanager
async def attempter(host: Host, **options: object) -> AsyncIterator[Attempter]:
    """An attempter whose road leads to the host."""
    async with listening(host) as port, road(port, **options) as way:  # type: ignore[arg-type]
        yield Attempter(way.router, way.pool)
