"""DNS as values, asked of a real server on a loopback port."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from dns_server import REFUSED, SERVFAIL, SILENT, DnsServer
from postroad.net.resolver import MAX_ADDRESSES, MAX_MX, AddressAnswer, DnsResolver, DnsStatus, MxAnswer

T = TypeVar("T")

ZONE = {
    "example.test": {"MX": [(20, "mx2.example.test"), (10, "MX1.Example.test")]},
    "null.test": {"MX": [(0, ".")]},
    "text.test": {"TXT": ["nothing else"]},
    "mx1.example.test": {"A": ["192.0.2.1", "192.0.2.2"], "AAAA": ["2001:db8::1"]},
    "six.test": {"AAAA": ["2001:db8::6"]},
    "alias.test": {"CNAME": ["second.alias.test"]},
    "second.alias.test": {"CNAME": ["example.test"]},
    "host.alias.test": {"CNAME": ["mx1.example.test"]},
    "ring.test": {"CNAME": ["ring2.test"]},
    "ring2.test": {"CNAME": ["ring.test"]},
    "self.test": {"CNAME": ["self.test"]},
    "dangling.test": {"CNAME": ["missing.test"]},
    "fail.test": SERVFAIL,
    "refused.test": REFUSED,
    "silent.test": SILENT,
    "many.test": {"MX": [(number % 7, f"mx{number}.many.test") for number in range(700)]},
    "wide.test": {"A": [f"192.0.2.{number}" for number in range(100)]},
}


class SteppedClock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


def asking(use: Callable[[DnsResolver, DnsServer], Awaitable[T]], *, ttl: int = 60, **options: Any) -> T:
    async def run() -> T:
        with DnsServer(ZONE, ttl=ttl) as dns:
            resolver = DnsResolver(dns.address, **{"timeout_s": 5.0, "tries": 1, **options})
            try:
                async with asyncio.timeout(30):
                    return await use(resolver, dns)
            finally:
                await resolver.close()

    return asyncio.run(run())


def mx(domain: str, **options: Any) -> MxAnswer:
    async def use(resolver: DnsResolver, dns: DnsServer) -> MxAnswer:
        return await resolver.mx(domain)

    return asking(use, **options)


def addresses(host: str, **options: Any) -> AddressAnswer:
    async def use(resolver: DnsResolver, dns: DnsServer) -> AddressAnswer:
        return await resolver.addresses(host)

    return asking(use, **options)


def test_c01_mx_records_by_preference_in_lower_case() -> None:
    answer = mx("example.test")
    assert answer.status is DnsStatus.FOUND
    assert answer.records == ((10, "mx1.example.test"), (20, "mx2.example.test"))


def test_c02_a_null_mx_is_a_record_without_a_host() -> None:
    assert mx("null.test").records == ((0, ""),)


def test_c01_a_chain_of_cnames_is_followed() -> None:
    assert mx("alias.test").records == mx("example.test").records
    assert addresses("host.alias.test").addresses == addresses("mx1.example.test").addresses


@pytest.mark.parametrize("domain", ["ring.test", "self.test"])
def test_h09_a_cname_loop_ends_with_no_records(domain: str) -> None:
    answer = mx(domain)
    assert answer.status is not DnsStatus.FOUND
    assert answer.records == ()
    assert addresses(domain).addresses == ()


def test_ipv4_addresses_come_before_ipv6() -> None:
    assert addresses("mx1.example.test").addresses == ("192.0.2.1", "192.0.2.2", "2001:db8::1")
    assert addresses("six.test").addresses == ("2001:db8::6",)


def test_an_address_literal_is_its_own_answer_without_a_question() -> None:
    async def use(resolver: DnsResolver, dns: DnsServer) -> None:
        assert (await resolver.addresses("192.0.2.9")).addresses == ("192.0.2.9",)
        assert (await resolver.addresses("2001:DB8:0::9")).addresses == ("2001:db8::9",)
        assert dns.queries == []

    asking(use)


@pytest.mark.parametrize(
    ("domain", "status"),
    [
        ("missing.test", DnsStatus.NO_DOMAIN),
        ("dangling.test", DnsStatus.NO_DOMAIN),
        ("text.test", DnsStatus.NO_DATA),
        ("fail.test", DnsStatus.TEMPORARY),
        ("refused.test", DnsStatus.TEMPORARY),
    ],
)
def test_c05_only_nxdomain_says_that_there_is_no_such_domain(domain: str, status: DnsStatus) -> None:
    assert mx(domain).status is status
    assert addresses(domain).status is status


def test_c05_a_name_server_that_says_nothing_is_a_temporary_fault() -> None:
    answer = mx("silent.test", timeout_s=0.1)
    assert answer.status is DnsStatus.TEMPORARY
    assert answer.detail


def test_c05_a_name_server_that_is_not_there_is_a_temporary_fault() -> None:
    async def run() -> MxAnswer:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
            held.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{held.getsockname()[1]}"
        resolver = DnsResolver(address, timeout_s=0.2, tries=1)
        try:
            return await resolver.mx("example.test")
        finally:
            await resolver.close()

    assert asyncio.run(run()).status is DnsStatus.TEMPORARY


@pytest.mark.parametrize("name", ["x" * 64 + ".test", ".".join(["x" * 60] * 5), "a..test", "\u00fc" * 80])
def test_a_name_that_cannot_be_asked_for_does_not_exist(name: str) -> None:
    assert mx(name).status is DnsStatus.NO_DOMAIN


def test_h09_of_hundreds_of_records_a_bounded_number_is_read() -> None:
    answer = mx("many.test")
    assert answer.status is DnsStatus.FOUND
    assert len(answer.records) == MAX_MX
    assert len(addresses("wide.test").addresses) == MAX_ADDRESSES


def test_a01_the_strings_of_a_txt_record_are_put_together() -> None:
    async def use(resolver: DnsResolver, dns: DnsServer) -> None:
        dns.zone["long.test"] = {"TXT": [["one ", "two"], ["three"]]}
        assert sorted((await resolver.texts("long.test")).texts) == [b"one two", b"three"]
        assert (await resolver.texts("six.test")).status is DnsStatus.NO_DATA
        assert (await resolver.texts("missing.test")).status is DnsStatus.NO_DOMAIN
        assert (await resolver.texts("fail.test")).status is DnsStatus.TEMPORARY

    asking(use)


def test_a01_each_family_of_addresses_can_be_asked_for_alone() -> None:
    async def use(resolver: DnsResolver, dns: DnsServer) -> None:
        assert (await resolver.addresses_v4("mx1.example.test")).addresses == ("192.0.2.1", "192.0.2.2")
        assert (await resolver.addresses_v6("mx1.example.test")).addresses == ("2001:db8::1",)
        assert (await resolver.addresses_v6("wide.test")).status is DnsStatus.NO_DATA

    asking(use)


def test_an_answer_is_kept_for_its_time_to_live_and_no_longer() -> None:
    clock = SteppedClock()

    async def use(resolver: DnsResolver, dns: DnsServer) -> list[int]:
        asked = []
        for moment in (0.0, 89.0, 91.0):
            clock.now = moment
            assert (await resolver.mx("example.test")).status is DnsStatus.FOUND
            asked.append(len(dns.queries))
        return asked

    assert asking(use, ttl=90, cache_size=1, clock=clock) == [1, 1, 2]


def test_a_time_to_live_is_believed_up_to_a_limit() -> None:
    clock = SteppedClock()

    async def use(resolver: DnsResolver, dns: DnsServer) -> int:
        await resolver.mx("example.test")
        clock.now = 11.0
        await resolver.mx("example.test")
        return len(dns.queries)

    assert asking(use, ttl=1_000_000, max_ttl_s=10.0, cache_size=1, clock=clock) == 2


def test_answers_that_change_are_seen_once_the_time_to_live_is_over() -> None:
    clock = SteppedClock()

    async def use(resolver: DnsResolver, dns: DnsServer) -> list[tuple[str, ...]]:
        before = await resolver.addresses("six.test")
        dns.zone["six.test"] = {"A": ["127.0.0.1"]}
        kept = await resolver.addresses("six.test")
        clock.now = 61.0
        after = await resolver.addresses("six.test")
        return [before.addresses, kept.addresses, after.addresses]

    assert asking(use, cache_size=1, clock=clock) == [("2001:db8::6",), ("2001:db8::6",), ("127.0.0.1",)]


@pytest.mark.parametrize("domain", ["missing.test", "text.test"])
def test_that_there_is_nothing_is_kept_for_a_short_while(domain: str) -> None:
    clock = SteppedClock()

    async def use(resolver: DnsResolver, dns: DnsServer) -> list[int]:
        asked = []
        for moment in (0.0, 29.0, 31.0):
            clock.now = moment
            await resolver.mx(domain)
            asked.append(len(dns.queries))
        return asked

    assert asking(use, negative_ttl_s=30.0, cache_size=1, clock=clock) == [1, 1, 2]


def test_c05_a_temporary_fault_is_asked_about_again_at_once() -> None:
    async def use(resolver: DnsResolver, dns: DnsServer) -> MxAnswer:
        assert (await resolver.mx("fail.test")).status is DnsStatus.TEMPORARY
        dns.zone["fail.test"] = {"MX": [(1, "mx.fail.test")]}
        return await resolver.mx("fail.test")

    assert asking(use).records == ((1, "mx.fail.test"),)


def test_the_cache_is_bounded_and_what_was_used_last_stays() -> None:
    async def use(resolver: DnsResolver, dns: DnsServer) -> int:
        await resolver.mx("example.test")
        for number in range(10):
            await resolver.mx(f"name{number}.test")
            await resolver.mx("example.test")
        assert len(resolver._cache) == 3
        return sum(name == "example.test" for name, _ in dns.queries)

    assert asking(use, cache_size=3) == 1


def test_the_cache_beneath_ours_is_bounded_too_and_no_answer_is_lost_by_it() -> None:
    async def use(resolver: DnsResolver, dns: DnsServer) -> int:
        names = [f"name{number}.test" for number in range(40)]
        answers = await asyncio.gather(*(resolver.mx(name) for name in names))
        assert {answer.status for answer in answers} == {DnsStatus.NO_DOMAIN}
        return len(resolver._channels)

    assert asking(use, cache_size=3) == 1


def test_what_is_asked_at_the_same_time_is_one_question() -> None:
    async def use(resolver: DnsResolver, dns: DnsServer) -> int:
        answers = await asyncio.gather(*(resolver.mx("example.test") for _ in range(20)))
        assert len({answer.records for answer in answers}) == 1
        return len(dns.queries)

    assert asking(use, cache_size=0) == 1


def test_who_no_longer_waits_takes_the_answer_from_nobody() -> None:
    async def use(resolver: DnsResolver, dns: DnsServer) -> MxAnswer:
        first = asyncio.create_task(resolver.mx("example.test"))
        second = asyncio.create_task(resolver.mx("example.test"))
        await asyncio.sleep(0)
        first.cancel()
        answer = await second
        assert first.cancelled()
        return answer

    assert asking(use).status is DnsStatus.FOUND


def test_closing_ends_what_is_still_asked() -> None:
    async def use(resolver: DnsResolver, dns: DnsServer) -> MxAnswer:
        asked = asyncio.create_task(resolver.mx("silent.test"))
        while not dns.queries:
            await asyncio.sleep(0.001)
        await resolver.close()
        return await asked

    assert asking(use).status is DnsStatus.TEMPORARY


def test_the_name_server_is_asked_at_its_own_port() -> None:
    async def use(resolver: DnsResolver, dns: DnsServer) -> list[tuple[str, str]]:
        assert dns.port != 53
        await resolver.mx("example.test")
        return dns.queries

    assert asking(use) == [("example.test", "MX")]


def test_h09_an_answer_that_is_none_is_a_temporary_fault() -> None:
    async def run() -> MxAnswer:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as garbage:
            garbage.bind(("127.0.0.1", 0))

            def reply() -> None:
                asked, peer = garbage.recvfrom(4096)
                garbage.sendto(asked[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\xc0\x0c", peer)

            thread = threading.Thread(target=reply)
            thread.start()
            resolver = DnsResolver(f"127.0.0.1:{garbage.getsockname()[1]}", timeout_s=0.2, tries=1)
            try:
                return await resolver.mx("example.test")
            finally:
                await resolver.close()
                thread.join()

    assert asyncio.run(run()).status is DnsStatus.TEMPORARY
