"""Bytes of a list to lines of text: encodings told apart, every line bounded, whatever the file holds.

UTF-8, UTF-16 and UTF-32 with or without byte order mark, the old encodings of languages (`charset` tells them apart),
and any that Python knows where it is named. A file of mixed encodings is read line by line. Reads forward only, in
pieces. Used by lists.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from postroad.verify.charset import guess

MAX_LINE_OCTETS = 1 << 20
"""The longest line, in the file's bytes or, where it is not read as it is, in UTF-8."""
PIECE_OCTETS = 1 << 16
SAMPLE_OCTETS = 1 << 18
"""What is looked at to tell the encoding."""

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"\x84\x31\x95\x33", "gb18030"),
)
_NO_CHARSETS = frozenset(
    {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "utf_7", "mbcs", "oem"}
)


class ListError(Exception):
    """A list that cannot be read at all; the message says why, and how to mend it."""


class Readable(Protocol):
    """A file open for bytes."""

    def read(self, size: int, /) -> bytes: ...


class Line(NamedTuple):
    """`number` counts from 1. `text` None: longer than `MAX_LINE_OCTETS`, and passed over."""

    number: int
    text: str | None


def codec_name(encoding: str) -> str:
    """Python's name for an encoding that its user named. Raises ListError."""
    try:
        info = codecs.lookup(encoding)
        is_text = info.name.replace("-", "_") not in _NO_CHARSETS and bool(b"aaaa".decode(info.name, "replace"))
    except (LookupError, ValueError, UnicodeError):
        is_text = False
    if not is_text:
        raise ListError(
            f"{encoding!r} is no encoding of text: name one such as utf-8, windows-1251, shift_jis or koi8-r"
        )
    return info.name


def read_lines(file: Readable, encoding: str | None = None) -> Iterator[Line]:
    """The lines without their ends. `encoding`: None tells it from the file. Raises ListError for what is no text.

    The beginning of the file is read at once."""
    named = None if encoding is None else codec_name(encoding)
    first = read_up_to(file, SAMPLE_OCTETS)
    wide = named or _wide_encoding(first)
    order: list[str] = ["utf-8", ""]
    if wide is not None:
        pieces = _as_utf8(_pieces(file, first), wide)
        first = next(pieces, b"")
        pieces = _chained(first, pieces)
    else:
        if first.count(b"\0") * 4 > len(first):
            raise ListError("this is no text: save the list as CSV in UTF-8, or name its --encoding")
        first = first.removeprefix(codecs.BOM_UTF8)
        pieces = _pieces(file, first)
        order = _reading_order(first)
    has_old_ends = b"\r" in first and b"\n" not in first
    return _lines(pieces, "\r" if has_old_ends else "\n", _Decoder(order))


def read_up_to(file: Readable, octets: int) -> bytes:
    """That many bytes, fewer only at the file's end: a pipe gives what it has."""
    found = b""
    while len(found) < octets and (piece := file.read(min(PIECE_OCTETS, octets - len(found)))):
        found += piece
    return found


def _wide_encoding(first: bytes) -> str | None:
    """UTF-16 or UTF-32, by its mark or by where the zeros are; None for what has neither."""
    for mark, name in _MARKS:
        if first.startswith(mark):
            return name
    if b"\0" not in first or len(first) < 4:
        return None
    sample = first[: len(first) // 4 * 4]
    for name in ("utf-32-le", "utf-32-be"):
        try:
            if sample.decode(name).count("\0") == 0:
                return name
        except UnicodeDecodeError:
            continue
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if max(even, odd) * 20 < len(sample) or min(even, odd) * 20 > max(even, odd):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _reading_order(first: bytes) -> list[str]:
    """The two encodings that lines are tried in. An empty one: to be guessed from the first line that needs it."""
    lines = [line for line in first.split(b"\n") if not line.isascii()]
    if first.count(b"\x1b$") and not lines:
        return ["iso2022_jp", "utf-8"]
    broken = [line for line in (lines[:-1] if len(lines) > 1 else lines) if not _is_utf8(line)]
    if not broken:
        return ["utf-8", ""]
    name = guess(b"\n".join(broken))
    return [name, "utf-8"] if len(broken) * 2 > len(lines) else ["utf-8", name]


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class _Decoder:
    """A line in the first encoding that it is right in; Latin-1, in which everything is, where it is in none."""

    def __init__(self, order: list[str]) -> None:
        self._first, self._second = order

    def block(self, raw: bytes) -> str | None:
        """Many lines at once, which is quicker; None where the first encoding is not that of all."""
        try:
            return raw.decode(self._first)
        except UnicodeDecodeError:
            return None

    def line(self, raw: bytes) -> str:
        text = self.block(raw)
        if text is not None:
            return text
        self._second = self._second or guess(raw)
        for name in (self._second, "cp1252"):
            try:
                return raw.decode(name)
            except UnicodeDecodeError:
                continue
        return raw.decode("latin-1")


def _pieces(file: Readable, first: bytes) -> Iterator[bytes]:
    piece = first
    while piece:
        yield piece
        piece = file.read(PIECE_OCTETS)


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _as_utf8(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    is_first = True
    for piece in pieces:
        text = decoder.decode(piece)
        yield (text.removeprefix("\ufeff") if is_first else text).encode("utf-8", "replace")
        is_first = False
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")


def _lines(pieces: Iterator[bytes], end: str, decoder: _Decoder) -> Iterator[Line]:
    number = 1
    for texts in _texts(pieces, end, decoder):
        yield from map(Line, range(number, number + len(texts)), texts)
        number += len(texts)


def _texts(pieces: Iterator[bytes], end: str, decoder: _Decoder) -> Iterator[Sequence[str | None]]:
    """The lines that each piece ends, and what stands after the last end."""
    mark = end.encode()
    rest = b""
    is_too_long = False
    for piece in pieces:
        cut = piece.rfind(mark)
        if cut >= 0:
            raw, rest = rest + piece[:cut], piece[cut + 1 :]
            yield _decoded(raw, end, decoder, is_cut=is_too_long)
            is_too_long = False
        elif not is_too_long:
            rest += piece
        if len(rest) > MAX_LINE_OCTETS:
            rest, is_too_long = b"", True
    if rest or is_too_long:
        yield _decoded(rest, end, decoder, is_cut=is_too_long)


def _decoded(raw: bytes, end: str, decoder: _Decoder, *, is_cut: bool) -> Sequence[str | None]:
    """The lines of a block; the first one None where its beginning was passed over."""
    text = decoder.block(raw) if len(raw) <= MAX_LINE_OCTETS else None
    if text is None:
        lines: list[str | None] = [
            decoder.line(line) if len(line) <= MAX_LINE_OCTETS else None for line in raw.split(end.encode())
        ]
    else:
        lines = [*text.split(end)]
    if is_cut:
        lines[0] = None
    if end == "\n" and b"\r" in raw:
        return [line and line.removesuffix("\r") for line in lines]
    return lines
