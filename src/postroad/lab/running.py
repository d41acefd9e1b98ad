"""A world brought to life: on loopback with a DNS server, or in the simulated loop with a resolver.

async with Lab(world) as lab:            # real sockets; lab.port, lab.resolver ("127.0.0.1:PORT"), lab.log
    …
simulate(main, world)                    # main gets a SimulatedLab; minutes pass in milliseconds
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import random
import socket
import ssl
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from postroad.lab.catalogue import CATALOGUE, play
from postroad.lab.conversation import Conversation
from postroad.lab.dns import DnsServer, LabError, ZoneResolver
from postroad.lab.host import HostProtocol, Latency, Place
from postroad.lab.letter import Letter
from postroad.lab.log import LabLog
from postroad.lab.personality import Talk
from postroad.lab.returning import GiveBack
from postroad.lab.simloop import SimulatedLoop
from postroad.lab.wording import Manner
from postroad.lab.world import HostSpec, World
from postroad.lab.zone import name_of
from postroad.net.tls import make_self_signed, server_context

BACKLOG = 512
MAX_PEERS = 10_000
"""Clients whose name in DNS is remembered."""
UNANSWERED_FILL = 4
"""Connections that fill the queue of a host that never answers."""
_TRIES = 20

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSettings:
    """How a world is run. `port`: 0 takes a free one. `dns_latency_s`: in the simulated loop."""

    latency: Latency = field(default_factory=Latency)
    port: int = 0
    dns_port: int = 0
    returns: tuple[str, int] | None = None
    """Address and port of the mail host that gets bounces; None: what bounces is noted alone. On loopback only."""
    dns_latency_s: float = 0.0
    link_s: float = 0.0
    """One way, on every link of the simulated loop."""


class Hosts:
    """The hosts of a world as protocols, with their memory of this run."""

    def __init__(
        self, world: World, log: LabLog, latency: Latency, give_back: Callable[[str, Letter], None] | None = None
    ) -> None:
        self._world = world
        self._log = log
        self._latency = latency
        self._give_back = give_back
        self._tls = _certificate()
        self._open: set[HostProtocol] = set()
        self._names: dict[str, str] = {}

    def protocol(self, spec: HostSpec) -> Callable[[], HostProtocol]:
        """Makes the protocol of each connection to that host."""
        manner = Manner(random.Random(spec.seed), spec.name)  # noqa: S311 - repeatable, no secret
        personality = play(spec.personality, manner, self._world.standing, spec.options)
        place = Place(spec.name, spec.site)

        def converse(peer: str) -> Conversation:
            return Conversation(personality, Talk(peer, self._name_of(peer)))

        def make() -> HostProtocol:
            made = HostProtocol(
                place, converse, self._log, self._latency, self._tls, self._open.discard, self._give_back
            )
            self._open.add(made)
            return made

        return make

    def _name_of(self, peer: str) -> str:
        if peer not in self._names:
            if len(self._names) >= MAX_PEERS:
                self._names.clear()
            self._names[peer] = name_of(self._world.zone, peer)
        return self._names[peer]

    async def stop(self) -> None:
        """End what is still open."""
        for protocol in tuple(self._open):
            protocol.stop()
        for _ in range(100):
            if not self._open:
                return
            await asyncio.sleep(0.01)


def _certificate() -> ssl.SSLContext:
    with tempfile.TemporaryDirectory() as name:
        now = datetime.datetime.now(datetime.UTC)
        certificate, key, _ = make_self_signed(Path(name), "mx.example", now)
        return server_context(certificate, key)


class Lab:
    """A world on loopback, while `async with` lasts. Raises LabError where it cannot listen."""

    def __init__(self, world: World, settings: LabSettings | None = None, *, log: LabLog | None = None) -> None:
        self.world = world
        self.settings = settings or LabSettings()
        self.log = LabLog() if log is None else log
        self.port = self.settings.port or 25
        self.resolver = ""
        """ADDRESS:PORT of the DNS server."""
        returns = self.settings.returns
        self.given_back = None if returns is None else GiveBack(*returns)
        take = None if self.given_back is None else self.given_back.take
        self._hosts = Hosts(world, self.log, self.settings.latency, take)
        self._servers: list[asyncio.Server] = []
        self._sockets: list[socket.socket] = []
        self._dns = DnsServer(world.zone, port=self.settings.dns_port)

    async def __aenter__(self) -> Lab:
        try:
            await self._dns.start()
            self.resolver = self._dns.address
            await self._listen()
            if self.given_back is not None:
                self.given_back.start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _listen(self) -> None:
        specs = [spec for spec in self.world.hosts.values() if spec.personality != "refused"]
        bound = _bind_all([spec.address for spec in specs], self.settings.port)
        self._sockets = list(bound)
        if bound:
            self.port = bound[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        for spec, listener in zip(specs, bound, strict=True):
            if spec.personality == "unanswered":
                self._sockets += _fill(listener)
            else:
                make = self._hosts.protocol(spec)
                self._servers.append(await loop.create_server(make, sock=listener, backlog=BACKLOG))

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        await self._hosts.stop()
        if self.given_back is not None:
            await self.given_back.stop()
        await self._dns.stop()
        for one in self._sockets:
            one.close()


def _bind_all(addresses: list[str], port: int) -> list[socket.socket]:
    """A socket for each address, all on one port. Raises LabError."""
    for attempt in range(_TRIES):
        bound: list[socket.socket] = []
        wanted = port
        try:
            for address in addresses:
                one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                bound.append(one)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.setblocking(False)
                one.bind((address, wanted))
                wanted = one.getsockname()[1]
        except OSError as error:
            for one in bound:
                one.close()
            if error.errno == errno.EADDRINUSE and not port and attempt < _TRIES - 1:
                continue
            raise LabError(_why_not(error, wanted, len(addresses))) from None
        return bound
    raise AssertionError


def _why_not(error: OSError, port: int, count: int) -> str:
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return (
            f"{count} hosts need more open files than this process may have: raise ulimit -n, or take fewer addresses"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return "this system has only 127.0.0.1 of 127.0.0.0/8; the lab's hosts need addresses of their own"
    hint = "; ports below 1024 need root" if isinstance(error, PermissionError) else ""
    return f"cannot listen on port {port} of the lab's hosts: {(error.strerror or '').lower()}{hint}"


def _fill(listener: socket.socket) -> list[socket.socket]:
    """Fill a listener's queue, so that whoever comes next is never answered."""
    listener.listen(0)
    fillers = []
    for _ in range(UNANSWERED_FILL):
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        one.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            one.connect(listener.getsockname())
        fillers.append(one)
    return fillers


@dataclass(slots=True)
class SimulatedLab:
    """A world in the simulated loop. `resolver` is a net.resolver.Resolver."""

    world: World
    log: LabLog
    port: int
    resolver: ZoneResolver
    loop: SimulatedLoop


def simulate(
    main: Callable[[SimulatedLab], Coroutine[Any, Any, Result]],
    world: World,
    settings: LabSettings | None = None,
    *,
    log: LabLog | None = None,
) -> Result:
    """Run `main` in a simulated loop in which the world's hosts stand, on port 25 unless the settings say another."""
    settings = settings or LabSettings()
    kept = LabLog() if log is None else log
    silent = [spec.address for spec in world.hosts.values() if spec.personality == "unanswered"]
    factory = partial(SimulatedLoop, latency_s=settings.link_s, silent=silent)
    with asyncio.Runner(loop_factory=factory) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, SimulatedLoop)
        resolver = ZoneResolver(world.zone, latency_s=settings.dns_latency_s)
        lab = SimulatedLab(world, kept, settings.port or 25, resolver, loop)
        return runner.run(_live(main, lab, settings))


async def _live(
    main: Callable[[SimulatedLab], Coroutine[Any, Any, Result]], lab: SimulatedLab, settings: LabSettings
) -> Result:
    hosts = Hosts(lab.world, lab.log, settings.latency)
    servers = [
        await lab.loop.create_server(hosts.protocol(spec), spec.address, lab.port)
        for spec in lab.world.hosts.values()
        if spec.personality in CATALOGUE
    ]
    try:
        return await main(lab)
    finally:
        for server in servers:
            server.close()
        await hosts.stop()
