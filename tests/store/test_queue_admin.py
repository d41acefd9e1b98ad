"""The operator's access beside a running owner."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from postroad.smtp.address import NULL, Address
from postroad.store.queue_admin import Changed, QueueAdmin, QueueCounts
from postroad.store.queue_selection import Selection
from postroad.store.shards import shard_path
from postroad.store.spool import Deferred, Settled, SpoolError
from postroad.store.sqlite_spool import SqliteSpool
from postroad.store.tally import difference
from store.spool_conformance import WALL, attempt, message, run


def test_lists_over_all_shards_in_pages_and_filtered(tmp_path: Path) -> None:
    async def work() -> None:
        spools = [SqliteSpool.open(shard_path(tmp_path, shard), shard=shard) for shard in (0, 1)]
        ids = []
        for number in range(6):
            spool = spools[number % 2]
            sender = NULL if number == 4 else Address(f"Ann{number}", "example.org")
            one = message(spool.new_id(WALL + number), f"a@d{number % 3}.org", "b@x.org", sender=sender)
            await spool.commit(one, WALL + number)
            ids.append(one.id)
        with QueueAdmin(tmp_path) as admin:
            everything = admin.list()
            assert [entry.id for entry in everything] == ids
            assert [entry.shard for entry in everything] == [0, 1] * 3
            assert (everything[0].sender, everything[4].sender) == ("Ann0@example.org", "")
            assert (everything[0].recipients, everything[0].next_due_at, everything[0].attempts) == (2, WALL, 0)
            assert [entry.id for entry in admin.list(limit=2, after=ids[1])] == ids[2:4]
            assert [entry.id for entry in admin.list(Selection(domain="D1.org"))] == [ids[1], ids[4]]
            assert [entry.id for entry in admin.list(Selection(sender="ann3@example.org"))] == [ids[3]]
            assert [entry.id for entry in admin.list(Selection(sender="<>"))] == [ids[4]]
            assert len(admin.list(Selection(sender="@example.org"))) == 5
            assert admin.counts(WALL + 2) == QueueCounts(messages=6, recipients=12, due=6, damaged=0, held=0)
            assert admin.show(12345) is None
        for spool in spools:
            await spool.close()

    run(work())


def test_retry_and_removal_reach_the_owner(tmp_path: Path) -> None:
    async def work() -> None:
        spool = SqliteSpool.open(shard_path(tmp_path, 0), shard=0)
        kept = [await spool.commit(message(spool.new_id(WALL), "a@x.org", "b@y.org"), WALL + 60) for _ in range(3)]
        first, second, third = (one[0].message_id for one in kept)
        with QueueAdmin(tmp_path) as admin:
            assert not await spool.changed()
            assert admin.retry(Selection(ids=[first])) == Changed(recipients=2, messages=(first,))
            assert admin.retry(Selection(domain="y.org")).recipients == 3
            assert await spool.changed()
            assert not await spool.changed()
            due = await spool.due(before=WALL, limit=10)
            assert {(one.message_id, one.recipient.address.domain) for one in due} == {
                (first, "x.org"),
                (first, "y.org"),
                (second, "y.org"),
                (third, "y.org"),
            }
            assert admin.remove(Selection(ids=[second], recipient=("A", "x.org"))).recipients == 1
            assert admin.remove(Selection(ids=[third])).recipients == 2
            assert admin.remove(Selection(ids=[third])).recipients == 0
            assert await spool.changed()
            assert await spool.load(third) is None
            left = await spool.load(second)
            assert left is not None
            assert [str(one.address) for one in left.envelope.recipients] == ["b@y.org"]
            # Its delivery was under way when the operator removed it.
            bounce = message(spool.new_id(WALL), sender=NULL)
            deferred = [Deferred(queued=one, due_at=WALL + 9, attempt=attempt()) for one in kept[2]]
            await spool.settle([Settled(queued=kept[1][0]), *deferred], [(bounce, WALL)])
            assert [entry.id for entry in admin.list()] == [first, second, bounce.id]
            assert admin.retry().recipients == 4
        await spool.close()

    run(work())


def test_needs_a_spool_but_no_server(tmp_path: Path) -> None:
    async def work() -> None:
        spool = SqliteSpool.open(shard_path(tmp_path, 0), shard=0)
        await spool.commit(message(spool.new_id(WALL)), WALL)
        await spool.close()

    run(work())
    with QueueAdmin(tmp_path) as admin:
        assert len(admin.list()) == 1
    with pytest.raises(SpoolError, match="no spool"):
        QueueAdmin(tmp_path / "elsewhere")


def test_the_balance_holds_whatever_became_of_recipients(tmp_path: Path) -> None:
    async def work() -> None:
        spool = SqliteSpool.open(tmp_path / "spool-0.db", shard=0)
        first = message(spool.new_id(WALL), "a@x.test", "b@x.test", "c@x.test", "d@x.test", "e@x.test")
        a, b, c, d, _ = await spool.commit(first, WALL)
        bounce = message(spool.new_id(WALL), "ann@x.test", sender=NULL)
        bounce = replace(bounce, trace=replace(bounce.trace, peer="", protocol="report"))
        await spool.settle([Settled(queued=a), Settled(queued=b, fate="bounced")], [(bounce, WALL)])
        await spool.settle([Settled(queued=a), Settled(queued=c, fate="discarded")])
        with QueueAdmin(tmp_path) as admin:
            assert admin.remove(Selection(ids=[first.id], recipient=("d", "x.test"))).recipients == 1
        await spool.settle([Settled(queued=d)])
        held = replace(message(spool.new_id(WALL), "f@x.test", "g@x.test"), held="wait")
        await spool.commit(held, WALL)
        await spool.amend(message(held.id, "g@x.test", "h@x.test", "i@x.test"), WALL)
        still = replace(message(spool.new_id(WALL), "j@x.test", "k@x.test"), held="wait")
        await spool.commit(still, WALL)
        await spool.close()

    run(work())
    with QueueAdmin(tmp_path) as admin:
        tally = admin.tally()
    assert tally == {
        "accepted": 5 + 2 + 2 + 2,
        "generated": 1,
        "delivered": 1,
        "bounced": 1,
        "dropped": 0,
        "discarded": 1,
        "removed": 2,
        "waiting": 1 + 1 + 3,
        "held": 2,
    }
    assert difference(tally) == 0
