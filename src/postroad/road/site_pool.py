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
from postroad.road.shaping import MAX_WORDS, Guidance, SiteState, in_words
from postroad.road.site import Site
from postroad.road.throttle import BackOff, Throttle

LONGEST_BOOKING_S = 1800.0
"""A message that is sent away for a site's pace comes back no later: the pace may have changed."""
SEATED_S = 30.0
"""A connection on a seat that other processes may want ends after its transaction when the seat was had for so long."""


class Keeper(Protocol):
    """What a site asks of the pool that it belongs to."""

    is_closing: bool
    guidance: Guidance | None

    def now(self) -> float: ...
    def end(self, home: SitePool, connection: Connection) -> None: ...
    def forget(self, home: SitePool, connection: Connection) -> None: ...
    def note_idle(self, home: SitePool) -> None: ...
    def note_change(self, home: SitePool) -> None: ...
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
        self._home.success()

    def trouble(self, words: str = "") -> None:
        """The site has said in these words that it does not want so much of us (a 421, a 4.7.x, a block): it is left
        alone for a while, and asked for less."""
        self._had_trouble = True
        self._home.trouble(words, is_of_pace=True)


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

    __slots__ = (
        *("_booked", "_pool", "_seats", "idle", "is_door_taken", "is_pacing", "messages", "site", "sleeper"),
        *("throttle", "trouble_at", "troubles", "waiters", "words"),
    )

    def __init__(self, pool: Keeper, site: Site, back_off: BackOff) -> None:
        self._pool = pool
        self.site = site
        self.throttle = Throttle(site.limits, back_off)
        self.idle: deque[Idle] = deque()
        self.waiters: deque[Waiter] = deque()
        self.is_door_taken = False
        self.is_pacing = False
        """Whoever stands at the door waits out the site's pace: nobody overtakes, or large ones would never go."""
        self.sleeper: asyncio.Future[None] | None = None
        """Whoever stands at the door and waits for time to pass."""
        self.words = ""
        """What it said when it last did not want us."""
        self.trouble_at: float | None = None
        self.messages = 0
        self.troubles = 0
        self._seats: deque[tuple[int, float]] = deque()
        """Those had, and since when; the oldest first."""
        self._booked = 0.0
        if pool.guidance is not None:
            now = pool.now()
            known = pool.guidance.remembered(site.place)
            if known is not None:
                self.throttle.remember(known.learnt, now)
                self.words = known.words
            self.throttle.hold(now + pool.guidance.hold_s(site.key))

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
            self.success()
        is_others_turn = bool(self._seats) and self._pool.now() - self._seats[0][1] >= SEATED_S
        if not is_usable or self._pool.is_closing or is_others_turn or self.throttle.connections > self.throttle.most:
            self._pool.end(self, connection)
            return
        now = self._pool.now()
        for index, waiter in enumerate(self.waiters):
            if self.is_pacing or self.throttle.pause_wait(now) or self.throttle.message_wait(now, waiter.recipients):
                break
            if not waiter.future.done() and fits(connection, waiter.route):
                del self.waiters[index]
                self.begin_message(waiter.recipients)
                waiter.future.set_result(connection)
                return
        if limits.idle_s <= 0:
            self._pool.end(self, connection)
            return
        self.idle.append(Idle(connection, now))
        self._pool.note_idle(self)
        self.call_next()
        self._pool.wake_any()

    def begin_message(self, recipients: int) -> None:
        """A lease is given out, or a connection for one is being opened."""
        self.messages += 1
        self._pool.note_change(self)
        self.throttle.message_begun(self._pool.now(), recipients)

    def book(self, wait_s: float) -> float:
        """Seconds until a message may come back that found a queue of so many: each a little later than the last."""
        now = self._pool.now()
        booked = max(self._booked, now + wait_s) + self.throttle.queue_wait(1)
        self._booked = min(booked, now + LONGEST_BOOKING_S)
        return self._booked - now

    def end_message(self, recipients: int) -> None:
        """What a lease was for has ended."""
        self.throttle.message_ended(self._pool.now(), recipients)

    def success(self) -> None:
        """The site takes our mail; it may now bear more."""
        if self.throttle.success(self._pool.now()):
            self._pool.note_change(self)
            self.call_next()

    def trouble(self, words: str, *, is_of_pace: bool) -> None:
        """The site does not want us now, or not so much of us."""
        now = self._pool.now()
        self.troubles += 1
        self.trouble_at = now
        self.words = words[:MAX_WORDS] or self.words
        self.throttle.trouble(now, is_of_pace=is_of_pace)
        self._pool.note_change(self)

    # What changes from outside ------------------------------------------------------------------------------------

    def use(self, site: Site) -> None:
        """Other limits for the same site, from now on."""
        self.site = site
        self.throttle.use(site.limits)
        self.look_again()

    def hold(self, seconds: float) -> None:
        """An operator wants it left alone so long; 0: no more."""
        is_shorter = seconds < self.throttle.pause_wait(self._pool.now())
        self.throttle.hold(self._pool.now() + seconds)
        self._pool.note_change(self)
        if is_shorter:
            self.look_again()

    def resume(self) -> None:
        """An operator wants it used as if nothing had been learnt."""
        self.throttle.resume()
        self.words = ""
        self.look_again()

    def look_again(self) -> None:
        """Whoever waits for something that may have changed looks."""
        self._pool.note_change(self)
        if self.sleeper is not None and not self.sleeper.done():
            self.sleeper.set_result(None)
        self.call_next()

    # Turns with other processes -----------------------------------------------------------------------------------

    def take_seat(self) -> bool:
        """Whether a connection may be opened beside those of other processes."""
        if not self.site.seats or self._pool.guidance is None:
            return True
        seat = self._pool.guidance.take_seat(self.site.place, self.site.seats)
        if seat is not None:
            self._seats.append((seat, self._pool.now()))
        return seat is not None

    def closed(self) -> None:
        """A connection is gone, or could not be opened."""
        self.throttle.closed()
        self._pool.note_change(self)
        while len(self._seats) > self.throttle.connections:
            assert self._pool.guidance is not None
            self._pool.guidance.give_seat_back(self.site.place, self._seats.popleft()[0])

    def why_not(self, now: float) -> str:
        """Why it is left alone."""
        left = in_words(self.throttle.pause_wait(now))
        if self.throttle.is_held(now):
            return f"the site {self.site.key} is paused by an operator for another {left}"
        because = f"; it said: {self.words}" if self.words else ""
        return f"the site {self.site.key} asked to be left alone; {left} of that are left{because}"

    def state(self) -> SiteState:
        """How it is now."""
        now, throttle = self._pool.now(), self.throttle
        return SiteState(
            key=self.site.key,
            source=self.site.source,
            connections=throttle.connections,
            waiting=len(self.waiters) + self.is_door_taken,
            most=throttle.most,
            rate=throttle.rate,
            learnt=throttle.learnt(now),
            is_held=throttle.is_held(now),
            words=self.words,
            trouble_ago_s=None if self.trouble_at is None else now - self.trouble_at,
            messages=self.messages,
            troubles=self.troubles,
        )

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
        self._pool.note_change(self)
        if self.idle or self.throttle.connections < self.throttle.most or self._pool.is_closing:
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
