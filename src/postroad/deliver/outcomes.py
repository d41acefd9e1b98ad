"""What deliveries teach about addresses: outcomes worth remembering, and who is not to be mailed again. Pure.

Only what the recipient's own host said of the mailbox counts: a message that was refused for its content, for us or for
the time says nothing of the address. Used by worker.py, which has them kept in the store of facts.
"""

from __future__ import annotations

from collections.abc import Iterator

from postroad.deliver.settle import Fate, Judgement, Verdict
from postroad.store.facts import EVERYBODY, Cause, Delivered, DeliveryOutcome, Suppressed
from postroad.store.spool import SpooledMessage

MAX_SAID_CHARS = 500


def taught(message: SpooledMessage, judgement: Judgement, at: float) -> Iterator[Delivered]:
    """What is worth remembering of an attempt's recipients. `at`: wall clock."""
    if not message.trace.user:
        return  # relayed or forwarded mail: strangers must not decide whom our users may write to
    for verdict in judgement.verdicts:
        outcome = verdict.outcome
        if outcome.is_local or not outcome.host:
            continue
        if verdict.fate is Fate.DELIVERED:
            yield _delivered(verdict, DeliveryOutcome.DELIVERED, at)
        elif verdict.fate is Fate.BOUNCED and outcome.meaning.suppress:
            yield _delivered(verdict, DeliveryOutcome.BOUNCED, at)


def suppression(one: Delivered, *, lasts_s: float | None) -> Suppressed | None:
    """The entry that stops further mail to an address that bounced; None where it did not.

    `lasts_s`: seconds; None: for ever."""
    if one.outcome is DeliveryOutcome.DELIVERED:
        return None
    return Suppressed(
        name=one.address.lower(),
        cause=Cause.BOUNCED,
        added_at=one.at,
        note=one.said,
        scope=EVERYBODY,
        expires_at=None if lasts_s is None else one.at + lasts_s,
    )


def _delivered(verdict: Verdict, outcome: DeliveryOutcome, at: float) -> Delivered:
    address = verdict.queued.recipient.address
    said = "" if outcome is DeliveryOutcome.DELIVERED else _words(verdict)
    return Delivered(address=str(address), domain=address.domain, at=at, outcome=outcome, said=said)


def _words(verdict: Verdict) -> str:
    outcome = verdict.outcome
    words = str(outcome.reply) if outcome.reply is not None else outcome.detail
    return f"{outcome.host} said: {words}"[:MAX_SAID_CHARS]
