"""From a recipient's domain to the hosts that take its mail (RFC 5321 §5.1, RFC 7505)."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from postroad.net.endpoint import Credentials, Egress, Endpoint, TlsInfo, TlsMode
from postroad.net.resolver import DnsStatus, Resolver
from postroad.road.policy import TlsPolicy, is_public
from postroad.road.site import Site, SitePresets
from postroad.road.tls_demand import TlsDemand, is_secured, strictly
from postroad.smtp.reply import Reply, reply

MAX_HOSTS = 10
"""Hosts of one route that are tried; the others are as good as not there (H-09)."""
MAX_ENDPOINTS = 8
"""Addresses of one host that are tried."""


class Leaving(Protocol):
    """The addresses and the name that a connection leaves with (road.source.Source)."""

    @property
    def hello(self) -> str: ...

    def address_to(self, address: str) -> str | None:
        """What to leave from towards that address; None: it cannot be reached from here."""
        ...


@dataclass(frozen=True, slots=True)
class RouteHost:
    name: str
    preference: int = 0
    tls: TlsDemand | None = None
    """What a policy asks of connections to it; None: what the route asks."""
    is_authentic: bool = False
    """DNSSEC vouches that it takes the domain's mail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where mail for a domain goes: hosts in the order in which they are tried."""

    domain: str
    hosts: tuple[RouteHost, ...]
    site: Site
    port: int = 25
    tls: TlsMode = TlsMode.OPPORTUNISTIC
    credentials: Credentials | None = field(default=None, repr=False)
    is_cut: bool = False
    """There are more hosts, which are not tried."""
    is_implicit: bool = False
    """No MX: the domain itself is the host (RFC 5321 §5.1)."""
    is_trusted: bool = False
    """Named by the operator: a private address is meant."""
    is_discard: bool = False
    """Mail for it is taken and thrown away."""
    source: Leaving | None = None
    """From where; None: as it is configured for all mail."""

    @property
    def has_policy(self) -> bool:
        """Whether the domain has asked for security."""
        return any(host.tls is not None for host in self.hosts)

    def is_met_by(self, host: str, tls: TlsInfo | None) -> bool:
        """Whether a connection to that host, secured so, may be used on this route."""
        for one in self.hosts:
            if one.name == host:
                demand = one.tls
                if demand is None or not demand.is_enforced:
                    return is_secured(self.tls, tls)
                return demand.is_met_by(tls) and (demand.check is not None or is_secured(self.tls, tls))
        return False

    def strictly(self) -> Route:
        """The same way for a message with REQUIRETLS (RFC 8689 §4.2.1)."""
        if self.tls is TlsMode.IMPLICIT:
            return self
        is_sure = self.is_trusted or self.is_implicit
        return replace(
            self,
            hosts=tuple(
                replace(host, tls=strictly(host.tls, host=host.name, is_authentic=is_sure or host.is_authentic))
                for host in self.hosts
            ),
        )

    def leniently(self) -> Route:
        """The same way for a message whose author asks that policies of the recipient be passed over (RFC 8689 §5)."""
        return replace(self, hosts=tuple(replace(host, tls=None) for host in self.hosts))

    def without(self, name: str) -> Route:
        """The same way, and not by that host."""
        return replace(self, hosts=tuple(host for host in self.hosts if host.name != name))


@dataclass(frozen=True, slots=True)
class RouteFailure:
    """There is no way to that domain, at all or now. `reply` reads as a host's would, for reports and DSNs."""

    reply: Reply
    reason: str
    """no_domain, no_mail_host, null_mx, loop, private_address, dns_temporary."""

    @property
    def is_permanent(self) -> bool:
        """Whether trying later is of no use."""
        return self.reply.is_permanent


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticRoute:
    """Where the operator sends mail for a domain instead of its MX hosts; for every domain: a smart host."""

    host: str = ""
    port: int = 25
    tls: TlsMode = TlsMode.OPPORTUNISTIC
    credentials: Credentials | None = field(default=None, repr=False)
    is_discard: bool = False


NULL_MX = RouteFailure(reply(556, "The domain takes no mail (null MX)", "5.1.10"), "null_mx")
NO_DOMAIN = RouteFailure(reply(550, "The domain does not exist", "5.1.2"), "no_domain")
NO_MAIL_HOST = RouteFailure(
    reply(550, "The domain has no mail host: neither MX nor address records", "5.1.2"), "no_mail_host"
)
LOOP = RouteFailure(reply(554, "The mail hosts of the domain are this host: mail would loop", "5.4.6"), "loop")
PRIVATE = RouteFailure(
    reply(550, "The mail host has private addresses only, which are not contacted (allow_private)", "5.4.4"),
    "private_address",
)


NOT_FROM_HERE = RouteFailure(
    reply(450, "The source has no address of the family that the mail host has: give it one of both", "4.4.4"),
    "source_family",
)


def dns_trouble(detail: str) -> RouteFailure:
    """DNS gave no answer: never «no such domain» (C-05)."""
    return RouteFailure(reply(451, f"DNS gave no answer: {detail or 'time-out'}", "4.4.3"), "dns_temporary")


def order_mx(
    records: Sequence[tuple[int, str]], own_names: frozenset[str], rng: random.Random
) -> tuple[RouteHost, ...] | RouteFailure:
    """MX records in the order to try: by preference, by chance among equals, and cut off where we ourselves stand.

    Our own name and all of equal or worse preference are dropped (RFC 5321 §5.1): they would send it back to us.
    """
    named = [(preference, host) for preference, host in records if host]
    if not named:
        return NULL_MX
    own = min((preference for preference, host in named if host in own_names), default=None)
    usable = [(preference, host) for preference, host in named if own is None or preference < own]
    if not usable:
        return LOOP
    rng.shuffle(usable)
    usable.sort(key=lambda record: record[0])
    return tuple(RouteHost(host, preference) for preference, host in dict.fromkeys(usable))[:MAX_HOSTS]


class Policies(Protocol):
    """What domains ask of those who send to them (road/tls_policies.py)."""

    def prepare(self, domain: str) -> None:
        """Begin to ask, where it is not known, while other questions are asked."""
        ...

    async def secured(
        self, domain: str, hosts: tuple[RouteHost, ...], *, port: int, is_implicit: bool
    ) -> tuple[RouteHost, ...]:
        """The hosts of a domain, each with what a policy asks of connections to it."""
        ...


class Router:
    """Asks DNS for the way to a domain. `own_names`: names and address literals that are this host."""

    def __init__(
        self,
        resolver: Resolver,
        *,
        own_names: frozenset[str] = frozenset(),
        rng: random.Random,
        port: int = 25,
        egress: Egress | None = None,
        allow_private: bool = False,
        static: Mapping[str, StaticRoute] | None = None,
        tls: TlsPolicy | None = None,
        presets: SitePresets | None = None,
        policies: Policies | None = None,
    ) -> None:
        self._resolver = resolver
        self._own_names = own_names
        self._rng = rng
        self._port = port
        self._egress = egress or Egress()
        self._allow_private = allow_private
        self._static = static or {}
        self._tls = tls or TlsPolicy()
        self._presets = presets or SitePresets()
        self._policies = policies

    async def route(self, domain: str) -> Route | RouteFailure:
        """The way to a domain (A-labels, or an address literal)."""
        static = self._static.get(domain) or self._static.get("*")
        if static is not None:
            return self._static_route(domain, static)
        if domain.startswith("["):
            return self._literal_route(domain)
        if self._policies is not None:
            self._policies.prepare(domain)
        answer = await self._resolver.mx(domain)
        if answer.status is DnsStatus.TEMPORARY:
            return dns_trouble(answer.detail)
        if answer.status is DnsStatus.NO_DOMAIN:
            return NO_DOMAIN
        if answer.status is DnsStatus.NO_DATA or not answer.records:
            return await self._implicit_route(domain)
        hosts = order_mx(answer.records, self._own_names, self._rng)
        if isinstance(hosts, RouteFailure):
            return hosts
        return await self._secured(self._to(domain, hosts, is_cut=len(answer.records) > MAX_HOSTS))

    async def _secured(self, route: Route) -> Route:
        if self._policies is None:
            return route
        hosts = await self._policies.secured(route.domain, route.hosts, port=route.port, is_implicit=route.is_implicit)
        return route if hosts is route.hosts else replace(route, hosts=hosts)

    def _to(
        self, domain: str, hosts: tuple[RouteHost, ...], *, is_implicit: bool = False, is_cut: bool = False
    ) -> Route:
        return Route(
            domain=domain,
            hosts=hosts,
            # The worst host names the site: equal ones are shuffled, and the site must not change with them.
            site=self._presets.site(
                sorted(host.name for host in hosts if host.preference == hosts[0].preference), domain
            ),
            port=self._port,
            tls=self._tls.mode(domain),
            is_implicit=is_implicit,
            is_cut=is_cut,
        )

    async def _implicit_route(self, domain: str) -> Route | RouteFailure:
        if domain in self._own_names:
            return LOOP
        found = await self._resolver.addresses(domain)
        match found.status:
            case DnsStatus.FOUND:
                return await self._secured(self._to(domain, (RouteHost(domain),), is_implicit=True))
            case DnsStatus.TEMPORARY:
                return dns_trouble(found.detail)
            case DnsStatus.NO_DOMAIN:
                return NO_DOMAIN
            case _:
                return NO_MAIL_HOST

    def _literal_route(self, domain: str) -> Route | RouteFailure:
        if domain in self._own_names:
            return LOOP
        text = domain[1:-1]
        address = text[5:] if text[:5].lower() == "ipv6:" else text
        try:
            host = str(ipaddress.ip_address(address))
        except ValueError:
            return NO_MAIL_HOST
        return self._to(domain, (RouteHost(host),))

    def _static_route(self, domain: str, static: StaticRoute) -> Route:
        host = RouteHost(static.host.lower().rstrip("."))
        return Route(
            domain=domain,
            hosts=(host,),
            site=self._presets.site((host.name,), domain),
            port=static.port,
            tls=static.tls,
            credentials=static.credentials,
            is_trusted=True,
            is_discard=static.is_discard,
        )

    async def endpoints(self, route: Route, host: RouteHost) -> tuple[Endpoint, ...] | RouteFailure:
        """The addresses of one host that may be contacted, in the order to try."""
        found = await self._resolver.addresses(host.name)
        if found.status is DnsStatus.TEMPORARY:
            return dns_trouble(found.detail)
        if found.status is not DnsStatus.FOUND:
            return NO_MAIL_HOST
        allowed = [
            address for address in found.addresses if self._allow_private or route.is_trusted or is_public(address)
        ]
        if not allowed:
            return PRIVATE
        source = self._egress.source_address
        leaving = route.source
        if leaving is not None:
            allowed = [address for address in allowed if leaving.address_to(address)]
            if not allowed:
                return NOT_FROM_HERE
        elif source:
            is_v6 = ":" in source
            allowed = [address for address in allowed if (":" in address) == is_v6] or allowed
        return tuple(
            Endpoint(
                host=host.name,
                address=address,
                port=route.port,
                source_address=source if leaving is None else leaving.address_to(address),
                proxy=self._egress.proxy,
                is_trusted=route.is_trusted,
            )
            for address in allowed[:MAX_ENDPOINTS]
        )
