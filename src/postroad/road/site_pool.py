"""The connections to one site: leased, waiting to be used again, and the queue of those who want one.

`pool.Pool` holds one `SitePool` for each site. At most one acquirer stands at a site's door, to wait out pauses and
limits; the others wait in order, and a connection that is given back goes to the first whom it fits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from postroad.net.dialogue import Connection
from postroad.road.route import Route
from postroad.road.site import Site
from postroad.road.throttle import BackOff, Throttle


class Keeper(Protocol):
    """What a site asks of the pool that it belongs to."""

    is_closing: bool

    def now(self) -> float: ...
    def end(self, home: SitePool, connection: Connection) -> None: ...
    def forget(self, home: SitePool, connection: Connection) -> None: ...
    def note_idle(self, home: SitePool) -> None: ...
    def wake_any(self) -> None: ...


class Lease:
    """A connection in use by one caller. Release it once, whatever happened."""

    __slots__ = ("_had_trouble", "_home", "_is_released", "_recipients", "connection")

    def __init__(self, connection: Connection, home: SitePool, recipients: int) -> None:
        self.connection = connection
        self._home = home
        self._recipients = recipients
        self._is_released = False
        self._had_trouble = False

    def release(self, *, reusable: bool = True) -> None:
        """Give the connection back; not `reusable`, or after `trouble`, it ends by QUIT."""
        if not self._is_released:
            self._is_released = True
            self._home.end_message(self._recipients)
            self._home.take_back(self.connection, reusable=reusable and not self._had_trouble)

    def success(self) -> None:
        """The site has answered: its pauses begin small again, also where the connection is not used any more."""
        self._home.throttle.success()

    def trouble(self) -> None:
        """The site has said that it does not want us now (a 421, a 4.7.x, a block): it is left alone for a while."""
        self._had_trouble = True
        self._home.trouble()


@dataclass(slots=True)
class Idle:
    connection: Connection
    since: float


@dataclass(slots=True, eq=False)
class Waiter:
    """Is handed a connection, or None: the door is its."""

    route: Route
    recipients: int
    future: asyncio.Future[Connection | None]


class Door(Enum):
    """What whoever stood at a site's door came away with."""

    PLACE = auto()
    """A place, taken: a connection may be opened."""
    FULL = auto()
    """Nothing: every place is taken."""


class SitePool:
    """The connections to one site and the queue for them: one acquirer stands at the door, the others wait in order."""

    __slots__ = ("_pool", "idle", "is_door_taken", "is_pacing", "site", "throttle", "waiters")

    def __init__(self, pool: Keeper, site: Site, back_off: BackOff) -> None:
        self._pool = pool
        self.site = site
        self.throttle = Throttle(site.limits, back_off)
        self.idle: deque[Idle] = deque()
        self.waiters: deque[Waiter] = deque()
        self.is_door_taken = False
        self.is_pacing = False
        """Whoever stands at the door waits out the site's pace: nobody overtakes, or large ones would never go."""

    @property
    def is_in_use(self) -> bool:
        """Whether anything would be lost if it were forgotten."""
        return bool(self.throttle.connections or self.waiters or self.is_door_taken)

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
        now = self._pool.now()
        for index, waiter in enumerate(self.waiters):
            if self.is_pacing or self.throttle.message_wait(now, waiter.recipients) > 0:
                break
            if not waiter.future.done() and fits(connection, waiter.route):
                del self.waiters[index]
                self.throttle.message_begun(now, waiter.recipients)
                waiter.future.set_result(connection)
                return
        if limits.idle_s <= 0:
            self._pool.end(self, connection)
            return
        self.idle.append(Idle(connection, now))
        self._pool.note_idle(self)
        self.call_next()
        self._pool.wake_any()

    def end_message(self, recipients: int) -> None:
        """What a lease was for has ended."""
        self.throttle.message_ended(self._pool.now(), recipients)

    def trouble(self) -> None:
        self.throttle.trouble(self._pool.now())

    def call_next(self) -> None:
        """A place or a connection is free: the first waiter comes to the door, unless somebody stands there."""
        while self.waiters and not self.is_door_taken:
            waiter = self.waiters.popleft()
            if not waiter.future.done():
                self.is_door_taken = True
                waiter.future.set_result(None)

    def leave_door(self) -> None:
        """The next one may find something too."""
        self.is_door_taken = False
        if self.idle or self.throttle.connections < self.site.limits.connections or self._pool.is_closing:
            self.call_next()


def fits(connection: Connection, route: Route) -> bool:
    """Whether a connection made for one route serves another: the same host and port, secured at least as asked."""
    endpoint = connection.endpoint
    return (
        (route.is_trusted or not endpoint.is_trusted)  # H-09: an MX record opens no way to the operator's own host
        and endpoint.port == route.port
        and connection.credentials == route.credentials
        and route.is_met_by(endpoint.host, connection.tls)
    )
