"""How mail to an address of the lab may end, from what its domain and hosts are: the truth to measure delivery by.

Pure. What is temporary for ever waits until its lifetime is over, and bounces then: both are right.
"""

from __future__ import annotations

from enum import StrEnum

from postroad.lab.catalogue import DOWN
from postroad.lab.personality import Standing
from postroad.lab.truth import Kind
from postroad.lab.world import World


class Fate(StrEnum):
    """What becomes of one recipient of a message."""

    DELIVERED = "delivered"
    BOUNCED = "bounced"
    """Refused, or given up: the sender is told by the one who could not deliver it."""
    RETURNED = "returned"
    """Delivered, and sent back later by the host that took it."""
    WAITING = "waiting"


GIVEN_UP = frozenset({Fate.BOUNCED, Fate.WAITING})
HOPELESS = frozenset({"temporary", "blocks_greeting", "blocks_mail", "blocks_recipient", "endless", "mute", "resets"})
"""Personalities that never take a message."""
_BY_STANDING = {
    Standing.EXISTS: frozenset({Fate.DELIVERED}),
    Standing.BOUNCES: frozenset({Fate.RETURNED}),
    Standing.ABSENT: frozenset({Fate.BOUNCED}),
    Standing.DISABLED: frozenset({Fate.BOUNCED}),
    Standing.FULL: GIVEN_UP,
}


def fates(world: World, address: str) -> frozenset[Fate]:
    """The right ends of a message to an address of that world's list, sent once, by a client that comes again and has a
    sender and a name in DNS. Raises KeyError for any other address."""
    truth = world.truth(address)
    local, _, domain = address.lower().rpartition("@")
    served = world.domains.get(domain)
    if truth.kind in (Kind.NO_MAIL, Kind.BAD_SYNTAX):
        return frozenset({Fate.BOUNCED})
    if served is None:
        return GIVEN_UP
    host = world.hosts[served.hosts[-1]]
    if host.personality in DOWN or host.personality in HOPELESS:
        return GIVEN_UP
    if host.personality == "out_of_step":
        return GIVEN_UP | {Fate.DELIVERED}
    ends = _BY_STANDING[world.standing(local, domain)]
    if host.personality == "busy":
        return ends | {Fate.WAITING}  # who is told to come later so often does so
    if host.personality == "refuses_data" and host.options["how"] != 2 and Fate.DELIVERED in ends:
        return GIVEN_UP if host.options["how"] == 3 else frozenset({Fate.BOUNCED})
    return ends
