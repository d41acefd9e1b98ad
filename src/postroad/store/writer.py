"""Group commit: one thread per database writes what many sessions ask for, with one sync for all of them.

The event loop hands operations over with `Writer.submit`; those of one loop iteration wake the thread
once, and those that nobody waits for (`lazily`) go with the next that somebody does, or after `linger_s`.
The thread takes all that wait (up to the limits), lets the store apply them in one transaction, commits,
and completes their futures with one call into the loop. While it syncs, the next batch gathers: the busier
the server, the larger the batches.

Failure policy: when a batch fails, it is rolled back; if an operation may be to blame each is run alone,
so that a bad one fails by itself; if the disk is to blame all fail. After a failed commit or sync the
connection is closed and a new one opened before the next batch: what the old one had in memory is not
trusted (D-02). `Reader` answers questions on a connection and thread of its own, so that none waits for a sync.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from postroad.store.spool import SpoolBusy, SpoolClosed, SpoolError
from postroad.store.sqlite import explain, is_environment, primary_code, roll_back

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterLimits:
    """What may wait and what one transaction may hold."""

    pending_operations: int = 20_000
    pending_bytes: int = 512 * 1024 * 1024
    batch_operations: int = 512
    batch_bytes: int = 8 * 1024 * 1024
    """A single larger operation still gets its own transaction."""
    linger_s: float = 0.02
    """How long an operation that nobody waits for may wait for company."""


class Operation(Generic[Result]):
    """One thing to be written, and the future that says it is durable.

    The store subclasses it with its rows. `size`: bytes, for the limits. `completed` runs in the event
    loop just before the future completes, only on success, also where the caller cancelled the future."""

    __slots__ = ("error", "future", "result", "size")

    def __init__(self, future: asyncio.Future[Result], size: int) -> None:
        self.future = future
        self.size = size
        self.result: Result
        self.error: SpoolError | None = None

    def completed(self) -> None:
        """What the store does in the loop once the change is durable."""


class Writer:
    """The one thread that writes to a database.

    It owns `connection` from now on; `connect` makes the next one after a failure. `connect` and `apply`
    are called in that thread only."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        connect: Callable[[], sqlite3.Connection],
        apply: Callable[[sqlite3.Connection, Sequence[Operation[Any]]], None],
        limits: WriterLimits,
    ) -> None:
        self._path = path
        self._connect = connect
        self._apply = apply
        self._limits = limits
        self._connection: sqlite3.Connection | None = connection
        self._staged: list[Operation[Any]] = []
        self._flushing_for: asyncio.AbstractEventLoop | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._queue: SimpleQueue[list[Operation[Any]] | None] = SimpleQueue()
        # Each pair of counters: the first written by the loop's thread alone, the second by the writer's alone.
        self._submitted = self._submitted_bytes = 0
        self._finished = self._finished_bytes = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"writer {path.name}", daemon=True)
        self._at_end: Callable[[], None] | None = None
        self._thread.start()

    def submit(self, operation: Operation[Any], *, lazily: bool = False) -> None:
        """Have it written with the next batch; its future completes when it is durable or has failed."""
        if self._closed:
            operation.future.set_exception(SpoolClosed(f"{self._path} is closed"))
            return
        limits = self._limits
        if (
            self._submitted - self._finished >= limits.pending_operations
            or self._submitted_bytes - self._finished_bytes > limits.pending_bytes
        ):
            operation.future.set_exception(
                SpoolBusy(f"too much is waiting to be written to {self._path}: the disk is too slow for this load")
            )
            return
        self._submitted += 1
        self._submitted_bytes += operation.size
        self._staged.append(operation)
        loop = operation.future.get_loop()
        if lazily and len(self._staged) < limits.batch_operations:
            if self._lingering is None and self._flushing_for is not loop:
                self._lingering = loop.call_later(limits.linger_s, self._flush)
        elif self._flushing_for is not loop:
            self._flushing_for = loop
            loop.call_soon(self._flush)

    def close(self, at_end: Callable[[], None]) -> None:
        """Write what was submitted, close the connection, then call `at_end` in the writer's thread."""
        if not self._closed:
            self._closed = True
            self._at_end = at_end
            self._flush()
            self._queue.put(None)

    def _flush(self) -> None:
        self._flushing_for = None
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if self._staged:
            self._queue.put(self._staged)
            self._staged = []

    # From here on: the writer's thread.

    def _run(self) -> None:
        backlog: deque[Operation[Any]] = deque()
        is_open = True
        while is_open or backlog:
            if not backlog:
                is_open = self._take(backlog, self._queue.get())
            try:
                while is_open:
                    is_open = self._take(backlog, self._queue.get_nowait())
            except Empty:
                pass
            if backlog:
                self._write(self._cut(backlog))
        if self._connection is not None:
            self._connection.close()
        if self._at_end is not None:
            self._at_end()

    @staticmethod
    def _take(backlog: deque[Operation[Any]], operations: list[Operation[Any]] | None) -> bool:
        if operations is None:
            return False
        backlog.extend(operations)
        return True

    def _cut(self, backlog: deque[Operation[Any]]) -> list[Operation[Any]]:
        batch = [backlog.popleft()]
        size = batch[0].size
        while backlog and len(batch) < self._limits.batch_operations:
            size += backlog[0].size
            if size > self._limits.batch_bytes:
                break
            batch.append(backlog.popleft())
        return batch

    def _write(self, batch: list[Operation[Any]]) -> None:
        error = self._transact(batch)
        if error is not None:
            if len(batch) > 1 and not is_environment(error):
                for operation in batch:
                    alone = self._transact([operation])
                    operation.error = None if alone is None else explain(alone, self._path)
            else:
                for operation in batch:
                    operation.error = explain(error, self._path)
        self._finished += len(batch)
        self._finished_bytes += sum([operation.size for operation in batch])
        for loop in {operation.future.get_loop() for operation in batch}:
            try:
                loop.call_soon_threadsafe(_complete, loop, batch)
            except RuntimeError:  # that loop has ended, and nobody is left to be told
                pass

    def _transact(self, batch: Sequence[Operation[Any]]) -> Exception | None:
        """Apply and commit them together, or return what prevented it, nothing having been kept."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._apply(connection, batch)
                connection.execute("COMMIT")
            except BaseException:
                roll_back(connection)
                raise
        except Exception as error:  # whatever it is, the futures of this batch must hear of it
            if type(error) in (sqlite3.OperationalError, sqlite3.DatabaseError):
                self._drop_connection(error)
            return error
        return None

    def _drop_connection(self, error: Exception) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if primary_code(error) == sqlite3.SQLITE_FULL:
                # A log already copied into the database can be written from its start again: room for deletions.
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:
            pass
        finally:
            connection.close()


def _complete(loop: asyncio.AbstractEventLoop, batch: Sequence[Operation[Any]]) -> None:
    for operation in batch:
        future = operation.future
        if future.get_loop() is not loop:
            continue
        if operation.error is None:
            operation.completed()
            if not future.done():
                future.set_result(operation.result)
        elif not future.done():
            future.set_exception(operation.error)


class Reader:
    """A thread with a connection that only reads. It starts with the first question."""

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection], *, pending: int = 10_000) -> None:
        self._path = path
        self._connect = connect
        self._pending = pending
        self._queue: SimpleQueue[tuple[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def ask(self, question: Callable[[sqlite3.Connection], Result]) -> asyncio.Future[Result]:
        """Run it in the reader's thread; the future gets what it returns, or SpoolError."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        if self._closed:
            future.set_exception(SpoolClosed(f"{self._path} is closed"))
        elif self._queue.qsize() >= self._pending:
            future.set_exception(SpoolBusy(f"too much is waiting to be read from {self._path}"))
        else:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"reader {self._path.name}", daemon=True)
                self._thread.start()
            self._queue.put((question, future))
        return future

    def close(self) -> None:
        """Answer what was asked; then the thread ends. `join` waits for that."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        while (item := self._queue.get()) is not None:
            question, future = item
            answer: Any = None
            failure: SpoolError | None = None
            try:
                if connection is None:
                    connection = self._connect()
                answer = question(connection)
            except Exception as error:
                failure = explain(error, self._path)
                if connection is not None and isinstance(error, sqlite3.Error):
                    connection.close()
                    connection = None
            try:
                future.get_loop().call_soon_threadsafe(_answer, future, answer, failure)
            except RuntimeError:
                pass
        if connection is not None:
            connection.close()


def _answer(future: asyncio.Future[Any], answer: Any, failure: SpoolError | None) -> None:
    if future.done():
        return
    if failure is not None:
        future.set_exception(failure)
    else:
        future.set_result(answer)
