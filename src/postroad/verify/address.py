"""What can be said of an address without asking anybody: whether its form is right, and its canonical form.

Stricter than the protocol where the Internet is: a domain that no registry can hold is no address one can write to.
Lists hold more than bare addresses, so a surrounding `mailto:`, angle brackets and a display name are understood.
Pure; asks nothing. Used by plan's feeder (job) and by lists to tell which column holds addresses.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from postroad.smtp.address import Address, AddressError

MAX_TEXT = 1000
"""Characters of a cell that are looked at; no address comes near it."""

_NAMED = re.compile(r"[^<>]*<([^<>]+)>")
_LOOKS_LIKE = re.compile(r"[^\s@,;]+@[^\s@,;]+\.[^\s@,;]+")
_INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class BadAddress:
    """Text that is no address; `fault` says in one sentence why."""

    fault: str


def check(text: str) -> Address | BadAddress:
    """The address that a cell of a list, or an argument, holds."""
    bare = bare_text(text)
    if not bare:
        return BadAddress("there is no address")
    if len(bare) > MAX_TEXT:
        return BadAddress(f"the text is longer than {MAX_TEXT} characters")
    for character in "" if bare.isascii() else bare:
        if not character.isascii() and unicodedata.category(character) in _INVISIBLE:
            return BadAddress(f"it holds an invisible character, U+{ord(character):04X}")
    try:
        address = Address.parse(bare, smtputf8=True)
    except AddressError as error:
        return BadAddress(str(error))
    fault = _domain_fault(address)
    return BadAddress(fault) if fault else address


def bare_text(text: str) -> str:
    """The text without spaces around it, `mailto:`, angle brackets and display name."""
    bare = text.strip()
    if bare[:7].lower() == "mailto:":
        bare = bare[7:].partition("?")[0].strip()
    if bare.endswith(">") and len(bare) <= MAX_TEXT:
        named = _NAMED.fullmatch(bare)
        if named is not None:
            bare = named[1].strip()
    return bare


def looks_like_address(text: str) -> bool:
    """Whether a cell is meant as an address, right or wrong; cheap."""
    return len(text) <= MAX_TEXT and "@" in text and _LOOKS_LIKE.search(text) is not None


def _domain_fault(address: Address) -> str:
    if address.is_literal:
        return ""
    _, dot, last = address.domain.rpartition(".")
    if not dot:
        return "the domain has no dot: it names no place on the Internet"
    if last.isdigit():
        return "the domain ends in a number: an IP address must stand in brackets, [192.0.2.1]"
    return ""
