"""Sites: the hosts that share limits, because one operator counts what comes to any of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteLimits:
    """What one site is asked to bear, by one process."""

    connections: int = 20
    """At a time."""
    messages_per_connection: int = 100
    recipients_per_message: int = 100
    messages_per_minute: float | None = None
    """None: as many as the connections carry."""
    idle_s: float = 5.0
    """How long an unused connection is kept."""


@dataclass(frozen=True, slots=True)
class Site:
    """`key` names it in logs and commands."""

    key: str
    limits: SiteLimits


@dataclass(frozen=True, slots=True)
class SitePresets:
    """The limits of each site: its own where it has some, else the default."""

    default: SiteLimits = field(default_factory=SiteLimits)
    by_key: Mapping[str, SiteLimits] = field(default_factory=dict)

    def site(self, hosts: Sequence[str]) -> Site:
        """The site of a domain whose most preferred mail hosts are these."""
        key = site_key(hosts[0]) if hosts else "-"
        return Site(key, self.by_key.get(key, self.default))


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()


@lru_cache(maxsize=10_000)
def site_key(host: str) -> str:
    """The registrable domain of a mail host (`mx1.mail.example.co.uk` → `example.co.uk`); an address is its own."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return _suffixes().privatesuffix(host) or host
