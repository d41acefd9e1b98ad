"""The router keeps the C-lines about MX hosts and DNS, against a real DNS server."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from dns_server import REFUSED, SERVFAIL, DnsServer
from postroad.net.endpoint import Endpoint, TlsMode
from postroad.net.resolver import DnsResolver
from postroad.road.route import (
    LOOP,
    MAX_HOSTS,
    NULL_MX,
    PRIVATE,
    Route,
    RouteFailure,
    RouteHost,
    Router,
    StaticRoute,
    order_mx,
)

ZONE = {
    "example.test": {"MX": [(20, "mx2.example.test"), (10, "MX1.Example.test")]},
    "equal.test": {"MX": [(10, f"mx{number}.equal.test") for number in range(5)]},
    "bare.test": {"A": ["127.0.0.7"]},
    "six.test": {"AAAA": ["::1"]},
    "alias.test": {"CNAME": ["example.test"]},
    "null.test": {"MX": [(0, ".")]},
    "empty.test": {"TXT": ["nothing here"]},
    "fail.test": SERVFAIL,
    "refused.test": REFUSED,
    "loop.test": {"MX": [(10, "us.test"), (10, "equal.loop.test"), (20, "worse.loop.test")]},
    "backup.test": {"MX": [(5, "better.backup.test"), (10, "us.test"), (20, "worse.backup.test")]},
    "mx1.example.test": {"A": ["127.0.0.1", "192.0.2.1"], "AAAA": ["::1"]},
    "public.test": {"A": ["8.8.8.8"]},
    "many.test": {"MX": [(number, f"mx{number}.many.test") for number in range(40)]},
    "xn--bcher-kva.test": {"MX": [(10, "mx1.example.test")]},
}


def route(domain: str, **options: object) -> Route | RouteFailure:
    async def run() -> Route | RouteFailure:
        with DnsServer(ZONE) as dns:
            resolver = DnsResolver(dns.address, timeout_s=0.3, tries=1)
            own = frozenset({"us.test", "[192.0.2.9]"})
            router = Router(resolver, own_names=own, rng=random.Random(1), **options)  # type: ignore[arg-type]
            try:
                return await router.route(domain)
            finally:
                await resolver.close()

    return asyncio.run(run())


def hosts(domain: str) -> list[str]:
    found = route(domain)
    assert isinstance(found, Route)
    return [host.name for host in found.hosts]


def failure(domain: str) -> tuple[int, str, bool]:
    found = route(domain)
    assert isinstance(found, RouteFailure)
    return found.reply.code, found.reason, found.is_permanent


def test_c01_hosts_by_preference() -> None:
    assert hosts("example.test") == ["mx1.example.test", "mx2.example.test"]


def test_c01_equal_hosts_are_shuffled_and_the_site_stays() -> None:
    records = [(10, f"mx{number}.test") for number in range(5)]
    orders = {order_mx(records, frozenset(), random.Random(seed)) for seed in range(50)}
    assert len(orders) > 10


def test_c01_no_mx_means_the_domain_itself() -> None:
    assert hosts("bare.test") == ["bare.test"]
    assert hosts("six.test") == ["six.test"]


def test_c01_a_cname_is_followed() -> None:
    assert hosts("alias.test") == ["mx1.example.test", "mx2.example.test"]


def test_c01_an_address_literal_is_its_own_host() -> None:
    assert hosts("[192.0.2.1]") == ["192.0.2.1"]
    assert hosts("[IPv6:2001:db8::1]") == ["2001:db8::1"]


def test_c02_null_mx_is_556_at_once() -> None:
    assert route("null.test") == NULL_MX
    assert failure("null.test") == (556, "null_mx", True)


def test_c03_our_own_name_and_all_that_is_not_better_are_dropped() -> None:
    assert hosts("backup.test") == ["better.backup.test"]
    assert route("loop.test") == LOOP
    assert failure("loop.test") == (554, "loop", True)


def test_c03_mail_to_our_own_address_literal_is_a_loop() -> None:
    assert route("[192.0.2.9]") == LOOP


def test_c05_no_such_domain_is_permanent_and_dns_trouble_is_not() -> None:
    assert failure("missing.test") == (550, "no_domain", True)
    assert failure("empty.test") == (550, "no_mail_host", True)
    assert failure("fail.test") == (451, "dns_temporary", False)
    assert failure("refused.test") == (451, "dns_temporary", False)


def test_h09_the_number_of_hosts_is_bounded() -> None:
    assert len(hosts("many.test")) == MAX_HOSTS
    found = route("many.test")
    assert isinstance(found, Route) and found.is_cut, "and what none of them says is not for good"


def test_a_static_route_and_a_smart_host_go_before_dns() -> None:
    static = {"example.test": StaticRoute(host="inner.test", port=2525), "*": StaticRoute(host="smart.test", port=587)}
    found = route("example.test", static=static)
    assert isinstance(found, Route)
    assert (found.hosts, found.port, found.is_trusted) == ((RouteHost("inner.test"),), 2525, True)
    found = route("anything.test", static=static)
    assert isinstance(found, Route)
    assert (found.hosts[0].name, found.tls) == ("smart.test", TlsMode.OPPORTUNISTIC)


def endpoints(host: str, *, allow_private: bool) -> tuple[Endpoint, ...] | RouteFailure:
    async def run() -> tuple[Endpoint, ...] | RouteFailure:
        with DnsServer(ZONE) as dns:
            resolver = DnsResolver(dns.address, timeout_s=0.3, tries=1)
            router = Router(resolver, rng=random.Random(1), allow_private=allow_private)
            try:
                found = await router.route("example.test")
                assert isinstance(found, Route)
                return await router.endpoints(found, RouteHost(host))
            finally:
                await resolver.close()

    return asyncio.run(run())


def test_h09_private_addresses_are_contacted_only_where_allowed() -> None:
    assert endpoints("bare.test", allow_private=False) == PRIVATE
    found = endpoints("mx1.example.test", allow_private=True)
    assert isinstance(found, tuple)
    assert [endpoint.address for endpoint in found] == ["127.0.0.1", "192.0.2.1", "::1"]
    public = endpoints("public.test", allow_private=False)
    assert isinstance(public, tuple)
    assert [endpoint.address for endpoint in public] == ["8.8.8.8"]


@given(
    records=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["a", "b", "us", "c", ""])), max_size=8),
    seed=st.integers(0, 100),
)
def test_c03_order_never_leads_to_us_or_behind_us(records: list[tuple[int, str]], seed: int) -> None:
    found = order_mx(records, frozenset({"us"}), random.Random(seed))
    if isinstance(found, RouteFailure):
        return
    assert [host.preference for host in found] == sorted(host.preference for host in found)
    ours = [preference for preference, host in records if host == "us"]
    assert all(host.name not in ("us", "") for host in found)
    assert not ours or all(host.preference < min(ours) for host in found)
