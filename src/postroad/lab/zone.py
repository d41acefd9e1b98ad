"""The lab's DNS as values: names with their records and faults, and what a question about one is answered.

Pure: dns puts answers on the wire or hands them to the road. Names are in lower case without a final dot.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

MAX_ALIASES = 8
"""CNAMEs followed in a row."""


class Fault(Enum):
    """How the server of a name is out of order."""

    SERVFAIL = auto()
    REFUSED = auto()
    SILENT = auto()
    """It never answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What stands at one name. `mx`: (preference, host); a null MX is `((0, ""),)`."""

    mx: tuple[tuple[int, str], ...] = ()
    a: tuple[str, ...] = ()
    aaaa: tuple[str, ...] = ()
    txt: tuple[str, ...] = ()
    ptr: tuple[str, ...] = ()
    cname: str = ""
    fault: Fault | None = None


Zone = Mapping[str, Records]


@dataclass(frozen=True, slots=True)
class Found:
    """An answer. `aliases`: the (name, target) pairs followed; `name` is where they led."""

    name: str
    records: Records | None
    """None: no such name."""
    aliases: tuple[tuple[str, str], ...] = ()
    fault: Fault | None = None


def ask(zone: Zone, name: str, *, follow: bool = True) -> Found:
    """What stands at a name, past its aliases where `follow` says so."""
    name = name.rstrip(".").lower()
    aliases: list[tuple[str, str]] = []
    records = zone.get(name)
    while follow and records is not None and records.cname:
        if len(aliases) == MAX_ALIASES:
            return Found(name, None, tuple(aliases), Fault.SERVFAIL)
        aliases.append((name, records.cname))
        name = records.cname
        records = zone.get(name)
    if records is not None and records.fault is not None:
        return Found(name, records, tuple(aliases), records.fault)
    if records is None and _is_above_another(zone, name):
        records = Records()
    return Found(name, records, tuple(aliases))


def _is_above_another(zone: Zone, name: str) -> bool:
    """Top-level names of the lab exist, without records: they are above every other."""
    return "." not in name and any(other.endswith(f".{name}") for other in zone)


def reverse_name(address: str) -> str:
    """The name under which an address's PTR record stands."""
    return ipaddress.ip_address(address).reverse_pointer


def name_of(zone: Zone, address: str) -> str:
    """The name that an address has by PTR, confirmed by the name's own address records; "" where it has none."""
    found = ask(zone, reverse_name(address))
    for name in () if found.records is None else found.records.ptr:
        there = ask(zone, name).records
        if there is not None and address in (*there.a, *there.aaaa):
            return name
    return ""
