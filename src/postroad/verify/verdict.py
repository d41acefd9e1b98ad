"""The verdict on one address: what is held of it, why, and by what evidence. Values only; judge.py comes to them.

One object, the same in JSON, in the columns of a CSV, in the API and in the library. Every reason is a row of
`REASONS`, and documented in the guide.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from postroad.smtp.reply import Reply
from postroad.verify import emailverify


class Judgement(StrEnum):
    """What is held of an address."""

    DELIVERABLE = "deliverable"
    RISKY = "risky"
    UNDELIVERABLE = "undeliverable"
    UNKNOWN = "unknown"


REASONS: Mapping[str, str] = {
    "accepted": "The host took the recipient, and refuses others that do not exist where that could be tried.",
    "catch_all": "The host takes every recipient of the domain, also one made up by chance: it proves nothing.",
    "accepts_all": "The provider is known to take every recipient at first: its answer proves nothing.",
    "accepts_then_bounces": "The host took recipients of this domain before whose mail then came back.",
    "inconsistent": "The host answered differently about made-up recipients: its answers prove nothing.",
    "cannot_tell": "The host took the recipient, and said by 252 that it does not know whether it is there.",
    "disposable": "The host took the recipient, at a domain of throw-away addresses.",
    "mailbox_full": "The mailbox exists and is full.",
    "mx_listed": "The host took the recipient, but is on a block list that was to be asked.",
    "parked": "The domain's mail host is that of a parking service: nobody reads mail there.",
    "do_not_mail": "The address is on the suppression list: mail to it was complained of, or it is not to be mailed.",
    "opt_out": "The address is on the opt-out list: it was not asked about.",
    "blocked_domain": "The domain is on the list of those not to be mailed: it was not asked about.",
    "bounced": "Mail to the address came back as undeliverable before.",
    "mailbox_unknown": "The host says that there is no such mailbox.",
    "mailbox_disabled": "The host says that the mailbox is closed.",
    "domain_unknown": "The host says that the domain does not exist or takes no mail.",
    "bad_syntax": "It is no address.",
    "no_domain": "The domain does not exist in DNS.",
    "null_mx": "The domain says by a null MX that it takes no mail (RFC 7505).",
    "no_mail_host": "The domain has no host that takes mail: neither MX nor address records.",
    "private_address": "The domain's mail hosts have private addresses only: no mail from outside can reach them.",
    "dns_temporary": "DNS gave no answer: a time-out, or a failing name server.",
    "loop": "The mail hosts of the domain are this machine.",
    "connect_failed": "No mail host could be reached: connections refused or no way to it.",
    "timed_out": "A host did not answer in time.",
    "connection_lost": "The connection broke off before the answer.",
    "out_of_step": "The host's replies belong to other commands than those they came for: nothing can be made of them.",
    "sender_refused": "The host refuses the sender named in MAIL FROM: name another by --mail-from.",
    "tls_failed": "The connection could not be secured as --tls asks.",
    "site_paused": "The site had refused or failed shortly before, and is left alone for a while.",
    "greylisted": "The host wants to be asked again later: greylisting.",
    "rate_limited": "The host says that it is asked too much or too fast.",
    "blocked": "The host refuses us, for our address, name or reputation.",
    "rejects_probes": "The provider is known to refuse those who only ask: its answer proves nothing.",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One step as a report tells it. `reply`: the host's lines whole, code and status with each."""

    phase: str
    host: str = ""
    address: str = ""
    port: int = 0
    reply: tuple[str, ...] = ()
    rule: str = ""
    """The rule that read the reply (meaning/rules), or what else decided."""
    detail: str = ""
    at: str = ""
    """When, in UTC, as RFC 3339 has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What is known of an address without asking anybody."""

    disposable: bool = False
    role: bool = False
    """A function, not a person: info@, sales@."""
    free: bool = False
    suggestion: str = ""
    """The address that was probably meant, where the domain looks mistyped."""
    normalised: str = ""
    """The form under which a provider's other spellings of the mailbox are one; empty where it is no address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is held of one address, why, and by what evidence, in the order in which it came up."""

    address: str
    """As it was given."""
    verdict: Judgement
    reason: str
    """A key of REASONS."""
    traits: Traits = field(default_factory=Traits)
    catch_all: bool | None = None
    """Whether the domain takes every recipient; None: not known."""
    provider: str = ""
    """Who runs the mail hosts, where it is known."""
    mx: tuple[str, ...] = ()
    """The domain's mail hosts, in the order to try."""
    confidence: float = 0.0
    """How sure the verdict is, from 0 to 1."""
    evidence: tuple[Evidence, ...] = ()

    @property
    def proof(self) -> Evidence:
        """The evidence that decided: the last in which a host spoke, or else the last."""
        spoken = [one for one in self.evidence if one.reply and one.rule != RANDOM_RULE]
        return (spoken or list(self.evidence) or [_NOTHING])[-1]

    def given_as(self, text: str) -> Verdict:
        """The same verdict on a row that wrote the address so."""
        return replace(self, address=text)

    @property
    def state(self) -> str:
        """Verdict and reason in one word, to count by."""
        return f"{self.verdict}:{self.reason}"

    @property
    def status(self) -> tuple[str, str]:
        """`status` and `sub_status` as EmailVerify.io names them."""
        traits = self.traits
        return emailverify.status(self.verdict, self.reason, is_role=traits.role, is_disposable=traits.disposable)

    def to_dict(self) -> dict[str, Any]:
        """The verdict as JSON holds it."""
        status, sub_status = self.status
        return {
            "address": self.address,
            "verdict": str(self.verdict),
            "reason": self.reason,
            "catch_all": self.catch_all,
            "disposable": self.traits.disposable,
            "role": self.traits.role,
            "free": self.traits.free,
            "suggestion": self.traits.suggestion,
            "normalised": self.traits.normalised,
            "provider": self.provider,
            "mx": list(self.mx),
            "confidence": round(self.confidence, 3),
            "status": status,
            "sub_status": sub_status,
            "evidence": [
                {
                    "phase": one.phase,
                    "host": one.host,
                    "address": one.address,
                    "port": one.port,
                    "reply": list(one.reply),
                    "rule": one.rule,
                    "detail": one.detail,
                    "at": one.at,
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
            traits=Traits(
                disposable=data.get("disposable", False),  # runs of the first version have none of these
                role=data.get("role", False),
                free=data.get("free", False),
                suggestion=data.get("suggestion", ""),
                normalised=data["normalised"],
            ),
            catch_all=data.get("catch_all"),
            provider=data.get("provider", ""),
            mx=tuple(data["mx"]),
            confidence=data["confidence"],
            evidence=tuple(Evidence(**{**one, "reply": tuple(one["reply"])}) for one in data["evidence"]),
        )


RANDOM_RULE = "random-recipient"
"""The rule named by evidence about the recipient that was made up by chance."""
_NOTHING = Evidence(phase="none")


def reply_lines(said: Reply) -> tuple[str, ...]:
    """The lines of a reply as they came; bytes that are no UTF-8 are written out as `\\xNN`."""
    status = f"{said.enhanced} " if said.enhanced else ""
    last = len(said.lines) - 1
    return tuple(
        f"{said.code}{' ' if index == last else '-'}{status}{_decodable(line)}" for index, line in enumerate(said.lines)
    )


def utc(wall: float) -> str:
    """Seconds since 1970 as evidence tells them; 0 is no time."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if wall else ""


def _decodable(line: str) -> str:
    return line.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
