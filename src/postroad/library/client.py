"""`Client`: send a message from Python in two lines, with each recipient's fate as a value.

async with Client("mail.example.org", 587, username="me@example.org", password="…") as client:
    result = await client.send(message)
"""

from __future__ import annotations

import asyncio
import email.utils
import re
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import EmailMessage, Message
from email.policy import SMTP, SMTPUTF8
from types import TracebackType

from postroad.net.dialogue import Connection, Observer, connect
from postroad.net.endpoint import Credentials, DialogueError, Endpoint, PhaseTimeouts, TlsMode
from postroad.net.fault import explain_fault
from postroad.net.hostname import machine_name
from postroad.smtp.address import NULL, Address
from postroad.smtp.command import Mail, Rcpt
from postroad.smtp.extension import MailParameters, RcptParameters, to_parameters
from postroad.smtp.framing import has_bare_newline
from postroad.smtp.outcome import Phase, RecipientResult

DEFAULT_PORT = 2587
IMPLICIT_TLS_PORTS = frozenset({465, 2465})
_BCC = re.compile(rb"^bcc[ \t]*:.*(?:\n[ \t].*)*(?:\n|\Z)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class DsnRequest:
    """What the sender wants to be told, and how (RFC 3461)."""

    notify: frozenset[str] | None = None
    """NEVER alone, or some of SUCCESS, FAILURE, DELAY."""
    ret: str | None = None
    """FULL or HDRS."""
    envid: str | None = None
    """The id that reports are to name."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of each recipient, with the server's words."""

    recipients: Mapping[str, RecipientResult]

    @property
    def is_accepted(self) -> bool:
        """Whether the server took the message for every recipient."""
        return all(result.is_accepted for result in self.recipients.values())

    @property
    def refused(self) -> Mapping[str, RecipientResult]:
        """Those for whom it did not."""
        return {address: result for address, result in self.recipients.items() if not result.is_accepted}


class Client:
    """One SMTP connection to one server, opened by `async with`.

    `tls`: TlsMode or its name; by default implicit TLS on ports 465 and 2465, else required and verified STARTTLS where
    credentials are given, else opportunistic. Credentials never travel in the clear. `timeout_s` bounds each phase;
    None: as RFC 5321 §4.5.3.2 advises.
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int = DEFAULT_PORT,
        *,
        username: str | None = None,
        password: str | None = None,
        tls: TlsMode | str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        hello: str | None = None,
        timeout_s: float | None = 60.0,
        source_address: str | None = None,
        observer: Observer | None = None,
    ) -> None:
        if (username is None) != (password is None):
            raise ValueError("username and password go together: give both or neither")
        self.host = host
        self.port = port
        self._credentials = Credentials(username=username, password=password or "") if username is not None else None
        self._tls = TlsMode(tls) if tls is not None else default_tls(port, has_credentials=username is not None)
        self._context = ssl_context
        self._hello = hello or machine_name()
        self._timeouts = PhaseTimeouts() if timeout_s is None else PhaseTimeouts.all(timeout_s)
        self._source = source_address
        self._observer = observer
        self._connection: Connection | None = None

    async def __aenter__(self) -> Client:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, say EHLO, secure, authenticate. Raises DialogueError with the phase that failed."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise DialogueError(Phase.DNS, f"{self.host}: {explain_fault(error)}") from None
        except UnicodeError:
            raise DialogueError(Phase.DNS, f"{self.host}: no host can have that name") from None
        failure: DialogueError | None = None
        for address in dict.fromkeys(info[4][0] for info in found):
            endpoint = Endpoint(host=self.host, address=str(address), port=self.port, source_address=self._source)
            try:
                self._connection = await connect(
                    endpoint,
                    hello=self._hello,
                    tls=self._tls,
                    timeouts=self._timeouts,
                    ssl_context=self._context,
                    credentials=self._credentials,
                    observer=self._observer,
                )
                return
            except DialogueError as error:
                failure = error
                if error.phase is not Phase.CONNECT:
                    break
        raise failure or DialogueError(Phase.DNS, f"{self.host} has no address")

    async def close(self) -> None:
        """QUIT."""
        if self._connection is not None:
            await self._connection.quit()
            self._connection = None

    async def send(
        self,
        message: Message | bytes,
        *,
        sender: str | None = None,
        recipients: Iterable[str] | None = None,
        dsn: DsnRequest | None = None,
    ) -> SendResult:
        """Send one message; envelope addresses default to the message's own headers, `sender` "" is the null path.

        Raises ValueError for an address that is none (AddressError) or a message without recipients, and DialogueError
        where the server does not offer what the message needs (SMTPUTF8, DSN).
        """
        if self._connection is None:
            raise DialogueError(Phase.CONNECT, "not connected: use `async with Client(…)`, or open()")
        forward = list(dict.fromkeys(recipients if recipients is not None else header_recipients(message)))
        if not forward:
            raise ValueError("no recipients: give `recipients`, or a To, Cc or Bcc header")
        reverse = sender if sender is not None else header_sender(message)
        reverse_path = Address.parse(reverse, smtputf8=True) if reverse else NULL
        paths = [Address.parse(text, smtputf8=True) for text in forward]
        needs_utf8 = not all(path.is_ascii for path in (reverse_path, *paths) if isinstance(path, Address))
        offered = self._connection.capabilities
        body = to_bytes(message, smtputf8=needs_utf8, is_eight_bit=offered.has("8BITMIME"))
        dsn = dsn or DsnRequest()
        if not body.isascii() and not offered.has("8BITMIME"):
            raise DialogueError(Phase.MAIL, "the server does not offer 8BITMIME, which this message needs")
        if needs_utf8 and not offered.has("SMTPUTF8"):
            raise DialogueError(Phase.MAIL, "the server does not offer SMTPUTF8, which these addresses need")
        if dsn != DsnRequest() and not offered.has("DSN"):
            raise DialogueError(Phase.MAIL, "the server does not offer DSN, which was asked for")
        mail = MailParameters(
            size=len(body) if offered.has("SIZE") else None,
            body="8BITMIME" if offered.has("8BITMIME") and not body.isascii() else None,
            smtputf8=needs_utf8,
            ret=dsn.ret,
            envid=dsn.envid,
        )
        rcpt = to_parameters(RcptParameters(notify=dsn.notify))
        result = await self._connection.transact(
            Mail(reverse_path, to_parameters(mail)), [Rcpt(path, rcpt) for path in paths], body
        )
        return SendResult(dict(zip(forward, result.recipients, strict=True)))


def default_tls(port: int, *, has_credentials: bool) -> TlsMode:
    """How a connection to that port is secured where nobody said it."""
    if port in IMPLICIT_TLS_PORTS:
        return TlsMode.IMPLICIT
    return TlsMode.VERIFIED if has_credentials else TlsMode.OPPORTUNISTIC


def header_recipients(message: Message | bytes) -> list[str]:
    """The addresses in To, Cc and Bcc."""
    parsed = _parsed(message)
    fields = [str(value) for name in ("To", "Cc", "Bcc") for value in parsed.get_all(name, [])]
    return [address for _, address in email.utils.getaddresses(fields) if address]


def header_sender(message: Message | bytes) -> str:
    """The address in Sender, or else in From; empty where there is none."""
    parsed = _parsed(message)
    field = parsed.get("Sender") or parsed.get("From") or ""
    found = email.utils.getaddresses([str(field)])
    return found[0][1] if found else ""


def _parsed(message: Message | bytes) -> Message:
    if isinstance(message, Message):
        return message
    return email.message_from_bytes(message.split(b"\r\n\r\n", 1)[0] + b"\r\n\r\n", policy=SMTP)


def to_bytes(message: Message | bytes, *, smtputf8: bool = False, is_eight_bit: bool = True) -> bytes:
    """The message as it travels: CRLF line ends, no Bcc header, and ASCII alone where `is_eight_bit` forbids more."""
    if isinstance(message, Message):
        policy = SMTPUTF8 if smtputf8 else SMTP
        if message.get("Bcc") is not None:
            copy: Message = email.message_from_bytes(bytes(message), _class=EmailMessage, policy=SMTP)
            del copy["Bcc"]
            message = copy
        body = message.as_bytes(policy=policy if is_eight_bit else policy.clone(cte_type="7bit"))
    else:
        body = message
    if has_bare_newline(body):
        body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    header, gap, rest = body.partition(b"\r\n\r\n")
    if _BCC.search(header) is not None:
        kept = _BCC.sub(b"", header + b"\r\n").removesuffix(b"\r\n")
        body = kept + (gap if kept else gap[2:]) + rest
    return body
