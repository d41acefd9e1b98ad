"""The suppression list as text: what its names are, how a list of them is read, and how it is written.

Names are what the verifier takes for an address or a domain, in its canonical form and in small letters. What is
written is escaped before it reaches a terminal, and CSV is safe to open in a spreadsheet. Used by the suppress and
bounce commands.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import IO

from postroad.events import escaped
from postroad.smtp.address import Address
from postroad.store.facts import EVERYBODY, Cause, Suppressed
from postroad.verify.address import MAX_TEXT, BadAddress, bare_text, check
from postroad.verify.lines import ListError
from postroad.verify.lists import ListReader
from postroad.verify.rows import BadRow, Cell, ListRow, shown, storable
from postroad.verify.tables import csv_line, safe_cell

MAX_NOTE_CHARS = 500
"""Of a longer note the beginning is kept."""
MAX_SCOPE_CHARS = 330
COLUMNS = ("name", "cause", "added_at", "note", "scope", "expires_at")
CAUSES = tuple(str(cause) for cause in Cause)
_ANYBODY = "x"
"""Stands before a domain, so that it is read as the domain of an address."""
_DOTS = ".\u3002\uff0e\uff61"
_FORMULA = ("=", "+", "-", "@")


def suppressed_name(text: str) -> str | BadAddress:
    """An address or a domain in the form the list keeps: `ann@example.org`; `example.org`, also for `@example.org`."""
    bare = bare_text(text)
    if len(bare) > MAX_TEXT:
        return BadAddress(f"the text is longer than {MAX_TEXT} characters")
    local, at, domain = bare.rpartition("@")
    if at and local not in ("", "*"):
        checked = check(bare)
        return str(checked).lower() if isinstance(checked, Address) else checked
    if not domain:
        return BadAddress("there is no address and no domain")
    if domain[0] != "[" and not any(dot in domain for dot in _DOTS):
        return BadAddress("an address has an @, and a domain has a dot")
    checked = check(f"{_ANYBODY}@{domain}")
    return checked.domain if isinstance(checked, Address) else checked


def scope_of(text: str) -> str | BadAddress:
    """Whose mail an entry stops: a sender's address or domain, `list:name`, or nothing for everybody's."""
    bare = bare_text(text).lower()
    if not bare or bare.startswith("list:"):
        return storable(bare)[:MAX_SCOPE_CHARS]
    return suppressed_name(bare)


def entry_of(
    name: str, cause: str | None, note: str, added_at: float, *, scope: str = EVERYBODY, expires_at: float | None = None
) -> Suppressed | BadAddress:
    """The entry of a canonical name; without a cause, the usual one of an address or a domain."""
    is_domain = "@" not in name
    found = Cause(cause) if cause else Cause.BLOCKED_DOMAIN if is_domain else Cause.DO_NOT_MAIL
    if found is Cause.BLOCKED_DOMAIN and not is_domain:
        return BadAddress(f"blocked_domain is for a domain, and {name} is an address: say do_not_mail or opt_out")
    return Suppressed(
        name=name,
        cause=found,
        added_at=added_at,
        note=storable(note)[:MAX_NOTE_CHARS],
        scope=scope,
        expires_at=expires_at,
    )


# Written -----------------------------------------------------------------------------------------------------------


def stamp(wall: float) -> str:
    """A time as it is shown: UTC, to the second."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def csv_lines(entries: Iterable[Suppressed]) -> Iterator[str]:
    """A header and a line for each, which `reader_of` reads again."""
    line = csv_line(",")
    yield line(COLUMNS)
    for one in entries:
        ends = "" if one.expires_at is None else stamp(one.expires_at)
        yield line(
            [
                safe_cell(one.name),
                str(one.cause),
                stamp(one.added_at),
                safe_cell(one.note),
                safe_cell(one.scope),
                ends,
            ]
        )


def jsonl(entries: Iterable[Suppressed]) -> Iterator[str]:
    """An object for each."""
    for one in entries:
        ends = None if one.expires_at is None else stamp(one.expires_at)
        values = (one.name, str(one.cause), stamp(one.added_at), one.note, one.scope, ends)
        yield json.dumps(dict(zip(COLUMNS, values, strict=True)), ensure_ascii=True) + "\n"


def table(entries: Iterator[Suppressed]) -> Iterator[str]:
    """Written as it is read, so that a list of any length can be looked at."""
    first = next(entries, None)
    if first is None:
        yield "The list is empty.\n"
        return
    yield f"{'name':<40}  {'cause':<14}  {'since (UTC)':<20}  note".rstrip() + "\n"
    for one in chain([first], entries):
        whose = f" (for mail of {one.scope})" if one.scope else ""
        ends = "" if one.expires_at is None else f" (until {stamp(one.expires_at)})"
        told = f"{one.note}{whose}{ends}"
        yield escaped(f"{one.name:<40}  {one.cause:<14}  {stamp(one.added_at)}  {told}").rstrip() + "\n"


# Read --------------------------------------------------------------------------------------------------------------


def reader_of(file: IO[bytes], column: str | None, encoding: str | None) -> ListReader:
    """The list; where nobody says which column it is: that of our own export, that of addresses, that of domains."""
    fault = None
    for wanted in (column,) if column else ("name", None, "domain", "1"):
        file.seek(0)
        try:
            reader = ListReader(file, column=wanted, encoding=encoding)
        except ListError as error:
            fault = error if fault is None or wanted is None else fault
            continue
        if column or wanted != "name" or "cause" in _header(reader):
            return reader
    assert fault is not None
    raise fault


def _header(reader: ListReader) -> list[str]:
    return [title.strip().casefold() for title in reader.header]


@dataclass(frozen=True, slots=True)
class _Row:
    """What one row of a list says."""

    line: int
    name: str
    cause: str
    added_at: str
    note: str
    scope: str
    expires_at: str


def entries_of(reader: ListReader, cause: str | None, now: float) -> Iterator[Suppressed | BadRow]:
    """The entry of each row. What was taken for a header may be a row, in a list of domains."""
    header = _header(reader)
    places: dict[str, int] = {}
    column = reader.layout.column
    if column < len(header) and isinstance(suppressed_name(reader.header[column]), str):
        yield _read(_Row(1, reader.header[column], "", "", "", "", ""), cause, now)
    else:
        places = {title: header.index(title) for title in COLUMNS[1:] if title in header}
    for row in reader:
        yield row if isinstance(row, BadRow) else _read(_row(row, places), cause, now)


def _row(row: ListRow, places: dict[str, int]) -> _Row:
    def cell(title: str) -> str:
        place = places.get(title, len(row.cells))
        return _plain(row.cells[place]) if place < len(row.cells) else ""

    return _Row(
        row.line, _plain(row.text), cell("cause"), cell("added_at"), cell("note"), cell("scope"), cell("expires_at")
    )


def _plain(cell: Cell) -> str:
    """A cell without the apostrophe that keeps a spreadsheet from running it."""
    text = shown(cell).strip()
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


def _read(row: _Row, cause: str | None, now: float) -> Suppressed | BadRow:
    name = suppressed_name(row.name)
    if isinstance(name, BadAddress):
        return BadRow(row.line, f"{row.name[:80]!r} is neither an address nor a domain: {name.fault}")
    said = "_".join(row.cause.casefold().replace("-", " ").split())
    if said and said not in CAUSES:
        return BadRow(row.line, f"there is no cause {row.cause[:40]!r}: write one of {', '.join(CAUSES)}")
    scope = scope_of(row.scope)
    if isinstance(scope, BadAddress):
        return BadRow(row.line, f"the scope {row.scope[:80]!r} is no sender's address or domain: {scope.fault}")
    ends = _moment(row.expires_at)
    if row.expires_at and ends is None:
        return BadRow(row.line, f"{row.expires_at[:40]!r} is no time: write it like {stamp(now)}")
    entry = entry_of(name, said or cause, row.note, _when(row.added_at, now), scope=scope, expires_at=ends)
    return BadRow(row.line, entry.fault) if isinstance(entry, BadAddress) else entry


def _when(text: str, now: float) -> float:
    """When an entry of an export was added; now where that cannot be told."""
    found = _moment(text)
    return now if found is None else min(now, found)


def _moment(text: str) -> float | None:
    """A time as an export writes it."""
    try:
        found = datetime.fromisoformat(text)
        aware = found.replace(tzinfo=UTC) if found.tzinfo is None else found
        return max(0.0, aware.timestamp())
    except (ValueError, OverflowError):
        return None
