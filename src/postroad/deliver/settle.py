"""The only judge of «done»: from the outcomes of an attempt to what the spool keeps and what the sender is told.

Pure: time and chance are handed in. A recipient is done when the next host (or the mailbox) took the message, when it
will never be taken, or when it was tried for its lifetime; until then it is due again. Nobody is told of a bounce's own
failure (H-14), nor where NOTIFY says so. Used by deliver/worker.py alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from postroad.deliver.attempt import Outcome, is_odd
from postroad.meaning.backoff import Chance, RetrySchedule, next_attempt
from postroad.meaning.classify import Kind
from postroad.message.dsn import DEFAULT_RETURN_OCTETS, Action, Notice, RecipientReport, build_dsn
from postroad.message.envelope import ByMode, Envelope, Notify, Recipient, format_queue_id
from postroad.smtp.address import NULL, Address
from postroad.smtp.outcome import Phase
from postroad.store.spool import Attempt, Deferred, Queued, Settled, SpooledMessage, Trace

MIN_ATTEMPTS = 3
"""A clock that jumped ahead must not end a message that was hardly tried (D-04)."""


PACED_S = 5.0
"""When a message comes back that our own pace turned away without a time."""
PACED_JITTER = 0.05
"""How much later than told it may come, as a share: not all at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlePolicy:
    """`hostname` signs the notifications. `delay_notice_s`: when the sender is told of a delay; 0 for never."""

    hostname: str
    schedule: RetrySchedule = field(default_factory=RetrySchedule)
    delay_notice_s: float = 4 * 3600.0
    return_octets: int = DEFAULT_RETURN_OCTETS


class Fate(StrEnum):
    """What became of a recipient in this attempt; also the second half of the event's name."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One recipient's."""

    queued: Queued
    outcome: Outcome
    fate: Fate
    kept: Settled | Deferred
    """What the spool is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """All of an attempt. `notices`: what the sender is to be told, for each action."""

    verdicts: tuple[Verdict, ...]
    notices: Mapping[Action, Sequence[RecipientReport]]

    def tried(self) -> Judgement:
        """Without those for whom nothing was tried."""
        if not any(verdict.outcome.is_paced for verdict in self.verdicts):
            return self
        return replace(self, verdicts=tuple(one for one in self.verdicts if not one.outcome.is_paced))


_NOTHING_TO_TELL: Mapping[Action, Sequence[RecipientReport]] = {}


def judge(
    message: SpooledMessage,
    queued: Sequence[Queued],
    outcomes: Mapping[int, Outcome],
    *,
    policy: SettlePolicy,
    now: float,
    rng: Chance,
) -> Judgement:
    """The verdict on every recipient of the attempt. `now`: wall clock."""
    verdicts = []
    reports: dict[Action, list[RecipientReport]] = {}
    for one in queued:
        outcome = outcomes[one.id]
        verdict = _verdict(message, one, outcome, policy=policy, now=now, rng=rng)
        verdicts.append(verdict)
        action = _to_tell(message, verdict)
        if action is not None:
            reports.setdefault(action, []).append(_report(message, verdict, action, now))
    return Judgement(verdicts=tuple(verdicts), notices=reports or _NOTHING_TO_TELL)


def _verdict(
    message: SpooledMessage, queued: Queued, outcome: Outcome, *, policy: SettlePolicy, now: float, rng: Chance
) -> Verdict:
    if outcome.is_delivered:
        return Verdict(queued=queued, outcome=outcome, fate=Fate.DELIVERED, kept=Settled(queued=queued))
    if outcome.is_paced and not is_too_late(message, now):
        return _not_tried(message, queued, outcome, policy=policy, now=now, rng=rng)
    schedule = policy.schedule
    attempts = queued.attempts + 1
    if (outcome.meaning.retry or is_odd(outcome)) and not _is_over(message, attempts, schedule, now):
        meaning = outcome.meaning
        wait = next_attempt(attempts, schedule=schedule, rng=rng, hint_s=meaning.retry_after_s, kind=meaning.kind)
        by = message.envelope.deliver_by
        left = (by.deadline if by is not None and now < by.deadline < message.expires_at else message.expires_at) - now
        if 0 < left < wait:
            wait = max(left, 1.0)  # the last try is made when the time is up, not after
        is_delay_told = not queued.delay_notified and _may_tell_delay(message, queued, policy, now)
        deferred = Deferred(
            queued=queued,
            due_at=now + wait,
            attempt=_attempt(outcome, now),
            delay_notified=queued.delay_notified or is_delay_told,
        )
        return Verdict(queued=queued, outcome=outcome, fate=Fate.DEFERRED, kept=deferred)
    fate = Fate.BOUNCED if isinstance(message.envelope.reverse_path, Address) else Fate.DROPPED
    return Verdict(queued=queued, outcome=outcome, fate=fate, kept=Settled(queued=queued, fate=str(fate)))


def _not_tried(
    message: SpooledMessage, queued: Queued, outcome: Outcome, *, policy: SettlePolicy, now: float, rng: Chance
) -> Verdict:
    """Our own pace did not allow it: it is no attempt, and the message comes back when there may be room. Its lifetime
    is no reason to give it up before it was tried."""
    wait = max(1.0, outcome.meaning.retry_after_s or PACED_S) * (1.0 + PACED_JITTER * rng.random())
    by = message.envelope.deliver_by
    if by is not None and now < by.deadline < now + wait:
        wait = max(by.deadline - now, 1.0)
    is_delay_told = not queued.delay_notified and _may_tell_delay(message, queued, policy, now)
    deferred = Deferred(
        queued=queued,
        due_at=now + wait,
        attempt=_attempt(outcome, now),
        delay_notified=queued.delay_notified or is_delay_told,
        is_attempt=False,
    )
    return Verdict(queued=queued, outcome=outcome, fate=Fate.DEFERRED, kept=deferred)


def _is_over(message: SpooledMessage, attempts: int, schedule: RetrySchedule, now: float) -> bool:
    """Whether it was tried for its lifetime.

    The wall clock says so, unless hardly anything was tried yet; and where the clock went back, the number of attempts
    does, long after the lifetime could have held as many."""
    if is_too_late(message, now):
        return True
    planned = schedule.attempts_within_lifetime()
    if attempts >= 4 * planned + 50:
        return True
    return now >= message.expires_at and attempts >= min(MIN_ATTEMPTS, planned)


def is_too_late(message: SpooledMessage, now: float) -> bool:
    """Whether its sender wants it back because its time is over (DELIVERBY with R, RFC 2852 §4)."""
    by = message.envelope.deliver_by
    return by is not None and by.mode is ByMode.RETURN and now >= by.deadline >= message.received_at


def _ends_at(message: SpooledMessage) -> float:
    by = message.envelope.deliver_by
    if by is None or by.mode is not ByMode.RETURN:
        return message.expires_at
    return min(message.expires_at, by.deadline)


def _may_tell_delay(message: SpooledMessage, queued: Queued, policy: SettlePolicy, now: float) -> bool:
    by = message.envelope.deliver_by
    if by is None or by.mode is not ByMode.NOTIFY or now < by.deadline:
        begun = message.envelope.release_at or message.received_at
        if policy.delay_notice_s <= 0 or now - begun < policy.delay_notice_s:
            return False
    notify = queued.recipient.notify
    return isinstance(message.envelope.reverse_path, Address) and (notify is None or Notify.DELAY in notify)


def _attempt(outcome: Outcome, now: float) -> Attempt:
    return Attempt(
        at=now,
        host=outcome.host,
        phase=str(outcome.phase),
        reply=str(outcome.reply) if outcome.reply is not None else outcome.detail,
        meaning="outcome_unknown" if outcome.is_unknown else "paced" if outcome.is_paced else str(outcome.meaning.kind),
    )


# What the sender is told -----------------------------------------------------------------------------------------


def _to_tell(message: SpooledMessage, verdict: Verdict) -> Action | None:
    """RFC 3461 §4.1 and §5.2; of a message without a reverse-path nobody is told anything (RFC 5321 §4.5.5)."""
    if not isinstance(message.envelope.reverse_path, Address):
        return None
    notify = verdict.queued.recipient.notify
    match verdict.fate:
        case Fate.DELIVERED:
            if not verdict.outcome.is_local and _is_deadline_news(message.envelope, verdict.outcome, notify):
                return Action.RELAYED
            if notify is None or Notify.SUCCESS not in notify or verdict.outcome.passes_dsn_on:
                return None
            return Action.DELIVERED if verdict.outcome.is_local else Action.RELAYED
        case Fate.DEFERRED:
            assert isinstance(verdict.kept, Deferred)
            is_news = verdict.kept.delay_notified and not verdict.queued.delay_notified
            return Action.DELAYED if is_news else None
        case _:
            return Action.FAILED if notify is None or Notify.FAILURE in notify else None


def _is_deadline_news(envelope: Envelope, outcome: Outcome, notify: frozenset[Notify] | None) -> bool:
    """Whether the sender hears that it was passed on: he traces it, or nobody minds its deadline from here on.

    RFC 2852 §4; not where he wants to hear of nothing."""
    by = envelope.deliver_by
    if by is None or (notify is not None and Notify.NEVER in notify):
        return False
    return by.is_traced or not outcome.passes_deadline_on


_STATUS = {
    Kind.MAILBOX_UNKNOWN: "1.1",
    Kind.MAILBOX_DISABLED: "2.1",
    Kind.MAILBOX_FULL: "2.2",
    Kind.DOMAIN_UNKNOWN: "1.2",
    Kind.RELAY_DENIED: "7.1",
    Kind.GREYLISTED: "7.1",
    Kind.RATE_LIMITED: "7.1",
    Kind.BLOCKED_REPUTATION: "7.1",
    Kind.POLICY_CONTENT: "7.1",
    Kind.AUTH_REQUIRED: "7.0",
    Kind.TLS_REQUIRED: "7.10",
    Kind.MESSAGE_TOO_BIG: "3.4",
}


def _status(verdict: Verdict, action: Action, is_expired: bool) -> str:
    said = verdict.outcome.reply
    if action in (Action.DELIVERED, Action.RELAYED):
        return "2.0.0"
    if action is Action.FAILED and is_expired:
        return "5.4.7"
    is_temporary = action is Action.DELAYED or verdict.outcome.meaning.retry
    expected = 4 if is_temporary else 5
    if action is Action.FAILED and is_temporary:
        return "4.4.7"  # given up for its age (RFC 3463 §3.5)
    if said is not None and said.enhanced is not None and said.enhanced.cls == expected:
        return str(said.enhanced)
    if said is None:
        return f"{expected}.4.1" if verdict.outcome.phase is Phase.CONNECT else f"{expected}.4.2"
    return f"{expected}.{_STATUS.get(verdict.outcome.meaning.kind, '0.0')}"


def _report(message: SpooledMessage, verdict: Verdict, action: Action, now: float) -> RecipientReport:
    outcome = verdict.outcome
    is_expired = is_too_late(message, now) and (outcome.meaning.retry or is_odd(outcome))
    return RecipientReport(
        recipient=verdict.queued.recipient,
        action=action,
        status=_status(verdict, action, is_expired),
        phase=outcome.phase,
        reply=outcome.reply,
        detail=outcome.detail,
        remote=outcome.host,
        meaning=str(outcome.meaning.kind),
        attempts=verdict.queued.attempts + 1,
        is_expired=is_expired,
        attempted_at=now,
        will_retry_until=_ends_at(message) if action is Action.DELAYED else None,
    )


def bounce_message(
    message: SpooledMessage,
    reports: Sequence[RecipientReport],
    *,
    message_id: int,
    boundary: str,
    now: float,
    policy: SettlePolicy,
) -> SpooledMessage:
    """The notification as a message to queue: from nobody, so that nothing is ever said about itself (RFC 3461 §6).

    `message_id`: a new queue id. `message` has a reverse-path: there are no reports otherwise."""
    sender = message.envelope.reverse_path
    assert isinstance(sender, Address)
    to = sender if sender.domain else Address(sender.local, policy.hostname)
    queue_id = format_queue_id(message_id)
    dsn = build_dsn(
        Notice(
            to=to,
            reporting_mta=policy.hostname,
            reports=tuple(reports),
            envelope=message.envelope,
            body=message.body,
            arrived_at=message.received_at,
            now=now,
            boundary=boundary,
            message_id=f"{queue_id}@{policy.hostname}",
            return_octets=policy.return_octets,
        )
    )
    return SpooledMessage(
        id=message_id,
        envelope=Envelope(
            reverse_path=NULL,
            recipients=(Recipient(to, frozenset({Notify.NEVER})),),
            body_type=dsn.body_type,
            smtputf8=dsn.smtputf8,
        ),
        body=dsn.body,
        received_at=now,
        expires_at=now + policy.schedule.lifetime_s,
        trace=Trace(peer="", helo=policy.hostname, protocol="bounce"),
    )
