"""Where lines, messages and replies begin and end in a stream of bytes.

`CommandReader` cuts commands, `DataReader` finds the end of DATA, `ReplyReader` assembles replies. All three work
on a `bytearray` that they own, take any chunking, and hold no more than their limits. End of data is CRLF.CRLF and
nothing else (RFC 5321 §4.1.1.4, §2.3.8): see `DataReader`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from postroad.smtp.errors import RemoteProtocolError
from postroad.smtp.reply import Reply, parse_enhanced

MAX_AUTH_LINE_OCTETS = 12_288  # RFC 4954 §4


class LineFault(Enum):
    """Why a command line cannot be taken."""

    TOO_LONG = "too long"
    BARE_NEWLINE = "bare newline"


class CommandReader:
    """Lines of at most `limit` octets, without their CRLF.

    A line that is too long is dropped as it arrives and reported once it ends; one that holds a CR or LF
    outside its CRLF is a fault too, so that no two readers can disagree on where it ends.
    """

    __slots__ = ("_buffer", "_dropping", "_limit", "_scanned", "in_auth")

    def __init__(self, buffer: bytearray, limit: int) -> None:
        self._limit = limit
        self._buffer = buffer
        self.in_auth = False
        """Whether the next line is part of a SASL exchange."""
        self._scanned = 0
        self._dropping = False

    def next_line(self) -> bytes | LineFault | None:
        """The next line, its fault, or None where more bytes are needed."""
        buffer = self._buffer
        end = buffer.find(b"\n", self._scanned)
        if end < 0:
            if len(buffer) > self._limit_now():
                self._dropping = True
                buffer.clear()
            self._scanned = len(buffer)
            return None
        is_too_long = self._dropping or (end >= self._limit and end >= self._limit_now())
        line = bytes(buffer[: end + 1])
        del buffer[: end + 1]
        self._scanned = 0
        if is_too_long:
            self._dropping = False
            return LineFault.TOO_LONG
        if line[-2:] != b"\r\n" or b"\r" in line[:-2]:
            return LineFault.BARE_NEWLINE
        return line[:-2]

    def _limit_now(self) -> int:
        is_auth = self.in_auth or self._buffer[:5].upper() == b"AUTH "
        return max(self._limit, MAX_AUTH_LINE_OCTETS) if is_auth else self._limit


class BodyFault(Enum):
    """Why a message body cannot be taken although its end was found."""

    TOO_BIG = "too big"
    BARE_NEWLINE = "bare newline"
    LONG_LINE = "long line"
    REFUSED = "refused"


_END = b"\r\n.\r\n"


@dataclass(slots=True)
class BodyLimits:
    """Octets: of the whole message, and of one line with its CRLF; `convert_newlines` makes bare CR and LF CRLF."""

    message: int
    line: int
    convert_newlines: bool = False


class DataReader:
    """The body after DATA: ends at CRLF.CRLF alone, comes out without dot-stuffing (RFC 5321 §4.5.2).

    Bare CR and LF never end anything: a body with one is read to its true end and then refused whole, or its
    newlines are converted where `limits.convert_newlines` says so (CVE-2023-51764 and kin).
    """

    __slots__ = ("_buffer", "_fault", "_limits", "_scanned")

    def __init__(self, buffer: bytearray, limits: BodyLimits) -> None:
        self._buffer = buffer
        self._limits = limits
        self._scanned = -1
        self._fault: BodyFault | None = None

    def discard(self, fault: BodyFault) -> None:
        """Keep no more of this body; still find its end, and then report `fault`."""
        self._fault = self._fault or fault

    def next_body(self) -> bytes | BodyFault | None:
        """The body once it has ended, its fault, or None where more bytes are needed."""
        buffer = self._buffer
        if self._scanned < 0:
            if len(buffer) < 3:
                return None
            if buffer.startswith(b".\r\n"):
                del buffer[:3]
                return b""
            self._scanned = 0
        end = buffer.find(_END, self._scanned)
        if end >= 0:
            raw = bytes(buffer[: end + 2])
            del buffer[: end + 5]
            return self._fault or check_body(_unstuffed(raw), self._limits)
        if self._fault is None and len(buffer) > self._limits.message + (self._limits.message >> 1) + 1024:
            self._fault = BodyFault.TOO_BIG
        if self._fault is not None and len(buffer) > 4:
            del buffer[:-4]
        self._scanned = max(0, len(buffer) - 4)
        return None


class ChunkReader:
    """A body that arrives by BDAT, and the chunk being read now (RFC 3030 §2)."""

    __slots__ = ("_limit", "body", "count", "is_last", "refusal", "wanted")

    def __init__(self, limit: int) -> None:
        self.body = bytearray()
        self.wanted = 0
        self.count = 0
        self.is_last = False
        self.refusal: BodyFault | Reply | None = None
        self._limit = limit

    def expect(self, size: int, *, last: bool) -> None:
        """A chunk of `size` octets follows; one that would pass the limit is read and dropped."""
        self.wanted = self.count = size
        self.is_last = last
        if self.refusal is None and len(self.body) + size > self._limit:
            self.refuse(BodyFault.TOO_BIG)

    def refuse(self, refusal: BodyFault | Reply) -> None:
        """Drop what there is and what comes; the first refusal counts."""
        self.refusal = self.refusal or refusal
        self.body.clear()

    def take(self, data: bytes) -> None:
        self.wanted -= len(data)
        if self.refusal is None:
            self.body += data


def _unstuffed(raw: bytes) -> bytes:
    if raw.startswith(b"."):
        raw = raw[1:]
    return raw.replace(b"\r\n.", b"\r\n") if b"\r\n." in raw else raw


_ANY_NEWLINE = re.compile(rb"\r\n|\r|\n")


def check_body(body: bytes, limits: BodyLimits) -> bytes | BodyFault:
    """The body within the limits and with clean newlines, or what is wrong with it."""
    if len(body) > limits.message:
        return BodyFault.TOO_BIG
    if body.count(b"\n") != (pairs := body.count(b"\r\n")) or body.count(b"\r") != pairs:
        if not limits.convert_newlines:
            return BodyFault.BARE_NEWLINE
        body = _ANY_NEWLINE.sub(b"\r\n", body)
        if len(body) > limits.message:
            return BodyFault.TOO_BIG
    return BodyFault.LONG_LINE if _has_long_line(body, limits.line) else body


def _has_long_line(body: bytes, limit: int) -> bool:
    """Whether a line with its CRLF is longer than `limit`; looks at one line end for each `limit` octets."""
    start = 0
    while len(body) - start > limit:
        end = body.rfind(b"\r\n", start, start + limit)
        if end < 0:
            return True
        start = end + 2
    end = body.rfind(b"\r\n", start)
    last = start if end < 0 else end + 2
    return len(body) - last + 2 > limit


def stuff(body: bytes) -> bytes:
    """The body as DATA carries it, with its end: dots doubled, CRLF.CRLF last (RFC 5321 §4.5.2).

    The caller has made sure that it holds no bare CR or LF (`has_bare_newline`): one would smuggle.
    """
    if b"\r\n." in body:
        body = body.replace(b"\r\n.", b"\r\n..")
    if body.startswith(b"."):
        body = b"." + body
    if not body or body.endswith(b"\r\n"):
        return body + b".\r\n"
    return body + _END


def has_bare_newline(body: bytes) -> bool:
    """Whether a CR or LF stands outside a CRLF."""
    pairs = body.count(b"\r\n")
    return body.count(b"\n") != pairs or body.count(b"\r") != pairs


_REPLY_LINE = re.compile(rb"([0-9]{3})(?:([ -])(.*))?", re.DOTALL)


class ReplyReader:
    """Replies as a peer sends them (RFC 5321 §4.2.1), within `max_lines` and `max_octets` each.

    Lenient where it is safe: a bare LF ends a line, codes may differ between lines (the last one counts),
    8-bit text survives as surrogate escapes. Raises RemoteProtocolError for what is no reply.
    """

    def __init__(self, *, max_lines: int = 100, max_octets: int = 65_536) -> None:
        self._buffer = bytearray()
        self._max_lines = max_lines
        self._max_octets = max_octets
        self._lines: list[bytes] = []
        self._octets = 0
        self._scanned = 0

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer."""
        self._buffer += data

    def next_reply(self) -> Reply | None:
        """The next whole reply, or None where more bytes are needed."""
        buffer = self._buffer
        while (end := buffer.find(b"\n", self._scanned)) >= 0:
            line = bytes(buffer[:end]).rstrip(b"\r")
            del buffer[: end + 1]
            self._scanned = 0
            self._octets += end + 1
            found = _REPLY_LINE.fullmatch(line)
            if found is None:
                raise RemoteProtocolError(f"not an SMTP reply: {_shown(line)}")
            self._lines.append(found[3] or b"")
            if len(self._lines) > self._max_lines or self._octets > self._max_octets:
                raise RemoteProtocolError(f"a reply of over {self._max_lines} lines or {self._max_octets} octets")
            if found[2] != b"-":
                reply = _assemble(int(found[1]), self._lines)
                self._lines = []
                self._octets = 0
                return reply
        if self._octets + len(buffer) > self._max_octets:
            raise RemoteProtocolError(f"a reply line of over {self._max_octets} octets")
        self._scanned = len(buffer)
        return None

    @property
    def is_mid_reply(self) -> bool:
        """Whether bytes of an unfinished reply are held."""
        return bool(self._lines or self._buffer)

    def clear(self) -> None:
        """Forget what has been received (RFC 3207 §4.2: nothing from before TLS counts)."""
        self._buffer.clear()
        self._lines = []
        self._octets = 0
        self._scanned = 0


def _assemble(code: int, raw_lines: list[bytes]) -> Reply:
    texts = [raw.decode("utf-8", "surrogateescape") for raw in raw_lines]
    enhanced, first = parse_enhanced(code, texts[0])
    if len(texts) == 1:
        return Reply(code, (first,), enhanced)
    if enhanced is None:
        return Reply(code, tuple(texts))
    prefix = f"{enhanced} "
    bare = str(enhanced)
    rest = (text.removeprefix(prefix) if text != bare else "" for text in texts[1:])
    return Reply(code, (first, *rest), enhanced)


def _shown(line: bytes) -> str:
    return repr(line[:80].decode("ascii", "backslashreplace"))
