"""The header section of a message, as bytes: what a carrier reads of it and adds to it (RFC 5321 §4.4, RFC 5322).

Works on the header section alone, without parsing MIME, and never changes what the author wrote.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from postroad.smtp.address import Address, NullPath

MAX_HEADER_SCAN = 1 << 20
"""Octets of a header section that are looked at; a longer one is read as if it ended there (H-02)."""

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def format_date(wall: float) -> str:
    """A wall clock time as RFC 5322 §3.3 writes it, in UTC."""
    moment = time.gmtime(wall)
    return (
        f"{_DAYS[moment.tm_wday]}, {moment.tm_mday:02d} {_MONTHS[moment.tm_mon - 1]} {moment.tm_year}"
        f" {moment.tm_hour:02d}:{moment.tm_min:02d}:{moment.tm_sec:02d} +0000"
    )


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
    """A Received header (RFC 5321 §4.4). `recipient` only where there is exactly one."""
    literal = f"IPv6:{peer}" if ":" in peer else peer
    for_clause = f"\r\n\tfor <{_safe(str(recipient))}>" if recipient is not None else ""
    return (
        f"Received: from {_safe(hello) or 'unknown'} ([{_safe(literal)}])\r\n\tby {by} with {protocol}"
        f" id {queue_id}{for_clause};\r\n\t{format_date(now)}\r\n"
    ).encode()


def _safe(text: str) -> str:
    """What a peer said, so that it can stand in a header: printable, without what could end a comment."""
    return "".join(character if character.isprintable() and character not in "()" else "?" for character in text)


def return_path_header(reverse_path: Address | NullPath) -> bytes:
    """The Return-Path that final delivery adds (RFC 5321 §4.4)."""
    return f"Return-Path: <{_safe(str(reverse_path))}>\r\n".encode()


def delivered_to_header(address: Address) -> bytes:
    """The Delivered-To that final delivery adds, by which a forwarding loop is seen (RFC 9228)."""
    return f"Delivered-To: {_safe(str(address))}\r\n".encode()


def header_end(message: bytes) -> int:
    """Where the header section ends: the offset of the empty line, or of the end where there is none."""
    if message.startswith(b"\r\n"):
        return 0
    end = message.find(b"\r\n\r\n", 0, MAX_HEADER_SCAN)
    return end + 2 if end >= 0 else min(len(message), MAX_HEADER_SCAN)


def headers(message: bytes) -> Iterator[tuple[str, bytes]]:
    """Names (lower case) and raw values, folding kept, in order; lines that are no header are passed over."""
    section = message[: header_end(message)]
    start = 0
    while start < len(section):
        end = section.find(b"\r\n", start)
        while end >= 0 and section[end + 2 : end + 3] in (b" ", b"\t"):
            end = section.find(b"\r\n", end + 2)
        if end < 0:
            end = len(section)
        name, colon, value = section[start:end].partition(b":")
        if colon and name.strip().isascii():
            yield name.strip().decode("ascii").lower(), value
        start = end + 2


def has_header(message: bytes, name: bytes) -> bool:
    """Whether the header section has a field of that name (given in lower case)."""
    section = b"\r\n" + message[: header_end(message)].lower()
    return b"\r\n" + name + b":" in section or b"\r\n" + name + b" :" in section


def count_received(message: bytes) -> int:
    """How many hosts this message has come through (RFC 5321 §6.3)."""
    section = b"\r\n" + message[: header_end(message)].lower()
    return section.count(b"\r\nreceived:")


def fix_submission(message: bytes, *, now: float, message_id: str) -> bytes:
    """Add what a submitted message must have and lacks: Date and Message-ID (RFC 6409 §8.2, §8.3)."""
    added = b""
    if not has_header(message, b"date"):
        added += f"Date: {format_date(now)}\r\n".encode()
    if not has_header(message, b"message-id"):
        added += f"Message-ID: <{message_id}>\r\n".encode()
    if not added:
        return message
    first = message[: message.find(b"\r\n")] if b"\r\n" in message else message
    is_headless = not message.startswith(b"\r\n") and b":" not in first.split(b" ", 1)[0]
    return added + (b"\r\n" if is_headless else b"") + message
