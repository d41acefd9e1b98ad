"""Reading the configuration: all mistakes at once, each one clear sentence with file and line.

The environment overrides the file: `POSTROAD_SECTION__KEY=value`, for instance `POSTROAD_SERVER__WORKERS=4`; a list
is written with commas. What one value shows is judged here, what several show together in `judge`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import tomllib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postroad.config.judge import judge
from postroad.config.positions import key_lines
from postroad.config.values import Config
from postroad.events import escaped

PREFIX = "POSTROAD_"
MAX_FILE_OCTETS = 1 << 20
_MAX_SHOWN_CHARS = 60


@dataclass(frozen=True, slots=True)
class ConfigMistake:
    """One mistake. `place`: `file:line`, or the environment variable."""

    place: str
    sentence: str

    def __str__(self) -> str:
        return escaped(f"{self.place}: {self.sentence}")


def load(path: Path | None, environment: Mapping[str, str]) -> Config | list[ConfigMistake]:
    """The configuration of that file (or of none) and the environment, or every mistake found."""
    document: dict[str, Any] = {}
    lines: dict[tuple[str, ...], int] = {}
    if path is not None:
        try:
            with path.open("rb") as file:
                content = file.read(MAX_FILE_OCTETS + 1)
        except OSError as error:
            return [ConfigMistake(str(path), f"cannot be read: {(error.strerror or '').lower()}")]
        if len(content) > MAX_FILE_OCTETS:
            return [ConfigMistake(str(path), f"is larger than {MAX_FILE_OCTETS:_} octets: it is no configuration")]
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            return [ConfigMistake(f"{path}:{line}", "is not UTF-8 text")]
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            return [_syntax_mistake(path, text, error)]
        except (ValueError, RecursionError):
            return [ConfigMistake(str(path), "has a number too long or lists too deep to be read")]
        lines = key_lines(text)
    reader = _Reader(str(path) if path else "defaults", lines)
    reader.override(document, environment)
    config = reader.config(document)
    judge(config, reader.doubt)
    return reader.mistakes or config


def _syntax_mistake(path: Path, text: str, error: tomllib.TOMLDecodeError) -> ConfigMistake:
    words = str(error).partition(" (at ")[0]
    found = re.search(r"\(at line (\d+)", str(error))
    line = int(found[1]) if found else max(1, len(text.splitlines()))
    return ConfigMistake(f"{path}:{line}", f"not TOML: {words[:1].lower()}{words[1:]}")


class _Reader:
    """Turns tables into sections, and keeps the mistakes."""

    def __init__(self, name: str, lines: Mapping[tuple[str, ...], int]) -> None:
        self._name = name
        self._lines = lines
        self._variables: dict[tuple[str, ...], str] = {}
        """Settings that the environment gave → the variable."""
        self._faulty: set[tuple[str, ...]] = set()
        """Settings and tables with a mistake in them."""
        self._hints = typing.get_type_hints(Config)
        self._mistakes: list[tuple[int, ConfigMistake]] = []
        """Each with its line, 0 for the environment."""

    def complain(self, path: tuple[str, ...], sentence: str) -> None:
        """A mistake at that key, or at the nearest table around it."""
        self._faulty |= {path[:length] for length in range(1, len(path) + 1)}
        variable = self._variables.get(path)
        while path and path not in self._lines:
            path = path[:-1]
        line = 0 if variable else self._lines.get(path, 1)
        self._mistakes.append((line, ConfigMistake(variable or f"{self._name}:{line}", sentence)))

    def doubt(self, path: tuple[str, ...], sentence: str, *, also: tuple[str, ...] = ()) -> None:
        """A mistake that shows when all is read; silent where that setting, or one of `also`, is a mistake itself."""
        if self._faulty.isdisjoint([path, *((*path[:-1], key) for key in also)]):
            self.complain(path, sentence)

    @property
    def mistakes(self) -> list[ConfigMistake]:
        """Those of the environment, then those of the file from top to bottom."""
        return [mistake for _, mistake in sorted(self._mistakes, key=lambda item: item[0])]

    def override(self, document: dict[str, Any], environment: Mapping[str, str]) -> None:
        """Put what the environment says over the document."""
        for name, text in sorted(environment.items()):
            section, separator, key = name.removeprefix(PREFIX).lower().partition("__")
            if not name.startswith(PREFIX) or not separator:
                continue
            kind = self._hints.get(section)
            if kind is None:
                self._refuse(name, f"there is no section [{section}]{_suggestion(section, self._hints)}")
            elif typing.get_origin(kind) is tuple:
                self._refuse(name, f"[[{section}]] is an array of tables, which only a file can set")
            elif key not in (known := typing.get_type_hints(kind)):
                self._refuse(name, f"[{section}] has no setting {key}{self._suggest_setting(key, known)}")
            else:
                table = document.setdefault(section, {})
                if isinstance(table, dict):
                    table[key] = _from_text(text, known[key])
                    self._variables[section, key] = name

    def _refuse(self, variable: str, sentence: str) -> None:
        self._mistakes.append((0, ConfigMistake(variable, sentence)))

    def config(self, document: Mapping[str, Any]) -> Config:
        """The whole document."""
        values: dict[str, Any] = {}
        for key, table in document.items():
            hint = self._hints.get(key)
            if hint is None and not isinstance(table, dict | list):
                homes = self._homes(key)
                advice = f"; write it under [{homes[0]}]" if homes else _suggestion(key, self._all_settings())
                self.complain((key,), f"{key} stands outside of any section{advice}")
            elif hint is None:
                self.complain((key,), f"[{key}] is no section{_suggestion(key, self._hints)}")
            elif typing.get_origin(hint) is tuple:
                values[key] = self._array(key, table, typing.get_args(hint)[0])
            elif not isinstance(table, dict):
                self.complain((key,), f"{key} must be a section: write [{key}] on a line of its own")
            else:
                values[key] = self._section((key,), f"[{key}]", table, hint)
        return Config(**values)

    def _array(self, key: str, tables: Any, kind: type) -> tuple[Any, ...]:
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self.complain((key,), f"{key} must be an array of tables: write [[{key}]] before each")
            return ()
        return tuple(self._section((key, f"#{index}"), f"[[{key}]]", table, kind) for index, table in enumerate(tables))

    def _section(self, path: tuple[str, ...], shown: str, table: Mapping[str, Any], kind: type) -> Any:
        hints = typing.get_type_hints(kind)
        metadata = {item.name: item.metadata for item in dataclasses.fields(kind)}
        values: dict[str, Any] = {}
        for key, value in table.items():
            if key not in hints:
                self.complain((*path, key), f"{shown} has no setting {key}{self._suggest_setting(key, hints)}")
                continue
            fault, converted = convert(value, hints[key], metadata[key])
            if fault is not None:
                self.complain((*path, key), f"{shown} {key}: {fault}")
            else:
                values[key] = converted
        return kind(**values)

    def _homes(self, key: str) -> list[str]:
        """The sections that have such a setting."""
        return [name for name, kind in self._sections() if key in typing.get_type_hints(kind)]

    def _sections(self) -> Iterable[tuple[str, type]]:
        return ((name, kind) for name, kind in self._hints.items() if isinstance(kind, type))

    def _all_settings(self) -> list[str]:
        return [setting for _, kind in self._sections() for setting in typing.get_type_hints(kind)]

    def _suggest_setting(self, key: str, known: Mapping[str, Any]) -> str:
        homes = self._homes(key)
        return f"; it belongs in [{homes[0]}]" if homes else _suggestion(key, known)


def _suggestion(key: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(key, names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; it may be one of {', '.join(names)}"


def convert(value: Any, hint: Any, bounds: Mapping[str, Any]) -> tuple[str | None, Any]:
    """A TOML value as the setting's type: (what is wrong, None) or (None, the value)."""
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        choices = typing.get_args(hint)
        if value in choices:
            return None, value
        return f"write one of {', '.join(map(_shown, choices))}, not {_shown(value)}", None
    if origin is tuple:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return f'write a list of strings, such as ["one", "two"], not {_shown(value)}', None
        return _printable(value), tuple(value)
    if hint is bool:
        return (None, value) if isinstance(value, bool) else (f"write true or false, not {_shown(value)}", None)
    if hint is str:
        if not isinstance(value, str):
            return f"write a string in quotes, not {_shown(value)}", None
        return _printable([value]), value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or (hint is int and not isinstance(value, int)):
        return f"write a {'whole ' if hint is int else ''}number, not {_shown(value)}", None
    low, high = bounds.get("low", value), bounds.get("high", value)
    if not low <= value <= high:
        return f"{_shown(value)} is out of range; write a number from {low:_} to {high:_}", None
    return None, hint(value)


def _printable(texts: Iterable[str]) -> str | None:
    bad = next((text for text in texts if not text.isprintable()), None)
    return None if bad is None else f"{_shown(bad)} has a control character in it"


def _shown(value: Any) -> str:
    """A value as TOML would have it, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return "a value too long or too deep to be shown"
    return text if len(text) <= _MAX_SHOWN_CHARS else text[:_MAX_SHOWN_CHARS] + "…"


def _from_text(text: str, hint: Any) -> Any:
    """An environment variable as TOML would have given it; text that does not fit is left for `convert` to refuse."""
    if typing.get_origin(hint) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if hint is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            return text
    return text
