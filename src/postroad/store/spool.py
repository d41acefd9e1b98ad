"""The spool port: where an accepted message lives until every recipient is settled.

Ten verbs. `commit` and `settle` are durable when their future completes: the change would survive
a power cut. One process owns a spool; a second one is refused at opening (`SpoolLocked`).
Every implementation passes the conformance suite in tests/store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from postroad.message.envelope import Envelope, Recipient

NEVER = float("inf")
"""When what is held, or set aside, is due."""


ALL_PRIORITIES = (-9, 9)


class SpoolError(Exception):
    """The store could not do it now (disk full, read-only, failed sync): answer 4xx, nothing was kept."""


class SpoolLocked(SpoolError):
    """Another process owns this spool."""


class SpoolFull(SpoolError):
    """No room: the disk or the spool's own size limit. 452 4.3.1 fits; it mends itself when space is back."""


class SpoolReadOnly(SpoolError):
    """The disk or the files may not be written."""


class SpoolDamaged(SpoolError):
    """The store is not readable where it had to be read."""


class SpoolVersion(SpoolError):
    """The files were written by a newer version, or are something else altogether; they were not touched."""


class SpoolBusy(SpoolError):
    """More work is waiting than the limits allow, or another program holds the store too long."""


class SpoolClosed(SpoolError):
    """The spool was closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Where a message came from, for `postroad queue` and the log."""

    peer: str
    helo: str
    protocol: str
    user: str | None = None
    listener: str = ""
    """Role of the listener, and with what TLS: told to the history, not kept in the spool."""
    secured: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpooledMessage:
    """A message as committed. `received_at` and `expires_at`: wall clock, seconds since 1970."""

    id: int
    envelope: Envelope
    body: bytes = field(repr=False)
    received_at: float
    expires_at: float
    trace: Trace
    held: str = ""
    """Why it waits for an operator's release: its recipients are never due until then."""
    stream: str = ""
    """Whose mail it is, for fairness: the user who submitted it, else the sender's domain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """One recipient still to be settled: all the schedule needs, without the body."""

    id: int
    """Row of the recipient, unique in its spool."""
    message_id: int
    recipient: Recipient
    due_at: float
    """Wall clock, seconds since 1970; infinity: held, or set aside."""
    attempts: int
    delay_notified: bool = False
    priority: int = 0
    stream: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try for one recipient, as `postroad queue show` tells it."""

    at: float
    host: str
    phase: str
    reply: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The recipient is done: its row goes; the message with its last one. `fate`: delivered, bounced, dropped or
    discarded, as the tally counts it (store/tally.py)."""

    queued: Queued
    fate: str = "delivered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """The recipient stays, due again at `due_at` (wall clock), with the attempt that failed."""

    queued: Queued
    due_at: float
    attempt: Attempt
    delay_notified: bool = False
    is_attempt: bool = True
    """False: nothing was tried, for our own pace's sake. It is not counted; the reason is kept until something is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenBack:
    """A recipient that an operator wants given back to the sender, and why."""

    queued: Queued
    words: str


def as_queued(message: SpooledMessage, due_at: float, first: int) -> list[Queued]:
    """The recipients of a message that is now kept, in rows from `first` on."""
    due_at = NEVER if message.held else due_at
    priority, stream = message.envelope.priority, message.stream
    return [
        Queued(
            id=number,
            message_id=message.id,
            recipient=recipient,
            due_at=due_at,
            attempts=0,
            priority=priority,
            stream=stream,
        )
        for number, recipient in enumerate(message.envelope.recipients, first)
    ]


class Spool(Protocol):
    def new_id(self, wall: float) -> int:
        """A queue id no message of any shard has or had, rising with time."""
        ...

    def commit(self, message: SpooledMessage, due_at: float) -> asyncio.Future[tuple[Queued, ...]]:
        """Keep the message; completes with its recipients once that is durable. Raises SpoolError.

        A held message's recipients are due never (infinity)."""
        ...

    def settle(
        self, outcomes: Sequence[Settled | Deferred], bounces: Sequence[tuple[SpooledMessage, float]] = ()
    ) -> asyncio.Future[tuple[Queued, ...]]:
        """In one transaction: apply the outcomes and commit the bounces (message, due_at) they cause.

        An outcome for a recipient that is gone (removed by an operator in the meantime) changes nothing.
        Completes, durably, with the bounces' recipients."""
        ...

    def amend(self, message: SpooledMessage, due_at: float) -> asyncio.Future[tuple[Queued, ...]]:
        """Let the message of that id be this one: body, envelope, hold. Completes, durably, with its recipients as they
        are now, none where the message is gone."""
        ...

    def held_for(self, reason: str, limit: int) -> asyncio.Future[tuple[int, ...]]:
        """Ids of messages held for exactly that reason, oldest first."""
        ...

    def due(
        self,
        *,
        before: float,
        limit: int,
        after: tuple[float, int] | None = None,
        priorities: tuple[int, int] = ALL_PRIORITIES,
    ) -> asyncio.Future[tuple[Queued, ...]]:
        """Recipients due before that wall clock time, earliest first (ties by row).

        `after`: the (due_at, id) of the last one already read, to page on from there. `priorities`: only those of the
        first to the second, both included."""
        ...

    def load(self, message_id: int) -> asyncio.Future[SpooledMessage | None]:
        """The message with its body and the recipients still unsettled; None when it is gone or unreadable."""
        ...

    def changed(self) -> asyncio.Future[bool]:
        """Whether someone else (an operator's `postroad queue`) changed the spool since the last call.

        True asks the caller to read the due recipients again: some may be due sooner, some gone.
        Cheap enough for once a second."""
        ...

    def given_back(self, limit: int) -> asyncio.Future[tuple[GivenBack, ...]]:
        """Recipients that an operator wants given back to their senders, those of the oldest messages first. They are
        never due."""
        ...

    def close(self) -> asyncio.Future[None]:
        """Finish what was begun, then give the spool up."""
        ...
