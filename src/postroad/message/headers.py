"""The header section of a message, as bytes: what a carrier reads of it and adds to it (RFC 5321 §4.4, RFC 5322).

Works on the header section alone, without parsing MIME, and never changes what the author wrote. What a peer said
(EHLO name, address) is made harmless before it stands in a header; what we say ourselves is refused where it holds a
CR, LF or other control character (`header_line`). Every scan ends at MAX_HEADER_SCAN octets.
Used by receive (trace header, submission, loops) and by deliver (final delivery, DSNs).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from postroad.smtp.address import Address, NullPath
from postroad.smtp.errors import LocalProtocolError

MAX_HEADER_SCAN = 1 << 20
"""Octets of a header section that are looked at; a longer one is read as if it ended there (H-02)."""

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FIELD_NAME = re.compile(rb"[!-9;-~]+")  # RFC 5322 §3.6.8
_FIRST_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_LINE_BREAKING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._:%\-\[\]]")


def format_date(wall: float) -> str:
    """A wall clock time as RFC 5322 §3.3 writes it, in UTC."""
    return _format_second(int(wall // 1))


@lru_cache(maxsize=64)
def _format_second(second: int) -> str:
    days, second_of_day = divmod(second, 86_400)
    year, month, day = _civil(days)
    hour, rest = divmod(second_of_day, 3600)
    return (
        f"{_DAYS[(days + 3) % 7]}, {day:02d} {_MONTHS[month - 1]} {year:04d}"
        f" {hour:02d}:{rest // 60:02d}:{rest % 60:02d} +0000"
    )


def _civil(days: int) -> tuple[int, int, int]:
    """Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar.

    Years are counted from March, so that the leap day is the last one."""
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_from_march + 2) // 5 + 1
    month = month_from_march + 3 if month_from_march < 10 else month_from_march - 9
    return era * 400 + year_of_era + (month <= 2), month, day


# What is added ---------------------------------------------------------------------------------------------------


def received_header(
    *,
    hello: str,
    peer: str,
    by: str,
    protocol: str,
    queue_id: str,
    recipient: Address | None,
    now: float,
) -> bytes:
    """A Received header (RFC 5321 §4.4). `recipient` only where there is exactly one; `now` is wall clock time.

    Raises LocalProtocolError where a value of our own (`by`, `protocol`, `queue_id`) holds a control character."""
    literal = f"IPv6:{peer}" if ":" in peer else peer
    hello = _NOT_IN_NAMES.sub("?", hello) or "unknown"
    for_clause = f"\r\n\tfor <{_printable(str(recipient))}>" if recipient is not None else ""
    ours = f"by {by} with {protocol} id {queue_id}"
    if not ours.isprintable() and _LINE_BREAKING.search(ours):
        raise LocalProtocolError("a trace header takes no control characters: host name, protocol and id are one line")
    return (
        f"Received: from {hello} ([{_NOT_IN_NAMES.sub('?', literal)}])\r\n\t{ours}{for_clause};"
        f"\r\n\t{_format_second(int(now // 1))}\r\n"
    ).encode()


def _printable(text: str) -> str:
    """An address made by hand may hold anything; in a header it must not end the line."""
    return text if text.isprintable() else _LINE_BREAKING.sub("?", text)


def header_line(name: str, value: str) -> bytes:
    """One header of our own. Raises LocalProtocolError for a name or value that could begin another one (H-06)."""
    if not name.isascii() or _FIELD_NAME.fullmatch(name.encode("ascii")) is None:
        raise LocalProtocolError(f"{name[:40]!a} is no header name")
    if not value.isprintable() and _LINE_BREAKING.search(value):
        raise LocalProtocolError(f"the value of header {name} holds a line break or another control character")
    return f"{name}: {value}\r\n".encode()


def return_path_header(reverse_path: Address | NullPath) -> bytes:
    """The Return-Path that final delivery adds (RFC 5321 §4.4)."""
    return f"Return-Path: <{_printable(str(reverse_path))}>\r\n".encode()


def delivered_to_header(address: Address) -> bytes:
    """The Delivered-To that final delivery adds, by which a forwarding loop is seen (RFC 9228)."""
    return f"Delivered-To: {_printable(str(address))}\r\n".encode()


def fix_submission(message: bytes, *, now: float, message_id: str) -> bytes:
    """Add what a submitted message must have and lacks: Date and Message-ID (RFC 6409 §8.2, §8.3).

    `message_id` comes without angle brackets. A missing From is left missing: whom to name is not ours to say.
    Raises LocalProtocolError where `message_id` holds a control character."""
    section = _searchable(message)
    added = b""
    if not _has(section, b"date"):
        added += f"Date: {format_date(now)}\r\n".encode()
    if not _has(section, b"message-id"):
        added += header_line("Message-ID", f"<{message_id}>")
    if not added:
        return message
    is_headless = not message.startswith(b"\r\n") and _FIRST_FIELD.match(message) is None
    return added + (b"\r\n" if is_headless else b"") + message


# What is read ----------------------------------------------------------------------------------------------------


def header_end(message: bytes) -> int:
    """Where the header section ends: the offset of the empty line, or of the end where there is none."""
    if message.startswith(b"\r\n"):
        return 0
    end = message.find(b"\r\n\r\n", 0, MAX_HEADER_SCAN)
    return end + 2 if end >= 0 else min(len(message), MAX_HEADER_SCAN)


def header_section(message: bytes) -> bytes:
    """The header section with its last CRLF, without the empty line; never more than MAX_HEADER_SCAN octets."""
    return message[: header_end(message)]


def headers(message: bytes) -> Iterator[tuple[str, bytes]]:
    """Names (lower case) and raw values, folding kept, in order; lines that are no header are passed over."""
    section = header_section(message)
    start = 0
    while start < len(section):
        end = section.find(b"\r\n", start)
        while end >= 0 and section[end + 2 : end + 3] in (b" ", b"\t"):
            end = section.find(b"\r\n", end + 2)
        if end < 0:
            end = len(section)
        name, colon, value = section[start:end].partition(b":")
        name = name.rstrip(b" \t")
        if colon and _FIELD_NAME.fullmatch(name):
            yield name.decode("ascii").lower(), value
        start = end + 2


def first_value(message: bytes, name: bytes) -> bytes | None:
    """The raw value of the first field of that name (given in lower case); found fast, without reading the others."""
    section = _searchable(message)
    start = section.find(b"\r\n" + name + b":")
    if start < 0:
        return None
    start += len(name) + 1
    end = section.find(b"\r\n", start + 2)
    while end >= 0 and section[end + 2 : end + 3] in (b" ", b"\t"):
        end = section.find(b"\r\n", end + 2)
    return message[start : (len(section) if end < 0 else end) - 2]


def unfold(value: bytes) -> str:
    """A raw value on one line (RFC 5322 §2.2.3), octets that are not UTF-8 as surrogate escapes."""
    return value.replace(b"\r\n", b"").decode("utf-8", "surrogateescape").strip(" \t")


def has_header(message: bytes, name: bytes) -> bool:
    """Whether the header section has a field of that name (given in lower case)."""
    return _has(_searchable(message), name)


def count_received(message: bytes) -> int:
    """How many hosts this message has come through (RFC 5321 §6.3)."""
    section = _searchable(message)
    return section.count(b"\r\nreceived:") + section.count(b"\r\nreceived :")


def _searchable(message: bytes) -> bytes:
    return b"\r\n" + header_section(message).lower()


def _has(section: bytes, name: bytes) -> bool:
    return b"\r\n" + name + b":" in section or b"\r\n" + name + b" :" in section
