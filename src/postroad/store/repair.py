"""A state directory looked through: what is wrong with its databases, what that means, and what can be mended.

Looking changes nothing and works beside a running server. Mending wants the server stopped: damaged messages are set
aside with what can still be read of them (`*.rescued`), indexes are made anew, a database that SQLite itself cannot
read is copied row by row into a new one and the old file kept as `*.damaged`. Nothing is deleted. Synchronous.
"""

from __future__ import annotations

import shutil
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from postroad.message.envelope import format_queue_id
from postroad.store.shards import find_shards
from postroad.store.spool import SpoolError
from postroad.store.spool_rows import MESSAGE_COLUMNS, RECIPIENT_COLUMNS, set_aside
from postroad.store.sqlite import DatabaseSettings, FileLock, open_database, transaction
from postroad.store.sqlite_spool import SCHEMA
from postroad.store.tally import count, difference
from postroad.store.tally import read as read_tally

MAX_FINDINGS = 1000
"""Of one database; more are told as a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing. `is_fault`: something is wrong; else it is only told. `mended`: what was done about it."""

    path: Path
    sentence: str
    is_fault: bool = True
    mended: str = ""


def look(path: Path, *, is_spool: bool) -> Iterator[Finding]:
    """Everything that is wrong with one database, seen beside whoever uses it."""
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10.0)) as connection:
            problems = [row[0] for row in connection.execute("PRAGMA integrity_check(100)")]
            if problems != ["ok"]:
                for problem in problems:
                    yield Finding(path=path, sentence=f"SQLite finds: {problem}")
            if is_spool:
                yield from _look_at_spool(path, connection)
    except sqlite3.DatabaseError as error:
        yield Finding(path=path, sentence=f"cannot be read: {error}")


def _look_at_spool(path: Path, connection: sqlite3.Connection) -> Iterator[Finding]:
    aside = dict(connection.execute("SELECT message_id, reason FROM damaged").fetchall())
    for number, reason in aside.items():
        yield Finding(path=path, sentence=f"message {format_queue_id(number)} is set aside: {reason}")
    for number in _damaged(connection, set(aside)):
        yield Finding(path=path, sentence=f"message {format_queue_id(number)} is not as it was written")
    orphans = connection.execute(
        "SELECT count(*) FROM recipient WHERE NOT EXISTS (SELECT 1 FROM message WHERE id = message_id)"
    ).fetchone()[0]
    if orphans:
        yield Finding(path=path, sentence=f"{orphans:,} recipients belong to no message")
    empty = connection.execute(
        "SELECT count(*) FROM message WHERE NOT EXISTS (SELECT 1 FROM recipient WHERE message_id = message.id)"
    ).fetchone()[0]
    if empty:
        yield Finding(path=path, sentence=f"{empty:,} messages have no recipient left")
    with suppress(sqlite3.DatabaseError):
        missing = difference(read_tally(connection))
        if missing:
            what = f"{abs(missing):,} recipients {'missing' if missing > 0 else 'too many'}"
            yield Finding(path=path, sentence=f"the balance does not hold: {what}")
        total = connection.execute("SELECT count(*) FROM message").fetchone()[0]
        yield Finding(path=path, sentence=f"{total:,} messages looked at", is_fault=False)


def _damaged(connection: sqlite3.Connection, known: set[int]) -> Iterator[int]:
    """Messages whose body is not what its checksum says, or cannot be read; one at a time, so that one takes no other
    along."""
    found = 0
    for (number,) in connection.execute("SELECT id FROM message ORDER BY id").fetchall():
        if number in known or found >= MAX_FINDINGS:
            continue
        try:
            row = connection.execute("SELECT size, crc, body FROM message WHERE id = ?", (number,)).fetchone()
            is_whole = isinstance(row[2], bytes) and len(row[2]) == row[0] and zlib.crc32(row[2]) == row[1]
        except (sqlite3.DatabaseError, TypeError):
            is_whole = False
        if not is_whole:
            found += 1
            yield number


def mend_spool(directory: Path) -> Iterator[Finding]:
    """Mend every shard of a spool that no server uses. Raises SpoolLocked where one does."""
    for _, path in find_shards(directory):
        lock = FileLock(path)
        try:
            yield from _mend(path)
        finally:
            lock.release()


def _mend(path: Path) -> Iterator[Finding]:
    if _is_unsound(path):
        # Whatever is tried next, the file stays as it was found.
        shutil.copy2(path, _kept(path))
    try:
        connection = open_database(path, SCHEMA, DatabaseSettings(), create=False)
        with closing(connection):
            is_sound = [row[0] for row in connection.execute("PRAGMA integrity_check(1)")] == ["ok"]
            if is_sound:
                yield from _set_damaged_aside(path, connection)
                return
            with suppress(sqlite3.DatabaseError):
                connection.execute("REINDEX")
                if [row[0] for row in connection.execute("PRAGMA integrity_check(1)")] == ["ok"]:
                    yield Finding(path=path, sentence="its indexes were wrong", mended="they were made anew")
                    yield from _set_damaged_aside(path, connection)
                    return
    except (SpoolError, sqlite3.DatabaseError):
        pass  # it is copied row by row, as far as it can be read
    yield from _rescue(path)


def _is_unsound(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return [row[0] for row in connection.execute("PRAGMA integrity_check(1)")] != ["ok"]
    except sqlite3.DatabaseError:
        return True


def _kept(path: Path) -> Path:
    return path.with_name(path.name + ".damaged")


def _set_damaged_aside(path: Path, connection: sqlite3.Connection) -> Iterator[Finding]:
    known = {row[0] for row in connection.execute("SELECT message_id FROM damaged")}
    for number in list(_damaged(connection, known)):
        place = _write_out(path, connection, number)
        with transaction(connection, path):
            set_aside(connection, number, "its body is not the one that was written")
        what = f"message {format_queue_id(number)} is not as it was written"
        yield Finding(path=path, sentence=what, mended=f"it was set aside; what can be read is in {place}")
    with transaction(connection, path):
        orphans = connection.execute(
            "DELETE FROM recipient WHERE NOT EXISTS (SELECT 1 FROM message WHERE id = message_id)"
        ).rowcount
    if orphans:
        yield Finding(path=path, sentence=f"{orphans:,} recipients belonged to no message", mended="they were removed")


def _write_out(path: Path, connection: sqlite3.Connection, number: int) -> Path:
    """What can be read of a message, in a file of its own."""
    place = path.with_name(f"{path.name}.{format_queue_id(number)}.rescued")
    body: object = b""
    with suppress(sqlite3.DatabaseError):
        body = connection.execute("SELECT body FROM message WHERE id = ?", (number,)).fetchone()[0]
    place.touch(mode=0o600)
    place.write_bytes(body if isinstance(body, bytes) else str(body).encode())
    return place


def _rescue(path: Path) -> Iterator[Finding]:
    """Copy all that can be read into a new database, which takes the old one's place."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    taken = lost = 0
    with (
        closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as old,
        closing(open_database(fresh, SCHEMA, DatabaseSettings())) as new,
        transaction(new, fresh),
    ):
        for number in _ids(old):
            try:
                row = old.execute(f"SELECT {MESSAGE_COLUMNS} FROM message WHERE id = ?", (number,)).fetchone()  # noqa: S608
                rows = old.execute(
                    f"SELECT {RECIPIENT_COLUMNS} FROM recipient NOT INDEXED WHERE message_id = ?",  # noqa: S608
                    (number,),
                ).fetchall()
                if row is None or not rows or zlib.crc32(row[-1]) != row[-2]:
                    raise ValueError
            except (sqlite3.DatabaseError, ValueError, TypeError):
                lost += 1
                continue
            new.execute(f"INSERT INTO message ({MESSAGE_COLUMNS}) VALUES ({_marks(row)})", row)  # noqa: S608
            new.executemany(f"INSERT INTO recipient ({RECIPIENT_COLUMNS}) VALUES ({_marks(rows[0])})", rows)  # noqa: S608
            count(new, {"accepted": len(rows)})
            taken += 1
        highest = max(_ids(old), default=0)
        new.execute("UPDATE fact SET value = max(value, ?) WHERE name = 'id_floor'", (highest + (1000 << 22),))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    fresh.replace(path)
    yield Finding(
        path=path,
        sentence=f"SQLite could not read it whole; {lost:,} messages are lost to it",
        mended=f"{taken:,} messages were copied into a new database; the old one is {_kept(path).name}",
    )


def _ids(connection: sqlite3.Connection) -> list[int]:
    """The messages there are, by whichever of the tables and indexes can be read."""
    found: set[int] = set()
    for statement in (
        "SELECT id FROM message",
        "SELECT DISTINCT message_id FROM recipient INDEXED BY recipient_message",
        "SELECT DISTINCT message_id FROM recipient NOT INDEXED",
    ):
        with suppress(sqlite3.DatabaseError):
            for row in connection.execute(statement):
                found.add(row[0])
    return sorted(number for number in found if isinstance(number, int))


def _marks(row: tuple[object, ...]) -> str:
    return ", ".join("?" * len(row))
