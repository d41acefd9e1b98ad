"""An authoritative DNS server on a loopback port, under the tests' control.

    with DnsServer({"example.test": {"MX": [(10, "mx.example.test")]}, "mx.example.test": {"A": ["127.0.0.1"]}}) as dns:
        DnsResolver(dns.address)

Runs in a thread of its own, so that tests and real programs can ask it. `zone` may be changed while it runs; a name
whose records are `SERVFAIL`, `REFUSED` or `SILENT` answers so; unknown names are NXDOMAIN. `queries` logs what came.
Answers about the names in `signed` have the AD bit, as from a resolver that has validated them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from dnslib import AAAA, CNAME, MX, PTR, QTYPE, RCODE, RD, RR, TXT, A, DNSRecord
from dnslib.server import BaseResolver, DNSHandler, DNSLogger, DNSServer

SERVFAIL = "SERVFAIL"
REFUSED = "REFUSED"
SILENT = "SILENT"

Zone = Mapping[str, Any]


def _data(kind: str, value: Any) -> Any:
    match kind:
        case "MX":
            return MX(value[1], value[0])
        case "A":
            return A(value)
        case "AAAA":
            return AAAA(value)
        case "CNAME":
            return CNAME(value)
        case "PTR":
            return PTR(value)
        case "TLSA":
            return RD(bytes([value.usage, value.selector, value.matching]) + value.data)
        case _:
            return TXT(value)


class DnsServer(BaseResolver):
    """`address` is `127.0.0.1:PORT` once entered."""

    def __init__(self, zone: Zone | None = None, *, ttl: int = 60, host: str = "127.0.0.1", port: int = 0) -> None:
        self.zone: dict[str, Any] = dict(zone or {})
        self.queries: list[tuple[str, str]] = []
        self.signed: set[str] = set()
        self.address = ""
        self.port = 0
        self._ttl = ttl
        self._host = host
        self._wanted = port
        self._servers: list[DNSServer] = []
        self._threads: list[threading.Thread] = []
        self._released = threading.Event()

    def resolve(self, request: DNSRecord, handler: DNSHandler) -> DNSRecord:
        name = str(request.q.qname).rstrip(".").lower()
        kind = QTYPE[request.q.qtype]
        self.queries.append((name, kind))
        answer = request.reply()
        answer.header.ad = int(name in self.signed)
        records = self.zone.get(name)
        for _ in range(10):
            if not isinstance(records, Mapping) or "CNAME" not in records or kind == "CNAME":
                break
            target = str(records["CNAME"][0]).lower()
            answer.add_answer(RR(name, QTYPE.CNAME, rdata=CNAME(target), ttl=self._ttl))
            name, records = target, self.zone.get(target)
        if records is None:
            answer.header.rcode = RCODE.NXDOMAIN
        elif records == SILENT:
            self._released.wait(10)
            answer.header.rcode = RCODE.SERVFAIL
        elif isinstance(records, str):
            answer.header.rcode = RCODE.SERVFAIL if records == SERVFAIL else RCODE.REFUSED
        else:
            for value in records.get(kind, ()):
                answer.add_answer(RR(name, getattr(QTYPE, kind), rdata=_data(kind, value), ttl=self._ttl))
        return answer

    def __enter__(self) -> DnsServer:
        quiet = DNSLogger("-request,-reply,-truncated,-error,-recv,-send,-data")
        self._servers = self._bound(quiet)
        self.port = self._servers[0].server.server_address[1]
        self._threads = [
            threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
            for server in self._servers
        ]
        for thread in self._threads:
            thread.start()
        self.address = f"{self._host}:{self.port}"
        return self

    def _bound(self, quiet: DNSLogger) -> list[DNSServer]:
        """One for UDP and one for TCP on the same port; a free one of the first may be taken for the second."""
        for attempt in range(20):
            udp = DNSServer(self, address=self._host, port=self._wanted, logger=quiet)
            try:
                port = udp.server.server_address[1]
                return [udp, DNSServer(self, address=self._host, port=port, tcp=True, logger=quiet)]
            except OSError:
                udp.server.server_close()
                if self._wanted or attempt == 19:
                    raise
        raise AssertionError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.server.shutdown()
            server.server.server_close()
            thread.join()
