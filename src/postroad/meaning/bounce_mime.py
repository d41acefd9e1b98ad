"""A returned message taken apart: its headers, what it says to people, its machine-readable parts, what it returns.

Bounces are often broken as MIME: boundaries that the header does not name, headers cut off, parts that never end.
So this is a tolerant splitter of its own rather than a parser of the standard: it never raises, goes to a fixed depth,
and looks at a fixed number of octets, parts and lines. Whatever cannot be taken apart is read as text (RFC 2045, 2046).
"""

from __future__ import annotations

import binascii
import html
import quopri
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.errors import MessageError
from email.header import decode_header
from itertools import pairwise

MAX_OCTETS = 1 << 20
"""Octets of a message that are looked at; what a bounce says stands before what it returns."""
MAX_DEPTH = 8
"""Multiparts within one another."""
MAX_PARTS = 64
MAX_HEADERS = 500
MAX_HEADER = 8_000
"""Characters of one header's value."""
MAX_LINE = 2_000
"""Characters of one line of text; a longer one is cut."""
MAX_LINES = 20_000

_FIELD = re.compile(r"([!-9;-~]{1,80})[ \t]*:[ \t]*(.*)")
_PARAMETER = re.compile(r';\s*([a-z-]+)\*?\s*=\s*(?:"([^"]{0,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_DELIMITER = re.compile(r"[ \t]?--(\S.{0,98})")
_HIDDEN = (("<!--", "-->"), ("<style", "</style"), ("<script", "</script"), ("<head", "</head"), ("<title", "</title"))
_TAG = re.compile(r"<(/?[a-zA-Z!][^<>]{0,2000})>")
_BREAK = re.compile(r"(?:br|/p|/div|/tr|/li|/h\d|/table)\b", re.IGNORECASE)
_ADDRESS_TAG = re.compile(r"<[^<>\s@]{1,100}@[^<>\s]{1,255}>")
_JIS = re.compile(r"\x1b[$(][@BJ]")
_CHARSETS = {
    "unicode-1-1-utf-7": "utf-7",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "x-sjis": "cp932",
    "iso-2022-jp": "iso2022_jp_ext",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "us-ascii": "",
    "ascii": "",
    "unknown": "",
    "iso-8859-1": "cp1252",
    "iso-8859-8-i": "iso-8859-8",
}

Headers = Mapping[str, tuple[str, ...]]
"""Name in lower case → its values, unfolded and decoded, in order."""


@dataclass(frozen=True, slots=True)
class Part:
    """A leaf: its type, its text, and its own headers."""

    kind: str
    text: str
    headers: Headers


@dataclass(frozen=True, slots=True)
class Letter:
    """A message taken apart. `parts` in order; a returned message is one part, not taken apart further."""

    headers: Headers
    parts: tuple[Part, ...]
    report_type: str = ""
    octets: bytes = field(default=b"", repr=False)

    def header(self, name: str) -> str:
        """The first value of that header, or the empty text."""
        return self.headers.get(name, ("",))[0]

    def texts(self, *kinds: str) -> Iterator[str]:
        """The texts of the parts of these types."""
        return (part.text for part in self.parts if part.kind in kinds)


def take_apart(octets: bytes) -> Letter:
    """The message in its parts. Never raises; looks at MAX_OCTETS."""
    text = octets[:MAX_OCTETS].replace(b"\0", b"").decode("latin-1")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    headers, body = split_headers(text)
    parts: list[Part] = []
    _walk(headers, body, parts, 0)
    kind, parameters = _content_type(headers)
    report = parameters.get("report-type", "") if kind == "multipart/report" else ""
    return Letter(headers, tuple(parts), report.lower())


def split_headers(text: str) -> tuple[Headers, str]:
    """The header section (RFC 5322 §2.2) and the rest; a text that does not begin with a header is all body."""
    text = text.lstrip("\n")
    if text.startswith(("From ", ">From ")):  # the line of an mbox
        text = text.partition("\n")[2]
    found: dict[str, list[str]] = {}
    name, value, start, count = "", "", 0, 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        line = text[start : min(end, start + MAX_HEADER)]
        if not line.strip():
            if not line:
                start = end + 1
                break
        elif line[0] in " \t" and name:
            if len(value) < MAX_HEADER:
                value += " " + line.strip()
        else:
            field_ = _FIELD.match(line)
            if field_ is None:
                break
            _keep(found, name, value)
            name, value = field_[1].lower(), field_[2]
            count += 1
            if count > MAX_HEADERS:
                name = ""
        start = end + 1
    _keep(found, name, value)
    return {key: tuple(values) for key, values in found.items()}, text[start:]


def _keep(found: dict[str, list[str]], name: str, value: str) -> None:
    if name:
        found.setdefault(name, []).append(decoded_header(value[:MAX_HEADER].strip()))


def decoded_header(value: str) -> str:
    """A header's value with its encoded words (RFC 2047) read; what is no encoded word is UTF-8, or Latin-1."""
    if "=?" in value:
        try:
            pieces = decode_header(value)
        except (ValueError, LookupError, MessageError):
            pieces = []
        if pieces:
            return "".join(
                piece if isinstance(piece, str) else decoded_text(piece, charset or "") for piece, charset in pieces
            )
    return decoded_text(value.encode("latin-1", "replace"), "") if not value.isascii() or "\x1b" in value else value


def _content_type(headers: Headers) -> tuple[str, dict[str, str]]:
    value = headers.get("content-type", ("",))[0]
    kind = value.partition(";")[0].strip().lower()
    parameters = {found[1].lower(): found[2] or found[3] or "" for found in _PARAMETER.finditer(value)}
    return kind or "text/plain", parameters


_LEAVES = (
    "text/",
    "message/",
)
_RETURNED = frozenset(
    {
        *("message/rfc822", "message/global", "message/rfc822-headers", "message/global-headers"),
        *("text/rfc822-headers", "text/rfc822-header", "text/rfc822", "message/partial"),
    }
)


def _walk(headers: Headers, body: str, parts: list[Part], depth: int) -> None:
    kind, parameters = _content_type(headers)
    if len(parts) >= MAX_PARTS:
        return
    if kind.startswith("multipart/") or (depth == 0 and kind == "text/plain"):
        boundary = parameters.get("boundary", "")
        pieces = _pieces(body, boundary) if boundary else []
        if not pieces and (kind.startswith("multipart/") or not headers or "MIME" in body[:300]):
            pieces = _pieces(body, _guessed_boundary(body))
        if pieces and depth < MAX_DEPTH:
            for piece in pieces:
                _walk(*split_headers_of_part(piece), parts, depth + 1)
            return
        kind = "text/plain"
    if not kind.startswith(_LEAVES):
        if "/" in kind:
            return
        kind = "text/plain"
    parts.append(Part("message/rfc822" if kind in _RETURNED else kind, _text(headers, body, kind, parameters), headers))


def split_headers_of_part(piece: str) -> tuple[Headers, str]:
    """Like split_headers, but an empty first line means that there are none."""
    if piece.startswith("\n"):
        return {}, piece[1:]
    headers, body = split_headers(piece)
    if not any(name.startswith("content-") or name == "mime-version" for name in headers):
        return {}, piece
    return headers, body


def _pieces(body: str, boundary: str) -> list[str]:
    """What stands between the delimiter lines (RFC 2046 §5.1.1); a blank before one is forgiven."""
    if not boundary or "--" + boundary not in body:
        return []
    pattern = re.compile(r"^[ \t]?--" + re.escape(boundary) + r"(--)?[ \t]*$", re.MULTILINE)
    pieces: list[str] = []
    start = None
    for found in pattern.finditer(body):
        if start is not None:
            pieces.append(body[start : found.start()])
        start = None if found[1] else found.end() + 1
        if len(pieces) >= MAX_PARTS:
            return pieces
    if start is not None and body[start:].strip():
        pieces.append(body[start:])
    return pieces


def _guessed_boundary(body: str) -> str:
    """A line that begins with two hyphens and is followed by a Content-Type is a delimiter, whatever was announced."""
    lines = body.split("\n", 400)[:400]
    for line, following in pairwise(lines):
        found = _DELIMITER.fullmatch(line.rstrip())
        if found is not None and following.lower().startswith("content-"):
            return found[1].rstrip()
    return ""


# Text -------------------------------------------------------------------------------------------------------------


def _text(headers: Headers, body: str, kind: str, parameters: Mapping[str, str]) -> str:
    raw = body.encode("latin-1", "replace")
    encoding = headers.get("content-transfer-encoding", ("",))[0].strip().lower()
    if encoding == "quoted-printable":
        raw = quopri.decodestring(raw)
    elif encoding == "base64":
        raw = _from_base64(raw)
    text = decoded_text(raw, parameters.get("charset", ""))
    if kind == "text/html":
        text = _from_html(text)
    return bounded(text)


def bounded(text: str) -> str:
    """The text with so many lines, each so long, at most; line ends are newlines."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    lines = text.split("\n", MAX_LINES)[:MAX_LINES]
    return "\n".join([line[:MAX_LINE] for line in lines])


def _from_base64(raw: bytes) -> bytes:
    clean = re.sub(rb"[^A-Za-z0-9+/]", b"", raw)
    try:
        return binascii.a2b_base64(
            clean[: len(clean) // 4 * 4] + {2: clean[-2:] + b"==", 3: clean[-3:] + b"="}.get(len(clean) % 4, b"")
        )
    except binascii.Error:
        return raw


def decoded_text(raw: bytes, charset: str) -> str:
    """Octets as text: by the charset that was named, by what they look like, and never with an error."""
    name = charset.strip().strip("\"'").lower()
    name = _CHARSETS.get(name, name)
    if b"\x1b$" in raw and _JIS.search(raw.decode("latin-1")):
        name = "iso2022_jp_ext"  # the escape sequences are surer than any label
    if name and name != "utf-8":
        try:
            return raw.decode(name, "replace")
        except (LookupError, ValueError):  # no such charset, or one that is none of text
            pass
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("utf-8" if name == "utf-8" else "latin-1", "replace")


def _from_html(text: str) -> str:
    """The words of an HTML part, a line for each block; addresses in angle brackets are words."""
    for start, end in _HIDDEN:
        text = _without(text, start, end)
    return re.sub(r"[ \t\xa0]+", " ", html.unescape(_TAG.sub(_instead, text)))


def _instead(found: re.Match[str]) -> str:
    if _ADDRESS_TAG.fullmatch(found[0]) is not None:
        return found[0]
    return "\n" if _BREAK.match(found[1]) is not None else ""


def _without(text: str, start: str, end: str) -> str:
    """The text without what stands from each `start` to the next `end`; an open one is left."""
    lower, kept, at = text.lower(), [], 0
    if len(lower) != len(text):
        return text
    while (begin := lower.find(start, at)) >= 0 and (stop := lower.find(end, begin)) >= 0:
        kept.append(text[at:begin])
        at = stop + len(end)
    return " ".join([*kept, text[at:]])
