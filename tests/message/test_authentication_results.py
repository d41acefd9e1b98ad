"""Authentication-Results: ours say what was found, and nobody else's pass for ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.message.authentication_results import (
    MAX_RESULTS,
    AuthenticationResults,
    MethodResult,
    parse_results,
    results_header,
    results_value,
    without_results_of,
)
from postroad.message.headers import headers

OURS = frozenset({"mx.example.org"})


def test_a05_the_field_names_us_and_what_was_found() -> None:
    """(A-05)"""
    found = AuthenticationResults(
        "mx.example.org",
        (
            MethodResult(method="spf", result="pass", properties=(("smtp.mailfrom", "user@a.example"),)),
            MethodResult(method="dkim", result="fail", reason='the "body" changed', properties=(("header.d", "a.b"),)),
        ),
    )
    field = results_header(found)
    assert field == (
        b"Authentication-Results: mx.example.org;\r\n"
        b"\tspf=pass\r\n\t smtp.mailfrom=user@a.example;\r\n"
        b'\tdkim=fail\r\n\t reason="the \\"body\\" changed"\r\n\t header.d=a.b\r\n'
    )
    assert parse_results(field.partition(b":")[2].removesuffix(b"\r\n")) == found


def test_a05_nothing_found_is_said_too() -> None:
    """(A-05)"""
    assert results_header(AuthenticationResults("mx.example.org")) == (
        b"Authentication-Results: mx.example.org;\r\n\tnone\r\n"
    )
    assert results_value(AuthenticationResults("mx.example.org")) == "mx.example.org; none"


@pytest.mark.parametrize(
    ("value", "results"),
    [
        ("example.org; none", []),
        ("example.org 1; none", []),
        ("example.org; spf=pass smtp.mailfrom=example.net", [("spf", "pass")]),
        ('"example.org" (a (nested) comment) 1 ; (why) dkim / 1 = (x) pass (good) reason="a;b"', [("dkim", "pass")]),
        ("example.org; dkim=pass header.i=@a.example header.b=ab/c+d==; arc=none", [("dkim", "pass"), ("arc", "none")]),
        ("example.org; DKIM=Pass;", [("dkim", "pass")]),
    ],
)
def test_a05_what_others_wrote_is_read(value: str, results: list[tuple[str, str]]) -> None:
    """(A-05)"""
    parsed = parse_results(value)
    assert parsed is not None
    assert parsed.authserv_id == "example.org"
    assert [(one.method, one.result) for one in parsed.results] == results


@pytest.mark.parametrize(
    "value", ["", ";", "a b; none", "a; spf", "a; spf=", "a; spf=pass (", "a; =pass", "a; x=y" * 20_000, "(" * 50 + "a"]
)
def test_a05_what_is_no_such_field_is_none(value: str) -> None:
    """(A-05)"""
    assert parse_results(value) is None


@pytest.mark.parametrize(
    "forged",
    [
        "Authentication-Results: mx.example.org; dkim=pass",
        "authentication-results :MX.Example.ORG; dkim=pass",
        "Authentication-Results:\r\n mx.example.org\r\n\t; dkim=pass\r\n header.d=a.example",
        "Authentication-Results: (trust me) mx.example.org 1; dkim=pass",
        'Authentication-Results: "mx.example.org"; dkim=pass',
        "Authentication-Results: mx.(x)example.org; dkim=pass",
        "Authentication-Results: mx.example.org. ; dkim=pass",
        "Authentication-Results: mx.example.org",
        'Authentication-Results: "mx.\\example.org"; dkim=pass',
    ],
)
def test_a05_what_claims_to_be_ours_is_taken_out_wherever_it_stands(forged: str) -> None:
    """(A-05)"""
    other = "Authentication-Results: mx.other.example; spf=pass\r\n"
    for before, after in (("", "Subject: x\r\n"), ("Subject: x\r\n", ""), (other, other)):
        message = f"{before}{forged}\r\n{after}From: a@b.example\r\n\r\n{forged}\r\nbody\r\n".encode()
        expected = f"{before}{after}From: a@b.example\r\n\r\n{forged}\r\nbody\r\n".encode()
        assert without_results_of(message, OURS) == expected


def test_a05_one_at_the_end_of_a_message_without_a_body_is_taken_out() -> None:
    """(A-05)"""
    assert without_results_of(b"A: b\r\nAuthentication-Results: mx.example.org; x=y", OURS) == b"A: b\r\n"
    assert without_results_of(b"A: b\r\nAuthentication-Results: mx.example.org; x=y\r\n", OURS) == b"A: b\r\n"


def test_a05_one_behind_a_megabyte_of_headers_is_taken_out() -> None:
    """(A-05)"""
    long = b"X-Long: " + b"x" * (1 << 20) + b"\r\n"
    message = long + b"Authentication-Results: mx.example.org; dkim=pass\r\n\r\nbody\r\n"
    assert without_results_of(message, OURS) == long + b"\r\nbody\r\n"


@pytest.mark.parametrize(
    "message",
    [
        b"Subject: Authentication-Results: mx.example.org; x=y\r\n\r\nbody\r\n",
        b"X: y\r\n Authentication-Results: mx.example.org; x=y\r\n\r\n",
        b"ARC-Authentication-Results: i=1; mx.example.org; x=y\r\n\r\n",
        b"Authentication-Results: other.example; x=mx.example.org\r\n\r\n",
        b"\r\nAuthentication-Results: mx.example.org; x=y\r\n\r\n",
        b"",
    ],
)
def test_a05_what_does_not_claim_to_be_ours_stays(message: bytes) -> None:
    """(A-05)"""
    assert without_results_of(message, OURS) == message


WORDS = st.text(st.characters(max_codepoint=0x2FFF), max_size=40)


@given(WORDS, WORDS, WORDS)
def test_a05_whatever_is_told_the_field_stays_one_and_is_read_back(reason: str, name: str, address: str) -> None:
    """(A-05)"""
    found = AuthenticationResults(
        "mx.example.org",
        (MethodResult(method="dkim", result="fail", reason=reason, properties=(("header.d", name), ("x.y", address))),),
    )
    field = results_header(found)
    assert len(list(headers(field + b"\r\n"))) == 1
    assert all(len(line) < 998 for line in field.split(b"\r\n"))
    assert len(results_value(found).splitlines()) == 1
    parsed = parse_results(field.partition(b":")[2].removesuffix(b"\r\n"))
    assert parsed is not None and parsed == parse_results(results_value(found))
    assert [one.method for one in parsed.results] == ["dkim"]


@given(st.text(st.sampled_from('ab.;=()"\\ \t@/1é'), max_size=60))
def test_a05_any_text_is_read_or_is_none(text: str) -> None:
    """(A-05)"""
    parsed = parse_results(text)
    assert parsed is None or len(parsed.results) <= MAX_RESULTS


@given(st.lists(st.sampled_from(["Authentication-Results: mx.example.org;x=y", " fold", "A: b", "", "("]), max_size=12))
def test_a05_after_the_cleaning_none_is_left_by_the_grammar(lines: list[str]) -> None:
    """(A-05)"""
    cleaned = without_results_of("\r\n".join(lines).encode(), OURS)
    for name, value in headers(cleaned):
        if name == "authentication-results":
            parsed = parse_results(value)
            assert parsed is None or parsed.authserv_id not in OURS
