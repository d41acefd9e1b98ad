"""What is told of reply lines, from text and JSON alike: every field, for every input."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.meaning.classify import Kind
from postroad.meaning.explain import MAX_CHARS, explained, joined, read
from postroad.smtp.outcome import Phase

FIELDS = ["code", "enhanced", "text", "meaning", "bounce", "retry", "suppress", "mailbox", "rule", "confidence"]
MAILBOXES = {"exists", "absent", "full", "disabled", "unknown"}


def told(*lines: str) -> dict[str, object]:
    (reply,) = joined(lines)
    return explained(read(reply))


@pytest.mark.parametrize(
    ("line", "code", "enhanced", "text"),
    [
        ("550 5.1.1 User unknown", 550, "5.1.1", "User unknown"),
        ("550 User unknown", 550, None, "User unknown"),
        ("550-5.1.1 No such 550 5.1.1 user", 550, "5.1.1", "No such 550 5.1.1 user"),
        ("User unknown", None, None, "User unknown"),
        ("5.1.1 User unknown", None, "5.1.1", "User unknown"),
        ("smtp; 550 5.1.1 User unknown", 550, "5.1.1", "User unknown"),
        ("550: User unknown", 550, None, "User unknown"),
        ("550 #5.1.0 Address rejected.", 550, "5.1.0", "Address rejected."),
        ("550 4.2.2 Over quota", 550, None, "4.2.2 Over quota"),
        ("550", 550, None, ""),
        ("", None, None, ""),
        ("300 seconds", None, None, "300 seconds"),
        ("host mx.example[192.0.2.1] said: 550 5.1.1 Unknown (in reply", 550, "5.1.1", "Unknown (in reply"),
    ],
)
def test_a_line_is_taken_apart(line: str, code: int | None, enhanced: str | None, text: str) -> None:
    found = told(line)
    assert (found["code"], found["enhanced"], found["text"]) == (code, enhanced, text)


@pytest.mark.parametrize(
    "row",
    [
        {"code": 550, "enhanced": "5.1.1", "text": "User unknown"},
        {"code": "550", "enhanced": "5.1.1", "text": "User unknown"},
        {"code": 550, "enhanced": None, "text": "5.1.1 User unknown"},
        {"code": 550, "enhanced": None, "text": "550 5.1.1 User unknown"},
        {"code": None, "text": "550 5.1.1 User unknown"},
        {"line": "550 5.1.1 User unknown"},
        {"code": 550.0, "enhanced": 5, "text": "550-5.1.1 User unknown", "phase": "nonsense", "provider": 7},
    ],
)
def test_json_says_the_same_in_many_ways(row: dict[str, object]) -> None:
    found = told(json.dumps(row))
    assert (found["code"], found["enhanced"], found["text"]) == (550, "5.1.1", "User unknown")
    assert (found["meaning"], found["bounce"], found["suppress"]) == ("mailbox_unknown", "hard", True)


def test_prefixes_within_a_text_of_json_do_not_disturb() -> None:
    row = {
        "code": 550,
        "enhanced": "5.1.1",
        "text": "The account that you tried 550-5.1.1 to reach does not 550 5.1.1 exist",
    }
    assert told(json.dumps(row))["meaning"] == "mailbox_unknown"


def test_the_phase_counts() -> None:
    row = {"code": 550, "text": "User unknown", "phase": "greeting"}
    assert told(json.dumps(row))["mailbox"] == "unknown"
    assert told(json.dumps({**row, "phase": "RCPT"}))["mailbox"] == "absent"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("250 2.1.5 OK", ("accepted", "none", False, False, "exists")),
        ("550 5.1.1 User unknown", ("mailbox_unknown", "hard", False, True, "absent")),
        ("450 4.1.1 User unknown", ("mailbox_unknown", "soft", True, False, "unknown")),
        ("550 5.2.1 The mailbox is disabled", ("mailbox_disabled", "hard", False, True, "disabled")),
        ("550 5.2.1 The mailbox is temporarily disabled", ("mailbox_disabled", "soft", True, False, "disabled")),
        ("552 5.2.2 Mailbox full", ("mailbox_full", "hard", False, False, "full")),
        ("452 4.2.2 Mailbox full", ("mailbox_full", "soft", True, False, "full")),
        ("Mailbox full", ("mailbox_full", "soft", True, False, "full")),
        ("550 5.1.2 Domain not found", ("domain_unknown", "hard", False, True, "unknown")),
        ("550 5.1.1 Your IP 192.0.2.1 is blocked", ("blocked_reputation", "hard", False, False, "unknown")),
        ("554 5.7.1 The message looks like spam", ("policy_content", "hard", False, False, "unknown")),
        ("451 4.7.1 Greylisted, try again", ("greylisted", "soft", True, False, "unknown")),
        ("Zork", ("unclear", "soft", True, False, "unknown")),
    ],
)
def test_each_field(line: str, expected: tuple[object, ...]) -> None:
    found = told(line)
    assert list(found) == FIELDS
    assert tuple(found[name] for name in ("meaning", "bounce", "retry", "suppress", "mailbox")) == expected


def test_lines_of_one_reply_are_joined_and_others_are_not() -> None:
    lines = [
        "550-5.1.1 No",
        "550 5.1.1 such user",
        "550-alone",
        "451 later",
        "550-5.1.1 whole on one 550 5.1.1 line",
        "550 5.1.1 Another",
        "550-a",
        "550-b",
        "550 c",
        "",
        "550-open",
    ]
    assert list(joined(lines)) == [
        ["550-5.1.1 No", "550 5.1.1 such user"],
        ["550-alone"],
        ["451 later"],
        ["550-5.1.1 whole on one 550 5.1.1 line"],
        ["550 5.1.1 Another"],
        ["550-a", "550-b", "550 c"],
        [""],
        ["550-open"],
    ]
    assert told("550-5.1.1 No", "550 5.1.1 such user")["text"] == "No such user"


def test_an_endless_reply_is_cut() -> None:
    replies = list(joined(["550-x"] * 1000))
    assert max(map(len, replies)) == 100 and sum(map(len, replies)) == 1000


def holds(found: dict[str, object]) -> None:
    assert list(found) == FIELDS
    assert found["meaning"] in set(Kind)
    assert found["mailbox"] in MAILBOXES
    assert found["retry"] == (found["bounce"] == "soft")
    assert (found["bounce"] == "none") == (found["meaning"] == "accepted")
    if found["suppress"]:
        assert found["meaning"] in ("mailbox_unknown", "mailbox_disabled", "domain_unknown")
        assert found["bounce"] == "hard"
    assert len(str(found["text"])) <= MAX_CHARS
    json.dumps(found)


@given(st.text(max_size=300))
def test_something_is_said_of_any_line(line: str) -> None:
    holds(explained(read([line])))


_VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=40), st.lists(st.integers()))


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("code", "enhanced", "text", "line", "phase", "provider"), _VALUES)
    )
)
def test_something_is_said_of_any_object(row: dict[str, object]) -> None:
    holds(explained(read([json.dumps(row)])))


@given(st.sampled_from(list(Phase)), st.integers(200, 599), st.text(max_size=60))
def test_a_code_decides_how_hard_it_is(phase: Phase, code: int, text: str) -> None:
    found = told(json.dumps({"code": code, "text": text, "phase": phase.value}))
    holds(found)
    if 400 <= code < 500:
        assert found["bounce"] == "soft"


@given(st.lists(st.text(max_size=20) | st.sampled_from(["550-a", "550 b", "451-c", "{}"]), max_size=20))
def test_no_line_is_lost(lines: list[str]) -> None:
    assert [line for reply in joined(lines) for line in reply] == lines
