"""The AD bit is believed where it stands, and silence is never «not signed» (T-02)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from dns_server import SERVFAIL, SILENT, DnsServer, Zone
from postroad.message.dns import DnsStatus
from postroad.net.dnssec import SecureAnswer, Tlsa, ValidatingResolver

T = TypeVar("T")
RECORD = Tlsa(3, 1, 1, bytes(range(32)))
ZONE: Zone = {
    "signed.test": {"MX": [(10, "MX.signed.test"), (20, "mx2.signed.test")]},
    "mx.signed.test": {"A": ["192.0.2.1"]},
    "mx2.signed.test": {"AAAA": ["2001:db8::1"]},
    "_25._tcp.mx.signed.test": {"TLSA": [RECORD]},
    "_25._tcp.many.test": {"TLSA": [Tlsa(3, 1, 1, bytes([number]) * 32) for number in range(60)]},
    "alias.test": {"CNAME": ["signed.test"]},
    "bogus.test": SERVFAIL,
    "silent.test": SILENT,
}


def asking(use: Callable[[ValidatingResolver, DnsServer], Awaitable[T]], *, is_signed: bool = True) -> T:
    async def run() -> T:
        with DnsServer(ZONE) as server:
            server.signed = set(ZONE) if is_signed else set()
            resolver = ValidatingResolver("127.0.0.1", server.port, timeout_s=0.3, tries=1)
            try:
                return await use(resolver, server)
            finally:
                await resolver.close()

    return asyncio.run(run())


def test_t02_answers_are_secure_where_the_bit_is_set_and_not_elsewhere() -> None:
    for is_signed in (True, False):
        answer = asking(lambda resolver, _: resolver.mx("signed.test"), is_signed=is_signed)
        assert answer.status is DnsStatus.FOUND
        assert answer.is_secure is is_signed
        assert answer.values == ("mx.signed.test", "mx2.signed.test")


def test_t02_tlsa_records_are_asked_for_by_port_and_host() -> None:
    answer = asking(lambda resolver, _: resolver.tlsa("mx.signed.test", 25))
    assert (answer.is_secure, answer.values) == (True, (RECORD,))
    assert str(RECORD) == f"3 1 1 {RECORD.data.hex()}"


def test_t02_a_host_with_ipv6_alone_is_vouched_for_by_that() -> None:
    assert asking(lambda resolver, _: resolver.address("mx.signed.test")).is_secure
    assert asking(lambda resolver, _: resolver.address("mx2.signed.test")).is_secure


def test_t02_an_alias_leads_to_what_it_stands_for() -> None:
    assert asking(lambda resolver, _: resolver.mx("alias.test")).values == ("mx.signed.test", "mx2.signed.test")


def test_t02_a_refused_answer_and_silence_are_temporary() -> None:
    for name in ("bogus.test", "silent.test"):
        answer = asking(lambda resolver, _, name=name: resolver.mx(name))  # type: ignore[misc]
        assert answer.status is DnsStatus.TEMPORARY
        assert answer.detail


def test_what_does_not_exist_and_what_no_name_could_be() -> None:
    assert asking(lambda resolver, _: resolver.mx("nowhere.test")).status is DnsStatus.NO_DOMAIN
    assert asking(lambda resolver, _: resolver.mx("signed.test" * 30)).status is DnsStatus.NO_DOMAIN
    assert asking(lambda resolver, _: resolver.tlsa("signed.test", 25)).status is DnsStatus.NO_DOMAIN
    assert asking(lambda resolver, _: resolver.mx("mx.signed.test")).status is DnsStatus.NO_DATA


def test_h09_so_many_records_are_read_and_no_more_by_tcp_where_they_are_too_many_for_a_datagram() -> None:
    assert len(asking(lambda resolver, _: resolver.tlsa("many.test", 25)).values) == 32


def test_an_answer_is_asked_for_once() -> None:
    async def use(resolver: ValidatingResolver, server: DnsServer) -> tuple[list[SecureAnswer], int]:
        answers = await asyncio.gather(*(resolver.mx("signed.test") for _ in range(5)))
        answers.append(await resolver.mx("signed.test"))
        return answers, len(server.queries)

    answers, queries = asking(use)
    assert len(set(answers)) == 1
    assert queries == 1
