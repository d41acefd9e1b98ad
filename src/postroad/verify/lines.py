"""Bytes of a list to lines of text: encodings told apart, every line bounded, whatever the file holds.

UTF-8 with or without BOM, UTF-16 with BOM; a line that is no UTF-8 is read as Windows-1252, which leaves a file of
mixed encodings readable. Reads forward only, in pieces. Used by lists.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

MAX_LINE_OCTETS = 1 << 20
"""The longest line, in the file's bytes or, for UTF-16, in UTF-8."""
PIECE_OCTETS = 1 << 16

_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_ARCHIVES = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x1f\x8b", b"%PDF")


class ListError(Exception):
    """A list that cannot be read at all; the message says why, and how to mend it."""


class Readable(Protocol):
    """A file open for bytes."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Line:
    """`number` counts from 1. `text` None: longer than `MAX_LINE_OCTETS`, and passed over."""

    number: int
    text: str | None


def read_lines(file: Readable) -> Iterator[Line]:
    """The lines without their ends. Raises ListError for a file that is no text."""
    first = file.read(PIECE_OCTETS)
    if first.startswith(_ARCHIVES):
        raise ListError("this is a spreadsheet, an archive or a document, and no text: save it as CSV")
    encoding = _UTF16.get(first[:2])
    pieces = _pieces(file, first.removeprefix(codecs.BOM_UTF8))
    if encoding is not None:
        pieces = _as_utf8(pieces, encoding)
    elif first.count(b"\0") * 4 > len(first):
        raise ListError("this is no text: a list must be UTF-8, UTF-16 with a byte order mark, or Windows-1252")
    has_old_ends = b"\r" in first and b"\n" not in first and encoding is None
    for number, raw in enumerate(_split(pieces, b"\r" if has_old_ends else b"\n"), 1):
        yield Line(number, None if raw is None else _decoded(raw))


def _pieces(file: Readable, first: bytes) -> Iterator[bytes]:
    piece = first
    while piece:
        yield piece
        piece = file.read(PIECE_OCTETS)


def _as_utf8(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    is_first = True
    for piece in pieces:
        text = decoder.decode(piece)
        yield (text.removeprefix("\ufeff") if is_first else text).encode()
        is_first = False
    yield decoder.decode(b"", final=True).encode()


def _split(pieces: Iterator[bytes], end: bytes) -> Iterator[bytes | None]:
    rest = b""
    is_too_long = False
    for piece in pieces:
        *whole, last = piece.split(end)
        for part in whole:
            line = rest + part
            rest = b""
            yield None if is_too_long or len(line) > MAX_LINE_OCTETS else line
            is_too_long = False
        rest += last
        if len(rest) > MAX_LINE_OCTETS:
            rest, is_too_long = b"", True
    if is_too_long or rest:
        yield None if is_too_long else rest


def _decoded(raw: bytes) -> str:
    raw = raw.removesuffix(b"\r")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
