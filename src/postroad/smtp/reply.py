"""One SMTP reply, ours or theirs (RFC 5321 §4.2), with its enhanced status code (RFC 2034).

A reply is kept whole: every line, undecodable bytes as surrogate escapes, so that reports and
DSNs can quote it. Cutting bytes into replies is `framing.ReplyReader`'s work.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from postroad.smtp.status import EnhancedStatus

MAX_LINE_OCTETS = 512  # RFC 5321 §4.5.3.1.5
_SHORT = 480
"""Octets of text that fit on a line whatever code and status stand before it."""

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udc7f\udd00-\udfff]")
_STATUS = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:[ \t]+|$)")


@dataclass(frozen=True, slots=True)
class Reply:
    """`lines` hold the text only: neither the code nor the enhanced status."""

    code: int
    lines: tuple[str, ...] = ("",)
    enhanced: EnhancedStatus | None = None
    _wire: bytes = field(default=b"", init=False, repr=False, compare=False)

    @property
    def is_positive(self) -> bool:
        """2yz: done."""
        return 200 <= self.code < 300

    @property
    def is_intermediate(self) -> bool:
        """3yz: go on."""
        return 300 <= self.code < 400

    @property
    def is_transient(self) -> bool:
        """4yz: not now."""
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        """5yz: not so."""
        return 500 <= self.code < 600

    @property
    def text(self) -> str:
        """All lines joined by a space."""
        return " ".join(self.lines)

    def __str__(self) -> str:
        status = f"{self.enhanced} " if self.enhanced else ""
        return f"{self.code} {status}{self.text}"

    def encode(self) -> bytes:
        """The reply as it travels: code and status on every line, 512 octets a line at most, no control characters."""
        if not self._wire:
            object.__setattr__(self, "_wire", self._encode())
        return self._wire

    def _encode(self) -> bytes:
        status = f"{self.enhanced} " if self.enhanced else ""
        first = self.lines[0] if self.lines else ""
        if len(self.lines) == 1 and len(first) < _SHORT and first.isascii() and first.isprintable():
            return f"{self.code} {status}{first}\r\n".encode()
        room = MAX_LINE_OCTETS - len(f"{self.code} {status}\r\n")
        texts = [piece for line in self.lines or ("",) for piece in _wrapped(_clean(line), room)]
        prefix = f"{self.code}-{status}".encode()
        last = f"{self.code} {status}".encode()
        return b"".join(
            (prefix if index < len(texts) - 1 else last) + text + b"\r\n" for index, text in enumerate(texts)
        )


def _clean(text: str) -> bytes:
    return _UNPRINTABLE.sub("?", text).encode("utf-8", "surrogateescape")


def _wrapped(text: bytes, room: int) -> list[bytes]:
    if len(text) <= room:
        return [text]
    pieces = []
    while len(text) > room:
        cut = text.rfind(b" ", 1, room)
        if cut < 0:
            cut = room
            while cut > 1 and text[cut] & 0xC0 == 0x80:  # not within a UTF-8 sequence
                cut -= 1
        pieces.append(text[:cut])
        text = text[cut:].lstrip(b" ") if text[cut : cut + 1] == b" " else text[cut:]
    pieces.append(text)
    return pieces


def parse_enhanced(code: int, text: str) -> tuple[EnhancedStatus | None, str]:
    """The enhanced status at the start of a reply's text, if its class agrees with the code, and the rest."""
    found = _STATUS.match(text)
    if found is None or int(text[0]) != code // 100:
        return None, text
    return EnhancedStatus.parse(found[1]), text[found.end() :]


def reply(code: int, text: str, enhanced: str | None = None) -> Reply:
    """Short hand for our own replies: `reply(550, "No such mailbox", "5.1.1")`; newlines split lines."""
    status = EnhancedStatus.parse(enhanced) if enhanced else None
    return Reply(code, tuple(text.split("\n")), status)
