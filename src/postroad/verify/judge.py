"""From what happened on the road, and what is known of the domain, to a verdict.

A refusal before RCPT says nothing about the mailbox (V-01), and a 5yz to RCPT only where it speaks of the mailbox or
the domain (V-02); a 2yz is worth what the host answers about a recipient made up by chance (V-04, V-05). What stays
open is `unknown`, and the reason says why. Pure: probe does the asking, `meaning.classify` reads the replies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from postroad.meaning.classify import Kind, Meaning, classify
from postroad.road.provider import Answers
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply
from postroad.verify.verdict import RANDOM_RULE, Evidence, Judgement, Traits, Verdict, reply_lines, utc

DELIVERABLE, RISKY = Judgement.DELIVERABLE, Judgement.RISKY
UNDELIVERABLE, UNKNOWN = Judgement.UNDELIVERABLE, Judgement.UNKNOWN

_FIXED: Mapping[str, tuple[Judgement, float]] = {
    "bad_syntax": (UNDELIVERABLE, 1.0),
    "no_domain": (UNDELIVERABLE, 1.0),
    "null_mx": (UNDELIVERABLE, 1.0),
    "no_mail_host": (UNDELIVERABLE, 0.95),
    "private_address": (UNDELIVERABLE, 0.9),
    "bounced": (UNDELIVERABLE, 0.95),
    "do_not_mail": (RISKY, 1.0),
    "opt_out": (UNKNOWN, 1.0),
    "blocked_domain": (UNKNOWN, 1.0),
}
"""What a reason of our own words is worth; every other one leaves the mailbox `unknown`."""
_OPEN_CONFIDENCE = 0.9
_GONE: Mapping[Kind, str] = {
    Kind.MAILBOX_UNKNOWN: "mailbox_unknown",
    Kind.MAILBOX_DISABLED: "mailbox_disabled",
    Kind.DOMAIN_UNKNOWN: "domain_unknown",
}
_OPEN: Mapping[Kind, str] = {
    Kind.RELAY_DENIED: "relay_denied",
    Kind.GREYLISTED: "greylisted",
    Kind.RATE_LIMITED: "rate_limited",
    Kind.BLOCKED_REPUTATION: "blocked",
    Kind.POLICY_CONTENT: "policy",
    Kind.AUTH_REQUIRED: "auth_required",
    Kind.TLS_REQUIRED: "tls_required",
    Kind.SYSTEM_TEMPORARY: "temporary",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that happened on the way to an answer."""

    phase: Phase
    reply: Reply | None = None
    detail: str = ""
    host: str = ""
    address: str = ""
    port: int = 0
    reason: str = ""
    """Where no reply of a host decides: a key of REASONS."""
    at: float = 0.0
    """Wall clock, seconds since 1970; 0: not noted."""
    is_random: bool = False
    """It is about a recipient made up by chance, and tells of the domain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known beside the steps: of the address without asking, and of its domain."""

    traits: Traits = field(default_factory=Traits)
    mx: tuple[str, ...] = ()
    provider: str = ""
    answers: str = Answers.HONEST
    """How the provider answers: honest, accepts_all, rejects_probes."""
    catch_all: bool | None = None
    is_inconsistent: bool = False
    """Made-up recipients were taken once and refused once."""
    is_put_off: bool = False
    """Whether a made-up recipient would be taken could not be found out: the host said that it is asked too much."""
    is_parked: bool = False
    is_listed: bool = False
    """The mail host is on a block list that was to be asked."""
    bounces_later: bool = False
    """Mail to recipients that the domain had taken came back."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one step says by itself. `meaning` None: there was no reply."""

    judgement: Judgement
    reason: str
    confidence: float
    rule: str
    meaning: Meaning | None = None


def bad_syntax(text: str, fault: str) -> Verdict:
    """The verdict on text that is no address."""
    evidence = Evidence(phase="syntax", rule="syntax", detail=fault)
    return Verdict(address=text, verdict=UNDELIVERABLE, reason="bad_syntax", confidence=1.0, evidence=(evidence,))


def judge(text: str, steps: Sequence[Step], decided_by: Step, known: Known) -> Verdict:
    """The verdict that `decided_by`, one of the steps, gives, weighed with what is known. Never raises."""
    judgement, reason, confidence = weigh(read(decided_by, known.provider), known)
    return Verdict(
        address=text,
        verdict=judgement,
        reason=reason,
        traits=known.traits,
        catch_all=known.catch_all,
        provider=known.provider,
        mx=known.mx,
        confidence=confidence,
        evidence=tuple(_evidence(step, known.provider) for step in steps),
    )


def read(step: Step, provider: str = "") -> Reading:
    """What one step says by itself: the host's word for now, without what is known of the domain."""
    if step.reason:
        judgement, confidence = _FIXED.get(step.reason, (UNKNOWN, _OPEN_CONFIDENCE))
        return Reading(judgement, step.reason, confidence, step.reason.replace("_", "-"))
    if step.reply is None:
        return Reading(UNKNOWN, _silence(step), _OPEN_CONFIDENCE, "no-reply")
    meaning = classify(step.phase, step.reply, provider or None)
    if step.phase is Phase.RCPT:
        if step.reply.code == 252:
            return Reading(RISKY, "cannot_tell", meaning.confidence, meaning.rule, meaning)
        if step.reply.is_positive:
            return Reading(DELIVERABLE, "accepted", meaning.confidence, meaning.rule, meaning)
        if meaning.kind is Kind.MAILBOX_FULL:
            return Reading(RISKY, "mailbox_full", meaning.confidence, meaning.rule, meaning)
        if step.reply.is_permanent and meaning.kind in _GONE:
            return Reading(UNDELIVERABLE, _GONE[meaning.kind], meaning.confidence, meaning.rule, meaning)
    reason = _open_reason(step.reply, meaning.kind)
    is_about_sender = meaning.rule in ("sender-refused", "null-sender-refused")
    if step.phase is Phase.MAIL and reason in ("policy", "refused", "unclear"):
        is_about_sender = True
    if is_about_sender and step.reply.is_permanent:
        reason = "sender_refused"
    return Reading(UNKNOWN, reason, meaning.confidence, meaning.rule, meaning)


def weigh(reading: Reading, known: Known) -> tuple[Judgement, str, float]:
    """Verdict, reason and confidence, once what is known of the domain is taken into account."""
    if known.answers == Answers.REJECTS_PROBES and reading.meaning is not None and reading.judgement is UNDELIVERABLE:
        return UNKNOWN, "rejects_probes", 0.6
    if reading.judgement is not DELIVERABLE:
        return reading.judgement, reading.reason, reading.confidence
    if known.is_parked:
        return RISKY, "parked", 0.8
    if known.answers == Answers.ACCEPTS_ALL:
        return RISKY, "accepts_all", 0.9
    if known.catch_all:
        return RISKY, "catch_all", 0.95
    if known.is_inconsistent:
        return RISKY, "inconsistent", 0.8
    if known.bounces_later:
        return RISKY, "accepts_then_bounces", 0.8
    if known.traits.disposable:
        return RISKY, "disposable", 0.95
    if known.is_listed:
        return RISKY, "mx_listed", 0.7
    if known.is_put_off and known.catch_all is None:
        return UNKNOWN, "rate_limited", _OPEN_CONFIDENCE
    # Without a refusal to set it against, an acceptance is the word of a host that may take everybody.
    return DELIVERABLE, "accepted", 0.98 if known.catch_all is False else 0.75


def _open_reason(said: Reply, kind: Kind) -> str:
    if kind in _OPEN:
        return _OPEN[kind]
    if said.is_transient:
        return "temporary"
    return "unclear" if kind is Kind.UNCLEAR or not said.is_permanent else "refused"


def _silence(step: Step) -> str:
    if "timed out" in step.detail:
        return "timed_out"
    if step.phase is Phase.CONNECT:
        return "connect_failed"
    return "tls_failed" if step.phase is Phase.STARTTLS else "connection_lost"


def _evidence(step: Step, provider: str) -> Evidence:
    return Evidence(
        phase=str(step.phase),
        host=step.host,
        address=step.address,
        port=step.port,
        reply=() if step.reply is None else reply_lines(step.reply),
        rule=RANDOM_RULE if step.is_random else read(step, provider).rule,
        detail=step.detail,
        at=utc(step.at),
    )
