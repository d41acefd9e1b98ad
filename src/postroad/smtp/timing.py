"""The parameters of MAIL that say when and how urgently: HOLDFOR, HOLDUNTIL, BY and MT-PRIORITY.

    RFC 4865 FUTURERELEASE   RFC 2852 DELIVERBY   RFC 6710 MT-PRIORITY

Reading raises ValueError for what is malformed; `refusal` says whether a server's limits bear what was asked. Pure:
the wall clock is handed in. Used by `extension` and `server`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Protocol

from postroad.smtp.reply import Reply, reply

MAX_PRIORITY = 9
"""The highest priority of RFC 6710 §2; the lowest is its opposite."""
MAX_INTERVAL_S = 999_999_999
"""Nine digits: RFC 4865 §3 and RFC 2852 §4 allow no more."""

_INTERVAL = re.compile(r"[1-9][0-9]{0,8}")
_BY = re.compile(r"([+-]?[0-9]{1,9});([RN])(T?)", re.IGNORECASE | re.ASCII)
_PRIORITY = re.compile(r"-?[0-9]")
_DATE = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]{1,9})?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class By:
    """What BY asks: `seconds` from now on (RFC 2852 §4); `mode` is R (return it) or N (tell me)."""

    seconds: int
    mode: str
    is_traced: bool = False

    def __str__(self) -> str:
        return f"{self.seconds};{self.mode}{'T' if self.is_traced else ''}"


def read_interval(value: str | None) -> int:
    """The seconds of HOLDFOR. Raises ValueError."""
    if value is None or _INTERVAL.fullmatch(value) is None:
        raise ValueError("HOLDFOR takes 1 to 9 digits")
    return int(value)


def read_date(value: str | None) -> int:
    """The moment of HOLDUNTIL, whole seconds since 1970 (RFC 3339 §5.6, RFC 4865 §3). Raises ValueError."""
    found = _DATE.fullmatch(value or "")
    if found is None:
        raise ValueError("HOLDUNTIL takes a date such as 2030-01-31T08:00:00Z")
    year, month, day, hour, minute, second = (int(found[number]) for number in range(1, 7))
    zone: timezone = UTC
    if found[7]:
        if int(found[9]) > 59:
            raise ValueError("an offset has 59 minutes at most")
        offset = timedelta(hours=int(found[8]), minutes=int(found[9]))
        zone = timezone(-offset if found[7] == "-" else offset)
    moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=zone)
    if second > 60 or moment.year < 1970:
        raise ValueError("this second, or year, is not possible")
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) + (second == 60)


def print_date(moment: float) -> str:
    """A moment as HOLDUNTIL writes it, in UTC; never later than year 9999."""
    whole = min(max(int(moment), 0), 253_402_300_799)
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=whole)).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_by(value: str | None) -> By:
    """What BY says. Raises ValueError, also for a return mode whose time has run out before it began (RFC 2852 §4)."""
    found = _BY.fullmatch(value or "")
    if found is None:
        raise ValueError("BY takes seconds, a semicolon, and R or N")
    by = By(int(found[1]), found[2].upper(), bool(found[3]))
    if by.mode == "R" and by.seconds <= 0:
        raise ValueError("BY with R takes more than 0 seconds")
    return by


def read_priority(value: str | None) -> int:
    """The priority of MT-PRIORITY. Raises ValueError."""
    if value is None or _PRIORITY.fullmatch(value) is None or value == "-0":
        raise ValueError("MT-PRIORITY takes -9 to 9")
    return int(value)


# What a server bears ----------------------------------------------------------------------------------------------


class TimingLimits(Protocol):
    """The fields of `server_events.ServerSettings` that bound these parameters."""

    @property
    def hold_s(self) -> int: ...

    @property
    def deliver_by_s(self) -> int | None: ...


class TimingWishes(Protocol):
    """The fields of `extension.MailParameters` that ask for them."""

    @property
    def hold_for(self) -> int | None: ...

    @property
    def hold_until(self) -> int | None: ...

    @property
    def by(self) -> By | None: ...


def latest_release(hold_s: int, wall: float) -> int:
    """The last moment for HOLDUNTIL that EHLO tells at that time: a whole minute, so that it seldom changes."""
    return int(wall + hold_s) // _MINUTE_S * _MINUTE_S


def release_at(wishes: TimingWishes, wall: float) -> float | None:
    """When a message is to be released; None: at once. A moment that is past asks for nothing."""
    if wishes.hold_for is not None:
        return wall + wishes.hold_for
    if wishes.hold_until is not None and wishes.hold_until > wall:
        return float(wishes.hold_until)
    return None


def refusal(wishes: TimingWishes, limits: TimingLimits, wall: float) -> Reply | None:
    """Why what was asked cannot be done here; None: it can. `wall`: the wall clock."""
    released = release_at(wishes, wall)
    if released is not None and released - wall > limits.hold_s:
        longest = f"A message is held for {limits.hold_s} seconds at most"
        return reply(501, f"{longest}, until {print_date(wall + limits.hold_s)}", "5.5.4")
    by = wishes.by
    if by is None or by.mode != "R":
        return None
    least = limits.deliver_by_s or 0
    if by.seconds < least:
        return reply(
            553, f"Delivery within {by.seconds} seconds is not promised here: ask for {least} or more", "5.4.7"
        )
    if released is not None and wall + by.seconds <= released:
        return reply(501, "BY returns the message before it is to be released: let BY end later", "5.5.4")
    return None
