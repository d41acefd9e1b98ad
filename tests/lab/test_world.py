"""A world by its seed: the same again, every personality in it, and a truth that its own hosts and zone bear out."""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from publicsuffixlist import PublicSuffixList

from postroad.lab.build import build_world
from postroad.lab.catalogue import AT_DATA, CATALOGUE, NAMES, Pace
from postroad.lab.personality import Standing
from postroad.lab.truth import (
    DELIVERABLE,
    RISKY,
    UNDELIVERABLE,
    UNKNOWN,
    Kind,
    Need,
    Prober,
    Truth,
    score,
)
from postroad.lab.world import HOST_NETWORK, PRIVATE_NETWORK
from postroad.lab.zone import ask, name_of, reverse_name
from postroad.smtp.address import Address, AddressError

WORLD = build_world(7, addresses=3000)


def test_the_same_seed_gives_the_same_world_and_another_seed_another() -> None:
    again = build_world(7, addresses=3000)
    assert again == WORLD and again.addresses() == WORLD.addresses()
    assert build_world(8, addresses=3000).addresses() != WORLD.addresses()


@settings(max_examples=30)
@given(st.integers(), st.integers(1, 400))
def test_a_list_has_just_so_many_addresses_each_once_and_each_with_its_truth(seed: int, count: int) -> None:
    world = build_world(seed, addresses=count)
    addresses = world.addresses()
    assert count * 0.9 - 2 <= len(addresses) <= count and len(set(addresses)) == len(addresses)
    assert all(world.truth(address).address == address for address in addresses)


def test_every_personality_is_there() -> None:
    assert {truth.personality for truth in WORLD.by_address.values()} >= set(NAMES)
    assert {host.personality for host in WORLD.hosts.values()} >= set(CATALOGUE) - set(AT_DATA)


def test_lists_have_bad_syntax_mistyped_domains_and_addresses_in_a_second_spelling() -> None:
    kinds = Counter(truth.kind for truth in WORLD.by_address.values())
    assert kinds[Kind.BAD_SYNTAX] > 10
    spellings = Counter(
        f"{local}@{domain.lower()}" for local, _, domain in (one.partition("@") for one in WORLD.by_address)
    )
    assert sum(count == 2 for count in spellings.values()) > 20


def test_what_is_called_bad_syntax_is_none_of_rfc_5321_and_all_else_is_an_address() -> None:
    for text, truth in WORLD.by_address.items():
        if truth.kind is Kind.BAD_SYNTAX:
            with pytest.raises(AddressError):
                Address.parse(text, smtputf8=True)
        else:
            Address.parse(text)


def test_the_truth_is_what_the_hosts_are_told() -> None:
    standings = {
        Kind.EXISTS: Standing.EXISTS,
        Kind.ABSENT: Standing.ABSENT,
        Kind.FULL: Standing.FULL,
        Kind.DISABLED: Standing.DISABLED,
    }
    for truth in WORLD.by_address.values():
        if truth.kind in standings:
            local, _, domain = truth.address.lower().partition("@")
            assert WORLD.standing(local, domain) is standings[truth.kind]


def test_dns_leads_from_each_domain_to_the_hosts_that_serve_it() -> None:
    for domain in WORLD.domains.values():
        records = ask(WORLD.zone, domain.name).records
        assert records is not None
        hosts = [host for _, host in records.mx] or [domain.name]
        assert tuple(hosts) == domain.hosts
        for host in hosts:
            there = ask(WORLD.zone, host).records
            assert there is not None and there.a == (WORLD.hosts[host].address,)
            assert name_of(WORLD.zone, there.a[0]) == host


def test_domains_without_mail_have_none() -> None:
    for truth in WORLD.by_address.values():
        domain = truth.address.rpartition("@")[2].lower()
        if truth.personality == "no_domain":
            assert ask(WORLD.zone, domain).records is None
        elif truth.personality == "null_mx":
            records = ask(WORLD.zone, domain).records
            assert records is not None and records.mx == ((0, ""),)


def test_hosts_stand_on_addresses_of_their_own_in_loopback_and_private_ones_apart_from_them() -> None:
    addresses = [ipaddress.ip_address(host.address) for host in WORLD.hosts.values()]
    assert len(set(addresses)) == len(addresses)
    assert all(address in ipaddress.ip_network(HOST_NETWORK) for address in addresses)
    private = [
        ipaddress.ip_address(address)
        for name, records in WORLD.zone.items()
        for address in records.a
        if name not in WORLD.hosts and name != "prober.example"
    ]
    assert private and all(address in ipaddress.ip_network(PRIVATE_NETWORK) for address in private)
    assert not ipaddress.ip_network(PRIVATE_NETWORK).overlaps(ipaddress.ip_network(HOST_NETWORK))


def test_sites_are_the_registrable_domains_of_their_hosts_and_all_names_are_reserved_ones() -> None:
    suffixes = PublicSuffixList()
    for host in WORLD.hosts.values():
        assert suffixes.privatesuffix(host.name) == host.site
        assert host.name.endswith((".example", ".test"))
    assert all(domain.endswith((".example", ".test")) for domain in WORLD.domains)


def test_one_provider_is_huge_and_some_hosts_serve_many_domains() -> None:
    by_site = Counter(truth.site for truth in WORLD.by_address.values() if truth.site != "-")
    assert by_site.most_common(1)[0][1] > 250
    domains = Counter(WORLD.hosts[domain.hosts[0]].site for domain in WORLD.domains.values())
    assert domains.most_common(1)[0][1] >= 5


def test_probers_have_a_name_in_dns() -> None:
    assert name_of(WORLD.zone, "127.0.0.1") == "prober.example"
    assert name_of(WORLD.zone, "127.0.0.2") == ""
    assert reverse_name("127.0.0.1") == "1.0.0.127.in-addr.arpa"


def test_a_world_may_be_of_few_personalities_and_even() -> None:
    world = build_world(1, addresses=200, personalities=("honest",), per_domain=20, is_even=True, **NOTHING_ELSE)
    assert {host.personality for host in world.hosts.values()} == {"honest"}
    assert set(Counter(one.partition("@")[2] for one in world.addresses()).values()) == {20}


NOTHING_ELSE = {"provider": 0, "hosting": 0, "again": 0, "bad": 0, "mistyped": 0}


def test_the_pace_shortens_the_waits() -> None:
    world = build_world(1, addresses=300, personalities=("greylisting", "slow"), pace=Pace(greylist_s=(3, 4), factor=0))
    delays = [host.options for host in world.hosts.values()]
    assert all(3 <= one["delay_s"] <= 4 for one in delays if "delay_s" in one)
    assert all(one["greeting_s"] == 0 for one in delays if "greeting_s" in one)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"addresses": 0}, "1 to 1,000,000"), ({"personalities": ("rude",)}, "no personality of the lab: rude")],
)
def test_a_world_that_cannot_be_is_told(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build_world(1, **changes)


# Measuring --------------------------------------------------------------------------------------------------------

EXISTS = Truth(address="ann@d.example", kind=Kind.EXISTS, personality="honest")
GREY = replace(EXISTS, address="bob@g.example", needs=frozenset({Need.TIME}), wait_s=300, personality="greylisting")
ABSENT = Truth(address="no@d.example", kind=Kind.ABSENT, personality="honest")
BLOCKED = Truth(address="x@b.example", kind=Kind.UNDECIDABLE, personality="blocks_mail")


def test_what_needs_patience_is_decidable_by_the_patient_and_unknown_to_others() -> None:
    assert GREY.right_for(Prober()) == {UNKNOWN} and GREY.right_for(Prober(patience_s=301)) == {DELIVERABLE}
    assert BLOCKED.right_for(Prober(patience_s=9999, has_name=True, has_sender=True)) == {UNKNOWN}
    named = replace(EXISTS, needs=frozenset({Need.NAME, Need.SENDER}))
    assert named.right_for(Prober(has_name=True)) == {UNKNOWN}
    assert named.right_for(Prober(has_name=True, has_sender=True)) == {DELIVERABLE}


def test_precision_recall_wrong_and_missed() -> None:
    truths = [EXISTS, GREY, ABSENT, BLOCKED]
    said = {
        EXISTS.address: DELIVERABLE,
        GREY.address: UNKNOWN,
        ABSENT.address: DELIVERABLE,
        BLOCKED.address: UNDELIVERABLE,
    }
    found = score(truths, said, Prober(patience_s=600))
    assert found.precision(DELIVERABLE) == 0.5 and found.recall(DELIVERABLE) == 0.5
    assert found.precision(UNDELIVERABLE) == 0.0 and found.recall(UNDELIVERABLE) == 0.0
    assert found.precision(RISKY) == 1.0
    assert found.wrong == [(ABSENT, DELIVERABLE), (BLOCKED, UNDELIVERABLE)] and found.missed == {"greylisting": 1}
    lucky = score([GREY], {GREY.address: DELIVERABLE}, Prober())
    assert lucky.precision(DELIVERABLE) == 1.0 and not lucky.wrong
    tolerated = replace(BLOCKED, also=frozenset({UNDELIVERABLE}))
    assert not score([tolerated], {tolerated.address: UNDELIVERABLE}, Prober()).wrong
