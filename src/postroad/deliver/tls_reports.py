"""Reports on TLS to domains that ask for them, by mail or HTTPS (RFC 8460).

A domain that was told of a day is noted, so that nobody is told twice; one that could not be told may be tried again.
When, and by which worker, is for compose/tls_policy.py to say.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from postroad.clock import Clock
from postroad.message.dns import DnsStatus, TextsAnswer
from postroad.message.envelope import Envelope, Notify, Recipient, format_queue_id
from postroad.message.tls_report import MEDIA_TYPE, ReportHead, build, mail, packed, report_addresses
from postroad.net.https import HttpsError
from postroad.smtp.address import Address, AddressError
from postroad.store.spool import Queued, Spool, SpooledMessage, SpoolError, Trace
from postroad.store.tls_book import TlsBook

DAY_S = 86_400
MAX_DOMAINS = 10_000
"""Domains told in one go."""
AT_ONCE = 10
Result = TypeVar("Result")


class Texts(Protocol):
    """What is asked of DNS."""

    async def texts(self, name: str) -> TextsAnswer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReporterSettings:
    """`contact`: the address that people may ask, and the sender of reports."""

    hostname: str
    organization: str
    contact: str
    lifetime_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReporterPorts:
    """What it works with. `post` sends a file to a URL and raises HttpsError; `finish` is the last change to a message
    (it is signed); `hand_on` gets what was committed."""

    book: TlsBook
    resolver: Texts
    post: Callable[[str, bytes, str], Awaitable[None]]
    spool: Spool
    finish: Callable[[SpooledMessage], Awaitable[SpooledMessage]]
    hand_on: Callable[[Sequence[Queued]], None]
    clock: Clock
    token: Callable[[], str]
    emit: Callable[..., None]


class TlsReporter:
    """Tells the domains of one day."""

    def __init__(self, settings: ReporterSettings, ports: ReporterPorts) -> None:
        self._settings = settings
        self._ports = ports

    async def report(self, day: int) -> None:
        """Tell every domain that has sessions of that day and was not told yet. Never raises for what others do."""
        try:
            domains = await _in_thread(partial(self._ports.book.to_report, day, MAX_DOMAINS))
            for start in range(0, len(domains), AT_ONCE):
                some = domains[start : start + AT_ONCE]
                outcomes = await asyncio.gather(*(self._tell(day, domain) for domain in some))
                done = [(domain, told) for domain, told in zip(some, outcomes, strict=True) if told]
                if done:
                    await _in_thread(partial(self._ports.book.reported, day, done, self._ports.clock.wall()))
        except SpoolError as error:
            self._ports.emit("tls.book_failed", error=str(error))

    async def _tell(self, day: int, domain: str) -> str:
        """What was done; empty: it is to be tried again."""
        answer = await self._ports.resolver.texts(f"_smtp._tls.{domain}")
        if answer.status is DnsStatus.TEMPORARY:
            return ""
        addresses = report_addresses(answer.texts)
        if not addresses:
            return "not asked for"
        sessions = await _in_thread(partial(self._ports.book.sessions, day, domain))
        head = head_of(self._settings, domain, day, self._ports.token())
        content = packed(build(head, sessions))
        told: list[str] = []
        for address in addresses:
            try:
                await self._send(head, content, address)
            except (HttpsError, AddressError, SpoolError, ValueError) as error:
                self._ports.emit("tls.report_failed", domain=domain, to=address, error=str(error))
            else:
                self._ports.emit("tls.report_sent", domain=domain, to=address, sessions=sum(n for _, n in sessions))
                told.append(address)
        return ", ".join(told)

    async def _send(self, head: ReportHead, content: bytes, address: str) -> None:
        if address.lower().startswith("https:"):
            await self._ports.post(address, content, MEDIA_TYPE)
            return
        to = Address.parse(urllib.parse.unquote(address.partition(":")[2].partition("?")[0]))
        await self._queue(head, content, to)

    async def _queue(self, head: ReportHead, content: bytes, to: Address) -> None:
        settings, ports = self._settings, self._ports
        now = ports.clock.wall()
        number = ports.spool.new_id(now)
        body = mail(
            head,
            content,
            sender=settings.contact,
            recipient=str(to),
            boundary=f"=_{format_queue_id(number)}_{ports.token()}",
            now=now,
        )
        message = SpooledMessage(
            id=number,
            envelope=Envelope(
                reverse_path=Address.parse(settings.contact),
                recipients=(Recipient(to, frozenset({Notify.NEVER})),),
            ),
            body=body,
            received_at=now,
            expires_at=now + settings.lifetime_s,
            trace=Trace(peer="", helo=settings.hostname, protocol="report"),
        )
        ports.hand_on(await ports.spool.commit(await ports.finish(message), now))


def head_of(settings: ReporterSettings, domain: str, day: int, token: str) -> ReportHead:
    """The head of a domain's report on a day (days since 1970). `token` makes its id one of its own."""
    return ReportHead(
        organization=settings.organization,
        contact=settings.contact,
        submitter=settings.hostname,
        report_id=f"{day}.{token}@{settings.hostname}",
        domain=domain,
        start=day * DAY_S,
        end=day * DAY_S + DAY_S - 1,
    )


async def _in_thread(work: Callable[[], Result]) -> Result:
    return await asyncio.get_running_loop().run_in_executor(None, work)
