"""`postroad queue` as an operator uses it: what waits, why, and the hand in it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from cli.calls import Done, call
from postroad.message.envelope import format_queue_id
from postroad.smtp.address import NULL, Address
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
        (["remove", "0000000000000", "--recipient", "no address"], "--recipient"),
    ],
)
def test_what_is_not_there_is_one_sentence(state: Path, ids: list[str], arguments: list[str], words: str) -> None:
    done = queue(state, *arguments)
    assert done.status == 1 and words in done.sentence


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "nonsense"], "is no queue id"),
        (["retry"], "say which: ids, --domain DOMAIN, or --all"),
        (["retry", "--all", "0000000000000"], "give ids or --all, not both"),
    ],
)
def test_a_wrong_use_says_what_to_do_instead(state: Path, ids: list[str], arguments: list[str], words: str) -> None:
    done = queue(state, *arguments)
    assert done.status == 2 and words in done.err and "Traceback" not in done.err


def test_a_state_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = queue(tmp_path / "elsewhere", "list")
    assert done.status == 1 and str(tmp_path / "elsewhere") in done.sentence
