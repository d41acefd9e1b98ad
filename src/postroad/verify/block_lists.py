"""Block lists of the DNS (RFC 5782): whether a mail host's address is on one that the user wants asked."""

from __future__ import annotations

from collections.abc import Sequence

from postroad.net.dns_list import is_listing, query_name
from postroad.net.resolver import DnsStatus, Resolver


async def listed_by(resolver: Resolver, address: str, zones: Sequence[str]) -> str:
    """The first of the zones that lists the address, or nothing; a list that gives no answer lists nobody."""
    for zone in zones:
        found = await resolver.addresses(query_name(address, zone))
        if found.status is DnsStatus.FOUND and any(is_listing(one) for one in found.addresses):
            return zone
    return ""
