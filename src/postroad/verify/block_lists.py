"""Block lists of the DNS (RFC 5782): whether a mail host's address is on one that the user wants asked."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from postroad.net.resolver import DnsStatus, Resolver

_LISTED = ipaddress.IPv4Network("127.0.0.0/8")
_REFUSALS = ipaddress.IPv4Network("127.255.255.0/24")
"""Answers by which lists say that they do not serve this resolver: no word about the host."""


def query_name(address: str, zone: str) -> str:
    """The name to ask for: octets (nibbles of IPv6) the other way round, within the zone (RFC 5782 §2.1, §2.4)."""
    reverse = ipaddress.ip_address(address).reverse_pointer
    return f"{reverse.removesuffix('.in-addr.arpa').removesuffix('.ip6.arpa')}.{zone.strip('.')}"


async def listed_by(resolver: Resolver, address: str, zones: Sequence[str]) -> str:
    """The first of the zones that lists the address, or nothing; a list that gives no answer lists nobody."""
    for zone in zones:
        found = await resolver.addresses(query_name(address, zone))
        if found.status is DnsStatus.FOUND and any(_is_listing(one) for one in found.addresses):
            return zone
    return ""


def _is_listing(answer: str) -> bool:
    parsed = ipaddress.ip_address(answer)
    return isinstance(parsed, ipaddress.IPv4Address) and parsed in _LISTED and parsed not in _REFUSALS
