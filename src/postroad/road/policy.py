"""Whom we may contact, and how a connection must be secured.

Hosts that resolve to loopback, private or link-local addresses are not contacted unless `allow_private` says so:
whoever controls a DNS zone could otherwise make this server talk to what is behind it (H-09).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from postroad.net.endpoint import TlsMode

_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # NAT64 (RFC 6052)
# Not everything that is local is so to every Python's ipaddress.
_LOCAL_V4 = (ipaddress.IPv4Network("192.0.0.0/24"),)  # RFC 6890
_LOCAL_V6 = (
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # local NAT64: whatever the operator of a network makes of it (RFC 8215)
    ipaddress.IPv6Network("fec0::/10"),  # site-local (RFC 3879)
    ipaddress.IPv6Network("3fff::/20"),  # documentation (RFC 9637)
)


def is_public(address: str) -> bool:
    """Whether an address is one of the public Internet; also judges the IPv4 address within an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address.split("%", 1)[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = _embedded(parsed)
        if inner is not None:
            return is_public(str(inner))
        if any(parsed in network for network in _LOCAL_V6):
            return False
    elif any(parsed in network for network in _LOCAL_V4):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """How connections are secured, by recipient domain."""

    default: TlsMode = TlsMode.OPPORTUNISTIC
    by_domain: Mapping[str, TlsMode] = field(default_factory=dict)

    def mode(self, domain: str) -> TlsMode:
        """The mode for mail to that domain."""
        return self.by_domain.get(domain, self.default)
