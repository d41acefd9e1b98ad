"""Our signatures, judged by another implementation too."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from message.signed import MESSAGE, NOW, ed25519_key, keys, rsa_key, verified
from postroad.message.dkim import Verdict
from postroad.message.dkim_key import (
    PrivateKeyError,
    is_published,
    key_record,
    load_private_key,
    private_pem,
    txt_strings,
)
from postroad.message.dkim_sign import OVERSIGNED, sign
from postroad.message.dns import DnsStatus, TextsAnswer

dkimpy: Any = pytest.importorskip("dkim")


def judged_by_dkimpy(message: bytes) -> list[bool]:
    """What dkimpy says of each signature, from the top."""
    records = {f"{key.selector}._domainkey.{key.domain}.": key_record(key.key).encode() for key in keys()}

    def ask(name: Any, timeout: int = 5) -> bytes | None:
        return records.get(name.decode() if isinstance(name, bytes) else name)

    count = len(re.findall(rb"(?m)^DKIM-Signature:", message))
    return [bool(dkimpy.DKIM(message).verify(idx=index, dnsfunc=ask)) for index in range(count)]


def test_a02_two_keys_sign_in_one_pass_and_dkimpy_believes_both() -> None:
    signed = sign(MESSAGE, keys(), now=NOW) + MESSAGE
    assert judged_by_dkimpy(signed) == [True, True]
    assert [one.verdict for one in verified(signed)] == [Verdict.PASS, Verdict.PASS]


def test_a02_the_fields_that_readers_show_are_oversigned() -> None:
    signature = sign(MESSAGE, keys()[:1], now=NOW).replace(b"\r\n\t", b"").replace(b" ", b"")
    names = re.search(rb";h=([^;]*);", signature)
    assert names is not None
    counts = [names[1].lower().split(b":").count(name.lower().encode()) for name in OVERSIGNED]
    assert counts == [2, 2, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1]


def test_a02_list_headers_are_signed_where_they_are() -> None:
    listed = (
        b"List-Unsubscribe: <https://example.org/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" + MESSAGE
    )
    signed = sign(listed, keys(), now=NOW)
    assert b"List-Unsubscribe" in signed and b"List-Unsubscribe-Post" in signed
    changed = (signed + listed).replace(b"example.org/u", b"example.net/u")
    assert [one.verdict for one in verified(changed)] == [Verdict.FAIL, Verdict.FAIL]


def test_a02_a_signature_may_end() -> None:
    signed = sign(MESSAGE, keys()[1:], now=NOW, lifetime_s=3600.0) + MESSAGE
    assert [one.verdict for one in verified(signed, now=NOW + 3600)] == [Verdict.PASS]
    assert [one.verdict for one in verified(signed, now=NOW + 3601)] == [Verdict.POLICY]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["To", "Cc", "Subject", "X-Other", "Received", "References", "From"]),
            st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
            st.booleans(),
        ),
        max_size=30,
    ),
    st.lists(st.text(st.sampled_from("ab \t."), max_size=8), max_size=8),
)
def test_a02_whatever_is_signed_is_believed_here_and_there(
    fields: list[tuple[str, str, bool]], lines: list[str]
) -> None:
    header = "".join(
        f"{name}: {value}{chr(13) + chr(10) + ' x' if folded else ''}\r\n" for name, value, folded in fields
    )
    body = "".join(f"{line}\r\n" for line in lines)
    message = f"From: ann@example.org\r\n{header}\r\n{body}".encode()
    signed = sign(message, keys(), now=NOW) + message
    assert all(len(line) <= 998 for line in signed.partition(b"\r\n\r\n")[0].split(b"\r\n")[:40])
    assert [one.verdict for one in verified(signed)] == [Verdict.PASS, Verdict.PASS]
    assert judged_by_dkimpy(signed) == [True, True]


# Keys -------------------------------------------------------------------------------------------------------------


def test_a_key_is_the_same_after_it_was_kept() -> None:
    for key in (rsa_key(), ed25519_key()):
        assert key_record(load_private_key(private_pem(key))) == key_record(key)


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_one_sentence(pem: bytes) -> None:
    with pytest.raises(PrivateKeyError, match="it is no private key in PEM without a password"):
        load_private_key(pem)


def test_a_key_is_published_where_dns_has_its_other_half() -> None:
    def answer(*texts: str) -> TextsAnswer:
        return TextsAnswer(DnsStatus.FOUND, tuple(text.encode() for text in texts))

    assert is_published(answer(key_record(rsa_key())), rsa_key())
    assert not is_published(answer(key_record(rsa_key(3072))), rsa_key())
    assert not is_published(answer("v=DKIM1; p="), rsa_key())
    assert not is_published(TextsAnswer(DnsStatus.TEMPORARY), rsa_key())


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=1200))
def test_a_long_record_is_cut_into_strings_that_together_are_it(text: str) -> None:
    strings = txt_strings(text)
    assert "".join(strings) == text and all(len(string) <= 255 for string in strings) and strings
