"""Whether a client's address and names fit together: forward-confirmed reverse DNS, and the name it says in EHLO.

RFC 8601 §2.7.3 (iprev), RFC 7372 (5.7.25), RFC 5321 §4.1.4: a name that does not fit may be marked; refusing by it is
the operator's choice. What DNS cannot say now is never held against a client for good.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum

from postroad.net.resolver import DnsStatus, ReverseResolver
from postroad.smtp.reply import Reply, reply

NAMES_TRIED = 5
"""Names of one address that are looked up."""
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9])?)*")
_NO_REVERSE = reply(550, "Your address has no name that leads back to it: mend its reverse DNS", "5.7.25")
_NOT_NOW = reply(450, "The name of your address cannot be looked up now: try again later", "4.7.25")
_NO_SUCH_NAME = reply(550, "The name you said in EHLO does not exist: say your host's own", "5.7.1")
_HELLO_NOT_NOW = reply(450, "The name you said in EHLO cannot be looked up now: try again later", "4.7.1")
OUR_NAME = reply(550, "You said our own name in EHLO: say yours", "5.7.1")


class Found(StrEnum):
    """What was found out of an address or a name."""

    CONFIRMED = "confirmed"
    ABSENT = "absent"
    """There is none, or none that leads back."""
    UNKNOWN = "unknown"
    """DNS could not say."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """`name`: the first that leads back to the address, safe for a header or a log."""

    found: Found
    name: str = ""


async def confirm(resolver: ReverseResolver, address: str, timeout_s: float) -> Confirmation:
    """The name of an address that leads back to it."""
    try:
        async with asyncio.timeout(timeout_s):
            named = await resolver.names(address)
            if named.status is DnsStatus.TEMPORARY:
                return Confirmation(Found.UNKNOWN)
            names = [name for name in named.names if len(name) <= 253 and _HOST.fullmatch(name)][:NAMES_TRIED]
            answers = await asyncio.gather(*(resolver.addresses(name) for name in names))
    except TimeoutError:
        return Confirmation(Found.UNKNOWN)
    wanted = ipaddress.ip_address(address)
    for name, answer in zip(names, answers, strict=True):
        if any(ipaddress.ip_address(one) == wanted for one in answer.addresses):
            return Confirmation(Found.CONFIRMED, name)
    is_unknown = any(answer.status is DnsStatus.TEMPORARY for answer in answers)
    return Confirmation(Found.UNKNOWN if is_unknown else Found.ABSENT)


async def hello_resolves(resolver: ReverseResolver, name: str, timeout_s: float) -> Found:
    """Whether a name said in EHLO has an address; an address literal is itself."""
    if name.startswith("["):
        return Found.CONFIRMED
    if not _HOST.fullmatch(name.lower()) or "." not in name:
        return Found.ABSENT
    try:
        async with asyncio.timeout(timeout_s):
            answer = await resolver.addresses(name.lower())
    except TimeoutError:
        return Found.UNKNOWN
    if answer.status is DnsStatus.FOUND:
        return Found.CONFIRMED
    return Found.UNKNOWN if answer.status is DnsStatus.TEMPORARY else Found.ABSENT


def reverse_refusal(found: Found) -> Reply | None:
    """What a client without a confirmed name is told where one is required."""
    return {Found.ABSENT: _NO_REVERSE, Found.UNKNOWN: _NOT_NOW}.get(found)


def hello_refusal(found: Found) -> Reply | None:
    """What a client is told whose name in EHLO must resolve and does not."""
    return {Found.ABSENT: _NO_SUCH_NAME, Found.UNKNOWN: _HELLO_NOT_NOW}.get(found)
