"""Sites: the hosts that share limits, because one operator counts what comes to any of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteLimits:
    """What one site is asked to bear."""

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

    def instead(self, limits: SiteLimits) -> SiteLimits:
        """Those limits, and what is said here in their place."""
        return replace(limits, **self.said())

    def said(self) -> dict[str, Any]:
        """What is said, by the names of the limits."""
        return {one.name: value for one in fields(self) if (value := getattr(self, one.name)) is not None}


def part(limits: SiteLimits, workers: int, index: int) -> SiteLimits:
    """What one of several workers may take of limits that are the server's. At least one connection is everyone's:
    where there are fewer than workers, they take turns (road/seats.py).

    Rates are split into whole numbers, so that no minute of all workers together sees more than the rate; one of less
    than a message for each worker holds over the longer time in which each sends one."""
    if workers == 1:
        return limits
    return replace(
        limits,
        connections=max(1, limits.connections // workers + (index < limits.connections % workers)),
        messages_per_minute=_part_of_rate(limits.messages_per_minute, workers, index),
        recipients_per_minute=_part_of_rate(limits.recipients_per_minute, workers, index),
    )


def _part_of_rate(rate: float | None, workers: int, index: int) -> float | None:
    if rate is None or rate < workers:
        return None if rate is None else rate / workers
    whole = int(rate)
    return float(whole // workers + (index < whole % workers))


_UNBOUNDED = SiteBounds()
_MAX_KNOWN = 10_000


def nobody(hosts: Sequence[str]) -> tuple[str, SiteBounds] | None:
    """No operator is known by name."""
    return None


@dataclass(frozen=True, slots=True)
class Site:
    """`key` names it in logs and commands. `source`: the name of the address it is asked from: it counts each apart."""

    key: str
    limits: SiteLimits
    source: str = ""
    seats: int = 0
    """Connections of all workers together, where these are fewer than workers; 0: nobody takes turns."""

    @property
    def place(self) -> tuple[str, str]:
        """What makes it one site, whatever its limits are now."""
        return self.key, self.source

    def of(self, source: str) -> Site:
        """The same site, asked from that source."""
        return self if source == self.source else replace(self, source=source)


@dataclass(frozen=True, slots=True)
class SitePresets:
    """The limits of each site: the default within what its operator bears, and what is said of the site instead.

    `operator` names who runs hosts, where it is known (`road.provider`): its hosts are one site, whatever their names.
    Limits are the server's; worker `index` of so many `workers` takes its part.
    """

    default: SiteLimits = field(default_factory=SiteLimits)
    by_key: Mapping[str, SiteBounds] = field(default_factory=dict)
    """What the configuration says of sites, or of recipients' domains: these are then sites of their own."""
    operator: Callable[[Sequence[str]], tuple[str, SiteBounds] | None] = nobody
    overrides: Mapping[str, SiteBounds] = field(default_factory=dict)
    """What an operator wants for now; may change at any time."""
    workers: int = 1
    index: int = 0
    _known: dict[str, tuple[SiteBounds | None, SiteBounds, Site]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Sites that were asked for, and what they rest on."""

    def site(self, hosts: Sequence[str], domain: str = "") -> Site:
        """The site of a domain whose most preferred mail hosts are these."""
        key, bounds = "-", _UNBOUNDED
        if hosts:
            key, bounds = self.operator(hosts) or (site_key(hosts[0]), bounds)
        if domain in self.by_key or domain in self.overrides:
            key = domain
        return self.named(key, bounds)

    def named(self, key: str, bounds: SiteBounds) -> Site:
        """The site of that key, whose operator bears so much."""
        override = self.overrides.get(key)
        known = self._known.get(key)
        if known is not None and known[0] is override and known[1] is bounds:
            return known[2]
        limits = bounds.applied(self.default)
        for layer in (self.by_key.get(key), override):
            if layer is not None:
                limits = layer.instead(limits)
        seats = limits.connections if limits.connections < self.workers else 0
        site = Site(key, part(limits, self.workers, self.index), seats=seats)
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[key] = (override, bounds, site)
        return site


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
