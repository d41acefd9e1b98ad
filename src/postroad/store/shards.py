"""The shards of a spool directory: their file names, and taking over one that no process serves any more.

`adopt` moves the messages of an orphaned shard's database into a running one: in small transactions, each noting
how far it came, so that a take-over that was interrupted goes on where it stopped and no message comes twice, even
if the first ones were delivered and gone by then. Only when all is durable are the orphan's files deleted; one with
records that could not be read is kept aside as `*.damaged` (D-03). A shard in use is refused (SpoolLocked).
Used by app when a run has fewer workers than the one before.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postroad.store.spool_rows import MESSAGE_COLUMNS, RECIPIENT_COLUMNS
from postroad.store.sqlite import DatabaseSettings, FileLock, delete_database, explain, is_row_fault, open_database
from postroad.store.sqlite_spool import SCHEMA
from postroad.store.tally import count

if TYPE_CHECKING:
    from postroad.store.sqlite_spool import SqliteSpool

CHUNK_MESSAGES = 100
CHUNK_BYTES = 8 * 1024 * 1024
_NAME = re.compile(r"spool-([0-9]{1,2})\.db")


def shard_path(directory: Path, shard: int) -> Path:
    """The database of that shard."""
    return directory / f"spool-{shard}.db"


def find_shards(directory: Path) -> tuple[tuple[int, Path], ...]:
    """The shards that have a database there, by number."""
    if not directory.is_dir():
        return ()
    found = [(match, entry) for entry in directory.iterdir() if (match := _NAME.fullmatch(entry.name))]
    return tuple(sorted((int(match[1]), entry) for match, entry in found))


_Rows = tuple[tuple[Any, ...], list[Any], list[Any], list[Any], list[Any]]
"""A message's: its own, recipients, attempts, damage, what is to be given back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What a take-over brought. `damaged`: ids of the messages that could not be read and stay in the file aside."""

    messages: int
    damaged: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Progress:
    last: int
    next_recipient: int
    moved: int
    damaged: tuple[int, ...]
    is_complete: bool


async def adopt(main: SqliteSpool, orphan: Path) -> Adopted:
    """Move everything from the orphan's database into `main`; durable when it returns.

    Raises SpoolLocked where a process serves the orphan, SpoolVersion, SpoolError."""
    lock = _claim(orphan)
    if lock is None:
        return Adopted(messages=0)
    try:
        connection = open_database(orphan, SCHEMA, DatabaseSettings(), create=False)
        try:
            identity = connection.execute("SELECT value FROM fact WHERE name = 'identity'").fetchone()[0]
            recipients = connection.execute("SELECT count(*) FROM recipient INDEXED BY recipient_message").fetchone()[0]
            mark = f"adopted {identity}"
            progress = _Progress(-1, main.allot_recipients(recipients), 0, (), is_complete=False)
            while not progress.is_complete:
                progress = await main.write(_Chunk(connection, mark, progress))
        except sqlite3.Error as error:
            raise explain(error, orphan) from error
        finally:
            connection.close()
        _dispose(orphan, progress.damaged)
        await main.write(lambda ours: ours.execute("DELETE FROM fact WHERE name = ?", (mark,)).rowcount)
    finally:
        lock.release()
    return Adopted(messages=progress.moved, damaged=progress.damaged)


def _claim(orphan: Path) -> FileLock | None:
    return FileLock(orphan) if orphan.exists() else None


def _dispose(orphan: Path, damaged: tuple[int, ...]) -> None:
    if damaged:
        orphan.replace(orphan.with_name(orphan.name + ".damaged"))
    else:
        delete_database(orphan)


class _Chunk:
    """One transaction of a take-over; may be run again when its batch failed, so it changes nothing of its own."""

    def __init__(self, orphan: sqlite3.Connection, mark: str, progress: _Progress) -> None:
        self._orphan = orphan
        self._mark = mark
        self._progress = progress

    def __call__(self, ours: sqlite3.Connection) -> _Progress:
        before = self._progress
        last, damaged = before.last, list(before.damaged)
        if last < 0:
            noted = ours.execute("SELECT value FROM fact WHERE name = ?", (self._mark,)).fetchone()
            last, *damaged = [0] if noted is None else map(int, noted[0].split())
            if noted is None:
                moved_tally = self._orphan.execute("SELECT name, value FROM tally").fetchall()
                count(ours, dict(moved_tally))
        number, moved, size = before.next_recipient, 0, 0
        ids = self._ids_after(last)
        for message_id in ids:
            try:
                rows = self._read(message_id)
            except Exception as error:
                if not is_row_fault(error):
                    raise
                damaged.append(message_id)
            else:
                number += _insert(ours, rows, number)
                moved += 1
                size += len(rows[0][-1]) if rows[0] else 0
            last = message_id
            if size >= CHUNK_BYTES:
                break
        note = " ".join(map(str, (last, *damaged)))
        ours.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (self._mark, note))
        return _Progress(last, number, before.moved + moved, tuple(damaged), is_complete=not ids)

    def _ids_after(self, last: int) -> list[int]:
        statements = (
            "SELECT DISTINCT message_id FROM recipient INDEXED BY recipient_message"
            " WHERE message_id > ? ORDER BY message_id LIMIT ?",
            "SELECT id FROM message WHERE id > ? ORDER BY id LIMIT ?",
        )
        try:
            return [row[0] for row in self._orphan.execute(statements[0], (last, CHUNK_MESSAGES))]
        except sqlite3.DatabaseError as error:
            if not is_row_fault(error):
                raise
            return [row[0] for row in self._orphan.execute(statements[1], (last, CHUNK_MESSAGES))]

    def _read(self, message_id: int) -> _Rows:
        get = self._orphan.execute
        by = (message_id,)
        message = get(f"SELECT {MESSAGE_COLUMNS} FROM message WHERE id = ?", by).fetchone()  # noqa: S608
        if message is None or not isinstance(message[-1], bytes):
            raise ValueError(f"message {message_id} has recipients and no body")
        return (
            message,
            get(f"SELECT {RECIPIENT_COLUMNS} FROM recipient WHERE message_id = ? ORDER BY id", by).fetchall(),  # noqa: S608
            get("SELECT * FROM attempt WHERE message_id = ?", by).fetchall(),
            get("SELECT * FROM damaged WHERE message_id = ?", by).fetchall(),
            get("SELECT * FROM giving_back WHERE message_id = ?", by).fetchall(),
        )


def _insert(ours: sqlite3.Connection, rows: _Rows, first: int) -> int:
    """Insert one message under new recipient rows from `first` on; how many of these it took."""
    message, recipients, attempts, damaged, given_back = rows
    places = ", ".join("?" * len(message))
    if not ours.execute(f"INSERT OR IGNORE INTO message ({MESSAGE_COLUMNS}) VALUES ({places})", message).rowcount:  # noqa: S608
        return 0
    numbers = {row[0]: first + offset for offset, row in enumerate(recipients)}
    ours.executemany(
        f"INSERT INTO recipient ({RECIPIENT_COLUMNS}) VALUES ({', '.join('?' * (RECIPIENT_COLUMNS.count(',') + 1))})",  # noqa: S608
        [(numbers[row[0]], *row[1:]) for row in recipients],
    )
    ours.executemany(
        "INSERT INTO attempt VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        # Those of recipients already settled keep a number that no row of this database has.
        [(row[0], numbers.get(row[1], -row[1]), *row[2:]) for row in attempts],
    )
    ours.executemany("INSERT INTO damaged VALUES (?, ?)", damaged)
    ours.executemany(
        "INSERT INTO giving_back VALUES (?, ?, ?)",
        [(row[0], numbers[row[1]], row[2]) for row in given_back if row[1] in numbers],
    )
    return len(recipients)
