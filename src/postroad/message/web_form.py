"""A message as web services take it: envelope, headers, text, HTML and attachments as JSON; and its signature.

Whatever the message is, something comes out of it, and nothing of it is lost: a part that cannot be read is an
attachment. Parts and their depth are bounded. Pure. Used by deliver/webhook.py.
"""

from __future__ import annotations

import base64
import hmac
import json
import quopri
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser
from itertools import islice
from typing import Any

from postroad.message.headers import header_end, headers, unfold

MAX_HEADERS = 1000
MAX_PARTS = 500
MAX_DEPTH = 20
"""Containers within one another; what is deeper is one part."""
MAX_PART_HEAD = 65_536
_NO_DIGIT = re.compile(rb"[^A-Za-z0-9+/]+")


def signature(secret: bytes, body: bytes, now: float) -> str:
    """What proves that a request is ours, and when it was made: `t=…,v1=…`, HMAC-SHA256 over `t`, a dot and the body.

    `now`: wall clock."""
    second = int(now)
    return f"t={second},v1={hmac.digest(secret, b'%d.' % second + body, 'sha256').hex()}"


def as_json(envelope: dict[str, Any], message: bytes, *, is_raw: bool) -> bytes:
    """Envelope and message in one object; `is_raw`: the message whole, in base64, instead of its parts."""
    content = {"raw": _base64(message)} if is_raw else _parts(message)
    return json.dumps({**envelope, **content}, ensure_ascii=False).encode("utf-8", "replace")


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


@dataclass(frozen=True, slots=True)
class _Part:
    """A part that is no container: its headers, and its content as it stands."""

    head: Message
    content: bytes

    @property
    def kind(self) -> str:
        """Its type, in small letters."""
        return str(_tolerant(self.head.get_content_type) or "application/octet-stream")

    @property
    def filename(self) -> str | None:
        """The name that its author gave it."""
        name = _tolerant(self.head.get_filename)
        return None if name is None else _clean(str(name))

    @property
    def is_attached(self) -> bool:
        """Whether it is to be kept, rather than read."""
        return self.filename is not None or _tolerant(self.head.get_content_disposition) == "attachment"

    def octets(self) -> bytes:
        """Its content, decoded."""
        coding = str(self.head.get("Content-Transfer-Encoding", "")).strip().lower()
        if coding == "base64":
            digits = _NO_DIGIT.sub(b"", self.content)
            digits = digits[: len(digits) // 4 * 4 + (len(digits) % 4 if len(digits) % 4 > 1 else 0)]
            return base64.b64decode(digits + b"=" * (-len(digits) % 4))
        return quopri.decodestring(self.content) if coding == "quoted-printable" else self.content

    def text(self) -> str:
        """Its content as text."""
        charset = str(_tolerant(self.head.get_content_charset) or "utf-8")
        try:
            words = self.octets().decode(charset, "replace")
        except (LookupError, ValueError):
            words = self.octets().decode("utf-8", "replace")
        return words.replace("\r\n", "\n")


def _tolerant(ask: Callable[[], object]) -> object:
    """What a header says; None where the standard library's parser meets what it was not made for."""
    try:
        return ask()
    except Exception:
        return None


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _parts(message: bytes) -> dict[str, Any]:
    text: list[str] = []
    html: list[str] = []
    attachments: list[dict[str, Any]] = []
    for part in _leaves(message):
        if part.kind in ("text/plain", "text/html") and not part.is_attached:
            (text if part.kind == "text/plain" else html).append(part.text())
        else:
            attachments.append(_attachment(part))
    return {
        "headers": [[name, decoded(value)] for name, value in islice(headers(message), MAX_HEADERS)],
        "text": "\n".join(text) if text else None,
        "html": "\n".join(html) if html else None,
        "attachments": attachments,
    }


def decoded(value: bytes) -> str:
    """The value of a header on one line, its encoded words read (RFC 2047)."""
    text = unfold(value)
    if "=?" in text:
        try:
            return _clean(str(make_header(decode_header(text))))
        except Exception:  # an encoded word that is none is told as it stands
            pass
    return _clean(text)


def _leaves(message: bytes) -> list[_Part]:
    """The parts that are no containers, in order; a message within a message is one of them."""
    found: list[_Part] = []
    waiting = [(message, 0)]
    while waiting and len(found) < MAX_PARTS:
        octets, depth = waiting.pop()
        end = header_end(octets)
        head = BytesParser().parsebytes(octets[: min(end, MAX_PART_HEAD)] + b"\r\n", headersonly=True)
        part = _Part(head, octets[end + 2 :])
        boundary = _tolerant(head.get_boundary) if part.kind.startswith("multipart/") else None
        inner = _split(part.content, str(boundary)) if boundary and depth < MAX_DEPTH else []
        if inner:
            waiting += [(one, depth + 1) for one in reversed(inner[:MAX_PARTS])]
        else:
            found.append(part)
    return found


def _split(content: bytes, boundary: str) -> list[bytes]:
    """The parts between the delimiter lines (RFC 2046 §5.1.1)."""
    delimiter = b"\r\n--" + boundary.encode("utf-8", "surrogateescape")
    parts: list[bytes] = []
    for piece in (b"\r\n" + content).split(delimiter)[1:]:
        line, _, rest = piece.partition(b"\r\n")
        if line.startswith(b"--"):
            break
        if line.strip(b" \t") and parts:  # the line only begins like a delimiter
            parts[-1] += delimiter + piece
        else:
            parts.append(rest)
    return parts


def _attachment(part: _Part) -> dict[str, Any]:
    octets = part.octets()
    content_id = part.head.get("Content-ID")
    return {
        "filename": part.filename,
        "content_type": part.kind,
        "content_id": None if content_id is None else _clean(str(content_id).strip().strip("<>")),
        "octets": len(octets),
        "content": _base64(octets),
    }


def told(recipients: Sequence[str], sender: str, **more: Any) -> dict[str, Any]:
    """The envelope as services read it."""
    return {"envelope": {"from": sender, "to": list(recipients)}, **more}
