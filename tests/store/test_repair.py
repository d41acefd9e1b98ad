"""A spool that was damaged: found, told, and mended so far as it can be; nothing is deleted (D-03)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from postroad.store.queue_admin import QueueAdmin
from postroad.store.repair import look, mend_spool
from postroad.store.spool import SpoolLocked
from postroad.store.sqlite_spool import SqliteSpool
from store.spool_conformance import WALL, message, run

BODY = b"Subject: kept\r\n\r\n" + b"k" * 3000 + b"\r\n"


def filled(directory: Path, count: int = 40) -> Path:
    path = directory / "spool-0.db"

    async def work() -> None:
        spool = SqliteSpool.open(path, shard=0)
        for _ in range(count):
            await spool.commit(message(spool.new_id(WALL), body=BODY), WALL)
        await spool.close()

    run(work())
    return path


def faults(path: Path) -> list[str]:
    return [one.sentence for one in look(path, is_spool=True) if one.is_fault]


def test_a_sound_spool_has_no_fault_and_looking_changes_nothing(tmp_path: Path) -> None:
    path = filled(tmp_path)
    before = path.read_bytes()
    assert faults(path) == []
    assert path.read_bytes() == before


def test_d03_a_message_that_was_changed_is_set_aside_and_what_can_be_read_is_kept(tmp_path: Path) -> None:
    path = filled(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        (number,) = connection.execute("SELECT id FROM message LIMIT 1 OFFSET 5").fetchone()
        connection.execute("UPDATE message SET body = ? WHERE id = ?", (BODY.replace(b"k", b"j", 1), number))
        connection.execute(
            "INSERT INTO recipient SELECT 9999, 77, local, domain, notify, orcpt, due_at, attempts,"
            " delay_notified, priority, stream FROM recipient LIMIT 1"
        )
        connection.commit()
    told = faults(path)
    assert any("is not as it was written" in one for one in told)
    assert any("belong to no message" in one for one in told) and any("too many" in one for one in told)
    mended = [one for one in mend_spool(tmp_path) if one.mended]
    assert len(mended) == 2
    (rescued,) = tmp_path.glob("*.rescued")
    assert rescued.read_bytes() == BODY.replace(b"k", b"j", 1)
    assert [one for one in faults(path) if "set aside" not in one] == []
    with QueueAdmin(tmp_path) as admin:
        counts = admin.counts(WALL + 1)
        assert (counts.messages, counts.damaged, counts.due) == (40, 1, 39)


def test_d03_a_database_that_sqlite_cannot_read_is_copied_so_far_as_it_can_be(tmp_path: Path) -> None:
    path = filled(tmp_path, 400)
    octets = bytearray(path.read_bytes())
    pages = len(octets) // 4096
    for page in range(pages // 2, pages // 2 + 3):
        octets[page * 4096 : page * 4096 + 4096] = b"\xff" * 4096
    path.write_bytes(octets)
    assert faults(path)
    mended = [one for one in mend_spool(tmp_path) if one.mended]
    assert mended and "copied into a new database" in mended[-1].mended
    assert (tmp_path / "spool-0.db.damaged").read_bytes() == bytes(octets), "the old file is kept"
    assert faults(path) == []

    async def work() -> None:
        spool = SqliteSpool.open(path, shard=0)
        due = await spool.due(before=WALL + 1, limit=1000)
        assert 300 <= len(due) < 400
        for one in due:
            kept = await spool.load(one.message_id)
            assert kept is not None and kept.body == BODY
        await spool.close()

    run(work())


def test_d06_a_spool_in_use_is_not_mended(tmp_path: Path) -> None:
    path = filled(tmp_path)

    async def work() -> None:
        spool = SqliteSpool.open(path, shard=0)
        assert faults(path) == []
        with pytest.raises(SpoolLocked):
            list(mend_spool(tmp_path))
        await spool.close()

    run(work())
