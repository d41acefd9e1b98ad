"""`postroad bounce` as a person or a script uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.calls import call
from cli.test_verify import World, running

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


# What verification learns -----------------------------------------------------------------------------------------


def came_back(directory: Path, address: str, *, remote: bool, name: str = "postfix.eml") -> Path:
    """The sample as a bounce of mail to that address; without `remote`, made by the host that had taken the mail."""
    octets = (SAMPLES / name).read_bytes().replace(b"ann@example.org", address.encode())
    if not remote:
        octets = octets.replace(b"Remote-MTA: dns; mx.example.org\n", b"")
    path = directory / f"{address}.eml"
    path.write_bytes(octets)
    return path


def judged(world: World, *arguments: object) -> list[tuple[str, str]]:
    lines = world.verify(*arguments, "--format", "jsonl").out.splitlines()
    return [(one["verdict"], one["reason"]) for one in map(json.loads, lines)]


def test_verify_knows_what_a_bounce_told_and_asks_nobody(tmp_path: Path) -> None:
    with running(tmp_path / "state") as world:
        assert judged(world, "ann@example.net") == [("deliverable", "accepted")]
        asked = world.asked
        file = came_back(tmp_path, "ann@example.net", remote=True)
        done = call("bounce", file, "--learn", "--state", tmp_path / "state")
        assert json.loads(done.out)["recipients"][0]["address"] == "ann@example.net"
        assert done.err == "postroad: learned of 1 undeliverable address and 0 complaints\n"
        assert judged(world, "ann@example.net") == [("undeliverable", "bounced")]
        assert "User unknown" in world.verify("ann@example.net").out, "the bounce's words are the evidence"
        assert world.asked == asked
        checked = call("suppress", "check", "ann@example.net", "--state", tmp_path / "state")
        assert checked.status == 1 and "mail came back since" in checked.out and "User unknown" in checked.out


def test_a_domain_that_took_two_and_sent_them_back_is_not_believed_any_more(tmp_path: Path) -> None:
    with running(tmp_path / "state") as world:
        files = [came_back(tmp_path, f"{name}@example.net", remote=False) for name in ("bob", "cleo")]
        done = call("bounce", *files, "--learn", "--state", tmp_path / "state")
        assert "2 undeliverable addresses (2 of them taken first, and sent back)" in done.err
        assert judged(world, "ann@example.net", "bob@example.net") == [
            ("risky", "accepts_then_bounces"),
            ("undeliverable", "bounced"),
        ]


def test_a_domain_that_refused_two_is_believed_as_before(tmp_path: Path) -> None:
    with running(tmp_path / "state") as world:
        files = [came_back(tmp_path, f"{name}@example.net", remote=True) for name in ("bob", "cleo")]
        call("bounce", *files, "--learn", "--state", tmp_path / "state")
        assert judged(world, "ann@example.net") == [("deliverable", "accepted")]


def test_what_verification_saw_accepted_was_taken_first_whoever_tells_of_the_bounce(tmp_path: Path) -> None:
    with running(tmp_path / "state") as world:
        assert judged(world, "ann@example.net", "--reuse") == [("deliverable", "accepted")]
        file = came_back(tmp_path, "ann@example.net", remote=True)
        done = call("bounce", file, "--learn", "--state", tmp_path / "state")
        assert "1 of them taken first, and sent back" in done.err
        again = call("bounce", file, "--learn", "--state", tmp_path / "state")
        assert "1 of them taken first, and sent back" in again.err, "a second bounce does not unsay it"


def test_who_complained_is_not_mailed_again(tmp_path: Path) -> None:
    state = tmp_path / "state"
    done = call("bounce", SAMPLES / "feedback.eml", SAMPLES / "feedback-jmrp.eml", "--learn", "--state", state)
    assert done.err == "postroad: learned of 0 undeliverable addresses and 1 complaint\n"
    checked = call("suppress", "check", "ann@example.org", "--state", state)
    assert checked.status == 1 and "do_not_mail" in checked.out and "a complaint about <letter-1@ex" in checked.out


def test_a_complaint_leaves_an_earlier_cause_as_it_is(tmp_path: Path) -> None:
    call("suppress", "add", "ann@example.org", "--cause", "opt_out", "--state", tmp_path)
    call("bounce", SAMPLES / "feedback.eml", "--learn", "--state", tmp_path)
    assert "opt_out" in call("suppress", "list", "--state", tmp_path).out


@pytest.mark.parametrize("kind", [b"not-spam", b"auth-failure"])
def test_feedback_that_blames_nobody_is_no_complaint(tmp_path: Path, kind: bytes) -> None:
    file = tmp_path / "feedback.eml"
    file.write_bytes((SAMPLES / "feedback.eml").read_bytes().replace(b"Type: abuse", b"Type: " + kind))
    assert "0 complaints" in call("bounce", file, "--learn", "--state", tmp_path).err


@pytest.mark.parametrize("name", ["postfix-delay.eml", "letter.eml", "vacation.eml", "postfix-success.eml"])
def test_what_is_still_tried_or_was_no_bounce_teaches_nothing(tmp_path: Path, name: str) -> None:
    done = call("bounce", SAMPLES / name, "--learn", "--state", tmp_path)
    assert "learned of 0 undeliverable addresses and 0 complaints" in done.err


def test_every_sample_can_be_learned_from(tmp_path: Path) -> None:
    done = call("bounce", *sorted(SAMPLES.iterdir()), "--learn", "--state", tmp_path)
    assert done.status == 0 and len(done.err.splitlines()) == 1 and "learned of" in done.err


def test_without_learn_nothing_is_kept_and_a_state_is_a_mistake_of_use(tmp_path: Path) -> None:
    done = call("bounce", POSTFIX, "--state", tmp_path / "state")
    assert done.status == 2 and "--learn" in done.err
    assert not (tmp_path / "state").exists()
