"""What a reply means: for the mailbox, for the message, for us. «550» alone says little; phase and words say the rest.

Rules are data (rule.py, rules/*.toml), tried in order; where none fits, the first digit decides and the meaning is
`unclear` or a system fault. What is not known counts as temporary in every way that harms nobody: an address is never
written off on a doubt, and a refusal before RCPT never speaks of the mailbox (V-01), nor one that speaks of us (V-02).
Pure and never raising. Read by delivery, verification and the `explain` command alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Literal

from postroad.meaning.backoff import retry_hint
from postroad.meaning.phrase import Words, words
from postroad.meaning.rule import Kind, Rule, parse_example, passing_words, rules
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply
from postroad.smtp.status import EnhancedStatus

__all__ = [
    "MAX_TEXT",
    "Bounce",
    "Kind",
    "Mailbox",
    "Meaning",
    "Rule",
    "Scope",
    "classify",
    "classify_text",
    "parse_example",
    "rules",
]

MAX_TEXT = 1500
"""Characters of a reply that rules look at."""
READINGS_KEPT = 1000
"""Replies whose reading is remembered: one is read several times on the way from the wire to a verdict."""
_STATUS_WITHIN = re.compile(r"(?<![\w.])([245])\.([0-9]{1,2})\.([0-9]{1,3})(?![\w.]*[0-9])")


class Scope(StrEnum):
    """How far a reply reaches."""

    RECIPIENT = "recipient"
    MESSAGE = "message"
    HOST = "host"
    CONNECTION = "connection"


Bounce = Literal["hard", "soft", "none"]
Mailbox = Literal["exists", "absent", "full", "disabled", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a reply tells."""

    kind: Kind
    scope: Scope
    bounce: Bounce
    """`hard`: a 5yz, unless its text says that this is for a time; `soft`: it may yet be taken; `none`: it was."""
    retry: bool
    """Whether delivery tries again: a 5yz is an end, whatever its text says, but for one at the host's door."""
    suppress: bool
    """Whether to stop mailing this address."""
    mailbox: Mailbox
    rule: str
    """Name of the rule that decided."""
    confidence: float
    """From 0 to 1."""
    retry_after_s: float | None = None
    """What a host that says «later» asked for."""


_ABOUT_MAILBOX = frozenset({Kind.MAILBOX_UNKNOWN, Kind.MAILBOX_DISABLED, Kind.MAILBOX_FULL})
_AFTER_MAIL = frozenset({Phase.RCPT, Phase.DATA, Phase.BODY})
_BEFORE_MAIL = frozenset(
    {Phase.CONNECT, Phase.GREETING, Phase.EHLO, Phase.STARTTLS, Phase.AUTH, Phase.RSET, Phase.QUIT}
)

_SCOPES = {
    Kind.MAILBOX_UNKNOWN: Scope.RECIPIENT,
    Kind.MAILBOX_DISABLED: Scope.RECIPIENT,
    Kind.MAILBOX_FULL: Scope.RECIPIENT,
    Kind.DOMAIN_UNKNOWN: Scope.RECIPIENT,
    Kind.RELAY_DENIED: Scope.RECIPIENT,
    Kind.GREYLISTED: Scope.RECIPIENT,
    Kind.BLOCKED_REPUTATION: Scope.HOST,
    Kind.AUTH_REQUIRED: Scope.HOST,
    Kind.TLS_REQUIRED: Scope.HOST,
    Kind.POLICY_CONTENT: Scope.MESSAGE,
    Kind.MESSAGE_TOO_BIG: Scope.MESSAGE,
}
_MAILBOX: dict[Kind, Mailbox] = {
    Kind.MAILBOX_UNKNOWN: "absent",
    Kind.MAILBOX_DISABLED: "disabled",
    Kind.MAILBOX_FULL: "full",
}
_PASSING = frozenset({Kind.MAILBOX_FULL, Kind.GREYLISTED, Kind.RATE_LIMITED, Kind.SYSTEM_TEMPORARY, Kind.UNCLEAR})
"""Where nothing but the words is there to tell, these may pass."""
_SUPPRESSED = frozenset({Kind.MAILBOX_UNKNOWN, Kind.MAILBOX_DISABLED, Kind.DOMAIN_UNKNOWN})


def classify(phase: Phase, reply: Reply | None, provider: str | None = None) -> Meaning:
    """What `reply`, given in that phase, means. `provider`: who runs the host, where it is known. Never raises."""
    if reply is None:
        return _NO_REPLY
    if reply.code == 252 and phase is Phase.RCPT:
        return _CANNOT_TELL
    if reply.is_positive:
        return _ACCEPTED.get(phase, _GONE_ON)
    if reply.is_intermediate and phase in (Phase.DATA, Phase.AUTH):
        return _GONE_ON
    if not 400 <= reply.code < 600:
        return _ODD_CODE
    return _read(phase, reply.code, reply.enhanced, reply.text[:MAX_TEXT], provider)


def classify_text(
    phase: Phase, text: str, status: EnhancedStatus | None = None, provider: str | None = None
) -> Meaning:
    """What a text without a reply code means, as bounces have it («User unknown»). Never raises."""
    return _read(phase, None, status, text[:MAX_TEXT], provider)


@lru_cache(maxsize=READINGS_KEPT)
def _read(phase: Phase, code: int | None, status: EnhancedStatus | None, text: str, provider: str | None) -> Meaning:
    status = status or _status_within(code, text)
    if code is None and status is not None and status.cls == 2:
        return _ACCEPTED.get(phase, _GONE_ON)
    said = words(text)
    is_later = code < 500 if code is not None else status is not None and status.cls == 4
    for rule in rules():
        if rule.provider is not None and rule.provider != provider:
            continue
        if rule.kind in _ABOUT_MAILBOX and phase not in _AFTER_MAIL:
            continue
        if rule.fits(phase, code, status, said):
            is_passing = is_later and rule.kind is Kind.SYSTEM_PERMANENT
            kind = Kind.SYSTEM_TEMPORARY if is_passing else rule.kind
            return _meaning(kind, phase, code, status, rule.name, rule.confidence, text, said)
    if code == 421:
        return _meaning(Kind.SYSTEM_TEMPORARY, phase, code, status, "closing", 0.8, text, said)
    kind = Kind.SYSTEM_TEMPORARY if is_later else Kind.UNCLEAR
    return _meaning(kind, phase, code, status, "first-digit", 0.3, text, said)


def _status_within(code: int | None, text: str) -> EnhancedStatus | None:
    """The status that stands anywhere in the text (`... over quota (#5.2.2)`), if its class agrees with the code."""
    if "." not in text:
        return None
    for found in _STATUS_WITHIN.finditer(text):
        if code is None or int(found[1]) == code // 100:
            return EnhancedStatus(int(found[1]), int(found[2]), int(found[3]))
    return None


def _meaning(
    kind: Kind,
    phase: Phase,
    code: int | None,
    status: EnhancedStatus | None,
    rule: str,
    confidence: float,
    text: str,
    said: Words,
) -> Meaning:
    digit = code // 100 if code is not None else status.cls if status is not None else 5
    is_temporary = digit == 4 or (code is None and kind in _PASSING)
    # A host that refuses us at its door may be changed by tomorrow, or another one may answer.
    is_retried = is_temporary or phase in _BEFORE_MAIL
    hint = retry_hint(text) if is_retried and kind in (Kind.GREYLISTED, Kind.RATE_LIMITED) else None
    is_hard = not is_temporary and not passing_words().found_in(said)
    # A 4yz says «not now» even of a mailbox it calls unknown: no verdict on the mailbox (V-03).
    knows_mailbox = not is_temporary or kind is Kind.MAILBOX_FULL
    return Meaning(
        kind=kind,
        scope=_scope(kind, phase, code),
        bounce="hard" if is_hard else "soft",
        retry=is_retried,
        suppress=kind in _SUPPRESSED and is_hard and not is_retried,
        mailbox=_MAILBOX.get(kind, "unknown") if knows_mailbox else "unknown",
        rule=rule,
        confidence=confidence,
        retry_after_s=hint,
    )


def _scope(kind: Kind, phase: Phase, code: int | None) -> Scope:
    if code == 421:
        return Scope.CONNECTION
    if phase in _BEFORE_MAIL:
        return Scope.HOST
    if kind in _SCOPES:
        return _SCOPES[kind]
    return Scope.RECIPIENT if phase in (Phase.RCPT, Phase.DNS) else Scope.MESSAGE


def _fixed(kind: Kind, scope: Scope, *, retry: bool, mailbox: Mailbox, rule: str, confidence: float) -> Meaning:
    bounce: Bounce = "soft" if retry else "none"
    return Meaning(
        kind=kind,
        scope=scope,
        bounce=bounce,
        retry=retry,
        suppress=False,
        mailbox=mailbox,
        rule=rule,
        confidence=confidence,
    )


_NO_REPLY = _fixed(
    Kind.SYSTEM_TEMPORARY, Scope.CONNECTION, retry=True, mailbox="unknown", rule="no-reply", confidence=0.9
)
_ODD_CODE = _fixed(Kind.UNCLEAR, Scope.CONNECTION, retry=True, mailbox="unknown", rule="odd-code", confidence=0.1)
_GONE_ON = _fixed(Kind.ACCEPTED, Scope.CONNECTION, retry=False, mailbox="unknown", rule="positive", confidence=1.0)
_ACCEPTED = {
    Phase.MAIL: replace(_GONE_ON, scope=Scope.MESSAGE),
    Phase.RCPT: replace(_GONE_ON, scope=Scope.RECIPIENT, mailbox="exists"),
    Phase.DATA: replace(_GONE_ON, scope=Scope.MESSAGE),
    Phase.BODY: replace(_GONE_ON, scope=Scope.RECIPIENT, mailbox="exists"),
}
_CANNOT_TELL = replace(_ACCEPTED[Phase.RCPT], mailbox="unknown", rule="cannot-tell", confidence=0.5)
"""252 takes the recipient, and says that it does not know whether it is there (RFC 5321 §3.5.3)."""
