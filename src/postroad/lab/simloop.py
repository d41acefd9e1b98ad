"""A simulated event loop: asyncio with virtual time and an in-memory network; real Postroad code runs on it unchanged.

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        runner.run(main())

When nothing is ready, `time()` jumps to the next timer, so minutes pass in no time. What would leave the process is
refused; work for executors runs at once. Tasks hash by their number, so that sets of them have the same order in every
run: the same program with the same seeds does the same. TLS is the standard library's, over the memory transport.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import ssl
from asyncio import base_events
from collections.abc import Callable, Coroutine, Generator, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from weakref import WeakSet

from postroad.lab.wire import Address, MemoryServer, MemoryTransport

CLIENT = "127.0.0.1"
"""Where connections come from that name no local address."""
FIRST_PORT = 40_000

Value = TypeVar("Value")


class StandstillError(RuntimeError):
    """Nothing is ready and no timer is set, but the program has not ended: it would wait for ever."""


class _Task(asyncio.Task[Any]):
    """A task that hashes by its number in the loop."""

    def __init__(self, number: int, *arguments: Any, **named: Any) -> None:
        self._number = number
        super().__init__(*arguments, **named)

    def __hash__(self) -> int:
        return self._number


class _Selector:
    """Stands where the loop waits for sockets: it lets time pass instead."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        """Nothing ever arrives from outside."""
        if timeout is None:
            raise StandstillError("the simulation stands still: nothing is ready, and no timer is set")
        self._loop.pass_time(timeout)
        return []


@dataclass(frozen=True, slots=True)
class Attempt:
    """A connection that was tried: when, and whereto."""

    at: float
    address: str
    port: int


class SimulatedLoop(base_events.BaseEventLoop):
    """`latency_s`: one way, on every link. `silent`: addresses that never answer."""

    def __init__(self, *, latency_s: float = 0.0, silent: Iterable[str] = (), keep_attempts: int = 1_000_000) -> None:
        self._now = 0.0
        super().__init__()
        self._clock_resolution = 1e-6  # above what a float of a hundred years can tell apart
        self._selector = _Selector(self)
        self.latency_s = latency_s
        self.silent = set(silent)
        self.attempts: list[Attempt] = []
        """Connections that were tried, the first `keep_attempts` of them."""
        self._keep_attempts = keep_attempts
        self._listeners: dict[Address, MemoryServer] = {}
        self._transports: WeakSet[MemoryTransport] = WeakSet()
        self._next_port = FIRST_PORT
        self._tasks = 0
        self.set_task_factory(self._make_task)

    # Time -----------------------------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def pass_time(self, seconds: float) -> None:
        """Called when nothing is ready."""
        self._now += max(0.0, seconds)

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps, so nobody is woken."""

    # Work for threads ------------------------------------------------------------------------------------------

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., Value], *args: Any
    ) -> asyncio.Future[Value]:
        """At once, in this thread: other threads would have their own ideas of time."""
        future: asyncio.Future[Value] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        """Addresses only: names are for the resolver."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            raise OSError(errno.EADDRNOTAVAIL, f"{host!r} is no address, and the simulated loop asks no DNS") from None
        family = 10 if address.version == 6 else 2
        return [(family, 1, 6, "", (str(address), int(port)))]

    # Network --------------------------------------------------------------------------------------------------

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str,
        port: int,
        *,
        ssl: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        local_addr: tuple[str, int] | None = None,
        **_: Any,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Connect to a listener of this loop. Raises OSError as the real one does."""
        if len(self.attempts) < self._keep_attempts:
            self.attempts.append(Attempt(self._now, host, port))
        own = local_addr[0] if local_addr else CLIENT
        if host in self.silent:
            await asyncio.sleep(86_400.0)
            raise TimeoutError(errno.ETIMEDOUT, "connection timed out")
        await asyncio.sleep(2 * self.latency_s)
        server = self._listeners.get((host, port))
        if server is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"connect call failed ({host!r}, {port})")
        protocol = protocol_factory()
        here = MemoryTransport(self, protocol, (own, self._new_port()), (host, port), self.latency_s)
        there = MemoryTransport(self, asyncio.Protocol(), (host, port), here.get_extra_info("sockname"), self.latency_s)
        here.join(there)
        self._transports.update((here, there))
        server.accept(there)
        if ssl is None:
            protocol.connection_made(here)
            return here, protocol
        return await self._secured(here, protocol, ssl, server_hostname=server_hostname or host), protocol

    async def _secured(
        self,
        transport: MemoryTransport,
        protocol: asyncio.BaseProtocol,
        context: ssl.SSLContext,
        **options: Any,
    ) -> asyncio.Transport:
        secured = await self.start_tls(transport, cast(asyncio.Protocol, protocol), context, **options)
        if secured is None:
            raise ConnectionResetError(errno.ECONNRESET, "connection lost during the TLS handshake")
        protocol.connection_made(secured)
        return secured

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | Iterable[str],
        port: int = 0,
        *,
        ssl: ssl.SSLContext | None = None,
        **_: Any,
    ) -> MemoryServer:
        """Listen on addresses of this loop; port 0 takes a free one. Raises OSError where somebody listens already."""
        hosts = [host] if isinstance(host, str) else list(host)
        port = port or self._new_port()
        addresses = [(one, port) for one in hosts]
        if any(address in self._listeners for address in addresses):
            raise OSError(errno.EADDRINUSE, f"somebody listens on port {port} already")

        def accept(transport: MemoryTransport) -> None:
            protocol = protocol_factory()
            transport.set_protocol(protocol)
            if ssl is None:
                protocol.connection_made(transport)
                return
            task = self.create_task(self._secured(transport, protocol, ssl, server_side=True))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

        server = MemoryServer(self, addresses, accept, self._stop_listening)
        self._listeners.update(dict.fromkeys(addresses, server))
        return server

    def close(self) -> None:
        """As every loop's; connections that are still open are dropped without a word."""
        for transport in tuple(self._transports):
            transport.drop()
        super().close()

    def _stop_listening(self, server: MemoryServer) -> None:
        for address in server.addresses:
            self._listeners.pop(address, None)

    def _new_port(self) -> int:
        self._next_port = self._next_port + 1 if self._next_port < 65_535 else FIRST_PORT
        return self._next_port

    @staticmethod
    def _make_task(
        loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        **named: Any,
    ) -> asyncio.Task[Any]:
        assert isinstance(loop, SimulatedLoop)
        loop._tasks += 1
        return _Task(loop._tasks, coro, loop=loop, **named)
