"""Changes to a message, made as hooks ask: header fields, body, envelope. Pure.

Nothing that a hook says can begin a header of its own (H-06): names and values are checked, and line breaks in a value
become folds. Bounded: more changes than MAX_CHANGES are a fault of the hook.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from postroad.hook.vocabulary import (
    AddHeader,
    AddRecipient,
    Arrived,
    Change,
    ChangeHeader,
    ChangeSender,
    RemoveRecipient,
    ReplaceBody,
)
from postroad.message.headers import header_end, header_section

MAX_CHANGES = 1000
MAX_VALUE_CHARS = 65_536
_NAME = re.compile(r"[!-9;-~]{1,200}")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_BREAK = re.compile(r"(?:\r\n|\r|\n)[ \t]*")


class HookFault(Exception):
    """A hook answered what cannot be done, or did not answer; the text says what."""


def amended(arrived: Arrived, changes: Sequence[Change]) -> Arrived:
    """The message with all the changes. Raises HookFault."""
    if len(changes) > MAX_CHANGES:
        raise HookFault(f"it asks for {len(changes)} changes, and at most {MAX_CHANGES} are made")
    found = list(fields(arrived.octets))
    rest = arrived.octets[header_end(arrived.octets) :]
    sender, recipients = arrived.sender, list(arrived.recipients)
    for change in changes:
        match change:
            case AddHeader(name, value, at):
                field = _field(name, value)
                found.insert(len(found) if at is None else max(0, min(at, len(found))), field)
            case ChangeHeader(name, occurrence, value):
                _change(found, name, occurrence, value)
            case ReplaceBody(body):
                rest = b"\r\n" + _crlf(body)
            case AddRecipient(address):
                if address not in recipients:
                    recipients.append(address)
            case RemoveRecipient(address):
                recipients = [one for one in recipients if str(one).lower() != str(address).lower()]
            case ChangeSender(other):
                sender = other
    return replace(arrived, octets=b"".join(found) + rest, sender=sender, recipients=tuple(recipients))


def fields(message: bytes) -> Iterator[bytes]:
    """The header fields of a message as they stand, each with its folds and its last CRLF."""
    section = header_section(message)
    start = 0
    while start < len(section):
        end = section.find(b"\r\n", start)
        while end >= 0 and section[end + 2 : end + 3] in (b" ", b"\t"):
            end = section.find(b"\r\n", end + 2)
        end = len(section) if end < 0 else end + 2
        yield section[start:end]
        start = end


def _field(name: str, value: str) -> bytes:
    if not name.isascii() or _NAME.fullmatch(name) is None:
        raise HookFault(f"{name[:40]!a} is no header name")
    if len(value) > MAX_VALUE_CHARS:
        raise HookFault(f"the value of header {name} is longer than {MAX_VALUE_CHARS} characters")
    folded = _BREAK.sub("\r\n\t", _CONTROL.sub("?", value).strip("\r\n")).strip(" ")
    # A fold of nothing but blanks would end the header section for some readers.
    lines = [line for line in folded.split("\r\n\t") if line.strip()]
    value = "\r\n\t".join(lines)
    return f"{name}: {value}\r\n".encode("utf-8", "surrogateescape")


def _change(found: list[bytes], name: str, occurrence: int, value: str | None) -> None:
    wanted = name.encode("utf-8", "surrogateescape").lower()
    places = [at for at, field in enumerate(found) if field.partition(b":")[0].rstrip(b" \t").lower() == wanted]
    place = places[occurrence - 1] if 1 <= occurrence <= len(places) else None
    if value is None or value == "":
        if place is not None:
            del found[place]
    elif place is None:
        found.append(_field(name, value))
    else:
        found[place] = _field(name, value)


def _crlf(body: bytes) -> bytes:
    """A body as SMTP carries it: no CR or LF by itself (S-12)."""
    return re.sub(rb"\r\n|\r|\n", b"\r\n", body)
