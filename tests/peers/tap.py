"""A listener that stands between two peers and writes down what they say, within TLS too.

    with Tap(25) as tap:      # tap.port → 127.0.0.1:25
        ...
        tap.dialogues()       # what was said, a `Dialogue` for each connection

It passes on what it reads unchanged. At STARTTLS, and at the start where `implicit_tls`, it speaks TLS with
both sides, with a certificate of its own; so it serves only peers that do not verify. What it remembers of one
connection is bounded: bodies count by their size, `KEPT_OCTETS` of each is kept.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

import trustme

from peers.postfix import DOMAIN as POSTFIX_DOMAIN

if TYPE_CHECKING:
    from types import TracebackType

KEPT_OCTETS = 65_536
"""Of what one side says in a row."""
CONNECTIONS = 200
"""How many are written down; more are passed on."""
IDLE_S = 60.0

_COMMAND = re.compile(rb"[A-Za-z]{4}[^\r\n]*\r\n")
_BDAT = re.compile(rb"BDAT (\d+)", re.IGNORECASE)


@dataclass(slots=True)
class Dialogue:
    """One connection: `turns` are what was said in a row, (from the client?, the octets kept)."""

    turns: list[tuple[bool, bytearray]] = field(default_factory=list)
    tls: str = ""
    """`yes`, or with whom the handshake failed: `server` or `client`."""

    def hear(self, from_client: bool, octets: bytes) -> None:
        if not self.turns or self.turns[-1][0] != from_client:
            self.turns.append((from_client, bytearray()))
        said = self.turns[-1][1]
        said += octets[: max(0, KEPT_OCTETS - len(said))]

    @property
    def commands(self) -> list[str]:
        """The client's commands in order, without bodies and lines of AUTH exchanges."""
        return [command for batch in self.batches for command in batch]

    @property
    def batches(self) -> list[list[str]]:
        """The commands of each turn of the client: more than one where it pipelines."""
        found: list[list[str]] = []
        in_body = in_auth = False
        for from_client, said in self.turns:
            if not from_client:
                in_body = bytes(said).rpartition(b"\r\n354")[2].startswith(b" ") or said.startswith(b"354")
                in_auth = said.startswith(b"334")
            elif in_auth:
                continue
            elif in_body:
                _, ended, rest = bytes(said).rpartition(b"\r\n.\r\n")
                found.append(_commands(rest if ended else b""))
            else:
                found.append(_commands(bytes(said)))
        return [batch for batch in found if batch]

    @property
    def replies(self) -> list[str]:
        """The last line of each reply of the server."""
        lines = b"".join(said + b"\r\n" for from_client, said in self.turns if not from_client).splitlines()
        return [line.decode(errors="replace") for line in lines if re.match(rb"\d{3}(?!-)", line)]

    @property
    def offered(self) -> set[str]:
        """Keywords of all replies to EHLO and LHLO, outside TLS and inside."""
        keywords: set[str] = set()
        asked = False
        for from_client, said in self.turns:
            if from_client:
                asked = bytes(said[:4]).upper() in (b"EHLO", b"LHLO")
            elif asked and said.startswith(b"250"):
                lines = bytes(said).splitlines()[1:]
                keywords |= {line[4:].split()[0].decode().upper() for line in lines if line[4:].strip()}
        return keywords

    def has(self, pattern: str) -> bool:
        """Whether a command matches from its start, in any case."""
        return any(re.match(pattern, command, re.IGNORECASE) for command in self.commands)


def _commands(octets: bytes) -> list[str]:
    found = []
    while match := _COMMAND.match(octets):
        found.append(match[0].decode(errors="replace").rstrip("\r\n"))
        octets = octets[match.end() :]
        if chunk := _BDAT.match(match[0]):
            octets = octets[int(chunk[1]) :]
    return found


@cache
def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """As a server, as a client."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued = trustme.CA().issue_cert("127.0.0.1", "localhost", f"mx.{POSTFIX_DOMAIN}")
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "all.pem"
        file.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
        server.load_cert_chain(file)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    return server, client


class Tap:
    """`with Tap(port) as tap:`; connections to `tap.port` on 127.0.0.1 lead to `port`, there or a Unix socket."""

    def __init__(self, port: int | Path = 0, *, implicit_tls: bool = False) -> None:
        self.leads_to = port
        """May be set later."""
        self._implicit_tls = implicit_tls
        self._dialogues: list[Dialogue] = []
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._is_open = True
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=10)

    def dialogues(self) -> list[Dialogue]:
        """So far, oldest first."""
        return list(self._dialogues)

    def about(self, subject: str) -> list[Dialogue]:
        """Those in which that text was said."""
        word = subject.encode()
        return [each for each in self.dialogues() if any(word in said for _, said in each.turns)]

    def _start(self, run: object, *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while self._is_open:
                self._start(self._serve, self._listener.accept()[0])

    def _serve(self, client: socket.socket) -> None:
        dialogue = Dialogue()
        if len(self._dialogues) < CONNECTIONS:
            self._dialogues.append(dialogue)
        ends = [client]
        try:
            ends.append(self._reach())
            client.settimeout(IDLE_S)
            self._pass_on(ends, dialogue)
        except (OSError, ValueError):
            pass  # One side has gone, or TLS has failed: both are let go, as on any road.
        finally:
            for each in ends:
                self._sockets.discard(each)
                each.close()

    def _reach(self) -> socket.socket:
        if not isinstance(self.leads_to, Path):
            return socket.create_connection(("127.0.0.1", self.leads_to), timeout=IDLE_S)
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(IDLE_S)
        made.connect(str(self.leads_to))
        return made

    def _pass_on(self, ends: list[socket.socket], dialogue: Dialogue) -> None:
        self._sockets.update(ends)
        if self._implicit_tls:
            self._secure(ends, dialogue)
        wants_tls = False
        while True:
            pending = [each for each in ends if isinstance(each, ssl.SSLSocket) and each.pending()]
            for ready in pending or select.select(ends, [], [], IDLE_S)[0]:
                from_client = ready is ends[0]
                # What made it readable may be no data but a session ticket.
                ready.settimeout(0)
                try:
                    octets = ready.recv(65_536)
                except ssl.SSLWantReadError:
                    continue
                finally:
                    ready.settimeout(IDLE_S)
                if not octets:
                    return
                dialogue.hear(from_client, octets)
                ends[1 if from_client else 0].sendall(octets)
                if from_client:
                    wants_tls = octets.upper() == b"STARTTLS\r\n"
                elif wants_tls and octets.startswith(b"220"):
                    wants_tls = False
                    self._secure(ends, dialogue)
                    break

    def _secure(self, ends: list[socket.socket], dialogue: Dialogue) -> None:
        """TLS with both sides, in their places."""
        server, client = _contexts()
        self._sockets.difference_update(ends)
        dialogue.tls = "server"
        ends[1] = client.wrap_socket(ends[1])
        dialogue.tls = "client"
        ends[0] = server.wrap_socket(ends[0], server_side=True)
        dialogue.tls = "yes"
        self._sockets.update(ends)
