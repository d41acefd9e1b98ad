"""S-30: who decides how urgent a message is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.receive.priority import Priorities, SenderPriority, is_bulk
from postroad.smtp.address import NULL, Address

PATH = Address("anna", "shop.example")
RULES = Priorities(
    senders={
        "shop.example": SenderPriority(given=-2),
        "billing": SenderPriority(given=4, highest=6),
    },
    bulk=-4,
)
PLAIN = b"Subject: x\r\n\r\nPrecedence: bulk\r\n"


def of(user: str | None, asked: int | None = None, body: bytes = PLAIN) -> int:
    return RULES.of(user=user, reverse_path=PATH, asked=asked, body=body)


def test_s30_a_strangers_claim_counts_as_0() -> None:
    """(S-30)"""
    assert of(None, 9) == 0
    assert of(None, -9) == 0


def test_s30_a_user_claims_no_more_than_his_right() -> None:
    """(S-30)"""
    assert of("billing", 9) == 6
    assert of("billing", -3) == -3
    assert of("billing") == 4
    assert of("Billing", 5) == 5


def test_the_account_comes_before_the_domain() -> None:
    assert of("somebody") == -2
    assert of("somebody", 5) == 0
    assert RULES.of(user="somebody", reverse_path=NULL, asked=None, body=PLAIN) == 0


@pytest.mark.parametrize(
    "header",
    [b"Precedence: bulk", b"PRECEDENCE:list", b"Precedence: junk ", b"List-Unsubscribe: <https://shop.example/u>"],
)
def test_headers_of_bulk_make_it_bulk(header: bytes) -> None:
    body = b"Subject: x\r\n" + header + b"\r\n\r\nx\r\n"
    assert is_bulk(body)
    assert of("billing", 6, body) == -4
    assert of("billing", -7, body) == -7
    assert Priorities().of(user="billing", reverse_path=PATH, asked=None, body=body) == 0


@pytest.mark.parametrize("header", [b"Precedence: first-class", b"X-Precedence: bulk", b"Subject: List-Unsubscribe: x"])
def test_other_headers_do_not(header: bytes) -> None:
    assert not is_bulk(header + b"\r\n\r\nPrecedence: bulk\r\n")


@given(st.none() | st.sampled_from(["billing", "x"]), st.none() | st.integers(-9, 9), st.binary(max_size=80))
def test_s30_a_priority_is_always_within_its_bounds(user: str | None, asked: int | None, body: bytes) -> None:
    """(S-30)"""
    assert -9 <= of(user, asked, body) <= 6
