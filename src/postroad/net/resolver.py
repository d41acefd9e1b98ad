"""DNS as values: found, no data, no such name, or not to be had now; never an exception.

aiodns (c-ares) asks; a bounded cache with the records' own times to live answers the rest, and questions asked at
the same time share one query. Private addresses are not filtered here: that is road/policy.py's.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import aiodns
import pycares

from postroad.clock import Clock, SystemClock
from postroad.message.dns import AddressAnswer, DnsStatus, MxAnswer, NamesAnswer, TextsAnswer

__all__ = [
    "AddressAnswer",
    "DnsResolver",
    "DnsStatus",
    "MxAnswer",
    "NamesAnswer",
    "Resolver",
    "ReverseResolver",
    "TextsAnswer",
]

ARES_TRIES = 6
"""c-ares learns how fast a server is and waits for a question as little as 0.25 s, each time twice as long: with two
tries it would give up after 0.6 s, whatever time it was given."""
MAX_MX = 500
"""MX records read of one answer (H-09)."""
MAX_ADDRESSES = 32
MAX_NAMES = 10
"""PTR records read of one answer."""
MAX_FAMILY_ADDRESSES = 255
"""Addresses read of an answer about one family: not where to connect to, but who may (SPF)."""
MAX_TEXTS = 100
"""TXT records read of one answer."""


class ReverseResolver(Protocol):
    """What the door asks of DNS."""

    async def names(self, address: str) -> NamesAnswer:
        """The PTR records of an address."""
        ...

    async def addresses(self, host: str) -> AddressAnswer:
        """As `Resolver.addresses`."""
        ...

    async def addresses_v4(self, host: str) -> AddressAnswer:
        """The A records alone, of a name that could have no others: a query less."""
        ...


class Resolver(Protocol):
    """What the road asks of DNS."""

    async def mx(self, domain: str) -> MxAnswer:
        """The MX records of a domain (A-labels)."""
        ...

    async def addresses(self, host: str) -> AddressAnswer:
        """The A and AAAA records of a host; an address literal is its own."""
        ...

    async def close(self) -> None: ...


_STATUS = {
    pycares.errno.ARES_ENODATA: DnsStatus.NO_DATA,
    pycares.errno.ARES_ENOTFOUND: DnsStatus.NO_DOMAIN,
    pycares.errno.ARES_EBADNAME: DnsStatus.NO_DOMAIN,  # no name that DNS could hold
}

_TYPES = {
    "MX": pycares.QUERY_TYPE_MX,
    "A": pycares.QUERY_TYPE_A,
    "AAAA": pycares.QUERY_TYPE_AAAA,
    "PTR": pycares.QUERY_TYPE_PTR,
    "TXT": pycares.QUERY_TYPE_TXT,
}

Answer = TypeVar("Answer", MxAnswer, AddressAnswer, NamesAnswer, TextsAnswer)


class _Channel:
    """One c-ares channel. It caches for itself and without a bound, so it is replaced after so many questions."""

    __slots__ = ("asked", "dns", "pending")

    def __init__(self, dns: aiodns.DNSResolver) -> None:
        self.dns = dns
        self.asked = 0
        self.pending = 0


class DnsResolver:
    """Asks `nameserver` (`ADDRESS:PORT`; None: the system's). Times in seconds. Raises ValueError for a bad one."""

    def __init__(
        self,
        nameserver: str | None = None,
        *,
        timeout_s: float = 5.0,
        tries: int = 2,
        cache_size: int = 10_000,
        max_ttl_s: float = 3600.0,
        negative_ttl_s: float = 60.0,
        concurrency: int = 100,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._cache: OrderedDict[tuple[str, str], tuple[float, Any]] = OrderedDict()
        self._cache_size = cache_size
        self._max_ttl_s = max_ttl_s
        self._negative_ttl_s = negative_ttl_s
        self._asked: dict[tuple[str, str], asyncio.Future[Any]] = {}
        self._places = asyncio.Semaphore(concurrency)
        self._nameserver = nameserver
        self._timeout_s = timeout_s
        self._tries = tries
        self._channel = self._new_channel()
        self._channels = {self._channel}

    def _new_channel(self) -> _Channel:
        nameservers = [self._nameserver] if self._nameserver else None
        try:
            dns = aiodns.DNSResolver(nameservers=nameservers, timeout=self._timeout_s, tries=ARES_TRIES, lookups="b")
        except pycares.AresError:
            raise ValueError(f"{self._nameserver!r} is no DNS server: write ADDRESS:PORT") from None
        return _Channel(dns)

    async def mx(self, domain: str) -> MxAnswer:
        """MX records, by preference."""
        return await self._once(("MX", domain), lambda: self._ask_mx(domain))

    async def addresses(self, host: str) -> AddressAnswer:
        """A and AAAA records; temporary only where neither came."""
        try:
            return AddressAnswer(DnsStatus.FOUND, (str(ipaddress.ip_address(host)),))
        except ValueError:
            return await self._once(("A", host), lambda: self._ask_addresses(host))

    async def addresses_v4(self, host: str) -> AddressAnswer:
        """A records alone."""
        return await self._once(("A4", host), lambda: self._ask_family(host, "A"))

    async def addresses_v6(self, host: str) -> AddressAnswer:
        """AAAA records alone."""
        return await self._once(("A6", host), lambda: self._ask_family(host, "AAAA"))

    async def texts(self, name: str) -> TextsAnswer:
        """TXT records, in no particular order."""
        return await self._once(("TXT", name), lambda: self._ask_texts(name))

    async def names(self, address: str) -> NamesAnswer:
        """PTR records."""
        pointer = ipaddress.ip_address(address).reverse_pointer
        return await self._once(("PTR", pointer), lambda: self._ask_names(pointer))

    async def close(self) -> None:
        """Give up what is still asked."""
        for channel in tuple(self._channels):
            await channel.dns.close()

    async def _once(self, key: tuple[str, str], ask: Callable[[], Awaitable[tuple[Answer, float]]]) -> Answer:
        """From the cache, or by the query under way for the same question, or by a new one."""
        now = self._clock.monotonic()
        cached = self._cache.get(key)
        if cached is not None and cached[0] > now:
            self._cache.move_to_end(key)
            return cached[1]  # type: ignore[no-any-return]
        waiting = self._asked.get(key)
        if waiting is None:
            waiting = asyncio.ensure_future(self._fetch(key, ask))
            self._asked[key] = waiting
            waiting.add_done_callback(lambda _: self._asked.pop(key, None))
        return await asyncio.shield(waiting)

    async def _fetch(self, key: tuple[str, str], ask: Callable[[], Awaitable[tuple[Answer, float]]]) -> Answer:
        async with self._places:
            answer, ttl = await ask()
        if answer.status is not DnsStatus.TEMPORARY and self._cache_size:
            ttl = ttl if answer.status is DnsStatus.FOUND else self._negative_ttl_s
            self._cache[key] = (self._clock.monotonic() + min(ttl, self._max_ttl_s), answer)
            self._cache.move_to_end(key)
            while len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        return answer

    async def _query(self, name: str, kind: str) -> tuple[DnsStatus, list[Any], float, str]:
        try:
            result = await self._ask(name, kind)
        except aiodns.error.DNSError as error:
            code = error.args[0] if error.args else 0
            words = str(error.args[1]) if len(error.args) > 1 else "no answer"
            return _STATUS.get(code, DnsStatus.TEMPORARY), [], 0.0, words.lower()
        except (ValueError, UnicodeError) as error:
            return DnsStatus.NO_DOMAIN, [], 0.0, str(error)
        found = [record for record in result.answer if record.type == _TYPES[kind]]
        ttl = min((float(record.ttl) for record in found), default=0.0)
        return (DnsStatus.FOUND if found else DnsStatus.NO_DATA), found, ttl, ""

    async def _ask(self, name: str, kind: str) -> Any:
        if self._channel.asked >= max(1, self._cache_size):
            self._channel = self._new_channel()
            self._channels.add(self._channel)
        channel = self._channel
        channel.asked += 1
        channel.pending += 1
        try:
            async with asyncio.timeout(self._timeout_s * self._tries):
                return await channel.dns.query_dns(name, kind)
        except TimeoutError:
            raise aiodns.error.DNSError(aiodns.error.ARES_ETIMEOUT, "timeout while contacting dns servers") from None
        finally:
            channel.pending -= 1
            if channel is not self._channel and not channel.pending:
                self._channels.discard(channel)
                await channel.dns.close()

    async def _ask_mx(self, domain: str) -> tuple[MxAnswer, float]:
        status, found, ttl, detail = await self._query(domain, "MX")
        records = sorted(
            (int(record.data.priority), str(record.data.exchange).rstrip(".").lower()) for record in found[:MAX_MX]
        )
        return MxAnswer(status, tuple(records), detail), ttl

    async def _ask_family(self, host: str, kind: str) -> tuple[AddressAnswer, float]:
        status, found, ttl, detail = await self._query(host, kind)
        return AddressAnswer(
            status, tuple(str(record.data.addr) for record in found[:MAX_FAMILY_ADDRESSES]), detail
        ), ttl

    async def _ask_texts(self, name: str) -> tuple[TextsAnswer, float]:
        status, found, ttl, detail = await self._query(name, "TXT")
        texts = tuple(bytes(record.data.data) for record in found[:MAX_TEXTS])
        return TextsAnswer(status, texts, detail), ttl

    async def _ask_names(self, pointer: str) -> tuple[NamesAnswer, float]:
        status, found, ttl, detail = await self._query(pointer, "PTR")
        names = tuple(str(record.data.dname).rstrip(".").lower() for record in found[:MAX_NAMES])
        return NamesAnswer(status, names, detail), ttl

    async def _ask_addresses(self, host: str) -> tuple[AddressAnswer, float]:
        v4, v6 = await asyncio.gather(self._query(host, "A"), self._query(host, "AAAA"))
        found = [str(record.data.addr) for record in [*v4[1], *v6[1]]][:MAX_ADDRESSES]
        if found:
            return AddressAnswer(DnsStatus.FOUND, tuple(found)), min(part[2] for part in (v4, v6) if part[1])
        for status in (DnsStatus.TEMPORARY, DnsStatus.NO_DATA, DnsStatus.NO_DOMAIN):
            for part in (v4, v6):
                if part[0] is status:
                    return AddressAnswer(status, (), part[3]), 0.0
        return AddressAnswer(DnsStatus.NO_DATA), 0.0
