"""The addresses that one worker's mail leaves from: chosen for each message, counted by day over all workers.

STATE/sites.db holds the counts. Of a warm-up's quota each worker takes a few messages in advance, in one transaction
with those of the others, and gives back what it does not need: all of them together never send more. Used by
compose/site_house.py.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto

from postroad.clock import Clock
from postroad.events import emit
from postroad.road.opening import ConnectFailure, not_now
from postroad.road.route import Route
from postroad.road.source import Source, SourcePool, Traits, in_order, leaving_from, pool_for
from postroad.road.warm_up import part_of, until_tomorrow
from postroad.smtp.address import Address
from postroad.store.site_book import SiteBook, claimed
from postroad.store.spool import Queued, SpooledMessage

RESERVE = 20
"""Messages of a quota that a worker has ready; or a small part of the quota, or twice what it sent lately."""
_RESERVED_PART = 200
SOON_S = 3.0
"""How long a message waits while its worker takes more of the quota."""
RETURN_S = 60.0
"""When all of a quota is taken: for how long it is waited for what others may give back."""
MAX_PURSES = 50_000

Count = tuple[str, str]
"""Source and site; site '' is all of them."""


@dataclass(slots=True)
class _Purse:
    """What this worker has taken of one quota and not sent yet."""

    left: int = 0
    spent: int = 0
    """Since the last look."""
    is_short: bool = False
    """Some mail found nothing left since then."""
    full_since: float | None = None
    """When it was first seen that all of the quota is taken; monotonic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """A purse when it was looked at, and what of it is given back."""

    left: int
    spent: int
    is_short: bool
    back: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a worker has to write down about one day."""

    day: str
    sent: Mapping[Count, int]
    purses: Mapping[Count, _Held]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What stood in the book, and what this worker got of the quotas."""

    day: str = ""
    used: Mapping[Count, int] = field(default_factory=dict)
    first_days: Mapping[str, str] = field(default_factory=dict)
    got: Mapping[Count, int] = field(default_factory=dict)


class _Answer(Enum):
    TAKEN = auto()
    SOON = auto()
    """There is some left, which this worker has yet to take."""
    NONE = auto()


class SourceHouse:
    """One for a worker; `pools` may be replaced."""

    def __init__(self, clock: Clock, workers: int, index: int) -> None:
        self._clock = clock
        self._workers = workers
        self._index = index
        self._pools: tuple[SourcePool, ...] = ()
        self._day = ""
        self._used: Mapping[Count, int] = {}
        """Of all workers, when it was last looked."""
        self._sent: dict[Count, int] = {}
        """Since then, and not written down yet."""
        self._purses: dict[Count, _Purse] = {}
        self._first_days: Mapping[str, str] = {}

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
        day = day_of(now)
        if day != self._day:
            return not_now("the day has just begun", SOON_S, is_ours=True)
        site, wait = route.site.key, until_tomorrow(now)
        order = in_order(pool, site, message.id)
        for source in order:
            match self._take(source, site):
                case _Answer.TAKEN:
                    return leaving_from(route, source)
                case _Answer.SOON:
                    told = f"the warm-up quota of source {source.name} is shared out among the workers just now"
                    return not_now(told, SOON_S, is_ours=True)
            if self._may_come_back(_quota_key(source, site)):
                wait = min(wait, 3 * SOON_S)
        return not_now(f"the warm-up quota of source {order[0].name} for today is used", wait, is_ours=True)

    def unused(self, route: Route) -> None:
        """What was counted was not sent."""
        source = route.source
        if isinstance(source, Source):
            self._count(source, route.site.key, -1)
            purse = self._purses.get(_quota_key(source, route.site.key))
            if purse is not None and source.quota(self._day, self._first_days) is not None:
                purse.left += 1
                purse.spent -= 1

    def _take(self, source: Source, site: str) -> _Answer:
        quota = source.quota(self._day, self._first_days)
        if quota is not None:
            key = _quota_key(source, site)
            purse = self._purses.get(key)
            if purse is None or purse.left <= 0:
                return self._be_short(key, quota)
            purse.left -= 1
            purse.spent += 1
        self._count(source, site, 1)
        return _Answer.TAKEN

    def _be_short(self, key: Count, quota: int) -> _Answer:
        if quota > 0 and (key in self._purses or len(self._purses) < MAX_PURSES):
            self._purses.setdefault(key, _Purse()).is_short = True
        return _Answer.SOON if self._used.get(_claim_key(key), 0) < quota else _Answer.NONE

    def _may_come_back(self, key: Count) -> bool:
        """Whether other workers may still give back some of a quota of which all is taken."""
        purse = self._purses.get(key)
        if purse is None or self._workers == 1:
            return False
        now = self._clock.monotonic()
        if purse.full_since is None:
            purse.full_since = now
        return now - purse.full_since < RETURN_S

    def _count(self, source: Source, site: str, number: int) -> None:
        for key in ((source.name, ""), (source.name, site)):
            self._sent[key] = self._sent.get(key, 0) + number

    # Between workers ----------------------------------------------------------------------------------------------

    def report(self, *, is_last: bool = False) -> Report:
        """What this worker has to write down by `exchange`; what it does not need of quotas, it may not send now."""
        sent, self._sent = self._sent, {}
        purses, sources = {}, self._warming()
        for key, purse in list(self._purses.items()):
            source = sources.get(key[0])
            quota = None if source is None else source.quota(self._day, self._first_days)
            unclaimed = 0 if quota is None else max(0, quota - self._used.get(_claim_key(key), 0))
            keep = 0 if is_last or quota is None else self._fair(purse.left, purse.spent, unclaimed, quota)
            if not unclaimed and not purse.spent and not purse.is_short and self._workers > 1:
                keep = min(keep, purse.left // 2)  # others may want it more
            back = max(0, purse.left - keep)
            purse.left -= back
            purses[key] = _Held(left=purse.left, spent=purse.spent, is_short=purse.is_short, back=back)
            if not purse.left and not purse.spent and not purse.is_short and purse.full_since is None:
                del self._purses[key]
            purse.spent, purse.is_short = 0, False
        return Report(day=self._day, sent=sent, purses=purses)

    def failed(self, report: Report) -> None:
        """It could not be written down: it is again this worker's."""
        for key, number in report.sent.items():
            self._sent[key] = self._sent.get(key, 0) + number
        for key, held in report.purses.items():
            if held.back:
                self._purses.setdefault(key, _Purse()).left += held.back

    def exchange(self, book: SiteBook, report: Report, now: float) -> Found:
        """In a thread: write that down, read what all have sent today, and take of the quotas what is needed next."""
        if not self._pools:
            return Found()
        today = day_of(now)
        counts = {key: number for key, number in report.sent.items() if number}
        counts |= {_claim_key(key): -held.back for key, held in report.purses.items() if held.back}
        if counts:
            book.add_used(report.day or today, counts)
        used, first_days = book.totals(today), book.first_days()
        got = book.claim(today, dict(self._wants(today, used, first_days, report)))
        for key, number in got.items():
            used[_claim_key(key)] = used.get(_claim_key(key), 0) + number
        return Found(day=today, used=used, first_days=first_days, got=got)

    def _wants(
        self, today: str, used: Mapping[Count, int], first_days: Mapping[str, str], report: Report
    ) -> Iterator[tuple[Count, tuple[int, int]]]:
        """Of each quota, how many more, and the quota."""
        purses = report.purses if report.day == today else {}
        sources = self._warming()
        for_all = [(name, "") for name, source in sources.items() if source.warm_up and not source.warm_up.is_per_site]
        for key in dict.fromkeys([*for_all, *purses]):
            source = sources.get(key[0])
            quota = None if source is None else source.quota(today, first_days)
            if quota is None:
                continue
            held = purses.get(key, _Held(left=0, spent=0, is_short=False, back=0))
            unclaimed = max(0, quota - used.get(_claim_key(key), 0))
            is_idle = not held.spent and not held.is_short and self._workers > 1
            if is_idle and unclaimed < RESERVE * self._workers:
                continue
            wanted = max(self._fair(held.left, held.spent, unclaimed, quota) - held.left, int(held.is_short))
            if wanted > 0 and unclaimed > 0:
                yield key, (wanted, quota)

    def _fair(self, left: int, spent: int, unclaimed: int, quota: int) -> int:
        """What a worker may have ready, where it has so many and so many are nobody's."""
        ready = max(RESERVE, quota // _RESERVED_PART, 2 * spent)
        return min(part_of(unclaimed + left, self._workers, self._index), ready)

    def _warming(self) -> dict[str, Source]:
        return {one.name: one for pool in self._pools for one in pool.sources if one.warm_up is not None}

    def learn(self, found: Found) -> None:
        """What was read, and what this worker got."""
        if not found.day:
            return
        if found.day != self._day:
            self._purses.clear()
        self._day, self._used, self._first_days = found.day, found.used, found.first_days
        for key, number in found.got.items():
            purse = self._purses.setdefault(key, _Purse())
            purse.left += number
            purse.full_since = None


def _quota_key(source: Source, site: str) -> Count:
    """What is counted for its warm-up."""
    return source.name, site if source.warm_up is not None and source.warm_up.is_per_site else ""


def _claim_key(key: Count) -> Count:
    return key[0], claimed(key[1])


def day_of(now: float) -> str:
    """The day (UTC) by which is counted."""
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
