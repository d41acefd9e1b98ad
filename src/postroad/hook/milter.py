"""A milter (OpenDKIM, rspamd, ClamAV…) asked about a whole message, over one connection.

The stages of the session are told one after the other when the message is there, so that a milter works before the 250
and after it alike; what it says at any stage is its answer on the message. Limits: time, size of answers, changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from postroad.hook.amend import MAX_CHANGES, fields
from postroad.hook.milter_packet import (
    CHUNK_OCTETS,
    MilterError,
    Negotiated,
    Packet,
    Packets,
    Steps,
    connect,
    cut_strings,
    index_and_strings,
    macros,
    negotiated,
    negotiation,
    strings,
)
from postroad.hook.vocabulary import (
    AddHeader,
    AddRecipient,
    Amend,
    Answer,
    Arrived,
    Change,
    ChangeHeader,
    ChangeSender,
    Defer,
    Discard,
    Refuse,
    RemoveRecipient,
    ReplaceBody,
)
from postroad.message.headers import header_end
from postroad.smtp.address import NULL, Address, AddressError, NullPath
from postroad.smtp.errors import RemoteProtocolError
from postroad.smtp.framing import ReplyReader
from postroad.smtp.reply import Reply, reply

_REJECTED = reply(550, "The message was refused by a filter", "5.7.1")
_LATER = reply(451, "The message cannot be filtered now: try again later", "4.7.1")
_READ_OCTETS = 65_536


class Channel(Protocol):
    """A connection to a milter."""

    async def read(self, octets: int) -> bytes: ...

    def write(self, octets: bytes) -> None: ...

    async def drain(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Stage:
    """Packets of one stage, and whether an answer to the last is to be waited for."""

    packets: tuple[Packet, ...]
    is_answered: bool
    is_body: bool = False


def stages(arrived: Arrived, agreed: Negotiated) -> Iterator[Stage]:
    """What is told of a message, stage by stage, without what the milter does not want."""
    steps = agreed.steps
    client = arrived.client
    common = [("j", arrived.hostname), ("{daemon_name}", client.listener)]
    if Steps.NO_CONNECT not in steps:
        told = macros("C", [*common, ("{client_addr}", client.address), ("{client_port}", str(client.port))])
        name = client.host_name or f"[{client.address}]"
        yield Stage((told, connect(name, client.address, client.port)), Steps.SILENT_CONNECT not in steps)
    if Steps.NO_HELO not in steps:
        tls = [("{tls_version}", "TLS"), ("{cipher}", "?")] if client.is_tls else []
        helo = Packet("H", strings(_octets(client.hello or "unknown")))
        yield Stage((macros("H", tls), helo), Steps.SILENT_HELO not in steps)
    if Steps.NO_MAIL not in steps:
        who = [("{auth_authen}", client.user), ("{auth_type}", "PLAIN")] if client.user else []
        sender = "" if isinstance(arrived.sender, NullPath) else str(arrived.sender)
        told = macros("M", [("i", arrived.queue_id or "NOQUEUE"), *who, ("{mail_addr}", sender)])
        yield Stage((told, Packet("M", strings(_octets(f"<{sender}>")))), Steps.SILENT_MAIL not in steps)
    if Steps.NO_RCPT not in steps:
        for address in arrived.recipients:
            told = macros("R", [("{rcpt_addr}", str(address))])
            rcpt = Packet("R", strings(_octets(f"<{address}>")))
            yield Stage((told, rcpt), Steps.SILENT_RCPT not in steps)
    if Steps.NO_DATA not in steps and agreed.version > 3:
        yield Stage((macros("T", [("i", arrived.queue_id or "NOQUEUE")]), Packet("T")), Steps.SILENT_DATA not in steps)
    if Steps.NO_HEADERS not in steps:
        for field in fields(arrived.octets):
            title, _, value = field.partition(b":")
            text = value.removesuffix(b"\r\n") if Steps.LEADING_SPACE in steps else value.strip(b" \r\n")
            packet = Packet("L", strings(title, text.replace(b"\r\n", b"\n")))
            yield Stage((packet,), Steps.SILENT_HEADER not in steps)
    if Steps.NO_EOH not in steps:
        yield Stage((Packet("N"),), Steps.SILENT_EOH not in steps)
    if Steps.NO_BODY not in steps:
        body = arrived.octets[header_end(arrived.octets) + 2 :]
        for start in range(0, len(body), CHUNK_OCTETS):
            packet = Packet("B", body[start : start + CHUNK_OCTETS])
            yield Stage((packet,), Steps.SILENT_BODY not in steps, is_body=True)
    yield Stage((macros("E", [("i", arrived.queue_id or "NOQUEUE")]), Packet("E")), is_answered=True)


@dataclass(slots=True)
class _Said:
    """What came in answer so far."""

    changes: list[Change]
    hold: str = ""


async def ask_milter(channel: Channel, arrived: Arrived) -> Answer:
    """One message; the connection is of no further use. Raises MilterError, OSError."""
    packets = Packets()
    waiting: list[Packet] = []

    async def next_packet() -> Packet:
        while not waiting:
            octets = await channel.read(_READ_OCTETS)
            if not octets:
                raise MilterError("it ended the connection before its answer")
            waiting.extend(packets.feed(octets))
        return waiting.pop(0)

    async def say(*some: Packet) -> None:
        channel.write(b"".join(map(bytes, some)))
        await channel.drain()

    await say(negotiation())
    agreed = negotiated(await next_packet())
    said = _Said([])
    skips_body = False
    for stage in stages(arrived, agreed):
        if stage.is_body and skips_body:
            continue
        await say(*stage.packets)
        if not stage.is_answered:
            continue
        while True:
            packet = await next_packet()
            if packet.kind == "p":  # it needs more time
                continue
            if packet.kind == "s":
                skips_body = True
                break
            if packet.kind == "c":
                break
            ending = _ending(packet)
            if ending is not _GOES_ON:
                await say(Packet("Q"))
                assert not isinstance(ending, str)
                return ending if ending is not None or not (said.changes or said.hold) else _amend(said)
            _note(said, packet)
    await say(Packet("Q"))
    return _amend(said) if said.changes or said.hold else None


_GOES_ON = "goes on"


def _ending(packet: Packet) -> Answer | str:
    """The answer that ends the matter; or that it is none."""
    match packet.kind:
        case "a":
            return None
        case "r":
            return Refuse(_REJECTED)
        case "t":
            return Defer(_LATER)
        case "d":
            return Discard()
        case "y":
            said = _reply(packet.data)
            return Defer(said) if said.code < 500 else Refuse(said)
        case "f":
            raise MilterError("it says that the connection is to be failed")
    return _GOES_ON


def _reply(data: bytes) -> Reply:
    """The reply that a milter dictates; refused where it is none, or none that refuses."""
    text = data.rstrip(b"\0").replace(b"%%", b"%")
    reader = ReplyReader()
    try:
        reader.receive(text.rstrip(b"\r\n") + b"\r\n")
        said = reader.next_reply()
    except RemoteProtocolError:
        said = None
    if said is None or not 400 <= said.code < 600:
        raise MilterError(f"it wants to say {text[:60]!r}, which refuses nothing")
    return said


def _note(said: _Said, packet: Packet) -> None:
    if len(said.changes) >= MAX_CHANGES:
        raise MilterError(f"it asks for more than {MAX_CHANGES} changes")
    match packet.kind:
        case "h":
            name, value = _two(cut_strings(packet.data))
            said.changes.append(AddHeader(name, value))
        case "i":
            at, texts = index_and_strings(packet.data)
            name, value = _two(texts)
            said.changes.append(AddHeader(name, value, max(0, at - 1) if at else 0))
        case "m":
            occurrence, texts = index_and_strings(packet.data)
            name, value = _two(texts)
            said.changes.append(ChangeHeader(name, max(1, occurrence), value or None))
        case "b":
            _note_body(said, packet.data)
        case "+" | "2":
            said.changes.append(AddRecipient(_address(cut_strings(packet.data))))
        case "-":
            said.changes.append(RemoveRecipient(_address(cut_strings(packet.data))))
        case "e":
            sender = _text(cut_strings(packet.data)[:1]).strip("<>")
            said.changes.append(ChangeSender(_parsed(sender) if sender else NULL))
        case "q":
            said.hold = _text(cut_strings(packet.data)[:1]) or "quarantined by a filter"
        case _:
            raise MilterError(f"it sent an answer {packet.kind!a} that is not known")


def _note_body(said: _Said, data: bytes) -> None:
    last = said.changes[-1] if said.changes else None
    if isinstance(last, ReplaceBody):
        said.changes[-1] = ReplaceBody(last.body + data)
    else:
        said.changes.append(ReplaceBody(data))


def _amend(said: _Said) -> Amend:
    return Amend(tuple(said.changes), said.hold)


def _two(texts: Sequence[bytes]) -> tuple[str, str]:
    if len(texts) < 2:
        raise MilterError("it named a header without a value")
    return _text(texts[:1]), _text(texts[1:2])


def _address(texts: Sequence[bytes]) -> Address:
    return _parsed(_text(texts[:1]).strip("<>"))


def _parsed(text: str) -> Address:
    try:
        return Address.parse(text, smtputf8=True)
    except AddressError:
        raise MilterError(f"it named {text[:80]!a} as an address") from None


def _text(texts: Sequence[bytes]) -> str:
    return texts[0].decode("utf-8", "surrogateescape") if texts else ""


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
