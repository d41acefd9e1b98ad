"""Settings of the queue: what goes first, how much one sender may send, when what failed is tried again."""

from __future__ import annotations

from dataclasses import dataclass

from postroad.config.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueingSection:
    """What senders may ask of the queue, and how it shares out its work."""

    hold_s: int = setting(
        2_592_000,
        "The longest that users may have a message held for (FUTURERELEASE, RFC 4865); 0: not offered.",
        low=0,
        high=31_536_000,
    )
    deliver_by: bool = setting(True, "Whether a time to deliver by may be asked for (DELIVERBY, RFC 2852).")
    deliver_by_least_s: int = setting(
        60, "The shortest time after which a message may be asked back, told in EHLO.", low=0, high=86_400
    )
    priorities: bool = setting(
        True, "Whether MT-PRIORITY is offered (RFC 6710); strangers' wishes are taken and count as 0."
    )
    require_tls: bool = setting(True, "Whether REQUIRETLS is offered, inside TLS (RFC 8689).")
    bulk_headers: bool = setting(
        True, "Whether mail with `Precedence: bulk`, `list` or `junk`, or with List-Unsubscribe, is bulk."
    )
    bulk_priority: int = setting(-4, "The priority of such mail, where it would be higher.", low=-9, high=0)
    bulk_share: float = setting(
        0.2, "The share of attempts that bulk gets while other mail waits; it has all when none does.", low=0.01, high=1
    )
    user_messages_per_hour: int = setting(0, "Messages one user may send in an hour; 0: any.", low=0, high=1 << 31)
    user_messages_per_day: int = setting(0, "Messages one user may send in a day; 0: any.", low=0, high=1 << 31)
    user_recipients_per_hour: int = setting(0, "Recipients of one user in an hour; 0: any.", low=0, high=1 << 31)
    user_recipients_per_day: int = setting(0, "Recipients of one user in a day; 0: any.", low=0, high=1 << 31)
    greylisted_retry_s: float = setting(
        300.0, "The first interval after a host that asks to come again later (greylisting).", low=1, high=86_400
    )
    mailbox_full_retry_s: float = setting(
        7200.0, "The first interval after a full mailbox, which seldom empties soon.", low=1, high=86_400
    )
    rate_limited_retry_s: float = setting(
        900.0, "The first interval after a host that says we send too much.", low=1, high=86_400
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderSettings:
    """What holds for one user, or for all the mail that users send from one domain."""

    name: str = setting("", "An account's name, or the domain of senders.")
    priority: int = setting(0, "The priority of its mail, from -9 to 9; below 0 is bulk.", low=-9, high=9)
    highest_priority: int = setting(0, "The highest priority that it may ask for (MT-PRIORITY).", low=-9, high=9)
    messages_per_hour: int = setting(
        -1, "Messages in an hour; 0: any; -1: as in [queueing] for a user, any for a domain.", low=-1, high=1 << 31
    )
    messages_per_day: int = setting(-1, "Messages in a day, likewise.", low=-1, high=1 << 31)
    recipients_per_hour: int = setting(-1, "Recipients in an hour, likewise.", low=-1, high=1 << 31)
    recipients_per_day: int = setting(-1, "Recipients in a day, likewise.", low=-1, high=1 << 31)
