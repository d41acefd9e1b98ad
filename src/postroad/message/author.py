"""Who a message says it is from: the domains of its From field (RFC 5322 §3.6.2), for signing and for DMARC.

Reads as receivers read: comments, quoted strings, groups and encoded words stand in the way of no address. Bounded.
"""

from __future__ import annotations

import re
from itertools import islice

from postroad.message.headers import header_section, unfold
from postroad.smtp.address import Address, AddressError

MAX_FROM_CHARS = 16_384
"""A longer field names nobody."""
MAX_AUTHORS = 50
_FROM = re.compile(rb"(?:\A|\r\n)from[ \t]*:", re.IGNORECASE)
_FIELD_END = re.compile(rb"\r\n(?![ \t])")


def authors(message: bytes) -> tuple[tuple[Address, ...], int]:
    """The mailboxes of the From fields in order, and how many such fields there are (MAX_AUTHORS are counted).

    A field that cannot be read whole names nobody: half of it must not be believed."""
    section = header_section(message)
    found: list[Address] = []
    count = 0
    for start in islice(_FROM.finditer(section), MAX_AUTHORS):
        count += 1
        end = _FIELD_END.search(section, start.end())
        value = section[start.end() : end.start() if end else len(section)]
        found += mailboxes(unfold(value)) or []
    return tuple(found[:MAX_AUTHORS]), count


def mailboxes(text: str) -> list[Address] | None:
    """The mailboxes of a list; None where a part of it is no mailbox."""
    if len(text) > MAX_FROM_CHARS:
        return None
    parts = _parts(text)
    if parts is None:
        return None
    found = []
    for part in parts:
        try:
            found.append(Address.parse(part, smtputf8=True))
        except AddressError:
            return None
    return found


def _parts(text: str) -> list[str] | None:
    """The text of each address: what stands in angle brackets, else all there is, without comments."""
    parts: list[str] = []
    bare, bracketed = "", None
    position = 0
    while position < len(text):
        character = text[position]
        if character == "(":
            position = _end_of_comment(text, position)
            if position < 0:
                return None
            continue
        if bracketed is not None and character not in " \t,;":  # readers differ on who wrote such a one
            return None
        if character == '"':
            end = _end_of_quoted(text, position)
            if end < 0:
                return None
            bare += text[position:end]
            position = end
            continue
        if character == "<":
            end = _end_of_angle(text, position)
            if end < 0:
                return None
            bracketed = text[position + 1 : end - 1].strip()
            position = end
            continue
        if character == ":":  # the name of a group
            bare = ""
        elif character in ",;":
            _add(parts, bare, bracketed)
            bare, bracketed = "", None
        else:
            bare += character
        position += 1
    _add(parts, bare, bracketed)
    return parts


def _add(parts: list[str], bare: str, bracketed: str | None) -> None:
    if bracketed is None and "@" not in bare:  # a piece of a display name that has a bare comma in it
        return
    address = bracketed if bracketed is not None else bare.strip()
    if address:
        parts.append(address)


def _end_of_quoted(text: str, start: int) -> int:
    position = start + 1
    while position < len(text):
        if text[position] == "\\":
            position += 2
        elif text[position] == '"':
            return position + 1
        else:
            position += 1
    return -1


def _end_of_angle(text: str, start: int) -> int:
    position = start + 1
    while position < len(text):
        if text[position] == '"':
            position = _end_of_quoted(text, position)
            if position < 0:
                return -1
        elif text[position] == ">":
            return position + 1
        else:
            position += 1
    return -1


def _end_of_comment(text: str, start: int) -> int:
    depth, position = 0, start
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                return position + 1
        position += 1
    return -1
