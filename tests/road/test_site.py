"""Hosts that one operator counts together share one set of limits."""

from __future__ import annotations

import pytest

from postroad.road.site import Site, SiteLimits, SitePresets, site_key


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


def test_a_site_has_limits_of_its_own_where_it_is_given_some() -> None:
    strict = SiteLimits(connections=1)
    presets = SitePresets(SiteLimits(connections=7), {"example.org": strict})
    assert presets.site(["mx.example.org"]) == Site("example.org", strict)
    assert presets.site(["mx.example.net", "mx.example.org"]).limits.connections == 7


def test_domains_at_one_operator_are_one_site() -> None:
    presets = SitePresets()
    assert presets.site(["mx1.example.org"]) == presets.site(["mx9.example.org"])
    assert hash(presets.site(["mx1.example.org"])) == hash(presets.site(["mx9.example.org"]))


def test_a_domain_without_hosts_is_a_site_too() -> None:
    assert SitePresets().site([]).key == "-"
