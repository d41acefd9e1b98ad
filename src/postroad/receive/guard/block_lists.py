"""Block lists and allow lists of the DNS (RFC 5782) asked about a client: weights that add up, and a threshold.

A list that does not answer in time, lies, or does not serve our resolver says nothing: it never costs anybody mail. The
resolver remembers answers for as long as the lists say; questions at the same time about one address are one.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from postroad.events import emit
from postroad.net.dns_list import is_listing, is_misuse, query_name
from postroad.net.resolver import DnsStatus, ReverseResolver
from postroad.receive.guard.networks import Network
from postroad.smtp.reply import Reply, reply

KEPT = 10_000
"""Addresses whose standing is remembered."""
KEPT_S = 300.0
MISUSE_TOLD_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsList:
    """`weight`: added to the score of a client that is listed; below zero for an allow list."""

    zone: str
    weight: float = 1.0
    answers: tuple[Network, ...] = ()
    """The answers that count; any listing where there are none here."""
    url: str = ""
    """Where a person reads why; `{address}` is replaced."""

    def counts(self, answer: str) -> bool:
        """Whether that answer means that the client is listed, as the configuration reads the list."""
        if not is_listing(answer):
            return False
        return not self.answers or any(_number(answer) & int(one.netmask) == _start(one) for one in self.answers)


def _number(answer: str) -> int:
    value = 0
    for part in answer.split("."):
        value = value << 8 | int(part)
    return value


def _start(network: Network) -> int:
    return int(network.network_address)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the lists say of a client together: the score, and the lists with a weight above zero that have it."""

    score: float = 0.0
    blocked_by: tuple[DnsList, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsListSettings:
    lists: tuple[DnsList, ...] = ()
    threshold: float = 1.0
    timeout_s: float = 3.0


class DnsLists:
    """`resolver` gives the one in use now; `now`: a clock that only goes forward, in seconds."""

    def __init__(
        self, settings: DnsListSettings, resolver: Callable[[], ReverseResolver], now: Callable[[], float]
    ) -> None:
        self.settings = settings
        self._resolver = resolver
        self._now = now
        self._known: OrderedDict[str, tuple[float, Standing]] = OrderedDict()
        self._told: dict[str, float] = {}

    def use(self, settings: DnsListSettings) -> None:
        """From now on these."""
        self.settings = settings
        self._known.clear()

    def known(self, peer: str) -> Standing | None:
        """What was found out of late."""
        found = self._known.get(peer)
        return found[1] if found is not None and found[0] > self._now() else None

    async def ask(self, peer: str) -> Standing:
        """Ask all lists at once, for as long as the settings say; what has not come by then says nothing."""
        known = self.known(peer)
        if known is not None:
            return known
        settings = self.settings
        asking = [asyncio.ensure_future(self._is_listed(peer, one)) for one in settings.lists]
        done, late = await asyncio.wait(asking, timeout=settings.timeout_s)
        for one in late:
            one.cancel()
        if late:
            await asyncio.wait(late)
        listed = [
            one
            for one, answer in zip(settings.lists, asking, strict=True)
            if answer in done and answer.exception() is None and answer.result()
        ]
        standing = Standing(sum(one.weight for one in listed), tuple(one for one in listed if one.weight > 0))
        if not late:
            self._known[peer] = (self._now() + KEPT_S, standing)
            self._known.move_to_end(peer)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        return standing

    async def _is_listed(self, peer: str, one: DnsList) -> bool:
        found = await self._resolver().addresses_v4(query_name(peer, one.zone))
        if found.status is not DnsStatus.FOUND:
            return False
        if any(is_misuse(answer) for answer in found.addresses):
            self._tell_misuse(one.zone)
            return False
        return any(one.counts(answer) for answer in found.addresses)

    def _tell_misuse(self, zone: str) -> None:
        now = self._now()
        if self._told.get(zone, float("-inf")) + MISUSE_TOLD_S <= now:
            self._told[zone] = now
            emit(
                "block_list.refused",
                zone=zone,
                advice="the list does not serve this resolver: ask it by a resolver of your own, or with its key",
            )

    def refusal(self, peer: str, standing: Standing) -> Reply | None:
        """550 with the lists that have the client, where the score reaches the threshold."""
        if not standing.blocked_by or standing.score < self.settings.threshold:
            return None
        return listed(peer, standing.blocked_by)


def listed(peer: str, lists: Sequence[DnsList]) -> Reply:
    """What a listed client is told, with the place where it may ask to be removed."""
    zones = ", ".join(one.zone for one in lists)
    places = " ".join(dict.fromkeys(one.url.replace("{address}", peer) for one in lists if one.url))
    return reply(550, f"{peer} is listed by {zones}" + (f"; see {places}" if places else ""), "5.7.1")
