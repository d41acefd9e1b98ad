"""Writes docs/reference/ from the code: `make docs`. What is written here is never edited by hand.

tests/docs/test_reference.py fails where a page and the code differ.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import json
import re
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from postroad.cli import COMMANDS, group
from postroad.config.values import Config
from postroad.events import EVENTS, LEVELS
from postroad.metrics import METRICS
from postroad.verify.verdict import REASONS, Judgement

REFERENCE = Path(__file__).parent / "reference"
_NUMBER = re.compile(r"(INTEGER|FLOAT)( RANGE)?$")
_HELP = "Show this message and exit."

CONFIGURATION = """\
# Configuration

Made from `src/postroad/config/values.py` by `make docs`.

A TOML file: the one of `--config`, else `./postroad.toml` where that exists, else none, and every default holds.
Relative paths are relative to the directory the server is started in. An unknown section or setting is a mistake, and
`postroad config check` tells them all, each with its line; `postroad config show` prints what is in force.

The environment overrides the file: `POSTROAD_SECTION__KEY`, in capitals, two underscores between section and key. A
list is written with commas, a Boolean as `true` or `false`:

    POSTROAD_SERVER__WORKERS=4
    POSTROAD_DOMAINS__LOCAL=example.org,example.net
    POSTROAD_DELIVERY__ALLOW_PRIVATE=true

Arrays of tables (`[[…]]`) can only be set in the file. A variable without the two underscores is not a setting.
Names that end in `_s` are seconds, in `_octets` octets.
"""

EVENT_TABLE = """\
# Events

Made from `src/postroad/events.py` by `make docs`.

Each line of the log, on standard error, is one of these events; names and fields are an interface. `[log] format` makes
a line for people (`time level name key=value …`) or JSON (`event`, `level`, `timestamp`, and the fields); `[log] level`
leaves out those below it. Text from outside is escaped, so that an event is always one line, and cut at 2,000
characters; passwords never appear.

| event | level | meaning |
|---|---|---|
"""

COMMAND_PAGE = """\
# Commands

Made from `src/postroad/cli/` by `make docs`.

Every command knows `--help`. Results go to standard output, complaints and the log to standard error. Exit statuses and
the environment are in [README.md](README.md).
"""


VERDICT_PAGE = """\
# Verdicts and their reasons

Made from `src/postroad/verify/verdict.py` by `make docs`.

`verdict` is one of {judgements}. `reason` is one of these; the names are an interface.

| reason | what it means |
|---|---|
"""


METRICS_PAGE = """\
# Metrics

Made from `src/postroad/metrics.py` by `make docs`.

What Prometheus reads at `/metrics` of the web listener ([guide](../guides/metrics.md)): of all workers together,
counters since the server started. Names and labels are an interface.

| metric | kind | labels | meaning |
|---|---|---|---|
"""


def configuration() -> str:
    """Every section and setting."""
    hints = typing.get_type_hints(Config)
    parts = [CONFIGURATION]
    for item in dataclasses.fields(Config):
        hint = hints[item.name]
        is_array = typing.get_origin(hint) is tuple
        kind: type = typing.get_args(hint)[0] if is_array else hint
        parts.append(f"\n## {f'[[{item.name}]]' if is_array else f'[{item.name}]'}\n\n{inspect.getdoc(kind)}")
        if is_array:
            parts.append(f" One table each, as many as wanted; {_tables_by_default(item.default)}")
        parts.append("\n\n| key | type | default | bounds | meaning |\n|---|---|---|---|---|\n")
        types = typing.get_type_hints(kind)
        parts += [
            f"| `{setting.name}` | {_type(types[setting.name])} | {toml(setting.default)} "
            f"| {_bounds(setting.metadata)} | {setting.metadata['doc']} |\n"
            for setting in dataclasses.fields(kind)
        ]
    return "".join(parts)


def _tables_by_default(tables: Any) -> str:
    if not tables:
        return "none by default."
    shown = [f"`{table.role}` on {table.address} port {table.port}" for table in tables]
    return f"those by default: {', '.join(shown)}."


def _type(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(f"`{toml_text(choice)}`" for choice in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return "list of strings"
    return {str: "string", bool: "Boolean", int: "whole number", float: "number"}[hint]


def toml_text(value: object) -> str:
    """A default as the file would have it; JSON's strings, numbers, Booleans and arrays are TOML's too."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:_g}" if isinstance(value, float) and value < 1 else f"{value:_.15g}".replace(".0", "")
    return json.dumps(value, ensure_ascii=False)


def toml(value: object) -> str:
    """The same, as a cell."""
    return f"`{toml_text(value)}`"


def _bounds(metadata: Any) -> str:
    return f"{toml_text(metadata['low'])} to {toml_text(metadata['high'])}" if "low" in metadata else ""


def events() -> str:
    """Every event with its level."""
    return EVENT_TABLE + "".join(f"| `{name}` | {LEVELS.get(name, 'info')} | {EVENTS[name]} |\n" for name in EVENTS)


def verdicts() -> str:
    """Every reason of a verdict."""
    page = VERDICT_PAGE.format(judgements=", ".join(f"`{judgement}`" for judgement in Judgement))
    return page + "".join(f"| `{name}` | {meaning} |\n" for name, meaning in REASONS.items())


def commands() -> str:
    """Every command with its arguments and options."""
    parts = [COMMAND_PAGE]
    for context in contexts():
        command = context.command
        usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
        parts.append(f"\n## {context.command_path}\n\n    {usage}\n\n{_prose(command)}\n")
        options = [found for option in command.get_params(context) if (found := option.get_help_record(context))]
        lines = [f"- `{_NUMBER.sub('N', names)}`: {text}\n" for names, text in options if text and text != _HELP]
        parts += ["\n", *lines] if lines else []
    return "".join(parts)


def _prose(command: click.Command) -> str:
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    verbatim = [re.sub(r"^", "    ", text[2:], flags=re.MULTILINE) for text in paragraphs if text.startswith("\b\n")]
    prose = [text for text in paragraphs if not text.startswith("\b\n")]
    return "\n\n".join([*prose, *verbatim])


def contexts() -> Iterator[click.Context]:
    """A context for each command, groups before what is in them. A command that is not there yet is left out."""
    root = click.Context(group, info_name="postroad", **group.context_settings)
    yield root
    for name, (module, _) in COMMANDS.items():
        if importlib.util.find_spec(module) is not None:
            yield from _below(root, name)


def _below(parent: click.Context, name: str) -> Iterator[click.Context]:
    assert isinstance(parent.command, click.Group)
    command = parent.command.get_command(parent, name)
    assert command is not None
    context = click.Context(command, parent=parent, info_name=name, **command.context_settings)
    yield context
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            yield from _below(context, child)


def metrics() -> str:
    """Every metric."""
    rows = [
        f"| `{name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.doc} |\n"
        for name, metric in METRICS.items()
    ]
    return METRICS_PAGE + "".join(rows)


PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": configuration,
    "events.md": events,
    "commands.md": commands,
    "verdicts.md": verdicts,
    "metrics.md": metrics,
}


def main() -> None:
    REFERENCE.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
