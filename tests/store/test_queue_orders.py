"""What an operator changes in a queue, by any of the filters, beside a server that goes on delivering."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from postroad.message.envelope import Recipient
from postroad.smtp.address import NULL, Address
from postroad.store.queue_admin import QueueAdmin
from postroad.store.queue_selection import Selection
from postroad.store.shards import adopt, shard_path
from postroad.store.spool import NEVER, Attempt, Deferred, SpooledMessage
from postroad.store.sqlite_spool import SqliteSpool
from postroad.store.tally import difference
from store.spool_conformance import WALL, message, run

BULK = -5


def site_of(host: str) -> str:
    return host.partition(".")[2]


async def fill(directory: Path) -> list[SpooledMessage]:
    """Four messages in two shards: deferred at a host, never tried, held, and a notification of low priority."""
    spools = [SqliteSpool.open(shard_path(directory, shard), shard=shard) for shard in (0, 1)]
    ids = [spools[number % 2].new_id(WALL + number) for number in range(4)]
    plain = [
        message(ids[0], "a@one.test", "b@two.test", sender=Address("ann", "example.org")),
        message(ids[1], "c@two.test", sender=Address("bob", "example.net")),
        message(ids[2], "d@one.test", sender=Address("Ann", "example.org")),
        message(ids[3], "ann@three.test", sender=NULL),
    ]
    sent = [
        replace(
            one,
            envelope=replace(one.envelope, priority=BULK if number == 3 else 0),
            received_at=WALL + number * 3600,
            held="a look first" if number == 2 else "",
        )
        for number, one in enumerate(plain)
    ]
    for number, one in enumerate(sent):
        queued = await spools[number % 2].commit(one, WALL)
        if number == 0:
            words = Attempt(
                at=WALL, host="mx1.one.test", phase="rcpt", reply="451 4.7.1 Come LATER", meaning="greylisted"
            )
            await spools[0].settle([Deferred(queued=queued[0], due_at=WALL + 60, attempt=words)])
    for spool in spools:
        await spool.close()
    return sent


SELECTIONS: list[tuple[Selection, list[int]]] = [
    (Selection(), [0, 1, 2, 3]),
    (Selection(domain="TWO.test"), [0, 1]),
    (Selection(recipient=("A", "one.test")), [0]),
    (Selection(sender="ann@example.org"), [0, 2]),
    (Selection(sender="@example.net"), [1]),
    (Selection(sender="<>"), [3]),
    (Selection(site="one.test"), [0]),
    (Selection(site="MX1.one.test"), [0]),
    (Selection(received_before=WALL + 3601), [0, 1]),
    (Selection(received_after=WALL + 3599), [1, 2, 3]),
    (Selection(reason="greylisted"), [0]),
    (Selection(reason="come later"), [0]),
    (Selection(reason="a LOOK"), [2]),
    (Selection(reason="a look", sender="@example.net"), []),
    (Selection(is_held=True), [2]),
    (Selection(is_held=False), [0, 1, 3]),
    (Selection(not_hold="a look first"), [0, 1, 3]),
    (Selection(priorities=(-9, -1)), [3]),
]


@pytest.mark.parametrize(("selection", "expected"), SELECTIONS)
def test_each_filter_selects_the_same_messages_for_the_eye_and_for_the_hand(
    tmp_path: Path, selection: Selection, expected: list[int]
) -> None:
    sent = run(fill(tmp_path))
    with QueueAdmin(tmp_path, site_of=site_of) as admin:
        listed = [one.id for one in admin.list(selection)]
        assert listed == [sent[index].id for index in expected]
        messages, recipients = admin.size(selection)
        assert messages == len(expected)
        changed = admin.remove(selection)
        assert (sorted(changed.messages), changed.recipients) == (listed, recipients)
        assert admin.size(selection) == (0, 0)
        assert difference(admin.tally()) == 0


def test_a_message_shows_why_it_waits(tmp_path: Path) -> None:
    run(fill(tmp_path))
    with QueueAdmin(tmp_path, site_of=site_of) as admin:
        tried, fresh, held, _ = admin.list()
        assert (tried.host, tried.meaning, tried.reason) == ("mx1.one.test", "greylisted", "451 4.7.1 Come LATER")
        assert (fresh.host, fresh.reason, fresh.held) == ("", "", None)
        assert (held.held, held.next_due_at) == ("a look first", None)


def test_a_hold_and_a_release_reach_the_owner_and_an_attempt_under_way_undoes_no_hold(tmp_path: Path) -> None:
    async def work() -> None:
        spool = SqliteSpool.open(shard_path(tmp_path, 0), shard=0)
        (queued,) = await spool.commit(message(spool.new_id(WALL), "a@x.test"), WALL)
        only = Selection(ids=[queued.message_id])
        with QueueAdmin(tmp_path, site_of=site_of) as admin:
            assert admin.hold(only, "an operator looks").recipients == 1
            assert admin.hold(only, "again").recipients == 0
            assert await spool.changed()
            assert await spool.due(before=1e18, limit=9) == ()
            loaded = await spool.load(queued.message_id)
            assert loaded is not None and loaded.held == "an operator looks"
            words = Attempt(at=WALL, host="h", phase="rcpt", reply="451 no", meaning="unclear")
            await spool.settle([Deferred(queued=queued, due_at=WALL + 5, attempt=words)])
            assert await spool.due(before=1e18, limit=9) == ()
            assert admin.retry(only).recipients == 0, "what is held stays so"
            assert admin.release(only).recipients == 1
            assert admin.release(only).recipients == 0
            assert await spool.changed()
            (due,) = await spool.due(before=1.0, limit=9)
            assert due.id == queued.id and due.attempts == 1
        await spool.close()

    run(work())


def test_what_is_given_back_is_told_to_the_owner_until_it_is_gone(tmp_path: Path) -> None:
    async def work() -> None:
        spool = SqliteSpool.open(shard_path(tmp_path, 0), shard=0)
        first, second = await spool.commit(message(spool.new_id(WALL), "a@x.test", "b@x.test"), WALL)
        with QueueAdmin(tmp_path, site_of=site_of) as admin:
            assert admin.give_back(Selection(recipient=("b", "x.test")), "no such project").recipients == 1
            (told,) = await spool.given_back(10)
            assert (told.queued.id, told.words, told.queued.due_at) == (second.id, "no such project", NEVER)
            assert [one.id for one in await spool.due(before=1e18, limit=9)] == [first.id]
            assert admin.list()[0].is_given_back
            assert admin.remove(Selection(recipient=("b", "x.test"))).recipients == 1
            assert await spool.given_back(10) == ()
        await spool.close()

    run(work())


def test_what_is_to_be_given_back_is_so_in_the_shard_that_takes_it_over(tmp_path: Path) -> None:
    async def work() -> None:
        orphan = SqliteSpool.open(shard_path(tmp_path, 1), shard=1)
        await orphan.commit(message(orphan.new_id(WALL), "a@x.test", "b@x.test"), WALL)
        await orphan.close()
        with QueueAdmin(tmp_path, site_of=site_of) as admin:
            admin.give_back(Selection(recipient=("b", "x.test")), "why")
        spool = SqliteSpool.open(shard_path(tmp_path, 0), shard=0)
        await spool.commit(message(spool.new_id(WALL), "c@x.test"), WALL)
        await adopt(spool, shard_path(tmp_path, 1))
        (told,) = await spool.given_back(10)
        assert (str(told.queued.recipient.address), told.words) == ("b@x.test", "why")
        await spool.close()

    run(work())


def test_many_are_changed_in_pages_and_none_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postroad.store.queue_admin.ROWS_TOGETHER", 7)

    async def work() -> None:
        spool = SqliteSpool.open(shard_path(tmp_path, 0), shard=0)
        for number in range(20):
            await spool.commit(message(spool.new_id(WALL), f"a@d{number % 3}.test", "b@x.test"), WALL)
        changes: list[tuple[Callable[[QueueAdmin], int], int]] = [
            (lambda admin: admin.hold(Selection(domain="x.test"), "why").recipients, 40),
            (lambda admin: admin.release(Selection()).recipients, 40),
            (lambda admin: admin.retry().recipients, 40),
            (lambda admin: admin.give_back(Selection(domain="d1.test"), "").recipients, 7),
            (lambda admin: admin.remove(Selection()).recipients, 40),
        ]
        with QueueAdmin(tmp_path, site_of=site_of) as admin:
            for change, expected in changes:
                assert change(admin) == expected
        await spool.close()

    run(work())


def test_a_summary_puts_together_what_waits_for_the_same(tmp_path: Path) -> None:
    run(fill(tmp_path))
    with QueueAdmin(tmp_path, site_of=site_of) as admin:
        by_domain = {one.key: one for one in admin.summary("domain", now=WALL + 1)}
        assert {key: (one.messages, one.recipients, one.held) for key, one in by_domain.items()} == {
            "one.test": (2, 2, 1),
            "two.test": (2, 2, 0),
            "three.test": (1, 1, 0),
        }
        one = by_domain["one.test"]
        assert (one.oldest_at, one.next_due_at, one.reason, one.due) == (WALL, WALL + 60, "451 4.7.1 Come LATER", 0)
        assert {one.key: one.recipients for one in admin.summary("reason", now=WALL)} == {
            "greylisted": 1,
            "held": 1,
            "": 3,
        }
        assert {one.key: one.recipients for one in admin.summary("site", now=WALL)} == {"one.test": 1, "": 4}
        assert {one.key: one.recipients for one in admin.summary("sender", now=WALL)} == {
            "ann@example.org": 2,
            "Ann@example.org": 1,
            "bob@example.net": 1,
            "<>": 1,
        }
        only = admin.summary("domain", Selection(domain="two.test"), now=WALL)
        assert [one.key for one in only] == ["two.test"]


def test_recipients_are_as_they_were_written(tmp_path: Path) -> None:
    sent = run(fill(tmp_path))
    with QueueAdmin(tmp_path, site_of=site_of) as admin:
        shown = admin.show(sent[3].id)
        assert shown is not None and shown.message is not None
        assert shown.message.envelope.recipients == (Recipient(Address("ann", "three.test")),)
        assert shown.entry.priority == BULK
