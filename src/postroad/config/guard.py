"""Settings of what keeps abuse at the door."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from postroad.config.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorSection:
    """Strangers on the MX port: what is looked at, and who is left alone."""

    exempt: tuple[str, ...] = setting(
        ("127.0.0.0/8", "::1"),
        "Addresses and networks that are not counted, looked up, delayed or greylisted; bans by hand hold for all.",
    )
    refuse_at: Literal["connect", "rcpt"] = setting(
        "rcpt",
        "When a client is refused for its reverse DNS or a block list: at once, or at RCPT, where a person will read"
        " the reason and postmaster is still reached.",
    )
    reverse_dns: Literal["off", "mark", "require"] = setting(
        "off", "Whether a client's address must have a name that leads back to it; `mark` writes X-Postroad-Marks."
    )
    hello_name: Literal["off", "mark", "require"] = setting(
        "off", "Whether the name said in EHLO must have an address in DNS."
    )
    own_name: Literal["accept", "refuse"] = setting(
        "accept", "What to do with strangers who say our own name or address in EHLO."
    )
    dns_timeout_s: float = setting(5.0, "How long a client waits for these look-ups.", low=0.1, high=60)
    greeting_delay_s: float = setting(0.0, "How long strangers wait for the greeting.", low=0, high=60)
    early_talk: Literal["ignore", "mark", "refuse"] = setting(
        "mark", "What to do with strangers who talk before the greeting."
    )
    pipelining: Literal["ignore", "mark", "refuse"] = setting(
        "ignore", "What to do with strangers who send more behind EHLO without waiting for its answer."
    )
    tarpit_after: int = setting(
        0, "Recipients of a message that are answered at once, the others slowly; 0 for all.", low=0, high=50_000
    )
    tarpit_s: float = setting(1.0, "How long the answer to each further recipient takes.", low=0.1, high=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class RatesSection:
    """How much one client may do. An IPv6 client is its /64. 0 is no limit."""

    window_s: float = setting(60.0, "Within how long.", low=1, high=86_400)
    connections: int = setting(1200, "Connections of one address.", low=0, high=1_000_000)
    messages: int = setting(6000, "Messages of one address.", low=0, high=100_000_000)
    recipients: int = setting(60_000, "Recipients of one address.", low=0, high=100_000_000)
    failed_recipients: int = setting(
        300, "Recipients of one address that were refused for good, before it is sent away.", low=0, high=1_000_000
    )
    user_messages: int = setting(0, "Messages of one authenticated user, wherever he is.", low=0, high=100_000_000)
    user_recipients: int = setting(0, "Recipients of one authenticated user.", low=0, high=100_000_000)
    neighbours: float = setting(
        4.0, "How many times as much all of a network (IPv4 /24, IPv6 /48) may do.", low=1, high=65_536
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GreylistSection:
    """Greylisting: strangers are put off once (RFC 6647)."""

    enabled: bool = setting(False, "Whether strangers are put off at all.")
    delay_s: float = setting(300.0, "For how long.", low=1, high=86_400)
    retry_s: float = setting(172_800.0, "How long they may take to come again.", low=60, high=2_592_000)
    keep_s: float = setting(3_110_400.0, "How long one who came again is known (36 days).", low=3600, high=31_536_000)
    network_passes: int = setting(
        5, "Senders of a network that came again, before all of it is known; 0 for never.", low=0, high=100_000
    )
    known_senders: tuple[str, ...] = setting(
        (), "Domains, their subdomains with them, whose mail is not put off where SPF passes."
    )
    known_hosts: tuple[str, ...] = setting(
        (), "Domains whose hosts, by a reverse DNS that leads back, are not put off: large providers, say."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockListsSection:
    """How the `[[block_list]]` tables are used together."""

    threshold: float = setting(1.0, "The sum of weights at which a client is refused.", low=0.01, high=1000)
    timeout_s: float = setting(3.0, "How long their answers are waited for.", low=0.1, high=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockListSettings:
    """One DNS list of addresses, asked about each stranger."""

    zone: str = setting("", "The list's domain.")
    weight: float = setting(
        1.0, "What a listing adds to the sum; below zero for a list of the good.", low=-1000, high=1000
    )
    answers: tuple[str, ...] = setting(
        (), "Answers that count, as addresses or networks in 127.0.0.0/8; every listing where there are none."
    )
    url: str = setting("", "Where a person reads why, told in the refusal; `{address}` is replaced.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForwardSection:
    """Asking the next host whether a recipient exists, before the message is taken."""

    domains: tuple[str, ...] = setting(
        (), "Local domains with a `[[route]]` of their own whose recipients are asked about."
    )
    known_s: float = setting(86_400.0, "How long a recipient that exists is remembered.", low=1, high=2_592_000)
    absent_s: float = setting(3600.0, "How long one that does not is remembered.", low=1, high=2_592_000)
    unknown_s: float = setting(60.0, "How long a host that gave no answer is not asked again.", low=1, high=3600)
    timeout_s: float = setting(20.0, "How long an answer is waited for; 450 beyond.", low=1, high=300)
