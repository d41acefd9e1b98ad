"""What a domain should publish, and what is found of it: right, missing, different, or not to be known now."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from message.signed import ed25519_key, rsa_key
from message.zone_lookup import TIMEOUT, ZoneLookup
from postroad.message.dkim_key import key_record
from postroad.message.domain_check import Finding, State, check_domain, is_well, known_addresses
from postroad.message.domain_records import DomainSetup, PublishedKey, records, sts_policy

SETUP = DomainSetup(
    domain="example.org",
    hostname="mail.example.org",
    addresses=("192.0.2.25", "2001:db8::25"),
    keys=(PublishedKey(selector="r1", record=key_record(rsa_key())),),
    reports="postmaster@example.org",
)


def published(**changes: Any) -> dict[str, dict[str, list[Any]]]:
    """Everything as `records` says, by the name of each."""
    zone: dict[str, dict[str, list[Any]]] = {}
    for record in records(SETUP):
        value: Any = record.value.rstrip(".") if record.kind == "PTR" else record.value
        if record.kind == "MX":
            value = (10, record.value.split(" ")[1])
        zone.setdefault(record.name, {}).setdefault(record.kind, []).append(value)
    return zone


def found(zone: dict[str, dict[str, list[Any]]], setup: DomainSetup = SETUP) -> dict[str, Finding]:
    findings = asyncio.run(check_domain(setup, ZoneLookup(zone)))
    return {one.record.about: one for one in findings}


def test_what_is_published_as_told_is_well() -> None:
    findings = found(published())
    assert {about: one.state for about, one in findings.items()} == dict.fromkeys(findings, State.OK)
    assert is_well(list(findings.values()))
    assert "p=none" in findings["DMARC"].note


def test_nothing_published_is_missing_and_only_what_is_needed_is_wrong() -> None:
    findings = found({})
    assert {one.state for one in findings.values()} == {State.MISSING}
    assert {about for about, one in findings.items() if not one.is_wrong} == {
        "SPF of the server's name",
        "MTA-STS",
        "TLS reports",
    }


def test_no_answer_is_neither_right_nor_missing() -> None:
    zone = {record.name: {"*": [TIMEOUT]} for record in records(SETUP)}
    findings = found(zone)
    assert {one.state for one in findings.values()} == {State.UNKNOWN}
    assert not is_well(list(findings.values()))


@pytest.mark.parametrize(
    ("about", "name", "kind", "values", "note"),
    [
        ("MX", "example.org", "MX", [(10, "mx.elsewhere.example.")], "Mail to the domain does not come here."),
        ("address 192.0.2.25", "mail.example.org", "A", ["192.0.2.26"], ""),
        ("PTR 192.0.2.25", "25.2.0.192.in-addr.arpa", "PTR", ["host.isp.example"], ""),
        ("SPF", "example.org", "TXT", ["v=spf1 include:other.example -all"], "Mail from 192.0.2.25 does not pass"),
        ("SPF", "example.org", "TXT", ["v=spf1 mx -all", "v=spf1 a -all"], "There are several such records"),
        ("DKIM r1", "r1._domainkey.example.org", "TXT", ["v=DKIM1; p="], "It cannot be used: the key was revoked."),
        ("DKIM r1", "r1._domainkey.example.org", "TXT", [key_record(ed25519_key())], "It is another key."),
        ("DMARC", "_dmarc.example.org", "TXT", ["v=DMARC1; rua=mailto:a@example.org"], "It has no policy"),
        ("MTA-STS", "_mta-sts.example.org", "TXT", ["v=STSv1; id=a-b"], "It has no id="),
        ("TLS reports", "_smtp._tls.example.org", "TXT", ["v=TLSRPTv1"], "It has no rua= to report to."),
    ],
)
def test_what_differs_is_told(about: str, name: str, kind: str, values: list[Any], note: str) -> None:
    zone = published()
    zone[name][kind] = values
    finding = found(zone)[about]
    assert finding.state is State.DIFFERS and finding.is_wrong and finding.found
    assert finding.note.startswith(note)


def test_the_name_must_lead_back_to_the_address() -> None:
    zone = published()
    zone["mail.example.org"]["A"] = ["198.51.100.1"]
    finding = found(zone)["PTR 192.0.2.25"]
    assert finding.state is State.DIFFERS and "does not lead back" in finding.note


@pytest.mark.parametrize(
    ("name", "kind", "values"),
    [
        ("example.org", "MX", [(5, "mx.elsewhere.example."), (10, "MAIL.example.org.")]),
        ("example.org", "TXT", ["something else", "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"]),
        ("r1._domainkey.example.org", "TXT", [key_record(rsa_key()).replace("k=rsa", "n=note; t=y")]),
        ("_dmarc.example.org", "TXT", ["v=DMARC1;p=reject;sp=none"]),
    ],
)
def test_what_is_published_otherwise_and_does_the_same_is_right(name: str, kind: str, values: list[Any]) -> None:
    zone = published()
    zone[name][kind] = values
    assert is_well(list(found(zone).values()))


def test_without_an_address_that_is_what_is_missing() -> None:
    setup = DomainSetup(domain="example.org", hostname="mail.example.org", reports="postmaster@example.org")
    zone = {"example.org": {"TXT": ["v=spf1 mx -all"]}}
    findings = found(zone, setup)
    assert (findings["address"].state, findings["SPF"].state) == (State.MISSING, State.UNKNOWN)
    assert asyncio.run(known_addresses(setup, ZoneLookup(published()))) == ("192.0.2.25", "2001:db8::25")


def test_long_records_stand_in_the_zone_as_several_strings() -> None:
    (line,) = [record.zone_line for record in records(SETUP) if record.about == "DKIM r1"]
    strings = line.partition("( ")[2].partition(" )")[0].split('" "')
    assert "".join(strings).strip('"') == key_record(rsa_key())
    assert len(strings) == 2 and all(len(string.strip('"')) <= 255 for string in strings)


def test_a_retired_key_is_only_better_to_have() -> None:
    retired = DomainSetup(
        domain="example.org",
        hostname="mail.example.org",
        keys=(PublishedKey(selector="r0", record=key_record(rsa_key()), is_retired=True),),
        reports="postmaster@example.org",
    )
    assert not found({}, retired)["DKIM r0"].is_wrong


def test_the_mta_sts_policy_is_one() -> None:
    assert sts_policy(["mail.example.org"]) == (
        "version: STSv1\r\nmode: testing\r\nmx: mail.example.org\r\nmax_age: 604800\r\n"
    )
