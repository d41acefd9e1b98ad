"""`postroad queue` as an operator uses it: what waits, why, and the hand in it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from cli.calls import Done, call
from postroad.deliver.examiner import PENDING
from postroad.message.envelope import format_queue_id, parse_queue_id
from postroad.smtp.address import NULL, Address
from postroad.store.ledger import Ledger
from postroad.store.shards import shard_path
from postroad.store.spool import Attempt, Deferred
from postroad.store.sqlite_spool import SqliteSpool
from store.spool_conformance import WALL, message

HOSTILE = "550 5.1.1 \x1b[31mno\r\nX: [bold]y[/bold]\u202e"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "var"


@pytest.fixture
def ids(state: Path) -> list[str]:
    """Three messages wait: to two domains, to one (tried once, in vain), and a bounce."""

    async def fill() -> list[str]:
        spool = SqliteSpool.open(shard_path(state / "spool", 0), shard=0)
        ann = Address("ann", "example.org")
        first = message(spool.new_id(WALL), "a@x.test", "b@y.test", sender=ann)
        second = message(spool.new_id(WALL + 1), "c@y.test", sender=Address("bob", "example.net"))
        third = message(spool.new_id(WALL + 2), "ann@example.org", sender=NULL)
        for one in (first, second, third):
            queued = await spool.commit(one, WALL)
            if one is second:
                tried = Attempt(at=WALL, host="mx.y.test", phase="rcpt", reply=HOSTILE, meaning="greylisted")
                await spool.settle([Deferred(queued=queued[0], due_at=WALL + 9e9, attempt=tried)])
        await spool.close()
        return [format_queue_id(one.id) for one in (first, second, third)]

    return asyncio.run(fill())


def queue(state: Path, *arguments: object) -> Done:
    return call("queue", *arguments, "--state", state)


def objects(done: Done) -> list[dict[str, object]]:
    assert done.status == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def test_list_shows_what_waits_oldest_first(state: Path, ids: list[str]) -> None:
    done = queue(state, "list")
    assert done.status == 0
    rows = [line.split() for line in done.out.splitlines() if line.strip().startswith(tuple(ids))]
    assert [row[0] for row in rows] == ids
    assert "ann@example.org" in rows[0] and "<>" in rows[2]
    assert "3 messages in the queue, 4 recipients, 0 due now" in done.out


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--domain", "y.test"], [0, 1]),
        (["--sender", "bob@example.net"], [1]),
        (["--sender", "@example.org"], [0]),
        (["--sender", "<>"], [2]),
        (["--limit", "2"], [0, 1]),
        (["--domain", "nowhere.test"], []),
    ],
)
def test_list_filters(state: Path, ids: list[str], options: list[str], expected: list[int]) -> None:
    found = objects(queue(state, "list", "--format", "jsonl", *options))
    assert [one["id"] for one in found] == [ids[index] for index in expected]


def test_list_goes_on_after_a_page(state: Path, ids: list[str]) -> None:
    assert f"the next page: --after {ids[1]}" in queue(state, "list", "--limit", "2").out
    assert [one["id"] for one in objects(queue(state, "list", "--after", ids[1], "--format", "jsonl"))] == ids[2:]


def test_show_tells_each_recipients_attempts_with_the_hosts_words(state: Path, ids: list[str]) -> None:
    shown = queue(state, "show", ids[1]).out
    for words in ("bob@example.net", "c@y.test", "1 try", "mx.y.test", "rcpt: 550 5.1.1", "greylisted"):
        assert words in shown
    (found,) = objects(queue(state, "show", ids[1], "--format", "jsonl"))
    assert found["id"] == ids[1]


def test_h11_a_hosts_words_cannot_reach_the_terminal(state: Path, ids: list[str]) -> None:
    for arguments in (["list"], ["show", ids[1]], ["show", ids[1], "--format", "jsonl"]):
        done = queue(state, *arguments)
        assert done.out.replace("\n", "").isprintable()
    assert "[bold]" in queue(state, "show", ids[1]).out, "words are words, whatever they look like"


def test_show_gives_the_message_itself_as_it_will_travel(state: Path, ids: list[str]) -> None:
    assert "Subject" in queue(state, "show", ids[0], "--message").out


def test_retry_makes_due(state: Path, ids: list[str]) -> None:
    assert "1 recipient due now" in queue(state, "retry", ids[1]).out
    assert "4 recipients, 1 due now" in queue(state, "list").out
    assert "2 recipients due now" in queue(state, "retry", "--domain", "y.test").out
    assert "4 recipients due now" in queue(state, "retry", "--all").out


def test_remove_takes_a_message_or_one_of_its_recipients(state: Path, ids: list[str]) -> None:
    assert "1 recipient removed" in queue(state, "remove", ids[0], "--recipient", "B@y.test".lower()).out
    assert "2 recipients removed" in queue(state, "remove", ids[0], ids[1]).out
    assert [one["id"] for one in objects(queue(state, "list", "--format", "jsonl"))] == ids[2:]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "0000000000000"], "there is no message 0000000000000 in the queue"),
        (["remove", "0000000000000"], "no such recipient is in the queue"),
        (["retry", "0000000000000"], "no such recipient is in the queue"),
    ],
)
def test_what_is_not_there_is_one_sentence(state: Path, ids: list[str], arguments: list[str], words: str) -> None:
    done = queue(state, *arguments)
    assert done.status == 1 and words in done.sentence


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "nonsense"], "is no queue id"),
        (["retry"], "say which: ids, --domain DOMAIN or another filter, or --all"),
        (["retry", "--all", "0000000000000"], "give ids or --all, not both"),
        (["remove", "0000000000000", "--recipient", "no address"], "--recipient"),
        (["list", "--age", "yesterday"], "+2h"),
        (["list", "--priority", "high"], "-9..-1"),
        (["bounce", "0000000000000", "--why", "two\nlines"], "one line"),
    ],
)
def test_a_wrong_use_says_what_to_do_instead(state: Path, ids: list[str], arguments: list[str], words: str) -> None:
    done = queue(state, *arguments)
    assert done.status == 2 and words in done.err and "Traceback" not in done.err


def test_a_state_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = queue(tmp_path / "elsewhere", "list")
    assert done.status == 1 and str(tmp_path / "elsewhere") in done.sentence


def test_the_queue_by_itself_is_its_list(state: Path, ids: list[str]) -> None:
    config = state.parent / "postroad.toml"
    config.write_text(f'[server]\nstate_dir = "{state}"\n')
    for arguments in (["--config", config, "queue"], ["queue", "--config", config], ["queue", "--state", state]):
        done = call(*arguments)
        assert done.status == 0 and all(one in done.out for one in ids)
    assert "behind list" in call("queue", "--state", state, "list").err


def test_the_list_says_why_each_message_waits(state: Path, ids: list[str]) -> None:
    queue(state, "hold", ids[0], "--why", "ask the customer first")
    shown = queue(state, "list").out
    for words in ("mx.y.test: 550 5.1.1", "held: ask the customer first", "1 message held"):
        assert words in shown
    assert "held: ask" not in queue(state, "list", "--not-held").out
    assert "ask the customer first" in queue(state, "show", ids[0]).out


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--site", "y.test"], [1]),
        (["--site", "mx.y.test"], [1]),
        (["--recipient", "b@Y.test"], [0]),
        (["--age", "-1h"], [0, 1, 2]),
        (["--age", "+1h", "--age", "1d"], []),
        (["--reason", "greylisted"], [1]),
        (["--reason", "5.1.1"], [1]),
        (["--held"], []),
        (["--priority", "0"], [0, 1, 2]),
        (["--priority", "-9..-1"], []),
        (["--domain", "y.test", "--sender", "@example.org"], [0]),
    ],
)
def test_what_is_listed_by_a_filter_is_what_is_changed_by_it(
    state: Path, ids: list[str], options: list[str], expected: list[int]
) -> None:
    listed = [one["id"] for one in objects(queue(state, "list", "--format", "jsonl", *options))]
    assert listed == [ids[index] for index in expected]
    done = queue(state, "remove", "--yes", *options)
    assert done.status == (0 if expected else 1)
    left = [one["id"] for one in objects(queue(state, "list", "--format", "jsonl"))]
    whole = [one for one in ids if one not in listed]
    assert set(whole) <= set(left)


@pytest.mark.parametrize("verb", ["hold", "bounce", "remove"])
def test_a_selection_is_changed_only_when_somebody_said_yes_to_how_much_it_is(
    state: Path, ids: list[str], verb: str
) -> None:
    done = queue(state, verb, "--domain", "y.test")
    assert done.status == 1
    assert "2 recipients of 2 messages would be" in done.sentence and "--yes" in done.sentence
    assert queue(state, verb, "--domain", "y.test", "--yes").out.startswith(("2 recipients", "3 recipients"))


def test_what_is_held_is_due_no_more_until_it_is_released(state: Path, ids: list[str]) -> None:
    assert queue(state, "hold", ids[0]).out == "2 recipients held\n"
    assert "0 due now, 1 message held" in queue(state, "list").out
    assert "postroad queue release" in queue(state, "retry", ids[0]).sentence
    assert queue(state, "release", ids[0]).out == "2 recipients released, and due now\n"
    assert "2 due now" in queue(state, "list").out


def test_what_waits_for_a_hook_is_released_only_by_its_id(state: Path, ids: list[str]) -> None:
    queue(state, "hold", ids[0], "--why", PENDING)
    queue(state, "hold", ids[1])
    assert queue(state, "release", "--all", "--yes").out == "1 recipient released, and due now\n"
    assert queue(state, "release", ids[0]).out == "2 recipients released, and due now\n"


def test_what_is_to_be_given_back_is_shown_until_the_server_has_done_it(state: Path, ids: list[str]) -> None:
    done = queue(state, "bounce", ids[0], "--recipient", "b@y.test", "--why", "the project has ended")
    assert done.out == "1 recipient to be given back to their senders\n"
    assert "goes back to its sender" in queue(state, "list").out
    assert "given back as soon as the server runs" in queue(state, "show", ids[0]).out


def test_a_summary_tells_what_waits_for_whom_and_why(state: Path, ids: list[str]) -> None:
    shown = queue(state, "summary").out
    (row,) = [line for line in shown.splitlines() if line.strip().startswith("y.test")]
    assert row.split()[:3] == ["y.test", "2", "2"] and "550 5.1.1" in row
    assert "3 domains" in shown
    found = objects(queue(state, "summary", "--by", "site", "--format", "jsonl"))
    assert {one["site"]: one["recipients"] for one in found} == {"": 3, "y.test": 1}
    assert shown.replace("\n", "").isprintable()


def test_export_writes_each_message_with_its_envelope_and_leaves_it_in_the_queue(
    state: Path, ids: list[str], tmp_path: Path
) -> None:
    there = tmp_path / "out"
    assert queue(state, "export", "--domain", "y.test", "--to", there).out == f"2 messages written to {there}\n"
    assert sorted(one.name for one in there.iterdir()) == sorted(
        f"{one}.{kind}" for one in ids[:2] for kind in ("eml", "json")
    )
    assert b"Subject: hello\r\n" in (there / f"{ids[0]}.eml").read_bytes()
    told = json.loads((there / f"{ids[0]}.json").read_text())
    assert told["envelope"]["sender"] == "ann@example.org"
    assert [one["address"] for one in told["envelope"]["recipients"]] == ["a@x.test", "b@y.test"]
    assert len(objects(queue(state, "list", "--format", "jsonl"))) == 3
    assert all(one.stat().st_mode & 0o077 == 0 for one in there.iterdir())


def test_the_operators_hand_is_in_the_history(state: Path, ids: list[str]) -> None:
    Ledger(state / "ledger.db").close()
    queue(state, "hold", ids[1], "--why", "a look first")
    queue(state, "release", ids[1])
    queue(state, "remove", ids[1])
    number = parse_queue_id(ids[1])
    assert number is not None
    with Ledger(state / "ledger.db") as ledger:
        noted = [
            (what, said) for what, said in ledger._connection.execute("SELECT what, said FROM note ORDER BY rowid")
        ]
    assert noted == [("held", "a look first"), ("released by the operator", ""), ("removed", "by the operator")]
