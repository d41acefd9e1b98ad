"""Lists in the DNS of addresses, block or allow lists (RFC 5782): how they are asked, what answers mean."""

from __future__ import annotations

import ipaddress

_ANSWERS = ipaddress.IPv4Network("127.0.0.0/8")
_MISUSE = ipaddress.IPv4Network("127.255.255.0/24")


def query_name(address: str, zone: str) -> str:
    """The name to ask for: octets (nibbles of IPv6) the other way round, within the zone (RFC 5782 §2.1, §2.4)."""
    reverse = ipaddress.ip_address(address).reverse_pointer
    return f"{reverse.removesuffix('.in-addr.arpa').removesuffix('.ip6.arpa')}.{zone.strip('.')}"


def is_misuse(answer: str) -> bool:
    """Whether the list says that it does not serve this resolver: no word about the address."""
    return _within(answer, _MISUSE)


def is_listing(answer: str) -> bool:
    """Whether it says that the address is listed; an answer outside 127/8 comes from a resolver that lies."""
    return _within(answer, _ANSWERS) and not is_misuse(answer)


def _within(answer: str, network: ipaddress.IPv4Network) -> bool:
    parsed = ipaddress.ip_address(answer)
    return isinstance(parsed, ipaddress.IPv4Address) and parsed in network
