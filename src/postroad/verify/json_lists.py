"""A list of JSON lines: an object or a string a line; keys may differ from line to line. Rows of one table come of it.

A key is a column, in the order in which keys first come up; an object within a row gives columns `key.inner`, what lies
deeper stays JSON text. Used by lists.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

from postroad.verify.lines import MAX_LINE_OCTETS, Line
from postroad.verify.rows import MAX_COLUMNS, BadRow, Cell, Record, storable

LIKELY = 0.5
"""The share of the first lines that must be objects for a list to be taken as JSON lines."""
MAX_KEY_CHARS = 200


def is_json_lines(lines: Iterable[str]) -> bool:
    """Whether a list that begins with those lines is one of JSON objects."""
    kept = [line.strip() for line in lines if line.strip()]
    objects = sum(line.startswith("{") and isinstance(_loaded(line), dict) for line in kept)
    return objects > 0 and objects >= len(kept) * LIKELY


def is_json_document(lines: Iterable[str]) -> bool:
    """Whether those lines begin a JSON document over several lines, which is no list of JSON lines."""
    kept = "".join([line.strip() for line in lines if line.strip()][:2])
    return kept.startswith(("[{", '["', "[[")) or (kept.startswith('{"') and kept.endswith(("[", "{", ",", ":")))


class JsonRecords:
    """Iterate over it once. `names`: the columns found so far, in the order of `Record.cells`; it grows."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self.names: list[str] = []
        self._places: dict[str, int] = {}
        self._lines = lines

    def __iter__(self) -> Iterator[Record | BadRow]:
        for number, text in self._lines:
            if text is None:
                yield BadRow(number, f"the line is longer than {MAX_LINE_OCTETS} bytes")
            elif text and not text.isspace():
                yield self._record(number, _loaded(text))

    def _record(self, number: int, value: Any) -> Record | BadRow:
        if isinstance(value, str):
            value = {"address": value}
        if not isinstance(value, dict):
            return BadRow(number, "the line is no JSON object: one stands on each line")
        cells: list[Cell] = [None] * len(self.names)
        for key, cell in _flat(value):
            place = self._places.get(key)
            if place is None:
                if len(self.names) >= MAX_COLUMNS:
                    return BadRow(number, f"the list has more than {MAX_COLUMNS} different keys")
                place = self._places[key] = len(self.names)
                self.names.append(key)
                cells.append(None)
            cells[place] = cell
        return Record(number, cells)


def _loaded(text: str) -> Any:
    """The value of a line; None where it is no JSON."""
    try:
        return json.loads(text, parse_constant=str, parse_float=_number)
    except (ValueError, RecursionError):
        return None


def _number(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _flat(value: dict[str, Any]) -> Iterator[tuple[str, Cell]]:
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            for name, cell in inner.items():
                yield _key(f"{key}.{name}"), _cell(cell)
        else:
            yield _key(key), _cell(inner)


def _key(text: str) -> str:
    return storable(text[:MAX_KEY_CHARS])


def _cell(value: Any) -> Cell:
    if isinstance(value, str):
        return storable(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return json.dumps(value, ensure_ascii=True)
