"""Addresses by the networks around them: whom an address stands for, and whether a list of networks holds it. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
CACHED = 20_000
"""Addresses whose networks are remembered."""


@lru_cache(maxsize=CACHED)
def customer_of(peer: str) -> str:
    """Whom an address stands for: itself, or for IPv6 its /64, since one customer has that many."""
    return _around(peer, 64) if ":" in peer else peer


@lru_cache(maxsize=CACHED)
def neighbours_of(peer: str) -> str:
    """The network that an address is likely to share an owner with: its /24, or its /48 of IPv6."""
    if ":" in peer:
        return _around(peer, 48)
    octets = peer.split(".")
    return f"{'.'.join(octets[:3])}.0/24" if len(octets) == 4 else peer


def _around(peer: str, bits: int) -> str:
    return str(ipaddress.ip_network((peer.split("%", 1)[0], bits), strict=False))


def parse_network(text: str) -> Network:
    """An address or a network, bits beyond its prefix ignored. Raises ValueError."""
    return ipaddress.ip_network(text, strict=False)


class Networks:
    """A set of networks; asking costs one look-up for each prefix length that occurs in it."""

    __slots__ = ("_by_length", "_seen")

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._by_length: dict[tuple[int, int], dict[int, Network]] = {}
        self._seen: dict[str, bool] = {}
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            self._by_length.setdefault((network.version, shift), {})[int(network.network_address) >> shift] = network

    def __bool__(self) -> bool:
        return bool(self._by_length)

    def around(self, peer: str) -> Iterable[Network]:
        """Those that hold the address, the widest first; none for what is no address."""
        if not self._by_length:
            return ()
        try:
            address = ipaddress.ip_address(peer.split("%", 1)[0])
        except ValueError:
            return ()
        number = int(address)
        found = []
        for (version, shift), networks in sorted(self._by_length.items(), reverse=True):
            if version == address.version and (network := networks.get(number >> shift)) is not None:
                found.append(network)
        return found

    def __contains__(self, peer: str) -> bool:
        seen = self._seen.get(peer)
        if seen is None:
            if len(self._seen) >= CACHED:
                self._seen.clear()
            seen = self._seen[peer] = bool(self.around(peer))
        return seen
