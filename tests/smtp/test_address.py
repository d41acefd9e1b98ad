"""Mailboxes and paths: what is taken, what it means, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.smtp.address import NULL, Address, AddressError, NullPath, parse_path, path_text

CORPUS = Path(__file__).parents[2].parent / "shared/corpora/addresses/isemail.dev.jsonl"

TAKEN = {
    "user@example.org": ("user", "example.org"),
    "User.Name+tag@Example.ORG": ("User.Name+tag", "example.org"),
    '"john smith"@example.org': ("john smith", "example.org"),
    r'"a\"b\\c"@example.org': (r'a"b\c', "example.org"),
    '"plain"@example.org': ("plain", "example.org"),
    '""@example.org': ("", "example.org"),
    '"a@b"@example.org': ("a@b", "example.org"),
    "user@[192.0.2.1]": ("user", "[192.0.2.1]"),
    "user@[ipv6:2001:DB8:0::1]": ("user", "[IPv6:2001:db8::1]"),
    "user@host_name.example": ("user", "host_name.example"),
    "user@localhost": ("user", "localhost"),
    "user@XN--MNCHEN-3YA.de": ("user", "xn--mnchen-3ya.de"),
}

REFUSED = [
    "", "@", "user", "@example.org", "user@", ".user@example.org", "user.@example.org", "us..er@example.org",
    "us er@example.org", "user@exa mple.org", "user@example.org.", "user@.example.org", "user@exam..ple.org",
    "user@-example.org", "user@example-.org", "user@@example.org", '"user@example.org', '"us"er@example.org',
    "user@[192.0.2.256]", "user@[192.0.2.1", "user@[::1]", "user@[IPv6:zz]", "user@[IPv6:fe80::1%eth0]", "<a@b>",
    "user@example.org\r\n", "user\0@example.org", "us\ter@example.org", '"a\r\nb"@example.org', "user@exam\x7fple.org",
    "user@[IPv6:fe80::1%\r\nRCPT TO:<x@y>]", "müller@example.org", "user@münchen.de",
]  # fmt: skip


@pytest.mark.parametrize("text", TAKEN)
def test_s07_mailbox_means(text: str) -> None:
    address = Address.parse(text)
    assert (address.local, address.domain) == TAKEN[text]
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize("text", REFUSED)
def test_s07_h05_what_is_no_mailbox_is_refused(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        Address.parse(text)
    assert str(caught.value).isprintable()


def test_s03_local_part_keeps_its_case() -> None:
    assert Address.parse("A@x.test") != Address.parse("a@X.test")
    assert Address.parse("a@x.test") == Address.parse("a@X.TEST")


def test_s10_lengths_are_bounded() -> None:
    assert Address.parse("l" * 64 + "@example.org")
    assert Address.parse("a@" + "d" * 63 + ".org")
    for text in (
        "l" * 65 + "@example.org",
        "a@" + "d" * 64 + ".org",
        "a@" + "d." * 128 + "org",
        '"' + "l" * 70 + '"@x',
    ):
        with pytest.raises(AddressError):
            Address.parse(text)
    for path in ("<" + "l" * 60 + "@" + "d." * 96 + "org>", "<@" + "r." * 130 + "org:a@b>"):
        with pytest.raises(AddressError):
            parse_path(path)


def test_s22_utf8_only_when_allowed_and_labels_equal() -> None:
    address = Address.parse("müller@münchen.de", smtputf8=True)
    assert address == Address("müller", "xn--mnchen-3ya.de")
    assert not address.is_ascii
    assert Address.parse("a@MÜNCHEN.de", smtputf8=True) == Address.parse("a@xn--mnchen-3ya.de")
    assert Address.parse("a@faß.de", smtputf8=True).domain == "xn--fa-hia.de"


@pytest.mark.parametrize("text", ["a\x85b@x.test", "a\u2028b@x.test", '"a\u2028b"@x.test', "\ud800@x.test", "a@ü-.de"])
def test_h05_utf8_brings_no_controls(text: str) -> None:
    with pytest.raises(AddressError):
        Address.parse(text, smtputf8=True)


@pytest.mark.parametrize(
    ("text", "local", "rest"),
    [
        ("<user@example.org>", "user", ""),
        ("<user@example.org> SIZE=1", "user", " SIZE=1"),
        ("<@a.test,@b.test:user@example.org>", "user", ""),
        ('<"a>b"@example.org>X', "a>b", "X"),
        ("<user@[192.0.2.1]> X", "user", " X"),
    ],
)
def test_s07_path_and_what_follows(text: str, local: str, rest: str) -> None:
    path, follows = parse_path(text)
    assert isinstance(path, Address)
    assert (path.local, follows) == (local, rest)


def test_s05_null_path_is_its_own_value() -> None:
    path, rest = parse_path("<> SIZE=1")
    assert isinstance(path, NullPath)
    assert not path
    assert rest == " SIZE=1"


@pytest.mark.parametrize("text", ["<postmaster>", "<POSTMASTER>", "<PostMaster>"])
def test_s08_postmaster_needs_no_domain(text: str) -> None:
    path, _ = parse_path(text)
    assert path == Address("postmaster", "")
    assert path_text(path) == "<postmaster>"


@pytest.mark.parametrize("text", ["<a@b", "<a@b c>", "<@a>", "< a@b>", "<a@b >", "<user>", "<@a:>", "<a@b\r\n>", ""])
def test_s07_malformed_path_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_path(text)


@pytest.mark.parametrize(
    ("text", "local", "domain"),
    [
        ("<user%dom@us.test>", "user%dom", "us.test"),
        ('<"user@dom"@us.test>', "user@dom", "us.test"),
        ("<us.test!dom!user@us.test>", "us.test!dom!user", "us.test"),
        ("<@us.test:user@dom.test>", "user", "dom.test"),
        ("<user@[192.0.2.1]>", "user", "[192.0.2.1]"),
        ("<user@US.Test>", "user", "us.test"),
    ],
)
def test_s32_relay_tricks_are_read_as_what_they_are(text: str, local: str, domain: str) -> None:
    assert parse_path(text)[0] == Address(local, domain)


def test_s32_look_alike_domain_is_another_domain() -> None:
    assert Address.parse("a@\u0430pple.test", smtputf8=True).domain.startswith("xn--")


@pytest.mark.parametrize(
    "address",
    [
        Address("a\r\nRCPT TO:<x@y>", "b.test"), Address("a", "b.test> X=<c"), Address("a", "b\r\nDATA"),
        Address("a", "[IPv6:fe80::1%\r\nDATA]"), Address("a", ""), Address("a" * 65, "b.test"),
    ],
)  # fmt: skip
def test_h06_hand_made_address_cannot_be_printed_as_path(address: Address) -> None:
    with pytest.raises(AddressError):
        path_text(address)


_ATOM = st.text("abcXYZ019!#$%&'*+-/=?^_`{|}~", min_size=1, max_size=8)
_LOCALS = st.one_of(
    st.lists(_ATOM, min_size=1, max_size=4).map(".".join),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
)
_DOMAINS = st.one_of(
    st.lists(st.from_regex(r"[a-z0-9_]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True), min_size=1, max_size=4)
    .map(".".join)
    .filter(lambda name: "xn--" not in name),
    st.ip_addresses(v=4).map(lambda ip: f"[{ip}]"),
    st.ip_addresses(v=6).map(lambda ip: f"[IPv6:{ip}]"),
)


@settings(max_examples=150)
@given(_LOCALS, _DOMAINS)
def test_printing_then_parsing_gives_the_same_address(local: str, domain: str) -> None:
    address = Address(local, domain)
    assert Address.parse(str(address)) == address
    assert parse_path(path_text(address)) == (address, "")


@settings(max_examples=200)
@given(st.text(max_size=60), st.booleans())
def test_any_text_is_an_address_that_prints_or_an_address_error(text: str, smtputf8: bool) -> None:
    try:
        address = Address.parse(text, smtputf8=smtputf8)
    except AddressError:
        return
    assert Address.parse(str(address), smtputf8=True) == address


def test_long_hostile_text_is_refused_without_backtracking() -> None:
    for text in ("a." * 50_000, "a" * 100_000, "a@" + "-" * 100_000, "a@" + "a-" * 50_000, '"' + "\\" * 100_000):
        with pytest.raises(AddressError):
            Address.parse(text, smtputf8=True)


@pytest.mark.skipif(not CORPUS.exists(), reason="the shared corpora are not beside this repository")
def test_isemail_errors_are_refused_and_valid_ones_taken() -> None:
    wrong = []
    for line in CORPUS.read_text().splitlines():
        case = json.loads(line) if line.strip() else None
        if case is None or case["category"] in ("ISEMAIL_DNSWARN", "ISEMAIL_RFC5321"):
            continue
        if case["diagnosis"] == "ISEMAIL_RFC5321_IPV6DEPRECATED":  # `::` for one group alone: RFC 4291 §2.2 has it
            continue
        try:
            Address.parse(case["address"])
            is_taken = True
        except AddressError:
            is_taken = False
        if is_taken != (case["category"] == "ISEMAIL_VALID_CATEGORY"):
            wrong.append((case["address"], case["diagnosis"]))
    assert wrong == []


def test_null_prints_as_empty_brackets() -> None:
    assert path_text(NULL) == "<>"
