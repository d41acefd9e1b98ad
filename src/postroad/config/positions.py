"""Where in a TOML file each key stands: tomllib gives values without lines, and a mistake needs its line.

A scan over text that tomllib has already found to be TOML, so it need not be strict: it follows headers, dotted and
quoted keys, arrays, inline tables and strings of all four kinds, and notes the line of each key. The n-th table of an
array has `#n` in its path, from 0. Used by `load` alone.
"""

from __future__ import annotations

import re

Path = tuple[str, ...]

_SPACE = re.compile(r"[ \t]*")
_GAP = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_LITERAL = re.compile(r"'([^'\n]*)'")
_BASIC = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_LONG_LITERAL = re.compile(r"'''.*?'''(?:'{0,2})(?!')", re.DOTALL)
_LONG_BASIC = re.compile(r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})(?!")', re.DOTALL)
_SCALAR = re.compile(r"[^,\]}#\r\n]*")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}


def key_lines(text: str) -> dict[Path, int]:
    """Path of each table and key → the line, from 1, on which it is written first."""
    scan = _Scan(text)
    try:
        scan.document()
    except RecursionError:
        pass  # as deep as tomllib just bore: what was found so far must do
    return scan.lines


class _Scan:
    """A walk through the text; `at` is the next character to be read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        self.lines: dict[Path, int] = {}
        self._arrays: dict[Path, int] = {}
        """Array of tables → how many it has so far."""

    def document(self) -> None:
        """Fill `lines`."""
        table: Path = ()
        self._skip(_GAP)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            before = self._at
            self._skip(_GAP)
            if self._at == before < len(self._text):
                break  # not TOML after all

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            return ""
        self._at = found.end()
        return found[0]

    def _take(self, mark: str) -> bool:
        self._skip(_SPACE)
        is_there = self._text.startswith(mark, self._at)
        self._at += len(mark) if is_there else 0
        return is_there

    def _note(self, path: Path, at: int) -> None:
        self._line += self._text.count("\n", self._counted, at)
        self._counted = at
        self.lines.setdefault(path, self._line)

    def _header(self) -> Path:
        """`[a.b]` or `[[a.b]]`; a name that is an array of tables means its last one."""
        start = self._at
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        keys = self._keys()
        self._take("]]" if is_array else "]")
        path: Path = ()
        for key in keys[:-1]:
            path = (*path, key)
            self._note(path, start)
            path = self._inside(path)
        path = (*path, *keys[-1:])
        self._note(path, start)
        if is_array:
            self._arrays[path] = self._arrays.get(path, 0) + 1
        path = self._inside(path)
        self._note(path, start)
        return path

    def _inside(self, path: Path) -> Path:
        count = self._arrays.get(path)
        return path if count is None else (*path, f"#{count - 1}")

    def _keys(self) -> list[str]:
        """A dotted key."""
        keys = []
        while True:
            self._skip(_SPACE)
            for pattern in (_BASIC, _LITERAL):
                found = pattern.match(self._text, self._at)
                if found is not None:
                    self._at = found.end()
                    keys.append(_ESCAPE.sub(_unescaped, found[1]) if pattern is _BASIC else found[1])
                    break
            else:
                keys.append(self._skip(_BARE))
            if not self._take("."):
                return keys

    def _pair(self, table: Path) -> None:
        """`key = value`, in a table or in an inline one."""
        start = self._at
        path = table
        for key in self._keys():
            path = (*path, key)
            self._note(path, start)
        if self._take("="):
            self._value(path)

    def _value(self, path: Path) -> None:
        self._skip(_SPACE)
        mark = self._text[self._at : self._at + 1]
        if mark == "[":
            self._array(path)
        elif mark == "{":
            self._inline(path)
        else:
            for pattern in (_LONG_BASIC, _LONG_LITERAL, _BASIC, _LITERAL, _SCALAR):
                if self._skip(pattern):
                    return

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        self._skip(_GAP)
        while self._at < len(self._text) and not self._take("]"):
            before = self._at
            self._note((*path, f"#{index}"), self._at)
            self._value((*path, f"#{index}"))
            index += 1
            self._skip(_GAP)
            self._take(",")
            self._skip(_GAP)
            if self._at == before:
                return

    def _inline(self, path: Path) -> None:
        self._at += 1
        self._skip(_GAP)
        while self._at < len(self._text) and not self._take("}"):
            before = self._at
            self._pair(path)
            self._skip(_GAP)
            self._take(",")
            self._skip(_GAP)
            if self._at == before:
                return


def _unescaped(found: re.Match[str]) -> str:
    digits = found[1] or found[2]
    return chr(int(digits, 16)) if digits else _ESCAPED.get(found[3], found[3])
