"""Chains of handlers: validated as a whole, sealed in order, and ended where they are broken (A-04)."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from message.signed import MESSAGE, NOW, TIMEOUT, keys, zone
from message.zone_lookup import ZoneLookup
from postroad.message.arc import MAX_SETS, ArcResult, Chain, validate
from postroad.message.arc_seal import seal
from postroad.message.dkim_key import key_record
from postroad.smtp.errors import LocalProtocolError

RSA, ED25519 = keys()


def judged(message: bytes, lookup: ZoneLookup | None = None) -> ArcResult:
    return asyncio.run(validate(message, (lookup or zone()).texts))


def passed_on(message: bytes, times: int = 1, *, key: Any = ED25519) -> bytes:
    """The message after so many honest hands."""
    for number in range(times):
        chain = judged(message)
        results = f"mx{number}.example.org; arc={chain.verdict}; dkim=none"
        message = seal(message, key, chain=chain, results=results, now=NOW) + message
    return message


def test_a04_a_message_that_nobody_sealed_has_no_chain_and_asks_nothing() -> None:
    lookup = zone()
    assert judged(MESSAGE, lookup) == ArcResult(verdict=Chain.NONE)
    assert lookup.asked == []


@pytest.mark.parametrize("times", [1, 2, 7])
@pytest.mark.parametrize("key", [RSA, ED25519])
def test_a04_honest_hands_make_a_chain_that_passes(times: int, key: Any) -> None:
    found = judged(passed_on(MESSAGE, times, key=key))
    assert (found.verdict, found.instances, found.sealers) == (Chain.PASS, times, ("example.org",) * times)
    assert found.results == f"mx{times - 1}.example.org; arc={'pass' if times > 1 else 'none'}; dkim=none"


def test_a04_a_handler_may_change_what_it_seals_again() -> None:
    first = passed_on(MESSAGE)
    changed = first.replace(b"this is it", b"this is a list")
    assert judged(changed).verdict is Chain.FAIL
    sealed = seal(changed, RSA, chain=judged(first), results="lists.example.org; arc=pass", now=NOW) + changed
    assert judged(sealed).verdict is Chain.PASS


def test_a04_dkimpy_believes_our_chain() -> None:
    dkimpy: Any = pytest.importorskip("dkim")
    records = {f"r1._domainkey.{RSA.domain}.": key_record(RSA.key).encode()}

    def ask(name: Any, timeout: int = 5) -> bytes | None:
        return records.get(name.decode() if isinstance(name, bytes) else name)

    cv, _, reason = dkimpy.arc_verify(passed_on(MESSAGE, 3, key=RSA), dnsfunc=ask)
    assert (cv, reason) == (b"pass", "success")


def test_a04_a_broken_chain_is_sealed_once_as_broken_and_then_no_more() -> None:
    broken = passed_on(MESSAGE, 2).replace(b"mx0.example.org", b"mx9.example.org")
    found = judged(broken)
    assert (found.verdict, found.is_ended) == (Chain.FAIL, False)
    ended = seal(broken, RSA, chain=found, results="mx.example.org; arc=fail", now=NOW) + broken
    assert b"cv=fail" in ended
    found = judged(ended)
    assert (found.verdict, found.is_ended, found.instances) == (Chain.FAIL, True, 3)
    assert seal(ended, RSA, chain=found, results="mx.example.org; arc=fail", now=NOW) == b""


def test_a04_nothing_is_added_where_dns_did_not_answer() -> None:
    found = judged(passed_on(MESSAGE), zone({"e1": TIMEOUT}))
    assert found.verdict is Chain.TEMPERROR
    assert seal(MESSAGE, RSA, chain=found, results="mx.example.org; arc=temperror", now=NOW) == b""


def test_a04_a_chain_has_at_most_fifty_sets() -> None:
    full = passed_on(MESSAGE, MAX_SETS)
    lookup = zone()
    found = judged(full, lookup)
    assert (found.verdict, found.instances) == (Chain.PASS, MAX_SETS)
    assert len(lookup.asked) == 1
    assert seal(full, RSA, chain=found, results="mx.example.org; arc=pass", now=NOW) == b""
    more = full.replace(b"i=50;", b"i=51;")
    assert judged(more).verdict is Chain.FAIL


def test_a04_structure_is_judged_before_any_key_is_asked_for() -> None:
    chain = passed_on(MESSAGE, 2)
    fields = re.findall(rb"(?m)^ARC-[^:]*:(?:.*\r\n)(?:[ \t].*\r\n)*", chain)
    assert len(fields) == 6
    for field in fields:
        for broken in (chain.replace(field, b"", 1), field + chain):
            lookup = zone()
            assert judged(broken, lookup).verdict is Chain.FAIL
            assert lookup.asked == []


def test_a04_every_seal_counts() -> None:
    chain = passed_on(MESSAGE, 3)
    for number in (0, 1, 2):
        changed = chain.replace(f"mx{number}.example.org".encode(), b"mx9.example.org")
        assert judged(changed).verdict is Chain.FAIL


def test_a04_what_we_say_ourselves_is_one_line() -> None:
    with pytest.raises(LocalProtocolError):
        seal(MESSAGE, RSA, chain=judged(MESSAGE), results="mx.example.org; a\r\nFrom: eve", now=NOW)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2000), st.binary(max_size=3), st.integers(0, 5))
def test_a04_a_damaged_chain_never_raises(at: int, put: bytes, taken: int) -> None:
    chain = passed_on(MESSAGE, 2)
    found = judged(chain[:at] + put + chain[at + taken :])
    assert found.reason.isprintable()
    assert found.instances <= MAX_SETS
