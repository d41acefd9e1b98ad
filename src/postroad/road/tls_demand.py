"""How a connection to one host must be secured, and why: what policies come to, host by host.

Pure values. A `TlsDemand` stands on a route's host; the pool makes and shares connections by it (`is_met_by`). Made by
road/tls_policies.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from postroad.message.tls_report import AppliedPolicy, PolicyKind
from postroad.net.endpoint import CertificateCheck, TlsInfo, TlsMode


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsDemand:
    """What one host of a route must meet. `policy` None: the sender asks, not the domain."""

    mode: TlsMode
    policy: AppliedPolicy | None = None
    check: CertificateCheck | None = None
    """What the certificate must pass instead of the trusted authorities."""
    is_enforced: bool = True
    """Not: a fault is noted, and the mail goes on as if there were no policy (testing)."""
    refusal: str = ""
    """Why the host may not be used at all, or should not, where it is not enforced."""
    may_pass: bool = False
    """Whether `refusal` may be over soon."""
    result: str = ""
    """The fault behind `refusal`, as reports name it (RFC 8460 §4.3)."""

    def is_met_by(self, tls: TlsInfo | None) -> bool:
        """Whether a connection that was secured so has what is asked."""
        if self.refusal:
            return False
        if self.check is not None:
            return tls is not None and tls.passed == self.check
        return is_secured(self.mode, tls)

    def named(self) -> str:
        """Whose demand it is, for a sentence."""
        if self.policy is None:
            return "REQUIRETLS of the sender"
        if self.policy.kind is PolicyKind.TLSA:
            return f"DANE of {self.policy.domain}"
        return f"the MTA-STS policy of {self.policy.domain}"


def is_secured(mode: TlsMode, tls: TlsInfo | None) -> bool:
    """Whether a connection is secured at least as a mode asks."""
    if mode in (TlsMode.NONE, TlsMode.OPPORTUNISTIC):
        return True
    return tls is not None and (tls.verified or mode not in (TlsMode.VERIFIED, TlsMode.IMPLICIT))


def strictly(demand: TlsDemand | None, *, host: str, is_authentic: bool) -> TlsDemand:
    """The demand of a host for a message with REQUIRETLS: whatever stands is enforced and verified (RFC 8689 §4.2.1).

    `is_authentic`: the host's name itself is sure, by DNSSEC or because the operator named it."""
    if demand is not None:
        if demand.refusal or demand.check is not None:
            return replace(demand, is_enforced=True)
        return replace(demand, mode=TlsMode.VERIFIED, is_enforced=True)
    if is_authentic:
        return TlsDemand(mode=TlsMode.VERIFIED)
    return TlsDemand(
        mode=TlsMode.VERIFIED,
        refusal=f"neither DNSSEC nor an MTA-STS policy says that {host} takes the domain's mail",
    )
