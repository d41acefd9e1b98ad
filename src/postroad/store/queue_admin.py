"""The operator's hand in the queue, from a process of its own: list, show, retry now, remove.

Opens the shards' databases directly, beside the server that owns them: write-ahead logging lets both work, and the
owner notices through `Spool.changed`. So it needs no running server and no lock. A change waits at most
`busy_timeout_s` for the owner's transaction. What the owner is delivering at this moment is not called back: a
message removed then may still arrive, but is not tried again. Synchronous; raises SpoolError.
Used by `postroad queue` and the web pages (in a thread).
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from postroad.store.shards import find_shards
from postroad.store.spool import Attempt, Queued, SpooledMessage, SpoolError
from postroad.store.spool_rows import read_attempts, read_message, read_recipients, remove_empty
from postroad.store.sqlite import DatabaseSettings, explain, is_row_fault, open_database, transaction
from postroad.store.sqlite_spool import SCHEMA
from postroad.store.tally import count
from postroad.store.tally import read as read_tally

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueEntry:
    """One message of the list. Times: wall clock, seconds since 1970."""

    id: int
    shard: int
    sender: str
    """`user@example.org`, or empty for the null reverse-path."""
    received_at: float
    expires_at: float
    size_bytes: int
    recipients: int
    """Still to be settled."""
    next_due_at: float | None
    """None: set aside, never due."""
    attempts: int
    """Of the recipient tried most often."""
    damaged: str | None
    """Why it was set aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRecipient:
    """One recipient with what was tried, oldest first."""

    queued: Queued
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueMessage:
    """One message in full."""

    entry: QueueEntry
    message: SpooledMessage | None
    """None where it cannot be read."""
    recipients: tuple[QueueRecipient, ...]
    settled: tuple[tuple[str, tuple[Attempt, ...]], ...]
    """Recipients already done that had failed attempts before: address and attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueCounts:
    messages: int
    recipients: int
    due: int
    """Recipients due at the time asked about."""
    damaged: int
    """Messages set aside."""
    held: int
    """Messages held for an operator, or for a hook."""


_LIST = """
    SELECT id, sender_local, sender_domain, received_at, expires_at, size,
        (SELECT count(*) FROM recipient WHERE message_id = message.id),
        (SELECT min(due_at) FROM recipient WHERE message_id = message.id),
        (SELECT max(attempts) FROM recipient WHERE message_id = message.id),
        (SELECT reason FROM damaged WHERE message_id = message.id)
    FROM message
    WHERE id > :after AND id <= :last
        AND (:domain IS NULL OR EXISTS (SELECT 1 FROM recipient WHERE message_id = message.id AND domain = :domain))
        AND (:sender IS NULL OR lower(ifnull(sender_local || '@' || sender_domain, '')) = :sender)
        AND (:sender_domain IS NULL OR sender_domain = :sender_domain)
    ORDER BY id LIMIT :limit
"""
_ANY_ID = (1 << 63) - 1


class QueueAdmin:
    """The queue of a spool directory, all shards together."""

    def __init__(self, directory: Path, *, busy_timeout_s: float = 5.0) -> None:
        self._shards: list[tuple[int, Path, sqlite3.Connection]] = []
        settings = DatabaseSettings(busy_timeout_s=busy_timeout_s, cache_kib=4096)
        if not directory.is_dir() or not find_shards(directory):
            raise SpoolError(f"there is no spool in {directory}: name the directory the server uses")
        try:
            for number, path in find_shards(directory):
                connection = open_database(path, SCHEMA, settings, create=False, is_guest=True)
                self._shards.append((number, path, connection))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for _, _, connection in self._shards:
            connection.close()
        self._shards = []

    def list(
        self, *, limit: int = 100, after: int = 0, domain: str | None = None, sender: str | None = None
    ) -> tuple[QueueEntry, ...]:
        """Messages by id (oldest first), a page of them: `after` is the last id of the page before.

        `domain`: with a recipient there still to be settled. `sender`: an address, `@domain`, or `<>`."""
        whole, of_domain = _sender_filter(sender)
        filters = {
            "after": after,
            "last": _ANY_ID,
            "limit": limit,
            "domain": None if domain is None else domain.lower(),
            "sender": whole,
            "sender_domain": of_domain,
        }
        found: list[QueueEntry] = []
        for shard, path, connection in self._shards:
            with _explained(path):
                found += [_entry(shard, row) for row in connection.execute(_LIST, filters)]
        return tuple(sorted(found, key=lambda entry: entry.id)[:limit])

    def show(self, message_id: int) -> QueueMessage | None:
        """Everything about one message, or None where there is none of that id."""
        only = {
            "after": message_id - 1,
            "last": message_id,
            "limit": 1,
            "domain": None,
            "sender": None,
            "sender_domain": None,
        }
        for shard, path, connection in self._shards:
            with _explained(path):
                row = connection.execute(_LIST, only).fetchone()
                if row is not None:
                    return _whole(connection, _entry(shard, row))
        return None

    def counts(self, now: float) -> QueueCounts:
        """Totals over all shards; `now`: wall clock."""
        totals = [0, 0, 0, 0, 0]
        for _, path, connection in self._shards:
            with _explained(path):
                row = connection.execute(
                    "SELECT (SELECT count(*) FROM message), (SELECT count(*) FROM recipient),"
                    " (SELECT count(*) FROM recipient WHERE due_at <= ?), (SELECT count(*) FROM damaged),"
                    " (SELECT count(*) FROM message WHERE held IS NOT NULL)",
                    (now,),
                ).fetchone()
                totals = [total + part for total, part in zip(totals, row, strict=True)]
        return QueueCounts(messages=totals[0], recipients=totals[1], due=totals[2], damaged=totals[3], held=totals[4])

    def tally(self) -> dict[str, int]:
        """Recipients that came in and what became of them, over all shards (store/tally.py)."""
        totals: Counter[str] = Counter()
        for _, path, connection in self._shards:
            with _explained(path):
                totals.update(read_tally(connection))
        return dict(totals)

    def retry(self, message_id: int | None = None, *, domain: str | None = None) -> int:
        """Make recipients due at once: of that message, of that domain, or all. A message set aside as damaged
        is tried again only when named. The number of recipients."""
        changed = 0
        for _, path, connection in self._shards:
            with transaction(connection, path):
                changed += connection.execute(
                    "UPDATE recipient SET due_at = 0 WHERE (due_at IS NOT NULL OR message_id = :message)"
                    " AND (:message IS NULL OR message_id = :message) AND (:domain IS NULL OR domain = :domain)",
                    {"message": message_id, "domain": None if domain is None else domain.lower()},
                ).rowcount
                if message_id is not None:
                    connection.execute("DELETE FROM damaged WHERE message_id = ?", (message_id,))
        return changed

    def remove(self, message_id: int, *, local: str | None = None, domain: str | None = None) -> int:
        """Remove a message, or only its recipients with that local part and domain; nobody gets a bounce.

        The number of recipients removed."""
        removed = 0
        for _, path, connection in self._shards:
            with transaction(connection, path):
                gone = connection.execute(
                    "DELETE FROM recipient WHERE message_id = :message AND (:local IS NULL OR local = :local)"
                    " AND (:domain IS NULL OR domain = :domain)",
                    {"message": message_id, "local": local, "domain": None if domain is None else domain.lower()},
                ).rowcount
                count(connection, {"removed": gone})
                removed += gone
                remove_empty(connection, (message_id,))
        return removed


def _sender_filter(sender: str | None) -> tuple[str | None, str | None]:
    """What `sender` asks for: a whole address (empty: the null reverse-path), or a domain."""
    if sender is None:
        return None, None
    if sender.startswith("@"):
        return None, sender[1:].lower()
    return ("" if sender == "<>" else sender.lower()), None


def _entry(shard: int, row: tuple[object, ...]) -> QueueEntry:
    number, local, domain, received_at, expires_at, size, recipients, next_due_at, attempts, damaged = row
    return QueueEntry(
        id=int(str(number)),
        shard=shard,
        sender="" if domain is None else f"{local}@{domain}",
        received_at=float(str(received_at)),
        expires_at=float(str(expires_at)),
        size_bytes=int(str(size)),
        recipients=int(str(recipients)),
        next_due_at=None if next_due_at is None else float(str(next_due_at)),
        attempts=0 if attempts is None else int(str(attempts)),
        damaged=None if damaged is None else str(damaged),
    )


def _whole(connection: sqlite3.Connection, entry: QueueEntry) -> QueueMessage:
    recipients: list[Queued] = []
    message = None
    try:
        recipients = read_recipients(connection, entry.id)
        message = read_message(connection, entry.id)
    except Exception as error:
        if not is_row_fault(error):
            raise
    tried = read_attempts(connection, entry.id)
    return QueueMessage(
        entry=entry,
        message=message,
        recipients=tuple(
            QueueRecipient(queued=queued, attempts=tuple(tried.pop(queued.id, ("", []))[1])) for queued in recipients
        ),
        settled=tuple((address, tuple(attempts)) for address, attempts in tried.values()),
    )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise explain(error, path) from error
