"""What travels with a message: who sent it, who gets it, and what was asked of the carrier."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from postroad.smtp.address import Address, NullPath


class BodyType(StrEnum):
    """RFC 6152 and RFC 3030 §3."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT = "8BITMIME"
    BINARY = "BINARYMIME"


class Notify(StrEnum):
    """When a DSN is wanted (RFC 3461 §4.1)."""

    NEVER = "NEVER"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DELAY = "DELAY"


class Return(StrEnum):
    """What a failure DSN brings back (RFC 3461 §4.3)."""

    FULL = "FULL"
    HEADERS = "HDRS"


class ByMode(StrEnum):
    """What follows when DELIVERBY's time is up (RFC 2852 §4): the message comes back, or the sender is told."""

    RETURN = "R"
    NOTIFY = "N"


@dataclass(frozen=True, slots=True)
class DeliverBy:
    """`deadline`: wall clock. `is_traced`: a relayed DSN is wanted from each hop (RFC 2852 §4, T)."""

    deadline: float
    mode: ByMode
    is_traced: bool = False


@dataclass(frozen=True, slots=True)
class Recipient:
    """One forward-path with its DSN parameters. `notify` None: not given, so failures (RFC 3461 §4.1)."""

    address: Address
    notify: frozenset[Notify] | None = None
    original: str | None = None
    """ORCPT decoded, `rfc822;someone@example.org` (RFC 3461 §4.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    reverse_path: Address | NullPath
    recipients: tuple[Recipient, ...]
    body_type: BodyType = BodyType.SEVEN_BIT
    smtputf8: bool = False
    ret: Return | None = None
    envid: str | None = None
    """ENVID decoded from xtext (RFC 3461 §4.4)."""
    priority: int = 0
    """From -9 to 9, as MT-PRIORITY counts (RFC 6710); below 0 is bulk."""
    deliver_by: DeliverBy | None = None
    release_at: float | None = None
    """Not to be delivered before that time, wall clock (RFC 4865); None: at once."""
    require_tls: bool = False
    """Each hop is to be secured and verified, or the message comes back (RFC 8689)."""


_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(first + second for first in _DIGITS for second in _DIGITS)


def format_queue_id(number: int) -> str:
    """A queue id as people see it: 13 characters that sort as the numbers do (a 63-bit number, base 32)."""
    pairs = _PAIRS
    return (
        f"{_DIGITS[number >> 60]}{pairs[number >> 50 & 1023]}{pairs[number >> 40 & 1023]}{pairs[number >> 30 & 1023]}"
        f"{pairs[number >> 20 & 1023]}{pairs[number >> 10 & 1023]}{pairs[number & 1023]}"
    )


def parse_queue_id(text: str) -> int | None:
    """The number behind a queue id, or None where the text is none."""
    number = 0
    for character in text.strip().lower():
        digit = _DIGITS.find(character)
        if digit < 0:
            return None
        number = number << 5 | digit
    return number if len(text.strip()) == 13 and number < 1 << 63 else None
