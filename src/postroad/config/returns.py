"""Settings of what comes back: bounces, complaints, unsubscribes, and the list of those not to be mailed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from postroad.config.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnsSection:
    """Bounces and complaints that come back later."""

    domain: str = setting(
        "",
        "A domain of ours (its MX leads here) for return addresses: mail that users submit leaves with a reverse-path"
        " there, which names the message. Empty: mail keeps its sender's own reverse-path.",
    )
    per_recipient: bool = setting(
        False, "Whether each recipient gets a return address of its own (VERP), in a transaction of its own."
    )
    feedback: str = setting(
        "feedback", "The local part at that domain to which providers send complaints (RFC 5965); empty for none."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SuppressionSection:
    """Those not to be mailed again."""

    enabled: bool = setting(
        True, "Whether mailboxes that do not exist, and those who complained, are noted and refused at submission."
    )
    bounce_days: float = setting(
        0.0, "For how long a bounced address stays on the list; 0 for ever.", low=0, high=36_500
    )
    complaint_scope: Literal["everybody", "sender"] = setting(
        "everybody", "Whose mail a complaint stops: `everybody`'s, or that of the `sender` domain it is about."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsubscribeSection:
    """One-click unsubscribing (RFC 8058), for messages whose header `X-Postroad-List` names a list."""

    url: str = setting(
        "",
        "Where the web listener is reached from outside, such as `https://mail.example.org`; empty: no such headers.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyFirstSection:
    """Checking recipients when mail is submitted."""

    mode: Literal["off", "domain", "mailbox"] = setting(
        "off", "`domain`: refuse recipients whose domain takes no mail; `mailbox`: also ask whether the mailbox exists."
    )
    wait_s: float = setting(
        15.0, "How long to wait for an answer; without one the recipient is taken.", low=1, high=120
    )
