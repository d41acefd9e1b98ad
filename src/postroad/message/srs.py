"""The Sender Rewriting Scheme: what we forward leaves in our name, and its bounces find the way back to its sender.

    ann@elsewhere.example             the sender of mail that we forward
    SRS0=q7x2=4k=elsewhere.example=ann@example.org        what the next host sees
    SRS1=q7x2=first.example==4k…@example.org              where it was forwarded, and rewritten, once before

An address that we made carries a keyed digest and the day it was made; another one is `FORGED`, an old one `EXPIRED`.
A sender who is too long to fit into a local part (64 octets) stands there by a digest of himself, and a table outside
says who it was (`Srs.name_for`, `SrsName`). Case does not matter, since some hosts change it. Pure: key and time are
handed in.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from enum import StrEnum

from postroad.smtp.address import MAX_LOCAL_OCTETS, Address, AddressError

DAY_S = 86_400.0
MAX_AGE_DAYS = 21
"""Longer than any host tries; a bounce that comes later finds nobody."""
_DAYS = 1024
"""Two digits of 32 count so many days, then begin again."""
_DIGITS = "abcdefghijklmnopqrstuvwxyz234567"
_DIGEST_CHARS = 6
_NAME_CHARS = 26
_NAME = re.compile(r"[a-z2-7]{26}")
_SRS0 = re.compile(r"srs0[=+-]", re.IGNORECASE)
_SRS1 = re.compile(r"srs1[=+-]", re.IGNORECASE)


class SrsFault(StrEnum):
    """Why an address that looks like one of ours leads nowhere."""

    FORGED = "forged"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class SrsName:
    """A sender that a table has to tell, by this name."""

    name: str


def is_srs(address: Address) -> bool:
    """Whether the local part has the form of the scheme, whoever made it."""
    return _SRS0.match(address.local) is not None or _SRS1.match(address.local) is not None


@dataclass(frozen=True, slots=True)
class Srs:
    """`domain`: where the bounces are to come; `key`: a secret of this server."""

    domain: str
    key: bytes

    def name_for(self, sender: Address) -> SrsName | None:
        """The name that a table must keep for that sender before `forward` may be used; None where he fits."""
        return None if len(self._written(sender, 0.0).encode("utf-8", "replace")) <= MAX_LOCAL_OCTETS else _name(sender)

    def forward(self, sender: Address, now: float) -> Address:
        """Whom the next host is to see as the sender. `now`: wall clock."""
        if self.name_for(sender) is not None:
            return Address(self._zero(now, "", _name(sender).name), self.domain)
        return Address(self._written(sender, now), self.domain)

    def reverse(
        self, address: Address, now: float, *, max_age_days: int = MAX_AGE_DAYS
    ) -> Address | SrsName | SrsFault:
        """Whom a bounce to that address is for. `now`: wall clock."""
        local = address.local
        if _SRS1.match(local):
            return self._reverse_one(local[5:])
        if not _SRS0.match(local):
            return SrsFault.FORGED
        parts = local[5:].split("=", 3)
        if len(parts) != 4:
            return SrsFault.FORGED
        digest, day, domain, user = parts
        if not hmac.compare_digest(digest.lower().encode(), self._digest(day, domain, user).encode()):
            return SrsFault.FORGED
        age = (_today(now) - _number(day)) % _DAYS
        if age > max_age_days and age != _DAYS - 1:  # made by a clock that is a day ahead
            return SrsFault.EXPIRED
        if not domain:
            return SrsName(user.lower()) if _NAME.fullmatch(user.lower()) else SrsFault.FORGED
        return _address(user, domain)

    def _written(self, sender: Address, now: float) -> str:
        local = sender.local
        if _SRS1.match(local):
            # Forwarded twice before: the host that rewrote it first stays, the one in between is left out.
            first, found, rest = local[5:].partition("=")[2].partition("=")
            if found and first and rest:
                return f"SRS1={self._digest(first, rest)}={first}={rest}"
        if _SRS0.match(local):
            rest = local[4:]
            return f"SRS1={self._digest(sender.domain, rest)}={sender.domain}={rest}"
        return self._zero(now, sender.domain, local)

    def _zero(self, now: float, domain: str, user: str) -> str:
        today = _today(now)
        day = _DIGITS[today // 32] + _DIGITS[today % 32]
        return f"SRS0={self._digest(day, domain, user)}={day}={domain}={user}"

    def _reverse_one(self, rest: str) -> Address | SrsFault:
        parts = rest.split("=", 2)
        if len(parts) != 3 or not hmac.compare_digest(
            parts[0].lower().encode("utf-8", "replace"), self._digest(parts[1], parts[2]).encode()
        ):
            return SrsFault.FORGED
        return _address(f"SRS0{parts[2]}", parts[1])

    def _digest(self, *parts: str) -> str:
        text = "=".join(parts).lower().encode("utf-8", "replace")
        return _base32(hmac.digest(self.key, b"srs " + text, "sha256"))[:_DIGEST_CHARS]


def _name(sender: Address) -> SrsName:
    return SrsName(_base32(hashlib.sha256(str(sender).encode("utf-8", "replace")).digest())[:_NAME_CHARS])


def _base32(octets: bytes) -> str:
    return base64.b32encode(octets).decode("ascii").lower()


def _today(now: float) -> int:
    return int(now // DAY_S) % _DAYS


def _number(day: str) -> int:
    """The day that two digits write; they were ours, as the digest shows."""
    number = 0
    for digit in day.lower():
        number = number * 32 + max(0, _DIGITS.find(digit))
    return number % _DAYS


def _address(local: str, domain: str) -> Address | SrsFault:
    """The address, as long as one could come to us by mail."""
    made = Address(local, domain.lower())
    try:
        return Address.parse(str(made), smtputf8=True)
    except AddressError:
        return SrsFault.FORGED
