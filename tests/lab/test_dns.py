"""The lab's DNS over UDP and TCP, asked by dnslib and by the road's own resolver, and the same within the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from dnslib import QTYPE, RCODE, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from postroad.lab.dns import DnsServer, ZoneResolver, wire_answer
from postroad.lab.simloop import SimulatedLoop
from postroad.lab.zone import Fault, Records, Zone, reverse_name
from postroad.net.resolver import AddressAnswer, DnsResolver, DnsStatus, MxAnswer, Resolver

ZONE: Zone = {
    "d.example": Records(mx=((20, "mx2.d.example"), (10, "mx.d.example")), txt=("v=spf1 mx -all",)),
    "mx.d.example": Records(a=("127.1.0.1",), aaaa=("2001:db8::1",)),
    "mx2.d.example": Records(a=("127.1.0.2",)),
    "none.example": Records(mx=((0, ""),)),
    "alias.example": Records(cname="d.example"),
    "round.example": Records(cname="about.example"),
    "about.example": Records(cname="round.example"),
    "broken.example": Records(fault=Fault.SERVFAIL),
    "rude.example": Records(fault=Fault.REFUSED),
    "silent.example": Records(fault=Fault.SILENT),
    "text.example": Records(txt=("hello",)),
    "many.example": Records(a=tuple(f"127.2.{index // 250}.{index % 250 + 1}" for index in range(500))),
    reverse_name("127.1.0.1"): Records(ptr=("mx.d.example",)),
}


async def asked(resolver: Resolver) -> list[MxAnswer | AddressAnswer]:
    """The same questions to either resolver."""
    try:
        found: list[MxAnswer | AddressAnswer] = [
            await resolver.mx(name)
            for name in ("d.example", "D.Example", "none.example", "alias.example", "text.example", "nowhere.example")
        ]
        found += [await resolver.mx(name) for name in ("broken.example", "silent.example", "round.example")]
        found += [await resolver.addresses(name) for name in ("mx.d.example", "text.example", "no.such.example")]
        found += [await resolver.addresses(name) for name in ("127.9.9.9", "silent.example")]
        return found
    finally:
        await resolver.close()


MX = ((10, "mx.d.example"), (20, "mx2.d.example"))
EXPECTED = [
    (DnsStatus.FOUND, MX),
    (DnsStatus.FOUND, MX),
    (DnsStatus.FOUND, ((0, ""),)),
    (DnsStatus.FOUND, MX),
    (DnsStatus.NO_DATA, ()),
    (DnsStatus.NO_DOMAIN, ()),
    (DnsStatus.TEMPORARY, ()),
    (DnsStatus.TEMPORARY, ()),
    (DnsStatus.TEMPORARY, ()),
    (DnsStatus.FOUND, ("127.1.0.1", "2001:db8::1")),
    (DnsStatus.NO_DATA, ()),
    (DnsStatus.NO_DOMAIN, ()),
    (DnsStatus.FOUND, ("127.9.9.9",)),
    (DnsStatus.TEMPORARY, ()),
]


def plain(found: list[MxAnswer | AddressAnswer]) -> list[tuple[DnsStatus, tuple[object, ...]]]:
    return [(one.status, one.records if isinstance(one, MxAnswer) else one.addresses) for one in found]


def served(ask: Callable[[str], Coroutine[Any, Any, Any]]) -> Any:
    async def main() -> Any:
        server = DnsServer(ZONE)
        await server.start()
        try:
            return await ask(server.address)
        finally:
            await server.stop()

    return asyncio.run(main())


def test_the_roads_own_resolver_hears_the_same_over_the_wire_as_within_the_process() -> None:
    wire = served(lambda address: asked(DnsResolver(address, timeout_s=0.3, tries=1)))
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        within = runner.run(asked(ZoneResolver(ZONE)))
        assert runner.get_loop().time() >= 10, "silence takes its time, of which there is enough"
    assert plain(wire) == EXPECTED
    assert plain(within) == EXPECTED


def question(name: str, kind: str, *, tcp: bool) -> DNSRecord:
    async def ask(address: str) -> DNSRecord:
        host, _, port = address.rpartition(":")
        request = DNSRecord.question(name, kind)
        return DNSRecord.parse(await asyncio.to_thread(request.send, host, int(port), tcp=tcp, timeout=5))

    return served(ask)


@pytest.mark.parametrize("tcp", [False, True])
def test_udp_and_tcp_answer_every_type(tcp: bool) -> None:
    def values(name: str, kind: str) -> list[str]:
        return [str(one.rdata) for one in question(name, kind, tcp=tcp).rr]

    assert values("mx.d.example", "A") == ["127.1.0.1"] and values("mx.d.example", "AAAA") == ["2001:db8::1"]
    assert values("d.example", "TXT") == ['"v=spf1 mx -all"']
    assert values(reverse_name("127.1.0.1"), "PTR") == ["mx.d.example."]
    assert values("alias.example", "CNAME") == ["d.example."]
    assert values("none.example", "MX") == ["0 ."]
    assert values("d.example", "SRV") == []
    for name, code in (("nowhere.example", "NXDOMAIN"), ("broken.example", "SERVFAIL"), ("rude.example", "REFUSED")):
        assert RCODE[question(name, "MX", tcp=tcp).header.rcode] == code


def test_an_answer_too_long_for_udp_is_truncated_and_whole_over_tcp() -> None:
    assert question("many.example", "A", tcp=False).header.tc == 1
    assert len(question("many.example", "A", tcp=True).rr) == 500


@given(st.binary(max_size=200))
def test_whatever_comes_is_answered_or_left_unanswered(data: bytes) -> None:
    wire_answer(ZONE, data, limit=1232)


@given(st.text(st.characters(codec="ascii"), max_size=30), st.sampled_from(["A", "MX", "ANY", "PTR"]))
def test_a_question_for_any_name_has_an_answer_that_parses(name: str, kind: str) -> None:
    try:
        asked_for = DNSRecord.question(name, kind).pack()
    except Exception:  # what dnslib cannot put on the wire is no question
        return
    answer = wire_answer(ZONE, asked_for, limit=1232)
    if answer is not None:
        assert QTYPE[DNSRecord.parse(answer).q.qtype] == kind
