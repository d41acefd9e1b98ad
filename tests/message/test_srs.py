"""The Sender Rewriting Scheme: there and back, and nobody else's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.message.srs import DAY_S, MAX_AGE_DAYS, Srs, SrsFault, SrsName, is_srs
from postroad.smtp.address import MAX_LOCAL_OCTETS, Address, AddressError

OURS = Srs("example.org", b"secret of example.org")
THEIRS = Srs("forwarder.example", b"another secret")
THIRD = Srs("third.example", b"a third secret")
NOW = 1_800_000_000.0
ANN = Address("ann", "elsewhere.example")

LOCALS = st.from_regex(r"[a-z0-9+=_-]{1,20}(\.[A-Za-z0-9=]{1,10})?", fullmatch=True)
DOMAINS = st.from_regex(r"[a-z0-9]{1,12}(\.[a-z0-9]{1,8}){1,3}", fullmatch=True)


def test_a_forwarded_sender_is_at_our_domain_and_comes_back() -> None:
    seen = OURS.forward(ANN, NOW)
    assert seen.domain == "example.org"
    assert seen.local.startswith("SRS0=") and seen.local.endswith("=elsewhere.example=ann")
    assert is_srs(seen) and not is_srs(ANN)
    assert OURS.reverse(seen, NOW) == ANN


@given(LOCALS, DOMAINS, st.integers(0, MAX_AGE_DAYS), st.booleans())
def test_whoever_the_sender_the_bounce_finds_him(local: str, domain: str, days: int, is_lowered: bool) -> None:
    sender = Address(local, domain)
    name = OURS.name_for(sender)
    seen = OURS.forward(sender, NOW)
    assert len(seen.local.encode()) <= MAX_LOCAL_OCTETS
    assert Address.parse(str(seen)) == seen
    back = OURS.reverse(Address(seen.local.lower(), seen.domain) if is_lowered else seen, NOW + days * DAY_S)
    if is_srs(sender):
        return
    if name is not None:
        assert back == name
    else:
        assert isinstance(back, Address)
        assert str(back) == (str(sender).lower() if is_lowered else str(sender))


def test_a_long_sender_is_named_by_a_digest_that_a_table_tells() -> None:
    long = Address("b" * 40, "bounces.mailing.elsewhere.example")
    name = OURS.name_for(long)
    assert isinstance(name, SrsName)
    seen = OURS.forward(long, NOW)
    assert len(seen.local) <= MAX_LOCAL_OCTETS
    assert OURS.reverse(seen, NOW) == name
    assert OURS.reverse(Address(seen.local.lower(), seen.domain), NOW) == name


def test_what_another_host_forwarded_goes_back_to_that_host() -> None:
    first = THEIRS.forward(ANN, NOW)
    second = OURS.forward(first, NOW)
    assert second.local.startswith("SRS1=") and second.domain == "example.org"
    assert OURS.reverse(second, NOW) == first
    third = THIRD.forward(second, NOW)
    assert third.local.startswith("SRS1=") and "=forwarder.example=" in third.local
    assert THIRD.reverse(third, NOW) == first
    assert THEIRS.reverse(first, NOW) == ANN


@pytest.mark.parametrize(
    "local",
    [
        "SRS0=aaaaaa=ab=elsewhere.example=ann",
        "SRS0=",
        "SRS0===",
        "SRS0====",
        "SRS1=",
        "SRS1=aaaaaa=first.example==x=ab=a.example=b",
        "SRS1===",
        "SRS0=\u00e9=\u00e9=\u00e9=\u00e9",
        "ann",
    ],
)
def test_made_up_addresses_are_seen(local: str) -> None:
    assert OURS.reverse(Address(local, "example.org"), NOW) is SrsFault.FORGED


@given(st.text(max_size=70))
def test_no_text_breaks_it(text: str) -> None:
    for prefix in ("SRS0=", "SRS1=", ""):
        assert not isinstance(OURS.reverse(Address(prefix + text, "example.org"), NOW), Address)
    try:
        sender = Address.parse(f"{text}@elsewhere.example", smtputf8=True)
    except AddressError:
        return
    assert len(OURS.forward(sender, NOW).local.encode("utf-8", "replace")) <= MAX_LOCAL_OCTETS


def test_another_servers_address_is_not_ours() -> None:
    assert OURS.reverse(Address(THEIRS.forward(ANN, NOW).local, "example.org"), NOW) is SrsFault.FORGED


def test_an_address_ends_with_its_time() -> None:
    seen = OURS.forward(ANN, NOW)
    assert OURS.reverse(seen, NOW + MAX_AGE_DAYS * DAY_S) == ANN
    assert OURS.reverse(seen, NOW + (MAX_AGE_DAYS + 2) * DAY_S) is SrsFault.EXPIRED
    assert OURS.reverse(seen, NOW - DAY_S) == ANN
    assert OURS.reverse(seen, NOW - 30 * DAY_S) is SrsFault.EXPIRED
