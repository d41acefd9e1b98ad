"""Settings of whose mail it is: SPF, DKIM, ARC and DMARC of what strangers bring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from postroad.config.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationSection:
    """Who really sent a message, on the MX port; `[door] exempt` is left alone."""

    policy: Literal["off", "mark", "enforce"] = setting(
        "mark",
        "Look at nothing, write Authentication-Results into the message, or also do what the sender's domain asks for.",
    )
    authserv_id: str = setting("", "Our name in Authentication-Results; empty: the host name.")
    timeout_s: float = setting(20.0, "How long DNS may take for one message.", low=0.1, high=300)
    quarantine: Literal["mark", "hold"] = setting(
        "mark",
        "With `enforce`, what a policy of quarantine leads to: a header X-Postroad-Quarantine, or also that the message"
        " is held in the queue.",
    )
    spf_fail: Literal["mark", "refuse"] = setting(
        "mark",
        "With `enforce`, whether a message is refused for its SPF record alone, where DMARC does not pass; one whose"
        " domain says that it sends no mail at all is refused in any case.",
    )
    temporary: Literal["accept", "defer"] = setting(
        "accept", "With `enforce`, what to do when DNS cannot say whether DMARC passes: take the message, or 451."
    )
    trusted_sealers: tuple[str, ...] = setting(
        (), "Domains of forwarders and lists whose ARC seal counts more than a DMARC policy, where they saw it pass."
    )
    null_mx: Literal["accept", "refuse"] = setting(
        "refuse", "Senders whose domain says that it takes no mail (null MX): nobody could answer them."
    )
    missing_domain: Literal["accept", "defer", "refuse"] = setting(
        "accept", "Senders whose domain does not exist, or has neither MX nor address."
    )
