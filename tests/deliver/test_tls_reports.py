"""Domains that ask for it are told once of each day, by mail or HTTPS (T-03)."""

from __future__ import annotations

import asyncio
import email
import email.policy
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from postroad.deliver.tls_reports import DAY_S, ReporterPorts, ReporterSettings, TlsReporter
from postroad.message.dns import DnsStatus, TextsAnswer
from postroad.message.tls_report import AppliedPolicy, PolicyKind, TlsSession
from postroad.net.https import HttpsError
from postroad.store.memory_spool import MemorySpool
from postroad.store.spool import Queued, SpooledMessage
from postroad.store.tls_book import TlsBook

DAY = 20_000
SETTINGS = ReporterSettings(
    hostname="mail.example.org", organization="Example", contact="postmaster@mail.example.org", lifetime_s=1000.0
)
SESSION = TlsSession(
    domain="example.net",
    policy=AppliedPolicy(PolicyKind.STS, "example.net"),
    host="mx.example.net",
    address="192.0.2.1",
    source_address="",
    result="certificate-expired",
)


@dataclass
class Around:
    """Everything outside a reporter. `records`: by domain; a domain without one asks for nothing."""

    book: TlsBook
    records: dict[str, TextsAnswer] = field(default_factory=dict)
    posts: list[tuple[str, bytes]] = field(default_factory=list)
    queued: list[Queued] = field(default_factory=list)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    is_web_down: bool = False

    def wall(self) -> float:
        return (DAY + 1) * float(DAY_S) + 5000

    def monotonic(self) -> float:
        return 0.0

    async def texts(self, name: str) -> TextsAnswer:
        return self.records.get(name.removeprefix("_smtp._tls."), TextsAnswer(DnsStatus.NO_DOMAIN))

    async def post(self, url: str, content: bytes, media_type: str) -> None:
        assert media_type == "application/tlsrpt+gzip"
        if self.is_web_down:
            raise HttpsError("it answered 503")
        self.posts.append((url, content))

    async def finish(self, message: SpooledMessage) -> SpooledMessage:
        return replace(message, body=b"DKIM-Signature: here\r\n" + message.body)

    def hand_on(self, queued: Sequence[Queued]) -> None:
        self.queued += queued

    def emit(self, name: str, **fields: Any) -> None:
        self.events.append((name, fields))

    def asks(self, domain: str, *addresses: str) -> None:
        text = f"v=TLSRPTv1; rua={','.join(addresses)}".encode()
        self.records[domain] = TextsAnswer(DnsStatus.FOUND, (text,))

    def report(self) -> list[SpooledMessage]:
        """A run over the day; the mail that it queued."""

        async def go() -> list[SpooledMessage]:
            spool = MemorySpool()
            ports = ReporterPorts(
                book=self.book,
                resolver=self,
                post=self.post,
                spool=spool,
                finish=self.finish,
                hand_on=self.hand_on,
                clock=self,
                token=lambda: "t0ken",
                emit=self.emit,
            )
            before = len(self.queued)
            await TlsReporter(SETTINGS, ports).report(DAY)
            loaded = [await spool.load(one.message_id) for one in self.queued[before:]]
            return [one for one in loaded if one is not None]

        return asyncio.run(go())


def around(tmp_path: Path, *domains: str) -> Around:
    book = TlsBook(tmp_path / "tls.db")
    book.count({(DAY, replace(SESSION, domain=domain)): 3 for domain in domains})
    return Around(book)


def test_t03_a_report_by_mail_is_queued_signed_with_the_figures_of_the_day(tmp_path: Path) -> None:
    world = around(tmp_path, "example.net")
    world.asks("example.net", "mailto:tls%2Breports@example.net")
    (message,) = world.report()
    assert message.body.startswith(b"DKIM-Signature: here")
    assert [str(one.address) for one in message.envelope.recipients] == ["tls+reports@example.net"]
    assert str(message.envelope.reverse_path) == "postmaster@mail.example.org"
    parsed = email.message_from_bytes(message.body, policy=email.policy.SMTP)
    _, file = parsed.iter_parts()
    report = json.loads(gzip.decompress(file.get_content()))
    assert report["report-id"] == f"{DAY}.t0ken@mail.example.org"
    assert report["policies"][0]["failure-details"][0]["failed-session-count"] == 3
    assert [name for name, _ in world.events] == ["tls.report_sent"]


def test_t03_a_report_by_https_is_posted(tmp_path: Path) -> None:
    world = around(tmp_path, "example.net")
    world.asks("example.net", "https://example.net/in")
    assert world.report() == []
    ((url, content),) = world.posts
    assert url == "https://example.net/in"
    assert json.loads(gzip.decompress(content))["organization-name"] == "Example"


def test_t03_nobody_is_told_twice_and_nobody_who_does_not_ask(tmp_path: Path) -> None:
    world = around(tmp_path, "example.net", "quiet.test")
    world.asks("example.net", "https://example.net/in", "mailto:tls@example.net")
    assert len(world.report()) == 1
    assert world.report() == []
    assert len(world.posts) == 1
    assert world.book.report_outcomes(DAY) == {
        "example.net": "https://example.net/in, mailto:tls@example.net",
        "quiet.test": "not asked for",
    }


def test_t03_who_could_not_be_told_is_told_later(tmp_path: Path) -> None:
    world = around(tmp_path, "example.net", "silent.test")
    world.asks("example.net", "https://example.net/in")
    world.records["silent.test"] = TextsAnswer(DnsStatus.TEMPORARY, (), "time-out")
    world.is_web_down = True
    world.report()
    assert world.book.report_outcomes(DAY) == {}
    assert world.events == [
        ("tls.report_failed", {"domain": "example.net", "to": "https://example.net/in", "error": "it answered 503"})
    ]
    world.is_web_down = False
    world.report()
    assert world.book.to_report(DAY, 9) == ["silent.test"]


def test_t03_an_address_that_is_none_harms_nobody_else(tmp_path: Path) -> None:
    world = around(tmp_path, "a.test", "b.test")
    world.asks("a.test", "mailto:no address", "mailto:")
    world.asks("b.test", "mailto:tls@b.test")
    assert len(world.report()) == 1
    assert [name for name, _ in world.events].count("tls.report_failed") == 2
