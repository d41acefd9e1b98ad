"""Which addresses are asked next, as a pure function of what was added and what has ended.

Addresses wait by domain, domains by the site whose hosts take their mail. A batch is of one domain; batches go round
the sites, and round the domains of a site, so that one large domain never holds up the others, and no site has
more than `per_site` of them at a time. An address is in at most one batch at a time, and in a second one only
after `again` gave it back unanswered. Never waits, never asks: job does.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from postroad.smtp.address import Address


@dataclass(frozen=True, slots=True)
class Item:
    """One address to ask about. `id` is the caller's own."""

    id: int
    address: Address


@dataclass(frozen=True, slots=True)
class Batch:
    """Addresses of one domain, to be asked about in one session."""

    domain: str
    site: str
    items: tuple[Item, ...]


@dataclass(slots=True)
class _Site:
    domains: OrderedDict[str, None] = field(default_factory=OrderedDict)
    """Those with addresses waiting, in the order of their turns."""
    active: int = 0
    placed: int = 0
    """Domains known to belong here."""
    has_turn: bool = False


class Plan:
    """`batch_size`: recipients in one session; `per_site`: batches under way at a time at one site."""

    def __init__(self, *, batch_size: int = 50, per_site: int = 2) -> None:
        if batch_size < 1 or per_site < 1:
            raise ValueError("batch_size and per_site must be at least 1")
        self._batch_size = batch_size
        self._per_site = per_site
        self._waiting: dict[str, deque[Item]] = {}
        self._site_of: dict[str, str] = {}
        self._sites: dict[str, _Site] = {}
        self._turns: deque[str] = deque()
        """Sites that may be asked for a batch, each once; one that has nothing left is passed over."""
        self._active: dict[str, int] = {}
        self._size = 0

    @property
    def size(self) -> int:
        """Addresses held, waiting or in a batch under way."""
        return self._size

    def holds(self, domain: str) -> bool:
        """Whether addresses of that domain wait or are in a batch under way."""
        return domain in self._waiting

    def add(self, item: Item) -> bool:
        """Take an address. True when its domain is new: someone must find its site and say so by `place`."""
        self._size += 1
        domain = item.address.domain
        queue = self._waiting.get(domain)
        if queue is not None:
            queue.append(item)
            self._offer(domain)
            return False
        self._waiting[domain] = deque((item,))
        return domain not in self._site_of

    def place(self, domain: str, site: str) -> None:
        """The mail of that domain goes to that site: its addresses may be asked about."""
        if domain not in self._waiting or domain in self._site_of:
            return
        self._site_of[domain] = site
        self._sites.setdefault(site, _Site()).placed += 1
        self._offer(domain)

    def next_batch(self) -> Batch | None:
        """The next batch; None while every site with addresses has as many as it may, or nothing waits."""
        while self._turns:
            key = self._turns.popleft()
            site = self._sites.get(key)
            if site is not None and site.has_turn:
                site.has_turn = False
                if site.domains and site.active < self._per_site:
                    return self._take(key, site)
        return None

    def _take(self, key: str, site: _Site) -> Batch:
        domain, _ = site.domains.popitem(last=False)
        queue = self._waiting[domain]
        items = tuple(queue.popleft() for _ in range(min(self._batch_size, len(queue))))
        if queue:
            site.domains[domain] = None
        site.active += 1
        self._active[domain] = self._active.get(domain, 0) + 1
        self._wake(key)
        return Batch(domain, key, items)

    def finished(self, batch: Batch, again: Iterable[Item] = ()) -> None:
        """A batch has ended. `again`: those it could not ask about, to be asked first in the next."""
        back = tuple(again)
        site = self._sites[batch.site]
        site.active -= 1
        self._active[batch.domain] -= 1
        self._size -= len(batch.items) - len(back)
        self._waiting.setdefault(batch.domain, deque()).extendleft(reversed(back))
        self._offer(batch.domain)
        self._wake(batch.site)
        self._tidy(batch.domain)

    def give_up(self, domain: str) -> tuple[Item, ...]:
        """Everything of that domain that still waits, taken out: there is no way to it."""
        items = tuple(self._waiting.get(domain, ()))
        self._waiting[domain] = deque()
        self._size -= len(items)
        key = self._site_of.get(domain)
        if key is not None:
            self._sites[key].domains.pop(domain, None)
        self._tidy(domain)
        return items

    def _offer(self, domain: str) -> None:
        key = self._site_of.get(domain)
        if key is None or not self._waiting.get(domain):
            return
        self._sites[key].domains.setdefault(domain, None)
        self._wake(key)

    def _wake(self, key: str) -> None:
        site = self._sites[key]
        if site.domains and site.active < self._per_site and not site.has_turn:
            site.has_turn = True
            self._turns.append(key)

    def _tidy(self, domain: str) -> None:
        """Forget a domain of which nothing waits and nothing is under way, and its site with the last of them."""
        if self._waiting.get(domain) or self._active.get(domain):
            return
        self._waiting.pop(domain, None)
        self._active.pop(domain, None)
        key = self._site_of.pop(domain, None)
        if key is None:
            return
        site = self._sites[key]
        site.placed -= 1
        if not site.placed and not site.active:
            del self._sites[key]
