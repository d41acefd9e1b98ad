"""Connections to other mail hosts, shared by delivery and verification, under each site's limits.

    lease = pool.try_acquire(route) or await pool.acquire(route)
    ... lease.connection.transact(…) or .probe(…) ...
    lease.release()

A connection is used again for the next message to the same host; waiters of a site are served in order; unused
connections end with QUIT. Hosts are tried in the route's order (C-04), a host that just failed is passed over for a
while, and a failed opportunistic TLS handshake is followed by one try in the clear (C-12).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from postroad.net.dialogue import Connection, client_context, connect
from postroad.net.endpoint import DialogueError, Endpoint, PhaseTimeouts, TlsMode
from postroad.road.route import Route, RouteFailure, RouteHost
from postroad.road.site import Site
from postroad.road.throttle import BackOff, Throttle
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply

Endpoints = Callable[[Route, RouteHost], Awaitable["tuple[Endpoint, ...] | RouteFailure"]]


class Connector(Protocol):
    """Opens one connection; net.dialogue.connect does."""

    def __call__(
        self,
        endpoint: Endpoint,
        *,
        hello: str,
        tls: TlsMode,
        timeouts: PhaseTimeouts,
        ssl_context: ssl.SSLContext | None,
        credentials: Any,
    ) -> Coroutine[Any, Any, Connection]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """Limits of one process; seconds."""

    hello: str
    timeouts: PhaseTimeouts = field(default_factory=PhaseTimeouts)
    connections: int = 500
    waiting: int = 100_000
    """Acquirers waiting at a time, over all sites."""
    longest_pause_s: float = 60.0
    """A site that is to be left alone for longer is not waited for: the message is deferred."""
    down_s: float = 60.0
    """How long a host that could not be reached is passed over where there are others."""
    down_table: int = 10_000
    sites: int = 50_000
    """Sites remembered while nothing is connected to them."""
    back_off: BackOff = field(default_factory=BackOff)


@dataclass(frozen=True, slots=True)
class HostAttempt:
    """One host that was tried in vain."""

    host: str
    address: str
    phase: Phase
    reply: Reply | None
    detail: str


@dataclass(frozen=True, slots=True)
class ConnectFailure:
    """No host of the route could be used now; `attempts` in the order in which they were made."""

    attempts: tuple[HostAttempt, ...]
    retry_after_s: float | None = None

    @property
    def last(self) -> HostAttempt:
        """The attempt that tells most: the last one in which a host spoke, or else the last."""
        spoken = [attempt for attempt in self.attempts if attempt.reply is not None]
        return (spoken or list(self.attempts))[-1]


class Lease:
    """A connection in use by one caller. Release it once, whatever happened."""

    __slots__ = ("_home", "_is_released", "connection")

    def __init__(self, connection: Connection, home: _SitePool) -> None:
        self.connection = connection
        self._home = home
        self._is_released = False

    def release(self, *, reusable: bool = True) -> None:
        """Give the connection back; not `reusable` ends it by QUIT."""
        if not self._is_released:
            self._is_released = True
            self._home.take_back(self.connection, reusable=reusable)

    def trouble(self) -> None:
        """The site has said that it does not want us now (a 421, a 4.7.x, a block): it is left alone for a while."""
        self._home.trouble()


@dataclass(slots=True)
class _Idle:
    connection: Connection
    since: float


@dataclass(slots=True)
class _Waiter:
    route: Route
    future: asyncio.Future[Connection | None]


class _SitePool:
    """The connections to one site."""

    __slots__ = ("_pool", "idle", "site", "throttle", "waiters")

    def __init__(self, pool: Pool, site: Site) -> None:
        self._pool = pool
        self.site = site
        self.throttle = Throttle(site.limits, pool.settings.back_off)
        self.idle: deque[_Idle] = deque()
        self.waiters: deque[_Waiter] = deque()

    def find_idle(self, route: Route) -> Connection | None:
        """The connection used last among those that fit: the others may then grow old and go."""
        for index in range(len(self.idle) - 1, -1, -1):
            connection = self.idle[index].connection
            if not connection.is_open:
                del self.idle[index]
                self._pool.forget(self, connection)
            elif fits(connection, route):
                del self.idle[index]
                return connection
        return None

    def take_back(self, connection: Connection, *, reusable: bool) -> None:
        """After a lease: to the next waiter it fits, or to the idle ones, or out."""
        limits = self.site.limits
        is_usable = reusable and connection.is_open and connection.transactions < limits.messages_per_connection
        if connection.transactions and is_usable:
            self.throttle.success()
        if not is_usable or self._pool.is_closing:
            self._pool.end(self, connection)
            return
        for index, waiter in enumerate(self.waiters):
            if not waiter.future.done() and fits(connection, waiter.route):
                del self.waiters[index]
                waiter.future.set_result(connection)
                return
        if limits.idle_s <= 0:
            self._pool.end(self, connection)
            return
        self.idle.append(_Idle(connection, self._pool.now()))
        self._pool.wake_sweeper()

    def trouble(self) -> None:
        self.throttle.trouble(self._pool.now())

    def wake_waiter(self) -> None:
        """A place is free: the first waiter tries again."""
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.future.done():
                waiter.future.set_result(None)
                return


def fits(connection: Connection, route: Route) -> bool:
    """Whether a connection made for one route serves another: the same host and port, secured at least as asked."""
    endpoint = connection.endpoint
    is_secured = connection.tls is not None
    if route.tls in (TlsMode.VERIFIED, TlsMode.IMPLICIT):
        is_secured = connection.tls is not None and connection.tls.verified
    if route.tls in (TlsMode.NONE, TlsMode.OPPORTUNISTIC):
        is_secured = True
    return (
        is_secured
        and endpoint.port == route.port
        and connection.credentials == route.credentials
        and any(endpoint.host == host.name for host in route.hosts)
    )


class Pool:
    """One for a process. `endpoints` resolves a route's host (road.route.Router.endpoints)."""

    def __init__(
        self,
        settings: PoolSettings,
        endpoints: Endpoints,
        *,
        connector: Connector = connect,
        ssl_contexts: Callable[[TlsMode], ssl.SSLContext] = client_context,
    ) -> None:
        self.settings = settings
        self.is_closing = False
        self._endpoints = endpoints
        self._connector = connector
        self._contexts = ssl_contexts
        self._context_cache: dict[TlsMode, ssl.SSLContext] = {}
        self._loop = asyncio.get_running_loop()
        self._sites: OrderedDict[Site, _SitePool] = OrderedDict()
        self._open = 0
        self._waiting = 0
        self._at_limit: deque[asyncio.Future[None]] = deque()
        self._down: OrderedDict[str, float] = OrderedDict()
        self._sweeper: asyncio.TimerHandle | None = None
        self._farewells: set[asyncio.Task[None]] = set()

    def now(self) -> float:
        """The loop's clock."""
        return self._loop.time()

    @property
    def open_connections(self) -> int:
        """Connections now open or being opened."""
        return self._open

    def try_acquire(self, route: Route) -> Lease | None:
        """An idle connection that fits, at once; None where waiting or connecting is needed."""
        home = self._sites.get(route.site)
        if home is None or not home.idle or home.throttle.message_wait(self.now()) > 0:
            return None
        connection = home.find_idle(route)
        if connection is None:
            return None
        home.throttle.message_begun(self.now())
        return Lease(connection, home)

    async def acquire(self, route: Route) -> Lease | RouteFailure | ConnectFailure:
        """A connection for that route, waited for under the site's limits; or why there is none."""
        home = self._home(route.site)
        while True:
            if self.is_closing:
                return _not_now("this host is shutting down")
            now = self.now()
            pace = home.throttle.message_wait(now)
            if pace > 0:
                await asyncio.sleep(pace)
                continue
            connection = home.find_idle(route)
            if connection is None:
                pause = home.throttle.connection_wait(now)
                if pause == float("inf"):
                    if self._waiting >= self.settings.waiting:
                        return _not_now("too many messages wait for this site")
                    connection = await self._wait(home, route)
                    if connection is None:
                        continue
                elif pause > self.settings.longest_pause_s:
                    return _not_now(f"the site asked to be left alone; {pause:.0f} s of that are left", pause)
                elif pause > 0:
                    await asyncio.sleep(pause)
                    continue
                elif self._open >= self.settings.connections and not self._end_an_idle_one():
                    await self._wait_for_any()
                    continue
                else:
                    return await self._open_one(home, route)
            if not connection.is_open:
                self.forget(home, connection)
                continue
            home.throttle.message_begun(now)
            return Lease(connection, home)

    def _home(self, site: Site) -> _SitePool:
        home = self._sites.get(site)
        if home is None:
            home = self._sites[site] = _SitePool(self, site)
            if len(self._sites) > self.settings.sites:
                self._forget_a_site()
        return home

    def _forget_a_site(self) -> None:
        for site, home in self._sites.items():
            if not home.throttle.connections and not home.waiters and not home.throttle.connection_wait(self.now()):
                del self._sites[site]
                return

    async def _wait(self, home: _SitePool, route: Route) -> Connection | None:
        if home.idle:  # a place is taken by connections that do not fit: one makes room
            self.end(home, home.idle.popleft().connection)
            return None
        waiter = _Waiter(route, self._loop.create_future())
        home.waiters.append(waiter)
        self._waiting += 1
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled():
                connection = waiter.future.result()
                if connection is not None:
                    home.take_back(connection, reusable=True)
                else:
                    home.wake_waiter()
            elif waiter in home.waiters:
                home.waiters.remove(waiter)
            raise
        finally:
            self._waiting -= 1

    async def _wait_for_any(self) -> None:
        place: asyncio.Future[None] = self._loop.create_future()
        self._at_limit.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._wake_any()
            raise

    def _wake_any(self) -> None:
        while self._at_limit:
            place = self._at_limit.popleft()
            if not place.done():
                place.set_result(None)
                return

    def _end_an_idle_one(self) -> bool:
        for home in self._sites.values():
            if home.idle:
                self.end(home, home.idle.popleft().connection)
                return True
        return False

    # Opening --------------------------------------------------------------------------------------------------

    async def _open_one(self, home: _SitePool, route: Route) -> Lease | RouteFailure | ConnectFailure:
        home.throttle.opened()
        self._open += 1
        connection: Connection | None = None
        try:
            outcome = await self._try_hosts(route)
            if isinstance(outcome, ConnectFailure):
                home.throttle.trouble(self.now())
                return outcome
            if isinstance(outcome, RouteFailure):
                return outcome
            connection = outcome
        finally:
            if connection is None:
                self._closed(home)
        home.throttle.message_begun(self.now())
        return Lease(connection, home)

    async def _try_hosts(self, route: Route) -> Connection | RouteFailure | ConnectFailure:
        attempts: list[HostAttempt] = []
        failure: RouteFailure | None = None
        for host in self._reachable_first(route.hosts):
            endpoints = await self._endpoints(route, host)
            if isinstance(endpoints, RouteFailure):
                # A host that may come back outweighs one that will not.
                if failure is None or failure.is_permanent:
                    failure = endpoints
                continue
            for endpoint in endpoints:
                outcome = await self._try_endpoint(endpoint, route)
                if isinstance(outcome, Connection):
                    self._down.pop(host.name, None)
                    return outcome
                attempts.append(outcome)
                if outcome.phase is not Phase.CONNECT:
                    break
            self._note_down(host.name)
        if attempts:
            return ConnectFailure(tuple(attempts))
        return failure or _not_now("the route names no host")

    def _reachable_first(self, hosts: tuple[RouteHost, ...]) -> list[RouteHost]:
        if not self._down or len(hosts) == 1:
            return list(hosts)
        now = self.now()
        return sorted(hosts, key=lambda host: self._down.get(host.name, 0.0) > now)

    def _note_down(self, host: str) -> None:
        self._down[host] = self.now() + self.settings.down_s
        self._down.move_to_end(host)
        if len(self._down) > self.settings.down_table:
            self._down.popitem(last=False)

    async def _try_endpoint(self, endpoint: Endpoint, route: Route) -> Connection | HostAttempt:
        try:
            return await self._connect(endpoint, route, route.tls)
        except DialogueError as error:
            failure = error
        if route.tls is TlsMode.OPPORTUNISTIC and failure.phase is Phase.STARTTLS:
            try:
                return await self._connect(endpoint, route, TlsMode.NONE)  # RFC 7435
            except DialogueError as error:
                failure = error
        return HostAttempt(endpoint.host, endpoint.address, failure.phase, failure.reply, failure.detail)

    async def _connect(self, endpoint: Endpoint, route: Route, tls: TlsMode) -> Connection:
        return await self._connector(
            endpoint,
            hello=self.settings.hello,
            tls=tls,
            timeouts=self.settings.timeouts,
            ssl_context=self._context(tls),
            credentials=route.credentials,
        )

    def _context(self, tls: TlsMode) -> ssl.SSLContext | None:
        if tls is TlsMode.NONE:
            return None
        if tls not in self._context_cache:
            self._context_cache[tls] = self._contexts(tls)
        return self._context_cache[tls]

    # Ending ---------------------------------------------------------------------------------------------------

    def end(self, home: _SitePool, connection: Connection) -> None:
        """QUIT, in the background; its place is free once it is gone."""
        if not connection.is_open:
            connection.abort()
            self._closed(home)
            return
        task = self._loop.create_task(self._say_quit(home, connection))
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    async def _say_quit(self, home: _SitePool, connection: Connection) -> None:
        try:
            await connection.quit()
        finally:
            self._closed(home)

    def forget(self, home: _SitePool, connection: Connection) -> None:
        """It was closed from the other side while idle."""
        connection.abort()
        self._closed(home)

    def _closed(self, home: _SitePool) -> None:
        home.throttle.closed()
        self._open -= 1
        home.wake_waiter()
        self._wake_any()

    def wake_sweeper(self) -> None:
        """See to it that idle connections end in time."""
        if self._sweeper is None and not self.is_closing:
            self._sweeper = self._loop.call_later(1.0, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self.now()
        is_any_left = False
        for home in list(self._sites.values()):
            while home.idle and (
                now - home.idle[0].since >= home.site.limits.idle_s or not home.idle[0].connection.is_open
            ):
                self.end(home, home.idle.popleft().connection)
            is_any_left = is_any_left or bool(home.idle)
        if is_any_left:
            self.wake_sweeper()

    async def close(self) -> None:
        """End every idle connection by QUIT; those in use end when they are released."""
        self.is_closing = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for home in list(self._sites.values()):
            while home.idle:
                self.end(home, home.idle.popleft().connection)
            while home.waiters:
                home.wake_waiter()
        while self._at_limit:
            self._wake_any()
        while self._farewells:
            await asyncio.gather(*self._farewells, return_exceptions=True)


def _not_now(detail: str, retry_after_s: float | None = None) -> ConnectFailure:
    return ConnectFailure((HostAttempt("", "", Phase.CONNECT, None, detail),), retry_after_s)
