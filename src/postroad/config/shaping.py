"""Settings of how mail leaves: limits of sites, and the addresses that it leaves from."""

from __future__ import annotations

from dataclasses import dataclass

from postroad.config.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSettings:
    """Limits of one site, all workers together; 0: as they are without. `postroad site` shows sites and their keys."""

    key: str = setting(
        "",
        "The provider's name (`gmail`), the registrable domain of the mail hosts (`example.org`), or the domain of"
        " recipients, which is then a site of its own.",
    )
    connections: int = setting(0, "Connections at a time.", low=0, high=1000)
    messages_per_connection: int = setting(0, "Messages sent on one connection.", low=0, high=100_000)
    recipients_per_message: int = setting(0, "Recipients in one transaction.", low=0, high=1000)
    messages_per_minute: float = setting(0.0, "Messages begun in any minute.", low=0, high=1_000_000)
    recipients_per_minute: float = setting(0.0, "Recipients named in any minute.", low=0, high=1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """An address that mail leaves from, as part of a `[[pool]]`."""

    name: str = setting("", "What it is called, in `[[pool]]` and by `postroad site`.")
    address: str = setting("", "Its IPv4 address, of this machine.")
    address6: str = setting("", "Its IPv6 address, of this machine.")
    hello: str = setting("", "The name it says in EHLO, which its address should have in DNS; the server's by default.")
    weight: int = setting(1, "How much mail it gets, beside the others of its pool.", low=1, high=1000)
    warm_up_first: int = setting(
        0, "Messages on the first day of its warm-up; 0: there is no warm-up.", low=0, high=10_000_000
    )
    warm_up_growth: float = setting(1.5, "Each day has so many times the messages of the day before.", low=1, high=10)
    warm_up_days: int = setting(30, "After so many days it sends as much as there is.", low=1, high=365)
    warm_up_start: str = setting("", "The first day (UTC), such as `2030-01-31`; by default that of its first use.")
    warm_up_per_site: bool = setting(False, "Whether the messages of a day are counted for each site alone.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """Sources for certain mail: the first pool that takes a message sends it. What is not given does not matter."""

    name: str = setting("", "What it is called.")
    sources: tuple[str, ...] = setting((), "The names of its sources.")
    sender_domains: tuple[str, ...] = setting((), "Domains of senders.")
    users: tuple[str, ...] = setting((), "Users that submitted the mail.")
    recipient_domains: tuple[str, ...] = setting((), "Domains of recipients.")
    highest_priority: int = setting(9, "Mail of this priority and less; -1 is bulk mail and no other.", low=-9, high=9)
    lowest_priority: int = setting(-9, "Mail of this priority and more.", low=-9, high=9)
