"""A `Lookup` that answers from a table: name → type → values. `TIMEOUT` as a value: no answer now;
under the type `*`: none for the types that are not there."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from postroad.message.dns import AddressAnswer, DnsStatus, MxAnswer, NamesAnswer, TextsAnswer

TIMEOUT = "TIMEOUT"
MAX_CNAMES = 10


class ZoneLookup:
    """`asked` logs the questions."""

    def __init__(self, zone: Mapping[str, Mapping[str, Sequence[Any]]]) -> None:
        self.zone = {name.lower().rstrip("."): records for name, records in zone.items()}
        self.asked: list[tuple[str, str]] = []

    def _find(self, name: str, kind: str) -> tuple[DnsStatus, list[Any]]:
        name = name.lower().rstrip(".")
        self.asked.append((name, kind))
        for _ in range(MAX_CNAMES):
            records = self.zone.get(name)
            if records is None:
                return DnsStatus.NO_DOMAIN, []
            values = list(records.get(kind, ()))
            if TIMEOUT in values or (not values and TIMEOUT in records.get("*", ())):
                return DnsStatus.TEMPORARY, []
            if values:
                return DnsStatus.FOUND, values
            if "CNAME" not in records:
                return DnsStatus.NO_DATA, []
            name = str(records["CNAME"][0]).lower().rstrip(".")
        return DnsStatus.TEMPORARY, []

    async def texts(self, name: str) -> TextsAnswer:
        status, values = self._find(name, "TXT")
        return TextsAnswer(status, tuple(one if isinstance(one, bytes) else one.encode("latin-1") for one in values))

    async def addresses_v4(self, host: str) -> AddressAnswer:
        status, values = self._find(host, "A")
        return AddressAnswer(status, tuple(values))

    async def addresses_v6(self, host: str) -> AddressAnswer:
        status, values = self._find(host, "AAAA")
        return AddressAnswer(status, tuple(values))

    async def mx(self, domain: str) -> MxAnswer:
        status, values = self._find(domain, "MX")
        return MxAnswer(status, tuple(sorted((preference, host.rstrip(".").lower()) for preference, host in values)))

    async def names(self, address: str) -> NamesAnswer:
        status, values = self._find(ipaddress.ip_address(address).reverse_pointer, "PTR")
        return NamesAnswer(status, tuple(str(name).rstrip(".").lower() for name in values))
