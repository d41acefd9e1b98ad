"""Mail hosts with certificates of a test authority, and a road on which domains ask for security."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import random
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import trustme

from deliver.peers import Host, listening
from postroad.deliver.attempt import Attempter
from postroad.message.dns import AddressAnswer, DnsStatus, MxAnswer
from postroad.message.mta_sts import StsMode, StsPolicy
from postroad.message.tls_report import TlsSession
from postroad.net.dnssec import SecureAnswer, Tlsa
from postroad.net.endpoint import TlsMode
from postroad.net.tls import client_context
from postroad.road.pool import Pool, PoolSettings
from postroad.road.route import Router
from postroad.road.site import SitePresets
from postroad.road.tls_policies import TlsPolicies

AUTHORITY = trustme.CA()
MX, MX2 = "mx.example.net", "mx2.example.net"
LONG_AGO = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)


def server_tls(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def certificate(name: str = MX, *, authority: trustme.CA = AUTHORITY, is_expired: bool = False) -> trustme.LeafCert:
    return (
        authority.issue_cert(name, not_after=LONG_AGO + datetime.timedelta(days=9), not_before=LONG_AGO)
        if (is_expired)
        else authority.issue_cert(name)
    )


class _First:
    """A reader that gives one line before the others."""

    def __init__(self, line: bytes, reader: asyncio.StreamReader) -> None:
        self._line = line
        self._reader = reader

    async def readline(self) -> bytes:
        line, self._line = self._line, b""
        return line or await self._reader.readline()

    async def read(self) -> bytes:
        return await self._reader.read()


@dataclass
class SecureHost(Host):
    """A mail host that offers STARTTLS with that certificate, and then `offers`."""

    tls: trustme.LeafCert = field(default_factory=certificate)
    handshakes: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeting, self.greeting = b"220 mx.example.net ESMTP\r\n", b""
        writer.write(greeting)
        await reader.readline()
        writer.write(b"250-mx.example.net\r\n250 STARTTLS\r\n")
        line = await reader.readline()
        if line.upper().startswith(b"STARTTLS"):
            writer.write(b"220 go\r\n")
            await writer.start_tls(server_tls(self.tls))
            self.handshakes += 1
            line = b""
        first: Any = _First(line, reader)
        await super().serve(first, writer)


@dataclass
class Secured:
    """What domains ask: MTA-STS by `modes`, DANE by `records` (of every host; None: nothing is signed)."""

    modes: dict[str, StsMode] = field(default_factory=dict)
    records: tuple[Tlsa, ...] | None = None

    def prepare(self, domain: str) -> None:
        pass

    async def policy(self, domain: str) -> StsPolicy | None:
        return StsPolicy(self.modes[domain], (MX,), 60) if domain in self.modes else None

    async def mx(self, domain: str) -> SecureAnswer:
        return SecureAnswer(DnsStatus.FOUND, self.records is not None, (MX, MX2))

    async def address(self, host: str) -> SecureAnswer:
        return SecureAnswer(DnsStatus.FOUND, True)

    async def tlsa(self, host: str, port: int) -> SecureAnswer:
        return SecureAnswer(DnsStatus.FOUND, True, self.records or ())


class Names:
    """The hosts of every domain, each at an address of its own."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = tuple(hosts)

    async def mx(self, domain: str) -> MxAnswer:
        return MxAnswer(DnsStatus.FOUND, tuple((10 * place, host) for place, host in enumerate(self._hosts)))

    async def addresses(self, host: str) -> AddressAnswer:
        return AddressAnswer(DnsStatus.FOUND, ("127.0.0.1",))

    async def close(self) -> None:
        pass


@dataclass
class Way:
    attempter: Attempter
    sessions: list[TlsSession]


def trusting(tls: TlsMode) -> ssl.SSLContext:
    context = client_context(tls)
    AUTHORITY.configure_trust(context)
    return context


@contextlib.asynccontextmanager
async def secure_road(
    host: Host, asked: Secured, *, hosts: Sequence[str] = (MX,), tls: TlsMode = TlsMode.OPPORTUNISTIC
) -> AsyncIterator[Way]:
    """A way to that host, by whatever name; what domains ask of it; and the sessions that were told."""
    from postroad.road.policy import TlsPolicy

    sessions: list[TlsSession] = []
    sts: Any = asked
    policies = TlsPolicies(sts=sts, dane=asked, wall=lambda: 1.8e9)
    async with listening(host) as port:
        router = Router(
            Names(hosts),
            rng=random.Random(1),
            port=port,
            allow_private=True,
            tls=TlsPolicy(tls),
            presets=SitePresets(),
            policies=policies,
        )
        pool = Pool(
            PoolSettings(hello="mail.example.org"),
            router.endpoints,
            ssl_contexts=trusting,
            on_tls=sessions.append,
        )
        try:
            yield Way(Attempter(router, pool), sessions)
        finally:
            await pool.close()
