"""The spool in memory: for tests and the library. NOT durable: what it holds is gone with the process.

It passes the same conformance suite as the SQLite one; only what the disk can do to a spool is not in it.
Futures complete at once. Bounded by `max_messages`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from postroad.store.queue_ids import QueueIds
from postroad.store.spool import (
    ALL_PRIORITIES,
    Attempt,
    Deferred,
    GivenBack,
    Queued,
    Settled,
    SpoolClosed,
    SpooledMessage,
    SpoolError,
    SpoolFull,
    as_queued,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Result = TypeVar("Result")


class MemorySpool:
    """A `Spool` that forgets. `max_messages`: SpoolFull beyond."""

    def __init__(self, *, shard: int = 0, max_messages: int = 100_000, attempts_kept: int = 20) -> None:
        self._ids = QueueIds(shard)
        self._max_messages = max_messages
        self._attempts_kept = attempts_kept
        self._messages: dict[int, SpooledMessage] = {}
        self._queued: dict[int, Queued] = {}
        self._by_message: dict[int, set[int]] = {}
        self._attempts: dict[int, tuple[Attempt, ...]] = {}
        self._not_tried: dict[int, Attempt] = {}
        self._next_recipient = 1
        self._is_closed = False
        self._is_changed = False

    def new_id(self, wall: float) -> int:
        return self._ids.next(wall)

    def commit(self, message: SpooledMessage, due_at: float) -> asyncio.Future[tuple[Queued, ...]]:
        return self._done(lambda: self._keep([(message, due_at)]))

    def settle(
        self, outcomes: Sequence[Settled | Deferred], bounces: Sequence[tuple[SpooledMessage, float]] = ()
    ) -> asyncio.Future[tuple[Queued, ...]]:
        def apply() -> tuple[Queued, ...]:
            queued = self._keep(bounces)
            for outcome in outcomes:
                if isinstance(outcome, Deferred):
                    self._defer(outcome)
            for outcome in outcomes:
                if isinstance(outcome, Settled):
                    self._remove(outcome.queued.id)
            return queued

        return self._done(apply)

    def amend(self, message: SpooledMessage, due_at: float) -> asyncio.Future[tuple[Queued, ...]]:
        def change() -> tuple[Queued, ...]:
            numbers = self._by_message.get(message.id)
            if numbers is None:
                return ()
            before = {self._queued[number].recipient.address: self._queued[number] for number in numbers}
            kept = tuple(
                replace(before[one.recipient.address], due_at=one.due_at) if one.recipient.address in before else one
                for one in as_queued(message, due_at, self._next_recipient)
            )
            self._next_recipient += len(kept)
            for number in list(numbers):
                del self._queued[number]
            self._queued |= {one.id: one for one in kept}
            self._by_message[message.id] = {one.id for one in kept}
            self._messages[message.id] = message
            return kept

        return self._done(change)

    def held_for(self, reason: str, limit: int) -> asyncio.Future[tuple[int, ...]]:
        return self._done(
            lambda: tuple(sorted(one.id for one in self._messages.values() if one.held == reason)[:limit])
        )

    def due(
        self,
        *,
        before: float,
        limit: int,
        after: tuple[float, int] | None = None,
        priorities: tuple[int, int] = ALL_PRIORITIES,
    ) -> asyncio.Future[tuple[Queued, ...]]:
        def find() -> tuple[Queued, ...]:
            found = [
                one
                for one in self._queued.values()
                if one.due_at < before
                and (after is None or (one.due_at, one.id) > after)
                and priorities[0] <= one.priority <= priorities[1]
            ]
            return tuple(sorted(found, key=lambda one: (one.due_at, one.id))[:limit])

        return self._done(find)

    def load(self, message_id: int) -> asyncio.Future[SpooledMessage | None]:
        def find() -> SpooledMessage | None:
            message = self._messages.get(message_id)
            if message is None:
                return None
            left = tuple(self._queued[number].recipient for number in sorted(self._by_message[message_id]))
            return replace(message, envelope=replace(message.envelope, recipients=left))

        return self._done(find)

    def changed(self) -> asyncio.Future[bool]:
        def look() -> bool:
            is_changed, self._is_changed = self._is_changed, False
            return is_changed

        return self._done(look)

    def given_back(self, limit: int) -> asyncio.Future[tuple[GivenBack, ...]]:
        return self._done(lambda: ())  # no operator reaches in here

    def close(self) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_closed = True
        future.set_result(None)
        return future

    def attempts(self, queued: Queued) -> tuple[Attempt, ...]:
        """The attempts of a recipient still here, oldest first."""
        waiting = self._not_tried.get(queued.id)
        return (() if waiting is None else (waiting,)) + self._attempts.get(queued.id, ())

    def remove(self, message_id: int) -> int:
        """What an operator does behind the owner's back: remove the message; how many recipients it had left."""
        numbers = list(self._by_message.get(message_id, ()))
        for number in numbers:
            self._remove(number)
        self._is_changed = self._is_changed or bool(numbers)
        return len(numbers)

    def _done(self, verb: Callable[[], Result]) -> asyncio.Future[Result]:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        if self._is_closed:
            future.set_exception(SpoolClosed("the spool is closed"))
            return future
        try:
            future.set_result(verb())
        except SpoolError as error:
            future.set_exception(error)
        return future

    def _keep(self, messages: Sequence[tuple[SpooledMessage, float]]) -> tuple[Queued, ...]:
        if len(self._messages) + len(messages) > self._max_messages:
            raise SpoolFull(f"the spool in memory holds {self._max_messages} messages: raise max_messages")
        for message, _ in messages:
            if not message.envelope.recipients:
                raise SpoolError(f"message {message.id} has no recipient: nothing was kept")
            if message.id in self._messages:
                raise SpoolError(f"message {message.id} is in the spool already: nothing was kept")
        kept: list[Queued] = []
        for message, due_at in messages:
            self._messages[message.id] = message
            for queued in as_queued(message, due_at, self._next_recipient):
                self._next_recipient += 1
                self._queued[queued.id] = queued
                self._by_message.setdefault(message.id, set()).add(queued.id)
                kept.append(queued)
        return tuple(kept)

    def _defer(self, outcome: Deferred) -> None:
        queued = self._queued.get(outcome.queued.id)
        if queued is None:
            return
        self._queued[queued.id] = replace(
            queued,
            due_at=outcome.due_at,
            attempts=queued.attempts + outcome.is_attempt,
            delay_notified=queued.delay_notified or outcome.delay_notified,
        )
        if not outcome.is_attempt:
            self._not_tried[queued.id] = outcome.attempt
            return
        self._not_tried.pop(queued.id, None)
        tried = (*self._attempts.get(queued.id, ()), outcome.attempt)
        self._attempts[queued.id] = tried[-self._attempts_kept :]

    def _remove(self, number: int) -> None:
        queued = self._queued.pop(number, None)
        if queued is None:
            return
        self._attempts.pop(number, None)
        self._not_tried.pop(number, None)
        left = self._by_message[queued.message_id]
        left.discard(number)
        if not left:
            del self._by_message[queued.message_id]
            del self._messages[queued.message_id]
