"""MTA-STS records and policies are read as RFC 8461 writes them, and as nothing else (T-01)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.message.mta_sts import (
    MAX_AGE_S,
    MAX_POLICY_OCTETS,
    StsInvalid,
    StsMode,
    matches,
    parse_policy,
    record_id,
)

POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.org\r\nmx: *.example.net\r\nmax_age: 604800\r\n"


def test_t01_a_policy_is_read_line_by_line() -> None:
    policy = parse_policy(POLICY)
    assert policy.mode is StsMode.ENFORCE
    assert policy.mx == ("mail.example.org", "*.example.net")
    assert policy.max_age_s == 604_800
    assert policy.lines[0] == "version: STSv1"


def test_t01_lf_alone_unknown_keys_and_spaces_do_no_harm() -> None:
    text = POLICY.replace(b"\r\n", b"\n").replace(b"mode:", b"future_key: 1\nmode  :  ") + b"\n\n"
    assert parse_policy(text) == parse_policy(POLICY)


def test_t01_of_a_key_that_stands_twice_the_first_counts() -> None:
    assert parse_policy(POLICY + b"mode: none\r\n").mode is StsMode.ENFORCE


def test_t01_a_policy_of_none_names_no_hosts() -> None:
    assert parse_policy(b"version: STSv1\nmode: none\nmax_age: 60\n").mode is StsMode.NONE


def test_t01_a_policy_is_kept_for_a_year_at_most() -> None:
    assert parse_policy(POLICY.replace(b"604800", b"9999999999")).max_age_s == MAX_AGE_S


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"STSv1", b"STSv2"),
        (b"enforce", b"strict"),
        (b"604800", b"a week"),
        (b"604800", b"-1"),
        (b"604800", b"12345678901"),
        (b"mail.example.org", b"mail..example.org"),
        (b"mail.example.org", b"*"),
        (b"mail.example.org", b"mail.*.example.org"),
        (b"mail.example.org", b"192.0.2.1:25"),
        (b"mail.example.org", "m\u00fcller.example".encode()),
        (b"mode: enforce", b"mode enforce"),
        (b"max_age", b"maximum_age"),
        (b"mx: mail.example.org\r\nmx: *.example.net\r\n", b""),
        (b"STSv1", b"STSv1\xff"),
        (b"\r\n", b"\r\n" + b"x" * MAX_POLICY_OCTETS),
    ],
)
def test_t01_what_does_not_follow_the_grammar_is_no_policy(old: bytes, new: bytes) -> None:
    with pytest.raises(StsInvalid):
        parse_policy(POLICY.replace(old, new, 1))


@pytest.mark.parametrize(
    ("pattern", "host", "is_match"),
    [
        ("mail.example.org", "mail.example.org", True),
        ("Mail.Example.Org", "mail.example.org.", True),
        ("mail.example.org", "mx.mail.example.org", False),
        ("*.example.org", "mail.example.org", True),
        ("*.example.org", "a.mail.example.org", False),
        ("*.example.org", "example.org", False),
        ("*.example.org", ".example.org", False),
        ("*.example.org", "mailexample.org", False),
    ],
)
def test_t01_a_star_stands_for_one_whole_label(pattern: str, host: str, is_match: bool) -> None:
    assert matches(pattern, host) is is_match


@pytest.mark.parametrize(
    "text", ["v=STSv1; id=20260101T000000;", "v=STSv1;id=20260101T000000", "v=STSv1 ; x=1; id=20260101T000000 "]
)
def test_t01_the_record_has_an_id(text: str) -> None:
    assert record_id(["v=spf1 -all", text]) == "20260101T000000"


def test_t01_without_a_record_there_is_no_policy() -> None:
    assert record_id(["v=spf1 -all", "V=STSV1; id=1"]) is None
    assert record_id([]) is None


@pytest.mark.parametrize(
    "texts",
    [
        ["v=STSv1; id=1;", "v=STSv1; id=2;"],
        ["v=STSv1;"],
        ["v=STSv1; id="],
        ["v=STSv1; id=with-dash"],
        ["v=STSv1; id=" + "1" * 33],
        ["v=STSv1; id=1; garbage"],
    ],
)
def test_t01_two_records_or_a_broken_one_are_none_with_a_reason(texts: list[str]) -> None:
    with pytest.raises(StsInvalid):
        record_id(texts)


@given(
    st.binary(max_size=300)
    | st.lists(st.sampled_from([*POLICY.split(b"\r\n"), b"mx: *", b"x", b":"]), max_size=9).map(b"\n".join)
)
def test_whatever_a_web_server_says_is_a_policy_or_a_clear_refusal(content: bytes) -> None:
    try:
        policy = parse_policy(content)
    except StsInvalid as fault:
        assert str(fault)
    else:
        assert policy.mx or policy.mode is StsMode.NONE
        assert 0 <= policy.max_age_s <= MAX_AGE_S


@given(
    st.lists(st.text(max_size=60) | st.text(alphabet="v=STSv1;id ", max_size=30).map("v=STSv1;".__add__), max_size=3)
)
def test_whatever_dns_says_is_an_id_or_none_or_a_clear_refusal(texts: list[str]) -> None:
    try:
        number = record_id(texts)
    except StsInvalid as fault:
        assert str(fault)
    else:
        assert number is None or (number.isalnum() and len(number) <= 32)
