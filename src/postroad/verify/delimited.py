"""CSV in all its forms, and plain text with one address a line, from lines to rows.

A row may go over several lines within quotation marks; one that cannot be read is a `BadRow` and never the end of the
list. Used by lists.
"""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Iterable, Iterator

from postroad.verify.lines import MAX_LINE_OCTETS, Line
from postroad.verify.rows import MAX_COLUMNS, BadRow, Record

MAX_RECORD_LINES = 100
"""Lines of one row: more means a quotation mark that was never closed."""
MAX_FOLDED_CHARS = 1 << 18
"""Characters of a row that goes over several lines."""


def plain_records(lines: Iterable[Line]) -> Iterator[Record | BadRow]:
    """One cell a line; empty lines and those that begin with # are passed over."""
    for line in lines:
        if line.text is None:
            yield _too_long(line)
        elif is_kept(line.text):
            yield Record(line.number, (unwrapped(line.text),))


def csv_records(lines: Iterator[Line], delimiter: str) -> Iterator[Record | BadRow]:
    """The rows of a file with that delimiter; empty lines are passed over."""
    ahead: deque[Line] = deque()
    while (line := ahead.popleft() if ahead else next(lines, None)) is not None:
        text = line.text
        if text is None:
            yield _too_long(line)
        elif '"' in text:
            yield _folded(line.number, text, lines, ahead, delimiter)
        elif text and not text.isspace():
            yield _record(line.number, text.split(delimiter, MAX_COLUMNS))


def is_kept(line: str) -> bool:
    """Whether a line of a plain list holds something."""
    return bool(line.strip()) and not line.lstrip().startswith("#")


def unwrapped(line: str) -> str:
    """A line of a plain list without quotation marks around the whole of it; `"a b"@example.org` keeps its own.

    They are those of CSV, or of a list of JSON strings.
    """
    bare = line.strip()
    if len(bare) > 1 and bare[0] == bare[-1] == '"':
        if "\\" in bare:
            try:
                text = json.loads(bare)
            except ValueError:
                text = None
            if isinstance(text, str):
                return text.encode("utf-8", "replace").decode().strip()
        return bare[1:-1].replace('""', '"').strip()
    return bare


def _too_long(line: Line) -> BadRow:
    return BadRow(line.number, f"the line is longer than {MAX_LINE_OCTETS} bytes")


def _record(number: int, cells: list[str]) -> Record | BadRow:
    if len(cells) > MAX_COLUMNS:
        return BadRow(number, f"the row has more than {MAX_COLUMNS} columns, or cannot be read as CSV")
    return Record(number, cells)


def _folded(number: int, text: str, lines: Iterator[Line], ahead: deque[Line], delimiter: str) -> Record | BadRow:
    """The row that begins on that line, and may go on over the next ones within quotation marks."""
    taken = [text]
    cells = _parsed(taken, delimiter)
    chars, quotes = len(text), text.count('"')
    while cells is None and len(taken) < MAX_RECORD_LINES:
        following = ahead.popleft() if ahead else next(lines, None)
        if following is None:
            break
        if following.text is None or chars > MAX_FOLDED_CHARS:
            ahead.appendleft(following)
            break
        taken.append(following.text)
        chars, quotes = chars + len(following.text), quotes + following.text.count('"')
        if quotes % 2 == 0:
            cells = _parsed(taken, delimiter)
    if cells is None:
        # A quotation mark that is never closed would swallow the rest of the list: only its own line is given up.
        ahead.extendleft(Line(number + index, taken[index]) for index in range(len(taken) - 1, 0, -1))
        return BadRow(number, "a quotation mark is not closed")
    return _record(number, cells)


def _parsed(lines: list[str], delimiter: str) -> list[str] | None:
    """The cells of the row in those lines; None where a quote is still open, too many where it is no CSV."""
    numbered = [f"{line}\n" for line in lines]
    try:
        return next(csv.reader(numbered, delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        if "unexpected end" in str(error):
            return None
    try:
        return next(csv.reader(numbered, delimiter=delimiter), [])
    except csv.Error:
        return [""] * (MAX_COLUMNS + 1)
