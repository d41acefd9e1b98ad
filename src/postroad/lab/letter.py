"""A message that a lab host was sent whole, as a value: who it is from and for, and whether the host kept it.

Pure. Made by conversation, noted by host, and answered by returning where it comes back.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_HEADER_OCTETS = 65_536
"""Of a message's header that are looked at and returned."""
MAX_ID = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """`bouncing`: those of the recipients that the host took and now gives back. `code`: what the host answered, 0
    where it said nothing. `is_kept`: whether the recipients have it now, whatever was answered."""

    sender: str
    recipients: tuple[str, ...]
    bouncing: tuple[str, ...]
    header: bytes
    code: int
    is_kept: bool

    @property
    def message_id(self) -> str:
        """The Message-ID with its angle brackets; "" where there is none."""
        for line in self.header.splitlines():
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"message-id":
                return value.strip()[:MAX_ID].decode("ascii", "backslashreplace")
        return ""


def header_of(body: bytes) -> bytes:
    """The header section of a message, without the empty line after it."""
    end = body.find(b"\r\n\r\n", 0, MAX_HEADER_OCTETS)
    return body[:MAX_HEADER_OCTETS] if end < 0 else body[: end + 2]
