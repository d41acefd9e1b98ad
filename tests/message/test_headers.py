"""The header section: what is added to it, what is read of it, and what bounds the reading."""

from __future__ import annotations

import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.message.headers import (
    MAX_HEADER_SCAN,
    count_received,
    delivered_to_header,
    first_value,
    fix_submission,
    format_date,
    has_header,
    header_end,
    header_line,
    header_section,
    headers,
    received_header,
    return_path_header,
    unfold,
)
from postroad.smtp.address import NULL, Address
from postroad.smtp.errors import LocalProtocolError

NOW = 1_700_000_000.25


def trace(**changes: object) -> bytes:
    values: dict[str, object] = {
        "hello": "client.example.org",
        "peer": "192.0.2.1",
        "by": "mx.example.net",
        "protocol": "ESMTPS",
        "queue_id": "0abc",
        "recipient": Address("someone", "example.net"),
        "now": NOW,
    }
    return received_header(**(values | changes))  # type: ignore[arg-type]


@given(st.integers(min_value=0, max_value=4_102_444_800))
def test_dates_are_those_of_the_calendar(second: int) -> None:
    moment = time.gmtime(second)
    expected = email.utils.format_datetime(
        email.utils.parsedate_to_datetime(time.strftime("%d %b %Y %H:%M:%S +0000", moment))
    )
    assert format_date(second + 0.9) == expected


def test_s13_received_names_everything() -> None:
    assert trace() == (
        b"Received: from client.example.org ([192.0.2.1])\r\n"
        b"\tby mx.example.net with ESMTPS id 0abc\r\n"
        b"\tfor <someone@example.net>;\r\n"
        b"\tTue, 14 Nov 2023 22:13:20 +0000\r\n"
    )


def test_s13_received_for_only_where_there_is_one_recipient() -> None:
    assert b"for <" not in trace(recipient=None)


def test_s13_received_with_an_ipv6_peer() -> None:
    assert b"([IPv6:2001:db8::1])" in trace(peer="2001:db8::1")


@given(st.text(max_size=80))
def test_h05_what_a_peer_called_itself_cannot_leave_its_place(hello: str) -> None:
    lines = trace(hello=hello, recipient=None).split(b"\r\n")
    assert len(lines) == 4
    assert lines[0].startswith(b"Received: from ")
    assert lines[0].count(b"(") == lines[0].count(b")") == 1


@pytest.mark.parametrize("field", ["by", "protocol", "queue_id"])
@pytest.mark.parametrize("value", ["a\r\nBcc: b", "a\nb", "a\0b", "a\u2028b"])
def test_h06_our_own_values_are_refused_where_they_would_begin_a_header(field: str, value: str) -> None:
    with pytest.raises(LocalProtocolError):
        trace(**{field: value})


@pytest.mark.parametrize("value", ["a\r\nBcc: b", "a\nb", "a\rb", "a\0b"])
def test_h06_header_line_refuses_line_breaks(value: str) -> None:
    with pytest.raises(LocalProtocolError):
        header_line("Subject", value)
    with pytest.raises(LocalProtocolError):
        header_line(f"X{value}", "y")
    with pytest.raises(LocalProtocolError):
        fix_submission(b"Date: x\r\n\r\n", now=NOW, message_id=value)


def test_h06_an_address_made_by_hand_stays_in_its_header() -> None:
    odd = Address("a\r\nBcc: x", "example.org")
    assert return_path_header(odd).count(b"\r\n") == 1
    assert delivered_to_header(odd).count(b"\r\n") == 1
    assert trace(recipient=odd).count(b"\r\n") == 4


def test_return_path_of_the_null_path_is_empty() -> None:
    assert return_path_header(NULL) == b"Return-Path: <>\r\n"
    assert return_path_header(Address("a b", "example.org")) == b'Return-Path: <"a b"@example.org>\r\n'


def test_utf8_addresses_stand_as_they_are() -> None:
    assert delivered_to_header(Address("müller", "example.org")) == "Delivered-To: müller@example.org\r\n".encode()


def test_s14_only_the_header_section_counts() -> None:
    message = trace() * 3 + b"received: x\r\nReceived : y\r\nX-Received: no\r\n\r\n" + trace() * 5
    assert count_received(message) == 5


def test_h02_endless_headers_are_read_so_far_and_no_further() -> None:
    line = b"Received: x\r\n"
    message = line * (3 * MAX_HEADER_SCAN // len(line))
    assert header_end(message) == MAX_HEADER_SCAN
    assert len(header_section(message)) == MAX_HEADER_SCAN
    assert count_received(message) <= MAX_HEADER_SCAN // len(line) + 1


@pytest.mark.parametrize(
    ("message", "end"),
    [(b"", 0), (b"\r\nbody", 0), (b"A: b\r\n\r\nbody", 6), (b"A: b\r\n", 6), (b"A: b", 4), (b"A: b\r\n\r\n\r\n", 6)],
)
def test_where_the_header_section_ends(message: bytes, end: int) -> None:
    assert header_end(message) == end


def test_headers_come_in_order_with_their_folding() -> None:
    message = b"Subject: one\r\n two\r\n\tthree\r\nno header\r\nX-A : b\r\nTo:\r\n\r\nBody: no\r\n"
    found = list(headers(message))
    assert [name for name, _ in found] == ["subject", "x-a", "to"]
    assert unfold(found[0][1]) == "one two\tthree"
    assert unfold(b" caf\xe9") == "caf\udce9"


@given(st.binary(max_size=300))
def test_any_bytes_can_be_read(message: bytes) -> None:
    assert 0 <= header_end(message) <= len(message)
    for name, value in headers(message):
        assert name == name.lower()
        assert value in message
    count_received(message)


def test_s28_missing_date_and_message_id_are_added() -> None:
    fixed = fix_submission(b"From: a@example.org\r\n\r\nhello\r\n", now=NOW, message_id="x@example.org")
    assert fixed == (
        b"Date: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <x@example.org>\r\nFrom: a@example.org\r\n\r\nhello\r\n"
    )


def test_s28_what_is_there_stays_as_it_is() -> None:
    message = b"DATE: whenever\r\nmessage-id : <y>\r\n\r\nhello\r\n"
    assert fix_submission(message, now=NOW, message_id="x") is message


def test_s28_a_body_without_headers_stays_a_body() -> None:
    fixed = fix_submission(b"hello: there you are, no header? yes one\r\n", now=NOW, message_id="x@y")
    assert b"<x@y>\r\nhello:" in fixed
    fixed = fix_submission(b"dear friend: hello\r\n", now=NOW, message_id="x@y")
    assert fixed.endswith(b"<x@y>\r\n\r\ndear friend: hello\r\n")
    assert fix_submission(b"\r\nhello\r\n", now=NOW, message_id="x@y").endswith(b"<x@y>\r\n\r\nhello\r\n")
    assert fix_submission(b"Subject : a\r\n\r\nb\r\n", now=NOW, message_id="x@y").endswith(
        b"<x@y>\r\nSubject : a\r\n\r\nb\r\n"
    )


def test_a_header_in_the_body_is_none() -> None:
    assert has_header(b"A: b\r\nDate: c\r\n\r\n", b"date")
    assert not has_header(b"A: b\r\n\r\nDate: c\r\n", b"date")


@given(st.lists(st.tuples(st.sampled_from(["Subject", "message-ID", "X"]), st.text("ab \t", max_size=9)), max_size=5))
def test_the_first_value_found_fast_is_the_first_found_slowly(fields: list[tuple[str, str]]) -> None:
    section = "".join(f"{name}:{value}\r\n" + (" folded\r\n" if "b" in value else "") for name, value in fields)
    octets = f"{section}\r\nSubject: of the body\r\n".encode()
    for wanted in ("subject", "message-id", "to"):
        slowly = next((value for name, value in headers(octets) if name == wanted), None)
        assert first_value(octets, wanted.encode()) == slowly
