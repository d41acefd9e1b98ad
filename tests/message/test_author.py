"""Who a message says it is from, as receivers read it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.message.author import MAX_AUTHORS, authors, mailboxes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ann@example.org", ["ann@example.org"]),
        ("Ann <ann@example.org>", ["ann@example.org"]),
        ('"Ann, of <eve@example.net>" <ann@example.org>', ["ann@example.org"]),
        ("Ann (the <eve@example.net> one) <ann@example.org>", ["ann@example.org"]),
        ("(a(b)c) ann@example.org (d)", ["ann@example.org"]),
        ("ann@example.org, Bob <bob@example.net>", ["ann@example.org", "bob@example.net"]),
        ("friends: ann@example.org, bob@example.net;", ["ann@example.org", "bob@example.net"]),
        ('"a b"@example.org', ['"a b"@example.org']),
        ("=?utf-8?q?A=2C?= <ann@EXAMPLE.org>", ["ann@example.org"]),
        ("Ann <ann@bücher.example>", ["ann@xn--bcher-kva.example"]),
    ],
)
def test_mailboxes_in_their_forms(text: str, expected: list[str]) -> None:
    assert [str(one) for one in mailboxes(text) or []] == expected


@pytest.mark.parametrize(
    "text", ['"ann@example.org', "<ann@example.org", "(ann@example.org", "<a@example.org> <b@c.test>", "a@b@c.test"]
)
def test_what_cannot_be_read_whole_names_nobody(text: str) -> None:
    assert mailboxes(text) is None


def test_each_from_field_is_counted() -> None:
    message = b"From: ann@example.org\r\nTo: bob@example.net\r\nfrom :\r\n eve@example.net\r\n\r\nFrom: x@y.test\r\n"
    found, count = authors(message)
    assert ([str(one) for one in found], count) == (["ann@example.org", "eve@example.net"], 2)
    assert authors(b"To: a@b.test\r\n\r\n") == ((), 0)


def test_so_many_authors_are_read_and_no_more() -> None:
    many = ", ".join(f"a{number}@example.org" for number in range(200))
    assert len(authors(f"From: {many}\r\n\r\n".encode())[0]) == MAX_AUTHORS
    assert mailboxes("a" * 20_000) is None


@given(st.text(st.sampled_from('ab@.<>()",:;\\ é'), max_size=60))
def test_nothing_raises(text: str) -> None:
    for one in mailboxes(text) or []:
        assert one.domain
