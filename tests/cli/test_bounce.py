"""`postroad bounce` as a person or a script uses it."""

from __future__ import annotations

import json
from pathlib import Path

from cli.calls import call

SAMPLES = Path(__file__).parents[1] / "meaning/bounces"
POSTFIX = SAMPLES / "postfix.eml"


def test_one_line_for_each_file_in_order() -> None:
    names = [str(SAMPLES / name) for name in ("qmail.eml", "postfix.eml", "letter.eml")]
    done = call("bounce", *names)
    assert done.status == 0 and not done.err
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["file"] for line in lines] == names
    assert [line["is_bounce"] for line in lines] == [True, True, False]


def test_every_field_is_there() -> None:
    (line,) = call("bounce", POSTFIX).out.splitlines()
    assert json.loads(line) == {
        "file": str(POSTFIX),
        "is_bounce": True,
        "kind": "bounce",
        "recipients": [
            {
                "address": "ann@example.org",
                "action": "failed",
                "status": "5.1.1",
                "code": 550,
                "diagnostic": "550 5.1.1 <ann@example.org>: Recipient address rejected: User unknown",
                "meaning": "mailbox_unknown",
                "bounce": "hard",
                "suppress": True,
            }
        ],
        "original_message_id": "<letter-1@example.net>",
    }


def test_a_hyphen_is_standard_input() -> None:
    done = call("bounce", "-", stdin=POSTFIX.read_bytes())
    found = json.loads(done.out)
    assert found["file"] == "-" and found["recipients"][0]["address"] == "ann@example.org"


def test_what_cannot_be_read_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    done = call("bounce", tmp_path, tmp_path / "none", POSTFIX)
    assert done.status == 1
    told = done.err.splitlines()
    assert len(told) == 2 and str(tmp_path) in told[0] and "directory" in told[0].lower()
    assert "No such file" in told[1]
    assert json.loads(done.out)["file"] == str(POSTFIX)


def test_no_file_is_a_mistake_of_use() -> None:
    assert call("bounce").status == 2


def test_words_from_outside_cannot_reach_the_terminal(tmp_path: Path) -> None:
    hostile = tmp_path / "hostile"
    hostile.write_bytes(POSTFIX.read_bytes().replace(b"User unknown", b"\x1b[31m\x9b \xe2\x80\xae unknown"))
    out = call("bounce", hostile).out
    assert out.rstrip("\n").isprintable() and out.isascii()


def test_what_is_no_message_is_no_bounce(tmp_path: Path) -> None:
    for content in (b"", b"\0\0\0", b"ann@example.org\nbob@example.org\n", bytes(range(256)) * 40):
        file = tmp_path / "file"
        file.write_bytes(content)
        assert json.loads(call("bounce", file).out) == {
            "file": str(file),
            "is_bounce": False,
            "kind": "none",
            "recipients": [],
            "original_message_id": None,
        }
