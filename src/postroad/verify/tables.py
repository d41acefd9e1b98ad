"""The results of a list beside the list's own columns: CSV, TSV, JSON lines, Parquet.

Own columns come first and are left as they are, but for cells that a spreadsheet would take for a formula, which begin
with an apostrophe (H-11), and control characters, which are written out. Then come the fields of the verdict, under the
names that JSON has for them; `postroad_` stands before a name that the list uses itself. Used by the verify command,
source and report.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from postroad.events import escaped
from postroad.verify.columns import OwnColumns
from postroad.verify.lines import ListError
from postroad.verify.parquet import MISSING
from postroad.verify.rows import Cell, shown
from postroad.verify.verdict import Judgement, Verdict

PREFIX = "postroad_"
BATCH_ROWS = 5000
NO_COLUMNS = OwnColumns()

_FIELDS = tuple(key for key in Verdict(address="", verdict=Judgement.UNKNOWN, reason="").to_dict() if key != "evidence")
COLUMNS = (*_FIELDS, "host", "phase", "reply", "rule", "detail")
"""Of the verdict. `host` to `detail` are of the evidence that decided."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"[+-][0-9(][0-9 .,()/-]*")
"""A number or a telephone number: it names nothing that a spreadsheet could run."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class JudgedRow(NamedTuple):
    """One row of a list. `verdict` None: it was not reached."""

    text: str
    cells: tuple[Cell, ...]
    verdict: Verdict | None


def judged(verdict: Verdict) -> JudgedRow:
    """The verdict on an address that was given alone."""
    return JudgedRow(verdict.address, (verdict.address,), verdict)


def safe_cell(text: str) -> str:
    """Text from anywhere on one line, and as nothing that a spreadsheet would run."""
    if not text.isprintable():
        text = escaped(text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def own_cell(cell: Cell) -> str:
    """A cell of the list as it is; only what a spreadsheet would run, or a terminal obey, is made harmless."""
    text = cell if isinstance(cell, str) else shown(cell)
    if not text.isprintable():
        text = _CONTROL.sub(lambda found: escaped(found[0]), text)
    if not text.startswith(_FORMULA) or not isinstance(cell, str) or _NUMBER.fullmatch(text):
        return text
    return f"'{text}"


def csv_lines(rows: Iterable[JudgedRow], columns: OwnColumns = NO_COLUMNS, *, delimiter: str = ",") -> Iterator[str]:
    """A header, and a line for each row that has a verdict."""
    line = csv_line(delimiter)
    titles = () if columns.is_bare else columns.titles
    yield line([*map(own_cell, titles), *_our_names(titles)])
    for row in rows:
        if row.verdict is not None:
            own = [own_cell(cell) for cell in row.cells] if titles else []
            own += [""] * (len(titles) - len(own))
            # Most values of a verdict are one of a few: what is empty needs no look.
            ours = [value and safe_cell(value) for value in map(shown, _values(row.verdict))]
            yield line(own + ours)


def tsv_lines(rows: Iterable[JudgedRow], columns: OwnColumns = NO_COLUMNS) -> Iterator[str]:
    """The same, with tabs between the cells."""
    return csv_lines(rows, columns, delimiter="\t")


def jsonl(rows: Iterable[JudgedRow], columns: OwnColumns = NO_COLUMNS) -> Iterator[str]:
    """An object for each row that has a verdict; the list's other columns are its `row`."""
    keys = columns.keys
    others = [(place, key) for place, key in enumerate(keys) if place != columns.column]
    for row in rows:
        if row.verdict is None:
            continue
        if not others:
            yield row.verdict.to_json() + "\n"
            continue
        count = len(row.cells)
        own = {key: row.cells[place] if place < count else None for place, key in others}
        yield json.dumps({**row.verdict.to_dict(), "row": own}, ensure_ascii=True) + "\n"


TEXT_FORMATS: Mapping[str, Callable[[Iterable[JudgedRow], OwnColumns], Iterator[str]]] = {
    "jsonl": jsonl,
    "csv": csv_lines,
    "tsv": tsv_lines,
}


def write_parquet(path: Path, rows: Iterable[JudgedRow], columns: OwnColumns = NO_COLUMNS) -> None:
    """A Parquet file of the same columns: own ones as text. Raises ListError without the extra, and OSError."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise ListError(MISSING.replace("save the list as CSV", "write CSV")) from None
    keys = () if columns.is_bare else columns.keys
    kinds = {"confidence": arrow.float64(), "catch_all": arrow.bool_()}
    kinds |= dict.fromkeys(("disposable", "role", "free"), arrow.bool_())
    ours = [
        arrow.field(name, kinds.get(key, arrow.string())) for key, name in zip(COLUMNS, _our_names(keys), strict=True)
    ]
    schema = arrow.schema([*(arrow.field(key, arrow.string()) for key in keys), *ours])
    with parquet.ParquetWriter(path, schema) as writer:
        found = (row for row in rows if row.verdict is not None)
        while batch := list(islice(found, BATCH_ROWS)):
            table = [_typed(row, len(keys)) for row in batch]
            arrays = [
                arrow.array(values, field.type) for values, field in zip(zip(*table, strict=True), schema, strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def csv_line(delimiter: str) -> Callable[[Iterable[str]], str]:
    """A function that gives the line of some cells."""
    write: Callable[[Iterable[str]], str] = csv.writer(_Echo(), delimiter=delimiter, lineterminator="\n").writerow
    return write


class _Echo:
    """A file for csv.writer, whose `writerow` gives back what `write` does."""

    def write(self, text: str) -> str:
        return text


def _our_names(titles: Sequence[str]) -> list[str]:
    """The names of the verdict's columns beside those of the list."""
    taken = {title.strip().casefold() for title in titles}
    names = []
    for name in COLUMNS:
        free, count = name if name not in taken else PREFIX + name, 1
        while free in taken:
            count += 1
            free = f"{PREFIX}{name}_{count}"
        taken.add(free)
        names.append(free)
    return names


def _values(verdict: Verdict) -> list[Cell]:
    """What stands in `COLUMNS`."""
    data = verdict.to_dict()
    proof = verdict.proof
    said = " / ".join(proof.reply)
    return [*(_value(data[key]) for key in _FIELDS), proof.host, proof.phase, said, proof.rule, proof.detail]


def _value(value: Any) -> Cell:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value)


def _typed(row: JudgedRow, width: int) -> list[Cell]:
    assert row.verdict is not None
    own: list[Cell] = [None if cell is None else shown(cell) for cell in row.cells[:width]]
    return [*own, *([None] * (width - len(own))), *_values(row.verdict)]
