"""Return addresses of our own making: each message (or each recipient) sends its bounces to an address that names it.

    b-0123456789abc-7qk3m2vx4h5wpz8d@bounces.example.org          of a message
    b-0123456789abc.1f-7qk3m2vx4h5wpz8d@bounces.example.org       of one of its recipients (VERP)

The middle is the queue id, as people see it, and the recipient's row; the end a keyed digest, so that nobody can make
one up and lay a bounce at another's door. Letters are small, since some hosts change the case. Pure: the key and the
time are handed in. Used by delivery, which writes them, and by what takes the bounces (deliver/returns.py).
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass

from postroad.message.envelope import format_queue_id, parse_queue_id
from postroad.smtp.address import Address

_DIGEST_CHARS = 16
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_FORM = re.compile(r"b-(?P<id>[0-9a-z]{13})(?:\.(?P<row>[0-9a-z]{1,13}))?-(?P<digest>[0-9a-z]{16})")


@dataclass(frozen=True, slots=True)
class Returned:
    """Whose bounces come to a return address. `row`: of the recipient, where it names one."""

    message_id: int
    row: int | None = None


@dataclass(frozen=True, slots=True)
class ReturnPaths:
    """The return addresses of one domain, made and read with one key."""

    domain: str
    key: bytes

    def address(self, message_id: int, row: int | None = None) -> Address:
        """Where the bounces of that message, or of that recipient's copy, are to go."""
        named = format_queue_id(message_id) + ("" if row is None else f".{_base32(row)}")
        return Address(f"b-{named}-{self._digest(named)}", self.domain)

    def read(self, address: Address) -> Returned | None:
        """What an address of ours names; None where it is none, or was made up."""
        if address.domain != self.domain:
            return None
        found = _FORM.fullmatch(address.local.lower())
        if found is None:
            return None
        named = found["id"] + ("" if found["row"] is None else f".{found['row']}")
        message_id = parse_queue_id(found["id"])
        if message_id is None or not hmac.compare_digest(found["digest"], self._digest(named)):
            return None
        return Returned(message_id, None if found["row"] is None else _from_base32(found["row"]))

    def _digest(self, named: str) -> str:
        octets = hmac.digest(self.key, b"return " + named.encode(), "sha256")
        return _base32(int.from_bytes(octets[:10], "big")).rjust(_DIGEST_CHARS, "0")


def _base32(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, 32)
        digits = _DIGITS[digit] + digits
        if not number:
            return digits


def _from_base32(text: str) -> int | None:
    number = 0
    for character in text:
        digit = _DIGITS.find(character)
        if digit < 0:
            return None
        number = number << 5 | digit
    return number
