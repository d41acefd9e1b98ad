"""Sites: the hosts that share limits, because one operator counts what comes to any of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
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
    recipients_per_connection: int | None = None
    """Over all its transactions; None: as many as the messages bring."""
    messages_per_minute: float | None = None
    """None: as many as the connections carry."""
    recipients_per_minute: float | None = None
    """None: as many as the messages bring."""
    idle_s: float = 5.0
    """How long an unused connection is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteBounds:
    """What a site is never asked to bear more than; None: not bounded."""

    connections: int | None = None
    messages_per_connection: int | None = None
    recipients_per_message: int | None = None
    recipients_per_connection: int | None = None
    messages_per_minute: float | None = None
    recipients_per_minute: float | None = None

    def applied(self, limits: SiteLimits) -> SiteLimits:
        """Those limits, and none of them above its bound."""
        lower = {}
        for bound in fields(self):
            most, given = getattr(self, bound.name), getattr(limits, bound.name)
            if most is not None and (given is None or given > most):
                lower[bound.name] = most
        return replace(limits, **lower)


def nobody(hosts: Sequence[str]) -> tuple[str, SiteBounds] | None:
    """No operator is known by name."""
    return None


@dataclass(frozen=True, slots=True)
class Site:
    """`key` names it in logs and commands."""

    key: str
    limits: SiteLimits


@dataclass(frozen=True, slots=True)
class SitePresets:
    """The limits of each site: its own where it has some, else the default within what its operator bears.

    `operator` names who runs hosts, where it is known (`road.provider`): its hosts are one site, whatever their names.
    """

    default: SiteLimits = field(default_factory=SiteLimits)
    by_key: Mapping[str, SiteLimits] = field(default_factory=dict)
    operator: Callable[[Sequence[str]], tuple[str, SiteBounds] | None] = nobody

    def site(self, hosts: Sequence[str]) -> Site:
        """The site of a domain whose most preferred mail hosts are these."""
        if not hosts:
            return Site("-", self.by_key.get("-", self.default))
        key, bounds = self.operator(hosts) or (site_key(hosts[0]), SiteBounds())
        own = self.by_key.get(key)
        return Site(key, bounds.applied(self.default) if own is None else own)


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


def is_public_suffix(name: str) -> bool:
    """Whether anybody may register names below it (`co.uk`, `github.io`); a top-level domain that is none is not."""
    return _suffixes().is_public(name, accept_unknown=False)
