"""The addresses that one worker's mail leaves from: chosen for each message, counted by day over all workers.

STATE/sites.db holds the counts. Between two looks at it a worker takes no more than its part of what is left of a day's
quota: all of them together never exceed it. Used by compose/site_house.py.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import UTC, date, datetime

from postroad.clock import Clock
from postroad.events import emit
from postroad.road.opening import ConnectFailure, not_now
from postroad.road.route import Route
from postroad.road.source import Source, SourcePool, Traits, in_order, leaving_from, pool_for
from postroad.road.warm_up import part_of, until_tomorrow
from postroad.smtp.address import Address
from postroad.store.site_book import SiteBook
from postroad.store.spool import Queued, SpooledMessage

Count = tuple[str, str]
"""Source and site; site '' is all of them."""
Sent = tuple[str, dict[Count, int], dict[str, str]]
"""A day, what all workers have sent on it, and the first day of each source."""


class SourceHouse:
    """One for a worker; `pools` may be replaced."""

    def __init__(self, clock: Clock, workers: int, index: int) -> None:
        self._clock = clock
        self._workers = workers
        self._index = index
        self._pools: tuple[SourcePool, ...] = ()
        self._day = ""
        self._used: dict[Count, int] = {}
        """Of all workers, when it was last looked."""
        self._own: dict[Count, int] = {}
        """Since then, and not written down yet."""
        self._first_days: dict[str, str] = {}

    def use(self, pools: Sequence[SourcePool]) -> None:
        """Other pools from now on; sources that the system lacks are said, and left out where there are others."""
        absent = absent_sources(pools)
        for name in absent:
            emit("source.absent", source=name)
        self._pools = tuple(
            SourcePool(
                name=pool.name,
                sources=tuple(one for one in pool.sources if one.name not in absent) or pool.sources,
                sender_domains=pool.sender_domains,
                users=pool.users,
                recipient_domains=pool.recipient_domains,
                highest_priority=pool.highest_priority,
                lowest_priority=pool.lowest_priority,
            )
            for pool in pools
        )

    # Asked for each message ---------------------------------------------------------------------------------------

    def choose(self, message: SpooledMessage, queued: Queued, route: Route) -> Route | ConnectFailure:
        """The way from the source for this mail; or that today's quota is used."""
        sender = message.envelope.reverse_path
        mail = Traits(
            sender_domain=sender.domain if isinstance(sender, Address) else "",
            user=message.trace.user or "",
            recipient_domain=queued.recipient.address.domain,
            priority=queued.priority,
        )
        pool = pool_for(self._pools, mail)
        if pool is None:
            return route
        now = self._clock.wall()
        day = _day(now)
        if day != self._day:
            return not_now("the day has just begun", 3.0, is_ours=True)
        order = in_order(pool, route.site.key, message.id)
        for source in order:
            if self._may_send(source, route.site.key, day):
                self._count(source.name, route.site.key, 1)
                return leaving_from(route, source)
        told = f"the warm-up quota of source {order[0].name} for today is used"
        return not_now(told, until_tomorrow(now), is_ours=True)

    def unused(self, route: Route) -> None:
        """What was counted was not sent."""
        if route.site.source:
            self._count(route.site.source, route.site.key, -1)

    def _count(self, source: str, site: str, number: int) -> None:
        for key in ((source, ""), (source, site)):
            self._own[key] = self._own.get(key, 0) + number

    def _may_send(self, source: Source, site: str, day: str) -> bool:
        if source.warm_up is None:
            return True
        first = source.starts or self._first_days.get(source.name, day)
        quota = source.warm_up.quota((date.fromisoformat(day) - date.fromisoformat(first)).days)
        if quota is None:
            return True
        key = (source.name, site if source.warm_up.is_per_site else "")
        left = part_of(quota - self._used.get(key, 0), self._workers, self._index)
        return self._own.get(key, 0) < left

    # Between workers ----------------------------------------------------------------------------------------------

    def taken(self) -> dict[Count, int]:
        """What this worker has counted since the last look: to be written down by `exchange`, in a thread."""
        own, self._own = self._own, {}
        for key, number in own.items():
            self._used[key] = self._used.get(key, 0) + number
        return {key: number for key, number in own.items() if number}

    def exchange(self, book: SiteBook, own: dict[Count, int], now: float) -> Sent:
        """In a thread: write that down, and read what all have sent today, and when each source was first used."""
        if not self._pools:
            return "", {}, {}
        if own:
            book.add_used(self._day or _day(now), own)
        return _day(now), book.used(_day(now)), book.first_days()

    def learn(self, found: Sent) -> None:
        """What was read."""
        day, used, first_days = found
        if day:
            self._day, self._used, self._first_days = day, used, first_days


def _day(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def absent_sources(pools: Sequence[SourcePool]) -> list[str]:
    """The names of sources whose addresses the system lacks."""
    return sorted({one.name for pool in pools for one in pool.sources if not _is_here(one)})


def _is_here(source: Source) -> bool:
    """Whether the system has its addresses: asked by binding to them."""
    for family, address in ((socket.AF_INET, source.ipv4), (socket.AF_INET6, source.ipv6)):
        if address:
            try:
                with socket.socket(family, socket.SOCK_STREAM) as probe:
                    probe.bind((address, 0))
            except OSError:
                return False
    return True
