"""From what happened on the road to a verdict, with the evidence for it.

A refusal before RCPT says nothing about the mailbox (V-01), and a 5yz to RCPT only where it speaks of the mailbox or
the domain (V-02); what stays open is `unknown`, and the reason says why. Nothing here asks anybody: probe does the
asking, `meaning.classify` reads the replies. Every reason is a row of `REASONS`, and documented in the guide.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from postroad.meaning.classify import Kind, classify
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply


class Judgement(StrEnum):
    """What is held of an address."""

    DELIVERABLE = "deliverable"
    RISKY = "risky"
    UNDELIVERABLE = "undeliverable"
    UNKNOWN = "unknown"


REASONS: Mapping[str, str] = {
    "accepted": "The host took the recipient.",
    "mailbox_full": "The mailbox exists and is full.",
    "mailbox_unknown": "The host says that there is no such mailbox.",
    "mailbox_disabled": "The host says that the mailbox is closed.",
    "domain_unknown": "The host says that the domain does not exist or takes no mail.",
    "bad_syntax": "It is no address.",
    "no_domain": "The domain does not exist in DNS.",
    "null_mx": "The domain says by a null MX that it takes no mail (RFC 7505).",
    "no_mail_host": "The domain has no host that takes mail: neither MX nor address records.",
    "dns_temporary": "DNS gave no answer: a time-out, or a failing name server.",
    "private_address": "The mail hosts have private addresses only, which are not contacted.",
    "loop": "The mail hosts of the domain are this machine.",
    "connect_failed": "No mail host could be reached: connections refused or no way to it.",
    "timed_out": "A host did not answer in time.",
    "connection_lost": "The connection broke off before the answer.",
    "tls_failed": "The connection could not be secured as --tls asks.",
    "site_paused": "The site had refused or failed shortly before, and is left alone for a while.",
    "greylisted": "The host wants to be asked again later: greylisting.",
    "rate_limited": "The host says that it is asked too much or too fast.",
    "blocked": "The host refuses us, for our address, name or reputation.",
    "policy": "The host refuses by a policy that is not about the mailbox.",
    "relay_denied": "The host says that it does not take mail for the domain.",
    "auth_required": "The host wants authentication.",
    "tls_required": "The host wants TLS.",
    "smtputf8_needed": "The local part is not ASCII, and the host does not offer SMTPUTF8.",
    "temporary": "The host has some trouble now.",
    "refused": "The host refuses for a fault that is not the mailbox's.",
    "unclear": "The host refuses in words that say nothing certain.",
}
"""Reason → what it means. The names are an interface: scripts read them."""

_ROUTES: Mapping[str, tuple[Judgement, float]] = {
    "no_domain": (Judgement.UNDELIVERABLE, 1.0),
    "null_mx": (Judgement.UNDELIVERABLE, 1.0),
    "no_mail_host": (Judgement.UNDELIVERABLE, 0.95),
    "dns_temporary": (Judgement.UNKNOWN, 0.9),
    "private_address": (Judgement.UNKNOWN, 0.9),
    "loop": (Judgement.UNKNOWN, 0.9),
}
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
_ACCEPTED_CONFIDENCE = 0.9
"""Not 1: some hosts take every recipient at RCPT."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One step as a report tells it. `reply`: the host's lines whole, code and status with each."""

    phase: str
    host: str = ""
    address: str = ""
    port: int = 0
    reply: tuple[str, ...] = ()
    rule: str = ""
    """The rule that read the reply (meaning/rules.toml), or what else decided."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is held of one address, why, and by what evidence, in the order in which it came up."""

    address: str
    """As it was given."""
    verdict: Judgement
    reason: str
    """A key of REASONS."""
    normalised: str = ""
    """The canonical form; empty where it is no address."""
    mx: tuple[str, ...] = ()
    """The domain's mail hosts, in the order to try."""
    confidence: float = 0.0
    """How sure the reading of the evidence is, from 0 to 1."""
    evidence: tuple[Evidence, ...] = ()

    @property
    def proof(self) -> Evidence:
        """The evidence that decided: the last in which a host spoke, or else the last."""
        spoken = [one for one in self.evidence if one.reply]
        return (spoken or list(self.evidence))[-1]

    def given_as(self, text: str) -> Verdict:
        """The same verdict on a row that wrote the address so."""
        return replace(self, address=text)

    @property
    def state(self) -> str:
        """Verdict and reason in one word, to count by."""
        return f"{self.verdict}:{self.reason}"

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON holds it."""
        return {
            "address": self.address,
            "verdict": str(self.verdict),
            "reason": self.reason,
            "normalised": self.normalised,
            "mx": list(self.mx),
            "confidence": round(self.confidence, 3),
            "evidence": [
                {
                    "phase": one.phase,
                    "host": one.host,
                    "address": one.address,
                    "port": one.port,
                    "reply": list(one.reply),
                    "rule": one.rule,
                    "detail": one.detail,
                }
                for one in self.evidence
            ],
        }

    def to_json(self) -> str:
        """One line of JSON, ASCII only: nothing in it can reach a terminal's control characters."""
        return json.dumps(self.to_dict(), ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """The verdict that `to_json` wrote."""
        data = json.loads(text)
        return cls(
            address=data["address"],
            verdict=Judgement(data["verdict"]),
            reason=data["reason"],
            normalised=data["normalised"],
            mx=tuple(data["mx"]),
            confidence=data["confidence"],
            evidence=tuple(Evidence(**{**one, "reply": tuple(one["reply"])}) for one in data["evidence"]),
        )


def bad_syntax(text: str, fault: str) -> Verdict:
    """The verdict on text that is no address."""
    evidence = Evidence(phase="syntax", rule="syntax", detail=fault)
    return Verdict(
        address=text, verdict=Judgement.UNDELIVERABLE, reason="bad_syntax", confidence=1.0, evidence=(evidence,)
    )


def judge(text: str, normalised: str, mx: Sequence[str], steps: Sequence[Step], decided_by: Step) -> Verdict:
    """The verdict that `decided_by`, one of the steps, gives. Never raises."""
    verdict, reason, confidence, _ = read(decided_by)
    return Verdict(
        address=text,
        verdict=verdict,
        reason=reason,
        normalised=normalised,
        mx=tuple(mx),
        confidence=confidence,
        evidence=tuple(_evidence(step) for step in steps),
    )


def read(step: Step) -> tuple[Judgement, str, float, str]:
    """Verdict, reason, confidence and rule of one step."""
    if step.reason in _ROUTES:
        judgement, confidence = _ROUTES[step.reason]
        return judgement, step.reason, confidence, step.reason.replace("_", "-")
    if step.reason:
        return Judgement.UNKNOWN, step.reason, 0.9, step.reason.replace("_", "-")
    if step.reply is None:
        return Judgement.UNKNOWN, _silence(step), 0.9, "no-reply"
    meaning = classify(step.phase, step.reply)
    if step.phase is Phase.RCPT:
        if step.reply.is_positive:
            return Judgement.DELIVERABLE, "accepted", min(meaning.confidence, _ACCEPTED_CONFIDENCE), meaning.rule
        if meaning.kind is Kind.MAILBOX_FULL:
            return Judgement.RISKY, "mailbox_full", meaning.confidence, meaning.rule
        if step.reply.is_permanent and meaning.kind in _GONE:
            return Judgement.UNDELIVERABLE, _GONE[meaning.kind], meaning.confidence, meaning.rule
    return Judgement.UNKNOWN, _open_reason(step.reply, meaning.kind), meaning.confidence, meaning.rule


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


def _evidence(step: Step) -> Evidence:
    return Evidence(
        phase=str(step.phase),
        host=step.host,
        address=step.address,
        port=step.port,
        reply=() if step.reply is None else reply_lines(step.reply),
        rule=read(step)[3],
        detail=step.detail,
    )


def reply_lines(said: Reply) -> tuple[str, ...]:
    """The lines of a reply as they came; bytes that are no UTF-8 are written out as `\\xNN`."""
    status = f"{said.enhanced} " if said.enhanced else ""
    last = len(said.lines) - 1
    return tuple(
        f"{said.code}{' ' if index == last else '-'}{status}{_decodable(line)}" for index, line in enumerate(said.lines)
    )


def _decodable(line: str) -> str:
    return line.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
