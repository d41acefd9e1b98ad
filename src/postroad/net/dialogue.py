"""One SMTP connection as a client: made, secured, used for transactions, ended politely.

    connection = await connect(endpoint, hello="mail.example.org", tls=TlsMode.OPPORTUNISTIC, timeouts=PhaseTimeouts())
    result = await connection.transact(mail, rcpts, body)     # or .probe(mail, rcpts): never DATA
    await connection.quit()

An asyncio.Protocol that feeds `smtp.client`; a transaction costs one future, whatever the number of its replies.
Every wait has a deadline by phase. Faults of the network and of the peer come out as `DialogueError`, or as
recipients without a reply; no other exception leaves this module.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import cast

from postroad.net.endpoint import (
    CertificateCheck,
    Credentials,
    DialogueError,
    Endpoint,
    PhaseTimeouts,
    TlsInfo,
    TlsMode,
)
from postroad.net.fault import explain_fault, tls_result
from postroad.net.proxy import connected_socket
from postroad.net.tls import client_context, peer_chain
from postroad.net.transcript import Transcript
from postroad.smtp import sasl
from postroad.smtp.client import Answer, ClientSession, Unsolicited
from postroad.smtp.command import Auth, Command, Ehlo, Helo, Mail, Quit, Rcpt, Rset, StartTls
from postroad.smtp.errors import LocalProtocolError, RemoteProtocolError
from postroad.smtp.extension import Capabilities
from postroad.smtp.outcome import Phase, TransactionResult
from postroad.smtp.reply import Reply
from postroad.smtp.transaction import Transaction

OUT_OF_STEP = "the server is out of step"
Observer = Callable[[str, bytes], None]
"""Sees the dialogue: "C" or "S", and the bytes as they went, secrets masked."""


class Connection(asyncio.Protocol):
    """A greeted connection; made by `connect` alone."""

    def __init__(self, endpoint: Endpoint, timeouts: PhaseTimeouts, observer: Observer | None) -> None:
        self.endpoint = endpoint
        self.greeting = Reply(220)
        self.tls: TlsInfo | None = None
        self.credentials: Credentials | None = None
        """Who we are to the server, once authenticated."""
        self.transactions = 0
        self.is_lmtp = False
        """Whether it is spoken to as LMTP (RFC 2033)."""
        self._loop = asyncio.get_running_loop()
        self._timeouts = timeouts
        self._observer = observer
        self.transcript = Transcript()
        """What was said: how the connection was opened, and the last transaction."""
        self._session = ClientSession()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Reply] | None = None
        self._transaction: Transaction | None = None
        self._finished: asyncio.Future[None] | None = None
        self._is_lost = False
        self._gone = asyncio.Event()
        """The transport has ended, its TLS too."""
        self._lost_detail = ""
        self._early: Reply | None = None
        """A greeting that came before anybody waited for it."""
        self._deadline = 0.0
        self._unsent = 0
        """Octets that waited to be sent when the deadline was set."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def capabilities(self) -> Capabilities:
        """What the server offers now."""
        return self._session.capabilities

    @property
    def is_out_of_step(self) -> bool:
        """Whether the server said something unasked: what it said before may have been meant for another command."""
        return self._is_lost and self._lost_detail.startswith(OUT_OF_STEP)

    @property
    def is_open(self) -> bool:
        """Whether another transaction may be tried."""
        return not self._is_lost and not self._session.is_closing

    # Called by the event loop ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclasses of it

    def data_received(self, data: bytes) -> None:
        # What a server says in SCRAM lets a password be guessed offline, so AUTH is shown reply by reply, masked.
        is_secret = self._session.phase is Phase.AUTH
        if not is_secret:
            self._note("S", data)
        self._session.receive(data)
        is_answered = False
        try:
            while (item := self._session.next_answer()) is not None:
                if is_secret:
                    self._note("S", b"334 ***\r\n" if item.reply.is_intermediate else item.reply.encode())
                is_answered = True
                if isinstance(item, Unsolicited):
                    self._take_unsolicited(item.reply)
                elif self._transaction is not None:
                    self._advance(self._transaction, item)
                elif self._waiter is None:
                    self._early = item.reply
                elif not self._waiter.done():
                    self._waiter.set_result(item.reply)
        except RemoteProtocolError as error:
            self._fail(str(error))
            return
        if is_answered and self._transaction is not None:  # part of a reply moves no deadline (H-10)
            self._flush()
            self._set_deadline()

    def _advance(self, transaction: Transaction, answer: Answer) -> None:
        transaction.receive(answer)
        if transaction.is_done:
            self._end_transaction()

    def _take_unsolicited(self, said: Reply) -> None:
        if said.code == 421:
            self._fail(f"the server closed the session: {said}")
        else:
            self._fail(f"{OUT_OF_STEP}: it said {said} unasked")  # C-07

    def eof_received(self) -> bool:
        self._fail("the server closed the connection")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone.set()
        self._fail("connection lost" if exc is None else explain_fault(exc))

    def resume_writing(self) -> None:
        self._set_deadline()  # the message is on its way: from now on its reply is awaited

    # Deadlines and endings ------------------------------------------------------------------------------------

    def _set_deadline(self) -> None:
        """Move the deadline to what the phase awaited may take; the one timer follows lazily."""
        phase = self._session.phase
        seconds = self._timeouts.body_s if phase is None else seconds_for(phase, self._timeouts)
        self._unsent = 0 if self._transport is None else self._transport.get_write_buffer_size()
        if self._unsent:
            seconds = self._timeouts.block_s  # for each block, however many they are (RFC 5321 §4.5.3.2.5)
        self._deadline = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._transaction is None or self._is_lost:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)
        elif self._transport is not None and self._transport.get_write_buffer_size() < self._unsent:
            self._set_deadline()
        else:
            self._fail("timed out")

    def _fail(self, detail: str) -> None:
        if self._is_lost:
            return
        phase = self._session.phase
        self._is_lost = True
        self._lost_detail = detail
        self._stop_timer()
        if self._transaction is not None:
            self._transaction.abandon(phase, detail)
            self._end_transaction()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(DialogueError(phase or Phase.CONNECT, detail))
        if self._transport is not None:
            self._transport.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_transaction(self) -> None:
        assert self._transaction is not None
        if not self._transaction.is_clean:
            self._session.is_closing = True
        self._transaction = None
        if self._finished is not None and not self._finished.done():
            self._finished.set_result(None)

    def _flush(self) -> None:
        data = self._session.take_output()
        if not data or self._transport is None or self._is_lost:
            return
        phase = self._session.phase
        self._note("C", _masked(data) if phase is Phase.AUTH else data, is_body=phase is Phase.BODY)
        self._transport.write(data)

    def _note(self, who: str, octets: bytes, *, is_body: bool = False) -> None:
        self.transcript.note(who, octets, is_body=is_body)
        if self._observer is not None:
            self._observer(who, octets)

    # Transactions ---------------------------------------------------------------------------------------------

    async def transact(self, mail: Mail, rcpts: Sequence[Rcpt], body: bytes) -> TransactionResult:
        """Deliver one message. Raises LocalProtocolError for what cannot be put on the wire; nothing else."""
        return await self._run(Transaction(self._session, mail, rcpts, body, is_lmtp=self.is_lmtp))

    async def probe(self, mail: Mail, rcpts: Sequence[Rcpt]) -> TransactionResult:
        """MAIL, RCPT…, RSET: never DATA or BDAT (C-15)."""
        return await self._run(Transaction(self._session, mail, rcpts, None))

    async def _run(self, transaction: Transaction) -> TransactionResult:
        if self._transaction is not None:
            raise LocalProtocolError("a transaction is under way on this connection")
        if not self.is_open:
            transaction.abandon(Phase.MAIL, "connection closed")
            return transaction.result()
        self.transactions += 1
        self.transcript.begin()
        self._transaction = transaction
        self._finished = self._loop.create_future()
        transaction.start()
        self._flush()
        self._set_deadline()
        try:
            await self._finished
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            self._finished = None
        return transaction.result()

    async def ask(self, command: Command, seconds: float) -> Reply:
        """Send one command and await its reply. Raises DialogueError when none comes in time."""
        self._session.send(command)
        return await self._next_reply(seconds)

    async def _next_reply(self, seconds: float) -> Reply:
        phase = self._session.phase or Phase.CONNECT
        if self._early is not None:
            early, self._early = self._early, None
            return early
        if self._is_lost:
            raise DialogueError(phase, self._lost_detail)
        self._flush()
        self._waiter = self._loop.create_future()
        try:
            async with asyncio.timeout(seconds):
                return await self._waiter
        except TimeoutError:
            self.abort()
            raise DialogueError(phase, "timed out") from None
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            self._waiter = None

    async def reset(self) -> None:
        """RSET. Raises DialogueError."""
        await self.ask(Rset(), self._timeouts.rset_s)

    async def quit(self) -> None:
        """QUIT, wait shortly for the answer and the end of TLS, close. Never raises."""
        if self._is_lost:
            return
        with contextlib.suppress(DialogueError):
            await self.ask(Quit(), self._timeouts.quit_s)
        if not self._is_lost and self._transport is not None:
            self._is_lost = True
            self._stop_timer()
            self._transport.close()
            try:
                async with asyncio.timeout(self._timeouts.quit_s):
                    await self._gone.wait()  # a loop that ends before it would leave the socket open
            except TimeoutError:
                self._transport.abort()

    def abort(self) -> None:
        """Close at once, without a word."""
        self._fail("connection aborted")

    # Opening --------------------------------------------------------------------------------------------------

    async def open(
        self, hello: str, tls: TlsMode, context: ssl.SSLContext | None, check: CertificateCheck | None = None
    ) -> None:
        """Greeting, EHLO, STARTTLS as `tls` asks, with a certificate that passes `check`. Raises DialogueError."""
        timeouts = self._timeouts
        self.greeting = await self._next_reply(timeouts.greeting_s)
        if not self.greeting.is_positive:
            raise DialogueError(Phase.GREETING, "refused", self.greeting)
        await self._say_hello(hello)
        if tls in (TlsMode.IMPLICIT, TlsMode.IMPLICIT_UNVERIFIED):
            self.tls = self._describe_tls(tls)
        elif tls is not TlsMode.NONE:
            await self._start_tls(hello, tls, context, check)

    async def _say_hello(self, hello: str) -> None:
        said = await self.ask(Ehlo(hello, self.is_lmtp), self._timeouts.ehlo_s)
        if said.is_permanent and not self.is_lmtp:
            said = await self.ask(Helo(hello), self._timeouts.ehlo_s)  # RFC 5321 §3.2
        if not said.is_positive:
            raise DialogueError(Phase.EHLO, "refused", said)

    async def _start_tls(
        self, hello: str, tls: TlsMode, context: ssl.SSLContext | None, check: CertificateCheck | None
    ) -> None:
        if not self.capabilities.has("STARTTLS"):
            if tls is TlsMode.OPPORTUNISTIC:
                return
            absent = "TLS is required, and the server does not offer STARTTLS"
            raise DialogueError(Phase.STARTTLS, absent, tls_result="starttls-not-supported")
        said = await self.ask(StartTls(), self._timeouts.starttls_s)
        if not said.is_positive:
            raise DialogueError(Phase.STARTTLS, "refused", said, tls_result="starttls-not-supported")
        with _tls_faults(Phase.STARTTLS):
            self._session.tls_started()
            assert self._transport is not None
            transport = await self._loop.start_tls(
                self._transport,
                self,
                context or client_context(tls),
                server_hostname=self.endpoint.host,
                ssl_handshake_timeout=self._timeouts.starttls_s,
                ssl_shutdown_timeout=self._timeouts.quit_s,
            )
        if transport is None or self._is_lost:
            lost = "connection lost during the TLS handshake"
            raise DialogueError(Phase.STARTTLS, lost, tls_result="validation-failure")
        self._transport = transport
        self.tls = self._describe_tls(tls)
        if check is not None and self.tls is not None:
            refusal = check(peer_chain(transport.get_extra_info("ssl_object")))
            if refusal:
                raise DialogueError(Phase.STARTTLS, refusal, tls_result="validation-failure")
            self.tls = replace(self.tls, passed=check)
        await self._say_hello(hello)

    def _describe_tls(self, tls: TlsMode) -> TlsInfo | None:
        assert self._transport is not None
        secured = self._transport.get_extra_info("ssl_object")
        if secured is None:
            return None
        cipher = secured.cipher()
        is_verified = tls in (TlsMode.VERIFIED, TlsMode.IMPLICIT)
        return TlsInfo(secured.version() or "", cipher[0] if cipher else "", is_verified)

    async def authenticate(self, credentials: Credentials, nonce: str) -> None:
        """AUTH by the strongest mechanism both know. Raises DialogueError when refused or none fits."""
        is_tls = self.tls is not None
        offered = self.capabilities.auth_mechanisms
        mechanism = sasl.choose([credentials.mechanism] if credentials.mechanism else offered, tls=is_tls)
        if mechanism is None:
            detail = "the server offers no AUTH mechanism that may be used here" + ("" if is_tls else " without TLS")
            raise DialogueError(Phase.AUTH, detail)
        said = None
        try:
            exchange = sasl.ClientExchange(mechanism, credentials.username, credentials.password, nonce)
            said = await self.ask(Auth(mechanism, exchange.initial()), self._timeouts.auth_s)
            while said.is_intermediate:
                response = exchange.respond(base64.b64decode(said.text, validate=False))
                self._session.send_sasl(base64.b64encode(response))
                said = await self._next_reply(self._timeouts.auth_s)
            if said.is_positive and not exchange.is_complete:
                raise sasl.SaslError("the server did not prove that it knows the password")
        except (ValueError, sasl.SaslError) as error:
            raise DialogueError(Phase.AUTH, str(error), said) from None
        if not said.is_positive:
            raise DialogueError(Phase.AUTH, "refused", said)
        self.credentials = credentials


async def connect(
    endpoint: Endpoint,
    *,
    hello: str,
    tls: TlsMode = TlsMode.OPPORTUNISTIC,
    timeouts: PhaseTimeouts,
    ssl_context: ssl.SSLContext | None = None,
    credentials: Credentials | None = None,
    check: CertificateCheck | None = None,
    observer: Observer | None = None,
    on_connected: Callable[[], None] | None = None,
    is_lmtp: bool = False,
) -> Connection:
    """A connection that has been greeted, has said EHLO, and is secured and authenticated as asked.

    `check`: what the certificate must pass after STARTTLS, given its chain. `on_connected`: called once the host was
    reached, before it has greeted. `is_lmtp`: speak LMTP (RFC 2033) instead of SMTP.
    Raises DialogueError with the phase in which it failed, and the server's words where it said any.
    """
    loop = asyncio.get_running_loop()
    context = None
    if tls in (TlsMode.IMPLICIT, TlsMode.IMPLICIT_UNVERIFIED):
        context = ssl_context or client_context(tls)
    connection = Connection(endpoint, timeouts, observer)
    connection.is_lmtp = is_lmtp
    local = (endpoint.source_address, 0) if endpoint.source_address else None
    try:
        way = None
        if endpoint.proxy is not None:
            way = await connected_socket(endpoint.proxy, endpoint, seconds=timeouts.connect_s)
        with _tls_faults(Phase.CONNECT):
            async with asyncio.timeout(timeouts.connect_s):
                if endpoint.socket_path is not None:
                    await loop.create_unix_connection(lambda: connection, endpoint.socket_path)
                elif way is None:
                    await loop.create_connection(
                        lambda: connection,
                        endpoint.address,
                        endpoint.port,
                        ssl=context,
                        server_hostname=endpoint.host if context else None,
                        local_addr=local,
                    )
                else:
                    await loop.create_connection(
                        lambda: connection,
                        sock=way,
                        ssl=context,
                        server_hostname=endpoint.host if context else None,
                    )
        if on_connected is not None:
            on_connected()
        await connection.open(hello, tls, ssl_context, check)
        if credentials is not None:
            await connection.authenticate(credentials, secrets.token_urlsafe(18))
    except DialogueError as error:
        error.dialogue = connection.transcript.kept()
        if error.reply is not None and connection.is_open:
            await connection.quit()
        connection.abort()
        raise
    except BaseException:
        connection.abort()
        raise
    return connection


_SECONDS = {
    Phase.GREETING: "greeting_s",
    Phase.EHLO: "ehlo_s",
    Phase.STARTTLS: "starttls_s",
    Phase.AUTH: "auth_s",
    Phase.MAIL: "mail_s",
    Phase.RCPT: "rcpt_s",
    Phase.DATA: "data_s",
    Phase.BODY: "body_s",
    Phase.RSET: "rset_s",
    Phase.QUIT: "quit_s",
    Phase.CONNECT: "connect_s",
    Phase.DNS: "connect_s",
}


def seconds_for(phase: Phase, timeouts: PhaseTimeouts) -> float:
    """How long a reply in that phase may take."""
    seconds: float = getattr(timeouts, _SECONDS[phase])
    return seconds


@contextlib.contextmanager
def _tls_faults(phase: Phase) -> Iterator[None]:
    try:
        yield
    except (OSError, RemoteProtocolError) as error:
        raise DialogueError(phase, explain_fault(error), tls_result=tls_result(error)) from None


def _masked(line: bytes) -> bytes:
    words = line.split()
    if words[:1] != [b"AUTH"]:
        return b"***\r\n"
    return b" ".join([*words[:2], *([b"***"] if words[2:] else [])]) + b"\r\n"
