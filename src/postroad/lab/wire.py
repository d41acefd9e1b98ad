"""An in-memory network for the simulated loop: listeners, links with latency, and transports with flow control.

A transport behaves as a TCP socket does under asyncio: bytes arrive in order after the latency of the link, at most
`WINDOW` of them wait unread at the other side, and what is beyond that fills the writer's buffer until its protocol is
paused. A reset arrives after what was sent before it. Used by simloop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

WINDOW = 65_536
"""Octets on their way or unread at a receiver."""
HIGH_WATER = 65_536
Address = tuple[str, int]


class MemoryTransport(asyncio.Transport):
    """One end of a connection."""

    _start_tls_compatible = True

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.BaseProtocol,
        own: Address,
        peer: Address,
        latency_s: float,
    ) -> None:
        super().__init__({"sockname": own, "peername": peer, "reset": self.reset})
        self._loop = loop
        self._protocol = protocol
        self._latency_s = latency_s
        self._other: MemoryTransport | None = None
        self._buffer = bytearray()
        self._in_flight = 0
        """Octets sent that the other side has not read."""
        self._coming: deque[bytes | BaseException | None] = deque()
        """On the way to us: bytes, None for the end, or how the connection broke."""
        self._unread: deque[bytes] = deque()
        self._is_eof_unread = False
        self._is_reading = True
        self._is_closing = False
        self._is_eof_sent = False
        self._is_lost = False
        self._is_writer_paused = False
        self._high = HIGH_WATER
        self._low = HIGH_WATER // 4

    def join(self, other: MemoryTransport) -> None:
        """Make two ends one connection."""
        self._other, other._other = other, self

    # asyncio.Transport ----------------------------------------------------------------------------------------

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._is_closing

    def is_reading(self) -> bool:
        return self._is_reading and not self._is_closing

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        if not self._is_reading:
            self._is_reading = True
            self._loop.call_soon(self._read_on)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._is_closing and not self._is_eof_sent:
            self._is_eof_sent = True
            self._pump()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing or not data:
            return
        if self._is_eof_sent:
            raise RuntimeError("cannot write after write_eof")
        self._buffer += data
        self._pump()
        if len(self._buffer) > self._high and not self._is_writer_paused:
            self._is_writer_paused = True
            self._protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high if high is not None else HIGH_WATER if low is None else 4 * low
        self._low = low if low is not None else self._high // 4

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._pump()

    def abort(self) -> None:
        """As asyncio has it: unsent bytes are dropped, and the other side sees the end."""
        self._force_close(None)

    def reset(self) -> None:
        """The other side sees a reset."""
        self._force_close(None, tell=ConnectionResetError("connection reset by peer"))

    def drop(self) -> None:
        """The loop is closed: nobody is told anything more."""
        self._is_closing = self._is_eof_sent = self._is_lost = True
        self._buffer.clear()

    # Sending --------------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Send as much as the window allows, then the end where it is due."""
        while self._buffer and self._in_flight < WINDOW and self._other is not None:
            chunk = bytes(self._buffer[: WINDOW - self._in_flight])
            del self._buffer[: len(chunk)]
            self._in_flight += len(chunk)
            self._send(chunk)
        if self._is_writer_paused and len(self._buffer) <= self._low:
            self._is_writer_paused = False
            self._protocol.resume_writing()
        if not self._buffer and (self._is_closing or self._is_eof_sent):
            self._send_end()

    def _send_end(self) -> None:
        self._is_eof_sent = True
        if self._is_closing and not self._is_lost:
            self._is_lost = True
            self._send(None)
            self._loop.call_soon(self._lose, None)
        elif not self._is_lost:
            self._send(None)

    def _send(self, what: bytes | BaseException | None) -> None:
        other = self._other
        if other is None:
            return
        other._coming.append(what)
        if self._latency_s > 0:
            self._loop.call_later(self._latency_s, other._arrive)
        else:
            self._loop.call_soon(other._arrive)

    def _force_close(self, exc: BaseException | None, *, tell: BaseException | None = None) -> None:
        if self._is_lost:
            return
        self._is_closing = self._is_eof_sent = self._is_lost = True
        self._buffer.clear()
        self._send(tell)
        self._loop.call_soon(self._lose, exc)

    def _lose(self, exc: BaseException | None) -> None:
        protocol = self._protocol
        protocol.connection_lost(exc if exc is None or isinstance(exc, Exception) else None)
        self._unread.clear()

    # Receiving ------------------------------------------------------------------------------------------------

    def _arrive(self) -> None:
        what = self._coming.popleft()
        if isinstance(what, bytes):
            if self._is_closing:
                self._credit(len(what))
                return
            self._unread.append(what)
            self._read_on()
        elif isinstance(what, BaseException):
            if not self._is_lost:
                self._is_closing = self._is_eof_sent = self._is_lost = True
                self._buffer.clear()
                self._lose(what)
        else:
            self._is_eof_unread = True
            self._read_on()

    def _read_on(self) -> None:
        while self._unread and self._is_reading and not self._is_closing:
            chunk = self._unread.popleft()
            self._credit(len(chunk))
            self._feed(chunk)
        if self._is_eof_unread and not self._unread and self._is_reading and not self._is_closing:
            self._is_eof_unread = False
            keep_open = self._protocol.eof_received()  # type: ignore[attr-defined]
            if not keep_open:
                self.close()
        elif self._is_closing and not self._is_lost and self._other is not None and self._other._is_lost:
            self._force_close(None)

    def _credit(self, octets: int) -> None:
        if self._other is not None:
            self._other._in_flight -= octets
            if self._other._buffer:
                self._loop.call_soon(self._other._pump)

    def _feed(self, data: bytes) -> None:
        protocol = self._protocol
        if not isinstance(protocol, asyncio.BufferedProtocol):
            protocol.data_received(data)  # type: ignore[attr-defined]
            return
        rest = memoryview(data)
        while rest:
            room: Any = memoryview(protocol.get_buffer(len(rest)))
            taken = min(len(room), len(rest))
            if not taken:
                raise RuntimeError("get_buffer() returned an empty buffer")
            room[:taken] = rest[:taken]
            protocol.buffer_updated(taken)
            rest = rest[taken:]


class MemoryServer(asyncio.AbstractServer):
    """A listener of the in-memory network."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        addresses: list[Address],
        accept: Callable[[MemoryTransport], None],
        on_close: Callable[[MemoryServer], None],
    ) -> None:
        self.addresses = addresses
        self.accept = accept
        self._loop = loop
        self._on_close = on_close
        self._is_serving = True

    def close(self) -> None:
        if self._is_serving:
            self._is_serving = False
            self._on_close(self)

    async def start_serving(self) -> None:
        """It does already."""

    async def serve_forever(self) -> None:
        await self._loop.create_future()

    async def wait_closed(self) -> None:
        """Connections that were accepted go on."""

    def is_serving(self) -> bool:
        return self._is_serving

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop
