"""Mail hosts for the pool: real sockets on 127.0.0.x that share one port, and count what comes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial

from postroad.net.endpoint import Endpoint, PhaseTimeouts, TlsMode
from postroad.road.pool import Pool, PoolSettings
from postroad.road.route import Route, RouteFailure, RouteHost
from postroad.road.site import Site, SiteLimits
from postroad.road.site_pool import Lease
from postroad.smtp.address import Address
from postroad.smtp.command import Mail, Rcpt


@dataclass
class MailHost:
    """Takes every message, unless told otherwise. `is_down`: nobody listens."""

    name: str
    greeting: bytes = b"220 mx.test ESMTP\r\n"
    offers: tuple[str, ...] = ()
    breaks_tls: bool = False
    """Says 220 to STARTTLS, and then what is no TLS."""
    is_down: bool = False
    answers: asyncio.Event | None = None
    """It greets once this is set."""
    address: str = ""
    connections: int = 0
    open: int = 0
    most_open: int = 0
    commands: list[str] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await self._tell()
        try:
            await self._talk(reader, writer)
        finally:
            self.open -= 1
            await self._tell()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.answers is not None:
            await self.answers.wait()
        writer.write(self.greeting)
        while line := await reader.readline():
            command = line.decode().strip()
            self.commands.append(command)
            await self._tell()
            verb = command[:4].upper()
            if verb == "EHLO":
                words = (self.name, *self.offers)
                lines = [f"250{' ' if at == len(words) - 1 else '-'}{word}\r\n" for at, word in enumerate(words)]
                writer.write("".join(lines).encode())
            elif verb == "STAR" and self.breaks_tls:
                writer.write(b"220 go on\r\n")
                await reader.read(1)
                writer.write(b"this is no TLS record\r\n")
                return
            elif verb == "DATA":
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b".\r\n")
                writer.write(b"250 taken\r\n")
            elif verb == "QUIT":
                writer.write(b"221 bye\r\n")
                return
            else:
                writer.write(b"250 ok\r\n")

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until that holds of this host."""
        async with self.changed:
            await self.changed.wait_for(is_so)

    def said(self, verb: str) -> int:
        """How often the command came."""
        return sum(command.upper().startswith(verb) for command in self.commands)


class Internet:
    """The hosts of one test, and a pool that reaches them."""

    def __init__(self, hosts: dict[str, MailHost], port: int, settings: PoolSettings) -> None:
        self.hosts = hosts
        self.port = port
        self.pool = Pool(settings, self.endpoints)
        self.failures: dict[str, RouteFailure] = {}

    async def endpoints(self, route: Route, host: RouteHost) -> tuple[Endpoint, ...] | RouteFailure:
        failure = self.failures.get(host.name)
        if failure is not None:
            return failure
        address = self.hosts[host.name].address
        return (Endpoint(host=host.name, address=address, port=route.port, is_trusted=route.is_trusted),)

    def route(
        self,
        *hosts: str,
        site: str = "site.test",
        limits: SiteLimits | None = None,
        tls: TlsMode = TlsMode.NONE,
        is_trusted: bool = False,
    ) -> Route:
        names = hosts or tuple(self.hosts)
        return Route(
            domain="example.test",
            hosts=tuple(RouteHost(name, 10) for name in names),
            site=Site(site, limits or SiteLimits()),
            port=self.port,
            tls=tls,
            is_trusted=is_trusted,
        )


PATIENT = PhaseTimeouts.all(20.0)


@contextlib.asynccontextmanager
async def internet(*hosts: MailHost, settings: PoolSettings | None = None) -> AsyncIterator[Internet]:
    """The hosts, each on an address of its own and all on one port; the pool is closed at the end."""
    hosts = hosts or (MailHost("mx.test"),)
    tasks: set[asyncio.Task[None]] = set()
    servers: list[asyncio.Server] = []
    port = 0

    async def run(host: MailHost, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await host.serve(reader, writer)
        writer.close()

    for number, host in enumerate(hosts, start=1):
        host.address = f"127.0.0.{number}"
        if port and host.is_down:
            continue
        server = await asyncio.start_server(partial(run, host), host.address, port)
        port = server.sockets[0].getsockname()[1]
        if host.is_down:
            server.close()
        else:
            servers.append(server)
    there = Internet({host.name: host for host in hosts}, port, settings or PoolSettings(hello="us.test"))
    try:
        yield there
    finally:
        await there.pool.close()
        for server in servers:
            server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for server in servers:
            await server.wait_closed()


MAIL = Mail(Address("a", "us.test"), {})
RCPTS = [Rcpt(Address("b", "example.test"), {})]


async def take(pool: Pool, route: Route) -> Lease:
    """A lease, or the test fails with the reason."""
    got = pool.try_acquire(route) or await pool.acquire(route)
    assert isinstance(got, Lease), got
    return got


async def send(lease: Lease) -> bool:
    """One message by that lease."""
    return (await lease.connection.transact(MAIL, RCPTS, b"x\r\n")).recipients[0].is_accepted
