"""Each mistake in the configuration is one sentence with its file and line, or its variable; all of them at once."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.cli.config import to_toml
from postroad.config import Config, ConfigMistake, load
from postroad.config.load import MAX_FILE_OCTETS, convert
from postroad.config.values import DEFAULT_LISTENERS

from .test_positions import documents


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "postroad.toml"


def mistakes(file: Path, text: str | bytes, environment: dict[str, str] | None = None) -> list[str]:
    """What is said of that file, without the directory."""
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    loaded = load(file, environment or {})
    assert isinstance(loaded, list), "no mistake was found"
    return [str(mistake).removeprefix(f"{file.parent}/") for mistake in loaded]


def config(file: Path, text: str, environment: dict[str, str] | None = None) -> Config:
    file.write_text(text)
    loaded = load(file, environment or {})
    assert isinstance(loaded, Config), loaded
    return loaded


def test_without_file_and_environment_every_default_holds() -> None:
    assert load(None, {}) == Config()


def test_defaults_keep_their_own_bounds() -> None:
    for section in typing.get_type_hints(Config).values():
        kind = typing.get_args(section)[0] if typing.get_origin(section) is tuple else section
        hints = typing.get_type_hints(kind)
        for setting in dataclasses.fields(kind):
            value = list(setting.default) if isinstance(setting.default, tuple) else setting.default
            assert convert(value, hints[setting.name], setting.metadata)[0] is None, setting.name
            if hints[setting.name] in (int, float):
                assert {"low", "high"} <= set(setting.metadata), f"{setting.name} has no bounds"


def test_what_config_show_prints_is_read_back_as_the_same(file: Path) -> None:
    changed = config(
        file,
        "[server]\nworkers = 3\n[domains]\nlocal = ['a.test', 'bücher.test']\n[[route]]\ndomain='*'\nhost='h.test'\n",
    )
    assert config(file, "\n".join(to_toml(changed))) == changed


def test_a_file_with_a_byte_order_mark_is_read(file: Path) -> None:
    assert config(file, "\ufeff[server]\nworkers = 2\n").server.workers == 2


def test_whole_numbers_may_stand_for_seconds(file: Path) -> None:
    loaded = config(file, "[timeouts]\ncommand_s = 60\n")
    assert loaded.timeouts.command_s == 60 and isinstance(loaded.timeouts.command_s, float)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nworkers = 0", "2: [server] workers: 0 is out of range; write a number from 1 to 64"),
        ("[server]\nworkers = 2.5", "2: [server] workers: write a whole number, not 2.5"),
        ("[server]\nworkers = true", "2: [server] workers: write a whole number, not true"),
        ("[server]\nworkers = '2'", '2: [server] workers: write a whole number, not "2"'),
        (
            "[timeouts]\ncommand_s = nan",
            "2: [timeouts] command_s: NaN is out of range; write a number from 1 to 86_400",
        ),
        ("[server]\nhostname = 3", "2: [server] hostname: write a string in quotes, not 3"),
        (
            "[server]\nuser = 'a\\\\b'\nhostname = \"a\\u0007b\"",
            '3: [server] hostname: "a\\u0007b" has a control character in it',
        ),
        ("[delivery]\nallow_private = 1", "2: [delivery] allow_private: write true or false, not 1"),
        ("[log]\nformat = 'xml'", '2: [log] format: write one of "console", "json", not "xml"'),
        ("[log]\nformat = ['json']", '2: [log] format: write one of "console", "json", not ["json"]'),
        (
            "[domains]\nlocal = 'a.test'",
            '2: [domains] local: write a list of strings, such as ["one", "two"], not "a.test"',
        ),
        (
            "[domains]\nlocal = ['a.test', 1]",
            '2: [domains] local: write a list of strings, such as ["one", "two"], not ["a.test", 1]',
        ),
        ("\nserver = 3", "2: server must be a section: write [server] on a line of its own"),
        ("[[server]]\nworkers = 1", "1: server must be a section: write [server] on a line of its own"),
        ("[listener]\nport = 1", "1: listener must be an array of tables: write [[listener]] before each"),
        ("listener = [1]", "1: listener must be an array of tables: write [[listener]] before each"),
        (
            "[[route]]\ndiscard=true\ndomain='*'\n[[route]]\nport = 0",
            "5: [[route]] port: 0 is out of range; write a number from 1 to 65_535",
        ),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_with_what_to_write(file: Path, text: str, said: str) -> None:
    assert mistakes(file, text)[0] == f"postroad.toml:{said}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\n\nworkrs = 2", "3: [server] has no setting workrs; did you mean workers?"),
        ("[srver]\nworkers = 2", "1: [srver] is no section; did you mean server?"),
        ("\n\n[limit.deep]\nx = 1", "3: [limit] is no section; did you mean limits?"),
        ("workers = 2", "1: workers stands outside of any section; write it under [server]"),
        ("[tls]\nworkers = 2", "2: [tls] has no setting workers; it belongs in [server]"),
        ("[tls]\nqqq = 2", "2: [tls] has no setting qqq; it may be one of certificate, key, minimum"),
        ("server.workrs = 2", "1: [server] has no setting workrs; did you mean workers?"),
        ("server = { hostname = 'a.test', workrs = 2 }", "1: [server] has no setting workrs; did you mean workers?"),
        ("[[listener]]\n[[listener]]\nprt = 2526", "3: [[listener]] has no setting prt; did you mean port?"),
        ("listener = [\n{port = 1},\n{prt = 2}]", "3: [[listener]] has no setting prt; did you mean port?"),
    ],
)
def test_an_unknown_key_suggests_the_one_that_was_meant(file: Path, text: str, said: str) -> None:
    assert f"postroad.toml:{said}" in mistakes(file, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nworkers = \n", "2: not TOML: invalid value"),
        ("[server]\na = 1\na = 2\n", "3: not TOML: cannot overwrite a value"),
        ('[server]\nhostname = "a', "2: not TOML: unterminated string"),
        (b"[server]\n# \xff\nworkers = 2\n", "2: is not UTF-8 text"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(file: Path, text: str | bytes, said: str) -> None:
    assert mistakes(file, text) == [f"postroad.toml:{said}"]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    loaded = load(tmp_path / "absent.toml", {})
    assert loaded == [ConfigMistake(str(tmp_path / "absent.toml"), "cannot be read: no such file or directory")]


def test_a_file_without_end_is_not_read_to_it(file: Path) -> None:
    (said,) = mistakes(file, b"#" * (MAX_FILE_OCTETS + 1))
    assert said == "postroad.toml: is larger than 1_048_576 octets: it is no configuration"


@pytest.mark.parametrize("text", ["x = " + "[" * 10_000, "x = " + "9" * 10_000])
def test_what_no_reader_bears_is_told(file: Path, text: str) -> None:
    assert mistakes(file, text) == ["postroad.toml: has a number too long or lists too deep to be read"]


@pytest.mark.parametrize("value", ["0x" + "f" * 5000, "[" * 300 + "]" * 300, "'" + "a" * 100_000 + "'"])
def test_a_value_too_large_to_be_shown_is_told_all_the_same(file: Path, value: str) -> None:
    (said,) = mistakes(file, f"[server]\nworkers = {value}")
    assert said.startswith("postroad.toml:2: [server] workers: ") and len(said) < 200


def test_h05_a_mistake_is_one_line_without_control_characters(file: Path) -> None:
    (said,) = mistakes(file, '[server]\n"a\\nb\\u001b[31m\\u009b" = 1')
    assert said.isprintable() and "a\\nb\\x1b[31m\\x9b" in said


def test_all_mistakes_are_told_from_top_to_bottom(file: Path) -> None:
    said = mistakes(
        file,
        "[log]\nlevel = 'loud'\n[server]\nworkers = 0\nhostname = 'a b'\n[nonsense]\n",
        {"POSTROAD_AUTH__FAILURES": "many"},
    )
    assert [line.partition(": ")[0] for line in said] == [
        "POSTROAD_AUTH__FAILURES",
        "postroad.toml:2",
        "postroad.toml:4",
        "postroad.toml:5",
        "postroad.toml:6",
    ]


# The environment --------------------------------------------------------------------------------------------------


def test_the_environment_overrides_the_file(file: Path) -> None:
    loaded = config(
        file,
        "[server]\nworkers = 2\nhostname = 'file.test'\n",
        {
            "POSTROAD_SERVER__WORKERS": "4",
            "POSTROAD_DOMAINS__LOCAL": "a.test, b.test,",
            "POSTROAD_DELIVERY__ALLOW_PRIVATE": "True",
            "POSTROAD_TIMEOUTS__COMMAND_S": "2.5",
            "POSTROAD_DOMAINS__SEPARATOR": "",
        },
    )
    assert (loaded.server.workers, loaded.server.hostname) == (4, "file.test")
    assert loaded.domains.local == ("a.test", "b.test")
    assert loaded.domains.separator == ""
    assert loaded.delivery.allow_private is True
    assert loaded.timeouts.command_s == 2.5


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("POSTROAD_SERVER__WORKERS", "many", '[server] workers: write a whole number, not "many"'),
        ("POSTROAD_SERVER__WORKERS", "65", "[server] workers: 65 is out of range; write a number from 1 to 64"),
        ("POSTROAD_DELIVERY__ALLOW_PRIVATE", "yes", '[delivery] allow_private: write true or false, not "yes"'),
        ("POSTROAD_SERVER__WORKRS", "1", "[server] has no setting workrs; did you mean workers?"),
        ("POSTROAD_SERVR__WORKERS", "1", "there is no section [servr]; did you mean server?"),
        ("POSTROAD_LISTENER__PORT", "1", "[[listener]] is an array of tables, which only a file can set"),
        ("POSTROAD_SERVER__HOSTNAME", "a b", '[server] hostname: "a b" is no host name'),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(name: str, value: str, said: str) -> None:
    loaded = load(None, {name: value})
    assert isinstance(loaded, list)
    assert [str(mistake) for mistake in loaded] == [f"{name}: {said}"]


def test_other_variables_are_no_settings() -> None:
    others = {
        "POSTROAD_DEBUG": "1",
        "POSTROAD": "x",
        "postroad_server__workers": "x",
        "PATH": "/",
        "_POSTROAD_A__B": "x",
    }
    assert load(None, others) == Config()


def test_a_mistake_in_the_file_that_the_environment_mends_is_none(file: Path) -> None:
    assert config(file, "[server]\nworkers = 'x'\n", {"POSTROAD_SERVER__WORKERS": "2"}).server.workers == 2


# Whatever is written ----------------------------------------------------------------------------------------------

_settings = st.sampled_from(
    [
        (name, setting.name)
        for name, hint in typing.get_type_hints(Config).items()
        if isinstance(hint, type)
        for setting in dataclasses.fields(hint)
    ]
)
_values = st.sampled_from(
    [
        *(
            "0",
            "1",
            "-1",
            "1.5",
            "nan",
            "inf",
            "true",
            "''",
            "'x'",
            "'a.test'",
            "[]",
            "['a.test']",
            "[1]",
            "[[]]",
            "{}",
        ),
        *("1979-05-27", "07:32:00", "'\u2028'", '"\\u0000"', "'1.2'", "'127.0.0.1:53'", "10000000", "{a={b=[{}]}}"),
    ]
)


@given(st.dictionaries(_settings, _values, max_size=6))
def test_any_value_for_any_setting_is_taken_or_told_at_its_line(
    tmp_path_factory: pytest.TempPathFactory, written: dict[tuple[str, str], str]
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    lines = [f"{section}.{key} = {value}" for (section, key), value in written.items()]
    file.write_text("\n".join(lines))
    loaded = load(file, {})
    if isinstance(loaded, Config):
        return
    for mistake in loaded:
        line = int(mistake.place.rpartition(":")[2])
        named = re.match(r"\[(\w+)\] (\w+)", mistake.sentence)
        assert named is not None and "\n" not in str(mistake)
        assert lines[line - 1].startswith(f"{named[1]}."), (mistake, lines)


@given(st.dictionaries(st.text("ABPOSTRD_ELV", max_size=20).map("POSTROAD_".__add__), st.text(max_size=8), max_size=4))
def test_no_environment_makes_it_fail(environment: dict[str, str]) -> None:
    load(None, environment)


@given(documents())
def test_no_document_makes_it_fail(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "document.toml"
    file.write_bytes(text.encode())
    loaded = load(file, {})
    if isinstance(loaded, list):
        assert all(str(mistake).isprintable() for mistake in loaded)


def test_default_listeners_need_no_root() -> None:
    assert all(listener.port > 1023 and listener.address == "127.0.0.1" for listener in DEFAULT_LISTENERS)


def test_infinity_is_no_number_of_seconds(file: Path) -> None:
    assert "out of range" in mistakes(file, "[timeouts]\nsession_s = inf")[0]
