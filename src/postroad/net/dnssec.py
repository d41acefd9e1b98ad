"""DNS answers that a validating resolver vouches for: the AD bit, from a resolver that the operator trusts (RFC 6840).

Beside net/resolver.py, whose c-ares does not show the AD bit: asked only where DANE is on. An answer without the bit is
`is_secure=False`; one that the resolver refuses to give (SERVFAIL: it may be forged) is TEMPORARY. Answers are cached,
and questions asked at the same time share one query.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from postroad.clock import Clock, SystemClock
from postroad.net.resolver import MAX_MX, DnsStatus

MAX_TLSA = 32
"""TLSA records read of one answer."""
PAYLOAD = 1232
"""Octets of an answer by UDP; a longer one comes by TCP."""
MAX_ALIASES = 16


@dataclass(frozen=True, slots=True)
class Tlsa:
    """One record as published, whether or not it can be used (RFC 6698 §2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()}"


@dataclass(frozen=True, slots=True)
class SecureAnswer:
    """`values`: host names of an MX answer, `Tlsa` of a TLSA one, nothing of addresses. `ttl_s`: how long it holds."""

    status: DnsStatus
    is_secure: bool = False
    values: tuple[Any, ...] = ()
    detail: str = ""
    ttl_s: float = 0.0


class ValidatingResolver:
    """Asks the resolver at `host`, `port`, and believes its AD bit. Times in seconds."""

    def __init__(
        self,
        host: str,
        port: int = 53,
        *,
        timeout_s: float = 5.0,
        tries: int = 2,
        cache_size: int = 10_000,
        max_ttl_s: float = 3600.0,
        negative_ttl_s: float = 60.0,
        concurrency: int = 100,
        clock: Clock | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._tries = tries
        self._cache: OrderedDict[tuple[str, str], tuple[float, SecureAnswer]] = OrderedDict()
        self._cache_size = cache_size
        self._max_ttl_s = max_ttl_s
        self._negative_ttl_s = negative_ttl_s
        self._asked: dict[tuple[str, str], asyncio.Future[SecureAnswer]] = {}
        self._places = asyncio.Semaphore(concurrency)
        self._clock = clock or SystemClock()

    async def mx(self, domain: str) -> SecureAnswer:
        """The mail hosts of a domain, in lower case without their final dot."""
        return await self._once("MX", domain)

    async def address(self, host: str) -> SecureAnswer:
        """Whether the addresses of a host are vouched for: by its A records, or where it has none by its AAAA ones."""
        found = await self._once("A", host)
        return await self._once("AAAA", host) if found.status is DnsStatus.NO_DATA else found

    async def tlsa(self, host: str, port: int) -> SecureAnswer:
        """The TLSA records of a mail host (RFC 7672 §2.2.3)."""
        return await self._once("TLSA", f"_{port}._tcp.{host}")

    def known(self, kind: str, name: str) -> SecureAnswer | None:
        """What the cache holds now."""
        cached = self._cache.get((kind, name))
        return cached[1] if cached is not None and cached[0] > self._clock.monotonic() else None

    async def close(self) -> None:
        """Give up what is still asked."""
        for asked in list(self._asked.values()):
            asked.cancel()

    async def _once(self, kind: str, name: str) -> SecureAnswer:
        known = self.known(kind, name)
        if known is not None:
            return known
        key = (kind, name)
        waiting = self._asked.get(key)
        if waiting is None:
            waiting = asyncio.ensure_future(self._fetch(kind, name))
            self._asked[key] = waiting
            waiting.add_done_callback(lambda _: self._asked.pop(key, None))
        return await asyncio.shield(waiting)

    async def _fetch(self, kind: str, name: str) -> SecureAnswer:
        async with self._places:
            answer = await self._ask(kind, name)
        if answer.status is not DnsStatus.TEMPORARY and self._cache_size:
            ttl = answer.ttl_s if answer.status is DnsStatus.FOUND else self._negative_ttl_s
            self._cache[kind, name] = (self._clock.monotonic() + min(ttl, self._max_ttl_s), answer)
            self._cache.move_to_end((kind, name))
            while len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        return answer

    async def _ask(self, kind: str, name: str) -> SecureAnswer:
        try:
            query = dns.message.make_query(dns.name.from_text(name), kind, use_edns=0, payload=PAYLOAD)
        except (dns.exception.DNSException, UnicodeError):
            return SecureAnswer(DnsStatus.NO_DOMAIN, detail="no name that DNS could hold")
        query.flags |= dns.flags.AD  # asks for the bit in the answer (RFC 6840 §5.7)
        detail = ""
        for _ in range(self._tries):
            try:
                said, _ = await dns.asyncquery.udp_with_fallback(
                    query, self._host, timeout=self._timeout_s, port=self._port, ignore_unexpected=True
                )
            except (dns.exception.DNSException, OSError, EOFError) as error:
                detail = "time-out" if isinstance(error, dns.exception.Timeout) else str(error)
                continue
            return _read(said, kind)
        return SecureAnswer(DnsStatus.TEMPORARY, detail=detail)


_READERS: dict[str, Callable[[Any], Any]] = {
    "MX": lambda record: str(record.exchange).rstrip(".").lower(),
    "TLSA": lambda record: Tlsa(record.usage, record.selector, record.mtype, bytes(record.cert)),
}


def _read(said: dns.message.Message, kind: str) -> SecureAnswer:
    is_secure = bool(said.flags & dns.flags.AD)
    code = said.rcode()
    if code == dns.rcode.NXDOMAIN:
        return SecureAnswer(DnsStatus.NO_DOMAIN, is_secure)
    if code != dns.rcode.NOERROR:
        return SecureAnswer(DnsStatus.TEMPORARY, detail=dns.rcode.to_text(code).lower())
    sets = said.answer[: MAX_ALIASES + 1]
    found = [one for one in sets if one.rdtype == dns.rdatatype.from_text(kind)]
    if not found:
        return SecureAnswer(DnsStatus.NO_DATA, is_secure)
    reader = _READERS.get(kind)
    most = MAX_TLSA if kind == "TLSA" else MAX_MX
    values = () if reader is None else tuple(reader(record) for record in list(found[-1])[:most])
    return SecureAnswer(DnsStatus.FOUND, is_secure, values, ttl_s=float(min(one.ttl for one in sets)))
