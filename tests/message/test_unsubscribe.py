"""One-click unsubscribing (RFC 8058): headers that name one recipient, tokens that nobody can make or read."""

from __future__ import annotations

import email

from hypothesis import given
from hypothesis import strategies as st

from postroad.message.unsubscribe import Leaving, Unsubscriber, list_scope

OURS = Unsubscriber(b"s" * 32, "https://mail.example.org/", "bounces.example.org")


@given(st.text(max_size=100), st.text(max_size=100))
def test_a_token_says_who_leaves_what_and_shows_nothing(address: str, scope: str) -> None:
    token = OURS.token(Leaving(address, scope))
    assert OURS.read(token) == Leaving(address, scope)
    assert Unsubscriber(b"t" * 32, "https://mail.example.org").read(token) is None
    assert len(address) < 4 or address not in token


@given(st.text(max_size=300))
def test_what_is_no_token_is_told_so(text: str) -> None:
    assert OURS.read(text) is None


def test_the_headers_are_those_of_rfc_8058() -> None:
    made = email.message_from_bytes(OURS.headers(Leaving("ann@example.net", list_scope("Offers", "shop.example"))))
    assert made["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    first, second = (part.strip() for part in made["List-Unsubscribe"].split(","))
    assert first.startswith("<https://mail.example.org/unsubscribe/")
    token = first.rpartition("/")[2].rstrip(">")
    assert OURS.read(token) == Leaving("ann@example.net", "list:offers@shop.example")
    assert second == f"<mailto:unsubscribe@bounces.example.org?subject={token}>"
    assert max(map(len, OURS.headers(Leaving("a" * 60 + "@example.net", "list:x@y.example")).splitlines())) < 998
