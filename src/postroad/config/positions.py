"""Where in a TOML file each key stands: tomllib gives values without lines, and a mistake needs its line.

A scan of the file's lines for table headers and keys, enough for settings as people write them. A key that it
does not find is reported at its table, or at line 1.
"""

from __future__ import annotations

import re

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z0-9_\-.\"' ]+?)\s*=(?!=)")


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Path of each table and key → its line, from 1. The n-th table of an array has its number in the path: `#0`."""
    lines: dict[tuple[str, ...], int] = {}
    counts: dict[str, int] = {}
    table: tuple[str, ...] = ()
    quoted: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if quoted is not None:
            quoted = None if quoted in line else quoted
            continue
        header = _HEADER.match(line)
        if header is not None:
            name = header[2].strip("\"' ")
            table = tuple(part.strip("\"' ") for part in name.split("."))
            if header[1] == "[[":
                table = (*table, f"#{counts.get(name, 0)}")
                counts[name] = counts.get(name, 0) + 1
            lines.setdefault(table, number)
            continue
        key = _KEY.match(line)
        if key is None:
            continue
        path = (*table, *(part.strip("\"' ") for part in key[1].split(".")))
        lines.setdefault(path, number)
        for mark in ('"""', "'''"):
            if line.count(mark) == 1:
                quoted = mark
    return lines
