"""SMTP by hand over a real socket: raw bytes out, whole replies in, as hostile and odd clients need it."""

from __future__ import annotations

import base64
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply; `lines` with their code."""

    lines: tuple[bytes, ...]

    @property
    def code(self) -> int:
        return int(self.lines[-1][:3])

    @property
    def keywords(self) -> set[str]:
        """Of an EHLO reply: the first word of each line but the first."""
        return {line[4:].split()[0].decode().upper() for line in self.lines[1:] if line[4:].strip()}


class Wire:
    """`with Wire(address, port) as wire:` greeting read; `implicit_tls`: TLS from the first byte, unverified."""

    def __init__(self, port: int, *, address: str = "127.0.0.1", implicit_tls: bool = False) -> None:
        self._socket = socket.create_connection((address, port), timeout=30)
        self._rest = b""
        if implicit_tls:
            self._wrap()
        self.greeting = self.answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def answer(self) -> Answer:
        """The next reply; ConnectionError when the server closes instead."""
        lines: list[bytes] = []
        while not lines or lines[-1][3:4] == b"-":
            while b"\r\n" not in self._rest:
                chunk = self._socket.recv(65536)
                if not chunk:
                    raise ConnectionError(f"closed after {lines!r} {self._rest!r}")
                self._rest += chunk
            line, _, self._rest = self._rest.partition(b"\r\n")
            lines.append(line)
        return Answer(tuple(lines))

    def ask(self, line: str) -> Answer:
        """Send one command line, read its reply."""
        self.send(line.encode() + b"\r\n")
        return self.answer()

    def starttls(self) -> None:
        assert self.ask("STARTTLS").code == 220
        self._wrap()

    def login(self, user: str, password: str) -> Answer:
        """AUTH PLAIN."""
        token = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        return self.ask(f"AUTH PLAIN {token}")

    def certificate(self) -> bytes:
        """What the server showed, DER."""
        assert isinstance(self._socket, ssl.SSLSocket)
        shown = self._socket.getpeercert(binary_form=True)
        assert shown is not None
        return shown

    def is_closed(self) -> bool:
        """Whether the server closes without another byte."""
        try:
            return self._socket.recv(1) == b""
        except ConnectionError:
            return True

    def _wrap(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._socket = context.wrap_socket(self._socket)
