"""The ledger: a message's whole life, found by id, address and Message-ID, forgotten by age and address (V-10)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from postroad.store.ledger import ATTEMPTS_KEPT, Accepted, Ledger, Note, Tried
from postroad.store.ledger_mend import Mended, mend
from postroad.store.queue_admin import QueueAdmin
from postroad.store.shards import shard_path
from postroad.store.spool import Settled
from postroad.store.sqlite_spool import SqliteSpool
from store.spool_conformance import WALL, message, run

NOW = 1_800_000_000.0
CAME = Accepted(
    id=7,
    at=NOW,
    sender="ann@example.org",
    user="ann",
    peer="192.0.2.1",
    helo="client",
    protocol="ESMTPSA",
    size=120,
    header_id="<1@example.org>",
    recipients=((None, "Bob@example.net"), (None, "carl@example.net")),
)
TRIED = Tried(
    message_id=7,
    row=4,
    address="Bob@example.net",
    number=1,
    at=NOW + 1,
    outcome="deferred",
    host="mx.example.net[192.0.2.9]",
    phase="rcpt",
    reply="451 4.7.1 Greylisted",
    meaning="greylisted",
    rule="greylisted",
    due_at=NOW + 300,
    secured="TLSv1.3 AES",
    dialogue="C: MAIL FROM:<ann@example.org>\nS: 250 ok",
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.db") as made:
        yield made


def test_a_messages_whole_life_is_told(ledger: Ledger) -> None:
    ledger.write([CAME, TRIED, replace(TRIED, number=2, outcome="delivered", at=NOW + 301, due_at=None)])
    ledger.write([Note(message_id=7, at=NOW + 900, address="Bob@example.net", what="bounced", said="550 gone")])
    ledger.write([replace(CAME, id=8, about=7, header_id=None, recipients=((None, "ann@example.org"),))])
    story = ledger.story(7)
    assert story is not None
    bob, carl = story.recipients if story.recipients[0].address.startswith("B") else reversed(story.recipients)
    assert (bob.fate, [one.outcome for one in bob.attempts]) == ("bounced", ["deferred", "delivered"])
    assert bob.attempts[0] == replace(TRIED, row=0)
    assert carl.fate is None and story.notices == (8,)
    assert dict(story.accepted.recipients) == {4: "Bob@example.net", None: "carl@example.net"}
    assert ledger.story(9) is None


def test_it_is_found_by_address_in_any_case_and_by_message_id(ledger: Ledger) -> None:
    ledger.write([CAME, replace(CAME, id=8, at=NOW + 1, header_id="<2@example.org>", sender="")])
    assert ledger.find("bob@EXAMPLE.net") == [8, 7]
    assert ledger.find("ann@example.org") == [7]
    assert ledger.find("1@example.org") == [7] and ledger.by_header("<1@example.org>") == 7
    assert ledger.find("nobody@example.org") == [] and ledger.by_header("<3@example.org>") is None


def test_an_attempt_may_be_noted_before_its_message(ledger: Ledger) -> None:
    ledger.write([replace(TRIED, outcome="delivered", due_at=None)])
    story = ledger.story(7)
    assert story is not None and story.accepted.peer == "" and story.recipients[0].fate == "delivered"
    ledger.write([CAME])
    story = ledger.story(7)
    assert story is not None and story.accepted.peer == "192.0.2.1"
    assert {one.address: one.fate for one in story.recipients} == {
        "Bob@example.net": "delivered",
        "carl@example.net": None,
    }


def test_a_bounce_that_is_noted_before_the_delivery_it_follows_stays_the_end(ledger: Ledger) -> None:
    ledger.write([CAME])
    ledger.write([Note(message_id=7, at=NOW + 9, address="Bob@example.net", what="bounced", said="550 gone")])
    ledger.write([replace(TRIED, outcome="delivered", at=NOW + 8, due_at=None)])
    story = ledger.story(7)
    assert story is not None
    assert {one.address: one.fate for one in story.recipients} == {
        "Bob@example.net": "bounced",
        "carl@example.net": None,
    }


def test_v10_it_is_forgotten_by_age_and_by_address(ledger: Ledger) -> None:
    ledger.write([CAME, TRIED, replace(CAME, id=8, at=NOW + 500, header_id=None)])
    ledger.write([replace(CAME, id=9, at=NOW + 600, sender="", user=None, header_id=None, recipients=())])
    assert ledger.forget_address("bob@example.net") >= 2
    story = ledger.story(7)
    assert story is not None and [one.address for one in story.recipients] == ["carl@example.net"]
    assert ledger.forget_address("ann@example.org") >= 1
    assert ledger.find("ann@example.org") == []
    assert ledger.prune(NOW + 1) == 1
    assert ledger.story(7) is None and ledger.story(8) is not None


def test_several_recipients_of_one_dialogue_keep_it_once_and_each_is_told_it(ledger: Ledger) -> None:
    carl = replace(TRIED, row=5, address="carl@example.net", told_with="Bob@example.net", dialogue=None)
    ledger.write([CAME, TRIED, carl])
    story = ledger.story(7)
    assert story is not None
    assert [one.attempts[0].dialogue for one in story.recipients] == [TRIED.dialogue] * 2
    assert story.recipients[0].attempts[0].at == TRIED.at


def test_of_endless_attempts_the_last_ones_are_kept(ledger: Ledger) -> None:
    for number in range(1, ATTEMPTS_KEPT + 30):
        ledger.write([replace(TRIED, number=number)])
    story = ledger.story(7)
    assert story is not None
    numbers = [tried.number for one in story.recipients for tried in one.attempts]
    assert numbers == list(range(30, ATTEMPTS_KEPT + 30))


def test_text_that_no_database_holds_is_kept_as_it_can_be(ledger: Ledger) -> None:
    ledger.write([replace(CAME, helo="a\udcffb", header_id="\ud800"), replace(TRIED, reply="\udcfe no")])
    story = ledger.story(7)
    assert story is not None
    (tried,) = [tried for one in story.recipients for tried in one.attempts]
    assert story.accepted.helo == "a\\udcffb" and tried.reply == "\\udcfe no"


def test_the_oldest_go_where_there_are_more_than_are_to_be_kept(ledger: Ledger) -> None:
    ledger.write([replace(CAME, id=number, at=NOW + number) for number in range(1, 31)])
    assert ledger.prune(0.0, 10) == 20
    assert [number for number in range(1, 31) if ledger.story(number) is not None] == list(range(21, 31))


def test_ends_are_counted(ledger: Ledger) -> None:
    ledger.write([CAME, replace(TRIED, outcome="delivered")])
    assert ledger.fates() == {"delivered": 1, "waiting": 1}
    ledger.write([Note(message_id=7, at=NOW, address="carl@example.net", what="removed", said="")])
    assert ledger.fates() == {"delivered": 1, "removed": 1}


def test_after_a_crash_the_spool_tells_what_was_missed_and_what_nobody_knows_is_marked(
    ledger: Ledger, tmp_path: Path
) -> None:
    async def fill() -> int:
        spool = SqliteSpool.open(shard_path(tmp_path, 0), shard=0)
        first, _ = await spool.commit(message(spool.new_id(WALL), "a@x.test", "b@x.test"), WALL)
        await spool.settle([Settled(queued=first)])
        await spool.close()
        return first.message_id

    number = run(fill())
    lost = replace(CAME, id=number - 1, at=WALL, recipients=((None, "gone@x.test"),))
    young = replace(CAME, id=number - 2, at=WALL + 99, recipients=((None, "new@x.test"),))
    known = replace(CAME, id=number - 3, at=WALL, recipients=((None, "done@x.test"),))
    end = replace(TRIED, message_id=number - 3, address="done@x.test", outcome="delivered", at=WALL)
    ledger.write([lost, young, known, end])
    with QueueAdmin(tmp_path) as queue:
        assert mend(ledger, queue, before=WALL + 10) == Mended(messages=1, unknown=1)
        assert mend(ledger, queue, before=WALL + 10) == Mended(messages=0, unknown=0)
    story = ledger.story(number)
    assert story is not None
    assert [(one.address, one.fate) for one in story.recipients] == [("b@x.test", None)]
    assert ledger.fates() == {"delivered": 1, "unknown": 1, "waiting": 2}
    ledger.write([replace(TRIED, message_id=number - 1, address="gone@x.test", outcome="bounced")])
    assert ledger.fates() == {"bounced": 1, "delivered": 1, "waiting": 2}, "what was written late counts"


def test_a_message_that_came_after_the_start_is_left_to_its_worker_who_knows_more_of_it(
    ledger: Ledger, tmp_path: Path
) -> None:
    async def fill() -> int:
        spool = SqliteSpool.open(shard_path(tmp_path, 0), shard=0)
        (queued,) = await spool.commit(message(spool.new_id(WALL), "a@x.test"), WALL)
        await spool.close()
        return queued.message_id

    number = run(fill())
    with QueueAdmin(tmp_path) as queue:
        shown = queue.show(number)
        assert shown is not None
        assert mend(ledger, queue, before=shown.entry.received_at) == Mended(messages=0, unknown=0)
    ledger.write([replace(CAME, id=number, recipients=((None, "a@x.test"),))])
    assert ledger.by_header("<1@example.org>") == number
