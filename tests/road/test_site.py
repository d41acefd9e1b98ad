"""Hosts that one operator counts together share one set of limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.road.site import Site, SiteBounds, SiteLimits, SitePresets, site_key


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("mx1.mail.example.org", "example.org"),
        ("example.org", "example.org"),
        ("mx1.example.co.uk", "example.co.uk"),
        ("mx2.other.example.co.uk", "example.co.uk"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("localhost", "localhost"),
        ("co.uk", "co.uk"),
        ("xn--mx-eka.xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_a_sites_key_is_the_registrable_domain_of_its_host(host: str, key: str) -> None:
    assert site_key(host) == key


def test_what_is_said_of_a_site_stands_in_place_of_the_default_and_the_rest_stays() -> None:
    presets = SitePresets(SiteLimits(connections=7, idle_s=2), {"example.org": SiteBounds(connections=1)})
    assert presets.site(["mx.example.org"]) == Site("example.org", SiteLimits(connections=1, idle_s=2))
    assert presets.site(["mx.example.net", "mx.example.org"]).limits.connections == 7


def test_an_override_goes_before_the_configuration_and_that_before_what_the_provider_bears() -> None:
    overrides: dict[str, SiteBounds] = {}
    presets = SitePresets(
        SiteLimits(connections=50),
        {"big": SiteBounds(connections=20)},
        operator=lambda hosts: ("big", SiteBounds(connections=5, messages_per_connection=10)),
        overrides=overrides,
    )
    hosts = ["mx.example.org"]
    assert presets.site(hosts).limits == SiteLimits(connections=20, messages_per_connection=10)
    overrides["big"] = SiteBounds(messages_per_minute=6)
    assert presets.site(hosts).limits == SiteLimits(connections=20, messages_per_connection=10, messages_per_minute=6)


def test_a_domain_with_limits_of_its_own_is_a_site_of_its_own() -> None:
    presets = SitePresets(by_key={"example.net": SiteBounds(connections=1)})
    assert presets.site(["mx.example.org"], "example.net") == Site("example.net", SiteLimits(connections=1))
    assert presets.site(["mx.example.org"], "example.com").key == "example.org"


@given(st.integers(1, 200), st.integers(1, 16), st.floats(0.1, 10_000))
def test_the_parts_of_all_workers_make_up_the_servers_limits(connections: int, workers: int, rate: float) -> None:
    limits = SiteLimits(connections=connections, messages_per_minute=rate)
    parts = [SitePresets(limits, workers=workers, index=index).site(["a.test"]) for index in range(workers)]
    assert sum(one.limits.connections for one in parts) == max(connections, workers)
    rates = [one.limits.messages_per_minute or 0 for one in parts]
    assert sum(rates) == pytest.approx(rate if workers == 1 or rate < workers else int(rate))
    if workers > 1 and rate >= workers:
        assert all(one == int(one) and one >= 1 for one in rates), "no minute of them together sees more than the rate"
    assert all(one.seats == (connections if connections < workers else 0) for one in parts), "they take turns"


def test_domains_at_one_operator_are_one_site() -> None:
    presets = SitePresets()
    assert presets.site(["mx1.example.org"]) == presets.site(["mx9.example.org"])
    assert hash(presets.site(["mx1.example.org"])) == hash(presets.site(["mx9.example.org"]))


def test_a_domain_without_hosts_is_a_site_too() -> None:
    assert SitePresets().site([]).key == "-"
