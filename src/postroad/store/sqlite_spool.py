"""The spool in SQLite: one database a shard, bodies inside it, commits of concurrent sessions grouped.

Verbs are called in the event loop and return futures; rows are made there, everything that may block
happens in the writer's thread (commits, settlements) or the reader's (`due`, `load`). Bodies just committed
stay in memory within `cache_bytes`, so that a delivery that follows at once reads nothing.

A record that cannot be read is set aside (table `damaged`, its recipients never due), told to `on_damage`,
and the rest goes on (D-03). Opened with a lock file: one owner (D-06). Serves one event loop at a time.
Used by receive (commit) and deliver (settle, due, load); `shards` and `queue_admin` know the same files.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from postroad.store.body_cache import ROW_BYTES, BodyCache
from postroad.store.giving_back import given_back, sweep
from postroad.store.queue_ids import QueueIds, floor_beyond
from postroad.store.spool import (
    ALL_PRIORITIES,
    Deferred,
    GivenBack,
    Queued,
    Settled,
    SpooledMessage,
    SpoolError,
    as_queued,
)
from postroad.store.spool_amend import amend, held_for
from postroad.store.spool_due import read_due
from postroad.store.spool_rows import (
    INSERT_MESSAGES,
    INSERT_RECIPIENTS,
    Row,
    defer,
    message_row,
    read_message,
    read_recipients,
    recipient_row,
    remove_empty,
    remove_recipients,
    set_aside,
)
from postroad.store.sqlite import DatabaseSettings, FileLock, is_row_fault, open_database
from postroad.store.tally import count
from postroad.store.writer import Operation, Reader, Writer, WriterLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from postroad.message.envelope import Recipient

SCHEMA = "spool"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolLimits:
    """Bounds of one shard."""

    cache_bytes: int = 64 * 1024 * 1024
    """Bodies kept in memory."""
    attempts_kept: int = 20
    """Attempts remembered for each recipient; older ones go."""
    reply_chars: int = 8192
    """Length to which the reply of an attempt is kept."""
    writer: WriterLimits = field(default_factory=WriterLimits)
    database: DatabaseSettings = field(default_factory=DatabaseSettings)


class _SpoolOperation(Operation[Any]):
    """What one verb adds to a batch. `call` runs last in the transaction and gives the result."""

    __slots__ = ("call", "counts", "deferred", "done", "emptied", "floor", "gone", "messages", "recipients")

    def __init__(self, future: asyncio.Future[Any], size: int = ROW_BYTES) -> None:
        super().__init__(future, size)
        self.messages: Sequence[Row] = ()
        self.recipients: Sequence[Row] = ()
        self.deferred: Sequence[Deferred] = ()
        self.gone: dict[str, list[int]] = {}
        """Rows to remove, by their fate."""
        self.counts: dict[str, int] = {}
        """What it adds to the tally."""
        self.emptied: Sequence[int] = ()
        self.floor = 0
        self.call: Callable[[sqlite3.Connection], Any] | None = None
        self.done: Callable[[], None] | None = None
        self.result = None

    def completed(self) -> None:
        if self.done is not None:
            self.done()


class SqliteSpool:
    """A `Spool` in one SQLite file. Made by `open`."""

    def __init__(self, path: Path, shard: int, limits: SpoolLimits, on_damage: Callable[[int, str], None]) -> None:
        self.path = path
        self._limits = limits
        self._on_damage = on_damage
        self._lock = FileLock(path)
        try:
            connection = self._connect()
            self._next_recipient, floor = _where_it_stood(connection)
            sweep(connection)
            self._look_for_changes(connection)
            self._ids = QueueIds(shard, floor)
        except BaseException:
            self._lock.release()
            raise
        self._writer = Writer(path, connection, self._connect, self._apply, limits.writer)
        self._reader = Reader(path, self._connect_reader)
        self._cache = BodyCache(limits.cache_bytes)
        self._reserved = floor
        self._changes = 0
        self._unreadable: set[int] = set()
        self._aside: set[int] = set()
        self._closing: asyncio.Future[None] | None = None

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        shard: int,
        limits: SpoolLimits | None = None,
        on_damage: Callable[[int, str], None] | None = None,
    ) -> SqliteSpool:
        """Open the database file, making it and its directory where there is none; blocks for some milliseconds.

        `on_damage(message_id, reason)` is called in the event loop for each record that had to be set aside.
        Raises SpoolLocked (another process owns it), SpoolVersion, SpoolError."""
        return cls(path, shard, limits or SpoolLimits(), on_damage or _ignore_damage)

    def new_id(self, wall: float) -> int:
        return self._ids.next(wall)

    def commit(self, message: SpooledMessage, due_at: float) -> asyncio.Future[tuple[Queued, ...]]:
        operation = _SpoolOperation(asyncio.get_running_loop().create_future(), len(message.body) + ROW_BYTES)
        self._add(operation, ((message, due_at),))
        return operation.future

    def settle(
        self, outcomes: Sequence[Settled | Deferred], bounces: Sequence[tuple[SpooledMessage, float]] = ()
    ) -> asyncio.Future[tuple[Queued, ...]]:
        size = ROW_BYTES * len(outcomes) + sum(len(message.body) for message, _ in bounces)
        operation = _SpoolOperation(asyncio.get_running_loop().create_future(), size)
        settled = [outcome.queued for outcome in outcomes if isinstance(outcome, Settled)]
        operation.deferred = [outcome for outcome in outcomes if isinstance(outcome, Deferred)]
        for outcome in outcomes:
            if isinstance(outcome, Settled):
                operation.gone.setdefault(outcome.fate, []).append(outcome.queued.id)
        operation.emptied = list({queued.message_id for queued in settled})
        # Until it is written a crash would deliver again: soon is good, but a sync of its own is not worth it.
        self._add(operation, bounces, settled, lazily=not bounces)
        return operation.future

    def due(
        self,
        *,
        before: float,
        limit: int,
        after: tuple[float, int] | None = None,
        priorities: tuple[int, int] = ALL_PRIORITIES,
    ) -> asyncio.Future[tuple[Queued, ...]]:
        known = frozenset(self._unreadable)
        asked = self._reader.ask(lambda connection: read_due(connection, (before, limit, after, priorities), known))

        def finish(found: list[Queued]) -> tuple[Queued, ...]:
            # A message set aside a moment ago may not be marked in the database yet, or be beyond marking.
            return tuple([one for one in found if one.message_id not in self._aside])

        return self._without_damage(asked, finish)

    def load(self, message_id: int) -> asyncio.Future[SpooledMessage | None]:
        if (message := self._cache.get(message_id)) is not None and self._closing is None:
            future: asyncio.Future[SpooledMessage | None] = asyncio.get_running_loop().create_future()
            future.set_result(message)
            return future
        changes = self._changes

        def keep(found: list[tuple[SpooledMessage, dict[int, Recipient]]]) -> SpooledMessage | None:
            if not found:
                return None
            if changes == self._changes:  # else its recipients may be out of date already
                self._cache.put(*found[0])
            return found[0][0]

        return self._without_damage(self._reader.ask(lambda connection: _read_whole(connection, message_id)), keep)

    def changed(self) -> asyncio.Future[bool]:
        operation = _SpoolOperation(asyncio.get_running_loop().create_future())
        operation.call = self._look_for_changes
        operation.done = lambda: self._learn_anew() if operation.result else None
        self._writer.submit(operation)
        return operation.future

    def amend(self, message: SpooledMessage, due_at: float) -> asyncio.Future[tuple[Queued, ...]]:
        first = self.allot_recipients(len(message.envelope.recipients))
        return self.write(lambda connection: tuple(amend(connection, message, due_at, first)))

    def held_for(self, reason: str, limit: int) -> asyncio.Future[tuple[int, ...]]:
        return self._reader.ask(lambda connection: tuple(held_for(connection, reason, limit)))

    def given_back(self, limit: int) -> asyncio.Future[tuple[GivenBack, ...]]:
        return self._reader.ask(lambda connection: given_back(connection, limit))

    def write(self, call: Callable[[sqlite3.Connection], Any]) -> asyncio.Future[Any]:
        """Run `call` in the writer's thread, inside the transaction of the next batch, for adoption and upkeep."""
        operation = _SpoolOperation(asyncio.get_running_loop().create_future())
        operation.call = call
        operation.done = self._forget_cache
        self._writer.submit(operation)
        return operation.future

    def allot_recipients(self, count: int) -> int:
        """The first of `count` recipient rows that are now the caller's."""
        first = self._next_recipient
        self._next_recipient += count
        return first

    def close(self) -> asyncio.Future[None]:
        if self._closing is not None:
            return self._closing
        loop = asyncio.get_running_loop()
        self._closing = loop.create_future()
        finished = self._closing

        def at_end() -> None:
            self._reader.join()
            self._lock.release()
            try:
                loop.call_soon_threadsafe(_finish, finished)
            except RuntimeError:  # the loop ended without waiting
                pass

        self._reader.close()
        self._writer.close(at_end)
        return finished

    def _add(
        self,
        operation: _SpoolOperation,
        messages: Sequence[tuple[SpooledMessage, float]],
        settled: Sequence[Queued] = (),
        *,
        lazily: bool = False,
    ) -> None:
        queued: list[Queued] = []
        number = self._next_recipient
        for message, due_at in messages:
            if not message.envelope.recipients:
                operation.future.set_exception(SpoolError(f"message {message.id} has no recipient: nothing was kept"))
                return
            queued += as_queued(message, due_at, number)
            origin = "accepted" if message.trace.peer else "generated"
            operation.counts[origin] = operation.counts.get(origin, 0) + len(message.envelope.recipients)
            number += len(message.envelope.recipients)
            operation.floor = max(operation.floor, message.id)
        self._next_recipient = number
        operation.messages = [message_row(message) for message, _ in messages]
        operation.recipients = [recipient_row(one) for one in queued]
        operation.floor = floor_beyond(operation.floor) if operation.floor >= self._reserved else 0
        operation.result = tuple(queued)
        operation.done = lambda: self._was_written(operation, messages, settled)
        self._writer.submit(operation, lazily=lazily)

    def _was_written(
        self, operation: _SpoolOperation, messages: Iterable[tuple[SpooledMessage, float]], settled: Sequence[Queued]
    ) -> None:
        self._reserved = max(self._reserved, operation.floor)
        for queued in settled:
            self._cache.settled(queued)
        if settled:
            self._changes += 1
        rows = iter(operation.result)
        for message, _ in messages:
            self._cache.put(message, {next(rows).id: recipient for recipient in message.envelope.recipients})

    def _forget_cache(self) -> None:
        self._changes += 1
        self._cache.clear()

    def _learn_anew(self) -> None:
        """Someone else wrote: what is remembered of rows may be wrong now, also that they are unreadable."""
        self._forget_cache()
        self._unreadable.clear()
        self._aside.clear()

    def _without_damage(
        self, asked: asyncio.Future[tuple[list[Any], list[tuple[int, int, str]]]], finish: Callable[[list[Any]], Any]
    ) -> asyncio.Future[Any]:
        """The answer without its unreadable records, which are set aside and reported."""
        answer: asyncio.Future[Any] = asked.get_loop().create_future()

        def arrived(_: object) -> None:
            if asked.cancelled():
                answer.cancel()
                return
            error = asked.exception()
            if error is not None:
                if not answer.done():
                    answer.set_exception(error)
                return
            found, damaged = asked.result()
            for recipient_id, message_id, reason in damaged:
                self._set_aside(recipient_id, message_id, reason)
            result = finish(found)
            if not answer.done():
                answer.set_result(result)

        asked.add_done_callback(arrived)
        return answer

    def _set_aside(self, recipient_id: int, message_id: int, reason: str) -> None:
        is_known = recipient_id in self._unreadable if not message_id else message_id in self._aside
        if recipient_id:
            self._unreadable.add(recipient_id)
        if is_known:
            return
        self._aside.add(message_id)
        self._on_damage(message_id, reason)
        if self._closing is None and message_id:
            written = self.write(lambda connection: set_aside(connection, message_id, reason))
            written.add_done_callback(lambda future: future.cancelled() or future.exception())

    # In the writer's thread:

    def _connect(self) -> sqlite3.Connection:
        connection = open_database(self.path, SCHEMA, self._limits.database)
        self._data_version = -1  # versions of two connections cannot be compared
        return connection

    def _connect_reader(self) -> sqlite3.Connection:
        return open_database(self.path, SCHEMA, self._limits.database, create=False, is_guest=True)

    def _look_for_changes(self, connection: sqlite3.Connection) -> bool:
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        is_changed = version != self._data_version
        self._data_version = version
        return bool(is_changed)

    def _apply(self, connection: sqlite3.Connection, operations: Sequence[Operation[Any]]) -> None:
        messages: list[Row] = []
        recipients: list[Row] = []
        deferred: list[Deferred] = []
        gone: dict[str, list[int]] = {}
        counts: Counter[str] = Counter()
        emptied: list[int] = []
        calls: list[_SpoolOperation] = []
        floor = 0
        for operation in operations:
            assert isinstance(operation, _SpoolOperation)
            messages += operation.messages
            recipients += operation.recipients
            deferred += operation.deferred
            counts.update(operation.counts)
            for fate, numbers in operation.gone.items():
                gone.setdefault(fate, []).extend(numbers)
            emptied += operation.emptied
            if operation.floor > floor:
                floor = operation.floor
            if operation.call is not None:
                calls.append(operation)
        if messages:
            INSERT_MESSAGES.run(connection, messages)
            INSERT_RECIPIENTS.run(connection, recipients)
        if deferred:
            limits = self._limits
            defer(connection, deferred, kept=limits.attempts_kept, reply_chars=limits.reply_chars)
        for fate, numbers in gone.items():
            counts[fate] += remove_recipients(connection, numbers)
        if gone:
            remove_empty(connection, emptied)
        if counts:
            count(connection, counts)
        if floor:
            connection.execute("UPDATE fact SET value = max(value, ?) WHERE name = 'id_floor'", (floor,))
        for operation in calls:
            assert operation.call is not None
            operation.result = operation.call(connection)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _ignore_damage(message_id: int, reason: str) -> None:
    """Where nobody asked to be told."""


def _where_it_stood(connection: sqlite3.Connection) -> tuple[int, int]:
    """The next row of a recipient, and the id up to which ids may have been used."""
    newest = connection.execute("SELECT ifnull(max(id), 0) FROM recipient").fetchone()[0]
    noted = connection.execute("SELECT value FROM fact WHERE name = 'id_floor'").fetchone()[0]
    highest = connection.execute("SELECT ifnull(max(id), 0) FROM message").fetchone()[0]
    return newest + 1, max(noted, highest)


def _read_whole(
    connection: sqlite3.Connection, message_id: int
) -> tuple[list[tuple[SpooledMessage, dict[int, Recipient]]], list[tuple[int, int, str]]]:
    try:
        message = read_message(connection, message_id)
        if message is None:
            return [], []
        left = {queued.id: queued.recipient for queued in read_recipients(connection, message_id)}
        return [(message, left)], []
    except Exception as error:
        if not is_row_fault(error):
            raise
        return [], [(0, message_id, str(error))]
