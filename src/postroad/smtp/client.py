"""The client's half of SMTP over bytes: commands out, replies in, each reply paired with its command.

Pairing is by order alone (RFC 5321 §4.2; RFC 2920): every command sent waits in a FIFO, and a reply without a
partner is `Unsolicited`, never dropped and never taken for the answer to something sent later. What a batch of
replies means for the recipients is `transaction.Transaction`'s work. Never touches a socket or a clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from postroad.smtp.command import (
    Auth,
    Bdat,
    Command,
    Data,
    Ehlo,
    Helo,
    Mail,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    to_line,
)
from postroad.smtp.errors import LocalProtocolError, RemoteProtocolError
from postroad.smtp.extension import Capabilities
from postroad.smtp.framing import ReplyReader, has_bare_newline, stuff
from postroad.smtp.outcome import Phase
from postroad.smtp.reply import Reply


@dataclass(frozen=True, slots=True)
class Greeting:
    """Stands in the FIFO for the reply that the server gives unasked at first."""


@dataclass(frozen=True, slots=True)
class Body:
    """Stands in the FIFO for the end of a body sent after DATA."""


@dataclass(frozen=True, slots=True)
class SaslResponse:
    """Stands in the FIFO for a line of a SASL exchange."""


Sent = Command | Greeting | Body | SaslResponse


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply and what it answers."""

    sent: Sent
    reply: Reply


@dataclass(frozen=True, slots=True)
class Unsolicited:
    """A reply that answers nothing; a parting 421 is the usual one (RFC 5321 §3.8)."""

    reply: Reply


_PHASES: dict[type, Phase] = {
    Greeting: Phase.GREETING,
    Ehlo: Phase.EHLO,
    Helo: Phase.EHLO,
    StartTls: Phase.STARTTLS,
    Auth: Phase.AUTH,
    SaslResponse: Phase.AUTH,
    Mail: Phase.MAIL,
    Rcpt: Phase.RCPT,
    Data: Phase.DATA,
    Body: Phase.BODY,
    Bdat: Phase.BODY,
    Rset: Phase.RSET,
    Quit: Phase.QUIT,
}


def phase_of(sent: Sent) -> Phase:
    """The phase in which the reply to it is awaited."""
    return _PHASES.get(type(sent), Phase.RSET)


_NOTHING_OFFERED = Capabilities.parse(Reply(250, ("",)))


class ClientSession:
    """One connection, client side, from the greeting on."""

    def __init__(self, *, max_reply_lines: int = 100, max_reply_octets: int = 65_536) -> None:
        self.capabilities = _NOTHING_OFFERED
        self.is_closing = False
        """Whether the server has said 421, or we have said QUIT."""
        self._reader = ReplyReader(max_lines=max_reply_lines, max_octets=max_reply_octets)
        self._awaited: deque[Sent] = deque((Greeting(),))
        self._out: list[bytes] = []

    @property
    def phase(self) -> Phase | None:
        """The phase of the reply awaited next; None when none is."""
        return phase_of(self._awaited[0]) if self._awaited else None

    def send(self, command: Command) -> None:
        """Queue a command. Raises LocalProtocolError for one that cannot be put on a line."""
        self._out.append(to_line(command))
        self._awaited.append(command)
        if isinstance(command, Quit):
            self.is_closing = True

    def send_body(self, body: bytes, replies: int = 1) -> None:
        """Queue a body after the 354, dot-stuffed, with its end; so many replies will answer it.

        Raises LocalProtocolError for one with a bare CR or LF: another reader might end it there.
        """
        if has_bare_newline(body):
            raise LocalProtocolError("a body with a bare CR or LF cannot be sent by DATA")
        self._out.append(stuff(body))
        self._awaited.extend([Body()] * replies)

    def send_chunk(self, body: bytes, replies: int = 1) -> None:
        """Queue a whole body as one last chunk (RFC 3030 §2); so many replies will answer it."""
        self.send(Bdat(len(body), last=True))
        self._awaited.extend([Body()] * (replies - 1))
        self._out.append(body)

    def send_sasl(self, line: bytes) -> None:
        """Queue a line of a SASL exchange (base64 already)."""
        self._out.append(line + b"\r\n")
        self._awaited.append(SaslResponse())

    def take_output(self) -> bytes:
        """What is to be written now."""
        if not self._out:
            return b""
        data = b"".join(self._out) if len(self._out) > 1 else self._out[0]
        self._out.clear()
        return data

    def receive(self, data: bytes) -> None:
        """Take bytes from the server."""
        self._reader.receive(data)

    def next_answer(self) -> Answer | Unsolicited | None:
        """The next reply with its command, or None. Raises RemoteProtocolError for what is no reply."""
        said = self._reader.next_reply()
        if said is None:
            return None
        if said.code == 421:
            self.is_closing = True
        if not self._awaited:
            return Unsolicited(said)
        sent = self._awaited.popleft()
        if isinstance(sent, Ehlo) and said.is_positive:
            self.capabilities = Capabilities.parse(said)
        elif isinstance(sent, Helo) and said.is_positive:
            self.capabilities = _NOTHING_OFFERED
        return Answer(sent, said)

    def tls_started(self) -> None:
        """The handshake is done: what was offered before it is forgotten (RFC 3207 §4.2).

        Raises RemoteProtocolError where the server had sent more than its 220 in the clear.
        """
        self.capabilities = _NOTHING_OFFERED
        if self._reader.is_mid_reply:
            raise RemoteProtocolError("the server spoke in the clear after its reply to STARTTLS")
