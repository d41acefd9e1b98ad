"""The log: one line an event, safe to read, without secrets, bounded, and never in the way of the mail."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from enum import StrEnum

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postroad.events import EVENTS, LEVELS, configure, emit, escaped, shown

HOSTILE = 'a\r\nforged\x00\x1b[31m\x9b\u202e\u2028\udcff"=\\'


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    yield
    configure()


def lines(*, level: str = "debug", as_json: bool = False, name: str = "session.closed", **fields: object) -> list[str]:
    """What one event writes."""
    stream = io.StringIO()
    configure(level=level, as_json=as_json, stream=stream)
    emit(name, **fields)
    return stream.getvalue().splitlines()


def test_an_event_is_time_level_name_and_fields() -> None:
    (line,) = lines(name="message.accepted", queue_id="1CZC3PXGF0000", recipients=2, user=None)
    when, rest = line.split(" ", 1)
    assert when.endswith("Z") and "T" in when
    assert rest == "info    message.accepted queue_id=1CZC3PXGF0000 recipients=2 user=-"


def test_a_value_that_could_be_taken_for_another_field_is_quoted() -> None:
    (line,) = lines(reply="550 no such user=root", empty="")
    assert line.endswith('reply="550 no such user=root" empty=""')


@pytest.mark.parametrize("as_json", [False, True])
def test_h05_what_comes_from_outside_stays_on_its_line_and_off_the_terminal(as_json: bool) -> None:
    (line,) = lines(as_json=as_json, peer=HOSTILE, reason=ValueError(HOSTILE))
    assert line.isprintable()
    assert "forged" in line


@given(st.text(st.characters()))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_h05_any_text_is_one_printable_line(text: str) -> None:
    assert escaped(text).isprintable()
    (line,) = lines(peer=text)
    assert line.isprintable()
    (line,) = lines(peer=text, as_json=True)
    assert line.isascii() and line.isprintable()


@given(st.text(st.characters()).filter(str.isprintable))
def test_what_is_printable_is_left_as_it_is(text: str) -> None:
    assert escaped(text) == text


@pytest.mark.parametrize("key", ["password", "secret", "token", "credentials", "authzid", "sasl"])
@pytest.mark.parametrize("as_json", [False, True])
def test_secrets_never_pass(key: str, as_json: bool) -> None:
    (line,) = lines(as_json=as_json, **{key: "hunter2"})
    assert "hunter2" not in line and "***" in line


@pytest.mark.parametrize("value", ["a" * 10_000_000, ValueError("a" * 10_000_000), ["a"] * 1_000_000])
def test_a_value_without_end_is_cut(value: object) -> None:
    (line,) = lines(reply=value)
    assert len(line) < 2200 and "…" in line


def test_a_fault_says_where_it_happened() -> None:
    try:
        json.loads("{")
    except ValueError as error:
        text = str(shown("exception", error))
    assert text.startswith("JSONDecodeError: ") and "decoder.py" in text and "\n" not in text


def test_as_json_each_line_is_one_object() -> None:
    (line,) = lines(name="delivery.deferred", as_json=True, level="info", reply="451 später\r\n", tries=3, host=None)
    found = json.loads(line)
    assert found.pop("timestamp").endswith("Z")
    assert found == {
        "event": "delivery.deferred",
        "level": "info",
        "reply": "451 später\\r\\n",
        "tries": 3,
        "host": None,
    }


def test_enumerations_are_written_as_their_values() -> None:
    class Fate(StrEnum):
        DELIVERED = "delivered"

    (line,) = lines(as_json=True, fate=Fate.DELIVERED)
    assert json.loads(line)["fate"] == "delivered"


@pytest.mark.parametrize("name", EVENTS)
def test_events_below_the_level_are_left_out(name: str) -> None:
    order = ["debug", "info", "warning", "error"]
    own = LEVELS.get(name, "info")
    for level in order:
        assert bool(lines(name=name, level=level)) == (order.index(own) >= order.index(level))


class _Full(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


class _Mute:
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_a_log_that_cannot_be_written_disturbs_nobody() -> None:
    closed = io.StringIO()
    closed.close()
    ascii_only = io.TextIOWrapper(io.BytesIO(), "ascii")
    for stream in (_Full(), closed, ascii_only):
        configure(stream=stream)
        emit("message.accepted", peer="ä")


@pytest.mark.parametrize("as_json", [False, True])
def test_no_value_makes_it_raise(as_json: bool) -> None:
    for value in (_Mute(), 1 << 100_000, object(), b"\xff", {"a": {1, 2}}, float("nan")):
        lines(as_json=as_json, value=value)
    lines(as_json=as_json, event="a field named as the event", timestamp=1, logger=2)
    lines(as_json=as_json, name="no.such.event")
