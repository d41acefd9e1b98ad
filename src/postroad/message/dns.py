"""What DNS answers, as values: found, no data, no such name, or not to be had now; never an exception.

Here, so that the pure rooms may ask (`Lookup`) of whoever is handed in; net/resolver.py is who asks in earnest.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol


class DnsStatus(Enum):
    """How a question was answered."""

    FOUND = auto()
    NO_DATA = auto()
    """The name exists, but has no record of that type."""
    NO_DOMAIN = auto()
    """NXDOMAIN."""
    TEMPORARY = auto()
    """No answer now: a time-out, SERVFAIL, or a server that refuses."""


@dataclass(frozen=True, slots=True)
class MxAnswer:
    """`records`: (preference, host), host in lower case without its final dot; a null MX is `((0, ""),)`."""

    status: DnsStatus
    records: tuple[tuple[int, str], ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AddressAnswer:
    """`addresses`: A first, then AAAA, as text."""

    status: DnsStatus
    addresses: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class NamesAnswer:
    """`names`: what an address is called, in lower case without the final dot."""

    status: DnsStatus
    names: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class TextsAnswer:
    """`texts`: TXT records, the strings of each put together."""

    status: DnsStatus
    texts: tuple[bytes, ...] = ()
    detail: str = ""


class Lookup(Protocol):
    """What authentication asks of DNS. Names are ASCII, without a final dot."""

    async def texts(self, name: str) -> TextsAnswer:
        """TXT records."""
        ...

    async def addresses_v4(self, host: str) -> AddressAnswer:
        """A records alone."""
        ...

    async def addresses_v6(self, host: str) -> AddressAnswer:
        """AAAA records alone."""
        ...

    async def mx(self, domain: str) -> MxAnswer:
        """MX records, by preference."""
        ...

    async def names(self, address: str) -> NamesAnswer:
        """The PTR records of an address."""
        ...
