"""Whose mail a message is, asked of a table that stands for DNS: what is written into it, and what is refused."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from message.zone_lookup import TIMEOUT, ZoneLookup
from postroad.message.arc import ArcResult, Chain
from postroad.message.arc_seal import seal
from postroad.message.authentication_results import AuthenticationResults, parse_results
from postroad.message.dkim_key import key_record
from postroad.message.dkim_sign import SigningKey, sign
from postroad.message.dns import TextsAnswer
from postroad.message.headers import headers
from postroad.receive.authentication import (
    QUARANTINE,
    THREAD_OCTETS,
    Authentication,
    AuthenticationSettings,
    CleaningCheck,
    author_domain,
)
from postroad.receive.caller import Caller, Role
from postroad.receive.checks import Amended
from postroad.receive.findings import Measures
from postroad.receive.guard.networks import Networks, parse_network
from postroad.smtp.address import NULL, Address, NullPath
from postroad.smtp.extension import MailParameters, RcptParameters
from postroad.smtp.reply import Reply
from postroad.smtp.server_events import MailReceived, MessageReceived, RcptReceived

IP = "192.0.2.1"
KEY = SigningKey("a.example", "s", Ed25519PrivateKey.generate())
ZONE: dict[str, Any] = {
    "a.example": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"], "MX": [(10, "mx.a.example")], "A": ["192.0.2.1"]},
    "_dmarc.a.example": {"TXT": ["v=DMARC1; p=reject"]},
    "s._domainkey.a.example": {"TXT": [key_record(KEY.key)]},
    "mail.a.example": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]},
    "null.example": {"MX": [(0, ".")]},
    "bare.example": {"TXT": ["x"]},
    "host.example": {"AAAA": ["2001:db8::1"]},
    "later.example": {"*": [TIMEOUT]},
}
BODY = b"From: Ann <ann@a.example>\r\nTo: dave@us.test\r\nSubject: hello\r\n\r\nbody\r\n"
SETTINGS = AuthenticationSettings(authserv_id="mx.us.test", hostname="mx.us.test")
ENFORCED = replace(SETTINGS, measures=Measures(is_enforced=True))


def event(body: bytes = BODY, sender: str = "ann@a.example") -> MessageReceived:
    path: Address | NullPath = Address.parse(sender) if sender else NULL
    to = RcptReceived(Address("dave", "us.test"), RcptParameters())
    return MessageReceived(MailReceived(path, MailParameters()), (to,), body)


def caller(peer: str = IP, hello: str = "mail.a.example") -> Caller:
    return Caller(peer, 4000, Role.MX, hello=hello)


def made(settings: AuthenticationSettings, zone: Mapping[str, Any] = ZONE) -> Authentication:
    return Authentication(settings=settings, lookup=lambda: ZoneLookup(zone), now=lambda: 1e9)


def judged(
    settings: AuthenticationSettings = SETTINGS,
    body: bytes = BODY,
    *,
    sender: str = "ann@a.example",
    peer: str = IP,
    zone: Mapping[str, Any] = ZONE,
    check: Authentication | None = None,
) -> Reply | Amended | None:
    async def run() -> Reply | Amended | None:
        asked = (check or made(settings, zone)).message(caller(peer), event(body, sender))
        return await asked if inspect.isawaitable(asked) else asked

    return asyncio.run(run())


def told(answer: Reply | Amended | None) -> AuthenticationResults:
    assert isinstance(answer, Amended)
    fields = [value for name, value in headers(answer.above + b"\r\n") if name == "authentication-results"]
    assert len(fields) == 1
    parsed = parse_results(fields[0])
    assert parsed is not None
    return parsed


def words(answer: Reply | Amended | None) -> list[str]:
    return [f"{one.method}={one.result}" for one in told(answer).results]


def test_a05_what_was_found_stands_above_the_message_in_our_name() -> None:
    """(A-05)"""
    answer = judged()
    assert told(answer).authserv_id == "mx.us.test"
    assert words(answer) == ["spf=pass", "spf=pass", "dkim=none", "dmarc=pass"]


def test_a02_a_signature_vouches_where_the_address_does_not() -> None:
    """(A-02)"""
    body = sign(BODY, [KEY], now=1e9) + BODY
    assert words(judged(body=body, peer="198.51.100.9")) == ["spf=fail", "spf=fail", "dkim=pass", "dmarc=pass"]
    changed = body.replace(b"hello", b"other")
    assert words(judged(body=changed, peer="198.51.100.9"))[2:] == ["dkim=fail", "dmarc=fail"]


def test_a02_a_long_message_is_judged_the_same() -> None:
    """(A-02)"""
    long = BODY + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * (THREAD_OCTETS // 72)
    assert len(long) > THREAD_OCTETS
    body = sign(long, [KEY], now=1e9) + long
    assert words(judged(body=body, peer="198.51.100.9")) == ["spf=fail", "spf=fail", "dkim=pass", "dmarc=pass"]
    assert words(judged(body=body + b"z\r\n", peer="198.51.100.9"))[2:] == ["dkim=fail", "dmarc=fail"]


def test_a03_mail_that_its_domain_disowns_is_refused_where_policies_are_enforced() -> None:
    """(A-03)"""
    answer = judged(ENFORCED, peer="198.51.100.9")
    assert isinstance(answer, Reply) and str(answer).startswith("550 5.7.26 ")
    assert isinstance(judged(SETTINGS, peer="198.51.100.9"), Amended)


def test_a03_quarantine_is_a_header_and_where_wanted_a_hold() -> None:
    """(A-03)"""
    zone = {**ZONE, "_dmarc.a.example": {"TXT": ["v=DMARC1; p=quarantine"]}}
    answer = judged(ENFORCED, peer="198.51.100.9", zone=zone)
    assert isinstance(answer, Amended) and answer.hold == ""
    assert f"{QUARANTINE}: DMARC policy of a.example\r\n".encode() in answer.above
    holding = replace(ENFORCED, measures=Measures(is_enforced=True, holds_quarantined=True))
    answer = judged(holding, peer="198.51.100.9", zone=zone)
    assert isinstance(answer, Amended) and answer.hold == "quarantine: DMARC policy of a.example"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (b"", "there is none"),
        (b"From: a@a.example\r\nFrom: b@a.example\r\n", "there are 2 of them"),
        (b"From: a@a.example, b@b.example\r\n", "its authors are of 2 domains"),
        (b"From: nobody\r\n", "no address can be read in it"),
        (b"From: <a@a.example> <b@b.example>\r\n", "no address can be read in it"),
        (b"From: <a@a.example> b@b.example\r\n", "no address can be read in it"),
        (b'From: <a@a.example> "b@b.example"\r\n', "no address can be read in it"),
    ],
)
def test_a03_a_message_without_one_author_fails(lines: bytes, problem: str) -> None:
    """(A-03)"""
    body = lines + b"Subject: x\r\n\r\nbody\r\n"
    assert author_domain(body) == ("", problem)
    assert words(judged(body=body))[-1] == "dmarc=fail"
    assert isinstance(judged(ENFORCED, body), Reply)


@pytest.mark.parametrize(
    "line",
    [
        b"From: ann@A.example",
        b"From: a@a.example, b@a.example",
        b'From: "b@b.example" <ann@a.example>',
        b"From: Doe, Ann <ann@a.example>",
        b"From: Ann <ann@a.example> (at home)",
        b"From: Us: Ann <ann@a.example>, <bob@a.example>;",
        b"From: (b@b.example) ann@a.example",
        b"From:\r\n Ann\r\n <ann@a.example>",
    ],
)
def test_a03_one_author_is_found_whatever_the_display_name_says(line: bytes) -> None:
    """(A-03)"""
    assert author_domain(line + b"\r\n\r\n") == ("a.example", "")


def test_a01_a_null_reverse_path_is_judged_by_the_hello_name() -> None:
    """(A-01)"""
    answer = judged(sender="")
    assert words(answer) == ["spf=pass", "dkim=none", "dmarc=pass"]
    assert told(answer).results[0].value("smtp.helo") == "mail.a.example"


def test_a05_forged_results_in_our_name_are_taken_out_and_others_stay() -> None:
    """(A-05)"""
    forged = b"Authentication-Results: mx.us.test; dmarc=pass\r\n"
    other = b"Authentication-Results: mx.other.example; dmarc=pass\r\n"
    answer = judged(body=forged + other + BODY)
    assert isinstance(answer, Amended) and answer.event.body == other + BODY
    exempt = replace(SETTINGS, exempt=Networks([parse_network(IP)]))
    answer = judged(exempt, forged + BODY)
    assert isinstance(answer, Amended) and (answer.event.body, answer.above) == (BODY, b"")
    cleaned = CleaningCheck("mx.us.test").message(caller(), event(BODY[:-6] + b"x\r\n"))
    assert cleaned is None


def test_a01_who_is_exempt_is_not_looked_at() -> None:
    """(A-01)"""
    assert judged(replace(SETTINGS, exempt=Networks([parse_network("192.0.2.0/24")]))) is None


class Silent(ZoneLookup):
    """DNS that never answers."""

    async def texts(self, name: str) -> TextsAnswer:
        await asyncio.sleep(3600)
        raise AssertionError


def test_a01_what_dns_does_not_answer_in_time_is_temporary_and_no_refusal() -> None:
    """(A-01)"""
    check = Authentication(settings=replace(ENFORCED, timeout_s=0.05), lookup=lambda: Silent({}), now=lambda: 1e9)
    signed = sign(BODY, [KEY], now=1e9) + BODY
    answer = judged(body=signed, check=check)
    assert words(answer) == ["spf=temperror", "spf=temperror", "dkim=temperror", "dmarc=temperror"]
    long = signed + b"x\r\n" * THREAD_OCTETS
    assert words(judged(body=long, check=check))[2:] == ["dkim=temperror", "dmarc=temperror"]


def at_mail(settings: AuthenticationSettings, sender: str, peer: str = IP) -> Reply | None:
    async def run() -> Reply | None:
        path: Address | NullPath = Address.parse(sender) if sender else NULL
        asked = made(settings).mail(caller(peer), MailReceived(path, MailParameters()))
        return await asked if asked is not None else None

    return asyncio.run(run())


def test_c02_a_sender_whose_domain_takes_no_mail_is_refused() -> None:
    """(C-02)"""
    assert str(at_mail(SETTINGS, "a@null.example")).startswith("550 5.7.27 ")
    assert at_mail(replace(SETTINGS, refuses_null_mx=False), "a@null.example") is None
    assert at_mail(SETTINGS, "a@a.example") is None
    assert at_mail(SETTINGS, "") is None
    assert at_mail(SETTINGS, "a@[192.0.2.1]") is None
    assert at_mail(replace(SETTINGS, exempt=Networks([parse_network(IP)])), "a@null.example") is None


@pytest.mark.parametrize(
    ("sender", "is_there"),
    [
        ("a@a.example", True),
        ("a@host.example", True),
        ("a@later.example", True),
        ("a@absent.example", False),
        ("a@bare.example", False),
    ],
)
def test_c02_a_sender_whose_domain_is_not_there_is_refused_where_that_is_asked_for(sender: str, is_there: bool) -> None:
    """(C-02)"""
    assert at_mail(SETTINGS, sender) is None
    for word, code in (("refuse", "550 5.1.8 "), ("defer", "450 4.1.8 ")):
        answer = at_mail(replace(SETTINGS, missing_domain=word), sender)  # type: ignore[arg-type]
        assert answer is None if is_there else str(answer).startswith(code)


LIST_KEY = SigningKey("lists.example", "s", Ed25519PrivateKey.generate())
LIST_ZONE = {**ZONE, "s._domainkey.lists.example": {"TXT": [key_record(LIST_KEY.key)]}}


def passed_on(results: str) -> bytes:
    """A signed message that a list has seen, changed and sealed."""
    changed = b"List-Id: <us.lists.example>\r\n" + (sign(BODY, [KEY], now=1e9) + BODY).replace(b"hello", b"[us] hello")
    return seal(changed, LIST_KEY, chain=ArcResult(verdict=Chain.NONE), results=results, now=1e9) + changed


@pytest.mark.parametrize(
    ("results", "trusted", "is_taken"),
    [
        ("lists.example; dmarc=pass header.from=a.example", "lists.example", True),
        ("lists.example; dmarc=pass header.from=a.example", "other.example", False),
        ("lists.example; dmarc=fail header.from=a.example", "lists.example", False),
    ],
)
def test_a04_what_a_trusted_list_changed_is_taken_by_its_seal(results: str, trusted: str, is_taken: bool) -> None:
    """(A-04)"""
    measures = Measures(is_enforced=True, trusted_sealers=frozenset({trusted}))
    answer = judged(replace(SETTINGS, measures=measures), passed_on(results), peer="198.51.100.9", zone=LIST_ZONE)
    assert isinstance(answer, Amended if is_taken else Reply)
    if is_taken:
        assert words(answer) == ["spf=fail", "spf=fail", "dkim=fail", "arc=pass", "dmarc=fail"]
        assert "lists.example saw it pass" in told(answer).results[-1].reason
        spoiled = passed_on(results).replace(b"body\r\n", b"other\r\n")
        assert isinstance(
            judged(replace(SETTINGS, measures=measures), spoiled, peer="198.51.100.9", zone=LIST_ZONE), Reply
        )


@given(
    st.binary(max_size=300),
    st.sampled_from(["mark", "enforce"]),
    st.lists(
        st.sampled_from([b"From: ann@a.example", b"DKIM-Signature: v=1; d=a.example", b"ARC-Seal: i=1"]), max_size=4
    ),
)
def test_a03_whatever_the_message_is_there_is_an_answer(octets: bytes, policy: str, lines: list[bytes]) -> None:
    """(A-03)"""
    body = b"\r\n".join([*lines, octets, b"", octets])
    answer = judged(ENFORCED if policy == "enforce" else SETTINGS, body)
    assert isinstance(answer, Amended) or (isinstance(answer, Reply) and policy == "enforce")
