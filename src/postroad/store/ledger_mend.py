"""After a crash: what the ledger missed is taken from the spool, and what it can no longer know is marked as such.

The spool is exact, the ledger is written a moment later. So after a hard stop the spool may hold messages that the
ledger never heard of: they are noted from the spool. And the ledger may hold recipients without an end that are in no
spool: they were settled in the last moment, and how is not on record (the tally has it counted). Nothing is marked that
came after the start; should another worker yet write what became of one, that counts. Blocks: for a thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from postroad.store.ledger import Accepted, Ledger, RecipientStory, Story, Tried

if TYPE_CHECKING:
    from postroad.store.queue_admin import QueueAdmin, QueueMessage
    from postroad.store.spool import Attempt

PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """Messages taken over from the spool, and recipients whose end is not on record."""

    messages: int
    unknown: int


def mend(ledger: Ledger, queue: QueueAdmin, *, before: float) -> Mended:
    """Bring the ledger in line with the spool, as to messages accepted before that time (wall clock). Raises
    SpoolError."""
    return Mended(messages=_take_over(ledger, queue, before), unknown=_mark_unknown(ledger, queue, before))


def _take_over(ledger: Ledger, queue: QueueAdmin, before: float) -> int:
    """Only what came before: of later messages a worker is about to write more than the spool knows."""
    messages, after = 0, 0
    while ids := queue.ids(after=after, limit=PAGE):
        after = ids[-1]
        shown = [queue.show(number) for number in ledger.missing(ids)]
        entries = [accepted(one) for one in shown if one is not None and one.entry.received_at < before]
        ledger.write(entries)
        messages += len(entries)
    return messages


def accepted(shown: QueueMessage) -> Accepted:
    """What the spool knows of a message's coming."""
    entry, message = shown.entry, shown.message
    trace = None if message is None else message.trace
    return Accepted(
        id=entry.id,
        at=entry.received_at,
        sender=entry.sender,
        user=None if trace is None else trace.user,
        peer="" if trace is None else trace.peer,
        helo="" if trace is None else trace.helo,
        protocol="" if trace is None else trace.protocol,
        size=entry.size_bytes,
        header_id=None,
        recipients=tuple((one.queued.id, str(one.queued.recipient.address)) for one in shown.recipients),
        held=entry.held or "",
    )


def story(shown: QueueMessage) -> Story:
    """The life of a message so far as the spool knows it: where there is no history of it, or not yet."""
    known = [(str(one.queued.recipient.address), None, one.attempts) for one in shown.recipients]
    settled = [(address, "unknown", attempts) for address, attempts in shown.settled]
    return Story(
        accepted=accepted(shown),
        recipients=tuple(
            RecipientStory(
                address=address,
                fate=fate,
                at=shown.entry.received_at,
                attempts=tuple(_tried(shown.entry.id, address, number, one) for number, one in enumerate(attempts, 1)),
            )
            for address, fate, attempts in (*known, *settled)
        ),
        notes=(),
        notices=(),
    )


def _tried(message_id: int, address: str, number: int, one: Attempt) -> Tried:
    return Tried(
        message_id=message_id,
        row=0,
        address=address,
        number=number,
        at=one.at,
        outcome="deferred",
        host=one.host,
        phase=one.phase,
        reply=one.reply,
        meaning=one.meaning,
        rule="",
        due_at=None,
        secured="",
        dialogue=None,
    )


def _mark_unknown(ledger: Ledger, queue: QueueAdmin, before: float) -> int:
    unknown, after = 0, (0, "")
    while page := ledger.open_recipients(before=before, after=after, limit=PAGE):
        after = page[-1]
        waiting = queue.waiting({number for number, _ in page})
        unknown += ledger.mark_unknown([one for one in page if one not in waiting])
    return unknown
