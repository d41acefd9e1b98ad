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
import itertools
import ssl
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from postroad.meaning.hearing import is_unwelcome
from postroad.message.tls_report import TlsSession
from postroad.net.dialogue import Connection, connect
from postroad.net.endpoint import PhaseTimeouts, TlsMode
from postroad.net.tls import client_context
from postroad.road.opening import ConnectFailure as ConnectFailure
from postroad.road.opening import Connector, Endpoints, Opener, not_now
from postroad.road.opening import HostAttempt as HostAttempt
from postroad.road.provider import provider_key
from postroad.road.route import Route, RouteFailure
from postroad.road.shaping import Guidance, SiteState
from postroad.road.site import Site
from postroad.road.site_pool import Door, SitePool, Waiter
from postroad.road.site_pool import Lease as Lease
from postroad.road.throttle import LOOK_AGAIN_S, BackOff

LOOK_AT_HOLD_S = 900.0
"""Mail for a site that an operator paused comes back after so long, to see whether it was resumed."""


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
    longest_queue_s: float | None = None
    """Nor one whose pace lets those before take longer; None: everybody waits, however long."""
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
        guidance: Guidance | None = None,
    ) -> None:
        """`on_tls` is told of each session with a host that an MX record names: whether it was secured as asked.
        `guidance`: what is known of sites outside this process."""
        self.settings = settings
        self.guidance = guidance
        self.is_closing = False
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
        self._sites: OrderedDict[tuple[str, str], SitePool] = OrderedDict()
        self._open = 0
        self._waiting = 0
        self._at_limit: deque[asyncio.Future[None]] = deque()
        self._maybe_idle: dict[SitePool, None] = {}
        """Sites that had an idle connection since they were last looked at, the one of longest ago first."""
        self._changed: dict[SitePool, None] = {}
        """Sites that are not as they were last told of; with guidance only."""
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
        home = self._sites.get(route.site.place)
        if home is None or not home.idle or home.is_pacing:
            return None
        if home.site is not route.site and home.site != route.site:
            home.use(route.site)
        now = self.now()
        if home.throttle.pause_wait(now) or home.throttle.message_wait(now, recipients) > 0:
            return None
        connection = home.find_idle(route)
        if connection is None:
            return None
        home.begin_message(recipients)
        return Lease(connection, home, recipients)

    async def acquire(self, route: Route, recipients: int = 1) -> Lease | RouteFailure | ConnectFailure:
        """A connection for that route, waited for under the site's limits; or why there is none.

        `recipients`: how many are meant to be named on it next, which the site's rate may limit."""
        home = self._home(route.site)
        must_wait, is_first = home.is_door_taken or bool(home.waiters), False
        while True:
            if must_wait:
                if not is_first and self._waiting >= self.settings.waiting:
                    return not_now(
                        f"too many messages wait: the site {home.site.key} has no place in the queue", is_ours=True
                    )
                if not is_first and (late := self._too_late(home)) is not None:
                    return late
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
            pause = home.throttle.pause_wait(now)
            if pause > self.settings.longest_pause_s:
                is_held = home.throttle.is_held(now)
                later = min(pause, LOOK_AT_HOLD_S) if is_held else pause
                return not_now(home.why_not(now), later, is_ours=is_held)
            if pause > 0:
                await self._sleep(home, pause)
                continue
            pace = home.throttle.message_wait(now, recipients)
            if pace > 0:
                if pace > self.settings.longest_pause_s:
                    return _paced(home, pace)
                home.is_pacing = True
                try:
                    await self._sleep(home, pace)
                finally:
                    home.is_pacing = False
                continue
            connection = home.find_idle(route)
            if connection is not None:
                home.begin_message(recipients)
                return Lease(connection, home, recipients)
            if home.throttle.connection_wait(now) == float("inf"):
                if not home.idle:
                    return Door.FULL
                self.end(home, home.idle.popleft().connection)  # it does not fit: it makes room
                if home.throttle.connection_wait(now) == float("inf"):
                    return Door.FULL
            elif self._open >= self.settings.connections:
                self._end_an_idle_one()
                if self._open >= self.settings.connections:
                    await self._wait_for_any()
            elif not home.take_seat():
                await self._sleep(home, LOOK_AGAIN_S)
            else:
                home.throttle.opened()
                home.begin_message(recipients)  # here, or several that are being opened would overrun it
                self._open += 1
                return Door.PLACE
        return not_now("this host is shutting down", is_ours=True)

    def _too_late(self, home: SitePool) -> ConnectFailure | None:
        """Why it makes no sense to wait in a site's queue that its pace makes too long."""
        wait, most = home.throttle.queue_wait(len(home.waiters)), self.settings.longest_queue_s
        return None if most is None or wait <= most else _paced(home, home.book(wait))

    async def _sleep(self, home: SitePool, seconds: float) -> None:
        """At the site's door, until then or until something has changed."""
        self._pass_on()
        home.sleeper = self._loop.create_future()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await home.sleeper
        finally:
            home.sleeper = None

    def _pass_on(self) -> None:
        """A place that this one may not have taken is for another site's."""
        if self._open < self.settings.connections:
            self.wake_any()

    def _home(self, site: Site) -> SitePool:
        home = self._sites.get(site.place)
        if home is None:
            home = self._sites[site.place] = SitePool(self, site, self.settings.back_off)
            if len(self._sites) > self.settings.sites:
                self._forget_a_site()
        elif home.site is not site and home.site != site:
            home.use(site)
        return home

    def homes(self, key: str | None = None) -> list[SitePool]:
        """The sites that are known, or those of one key: from each source one."""
        return [home for home in self._sites.values() if key is None or home.site.key == key]

    def states(self) -> list[SiteState]:
        """How all of them are now."""
        return [home.state() for home in self._sites.values()]

    def note_change(self, home: SitePool) -> None:
        """The site is not as it was."""
        if self.guidance is not None:
            self._changed[home] = None

    def changed(self, most: int) -> list[SiteState]:
        """How those are now that have changed since they were last told of; so many of them, the first ones first."""
        homes = list(itertools.islice(self._changed, most))
        for home in homes:
            del self._changed[home]
        return [home.state() for home in homes]

    def _forget_a_site(self) -> None:
        """The oldest that nothing is known of; never the newest, which is about to be used."""
        for place, home in self._sites.items():
            if not home.is_in_use and not home.throttle.connection_wait(self.now()):
                if place != next(reversed(self._sites)):
                    del self._sites[place]
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
            self.note_change(home)
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
                self.note_change(home)
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
                    last = outcome.last
                    said = str(last.reply) if last.reply is not None else last.detail
                    home.trouble(said, is_of_pace=is_unwelcome(last, provider_key(last.host)))
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
        home.closed()
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
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for home in list(self._sites.values()):
            while home.idle:
                self.end(home, home.idle.popleft().connection)
            home.look_again()
        while self._at_limit:
            self.wake_any()
        while self._farewells:
            await asyncio.gather(*self._farewells, return_exceptions=True)


def _paced(home: SitePool, wait_s: float) -> ConnectFailure:
    rate = home.throttle.rate
    told = "of recipients" if rate is None else f"of {rate:.3g} messages a minute"
    return not_now(f"the site {home.site.key} is at its rate {told} from here", wait_s, is_ours=True)
