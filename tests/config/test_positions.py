"""Every key of a TOML file has its line, and nothing that tomllib reads makes the search for it fail."""

from __future__ import annotations

import bisect
import datetime
import json
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from postroad.config.positions import key_lines

Path = tuple[str, ...]

# Documents --------------------------------------------------------------------------------------------------------

bare_keys = st.text("abcXYZ019_-", min_size=1, max_size=4)
odd_keys = st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=4)
keys = bare_keys | odd_keys


def basic(text: str) -> str:
    """As a basic string; JSON's escapes are TOML's too, save for characters beyond the first plane."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


@st.composite
def written_keys(draw: st.DrawFn) -> tuple[str, str]:
    """A key, and one way to write it."""
    key = draw(keys)
    ways = [basic(key)]
    if key and all(character in "abcXYZ019_-" for character in key):
        ways.append(key)
    if "'" not in key and all(character >= " " for character in key):
        ways.append(f"'{key}'")
    ways.append('"' + "".join(f"\\U{ord(character):08x}" for character in key) + '"')
    return key, draw(st.sampled_from(ways))


scalars = st.one_of(
    st.integers(-(10**30), 10**30).map(str),
    st.sampled_from(["true", "false", "inf", "-nan", "1e10", "0xdead_beef", "0o17", "0b1", "1.5", "07:32:00"]),
    st.datetimes(min_value=datetime.datetime(1000, 1, 1)).map(lambda moment: str(moment.replace(microsecond=0))),
    st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=8).map(basic),
    st.text('ab#[]{}=,." ', max_size=8).map(lambda text: f"'{text}'"),
    st.text("ab#[]{}=,'\n ", max_size=12).map(lambda text: f'"""{text}"""'),
    st.text('ab#[]{}=,"\n\\ ', max_size=12).map(lambda text: f"'''{text}'''"),
    st.sampled_from(
        ['""""two quotes at the end"""""', "''''one'''''", '"""\\\n   joined"""', '"""a\\"""b"""', '""""""']
    ),
)
gaps = st.sampled_from(["", " ", "\n", "\r\n", "# a comment = [{\n", "\n\n\t"])


@st.composite
def arrays(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    items = draw(st.lists(values, max_size=3))
    joined = ",".join(f"{draw(gaps)}{item}{draw(gaps)}" for item in items)
    comma = draw(st.sampled_from(["", ","])) if items else ""
    return f"[{joined}{comma}{draw(gaps)}]"


@st.composite
def inline_tables(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    pairs = draw(st.lists(st.tuples(written_keys(), values), max_size=3))
    return "{" + ",".join(f" {key[1]} ={value} " for key, value in pairs) + "}"


toml_values = st.recursive(scalars, lambda inner: arrays(inner) | inline_tables(inner), max_leaves=8)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """TOML text, mostly; keys that come twice make some of it none."""
    lines = []
    for _ in range(draw(st.integers(0, 8))):
        parts = draw(st.lists(written_keys(), min_size=1, max_size=3))
        dotted = draw(st.sampled_from([".", " . "])).join([written for _, written in parts])
        kind = draw(st.sampled_from(["pair", "pair", "pair", "[]", "[[]]", "gap"]))
        if kind == "pair":
            lines.append(f"{draw(st.sampled_from(['', '  ']))}{dotted} = {draw(toml_values)}")
        elif kind == "gap":
            lines.append(draw(st.sampled_from(["", "# [not.a.header]", "\t"])))
        else:
            lines.append(f"{kind[: len(kind) // 2]} {dotted} {kind[len(kind) // 2 :]}")
        lines[-1] += draw(st.sampled_from(["", " # x = 1", " "])) + draw(st.sampled_from(["\n", "\r\n"]))
    return "".join(lines)


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """The path of every key and item."""
    items: Iterator[tuple[str, Any]] = iter(())
    if isinstance(value, dict):
        items = iter(value.items())
    elif isinstance(value, list):
        items = ((f"#{index}", item) for index, item in enumerate(value))
    for key, inner in items:
        yield (*path, key)
        yield from paths(inner, (*path, key))


@given(documents())
@example('a = """\n[b]\n"""\nc = 1\n')
@example("[a.b]\nc = 1\n[a]\nd = 1\n")
@example("[[a]]\n[[a.b]]\n[[a.b]]\nc = 1\n[a.d]\n[[a]]\nb = []\n")
@example("a = [ # ]\n 1,\n { b = [ {c.d = ']'} ] } ]\n")
def test_every_key_that_tomllib_reads_has_a_line(text: str) -> None:
    try:
        read = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        assume(False)
    lines = key_lines(text)
    count = text.count("\n") + 1
    for path in paths(read):
        assert path in lines, path
        assert 1 <= lines[path] <= count


@given(st.text() | st.text("[]{}=.,#\"'\\ab1\n", max_size=40) | documents())
def test_no_text_makes_it_fail(text: str) -> None:
    key_lines(text)


@dataclass
class Writer:
    """Writes keys that occur nowhere else, and remembers their lines."""

    text: str = ""
    wanted: dict[Path, int] = field(default_factory=dict)
    count: int = 0

    def fresh(self) -> str:
        self.count += 1
        return f"k{self.count}"

    def write(self, text: str) -> None:
        self.text += text

    def note(self, path: Path) -> None:
        self.wanted[path] = self.text.count("\n") + 1


@given(st.lists(st.tuples(st.sampled_from(["[]", "[[]]", "pair", "dotted"]), toml_values), max_size=12))
def test_the_line_is_the_one_on_which_the_key_stands(steps: list[tuple[str, str]]) -> None:
    writer = Writer()
    table: Path = ()
    for kind, value in steps:
        name = writer.fresh()
        if kind == "[]":
            table = (name,)
            writer.note(table)
            writer.write(f"[{name}]\n")
        elif kind == "[[]]":
            for number in range(2):
                table = (name, f"#{number}")
                writer.note(table)
                writer.write(f"[[{name}]]\n")
        elif kind == "dotted":
            inner = writer.fresh()
            writer.note((*table, name))
            writer.note((*table, name, inner))
            writer.write(f"{name}.{inner} = {value}\n")
        else:
            writer.note((*table, name))
            writer.write(f"{name} = {value}\n")
    try:
        tomllib.loads(writer.text)
    except tomllib.TOMLDecodeError:
        assume(False)
    lines = key_lines(writer.text)
    assert {path: lines.get(path) for path in writer.wanted} == writer.wanted


@pytest.mark.parametrize(("open_", "close"), [("[", "]"), ("{a=", "}")])
def test_nothing_nests_too_deep(open_: str, close: str) -> None:
    """tomllib and the search reach Python's limit at slightly different depths."""

    def nested(depth: int) -> str:
        return f"x = {open_ * depth}{'1' if close == '}' else ''}{close * depth}"

    def is_too_deep(depth: int) -> bool:
        try:
            tomllib.loads(nested(depth))
        except RecursionError:
            return True
        return False

    limit = bisect.bisect_left(range(sys.getrecursionlimit()), True, key=is_too_deep)
    for depth in range(limit - 5, limit + 5):
        assert key_lines(nested(depth))[("x",)] == 1


def test_a_table_named_only_within_another_name_has_that_line() -> None:
    assert key_lines("\n\n[nonsense.deep]\nx = 1\n")[("nonsense",)] == 3


def test_keys_without_end_take_no_time_to_speak_of() -> None:
    text = "".join(f"key{number} = [{{ a = {number} }}]\n" for number in range(20_000))
    assert key_lines(text)["key19999", "#0", "a"] == 20_000
