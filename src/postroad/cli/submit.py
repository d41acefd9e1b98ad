"""One connection of `postroad send`: to the server, its message, and away again."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from postroad.net.dialogue import Connection, Observer, client_context, connect
from postroad.net.endpoint import Credentials, DialogueError, Endpoint, PhaseTimeouts, TlsMode
from postroad.net.fault import explain_fault
from postroad.smtp.address import Address, NullPath
from postroad.smtp.command import Mail, Rcpt
from postroad.smtp.outcome import Phase, TransactionResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where to, and how."""

    host: str
    port: int
    tls: TlsMode
    hello: str
    timeouts: PhaseTimeouts
    credentials: Credentials | None
    ca_file: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to send, and to whom. The DSN parameters are empty where none were asked for."""

    reverse_path: Address | NullPath
    recipients: tuple[Address, ...]
    body: bytes
    mail_dsn: dict[str, str | None]
    rcpt_dsn: dict[str, str | None]


async def submit(server: Server, order: Order, observer: Observer | None = None) -> TransactionResult:
    """Connect, send, quit. Raises DialogueError where it did not come to a transaction."""
    connection = await _connect(server, observer)
    try:
        offered = connection.capabilities
        parameters: dict[str, str | None] = {}
        if offered.has("SIZE"):
            parameters["SIZE"] = str(len(order.body))
        if not order.body.isascii() and offered.has("8BITMIME"):
            parameters["BODY"] = "8BITMIME"
        if not all(path.is_ascii for path in (order.reverse_path, *order.recipients) if isinstance(path, Address)):
            if not offered.has("SMTPUTF8"):
                raise DialogueError(Phase.MAIL, "the server does not offer SMTPUTF8, which these addresses need")
            parameters["SMTPUTF8"] = None
        if (order.mail_dsn or order.rcpt_dsn) and not offered.has("DSN"):
            raise DialogueError(Phase.MAIL, "the server does not offer DSN, which --dsn-… asks for")
        mail = Mail(order.reverse_path, {**parameters, **order.mail_dsn})
        return await connection.transact(mail, [Rcpt(path, order.rcpt_dsn) for path in order.recipients], order.body)
    finally:
        await connection.quit()


async def _connect(server: Server, observer: Observer | None) -> Connection:
    """To the first address of the host that takes the connection."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise DialogueError(Phase.DNS, f"{server.host}: {explain_fault(error)}") from None
    context: ssl.SSLContext | None = None
    if server.ca_file is not None:
        context = client_context(server.tls)
        try:
            context.load_verify_locations(server.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise DialogueError(Phase.CONNECT, f"{server.ca_file}: {explain_fault(error)}") from None
    failure = DialogueError(Phase.DNS, f"{server.host} has no address")
    for address in dict.fromkeys(str(info[4][0]) for info in found):
        try:
            return await connect(
                Endpoint(host=server.host, address=address, port=server.port),
                hello=server.hello,
                tls=server.tls,
                timeouts=server.timeouts,
                ssl_context=context,
                credentials=server.credentials,
                observer=observer,
            )
        except DialogueError as error:
            failure = error
            if error.phase is not Phase.CONNECT:
                break
    raise failure
