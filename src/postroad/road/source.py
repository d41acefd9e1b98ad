"""The addresses that mail leaves from: which mail uses which, and in what order they are tried. Pure.

The order is a matter of names alone, not of chance: a message that is tried again leaves from the same address, in as
far as that may still send.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from postroad.road.route import Route
from postroad.road.warm_up import WarmUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One sender as other hosts see it: an address of each family, and the name it says in EHLO ("": the server's)."""

    name: str
    ipv4: str = ""
    ipv6: str = ""
    hello: str = ""
    weight: int = 1
    warm_up: WarmUp | None = None
    starts: str = ""
    """The first day of the warm-up (`2030-01-31`); empty: that of its first use."""

    def address_to(self, address: str) -> str | None:
        """What to leave from towards that address; None: there is none of its family."""
        return (self.ipv6 if ":" in address else self.ipv4) or None

    def quota(self, day: str, first_days: Mapping[str, str]) -> int | None:
        """Messages that it may send that day; None: as many as there are. `first_days`: when each source was first
        used, by name."""
        if self.warm_up is None:
            return None
        first = self.starts or first_days.get(self.name, day)
        return self.warm_up.quota((date.fromisoformat(day) - date.fromisoformat(first)).days)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What of a message decides on its pool."""

    sender_domain: str
    user: str
    recipient_domain: str
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePool:
    """Sources for certain mail; what is not said of the mail does not matter."""

    name: str
    sources: tuple[Source, ...]
    sender_domains: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    recipient_domains: frozenset[str] = frozenset()
    highest_priority: int = 9
    lowest_priority: int = -9

    def takes(self, mail: Traits) -> bool:
        """Whether such mail is its."""
        return (
            (not self.sender_domains or mail.sender_domain in self.sender_domains)
            and (not self.users or mail.user in self.users)
            and (not self.recipient_domains or mail.recipient_domain in self.recipient_domains)
            and self.lowest_priority <= mail.priority <= self.highest_priority
        )


def pool_for(pools: Sequence[SourcePool], mail: Traits) -> SourcePool | None:
    """The first that takes it."""
    return next((pool for pool in pools if pool.takes(mail)), None)


def in_order(pool: SourcePool, site: str, message_id: int) -> list[Source]:
    """The sources of a pool as this message to this site tries them: the first by weight, and always the same."""
    if len(pool.sources) == 1:
        return list(pool.sources)

    def rank(source: Source) -> float:
        digest = hashlib.blake2b(f"{source.name}\0{site}\0{message_id}".encode(), digest_size=8).digest()
        chance = (int.from_bytes(digest, "big") + 1) / (2**64 + 2)
        return -math.log(chance) / source.weight

    return sorted(pool.sources, key=rank)


def leaving_from(route: Route, source: Source) -> Route:
    """The same way, from that source: the site counts it apart."""
    return replace(route, source=source, site=route.site.of(source.name))
