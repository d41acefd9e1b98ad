"""Taking over the shard of a worker that is no more."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from postroad.store.queue_admin import QueueAdmin
from postroad.store.shards import Adopted, adopt, find_shards, shard_path
from postroad.store.spool import Deferred, Settled, SpooledMessage, SpoolError, SpoolLocked
from postroad.store.sqlite_spool import SpoolLimits, SqliteSpool
from store.spool_conformance import WALL, attempt, full_message, message, run


async def _fill(path: Path, shard: int, count: int) -> list[SpooledMessage]:
    spool = SqliteSpool.open(path, shard=shard)
    messages = [full_message(spool.new_id(WALL)) for _ in range(count)]
    for one in messages:
        first, second, _ = await spool.commit(one, WALL)
        await spool.settle([Settled(queued=first), Deferred(queued=second, due_at=WALL + 5, attempt=attempt())])
    await spool.close()
    return messages


def test_shards_are_found_by_name(tmp_path: Path) -> None:
    assert find_shards(tmp_path / "nowhere") == ()
    for name in ("spool-10.db", "spool-2.db", "spool-2.db-wal", "spool-x.db", "spool-1.db.damaged"):
        (tmp_path / name).touch()
    assert find_shards(tmp_path) == ((2, shard_path(tmp_path, 2)), (10, shard_path(tmp_path, 10)))


def test_an_orphans_messages_move_over_whole(tmp_path: Path) -> None:
    async def work() -> None:
        theirs = await _fill(shard_path(tmp_path, 1), 1, 250)
        main = SqliteSpool.open(shard_path(tmp_path, 0), shard=0)
        (own,) = await main.commit(message(main.new_id(WALL)), WALL)
        assert await adopt(main, shard_path(tmp_path, 1)) == Adopted(messages=250)
        found = await main.due(before=WALL + 9, limit=1000)
        assert len({one.id for one in found}) == 501
        assert {one.message_id for one in found} == {own.message_id, *(one.id for one in theirs)}
        loaded = await main.load(theirs[7].id)
        assert loaded is not None
        assert (loaded.body, loaded.envelope.recipients) == (theirs[7].body, theirs[7].envelope.recipients[1:])
        with QueueAdmin(tmp_path) as admin:
            shown = admin.show(theirs[7].id)
            assert shown is not None
            assert [len(recipient.attempts) for recipient in shown.recipients] == [1, 0]
        await main.settle([Settled(queued=one) for one in found])
        assert await adopt(main, shard_path(tmp_path, 1)) == Adopted(messages=0)
        await main.close()

    run(work())
    assert [entry.name for entry in sorted(tmp_path.iterdir()) if "spool-1" in entry.name] == []


def test_a_take_over_cut_short_brings_no_message_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orphan = shard_path(tmp_path, 1)

    async def work() -> None:
        theirs = await _fill(orphan, 1, 150)
        main = SqliteSpool.open(shard_path(tmp_path, 0), shard=0)
        write, calls = main.write, []

        def fails_third_time(call: object) -> object:
            calls.append(call)
            if len(calls) == 3:
                raise SpoolError("the power went")
            return write(call)  # type: ignore[arg-type]

        monkeypatch.setattr(main, "write", fails_third_time)
        with pytest.raises(SpoolError, match="power"):
            await adopt(main, orphan)
        monkeypatch.undo()
        found = await main.due(before=WALL + 9, limit=1000)
        assert len(found) == 300
        await main.settle([Settled(queued=one) for one in found if one.message_id != theirs[0].id])
        assert (await adopt(main, orphan)).messages == 0
        assert len(await main.due(before=WALL + 9, limit=1000)) == 2
        assert not orphan.exists()
        await main.close()

    run(work())


def test_a_shard_in_use_is_refused(tmp_path: Path) -> None:
    async def work() -> None:
        main = SqliteSpool.open(shard_path(tmp_path, 0), shard=0)
        other = SqliteSpool.open(shard_path(tmp_path, 1), shard=1)
        with pytest.raises(SpoolLocked):
            await adopt(main, other.path)
        await other.close()
        await main.close()

    run(work())


def test_d03_what_cannot_be_read_stays_aside(tmp_path: Path) -> None:
    orphan = shard_path(tmp_path, 1)

    async def work() -> None:
        theirs = await _fill(orphan, 1, 3)
        with closing(sqlite3.connect(orphan, isolation_level=None)) as connection:
            connection.execute("UPDATE message SET helo = CAST(x'ff' AS TEXT) WHERE id = ?", (theirs[1].id,))
        main = SqliteSpool.open(shard_path(tmp_path, 0), shard=0, limits=SpoolLimits(cache_bytes=0))
        assert await adopt(main, orphan) == Adopted(messages=2, damaged=(theirs[1].id,))
        assert not orphan.exists()
        assert orphan.with_name("spool-1.db.damaged").exists()
        assert len(await main.due(before=WALL + 9, limit=10)) == 4
        await main.close()

    run(work())
