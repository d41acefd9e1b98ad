"""The operator's hand in the queue, from a process of its own: list, show, hold, release, retry, give back, remove.

Opens the shards' databases directly, beside the server that owns them: write-ahead logging lets both work, and the
owner notices through `Spool.changed`. So it needs no running server and no lock. A change of many recipients is made in
transactions of a few, each of which waits at most `busy_timeout_s` for the owner's and holds it up no longer than one
of its own. What the owner is delivering at this moment is not called back: a message removed then may still arrive, but
is not tried again. Synchronous; raises SpoolError.
Used by `postroad queue`, `postroad trace` and the web pages (in a thread).
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from postroad.smtp.address import Address
from postroad.store.queue_selection import LAST_ATTEMPT, LAST_HOST, Selection, conditions, know_sites
from postroad.store.shards import find_shards
from postroad.store.spool import Attempt, Queued, SpooledMessage, SpoolError
from postroad.store.spool_rows import read_attempts, read_message, read_recipients, remove_empty
from postroad.store.sqlite import DatabaseSettings, explain, is_row_fault, open_database, transaction
from postroad.store.sqlite_spool import SCHEMA
from postroad.store.tally import count
from postroad.store.tally import read as read_tally

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
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
    held: str | None
    """Why it waits for an operator's release."""
    priority: int
    host: str
    """The one tried last; empty where there is none."""
    reason: str
    """What it said, or why there was no answer."""
    meaning: str
    is_given_back: bool
    """The server is to give it back to its sender."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What a change came to: recipients, and the ids of their messages."""

    recipients: int
    messages: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueGroup:
    """What waits for one domain, site or reason, or from one sender."""

    key: str
    messages: int
    recipients: int
    due: int
    held: int
    """Recipients of messages that are held."""
    oldest_at: float
    next_due_at: float | None
    reason: str
    """The words of its latest attempt."""


_LIST = """
    SELECT m.id, sender_local, sender_domain, received_at, expires_at, size,
        (SELECT count(*) FROM recipient WHERE message_id = m.id),
        (SELECT min(due_at) FROM recipient WHERE message_id = m.id),
        (SELECT max(attempts) FROM recipient WHERE message_id = m.id),
        (SELECT reason FROM damaged WHERE message_id = m.id),
        m.held, m.priority,
        (SELECT host FROM attempt WHERE message_id = m.id ORDER BY at DESC, number DESC LIMIT 1),
        (SELECT reply FROM attempt WHERE message_id = m.id ORDER BY at DESC, number DESC LIMIT 1),
        (SELECT meaning FROM attempt WHERE message_id = m.id ORDER BY at DESC, number DESC LIMIT 1),
        EXISTS (SELECT 1 FROM giving_back g JOIN recipient r ON r.id = g.recipient_id AND r.message_id = g.message_id
            WHERE g.message_id = m.id)
    FROM message m
    WHERE m.id > :after AND {of_message}
        AND {of_any}
    ORDER BY m.id LIMIT :limit
"""
_FIND = """
    SELECT r.id, r.message_id, CAST(r.local AS BLOB), CAST(r.domain AS BLOB)
    FROM message m JOIN recipient r ON r.message_id = m.id
    WHERE {of_message} AND {of_recipient} AND r.id > :from_row ORDER BY r.id LIMIT :rows
"""
_GROUPS = {
    "domain": "r.domain",
    "site": f"site_of({LAST_HOST})",
    "reason": f"CASE WHEN m.held IS NOT NULL THEN 'held' ELSE ifnull(({LAST_ATTEMPT.format('meaning')}), '') END",
    "sender": "CASE WHEN m.sender_domain IS NULL THEN '<>' ELSE m.sender_local || '@' || m.sender_domain END",
}
ROWS_TOGETHER = 500
"""Recipients changed in one transaction."""
EVERYTHING = Selection()


class QueueAdmin:
    """The queue of a spool directory, all shards together."""

    def __init__(
        self,
        directory: Path,
        *,
        site_of: Callable[[str], str] = str,
        on_change: Callable[[Sequence[tuple[int, str]]], None] | None = None,
        busy_timeout_s: float = 5.0,
    ) -> None:
        """`site_of`: host → name of its site. `on_change`: told of what a change was about, message id and address of
        each recipient, once that is durable."""
        self._on_change = on_change
        self._shards: list[tuple[int, Path, sqlite3.Connection]] = []
        settings = DatabaseSettings(busy_timeout_s=busy_timeout_s, cache_kib=4096)
        if not directory.is_dir() or not find_shards(directory):
            raise SpoolError(f"there is no spool in {directory}: name the directory the server uses")
        try:
            for number, path in find_shards(directory):
                connection = open_database(path, SCHEMA, settings, create=False, is_guest=True)
                know_sites(connection, site_of)
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

    def list(self, selection: Selection = EVERYTHING, *, limit: int = 100, after: int = 0) -> tuple[QueueEntry, ...]:
        """Messages by id (oldest first), a page of them: `after` is the last id of the page before."""
        found: list[QueueEntry] = []
        for shard, path, connection in self._shards:
            with _explained(path):
                wanted = conditions(selection)
                statement = _LIST.format(of_message=wanted.of_message, of_any=wanted.of_any)
                rows = connection.execute(statement, {**wanted.values, "after": after, "limit": limit})
                found += [_entry(shard, row) for row in rows]
        return tuple(sorted(found, key=lambda entry: entry.id)[:limit])

    def ids(self, *, after: int, limit: int) -> tuple[int, ...]:
        """Ids of messages, a page of them in their order."""
        found: list[int] = []
        for _, path, connection in self._shards:
            with _explained(path):
                rows = connection.execute("SELECT id FROM message WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
                found += [number for (number,) in rows]
        return tuple(sorted(found)[:limit])

    def waiting(self, ids: Collection[int]) -> set[tuple[int, str]]:
        """Message and address of the recipients of these messages that are still to be settled."""
        found: set[tuple[int, str]] = set()
        for _, path, connection in self._shards:
            with _explained(path):
                rows = connection.execute(
                    "SELECT message_id, CAST(local AS BLOB), CAST(domain AS BLOB) FROM recipient"
                    " WHERE message_id IN (SELECT value FROM json_each(?))",
                    (json.dumps(list(ids)),),
                )
                found |= {(number, _address(local, domain)) for number, local, domain in rows}
        return found

    def size(self, selection: Selection) -> tuple[int, int]:
        """How many messages and recipients it selects."""
        messages = recipients = 0
        for _, path, connection in self._shards:
            with _explained(path):
                wanted = conditions(selection)
                row = connection.execute(
                    "SELECT count(DISTINCT m.id), count(*) FROM message m JOIN recipient r ON r.message_id = m.id"  # noqa: S608
                    f" WHERE {wanted.of_message} AND {wanted.of_recipient}",
                    wanted.values,
                ).fetchone()
                messages, recipients = messages + row[0], recipients + row[1]
        return messages, recipients

    def summary(self, by: str, selection: Selection = EVERYTHING, *, now: float) -> tuple[QueueGroup, ...]:
        """What waits, put together by `domain`, `site`, `reason` or `sender`; the most recipients first."""
        groups: dict[str, QueueGroup] = {}
        for _, path, connection in self._shards:
            with _explained(path):
                wanted = conditions(selection)
                rows = connection.execute(
                    f"SELECT {_GROUPS[by]}, count(DISTINCT m.id), count(*), total(r.due_at <= :now),"  # noqa: S608
                    " total(m.held IS NOT NULL), min(m.received_at), min(r.due_at), ifnull(max(("
                    f" {LAST_ATTEMPT.format('at || char(0) || reply')})), '')"
                    " FROM message m JOIN recipient r ON r.message_id = m.id"
                    f" WHERE {wanted.of_message} AND {wanted.of_recipient} GROUP BY 1",
                    {**wanted.values, "now": now},
                )
                for row in rows:
                    one = _group(row)
                    groups[one.key] = _together(groups[one.key], one) if one.key in groups else one
        return tuple(sorted(groups.values(), key=lambda one: (-one.recipients, one.key)))

    def show(self, message_id: int) -> QueueMessage | None:
        """Everything about one message, or None where there is none of that id."""
        for shard, path, connection in self._shards:
            with _explained(path):
                statement = _LIST.format(of_message="m.id = :id", of_any="1")
                row = connection.execute(statement, {"id": message_id, "after": message_id - 1, "limit": 1}).fetchone()
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

    # Changing -----------------------------------------------------------------------------------------------------

    def retry(self, selection: Selection = EVERYTHING) -> Changed:
        """Make recipients due at once. What is held stays so; what was set aside as damaged is tried again only where
        its id is given."""

        def change(connection: sqlite3.Connection, rows: str, messages: str) -> int:
            named = "1" if selection.ids is not None else "due_at IS NOT NULL"
            changed = connection.execute(
                f"UPDATE recipient SET due_at = 0 WHERE id IN (SELECT value FROM json_each(?)) AND {named}"  # noqa: S608
                " AND NOT EXISTS (SELECT 1 FROM message m WHERE m.id = message_id AND m.held IS NOT NULL)",
                (rows,),
            ).rowcount
            if selection.ids is not None:
                connection.execute(
                    "DELETE FROM damaged WHERE message_id IN (SELECT value FROM json_each(?))", (messages,)
                )
            return changed

        return self._change(selection, change)

    def hold(self, selection: Selection, why: str) -> Changed:
        """Keep messages without delivering them, until `release`. What is held already stays held for its reason."""

        def change(connection: sqlite3.Connection, rows: str, messages: str) -> int:
            connection.execute(
                "UPDATE message SET held = ? WHERE id IN (SELECT value FROM json_each(?)) AND held IS NULL",
                (why, messages),
            )
            return connection.execute(
                "UPDATE recipient SET due_at = NULL WHERE message_id IN (SELECT value FROM json_each(?))", (messages,)
            ).rowcount

        return self._change(replace(selection, is_held=False), change)

    def release(self, selection: Selection) -> Changed:
        """Let held messages go: their recipients are due now."""

        def change(connection: sqlite3.Connection, rows: str, messages: str) -> int:
            connection.execute(
                "UPDATE message SET held = NULL WHERE id IN (SELECT value FROM json_each(?))", (messages,)
            )
            return connection.execute(
                "UPDATE recipient SET due_at = 0 WHERE message_id IN (SELECT value FROM json_each(?))"
                " AND NOT EXISTS (SELECT 1 FROM damaged d WHERE d.message_id = recipient.message_id)",
                (messages,),
            ).rowcount

        return self._change(replace(selection, is_held=True), change)

    def give_back(self, selection: Selection, words: str) -> Changed:
        """Have recipients given back to their senders, with a notification that says why: the server does it as soon as
        it delivers to none of them, once for each, whatever happens in between. Damaged messages cannot be."""

        def change(connection: sqlite3.Connection, rows: str, messages: str) -> int:
            changed = connection.execute(
                "INSERT OR REPLACE INTO giving_back SELECT message_id, id, ? FROM recipient"
                " WHERE id IN (SELECT value FROM json_each(?))"
                " AND NOT EXISTS (SELECT 1 FROM damaged d WHERE d.message_id = recipient.message_id)",
                (words, rows),
            ).rowcount
            connection.execute(
                "UPDATE recipient SET due_at = NULL WHERE id IN (SELECT value FROM json_each(?))", (rows,)
            )
            return changed

        return self._change(selection, change)

    def remove(self, selection: Selection) -> Changed:
        """Remove recipients, and messages that have none left; nobody is told."""

        def change(connection: sqlite3.Connection, rows: str, messages: str) -> int:
            gone = connection.execute(
                "DELETE FROM recipient WHERE id IN (SELECT value FROM json_each(?))", (rows,)
            ).rowcount
            count(connection, {"removed": gone})
            remove_empty(connection, json.loads(messages))
            return gone

        return self._change(selection, change)

    def _change(self, selection: Selection, change: Callable[[sqlite3.Connection, str, str], int]) -> Changed:
        """Find what is meant and change it, a page a transaction; `change` gets recipient rows and message ids as JSON
        and says how many recipients it changed."""
        recipients = 0
        touched: dict[int, None] = {}
        for _, path, connection in self._shards:
            with _explained(path):
                wanted = conditions(selection)
            statement = _FIND.format(of_message=wanted.of_message, of_recipient=wanted.of_recipient)
            from_row = 0
            while True:
                with transaction(connection, path):
                    page = connection.execute(
                        statement, {**wanted.values, "from_row": from_row, "rows": ROWS_TOGETHER}
                    ).fetchall()
                    messages = dict.fromkeys(row[1] for row in page)
                    changed = (
                        change(connection, json.dumps([row[0] for row in page]), json.dumps(list(messages)))
                        if page
                        else 0
                    )
                recipients += changed
                if changed:
                    touched |= messages
                    if self._on_change is not None:
                        self._on_change([(row[1], _address(row[2], row[3])) for row in page])
                if len(page) < ROWS_TOGETHER:
                    break
                from_row = page[-1][0]
        return Changed(recipients=recipients, messages=tuple(touched))


def _entry(shard: int, row: tuple[Any, ...]) -> QueueEntry:
    number, local, domain, received_at, expires_at, size, recipients, next_due_at, attempts, damaged = row[:10]
    held, priority, host, reply, meaning, is_given_back = row[10:]
    return QueueEntry(
        id=number,
        shard=shard,
        sender="" if domain is None else f"{local}@{domain}",
        received_at=float(received_at),
        expires_at=float(expires_at),
        size_bytes=size,
        recipients=recipients,
        next_due_at=None if next_due_at is None else float(next_due_at),
        attempts=attempts or 0,
        damaged=damaged,
        held=held,
        priority=priority,
        host=host or "",
        reason=reply or "",
        meaning=meaning or "",
        is_given_back=bool(is_given_back),
    )


def _address(local: bytes, domain: bytes) -> str:
    """An address as it is shown, also where its row is damaged."""
    return str(Address(local.decode("utf-8", "backslashreplace"), domain.decode("utf-8", "backslashreplace")))


def _group(row: tuple[Any, ...]) -> QueueGroup:
    key, messages, recipients, due, held, oldest_at, next_due_at, latest = row
    return QueueGroup(
        key=key,
        messages=messages,
        recipients=recipients,
        due=int(due),
        held=int(held),
        oldest_at=oldest_at,
        next_due_at=next_due_at,
        reason=latest.partition("\0")[2],
    )


def _together(one: QueueGroup, other: QueueGroup) -> QueueGroup:
    """The same group of two shards."""
    due = [at for at in (one.next_due_at, other.next_due_at) if at is not None]
    return QueueGroup(
        key=one.key,
        messages=one.messages + other.messages,
        recipients=one.recipients + other.recipients,
        due=one.due + other.due,
        held=one.held + other.held,
        oldest_at=min(one.oldest_at, other.oldest_at),
        next_due_at=min(due, default=None),
        reason=one.reason or other.reason,
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
