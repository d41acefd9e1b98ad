"""A small mail world made by chance from a seed: domains, hosts, mailboxes, a list of addresses, the truth about each.

    world = build_world(7, addresses=10_000)
    world.addresses(), world.truth("ann@…"), world.zone, world.hosts

The same seed and settings give the same world. Everybody has a domain below .example or .test; hosts have addresses of
127.0.0.0/9, so that they can stand on loopback. Pure. Run by running, on loopback or in the simulated loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from postroad.lab.catalogue import NAMES, Pace
from postroad.lab.personality import Options, Standing
from postroad.lab.truth import Truth
from postroad.lab.zone import Zone

MAX_ADDRESSES = 1_000_000
HOST_NETWORK = "127.0.0.0/9"
"""Where every host stands that may be contacted."""
PRIVATE_NETWORK = "127.255.0.0/16"
"""Where the hosts of `private_mx` domains are said to stand; nobody listens there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldSettings:
    """What is dealt out. Shares are of all addresses, from 0 to 1."""

    addresses: int = 10_000
    personalities: tuple[str, ...] = NAMES
    """Of `catalogue.EVERY`; each at least once where there are addresses enough."""
    per_domain: int = 20
    """Addresses of an ordinary domain, in the mean."""
    is_even: bool = False
    """Every ordinary domain has just `per_domain`."""
    provider: float = 0.12
    """Share at one huge provider."""
    hosting: float = 0.15
    """Share at hosts that serve many small domains."""
    again: float = 0.02
    """Share of addresses that the list has twice, in another spelling."""
    bad: float = 0.01
    mistyped: float = 0.01
    """Share at domains that do not exist, because somebody mistyped."""
    pace: Pace = field(default_factory=Pace)
    private_network: str = PRIVATE_NETWORK
    probers: Mapping[str, str] = field(default_factory=lambda: {"127.0.0.1": "prober.example"})
    """Clients that have a name in DNS: address → name."""


@dataclass(frozen=True, slots=True)
class HostSpec:
    """One mail host. `personality`: a key of CATALOGUE, or one of DOWN. `seed`: of its wording."""

    name: str
    address: str
    site: str
    personality: str
    options: Options
    seed: int


@dataclass(frozen=True, slots=True)
class DomainSpec:
    """One domain. `others`: the standing of everybody who has no mailbox."""

    name: str
    hosts: tuple[str, ...]
    personality: str
    """As the truth about its addresses names it."""
    mailboxes: Mapping[str, Standing]
    """Local part in lower case → standing."""
    others: Standing = Standing.ABSENT


@dataclass(frozen=True, slots=True)
class World:
    """All of it. `domains`: those that some host serves; `by_address`: the list, in its order."""

    seed: int
    settings: WorldSettings
    hosts: Mapping[str, HostSpec]
    domains: Mapping[str, DomainSpec]
    zone: Zone
    by_address: Mapping[str, Truth]

    def addresses(self) -> list[str]:
        """The list, as somebody collected it: each text once, in an order that the seed decides."""
        return list(self.by_address)

    def truth(self, address: str) -> Truth:
        """The truth about a text of the list. Raises KeyError for any other."""
        return self.by_address[address]

    def standing(self, local: str, domain: str) -> Standing:
        """What the hosts of a domain know of a recipient."""
        found = self.domains.get(domain)
        return Standing.NOT_SERVED if found is None else found.mailboxes.get(local.lower(), found.others)
