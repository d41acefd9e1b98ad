"""Block lists of the DNS as RFC 5782 has them: how they are asked, and which answers list a host."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.net.dns_list import query_name
from postroad.net.resolver import AddressAnswer, DnsStatus, MxAnswer
from postroad.verify.block_lists import listed_by


class Zones:
    """A resolver that knows some names of some lists."""

    def __init__(self, answers: dict[str, tuple[str, ...] | DnsStatus]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def mx(self, domain: str) -> MxAnswer:
        raise AssertionError("lists are asked for addresses")

    async def addresses(self, host: str) -> AddressAnswer:
        self.asked.append(host)
        found = self.answers.get(host, DnsStatus.NO_DOMAIN)
        return AddressAnswer(found) if isinstance(found, DnsStatus) else AddressAnswer(DnsStatus.FOUND, found)

    async def close(self) -> None:
        pass


def listed(answers: dict[str, tuple[str, ...] | DnsStatus], *zones: str, address: str = "192.0.2.99") -> str:
    return asyncio.run(listed_by(Zones(answers), address, zones))


def test_rfc5782_octets_are_asked_the_other_way_round() -> None:
    assert query_name("192.0.2.99", "bad.example.com") == "99.2.0.192.bad.example.com"
    assert query_name("192.0.2.99", ".bad.example.com.") == "99.2.0.192.bad.example.com"


def test_rfc5782_nibbles_of_ipv6_too() -> None:
    assert query_name("2001:db8:1:2:3:4:567:89ab", "ugly.example.com") == (
        "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ugly.example.com"
    )


@given(st.ip_addresses())
def test_every_address_has_a_name(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    labels = query_name(str(address), "list.test").removesuffix(".list.test").split(".")
    assert len(labels) == (4 if address.version == 4 else 32)


@pytest.mark.parametrize("answer", ["127.0.0.2", "127.0.0.10", "127.1.2.3"])
def test_an_answer_within_127_lists_the_host(answer: str) -> None:
    assert listed({"99.2.0.192.bad.test": (answer,)}, "bad.test") == "bad.test"


@pytest.mark.parametrize("answer", ["127.255.255.252", "127.255.255.254", "127.255.255.255"])
def test_a_list_that_refuses_to_serve_us_lists_nobody(answer: str) -> None:
    assert listed({"99.2.0.192.bad.test": (answer,)}, "bad.test") == ""


@pytest.mark.parametrize("answer", ["192.0.2.1", "::1", "10.0.0.1"])
def test_an_answer_that_is_none_of_a_list_lists_nobody(answer: str) -> None:
    assert listed({"99.2.0.192.bad.test": (answer,)}, "bad.test") == "", "a resolver that invents answers, say"


@pytest.mark.parametrize("status", [DnsStatus.NO_DOMAIN, DnsStatus.NO_DATA, DnsStatus.TEMPORARY])
def test_no_answer_lists_nobody(status: DnsStatus) -> None:
    assert listed({"99.2.0.192.bad.test": status}, "bad.test") == ""


def test_the_first_list_that_has_the_host_is_named_and_no_further_one_asked() -> None:
    zones = Zones({"99.2.0.192.two.test": ("127.255.255.254", "127.0.0.4")})
    found = asyncio.run(listed_by(zones, "192.0.2.99", ("one.test", "two.test", "three.test")))
    assert found == "two.test" and len(zones.asked) == 2
