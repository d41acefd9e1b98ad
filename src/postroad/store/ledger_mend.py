"""After a crash: what the ledger missed is taken from the spool, and what it can no longer know is marked as such.

The spool is exact, the ledger is written a moment later. So after a hard stop the spool may hold messages that the
ledger never heard of: they are noted from the spool. And the ledger may hold recipients without an end that are in no
spool: they were settled in the last moment, and how is not on record (the tally has it counted). Nothing is marked that
came after the start; should another worker yet write what became of one, that counts. Blocks: for a thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from postroad.store.ledger import Accepted, Ledger

if TYPE_CHECKING:
    from postroad.store.queue_admin import QueueAdmin, QueueMessage

PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """Messages taken over from the spool, and recipients whose end is not on record."""

    messages: int
    unknown: int


def mend(ledger: Ledger, queue: QueueAdmin, *, before: float) -> Mended:
    """Bring the ledger in line with the spool, as to messages accepted before that time (wall clock). Raises
    SpoolError."""
    return Mended(messages=_take_over(ledger, queue), unknown=_mark_unknown(ledger, queue, before))


def _take_over(ledger: Ledger, queue: QueueAdmin) -> int:
    messages, after = 0, 0
    while ids := queue.ids(after=after, limit=PAGE):
        after = ids[-1]
        shown = [queue.show(number) for number in ledger.missing(ids)]
        entries = [_accepted(one) for one in shown if one is not None]
        ledger.write(entries)
        messages += len(entries)
    return messages


def _accepted(shown: QueueMessage) -> Accepted:
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


def _mark_unknown(ledger: Ledger, queue: QueueAdmin, before: float) -> int:
    unknown, after = 0, (0, "")
    while page := ledger.open_recipients(before=before, after=after, limit=PAGE):
        after = page[-1]
        waiting = queue.waiting({number for number, _ in page})
        unknown += ledger.mark_unknown([one for one in page if one not in waiting])
    return unknown
