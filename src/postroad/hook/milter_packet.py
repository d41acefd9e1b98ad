"""The milter protocol, version 6, as packets: bytes in, values out, and back. Pure.

A packet is a length (four octets), a letter, and data. Used by `milter`, which speaks it over a connection.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntFlag

MAX_PACKET_OCTETS = 1 << 26
"""Of an answer; a replaced body comes in chunks of 65,535."""
CHUNK_OCTETS = 65_535
VERSION = 6


class Actions(IntFlag):
    """What a milter may change."""

    ADD_HEADERS = 0x01
    CHANGE_BODY = 0x02
    ADD_RECIPIENTS = 0x04
    DELETE_RECIPIENTS = 0x08
    CHANGE_HEADERS = 0x10
    QUARANTINE = 0x20
    CHANGE_FROM = 0x40
    ADD_RECIPIENTS_WITH_PARAMETERS = 0x80
    SET_MACROS = 0x100


class Steps(IntFlag):
    """What a milter does not want to be told (NO_…), and what it does not answer (SILENT_…)."""

    NO_CONNECT = 0x01
    NO_HELO = 0x02
    NO_MAIL = 0x04
    NO_RCPT = 0x08
    NO_BODY = 0x10
    NO_HEADERS = 0x20
    NO_EOH = 0x40
    SILENT_HEADER = 0x80
    NO_UNKNOWN = 0x100
    NO_DATA = 0x200
    SKIP = 0x400
    REJECTED_RECIPIENTS = 0x800
    SILENT_CONNECT = 0x1000
    SILENT_HELO = 0x2000
    SILENT_MAIL = 0x4000
    SILENT_RCPT = 0x8000
    SILENT_DATA = 0x10000
    SILENT_UNKNOWN = 0x20000
    SILENT_EOH = 0x40000
    SILENT_BODY = 0x80000
    LEADING_SPACE = 0x100000


OFFERED_ACTIONS = Actions(0xFF)
OFFERED_STEPS = Steps(0x1FFFFF) & ~Steps.REJECTED_RECIPIENTS


class MilterError(Exception):
    """The milter said what the protocol does not know, or ended the connection."""


@dataclass(frozen=True, slots=True)
class Packet:
    """`kind`: one letter."""

    kind: str
    data: bytes = b""

    def __bytes__(self) -> bytes:
        return struct.pack("!IB", len(self.data) + 1, ord(self.kind)) + self.data


class Packets:
    """Cuts packets from a stream of octets."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, octets: bytes) -> Iterable[Packet]:
        """The packets that are whole now. Raises MilterError for one longer than any may be."""
        self._buffer += octets
        while len(self._buffer) >= 5:
            (length,) = struct.unpack_from("!I", self._buffer)
            if not 1 <= length <= MAX_PACKET_OCTETS:
                raise MilterError(f"it sent a packet of {length} octets")
            if len(self._buffer) < 4 + length:
                return
            kind, data = chr(self._buffer[4]), bytes(self._buffer[5 : 4 + length])
            del self._buffer[: 4 + length]
            yield Packet(kind, data)


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What both sides agreed on. `macros`: names wanted by stage letter, where the milter said so."""

    version: int
    actions: Actions
    steps: Steps


def negotiation() -> Packet:
    """What we offer."""
    return Packet("O", struct.pack("!III", VERSION, OFFERED_ACTIONS, OFFERED_STEPS))


def negotiated(packet: Packet) -> Negotiated:
    """What the milter makes of it. Raises MilterError."""
    if packet.kind != "O" or len(packet.data) < 12:
        raise MilterError("it did not answer the negotiation")
    version, actions, steps = struct.unpack_from("!III", packet.data)
    if not 2 <= version <= VERSION:
        raise MilterError(f"it speaks version {version} of the protocol; 2 to {VERSION} are known")
    if Actions(actions) & ~OFFERED_ACTIONS & ~Actions.SET_MACROS:
        raise MilterError("it wants to do what was not offered")
    return Negotiated(version, Actions(actions), Steps(steps))


def strings(*texts: bytes) -> bytes:
    """Each text ended by a NUL; a NUL within one would end it early."""
    return b"".join(text.replace(b"\0", b"?") + b"\0" for text in texts)


def cut_strings(data: bytes) -> list[bytes]:
    """The texts of an answer."""
    parts = data.split(b"\0")
    return parts[:-1] if parts and not parts[-1] else parts


def macros(stage: str, values: Sequence[tuple[str, str]]) -> Packet:
    """Macros for the command of that letter."""
    pairs = [part.encode("utf-8", "surrogateescape") for pair in values for part in pair]
    return Packet("D", stage.encode("ascii") + strings(*pairs))


def connect(host_name: str, address: str, port: int) -> Packet:
    """SMFIC_CONNECT: who connected; a family `U` where that is unknown."""
    name = strings(host_name.encode("utf-8", "surrogateescape"))
    if not address or address == "unknown":
        return Packet("C", name + b"U")
    family = b"6" if ":" in address else b"4"
    return Packet("C", name + family + struct.pack("!H", port & 0xFFFF) + strings(address.encode("ascii", "replace")))


def index_and_strings(data: bytes) -> tuple[int, list[bytes]]:
    """An answer that begins with a number. Raises MilterError."""
    if len(data) < 4:
        raise MilterError("it sent an answer cut short")
    return struct.unpack_from("!I", data)[0], cut_strings(data[4:])
