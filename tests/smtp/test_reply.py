"""Replies as bytes, and the enhanced status read from theirs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.smtp.reply import Reply, parse_enhanced, reply
from postroad.smtp.status import EnhancedStatus


def test_s18_code_and_status_stand_on_every_line() -> None:
    assert reply(550, "No\nsuch box", "5.1.1").encode() == b"550-5.1.1 No\r\n550 5.1.1 such box\r\n"
    assert Reply(250, ()).encode() == b"250 \r\n"


def test_encoding_is_made_once() -> None:
    said = reply(250, "OK")
    assert said.encode() is said.encode()


@pytest.mark.parametrize("text", ["a\r\n250 b", "a\0", "\x1b[2J", "\x85", "\u2028", "\ud800"])
def test_h05_control_characters_become_question_marks(text: str) -> None:
    wire = Reply(250, (text,)).encode()
    assert wire.count(b"\r\n") == 1
    assert b"?" in wire


def test_undecodable_bytes_survive() -> None:
    assert Reply(550, (b"caf\xe9".decode("utf-8", "surrogateescape"),)).encode() == b"550 caf\xe9\r\n"


@settings(max_examples=150)
@given(st.lists(st.text(max_size=900), max_size=3), st.booleans())
def test_s18_any_text_gives_lines_of_512_octets_with_one_code(texts: list[str], has_status: bool) -> None:
    wire = Reply(550, tuple(texts), EnhancedStatus(5, 7, 1) if has_status else None).encode()
    lines = wire.split(b"\r\n")
    assert lines.pop() == b""
    assert all(line.startswith(b"550-") for line in lines[:-1])
    assert lines[-1].startswith(b"550 ")
    assert all(len(line) <= 510 and b"\r" not in line and b"\n" not in line for line in lines)
    if max((character for text in texts for character in text), default="") < "\ud800":
        assert all(line.decode("utf-8") for line in lines)


@pytest.mark.parametrize(
    ("code", "text", "status", "rest"),
    [
        (250, "2.1.0 OK", "2.1.0", "OK"),
        (550, "5.1.10", "5.1.10", ""),
        (250, "OK", None, "OK"),
        (250, "5.1.1 odd", None, "5.1.1 odd"),
        (354, "2.0.0 go", None, "2.0.0 go"),
        (550, "5.1.1x", None, "5.1.1x"),
        (550, "5.1.1000 x", None, "5.1.1000 x"),
        (550, "5.\u0661.1 x", None, "5.\u0661.1 x"),
        (550, "#5.1.0 Address rejected", None, "#5.1.0 Address rejected"),
    ],
)
def test_enhanced_status_is_read(code: int, text: str, status: str | None, rest: str) -> None:
    found, follows = parse_enhanced(code, text)
    assert (str(found) if found else None, follows) == (status, rest)
