"""Changes that hooks ask for: made in order, and never more than what was asked (H-06)."""

from __future__ import annotations

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.hook.amend import HookFault, amended, fields
from postroad.hook.vocabulary import (
    AddHeader,
    AddRecipient,
    Arrived,
    Change,
    ChangeHeader,
    ChangeSender,
    Client,
    RemoveRecipient,
    ReplaceBody,
)
from postroad.smtp.address import NULL, Address

BOB, CARL = Address("bob", "example.org"), Address("carl", "example.org")
TEXT = b"From: ann@example.net\r\nSubject: one\r\n two\r\nX: 1\r\nx: 2\r\n\r\nthe body\r\n"


def arrived(octets: bytes = TEXT) -> Arrived:
    client = Client(address="192.0.2.1", port=1, listener="mx")
    return Arrived(client=client, sender=CARL, recipients=(BOB,), octets=octets, hostname="mx.example.org")


def changed(*changes: Change) -> bytes:
    return amended(arrived(), changes).octets


def test_fields_are_added_at_the_end_or_at_their_place() -> None:
    assert changed(AddHeader("A", "x")) == TEXT.replace(b"x: 2\r\n", b"x: 2\r\nA: x\r\n")
    assert changed(AddHeader("A", "x", 0)) == b"A: x\r\n" + TEXT
    assert changed(AddHeader("A", "x", 2)).splitlines()[3] == b"A: x"
    assert changed(AddHeader("A", "x", 99)) == changed(AddHeader("A", "x"))


def test_the_occurrence_that_is_meant_is_changed_or_removed() -> None:
    assert changed(ChangeHeader("X", 2, "3")) == TEXT.replace(b"x: 2", b"X: 3")
    assert changed(ChangeHeader("subject", 1, None)) == TEXT.replace(b"Subject: one\r\n two\r\n", b"")
    assert changed(ChangeHeader("X", 3, None)) == TEXT
    assert changed(ChangeHeader("X", 3, "new")) == changed(AddHeader("X", "new"))


def test_body_and_envelope_are_replaced() -> None:
    made = amended(
        arrived(), [ReplaceBody(b"a\nb\r\nc\r"), AddRecipient(CARL), RemoveRecipient(BOB), ChangeSender(NULL)]
    )
    assert made.octets.endswith(b"\r\n\r\na\r\nb\r\nc\r\n"), "no CR or LF by itself (S-12)"
    assert made.recipients == (CARL,) and made.sender is NULL


@given(st.text(max_size=60))
def test_h06_a_value_never_begins_a_field_of_its_own(value: str) -> None:
    made = changed(AddHeader("A", value, 0))
    parsed = email.message_from_bytes(made, policy=email.policy.compat32)
    assert parsed.keys() == ["A", "From", "Subject", "X", "x"]
    assert len(list(fields(made))) == 5 and made.endswith(TEXT)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "ä"])
def test_h06_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(HookFault, match="no header name"):
        changed(AddHeader(name, "x"))


def test_changes_have_an_end() -> None:
    with pytest.raises(HookFault, match="at most"):
        changed(*[AddHeader("A", "x")] * 1001)
