"""The server's half of SMTP as a state machine over bytes (RFC 5321 §4.1.4): feed bytes, get events, answer them.

    session.receive(data)
    while (event := session.next_event()) is not None:
        session.answer(decide(event))        # at once, or later: nothing more is read until then
    transport.write(session.take_output())

Replies leave in the order of the commands, also under pipelining, because an event must be answered before the next
command is read. What the protocol alone decides (syntax, order, limits of the session) is answered here; what takes
a decision (who may send, whom we serve, whether the message is kept) is an event. Never touches a socket, a clock
or a random source. Used by receive/session.py and by the library's Server.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from functools import lru_cache
from typing import assert_never

from postroad.smtp import sasl, timing
from postroad.smtp.command import (
    Auth,
    Bdat,
    Command,
    CommandError,
    Data,
    Ehlo,
    Expn,
    Helo,
    Help,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
    parse_command,
)
from postroad.smtp.errors import LocalProtocolError
from postroad.smtp.extension import mail_parameters, rcpt_parameters
from postroad.smtp.framing import BodyFault, BodyLimits, ChunkReader, CommandReader, DataReader, LineFault, check_body
from postroad.smtp.reply import Reply, reply
from postroad.smtp.server_events import (
    Authenticated,
    AuthFailed,
    Event,
    HelloReceived,
    MailReceived,
    MessageReceived,
    PasswordReceived,
    RcptReceived,
    ScramKeysWanted,
    ServerSettings,
    StartTlsReceived,
    offer,
)


class State(Enum):
    """Where a session stands between two commands."""

    SILENT = auto()
    """Not greeted yet."""
    STRANGER = auto()
    """Greeted by us, not yet by the client."""
    READY = auto()
    MAIL = auto()
    RCPT = auto()
    BODY = auto()
    """Reading what follows DATA."""
    CHUNK = auto()
    """Between or within the chunks of BDAT."""
    SASL = auto()
    HANDSHAKE = auto()
    """220 to STARTTLS was said; bytes are no longer ours to read."""
    REFUSING = auto()
    """We greeted with 554: only QUIT is served (RFC 5321 §3.1)."""
    CLOSED = auto()


_ANY_TIME: frozenset[type] = frozenset({Ehlo, Helo, Rset, Noop, Vrfy, Expn, Help, Quit})

ALLOWED: dict[State, frozenset[type]] = {
    State.STRANGER: _ANY_TIME,
    State.READY: _ANY_TIME | {Mail, Auth, StartTls},
    State.MAIL: _ANY_TIME | {Rcpt},
    State.RCPT: _ANY_TIME | {Rcpt, Data, Bdat},
    State.CHUNK: _ANY_TIME | {Bdat},
    State.REFUSING: frozenset({Quit}),
}
"""Commands that are in order in each state; every other one is 503, and moves nothing."""

_EXTENSIONS: frozenset[type] = frozenset({Bdat, StartTls, Auth})
"""Commands that EHLO alone brings (RFC 5321 §2.2.1)."""


OK = reply(250, "OK", "2.0.0")
_SENDER_OK = reply(250, "Sender OK", "2.1.0")
_RECIPIENT_OK = reply(250, "Recipient OK", "2.1.5")
_GO_AHEAD = reply(354, "End data with <CR><LF>.<CR><LF>")
_READY_FOR_TLS = reply(220, "Ready to start TLS", "2.0.0")
_AUTHENTICATED = reply(235, "Authentication successful", "2.7.0")
_NEEDS_TLS = reply(538, "Encryption required: use STARTTLS first", "5.7.11")
_NEEDS_AUTH = reply(530, "Authentication required", "5.7.0")
_TLS_FIRST = reply(530, "Must issue a STARTTLS command first", "5.7.0")
_BAD_SEQUENCE = reply(503, "Bad sequence of commands", "5.5.1")
_HELLO_FIRST = reply(503, "Send EHLO first", "5.5.1")
_NO_RECIPIENTS = reply(503, "No valid recipients", "5.5.1")
_NOT_SERVING = reply(503, "No service here: only QUIT is understood", "5.5.1")
_TOO_MANY_RECIPIENTS = reply(452, "Too many recipients: send the rest in another message", "4.5.3")
_TOO_MANY_MESSAGES = reply(452, "Too many messages in this session: open another", "4.5.3")
_TOO_MANY_ERRORS = reply(421, "Too many errors", "4.7.0")
_TOO_MANY_COMMANDS = reply(421, "Too many commands without a message", "4.7.0")
_TOO_BIG = reply(552, "Message size exceeds the limit", "5.3.4")
_NOT_ENABLED = reply(502, "Command not implemented", "5.5.1")
_CANNOT_VRFY = reply(252, "Cannot VRFY user, but will accept a message and attempt delivery", "2.5.0")
_HELP = reply(214, "EHLO MAIL RCPT DATA BDAT RSET NOOP VRFY QUIT STARTTLS AUTH; see RFC 5321", "2.0.0")
_LINE_FAULTS = {
    LineFault.TOO_LONG: reply(500, "Line too long", "5.5.2"),
    LineFault.BARE_NEWLINE: reply(500, "Lines must end with CRLF and hold no other CR or LF", "5.5.2"),
}
_BODY_FAULTS = {
    BodyFault.TOO_BIG: _TOO_BIG,
    BodyFault.BARE_NEWLINE: reply(550, "Message holds a CR or LF that is not part of a CRLF", "5.6.0"),
    BodyFault.LONG_LINE: reply(550, "Message holds a line that is longer than the limit", "5.6.0"),
    BodyFault.REFUSED: reply(452, "Insufficient system storage", "4.3.1"),
}
REFUSALS_NOTED = 8
"""Refusals of the protocol itself that are kept until their owner has seen them; further ones are only said."""
_NON_ASCII = reply(553, "Address needs SMTPUTF8", "5.6.7")


@lru_cache(maxsize=64)
def _goodbye(hostname: str) -> Reply:
    return reply(221, f"{hostname} closing connection", "2.0.0")


@lru_cache(maxsize=256)
def _welcome(hostname: str, name: str, lines: tuple[str, ...]) -> Reply:
    return Reply(250, (f"{hostname} greets {name}", *lines))


class ServerSession:
    """One connection, server side. `nonce` yields a fresh SCRAM nonce (printable ASCII, no comma) each time."""

    __slots__ = (
        "_buffer",
        "_chunk",
        "_commands",
        "_data",
        "_exchange",
        "_is_full",
        "_lines",
        "_mail",
        "_mechanism",
        "_nonce",
        "_out",
        "_pending",
        "_recipients",
        "_told",
        "errors",
        "hello",
        "is_tls",
        "messages",
        "offered",
        "refusals",
        "settings",
        "state",
        "user",
        "wall",
    )

    def __init__(
        self, settings: ServerSettings, *, nonce: Callable[[], str], is_tls: bool = False, wall: float = 0.0
    ) -> None:
        """`wall`: the wall clock as the session begins; dates that are asked for are measured by it."""
        self.settings = settings
        self.wall = wall
        self.state = State.SILENT
        self.is_tls = is_tls
        self.hello: HelloReceived | None = None
        self.user: str | None = None
        self.errors = 0
        self.messages = 0
        self.refusals: list[Reply] = []
        """What was refused without an event, since the owner of the session last emptied this: for the log."""
        self.offered: frozenset[str] = frozenset()
        """The extension keywords in force: none before EHLO (RFC 5321 §2.2.1)."""
        self._nonce = nonce
        self._buffer = bytearray()
        self._lines = CommandReader(self._buffer, settings.command_line_octets)
        self._out: list[bytes] = []
        self._pending: Event | None = None
        self._told: Event | None = None
        """The pending event once its owner has seen it."""
        self._mail: MailReceived | None = None
        self._recipients: list[RcptReceived] = []
        self._is_full = False
        self._commands = 0
        self._data: DataReader | None = None
        self._chunk: ChunkReader | None = None
        self._exchange: sasl.ServerExchange | None = None
        self._mechanism = ""

    # What the I/O layer sees ----------------------------------------------------------------------------------

    @property
    def claimed_user(self) -> str:
        """Who the client says it is, in the exchange of AUTH under way; empty until it has said so."""
        return "" if self._exchange is None else self._exchange.username

    @property
    def is_closed(self) -> bool:
        """Whether, once the output is written, the connection is to be closed."""
        return self.state is State.CLOSED

    @property
    def is_waiting(self) -> bool:
        """Whether an event waits for its answer."""
        return self._pending is not None

    @property
    def buffered_octets(self) -> int:
        """What this session holds of a message or of unread commands."""
        return len(self._buffer) + (len(self._chunk.body) if self._chunk else 0)

    @property
    def is_in_body(self) -> bool:
        """Whether the bytes awaited are a message's, not a command's."""
        return self.state is State.BODY or (self._chunk is not None and self._chunk.wanted > 0)

    def greet(self, refusal: Reply | None = None) -> None:
        """Say 220, or a 554 after which only QUIT is served, or a 421 and close (RFC 5321 §3.1)."""
        if self.state is not State.SILENT:
            raise LocalProtocolError("greeted twice")
        if refusal is None:
            self._out.append(b"220 %b ESMTP Postroad\r\n" % self.settings.hostname.encode())
            self.state = State.STRANGER
            return
        self._say(Reply(refusal.code, (f"{self.settings.hostname} {refusal.lines[0]}", *refusal.lines[1:])))
        self.state = State.CLOSED if refusal.code == 421 else State.REFUSING

    def receive(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self.state is not State.HANDSHAKE and self.state is not State.CLOSED:
            self._buffer += data

    def take_output(self) -> bytes:
        """What is to be written now."""
        if not self._out:
            return b""
        data = b"".join(self._out) if len(self._out) > 1 else self._out[0]
        self._out.clear()
        return data

    def next_event(self) -> Event | None:
        """The next thing to decide, or None: more bytes or an answer are needed, or the session is closed."""
        while self._pending is None:
            state = self.state
            if state is State.CLOSED or state is State.HANDSHAKE or state is State.SILENT:
                return None
            if state is State.BODY:
                if not self._read_data():
                    return None
            elif self._chunk is not None and self._chunk.wanted > 0:
                if not self._read_chunk():
                    return None
            else:
                self._lines.in_auth = state is State.SASL
                line = self._lines.next_line()
                if line is None:
                    return None
                event = self._read_line(line)
                if event is not None:
                    return event
        if self._pending is self._told:
            return None
        self._told = self._pending
        return self._told

    def answer(self, decision: Reply | None = None) -> None:
        """Decide the event told last. None accepts it in the usual words; a Reply is said as it is.

        A reply that is not positive refuses, and the state stays what it was before the command.
        """
        event = self._pending
        if event is None or event is not self._told:
            raise LocalProtocolError("there is no event to answer")
        self._pending = self._told = None
        is_accepted = decision is None or decision.is_positive
        if decision is not None and decision.code == 421:
            self.close(decision)
            return
        match event:
            case RcptReceived():
                if is_accepted:
                    self._recipients.append(event)
                    self.state = State.RCPT
                self._settle(decision or _RECIPIENT_OK)
            case MailReceived():
                if is_accepted:
                    self._mail = event
                    self.state = State.MAIL
                self._settle(decision or _SENDER_OK)
            case MessageReceived():
                self._end_transaction()
                if is_accepted:
                    self.messages += 1
                    self._commands = 0
                self._settle(decision or OK)
            case HelloReceived():
                self._answer_hello(event, decision)
            case StartTlsReceived():
                self._answer_starttls(decision)
            case PasswordReceived():
                self._answer_password(event, decision)
            case ScramKeysWanted():
                self._refuse_exchange(decision)
            case Authenticated() | AuthFailed():
                raise LocalProtocolError(f"{type(event).__name__} is not answered with a reply")
            case _:
                assert_never(event)

    def answer_keys(self, keys: sasl.ScramKeys) -> None:
        """Answer ScramKeysWanted."""
        if not isinstance(self._pending, ScramKeysWanted) or self._exchange is None:
            raise LocalProtocolError("no SCRAM keys are wanted")
        self._pending = self._told = None
        self._take_sasl_step(self._exchange.keys(keys))

    def tls_started(self) -> None:
        """The handshake is done: everything said before it is forgotten (RFC 3207 §4.2)."""
        if self.state is not State.HANDSHAKE:
            raise LocalProtocolError("TLS was not asked for")
        self.is_tls = True
        self.hello = None
        self.offered = frozenset()
        self._buffer.clear()
        self._end_transaction()
        self.state = State.STRANGER

    def refuse_body(self) -> None:
        """Keep nothing more of the message now arriving; its end is still found and answered 452 4.3.1."""
        if self._data is not None:
            self._data.discard(BodyFault.REFUSED)
        if self._chunk is not None:
            self._chunk.refuse(BodyFault.REFUSED)

    def close(self, farewell: Reply) -> None:
        """Say why (a 421, usually) and be closed; what was pending is dropped (RFC 5321 §3.8)."""
        if self.state is State.CLOSED:
            return
        if self.state is not State.HANDSHAKE:
            first = farewell.lines[0]
            if farewell.code == 421 and not first.startswith(self.settings.hostname):
                first = f"{self.settings.hostname} {first}"
            self._say(Reply(farewell.code, (first, *farewell.lines[1:]), farewell.enhanced))
        self.state = State.CLOSED
        self._pending = self._told = None
        self._buffer.clear()
        self._chunk = None
        self._data = None

    # Commands -------------------------------------------------------------------------------------------------

    def _read_line(self, line: bytes | LineFault) -> Event | None:
        if isinstance(line, LineFault):
            if self.state is State.SASL:
                self._end_sasl()
            self._refuse(_LINE_FAULTS[line])
            return None
        if self.state is State.SASL:
            return self._continue_sasl(line)
        try:
            command = parse_command(line, smtputf8=True)
        except CommandError as error:
            self._count_command(None)
            if self.state is not State.CLOSED:
                self._refuse(error.reply)
            return None
        self._count_command(command)
        if self.state is State.CLOSED:
            return None
        if type(command) not in ALLOWED[self.state] or (type(command) in _EXTENSIONS and self._is_unoffered(command)):
            self._refuse_sequence(command)
            return None
        return self._obey(command, line)

    def _obey(self, command: Command, line: bytes) -> Event | None:
        match command:
            case Rcpt():
                self._rcpt(command, line)
            case Mail():
                self._mail_from(command, line)
            case Data():
                self._begin_data()
            case Bdat():
                self._begin_chunk(command)
            case Ehlo() | Helo():
                self._pending = HelloReceived(command.name, isinstance(command, Ehlo))
            case Rset():
                self._end_transaction()
                self._say(OK)
            case Noop():
                self._say(OK)
            case Quit():
                self._say(_goodbye(self.settings.hostname))
                self.state = State.CLOSED
                self._buffer.clear()
            case Vrfy():
                self._say(_CANNOT_VRFY)
            case Expn():
                self._refuse(_NOT_ENABLED)
            case Help():
                self._say(_HELP)
            case StartTls():
                self._starttls()
            case Auth():
                return self._auth(command)
            case _:
                assert_never(command)
        return None

    def _is_unoffered(self, command: Command) -> bool:
        if isinstance(command, Bdat):
            return "CHUNKING" not in self.offered
        return self.hello is None or not self.hello.is_extended

    def _refuse_sequence(self, command: Command) -> None:
        """503, in the words that help most; a refused BDAT's octets are still read and dropped (RFC 3030 §2)."""
        if self.state is State.REFUSING:
            said = _NOT_SERVING
        elif self.state is State.STRANGER:
            said = _HELLO_FIRST
        elif isinstance(command, Data | Bdat) and self.state is State.MAIL:
            said = _NO_RECIPIENTS
        else:
            said = _BAD_SEQUENCE
        if isinstance(command, Bdat) and command.size > 0:
            self._chunk = ChunkReader(0)
            self._chunk.refuse(said)
            self._chunk.expect(command.size, last=command.last)
        else:
            self._refuse(said)

    def _mail_from(self, command: Mail, line: bytes) -> None:
        settings = self.settings
        if settings.is_auth_required and self.user is None:
            self._refuse(_NEEDS_AUTH if self.is_tls or not settings.has_starttls else _TLS_FIRST)
            return
        if self.messages >= settings.transactions:
            self._refuse(_TOO_MANY_MESSAGES)
            return
        try:
            parameters = mail_parameters(command.parameters, self.offered)
        except CommandError as error:
            self._refuse(error.reply)
            return
        if not parameters.smtputf8 and not line.isascii():
            self._refuse(_NON_ASCII)
        elif parameters.size is not None and parameters.size > settings.message_octets:
            self._refuse(_TOO_BIG)
        elif (refusal := timing.refusal(parameters, settings, self.wall)) is not None:
            self._refuse(refusal)
        else:
            self._pending = MailReceived(command.reverse_path, parameters)

    def _rcpt(self, command: Rcpt, line: bytes) -> None:
        assert self._mail is not None
        try:
            parameters = rcpt_parameters(command.parameters, self.offered)
        except CommandError as error:
            self._refuse(error.reply)
            return
        if not self._mail.parameters.smtputf8 and not line.isascii():
            self._refuse(_NON_ASCII)
        elif len(self._recipients) >= self.settings.recipients:
            if not self._is_full:
                self._note(_TOO_MANY_RECIPIENTS)  # once for a transaction, however many more it names
            self._is_full = True
            self._say(_TOO_MANY_RECIPIENTS)
        else:
            self._pending = RcptReceived(command.forward_path, parameters)

    def _answer_hello(self, event: HelloReceived, decision: Reply | None) -> None:
        if decision is not None and not decision.is_positive:
            self._settle(decision)
            return
        self._end_transaction()
        self.hello = event
        self.state = State.READY
        if not event.is_extended:
            self.offered = frozenset()
            self._say(decision or Reply(250, (self.settings.hostname,)))
            return
        lines, self.offered = offer(self.settings, self.is_tls, self.user is None, self.wall)
        self._say(_welcome(self.settings.hostname, event.name, lines))

    # Messages -------------------------------------------------------------------------------------------------

    def _begin_data(self) -> None:
        assert self._mail is not None
        if self._mail.parameters.body == "BINARYMIME":
            self._refuse(reply(503, "BINARYMIME needs BDAT", "5.5.1"))  # RFC 3030 §3
            return
        self._data = DataReader(self._buffer, self._body_limits())
        self.state = State.BODY
        self._say(_GO_AHEAD)

    def _body_limits(self) -> BodyLimits:
        settings = self.settings
        return BodyLimits(settings.message_octets, settings.text_line_octets, settings.convert_bare_newlines)

    def _read_data(self) -> bool:
        assert self._data is not None
        body = self._data.next_body()
        if body is None:
            return False
        self._data = None
        self._finish_body(body)
        return True

    def _begin_chunk(self, command: Bdat) -> None:
        if self._chunk is None:
            self._chunk = ChunkReader(self.settings.message_octets)
        self.state = State.CHUNK
        self._chunk.expect(command.size, last=command.last)
        if command.size == 0:
            self._chunk_ended()

    def _read_chunk(self) -> bool:
        assert self._chunk is not None
        if not self._buffer:
            return False
        taken = min(self._chunk.wanted, len(self._buffer))
        self._chunk.take(bytes(self._buffer[:taken]))
        del self._buffer[:taken]
        if self._chunk.wanted == 0:
            self._chunk_ended()
        return True

    def _chunk_ended(self) -> None:
        chunk = self._chunk
        assert chunk is not None
        if chunk.refusal is not None:
            if self.state is State.CHUNK:
                self._end_transaction()
            self._chunk = None
            refusal = chunk.refusal
            self._refuse(_BODY_FAULTS[refusal] if isinstance(refusal, BodyFault) else refusal)
        elif not chunk.is_last:
            self._say(Reply(250, (f"{chunk.count} octets received",), OK.enhanced))
        else:
            self._chunk = None
            assert self._mail is not None
            is_binary = self._mail.parameters.body == "BINARYMIME"
            body = bytes(chunk.body)
            self._finish_body(body if is_binary else check_body(body, self._body_limits()))

    def _finish_body(self, body: bytes | BodyFault) -> None:
        assert self._mail is not None
        if isinstance(body, BodyFault):
            self._end_transaction()
            self._refuse(_BODY_FAULTS[body])
            return
        self.state = State.RCPT
        self._pending = MessageReceived(self._mail, tuple(self._recipients), body)

    def _end_transaction(self) -> None:
        self._mail = None
        self._recipients = []
        self._is_full = False
        self._chunk = None
        self._data = None
        if self.state in (State.MAIL, State.RCPT, State.BODY, State.CHUNK):
            self.state = State.READY

    # TLS and AUTH ---------------------------------------------------------------------------------------------

    def _starttls(self) -> None:
        self._buffer.clear()  # CVE-2011-0411: what came before the handshake is never obeyed after it
        if self.is_tls:
            self._refuse(reply(503, "TLS is already in use", "5.5.1"))
        elif not self.settings.has_starttls:
            self._refuse(_NOT_ENABLED)
        else:
            self._pending = StartTlsReceived()

    def _answer_starttls(self, decision: Reply | None) -> None:
        self._buffer.clear()
        if decision is not None and not decision.is_positive:
            self._settle(decision)
            return
        self._say(_READY_FOR_TLS)
        self.state = State.HANDSHAKE

    def _auth(self, command: Auth) -> Event | None:
        self._buffer.clear()  # nothing may be pipelined after AUTH (RFC 4954 §4)
        if self.user is not None:
            self._refuse(reply(503, "Already authenticated", "5.5.1"))
        elif not self.settings.auth_mechanisms:
            self._refuse(_NOT_ENABLED)
        elif not self.is_tls:
            self._refuse(_NEEDS_TLS)
        elif command.mechanism not in self.settings.auth_mechanisms:
            self._refuse(reply(504, "Mechanism not supported", "5.5.4"))
        else:
            self._mechanism = command.mechanism
            self._exchange = sasl.ServerExchange(command.mechanism, nonce=self._nonce())
            return self._take_sasl_step(self._exchange.start(command.initial))
        return None

    def _continue_sasl(self, line: bytes) -> Event | None:
        assert self._exchange is not None
        self._buffer.clear()
        return self._take_sasl_step(self._exchange.receive_line(line))

    def _take_sasl_step(self, step: sasl.ServerStep) -> Event | None:
        match step:
            case sasl.Challenge():
                self._out.append(b"334 %b\r\n" % step.encoded())
                self.state = State.SASL
            case sasl.PasswordOffered():
                self._pending = PasswordReceived(step.username, step.authzid, step.password, step.is_token)
            case sasl.ScramKeysWanted():
                self._pending = ScramKeysWanted(step.username, step.authzid)
            case sasl.Succeeded():
                self._end_sasl()
                self.user = step.username
                self._say(_AUTHENTICATED)
                return Authenticated(step.username)
            case sasl.Failed():
                self._end_sasl()
                self._settle(step.reply)
                return AuthFailed(step.username, self._mechanism)
            case _:
                assert_never(step)
        return None

    def _answer_password(self, event: PasswordReceived, decision: Reply | None) -> None:
        self._end_sasl()
        self._buffer.clear()
        if decision is None or decision.is_positive:
            self.user = event.username
            self._say(decision or _AUTHENTICATED)
        else:
            self._settle(decision)

    def _refuse_exchange(self, decision: Reply | None) -> None:
        if decision is None or decision.is_positive:
            raise LocalProtocolError("SCRAM keys are given by answer_keys")
        self._end_sasl()
        self._settle(decision)

    def _end_sasl(self) -> None:
        self._exchange = None
        self.state = State.READY

    # Replies --------------------------------------------------------------------------------------------------

    def _say(self, said: Reply) -> None:
        self._out.append(said.encode())

    def _settle(self, said: Reply) -> None:
        """Say and count what the owner decided; too many end the session (5yz alone: a 4yz may be our trouble)."""
        self._say(said)
        if said.is_permanent:
            self.errors += 1
            if self.errors >= self.settings.errors:
                self._end(_TOO_MANY_ERRORS)

    def _refuse(self, said: Reply) -> None:
        """Say and count what the protocol alone refuses, and note it for the owner."""
        self._note(said)
        self._settle(said)

    def _end(self, farewell: Reply) -> None:
        self._note(farewell)
        self.close(farewell)

    def _note(self, said: Reply) -> None:
        if len(self.refusals) < REFUSALS_NOTED:
            self.refusals.append(said)

    def _count_command(self, command: Command | None) -> None:
        if isinstance(command, Rcpt | Quit):  # S-09: no number of recipients closes the session
            return
        if isinstance(command, Bdat) and (command.size > 0 or command.last):
            return
        self._commands += 1
        if self._commands > self.settings.idle_commands:
            self._end(_TOO_MANY_COMMANDS)
