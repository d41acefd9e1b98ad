"""SPF: what a record says of an address, and how little a record can make us do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from message.zone_lookup import TIMEOUT, ZoneLookup
from postroad.message.spf import MAX_EXPLANATION_CHARS, MAX_HOSTS, SpfResult, SpfVerdict, check_host
from postroad.message.spf_macro import SpfSyntaxError, is_domain, parse_domain_spec, parse_explanation, to_domain
from postroad.message.spf_record import MAX_RECORD_OCTETS, parse_spf

IP = "192.0.2.1"


def judged(zone: dict[str, Any], *, ip: str = IP, domain: str = "a.example", sender: str = "") -> SpfVerdict:
    return asyncio.run(check_host(ip, domain, sender or f"user@{domain}", ZoneLookup(zone), hello="mail.a.example"))


def record(text: str, **others: Any) -> dict[str, Any]:
    return {"a.example": {"TXT": [text]}, **others}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("v=spf1 ip4:192.0.2.0/24 -all", "pass"),
        ("v=spf1 -all", "fail"),
        ("v=spf1 ~all", "softfail"),
        ("v=spf1 ?all", "neutral"),
        ("v=spf1", "neutral"),
        ("v=spf10 -all", "none"),
        ("v=spf1 ip4:192.0.2.0/33 -all", "permerror"),
        ("v=spf1 -all nonsense", "permerror"),
        ("v=spf1 a:%{c}.example -all", "permerror"),
        ("v=spf1 exp=a.example exp=a.example -all", "permerror"),
        ("v=spf1 unknown=%{q} -all", "permerror"),
        ("v=spf1 unknown=%{i} -all", "fail"),
    ],
)
def test_a01_what_a_record_says(text: str, result: str) -> None:
    """(A-01)"""
    assert judged(record(text)).result == result


def test_a01_an_error_of_the_record_is_not_an_error_of_dns() -> None:
    """(A-01)"""
    assert judged({"a.example": {"TXT": [TIMEOUT]}}).result is SpfResult.TEMPERROR
    assert judged({"a.example": {"TXT": ["v=spf1 -all", "v=spf1 +all"]}}).result is SpfResult.PERMERROR
    assert judged(record("v=spf1 a:b.example -all", **{"b.example": {"A": [TIMEOUT]}})).result is SpfResult.TEMPERROR
    assert judged({}).result is SpfResult.NONE


def test_a01_ten_terms_may_ask_dns_and_no_more_through_all_includes() -> None:
    """(A-01)"""
    hosts = {f"h{number}.example": {"A": ["198.51.100.1"]} for number in range(12)}
    ten = "v=spf1 " + " ".join(f"a:h{number}.example" for number in range(10))
    assert judged(record(f"{ten} -all", **hosts)).result is SpfResult.FAIL
    assert judged(record(f"{ten} a:h10.example -all", **hosts)).result is SpfResult.PERMERROR
    split = {"b.example": {"TXT": [ten]}, **hosts}
    assert judged(record("v=spf1 include:b.example -all", **split)).result is SpfResult.PERMERROR


def test_a01_two_questions_may_find_nothing_and_no_more() -> None:
    """(A-01)"""
    assert judged(record("v=spf1 a:x.example a:y.example -all")).result is SpfResult.FAIL
    assert judged(record("v=spf1 a:x.example a:y.example a:z.example -all")).result is SpfResult.PERMERROR


def test_a01_a_record_that_includes_itself_ends() -> None:
    """(A-01)"""
    lookup = ZoneLookup(record("v=spf1 include:a.example include:a.example -all"))
    verdict = asyncio.run(check_host(IP, "a.example", "user@a.example", lookup))
    assert verdict.result is SpfResult.PERMERROR
    assert len(lookup.asked) <= 12
    assert judged(record("v=spf1 redirect=a.example")).result is SpfResult.PERMERROR


def test_a01_no_more_than_ten_names_of_an_address_are_looked_up() -> None:
    """(A-01)"""
    pointer = "1.2.0.192.in-addr.arpa"
    names = [f"n{number}.a.example" for number in range(40)]
    zone = record("v=spf1 ptr exists:%{p}.b.example ptr -all", **{pointer: {"PTR": names}})
    lookup = ZoneLookup(zone)
    asyncio.run(check_host(IP, "a.example", "user@a.example", lookup))
    assert sum(name in names for name, _ in lookup.asked) == MAX_HOSTS


def test_a01_more_than_ten_mx_hosts_are_a_mistake_of_the_record() -> None:
    """(A-01)"""
    hosts = {f"h{number}.example": {"A": ["198.51.100.1"]} for number in range(11)}
    zone = record("v=spf1 mx -all", **hosts)
    zone["a.example"]["MX"] = [(10, host) for host in hosts]
    assert judged(zone).result is SpfResult.PERMERROR


def test_a01_an_ipv4_client_over_ipv6_is_itself() -> None:
    """(A-01)"""
    assert judged(record("v=spf1 ip4:192.0.2.1 -all"), ip="::ffff:192.0.2.1").result is SpfResult.PASS


@pytest.mark.parametrize("domain", ["", "localhost", "a..example", f"{'x' * 64}.example", "[192.0.2.1]", "ü.example"])
def test_a01_a_name_that_cannot_have_a_record_has_none(domain: str) -> None:
    """(A-01)"""
    assert judged({}, domain=domain, sender="user@a.example").result is SpfResult.NONE


def test_a01_a_local_part_outside_ascii_matches_nothing() -> None:
    """RFC 8616 §4."""
    zone = record("v=spf1 exists:%{l}.b.example -all", **{"ü.b.example": {"A": ["127.0.0.2"]}})
    assert judged(zone, sender="ü@a.example").result is SpfResult.FAIL


def test_a01_a_domain_that_sends_no_mail_says_so() -> None:
    assert judged(record("v=spf1 -all")).sends_nothing
    assert not judged(record("v=spf1 a:b.example -all")).sends_nothing
    assert not judged(record("v=spf1 include:b.example", **{"b.example": {"TXT": ["v=spf1 -all"]}})).sends_nothing


def test_h05_an_explanation_is_printable_and_of_bounded_length() -> None:
    zone = record("v=spf1 -all exp=why.example", **{"why.example": {"TXT": ["%{s} no\r\n\x1b[31m" + "x" * 5000]}})
    told = judged(zone, sender="u\x07@a.example").explanation
    assert told == ""
    zone["why.example"]["TXT"] = ["%{s} " + "x" * 5000]
    told = judged(zone, sender="u\x07@a.example").explanation
    assert told.startswith("u?@a.example x") and told.isprintable() and len(told) <= MAX_EXPLANATION_CHARS


def test_h02_a_record_of_great_length_is_refused_unread() -> None:
    assert judged(record("v=spf1 " + "a " * MAX_RECORD_OCTETS)).result is SpfResult.PERMERROR
    assert judged(record("v=spf1 exists:" + "%{s}" * 3000 + ".b.example")).result is SpfResult.PERMERROR


TERMS = st.one_of(
    st.sampled_from(
        [
            "a",
            "mx",
            "ptr",
            "all",
            "-all",
            "~all",
            "?all",
            "a:b.example",
            "a/24",
            "mx//64",
            "ip4:192.0.2.0/24",
            "ip6:2001:db8::/32",
            "include:a.example",
            "redirect=a.example",
            "exp=a.example",
            "exists:%{ir}.%{d2}",
            "a:%{s}",
            "ptr:%{p}",
            "include:%{l1r-}.%{d}",
            "%%",
            "%{",
        ]
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12),
)


@given(st.lists(TERMS, max_size=20), st.sampled_from([IP, "2001:db8::1"]), st.text(max_size=20))
def test_a01_whatever_a_record_says_the_check_ends_after_few_questions(terms: list[str], ip: str, local: str) -> None:
    """(A-01)"""
    text = " ".join(["v=spf1", *terms])
    lookup = ZoneLookup({"a.example": {"TXT": [text], "A": [IP], "MX": [(1, "a.example")], "PTR": ["a.example"]}})
    verdict = asyncio.run(check_host(ip, "a.example", f"{local}@a.example", lookup))
    assert verdict.result in SpfResult
    assert len(lookup.asked) < 10 * (1 + MAX_HOSTS) + 24
    assert verdict.explanation.isascii()


@given(st.binary(max_size=80))
def test_a01_a_record_is_read_or_refused(octets: bytes) -> None:
    """(A-01)"""
    try:
        parse_spf(b"v=spf1 " + octets)
    except SpfSyntaxError as error:
        assert str(error).isprintable()


@given(st.text(st.sampled_from("%{}slodiphcrt123rR.-+/_= ab"), max_size=30))
def test_a01_a_macro_string_is_read_or_refused_and_expands_to_a_name_or_none(text: str) -> None:
    """(A-01)"""
    values = dict.fromkeys("slodiphvcrt", "x.y-z.example")
    for parse in (parse_domain_spec, parse_explanation):
        try:
            parsed = parse(text)
        except SpfSyntaxError:
            continue
        domain = to_domain(parsed.expand(values))
        assert not domain or is_domain(domain)
