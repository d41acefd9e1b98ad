"""Reads a list of addresses in any usual format, row by row; whatever it holds, and however long it is (H-12).

Its content tells the format: CSV in all its forms, one address a line, JSON lines, any of them packed by gzip; XLSX,
XLS, ODS and Parquet (`apart`). A row that cannot be read is a `BadRow` with its line number and never the end of the
list. Rows keep all their columns. Nothing of the list is held but the sample that shows its layout, and the row at
hand. Used by the verify command.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import NamedTuple

from postroad.verify.apart import MAX_FILE_OCTETS, ApartRecords
from postroad.verify.columns import Layout, OwnColumns, find_delimiter, find_layout
from postroad.verify.delimited import csv_records, is_kept, plain_records
from postroad.verify.gunzip import GZIP, Unpacked
from postroad.verify.json_lists import JsonRecords, is_json_document, is_json_lines
from postroad.verify.lines import PIECE_OCTETS, ListError, Readable, read_lines, read_up_to
from postroad.verify.rows import MAX_COLUMNS, BadRow, ListRow, Record, shown

SAMPLE_ROWS = 100
SAMPLE_CHARS = 1 << 18

_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_PARQUET = b"PAR1"
_OTHERS = (b"%PDF", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd", b"7z\xbc\xaf", b"Rar!", b"SQLite format 3")


class ListReader:
    """Iterate over it once. `column`: the name or number (from 1) of the address column; None: find it.

    `encoding`: of text; None: find it. `header`: the names of the columns, empty where the list has none. Raises
    ListError on construction for what is no list of addresses, and while iterating for a file that is damaged further
    on.
    """

    def __init__(self, file: Readable, *, column: str | None = None, encoding: str | None = None) -> None:
        found = _records(file, encoding)
        self._delimiter = found.delimiter
        self._named = found.names
        self._width = 0
        records = iter(found.rows)
        sample = list(_sample(records))
        rows = [list(self._named)] if self._named else []
        rows += [[shown(cell) for cell in row.cells] for row in sample if isinstance(row, Record) and row.cells]
        self.layout: Layout = find_layout(rows, self._delimiter, column, has_names=self._named is not None)
        self.header: tuple[str, ...] = tuple(rows[0]) if self.layout.has_header else ()
        self._rows = self._read(chain(sample, records), skips_header=self.layout.has_header and self._named is None)

    def __iter__(self) -> Iterator[ListRow | BadRow]:
        return self._rows

    @property
    def column_name(self) -> str:
        """The name of the address column, as its header has it."""
        column = self.layout.column
        return self.header[column] if column < len(self.header) else f"column {column + 1}"

    @property
    def columns(self) -> OwnColumns:
        """The list's own columns, as they are known when all rows were read."""
        return OwnColumns(
            names=self.header if self._named is None else tuple(self._named),
            width=max(self._width, len(self.header)),
            column=self.layout.column,
            delimiter=self._delimiter,
        )

    def _read(self, records: Iterable[Record | BadRow], *, skips_header: bool) -> Iterator[ListRow | BadRow]:
        column = self.layout.column
        for row in records:
            if isinstance(row, BadRow):
                yield row
                continue
            if skips_header:
                skips_header = False
                continue
            number, cells = row
            if len(cells) > self._width:
                if len(cells) > MAX_COLUMNS:
                    yield BadRow(number, f"the row has more than {MAX_COLUMNS} columns")
                    continue
                self._width = len(cells)
            text = shown(cells[column]).strip() if column < len(cells) else ""
            if text:
                yield ListRow(number, text, tuple(cells))
            else:
                yield BadRow(number, f"there is no address in {self.column_name}")


class _Found(NamedTuple):
    """The rows of a list, and what its format says of its columns."""

    rows: Iterable[Record | BadRow]
    names: list[str] | None = None
    """The columns of a format that names them; it may grow while rows are read."""
    delimiter: str = ""


def _records(file: Readable, encoding: str | None) -> _Found:
    """The rows by the format that the content shows."""
    first = file.read(PIECE_OCTETS)
    if first.startswith(_SPREADSHEETS):
        _check_size(file)
        return _Found(ApartRecords(_whole(file), "spreadsheet"))
    if first.startswith(_PARQUET):
        parquet = ApartRecords(_whole(file), "parquet")
        return _Found(parquet, parquet.names)
    source: Readable = _Again(first, file)
    if first.startswith(GZIP):
        packed = Unpacked(source)
        first = read_up_to(packed, 8)
        source = _Again(first, packed)
        if first.startswith((*_SPREADSHEETS, _PARQUET, GZIP)):
            raise ListError("this is a spreadsheet or an archive packed by gzip: unpack it first")
    if first.startswith(_OTHERS):
        raise ListError("this is an archive, a document or a database, and no list: unpack it, or save it as CSV")
    return _text_records(source, encoding)


def _text_records(file: Readable, encoding: str | None) -> _Found:
    lines = read_lines(file, encoding)
    ahead = []
    chars = 0
    for line in islice(lines, SAMPLE_ROWS):
        ahead.append(line)
        chars += len(line.text or "")
        if chars > SAMPLE_CHARS:
            break
    sample = [line.text for line in ahead if line.text is not None and line.text.strip()]
    lines = chain(ahead, lines)
    if is_json_lines(sample):
        objects = JsonRecords(lines)
        return _Found(objects, objects.names)
    if is_json_document(sample):
        raise ListError("this is one JSON document: write an object on each line (jq -c '.[]' does it)")
    delimiter = find_delimiter([line for line in sample if is_kept(line)])
    return _Found(csv_records(lines, delimiter) if delimiter else plain_records(lines), delimiter=delimiter)


class _Again:
    """A file of which the beginning was read already."""

    def __init__(self, first: bytes, rest: Readable) -> None:
        self._first = first
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        if self._first:
            piece, self._first = self._first[:size], self._first[size:]
            return piece
        return self._rest.read(size)


def _sample(records: Iterator[Record | BadRow]) -> Iterator[Record | BadRow]:
    chars = 0
    for row in islice(records, SAMPLE_ROWS):
        yield row
        chars += sum(len(cell) for cell in row.cells if isinstance(cell, str)) if isinstance(row, Record) else 0
        if chars > SAMPLE_CHARS:
            return


def _whole(file: Readable) -> Readable:
    if not hasattr(file, "seek"):
        raise ListError("a spreadsheet or Parquet file cannot be read from a pipe: name the file itself")
    return file


def _check_size(file: Readable) -> None:
    seek = getattr(file, "seek", None)
    if seek is not None and seek(0, 2) > MAX_FILE_OCTETS:
        raise ListError(f"the spreadsheet is larger than {MAX_FILE_OCTETS >> 20} MB: save the list as CSV")
