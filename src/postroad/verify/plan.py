"""Which addresses are asked next, as a pure function of what was added, what has ended, and the time.

Addresses wait by domain, domains by the site whose hosts take their mail. A batch is of one domain; batches go round
the sites, and round the domains of a site, so that one large domain never holds up the others, and no site has
more of them at a time, or larger ones, than its limits say. A site may be left alone until some time, an address be
put off until some time; meanwhile the rest goes on. An address is in at most one batch at a time. Times are seconds
of the loop's clock, handed in. Never waits, never asks: job does.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from postroad.smtp.address import Address


@dataclass(frozen=True, slots=True)
class Item:
    """One address to ask about. `id` is the caller's own; the order of their ids is that within a batch."""

    id: int
    address: Address


@dataclass(frozen=True, slots=True)
class Batch:
    """Addresses of one domain, to be asked about in one session."""

    domain: str
    site: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """What one site is asked to bear: batches under way at a time, addresses in one of them."""

    batches: int = 2
    batch_size: int = 50

    def __post_init__(self) -> None:
        if self.batches < 1 or self.batch_size < 1:
            raise ValueError("a site's batches and batch_size must be at least 1")


@dataclass(slots=True)
class _Site:
    share: Share
    domains: OrderedDict[str, None] = field(default_factory=OrderedDict)
    """Those with addresses waiting, in the order of their turns."""
    active: int = 0
    placed: int = 0
    """Domains known to belong here."""
    has_turn: bool = False
    paused_until: float = 0.0


@dataclass(slots=True)
class _Domain:
    waiting: deque[Item] = field(default_factory=deque)
    site: str | None = None
    active: int = 0
    deferred: int = 0


class Plan:
    """Holds addresses between their source and their verdict."""

    def __init__(self) -> None:
        self._domains: dict[str, _Domain] = {}
        self._sites: dict[str, _Site] = {}
        self._turns: deque[str] = deque()
        """Sites that may be asked for a batch, each once; one that has nothing left is passed over."""
        self._deferred: list[tuple[float, int, str, Item]] = []
        self._pauses: list[tuple[float, str]] = []
        self._size = 0
        self._count = 0

    @property
    def size(self) -> int:
        """Addresses held: waiting, in a batch under way, or put off."""
        return self._size

    @property
    def deferred(self) -> int:
        """Addresses put off until later."""
        return len(self._deferred)

    def holds(self, domain: str) -> bool:
        """Whether addresses of that domain wait, are put off or in a batch under way."""
        return domain in self._domains

    def add(self, item: Item, *, is_first: bool = False) -> bool:
        """Take an address, before the others of its domain where `is_first`. True when its domain is new: someone
        must find its site and say so by `place`."""
        self._size += 1
        name = item.address.domain
        domain = self._domains.get(name)
        if domain is None:
            self._domains[name] = _Domain(deque((item,)))
            return True
        if is_first:
            domain.waiting.appendleft(item)
        else:
            domain.waiting.append(item)
        self._offer(name, domain)
        return False

    def place(self, domain: str, site: str, share: Share) -> None:
        """The mail of that domain goes to that site: its addresses may be asked about. The first share counts."""
        held = self._domains.get(domain)
        if held is None or held.site is not None:
            return
        held.site = site
        self._sites.setdefault(site, _Site(share)).placed += 1
        self._offer(domain, held)

    def next_batch(self, now: float) -> Batch | None:
        """The next batch; None while every site with addresses is paused or has as many as it may."""
        self._call_back(now)
        while self._turns:
            key = self._turns.popleft()
            site = self._sites.get(key)
            if site is not None and site.has_turn:
                site.has_turn = False
                if site.domains and site.active < site.share.batches and site.paused_until <= now:
                    return self._take(key, site)
        return None

    def next_time(self) -> float | None:
        """When something that was put off or paused may go on; None: nothing was."""
        while self._pauses and not self._is_paused(*self._pauses[0]):
            heapq.heappop(self._pauses)
        times = [heap[0][0] for heap in (self._deferred, self._pauses) if heap]
        return min(times) if times else None

    def _is_paused(self, until: float, key: str) -> bool:
        """Whether that pause still holds anything up: its site may be done with, or have been recalled."""
        site = self._sites.get(key)
        return site is not None and site.paused_until >= until

    def finished(self, batch: Batch, again: Iterable[Item] = (), later: Iterable[tuple[float, Item]] = ()) -> None:
        """A batch has ended. `again`: those it could not ask about, to be asked first in the next; `later`: those
        to be asked again not before a time."""
        back, put_off = tuple(again), tuple(later)
        site, domain = self._sites[batch.site], self._domains[batch.domain]
        site.active -= 1
        domain.active -= 1
        self._size -= len(batch.items) - len(back) - len(put_off)
        domain.waiting.extendleft(reversed(back))
        for due, item in put_off:
            self._defer(batch.domain, domain, due, item)
        self._offer(batch.domain, domain)
        self._wake(batch.site)
        self._tidy(batch.domain)

    def defer(self, domain: str, due: float) -> None:
        """Put everything of that domain that still waits off until then."""
        held = self._domains.get(domain)
        while held is not None and held.waiting:
            self._defer(domain, held, due, held.waiting.popleft())
        if held is not None and held.site is not None:
            self._sites[held.site].domains.pop(domain, None)

    def give_up(self, domain: str) -> tuple[Item, ...]:
        """Everything of that domain that still waits, taken out: there is no way to it."""
        held = self._domains.get(domain)
        if held is None:
            return ()
        items = tuple(held.waiting)
        held.waiting.clear()
        self._size -= len(items)
        if held.site is not None:
            self._sites[held.site].domains.pop(domain, None)
        self._tidy(domain)
        return items

    def give_up_all(self) -> list[tuple[str, tuple[Item, ...]]]:
        """Everything that waits or is put off, taken out, by domain."""
        deferred, self._deferred = self._deferred, []
        for _, _, name, item in deferred:
            self._domains[name].deferred -= 1
            self._domains[name].waiting.append(item)
        return [(name, self.give_up(name)) for name in list(self._domains)]

    def pause(self, site: str, until: float) -> None:
        """Begin no batch at that site before then."""
        held = self._sites.get(site)
        if held is not None and until > held.paused_until:
            held.paused_until = until
            heapq.heappush(self._pauses, (until, site))

    def recall(self, site: str) -> None:
        """What was put off at that site need not wait any more, nor the site be left alone."""
        held = self._sites.get(site)
        if held is None:
            return
        held.paused_until = 0.0
        self._deferred = [
            (0.0 if self._domains[name].site == site else due, count, name, item)
            for due, count, name, item in self._deferred
        ]
        heapq.heapify(self._deferred)
        self._wake(site)

    def _call_back(self, now: float) -> None:
        while self._deferred and self._deferred[0][0] <= now:
            _, _, name, item = heapq.heappop(self._deferred)
            domain = self._domains[name]
            domain.deferred -= 1
            domain.waiting.append(item)
            self._offer(name, domain)
        while self._pauses and self._pauses[0][0] <= now:
            _, key = heapq.heappop(self._pauses)
            if key in self._sites and self._sites[key].paused_until <= now:
                self._wake(key)

    def _defer(self, name: str, domain: _Domain, due: float, item: Item) -> None:
        self._count += 1
        domain.deferred += 1
        heapq.heappush(self._deferred, (due, self._count, name, item))

    def _take(self, key: str, site: _Site) -> Batch:
        name, _ = site.domains.popitem(last=False)
        domain = self._domains[name]
        taken = [domain.waiting.popleft() for _ in range(min(site.share.batch_size, len(domain.waiting)))]
        if domain.waiting:
            site.domains[name] = None
        site.active += 1
        domain.active += 1
        self._wake(key)
        return Batch(name, key, tuple(taken))

    def _offer(self, name: str, domain: _Domain) -> None:
        if domain.site is not None and domain.waiting:
            self._sites[domain.site].domains.setdefault(name, None)
            self._wake(domain.site)

    def _wake(self, key: str) -> None:
        site = self._sites[key]
        if site.domains and site.active < site.share.batches and not site.has_turn:
            site.has_turn = True
            self._turns.append(key)

    def _tidy(self, name: str) -> None:
        """Forget a domain of which nothing is left, and its site with the last of them."""
        domain = self._domains[name]
        if domain.waiting or domain.active or domain.deferred:
            return
        del self._domains[name]
        if domain.site is None:
            return
        site = self._sites[domain.site]
        site.placed -= 1
        if not site.placed and not site.active:
            del self._sites[domain.site]
