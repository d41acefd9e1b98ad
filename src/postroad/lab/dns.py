"""The zone of a world, answered: over UDP and TCP on loopback, or within the process to the road itself."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING, Any, cast

from postroad.lab.zone import Fault, Found, Zone, ask
from postroad.net.resolver import AddressAnswer, DnsStatus, MxAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_UDP_OCTETS = 1232
MAX_QUESTION_OCTETS = 4096
TTL_S = 300
SILENCE_S = 10.0
"""How long the resolver waits for a name server that never answers."""
TCP_IDLE_S = 30.0
MAX_TCP = 100
"""Connections of DNS clients at a time."""
BURST_OCTETS = 4_194_304
"""Asked of the system for questions that come at once; it may grant less."""
_TRIES = 20
"""Ports tried, until one is free for both UDP and TCP."""


class LabError(Exception):
    """The lab cannot be set up; the message is a sentence."""


# Within the process ---------------------------------------------------------------------------------------------


class ZoneResolver:
    """A net.resolver.Resolver over a zone, for the simulated loop. `queries` counts the questions."""

    def __init__(self, zone: Zone, *, latency_s: float = 0.0) -> None:
        self._zone = zone
        self._latency_s = latency_s
        self.queries = 0

    async def mx(self, domain: str) -> MxAnswer:
        """The MX records of a domain."""
        found = await self._ask(domain)
        status = _status(found, has_records=found.records is not None and bool(found.records.mx))
        if status is not DnsStatus.FOUND or found.records is None:
            return MxAnswer(status, (), _detail(status))
        return MxAnswer(status, tuple(sorted(found.records.mx)))

    async def addresses(self, host: str) -> AddressAnswer:
        """The addresses of a host; an address literal is its own."""
        try:
            return AddressAnswer(DnsStatus.FOUND, (str(ipaddress.ip_address(host)),))
        except ValueError:
            found = await self._ask(host)
        here = () if found.records is None else (*found.records.a, *found.records.aaaa)
        status = _status(found, has_records=bool(here))
        return AddressAnswer(status, here if status is DnsStatus.FOUND else (), _detail(status))

    async def close(self) -> None:
        """Nothing is open."""

    async def _ask(self, name: str) -> Found:
        self.queries += 1
        found = ask(self._zone, name)
        await asyncio.sleep(SILENCE_S if found.fault is Fault.SILENT else self._latency_s)
        return found


def _status(found: Found, *, has_records: bool) -> DnsStatus:
    if found.fault is not None:
        return DnsStatus.TEMPORARY
    if found.records is None:
        return DnsStatus.NO_DOMAIN
    return DnsStatus.FOUND if has_records else DnsStatus.NO_DATA


def _detail(status: DnsStatus) -> str:
    return {DnsStatus.TEMPORARY: "no answer", DnsStatus.NO_DOMAIN: "no such name"}.get(status, "")


# On loopback ----------------------------------------------------------------------------------------------------


def wire_answer(zone: Zone, question: bytes, *, limit: int | None) -> bytes | None:
    """The answer to a question as it travels; None where none is given. `limit`: octets; what is longer is truncated.

    Raises LabError where dnslib is not installed.
    """
    dnslib = _dnslib()
    try:
        request = dnslib.DNSRecord.parse(question)
        name = str(request.q.qname)
        kind = dnslib.QTYPE.get(request.q.qtype)
    except (dnslib.DNSError, ValueError, IndexError, UnicodeError):
        return None
    found = ask(zone, name, follow=kind != "CNAME")
    if found.fault is Fault.SILENT:
        return None
    answer = request.reply()
    for alias, target in found.aliases:
        answer.add_answer(dnslib.RR(alias, dnslib.QTYPE.CNAME, rdata=dnslib.CNAME(target), ttl=TTL_S))
    if found.fault is not None:
        answer.header.rcode = dnslib.RCODE.REFUSED if found.fault is Fault.REFUSED else dnslib.RCODE.SERVFAIL
    elif found.records is None:
        answer.header.rcode = dnslib.RCODE.NXDOMAIN
    else:
        for data in _records(dnslib, found, str(kind)):
            answer.add_answer(dnslib.RR(found.name, request.q.qtype, rdata=data, ttl=TTL_S))
    packed = bytes(answer.pack())
    return bytes(answer.truncate().pack()) if limit is not None and len(packed) > limit else packed


def _records(dnslib: Any, found: Found, kind: str) -> list[Any]:
    records = found.records
    if records is None:
        return []
    values: Mapping[str, list[Any]] = {
        "MX": [dnslib.MX(host or ".", preference) for preference, host in records.mx],
        "A": [dnslib.A(address) for address in records.a],
        "AAAA": [dnslib.AAAA(address) for address in records.aaaa],
        "TXT": [dnslib.TXT(text) for text in records.txt],
        "PTR": [dnslib.PTR(name) for name in records.ptr],
        "CNAME": [dnslib.CNAME(records.cname)] if records.cname else [],
    }
    return values.get(kind, [])


def _dnslib() -> Any:
    try:
        import dnslib
    except ImportError:
        raise LabError('the lab\'s DNS server needs dnslib: install it with pip install "postroad[lab]"') from None
    return dnslib


class DnsServer:
    """Answers from a zone on a free port of an address of loopback; `address` is ADDRESS:PORT once started."""

    def __init__(self, zone: Zone, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._zone = zone
        self._host = host
        self._port = port
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self.address = ""

    async def start(self) -> None:
        """Listen. Raises LabError where it cannot."""
        _dnslib()
        loop = asyncio.get_running_loop()
        datagrams, stream = _same_port(self._host, self._port)
        self.address = f"{self._host}:{stream.getsockname()[1]}"
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self._zone), sock=datagrams)
        self._udp = transport
        self._tcp = await asyncio.start_server(self._talk, sock=stream)

    async def stop(self) -> None:
        """Answer no more."""
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        if len(self._talks) >= MAX_TCP:
            writer.close()
            return
        self._talks.add(task)
        try:
            while True:
                async with asyncio.timeout(TCP_IDLE_S):
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    if size > MAX_QUESTION_OCTETS:
                        return
                    answer = wire_answer(self._zone, await reader.readexactly(size), limit=None)
                if answer is not None:
                    writer.write(len(answer).to_bytes(2, "big") + answer)
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            return  # TimeoutError is an OSError
        finally:
            self._talks.discard(task)
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone) -> None:
        self._zone = zone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        answer = wire_answer(self._zone, data, limit=MAX_UDP_OCTETS)
        if answer is not None:
            self._transport.sendto(answer, addr)


def _same_port(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP on one port."""
    for attempt in range(_TRIES):
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BURST_OCTETS)
            datagrams.bind((host, port))
            stream.bind((host, datagrams.getsockname()[1]))
            stream.listen(MAX_TCP)
        except OSError as error:
            datagrams.close()
            stream.close()
            if port or attempt == _TRIES - 1:
                raise LabError(f"cannot serve DNS on {host}:{port}: {(error.strerror or '').lower()}") from None
            continue
        datagrams.setblocking(False)
        stream.setblocking(False)
        return datagrams, stream
    raise AssertionError
