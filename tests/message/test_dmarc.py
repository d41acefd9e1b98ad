"""DMARC: who vouches for the author's domain, and whose policy holds where nobody does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from message.zone_lookup import TIMEOUT, ZoneLookup
from postroad.message.dmarc import (
    MAX_WALK,
    DmarcResult,
    DmarcVerdict,
    Identifier,
    Policy,
    evaluate,
    is_single_label,
    parse_dmarc,
    walk_names,
)


def zone(**records: str) -> dict[str, Any]:
    """`example` → its DMARC record; names with `_` for dots."""
    return {f"_dmarc.{name.replace('_', '.')}": {"TXT": [text]} for name, text in records.items()}


def judged(records: dict[str, Any], domain: str, *passed: str, **options: Any) -> DmarcVerdict:
    """`passed`: `spf:a.example`, `dkim:b.example`; with `?` at the end it could not be judged."""
    identifiers = [
        Identifier(method, name.rstrip("?"), not name.endswith("?"), name.endswith("?"))
        for method, _, name in (one.partition(":") for one in passed)
    ]
    return asyncio.run(evaluate(domain, identifiers, ZoneLookup(records), **options))


REJECT = zone(a_example="v=DMARC1; p=reject")


def test_a03_a_domain_without_a_record_is_judged_by_nobody() -> None:
    """(A-03)"""
    assert judged({}, "a.example", "spf:a.example").result is DmarcResult.NONE


@pytest.mark.parametrize(
    ("adkim", "domain", "signer", "result"),
    [
        ("r", "a.example", "a.example", "pass"),
        ("r", "a.example", "news.a.example", "pass"),
        ("r", "news.a.example", "a.example", "pass"),
        ("r", "news.a.example", "shop.a.example", "pass"),
        ("r", "a.example", "b.example", "fail"),
        ("r", "a.example", "nota.example", "fail"),
        ("s", "a.example", "a.example", "pass"),
        ("s", "a.example", "news.a.example", "fail"),
        ("s", "news.a.example", "a.example", "fail"),
    ],
)
def test_a03_alignment_is_relaxed_or_strict(adkim: str, domain: str, signer: str, result: str) -> None:
    """(A-03)"""
    record = f"v=DMARC1; p=reject; adkim={adkim}; aspf={adkim}"
    for method in ("dkim", "spf"):
        assert judged(zone(a_example=record), domain, f"{method}:{signer}").result == result


def test_a03_either_method_vouches() -> None:
    """(A-03)"""
    assert judged(REJECT, "a.example", "spf:b.example", "dkim:c.example", "dkim:a.example").aligned == ("dkim",)
    assert judged(REJECT, "a.example", "spf:a.example").aligned == ("spf",)
    assert judged(REJECT, "a.example").disposition is Policy.REJECT


@pytest.mark.parametrize(
    ("record", "domain", "policy"),
    [
        ("v=DMARC1; p=reject", "a.example", Policy.REJECT),
        ("v=DMARC1; p=reject", "x.a.example", Policy.REJECT),
        ("v=DMARC1; p=none; sp=quarantine", "a.example", Policy.NONE),
        ("v=DMARC1; p=none; sp=quarantine", "x.a.example", Policy.QUARANTINE),
        ("v=DMARC1; p=none; sp=quarantine", "absent.a.example", Policy.QUARANTINE),
        ("v=DMARC1; p=none; np=reject", "absent.a.example", Policy.REJECT),
        ("v=DMARC1; p=none; np=reject", "x.a.example", Policy.NONE),
        ("v=DMARC1; p=reject; np=none", "absent.a.example", Policy.NONE),
        ("v=DMARC1;", "a.example", Policy.NONE),
        ("v=DMARC1; p=REJECT", "a.example", Policy.REJECT),
    ],
)
def test_a03_whose_policy_holds(record: str, domain: str, policy: Policy) -> None:
    """(A-03)"""
    records = zone(a_example=record) | {"x.a.example": {"A": ["192.0.2.1"]}}
    verdict = judged(records, domain)
    assert (verdict.policy, verdict.disposition) == (policy, policy)
    assert verdict.found_at == "a.example"


def test_a03_a_domain_that_tests_its_policy_is_heard_one_step_milder() -> None:
    """(A-03)"""
    for asked, heard in (("reject", "quarantine"), ("quarantine", "none"), ("none", "none")):
        verdict = judged(zone(a_example=f"v=DMARC1; p={asked}; t=y"), "a.example")
        assert (verdict.policy, verdict.disposition) == (asked, heard)


def test_a03_pct_is_not_heard() -> None:
    """(A-03)"""
    assert judged(zone(a_example="v=DMARC1; p=reject; pct=0"), "a.example").disposition is Policy.REJECT


def test_a03_the_organisation_is_the_record_with_the_fewest_labels() -> None:
    """(A-03)"""
    records = zone(x_a_example="v=DMARC1; p=none", a_example="v=DMARC1; p=reject")
    verdict = judged(records, "x.a.example", "dkim:a.example")
    assert (verdict.organisation, verdict.found_at, verdict.result) == ("a.example", "x.a.example", DmarcResult.PASS)
    assert judged(records, "y.x.a.example").found_at == "a.example"


def test_a03_psd_n_makes_an_organisation_below_another() -> None:
    """(A-03)"""
    records = zone(x_a_example="v=DMARC1; p=none; psd=n", a_example="v=DMARC1; p=reject")
    assert judged(records, "x.a.example", "dkim:a.example").result is DmarcResult.FAIL
    assert judged(records, "y.x.a.example", "dkim:x.a.example").result is DmarcResult.PASS


def test_a03_below_psd_y_each_name_is_an_organisation() -> None:
    """(A-03)"""
    records = zone(example="v=DMARC1; p=none; sp=reject; psd=y")
    verdict = judged(records, "x.a.example", "dkim:b.example")
    assert (verdict.organisation, verdict.found_at, verdict.disposition) == ("a.example", "example", Policy.REJECT)
    assert judged(records, "x.a.example", "dkim:a.example").result is DmarcResult.PASS


def test_a03_a_public_suffix_that_does_not_say_so_makes_no_organisation_of_strangers() -> None:
    """(A-03)"""
    suffix = {"is_public_suffix": lambda name: name == "co.example" or is_single_label(name)}
    records = zone(co_example="v=DMARC1; p=reject", example="v=DMARC1; p=none")
    verdict = judged(records, "a.co.example", "dkim:b.co.example", **suffix)
    assert (verdict.organisation, verdict.found_at, verdict.result) == ("a.co.example", "co.example", DmarcResult.FAIL)
    assert judged(records, "x.a.co.example", "dkim:a.co.example", **suffix).result is DmarcResult.PASS
    assert judged(zone(example="v=DMARC1; p=reject"), "a.example", "dkim:b.example").result is DmarcResult.FAIL


def test_a03_what_dns_cannot_say_now_is_no_failure() -> None:
    """(A-03)"""
    assert judged({"_dmarc.a.example": {"TXT": [TIMEOUT]}}, "a.example").result is DmarcResult.TEMPERROR
    verdict = judged(REJECT, "a.example", "dkim:a.example?")
    assert (verdict.result, verdict.disposition) == (DmarcResult.TEMPERROR, Policy.NONE)
    assert judged(REJECT, "a.example", "dkim:b.example?").result is DmarcResult.FAIL
    assert judged(REJECT, "a.example", "dkim:a.example?", "spf:a.example").result is DmarcResult.PASS


@pytest.mark.parametrize(
    "texts",
    [
        ["v=DMARC1; p=reject", "v=DMARC1; p=none"],
        ["v=DMARC2; p=reject"],
        ["p=reject; v=DMARC1"],
        ["v=dmarc1; p=reject"],
        ["v=DMARC1; p=everything"],
        ["v=DMARC1; p=reject; sp=some"],
        ["v=spf1 -all"],
    ],
)
def test_a03_what_is_no_record_is_none(texts: list[str]) -> None:
    """(A-03)"""
    assert judged({"_dmarc.a.example": {"TXT": texts}}, "a.example").result is DmarcResult.NONE


def test_a03_a_policy_in_error_with_somewhere_to_report_to_asks_for_nothing() -> None:
    """(A-03)"""
    record = parse_dmarc(b"v=DMARC1; p=everything; rua=mailto:reports@a.example")
    assert record is not None and record.policy is Policy.NONE


def test_a03_other_texts_beside_the_record_do_not_matter() -> None:
    """(A-03)"""
    records = {"_dmarc.a.example": {"TXT": ["v=spf1 -all", "v=DMARC1; p=reject"]}}
    assert judged(records, "a.example").disposition is Policy.REJECT


def test_a03_the_walk_has_an_end() -> None:
    """(A-03)"""
    assert walk_names("a.b.example") == ["a.b.example", "b.example", "example"]
    names = walk_names("1.2.3.4.5.6.7.8.9.10.a.example")
    assert len(names) == MAX_WALK
    assert names[:2] == ["1.2.3.4.5.6.7.8.9.10.a.example", "6.7.8.9.10.a.example"]
    lookup = ZoneLookup({f"_dmarc.{'x.' * 60}example": {"TXT": ["v=DMARC1; p=reject"]}})
    identifiers = [Identifier("dkim", f"{number}.{'x.' * 59}example", True) for number in range(100)]
    asyncio.run(evaluate(f"{'x.' * 60}example", identifiers, lookup))
    assert len(lookup.asked) <= MAX_WALK


@given(st.lists(st.sampled_from(["a", "b", "example", "co"]), min_size=1, max_size=30).map(".".join))
def test_a03_a_walk_asks_about_the_domain_and_names_above_it(domain: str) -> None:
    """(A-03)"""
    names = walk_names(domain)
    assert names[0] == domain and len(names) <= MAX_WALK
    assert all(upper == domain or domain.endswith(f".{upper}") for upper in names)
    assert len(set(names)) == len(names)


@given(st.binary(max_size=60).map(lambda tail: b"v=DMARC1;" + tail))
def test_a03_a_record_is_read_or_is_none(text: bytes) -> None:
    """(A-03)"""
    record = parse_dmarc(text)
    assert record is None or record.psd in "ynu"
