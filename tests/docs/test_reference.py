"""The documentation says what is: generated pages, events, links, commands, settings and numbers."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import itertools
import re
import shlex
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from docs.generate import PAGES, REFERENCE, contexts

from postroad.cli import COMMANDS
from postroad.config import Config, load
from postroad.deliver.settle import Fate
from postroad.events import EVENTS, LEVELS

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PROSE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
HAND_WRITTEN = [path for path in PROSE if path.name not in PAGES]

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_SPAN = re.compile(r"`([^`\n]+)`")
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^    .*\n?)+", re.MULTILINE)
_SETTING = re.compile(r"\[(\w+)\] (\w+)")
_VARIABLE = re.compile(r"POSTROAD_([A-Z_]+?)__([A-Z_]+)")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(path: Path) -> set[str]:
    """The fragments that lead to a heading of that page."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Pages made from the code -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_generated_page_is_up_to_date(name: str) -> None:
    written = (REFERENCE / name).read_text() if (REFERENCE / name).exists() else ""
    assert written == PAGES[name](), f"docs/reference/{name} is not what the code says: run `make docs`"


def test_every_command_is_on_its_page() -> None:
    assert {path for path, _ in commands()} >= {("postroad", name) for name in COMMANDS}


def test_every_setting_says_what_it_means() -> None:
    hints = typing.get_type_hints(Config)
    for section in hints.values():
        kind = typing.get_args(section)[0] if typing.get_origin(section) is tuple else section
        for setting in dataclasses.fields(kind):
            doc = setting.metadata["doc"]
            assert doc.endswith(".") and "\n" not in doc and "|" not in doc, setting.name


# Events -----------------------------------------------------------------------------------------------------------


def emitted() -> dict[str, str]:
    """Name of each event that the code emits → where; the fate of a delivery is the one name made at run time."""
    found: dict[str, str] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            callee = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if callee.lstrip("_") != "emit":
                continue
            where = f"{name_of(path)}:{node.lineno}"
            match node.args:
                case [ast.Constant(value=str(name))]:
                    found[name] = where
                case [ast.JoinedStr(values=[ast.Constant(value="delivery."), ast.FormattedValue()])]:
                    found |= {f"delivery.{fate}": where for fate in Fate}
                case _:
                    pytest.fail(f"{where}: the name of an event must stand where it is emitted")
    return found


def test_every_event_that_is_emitted_is_in_the_table() -> None:
    unknown = {name: where for name, where in emitted().items() if name not in EVENTS}
    assert not unknown, f"give these a line in EVENTS: {unknown}"


def test_every_event_in_the_table_is_emitted() -> None:
    assert sorted(EVENTS.keys() - emitted().keys()) == []


def test_every_level_belongs_to_an_event() -> None:
    assert set(LEVELS) <= set(EVENTS)


# Links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PROSE, ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in _LINK.findall(page.read_text()):
        if "://" in target or target.startswith("mailto:"):
            continue
        file, _, fragment = target.partition("#")
        aim = (page.parent / file).resolve() if file else page
        assert aim.exists(), f"{name_of(page)} links to {target}, which is not there"
        assert not fragment or fragment in anchors(aim), f"{name_of(page)} links to {target}: no such heading"


def test_every_decision_is_in_the_index() -> None:
    directory = ROOT / "docs/decisions"
    listed = set(_LINK.findall((directory / "README.md").read_text()))
    assert {path.name for path in directory.glob("0*.md")} == listed


# Commands, targets and settings that the prose names ---------------------------------------------------------------


def commands() -> Iterator[tuple[tuple[str, ...], click.Context]]:
    return ((tuple(context.command_path.split()), context) for context in contexts())


def code(page: Path) -> Iterator[str]:
    """Lines of code blocks and spans of code, continued lines joined, without the prompt."""
    text = page.read_text()
    blocks = [block for language, block in _FENCE.findall(text) if language != "python"]
    rest = _FENCE.sub("", text)
    blocks += _INDENTED.findall(rest)
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            yield line.strip().removeprefix("$ ")
    yield from _SPAN.findall(_INDENTED.sub("", rest))


def invocations(page: Path) -> Iterator[list[str]]:
    """The words of each `postroad …` that the page tells the reader to run, from `postroad` on."""
    for line in code(page):
        for piece in re.split(r"[|;]|&&|\$\(", line.partition(" #")[0]):
            try:
                words = shlex.split(piece.replace("…", ""))
            except ValueError:
                continue
            words = list(itertools.dropwhile(lambda word: "=" in word or word == "sudo", words))
            if words[:1] and words[0] in ("postroad", ".venv/bin/postroad"):
                yield ["postroad", *words[1:]]


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=name_of)
def test_every_command_and_option_that_is_named_exists(page: Path) -> None:
    known = dict(commands())
    for words in invocations(page):
        context = known["postroad",]
        options = {"--help"}
        for word in words[1:]:
            path = (*context.command_path.split(), word)
            options |= {name for option in context.command.params for name in (*option.opts, *option.secondary_opts)}
            if path in known:
                context = known[path]
                options |= {name for option in context.command.params for name in option.opts}
            elif word.startswith("-") and len(word) > 1:
                assert word.partition("=")[0] in options, f"{name_of(page)}: {' '.join(words)}: there is no {word}"
            elif isinstance(context.command, click.Group) and not re.fullmatch(r"[A-Z|]+|\w+(\|\w+)+", word):
                assert word in COMMANDS or "." in word, f"{name_of(page)}: {' '.join(words)}: there is no {word}"


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=name_of)
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {found[1] for line in code(page) if (found := re.match(r"(?:\w+=\S+ )*make (\w+)", line))}
    assert named <= targets


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=name_of)
def test_every_setting_that_is_named_exists(page: Path) -> None:
    text = page.read_text()
    named = {found.groups() for span in _SPAN.findall(text) if (found := _SETTING.fullmatch(span))}
    named |= {(section.lower(), key.lower()) for section, key in _VARIABLE.findall(text)} - {("section", "key")}
    for section, key in sorted(named):
        setting_of(section, key)


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=name_of)
def test_every_configuration_shown_is_one(page: Path, tmp_path: Path) -> None:
    for language, block in _FENCE.findall(page.read_text()):
        if language == "toml":
            (tmp_path / "shown.toml").write_text(inspect.cleandoc(block) + "\n")
            loaded = load(tmp_path / "shown.toml", {})
            assert isinstance(loaded, Config), loaded


# The numbers of docs/reference/README.md ---------------------------------------------------------------------------


def setting_of(section: str, key: str) -> Any:
    """The default of a setting. Fails where there is none of that name."""
    hint = typing.get_type_hints(Config).get(section)
    assert hint is not None, f"there is no section [{section}]"
    kind = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint
    found = {setting.name: setting.default for setting in dataclasses.fields(kind)}
    assert key in found, f"[{section}] has no setting {key}"
    return found[key]


def constant_of(dotted: str) -> Any:
    """A constant of a module, the default of a dataclass's field, or that of a parameter of a class."""
    names = dotted.split(".")
    for length in range(len(names), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(names[:length]))
        except ModuleNotFoundError:
            continue
        for name in names[length:]:
            if dataclasses.is_dataclass(found):
                return {field.name: field.default for field in dataclasses.fields(found)}[name]
            found = (
                inspect.signature(found).parameters[name].default if inspect.isclass(found) else getattr(found, name)
            )
        return found
    raise AssertionError(f"there is no {dotted}")


def limits() -> list[tuple[str, str, str]]:
    section = (REFERENCE / "README.md").read_text().partition("## Limits")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in section.splitlines() if line.startswith("| ")]
    return [(what, limit, where) for what, limit, where in rows[1:]]


@pytest.mark.parametrize(("what", "limit", "where"), limits(), ids=[row[0] for row in limits()])
def test_limit_is_what_the_page_says_it_is(what: str, limit: str, where: str) -> None:
    (name, *_) = _SPAN.findall(where)
    if name == "[outgoing_timeouts]":
        kind = typing.get_type_hints(Config)["outgoing_timeouts"]
        values = [setting_of("outgoing_timeouts", setting.name) for setting in dataclasses.fields(kind)]
        assert limit == f"{min(values):.0f} to {max(values):.0f} seconds"
        return
    found = _SETTING.fullmatch(name)
    value = setting_of(*found.groups()) if found else constant_of(name)
    assert float(re.split(r",? ", limit)[0].replace(",", "")) == value, what
