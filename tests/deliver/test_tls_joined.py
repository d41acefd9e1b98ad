"""The policies of a domain from DNS and its web server to the message, joined as a worker joins them (T-01 to T-03)."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deliver.messages import envelope, message, queue
from deliver.peers import Host, listening
from deliver.secure_peers import AUTHORITY, MX, SecureHost, certificate
from dns_server import DnsServer
from https_server import HttpsServer, Page
from postroad.clock import SystemClock
from postroad.compose import sending
from postroad.compose.tls_policy import ReportSending, TlsHouse
from postroad.config import Config
from postroad.config.tls_policy import DaneSection, TlsReportsSection
from postroad.config.values import DeliverySection, DnsSection, ServerSection
from postroad.deliver.attempt import Attempter, Outcome
from postroad.events import configure
from postroad.message.mta_sts import KeptPolicy
from postroad.message.tls_report import PolicyKind, TlsSession
from postroad.net.dnssec import Tlsa
from postroad.net.resolver import DnsResolver
from postroad.net.tls import client_context
from postroad.road.pool import Pool
from postroad.store.memory_spool import MemorySpool
from postroad.store.spool import Queued, SpooledMessage

POLICY = f"version: STSv1\r\nmode: enforce\r\nmx: {MX}\r\nmax_age: 86400\r\n".encode()
PATH = "/.well-known/mta-sts.txt"


@dataclass
class Joined:
    house: TlsHouse
    attempter: Attempter
    dns: DnsServer
    web: HttpsServer
    port: int
    log: io.StringIO = field(default_factory=io.StringIO)

    async def send(self) -> Outcome:
        about = message(envelope("a@example.net"))
        (outcome,) = (await self.attempter.attempt(about, queue(about))).values()
        return outcome

    async def counted(self) -> list[TlsSession]:
        """The sessions of today, as the book has them."""
        await self.house.flush()
        today = int(SystemClock().wall() // 86_400)
        return [session for session, _ in self.house.book.sessions(today, "example.net")]

    def events(self, name: str) -> list[dict[str, object]]:
        told = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [one for one in told if one["event"] == name]


@asynccontextmanager
async def joined(
    tmp_path: Path, host: Host, *, dane: bool = False, sends_reports: bool = False
) -> AsyncIterator[Joined]:
    zone = {
        "example.net": {"MX": [(10, MX)]},
        MX: {"A": ["127.0.0.1"]},
        "_mta-sts.example.net": {"TXT": ["v=STSv1; id=1;"]},
        "mta-sts.example.net": {"A": ["127.0.0.1"]},
    }
    web = HttpsServer(AUTHORITY.issue_cert("mta-sts.example.net"), {PATH: Page(POLICY)})
    log = io.StringIO()
    configure(stream=log, as_json=True)
    async with listening(host) as port:
        with DnsServer(zone) as dns, web:
            config = Config(
                server=ServerSection(hostname="mail.example.org", state_dir=str(tmp_path)),
                dns=DnsSection(nameserver=dns.address, timeout_s=2.0),
                delivery=DeliverySection(port=port, allow_private=True),
                dane=DaneSection(enabled=dane),
                tls_reports=TlsReportsSection(send=sends_reports),
            )
            resolver = DnsResolver(dns.address)
            house = TlsHouse(config, SystemClock(), https_port=web.port)
            router = sending.router(config, resolver, random.Random(1), house.policies(config, resolver))
            pool = Pool(
                sending.pool_settings(config), router.endpoints, ssl_contexts=client_context, on_tls=house.on_tls
            )
            try:
                yield Joined(house, Attempter(router, pool), dns, web, port, log)
            finally:
                await pool.close()
                await house.close()
                await resolver.close()
                configure(stream=io.StringIO())


@pytest.fixture(autouse=True)
def _trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))


def test_t01_the_policy_of_a_web_server_binds_the_mail_and_one_query_asks_for_it(tmp_path: Path) -> None:
    async def go() -> None:
        async with joined(tmp_path, SecureHost()) as way:
            assert (await way.send()).is_delivered
            assert (await way.send()).is_delivered
            assert len(way.web.requests) == 1
            assert way.dns.queries.count(("_mta-sts.example.net", "TXT")) == 1
            kept = way.house.book.policy("example.net")
            assert kept is not None
            assert kept.content == POLICY
            (session,) = await way.counted()
            assert session.policy is not None
            assert (session.policy.kind, session.result) == (PolicyKind.STS, "")

    asyncio.run(go())


def test_t01_a_policy_that_is_not_met_is_told_in_the_log_and_in_the_outcome(tmp_path: Path) -> None:
    async def go() -> None:
        async with joined(tmp_path, SecureHost(tls=certificate("mx.example.com"))) as way:
            outcome = await way.send()
            assert outcome.meaning.retry
            assert "the MTA-STS policy of example.net is not met by mx.example.net: certificate" in outcome.detail
            (event,) = way.events("tls.policy_failed")
            assert (event["domain"], event["host"], event["result"], event["enforced"], event["level"]) == (
                ("example.net", MX, "certificate-host-mismatch", True, "warning")
            )

    asyncio.run(go())


def test_t01_a_policy_that_cannot_be_had_is_told_and_the_mail_goes_on_without(tmp_path: Path) -> None:
    async def go() -> None:
        async with joined(tmp_path, Host()) as way:
            way.web.pages[PATH] = Page(status=404)
            assert (await way.send()).is_delivered
            (event,) = way.events("tls.policy_unfetched")
            assert (event["result"], event["kept"]) == ("sts-policy-fetch-error", False)
            results = {session.result for session in await way.counted()}
            assert results == {"sts-policy-fetch-error", "starttls-not-supported"}

    asyncio.run(go())


def test_t02_tlsa_records_bind_where_the_resolver_vouches_for_them_and_not_elsewhere(tmp_path: Path) -> None:
    leaf = certificate()
    der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
    right, wrong = Tlsa(3, 0, 1, hashlib.sha256(der).digest()), Tlsa(3, 0, 1, b"x" * 32)

    async def go(record: Tlsa, *, is_signed: bool) -> tuple[bool, set[str]]:
        async with joined(tmp_path / f"{record.data[:4].hex()}{is_signed}", SecureHost(tls=leaf), dane=True) as way:
            name = f"_{way.port}._tcp.{MX}"
            way.dns.zone[name] = {"TLSA": [record]}
            way.dns.signed = {"example.net", MX, name} if is_signed else set()
            outcome = await way.send()
            return outcome.is_delivered, {str(one.policy.kind) for one in await way.counted() if one.policy}

    assert asyncio.run(go(right, is_signed=True)) == (True, {"tlsa"})
    assert asyncio.run(go(wrong, is_signed=True)) == (False, {"tlsa"})
    assert asyncio.run(go(wrong, is_signed=False)) == (True, {"sts"}), "MTA-STS decides, and is met"


class Always:
    """Chance that never makes anybody wait."""

    def random(self) -> float:
        return 0.0


async def unchanged(message: SpooledMessage) -> SpooledMessage:
    return message


def test_t03_a_server_that_sends_reports_tells_of_yesterday_by_itself(tmp_path: Path) -> None:
    async def go() -> None:
        async with joined(tmp_path, Host(), sends_reports=True) as way:
            way.dns.zone["_smtp._tls.example.net"] = {"TXT": ["v=TLSRPTv1; rua=mailto:tls@example.net"]}
            yesterday = int(SystemClock().wall() // 86_400) - 1
            session = TlsSession(domain="example.net", policy=None, host=MX, address="", source_address="")
            way.house.book.count({(yesterday, session): 4})
            queued: asyncio.Queue[Queued] = asyncio.Queue()
            spool = MemorySpool()

            def hand_on(some: Sequence[Queued]) -> None:
                for one in some:
                    queued.put_nowait(one)

            sending = ReportSending(spool, unchanged, hand_on, Always())
            working = asyncio.create_task(way.house.report(sending))
            one = await queued.get()
            working.cancel()
            kept = await spool.load(one.message_id)
            assert kept is not None
            assert (str(one.recipient.address), b"TLS-Report-Domain: example.net" in kept.body) == (
                ("tls@example.net", True)
            )
            (event,) = way.events("tls.report_sent")
            assert event["sessions"] == 4

    asyncio.run(go())


def test_t01_a_policy_that_nobody_needs_is_fetched_again_before_it_ends(tmp_path: Path) -> None:
    async def go() -> None:
        async with joined(tmp_path, SecureHost()) as way:
            now = SystemClock().wall()
            old = KeptPolicy(
                domain="example.net", record_id="1", content=POLICY, fetched_at=now - 90_000, expires_at=now + 90_000
            )
            way.house.book.keep(old)
            await way.house.tidy()
            kept = way.house.book.policy("example.net")
            assert kept is not None
            assert kept.fetched_at >= now

    asyncio.run(go())


def test_a_book_that_cannot_be_written_holds_up_no_mail(tmp_path: Path) -> None:
    async def go() -> None:
        async with joined(tmp_path, SecureHost()) as way:
            way.house.book.close()
            assert (await way.send()).is_delivered
            await way.house.flush()
            await way.house.tidy()
            assert len(way.events("tls.book_failed")) >= 2

    asyncio.run(go())
