"""The spool in SQLite: the port's promises, and what a disk, an operator and a clock can do to it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path

import pytest

from postroad.store.queue_admin import QueueAdmin
from postroad.store.queue_ids import QueueIds
from postroad.store.queue_selection import Selection
from postroad.store.spool import (
    Deferred,
    Queued,
    Settled,
    Spool,
    SpoolBusy,
    SpoolDamaged,
    SpooledMessage,
    SpoolError,
    SpoolFull,
    SpoolLocked,
    SpoolVersion,
)
from postroad.store.sqlite import DatabaseSettings
from postroad.store.sqlite_spool import SpoolLimits, SqliteSpool
from postroad.store.writer import WriterLimits
from store.spool_conformance import WALL, SpoolConformance, attempt, full_message, message, run


class TestSqliteSpool(SpoolConformance):
    @contextmanager
    def using(self, tmp_path: Path) -> Iterator[Callable[[], Spool]]:
        yield lambda: SqliteSpool.open(tmp_path / "spool-0.db", shard=0)


class TestSqliteSpoolWithoutCache(SpoolConformance):
    """Every load reads the disk."""

    @contextmanager
    def using(self, tmp_path: Path) -> Iterator[Callable[[], Spool]]:
        yield lambda: SqliteSpool.open(tmp_path / "spool-0.db", shard=0, limits=SpoolLimits(cache_bytes=0))


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "new" / "spool-0.db"

    async def first() -> tuple[SpooledMessage, int]:
        spool = SqliteSpool.open(path, shard=0)
        whole = full_message(spool.new_id(WALL))
        one, two, _ = await spool.commit(whole, WALL)
        await spool.settle(
            [Settled(queued=one), Deferred(queued=two, due_at=WALL + 60, attempt=attempt(), delay_notified=True)]
        )
        await spool.close()
        return whole, two.id

    async def second(whole: SpooledMessage, number: int) -> None:
        spool = SqliteSpool.open(path, shard=0)
        found = await spool.due(before=WALL + 61, limit=10)
        assert [(one.due_at, one.attempts, one.delay_notified) for one in found] == [
            (WALL, 0, False),
            (WALL + 60, 1, True),
        ]
        assert found[1].id == number
        loaded = await spool.load(whole.id)
        assert loaded is not None
        assert loaded.body == whole.body
        assert loaded.envelope.recipients == whole.envelope.recipients[1:]
        await spool.close()

    run(second(*run(first())))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_d04_ids_stay_unique_when_the_clock_was_set_back_over_a_restart(tmp_path: Path) -> None:
    async def some(wall: float) -> list[int]:
        spool = SqliteSpool.open(tmp_path / "spool-3.db", shard=3)
        ids = []
        for _ in range(10):
            (queued,) = await spool.commit(message(spool.new_id(wall)), wall)
            ids.append(queued.message_id)
            await spool.settle([Settled(queued=queued)])
        await spool.close()
        return ids

    ids = run(some(WALL)) + run(some(WALL - 31_536_000)) + run(some(WALL + 5))
    assert ids == sorted(set(ids))
    assert {number >> 16 & 63 for number in ids} == {3}


def test_ids_of_two_shards_never_meet() -> None:
    one, two = QueueIds(0), QueueIds(1)
    assert not {one.next(WALL) for _ in range(70_000)} & {two.next(WALL) for _ in range(70_000)}
    with pytest.raises(ValueError, match="shard 64"):
        QueueIds(64)
    late = QueueIds(0)
    late.next(1e12)
    with pytest.raises(OverflowError):
        [late.next(1e12) for _ in range(70_000)]


def test_d06_a_second_owner_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    path = tmp_path / "spool-0.db"

    async def work() -> None:
        spool = SqliteSpool.open(path, shard=0)
        with pytest.raises(SpoolLocked, match=str(os.getpid())):
            SqliteSpool.open(path, shard=0)
        await spool.close()
        await SqliteSpool.open(path, shard=0).close()

    run(work())


def test_d07_a_newer_or_foreign_file_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "spool-0.db"

    async def make() -> None:
        await SqliteSpool.open(path, shard=0).close()

    run(make())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(SpoolVersion, match="99"):
        SqliteSpool.open(path, shard=0)
    with pytest.raises(SpoolVersion):
        QueueAdmin(tmp_path)
    assert path.read_bytes() == before
    foreign = tmp_path / "spool-1.db"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE other (x)")
    with pytest.raises(SpoolVersion, match="not a Postroad spool"):
        SqliteSpool.open(foreign, shard=1)
    garbage = tmp_path / "spool-2.db"
    garbage.write_bytes(b"no database at all" * 1000)
    with pytest.raises(SpoolDamaged):
        SqliteSpool.open(garbage, shard=2)
    with pytest.raises(SpoolError):
        SqliteSpool.open(tmp_path, shard=2)


def test_d07_a_spool_of_the_first_version_is_taken_over_with_its_mail(tmp_path: Path) -> None:
    path = tmp_path / "spool-0.db"
    first = files("postroad.store").joinpath("migrations/spool/0001_messages.sql").read_text("utf-8")
    body = b"Subject: old\r\n\r\nold\r\n"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(first)
        connection.execute(f"PRAGMA application_id = {zlib.crc32(b'postroad spool') & 0x7FFFFFFF}")
        connection.execute("PRAGMA user_version = 1")
        connection.execute(
            "INSERT INTO message VALUES (9, 1.0, 2.0, 'ann', 'example.org', '7BIT', 0, NULL, NULL, '192.0.2.1', 'h',"
            " 'ESMTP', NULL, ?, ?, ?)",
            (len(body), zlib.crc32(body), body),
        )
        connection.execute("INSERT INTO recipient VALUES (4, 9, 'bob', 'example.net', NULL, NULL, 5.0, 2, 0)")
        connection.execute("INSERT INTO attempt VALUES (9, 4, 2, 'bob@example.net', 4.0, 'mx', 'rcpt', '451', 'x')")
        connection.commit()

    async def work() -> None:
        spool = SqliteSpool.open(path, shard=0)
        (queued,) = await spool.due(before=10.0, limit=9)
        assert (queued.id, queued.attempts, queued.priority, queued.stream) == (4, 2, 0, "example.org")
        kept = await spool.load(9)
        assert kept is not None and (kept.body, kept.held, kept.stream) == (body, "", "example.org")
        await spool.settle([Settled(queued=queued)])
        await spool.close()

    run(work())
    with closing(sqlite3.connect(path)) as connection:
        counts = [connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("message", "attempt")]
    assert counts == [0, 0]


def test_d02_a_full_store_refuses_keeps_its_queue_and_recovers(tmp_path: Path) -> None:
    limits = SpoolLimits(database=DatabaseSettings(max_bytes=40 * 4096))

    async def work() -> None:
        spool = SqliteSpool.open(tmp_path / "spool-0.db", shard=0, limits=limits)
        kept: list[Queued] = []
        with pytest.raises(SpoolFull, match="size limit"):
            for _ in range(100):
                kept += await spool.commit(message(spool.new_id(WALL), body=b"x" * 4096), WALL)
        assert len(kept) > 5
        futures = [spool.commit(message(spool.new_id(WALL), body=b"x" * 8192), WALL) for _ in range(3)]
        settled = spool.settle([Settled(queued=kept[0])])
        assert {type(one) for one in await asyncio.gather(*futures, return_exceptions=True)} == {SpoolFull}
        await settled
        await spool.settle([Settled(queued=one) for one in kept[1:4]])
        assert await spool.due(before=WALL + 1, limit=100) == tuple(kept[4:])
        await spool.commit(message(spool.new_id(WALL), body=b"x" * 4096), WALL)
        await spool.close()

    run(work())


def test_too_much_waiting_is_refused_at_once(tmp_path: Path) -> None:
    limits = SpoolLimits(writer=WriterLimits(pending_operations=3))

    async def work() -> None:
        spool = SqliteSpool.open(tmp_path / "spool-0.db", shard=0, limits=limits)
        futures = [spool.commit(message(spool.new_id(WALL)), WALL) for _ in range(5)]
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert [type(result) for result in results] == [tuple, tuple, tuple, SpoolBusy, SpoolBusy]
        await spool.commit(message(spool.new_id(WALL)), WALL)
        await spool.close()

    run(work())


def test_large_bodies_are_committed_in_bounded_batches(tmp_path: Path) -> None:
    limits = SpoolLimits(writer=WriterLimits(batch_bytes=1_000_000, batch_operations=10), cache_bytes=2_500_000)

    async def work() -> None:
        spool = SqliteSpool.open(tmp_path / "spool-0.db", shard=0, limits=limits)
        bodies = [bytes([number]) * 600_000 for number in range(9)] + [b"big" * 1_000_000]
        queued = await asyncio.gather(*[spool.commit(message(spool.new_id(WALL), body=body), WALL) for body in bodies])
        for (one,), body in zip(queued, bodies, strict=True):
            loaded = await spool.load(one.message_id)
            assert loaded is not None
            assert loaded.body == body
        await spool.close()

    run(work())


def test_text_that_is_no_unicode_fails_alone_and_clearly(tmp_path: Path) -> None:
    async def work() -> None:
        spool = SqliteSpool.open(tmp_path / "spool-0.db", shard=0)
        good = spool.commit(message(spool.new_id(WALL)), WALL)
        bad = spool.commit(message(spool.new_id(WALL), "\udcff@x.org"), WALL)
        assert len(await good) == 1
        with pytest.raises(SpoolError, match="utf-8"):
            await bad
        await spool.close()

    run(work())


def test_another_programs_lock_is_waited_for_then_refused(tmp_path: Path) -> None:
    path = tmp_path / "spool-0.db"
    limits = SpoolLimits(database=DatabaseSettings(busy_timeout_s=0.02))

    async def work() -> None:
        spool = SqliteSpool.open(path, shard=0, limits=limits)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(SpoolBusy):
                await spool.commit(message(spool.new_id(WALL)), WALL)
            other.execute("ROLLBACK")
        await spool.commit(message(spool.new_id(WALL)), WALL)
        await spool.close()

    run(work())


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE message SET body = zeroblob(size) WHERE id = ?",
        "UPDATE message SET body_type = 'NOBIT' WHERE id = ?",
        "UPDATE message SET helo = CAST(x'ff' AS TEXT) WHERE id = ?",
        "UPDATE recipient SET notify = 'SOMETIMES' WHERE message_id = ?",
        "UPDATE recipient SET local = CAST(x'ff' AS TEXT) WHERE message_id = ?",
    ],
)
def test_d03_a_damaged_row_is_set_aside_reported_and_the_rest_goes_on(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "spool-0.db"
    reported: list[int] = []

    async def work() -> None:
        spool = SqliteSpool.open(
            path, shard=0, limits=SpoolLimits(cache_bytes=0), on_damage=lambda number, _: reported.append(number)
        )
        queued = [(await spool.commit(message(spool.new_id(WALL)), WALL))[0] for _ in range(5)]
        bad = queued[2].message_id
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute(damage, (bad,))
        for _ in range(2):
            await spool.due(before=WALL + 1, limit=10)
            await spool.load(bad)
        found = await spool.due(before=WALL + 1, limit=10)
        assert [one.id for one in found] == [one.id for one in queued if one.message_id != bad]
        assert reported == [bad]
        for one in found:
            assert await spool.load(one.message_id) is not None
        await spool.settle([Settled(queued=one) for one in found])
        with QueueAdmin(tmp_path) as admin:
            entries = admin.list()
            assert [entry.id for entry in entries] == [bad]
            assert entries[0].damaged
            shown = admin.show(bad)
            assert shown is not None
            assert shown.message is None
            assert admin.retry(Selection(ids=[bad])).recipients == 1
            assert await spool.changed()
            assert await spool.load(bad) is None
            assert reported == [bad, bad]
            assert admin.remove(Selection(ids=[bad])).recipients == 1
            assert admin.list() == ()
        await spool.close()

    run(work())


def test_d03_a_damaged_page_takes_only_its_message_along(tmp_path: Path) -> None:
    path = tmp_path / "spool-0.db"
    reported: list[int] = []

    async def fill() -> list[int]:
        spool = SqliteSpool.open(path, shard=0)
        queued = [await spool.commit(message(spool.new_id(WALL), body=b"%02d" % n * 6000), WALL) for n in range(20)]
        await spool.close()
        return [one.message_id for (one,) in queued]

    async def read(ids: list[int]) -> None:
        spool = SqliteSpool.open(path, shard=0, on_damage=lambda number, _: reported.append(number))
        found = await spool.due(before=WALL + 1, limit=100)
        assert len(found) == 20
        loaded = [await spool.load(number) for number in ids]
        assert [one is None for one in loaded] == [number == 7 for number in range(20)]
        assert reported == [ids[7]]
        left = await spool.due(before=WALL + 1, limit=100)
        assert [one.message_id for one in left] == ids[:7] + ids[8:]
        await spool.settle([Settled(queued=one) for one in left])
        await spool.commit(message(spool.new_id(WALL)), WALL)
        await spool.close()

    ids = run(fill())
    data = bytearray(path.read_bytes())
    # A whole overflow page of the eighth body, its pointer to the next page included.
    page = data.index(b"07" * 2000) // 4096 + 1
    data[page * 4096 : (page + 1) * 4096] = b"\xff" * 4096
    path.write_bytes(data)
    run(read(ids))


def test_the_attempts_of_a_recipient_are_kept_and_bounded(tmp_path: Path) -> None:
    async def work() -> None:
        spool = SqliteSpool.open(tmp_path / "spool-0.db", shard=0, limits=SpoolLimits(attempts_kept=3, reply_chars=10))
        first, _ = await spool.commit(message(spool.new_id(WALL), "a@x.org", "b@x.org"), WALL)
        for number in range(5):
            (again,) = [one for one in await spool.due(before=WALL + 99, limit=9) if one.id == first.id]
            await spool.settle([Deferred(queued=again, due_at=WALL + number, attempt=attempt(at=float(number)))])
        with QueueAdmin(tmp_path) as admin:
            shown = admin.show(first.message_id)
            assert shown is not None
            assert [[one.at for one in recipient.attempts] for recipient in shown.recipients] == [[2.0, 3.0, 4.0], []]
            assert {one.reply for one in shown.recipients[0].attempts} == {"451 4.7.1 "}
            await spool.settle([Settled(queued=first)])
            shown = admin.show(first.message_id)
            assert shown is not None
            assert [(address, len(attempts)) for address, attempts in shown.settled] == [("a@x.org", 3)]
        await spool.close()

    run(work())


def test_the_cache_stays_within_its_bytes_and_serves_without_the_disk(tmp_path: Path) -> None:
    async def work() -> None:
        spool = SqliteSpool.open(tmp_path / "spool-0.db", shard=0, limits=SpoolLimits(cache_bytes=50_000))
        ids = [(await spool.commit(message(spool.new_id(WALL), body=b"x" * 9000), WALL))[0] for _ in range(9)]
        assert spool.load(ids[-1].message_id).done()
        read = spool.load(ids[0].message_id)
        assert not read.done()
        assert await read is not None
        assert spool.load(ids[0].message_id).done()
        await spool.close()

    run(work())


def test_a_spool_serves_one_loop_after_the_other(tmp_path: Path) -> None:
    spool = SqliteSpool.open(tmp_path / "spool-0.db", shard=0)

    async def lost() -> None:
        spool.commit(message(spool.new_id(WALL)), WALL)

    async def kept() -> None:
        await spool.commit(message(spool.new_id(WALL)), WALL)
        assert len(await spool.due(before=WALL + 1, limit=9)) == 2
        await spool.close()

    run(lost())
    run(kept())
