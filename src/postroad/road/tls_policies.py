"""What domains ask of connections to their mail hosts, put on the hosts of a route: DANE first, else MTA-STS.

A host with TLSA records that DNSSEC vouches for is bound by them alone (RFC 7672); the others by the domain's MTA-STS
policy, where it has one (RFC 8461 §2). Asked at once where it is known, which is nearly always.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from postroad.message.dns import DnsStatus
from postroad.message.mta_sts import StsMode, StsPolicy
from postroad.message.tls_report import AppliedPolicy, PolicyKind
from postroad.net.dnssec import SecureAnswer
from postroad.net.endpoint import TlsMode
from postroad.road.dane import ISSUER, DaneCheck, usable
from postroad.road.route import RouteHost
from postroad.road.sts_policies import StsPolicies
from postroad.road.tls_demand import TlsDemand


class SecureResolver(Protocol):
    """What is asked of a validating resolver (net/dnssec.py)."""

    async def mx(self, domain: str) -> SecureAnswer: ...
    async def address(self, host: str) -> SecureAnswer: ...
    async def tlsa(self, host: str, port: int) -> SecureAnswer: ...


class TlsPolicies:
    """`sts`, `dane`: None where that is off. `is_enforced`: whether MTA-STS is more than noted."""

    def __init__(
        self,
        *,
        sts: StsPolicies | None,
        dane: SecureResolver | None,
        wall: Callable[[], float],
        is_enforced: bool = True,
    ) -> None:
        self._sts = sts
        self._dane = dane
        self._wall = wall
        self._is_enforced = is_enforced

    def prepare(self, domain: str) -> None:
        """Begin to ask for the MTA-STS policy of a domain."""
        if self._sts is not None:
            self._sts.prepare(domain)

    async def secured(
        self, domain: str, hosts: tuple[RouteHost, ...], *, port: int, is_implicit: bool
    ) -> tuple[RouteHost, ...]:
        """The hosts of a domain, each with what is asked of connections to it; the same ones where nothing is."""
        if self._dane is not None:
            hosts = await self._by_dane(self._dane, domain, hosts, port=port, is_implicit=is_implicit)
        policy = None if self._sts is None else await self._sts.policy(domain)
        if policy is None or policy.mode is StsMode.NONE:
            return hosts
        applied = AppliedPolicy(PolicyKind.STS, domain, policy.lines, policy.mx)
        is_enforced = self._is_enforced and policy.mode is StsMode.ENFORCE
        return tuple(
            host if host.tls is not None else replace(host, tls=_by_sts(host.name, policy, applied, is_enforced))
            for host in hosts
        )

    async def _by_dane(
        self, dns: SecureResolver, domain: str, hosts: tuple[RouteHost, ...], *, port: int, is_implicit: bool
    ) -> tuple[RouteHost, ...]:
        if not is_implicit:
            answer = await dns.mx(domain)
            if answer.status is DnsStatus.TEMPORARY:
                unsure = _unsure(domain, domain, f"the MX records of {domain}", answer)
                return tuple(replace(host, tls=unsure) for host in hosts)
            if not answer.is_secure:
                return hosts
            named = frozenset(answer.values)
        else:
            named = frozenset({domain})
        return tuple(
            await asyncio.gather(
                *(
                    self._host_by_dane(dns, domain, host, port) if host.name in named else _as_it_is(host)
                    for host in hosts
                )
            )
        )

    async def _host_by_dane(self, dns: SecureResolver, domain: str, host: RouteHost, port: int) -> RouteHost:
        """A host that DNSSEC vouches for, with what its TLSA records ask (RFC 7672 §2.2)."""
        host = replace(host, is_authentic=True)
        answer = await dns.address(host.name)
        if answer.status is DnsStatus.TEMPORARY:
            return replace(host, tls=_unsure(domain, host.name, f"the addresses of {host.name}", answer))
        if not answer.is_secure:
            return host  # its own zone is not signed: TLSA records would not be sure either
        answer = await dns.tlsa(host.name, port)
        if answer.status is DnsStatus.TEMPORARY:
            return replace(host, tls=_unsure(domain, host.name, f"the TLSA records of {host.name}", answer))
        if not answer.is_secure or not answer.values:
            return host
        applied = AppliedPolicy(PolicyKind.TLSA, domain, tuple(sorted(map(str, answer.values))), (host.name,))
        records = usable(answer.values)
        if not records:
            return replace(host, tls=TlsDemand(mode=TlsMode.REQUIRED, policy=applied))
        names = (host.name, domain) if any(one.usage == ISSUER for one in records) else ()
        check = DaneCheck(records, tuple(dict.fromkeys(names)), self._wall)
        return replace(host, tls=TlsDemand(mode=TlsMode.REQUIRED, policy=applied, check=check))


async def _as_it_is(host: RouteHost) -> RouteHost:
    return host


def _unsure(domain: str, host: str, what: str, answer: SecureAnswer) -> TlsDemand:
    """DNS would not say, and it may be an attacker who keeps it from us: the host is not used now (RFC 7672 §2.1)."""
    return TlsDemand(
        mode=TlsMode.REQUIRED,
        policy=AppliedPolicy(PolicyKind.TLSA, domain, (), (host,)),
        refusal=f"the validating resolver gave no answer about {what} ({answer.detail or 'time-out'})",
        may_pass=True,
        result="dnssec-invalid",
    )


def _by_sts(host: str, policy: StsPolicy, applied: AppliedPolicy, is_enforced: bool) -> TlsDemand:
    if policy.matches(host):
        return TlsDemand(mode=TlsMode.VERIFIED, policy=applied, is_enforced=is_enforced)
    return TlsDemand(
        mode=TlsMode.VERIFIED,
        policy=applied,
        is_enforced=is_enforced,
        refusal=f"the policy names {', '.join(policy.mx[:5])}{' …' if len(policy.mx) > 5 else ''}, not this host",
        result="validation-failure",
    )
