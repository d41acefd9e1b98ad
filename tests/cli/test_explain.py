"""`postroad explain`: a line of answer for each reply, at once, whatever comes in."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from cli.calls import call

COMMAND = [sys.executable, "-m", "postroad", "explain"]


def answers(stdin: str | bytes) -> list[dict[str, object]]:
    done = call("explain", stdin=stdin)
    assert done.status == 0 and not done.err
    return [json.loads(line) for line in done.out.splitlines()]


def test_each_reply_gets_a_line_in_order() -> None:
    found = answers(
        "550 5.1.1 User unknown\n550-5.7.1 Your IP\n550 5.7.1 is blocked\n250 OK\n"
        '{"code": 452, "enhanced": "4.2.2", "text": "Mailbox full"}\nMailbox full\n'
    )
    assert [(answer["code"], answer["meaning"]) for answer in found] == [
        (550, "mailbox_unknown"),
        (550, "blocked_reputation"),
        (250, "accepted"),
        (452, "mailbox_full"),
        (None, "mailbox_full"),
    ]


def test_nothing_in_nothing_out() -> None:
    assert answers("") == []


@pytest.mark.parametrize(
    "line", [b"", b"\xff\xfe\x00", b"{", b"{}", b"[1]", b'{"code": {}}', b"\x1b$B%f", b"999 x", b'"']
)
def test_garbage_gets_a_whole_answer_too(line: bytes) -> None:
    (found,) = answers(line + b"\n")
    assert len(found) == 10
    assert found["meaning"] == "unclear"


def test_a_line_without_an_end_is_read() -> None:
    assert [answer["code"] for answer in answers("550 User unknown")] == [550]


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-8-sig"])
def test_octets_of_any_encoding_are_read(encoding: str) -> None:
    (found,) = answers("550 Empfänger unbekannt\n".encode(encoding))
    assert (found["code"], found["meaning"]) == (550, "mailbox_unknown")


def test_japanese_by_its_escapes() -> None:
    (found,) = answers("550 宛先のユーザーが存在しません\n".encode("iso2022_jp"))
    assert found["meaning"] == "mailbox_unknown"


def test_a_long_line_is_cut_and_read_by_its_beginning() -> None:
    found = answers("550 5.1.1 User unknown " + "x" * 1_000_000 + "\n250 OK\n")
    assert [answer["meaning"] for answer in found] == ["mailbox_unknown", "accepted"]
    assert all(len(json.dumps(answer)) < 10_000 for answer in found)


def test_output_is_plain_ascii_whatever_the_reply_holds() -> None:
    done = call("explain", stdin="550 \u202e\x1b[31m\x9b Пользователь не найден\n")
    assert done.out.isascii() and "\x1b" not in done.out


def test_an_answer_comes_before_the_next_line_is_asked_for() -> None:
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        for _ in range(3):
            process.stdin.write(b"550 5.1.1 User unknown\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["meaning"] == "mailbox_unknown"
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_reader_that_leaves_ends_it_quietly() -> None:
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write(b"550 5.1.1 User unknown\n")
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(b"550 5.1.1 User unknown\n")
        process.stdin.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == b""
