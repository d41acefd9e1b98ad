"""Reading the configuration: all mistakes at once, each one clear sentence with file and line.

The environment overrides the file: `POSTROAD_SECTION__KEY=value`, for instance `POSTROAD_SERVER__WORKERS=4`.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postroad.config.positions import key_lines
from postroad.config.values import Config
from postroad.smtp.address import AddressError, to_a_labels

PREFIX = "POSTROAD_"


@dataclass(frozen=True, slots=True)
class ConfigMistake:
    """One mistake. `place`: `file:line`, or the environment variable."""

    place: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.place}: {self.sentence}"


class _Reader:
    """Turns tables into sections, and keeps the mistakes."""

    def __init__(self, name: str, lines: Mapping[tuple[str, ...], int]) -> None:
        self._name = name
        self._lines = lines
        self.mistakes: list[ConfigMistake] = []

    def complain(self, path: tuple[str, ...], sentence: str) -> None:
        """A mistake at that key, or at the nearest table around it."""
        while path and path not in self._lines:
            path = path[:-1]
        self.mistakes.append(ConfigMistake(f"{self._name}:{self._lines.get(path, 1)}", sentence))

    def config(self, document: Mapping[str, Any]) -> Config:
        """The whole document."""
        hints = typing.get_type_hints(Config)
        values: dict[str, Any] = {}
        for key, table in document.items():
            hint = hints.get(key)
            if hint is None:
                self.complain((key,), f"[{key}] is no section{_suggestion(key, hints)}")
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
                self.complain((*path, key), f"{shown} has no setting {key}{_suggestion(key, hints)}")
                continue
            fault, converted = convert(value, hints[key], metadata[key])
            if fault is not None:
                self.complain((*path, key), f"{shown} {key}: {fault}")
            else:
                values[key] = converted
        return kind(**values)


def _suggestion(key: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; it may be one of {', '.join(sorted(known))}"


def convert(value: Any, hint: Any, bounds: Mapping[str, Any]) -> tuple[str | None, Any]:
    """A TOML value as the setting's type: (what is wrong, None) or (None, the value)."""
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        choices = typing.get_args(hint)
        return (
            (None, value)
            if value in choices
            else (f"write one of {', '.join(map(repr, choices))}, not {value!r}", None)
        )
    if origin is tuple:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return f'write a list of strings, such as ["one", "two"], not {value!r}', None
        return None, tuple(value)
    if hint is bool:
        return (None, value) if isinstance(value, bool) else (f"write true or false, not {value!r}", None)
    if hint is str:
        return (None, value) if isinstance(value, str) else (f"write a string in quotes, not {value!r}", None)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or (hint is int and not isinstance(value, int)):
        return f"write a {'whole ' if hint is int else ''}number, not {value!r}", None
    low, high = bounds.get("low", value), bounds.get("high", value)
    if not low <= value <= high:
        return f"{value} is out of range; write a number from {low:,} to {high:,}", None
    return None, hint(value)


def load(path: Path | None, environment: Mapping[str, str]) -> Config | list[ConfigMistake]:
    """The configuration of that file (or of none) and the environment, or every mistake found."""
    document: dict[str, Any] = {}
    lines: dict[tuple[str, ...], int] = {}
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
            document = tomllib.loads(text)
        except OSError as error:
            return [ConfigMistake(str(path), f"cannot be read: {(error.strerror or '').lower()}")]
        except UnicodeDecodeError:
            return [ConfigMistake(str(path), "is not UTF-8 text")]
        except tomllib.TOMLDecodeError as error:
            return [_syntax_mistake(path, error)]
        lines = key_lines(text)
    reader = _Reader(str(path) if path else "defaults", lines)
    _override(document, environment, reader)
    config = reader.config(document)
    if not reader.mistakes:
        _judge(config, reader)
    return reader.mistakes or config


def _syntax_mistake(path: Path, error: tomllib.TOMLDecodeError) -> ConfigMistake:
    words, _, place = str(error).partition(" (at line ")
    line = place.split(",")[0] if place else "1"
    return ConfigMistake(f"{path}:{line if line.isdigit() else 1}", f"not TOML: {words[:1].lower()}{words[1:]}")


def _override(document: dict[str, Any], environment: Mapping[str, str], reader: _Reader) -> None:
    hints = typing.get_type_hints(Config)
    for name, text in sorted(environment.items()):
        section, separator, key = name.removeprefix(PREFIX).lower().partition("__")
        if not name.startswith(PREFIX) or not separator:
            continue
        kind = hints.get(section)
        known = typing.get_type_hints(kind) if isinstance(kind, type) else {}
        if key not in known:
            reader.mistakes.append(ConfigMistake(name, f"there is no setting {key} in [{section}]"))
            continue
        bounds = {item.name: item.metadata for item in dataclasses.fields(kind)}[key]  # type: ignore[arg-type]
        fault, value = convert(_from_text(text, known[key]), known[key], bounds)
        if fault is not None:
            reader.mistakes.append(ConfigMistake(name, fault))
        else:
            document.setdefault(section, {})[key] = list(value) if isinstance(value, tuple) else value


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


def _judge(config: Config, reader: _Reader) -> None:
    """What no single value shows."""
    if bool(config.tls.certificate) != bool(config.tls.key):
        reader.complain(("tls", "certificate"), "[tls] certificate and key go together: give both, or neither")
    for domain in config.domains.local:
        try:
            to_a_labels(domain)
        except AddressError as error:
            reader.complain(("domains", "local"), f"[domains] local: {error}")
    known = {"SCRAM-SHA-256", "PLAIN", "LOGIN"}
    for mechanism in config.auth.mechanisms:
        if mechanism not in known:
            reader.complain(
                ("auth", "mechanisms"), f"[auth] mechanisms: {mechanism!r} is not one of {', '.join(sorted(known))}"
            )
    if config.dns.nameserver and split_host_port(config.dns.nameserver) is None:
        reader.complain(("dns", "nameserver"), '[dns] nameserver: write ADDRESS:PORT, such as "127.0.0.1:53"')
    _judge_places(config, reader)


def _judge_places(config: Config, reader: _Reader) -> None:
    if config.delivery.source_address and not _is_ip(config.delivery.source_address):
        reader.complain(
            ("delivery", "source_address"), "[delivery] source_address: write an IP address of this machine"
        )
    seen: set[tuple[str, int]] = set()
    for index, listener in enumerate(config.listener):
        place = ("listener", f"#{index}", "address")
        if not _is_ip(listener.address):
            reader.complain(place, f"[[listener]] address: {listener.address!r} is no IP address")
        if listener.port and (listener.address, listener.port) in seen:
            reader.complain(place, f"[[listener]] {listener.address} port {listener.port} is listed twice")
        seen.add((listener.address, listener.port))
    if not config.listener:
        reader.complain(("listener",), "there is no [[listener]]: nothing could reach this server")
    for index, route in enumerate(config.route):
        table = ("route", f"#{index}")
        if not route.domain:
            reader.complain(table, '[[route]] needs a domain; "*" is every domain that is not local')
        if not route.host and not route.discard:
            reader.complain(table, "[[route]] needs a host, or discard = true")
        if bool(route.username) != bool(route.password_file):
            reader.complain(table, "[[route]] username and password_file go together: give both, or neither")


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def split_host_port(text: str) -> tuple[str, int] | None:
    """`127.0.0.1:53` or `[::1]:53` in parts; None where it is neither."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65_536:
        return None
    return host, int(port)
