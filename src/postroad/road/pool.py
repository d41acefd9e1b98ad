"""Connections to other mail hosts, shared by delivery and verification, under each site's limits.

    lease = pool.try_acquire(route) or await pool.acquire(route)
    ... lease.connection.transact(…) or .probe(…) ...
    lease.release()

A connection is used again for the next message to the same host; waiters of a site are served in order; unused
connections end with QUIT. New ones are made by road/opening.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from postroad.message.tls_report import TlsSession
from postroad.net.dialogue import Connection, connect
from postroad.net.endpoint import PhaseTimeouts, TlsMode
from postroad.net.tls import client_context
from postroad.road.opening import ConnectFailure as ConnectFailure
from postroad.road.opening import Connector, Endpoints, Opener, not_now
from postroad.road.opening import HostAttempt as HostAttempt
from postroad.road.route import Route, RouteFailure
from postroad.road.site import Site
from postroad.road.site_pool import Door, SitePool, Waiter
from postroad.road.site_pool import Lease as Lease
from postroad.road.throttle import BackOff


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


class Pool:
    """One for a process. `endpoints` resolves a route's host (road.route.Router.endpoints)."""

    def __init__(
        self,
        settings: PoolSettings,
        endpoints: Endpoints,
        *,
        connector: Connector = connect,
        ssl_contexts: Callable[[TlsMode], ssl.SSLContext] = client_context,
        on_tls: Callable[[TlsSession], None] | None = None,
    ) -> None:
        """`on_tls` is told of each session with a host that an MX record names: whether it was secured as asked."""
        self.settings = settings
        self.is_closing = False
        self._closing = asyncio.Event()
        self._opener = Opener(
            endpoints,
            connector,
            ssl_contexts,
            hello=settings.hello,
            timeouts=settings.timeouts,
            down_s=settings.down_s,
            down_table=settings.down_table,
            on_tls=on_tls,
        )
        self._loop = asyncio.get_running_loop()
        self._sites: OrderedDict[Site, SitePool] = OrderedDict()
        self._open = 0
        self._waiting = 0
        self._at_limit: deque[asyncio.Future[None]] = deque()
        self._maybe_idle: dict[SitePool, None] = {}
        """Sites that had an idle connection since they were last looked at, the one of longest ago first."""
        self._sweeper: asyncio.TimerHandle | None = None
        self._farewells: set[asyncio.Task[None]] = set()

    def now(self) -> float:
        """The loop's clock."""
        return self._loop.time()

    @property
    def open_connections(self) -> int:
        """Connections now open or being opened."""
        return self._open

    def try_acquire(self, route: Route, recipients: int = 1) -> Lease | None:
        """An idle connection that fits, at once; None where waiting or connecting is needed."""
        home = self._sites.get(route.site)
        if home is None or not home.idle or home.is_pacing:
            return None
        if home.throttle.message_wait(self.now(), recipients) > 0:
            return None
        connection = home.find_idle(route)
        if connection is None:
            return None
        home.throttle.message_begun(self.now(), recipients)
        return Lease(connection, home, recipients)

    async def acquire(self, route: Route, recipients: int = 1) -> Lease | RouteFailure | ConnectFailure:
        """A connection for that route, waited for under the site's limits; or why there is none.

        `recipients`: how many are meant to be named on it next, which the site's rate may limit."""
        home = self._home(route.site)
        must_wait, is_first = home.is_door_taken or bool(home.waiters), False
        while True:
            if must_wait:
                if not is_first and self._waiting >= self.settings.waiting:
                    return not_now("too many messages wait for this site")
                connection = await self._wait(home, route, recipients, is_first=is_first)
                if connection is not None:
                    return Lease(connection, home, recipients)
            home.is_door_taken = True
            outcome: Lease | ConnectFailure | Door = Door.FULL
            try:
                outcome = await self._at_door(home, route, recipients)
            except asyncio.CancelledError:
                home.leave_door()
                raise
            finally:
                self._pass_on()
            if outcome is Door.FULL:
                home.is_door_taken = False
                must_wait = is_first = True
                continue
            home.leave_door()
            return await self._open_one(home, route, recipients) if isinstance(outcome, Door) else outcome

    async def _at_door(self, home: SitePool, route: Route, recipients: int) -> Lease | ConnectFailure | Door:
        """What the first in a site's queue gets, once the site's pace and pauses and the limits allow it."""
        while not self.is_closing:
            now = self.now()
            pace = home.throttle.message_wait(now, recipients)
            if pace > 0:
                home.is_pacing = True
                try:
                    await self._sleep(pace)
                finally:
                    home.is_pacing = False
                continue
            connection = home.find_idle(route)
            if connection is not None:
                home.throttle.message_begun(now, recipients)
                return Lease(connection, home, recipients)
            pause = home.throttle.connection_wait(now)
            if pause == float("inf"):
                if not home.idle:
                    return Door.FULL
                self.end(home, home.idle.popleft().connection)  # it does not fit: it makes room
                if home.throttle.connection_wait(now) == float("inf"):
                    return Door.FULL
            elif pause > self.settings.longest_pause_s:
                return not_now(f"the site asked to be left alone; {pause:.0f} s of that are left", pause)
            elif pause > 0:
                await self._sleep(pause)
            elif self._open >= self.settings.connections:
                self._end_an_idle_one()
                if self._open >= self.settings.connections:
                    await self._wait_for_any()
            else:
                home.throttle.opened()
                home.throttle.message_begun(now, recipients)  # here, or several that are being opened would overrun it
                self._open += 1
                return Door.PLACE
        return not_now("this host is shutting down")

    async def _sleep(self, seconds: float) -> None:
        self._pass_on()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    def _pass_on(self) -> None:
        """A place that this one may not have taken is for another site's."""
        if self._open < self.settings.connections:
            self.wake_any()

    def _home(self, site: Site) -> SitePool:
        home = self._sites.get(site)
        if home is None:
            home = self._sites[site] = SitePool(self, site, self.settings.back_off)
            if len(self._sites) > self.settings.sites:
                self._forget_a_site()
        return home

    def _forget_a_site(self) -> None:
        """The oldest that nothing is known of; never the newest, which is about to be used."""
        for site, home in self._sites.items():
            if not home.is_in_use and not home.throttle.connection_wait(self.now()):
                if site != next(reversed(self._sites)):
                    del self._sites[site]
                    self._maybe_idle.pop(home, None)
                return

    async def _wait(self, home: SitePool, route: Route, recipients: int, *, is_first: bool) -> Connection | None:
        """A connection that was given back, or None: it is our turn at the door."""
        while True:
            waiter = Waiter(route, recipients, self._loop.create_future())
            if is_first:
                home.waiters.appendleft(waiter)
            else:
                home.waiters.append(waiter)
            self._waiting += 1
            try:
                connection = await waiter.future
            except asyncio.CancelledError:
                self._give_up(home, waiter)
                raise
            finally:
                self._waiting -= 1
            if connection is None or connection.is_open:
                return connection
            is_first = True
            home.end_message(recipients)
            self.forget(home, connection)  # closed since it was handed over
            if not home.is_door_taken:
                return None

    def _give_up(self, home: SitePool, waiter: Waiter) -> None:
        if waiter.future.cancelled() or not waiter.future.done():
            if waiter in home.waiters:
                home.waiters.remove(waiter)
            return
        connection = waiter.future.result()
        if connection is not None:
            home.end_message(waiter.recipients)
            home.take_back(connection, reusable=True)
        else:
            home.leave_door()

    async def _wait_for_any(self) -> None:
        place: asyncio.Future[None] = self._loop.create_future()
        self._at_limit.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.wake_any()
            raise

    def wake_any(self) -> None:
        """The first who waits for a place under the limit of all sites looks again."""
        while self._at_limit:
            place = self._at_limit.popleft()
            if not place.done():
                place.set_result(None)
                return

    def _end_an_idle_one(self) -> None:
        while self._maybe_idle:
            home = next(iter(self._maybe_idle))
            if home.idle:
                self.end(home, home.idle.popleft().connection)
                return
            del self._maybe_idle[home]

    # Opening --------------------------------------------------------------------------------------------------

    async def _open_one(self, home: SitePool, route: Route, recipients: int) -> Lease | RouteFailure | ConnectFailure:
        """Into the place that was taken at the door."""
        connection: Connection | None = None
        try:
            outcome = await self._opener.open(route)
            if isinstance(outcome, ConnectFailure):
                if not outcome.is_by_policy:
                    home.throttle.trouble(self.now())
                return outcome
            if isinstance(outcome, RouteFailure):
                return outcome
            connection = outcome
        finally:
            if connection is None:
                home.throttle.message_ended(self.now(), recipients)
                self._closed(home)
        return Lease(connection, home, recipients)

    # Ending ---------------------------------------------------------------------------------------------------

    def end(self, home: SitePool, connection: Connection) -> None:
        """QUIT, in the background; its place is free once it is gone."""
        if not connection.is_open:
            connection.abort()
            self._closed(home)
            return
        task = self._loop.create_task(self._say_quit(home, connection))
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    async def _say_quit(self, home: SitePool, connection: Connection) -> None:
        try:
            await connection.quit()
        finally:
            self._closed(home)

    def forget(self, home: SitePool, connection: Connection) -> None:
        """It was closed from the other side while idle."""
        connection.abort()
        self._closed(home)

    def _closed(self, home: SitePool) -> None:
        home.throttle.closed()
        self._open -= 1
        home.call_next()
        self.wake_any()

    def note_idle(self, home: SitePool) -> None:
        """The site has an idle connection: it may be ended for another site's sake, and ends in time."""
        self._maybe_idle[home] = None
        self._sweep_later()

    def _sweep_later(self) -> None:
        if self._sweeper is None and not self.is_closing:
            self._sweeper = self._loop.call_later(1.0, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self.now()
        for home in list(self._maybe_idle):
            while home.idle and (
                now - home.idle[0].since >= home.site.limits.idle_s or not home.idle[0].connection.is_open
            ):
                self.end(home, home.idle.popleft().connection)
            if not home.idle:
                del self._maybe_idle[home]
        if self._maybe_idle:
            self._sweep_later()

    async def close(self) -> None:
        """End every idle connection by QUIT; those in use end when they are released."""
        self.is_closing = True
        self._closing.set()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for home in list(self._sites.values()):
            while home.idle:
                self.end(home, home.idle.popleft().connection)
            home.call_next()
        while self._at_limit:
            self.wake_any()
        while self._farewells:
            await asyncio.gather(*self._farewells, return_exceptions=True)
