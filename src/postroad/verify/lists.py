"""Reads a list of addresses, CSV or one a line, row by row; whatever it holds, and however long it is (H-12).

A row that cannot be read is a `BadRow` with its line number and never the end of the list. Rows keep all their columns.
Nothing of the list is held but the sample that shows its layout, and the row at hand. Used by the verify command.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from postroad.verify.columns import Layout, find_delimiter, find_layout, split_rows
from postroad.verify.lines import MAX_LINE_OCTETS, Line, Readable, read_lines

MAX_COLUMNS = 1000
MAX_RECORD_LINES = 100
"""Lines of one row: more means a quote that was never closed."""
MAX_RECORD_CHARS = 1 << 18
"""Characters of a row that goes over several lines."""
SAMPLE_LINES = 100
SAMPLE_CHARS = 1 << 18


@dataclass(frozen=True, slots=True)
class ListRow:
    """One row. `line`: where it begins, from 1; `text`: the cell that should hold the address."""

    line: int
    text: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was left out, and why."""

    line: int
    fault: str


class ListReader:
    """Iterate over it once. `column`: the name or number (from 1) of the address column; None: find it.

    `header`: the cells of the header row, empty where there is none. Raises ListError on construction for what is
    no list of addresses.
    """

    def __init__(self, file: Readable, *, column: str | None = None) -> None:
        self._lines = read_lines(file)
        self._ahead: deque[Line] = deque()
        self._peek()
        sample = [line.text for line in self._ahead if line.text is not None and line.text.strip()]
        delimiter = find_delimiter(sample)
        rows = split_rows(sample, delimiter) if delimiter else [[_unwrapped(line)] for line in sample if _is_kept(line)]
        self.layout: Layout = find_layout([row for row in rows if row], delimiter, column)
        self.header: tuple[str, ...] = ()
        self._rows = self._read()
        self._is_header_due = self.layout.has_header
        if self.layout.has_header:
            self._take_header()

    def __iter__(self) -> Iterator[ListRow | BadRow]:
        return self._rows

    @property
    def column_name(self) -> str:
        """The name of the address column, as its header has it."""
        column = self.layout.column
        return self.header[column] if column < len(self.header) else f"column {column + 1}"

    def _peek(self) -> None:
        chars = 0
        for line in islice(self._lines, SAMPLE_LINES):
            self._ahead.append(line)
            chars += len(line.text or "")
            if chars > SAMPLE_CHARS:
                break

    def _take_header(self) -> None:
        bad: list[BadRow] = []
        for row in self._rows:
            if isinstance(row, ListRow):
                self.header = row.cells
                break
            bad.append(row)
        if bad:
            rest = self._rows
            self._rows = iter(_chained(bad, rest))

    def _next_line(self) -> Line | None:
        return self._ahead.popleft() if self._ahead else next(self._lines, None)

    def _read(self) -> Iterator[ListRow | BadRow]:
        while (line := self._next_line()) is not None:
            if line.text is None:
                yield BadRow(line.number, f"the line is longer than {MAX_LINE_OCTETS} bytes")
            elif not self.layout.delimiter:
                if _is_kept(line.text):
                    yield self._row(line.number, [_unwrapped(line.text)])
            elif line.text.strip():
                yield from self._record(line.number, line.text)

    def _record(self, number: int, text: str) -> Iterator[ListRow | BadRow]:
        """The row that begins on that line, and may go on over the next ones within quotes."""
        lines = [text]
        if '"' not in text:
            yield self._row(number, text.split(self.layout.delimiter, MAX_COLUMNS))
            return
        cells = self._parsed(lines)
        chars, quotes = len(text), text.count('"')
        while cells is None and len(lines) < MAX_RECORD_LINES and (following := self._next_line()) is not None:
            if following.text is None or chars > MAX_RECORD_CHARS:
                self._ahead.appendleft(following)
                break
            lines.append(following.text)
            chars, quotes = chars + len(following.text), quotes + following.text.count('"')
            if quotes % 2 == 0:
                cells = self._parsed(lines)
        if cells is None:
            # A quote that is never closed would swallow the rest of the list: only its own line is given up.
            self._ahead.extendleft(Line(number + index, lines[index]) for index in range(len(lines) - 1, 0, -1))
            yield BadRow(number, "a quotation mark is not closed")
        else:
            yield self._row(number, cells)

    def _row(self, number: int, cells: list[str]) -> ListRow | BadRow:
        column = self.layout.column
        if len(cells) > MAX_COLUMNS:
            return BadRow(number, f"the row has more than {MAX_COLUMNS} columns, or cannot be read as CSV")
        if self._is_header_due:
            self._is_header_due = False
            return ListRow(number, "", tuple(cells))
        if column >= len(cells) or not cells[column].strip():
            return BadRow(number, f"there is no address in {self.column_name}")
        return ListRow(number, cells[column].strip(), tuple(cells))

    def _parsed(self, lines: list[str]) -> list[str] | None:
        """The cells of the row in those lines; None where a quote is still open, too many where it is no CSV."""
        numbered = [f"{line}\n" for line in lines]
        try:
            return next(csv.reader(numbered, delimiter=self.layout.delimiter, strict=True), [])
        except csv.Error as error:
            if "unexpected end" in str(error):
                return None
        try:
            return next(csv.reader(numbered, delimiter=self.layout.delimiter), [])
        except csv.Error:
            return [""] * (MAX_COLUMNS + 1)


def _chained(bad: list[BadRow], rest: Iterator[ListRow | BadRow]) -> Iterator[ListRow | BadRow]:
    yield from bad
    yield from rest


def _is_kept(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _unwrapped(line: str) -> str:
    """A line of a plain list without quotation marks around the whole of it; `"a b"@example.org` keeps its own."""
    bare = line.strip()
    if len(bare) > 1 and bare[0] == bare[-1] == '"':
        return bare[1:-1].replace('""', '"').strip()
    return bare
