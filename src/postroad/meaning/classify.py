"""What a reply means: for the mailbox, for the message, for us. «550» alone says little; phase and words say the rest.

Rules are data (rules.toml), tried in order; where none fits, the first digit decides and the meaning is `unclear` or
a system fault. What is not known counts as temporary in every way that harms nobody: an address is never written
off on a doubt, and a refusal before RCPT never speaks of the mailbox (V-01), nor one that speaks of us (V-02).
Pure and never raising. Read by delivery, verification and the `explain` command alike.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.resources import files
from typing import Any, Literal

from postroad.meaning.backoff import retry_hint
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply, parse_enhanced
from postroad.smtp.status import EnhancedStatus

MAX_TEXT = 1500
"""Characters of a reply that rules look at."""


class Kind(StrEnum):
    """What the other side means."""

    ACCEPTED = "accepted"
    MAILBOX_UNKNOWN = "mailbox_unknown"
    MAILBOX_DISABLED = "mailbox_disabled"
    MAILBOX_FULL = "mailbox_full"
    DOMAIN_UNKNOWN = "domain_unknown"
    RELAY_DENIED = "relay_denied"
    GREYLISTED = "greylisted"
    RATE_LIMITED = "rate_limited"
    BLOCKED_REPUTATION = "blocked_reputation"
    POLICY_CONTENT = "policy_content"
    AUTH_REQUIRED = "auth_required"
    TLS_REQUIRED = "tls_required"
    MESSAGE_TOO_BIG = "message_too_big"
    SYSTEM_TEMPORARY = "system_temporary"
    SYSTEM_PERMANENT = "system_permanent"
    UNCLEAR = "unclear"


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
    """`hard`: the address or the message will never be taken; `soft`: it may yet be."""
    retry: bool
    """Whether a later try may bring another answer."""
    suppress: bool
    """Whether to stop mailing this address."""
    mailbox: Mailbox
    rule: str
    """Name of the rule that decided."""
    confidence: float
    """From 0 to 1."""
    retry_after_s: float | None = None
    """What a host that says «later» asked for."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of rules.toml, compiled."""

    name: str
    kind: Kind
    phases: frozenset[Phase]
    """Empty: any."""
    codes: frozenset[int]
    """Whole codes and first digits; empty: any 4yz or 5yz."""
    enhanced: frozenset[tuple[int, int, int]]
    """Class 0 stands for any; empty: any or none."""
    text: re.Pattern[str] | None
    provider: str | None
    confidence: float
    examples: tuple[str, ...]

    def fits(self, phase: Phase, code: int, status: EnhancedStatus | None, text: str) -> bool:
        """Whether every condition of the rule holds."""
        if self.phases and phase not in self.phases:
            return False
        if self.codes and code not in self.codes and code // 100 not in self.codes:
            return False
        if self.enhanced:
            if status is None:
                return False
            if status not in self.enhanced and (0, status.subject, status.detail) not in self.enhanced:
                return False
        return self.text is None or self.text.search(text) is not None


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
_SUPPRESSED = frozenset({Kind.MAILBOX_UNKNOWN, Kind.MAILBOX_DISABLED, Kind.DOMAIN_UNKNOWN})
_SOFT = frozenset({Kind.MAILBOX_FULL, Kind.GREYLISTED, Kind.RATE_LIMITED, Kind.BLOCKED_REPUTATION, Kind.UNCLEAR})


def classify(phase: Phase, reply: Reply | None, provider: str | None = None) -> Meaning:
    """What `reply`, given in that phase, means. `provider`: who runs the host, where it is known. Never raises."""
    if reply is None:
        return _NO_REPLY
    if reply.is_positive:
        return _ACCEPTED.get(phase, _GONE_ON)
    if reply.is_intermediate and phase in (Phase.DATA, Phase.AUTH):
        return _GONE_ON
    code, status = reply.code, reply.enhanced
    if not 400 <= code < 600:
        return _ODD_CODE
    text = reply.text[:MAX_TEXT]
    if status is None:
        status, text = parse_enhanced(code, text)
    for rule in rules():
        if rule.provider is not None and rule.provider != provider:
            continue
        if rule.kind in _ABOUT_MAILBOX and phase not in _AFTER_MAIL:
            continue
        if rule.fits(phase, code, status, text):
            return _meaning(rule.kind, phase, code, rule.name, rule.confidence, text)
    if code == 421:
        return _meaning(Kind.SYSTEM_TEMPORARY, phase, code, "closing", 0.8, text)
    kind = Kind.SYSTEM_TEMPORARY if code < 500 else Kind.UNCLEAR
    return _meaning(kind, phase, code, "first-digit", 0.3, text)


def _meaning(kind: Kind, phase: Phase, code: int, rule: str, confidence: float, text: str) -> Meaning:
    is_temporary = code < 500
    # A host that refuses us at its door may be changed by tomorrow, or another one may answer.
    is_retried = is_temporary or phase in _BEFORE_MAIL
    hint = retry_hint(text) if is_retried and kind in (Kind.GREYLISTED, Kind.RATE_LIMITED) else None
    is_hard = not is_retried and kind not in _SOFT
    # A 4yz says «not now» even of a mailbox it calls unknown: no verdict on the mailbox (V-03).
    knows_mailbox = not is_temporary or kind is Kind.MAILBOX_FULL
    return Meaning(
        kind=kind,
        scope=_scope(kind, phase, code),
        bounce="hard" if is_hard else "soft",
        retry=is_retried,
        suppress=kind in _SUPPRESSED and is_hard,
        mailbox=_MAILBOX.get(kind, "unknown") if knows_mailbox else "unknown",
        rule=rule,
        confidence=confidence,
        retry_after_s=hint,
    )


def _scope(kind: Kind, phase: Phase, code: int) -> Scope:
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


# The rules as data -----------------------------------------------------------------------------------------------


@functools.cache
def rules() -> tuple[Rule, ...]:
    """The rules in the order in which they are tried; read and compiled once."""
    data = tomllib.loads(files("postroad.meaning").joinpath("rules.toml").read_text("utf-8"))
    return tuple(_compiled(data))


def _compiled(data: dict[str, Any]) -> Iterator[Rule]:
    for row in data["rule"]:
        text = row.get("text")
        yield Rule(
            name=row["name"],
            kind=Kind(row["kind"]),
            phases=frozenset(Phase(phase) for phase in row.get("phases", ())),
            codes=frozenset(row.get("codes", ())),
            enhanced=frozenset(_pattern(status) for status in row.get("enhanced", ())),
            text=None if text is None else re.compile("|".join(text), re.IGNORECASE),
            provider=row.get("provider"),
            confidence=row.get("confidence", 0.9),
            examples=tuple(row["examples"]),
        )


def _pattern(status: str) -> tuple[int, int, int]:
    """`5.1.1`, or `*.1.1` for any class."""
    first, subject, detail = status.split(".")
    return 0 if first == "*" else int(first), int(subject), int(detail)


def parse_example(line: str) -> tuple[Phase, Reply]:
    """The phase and reply that an example (`rcpt 550 5.1.1 No such user`) stands for."""
    phase, code, text = line.split(" ", 2)
    status, rest = parse_enhanced(int(code), text)
    return Phase(phase), Reply(int(code), (rest,), status)
