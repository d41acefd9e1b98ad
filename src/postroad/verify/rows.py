"""Rows of a list as every format gives them, and how their cells are kept: values only.

A cell is text; JSON, spreadsheets and Parquet also have numbers, truth values and nothing. Used by the readers of each
format, by lists, which makes one list of them, and by tables, which writes them out again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

Cell = str | int | float | bool | None

MAX_COLUMNS = 1000
MAX_RECORD_CHARS = 1 << 20
"""Characters of a row in all: a longer one is a bad row."""
_BETWEEN = "\x1f"


class ListRow(NamedTuple):
    """One row. `line`: where it begins, from 1; `text`: the cell that should hold the address."""

    line: int
    text: str
    cells: tuple[Cell, ...]


class BadRow(NamedTuple):
    """A row that was left out, and why."""

    line: int
    fault: str


class Record(NamedTuple):
    """The cells of one row, before it is known which of them holds the address."""

    line: int
    cells: Sequence[Cell]


def shown(cell: Cell) -> str:
    """A cell as text: nothing is empty, truth values as JSON has them, whole numbers without a point."""
    if isinstance(cell, str):
        return cell
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15 else str(cell)


def pack(cells: Sequence[Cell]) -> str:
    """The cells in one text: quick for a row of mere text, exact for every other."""
    try:
        joined = _BETWEEN.join(cells)  # type: ignore[arg-type]  # a cell that is no text is the exception below
    except TypeError:
        return json.dumps(cells, ensure_ascii=False)
    return _BETWEEN + joined if joined.count(_BETWEEN) == len(cells) - 1 else json.dumps(cells, ensure_ascii=False)


def unpack(text: str) -> tuple[Cell, ...]:
    """The cells that `pack` put into that text."""
    return tuple(text[1:].split(_BETWEEN)) if text.startswith(_BETWEEN) else tuple(json.loads(text))


def storable(text: str) -> str:
    """The text without half characters (lone surrogates, which JSON can name), which nothing could write again."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
